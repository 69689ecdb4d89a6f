//! Runs connectors as periodic jobs of the daemon.
//!
//! Each job has its own task. It first runs shortly after the start, then at its interval, never concurrently with itself,
//! and less often after failures. [`crate::runtime::jobs::claims`] decides when it runs, and in which daemon. A failing job affects neither
//! other jobs nor monitors. A stop ends a run at its next checkpoint. Start at [`ConnectorRoster::run`], then `Job::repeat`.

pub mod claims;
mod exports;
mod roster;
pub mod sync;

pub use roster::{ConnectorRoster, Load, LoadedConnectors};

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use jiff::SignedDuration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::clock::Clock;
use crate::destinations::{DestinationError, DestinationKind, Run};
use crate::domain::syncing::op::End;
use crate::domain::syncing::run_history;
use crate::domain::text::counted;
use crate::export::ExportOptions;
use crate::runtime::board::{BoardWriter, LastRun, SyncView};
use crate::runtime::jobs::claims::{Claims, TurnEnd};
use crate::runtime::jobs::exports::Exports;
use crate::runtime::jobs::sync::{SyncOptions, SyncReport};
use crate::runtime::last_successes::LastSuccesses;
use crate::source::{Account, RunProgress};

/// Number of runs that are first searched for the last complete one.
const HISTORY_DEPTH: usize = 200;

/// A connector that is on.
#[derive(Clone)]
pub struct Job {
    pub account: Account,
    /// Location of its tables.
    pub place: DestinationKind,
    /// How its tables are exported after runs, if they are.
    pub export: Option<ExportOptions>,
}

impl Job {
    /// Name of the connector.
    pub fn name(&self) -> &str {
        &self.account.definition().name
    }

    /// Whether a reload changed nothing about the job.
    fn same(&self, other: &Job) -> bool {
        self.place == other.place && self.export == other.export && self.account.same(&other.account)
    }

    /// Runs the job periodically until `stop` or a new order. A run in progress finishes first.
    async fn repeat(
        &self,
        claims: &Claims,
        orders: &mut watch::Receiver<Option<Job>>,
        reports: &Reports,
        stop: &CancellationToken,
    ) {
        let (name, clock, board) = (self.name(), reports.clock, &reports.board);
        let every = self.account.every();
        let mut turns = claims.turns(name, every, clock).await;
        let mut logged = LoggedNotes::default();
        let mut exports = Exports::default();
        while !stop.is_cancelled() {
            view(board, name, |view| (view.every, view.exports.on) = (every, self.export.is_some()));
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
                // The stop arrived during the claim.
                turns.end(turn, TurnEnd::Cut, true).await;
                return;
            }
            view(board, name, |view| (view.running, view.next_at) = (true, None));
            let cancel = stop.child_token();
            let span = sync::run_span(name, turn.attempt());
            // A panic counts as a failed run.
            let work = async {
                exports.catch_up(self, reports, &cancel).await;
                let started = tokio::time::Instant::now();
                let done = AssertUnwindSafe(self.once(clock, &cancel)).catch_unwind().await;
                let done = done.unwrap_or_else(|_| Err(Broken::from("the job panicked".to_owned())));
                (done, started.elapsed())
            };
            let (done, took) = tokio::select! {
                done = work.instrument(span.clone()) => done,
                () = turn.renew_claim(&cancel).instrument(span.clone()) => return,
            };
            let stopping = stop.is_cancelled();
            let end = match &done {
                Err(Broken { busy: true, reason }) => {
                    // The run is retried every few seconds until the other one ends; only the first time is logged.
                    if !logged.busy {
                        span.in_scope(|| tracing::info!(target: "SyncRunner", "{name}: {reason}"));
                    }
                    TurnEnd::Busy
                }
                Ok(done) if stopping && done.run.end == End::Deferred => TurnEnd::Cut,
                done => TurnEnd::Through { failed: failed(done), took },
            };
            logged.busy = end == TurnEnd::Busy;
            let run_end = done.as_ref().ok().map(|done| done.run.end);
            if end != TurnEnd::Busy {
                let done = done.map_err(|broken| broken.reason);
                span.in_scope(|| reports.report(name, took, done, &mut logged));
            }
            if let Some(run_end) = run_end {
                tokio::select! {
                    () = exports.after_run(self, run_end, reports, &cancel).instrument(span.clone()) => {}
                    () = turn.renew_claim(&cancel).instrument(span.clone()) => return,
                }
            }
            turns.end(turn, end, stopping).await;
            view(board, name, |view| (view.running, view.holder) = (false, None));
        }
    }

    async fn once(&self, clock: Clock, stop: &CancellationToken) -> Result<SyncReport, Broken> {
        let destination = self.place.open(self.name()).await?;
        let progress = RunProgress::new(self.account.definition());
        let options = SyncOptions::default();
        let done =
            sync::execute(&self.account, &*destination, options, clock, progress, stop.child_token()).await;
        let closed = destination.close().await;
        let done = done?;
        closed?;
        Ok(done)
    }
}

