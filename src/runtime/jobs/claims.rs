//! Decides which daemon runs a connector, and when: this daemon alone, or one of several that share a database.
//!
//! Alone, the clock decides. Shared, the job table says when a job is due, and the daemon that claims it renews the claim
//! for the duration of the run. If the claim is lost, the run is cancelled at its next checkpoint; the destination rejects
//! its writes from then on. Daemons that are already running a job wait a little longer before they claim another, so that
//! the work spreads. Only `Overseer` and `RunTurn` access the database. Start at `Turns`.

mod due;
mod overseer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use due::Due;
pub(in crate::runtime) use overseer::Overseer;

use crate::destinations::DestinationKind;
use crate::domain::monitoring::schedule;
use crate::runtime::clock::Clock;
use crate::store::jobs::{Claim, Jobs, Offer, SharedJob};

/// Longest delay after failures (or `every`, if that is longer).
const LONGEST_BACKOFF: Duration = Duration::from_secs(6 * 3600);

/// Connectors start within this time after the start of the daemon, at different times, so that a restart causes no burst.
const FIRST_SPREAD: Duration = Duration::from_secs(10);

/// Delay after another run held the tables. A former holder of the claim releases them within its own lease.
const BUSY_RETRY: Duration = Duration::from_secs(10);

/// How long a stopping daemon tries to release a claim. Otherwise the claim expires with its lease.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(4);

/// Timing of sharing jobs.
#[derive(Debug, Clone, Copy)]
pub struct ClaimPace {
    /// Interval at which each daemon reads the job table. A released job is taken over within this time.
    pub look: Duration,
    /// Additional delay before a claim, per run in progress. Long enough that an idle daemon is first, and short compared
    /// with any interval between runs.
    pub hold_back: Duration,
}

impl Default for ClaimPace {
    fn default() -> ClaimPace {
        ClaimPace { look: Duration::from_secs(2), hold_back: Duration::from_millis(500) }
    }
}

/// Access to shared jobs. The default shares nothing.
#[derive(Clone, Default)]
pub struct Claims(Option<Arc<Common>>);

/// Shared by all jobs of one daemon.
struct Common {
    jobs: Jobs,
    pace: ClaimPace,
    /// Location of the run histories.
    place: DestinationKind,
    /// The connectors that this daemon can run, and whether the job table contains them.
    offers: Mutex<BTreeMap<String, (Offer, bool)>>,
    /// Notified of a new offer.
    offered: Notify,
    /// The job table as last read.
    seen: watch::Sender<BTreeMap<String, ObservedJob>>,
    /// Number of runs in progress in this daemon.
    busy: watch::Sender<u32>,
    /// Varies the random delay of each attempt.
    attempts: AtomicU64,
}

/// A job as last read.
#[derive(Debug, Clone, PartialEq)]
struct ObservedJob {
    job: SharedJob,
    free_at: Instant,
}

impl Claims {
    /// Shares the jobs of this table. `place` holds the run histories.
    pub fn shared(jobs: Jobs, place: DestinationKind, pace: ClaimPace) -> Claims {
        Claims(Some(Arc::new(Common {
            jobs,
            pace,
            place,
            offers: Mutex::default(),
            offered: Notify::new(),
            seen: watch::Sender::default(),
            busy: watch::Sender::new(0),
            attempts: AtomicU64::new(0),
        })))
    }

    /// The task that reads the job table, if it is shared.
    pub(in crate::runtime) fn overseer(&self) -> Option<Overseer> {
        self.0.clone().map(Overseer::new)
    }

    /// Offers a connector that this daemon can run from now on.
    pub(in crate::runtime) async fn turns(&self, connector: &str, every: Duration, clock: Clock) -> Turns {
        let first_in = schedule::stagger(connector, FIRST_SPREAD.min(every));
        let kind = match &self.0 {
            None => ClaimKind::Alone { due: Due::after(first_in, clock.now()), failures: 0 },
            Some(common) => {
                common.offers.lock().await.insert(connector.to_owned(), (Offer { every, first_in }, false));
                common.offered.notify_one();
                let seen = common.seen.subscribe();
                ClaimKind::Shared { common: Arc::clone(common), seen, stale: false }
            }
        };
        Turns { connector: connector.to_owned(), every, clock, kind }
    }

