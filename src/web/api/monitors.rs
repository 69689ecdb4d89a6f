//! `/api/v1/monitors` and `/api/v1/monitors/NAME`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;

use super::problem::{ApiProblem, in_time};
use super::values::{ApiTime, LinkEntry, ms, optional_time};
use crate::domain::monitoring::assess;
use crate::domain::monitoring::history;
use crate::domain::monitoring::history::{Day, MonitorDay, date_of, days_before};
use crate::domain::monitoring::observation;
use crate::domain::monitoring::severity::Severity;
use crate::runtime::board::{Board, Missed, MonitorView, Paced};
use crate::web::state::WebState;
use crate::web::view::status::MonitorStatus;

/// Days of history in the details of a monitor.
const DAYS: i64 = 90;

/// All monitors, by name.
#[derive(Debug, Serialize)]
pub(super) struct MonitorsReply {
    monitors: Vec<MonitorEntry>,
}

#[derive(Debug, Serialize)]
struct MonitorEntry {
    name: String,
    /// `page`, or `sync` for the age of a connector's data.
    kind: &'static str,
    /// Of a status page.
    url: Option<String>,
    /// Of a sync.
    connector: Option<String>,
    tags: Vec<String>,
    /// Until then it is left out of banners; `None` if it is not muted.
    muted_until: Option<ApiTime>,
    /// A severity, or `unknown`.
    state: &'static str,
    /// Last known severity, held while the status page cannot be read; `None` before the first reading.
    severity: Option<&'static str>,
    /// In the status page's words.
    description: Option<String>,
    since: Option<ApiTime>,
    link: Option<LinkEntry>,
    read_at: Option<ApiTime>,
    unreadable: Option<UnreadableEntry>,
    /// A change that has not been read often enough to count.
    pending: Option<PendingChange>,
    looks: PollCounts,
}

/// Why the status page cannot be read.
#[derive(Debug, Serialize)]
struct UnreadableEntry {
    /// One word of a closed list.
    reason: &'static str,
    message: String,
    since: ApiTime,
    looks: u32,
}

#[derive(Debug, Serialize)]
struct PendingChange {
    /// `worse` or `better` than the current severity.
    direction: &'static str,
    readings: u32,
    since: ApiTime,
}

/// Since the daemon's start.
#[derive(Debug, Serialize)]
struct PollCounts {
    total: u64,
    /// Responses with 304.
    not_modified: u64,
    /// By reason.
    failed: BTreeMap<&'static str, u64>,
    last_duration_ms: Option<u64>,
}

#[derive(Debug, Serialize)]
pub(super) struct MonitorDetails {
    #[serde(flatten)]
    monitor: MonitorEntry,
    /// Events on the status page; `None` if its definition does not read them.
    open: Option<Vec<EventEntry>>,
    uptime: Uptime,
    /// Oldest first; days without monitoring are omitted.
    days: Vec<DayEntry>,
    /// Newest first.
    recent_looks: Vec<PollEntry>,
    /// Newest first.
    recent_failures: Vec<FailureEntry>,
}

/// An incident or maintenance on a status page.
#[derive(Debug, Serialize)]
struct EventEntry {
    /// `incident` or `maintenance`.
    kind: &'static str,
    title: String,
    impact: &'static str,
    /// In the status page's words.
    stage: String,
    begins_at: Option<ApiTime>,
    ends_at: Option<ApiTime>,
    latest_update: Option<String>,
    link: Option<LinkEntry>,
}

#[derive(Debug, Serialize)]
struct Uptime {
    days: i64,
    /// Share of monitored time without an incident, 0 to 1.
    ratio: Option<f64>,
    watched_seconds: u64,
}

#[derive(Debug, Serialize)]
struct DayEntry {
    date: String,
    worst: &'static str,
    watched_seconds: u64,
    /// Seconds at each severity.
    seconds: BTreeMap<&'static str, u32>,
}

#[derive(Debug, Serialize)]
struct PollEntry {
    at: ApiTime,
    duration_ms: u64,
    /// Whether it succeeded.
    read: bool,
}

/// Consecutive polls that failed for the same reason.
#[derive(Debug, Serialize)]
struct FailureEntry {
    reason: &'static str,
    message: String,
    first_at: ApiTime,
    last_at: ApiTime,
    looks: u32,
}

pub(super) async fn list(State(state): State<WebState>) -> Json<MonitorsReply> {
    let now = state.clock.now();
    Json(state.board.read(|board| {
        let each = |(name, view): (&String, &MonitorView)| MonitorEntry::of(name, view, board, now);
        MonitorsReply { monitors: board.monitors.iter().map(each).collect() }
    }))
}