/// Receives the outcomes of runs.
#[derive(Clone)]
pub(super) struct Reports {
    pub(super) clock: Clock,
    pub(super) board: BoardWriter,
    pub(super) successes: LastSuccesses,
}

/// Messages that were already logged, so that frequent runs do not repeat them.
#[derive(Default)]
struct LoggedNotes {
    /// Another run holds the tables.
    busy: bool,
    /// The notes of the previous run, without digits.
    notes: BTreeSet<String>,
}

impl LoggedNotes {
    /// Returns the notes that the previous run did not have. Numbers in notes are ignored.
    fn new_notes<'n>(&mut self, notes: &'n [String]) -> Vec<&'n String> {
        let bare = |note: &String| note.replace(|c: char| c.is_ascii_digit(), "");
        let before = std::mem::replace(&mut self.notes, notes.iter().map(bare).collect());
        notes.iter().filter(|note| !before.contains(&bare(note))).collect()
    }
}

/// A run that failed before it could record its outcome.
struct Broken {
    reason: String,
    /// Another run holds the tables, possibly a manual one.
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

fn failed(done: &Result<SyncReport, Broken>) -> bool {
    done.as_ref().is_ok_and(|done| done.run.end == End::Failed) || done.is_err()
}

impl Reports {
    /// Reads the last complete run from the run history, and with `last_run` also the outcome of the last run of any daemon.
    /// Returns whether the run history could be read.
    pub(super) async fn remember(&self, place: &DestinationKind, name: &str, last_run: bool) -> bool {
        // The first run reports errors of the destination.
        let Ok(found) = place.find(name).await else { return false };
        let Some(destination) = found else {
            self.successes.merge(name, None);
            return true;
        };
        let mut runs = destination.runs(HISTORY_DEPTH).await;
        let mut complete = runs.as_deref().ok().and_then(run_history::last_whole);
        if complete.is_none() && runs.as_ref().is_ok_and(|runs| runs.len() >= HISTORY_DEPTH) {
            // After many incomplete runs the age of the data matters most, so the whole history is searched.
            runs = destination.runs(usize::MAX).await;
            complete = runs.as_deref().ok().and_then(run_history::last_whole);
        }
        let _ = destination.close().await;
        let Ok(runs) = runs else { return false };
        let last = runs.iter().find_map(|run| last_run.then(|| ended(run)).flatten());
        let last_success = self.successes.merge(name, complete);
        view(&self.board, name, |view| {
            // A run may have ended in the meantime.
            view.last_success = last_success.max(view.last_success);
            let newer =
                |last: &LastRun| view.last_run.as_ref().is_none_or(|shown| shown.ended_at < last.ended_at);
            if let Some(last) = last.filter(newer) {
                view.last_run = Some(last);
            }
        });
        true
    }

