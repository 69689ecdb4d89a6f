//! The reload of one app: a pending one is joined, and one more is asked for if it may have read older data.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::report::AppReport;
use super::step::{DeliveryStep, FailureKind, ReloadOutcome, ReloadView, StepFailure, StepResult};
use super::{DeliveryPace, backoff, is_ahead, later};

/// A reload may run for three hours; afterwards no one waits for it.
const MAX_RELOAD: SignedDuration = SignedDuration::from_hours(4);

/// When a result came, and how its delay is chosen.
pub(super) struct StepMoment<'p> {
    pub(super) now: Timestamp,
    pub(super) pace: &'p DeliveryPace,
    /// Random.
    pub(super) seed: u64,
}

/// Delay before a reload is read for the first time.
const SOONEST_POLL: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct AppReload {
    stage: AppStage,
    /// When its next request is due.
    due: Option<Timestamp>,
    failures: u32,
    /// The generation that the last reload read.
    done: Option<u64>,
    pub(super) report: AppReport,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum AppStage {
    #[default]
    Idle,
    /// The reloads are listed first: one may be pending, or was asked for without an answer.
    Finding {
        asked: bool,
    },
    Asking,
    Following {
        id: String,
        since: Timestamp,
        /// Whether it reads the present data for certain.
        ours: bool,
    },
}

impl AppReload {
    pub(super) fn start(&mut self, generation: u64) {
        let current = self.done == Some(generation) && self.report.outcome == Some(ReloadOutcome::Succeeded);
        if !current && self.stage == AppStage::Idle {
            (self.stage, self.due, self.failures) = (AppStage::Finding { asked: false }, None, 0);
        }
    }

    pub(super) fn retry_now(&mut self) {
        if self.report.trouble.is_some() {
            self.due = None;
        }
    }

    /// Whether a reload runs, or may run, that reads the present files.
    pub(super) fn is_in_flight(&self) -> bool {
        matches!(self.stage, AppStage::Finding { asked: true } | AppStage::Following { .. })
    }

    pub(super) fn next_step(&self, app: &str, now: Timestamp) -> Option<DeliveryStep> {
        if self.stage == AppStage::Idle {
            return None;
        }
        if let Some(due) = self.due.filter(|due| is_ahead(*due, now)) {
            return Some(DeliveryStep::Wait(Some(due)));
        }
        let app = app.to_owned();
        match &self.stage {
            AppStage::Idle => None,
            AppStage::Finding { .. } => Some(DeliveryStep::FindReloads { app }),
            AppStage::Asking => Some(DeliveryStep::AskReload { app }),
            AppStage::Following { id, .. } => Some(DeliveryStep::FollowReload { app, id: id.clone() }),
        }
    }

    /// Notes that the reload is about to be asked for.
    pub(super) fn intend(&mut self) -> bool {
        self.stage = AppStage::Finding { asked: true };
        true
    }

    pub(super) fn apply(
        &mut self,
        step: &DeliveryStep,
        result: StepResult,
        changed_at: &mut Option<Timestamp>,
        generation: u64,
        at: &StepMoment<'_>,
    ) {
        match &result {
            StepResult::Failed(_) => {}
            // A list says nothing of the request that failed.
            StepResult::ReloadsFound { .. } => self.due = None,
            _ => (self.failures, self.due, self.report.trouble) = (0, None, None),
        }
        match result {
            StepResult::ReloadsFound { reloads, time } => {
                if changed_at.is_none() {
                    *changed_at = time;
                }
                self.choose(&reloads, *changed_at, generation, at.now);
            }
            StepResult::ReloadAccepted { id } => self.follow(id, true, at.now, at.pace),
            StepResult::ReloadIs(reload) => self.look(&reload, *changed_at, generation, at.now, at.pace),
            StepResult::Failed(failure) => self.fail(step, failure, generation, at),
            _ => {}
        }
    }

    /// Takes the reload that reads the present data, or one that runs, or asks for one.
    fn choose(
        &mut self,
        reloads: &[ReloadView],
        changed_at: Option<Timestamp>,
        generation: u64,
        now: Timestamp,
    ) {
        // One that was awaited before failed.
        let is_new = |reload: &ReloadView| self.report.reload.as_ref() != Some(&reload.id);
        let reading = reloads.iter().find(|reload| is_new(reload) && reads_present(reload, changed_at));
        let running = || reloads.iter().find(|reload| reload.outcome.is_none());
        match reading.or_else(running) {
            Some(reload) if reload.outcome.is_some() => self.end(reload, generation, now),
            Some(reload) => {
                let ours = false;
                self.stage = AppStage::Following { id: reload.id.clone(), since: now, ours };
            }
            None => self.stage = AppStage::Asking,
        }
    }

    fn follow(&mut self, id: String, ours: bool, now: Timestamp, pace: &DeliveryPace) {
        self.stage = AppStage::Following { id, since: now, ours };
        self.due = Some(later(now, pace.poll.min(SOONEST_POLL)));
    }

    fn look(
        &mut self,
        reload: &ReloadView,
        changed_at: Option<Timestamp>,
        generation: u64,
        now: Timestamp,
        pace: &DeliveryPace,
    ) {
        let AppStage::Following { since, ours, .. } = self.stage else { return };
        if reload.outcome.is_none() {
            // A short reload is noticed soon.
            let passed = Duration::try_from(now.duration_since(since)).unwrap_or_default();
            self.due = Some(later(now, passed.max(SOONEST_POLL).min(pace.poll)));
            if now.duration_since(since) > MAX_RELOAD {
                let hours = MAX_RELOAD.as_hours();
                let message = Some(format!("the reload did not end within {hours} h"));
                let outcome = Some(ReloadOutcome::ExceededLimit);
                self.end(&ReloadView { outcome, message, ..reload.clone() }, generation, now);
            }
        } else if ours || reads_present(reload, changed_at) {
            self.end(reload, generation, now);
        } else {
            self.stage = AppStage::Asking;
        }
    }

    fn end(&mut self, reload: &ReloadView, generation: u64, now: Timestamp) {
        (self.failures, self.report.trouble) = (0, None);
        (self.stage, self.due, self.done) = (AppStage::Idle, None, Some(generation));
        self.report.outcome = reload.outcome;
        self.report.message.clone_from(&reload.message);
        self.report.ended_at = Some(now);
        self.report.reload = Some(reload.id.clone());
    }

    fn fail(&mut self, step: &DeliveryStep, failure: StepFailure, generation: u64, at: &StepMoment<'_>) {
        let StepMoment { now, pace, seed } = *at;
        // A failed look-up says nothing of what was asked for.
        let asking = matches!(step, DeliveryStep::AskReload { .. });
        let following = match &self.stage {
            AppStage::Following { id, since, .. } => Some((id.clone(), *since)),
            _ => None,
        };
        if let Some((id, _)) = following.as_ref().filter(|(_, since)| now.duration_since(*since) > MAX_RELOAD)
        {
            // It may have ended long ago, and other apps and later runs wait for it.
            return self.end(
                &unseen(id.clone(), ReloadOutcome::ExceededLimit, failure.detail),
                generation,
                now,
            );
        }
        let random = backoff(self.failures, pace.retry.0, pace.retry.1, seed);
        self.failures = self.failures.saturating_add(1);
        let wait: Duration = match failure.kind {
            FailureKind::NotFound if following.is_some() => {
                self.stage = AppStage::Finding { asked: false };
                random
            }
            FailureKind::NotFound => {
                if asking {
                    self.stage = AppStage::Asking;
                }
                pace.rejected
            }
            FailureKind::ReloadPending => {
                self.stage = AppStage::Finding { asked: false };
                random
            }
            FailureKind::ReloadTooFrequent => {
                self.stage = AppStage::Asking;
                failure.wait.unwrap_or(pace.frequency)
            }
            // What may have been accepted is looked up.
            FailureKind::Unclear => failure.wait.unwrap_or_default().max(random),
            kind => {
                if asking {
                    self.stage = AppStage::Asking;
                }
                let rejected = kind == FailureKind::Rejected;
                if rejected { pace.rejected } else { failure.wait.unwrap_or_default().max(random) }
            }
        };
        self.due = Some(later(now, wait));
        self.report.trouble = Some(failure.detail);
    }

    /// Notes what data the app shows once its delivery has finished.
    pub(super) fn note_data(&mut self, as_of: Timestamp, generation: u64) {
        if self.done == Some(generation) && self.report.outcome == Some(ReloadOutcome::Succeeded) {
            self.report.as_of = Some(as_of);
        }
    }
}

/// A reload that the tenant does not show.
fn unseen(id: String, outcome: ReloadOutcome, why: String) -> ReloadView {
    ReloadView { id, outcome: Some(outcome), created_at: None, started_at: None, message: Some(why) }
}

/// Whether a reload started, or will start, after the last change.
fn reads_present(reload: &ReloadView, changed_at: Option<Timestamp>) -> bool {
    match (reload.started_at, changed_at) {
        (Some(started), Some(changed)) => started > changed,
        (Some(_), None) => false,
        (None, changed) => {
            reload.outcome.is_none()
                || changed.zip(reload.created_at).is_some_and(|(changed, at)| at > changed)
        }
    }
}
