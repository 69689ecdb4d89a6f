//! What an answer of a page says: bytes to typed documents, or the reason why they are no status page.
//!
//! Only `status.indicator` (for the list of components: `components`) is required; everything else may be
//! missing. Nothing is judged here. Texts are made plain and short as they come in, so that nothing large or odd
//! is remembered.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::Deserialize;

use super::body::{self, Form};
use super::lenient::{Flag, List, MAX_ITEMS, Object, Text, Texts};
use crate::domain::observation::Unknown;
use crate::domain::severity::Severity;
use crate::domain::text;

/// Longest text kept of a page: more than the whole banner takes.
pub(super) const MAX_TEXT: usize = 300;

/// Longest word of a closed list (indicator, state) kept when we do not know it.
const MAX_WORD: usize = 60;

/// One endpoint's answer.
pub(super) trait Document: Sized + Send + Sync + 'static {
    /// Below the page's root.
    const PATH: &'static str;

    /// Reads a whole body.
    fn parse(json: &str) -> Result<Self, Unknown>;
}

/// The page's roll-up.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Status {
    /// The severity, or the word that we do not know.
    pub(super) indicator: Result<Severity, String>,
    /// In the page's words; may be empty.
    pub(super) description: String,
}

/// The roll-up with what is open.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Summary {
    pub(super) status: Status,
    /// Unresolved incidents.
    pub(super) incidents: Vec<Event>,
    /// Maintenances that run now.
    pub(super) maintenances: Vec<Event>,
    /// Maintenances that are to come.
    pub(super) announced: Vec<Event>,
    /// Entries of both lists that cannot be read.
    pub(super) broken: usize,
}

/// An incident or a maintenance.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Event {
    pub(super) title: String,
    /// How bad the page calls it; a missing word and one that we do not know count as `none`.
    pub(super) impact: Severity,
    /// When it began; unknown counts as long ago.
    pub(super) started: Timestamp,
    /// The page's word for how far it is, blanks for underscores.
    pub(super) state: String,
    /// When it began or is to begin.
    pub(super) begins: Option<Timestamp>,
    /// When planned work is to end.
    pub(super) ends: Option<Timestamp>,
    /// The latest update's text.
    pub(super) update: String,
    pub(super) shortlink: String,
    /// Ids of the components it touches.
    pub(super) touches: Vec<String>,
}

/// A page's components, groups dissolved.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Components {
    pub(super) all: Vec<Component>,
    /// Entries of the list that cannot be read.
    pub(super) broken: usize,
}

/// One component that is no group.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Component {
    pub(super) id: String,
    pub(super) name: String,
    /// Its group's name.
    pub(super) group: Option<String>,
    /// The severity, or the state that we do not know.
    pub(super) severity: Result<Severity, String>,
    /// The page's word for the state, blanks for underscores.
    pub(super) state: String,
    /// Its name for people, with its group's before it if another component of the page has the same.
    pub(super) label: String,
}

/// Reads a whole body.
pub(super) fn read<D: Document>(body: &[u8], form: &Form) -> Result<D, Unknown> {
    let json = body::text(body, form)?;
    D::parse(&json).map_err(|unknown| match unknown {
        Unknown::NotJson(_) if json.trim_start().is_empty() => Unknown::NotJson("empty answer".into()),
        Unknown::NotJson(_) if form.is_html() || json.trim_start().starts_with('<') => {
            Unknown::NotJson("an HTML page".into())
        }
        other => other,
    })
}

impl Document for Status {
    const PATH: &'static str = "api/v2/status.json";

    fn parse(json: &str) -> Result<Status, Unknown> {
        #[derive(Deserialize)]
        struct Body {
            #[serde(default)]
            status: Object<RawStatus>,
        }
        Status::from_raw(object::<Body>(json)?.status)
    }
}

impl Document for Summary {
    const PATH: &'static str = "api/v2/summary.json";

