//! Which of a page's components count for a monitor, and how they are named to people. Pure.

use super::document::Component;
use crate::domain::monitor::{Page, Pattern};

/// The components that count, and the patterns that took none.
pub(super) struct Selection<'a> {
    pub(super) chosen: Vec<&'a Component>,
    /// Patterns of `components` that match nothing on the page.
    pub(super) unmatched: Vec<&'a Pattern>,
    /// Patterns of `ignore` that match nothing on the page.
    pub(super) unused: Vec<&'a Pattern>,
}

/// Applies `components`, then `ignore`. Without `components` all count.
pub(super) fn select<'a>(all: &'a [Component], page: &'a Page) -> Selection<'a> {
    let (mut taking, mut ignoring) = (Idle::of(&page.components), Idle::of(&page.ignore));
    let mut chosen = Vec::new();
    for component in all {
        let taken = taking.matches(component) || page.components.is_empty();
        let ignored = ignoring.matches(component);
        if taken && !ignored {
            chosen.push(component);
        }
    }
    Selection { chosen, unmatched: taking.idle(), unused: ignoring.idle() }
}

/// Patterns, and which of them have matched nothing yet.
struct Idle<'a> {
    patterns: &'a [Pattern],
    used: Vec<bool>,
}

impl<'a> Idle<'a> {
    fn of(patterns: &'a [Pattern]) -> Idle<'a> {
        Idle { patterns, used: vec![false; patterns.len()] }
    }

    fn matches(&mut self, component: &Component) -> bool {
        let mut any = false;
        for (pattern, used) in self.patterns.iter().zip(&mut self.used) {
            if matches(pattern, component) {
                (any, *used) = (true, true);
            }
        }
        any
    }

    fn idle(self) -> Vec<&'a Pattern> {
        self.patterns.iter().zip(self.used).filter(|(_, used)| !used).map(|(pattern, _)| pattern).collect()
    }
}

/// A pattern takes a component by its name, by "group - name", or with its whole group.
fn matches(pattern: &Pattern, component: &Component) -> bool {
    pattern.matches(&component.name)
        || component.group.as_deref().is_some_and(|group| {
            pattern.matches(group) || pattern.matches(&format!("{group} - {}", component.name))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::severity::Severity;

    fn component(group: Option<&str>, name: &str) -> Component {
        Component {
            id: format!("{group:?}{name}"),
            name: name.into(),
            group: group.map(Into::into),
            severity: Ok(Severity::None),
            state: "operational".into(),
            label: match group {
                Some(group) if name == "Query engine" => format!("{group} - {name}"),
                _ => name.into(),
            },
        }
    }

    fn page(components: &[&str], ignore: &[&str]) -> Page {
        Page {
            root: "https://status.acme.test/".parse().unwrap(),
            components: components.iter().map(|p| Pattern::new(p)).collect(),
            ignore: ignore.iter().map(|p| Pattern::new(p)).collect(),
            incidents: false,
        }
    }

    /// Patterns take names, grouped names and whole groups; ignoring comes last; each idle pattern is named.
    #[test]
    fn selects_by_table() {
        let all = [
            component(Some("EU region"), "Query engine"),
            component(Some("EU region"), "Storage"),
            component(Some("US region"), "Query engine"),
            component(None, "Website"),
        ];
        for (take, ignore, chosen, unmatched, unused) in [
            (&["Website"][..], &[][..], "Website", "", ""),
            (&["query engine"], &[], "EU region - Query engine, US region - Query engine", "", ""),
            (&["EU region - Query*"], &[], "EU region - Query engine", "", ""),
            (&["EU region"], &[], "EU region - Query engine, Storage", "", ""),
            (&["EU*"], &["Storage"], "EU region - Query engine", "", ""),
            (&[], &["* region"], "Website", "", ""),
            (&["Stor?ge", "Mail"], &["Fax"], "Storage", "Mail", "Fax"),
            (&["Query"], &[], "", "Query", ""),
            (&["Website"], &["*"], "", "", ""),
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
