//! Schedules retries of requests to the tenant and logs their failures.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;
use tracing::Span;

use super::{PublishOutcome, Publisher};
use crate::domain::monitoring::banner::{Banner, MAX_MESSAGE};
use crate::domain::monitoring::plan::{Keep, Why};
use crate::domain::monitoring::schedule::backoff;

/// First delay after a failure; jitter may halve it.
const RETRY_BASE: Duration = Duration::from_secs(1);
/// First delay after a failure with `Retry-After`, which may be zero or in the past by the clock of this machine.
const RETRY_AFTER_BASE: Duration = Duration::from_secs(2);
/// Longest delay after a transient failure.
const RETRY_CAP: Duration = Duration::from_secs(120);
/// Delays after the first rejections, which may be caused by a gateway.
const REJECTED_SOON: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(8)];
/// Delay after further rejections, which a person must fix.
const RETRY_REJECTED: Duration = Duration::from_secs(900);
/// After a transient failure, a changed assessment does not shorten the delay below this.
const FLOOR: Duration = Duration::from_secs(30);
/// A rejected message is retried with this length. The tenant's own limit is not documented.
const SHORT_MESSAGE: usize = 120;

/// State between attempts; it is not saved.
pub(super) struct Attempts {
    pub(super) failures: u32,
    /// Rejections since the last accepted write or finished attempt.
    pub(super) refusals: usize,
    /// Earliest time of the next attempt, also if the assessment changes.
    pub(super) not_before: Option<Instant>,
    pub(super) max_message: usize,
    /// A link that was part of a rejected banner.
    pub(super) refused_link: Option<String>,
    /// The last reason that was logged for leaving the banner unchanged.
    logged: Option<String>,
    /// The desired banner that the tenant last confirmed.
    pub(super) settled: Option<String>,
    /// The change whose lag was recorded.
    pub(super) counted: Option<Instant>,
    pub(super) wary_until: Option<Instant>,
    /// Monitors that were not read yet when the banner was left unchanged because of them.
    pub(super) waits_for: Option<BTreeSet<String>>,
}

impl Attempts {
    pub(super) fn new(wary_until: Option<Instant>) -> Attempts {
        Attempts {
            failures: 0,
            refusals: 0,
            not_before: None,
            max_message: MAX_MESSAGE,
            refused_link: None,
            logged: None,
            settled: None,
            counted: None,
            wary_until,
            waits_for: None,
        }
    }

    /// The span of the next attempt, counted since the last one that succeeded.
    pub(super) fn span(&self) -> Span {
        tracing::error_span!(target: "QlikClient", "attempt", attempt = self.failures.saturating_add(1))
    }

    /// Whether the quick retries after rejections are used up.
    pub(super) fn needs_a_person(&self) -> bool {
        self.refusals >= REJECTED_SOON.len()
    }

    /// Resets the effects of rejections: the next incident has another message.
    pub(super) fn reset_refusals(&mut self) {
        (self.max_message, self.refused_link) = (MAX_MESSAGE, None);
    }

    /// Changes the next attempt after a rejected banner: first without its link, which comes from a status page, then with a
    /// shorter message. Returns `false` if neither is left.
    pub(super) fn give_way(&mut self, why: Why, banner: &Banner, detail: &str) -> bool {
        if !matches!(why, Why::Raise | Why::Update | Why::Renew) {
            return false;
        }
        if let Some(link) = banner.link_url.as_ref().filter(|_| banner.link_enabled) {
            tracing::warn!(target: "QlikClient", "The tenant rejected the banner ({detail}); retrying without the link {link}.");
            self.refused_link = Some(link.clone());
        } else if self.max_message > SHORT_MESSAGE {
            tracing::warn!(target: "QlikClient", "The tenant rejected the banner ({detail}); retrying with a shorter message.");
            (self.max_message, self.refused_link) = (SHORT_MESSAGE, None);
        } else {
            return false;
        }
        true
    }

