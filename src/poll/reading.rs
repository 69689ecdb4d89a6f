//! Combines the documents of a status page into a reading for a monitor, or the reason why there is none. Pure.
//!
//! The severity is the worst of the overall status, or of the components that count, and of the open incidents; each is
//! remapped separately. The description is the status page's own text; an incident's title is shown only if it explains the
//! severity. Unknown values never count as healthy: there is a reading only if something else is known, marked as partial.

use std::collections::{HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};

use super::components::select;
use super::page::{Component, Components, Events, MAX_TEXT, PageEvent, Status};
use crate::domain::monitoring::engine::Overall;
use crate::domain::monitoring::monitor::{Remap, StatusPage};
use crate::domain::monitoring::observation;
use crate::domain::monitoring::observation::{Link, PartReading, Reading, ReadingPart, Unknown};
use crate::domain::monitoring::severity::Severity;
use crate::domain::text;

/// Maximum number of open incidents and maintenance windows in a reading.
const MAX_OPEN: usize = 20;

/// Maximum number of notes about components and patterns, because each is a line of the log.
const MAX_NOTES: usize = 20;

/// Description if all components work.
const ALL_WELL: &str = "Operational";

/// Names of the parts that are not components.
const ROLL_UP: &str = "overall status";
const INCIDENTS: &str = "open incidents";
const PLANNED: &str = "planned maintenance";

/// Reading from the overall status.
pub(super) fn of_status(status: &Status, page: &StatusPage, remap: &Remap) -> Result<Reading, Unknown> {
    let own = roll_up(status, page, remap)?;
    Ok(Reading::whole(own.severity, own.description, own.link))
}

/// Reading from the overall status, incidents and maintenance.
pub(super) fn of_summary(
    status: Result<&Status, Unknown>,
    events: &Events,
    page: &StatusPage,
    remap: &Remap,
) -> Result<Reading, Unknown> {
    let open = OpenEvents { events, page, remap, counts: &|_| true };
    let own = status.and_then(|status| roll_up(status, page, remap));
    let mut reading = match &own {
        Ok(own) => Reading::whole(own.severity, own.description.clone(), own.link.clone()),
        Err(reason) if open.worst() == Severity::None => return Err(reason.clone()),
        Err(_) => Reading::whole(Severity::None, String::new(), root_link(page)),
    };
    reading.partial = own.as_ref().err().cloned().or_else(|| open.unknown_judge());
    reading.parts.push(ReadingPart { id: String::new(), name: ROLL_UP.into(), outcome: own });
    open.add_to(&mut reading);
    Ok(reading)
}

/// Reading from the overall status if the incidents cannot be read. It lacks their titles, but not the severity.
pub(super) fn without_summary(
    status: &Status,
    reason: Unknown,
    page: &StatusPage,
    remap: &Remap,
) -> Result<Reading, Unknown> {
    let own = roll_up(status, page, remap)?;
    let mut reading = Reading::whole(own.severity, own.description.clone(), own.link.clone());
    // Maintenance that counts as health may go along with an incident.
    let hides = status.indicator == Ok(Severity::Maintenance) && own.severity == Severity::None;
    reading.partial = hides.then(|| reason.clone());
    reading.parts.push(ReadingPart { id: String::new(), name: ROLL_UP.into(), outcome: Ok(own) });
    miss_incidents(&mut reading, reason);
    Ok(reading)
}

/// Reading from the incidents and maintenance of a status page that has no overall status.
pub(super) fn of_incidents(events: &Events, page: &StatusPage, remap: &Remap) -> Result<Reading, Unknown> {
    let open = OpenEvents { events, page, remap, counts: &|_| true };
    let planned = |event: &PageEvent| event.impact == Ok(Severity::Maintenance);
    let runs = !events.maintenances.is_empty() || events.incidents.iter().any(planned);
    let running = remap.apply(if runs { Severity::Maintenance } else { Severity::None });
    if let (Some(word), Severity::None) = (open.unknown_impact(), open.worst().max(running)) {
        return Err(word);
    }
    let mut reading = Reading::whole(running, usual(running).to_owned(), root_link(page));
    reading.partial = open.unknown_impact();
    open.add_to(&mut reading);
    Ok(reading)
}

