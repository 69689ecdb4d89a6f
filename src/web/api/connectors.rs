//! `/api/v1/connectors` and `/api/v1/connectors/NAME`: how the data of each stand.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;

use super::in_time;
use super::problem::Problem;
use super::words::{Moment, moment, ms};
use crate::domain::ledger;
use crate::domain::op::End;
use crate::runtime::board::{LastRun, SyncView};
use crate::web::Shown;

/// Rejected rows in an answer.
const REJECTED: usize = 100;
/// Characters of a rejected row in an answer; all of it is in the table `_rejected`.
const RAW: usize = 2000;

/// All connectors that are on, by name.
#[derive(Debug, Serialize)]
pub(super) struct Connectors {
    connectors: Vec<Connector>,
}

#[derive(Debug, Serialize)]
struct Connector {
    name: String,
    running: bool,
    every_seconds: u64,
    /// `None` while it runs.
    next_run_at: Option<Moment>,
    /// The start of the last complete run: how old the data are.
    last_complete_at: Option<Moment>,
    /// Since the daemon's start.
    last_run: Option<Last>,
    /// Since the daemon's start; all words, also those that count nothing.
    runs_by_end: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Serialize)]
struct Last {
    ended_at: Moment,
    end: &'static str,
    reason: Option<String>,
    duration_ms: u64,
    waited_ms: u64,
    /// Rows the source sent, by table.
    rows_seen: BTreeMap<String, u64>,
}

/// One with what is in its tables.
#[derive(Debug, Serialize)]
pub(super) struct Details {
    #[serde(flatten)]
    connector: Connector,
    tables: Vec<Table>,
    /// Newest first.
    rejected: Vec<Rejected>,
}

#[derive(Debug, Serialize)]
struct Table {
    name: String,
    /// At the source, as far as known.
    rows: u64,
    /// Kept although they are gone at the source.
    deleted_rows: u64,
}

#[derive(Debug, Serialize)]
struct Rejected {
    run: i64,
    table: String,
    reason: String,
    /// As the source sent it, its beginning.
    raw: String,
}

pub(super) async fn list(State(shown): State<Shown>) -> Json<Connectors> {
    let each = |(name, view): (&String, &SyncView)| Connector::of(name, view);
    Json(shown.board.read(|board| Connectors { connectors: board.syncs.iter().map(each).collect() }))
}

pub(super) async fn one(
    State(shown): State<Shown>,
    Path(name): Path<String>,
) -> Result<Json<Details>, Problem> {
    let found = shown.board.read(|board| board.syncs.get(&name).map(|view| Connector::of(&name, view)));
    let connector = found.ok_or_else(|| Problem::unknown("connector", &name, "/api/v1/connectors"))?;
    let records = Arc::clone(&shown.records);
    let (tables, rejected) = in_time(async move {
        let tables = records.tables(&name).await?;
        Ok((tables, records.rejected(&name, REJECTED).await?))
    })
    .await?;
    Ok(Json(Details {
        connector,
        tables: tables.into_iter().map(Table::from).collect(),
        rejected: rejected.into_iter().map(Rejected::from).collect(),
    }))
}

impl Connector {
    fn of(name: &str, view: &SyncView) -> Connector {
        let count = |end: End| (end.as_str(), view.ends.get(end.as_str()).copied().unwrap_or(0));
        Connector {
            name: name.to_owned(),
            running: view.running,
            every_seconds: view.every.as_secs(),
            next_run_at: moment(view.next_at),
            last_complete_at: moment(view.last_success),
            last_run: view.last_run.as_ref().map(Last::from),
            runs_by_end: End::ALL.into_iter().map(count).collect(),
        }
    }
}

impl From<&LastRun> for Last {
    fn from(run: &LastRun) -> Last {
        Last {
            ended_at: Moment(run.ended_at),
            end: run.end,
            reason: run.reason.clone(),
            duration_ms: ms(run.took),
            waited_ms: ms(run.waited),
            rows_seen: run.rows.clone(),
        }
    }
}

impl From<ledger::TableFacts> for Table {
    fn from(facts: ledger::TableFacts) -> Table {
        Table { name: facts.table, rows: facts.rows, deleted_rows: facts.deleted }
    }
}

impl From<ledger::RejectedRow> for Rejected {
    fn from(row: ledger::RejectedRow) -> Rejected {
        let raw = crate::domain::text::shorten(&row.raw, RAW).into_owned();
        Rejected { run: row.run, table: row.table, reason: row.reason, raw }
    }
}