    fn parse(json: &str) -> Result<Summary, Unknown> {
        #[derive(Deserialize)]
        struct Body {
            #[serde(default)]
            status: Object<RawStatus>,
            #[serde(default)]
            incidents: List<RawEvent>,
            #[serde(default)]
            scheduled_maintenances: List<RawEvent>,
        }
        let body = object::<Body>(json)?;
        let events = |list: Vec<RawEvent>| list.into_iter().map(Event::from_raw).collect();
        let (incidents, broken) = body.incidents.0.unwrap_or_default();
        let (planned, more) = body.scheduled_maintenances.0.unwrap_or_default();
        let (running, rest): (Vec<_>, Vec<_>) = planned.into_iter().partition(RawEvent::is_running);
        Ok(Summary {
            status: Status::from_raw(body.status)?,
            incidents: events(incidents.into_iter().filter(RawEvent::is_unresolved).collect()),
            maintenances: events(running),
            announced: events(rest.into_iter().filter(RawEvent::is_announced).collect()),
            broken: broken + more,
        })
    }
}

impl Document for Components {
    const PATH: &'static str = "api/v2/components.json";

    fn parse(json: &str) -> Result<Components, Unknown> {
        #[derive(Deserialize)]
        struct Body {
            #[serde(default)]
            components: List<RawComponent>,
        }
        let (raw, broken) = object::<Body>(json)?.components.0.ok_or(Unknown::NoIndicator)?;
        let (groups, plain): (Vec<_>, Vec<_>) = raw.into_iter().partition(|component| component.group.0);
        let groups = Groups::of(groups)?;
        let mut all: Vec<Component> = plain
            .into_iter()
            .map(|raw| Component {
                group: groups.name_for(&raw).map(str::to_owned),
                ..Component::from_raw(raw)
            })
            .collect();
        let mut times: HashMap<&str, u32> = HashMap::new();
        for component in &all {
            *times.entry(&component.name).or_default() += 1;
        }
        let repeated: Vec<bool> = all.iter().map(|one| times.get(one.name.as_str()) > Some(&1)).collect();
        for (component, repeated) in all.iter_mut().zip(repeated) {
            component.label = component.label(repeated);
        }
        Ok(Components { all, broken })
    }
}

/// Names of groups, by their ids and by the ids of their children.
struct Groups {
    names: Vec<String>,
    by_id: HashMap<String, usize>,
    by_child: HashMap<String, usize>,
}

impl Groups {
    /// Of several groups that claim a component the first in the page's order has it. Together they have no more children
    /// than a page has components; a page that lists more is made to be slow.
    fn of(raw: Vec<RawComponent>) -> Result<Groups, Unknown> {
        let mut left = MAX_ITEMS;
        let mut groups = Groups { names: Vec::new(), by_id: HashMap::new(), by_child: HashMap::new() };
        for (nth, group) in raw.into_iter().enumerate() {
            groups.by_id.entry(group.id.0.unwrap_or_default()).or_insert(nth);
            let children = group.components.read(left).map_err(|_| {
                Unknown::NotJson(format!("groups of more than {MAX_ITEMS} components in all"))
            })?;
            left -= children.len();
            for child in children.into_iter().filter(|id| !id.is_empty()) {
                groups.by_child.entry(child).or_insert(nth);
            }
            groups.names.push(short(group.name));
        }
        Ok(groups)
    }

    fn name_for(&self, component: &RawComponent) -> Option<&str> {
        let named = component.group_id.0.as_ref().and_then(|id| self.by_id.get(id));
        let listed = component.id.0.as_ref().and_then(|id| self.by_child.get(id));
        let nth = [named, listed].into_iter().flatten().min()?;
        self.names.get(*nth).map(String::as_str)
    }
}

fn object<T: for<'de> Deserialize<'de>>(json: &str) -> Result<T, Unknown> {
    let object: Object<T> = serde_json::from_str(json)
        .map_err(|error| Unknown::NotJson(text::plain(&error.to_string()).into_owned()))?;
    object.0.ok_or(Unknown::NoIndicator)
}

fn short(text: Text) -> String {
    shortened(&text.0.unwrap_or_default(), MAX_TEXT)
}