/// The overall status, corrected by the states of the components.
///
/// # Errors
/// If it is the status of components that no one monitors.
pub(super) fn with_components(
    mut status: Status,
    components: &Components,
    rules: &Overall,
) -> Result<Status, Unknown> {
    let (all, states) = (!components.all.is_empty(), || components.all.iter().map(|one| &one.severity));
    if rules.all_unknown && all && states().all(Result::is_err) {
        return Err(Unknown::UnknownIndicator("no component is monitored".into()));
    }
    let down = |state: &Result<Severity, String>| state.as_ref().is_ok_and(|state| *state >= Severity::Major);
    if let (Some(worst), Ok(severity)) = (rules.all_down, &mut status.indicator)
        && all
        && states().all(down)
    {
        *severity = worst.max(*severity);
    }
    Ok(status)
}

/// Raises the severity if every component is down.
pub(super) fn worsen_if_all_down(
    reading: &mut Reading,
    components: &Components,
    all_down: Option<Severity>,
    remap: &Remap,
) {
    let down = |one: &Component| one.severity.as_ref().is_ok_and(|state| *state >= Severity::Major);
    if let Some(worst) = all_down
        && components.all.len() > 1
        && components.all.iter().all(down)
    {
        reading.severity = reading.severity.max(remap.apply(worst));
    }
}

/// Reading from the components that count and, if configured, the incidents that affect them. Each is remapped separately, so
/// that a problem that counts is not hidden by a worse one that does not.
pub(super) fn of_components(
    components: &Components,
    events: Option<Result<&Events, Unknown>>,
    page: &StatusPage,
    remap: &Remap,
) -> Result<Reading, Unknown> {
    let selection = select(&components.all, page);
    let chosen = ChosenNames::of(&selection.chosen, components.affected_only);
    let touches = |event: &PageEvent| chosen.concerns(event) || !page.by_component();
    let open = events.as_ref().and_then(|events| events.as_ref().ok());
    let open = open.map(|&events| OpenEvents { events, page, remap, counts: &touches });

    let mut gaps: Vec<Unknown> =
        selection.unmatched.iter().map(|pattern| no_component(pattern.as_str())).collect();
    if components.affected_only {
        gaps = open.as_ref().and_then(OpenEvents::unknown_impact).into_iter().collect();
    } else if selection.chosen.is_empty() && gaps.is_empty() {
        gaps.push(no_component(page.components.first().map_or("*", |pattern| pattern.as_str())));
    }
    if page.components.is_empty() && components.broken > 0 {
        gaps.push(Unknown::UnknownIndicator("an entry that is not a component".into()));
    }
    let mut found = Vec::with_capacity(selection.chosen.len());
    let mut parts = Vec::with_capacity(selection.chosen.len() + 1);
    for component in &selection.chosen {
        let outcome = match &component.severity {
            Ok(theirs) => {
                let ours = remap.apply(*theirs);
                found.push(ComponentMatch { ours, theirs: *theirs, component });
                let description = format!("{}: {}", component.label, component.state);
                Ok(PartReading { severity: ours, description, link: root_link(page) })
            }
            Err(state) => {
                let unknown = Unknown::UnknownIndicator(format!("{}: {state}", component.label));
                gaps.push(unknown.clone());
                Err(unknown)
            }
        };
        // A component that is only known while it is affected is not missed afterwards.
        if !components.affected_only {
            parts.push(ReadingPart { id: component.id.clone(), name: component.label.clone(), outcome });
        }
    }
    if let (true, Some(gap)) = (found.is_empty(), gaps.first())
        && open.as_ref().is_none_or(|open| open.worst() == Severity::None)
    {
        return Err(gap.clone());
    }
    let severity = found.iter().map(|f| f.ours).max().unwrap_or_default();
    let mut reading = Reading::whole(severity, describe(found), root_link(page));
    let unused = selection.unused.iter();
    let unused = unused.map(|p| format!("no component matches `{}` in `ignore`", shown(p.as_str())));
    let notes = gaps.len() + selection.unused.len();
    reading.notes = gaps.iter().map(ToString::to_string).chain(unused).take(MAX_NOTES).collect();
    if notes > MAX_NOTES {
        reading.notes.push(format!("{} more components or patterns are unknown", notes - MAX_NOTES));
    }
    note_broken(&mut reading, components.broken);
    reading.parts = parts;
    reading.partial = gaps.into_iter().next();
    match (open, events) {
        (Some(open), _) => open.add_to(&mut reading),
        (None, Some(Err(reason))) => {
            // Maintenance that counts as health may go along with an incident.
            let hides = selection.chosen.iter().any(|one| one.severity == Ok(Severity::Maintenance));
            if hides && severity == Severity::None && !page.by_component() {
                reading.partial.get_or_insert(reason.clone());
            }
            miss_incidents(&mut reading, reason);
        }
        (None, _) => {}
    }
    Ok(reading)
}

