//! What a page's documents are worth for a monitor: a reading, or the reason why there is none. Pure.
//!
//! The severity is the worst of what the page says of itself, or of the components that count, and of the incidents that
//! are open; each is remapped by itself. The page's own words are shown, and a title only for a severity that it explains.
//! What is not known is never taken for healthy: it leaves a reading only if something else is known, and marks it as partial.

use std::collections::HashSet;

use super::components::select;
use super::document::{Component, Components, Event, MAX_TEXT, Status, Summary};
use crate::domain::monitor::{Page, Remap};
use crate::domain::observation::{self, Link, Part, PartReading, Reading, Unknown};
use crate::domain::severity::Severity;
use crate::domain::text;

/// Open incidents and maintenances that are passed on of one page; more than a handful nobody reads.
const MAX_OPEN: usize = 20;

/// What is shown of components that all work.
const ALL_WELL: &str = "Operational";

/// The names of the parts that are no components.
const ROLL_UP: &str = "overall status";
const INCIDENTS: &str = "open incidents";

/// From the page's roll-up.
pub(super) fn of_status(status: &Status, page: &Page, remap: &Remap) -> Result<Reading, Unknown> {
    let said = roll_up(status, page, remap)?;
    Ok(Reading::whole(said.severity, said.description, said.link))
}

/// From the roll-up and what is open.
pub(super) fn of_summary(summary: &Summary, page: &Page, remap: &Remap) -> Result<Reading, Unknown> {
    let open = Open { summary, page, remap, counts: &|_| true };
    let own = roll_up(&summary.status, page, remap);
    let mut reading = match &own {
        Ok(said) => Reading::whole(said.severity, said.description.clone(), said.link.clone()),
        Err(reason) if open.worst() == Severity::None => return Err(reason.clone()),
        Err(_) => Reading::whole(Severity::None, String::new(), root_link(page)),
    };
    reading.partial = own.as_ref().err().cloned();
    reading.parts.push(Part { id: String::new(), name: ROLL_UP.into(), outcome: own });
    open.add_to(&mut reading);
    Ok(reading)
}

/// From the roll-up alone, where what is open was wanted and cannot be read: that costs the words, not the severity.
pub(super) fn without_summary(
    status: &Status,
    reason: Unknown,
    page: &Page,
    remap: &Remap,
) -> Result<Reading, Unknown> {
    let said = roll_up(status, page, remap)?;
    let mut reading = Reading::whole(said.severity, said.description.clone(), said.link.clone());
    reading.parts.push(Part { id: String::new(), name: ROLL_UP.into(), outcome: Ok(said) });
    miss_incidents(&mut reading, reason);
    Ok(reading)
}

/// From the components that count and, where they are wanted, the incidents that touch them. Each is remapped by itself, so
/// that a problem that matters is not hidden behind a worse one that doesn't.
pub(super) fn of_components(
    components: &Components,
    summary: Option<Result<&Summary, Unknown>>,
    page: &Page,
    remap: &Remap,
) -> Result<Reading, Unknown> {
    let selection = select(&components.all, page);
    let ids: HashSet<&str> =
        selection.chosen.iter().map(|one| one.id.as_str()).filter(|id| !id.is_empty()).collect();
    let touches = |event: &Event| event.touches.iter().any(|id| ids.contains(id.as_str()));
    let open = summary.as_ref().and_then(|summary| summary.as_ref().ok());
    let open = open.map(|&summary| Open { summary, page, remap, counts: &touches });

    let mut gaps: Vec<Unknown> =
        selection.unmatched.iter().map(|pattern| no_component(pattern.as_str())).collect();
    if selection.chosen.is_empty() && gaps.is_empty() {
        gaps.push(no_component(page.components.first().map_or("*", |pattern| pattern.as_str())));
    }
    if page.components.is_empty() && components.broken > 0 {
        gaps.push(Unknown::UnknownIndicator("an entry that is no component".into()));
    }
    let mut found = Vec::with_capacity(selection.chosen.len());
    let mut parts = Vec::with_capacity(selection.chosen.len() + 1);
    for component in &selection.chosen {
        let outcome = match &component.severity {
            Ok(theirs) => {
                let ours = remap.apply(*theirs);
                found.push(Found { ours, theirs: *theirs, component });
                let description = format!("{}: {}", component.label, component.state);
                Ok(PartReading { severity: ours, description, link: root_link(page) })
            }
            Err(state) => {
                let unknown = Unknown::UnknownIndicator(format!("{}: {state}", component.label));
                gaps.push(unknown.clone());
                Err(unknown)
            }
        };
        parts.push(Part { id: component.id.clone(), name: component.label.clone(), outcome });
    }
    if let (true, Some(gap)) = (found.is_empty(), gaps.first())
        && open.as_ref().is_none_or(|open| open.worst() == Severity::None)
    {
        return Err(gap.clone());
    }
    let severity = found.iter().map(|f| f.ours).max().unwrap_or_default();
    let mut reading = Reading::whole(severity, describe(found), root_link(page));
    reading.notes = gaps.iter().map(ToString::to_string).collect();
    let unused = selection.unused.iter();
    reading
        .notes
        .extend(unused.map(|p| format!("no component matches `{}`, which is ignored", shown(p.as_str()))));
    note_broken(&mut reading, components.broken);
    reading.parts = parts;
    reading.partial = gaps.into_iter().next();
    match (open, summary) {
        (Some(open), _) => open.add_to(&mut reading),
        (None, Some(Err(reason))) => miss_incidents(&mut reading, reason),
        (None, _) => {}
    }
    Ok(reading)
}

