//! What an answer of a page says: bytes to typed documents, or the reason why they are no status page.
//!
//! Only `status.indicator` (for the list of components: `components`) is required; everything else may be
//! missing. Nothing is judged here. Texts are made plain and short as they come in, so that nothing large or odd
//! is remembered.

use jiff::Timestamp;
use serde::Deserialize;

use super::lenient::{Flag, List, Object, Text, Texts};
use crate::domain::observation::Unknown;
use crate::domain::severity::Severity;
use crate::domain::text;

/// Longest text kept of a page: more than the whole banner takes.
pub(super) const MAX_TEXT: usize = 300;

/// Longest word of a closed list (indicator, state) kept when we do not know it.
const MAX_WORD: usize = 60;

/// One endpoint's answer.
pub(super) trait Document: Sized {
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
}

/// An incident or a maintenance.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Event {
    pub(super) title: String,
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
pub(super) struct Components(pub(super) Vec<Component>);

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
}

/// A body as text: a byte-order mark goes, invalid UTF-8 is no JSON. `html`: what the content type claims.
pub(super) fn read<D: Document>(body: &[u8], html: bool) -> Result<D, Unknown> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let json = std::str::from_utf8(body)
        .map_err(|_| Unknown::NotJson("not UTF-8: binary or another encoding".into()))?;
    D::parse(json).map_err(|unknown| match unknown {
        Unknown::NotJson(_) if json.trim_start().is_empty() => Unknown::NotJson("empty answer".into()),
        Unknown::NotJson(_) if html || json.trim_start().starts_with('<') => {
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
        let incidents = body.incidents.0.unwrap_or_default();
        let planned = body.scheduled_maintenances.0.unwrap_or_default();
        let (running, rest): (Vec<_>, Vec<_>) = planned.into_iter().partition(RawEvent::is_running);
        Ok(Summary {
            status: Status::from_raw(body.status)?,
            incidents: events(incidents.into_iter().filter(RawEvent::is_unresolved).collect()),
            maintenances: events(running),
            announced: events(rest.into_iter().filter(RawEvent::is_announced).collect()),
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
        let raw = object::<Body>(json)?.components.0.ok_or(Unknown::NoIndicator)?;
        let (groups, plain): (Vec<_>, Vec<_>) = raw.into_iter().partition(|component| component.group.0);
        let groups: Vec<_> = groups
            .into_iter()
            .map(|group| (group.id.0.unwrap_or_default(), short(group.name), group.components.0))
            .collect();
        let group_of = |component: &RawComponent| {
            let id = component.id.0.as_deref().filter(|id| !id.is_empty());
            groups.iter().find_map(|(group, name, children)| {
                let named = component.group_id.0.as_deref() == Some(group.as_str());
                let listed = id.is_some_and(|id| children.iter().any(|child| child == id));
                (named || listed).then(|| name.clone())
            })
        };
        Ok(Components(
            plain
                .into_iter()
                .map(|raw| Component { group: group_of(&raw), ..Component::from_raw(raw) })
                .collect(),
        ))
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

fn shortened(text: &str, max: usize) -> String {
    text::shorten(&text::plain(text), max).into_owned()
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
            indicator: word.parse().map_err(|_| shortened(&word, MAX_WORD)),
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
        let over = matches!(self.status.0.as_deref(), Some("resolved" | "postmortem" | "completed"));
        !over && self.resolved_at.0.is_none()
    }

    fn is_announced(&self) -> bool {
        self.status.0.as_deref() == Some("scheduled")
    }

    fn is_running(&self) -> bool {
        matches!(self.status.0.as_deref(), Some("in_progress" | "verifying"))
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
        let latest = raw.incident_updates.0.unwrap_or_default().into_iter().next();
        Event {
            impact: raw.impact.0.as_deref().and_then(|word| word.parse().ok()).unwrap_or_default(),
            started: began.unwrap_or(Timestamp::MIN),
            state: shortened(&raw.status.0.as_deref().unwrap_or_default().replace('_', " "), MAX_WORD),
            begins: time(&raw.scheduled_for).or(began),
            ends: time(&raw.scheduled_until),
            update: latest.map(|update| short(update.body)).unwrap_or_default(),
            title: short(raw.name),
            shortlink: if link.len() <= MAX_TEXT { link } else { String::new() },
            touches: raw.components.0.unwrap_or_default().into_iter().filter_map(|c| c.id.0).collect(),
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
        let severity = match state.as_str() {
            "operational" => Ok(Severity::None),
            "degraded_performance" => Ok(Severity::Minor),
            "partial_outage" => Ok(Severity::Major),
            "major_outage" | "full_outage" => Ok(Severity::Critical),
            "under_maintenance" => Ok(Severity::Maintenance),
            other => Err(shortened(other, MAX_WORD)),
        };
        Component {
            id: raw.id.0.unwrap_or_default(),
            name: short(raw.name),
            group: None,
            severity,
            state: shortened(&state.replace('_', " "), MAX_WORD),
        }
    }
}
