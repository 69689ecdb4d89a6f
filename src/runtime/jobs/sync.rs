//! Executes one sync: the engine reads into a bounded channel, a destination writes from it, and the outcome is always
//! recorded in the run history. Start at [`execute`].

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::Span;
use tracing::field::Empty;

use crate::destinations::{Destination, DestinationError, RunOutcome, RunStart};
use crate::domain::syncing::op::{End, Op, State, TableShape, Tally};
use crate::domain::syncing::run_history::Ending;
use crate::runtime::clock::Clock;
use crate::source;
use crate::source::{Account, RunPlan, RunProgress};

/// Capacity of the channel between the decoder and the writer, which has its own queue. An op is at most a thousand rows;
/// a larger capacity only costs memory, because the writer is slower.
const CHANNEL: usize = 1;

const PANICKED: &str = "the engine panicked, which is a bug in this program: report it with the log";

#[derive(Debug, Clone, Default)]
pub struct SyncOptions {
    /// `None` for all enabled tables.
    pub tables: Option<Vec<String>>,
    /// Ignore the checkpoint and read everything again.
    pub full_refresh: bool,
}

/// Result of a sync.
#[derive(Debug, Clone)]
pub struct SyncReport {
    /// Its number in the run history.
    pub number: i64,
    pub started: Timestamp,
    pub took: Duration,
    /// Its outcome, as in the run history.
    pub run: Ending,
    /// Row counts by table.
    pub tallies: BTreeMap<String, Tally>,
    /// Warnings for the operator.
    pub notes: Vec<String>,
}

/// The span of a run. [`execute`] adds the run's number once there is one.
pub(in crate::runtime) fn run_span(connector: &str, attempt: u32) -> Span {
    tracing::error_span!(target: "SyncRunner", "run", connector, run = Empty, attempt)
}

/// Executes a sync and records its run in the run history. The current span gets the run's number as `run`.
///
/// # Errors
/// If the destination cannot be read or written. Earlier commits remain, with their checkpoint.
pub async fn execute(
    account: &Account,
    destination: &dyn Destination,
    options: SyncOptions,
    clock: Clock,
    progress: Arc<RunProgress>,
    cancel: CancellationToken,
) -> Result<SyncReport, DestinationError> {
    let started = clock.now();
    let only = only(account, &options);
    // Rejects the state of a later version before anything changes. The state is read again once this run holds the tables.
    destination.state().await?;
    let number = destination.begin(begin(account, &options, started)).await?;
    Span::current().record("run", number);
    let (outcome, written) = match resume_point(destination).await {
        Ok((state, shapes)) => {
            let plan = RunPlan {
                account: account.clone(),
                tables: options.tables,
                full_refresh: options.full_refresh,
                state,
                shapes,
                now: started,
                since: None,
            };
            let (ops, incoming) = mpsc::channel(CHANNEL);
            let reading = AssertUnwindSafe(source::run(plan, ops, progress, cancel)).catch_unwind();
            let (read, written) = tokio::join!(reading, store(destination, incoming));
            // A panic counts as a failed run; the panic hook has logged its location.
            (read.unwrap_or_else(|_| failed(PANICKED)), written)
        }
        Err(error) => (failed(&error.to_string()), Err(error)),
    };
    let ended = clock.now();
    let source::ReadOutcome { mut run, tables, mut notes, .. } = outcome;
    if run.end == End::Complete {
        run.reason = run.reason.or(only);
    }
    let report = destination.end(RunOutcome { ended, run: run.clone(), tables }).await;
    written?;
    let report = report?;
    notes.extend(report.notes);
    Ok(SyncReport {
        number,
        started,
        took: Duration::try_from(ended.duration_since(started)).unwrap_or_default(),
        run: Ending { end: report.end, reason: report.reason, ..run },
        tallies: report.tallies,
        notes,
    })
}

/// The reason recorded for a run that skips tables, since its outcome does not cover them.
fn only(account: &Account, options: &SyncOptions) -> Option<String> {
    let all = source::selected(account, None).unwrap_or_default();
    let names = options.tables.as_ref()?;
    let left_out = all.iter().any(|table| !names.contains(&table.name));
    let be = if names.len() == 1 { "was" } else { "were" };
    left_out.then(|| format!("only {} {be} selected", names.join(", ")))
}

fn begin(account: &Account, options: &SyncOptions, started: Timestamp) -> RunStart {
    let tables = source::selected(account, options.tables.as_deref()).unwrap_or_default();
    let names =
        |keep: &dyn Fn(&&crate::domain::syncing::definition::connector::Table) -> bool| -> Vec<String> {
            tables.iter().filter(|table| keep(table)).map(|table| table.name.clone()).collect()
        };
    let sweeping: BTreeSet<String> = names(&|table| table.snapshot.is_some()).into_iter().collect();
    RunStart {
        started,
        full_refresh: if options.full_refresh { names(&|_| true) } else { Vec::new() },
        sweeping,
    }
}

/// Reads the checkpoint and the shapes of the stored tables.
async fn resume_point(destination: &dyn Destination) -> Result<(State, Vec<TableShape>), DestinationError> {
    Ok((destination.state().await?, destination.shapes().await?.into_values().collect()))
}

/// Writes ops to the destination in order. The first error closes the channel, which stops the engine.
async fn store(
    destination: &dyn Destination,
    mut incoming: mpsc::Receiver<Op>,
) -> Result<(), DestinationError> {
    while let Some(op) = incoming.recv().await {
        destination.write(op).await?;
    }
    Ok(())
}

fn failed(reason: &str) -> source::ReadOutcome {
    let run = Ending {
        end: End::Failed,
        reason: Some(reason.to_owned()),
        place: None,
        requests: 0,
        retries: 0,
        waited_ms: 0,
    };
    source::ReadOutcome { run, tables: BTreeMap::new(), mend: false, notes: Vec::new() }
}
