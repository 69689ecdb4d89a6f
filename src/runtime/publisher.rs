//! Keeps the banner true: reads the tenant, lets [`plan`] decide, writes if called for, and reads back.
//!
//! What could not be written stays owed and is tried again; nothing counts as done before the tenant shows it.
//! It decides nothing itself but when to try again. Start at `Publisher::run`.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::board::BoardHandle;
use super::clock::Clock;
use super::lease::Right;
use super::watcher::Wanted;
use crate::domain::banner::{Banner, MAX_MESSAGE, Wish};
use crate::domain::plan::{Action, Keep, Memory, Policy, Shown, Why, plan};
use crate::domain::schedule::backoff;
use crate::publish::{Target, TargetError};
use crate::store::{Report, Store};

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
/// Least wait after any failure, whatever is wished meanwhile.
const FLOOR: Duration = Duration::from_secs(30);
/// After taking the lease from somebody the tenant is looked at more often for a while: what was on its way there when
/// the other ended may arrive after our first look.
const WARY_FOR: Duration = Duration::from_secs(30);
/// How often, then.
const WARY_RECHECK: Duration = Duration::from_secs(5);
/// A tenant that refuses a message gets it once more in this length: its own limit is not documented.
const SHORT_MESSAGE: usize = 120;

/// The task that owns the banner.
pub struct Publisher {
    pub(super) clock: Clock,
    pub(super) board: BoardHandle,
    pub(super) store: Store,
    pub(super) target: Arc<dyn Target>,
    /// `None` in preview: nothing is remembered.
    pub(super) tenant: Option<String>,
    pub(super) policy: Policy,
    pub(super) recheck: Duration,
    pub(super) clear_on_stop: bool,
    pub(super) wishes: watch::Receiver<Option<Wanted>>,
    pub(super) nudge: Arc<Notify>,
    pub(super) stop: CancellationToken,
    pub(super) memory: Memory,
    /// Something in the memory is not on disk yet.
    pub(super) unsaved: bool,
    /// What allows us to write.
    pub(super) right: Right,
    /// What former holders of the lease report.
    pub(super) reports: watch::Receiver<Vec<Report>>,
    /// Reports that are in the memory, and need not be kept any more once that is.
    pub(super) learned: Vec<i64>,
}

/// What is left when the publisher ends.
pub(super) struct Published {
    pub(super) memory: Memory,
    /// Whether it is newer than what is kept.
    pub(super) unsaved: bool,
}

/// What is remembered between attempts, and not over restarts.
struct Attempts {
    failures: u32,
    /// Not before this, whatever is wished.
    not_before: Option<Instant>,
    max_message: usize,
    said: Option<String>,
    /// The wish that the tenant last fulfilled.
    settled: Option<String>,
    /// The change whose lag was counted.
    counted: Option<Instant>,
    wary_until: Option<Instant>,
}

enum Outcome {
    Settled { again_in: Duration },
    Failed(TargetError),
    Unsettled,
}

