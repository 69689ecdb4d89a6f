//! `/api/v1/connectors` and `/api/v1/connectors/NAME`: runs and tables of connectors.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;

use super::problem::{ApiProblem, in_time};
use super::values::{ApiTime, ms, optional_time};
use crate::domain::syncing::delivery::{AppReport, DeliveryReport, ReloadOutcome};
use crate::domain::syncing::op::End;
use crate::domain::syncing::run_history;
use crate::runtime::board::{Board, LastRun, SyncView};
use crate::web::state::WebState;
use crate::web::view::deliveries::Delivered;

/// Rejected rows in a response.
const REJECTED: usize = 100;
/// Characters of a rejected row in a response; the table `_rejected` has all of it.
const RAW: usize = 2000;

/// All enabled connectors, by name.
#[derive(Debug, Serialize)]
pub(super) struct ConnectorsReply {
    connectors: Vec<ConnectorEntry>,
}

#[derive(Debug, Serialize)]
struct ConnectorEntry {
    name: String,
    running: bool,
    every_seconds: u64,
    /// `None` while it runs.
    next_run_at: Option<ApiTime>,
    /// Start of the last complete run: the data is as of then.
    last_complete_at: Option<ApiTime>,
    /// Since the daemon's start.
    last_run: Option<LastRunEntry>,
    /// Since the daemon's start, zero counts included.
    runs_by_end: BTreeMap<&'static str, u64>,
    /// By tenant that gets its data.
    in_qlik: BTreeMap<String, DeliveredEntry>,
}

/// The data in a tenant.
#[derive(Debug, Serialize)]
struct DeliveredEntry {
    /// `None` if apps are only reloaded.
    space: Option<String>,
    state: &'static str,
    /// Start of the run whose data all apps show, or if none is reloaded, the space.
    data_as_of: Option<ApiTime>,
    /// Since when newer data waits.
    pending_since: Option<ApiTime>,
    trouble: Option<String>,
    apps: BTreeMap<String, AppEntry>,
}

/// An app that is reloaded.
#[derive(Debug, Serialize)]
struct AppEntry {
    /// How its last reload ended.
    outcome: Option<&'static str>,
    /// Why it failed.
    message: Option<String>,
    ended_at: Option<ApiTime>,
    data_as_of: Option<ApiTime>,
}

#[derive(Debug, Serialize)]
struct LastRunEntry {
    ended_at: ApiTime,
    end: &'static str,
    reason: Option<String>,
    duration_ms: u64,
    waited_ms: u64,
    /// Rows the source sent, by table.
    rows_seen: BTreeMap<String, u64>,
}

#[derive(Debug, Serialize)]
pub(super) struct ConnectorDetails {
    #[serde(flatten)]
    connector: ConnectorEntry,
    tables: Vec<TableEntry>,
    /// Newest first.
    rejected: Vec<RejectedEntry>,
}

#[derive(Debug, Serialize)]
struct TableEntry {
    name: String,
    /// Not deleted at the source.
    rows: u64,
    /// Soft deletes.
    deleted_rows: u64,
}

#[derive(Debug, Serialize)]
struct RejectedEntry {
    run: i64,
    table: String,
    reason: String,
    /// As the source sent it, shortened.
    raw: String,
}

pub(super) async fn list(State(state): State<WebState>) -> Json<ConnectorsReply> {
    let read = |board: &Board| {
        let each = |(name, view): (&String, &SyncView)| ConnectorEntry::of(board, name, view);
        ConnectorsReply { connectors: board.syncs.iter().map(each).collect() }
    };
    Json(state.board.read(read))
}

pub(super) async fn one(
    State(state): State<WebState>,
    Path(name): Path<String>,
) -> Result<Json<ConnectorDetails>, ApiProblem> {
    let found =
        state.board.read(|board| board.syncs.get(&name).map(|view| ConnectorEntry::of(board, &name, view)));
    let connector = found.ok_or_else(|| ApiProblem::unknown("connector", &name, "/api/v1/connectors"))?;
    let records = Arc::clone(&state.records);
    let (tables, rejected) = in_time(async move {
        let tables = records.tables(&name).await?;
        Ok((tables, records.rejected(&name, REJECTED).await?))
    })
    .await?;
    Ok(Json(ConnectorDetails {
        connector,
        tables: tables.into_iter().map(TableEntry::from).collect(),
        rejected: rejected.into_iter().map(RejectedEntry::from).collect(),
    }))
}

impl ConnectorEntry {
    fn of(board: &Board, name: &str, view: &SyncView) -> ConnectorEntry {
        let delivered = Delivered::of_connector(board, name).into_iter();
        let count = |end: End| (end.as_str(), view.ends.get(end.as_str()).copied().unwrap_or(0));
        ConnectorEntry {
            name: name.to_owned(),
            running: view.running,
            every_seconds: view.every.as_secs(),
            next_run_at: optional_time(view.next_at),
            last_complete_at: optional_time(view.last_success),
            last_run: view.last_run.as_ref().map(LastRunEntry::from),
            runs_by_end: End::ALL.into_iter().map(count).collect(),
            in_qlik: delivered.map(|one| (one.tenant, DeliveredEntry::from(one.report))).collect(),
        }
    }
}

impl From<DeliveryReport> for DeliveredEntry {
    fn from(report: DeliveryReport) -> DeliveredEntry {
        DeliveredEntry {
            space: report.space,
            state: report.phase.as_str(),
            data_as_of: optional_time(report.as_of),
            pending_since: optional_time(report.pending_since),
            trouble: report.trouble,
            apps: report.apps.into_iter().map(|(id, app)| (id, AppEntry::from(app))).collect(),
        }
    }
}

impl From<AppReport> for AppEntry {
    fn from(app: AppReport) -> AppEntry {
        AppEntry {
            outcome: app.outcome.map(ReloadOutcome::as_str),
            message: app.message,
            ended_at: optional_time(app.ended_at),
            data_as_of: optional_time(app.as_of),
        }
    }
}

impl From<&LastRun> for LastRunEntry {
    fn from(run: &LastRun) -> LastRunEntry {
        LastRunEntry {
            ended_at: ApiTime(run.ended_at),
            end: run.end,
            reason: run.reason.clone(),
            duration_ms: ms(run.took),
            waited_ms: ms(run.waited),
            rows_seen: run.rows.clone(),
        }
    }
}

impl From<run_history::TableFacts> for TableEntry {
    fn from(facts: run_history::TableFacts) -> TableEntry {
        TableEntry { name: facts.table, rows: facts.rows, deleted_rows: facts.deleted }
    }
}

impl From<run_history::RejectedRow> for RejectedEntry {
    fn from(row: run_history::RejectedRow) -> RejectedEntry {
        let raw = crate::domain::text::shorten(&row.raw, RAW).into_owned();
        RejectedEntry { run: row.run, table: row.table, reason: row.reason, raw }
    }
}
