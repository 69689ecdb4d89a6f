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
use crate::destinations::{self as to, Begin, Destination, DestinationError};
use crate::domain::op::{End, Op, Tally};

/// Ops that may wait between the decoder and the writer, which has a queue of its own. One is at most a thousand rows;
/// more of them only cost memory, since the writer is the slower end.
const CHANNEL: usize = 2;

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
    /// Its end, as in the ledger.
    pub end: End,
    /// Why, where it is not complete.
    pub reason: Option<String>,
    /// Where.
    pub place: Option<String>,
    /// Requests made, repeated ones included.
    pub requests: u64,
    /// Requests made again.
    pub retries: u64,
    /// Milliseconds waited.
    pub waited_ms: u64,
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
    let state = destination.state().await?;
    let shapes = destination.shapes().await?.into_values().collect();
    let number = destination.begin(begin(account, &wanted, started)).await?;
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
    let mut outcome = read.unwrap_or_else(|_| panicked());
    if outcome.end == End::Complete {
        outcome.reason = outcome.reason.or(only);
    }
    let ended = clock.now();
    let report = destination.end(told(&outcome, ended)).await;
    written?;
    let report = report?;
    let mut notes = outcome.notes;
    notes.extend(report.notes);
    Ok(Done {
        number,
        started,
        took: Duration::try_from(ended.duration_since(started)).unwrap_or_default(),
        end: report.end,
        reason: report.reason,
        place: outcome.place,
        requests: outcome.requests,
        retries: outcome.retries,
        waited_ms: outcome.waited_ms,
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

fn begin(account: &Account, wanted: &Wanted, started: Timestamp) -> Begin {
    let tables = connectors::selected(account, wanted.tables.as_deref()).unwrap_or_default();
    let names = |keep: &dyn Fn(&&crate::domain::connector::Table) -> bool| -> Vec<String> {
        tables.iter().filter(|table| keep(table)).map(|table| table.name.clone()).collect()
    };
    let sweeping: BTreeSet<String> = names(&|table| table.snapshot.is_some()).into_iter().collect();
    Begin { started, full_refresh: if wanted.full_refresh { names(&|_| true) } else { Vec::new() }, sweeping }
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

fn told(outcome: &connectors::Outcome, ended: Timestamp) -> to::Outcome {
    let run = to::Account {
        end: outcome.end,
        reason: outcome.reason.clone(),
        place: outcome.place.clone(),
        requests: outcome.requests,
        retries: outcome.retries,
        waited_ms: outcome.waited_ms,
    };
    let table = |table: &connectors::TableOutcome| to::Account {
        end: table.end,
        reason: table.reason.clone(),
        place: table.place.clone(),
        requests: table.requests,
        retries: table.retries,
        waited_ms: table.waited_ms,
    };
    let tables = outcome.tables.iter().map(|(name, one)| (name.clone(), table(one))).collect();
    to::Outcome { ended, run, tables }
}

fn panicked() -> connectors::Outcome {
    connectors::Outcome {
        end: End::Failed,
        reason: Some(
            "the engine panicked, which is a mistake in this program: please report it with the log".into(),
        ),
        place: None,
        requests: 0,
        retries: 0,
        waited_ms: 0,
        mend: false,
        notes: Vec::new(),
        tables: BTreeMap::new(),
    }
}

/// The word for an end, as in the ledger, the log and the metrics.
pub fn word(end: End) -> &'static str {
    end.as_str()
}