    /// Logs once why the banner is left unchanged, where that may be unexpected.
    pub(super) fn log_keep(&mut self, why: Keep) {
        let line = match why {
            Keep::PersonDecided => {
                "A person changed the banner; it stays as it is until the assessment changes."
            }
            Keep::Waiting => {
                "A manual banner is up; the incident banner waits until it is gone (BANNER_FOREIGN=respect)."
            }
            Keep::Unread => {
                "The banner stays as it is until the status pages of its services have been read."
            }
            Keep::Pending => "A banner is pending until the status pages of its services can be read.",
            Keep::Right | Keep::Empty | Keep::Manual | Keep::Stale | Keep::Soon => {
                self.logged = None;
                return;
            }
        };
        if self.logged.as_deref() != Some(line) {
            tracing::info!(target: "QlikClient", "{line}");
            self.logged = Some(line.to_owned());
        }
    }
}

impl Publisher {
    /// Records the outcome of an attempt. Returns the delay before the next one.
    pub(super) fn after(&mut self, outcome: PublishOutcome, attempts: &mut Attempts) -> Duration {
        match outcome {
            PublishOutcome::Settled { again_in } => {
                if attempts.failures > 0 {
                    tracing::info!(target: "QlikClient", "The tenant is reachable again.");
                }
                (attempts.failures, attempts.refusals) = (0, 0);
                again_in.max(RETRY_BASE)
            }
            PublishOutcome::Unsettled => {
                let wait = self.wait_for(attempts.failures, RETRY_BASE);
                // The first time may be replication lag in the tenant; only repetitions are logged.
                if attempts.failures > 0 && !self.controls.stop.is_cancelled() {
                    let trouble = "the tenant accepted the banner but does not show it";
                    self.report_trouble(trouble, false, wait, attempts.failures);
                }
                attempts.failures = attempts.failures.saturating_add(1);
                wait
            }
            PublishOutcome::Failed(error) => {
                let retry_after = error.retry_after();
                let (wait, floor) = if error.is_permanent() {
                    let soon = REJECTED_SOON.get(attempts.refusals).copied();
                    attempts.refusals = attempts.refusals.saturating_add(1);
                    // A changed banner may be accepted, so it need not wait.
                    (soon.unwrap_or(RETRY_REJECTED), RETRY_BASE)
                } else {
                    attempts.refusals = 0;
                    let wait = match retry_after {
                        Some(asked) => asked.max(self.wait_for(attempts.failures, RETRY_AFTER_BASE)),
                        None => self.wait_for(attempts.failures, RETRY_BASE),
                    };
                    (wait, if retry_after.is_some() { wait } else { wait.min(FLOOR) })
                };
                attempts.not_before = Some(Instant::now() + floor);
                self.report_trouble(&error.to_string(), error.is_permanent(), wait, attempts.failures);
                attempts.failures = attempts.failures.saturating_add(1);
                attempts.logged = None;
                wait
            }
        }
    }

    fn wait_for(&self, failures: u32, base: Duration) -> Duration {
        let seed = u64::from(self.context.clock.since_epoch().subsec_nanos());
        backoff(failures, base, RETRY_CAP, seed)
    }

    /// Shows a failure on the board. Logs the first of consecutive failures, then those at powers of two.
    fn report_trouble(&mut self, trouble: &str, permanent: bool, wait: Duration, failures: u32) {
        self.view(|view| view.failures += 1);
        self.report(|report| report.trouble = Some(trouble.to_owned()));
        let count = failures + 1;
        if !count.is_power_of_two() {
            return;
        }
        let what = if self.pending_since.is_some() {
            "The banner is not up to date"
        } else {
            "Cannot read the tenant"
        };
        let seconds = wait.as_secs().max(1);
        let next = format!("Next attempt in {seconds} s (failure {count} in a row).");
        if permanent {
            tracing::error!(target: "QlikClient", "{what}: {trouble}. {next}");
        } else {
            tracing::warn!(target: "QlikClient", "{what}: {trouble}. {next}");
        }
    }
}
