//! One sync: the engine at one end, a destination at the other, a bounded channel between them, and the ledger told how
//! it went, whatever happened.
//!
//! Start at [`execute`].

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use crate::connectors::{self, Account, Progress, RunPlan};
use crate::destinations::{Destination, DestinationError, RunOutcome, RunStart};
use crate::domain::ledger::Ending;
use crate::domain::op::{End, Op, State, TableShape, Tally};

/// Ops that may wait between the decoder and the writer, which has a queue of its own. One is at most a thousand rows;
/// more of them only cost memory, since the writer is the slower end.
const CHANNEL: usize = 2;

const PANICKED: &str =
    "the engine panicked, which is a mistake in this program: please report it with the log";

/// What is wanted of a sync.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// The tables; `None` for all that are enabled.
    pub tables: Option<Vec<String>>,
    /// Begin anew.
    pub full_refresh: bool,
}

/// How a sync went.
#[derive(Debug, Clone)]
pub struct Done {
    /// Its number in the ledger.
    pub number: i64,
    /// When it began.
    pub started: Timestamp,
    /// Its duration.
    pub took: Duration,
    /// How it went, as in the ledger.
    pub run: Ending,
    /// What became of each table's rows.
    pub tallies: BTreeMap<String, Tally>,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// Executes a sync and closes its run in the ledger.
///
/// # Errors
/// When the destination cannot be read or written. What was committed before stays, with its checkpoint.
pub async fn execute(
    account: &Account,
    destination: &dyn Destination,
    wanted: Wanted,
    clock: Clock,
    progress: Arc<Progress>,
    cancel: CancellationToken,
) -> Result<Done, DestinationError> {
    let started = clock.now();
    let only = only(account, &wanted);
    // A newer program's state is refused before anything changes; what counts is read once nobody else can change it.
    destination.state().await?;
    let number = destination.begin(begin(account, &wanted, started)).await?;
    let (outcome, written) = match place(destination).await {
        Ok((state, shapes)) => {
            let plan = RunPlan {
                account: account.clone(),
                tables: wanted.tables,
                full_refresh: wanted.full_refresh,
                state,
                shapes,
                now: started,
                since: None,
            };
            let (ops, incoming) = mpsc::channel(CHANNEL);
            let reading = AssertUnwindSafe(connectors::run(plan, ops, progress, cancel)).catch_unwind();
            let (read, written) = tokio::join!(reading, store(destination, incoming));
            // A panic is told like any other failure; the hook has printed where it was.
            (read.unwrap_or_else(|_| failed(PANICKED)), written)
        }
        Err(error) => (failed(&error.to_string()), Err(error)),
    };
    let ended = clock.now();
    let connectors::Outcome { mut run, tables, mut notes, .. } = outcome;
    if run.end == End::Complete {
        run.reason = run.reason.or(only);
    }
    let report = destination.end(RunOutcome { ended, run: run.clone(), tables }).await;
    written?;
    let report = report?;
    notes.extend(report.notes);
    Ok(Done {
        number,
        started,
        took: Duration::try_from(ended.duration_since(started)).unwrap_or_default(),
        run: Ending { end: report.end, reason: report.reason, ..run },
        tallies: report.tallies,
        notes,
    })
}

/// What is said of a run that leaves tables out: that it was complete says nothing of the others.
fn only(account: &Account, wanted: &Wanted) -> Option<String> {
    let all = connectors::selected(account, None).unwrap_or_default();
    let names = wanted.tables.as_ref()?;
    let left_out = all.iter().any(|table| !names.contains(&table.name));
    let be = if names.len() == 1 { "was" } else { "were" };
    left_out.then(|| format!("only {} {be} asked for", names.join(", ")))
}

fn begin(account: &Account, wanted: &Wanted, started: Timestamp) -> RunStart {
    let tables = connectors::selected(account, wanted.tables.as_deref()).unwrap_or_default();
    let names = |keep: &dyn Fn(&&crate::domain::connector::Table) -> bool| -> Vec<String> {
        tables.iter().filter(|table| keep(table)).map(|table| table.name.clone()).collect()
    };
    let sweeping: BTreeSet<String> = names(&|table| table.snapshot.is_some()).into_iter().collect();
    RunStart {
        started,
        full_refresh: if wanted.full_refresh { names(&|_| true) } else { Vec::new() },
        sweeping,
    }
}

/// Where reading goes on, and the tables there are.
async fn place(destination: &dyn Destination) -> Result<(State, Vec<TableShape>), DestinationError> {
    Ok((destination.state().await?, destination.shapes().await?.into_values().collect()))
}

/// Hands ops to the destination in order. At its first refusal the channel is closed, which ends the reading.
async fn store(
    destination: &dyn Destination,
    mut incoming: mpsc::Receiver<Op>,
) -> Result<(), DestinationError> {
    while let Some(op) = incoming.recv().await {
        destination.write(op).await?;
    }
    Ok(())
}

fn failed(reason: &str) -> connectors::Outcome {
    let run = Ending {
        end: End::Failed,
        reason: Some(reason.to_owned()),
        place: None,
        requests: 0,
        retries: 0,
        waited_ms: 0,
    };
    connectors::Outcome { run, tables: BTreeMap::new(), mend: false, notes: Vec::new() }
}
