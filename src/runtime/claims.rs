//! Who runs a connector, and when: this daemon alone, or any of several that share a database.
//!
//! Alone, a turn comes by the clock. Shared, the table of jobs says when one is due, and a claim of it is renewed for as
//! long as the run goes on; a claim that is lost cancels the run at a safe point (that it cannot store anything any
//! more is the destination's doing). Daemons that already run something hold back a little, so that work spreads.
//! Nobody asks the database but through `Overseer` and a `Turn`. Start at `Turns`.

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
pub(super) use overseer::Overseer;

use super::clock::Clock;
use crate::destinations::Place;
use crate::domain::schedule;
use crate::store::jobs::{Claim, Jobs, Offer, Shared};

/// However often it fails, a job is tried again after this at the latest (or after `every`, if that is longer).
const LONGEST_BACKOFF: Duration = Duration::from_secs(6 * 3600);

/// Connectors begin within this after the start, each at its own moment, so that a restart is no burst.
const FIRST_SPREAD: Duration = Duration::from_secs(10);

/// Tables that another run has are tried again after this: a former holder of the claim lets go of them within its
/// own lease.
const BUSY_AGAIN: Duration = Duration::from_secs(10);

/// A daemon that stops has this long to give a claim back; otherwise it ends with its lease.
const LAST_WORDS: Duration = Duration::from_secs(4);

/// How daemons share jobs.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// How often each looks at the table: what one gives back, another has after this.
    pub look: Duration,
    /// How long each run under way makes a daemon hold back: long enough for an idle one to be first, and short
    /// beside any interval between runs.
    pub hold_back: Duration,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { look: Duration::from_secs(2), hold_back: Duration::from_millis(500) }
    }
}

/// With whom jobs are shared. By default with nobody.
#[derive(Clone, Default)]
pub struct Claims(Option<Arc<Common>>);

/// What the jobs of one daemon have in common.
struct Common {
    jobs: Jobs,
    pace: Pace,
    /// Where the ledgers are.
    place: Place,
    /// What this daemon can run, and whether the table has it.
    offers: Mutex<BTreeMap<String, (Offer, bool)>>,
    /// An offer is new.
    offered: Notify,
    /// The table as seen last.
    seen: watch::Sender<BTreeMap<String, Seen>>,
    /// Runs under way here.
    busy: watch::Sender<u32>,
    /// Makes each attempt's moment its own.
    attempts: AtomicU64,
}

/// A job as seen last.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    job: Shared,
    free_at: Instant,
}

impl Claims {
    /// Shares the jobs of this table, whose runs are accounted at this place.
    pub fn shared(jobs: Jobs, place: Place, pace: Pace) -> Claims {
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

    /// Whoever keeps an eye on the table, where it is shared.
    pub(super) fn overseer(&self) -> Option<Overseer> {
        self.0.clone().map(Overseer::new)
    }

    /// The turns of a connector that this daemon can run from now on.
    pub(super) async fn turns(&self, connector: &str, every: Duration, clock: Clock) -> Turns {
        let first_in = schedule::stagger(connector, FIRST_SPREAD.min(every));
        let kind = match &self.0 {
            None => Kind::Alone { due: Due::after(first_in, clock.now()), failures: 0 },
            Some(common) => {
                common.offers.lock().await.insert(connector.to_owned(), (Offer { every, first_in }, false));
                common.offered.notify_one();
                let seen = common.seen.subscribe();
                Kind::Shared { common: Arc::clone(common), seen, stale: false }
            }
        };
        Turns { connector: connector.to_owned(), every, clock, kind }
    }

    /// Takes back the offer to run a connector.
    pub(super) async fn withdraw(&self, connector: &str) {
        if let Some(common) = &self.0 {
            common.offers.lock().await.remove(connector);
        }
    }
}

/// When a connector runs here.
pub(super) struct Turns {
    connector: String,
    every: Duration,
    clock: Clock,
    kind: Kind,
}

enum Kind {
    Alone {
        due: Due,
        failures: u32,
    },
    Shared {
        common: Arc<Common>,
        seen: watch::Receiver<BTreeMap<String, Seen>>,
        /// What was seen last turned out not to be so.
        stale: bool,
    },
}

impl Turns {
    /// The time until the next turn, if this daemon alone decides.
    pub(super) fn next_in(&self) -> Option<Duration> {
        match &self.kind {
            Kind::Alone { due, .. } => Some(due.left(self.clock.now())),
            Kind::Shared { .. } => None,
        }
    }