    /// Shows the outcome of a run on the board and logs it.
    fn report(&self, name: &str, took: Duration, done: Result<SyncReport, String>, logged: &mut LoggedNotes) {
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
        let line = format!(
            "{name}: {} after {:.1} s, {} seen{why}",
            end.as_str(),
            took.as_secs_f64(),
            counted(seen, "row")
        );
        match end {
            End::Complete => tracing::info!(target: "SyncRunner", "{line}"),
            End::Deferred => tracing::info!(target: "SyncRunner", "{line}"),
            End::Partial => tracing::warn!(target: "SyncRunner", "{line}"),
            End::Failed => tracing::error!(target: "SyncRunner", "{line}"),
        }
        for note in done.iter().flat_map(|done| logged.new_notes(&done.notes)) {
            tracing::warn!(target: "SyncRunner", "{name}: {note}");
        }
        let success = started.filter(|_| end == End::Complete);
        if let Some(started) = success {
            self.successes.record(name, started);
        }
        view(&self.board, name, |view| {
            view.running = false;
            if success.is_some() {
                view.last_success = success;
            }
            *view.ends.entry(end.as_str()).or_default() += 1;
            let waited = done.as_ref().map_or(0, |done| done.run.waited_ms);
            view.last_run = Some(LastRun {
                ended_at: self.clock.now(),
                end: end.as_str(),
                reason,
                took,
                rows,
                waited: Duration::from_millis(waited),
            });
        });
    }
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

fn view(board: &BoardWriter, name: &str, change: impl FnOnce(&mut SyncView)) {
    board.update(|board| change(board.syncs.entry(name.to_owned()).or_default()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    use crate::destinations::{RunOutcome, RunStart};
    use crate::domain::syncing::run_history::Ending;
    use crate::runtime::board::channel;

    const NAME: &str = "statuscake";

    async fn fill(place: &DestinationKind, ends: impl Iterator<Item = (i64, End, Option<&str>)>) {
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

    /// The note is logged again if it reappears after a run without it.
    #[test]
    fn a_note_that_every_run_has_is_logged_once() {
        let notes = |of: &[&str]| of.iter().map(|note| (*note).to_owned()).collect::<Vec<_>>();
        let mut logged = LoggedNotes::default();
        for (run, new) in [
            (&["log: 3 rows without", "day: 1 more"][..], &["log: 3 rows without", "day: 1 more"][..]),
            (&["log: 15 rows without"], &[]),
            (&["log: 15 rows without", "day: 2 more"], &["day: 2 more"]),
            (&[], &[]),
            (&["log: 3 rows without"], &["log: 3 rows without"]),
        ] {
            assert_eq!(logged.new_notes(&notes(run)), new.iter().collect::<Vec<_>>(), "{run:?}");
        }
    }

    /// Later runs that are incomplete or that read only some tables do not count.
    #[tokio::test]
    async fn the_last_complete_run_of_all_tables_is_found_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let place = DestinationKind::Sqlite(folder.path().to_owned());
        let whole = [(1_000, End::Complete, None)];
        let since = (0..205).map(|n| (2_000 + n, End::Partial, Some("rows are missing")));
        let some = [(9_000, End::Complete, Some("only uptime_test was selected"))];
        fill(&place, whole.into_iter().chain(since).chain(some)).await;
        let (writer, board) = channel(Timestamp::UNIX_EPOCH, false);
        let successes = LastSuccesses::default();
        let reports = Reports { clock: Clock::system(), board: writer, successes: successes.clone() };
        assert!(reports.remember(&place, NAME, true).await);
        let view = board.read(|board| board.syncs[NAME].clone());
        assert_eq!(successes.subscribe().borrow()[NAME].success, view.last_success);
        assert_eq!(view.last_success, Timestamp::from_second(1_000).ok());
        assert_eq!(view.last_run.unwrap().ended_at, Timestamp::from_second(9_000).unwrap());
    }
}