    /// Withdraws the offer to run a connector.
    pub(in crate::runtime) async fn withdraw(&self, connector: &str) {
        if let Some(common) = &self.0 {
            common.offers.lock().await.remove(connector);
        }
    }
}

/// When a connector runs here.
pub(in crate::runtime) struct Turns {
    connector: String,
    every: Duration,
    clock: Clock,
    kind: ClaimKind,
}

enum ClaimKind {
    Alone {
        due: Due,
        failures: u32,
    },
    Shared {
        common: Arc<Common>,
        seen: watch::Receiver<BTreeMap<String, ObservedJob>>,
        /// The job table changed since it was last read.
        stale: bool,
    },
}

impl Turns {
    /// Time until the next run, if this daemon is alone.
    pub(in crate::runtime) fn next_in(&self) -> Option<Duration> {
        match &self.kind {
            ClaimKind::Alone { due, .. } => Some(due.left(self.clock.now())),
            ClaimKind::Shared { .. } => None,
        }
    }

    /// Waits until a run is due. Cancel-safe.
    pub(in crate::runtime) async fn due(&mut self) {
        match &mut self.kind {
            ClaimKind::Alone { due, .. } => due.reached(|| self.clock.now()).await,
            ClaimKind::Shared { common, seen, stale } => {
                if *stale && seen.changed().await.is_ok() {
                    *stale = false;
                }
                common.due(&self.connector, seen).await;
            }
        }
    }

    /// Claims the run that is due; `None` if another daemon claimed it first. Not cancel-safe: a claim that is dropped blocks
    /// the job until its lease expires.
    pub(in crate::runtime) async fn take(&mut self) -> Option<RunTurn> {
        let (common, stale) = match &mut self.kind {
            ClaimKind::Alone { failures, .. } => return Some(RunTurn { failures: *failures, held: None }),
            ClaimKind::Shared { common, stale, .. } => (common, stale),
        };
        let sent_at = Instant::now();
        match common.jobs.claim(&self.connector).await {
            Ok(Some(claim)) => {
                if let Some(before) = &claim.taken_from {
                    let name = &claim.connector;
                    tracing::warn!(target: "SyncRunner", "{name}: took over from {before} (no heartbeat); resuming from its checkpoint");
                }
                common.busy.send_modify(|busy| *busy += 1);
                let until = sent_at + common.jobs.lease();
                let failures = claim.failures;
                Some(RunTurn { failures, held: Some(Held { common: Arc::clone(common), claim, until }) })
            }
            Ok(None) | Err(_) => {
                // The overseer logs database errors.
                *stale = true;
                None
            }
        }
    }

    /// Ends a run. If the daemon is `stopping`, releasing the claim must be quick.
    pub(in crate::runtime) async fn end(&mut self, turn: RunTurn, ended: TurnEnd, stopping: bool) {
        let (wait, failures) = match ended {
            TurnEnd::Through { failed, took } => {
                let failures = if failed { turn.failures.saturating_add(1) } else { 0 };
                (until_next(&self.connector, self.every, took, failures), failures)
            }
            TurnEnd::Cut => (Duration::ZERO, turn.failures),
            TurnEnd::Busy => (BUSY_RETRY, turn.failures),
        };
        if let ClaimKind::Alone { due, failures: before } = &mut self.kind {
            (*due, *before) = (Due::after(wait, self.clock.now()), failures);
        }
        if let Some(held) = turn.held {
            held.release(wait, failures, stopping).await;
        }
    }
}

/// Outcome of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::runtime) enum TurnEnd {
    /// The run finished.
    Through { failed: bool, took: Duration },
    /// The run was interrupted and should be resumed immediately.
    Cut,
    /// Another run held the tables.
    Busy,
}

/// Permission to run a connector once.
pub(in crate::runtime) struct RunTurn {
    failures: u32,
    held: Option<Held>,
}

impl RunTurn {
    /// Number of the attempt since the last run that did not fail, from 1.
    pub(in crate::runtime) fn attempt(&self) -> u32 {
        self.failures.saturating_add(1)
    }

