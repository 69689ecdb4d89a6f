//! `/api/v1/status`: a summary of the daemon.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use serde::Serialize;

use super::values::{ApiTime, LinkEntry, optional_time};
use crate::domain::monitoring::assess::Issue;
use crate::domain::monitoring::severity::Severity;
use crate::runtime::board::{Board, LeaseView};
use crate::web::state::WebState;
use crate::web::view::status::MonitorStatus;

#[derive(Debug, Serialize)]
pub(super) struct StatusReply {
    version: &'static str,
    started_at: ApiTime,
    /// `live`, or `preview` without a tenant.
    mode: &'static str,
    /// If several daemons share a state database: which is the leader.
    lease: Option<LeaseEntry>,
    /// As `/readyz`.
    ready: bool,
    not_ready_because: Vec<String>,
    /// The worst known severity; `None` before the first reading.
    severity: Option<&'static str>,
    monitors: MonitorCounts,
    /// Worst first.
    issues: Vec<IssueEntry>,
    connectors: ConnectorCounts,
    cycles: CycleCounts,
    definitions: DefinitionsStatus,
    /// The state database.
    store: StoreStatus,
}

/// A standby shows a copy of the leader's state.
#[derive(Debug, Serialize)]
struct LeaseEntry {
    /// Whether this daemon is the leader.
    held: bool,
    holder: Option<String>,
    since: Option<ApiTime>,
}

#[derive(Debug, Serialize)]
struct MonitorCounts {
    total: usize,
    /// By current status, zero counts included.
    by_state: BTreeMap<&'static str, usize>,
}

#[derive(Debug, Serialize)]
struct IssueEntry {
    monitor: String,
    severity: &'static str,
    description: String,
    since: ApiTime,
    link: Option<LinkEntry>,
}

#[derive(Debug, Serialize)]
struct ConnectorCounts {
    total: usize,
    running: usize,
    /// By outcome of the last run since the start, zero counts included.
    by_last_end: BTreeMap<&'static str, usize>,
}

#[derive(Debug, Serialize)]
struct CycleCounts {
    finished: u64,
    last_finished_at: Option<ApiTime>,
    looks_missed: u64,
}

#[derive(Debug, Serialize)]
struct DefinitionsStatus {
    ok: bool,
    read_at: ApiTime,
}

#[derive(Debug, Serialize)]
struct StoreStatus {
    writable: bool,
    trouble_since: Option<ApiTime>,
    trouble: Option<String>,
}

pub(super) async fn get(State(state): State<WebState>) -> Json<StatusReply> {
    let now = state.clock.now();
    Json(state.board.read(|board| StatusReply::of(board, now)))
}

impl StatusReply {
    fn of(board: &Board, now: Timestamp) -> StatusReply {
        let reasons = board.ready(now);
        let read = board.monitors.values().filter(|monitor| monitor.state.read_at.is_some());
        StatusReply {
            version: env!("CARGO_PKG_VERSION"),
            started_at: ApiTime(board.started_at),
            mode: if board.live { "live" } else { "preview" },
            lease: board.lease.as_ref().map(LeaseEntry::from),
            ready: reasons.is_empty(),
            not_ready_because: reasons,
            severity: read.map(|monitor| monitor.state.severity).max().map(Severity::as_str),
            monitors: MonitorCounts::of(board, now),
            issues: board.issues.iter().map(IssueEntry::from).collect(),
            connectors: ConnectorCounts::of(board),
            cycles: CycleCounts {
                finished: board.cycles.finished,
                last_finished_at: optional_time(board.cycles.finished_at),
                looks_missed: board.cycles.missed,
            },
            definitions: DefinitionsStatus {
                ok: board.invalid_definitions().next().is_none(),
                read_at: ApiTime(board.definitions.1),
            },
            store: StoreStatus {
                writable: board.store_trouble.is_none(),
                trouble_since: optional_time(board.store_trouble.as_ref().map(|(since, _)| *since)),
                trouble: board.store_trouble.as_ref().map(|(_, why)| why.clone()),
            },
        }
    }
}

impl MonitorCounts {
    fn of(board: &Board, now: Timestamp) -> MonitorCounts {
        let words = Severity::ALL.map(Severity::as_str).into_iter().chain(["unknown"]);
        let mut by_state: BTreeMap<_, _> = words.map(|word| (word, 0)).collect();
        for monitor in board.monitors.values() {
            *by_state.entry(MonitorStatus::of(monitor, board, now).word()).or_default() += 1;
        }
        MonitorCounts { total: board.monitors.len(), by_state }
    }
}

impl ConnectorCounts {
    fn of(board: &Board) -> ConnectorCounts {
        let mut by_last_end: BTreeMap<_, _> =
            crate::domain::syncing::op::End::ALL.iter().map(|end| (end.as_str(), 0)).collect();
        for run in board.syncs.values().filter_map(|sync| sync.last_run.as_ref()) {
            *by_last_end.entry(run.end).or_default() += 1;
        }
        let running = board.syncs.values().filter(|sync| sync.running).count();
        ConnectorCounts { total: board.syncs.len(), running, by_last_end }
    }
}

impl From<&LeaseView> for LeaseEntry {
    fn from(lease: &LeaseView) -> LeaseEntry {
        LeaseEntry { held: lease.held, holder: lease.holder.clone(), since: optional_time(lease.since) }
    }
}

impl From<&Issue> for IssueEntry {
    fn from(issue: &Issue) -> IssueEntry {
        IssueEntry {
            monitor: issue.monitor.clone(),
            severity: issue.severity.as_str(),
            description: issue.description.clone(),
            since: ApiTime(issue.since),
            link: issue.link.as_ref().map(LinkEntry::from),
        }
    }
}
