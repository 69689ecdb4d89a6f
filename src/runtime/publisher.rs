//! Keeps the banner true: reads the tenant, lets [`plan`] decide, writes if called for, and reads back.
//!
//! What could not be written stays pending and is retried; nothing counts as done before the tenant shows it. Each write
//! is saved before it leaves, and because saving may take seconds, the tenant is read once more in between: a banner
//! that a person set meanwhile is seen. It decides nothing itself but when to try again (`attempts`). Start at
//! `Publisher::run`.

mod attempts;
mod state;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::board::BoardHandle;
use super::clock::Clock;
use super::lease::Right;
use super::watcher::Wanted;
use crate::domain::banner::{Banner, Wish};
use crate::domain::plan::{Action, Desired, Keep, Memory, Policy, Reach, Shown, Step, Why, Witnesses, plan};
use crate::publish::{Target, TargetError};
use crate::store::Store;
use attempts::Attempts;
use state::full;

/// Pages that are read in the same moment make one write, not several.
const GATHER: Duration = Duration::from_millis(25);
/// Readings of the tenant in one attempt: two before each write, one after it, with room for the forms that a refused
/// banner is sent in and for people who change the slot meanwhile.
const ROUNDS: usize = 12;
/// After taking the lease from another daemon the tenant is read more often for a while: what was on its way there when
/// the other ended may arrive after our first reading.
const WARY_FOR: Duration = Duration::from_secs(30);
/// How often, then.
const WARY_RECHECK: Duration = Duration::from_secs(5);
/// State that could not be saved is tried again after this, whatever the tenant does.
const SAVE_AGAIN: Duration = Duration::from_secs(3);
/// While a banner waits for monitors to be read, it is checked after this whether they were.
const CHECK_COVERAGE: Duration = Duration::from_secs(1);
/// Two windows of the same write that were computed in two rounds differ by less than this.
const SAME_WINDOW: SignedDuration = SignedDuration::from_secs(30);

/// The task that owns the banner.
pub struct Publisher {
    pub(super) clock: Clock,
    pub(super) board: BoardHandle,
    pub(super) store: Store,
    pub(super) target: Arc<dyn Target>,
    /// `None` in preview: nothing is saved.
    pub(super) tenant: Option<String>,
    pub(super) policy: Policy,
    pub(super) recheck: Duration,
    pub(super) clear_on_stop: bool,
    pub(super) wishes: watch::Receiver<Option<Wanted>>,
    pub(super) nudge: Arc<Notify>,
    pub(super) stop: CancellationToken,
    pub(super) memory: Memory,
    /// Something in the memory is not saved yet.
    pub(super) unsaved: bool,
    /// What allows us to write.
    pub(super) right: Right,
    /// The tenant's user that only we write as, once asked for.
    pub(super) own_user: Option<Option<String>>,
    /// How far the tenant's clock is ahead of ours.
    pub(super) skew: SignedDuration,
}

/// What is left when the publisher ends.
pub(super) struct Published {
    pub(super) memory: Memory,
    /// Whether it is newer than what is saved.
    pub(super) unsaved: bool,
}

enum Outcome {
    Settled { again_in: Duration },
    Failed(TargetError),
    Unsettled,
}

/// A write that was saved and leaves if the tenant, read again, still calls for it.
struct Prepared {
    banner: Banner,
    why: Why,
    memory: Memory,
}