/// Announces maintenance that starts within the monitor's `announce`, unless something is wrong now. The description does not
/// change with time.
pub(super) fn announce(
    reading: &mut Reading,
    events: &Events,
    components: Option<&Components>,
    page: &StatusPage,
    remap: &Remap,
    now: Timestamp,
) {
    let Some(ahead) = page.announce else { return };
    let chosen = components.map(|all| (select(&all.all, page).chosen, all.affected_only));
    let chosen = chosen.as_ref().map(|(chosen, affected_only)| ChosenNames::of(chosen, *affected_only));
    let counts = |event: &PageEvent| chosen.as_ref().is_none_or(|chosen| chosen.concerns(event));
    let ahead = SignedDuration::try_from(ahead).unwrap_or(SignedDuration::MAX);
    // Maintenance that starts late stays announced until it should have ended.
    let soon = |event: &&PageEvent| {
        event.begins.is_some_and(|begins| begins.duration_since(now) <= ahead)
            && event.ends.or(event.begins).is_some_and(|ends| ends > now)
            && counts(event)
    };
    let next = events.announced.iter().filter(soon).min_by_key(|event| event.begins);
    let planned = next.map_or_else(
        || PartReading { severity: Severity::None, description: String::new(), link: None },
        |event| PartReading {
            severity: remap.apply(Severity::Maintenance),
            description: text::shorten(&planned_text(event), MAX_TEXT).into_owned(),
            link: Link::from_page(&event.link, "Maintenance", &page.root).or_else(|| root_link(page)),
        },
    );
    add_plan(reading, Ok(planned.clone()));
    if reading.severity == Severity::None && planned.severity > Severity::None {
        (reading.severity, reading.description) = (planned.severity, planned.description);
        reading.link = planned.link;
    }
}

/// A plan that was announced before is held, not withdrawn, while the plans cannot be read.
pub(super) fn miss_plans(reading: &mut Reading, reason: Unknown) {
    add_plan(reading, Err(reason));
}

fn add_plan(reading: &mut Reading, outcome: Result<PartReading, Unknown>) {
    // What was judged as a whole becomes a part beside the plan.
    if reading.parts.is_empty() {
        let (description, link) = (reading.description.clone(), reading.link.clone());
        let whole = PartReading { severity: reading.severity, description, link };
        reading.parts.push(ReadingPart { id: String::new(), name: ROLL_UP.into(), outcome: Ok(whole) });
    }
    reading.parts.push(ReadingPart { id: String::new(), name: PLANNED.into(), outcome });
}

/// `Upgrade (planned for 1 Dec 08:00 to 10:00 UTC)`.
fn planned_text(event: &PageEvent) -> String {
    let title = if event.title.is_empty() { "Maintenance" } else { &event.title };
    let shown = |time: Timestamp, form: &str| time.strftime(form).to_string();
    let day = |time: Timestamp| shown(time, "%Y-%m-%d");
    let window = match (event.begins, event.ends) {
        (Some(begins), Some(ends)) if day(begins) == day(ends) => {
            format!("{} to {} UTC", shown(begins, "%-d %b %H:%M"), shown(ends, "%H:%M"))
        }
        (Some(begins), Some(ends)) => {
            format!("{} to {} UTC", shown(begins, "%-d %b %H:%M"), shown(ends, "%-d %b %H:%M"))
        }
        (Some(begins), None) => format!("{} UTC", shown(begins, "%-d %b %H:%M")),
        (None, _) => return title.to_owned(),
    };
    format!("{title} (planned for {window})")
}

