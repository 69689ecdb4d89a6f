//! `/api/v1/monitors` and `/api/v1/monitors/NAME`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;

use super::problem::Problem;
use super::words::{Link, Moment, moment, ms};
use super::{DAYS, in_time};
use crate::domain::assess;
use crate::domain::history::{self, Day, MonitorDay, date_of, days_before};
use crate::domain::observation;
use crate::domain::severity::Severity;
use crate::runtime::board::{Board, Missed, MonitorView, Paced};
use crate::web::Shown;
use crate::web::view::MonitorStatus;

/// All monitors, by name.
#[derive(Debug, Serialize)]
pub(super) struct Monitors {
    monitors: Vec<Monitor>,
}

/// One.
#[derive(Debug, Serialize)]
struct Monitor {
    name: String,
    /// `page`, or `sync` for the age of a connector's data.
    kind: &'static str,
    /// Of a page.
    url: Option<String>,
    /// Of a sync.
    connector: Option<String>,
    /// A severity, or `unknown`: not read yet, or not readable now.
    state: &'static str,
    /// What is believed, held while it cannot be read; `None` before the first reading.
    severity: Option<&'static str>,
    /// In the page's words.
    description: Option<String>,
    since: Option<Moment>,
    link: Option<Link>,
    read_at: Option<Moment>,
    unreadable: Option<Unreadable>,
    /// A change that is not believed yet.
    pending: Option<Pending>,
    looks: Looks,
}

/// Why it cannot be read now.
#[derive(Debug, Serialize)]
struct Unreadable {
    /// One word of a closed list.
    reason: &'static str,
    message: String,
    since: Moment,
    looks: u32,
}

#[derive(Debug, Serialize)]
struct Pending {
    /// `worse` or `better` than what is believed.
    direction: &'static str,
    readings: u32,
    since: Moment,
}

/// Since the daemon's start.
#[derive(Debug, Serialize)]
struct Looks {
    total: u64,
    /// Answered by 304.
    not_modified: u64,
    /// Without a reading, by reason.
    failed: BTreeMap<&'static str, u64>,
    last_duration_ms: Option<u64>,
}

/// One with what is known besides.
#[derive(Debug, Serialize)]
pub(super) struct Details {
    #[serde(flatten)]
    monitor: Monitor,
    /// What is open on the page; `None` where that is not read.
    open: Option<Vec<Event>>,
    uptime: Uptime,
    /// Oldest first; days that were not watched are left out.
    days: Vec<OneDay>,
    /// Newest first.
    recent_looks: Vec<Look>,
    /// Newest first.
    recent_failures: Vec<Failures>,
}

/// An incident or a maintenance on a page.
#[derive(Debug, Serialize)]
struct Event {
    /// `incident` or `maintenance`.
    kind: &'static str,
    title: String,
    impact: &'static str,
    /// In the page's words.
    stage: String,
    begins_at: Option<Moment>,
    ends_at: Option<Moment>,
    latest_update: Option<String>,
    link: Option<Link>,
}

#[derive(Debug, Serialize)]
struct Uptime {
    days: i64,
    /// The share of the watched time without an incident, 0 to 1.
    ratio: Option<f64>,
    watched_seconds: u64,
}

#[derive(Debug, Serialize)]
struct OneDay {
    date: String,
    worst: &'static str,
    watched_seconds: u64,
    /// Seconds at each severity.
    seconds: BTreeMap<&'static str, u32>,
}

#[derive(Debug, Serialize)]
struct Look {
    at: Moment,
    duration_ms: u64,
    /// Whether it gave a reading.
    read: bool,
}

/// Looks in a row that failed for one reason.
#[derive(Debug, Serialize)]
struct Failures {
    reason: &'static str,
    message: String,
    first_at: Moment,
    last_at: Moment,
    looks: u32,
}

pub(super) async fn list(State(shown): State<Shown>) -> Json<Monitors> {
    let now = shown.clock.now();
    Json(shown.board.read(|board| {
        let each = |(name, view): (&String, &MonitorView)| Monitor::of(name, view, board, now);
        Monitors { monitors: board.monitors.iter().map(each).collect() }
    }))
}