impl Publisher {
    /// Runs until stopped. Nothing is written before the first assessment; a write that has begun is finished.
    pub(super) async fn run(mut self) -> Published {
        let mut attempts = Attempts::new(self.right.is_lease().then(|| Instant::now() + WARY_FOR));
        let stop = self.stop.clone();
        let spoken = tokio::select! {
            () = stop.cancelled() => false,
            spoken = self.wishes.wait_for(Option::is_some) => spoken.is_ok(),
        };
        while spoken && !stop.is_cancelled() {
            let outcome = self.reconcile(self.policy, None, &mut attempts).await;
            let wait = self.after(outcome, &mut attempts);
            if !self.wait(Instant::now() + wait, &attempts).await {
                break;
            }
            self.wishes.mark_unchanged();
            let not_before = attempts.not_before.take();
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep_until(not_before.unwrap_or_else(Instant::now)) => {}
            }
        }
        if self.clear_on_stop && self.right.left().is_some() {
            let policy = Policy { resolved_for: Duration::ZERO, ..self.policy };
            self.reconcile(policy, Some(Wish::Quiet), &mut attempts).await;
        }
        if self.right.left().is_some() {
            self.save().await;
        }
        Published { memory: self.memory, unsaved: self.unsaved }
    }

    /// Waits for the next attempt: for its time, for news, or for somebody who asks. `false` at a stop.
    async fn wait(&mut self, until: Instant, attempts: &Attempts) -> bool {
        let stop = self.stop.clone();
        loop {
            tokio::select! {
                () = stop.cancelled() => return false,
                () = sleep_until(until) => return true,
                () = self.nudge.notified() => return true,
                Ok(()) = self.wishes.changed() => {
                    sleep(GATHER).await;
                    return true;
                }
                () = sleep(SAVE_AGAIN), if self.unsaved && self.tenant.is_some() => drop(self.save().await),
                () = sleep(CHECK_COVERAGE), if attempts.waits_for.is_some() => {
                    if attempts.waits_for.as_ref() != Some(&self.unread()) {
                        return true;
                    }
                }
            }
        }
    }

    /// Monitors that were not read yet.
    fn unread(&self) -> BTreeSet<String> {
        let wanted = self.wishes.borrow();
        let coverage = wanted.iter().flat_map(|wanted| &wanted.coverage);
        coverage
            .filter(|(_, reach)| **reach != Reach::Read)
            .map(|(name, reach)| format!("{name} {reach:?}"))
            .collect()
    }

    /// Writes while the lease lasts. Where it ends before the answer, the banner may have been stored all the same.
    async fn write(&mut self, banner: &Banner) -> Result<Option<Shown>, TargetError> {
        let Some(left) = self.right.left() else {
            return Err(trouble("the lease is over, so nothing is written"));
        };
        self.memory.sent(self.tenant_time());
        let written = tokio::time::timeout(left, self.target.write(banner)).await;
        written.unwrap_or_else(|_| Err(trouble("the lease ended before the answer came")))
    }

    /// Brings the tenant to what it should show, as far as it lets us now. `instead` of what the monitors call for at
    /// the end, when a stop no longer interrupts.
    async fn reconcile(&mut self, policy: Policy, instead: Option<Wish>, attempts: &mut Attempts) -> Outcome {
        let mut accepted: Option<Banner> = None;
        let mut prepared: Option<Prepared> = None;
        attempts.waits_for = None;
        for _ in 0..ROUNDS {
            let stopped = async {
                if instead.is_some() { std::future::pending().await } else { self.stop.cancelled().await }
            };
            let shown = tokio::select! {
                () = stopped => return Outcome::Unsettled,
                shown = self.target.read() => shown,
            };
            self.read_clock();
            let now = self.tenant_time();
            let (desired, changed_at) = self.desired(instead.as_ref(), attempts);
            let shown = match shown {
                Ok(shown) => shown,
                Err(error) => {
                    self.note_pending(&desired, attempts);
                    return Outcome::Failed(error);
                }
            };
            if self.asks_for_own_user(shown.as_ref()) {
                self.own_user = Some(self.target.own_user().await);
                continue;
            }
            let (step, memory) = self.plan(now, &desired, shown.as_ref(), policy, instead.is_some());
            match step.action {
                Action::Keep(why) => {
                    self.take_in(memory, shown.as_ref(), None);
                    self.save().await;
                    return self.kept(why, step.again_at, shown.as_ref(), &desired, attempts);
                }
                // Accepted, and yet the tenant does not show it: each further write would nag everybody.
                Action::Write(banner, _) if accepted.as_ref().is_some_and(|last| same(last, &banner)) => {
                    self.take_in(memory, shown.as_ref(), None);
                    self.save().await;
                    return Outcome::Unsettled;
                }
                Action::Write(banner, why) => {
                    let Some(Prepared { banner, .. }) = prepared.take_if(|p| p.is(&banner, why, &memory))
                    else {
                        self.take_in(memory, shown.as_ref(), step.replaces);
                        match self.prepare(banner, why, shown, now).await {
                            Ok(ready) => prepared = Some(ready),
                            Err(error) => return Outcome::Failed(error),
                        }
                        continue;
                    };
                    match self.write(&banner).await {
                        Ok(answer) => {
                            let lag = changed_at.filter(|at| attempts.counted != Some(*at));
                            (attempts.counted, attempts.refusals) = (changed_at, 0);
                            self.wrote(&banner, why, answer, lag).await;
                            accepted = Some(banner);
                        }
                        Err(error) if error.is_permanent() => {
                            self.memory.refused(&banner);
                            self.unsaved = true;
                            if !self.give_way(why, &banner, &error, attempts) {
                                return Outcome::Failed(error);
                            }
                        }
                        Err(error) => return Outcome::Failed(error),
                    }
                }
            }
        }
        Outcome::Unsettled
    }

    /// What to do now, and the memory as it would be then.
    fn plan(
        &self,
        now: Timestamp,
        desired: &Desired,
        shown: Option<&Shown>,
        policy: Policy,
        ending: bool,
    ) -> (Step, Memory) {
        let mut memory = self.memory.clone();
        let wanted = self.wishes.borrow();
        let none = std::collections::BTreeMap::new();
        // At the end nothing is waited for.
        let coverage = wanted.as_ref().filter(|_| !ending).map_or(&none, |wanted| &wanted.coverage);
        let own_user = self.own_user.as_ref().and_then(Option::as_deref);
        let step = plan(now, desired, shown, &mut memory, Witnesses { coverage, own_user, policy });
        (step, memory)
    }

    /// Whether it matters who wrote what the tenant shows, and was not asked yet.
    fn asks_for_own_user(&self, shown: Option<&Shown>) -> bool {
        let unknown = |shown: &Shown| {
            shown.banner.enabled && shown.updated_by.is_some() && !self.memory.remembers(shown)
        };
        self.own_user.is_none() && shown.is_some_and(unknown)
    }

    /// Saves a write before it leaves: after a crash in between we must know our own banner again.
    async fn prepare(
        &mut self,
        banner: Banner,
        why: Why,
        shown: Option<Shown>,
        now: Timestamp,
    ) -> Result<Prepared, TargetError> {
        self.board.update(|board| {
            board.banner.shown = shown.map(|s| s.banner);
            board.banner.owed_since.get_or_insert(self.clock.now());
        });
        self.memory.intend(&banner, why, now);
        self.unsaved = true;
        // Alone we go on from memory; where others may take over, they must know of each write.
        if !self.save().await && self.right.is_lease() {
            return Err(trouble("the state cannot be saved, so nothing is written"));
        }
        Ok(Prepared { banner, why, memory: self.memory.clone() })
    }

    fn kept(
        &self,
        why: Keep,
        again_at: Option<Timestamp>,
        shown: Option<&Shown>,
        desired: &Desired,
        attempts: &mut Attempts,
    ) -> Outcome {
        self.show(shown, why);
        attempts.say_keep(why);
        if why == Keep::Stale {
            return Outcome::Unsettled;
        }
        if why.settled() {
            attempts.settled = Some(desired.held.key());
        }
        if desired.held == Wish::Quiet {
            attempts.forget_refusals();
        }
        attempts.waits_for = matches!(why, Keep::Unread | Keep::Pending).then(|| self.unread());
        let now = self.tenant_time();
        let until = |at: Timestamp| Duration::try_from(at.duration_since(now)).unwrap_or_default();
        let wary = attempts.wary_until.is_some_and(|until| Instant::now() < until);
        let recheck = if wary { self.recheck.min(WARY_RECHECK) } else { self.recheck };
        Outcome::Settled { again_in: again_at.map_or(recheck, |at| until(at).min(recheck)) }
    }

    fn desired(&self, instead: Option<&Wish>, attempts: &Attempts) -> (Desired, Option<Instant>) {
        let wanted = self.wishes.borrow();
        let Some(wanted) = wanted.as_ref().filter(|_| instead.is_none()) else {
            return (Desired::only(instead.cloned().unwrap_or_default()), None);
        };
        let wish = |assessment| {
            let wish = Wish::from(assessment, attempts.max_message);
            wish.without(attempts.refused_link.as_deref()).moved(self.skew)
        };
        let unpolled = wanted
            .held
            .issues
            .iter()
            .any(|issue| wanted.coverage.get(issue.spelled().as_ref()) == Some(&Reach::Unpolled));
        let desired = Desired { confirmed: wish(&wanted.confirmed), held: wish(&wanted.held), unpolled };
        (desired, wanted.changed_at)
    }

    /// What to try instead of a banner that the tenant refuses; `false` if there is nothing.
    fn give_way(&mut self, why: Why, banner: &Banner, error: &TargetError, attempts: &mut Attempts) -> bool {
        let TargetError::Refused { detail } = error else { return false };
        if why == Why::Restore {
            self.memory.displaced = None;
            tracing::error!(target: "QlikClient", "The tenant refused the manual banner that was to be restored ({detail}); please set it again: {}", full(banner));
            return true;
        }
        attempts.give_way(why, banner, detail)
    }

    async fn wrote(&mut self, banner: &Banner, why: Why, answer: Option<Shown>, changed_at: Option<Instant>) {
        if let Some(answer) = answer {
            self.memory.stored(why, answer);
            self.unsaved = true;
        }
        self.save().await;
        let words = match why {
            Why::Clear => "Banner cleared.",
            Why::Restore => "Restored the manual banner.",
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
}

impl Prepared {
    /// Whether the tenant, read again, calls for the same write, and nothing more has to be saved before it.
    fn is(&self, banner: &Banner, why: Why, memory: &Memory) -> bool {
        let near = |a: Timestamp, b: Timestamp| a.duration_since(b).abs() <= SAME_WINDOW;
        let window =
            near(self.banner.start_time, banner.start_time) && near(self.banner.end_time, banner.end_time);
        self.why == why && same(&self.banner, banner) && window && self.memory == *memory
    }
}

fn trouble(detail: &str) -> TargetError {
    TargetError::Trouble { wait: None, detail: detail.to_owned() }
}

fn same(a: &Banner, b: &Banner) -> bool {
    a.enabled == b.enabled && a.same_content(b)
}
