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
    let takes_none = |pattern: &&Pattern| !all.iter().any(|component| matches(pattern, component));
    let any = |patterns: &[Pattern], component: &Component| patterns.iter().any(|p| matches(p, component));
    Selection {
        chosen: all
            .iter()
            .filter(|component| page.components.is_empty() || any(&page.components, component))
            .filter(|component| !any(&page.ignore, component))
            .collect(),
        unmatched: page.components.iter().filter(takes_none).collect(),
        unused: page.ignore.iter().filter(takes_none).collect(),
    }
}

/// A pattern takes a component by its name, by "group - name", or with its whole group.
fn matches(pattern: &Pattern, component: &Component) -> bool {
    pattern.matches(&component.name)
        || component.group.as_deref().is_some_and(|group| {
            pattern.matches(group) || pattern.matches(&format!("{group} - {}", component.name))
        })
}

/// Its name, with its group's before it if another component of the page has the same.
pub(super) fn label(component: &Component, all: &[Component]) -> String {
    let name = if component.name.is_empty() { "Unnamed component" } else { &component.name };
    let repeated = all.iter().filter(|other| other.name == component.name).nth(1).is_some();
    match &component.group {
        Some(group) if repeated => format!("{group} - {name}"),
        _ => name.to_owned(),
    }
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
            let names: Vec<_> = got.chosen.iter().map(|c| label(c, &all)).collect();
            let texts =
                |patterns: &[&Pattern]| patterns.iter().map(|p| p.as_str()).collect::<Vec<_>>().join(", ");
            assert_eq!(names.join(", "), chosen, "{take:?} - {ignore:?}");
            assert_eq!(texts(&got.unmatched), unmatched, "{take:?}");
            assert_eq!(texts(&got.unused), unused, "{ignore:?}");
        }
    }
}