/// The ids and names by which incidents name the components that count.
struct ChosenNames<'a> {
    whole: HashSet<&'a str>,
    /// The parts that count, by the id and by the name of their component.
    parts: HashMap<&'a str, HashSet<&'a str>>,
    affected_only: bool,
}

impl<'a> ChosenNames<'a> {
    fn of(chosen: &[&'a Component], affected_only: bool) -> ChosenNames<'a> {
        let mut names = ChosenNames { whole: HashSet::new(), parts: HashMap::new(), affected_only };
        for one in chosen {
            match &one.part_of {
                None => names.whole.extend([one.id.as_str(), &one.name]),
                Some(id) => {
                    for whole in [id.as_str(), one.group.as_deref().unwrap_or_default()] {
                        names.parts.entry(whole).or_default().insert(&one.name);
                    }
                }
            }
        }
        names.whole.remove("");
        names.parts.remove("");
        names
    }

    /// Where components are only known from incidents, an event that names none concerns all of them.
    fn concerns(&self, event: &PageEvent) -> bool {
        self.affected_only && event.touches.is_empty()
            || event.touches.iter().any(|name| self.has(name, &event.touches_parts))
    }

    /// Whether an incident that names this component, and these parts, concerns one that counts.
    fn has(&self, name: &str, parts: &[String]) -> bool {
        let name = name.trim();
        self.whole.contains(name)
            || self.parts.get(name).is_some_and(|chosen| {
                parts.is_empty() || parts.iter().any(|part| chosen.contains(part.trim()))
            })
    }
}

struct ComponentMatch<'a> {
    ours: Severity,
    theirs: Severity,
    component: &'a Component,
}

/// `Query engine: degraded performance, Storage: major outage`, worst first. Components that are remapped to `none` are listed
/// only if no other component has a problem.
fn describe(mut found: Vec<ComponentMatch<'_>>) -> String {
    let any_counts = found.iter().any(|f| f.ours > Severity::None);
    found.retain(|f| if any_counts { f.ours > Severity::None } else { f.theirs > Severity::None });
    found.sort_by_key(|f| std::cmp::Reverse((f.ours, f.theirs)));
    let mut parts: Vec<String> =
        found.iter().map(|f| format!("{}: {}", f.component.label, f.component.state)).collect();
    // Some status pages list a component twice.
    parts.dedup();
    if parts.is_empty() {
        ALL_WELL.to_owned()
    } else {
        text::shorten(&parts.join(", "), MAX_TEXT).into_owned()
    }
}

fn roll_up(status: &Status, page: &StatusPage, remap: &Remap) -> Result<PartReading, Unknown> {
    let indicator = status.indicator.clone().map_err(Unknown::UnknownIndicator)?;
    let description = if status.description.is_empty() { usual(indicator) } else { &status.description };
    let severity = remap.apply(indicator);
    Ok(PartReading { severity, description: description.to_owned(), link: root_link(page) })
}

/// Incidents and maintenance that count for the monitor.
struct OpenEvents<'a> {
    events: &'a Events,
    page: &'a StatusPage,
    remap: &'a Remap,
    counts: &'a dyn Fn(&PageEvent) -> bool,
}

impl<'a> OpenEvents<'a> {
    /// Severity of the worst open incident, remapped. Notices without impact and planned work do not count.
    fn worst(&self) -> Severity {
        self.incidents().map(|event| self.remap.apply(event.severity())).max().unwrap_or_default()
    }

    /// An incident whose impact is an unknown word, or an entry that may be one.
    fn unknown_impact(&self) -> Option<Unknown> {
        let counted = self.events.incidents.iter().filter(|event| (self.counts)(event));
        let word = |event: &PageEvent| {
            let word = event.impact.as_ref().err()?;
            Some(Unknown::UnknownIndicator(format!("{}: {word}", event.title)))
        };
        let unread =
            self.events.unread.then(|| Unknown::UnknownIndicator("an entry that is not an incident".into()));
        counted.filter_map(word).next().or(unread)
    }

    /// The same, of a page whose incidents decide.
    fn unknown_judge(&self) -> Option<Unknown> {
        self.page.engine.judges_incidents().then(|| self.unknown_impact()).flatten()
    }

