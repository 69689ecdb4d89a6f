//! What a page's documents are worth for a monitor: a reading, or the reason why there is none. Pure.
//!
//! The page's own words are shown, never ours, except where it has none. What is not known is never taken for
//! healthy: it leaves a reading only if something else is known to be wrong, and then marks it as partial.

use super::components::{label, select};
use super::document::{Component, Components, Event, MAX_TEXT, Status, Summary};
use crate::domain::monitor::{Page, Remap};
use crate::domain::observation::{self, Link, Reading, Unknown};
use crate::domain::severity::Severity;
use crate::domain::text;

/// Open incidents and maintenances that are passed on of one page; more than a handful nobody reads.
const MAX_OPEN: usize = 20;

/// What is shown of components that all work.
const ALL_WELL: &str = "Operational";

/// From the page's roll-up.
pub(super) fn of_status(status: &Status, page: &Page, remap: &Remap) -> Result<Reading, Unknown> {
    let indicator = status.indicator.clone().map_err(Unknown::UnknownIndicator)?;
    let description = if status.description.is_empty() { usual(indicator) } else { &status.description };
    Ok(Reading {
        severity: remap.apply(indicator),
        description: description.to_owned(),
        link: root_link(page),
        notes: Vec::new(),
        partial: None,
        open: None,
    })
}

/// From the roll-up, in the words of what is open.
pub(super) fn of_summary(summary: &Summary, page: &Page, remap: &Remap) -> Result<Reading, Unknown> {
    let mut reading = of_status(&summary.status, page, remap)?;
    let headline = headline(summary, reading.severity, |_| true);
    tell(&mut reading, headline);
    reading.open = Some(open(summary, |_| true));
    Ok(reading)
}

/// From the components that count. Each is remapped by itself, so that a problem that matters is not hidden
/// behind a worse one that doesn't.
pub(super) fn of_components(all: &Components, page: &Page, remap: &Remap) -> Result<Reading, Unknown> {
    let all = &all.0;
    let selection = select(all, page);
    let mut gaps: Vec<Unknown> =
        selection.unmatched.iter().map(|pattern| no_component(pattern.as_str())).collect();
    let mut found = Vec::with_capacity(selection.chosen.len());
    for component in &selection.chosen {
        match &component.severity {
            Ok(theirs) => found.push(Found { ours: remap.apply(*theirs), theirs: *theirs, component }),
            Err(state) => gaps.push(Unknown::UnknownIndicator(format!("{}: {state}", label(component, all)))),
        }
    }
    if selection.chosen.is_empty() && gaps.is_empty() {
        gaps.push(no_component(page.components.first().map_or("*", |pattern| pattern.as_str())));
    }
    let severity = found.iter().map(|f| f.ours).max().unwrap_or_default();
    if severity == Severity::None
        && let Some(gap) = gaps.first()
    {
        return Err(gap.clone());
    }
    let mut notes: Vec<String> = gaps.iter().map(ToString::to_string).collect();
    notes.extend(
        selection
            .unused
            .iter()
            .map(|p| format!("no component matches `{}`, which is ignored", shown(p.as_str()))),
    );
    Ok(Reading {
        severity,
        description: describe(found, all),
        link: root_link(page),
        notes,
        partial: gaps.into_iter().next(),
        open: None,
    })
}

/// Puts the words of what is open and touches a component that counts in place of the components' own.
pub(super) fn tell_of_components(reading: &mut Reading, summary: &Summary, all: &Components, page: &Page) {
    let chosen = select(&all.0, page).chosen;
    let counts = |id: &str| !id.is_empty() && chosen.iter().any(|component| component.id == id);
    let touches = |event: &Event| event.touches.iter().any(|id| counts(id));
    let headline = headline(summary, reading.severity, touches);
    tell(reading, headline);
    reading.open = Some(open(summary, touches));
}

struct Found<'a> {
    ours: Severity,
    theirs: Severity,
    component: &'a Component,
}

/// `Query engine: degraded performance, Storage: major outage`, worst first. What the remaps take away is only
/// told when nothing else is left to tell.
fn describe(mut found: Vec<Found<'_>>, all: &[Component]) -> String {
    let any_counts = found.iter().any(|f| f.ours > Severity::None);
    found.retain(|f| if any_counts { f.ours > Severity::None } else { f.theirs > Severity::None });
    found.sort_by_key(|f| std::cmp::Reverse((f.ours, f.theirs)));
    let mut parts: Vec<String> =
        found.iter().map(|f| format!("{}: {}", label(f.component, all), f.component.state)).collect();
    // Some pages list a component twice under one name.
    parts.dedup();
    if parts.is_empty() {
        ALL_WELL.to_owned()
    } else {
        text::shorten(&parts.join(", "), MAX_TEXT).into_owned()
    }
}

/// The worst, then newest of what is open; what is planned comes first where the reading is maintenance.
fn headline<'a>(
    summary: &'a Summary,
    severity: Severity,
    counts: impl Fn(&Event) -> bool,
) -> Option<(&'a Event, &'static str)> {
    let first = |events: &'a [Event]| {
        let open = events.iter().filter(|event| !event.title.is_empty() && counts(event));
        open.reduce(
            |best, next| {
                if (next.impact, next.started) > (best.impact, best.started) { next } else { best }
            },
        )
    };
    let incident = first(&summary.incidents).map(|event| (event, "Incident"));
    let maintenance = first(&summary.maintenances).map(|event| (event, "Maintenance"));
    if severity == Severity::Maintenance { maintenance.or(incident) } else { incident.or(maintenance) }
}

fn tell(reading: &mut Reading, headline: Option<(&Event, &str)>) {
    // A page that calls itself healthy keeps its own words, whatever is still open on it.
    if reading.severity == Severity::None {
        return;
    }
    if let Some((event, kind)) = headline {
        reading.description.clone_from(&event.title);
        if let Some(link) = Link::checked(&event.shortlink, kind) {
            reading.link = Some(link);
        }
    }
}

/// What people are shown of what is open or planned: incidents first, each kind in the page's order.
fn open(summary: &Summary, counts: impl Fn(&Event) -> bool) -> Vec<observation::Event> {
    let show = |planned: bool, event: &Event| observation::Event {
        planned,
        title: event.title.clone(),
        impact: event.impact,
        state: event.state.clone(),
        begins: event.begins,
        ends: event.ends,
        link: Link::checked(&event.shortlink, if planned { "Maintenance" } else { "Incident" }),
        update: event.update.clone(),
    };
    let incidents = summary.incidents.iter().map(|event| (false, event));
    let planned = summary.maintenances.iter().chain(&summary.announced).map(|event| (true, event));
    incidents
        .chain(planned)
        .filter(|(_, event)| counts(event))
        .take(MAX_OPEN)
        .map(|(planned, event)| show(planned, event))
        .collect()
}

fn root_link(page: &Page) -> Option<Link> {
    Link::checked(page.root.as_str(), "Status page")
}

fn no_component(pattern: &str) -> Unknown {
    Unknown::NoComponent(shown(pattern))
}

fn shown(pattern: &str) -> String {
    text::shorten(&text::plain(pattern), MAX_TEXT).into_owned()
}

/// What pages of this kind say, for one that says nothing.
fn usual(indicator: Severity) -> &'static str {
    match indicator {
        Severity::None => "All Systems Operational",
        Severity::Maintenance => "Service Under Maintenance",
        Severity::Minor => "Partially Degraded Service",
        Severity::Major => "Partial System Outage",
        Severity::Critical => "Major Service Outage",
    }
}
