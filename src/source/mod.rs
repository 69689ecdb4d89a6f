//! The engine that runs connector definitions: it sends requests and produces a stream of [`Op`].
//!
//! It does not know the consumer of the ops (the daemon's job, `sync`, a protocol). Start at [`run()`]: it reads the tables
//! of a definition one after the other (`tables`), each partition page by page (`partition`), each page by requests
//! under the account's limits and credentials (`fetch`, `auth`, `account`). The decisions about paging, windows, cursors
//! and waits are in `domain`.
//!
//! It stores nothing: the state for a later run is in the ops, as checkpoints.

mod account;
mod auth;
pub mod decode;
mod exchange;
mod layout;
mod lens;
mod partition;
mod probe;
mod requests;
mod run;
mod tables;
mod text;
mod tokens;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use jiff::Timestamp;
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

pub use account::Account;
pub use probe::{TableProbe, page, probe, test};
pub use run::{RunProgress, TableProgress};

use decode::RowReader;
use partition::TableRun;
use run::{LIMIT, RunContext, Stop};
use tables::{Parents, TableEnd};

use crate::domain::syncing::cell::{Cell, Sourced};
use crate::domain::syncing::definition::connector::{Definition, Table};
use crate::domain::syncing::op::{End, Op, State, Sweep, TableShape};
use crate::domain::syncing::run_history::Ending;

/// The task of a run.
pub struct RunPlan {
    /// The caller keeps it from run to run, so that its token is reused.
    pub account: Account,
    /// The selected tables; `None` for all enabled ones.
    pub tables: Option<Vec<String>>,
    /// Whether to ignore the state and read everything.
    pub full_refresh: bool,
    /// The checkpoints of earlier runs.
    pub state: State,
    /// The stored tables of the destination.
    pub shapes: Vec<TableShape>,
    pub now: Timestamp,
    /// The start of a sync that consists of several runs: children that were read since then are not read again. `None`
    /// if the sync is this one run.
    pub since: Option<Timestamp>,
}

/// The outcome of reading. The destination reports what it stored.
#[derive(Debug, Clone)]
pub struct ReadOutcome {
    /// The run as a whole.
    pub run: Ending,
    /// Each table that was started.
    pub tables: BTreeMap<String, Ending>,
    /// Whether a retry is useless until a person changes something, such as credentials or a URL.
    pub mend: bool,
    /// Messages for the log.
    pub notes: Vec<String>,
}

/// The tables that a run would read, in order.
///
/// # Errors
/// When a name is not a table of the definition.
pub fn selected<'d>(account: &'d Account, tables: Option<&[String]>) -> Result<Vec<&'d Table>, String> {
    let definition = account.definition();
    let Some(names) = tables else {
        return Ok(definition.tables.iter().filter(|t| account.config().enables(&t.enabled)).collect());
    };
    if let Some(unknown) = names.iter().find(|name| definition.table(name).is_none()) {
        let known: Vec<&str> = definition.tables.iter().map(|table| table.name.as_str()).collect();
        return Err(format!("{} has no table {unknown:?}; it has {}", definition.name, known.join(", ")));
    }
    Ok(definition.tables.iter().filter(|table| names.contains(&table.name)).collect())
}

/// Executes a definition once. Returns when everything was read, after an error, after `cancel` (the run is then
/// deferred, and the next one resumes), or when the receiver of the ops was dropped.
pub async fn run(
    plan: RunPlan,
    ops: mpsc::Sender<Op>,
    progress: Arc<RunProgress>,
    cancel: CancellationToken,
) -> ReadOutcome {
    let account = plan.account.clone();
    let run = RunContext::new(account.clone(), ops, cancel, plan.now);
    let mut ends = BTreeMap::new();
    // A rate limit of an earlier run may still require a longer wait than this run's budget.
    let stop = match (selected(&account, plan.tables.as_deref()), run.spend(account.shared().held(), LIMIT)) {
        (Ok(tables), Ok(())) => read_tables(&run, &plan, &tables, &progress, &mut ends).await,
        (Err(reason), _) => Some(Stop::failed(reason, None)),
        (_, Err(stop)) => Some(stop),
    };
    outcome(&run, stop, ends)
}

type Ends = BTreeMap<String, (Result<Vec<String>, Stop>, Arc<TableProgress>)>;

async fn read_tables(
    run: &RunContext,
    plan: &RunPlan,
    wanted: &[&Table],
    progress: &RunProgress,
    ends: &mut Ends,
) -> Option<Stop> {
    let empty = State::default();
    let state = if plan.full_refresh { &empty } else { &plan.state };
    let mut parents: BTreeMap<String, Parents> = BTreeMap::new();
    let mut first_stop = None;
    for table in &run.account.definition().tables {
        let is_wanted = wanted.iter().any(|other| other.name == table.name);
        let is_needed = wanted.iter().any(|other| is_ancestor(run.account.definition(), table, other));
        if !is_wanted && !is_needed {
            continue;
        }
        let columns = if is_needed { inherited_columns(run.account.definition(), table) } else { Vec::new() };
        let parent_rows = table.parent.as_ref().map(|parent| parents.get(&parent.table));
        let table_progress = progress.tables().get(&table.name).cloned().unwrap_or_default();
        let end = match parent_rows {
            Some(None) => {
                let reason = "its parent table could not be read";
                Err(Stop::failed(reason, Some(format!("table {}", table.name))))
            }
            rows => {
                let rows = rows.flatten().map(|of| Parents {
                    rows: own_rows(run.account.definition(), table, &of.rows),
                    all: of.all,
                });
                table_progress.started.store(true, Ordering::Relaxed);
                let silent = !is_wanted;
                read_table(run, plan, table, (silent, &columns), &table_progress, state, rows.as_ref()).await
            }
        };
        table_progress.broken.store(end.is_err(), Ordering::Relaxed);
        table_progress.done.store(true, Ordering::Relaxed);
        let end = end.map(|end| {
            parents.insert(table.name.clone(), end.parents);
            end.doubts
        });
        let stop = end.as_ref().err().cloned();
        ends.insert(table.name.clone(), (end, table_progress));
        if let Some(stop) = stop {
            let continues = stop.is_local();
            first_stop.get_or_insert(stop);
            if !continues {
                break;
            }
        }
    }
    first_stop
}