pub(super) async fn one(
    State(shown): State<Shown>,
    Path(name): Path<String>,
) -> Result<Json<Details>, Problem> {
    let now = shown.clock.now();
    let found = shown.board.read(|board| {
        board.monitors.get(&name).map(|view| Details::of(view, Monitor::of(&name, view, board, now)))
    });
    let mut details = found.ok_or_else(|| Problem::unknown("monitor", &name, "/api/v1/monitors"))?;
    let (records, since) = (Arc::clone(&shown.records), days_before(date_of(now), DAYS - 1));
    details.past(in_time(async move { records.days_of(&name, since).await }).await?);
    Ok(Json(details))
}

impl Monitor {
    fn of(name: &str, view: &MonitorView, board: &Board, now: Timestamp) -> Monitor {
        let believed = &view.state;
        let connector = view.address.strip_prefix("sync ").map(str::to_owned);
        let read = |text: &str| believed.read_at.is_some().then(|| text.to_owned());
        Monitor {
            name: name.to_owned(),
            kind: if connector.is_some() { "sync" } else { "page" },
            url: Some(view.address.clone()).filter(|url| connector.is_none() && !url.is_empty()),
            connector,
            state: MonitorStatus::of(view, board, now).word(),
            severity: believed.read_at.map(|_| believed.severity.as_str()),
            description: read(&believed.description),
            since: moment(believed.since),
            link: believed.link.as_ref().map(Link::from),
            read_at: moment(believed.read_at),
            unreadable: believed.unknown.as_ref().map(Unreadable::from),
            pending: believed.candidate.as_ref().map(Pending::from),
            looks: Looks {
                total: view.looks,
                not_modified: view.not_modified,
                failed: view.failures.clone(),
                last_duration_ms: (view.looks > 0).then(|| ms(view.took)),
            },
        }
    }
}

impl Details {
    fn of(view: &MonitorView, monitor: Monitor) -> Details {
        let look = |look: Paced| Look { at: Moment(look.at), duration_ms: ms(look.took), read: look.read };
        Details {
            monitor,
            open: view.open.as_ref().map(|open| open.iter().map(Event::from).collect()),
            uptime: Uptime { days: DAYS, ratio: None, watched_seconds: 0 },
            days: Vec::new(),
            recent_looks: view.pace.looks().map(look).collect(),
            recent_failures: view.missed.iter().rev().map(Failures::from).collect(),
        }
    }

    fn past(&mut self, days: Vec<MonitorDay>) {
        self.uptime.ratio = history::uptime(days.iter().map(|(.., day)| day));
        self.uptime.watched_seconds = days.iter().map(|(.., day)| day.watched()).sum::<u64>() / 1000;
        self.days = days.iter().filter_map(|(_, date, day)| OneDay::of(*date, day)).collect();
    }
}

impl OneDay {
    fn of(date: Date, day: &Day) -> Option<OneDay> {
        Some(OneDay {
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

impl From<&assess::Unread> for Unreadable {
    fn from(unread: &assess::Unread) -> Unreadable {
        Unreadable {
            reason: unread.reason.reason(),
            message: unread.reason.to_string(),
            since: Moment(unread.since),
            looks: unread.times,
        }
    }
}

impl From<&assess::Candidate> for Pending {
    fn from(candidate: &assess::Candidate) -> Pending {
        Pending {
            direction: if candidate.worse { "worse" } else { "better" },
            readings: candidate.count,
            since: Moment(candidate.since),
        }
    }
}

impl From<&observation::Event> for Event {
    fn from(event: &observation::Event) -> Event {
        Event {
            kind: if event.planned { "maintenance" } else { "incident" },
            title: event.title.clone(),
            impact: event.impact.as_str(),
            stage: event.state.clone(),
            begins_at: moment(event.begins),
            ends_at: moment(event.ends),
            latest_update: Some(event.update.clone()).filter(|update| !update.is_empty()),
            link: event.link.as_ref().map(Link::from),
        }
    }
}

impl From<&Missed> for Failures {
    fn from(missed: &Missed) -> Failures {
        Failures {
            reason: missed.reason.reason(),
            message: missed.reason.to_string(),
            first_at: Moment(missed.first),
            last_at: Moment(missed.last),
            looks: missed.times,
        }
    }
}
