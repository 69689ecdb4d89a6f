//! `/api/v1/status`: everything at a glance.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use serde::Serialize;

use super::words::{Link, Moment, moment};
use crate::domain::assess::Issue;
use crate::domain::severity::Severity;
use crate::runtime::board::{Board, LeaseView};
use crate::web::Shown;
use crate::web::view::MonitorStatus;

/// The answer.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    version: &'static str,
    started_at: Moment,
    /// `live`, or `preview` where no banner is written.
    mode: &'static str,
    /// Where several daemons share one memory: which of them works.
    lease: Option<Lease>,
    /// As `/readyz`.
    ready: bool,
    /// Why not.
    not_ready_because: Vec<String>,
    /// The worst that is believed; `None` before anything was read.
    severity: Option<&'static str>,
    monitors: Counts,
    /// Worst first.
    issues: Vec<Problem>,
    connectors: Syncs,
    cycles: Cycles,
    definitions: Definitions,
    /// Our own memory.
    store: Store,
}

/// One that stands by shows a copy of what the holder knows.
#[derive(Debug, Serialize)]
struct Lease {
    /// Whether it is ours.
    held: bool,
    holder: Option<String>,
    since: Option<Moment>,
}

#[derive(Debug, Serialize)]
struct Counts {
    total: usize,
    /// By the word for each now; all words, also those that count nothing.
    by_state: BTreeMap<&'static str, usize>,
}

/// A monitor with a problem, as believed.
#[derive(Debug, Serialize)]
struct Problem {
    monitor: String,
    severity: &'static str,
    description: String,
    since: Moment,
    link: Option<Link>,
}

#[derive(Debug, Serialize)]
struct Syncs {
    total: usize,
    running: usize,
    /// By how the last run ended; all words, also those that count nothing. Without those that have not run since the start.
    by_last_end: BTreeMap<&'static str, usize>,
}

#[derive(Debug, Serialize)]
struct Cycles {
    finished: u64,
    last_finished_at: Option<Moment>,
    looks_missed: u64,
}

#[derive(Debug, Serialize)]
struct Definitions {
    ok: bool,
    read_at: Moment,
}

#[derive(Debug, Serialize)]
struct Store {
    writable: bool,
    trouble_since: Option<Moment>,
    trouble: Option<String>,
}

pub(super) async fn get(State(shown): State<Shown>) -> Json<Status> {
    let now = shown.clock.now();
    Json(shown.board.read(|board| Status::of(board, now)))
}

impl Status {
    fn of(board: &Board, now: Timestamp) -> Status {
        let reasons = board.ready(now);
        let read = board.monitors.values().filter(|monitor| monitor.state.read_at.is_some());
        let (definitions, read_at) = board.definitions;
        Status {
            version: env!("CARGO_PKG_VERSION"),
            started_at: Moment(board.started_at),
            mode: if board.live { "live" } else { "preview" },
            lease: board.lease.as_ref().map(Lease::from),
            ready: reasons.is_empty(),
            not_ready_because: reasons,
            severity: read.map(|monitor| monitor.state.severity).max().map(Severity::as_str),
            monitors: Counts::of(board, now),
            issues: board.issues.iter().map(Problem::from).collect(),
            connectors: Syncs::of(board),
            cycles: Cycles {
                finished: board.cycles.finished,
                last_finished_at: moment(board.cycles.finished_at),
                looks_missed: board.cycles.missed,
            },
            definitions: Definitions { ok: definitions && board.connectors_ok, read_at: Moment(read_at) },
            store: Store {
                writable: board.store_trouble.is_none(),
                trouble_since: moment(board.store_trouble.as_ref().map(|(since, _)| *since)),
                trouble: board.store_trouble.as_ref().map(|(_, why)| why.clone()),
            },
        }
    }
}

impl Counts {
    fn of(board: &Board, now: Timestamp) -> Counts {
        let words = Severity::ALL.map(Severity::as_str).into_iter().chain(["unknown"]);
        let mut by_state: BTreeMap<_, _> = words.map(|word| (word, 0)).collect();
        for monitor in board.monitors.values() {
            *by_state.entry(MonitorStatus::of(monitor, board, now).word()).or_default() += 1;
        }
        Counts { total: board.monitors.len(), by_state }
    }
}

impl Syncs {
    fn of(board: &Board) -> Syncs {
        let mut by_last_end: BTreeMap<_, _> =
            crate::domain::op::End::ALL.iter().map(|end| (end.as_str(), 0)).collect();
        for run in board.syncs.values().filter_map(|sync| sync.last_run.as_ref()) {
            *by_last_end.entry(run.end).or_default() += 1;
        }
        let running = board.syncs.values().filter(|sync| sync.running).count();
        Syncs { total: board.syncs.len(), running, by_last_end }
    }
}

impl From<&LeaseView> for Lease {
    fn from(lease: &LeaseView) -> Lease {
        Lease { held: lease.held, holder: lease.holder.clone(), since: moment(lease.since) }
    }
}

impl From<&Issue> for Problem {
    fn from(issue: &Issue) -> Problem {
        Problem {
            monitor: issue.monitor.clone(),
            severity: issue.severity.as_str(),
            description: issue.description.clone(),
            since: Moment(issue.since),
            link: issue.link.as_ref().map(Link::from),
        }
    }
}
