//! Connectors as periodic jobs of the daemon.
//!
//! Each runs on a task of its own: first shortly after the start, then `every` so often, never while its last run goes
//! on, and more rarely after failures; [`super::claims`] says when, and whether here. Whatever becomes of one touches neither the others nor the monitors. A stop ends
//! a run at a safe point with its checkpoint. Start at [`Roster::run`], which says what runs, then `Job::repeat`.

mod roster;

pub use roster::{Load, Loaded, Roster};

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use jiff::SignedDuration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::board::{BoardHandle, LastRun, SyncView};
use super::claims::{Claims, Ended};
use super::clock::Clock;
use super::sync::{self, Done, Wanted};
use crate::connectors::{Account, Progress};
use crate::destinations::{DestinationError, Place, Run};
use crate::domain::ledger;
use crate::domain::op::End;

/// How far back the ledger is searched for the last complete run at first.
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
        claims: &Claims,
        orders: &mut watch::Receiver<Option<Job>>,
        clock: Clock,
        board: &BoardHandle,
        stop: &CancellationToken,
    ) {
        let name = self.name();
        let every = self.account.every();
        let mut turns = claims.turns(name, every, clock).await;
        let mut told = Told::default();
        while !stop.is_cancelled() {
            view(board, name, |view| view.every = every);
            if let Some(wait) = turns.next_in() {
                let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
                view(board, name, |view| view.next_at = clock.now().checked_add(wait).ok());
            }
            tokio::select! {
                () = stop.cancelled() => return,
                _ = orders.changed() => return,
                () = turns.due() => {}
            }
            let Some(mut turn) = turns.take().await else { continue };
            if stop.is_cancelled() {
                // It was claimed in the moment of the stop.
                turns.end(turn, Ended::Cut, true).await;
                return;
            }
            view(board, name, |view| (view.running, view.next_at) = (true, None));
            let began = tokio::time::Instant::now();
            let cancel = stop.child_token();
            let work = AssertUnwindSafe(self.once(clock, &cancel)).catch_unwind();
            let done = tokio::select! {
                done = work => done,
                () = turn.keep(&cancel) => return,
            };
            // A job that panics is a failed job.
            let done = done.unwrap_or_else(|_| Err(Broken::from("the job panicked".to_owned())));
            let (took, stopping) = (began.elapsed(), stop.is_cancelled());
            let end = match &done {
                Err(Broken { busy: true, reason }) => {
                    // Asked every few seconds until the other one is through.
                    if !told.busy {
                        tracing::info!(target: "SyncRunner", "{name}: {reason}");
                    }
                    Ended::Busy
                }
                Ok(done) if stopping && done.run.end == End::Deferred => Ended::Cut,
                done => Ended::Through { failed: failed(done), took },
            };
            told.busy = end == Ended::Busy;
            if end != Ended::Busy {
                tell(board, name, clock, took, done.map_err(|broken| broken.reason), &mut told);
            }
            turns.end(turn, end, stopping).await;
            view(board, name, |view| (view.running, view.holder) = (false, None));
        }
    }

    async fn once(&self, clock: Clock, stop: &CancellationToken) -> Result<Done, Broken> {
        let destination = self.place.open(self.name()).await?;
        let progress = Progress::new(self.account.definition());
        let wanted = Wanted::default();
        let done =
            sync::execute(&self.account, &*destination, wanted, clock, progress, stop.child_token()).await;
        let closed = destination.close().await;
        let done = done?;
        closed?;
        Ok(done)
    }
}

/// What the log says already, so that a run every few minutes does not say it every few minutes.
#[derive(Default)]
struct Told {
    /// That somebody else writes to the same tables.
    busy: bool,
    /// The notes of the run before, without their numbers.
    notes: BTreeSet<String>,
}

impl Told {
    /// Those notes that the run before did not have, whatever they count.
    fn news<'n>(&mut self, notes: &'n [String]) -> Vec<&'n String> {
        let bare = |note: &String| note.replace(|c: char| c.is_ascii_digit(), "");
        let before = std::mem::replace(&mut self.notes, notes.iter().map(bare).collect());
        notes.iter().filter(|note| !before.contains(&bare(note))).collect()
    }
}

/// Why a run has no end of its own.
struct Broken {
    reason: String,
    /// Somebody else writes to the same tables, a run by hand perhaps.
    busy: bool,
}

impl From<String> for Broken {
    fn from(reason: String) -> Broken {
        Broken { reason, busy: false }
    }
}

impl From<DestinationError> for Broken {
    fn from(error: DestinationError) -> Broken {
        Broken { reason: error.to_string(), busy: error.is_busy() }
    }
}

fn failed(done: &Result<Done, Broken>) -> bool {
    done.as_ref().is_ok_and(|done| done.run.end == End::Failed) || done.is_err()
}

/// Shows when data last came in whole, from before a restart, and with `last_run` how the last run of any daemon ended.
/// Returns whether the ledger could be read.
pub(super) async fn remember(place: &Place, board: &BoardHandle, name: &str, last_run: bool) -> bool {
    // Whatever is wrong with the place is told by the first run.
    let Ok(found) = place.find(name).await else { return false };
    let Some(destination) = found else { return true };
    let mut runs = destination.runs(LEDGER_DEPTH).await;
    let mut complete = runs.as_deref().ok().and_then(ledger::last_whole);
    if complete.is_none() && runs.as_ref().is_ok_and(|runs| runs.len() >= LEDGER_DEPTH) {
        // It has gone wrong for long, which is just when the age of the data matters.
        runs = destination.runs(usize::MAX).await;
        complete = runs.as_deref().ok().and_then(ledger::last_whole);
    }
    let _ = destination.close().await;
    let Ok(runs) = runs else { return false };
    let last = runs.iter().find_map(|run| last_run.then(|| ended(run)).flatten());
    view(board, name, |view| {
        view.last_success = complete.max(view.last_success);
        let newer =
            |last: &LastRun| view.last_run.as_ref().is_none_or(|shown| shown.ended_at < last.ended_at);
        if let Some(last) = last.filter(newer) {
            view.last_run = Some(last);
        }
    });
    true
}

