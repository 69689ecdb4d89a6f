//! Connectors as periodic jobs of the daemon.
//!
//! Each runs on a task of its own: first shortly after the start, then `every` so often, never while its last run goes
//! on, and more rarely after failures. Whatever becomes of one touches neither the others nor the monitors. A stop ends
//! a run at a safe point with its checkpoint. Start at [`Roster::run`], which says what runs, then [`Job::repeat`].

mod roster;

pub use roster::{Load, Loaded, Roster};

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use jiff::SignedDuration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::board::{BoardHandle, LastRun, SyncView};
use super::clock::Clock;
use super::sync::{self, Done, Wanted};
use crate::connectors::{Account, Progress};
use crate::destinations::Place;
use crate::domain::op::End;
use crate::domain::schedule;

/// Connectors begin within this after the start, each at its own moment, so that a restart is no burst.
const FIRST_SPREAD: Duration = Duration::from_secs(10);
/// However often it fails, a job is tried again after this at the latest (or after `every`, if that is longer).
const LONGEST_BACKOFF: Duration = Duration::from_secs(6 * 3600);
/// How far back the ledger is searched for the last complete run.
const LEDGER_DEPTH: usize = 200;

/// A connector that is on.
#[derive(Clone)]
pub struct Job {
    /// At which source, as whom.
    pub account: Account,
    /// Where its tables are.
    pub place: Place,
}

impl Job {
    /// Its connector.
    pub fn name(&self) -> &str {
        &self.account.definition().name
    }

    /// Whether it does the same, in the same place, as another one.
    fn same(&self, other: &Job) -> bool {
        self.place == other.place && self.account.same(&other.account)
    }

    /// Runs again and again, until `stop` or until something else is ordered; a run under way ends before.
    async fn repeat(
        &self,
        orders: &mut watch::Receiver<Option<Job>>,
        clock: Clock,
        board: &BoardHandle,
        stop: &CancellationToken,
    ) {
        let name = self.name();
        let every = self.account.every();
        let mut failures = 0;
        let mut wait = schedule::stagger(name, FIRST_SPREAD.min(every));
        loop {
            let next_at =
                clock.now().checked_add(SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX));
            view(board, name, |view| {
                (view.running, view.next_at, view.every) = (false, next_at.ok(), every);
            });
            tokio::select! {
                () = stop.cancelled() => return,
                _ = orders.changed() => return,
                () = tokio::time::sleep(wait) => {}
            }
            view(board, name, |view| (view.running, view.next_at) = (true, None));
            let began = tokio::time::Instant::now();
            // A job that panics is a failed job.
            let done = AssertUnwindSafe(self.once(clock, stop)).catch_unwind().await;
            let took = began.elapsed();
            let failed =
                tell(board, name, clock, took, done.unwrap_or_else(|_| Err("the job panicked".into())));
            failures = if failed { failures + 1 } else { 0 };
            wait = until_next(name, every, took, failures);
            if stop.is_cancelled() {
                view(board, name, |view| view.running = false);
                return;
            }
        }
    }

    async fn once(&self, clock: Clock, stop: &CancellationToken) -> Result<Done, String> {
        let destination = self.place.open(self.name()).await.map_err(|e| e.to_string())?;
        let progress = Progress::new(self.account.definition());
        let wanted = Wanted::default();
        let done =
            sync::execute(&self.account, &*destination, wanted, clock, progress, stop.child_token()).await;
        let closed = destination.close().await;
        let done = done.map_err(|e| e.to_string())?;
        closed.map_err(|e| e.to_string())?;
        Ok(done)
    }

    /// When data last came in whole, from before a restart.
    async fn remember(&self, board: &BoardHandle) {
        let name = self.name();
        view(board, name, |_| {});
        // Whatever is wrong with the place is told by the first run.
        let Ok(Some(destination)) = self.place.find(name).await else { return };
        if let Ok(runs) = destination.runs(LEDGER_DEPTH).await {
            let complete = runs.iter().find(|run| run.entry.end == Some(End::Complete));
            view(board, name, |view| view.last_success = complete.map(|run| run.started));
        }
        let _ = destination.close().await;
    }
}

fn view(board: &BoardHandle, name: &str, change: impl FnOnce(&mut SyncView)) {
    board.update(|board| change(board.syncs.entry(name.to_owned()).or_default()));
}

/// The wait after a run: up to the next multiple of `every` since its start, and longer after failures.
fn until_next(name: &str, every: Duration, took: Duration, failures: u32) -> Duration {
    let rest = every.saturating_sub(took);
    // A run longer than its interval is followed by the next after a pause, not at once.
    let regular = rest.max(every / 10);
    if failures < 2 {
        return regular;
    }
    let cap = LONGEST_BACKOFF.max(every);
    regular.max(schedule::backoff(failures - 1, every, cap, schedule::hash(name) ^ u64::from(failures)))
}

/// Writes the end of a run on the board and into the log. Says whether it failed.
fn tell(board: &BoardHandle, name: &str, clock: Clock, took: Duration, done: Result<Done, String>) -> bool {
    let (end, reason, place, rows, started) = match &done {
        Ok(done) => {
            let rows: BTreeMap<String, u64> =
                done.tallies.iter().map(|(table, tally)| (table.clone(), tally.seen)).collect();
            (done.end, done.reason.clone(), done.place.clone(), rows, Some(done.started))
        }
        Err(reason) => (End::Failed, Some(reason.clone()), None, BTreeMap::new(), None),
    };
    let seen: u64 = rows.values().sum();
    let why = match (&reason, &place) {
        (Some(reason), Some(place)) => format!(": {reason} (at {place})"),
        (Some(reason), None) => format!(": {reason}"),
        _ => String::new(),
    };
    let line =
        format!("{name}: {} after {:.1} s, {seen} rows seen{why}", sync::word(end), took.as_secs_f64());
    match end {
        End::Complete => tracing::info!(target: "SyncRunner", "{line}"),
        End::Deferred => tracing::info!(target: "SyncRunner", "{line}"),
        End::Partial => tracing::warn!(target: "SyncRunner", "{line}"),
        End::Failed => tracing::error!(target: "SyncRunner", "{line}"),
    }
    for note in done.iter().flat_map(|done| &done.notes) {
        tracing::warn!(target: "SyncRunner", "{name}: {note}");
    }
    view(board, name, |view| {
        view.running = false;
        if end == End::Complete {
            view.last_success = started;
        }
        *view.ends.entry(sync::word(end)).or_default() += 1;
        let waited = done.as_ref().map_or(0, |done| done.waited_ms);
        view.last_run = Some(LastRun {
            ended_at: clock.now(),
            end: sync::word(end),
            reason,
            took,
            rows,
            waited: Duration::from_millis(waited),
        });
    });
    end == End::Failed
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn m(minutes: u64) -> Duration {
        Duration::from_secs(60 * minutes)
    }

    /// Runs begin `every` so often, never at once after a long one, and more and more rarely while they fail.
    #[test]
    fn schedules() {
        assert_eq!(until_next("x", m(15), m(1), 0), m(14));
        assert_eq!(until_next("x", m(15), m(40), 0), Duration::from_secs(90));
        assert_eq!(until_next("x", m(15), m(1), 1), m(14));
        let waits: Vec<Duration> = (2..12).map(|failures| until_next("x", m(15), m(1), failures)).collect();
        assert!(waits[0] >= m(15) && waits[0] <= m(30), "{waits:?}");
        assert!(waits.iter().all(|wait| *wait <= LONGEST_BACKOFF));
        assert!(waits[9] >= LONGEST_BACKOFF / 2);
    }
}
