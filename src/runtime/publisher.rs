//! Keeps the banner true: reads the tenant, lets [`plan`] decide, writes if called for, and reads back.
//!
//! What could not be written stays owed and is tried again; nothing counts as done before the tenant shows it.
//! It decides nothing itself but when to try again. Start at [`Publisher::run`].

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::board::BoardHandle;
use super::clock::Clock;
use super::watcher::Wanted;
use crate::domain::banner::{Banner, MAX_MESSAGE, Wish};
use crate::domain::plan::{Action, Keep, Memory, Policy, Shown, Why, plan};
use crate::domain::schedule::backoff;
use crate::publish::{Target, TargetError};
use crate::store::Store;

/// Pages that are read in the same moment make one write, not several.
const GATHER: Duration = Duration::from_millis(25);
/// Look, write, read back, and once more if the world moved in between.
const ROUNDS: usize = 4;
/// First wait after a failure.
const RETRY_BASE: Duration = Duration::from_secs(1);
/// Longest wait after a passing failure.
const RETRY_CAP: Duration = Duration::from_secs(120);
/// Wait after a failure that a person must mend.
const RETRY_REFUSED: Duration = Duration::from_secs(900);
/// A tenant that refuses a message gets it once more in this length: its own limit is not documented.
const SHORT_MESSAGE: usize = 120;

/// The task that owns the banner.
pub struct Publisher {
    pub(super) clock: Clock,
    pub(super) board: BoardHandle,
    pub(super) store: Store,
    pub(super) target: Arc<dyn Target>,
    pub(super) policy: Policy,
    pub(super) recheck: Duration,
    pub(super) clear_on_stop: bool,
    pub(super) wishes: watch::Receiver<Wanted>,
    pub(super) nudge: Arc<Notify>,
    pub(super) stop: CancellationToken,
    pub(super) memory: Memory,
}

/// What is remembered between attempts, and not over restarts.
struct Attempts {
    failures: u32,
    not_before: Option<Instant>,
    max_message: usize,
    said: Option<String>,
}

enum Outcome {
    Settled { again_in: Duration },
    Failed(TargetError),
    Unsettled,
}