pub(super) async fn one(
    State(state): State<WebState>,
    Path(name): Path<String>,
) -> Result<Json<MonitorDetails>, ApiProblem> {
    let now = state.clock.now();
    let found = state.board.read(|board| {
        board
            .monitors
            .get(&name)
            .map(|view| MonitorDetails::of(view, MonitorEntry::of(&name, view, board, now)))
    });
    let mut details = found.ok_or_else(|| ApiProblem::unknown("monitor", &name, "/api/v1/monitors"))?;
    let (records, since) = (Arc::clone(&state.records), days_before(date_of(now), DAYS - 1));
    details.add_history(in_time(async move { records.days_of(&name, since).await }).await?);
    Ok(Json(details))
}

impl MonitorEntry {
    fn of(name: &str, view: &MonitorView, board: &Board, now: Timestamp) -> MonitorEntry {
        let current = &view.state;
        let connector = view.address.strip_prefix("sync ").map(str::to_owned);
        let read = |text: &str| current.read_at.is_some().then(|| text.to_owned());
        MonitorEntry {
            name: name.to_owned(),
            kind: if connector.is_some() { "sync" } else { "page" },
            url: Some(view.address.clone()).filter(|url| connector.is_none() && !url.is_empty()),
            connector,
            tags: view.tags.clone(),
            muted_until: optional_time(view.muted(now)),
            state: MonitorStatus::of(view, board, now).word(),
            severity: current.read_at.map(|_| current.severity.as_str()),
            description: read(&current.description),
            since: optional_time(current.since),
            link: current.link.as_ref().map(LinkEntry::from),
            read_at: optional_time(current.read_at),
            unreadable: current.unknown.as_ref().map(UnreadableEntry::from),
            pending: current.candidate.as_ref().map(PendingChange::from),
            looks: PollCounts {
                total: view.polls,
                not_modified: view.not_modified,
                failed: view.failures.clone(),
                last_duration_ms: (view.polls > 0).then(|| ms(view.took)),
            },
        }
    }
}

impl MonitorDetails {
    fn of(view: &MonitorView, monitor: MonitorEntry) -> MonitorDetails {
        let poll =
            |poll: Paced| PollEntry { at: ApiTime(poll.at), duration_ms: ms(poll.took), read: poll.read };
        MonitorDetails {
            monitor,
            open: view.open.as_ref().map(|open| open.iter().map(EventEntry::from).collect()),
            uptime: Uptime { days: DAYS, ratio: None, watched_seconds: 0 },
            days: Vec::new(),
            recent_looks: view.pace.polls().map(poll).collect(),
            recent_failures: view.missed.iter().rev().map(FailureEntry::from).collect(),
        }
    }

    fn add_history(&mut self, days: Vec<MonitorDay>) {
        self.uptime.ratio = history::uptime(days.iter().map(|(.., day)| day));
        self.uptime.watched_seconds = days.iter().map(|(.., day)| day.watched()).sum::<u64>() / 1000;
        self.days = days.iter().filter_map(|(_, date, day)| DayEntry::of(*date, day)).collect();
    }
}

impl DayEntry {
    fn of(date: Date, day: &Day) -> Option<DayEntry> {
        Some(DayEntry {
            date: date.to_string(),
            worst: day.worst()?.as_str(),
            watched_seconds: day.watched() / 1000,
            seconds: Severity::ALL
                .map(Severity::as_str)
                .into_iter()
                .zip(day.at.map(|ms| ms / 1000))
                .collect(),
        })
    }
}

impl From<&assess::Unread> for UnreadableEntry {
    fn from(unread: &assess::Unread) -> UnreadableEntry {
        UnreadableEntry {
            reason: unread.reason.reason(),
            message: unread.reason.to_string(),
            since: ApiTime(unread.since),
            looks: unread.times,
        }
    }
}

impl From<&assess::Candidate> for PendingChange {
    fn from(candidate: &assess::Candidate) -> PendingChange {
        PendingChange {
            direction: if candidate.worse { "worse" } else { "better" },
            readings: candidate.count,
            since: ApiTime(candidate.since),
        }
    }
}

impl From<&observation::Event> for EventEntry {
    fn from(event: &observation::Event) -> EventEntry {
        EventEntry {
            kind: if event.planned { "maintenance" } else { "incident" },
            title: event.title.clone(),
            impact: event.impact.as_str(),
            stage: event.state.clone(),
            begins_at: optional_time(event.begins),
            ends_at: optional_time(event.ends),
            latest_update: Some(event.update.clone()).filter(|update| !update.is_empty()),
            link: event.link.as_ref().map(LinkEntry::from),
        }
    }
}

impl From<&Missed> for FailureEntry {
    fn from(missed: &Missed) -> FailureEntry {
        FailureEntry {
            reason: missed.reason.reason(),
            message: missed.reason.to_string(),
            first_at: ApiTime(missed.first),
            last_at: ApiTime(missed.last),
            looks: missed.times,
        }
    }
}
