//! Selects the components of a status page that count for a monitor. Pure.

use super::page::Component;
use crate::domain::monitoring::monitor::{Pattern, StatusPage};

/// The components that count, and the patterns that matched none.
pub(super) struct ComponentSelection<'a> {
    pub(super) chosen: Vec<&'a Component>,
    /// Patterns of `components` that match nothing on the status page.
    pub(super) unmatched: Vec<&'a Pattern>,
    /// Patterns of `ignore` that match nothing on the status page.
    pub(super) unused: Vec<&'a Pattern>,
}

/// Applies `components`, then `ignore`. Without `components`, all components count.
pub(super) fn select<'a>(all: &'a [Component], page: &'a StatusPage) -> ComponentSelection<'a> {
    let (mut taking, mut ignoring) = (Idle::of(&page.components, all), Idle::of(&page.ignore, all));
    let mut chosen = Vec::new();
    for component in all {
        let taken = taking.matches(component) || page.components.is_empty();
        let ignored = ignoring.matches(component);
        if taken && !ignored {
            chosen.push(component);
        }
    }
    ComponentSelection { chosen, unmatched: taking.idle(), unused: ignoring.idle() }
}

/// Patterns, and which of them have matched.
struct Idle<'a> {
    patterns: &'a [Pattern],
    /// Patterns that are the name of a component, and therefore not that of a group.
    exact: Vec<bool>,
    used: Vec<bool>,
}

impl<'a> Idle<'a> {
    fn of(patterns: &'a [Pattern], all: &[Component]) -> Idle<'a> {
        let names =
            |pattern: &Pattern| pattern.is_literal() && all.iter().any(|one| pattern.matches(&one.name));
        Idle { patterns, exact: patterns.iter().map(names).collect(), used: vec![false; patterns.len()] }
    }

    fn matches(&mut self, component: &Component) -> bool {
        let mut any = false;
        for ((pattern, exact), used) in self.patterns.iter().zip(&self.exact).zip(&mut self.used) {
            if matches(pattern, *exact, component) {
                (any, *used) = (true, true);
            }
        }
        any
    }

    fn idle(self) -> Vec<&'a Pattern> {
        self.patterns.iter().zip(self.used).filter(|(_, used)| !used).map(|(pattern, _)| pattern).collect()
    }
}

/// A pattern matches a component by its name, by "group - name", or with its whole group, unless it is exactly the name of a
/// component.
fn matches(pattern: &Pattern, exact: bool, component: &Component) -> bool {
    pattern.matches(&component.name)
        || component.group.as_deref().is_some_and(|group| {
            !exact && pattern.matches(group) || pattern.matches(&format!("{group} - {}", component.name))
        })
}

#[cfg(test)]
mod tests {
    use super::super::tests::whole_page;
    use super::*;
    use crate::domain::monitoring::severity::Severity;

    fn component(group: Option<&str>, name: &str) -> Component {
        Component {
            id: format!("{group:?}{name}"),
            name: name.into(),
            part_of: None,
            group: group.map(Into::into),
            severity: Ok(Severity::None),
            state: "operational".into(),
            label: match group {
                Some(group) if name == "Query engine" => format!("{group} - {name}"),
                _ => name.into(),
            },
        }
    }

    fn page(components: &[&str], ignore: &[&str]) -> StatusPage {
        StatusPage {
            components: components.iter().map(|p| Pattern::new(p)).collect(),
            ignore: ignore.iter().map(|p| Pattern::new(p)).collect(),
            ..whole_page(false)
        }
    }

    #[test]
    fn patterns_match_names_grouped_names_and_groups_and_ignore_comes_last() {
        let all = [
            component(Some("EU region"), "Query engine"),
            component(Some("EU region"), "Storage"),
            component(Some("US region"), "Query engine"),
            component(None, "Website"),
            component(Some("API"), "API"),
            component(Some("API"), "Docs"),
        ];
        for (take, ignore, chosen, unmatched, unused) in [
            (&["Website"][..], &[][..], "Website", "", ""),
            (&["query engine"], &[], "EU region - Query engine, US region - Query engine", "", ""),
            (&["EU region - Query*"], &[], "EU region - Query engine", "", ""),
            (&["EU region"], &[], "EU region - Query engine, Storage", "", ""),
            (&["EU*"], &["Storage"], "EU region - Query engine", "", ""),
            (&[], &["* region", "API*"], "Website", "", ""),
            (&["Stor?ge", "Mail"], &["Fax"], "Storage", "Mail", "Fax"),
            (&["Query"], &[], "", "Query", ""),
            (&["Website"], &["*"], "", "", ""),
            (&["API"], &[], "API", "", ""),
            (&["API - *"], &[], "API, Docs", "", ""),
            (&["AP*"], &[], "API, Docs", "", ""),
        ] {
            let page = page(take, ignore);
            let got = select(&all, &page);
            let names: Vec<_> = got.chosen.iter().map(|c| c.label.as_str()).collect();
            let texts =
                |patterns: &[&Pattern]| patterns.iter().map(|p| p.as_str()).collect::<Vec<_>>().join(", ");
            assert_eq!(names.join(", "), chosen, "{take:?} - {ignore:?}");
            assert_eq!(texts(&got.unmatched), unmatched, "{take:?}");
            assert_eq!(texts(&got.unused), unused, "{ignore:?}");
        }
    }
}
