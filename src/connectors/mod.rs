//! The engine that runs connector definitions: requests in, a stream of [`Op`] out.
//!
//! Whoever takes the ops (the daemon's job, `sync`, a protocol) is unknown here. Start at [`run`]: it reads the tables
//! of a definition one after the other (`tables`), each partition page after page (`partition`), each page by requests
//! that keep the account's limits and credentials (`fetch`, `auth`, `account`). What is decided is decided in
//! `domain`: paging, windows, cursors, waits.
//!
//! It keeps nothing: what a later run needs travels in the ops as checkpoints.

mod account;
mod auth;
pub mod decode;
mod decoder;
mod fetch;
mod layout;
mod lens;
mod partition;
mod probe;
mod query;
mod reply;
mod requests;
mod run;
mod tables;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use jiff::Timestamp;
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

pub use account::{Account, AccountError};
pub use probe::{Page, TableProbe, page, probe, test};
pub use run::{Progress, TableProgress};

use decode::RowReader;
use partition::TableRun;
use run::{LIMIT, Run, Stop};
use tables::{Parents, TableEnd};

use crate::domain::cell::{Cell, Sourced};
use crate::domain::connector::{Definition, Table};
use crate::domain::ledger::Ending;
use crate::domain::op::{End, Op, State, Sweep, TableShape};

/// What a run is asked to do.
pub struct RunPlan {
    /// At which source, and as whom. Kept by the caller from run to run, so that its token is.
    pub account: Account,
    /// The tables wanted; `None` for all that are enabled.
    pub tables: Option<Vec<String>>,
    /// Begin anew, whatever the state says.
    pub full_refresh: bool,
    /// Where earlier runs got to.
    pub state: State,
    /// The tables as the destination has them.
    pub shapes: Vec<TableShape>,
    /// The present moment.
    pub now: Timestamp,
    /// When the sync began of which earlier runs have read a part: what was read since then and could be read twice
    /// (children, parent by parent) is not read again. `None` where a run is a sync.
    pub since: Option<Timestamp>,
}

/// How a run ended, as far as reading goes. What the destination made of it is the destination's to say.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The run as a whole.
    pub run: Ending,
    /// Each table that was begun.
    pub tables: BTreeMap<String, Ending>,
    /// A person has to mend something first (credentials, an address): trying again brings nothing.
    pub mend: bool,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// The tables that a run would read, in order.
///
/// # Errors
/// Names that are no tables of the definition.
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

/// Executes a definition once. Ends when everything was read, when something went wrong, when `cancel` is called (then
/// deferred: the next run goes on), or when nobody takes the ops any more.
pub async fn run(
    plan: RunPlan,
    ops: mpsc::Sender<Op>,
    progress: Arc<Progress>,
    cancel: CancellationToken,
) -> Outcome {
    let account = plan.account.clone();
    let run = Run::new(account.clone(), ops, cancel, plan.now);
    let mut ends = BTreeMap::new();
    // An earlier run may have been told to wait for longer than this one may.
    let stop = match (selected(&account, plan.tables.as_deref()), run.spend(account.shared().held(), LIMIT)) {
        (Ok(tables), Ok(())) => read_tables(&run, &plan, &tables, &progress, &mut ends).await,
        (Err(reason), _) => Some(Stop::failed(reason, None)),
        (_, Err(stop)) => Some(stop),
    };
    outcome(&run, stop, ends)
}

type Ends = BTreeMap<String, (Result<Vec<String>, Stop>, Arc<TableProgress>)>;

async fn read_tables(
    run: &Run,
    plan: &RunPlan,
    wanted: &[&Table],
    progress: &Progress,
    ends: &mut Ends,
) -> Option<Stop> {
    let nothing = State::default();
    let state = if plan.full_refresh { &nothing } else { &plan.state };
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
            let goes_on = stop.is_local();
            first_stop.get_or_insert(stop);
            if !goes_on {
                break;
            }
        }
    }
    first_stop
}

async fn read_table(
    run: &Run,
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
        wanted: columns.to_vec(),
        sweep: table.snapshot.map(|max_share| Sweep {
            // Whoever reads everything anew means to end with what the source has now.
            max_share: if plan.full_refresh { 1.0 } else { max_share },
        }),
        since: plan.since,
        habits: Default::default(),
    };
    Box::pin(table_run.table(state, parents)).await
}

/// Whether a table has to be read for another.
fn is_ancestor(definition: &Definition, table: &Table, of: &Table) -> bool {
    let parent = |table: &Table| definition.table(&table.parent.as_ref()?.table);
    std::iter::successors(parent(of), |table| parent(table)).any(|ancestor| ancestor.name == table.name)
}

/// The columns of a table that any child inherits, sorted.
fn inherited_columns(definition: &Definition, table: &Table) -> Vec<String> {
    let parents = definition.tables.iter().filter_map(|child| child.parent.as_ref());
    let of_this = parents.filter(|parent| parent.table == table.name);
    let columns: BTreeSet<String> = of_this.flat_map(|parent| parent.columns.values().cloned()).collect();
    columns.into_iter().collect()
}

/// What one child needs of its parent's rows, in the order in which it inherits.
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

fn outcome(run: &Run, stop: Option<Stop>, ends: Ends) -> Outcome {
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
    Outcome { run: whole, tables, mend, notes: run.notes() }
}

fn judge(stop: &Stop) -> (End, Option<String>, Option<String>) {
    match stop {
        Stop::Cancelled => (End::Deferred, Some("stopped; the next run goes on".into()), None),
        Stop::Closed => (End::Failed, Some("nothing takes the rows any more".into()), None),
        Stop::Deferred(reason) => (End::Deferred, Some(reason.clone()), None),
        Stop::Failed { reason, place, .. } => (End::Failed, Some(reason.clone()), place.clone()),
    }
}
