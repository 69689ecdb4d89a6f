//! Keeps the banner of one tenant up to date: reads the tenant, lets [`plan`] decide, writes if needed, and confirms the write.
//!
//! A write stays pending and is retried until the tenant confirms it. Each write is saved before it is sent. Because saving
//! may take seconds, the tenant is read again in between, so that a manual banner set in the meantime is detected. The
//! publisher itself only decides when to retry (`attempts`). Start at `Publisher::run`.

mod attempts;
mod controls;
mod removal;
mod state;

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::Instrument;

use super::connection::ConnectedTenant;
use super::watcher::DesiredBanner;
use crate::domain::monitoring::assess::Assessment;
use crate::domain::monitoring::banner::report::BannerReport;
use crate::domain::monitoring::banner::{Banner, Wish};
use crate::domain::monitoring::plan::{
    Action, BannerState, Desired, Keep, PlanStep, Policy, Reach, Shown, Why, Witnesses, plan,
};
use crate::publish::TargetError;
use crate::runtime::MonitoringContext;
use crate::runtime::lease::Right;
use attempts::Attempts;
pub(in crate::runtime) use controls::PublisherControls;
use state::full;

/// Changes of status pages within this time are combined into one write.
const GATHER: Duration = Duration::from_millis(25);
/// Reads of the tenant per attempt: two before each write and one after it, with room for alternatives to a rejected banner
/// and for people who change the slot concurrently.
const ROUNDS: usize = 12;
/// After taking over from another daemon the tenant is read more often for this time, because a write of the former leader
/// may arrive after the first read.
const WARY_FOR: Duration = Duration::from_secs(30);
/// Interval of these reads.
const WARY_RECHECK: Duration = Duration::from_secs(5);
/// Interval at which saving failed state is retried.
const SAVE_RETRY: Duration = Duration::from_secs(3);
/// Interval at which a banner that waits for polls is checked.
const CHECK_COVERAGE: Duration = Duration::from_secs(1);
/// Maximum difference between the windows of the same write, computed in two rounds.
const SAME_WINDOW: SignedDuration = SignedDuration::from_secs(30);

/// The task that owns the banner of a tenant.
pub(in crate::runtime) struct Publisher {
    context: MonitoringContext,
    tenant: ConnectedTenant,
    wishes: watch::Receiver<Option<DesiredBanner>>,
    controls: PublisherControls,
    banner_state: BannerState,
    /// The state of the banner has unsaved changes.
    unsaved: bool,
    /// The last attempt to save it failed.
    save_failed: bool,
    /// Since when a write is pending.
    pending_since: Option<Timestamp>,
    right: Right,
    /// The tenant's user that only the daemon writes as, once requested; the inner `None` means that there is none.
    own_user: Option<Option<String>>,
    /// How far the tenant's clock is ahead of the clock of this machine.
    skew: SignedDuration,
    /// What the board shows of the tenant.
    report: BannerReport,
    /// The report that standbys can read.
    saved_report: Option<BannerReport>,
    /// The part of the assessment that the last attempt was about, confirmed and held.
    seen: Option<(Assessment, Assessment)>,
}

/// State of a publisher that stopped.
#[derive(Debug, Default)]
pub(in crate::runtime) struct Published {
    pub(in crate::runtime) banner_state: BannerState,
    /// Whether it has unsaved changes.
    pub(in crate::runtime) unsaved: bool,
    /// The tenant was removed, and nothing of the daemon is left in it.
    pub(in crate::runtime) removed: bool,
}

enum PublishOutcome {
    Settled { again_in: Duration },
    Failed(TargetError),
    Unsettled,
}

/// A write that was saved. It is sent if it is still needed after the tenant was read again.
struct Prepared {
    banner: Banner,
    why: Why,
    state: BannerState,
}

impl Publisher {
    /// Continues with the state that an earlier publisher of the tenant left.
    pub(in crate::runtime) fn new(
        context: MonitoringContext,
        tenant: ConnectedTenant,
        wishes: watch::Receiver<Option<DesiredBanner>>,
        controls: PublisherControls,
        right: Right,
        Published { banner_state, unsaved, .. }: Published,
    ) -> Publisher {
        Publisher {
            context,
            tenant,
            wishes,
            controls,
            banner_state,
            unsaved,
            save_failed: false,
            pending_since: None,
            right,
            own_user: None,
            skew: SignedDuration::ZERO,
            report: BannerReport::default(),
            saved_report: None,
            seen: None,
        }
    }