impl Publisher {
    /// Runs until stopped. A write that has begun is always finished.
    pub async fn run(mut self) {
        let mut attempts = Attempts { failures: 0, not_before: None, max_message: MAX_MESSAGE, said: None };
        loop {
            let outcome = self.reconcile(self.policy, None, &mut attempts).await;
            let wait = self.after(outcome, &mut attempts);
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = sleep(wait) => {}
                () = self.nudge.notified() => {}
                Ok(()) = self.wishes.changed() => {
                    sleep(GATHER).await;
                    self.wishes.borrow_and_update();
                }
            }
            let not_before = attempts.not_before.take();
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = tokio::time::sleep_until(not_before.unwrap_or_else(Instant::now)) => {}
            }
        }
        if self.clear_on_stop {
            let policy = Policy { resolved_for: Duration::ZERO, ..self.policy };
            self.reconcile(policy, Some(Wish::Quiet), &mut attempts).await;
        }
    }

    /// Brings the tenant to what it should show, as far as it lets us now.
    async fn reconcile(&mut self, policy: Policy, instead: Option<Wish>, attempts: &mut Attempts) -> Outcome {
        let mut accepted: Option<Banner> = None;
        for _ in 0..ROUNDS {
            let shown = match self.target.read().await {
                Ok(shown) => shown,
                Err(error) => return Outcome::Failed(error),
            };
            let now = self.clock.now();
            let (wish, changed_at) = {
                let wanted = self.wishes.borrow();
                let wish =
                    instead.clone().unwrap_or_else(|| Wish::from(&wanted.assessment, attempts.max_message));
                (wish, wanted.changed_at)
            };
            let before = self.memory.clone();
            let step = plan(now, &wish, shown.as_ref(), &mut self.memory, policy);
            self.tell_person(&before, attempts);
            match step.action {
                Action::Keep(why) => {
                    self.keep_memory(&before).await;
                    self.show(shown.as_ref(), why, now);
                    self.say_keep(why, attempts);
                    let until =
                        |at: Timestamp| Duration::try_from(at.duration_since(now)).unwrap_or_default();
                    let again_in = step.again_at.map_or(self.recheck, |at| until(at).min(self.recheck));
                    return if why == Keep::Stale {
                        Outcome::Unsettled
                    } else {
                        Outcome::Settled { again_in }
                    };
                }
                // Accepted, and yet the tenant does not show it: each further write would nag everybody.
                Action::Write(banner, _) if accepted.as_ref().is_some_and(|last| same(last, &banner)) => {
                    self.keep_memory(&before).await;
                    return Outcome::Unsettled;
                }
                Action::Write(banner, why) => {
                    self.board.update(|board| {
                        board.banner.shown = shown.map(|s| s.banner);
                        board.banner.owed_since.get_or_insert(now);
                    });
                    self.memory.sending(&banner, why);
                    self.keep_memory(&before).await;
                    match self.target.write(&banner).await {
                        Ok(answer) => {
                            self.wrote(&banner, why, answer, changed_at).await;
                            accepted = Some(banner);
                        }
                        Err(TargetError::Refused { detail }) if attempts.max_message > SHORT_MESSAGE => {
                            tracing::warn!(target: "QlikClient", "The tenant refused the banner ({detail}); trying a shorter message.");
                            attempts.max_message = SHORT_MESSAGE;
                        }
                        Err(error) => return Outcome::Failed(error),
                    }
                }
            }
        }
        Outcome::Unsettled
    }

    async fn wrote(&mut self, banner: &Banner, why: Why, answer: Option<Shown>, changed_at: Option<Instant>) {
        let before = self.memory.clone();
        if let Some(answer) = answer {
            self.memory.stored(why, answer);
        }
        self.keep_memory(&before).await;
        let words = match why {
            Why::Clear => "Banner cleared.",
            Why::HandBack => "Banner of the tenant's own people handed back.",
            Why::Renew => "Banner renewed.",
            Why::Raise | Why::Update | Why::Resolve => "Banner updated successfully.",
        };
        tracing::info!(target: "QlikClient", "{words}");
        let lag = matches!(why, Why::Raise | Why::Update | Why::Clear | Why::Resolve | Why::HandBack)
            .then(|| changed_at.map(|at| at.elapsed()))
            .flatten();
        let now = self.clock.now();
        self.board.update(|board| {
            board.banner.wrote(why, lag);
            board.banner.answered_at = Some(now);
            board.banner.shown = Some(banner.clone());
        });
    }

    /// Notes how an attempt went; returns how long to wait before the next.
    fn after(&self, outcome: Outcome, attempts: &mut Attempts) -> Duration {
        match outcome {
            Outcome::Settled { again_in } => {
                if attempts.failures > 0 {
                    tracing::info!(target: "QlikClient", "The tenant answers again.");
                }
                attempts.failures = 0;
                again_in.max(RETRY_BASE)
            }
            Outcome::Unsettled => {
                attempts.failures = attempts.failures.saturating_add(1);
                self.wait_for(attempts.failures)
            }
            Outcome::Failed(error) => {
                let wait = match error.retry_after() {
                    Some(wait) => {
                        attempts.not_before = Some(Instant::now() + wait);
                        wait
                    }
                    None if error.is_permanent() => RETRY_REFUSED,
                    None => self.wait_for(attempts.failures),
                };
                self.tell_failure(&error, wait, attempts.failures);
                attempts.failures = attempts.failures.saturating_add(1);
                attempts.said = None;
                wait
            }
        }
    }

    fn wait_for(&self, failures: u32) -> Duration {
        let seed = u64::from(self.clock.since_epoch().subsec_nanos());
        backoff(failures, RETRY_BASE, RETRY_CAP, seed)
    }

    /// The first failure of a row is told, then those at powers of two.
    fn tell_failure(&self, error: &TargetError, wait: Duration, failures: u32) {
        let owed = self.board.read(|board| board.banner.owed_since.is_some());
        self.board.update(|board| {
            board.banner.failures += 1;
            board.banner.trouble = Some(error.to_string());
        });
        if failures == 0 || (failures + 1).is_power_of_two() {
            let count = failures + 1;
            let what = if owed { "The banner is not what it should be" } else { "The tenant cannot be read" };
            let seconds = wait.as_secs().max(1);
            if error.is_permanent() {
                tracing::error!(target: "QlikClient", "{what}: {error}. Next attempt in {seconds} s (failure {count} in a row).");
            } else {
                tracing::warn!(target: "QlikClient", "{what}: {error}. Next attempt in {seconds} s (failure {count} in a row).");
            }
        }
    }

    fn show(&self, shown: Option<&Shown>, why: Keep, now: Timestamp) {
        self.board.update(|board| {
            let view = &mut board.banner;
            view.shown = shown.map(|s| s.banner.clone());
            view.ours = self.memory.holding;
            view.answered_at = Some(now);
            view.trouble = None;
            view.avoided += 1;
            if why.settled() {
                view.owed_since = None;
            } else {
                view.owed_since.get_or_insert(now);
            }
        });
    }

    /// Says once why the tenant is left alone where people might wonder.
    fn say_keep(&self, why: Keep, attempts: &mut Attempts) {
        let words = match why {
            Keep::PersonDecided => {
                "A person changed the banner; that stands until the assessment changes.".to_owned()
            }
            Keep::Waiting => {
                "A person's banner is up; ours waits until it is gone (BANNER_FOREIGN=respect).".to_owned()
            }
            Keep::Right | Keep::Empty | Keep::Theirs | Keep::Stale => {
                attempts.said = None;
                return;
            }
        };
        if attempts.said.as_ref() != Some(&words) {
            tracing::info!(target: "QlikClient", "{words}");
            attempts.said = Some(words);
        }
    }

    /// A person's banner that we take the place of, or that a later one replaced, is told in full: the log is
    /// the second place where it is not lost.
    fn tell_person(&self, before: &Memory, attempts: &mut Attempts) {
        if before.borrowed == self.memory.borrowed {
            return;
        }
        let words = match (&before.borrowed, &self.memory.borrowed) {
            (_, Some(theirs)) => format!("Borrowing the slot of a person's banner: {}", full(theirs)),
            (Some(old), None) if old.has_time_left(self.clock.now()) && self.memory.since.is_some() => {
                format!("A person replaced the banner that was to return: {}", full(old))
            }
            (Some(_), None) | (None, None) => return,
        };
        if attempts.said.as_ref() != Some(&words) {
            tracing::info!(target: "QlikClient", "{words}");
        }
    }

    /// A memory that cannot be kept does not stop the banner; it is kept with the next change.
    async fn keep_memory(&self, before: &Memory) {
        if *before == self.memory {
            return;
        }
        if let Err(e) = self.store.keep_memory(self.memory.clone()).await {
            tracing::error!(target: "MainOrchestrator", "The memory of the banner is not kept: {e}");
            let now = self.clock.now();
            self.board.update(|board| {
                board.store_trouble.get_or_insert((now, e.to_string()));
            });
        }
    }
}

fn same(a: &Banner, b: &Banner) -> bool {
    a.enabled == b.enabled && a.same_content(b)
}

fn full(banner: &Banner) -> String {
    serde_json::to_string(banner).unwrap_or_else(|_| banner.message.clone())
}
