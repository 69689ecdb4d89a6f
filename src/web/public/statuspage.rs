//! `/api/v2/status.json`, `summary.json` and `components.json`: the daemon as a Statuspage, so that tools for that format,
//! another data-sources-monitor included, can monitor this one.
//!
//! Monitors are components. An unknown status is written as `unknown`, which is not part of the format, because all of its
//! words claim a known status; strict clients then report an unreadable page. Start at [`PageInfo::of`].

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use jiff::Timestamp;
use serde::Serialize;

use crate::domain::monitoring::observation::Event;
use crate::domain::monitoring::schedule::hash;
use crate::domain::monitoring::severity::Severity;
use crate::runtime::board::{Board, MonitorView};
use crate::web::state::WebState;
use crate::web::view::status::{MonitorStatus, OverallStatus};

/// Characters of an id, as on genuine status pages.
const ID: usize = 12;

#[derive(Debug, Clone, Serialize)]
struct PageInfo {
    id: String,
    name: String,
    url: String,
    time_zone: &'static str,
    updated_at: String,
}

#[derive(Debug, Serialize)]
struct StatusIndicator {
    indicator: &'static str,
    description: String,
}

/// `status.json`.
#[derive(Debug, Serialize)]
pub(in crate::web) struct StatusDocument {
    page: PageInfo,
    status: StatusIndicator,
}

/// `components.json`.
#[derive(Debug, Serialize)]
pub(in crate::web) struct ComponentsDocument {
    page: PageInfo,
    components: Vec<ComponentEntry>,
}

/// `summary.json`.
#[derive(Debug, Serialize)]
pub(in crate::web) struct SummaryDocument {
    page: PageInfo,
    components: Vec<ComponentEntry>,
    incidents: Vec<IncidentEntry>,
    scheduled_maintenances: Vec<IncidentEntry>,
    status: StatusIndicator,
}

#[derive(Debug, Clone, Serialize)]
struct ComponentEntry {
    id: String,
    name: String,
    status: &'static str,
    created_at: String,
    updated_at: String,
    position: usize,
    description: Option<String>,
    showcase: bool,
    start_date: Option<String>,
    group_id: Option<String>,
    page_id: String,
    group: bool,
    only_show_if_degraded: bool,
}

/// An incident, or with the two `scheduled` times a maintenance.
#[derive(Debug, Serialize)]
struct IncidentEntry {
    id: String,
    name: String,
    status: String,
    created_at: String,
    updated_at: String,
    monitoring_at: Option<String>,
    resolved_at: Option<String>,
    impact: &'static str,
    shortlink: String,
    started_at: String,
    page_id: String,
    incident_updates: Vec<IncidentUpdate>,
    components: Vec<ComponentEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scheduled_for: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scheduled_until: Option<String>,
}

#[derive(Debug, Serialize)]
struct IncidentUpdate {
    id: String,
    status: String,
    body: String,
    incident_id: String,
    created_at: String,
    updated_at: String,
    display_at: String,
    affected_components: Option<Vec<String>>,
    deliver_notifications: bool,
    custom_tweet: Option<String>,
    tweet_id: Option<String>,
}

pub(in crate::web) async fn status(
    State(state): State<WebState>,
    headers: HeaderMap,
) -> Json<StatusDocument> {
    let now = state.clock.now();
    Json(state.board.read(|board| StatusDocument {
        page: PageInfo::of(board, &state.brand.title, &headers),
        status: StatusIndicator::of(board, now),
    }))
}

pub(in crate::web) async fn components(
    State(state): State<WebState>,
    headers: HeaderMap,
) -> Json<ComponentsDocument> {
    let now = state.clock.now();
    Json(state.board.read(|board| {
        let page = PageInfo::of(board, &state.brand.title, &headers);
        ComponentsDocument { components: page.components(board, now), page }
    }))
}

pub(in crate::web) async fn summary(
    State(state): State<WebState>,
    headers: HeaderMap,
) -> Json<SummaryDocument> {
    let now = state.clock.now();
    Json(state.board.read(|board| {
        let page = PageInfo::of(board, &state.brand.title, &headers);
        let components = page.components(board, now);
        let (mut incidents, mut scheduled_maintenances) = (Vec::new(), Vec::new());
        for ((name, view), component) in board.monitors.iter().zip(&components) {
            for event in events(view, MonitorStatus::of(view, board, now)) {
                let list = if event.planned { &mut scheduled_maintenances } else { &mut incidents };
                list.push(page.incident(name, &event, component));
            }
        }
        SummaryDocument {
            status: StatusIndicator::of(board, now),
            page,
            components,
            incidents,
            scheduled_maintenances,
        }
    }))
}

impl StatusIndicator {
    fn of(board: &Board, now: Timestamp) -> StatusIndicator {
        let overall = OverallStatus::of(board, now);
        let Some(severity) = overall.severity() else {
            let description = match (overall.unknown, overall.total) {
                (_, 0) => "No monitors".to_owned(),
                (unknown, total) => format!("{unknown} of {total} services cannot be read"),
            };
            return StatusIndicator { indicator: "unknown", description };
        };
        let description = match severity {
            Severity::None => "All Systems Operational",
            Severity::Maintenance => "Service Under Maintenance",
            Severity::Minor => "Partially Degraded Service",
            Severity::Major => "Partial System Outage",
            Severity::Critical => "Major Service Outage",
        };
        StatusIndicator { indicator: severity.as_str(), description: description.to_owned() }
    }
}