fn ended(run: &Run) -> Option<LastRun> {
    let ended_at = run.ended?;
    Some(LastRun {
        ended_at,
        end: run.entry.end?.as_str(),
        reason: run.entry.reason.clone(),
        waited: Duration::from_millis(run.entry.waited_ms),
        took: Duration::try_from(ended_at.duration_since(run.started)).unwrap_or_default(),
        rows: run.tables.iter().map(|(table, entry)| (table.clone(), entry.tally.seen)).collect(),
    })
}

fn view(board: &BoardHandle, name: &str, change: impl FnOnce(&mut SyncView)) {
    board.update(|board| change(board.syncs.entry(name.to_owned()).or_default()));
}

/// Writes the end of a run on the board and into the log.
fn tell(
    board: &BoardHandle,
    name: &str,
    clock: Clock,
    took: Duration,
    done: Result<Done, String>,
    told: &mut Told,
) {
    let (end, reason, place, rows, started) = match &done {
        Ok(done) => {
            let rows: BTreeMap<String, u64> =
                done.tallies.iter().map(|(table, tally)| (table.clone(), tally.seen)).collect();
            (done.run.end, done.run.reason.clone(), done.run.place.clone(), rows, Some(done.started))
        }
        Err(reason) => (End::Failed, Some(reason.clone()), None, BTreeMap::new(), None),
    };
    let seen: u64 = rows.values().sum();
    let why = match (&reason, &place) {
        (Some(reason), Some(place)) => format!(": {reason} (at {place})"),
        (Some(reason), None) => format!(": {reason}"),
        _ => String::new(),
    };
    let line = format!("{name}: {} after {:.1} s, {seen} rows seen{why}", end.as_str(), took.as_secs_f64());
    match end {
        End::Complete => tracing::info!(target: "SyncRunner", "{line}"),
        End::Deferred => tracing::info!(target: "SyncRunner", "{line}"),
        End::Partial => tracing::warn!(target: "SyncRunner", "{line}"),
        End::Failed => tracing::error!(target: "SyncRunner", "{line}"),
    }
    for note in done.iter().flat_map(|done| told.news(&done.notes)) {
        tracing::warn!(target: "SyncRunner", "{name}: {note}");
    }
    view(board, name, |view| {
        view.running = false;
        if end == End::Complete {
            view.last_success = started;
        }
        *view.ends.entry(end.as_str()).or_default() += 1;
        let waited = done.as_ref().map_or(0, |done| done.run.waited_ms);
        view.last_run = Some(LastRun {
            ended_at: clock.now(),
            end: end.as_str(),
            reason,
            took,
            rows,
            waited: Duration::from_millis(waited),
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    use crate::destinations::{RunOutcome, RunStart};
    use crate::domain::ledger::Ending;

    const NAME: &str = "statuscake";

    async fn fill(place: &Place, ends: impl Iterator<Item = (i64, End, Option<&str>)>) {
        let destination = place.open(NAME).await.unwrap();
        for (second, end, reason) in ends {
            let started = Timestamp::from_second(second).unwrap();
            let begin = RunStart { started, full_refresh: Vec::new(), sweeping: Default::default() };
            destination.begin(begin).await.unwrap();
            let reason = reason.map(str::to_owned);
            let run = Ending { end, reason, place: None, requests: 1, retries: 0, waited_ms: 0 };
            let ended = started;
            destination.end(RunOutcome { ended, run, tables: BTreeMap::new() }).await.unwrap();
        }
        destination.close().await.unwrap();
    }

    /// A note that comes with every run is told once, whatever it counts, and once more when it comes back.
    #[test]
    fn lasting_notes_are_told_once() {
        let notes = |of: &[&str]| of.iter().map(|note| (*note).to_owned()).collect::<Vec<_>>();
        let mut told = Told::default();
        for (run, news) in [
            (&["log: 3 rows without", "day: 1 more"][..], &["log: 3 rows without", "day: 1 more"][..]),
            (&["log: 15 rows without"], &[]),
            (&["log: 15 rows without", "day: 2 more"], &["day: 2 more"]),
            (&[], &[]),
            (&["log: 3 rows without"], &["log: 3 rows without"]),
        ] {
            assert_eq!(told.news(&notes(run)), news.iter().collect::<Vec<_>>(), "{run:?}");
        }
    }

    /// The age of the data after a restart: counted from the last run of all tables that was complete, however many
    /// others ended since, and whatever was complete of some tables only.
    #[tokio::test]
    async fn remembers_when_data_came_in_whole() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::Sqlite(folder.path().to_owned());
        let whole = [(1_000, End::Complete, None)];
        let since = (0..205).map(|n| (2_000 + n, End::Partial, Some("rows are missing")));
        let some = [(9_000, End::Complete, Some("only uptime_test was asked for"))];
        fill(&place, whole.into_iter().chain(since).chain(some)).await;
        let board = BoardHandle::new(Timestamp::UNIX_EPOCH, false);
        assert!(remember(&place, &board, NAME, true).await);
        let view = board.read(|board| board.syncs[NAME].clone());
        assert_eq!(view.last_success, Timestamp::from_second(1_000).ok());
        assert_eq!(view.last_run.unwrap().ended_at, Timestamp::from_second(9_000).unwrap());
    }
}