struct Found<'a> {
    ours: Severity,
    theirs: Severity,
    component: &'a Component,
}

/// `Query engine: degraded performance, Storage: major outage`, worst first. What the remaps take away is only
/// told when nothing else is left to tell.
fn describe(mut found: Vec<Found<'_>>) -> String {
    let any_counts = found.iter().any(|f| f.ours > Severity::None);
    found.retain(|f| if any_counts { f.ours > Severity::None } else { f.theirs > Severity::None });
    found.sort_by_key(|f| std::cmp::Reverse((f.ours, f.theirs)));
    let mut parts: Vec<String> =
        found.iter().map(|f| format!("{}: {}", f.component.label, f.component.state)).collect();
    // Some pages list a component twice under one name.
    parts.dedup();
    if parts.is_empty() {
        ALL_WELL.to_owned()
    } else {
        text::shorten(&parts.join(", "), MAX_TEXT).into_owned()
    }
}

fn roll_up(status: &Status, page: &Page, remap: &Remap) -> Result<PartReading, Unknown> {
    let indicator = status.indicator.clone().map_err(Unknown::UnknownIndicator)?;
    let description = if status.description.is_empty() { usual(indicator) } else { &status.description };
    let severity = remap.apply(indicator);
    Ok(PartReading { severity, description: description.to_owned(), link: root_link(page) })
}

/// What is open on a page, as far as it counts for the monitor.
struct Open<'a> {
    summary: &'a Summary,
    page: &'a Page,
    remap: &'a Remap,
    counts: &'a dyn Fn(&Event) -> bool,
}

impl<'a> Open<'a> {
    /// The worst open incident, as the operator counts it. A notice without impact is none, and neither is planned work.
    fn worst(&self) -> Severity {
        self.incidents().map(|event| self.remap.apply(event.impact)).max().unwrap_or_default()
    }

    fn incidents(&self) -> impl Iterator<Item = &'a Event> {
        let open = self.summary.incidents.iter();
        open.filter(|event| event.impact >= Severity::Minor && (self.counts)(event))
    }

    /// The worst, then newest event whose title explains the severity; planned work comes first where that is maintenance.
    fn headline(&self, severity: Severity) -> Option<(&'a Event, &'static str)> {
        if severity == Severity::None {
            return None;
        }
        let first = |events: &mut dyn Iterator<Item = &'a Event>| {
            let told = events.filter(|event| !event.title.is_empty() && (self.counts)(event));
            told.reduce(|best, next| {
                let rank = |event: &Event| (event.impact, event.started);
                if rank(next) > rank(best) { next } else { best }
            })
        };
        let explains = |event: &&Event| self.remap.apply(event.impact) >= severity;
        let incident = first(&mut self.summary.incidents.iter().filter(explains)).map(|e| (e, "Incident"));
        let planned_counts = self.remap.apply(Severity::Maintenance) >= severity;
        let planned = planned_counts.then(|| first(&mut self.summary.maintenances.iter())).flatten();
        let planned = planned.map(|event| (event, "Maintenance"));
        if severity == Severity::Maintenance { planned.or(incident) } else { incident.or(planned) }
    }

    /// Adds what is open to what the page or its components say.
    fn add_to(&self, reading: &mut Reading) {
        let worst = self.worst();
        reading.parts.push(Part {
            id: String::new(),
            name: INCIDENTS.into(),
            outcome: Ok(self.told(worst).unwrap_or_else(|| PartReading {
                severity: worst,
                description: usual(worst).to_owned(),
                link: root_link(self.page),
            })),
        });
        let raised = worst > reading.severity;
        reading.severity = reading.severity.max(worst);
        match self.told(reading.severity) {
            Some(told) => (reading.description, reading.link) = (told.description, told.link),
            None if raised => usual(worst).clone_into(&mut reading.description),
            None => {}
        }
        note_broken(reading, self.summary.broken);
        reading.open = Some(self.events());
    }

    fn told(&self, severity: Severity) -> Option<PartReading> {
        let (event, kind) = self.headline(severity)?;
        let link = Link::from_page(&event.shortlink, kind, &self.page.root);
        let link = link.or_else(|| root_link(self.page));
        Some(PartReading { severity, description: event.title.clone(), link })
    }

    /// What people are shown of what is open or planned: incidents first, each kind in the page's order.
    fn events(&self) -> Vec<observation::Event> {
        let show = |planned: bool, event: &Event| observation::Event {
            planned,
            title: event.title.clone(),
            impact: event.impact,
            state: event.state.clone(),
            begins: event.begins,
            ends: event.ends,
            link: Link::from_page(
                &event.shortlink,
                if planned { "Maintenance" } else { "Incident" },
                &self.page.root,
            ),
            update: event.update.clone(),
        };
        let incidents = self.summary.incidents.iter().map(|event| (false, event));
        let planned = self.summary.maintenances.iter().chain(&self.summary.announced);
        incidents
            .chain(planned.map(|event| (true, event)))
            .filter(|(_, event)| (self.counts)(event))
            .take(MAX_OPEN)
            .map(|(planned, event)| show(planned, event))
            .collect()
    }
}

fn miss_incidents(reading: &mut Reading, reason: Unknown) {
    reading.notes.push(format!("incidents could not be read: {reason}"));
    reading.parts.push(Part { id: String::new(), name: INCIDENTS.into(), outcome: Err(reason) });
}

fn note_broken(reading: &mut Reading, broken: usize) {
    if broken > 0 {
        let entries = if broken == 1 { "1 entry".to_owned() } else { format!("{broken} entries") };
        reading.notes.push(format!("{entries} of the page's lists cannot be read"));
    }
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
