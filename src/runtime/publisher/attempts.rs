//! When the next attempt at the tenant comes, and what is told of the last.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::{Outcome, Publisher};
use crate::domain::banner::{Banner, MAX_MESSAGE};
use crate::domain::plan::{Keep, Why};
use crate::domain::schedule::backoff;

/// First wait after a failure, half of it at least.
const RETRY_BASE: Duration = Duration::from_secs(1);
/// The same after a failure with `Retry-After`, which may be zero, or past by our clock.
const LEAST_ASKED: Duration = Duration::from_secs(2);
/// Longest wait after a passing failure.
const RETRY_CAP: Duration = Duration::from_secs(120);
/// Waits after a refusal: it may be an accident of a gateway, so it is retried soon, twice.
const REFUSED_SOON: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(8)];
/// Wait after further refusals, which a person must mend.
const RETRY_REFUSED: Duration = Duration::from_secs(900);
/// Least wait after a passing failure, whatever is wished meanwhile.
const FLOOR: Duration = Duration::from_secs(30);
/// A tenant that refuses a message gets it once more in this length: its own limit is not documented.
const SHORT_MESSAGE: usize = 120;

/// What is remembered between attempts, and not over restarts.
pub(super) struct Attempts {
    pub(super) failures: u32,
    /// Refusals since the last accepted write or finished attempt.
    pub(super) refusals: usize,
    /// Not before this, whatever is wished.
    pub(super) not_before: Option<Instant>,
    pub(super) max_message: usize,
    /// A link that the tenant refused, or that went with a message that it refused.
    pub(super) refused_link: Option<String>,
    said: Option<String>,
    /// The wish that the tenant last fulfilled.
    pub(super) settled: Option<String>,
    /// The change whose lag was counted.
    pub(super) counted: Option<Instant>,
    pub(super) wary_until: Option<Instant>,
    /// Monitors that were not read when a banner was left alone because of that.
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
            said: None,
            settled: None,
            counted: None,
            wary_until,
            waits_for: None,
        }
    }

    /// Forgets what the tenant refused: the next incident has other words.
    pub(super) fn forget_refusals(&mut self) {
        (self.max_message, self.refused_link) = (MAX_MESSAGE, None);
    }

    /// What to try instead of a banner that the tenant refused: first without its link, which a status page chose, then
    /// with a shorter message. `false` if there is nothing left.
    pub(super) fn give_way(&mut self, why: Why, banner: &Banner, detail: &str) -> bool {
        if !matches!(why, Why::Raise | Why::Update | Why::Renew) {
            return false;
        }
        if let Some(link) = banner.link_url.as_ref().filter(|_| banner.link_enabled) {
            tracing::warn!(target: "QlikClient", "The tenant refused the banner ({detail}); trying without the link {link}.");
            self.refused_link = Some(link.clone());
        } else if self.max_message > SHORT_MESSAGE {
            tracing::warn!(target: "QlikClient", "The tenant refused the banner ({detail}); trying a shorter message.");
            (self.max_message, self.refused_link) = (SHORT_MESSAGE, None);
        } else {
            return false;
        }
        true
    }

    /// Says once why the tenant is left alone where people might wonder.
    pub(super) fn say_keep(&mut self, why: Keep) {
        let words = match why {
            Keep::PersonDecided => "A person changed the banner; that stands until the assessment changes.",
            Keep::Waiting => "A manual banner is up; ours waits until it is gone (BANNER_FOREIGN=respect).",
            Keep::Unread => {
                "The banner stays as it is until the status pages of its services have been read."
            }
            Keep::Pending => "A banner is pending until the status pages of its services can be read.",
            Keep::Right | Keep::Empty | Keep::Manual | Keep::Stale | Keep::Soon => {
                self.said = None;
                return;
            }
        };
        if self.said.as_deref() != Some(words) {
            tracing::info!(target: "QlikClient", "{words}");
            self.said = Some(words.to_owned());
        }
    }
}

impl Publisher {
    /// Notes how an attempt went; returns how long to wait before the next.
    pub(super) fn after(&self, outcome: Outcome, attempts: &mut Attempts) -> Duration {
        match outcome {
            Outcome::Settled { again_in } => {
                if attempts.failures > 0 {
                    tracing::info!(target: "QlikClient", "The tenant answers again.");
                }
                (attempts.failures, attempts.refusals) = (0, 0);
                again_in.max(RETRY_BASE)
            }
            Outcome::Unsettled => {
                let wait = self.wait_for(attempts.failures, RETRY_BASE);
                // Once may be a copy that lags; more is told.
                if attempts.failures > 0 && !self.stop.is_cancelled() {
                    let words = "the tenant took the banner but does not show it";
                    self.tell_trouble(words, false, wait, attempts.failures);
                }
                attempts.failures = attempts.failures.saturating_add(1);
                wait
            }
            Outcome::Failed(error) => {
                let asked = error.retry_after();
                let (wait, floor) = if error.is_permanent() {
                    let soon = REFUSED_SOON.get(attempts.refusals).copied();
                    attempts.refusals = attempts.refusals.saturating_add(1);
                    // What is wished now may be taken where something else was refused.
                    (soon.unwrap_or(RETRY_REFUSED), RETRY_BASE)
                } else {
                    attempts.refusals = 0;
                    let wait = match asked {
                        Some(asked) => asked.max(self.wait_for(attempts.failures, LEAST_ASKED)),
                        None => self.wait_for(attempts.failures, RETRY_BASE),
                    };
                    (wait, if asked.is_some() { wait } else { wait.min(FLOOR) })
                };
                attempts.not_before = Some(Instant::now() + floor);
                self.tell_trouble(&error.to_string(), error.is_permanent(), wait, attempts.failures);
                attempts.failures = attempts.failures.saturating_add(1);
                attempts.said = None;
                wait
            }
        }
    }

    fn wait_for(&self, failures: u32, base: Duration) -> Duration {
        let seed = u64::from(self.clock.since_epoch().subsec_nanos());
        backoff(failures, base, RETRY_CAP, seed)
    }

    /// The first failure of a row is told, then those at powers of two.
    fn tell_trouble(&self, trouble: &str, permanent: bool, wait: Duration, failures: u32) {
        let pending = self.board.read(|board| board.banner.owed_since.is_some());
        self.board.update(|board| {
            board.banner.failures += 1;
            board.banner.trouble = Some(trouble.to_owned());
        });
        let count = failures + 1;
        if !count.is_power_of_two() {
            return;
        }
        let what = if pending { "The banner is not what it should be" } else { "The tenant cannot be read" };
        let seconds = wait.as_secs().max(1);
        let next = format!("Next attempt in {seconds} s (failure {count} in a row).");
        if permanent {
            tracing::error!(target: "QlikClient", "{what}: {trouble}. {next}");
        } else {
            tracing::warn!(target: "QlikClient", "{what}: {trouble}. {next}");
        }
    }
}