async fn read_table(
    run: &RunContext,
    plan: &RunPlan,
    table: &Table,
    (silent, columns): (bool, &[String]),
    progress: &Arc<TableProgress>,
    state: &State,
    parents: Option<&Parents>,
) -> Result<TableEnd, Stop> {
    let known = plan.shapes.iter().find(|shape| shape.table == table.name);
    let layout = layout::of(run.account.definition(), table);
    let reader = RowReader::new(layout, known)
        .map_err(|e| Stop::failed(e.to_string(), Some(format!("table {}", table.name))))?;
    let table_run = TableRun {
        run,
        table,
        reader: Arc::new(Mutex::new(reader)),
        progress: Arc::clone(progress),
        silent,
        child_columns: columns.to_vec(),
        sweep: table.snapshot.map(|max_share| Sweep {
            // A full refresh must end with exactly the rows that the source has now.
            max_share: if plan.full_refresh { 1.0 } else { max_share },
        }),
        since: plan.since,
        habits: Default::default(),
    };
    Box::pin(table_run.table(state, parents)).await
}

/// Whether a table must be read for another one.
fn is_ancestor(definition: &Definition, table: &Table, of: &Table) -> bool {
    let parent = |table: &Table| definition.table(&table.parent.as_ref()?.table);
    std::iter::successors(parent(of), |table| parent(table)).any(|ancestor| ancestor.name == table.name)
}

/// The columns of a table that its children inherit, sorted.
fn inherited_columns(definition: &Definition, table: &Table) -> Vec<String> {
    let parents = definition.tables.iter().filter_map(|child| child.parent.as_ref());
    let of_table = parents.filter(|parent| parent.table == table.name);
    let columns: BTreeSet<String> = of_table.flat_map(|parent| parent.columns.values().cloned()).collect();
    columns.into_iter().collect()
}

/// The values of the parent's rows that a child inherits, in its order.
fn own_rows(definition: &Definition, table: &Table, rows: &[Vec<Sourced>]) -> Vec<Vec<Sourced>> {
    let Some(parent) = &table.parent else { return Vec::new() };
    let all = definition.table(&parent.table).map(|of| inherited_columns(definition, of)).unwrap_or_default();
    let places: Vec<Option<usize>> =
        parent.columns.values().map(|theirs| all.iter().position(|column| column == theirs)).collect();
    let value = |row: &[Sourced], at: Option<usize>| {
        at.and_then(|at| row.get(at)).cloned().unwrap_or(Sourced::from(Cell::Null))
    };
    rows.iter().map(|row| places.iter().map(|at| value(row, *at)).collect()).collect()
}

fn outcome(run: &RunContext, stop: Option<Stop>, ends: Ends) -> ReadOutcome {
    let (mut requests, mut retries, mut waited_ms) = run.other.counts();
    let mut tables = BTreeMap::new();
    let mut doubts = Vec::new();
    for (name, (end, progress)) in ends {
        let counts = progress.counts();
        requests += counts.0;
        retries += counts.1;
        waited_ms += counts.2;
        let (end, reason, place) = match end {
            Ok(found) if found.is_empty() => (End::Complete, None, None),
            Ok(found) => {
                doubts.extend(found.iter().cloned());
                (End::Partial, Some(found.join("; ")), None)
            }
            Err(stop) => judge(&stop),
        };
        let (requests, retries, waited_ms) = counts;
        tables.insert(name, Ending { end, reason, place, requests, retries, waited_ms });
    }
    let (end, reason, place) = match &stop {
        Some(stop) => judge(stop),
        None if doubts.is_empty() => (End::Complete, None, None),
        None => (End::Partial, Some(doubts.join("; ")), None),
    };
    let mend = matches!(&stop, Some(Stop::Failed { mend: true, .. }));
    let whole = Ending { end, reason, place, requests, retries, waited_ms };
    ReadOutcome { run: whole, tables, mend, notes: run.notes() }
}

fn judge(stop: &Stop) -> (End, Option<String>, Option<String>) {
    match stop {
        Stop::Cancelled => (End::Deferred, Some("stopped; the next run resumes".into()), None),
        Stop::Closed => (End::Failed, Some("the destination no longer takes rows".into()), None),
        Stop::Deferred(reason) => (End::Deferred, Some(reason.clone()), None),
        Stop::Failed { reason, place, .. } => (End::Failed, Some(reason.clone()), place.clone()),
    }
}