    /// Waits until a run is due. May be dropped at any moment.
    pub(super) async fn due(&mut self) {
        match &mut self.kind {
            Kind::Alone { due, .. } => due.reached(|| self.clock.now()).await,
            Kind::Shared { common, seen, stale } => {
                if *stale && seen.changed().await.is_ok() {
                    *stale = false;
                }
                common.due(&self.connector, seen).await;
            }
        }
    }

    /// Takes the turn that is due; `None` if another daemon was first. Must not be dropped: the turn would be lost
    /// until its lease ends.
    pub(super) async fn take(&mut self) -> Option<Turn> {
        let (common, stale) = match &mut self.kind {
            Kind::Alone { failures, .. } => return Some(Turn { failures: *failures, held: None }),
            Kind::Shared { common, stale, .. } => (common, stale),
        };
        let asked = Instant::now();
        match common.jobs.claim(&self.connector).await {
            Ok(Some(claim)) => {
                if let Some(before) = &claim.taken_from {
                    let name = &claim.connector;
                    tracing::warn!(target: "SyncRunner", "{name}: took over from {before} (no heartbeat); resuming from its checkpoint");
                }
                common.busy.send_modify(|busy| *busy += 1);
                let until = asked + common.jobs.lease();
                let failures = claim.failures;
                Some(Turn { failures, held: Some(Held { common: Arc::clone(common), claim, until }) })
            }
            Ok(None) | Err(_) => {
                // What troubles the database the overseer says.
                *stale = true;
                None
            }
        }
    }

    /// Ends a turn. `stopping`: the daemon does, so there is little time left.
    pub(super) async fn end(&mut self, turn: Turn, ended: Ended, stopping: bool) {
        let (wait, failures) = match ended {
            Ended::Through { failed, took } => {
                let failures = if failed { turn.failures.saturating_add(1) } else { 0 };
                (until_next(&self.connector, self.every, took, failures), failures)
            }
            Ended::Cut => (Duration::ZERO, turn.failures),
            Ended::Busy => (BUSY_AGAIN, turn.failures),
        };
        if let Kind::Alone { due, failures: before } = &mut self.kind {
            (*due, *before) = (Due::after(wait, self.clock.now()), failures);
        }
        if let Some(held) = turn.held {
            held.release(wait, failures, stopping).await;
        }
    }
}

/// How a turn went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// It ran.
    Through { failed: bool, took: Duration },
    /// Stopped in the middle: somebody should go on at once.
    Cut,
    /// Somebody else had the tables.
    Busy,
}

/// The right to run once.
pub(super) struct Turn {
    failures: u32,
    held: Option<Held>,
}

impl Turn {
    /// Keeps the right for as long as this is awaited; cancels once it is lost. Never returns.
    pub(super) async fn keep(&mut self, cancel: &CancellationToken) {
        if let Some(held) = &mut self.held {
            held.keep().await;
            let name = &held.claim.connector;
            tracing::warn!(target: "SyncRunner", "{name}: lost the claim of this run; stopping it, the daemon that has the claim continues");
            cancel.cancel();
        }
        std::future::pending().await
    }
}

/// A claim under way.
struct Held {
    common: Arc<Common>,
    claim: Claim,
    /// Until when it holds for sure, by this machine's own clock.
    until: Instant,
}

impl Held {
    /// Renews the claim until it is lost.
    async fn keep(&mut self) {
        let (jobs, pause) = (&self.common.jobs, self.common.jobs.lease() / 3);
        loop {
            tokio::time::sleep_until((Instant::now() + pause).min(self.until)).await;
            let asked = Instant::now();
            match tokio::time::timeout_at(self.until, jobs.renew(&self.claim)).await {
                Ok(Ok(true)) => self.until = asked + jobs.lease(),
                Ok(Ok(false)) | Err(_) => return,
                // Whatever troubles the database may be over before the lease is.
                Ok(Err(_)) if asked >= self.until => return,
                Ok(Err(_)) => {}
            }
        }
    }

    /// Gives the claim back; asks again while nobody answers and the claim still holds.
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
        let most = if stopping { Instant::now() + LAST_WORDS } else { self.until };
        // Otherwise the lease ends, and somebody goes on as after a crash.
        let _ = tokio::time::timeout_at(most.min(self.until), attempt).await;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.common.busy.send_modify(|busy| *busy -= 1);
    }
}

impl Common {
    async fn due(&self, connector: &str, seen: &mut watch::Receiver<BTreeMap<String, Seen>>) {
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
                // Somebody else's end, or one's own next run, changes whose turn it is.
                Ok(()) = seen.changed() => {}
                Ok(()) = busy.changed() => {}
                () = turn => return,
            }
        }
    }
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