    /// Runs until stopped or retired. Nothing is written before the first assessment; a write in progress is finished.
    pub(in crate::runtime) async fn run(mut self) -> Published {
        let mut attempts = Attempts::new(self.right.is_lease().then(|| Instant::now() + WARY_FOR));
        let PublisherControls { stop, retire, .. } = self.controls.clone();
        let mut removed = false;
        let assessed = tokio::select! {
            () = stop.cancelled() => false,
            () = retire.cancelled() => true,
            first = self.wishes.wait_for(Option::is_some) => first.is_ok(),
        };
        while assessed && !stop.is_cancelled() {
            let retired = retire.is_cancelled();
            let span = attempts.span();
            let (policy, instead) = self.aim(retired);
            let attempt = self.reconcile(policy, instead, &mut attempts);
            let mut outcome = attempt.instrument(span.clone()).await;
            if retired {
                outcome = self.doubt_empty(outcome);
                if let Some(settled) = self.removal(&outcome, &attempts) {
                    removed = settled;
                    break;
                }
            }
            let wait = span.in_scope(|| self.after(outcome, &mut attempts));
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = self.save_report() => {}
            }
            if !self.wait(Instant::now() + wait, retired, &attempts).await {
                break;
            }
            self.wishes.mark_unchanged();
            let not_before = attempts.not_before.take();
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep_until(not_before.unwrap_or_else(Instant::now)) => {}
            }
        }
        if self.context.clear_on_stop && self.controls.clears_at_stop() && self.right.left().is_some() {
            let (policy, instead) = self.aim(true);
            self.reconcile(policy, instead, &mut attempts).await;
        }
        if self.right.left().is_some() {
            self.save().await;
        }
        Published { banner_state: self.banner_state, unsaved: self.unsaved, removed }
    }

    /// What to reconcile with: the assessment, or at the end, no banner at all.
    fn aim(&self, ending: bool) -> (Policy, Option<Wish>) {
        let policy = self.tenant.rules.policy;
        if ending {
            (Policy { resolved_for: Duration::ZERO, ..policy }, Some(Wish::Quiet))
        } else {
            (policy, None)
        }
    }

    /// Waits until the next attempt is due, the assessment of this tenant changes, or a reload or the end of the tenant is
    /// requested, unless the last attempt already knew of it (`retired`). Returns `false` at a stop.
    async fn wait(&mut self, until: Instant, retired: bool, attempts: &Attempts) -> bool {
        let PublisherControls { stop, retire, nudge, .. } = self.controls.clone();
        loop {
            tokio::select! {
                () = stop.cancelled() => return false,
                () = sleep_until(until) => return true,
                () = nudge.notified() => return true,
                () = retire.cancelled(), if !retired => return true,
                Ok(()) = self.wishes.changed() => {
                    if self.seen != self.narrowed() {
                        sleep(GATHER).await;
                        return true;
                    }
                }
                () = sleep(SAVE_RETRY), if self.unsaved && self.context.live => drop(self.save().await),
                () = sleep(CHECK_COVERAGE), if attempts.waits_for.is_some() => {
                    if attempts.waits_for.as_ref() != Some(&self.unread()) {
                        return true;
                    }
                }
            }
        }
    }

    /// The part of the assessment that concerns this tenant, confirmed and held; `None` before the first assessment.
    fn narrowed(&self) -> Option<(Assessment, Assessment)> {
        let (wishes, audience) = (self.wishes.borrow(), &self.tenant.rules.audience);
        wishes.as_ref().map(|wanted| (audience.narrow(&wanted.confirmed), audience.narrow(&wanted.held)))
    }

    /// Monitors whose status pages have not been read yet.
    fn unread(&self) -> BTreeSet<String> {
        let wanted = self.wishes.borrow();
        let coverage = wanted.iter().flat_map(|wanted| &wanted.coverage);
        coverage
            .filter(|(_, reach)| matches!(reach, Reach::Unpolled | Reach::Unread))
            .map(|(name, reach)| format!("{name} {reach:?}"))
            .collect()
    }

    /// Writes only while the lease is valid. If it expires before the answer, the tenant may have stored the banner.
    async fn write(&mut self, banner: &Banner) -> Result<Option<Shown>, TargetError> {
        let Some(left) = self.right.left() else {
            return Err(trouble("the lease has expired, so nothing is written"));
        };
        self.banner_state.sent(self.tenant_time());
        let written = tokio::time::timeout(left, self.tenant.target.write(banner)).await;
        written.unwrap_or_else(|_| Err(trouble("the lease expired before the tenant answered")))
    }

    /// Reads the tenant and writes until it shows the desired banner or an attempt fails. `instead` replaces the assessment
    /// when the daemon stops; a stop does not interrupt it then.
    async fn reconcile(
        &mut self,
        policy: Policy,
        instead: Option<Wish>,
        attempts: &mut Attempts,
    ) -> PublishOutcome {
        let mut accepted: Option<Banner> = None;
        let mut prepared: Option<Prepared> = None;
        attempts.waits_for = None;
        for _ in 0..ROUNDS {
            let stopped = async {
                if instead.is_some() {
                    std::future::pending().await
                } else {
                    self.controls.stop.cancelled().await
                }
            };
            let shown = tokio::select! {
                () = stopped => return PublishOutcome::Unsettled,
                shown = self.tenant.target.read() => shown,
            };
            self.read_clock();
            let now = self.tenant_time();
            let (desired, changed_at) = self.desired(instead.as_ref(), attempts);
            let shown = match shown {
                Ok(shown) => shown,
                Err(error) => {
                    self.note_pending(&desired, attempts);
                    return PublishOutcome::Failed(error);
                }
            };
            if self.needs_own_user(shown.as_ref()) {
                self.own_user = Some(self.tenant.target.own_user().await);
                continue;
            }
            let (step, state) = self.plan(now, &desired, shown.as_ref(), policy, instead.is_some());
            match step.action {
                Action::Keep(why) => {
                    self.take_in(state, shown.as_ref(), None);
                    self.save().await;
                    return self.leave_unchanged(why, step.again_at, shown.as_ref(), &desired, attempts);
                }
                // The tenant accepted the banner but does not show it. Each further write would show it to everyone again.
                Action::Write(banner, _) if accepted.as_ref().is_some_and(|last| same(last, &banner)) => {
                    self.take_in(state, shown.as_ref(), None);
                    self.save().await;
                    return PublishOutcome::Unsettled;
                }
                Action::Write(banner, why) => {
                    let Some(Prepared { banner, .. }) = prepared.take_if(|p| p.is(&banner, why, &state))
                    else {
                        self.take_in(state, shown.as_ref(), step.replaces);
                        match self.prepare(banner, why, shown, now).await {
                            Ok(ready) => prepared = Some(ready),
                            Err(error) => return PublishOutcome::Failed(error),
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
                            self.banner_state.refused(&banner);
                            self.unsaved = true;
                            if !self.give_way(why, &banner, &error, attempts) {
                                return PublishOutcome::Failed(error);
                            }
                        }
                        Err(error) => return PublishOutcome::Failed(error),
                    }
                }
            }
        }
        PublishOutcome::Unsettled
    }

    /// Decides the next step. Returns it with the state that follows from it.
    fn plan(
        &self,
        now: Timestamp,
        desired: &Desired,
        shown: Option<&Shown>,
        policy: Policy,
        ending: bool,
    ) -> (PlanStep, BannerState) {
        let mut state = self.banner_state.clone();
        let wanted = self.wishes.borrow();
        let none = std::collections::BTreeMap::new();
        // At a stop the banner does not wait for polls.
        let coverage = wanted.as_ref().filter(|_| !ending).map_or(&none, |wanted| &wanted.coverage);
        let own_user = self.own_user.as_ref().and_then(Option::as_deref);
        let step = plan(
            now,
            desired,
            shown,
            &mut state,
            Witnesses { coverage, own_user, policy, style: &self.tenant.rules.style },
        );
        (step, state)
    }

    /// Whether the own user is needed to recognise the banner in the slot, and was not requested yet.
    fn needs_own_user(&self, shown: Option<&Shown>) -> bool {
        let unknown = |shown: &Shown| {
            shown.banner.enabled && shown.updated_by.is_some() && !self.banner_state.remembers(shown)
        };
        self.own_user.is_none() && shown.is_some_and(unknown)
    }

    /// Saves a write before it is sent, so that the daemon recognises its own banner after a crash in between.
    async fn prepare(
        &mut self,
        banner: Banner,
        why: Why,
        shown: Option<Shown>,
        now: Timestamp,
    ) -> Result<Prepared, TargetError> {
        let pending_since = self.pending_since();
        self.report(|report| {
            report.shown = shown.map(|s| s.banner);
            report.pending_since = Some(pending_since);
        });
        self.banner_state.intend(&banner, why, now);
        self.unsaved = true;
        // A daemon that is alone continues without saving. Where another one may take over, it must know of each write.
        if !self.save().await && self.right.is_lease() {
            return Err(trouble("the state cannot be saved, so nothing is written"));
        }
        Ok(Prepared { banner, why, state: self.banner_state.clone() })
    }

    fn leave_unchanged(
        &mut self,
        why: Keep,
        again_at: Option<Timestamp>,
        shown: Option<&Shown>,
        desired: &Desired,
        attempts: &mut Attempts,
    ) -> PublishOutcome {
        self.show(shown, why);
        attempts.log_keep(why);
        if why == Keep::Stale {
            return PublishOutcome::Unsettled;
        }
        if why.settled() {
            attempts.settled = Some(desired.held.key());
        }
        if desired.held == Wish::Quiet {
            attempts.reset_refusals();
        }
        attempts.waits_for = matches!(why, Keep::Unread | Keep::Pending).then(|| self.unread());
        let now = self.tenant_time();
        let until = |at: Timestamp| Duration::try_from(at.duration_since(now)).unwrap_or_default();
        let wary = attempts.wary_until.is_some_and(|until| Instant::now() < until);
        let recheck = if wary { self.context.recheck.min(WARY_RECHECK) } else { self.context.recheck };
        PublishOutcome::Settled { again_in: again_at.map_or(recheck, |at| until(at).min(recheck)) }
    }

    fn desired(&mut self, instead: Option<&Wish>, attempts: &Attempts) -> (Desired, Option<Instant>) {
        self.seen = self.narrowed();
        let wanted = self.wishes.borrow();
        let seen = self.seen.as_ref().zip(wanted.as_ref()).filter(|_| instead.is_none());
        let Some(((confirmed, held), wanted)) = seen else {
            return (Desired::only(instead.cloned().unwrap_or_default()), None);
        };
        let wish = |assessment| {
            let wish = Wish::from(assessment, &self.tenant.rules.style, attempts.max_message);
            wish.without(attempts.refused_link.as_deref()).moved(self.skew)
        };
        let unpolled = held
            .issues
            .iter()
            .any(|issue| wanted.coverage.get(issue.spelled().as_ref()) == Some(&Reach::Unpolled));
        let desired = Desired { confirmed: wish(confirmed), held: wish(held), unpolled };
        (desired, wanted.changed_at)
    }

    /// Changes the next attempt after a rejected banner. Returns `false` if there is no alternative.
    fn give_way(&mut self, why: Why, banner: &Banner, error: &TargetError, attempts: &mut Attempts) -> bool {
        let TargetError::Refused { detail } = error else { return false };
        if why == Why::Restore {
            self.banner_state.displaced = None;
            tracing::error!(target: "QlikClient", "The tenant rejected the manual banner to be restored ({detail}); set it again by hand: {}", full(banner));
            return true;
        }
        attempts.give_way(why, banner, detail)
    }

    async fn wrote(&mut self, banner: &Banner, why: Why, answer: Option<Shown>, changed_at: Option<Instant>) {
        if let Some(answer) = answer {
            self.banner_state.stored(why, answer);
            self.unsaved = true;
        }
        self.save().await;
        let line = match why {
            Why::Clear => "Banner cleared.",
            Why::Restore => "Restored the manual banner.",
            Why::Renew => "Banner renewed.",
            Why::Raise | Why::Update | Why::Resolve => "Banner updated successfully.",
        };
        // In preview the target logs what it would write.
        if self.context.live {
            tracing::info!(target: "QlikClient", "{line}");
        }
        let now = self.context.clock.now();
        self.view(|view| view.wrote(why, changed_at.map(|at| at.elapsed())));
        self.report(|report| {
            report.answered_at = Some(now);
            report.shown = Some(banner.clone());
        });
    }
}

impl Prepared {
    /// Whether the same write is still needed, and no other state has to be saved before it.
    fn is(&self, banner: &Banner, why: Why, state: &BannerState) -> bool {
        let near = |a: Timestamp, b: Timestamp| a.duration_since(b).abs() <= SAME_WINDOW;
        let window =
            near(self.banner.start_time, banner.start_time) && near(self.banner.end_time, banner.end_time);
        self.why == why && same(&self.banner, banner) && window && self.state == *state
    }
}

fn trouble(detail: &str) -> TargetError {
    TargetError::Trouble { wait: None, detail: detail.to_owned() }
}

fn same(a: &Banner, b: &Banner) -> bool {
    a.enabled == b.enabled && a.same_content(b)
}