    /// Renews the claim while this is awaited, and cancels the run once the claim is lost. Never returns.
    pub(in crate::runtime) async fn renew_claim(&mut self, cancel: &CancellationToken) {
        if let Some(held) = &mut self.held {
            held.renew_until_lost().await;
            let name = &held.claim.connector;
            tracing::warn!(target: "SyncRunner", "{name}: lost the claim of this run; stopping it, the daemon that holds the claim resumes it");
            cancel.cancel();
        }
        std::future::pending().await
    }
}

/// A claim of a run in progress.
struct Held {
    common: Arc<Common>,
    claim: Claim,
    /// The claim is certainly valid until then, by the clock of this machine.
    until: Instant,
}

impl Held {
    /// Renews the claim until it is lost.
    async fn renew_until_lost(&mut self) {
        let (jobs, pause) = (&self.common.jobs, self.common.jobs.lease() / 3);
        loop {
            tokio::time::sleep_until((Instant::now() + pause).min(self.until)).await;
            let sent_at = Instant::now();
            match tokio::time::timeout_at(self.until, jobs.renew(&self.claim)).await {
                Ok(Ok(true)) => self.until = sent_at + jobs.lease(),
                Ok(Ok(false)) | Err(_) => return,
                // The database may recover before the lease expires.
                Ok(Err(_)) if sent_at >= self.until => return,
                Ok(Err(_)) => {}
            }
        }
    }

    /// Releases the claim. Retries errors while the claim is valid.
    async fn release(self, next_in: Duration, failures: u32, stopping: bool) {
        let jobs = &self.common.jobs;
        let attempt = async {
            loop {
                match jobs.release(&self.claim, next_in, failures).await {
                    Ok(_) => return,
                    Err(_) => tokio::time::sleep(self.common.pace.look).await,
                }
            }
        };
        let deadline = if stopping { Instant::now() + RELEASE_TIMEOUT } else { self.until };
        // Without a release the lease expires, and another daemon resumes the run as after a crash.
        let _ = tokio::time::timeout_at(deadline.min(self.until), attempt).await;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.common.busy.send_modify(|busy| *busy -= 1);
    }
}

impl Common {
    async fn due(&self, connector: &str, seen: &mut watch::Receiver<BTreeMap<String, ObservedJob>>) {
        let attempt = self.attempts.fetch_add(1, Ordering::Relaxed);
        let seed = format!("{} {connector} {attempt}", self.jobs.holder());
        let chance = schedule::stagger(&seed, self.pace.hold_back);
        let mut busy = self.busy.subscribe();
        loop {
            let free_at = seen.borrow_and_update().get(connector).map(|seen| seen.free_at);
            let runs = *busy.borrow_and_update();
            let turn = async {
                match free_at {
                    Some(at) => tokio::time::sleep_until(at + chance + self.pace.hold_back * runs).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                // The end of another run, or another run in this daemon, changes when this daemon may claim.
                Ok(()) = seen.changed() => {}
                Ok(()) = busy.changed() => {}
                () = turn => return,
            }
        }
    }
}

/// The delay after a run: the rest of `every` since its start, and longer after failures.
fn until_next(name: &str, every: Duration, took: Duration, failures: u32) -> Duration {
    let rest = every.saturating_sub(took);
    // A run longer than its interval is followed by a pause, not immediately by the next run.
    let regular = rest.max(every / 10);
    if failures < 2 {
        return regular;
    }
    let cap = LONGEST_BACKOFF.max(every);
    regular.max(schedule::backoff(failures - 1, every, cap, schedule::hash(name) ^ u64::from(failures)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn m(minutes: u64) -> Duration {
        Duration::from_secs(60 * minutes)
    }

    #[test]
    fn runs_follow_their_interval_with_a_pause_after_long_ones_and_backoff_after_failures() {
        assert_eq!(until_next("x", m(15), m(1), 0), m(14));
        assert_eq!(until_next("x", m(15), m(40), 0), Duration::from_secs(90));
        assert_eq!(until_next("x", m(15), m(1), 1), m(14));
        let waits: Vec<Duration> = (2..12).map(|failures| until_next("x", m(15), m(1), failures)).collect();
        assert!(waits[0] >= m(15) && waits[0] <= m(30), "{waits:?}");
        assert!(waits.iter().all(|wait| *wait <= LONGEST_BACKOFF));
        assert!(waits[9] >= LONGEST_BACKOFF / 2);
    }
}
