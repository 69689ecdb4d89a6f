//! How long to wait before a retry, and when to stop retrying.

use std::time::Duration;

/// The retry limits of a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryRules {
    /// Attempts at one request, including the first.
    pub tries: u32,
    /// The first wait is a random part of this; it doubles with each failure.
    pub base: Duration,
    /// Maximum of a wait that the service did not state.
    pub cap: Duration,
    /// Fixed waits, used instead of the random ones.
    pub delays: Vec<Duration>,
    /// Total wait for rate limits in one run; a longer wait makes the run deferred.
    pub budget: Duration,
    /// Consecutive rate-limit responses after which one request fails.
    pub limited_tries: u32,
}

/// A service may state a wait of years by mistake.
const LONGEST_WAIT: Duration = Duration::from_secs(86_400);

impl Default for RetryRules {
    fn default() -> Self {
        RetryRules {
            tries: 6,
            base: Duration::from_secs(1),
            cap: Duration::from_secs(60),
            delays: Vec::new(),
            budget: Duration::from_secs(15 * 60),
            limited_tries: 10,
        }
    }
}

impl RetryRules {
    /// The wait after failure number `failures` of a request, or `None` after the last attempt. `random` is
    /// in 0..=1.
    pub fn after_failure(&self, failures: u32, random: f64) -> Option<Duration> {
        if failures == 0 || failures >= self.tries {
            return None;
        }
        if let Some(last) = self.delays.last() {
            return Some(self.delays.get(failures as usize - 1).copied().unwrap_or(*last));
        }
        let ceiling = self.base.saturating_mul(1 << (failures - 1).min(30)).min(self.cap);
        Some(ceiling.mul_f64(random.clamp(0.0, 1.0)))
    }

    /// The wait after consecutive rate-limit response number `refusals`, or `None` if it was the last allowed
    /// one. The stated wait is used; without one, the wait doubles. Up to a second of jitter spreads the
    /// clients.
    pub fn after_refusal(&self, refusals: u32, stated: Option<Duration>, random: f64) -> Option<Duration> {
        if refusals > self.limited_tries {
            return None;
        }
        let jitter = Duration::from_secs(1).min(self.base).mul_f64(random.clamp(0.0, 1.0));
        let doubling = || self.base.saturating_mul(1 << refusals.saturating_sub(1).min(30)).min(self.cap);
        Some((stated.unwrap_or_else(doubling).min(LONGEST_WAIT)) + jitter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Random waits double up to the maximum; fixed ones are used as written.
    #[test]
    fn waits_grow_and_end() {
        let rules = RetryRules { tries: 8, cap: Duration::from_secs(10), ..RetryRules::default() };
        let waits: Vec<_> = (1..9).map(|n| rules.after_failure(n, 1.0).map(|d| d.as_secs())).collect();
        assert_eq!(waits, [Some(1), Some(2), Some(4), Some(8), Some(10), Some(10), Some(10), None]);
        assert_eq!(rules.after_failure(3, 0.5), Some(Duration::from_secs(2)));
        let fixed =
            RetryRules { tries: 6, delays: [2, 4, 8, 16, 32].map(Duration::from_secs).to_vec(), ..rules };
        let waits: Vec<_> = (1..7).map(|n| fixed.after_failure(n, 0.0).map(|d| d.as_secs())).collect();
        assert_eq!(waits, [Some(2), Some(4), Some(8), Some(16), Some(32), None]);
    }

    /// The stated wait is a minimum; without one the wait doubles; ten rate-limit responses are too many.
    #[test]
    fn rate_limit_waits_grow_and_end() {
        let rules = RetryRules::default();
        assert_eq!(rules.after_refusal(1, Some(Duration::from_secs(7)), 0.0), Some(Duration::from_secs(7)));
        assert!(rules.after_refusal(1, Some(Duration::from_secs(7)), 1.0) > Some(Duration::from_secs(7)));
        assert_eq!(rules.after_refusal(4, None, 0.0), Some(Duration::from_secs(8)));
        assert_eq!(rules.after_refusal(11, None, 0.0), None);
        let forever = rules.after_refusal(1, Some(Duration::MAX), 1.0);
        assert!(forever.is_some_and(|wait| wait < Duration::from_secs(90_000)));
    }
}