impl Publisher {
    /// Runs until stopped. Nothing is written before the first assessment; a write that has begun is finished.
    pub(super) async fn run(mut self) -> Published {
        let mut attempts = Attempts {
            failures: 0,
            not_before: None,
            max_message: MAX_MESSAGE,
            said: None,
            settled: None,
            counted: None,
            wary_until: self.right.is_lease().then(|| Instant::now() + WARY_FOR),
        };
        let stop = self.stop.clone();
        let spoken = tokio::select! {
            () = stop.cancelled() => false,
            spoken = self.wishes.wait_for(Option::is_some) => spoken.is_ok(),
        };
        while spoken && !stop.is_cancelled() {
            let outcome = self.reconcile(self.policy, None, &mut attempts).await;
            let wait = self.after(outcome, &mut attempts);
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep(wait) => {}
                () = self.nudge.notified() => {}
                Ok(()) = self.wishes.changed() => sleep(GATHER).await,
            }
            self.wishes.mark_unchanged();
            let not_before = attempts.not_before.take();
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep_until(not_before.unwrap_or_else(Instant::now)) => {}
            }
        }
        if self.clear_on_stop && self.right.left().is_some() {
            let policy = Policy { resolved_for: Duration::ZERO, ..self.policy };
            self.reconcile(policy, Some(Wish::Quiet), &mut attempts).await;
        }
        if self.right.left().is_some() {
            self.keep_memory().await;
        }
        Published { memory: self.memory, unsaved: self.unsaved }
    }

    /// Takes in what former holders of the lease wrote.
    fn hear(&mut self) {
        if !self.reports.has_changed().unwrap_or(false) {
            return;
        }
        for report in self.reports.borrow_and_update().iter() {
            if !self.learned.contains(&report.id) {
                tracing::info!(target: "QlikClient", "A former holder of the lease reported what it wrote last.");
                self.memory.learn(&report.memory);
                self.learned.push(report.id);
                self.unsaved = true;
            }
        }
    }

    /// Writes while the lease lasts. Where it ends before the answer, the banner may have been stored all the same.
    async fn write(&mut self, banner: &Banner) -> Result<Option<Shown>, TargetError> {
        let Some(left) = self.right.left() else {
            return Err(trouble("the lease is over, so nothing is written"));
        };
        let written = tokio::time::timeout(left, self.target.write(banner)).await;
        written.unwrap_or_else(|_| {
            self.unsaved = true;
            Err(trouble("the lease ended before the answer came"))
        })
    }

    /// Brings the tenant to what it should show, as far as it lets us now. `instead` of the assessment's wish at
    /// the end, when a stop no longer interrupts.
    async fn reconcile(&mut self, policy: Policy, instead: Option<Wish>, attempts: &mut Attempts) -> Outcome {
        let mut accepted: Option<Banner> = None;
        for _ in 0..ROUNDS {
            let read = async {
                if instead.is_some() { std::future::pending().await } else { self.stop.cancelled().await }
            };
            let shown = tokio::select! {
                () = read => return Outcome::Unsettled,
                shown = self.target.read() => shown,
            };
            self.hear();
            let now = self.clock.now();
            let (wish, changed_at) = self.wish(instead.as_ref(), attempts.max_message);
            let shown = match shown {
                Ok(shown) => shown,
                Err(error) => {
                    self.owe_if_unfulfilled(&wish, attempts, now);
                    return Outcome::Failed(error);
                }
            };
            let before = self.memory.clone();
            let step = plan(now, &wish, shown.as_ref(), &mut self.memory, policy);
            self.unsaved |= before != self.memory;
            self.tell_person(&before, shown.as_ref());
            match step.action {
                Action::Keep(why) => {
                    self.keep_memory().await;
                    self.show(shown.as_ref(), why, now);
                    Self::say_keep(why, attempts);
                    if why == Keep::Stale {
                        return Outcome::Unsettled;
                    }
                    if why.settled() {
                        attempts.settled = Some(wish.key());
                    }
                    if wish == Wish::Quiet {
                        attempts.max_message = MAX_MESSAGE;
                    }
                    let until =
                        |at: Timestamp| Duration::try_from(at.duration_since(now)).unwrap_or_default();
                    let wary = attempts.wary_until.is_some_and(|until| Instant::now() < until);
                    let recheck = if wary { self.recheck.min(WARY_RECHECK) } else { self.recheck };
                    let again_in = step.again_at.map_or(recheck, |at| until(at).min(recheck));
                    return Outcome::Settled { again_in };
                }
                // Accepted, and yet the tenant does not show it: each further write would nag everybody.
                Action::Write(banner, _) if accepted.as_ref().is_some_and(|last| same(last, &banner)) => {
                    self.keep_memory().await;
                    return Outcome::Unsettled;
                }
                Action::Write(banner, why) => {
                    self.board.update(|board| {
                        board.banner.shown = shown.map(|s| s.banner);
                        board.banner.owed_since.get_or_insert(now);
                    });
                    self.memory.sending(&banner, why, now);
                    self.unsaved = true;
                    if !self.keep_memory().await {
                        return Outcome::Failed(trouble(
                            "another daemon holds the lease, so nothing is written",
                        ));
                    }
                    match self.write(&banner).await {
                        Ok(answer) => {
                            let lag = changed_at.filter(|at| attempts.counted != Some(*at));
                            attempts.counted = changed_at;
                            self.wrote(&banner, why, answer, lag).await;
                            accepted = Some(banner);
                        }
                        Err(TargetError::Refused { detail }) if self.give_way(why, &detail, attempts) => {}
                        Err(error) => return Outcome::Failed(error),
                    }
                }
            }
        }
        Outcome::Unsettled
    }

    fn wish(&self, instead: Option<&Wish>, max_message: usize) -> (Wish, Option<Instant>) {
        let wanted = self.wishes.borrow();
        match (instead, wanted.as_ref()) {
            (Some(wish), _) => (wish.clone(), None),
            (None, Some(wanted)) => (Wish::from(&wanted.assessment, max_message), wanted.changed_at),
            (None, None) => (Wish::Quiet, None),
        }
    }

    /// What to try instead of a body that the tenant refuses; `false` if there is nothing.
    fn give_way(&mut self, why: Why, detail: &str, attempts: &mut Attempts) -> bool {
        match why {
            Why::HandBack => {
                let theirs = self.memory.borrowed.take().as_ref().map(full).unwrap_or_default();
                self.unsaved = true;
                tracing::error!(target: "QlikClient", "The tenant refuses the banner of its own people ({detail}); please set it again: {theirs}");
                true
            }
            Why::Raise | Why::Update if attempts.max_message > SHORT_MESSAGE => {
                tracing::warn!(target: "QlikClient", "The tenant refused the banner ({detail}); trying a shorter message.");
                attempts.max_message = SHORT_MESSAGE;
                true
            }
            Why::Raise | Why::Update | Why::Renew | Why::Resolve | Why::Clear => false,
        }
    }

    fn owe_if_unfulfilled(&self, wish: &Wish, attempts: &Attempts, now: Timestamp) {
        let unfulfilled = match &attempts.settled {
            Some(settled) => *settled != wish.key(),
            None => *wish != Wish::Quiet || self.memory.holding,
        };
        if unfulfilled {
            self.board.update(|board| {
                board.banner.owed_since.get_or_insert(now);
            });
        }
    }

    async fn wrote(&mut self, banner: &Banner, why: Why, answer: Option<Shown>, changed_at: Option<Instant>) {
        if let Some(answer) = answer {
            self.memory.stored(why, answer);
            self.unsaved = true;
        }
        self.keep_memory().await;
        let words = match why {
            Why::Clear => "Banner cleared.",
            Why::HandBack => "Banner of the tenant's own people handed back.",
            Why::Renew => "Banner renewed.",
            Why::Raise | Why::Update | Why::Resolve => "Banner updated successfully.",
        };
        // In preview the target has said what it would have done.
        if self.tenant.is_some() {
            tracing::info!(target: "QlikClient", "{words}");
        }
        let now = self.clock.now();
        self.board.update(|board| {
            board.banner.wrote(why, changed_at.map(|at| at.elapsed()));
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
                let wait = self.wait_for(attempts.failures);
                // Once may be a copy that lags; more is told.
                if attempts.failures > 0 && !self.stop.is_cancelled() {
                    let words = "the tenant took the banner but does not show it";
                    self.tell_trouble(words, false, wait, attempts.failures);
                }
                attempts.failures = attempts.failures.saturating_add(1);
                wait
            }
            Outcome::Failed(error) => {
                let wait = match error.retry_after() {
                    Some(wait) => wait,
                    None if error.is_permanent() => RETRY_REFUSED,
                    None => self.wait_for(attempts.failures),
                };
                // A new wish need not wait as long as a person who mends the configuration.
                let floor = if error.retry_after().is_some() { wait } else { wait.min(FLOOR) };
                attempts.not_before = Some(Instant::now() + floor);
                self.tell_trouble(&error.to_string(), error.is_permanent(), wait, attempts.failures);
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
    fn tell_trouble(&self, trouble: &str, permanent: bool, wait: Duration, failures: u32) {
        let owed = self.board.read(|board| board.banner.owed_since.is_some());
        self.board.update(|board| {
            board.banner.failures += 1;
            board.banner.trouble = Some(trouble.to_owned());
        });
        let count = failures + 1;
        if !count.is_power_of_two() {
            return;
        }
        let what = if owed { "The banner is not what it should be" } else { "The tenant cannot be read" };
        let seconds = wait.as_secs().max(1);
        let next = format!("Next attempt in {seconds} s (failure {count} in a row).");
        if permanent {
            tracing::error!(target: "QlikClient", "{what}: {trouble}. {next}");
        } else {
            tracing::warn!(target: "QlikClient", "{what}: {trouble}. {next}");
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
    fn say_keep(why: Keep, attempts: &mut Attempts) {
        let words = match why {
            Keep::PersonDecided => "A person changed the banner; that stands until the assessment changes.",
            Keep::Waiting => "A person's banner is up; ours waits until it is gone (BANNER_FOREIGN=respect).",
            Keep::Right | Keep::Empty | Keep::Theirs | Keep::Stale | Keep::Soon => {
                attempts.said = None;
                return;
            }
        };
        if attempts.said.as_deref() != Some(words) {
            tracing::info!(target: "QlikClient", "{words}");
            attempts.said = Some(words.to_owned());
        }
    }

    /// A person's banner whose place we take, or that a later one replaced, is told in full: the log is the second
    /// place where it is not lost.
    fn tell_person(&self, before: &Memory, shown: Option<&Shown>) {
        if before.borrowed == self.memory.borrowed {
            return;
        }
        if let Some(theirs) = &self.memory.borrowed {
            tracing::info!(target: "QlikClient", "Borrowing the slot of a person's banner: {}", full(theirs));
        }
        let returned = |old: &Banner| {
            shown.is_some_and(|shown| shown.banner.same_content(old) && shown.banner.enabled == old.enabled)
        };
        if let Some(old) =
            before.borrowed.as_ref().filter(|old| old.has_time_left(self.clock.now()) && !returned(old))
        {
            tracing::info!(target: "QlikClient", "A person replaced the banner that was to return: {}", full(old));
        }
    }

    /// A memory that cannot be kept does not stop the banner; it is tried again at each look at the tenant. Returns
    /// whether we may go on: not where another daemon has the lease, whatever our own clock says.
    async fn keep_memory(&mut self) -> bool {
        let Some(tenant) = self.tenant.as_ref().filter(|_| self.unsaved) else { return true };
        let kept = self.store.keep_memory(tenant, self.memory.clone(), self.learned.clone()).await;
        self.unsaved = kept.is_err();
        if kept.is_ok() {
            self.learned.clear();
        }
        let ours = !kept.as_ref().is_err_and(|e| e.fenced);
        let trouble = kept.err().map(|e| e.to_string());
        let new = self.board.read(|board| board.banner.memory_trouble.is_some()) != trouble.is_some();
        match &trouble {
            Some(e) if new => {
                tracing::error!(target: "MainOrchestrator", "The memory of the banner is not kept: {e}")
            }
            None if new => {
                tracing::info!(target: "MainOrchestrator", "The memory of the banner is kept again.")
            }
            Some(_) | None => {}
        }
        if new {
            self.board.update(|board| board.banner.memory_trouble = trouble);
        }
        ours
    }
}

fn trouble(detail: &str) -> TargetError {
    TargetError::Trouble { wait: None, detail: detail.to_owned() }
}

fn same(a: &Banner, b: &Banner) -> bool {
    a.enabled == b.enabled && a.same_content(b)
}

fn full(banner: &Banner) -> String {
    serde_json::to_string(banner).unwrap_or_else(|_| banner.message.clone())
}