impl PageInfo {
    fn of(board: &Board, title: &str, headers: &HeaderMap) -> PageInfo {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let scheme = if text("x-forwarded-proto") == Some("https") { "https" } else { "http" };
        let host = text(header::HOST.as_str()).unwrap_or("localhost");
        let changed = board.monitors.values().filter_map(changed_at).max().unwrap_or(board.started_at);
        PageInfo {
            id: id(&["page"]),
            name: title.to_owned(),
            url: format!("{scheme}://{host}"),
            time_zone: "Etc/UTC",
            updated_at: time(changed.max(board.started_at)),
        }
    }

    fn components(&self, board: &Board, now: Timestamp) -> Vec<ComponentEntry> {
        let one = |(number, (name, view)): (usize, (&String, &MonitorView))| ComponentEntry {
            id: id(&["component", name]),
            name: name.clone(),
            status: match MonitorStatus::of(view, board, now).severity() {
                Some(Severity::None) => "operational",
                Some(Severity::Maintenance) => "under_maintenance",
                Some(Severity::Minor) => "degraded_performance",
                Some(Severity::Major) => "partial_outage",
                Some(Severity::Critical) => "major_outage",
                None => "unknown",
            },
            created_at: time(board.started_at),
            updated_at: time(changed_at(view).unwrap_or(board.started_at)),
            position: number + 1,
            description: Some(view.state.description.clone()).filter(|text| !text.is_empty()),
            showcase: true,
            start_date: None,
            group_id: None,
            page_id: self.id.clone(),
            group: false,
            only_show_if_degraded: false,
        };
        board.monitors.iter().enumerate().map(one).collect()
    }

    fn incident(&self, monitor: &str, event: &Event, component: &ComponentEntry) -> IncidentEntry {
        let begins = time(event.begins.unwrap_or_default());
        let own = id(&["event", monitor, &event.title, &begins]);
        let stage = event.state.replace(' ', "_");
        let known: &[&str] = match event.planned {
            true => &["scheduled", "in_progress", "verifying"],
            false => &["investigating", "identified", "monitoring"],
        };
        let usual = if event.planned { "in_progress" } else { "investigating" };
        let status = if known.contains(&&*stage) { stage } else { usual.to_owned() };
        IncidentEntry {
            name: format!("{monitor}: {}", event.title),
            status: status.clone(),
            created_at: begins.clone(),
            updated_at: begins.clone(),
            monitoring_at: None,
            resolved_at: None,
            impact: event.impact.as_str(),
            shortlink: event.link.as_ref().map_or_else(|| self.url.clone(), |link| link.url.clone()),
            started_at: begins.clone(),
            page_id: self.id.clone(),
            incident_updates: vec![IncidentUpdate {
                id: id(&["update", &own]),
                status,
                body: if event.update.is_empty() { event.title.clone() } else { event.update.clone() },
                incident_id: own.clone(),
                created_at: begins.clone(),
                updated_at: begins.clone(),
                display_at: begins.clone(),
                affected_components: None,
                deliver_notifications: false,
                custom_tweet: None,
                tweet_id: None,
            }],
            components: vec![component.clone()],
            scheduled_for: event.planned.then(|| begins.clone()),
            scheduled_until: event.ends.filter(|_| event.planned).map(time),
            id: own,
        }
    }
}

/// Open events of a monitor: those of its status page if they agree with its severity, else one made from the severity.
/// Incidents that a status page lists while it is operational are ignored.
fn events(view: &MonitorView, status: MonitorStatus) -> Vec<Event> {
    let severity = status.severity().unwrap_or_default();
    let listed = view.open.iter().flatten();
    let mut events: Vec<Event> =
        listed.filter(|event| event.planned || severity > Severity::Maintenance).cloned().collect();
    let planned = severity == Severity::Maintenance;
    let running = |event: &Event| event.planned == planned && event.state != "scheduled";
    if severity > Severity::None && !events.iter().any(running) {
        events.push(Event {
            planned,
            title: view.state.description.clone(),
            impact: severity,
            state: String::new(),
            begins: view.state.since,
            ends: None,
            link: view.state.link.clone(),
            update: String::new(),
        });
    }
    events
}

/// The last change that is visible to clients.
fn changed_at(view: &MonitorView) -> Option<Timestamp> {
    view.state.since.max(view.state.unknown.as_ref().map(|unread| unread.since))
}

fn time(at: Timestamp) -> String {
    format!("{at:.3}")
}

/// Stable across processes and restarts.
fn id(of: &[&str]) -> String {
    let mut left = hash(&of.join("\u{0}"));
    let digit = |_| {
        let digit = char::from_digit((left % 36) as u32, 36).unwrap_or('0');
        left /= 36;
        digit
    };
    (0..ID).map(digit).collect()
}