/// For people. The largest document is read at once, so what is cut off later costs nothing that matters.
fn shortened(text: &str, max: usize) -> String {
    text::shorten(&text::readable(text), max).into_owned()
}

/// A severity in the page's spelling.
fn severity(word: &str) -> Option<Severity> {
    text::folded(word).parse().ok()
}

/// The word as it is compared; longer ones are none that we know.
fn word(text: &Text) -> String {
    text.0.as_deref().filter(|text| text.len() <= MAX_WORD).map(text::folded).unwrap_or_default()
}

#[derive(Deserialize)]
struct RawStatus {
    #[serde(default)]
    indicator: Text,
    #[serde(default)]
    description: Text,
}

impl Status {
    fn from_raw(raw: Object<RawStatus>) -> Result<Status, Unknown> {
        let raw = raw.0.ok_or(Unknown::NoIndicator)?;
        let word = raw.indicator.0.ok_or(Unknown::NoIndicator)?;
        Ok(Status {
            indicator: severity(&word).ok_or_else(|| shortened(&word, MAX_WORD)),
            description: short(raw.description),
        })
    }
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct RawEvent {
    name: Text,
    status: Text,
    impact: Text,
    started_at: Text,
    created_at: Text,
    resolved_at: Text,
    scheduled_for: Text,
    scheduled_until: Text,
    shortlink: Text,
    incident_updates: List<RawUpdate>,
    components: List<RawComponent>,
}

impl RawEvent {
    fn is_unresolved(&self) -> bool {
        let over = matches!(word(&self.status).as_str(), "resolved" | "postmortem" | "completed");
        !over && self.resolved_at.0.is_none()
    }

    fn is_announced(&self) -> bool {
        word(&self.status) == "scheduled"
    }

    fn is_running(&self) -> bool {
        matches!(word(&self.status).as_str(), "inprogress" | "verifying")
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawUpdate {
    body: Text,
}

impl Event {
    fn from_raw(raw: RawEvent) -> Event {
        let time = |text: &Text| text.0.as_deref().and_then(|t| t.parse::<Timestamp>().ok());
        let link = raw.shortlink.0.unwrap_or_default();
        let began = time(&raw.started_at).or_else(|| time(&raw.created_at));
        // Pages list the newest first.
        let latest = raw.incident_updates.items().into_iter().next();
        Event {
            impact: raw.impact.0.as_deref().and_then(severity).unwrap_or_default(),
            started: began.unwrap_or(Timestamp::MIN),
            state: shortened(&raw.status.0.as_deref().unwrap_or_default().replace('_', " "), MAX_WORD),
            begins: time(&raw.scheduled_for).or(began),
            ends: time(&raw.scheduled_until),
            update: latest.map(|update| short(update.body)).unwrap_or_default(),
            title: short(raw.name),
            shortlink: if link.len() <= MAX_TEXT { link } else { String::new() },
            touches: raw.components.items().into_iter().filter_map(|c| c.id.0).collect(),
        }
    }
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct RawComponent {
    id: Text,
    name: Text,
    status: Text,
    group: Flag,
    group_id: Text,
    components: Texts,
}

impl Component {
    fn from_raw(raw: RawComponent) -> Component {
        let state = raw.status.0.unwrap_or_default();
        let severity = match text::folded(&state).as_str() {
            "operational" => Ok(Severity::None),
            "degradedperformance" => Ok(Severity::Minor),
            "partialoutage" => Ok(Severity::Major),
            "majoroutage" | "fulloutage" => Ok(Severity::Critical),
            "undermaintenance" => Ok(Severity::Maintenance),
            _ => Err(shortened(&state, MAX_WORD)),
        };
        Component {
            id: raw.id.0.unwrap_or_default(),
            name: short(raw.name),
            group: None,
            severity,
            state: shortened(&state.replace('_', " "), MAX_WORD),
            label: String::new(),
        }
    }

    fn label(&self, repeated: bool) -> String {
        let name = if self.name.is_empty() { "Unnamed component" } else { &self.name };
        match &self.group {
            Some(group) if repeated => format!("{group} - {name}"),
            _ => name.to_owned(),
        }
    }
}