    fn incidents(&self) -> impl Iterator<Item = &'a PageEvent> {
        let open = self.events.incidents.iter();
        open.filter(|event| event.severity() >= Severity::Minor && (self.counts)(event))
    }

    /// The worst, then newest event that explains the severity; planned work first if the severity is maintenance.
    fn headline(&self, severity: Severity) -> Option<(&'a PageEvent, &'static str)> {
        if severity == Severity::None {
            return None;
        }
        let first = |events: &mut dyn Iterator<Item = &'a PageEvent>| {
            let titled = events.filter(|event| !event.title.is_empty() && (self.counts)(event));
            titled.reduce(|best, next| {
                let rank = |event: &PageEvent| (event.severity(), event.begins);
                if rank(next) > rank(best) { next } else { best }
            })
        };
        let explains = |event: &&PageEvent| self.remap.apply(event.severity()) >= severity;
        let incident = first(&mut self.events.incidents.iter().filter(explains)).map(|e| (e, "Incident"));
        let planned_counts = self.remap.apply(Severity::Maintenance) >= severity;
        let planned = planned_counts.then(|| first(&mut self.events.maintenances.iter())).flatten();
        let planned = planned.map(|event| (event, "Maintenance"));
        if severity == Severity::Maintenance { planned.or(incident) } else { incident.or(planned) }
    }

    /// Adds incidents and maintenance to a reading.
    fn add_to(&self, reading: &mut Reading) {
        let worst = self.worst();
        let outcome = match self.unknown_judge().filter(|_| worst == Severity::None) {
            Some(why) => Err(why),
            None => Ok(self.explained(worst).unwrap_or_else(|| PartReading {
                severity: worst,
                description: usual(worst).to_owned(),
                link: root_link(self.page),
            })),
        };
        reading.parts.push(ReadingPart { id: String::new(), name: INCIDENTS.into(), outcome });
        let raised = worst > reading.severity;
        reading.severity = reading.severity.max(worst);
        match self.explained(reading.severity) {
            Some(event) => (reading.description, reading.link) = (event.description, event.link),
            None if raised => usual(worst).clone_into(&mut reading.description),
            None => {}
        }
        note_broken(reading, self.events.broken);
        reading.open = Some(self.events());
    }

    fn explained(&self, severity: Severity) -> Option<PartReading> {
        let (event, kind) = self.headline(severity)?;
        let link = Link::from_page(&event.link, kind, &self.page.root);
        let link = link.or_else(|| root_link(self.page));
        Some(PartReading { severity, description: event.title.clone(), link })
    }

    /// The events to show: incidents first, each kind in the order of the status page.
    fn events(&self) -> Vec<observation::Event> {
        let show = |planned: bool, event: &PageEvent| observation::Event {
            planned,
            title: event.title.clone(),
            impact: event.severity(),
            state: event.state.clone(),
            begins: event.begins,
            ends: event.ends,
            link: Link::from_page(
                &event.link,
                if planned { "Maintenance" } else { "Incident" },
                &self.page.root,
            ),
            update: event.update.clone(),
        };
        let incidents = self.events.incidents.iter().map(|event| (false, event));
        let planned = self.events.maintenances.iter().chain(&self.events.announced);
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
    reading.parts.push(ReadingPart { id: String::new(), name: INCIDENTS.into(), outcome: Err(reason) });
}

fn note_broken(reading: &mut Reading, broken: usize) {
    if broken > 0 {
        let entries = if broken == 1 { "1 entry".to_owned() } else { format!("{broken} entries") };
        reading.notes.push(format!("{entries} in the lists of the status page cannot be read"));
    }
}

fn root_link(page: &StatusPage) -> Option<Link> {
    Link::checked(page.root.as_str(), "Status page")
}

fn no_component(pattern: &str) -> Unknown {
    Unknown::NoComponent(shown(pattern))
}

fn shown(pattern: &str) -> String {
    text::shorten(&text::plain(pattern), MAX_TEXT).into_owned()
}

/// Default description of a Statuspage, for one without a description.
fn usual(indicator: Severity) -> &'static str {
    match indicator {
        Severity::None => "All Systems Operational",
        Severity::Maintenance => "Service Under Maintenance",
        Severity::Minor => "Partially Degraded Service",
        Severity::Major => "Partial System Outage",
        Severity::Critical => "Major Service Outage",
    }
}
