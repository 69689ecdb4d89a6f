//! How long to wait before a request is made again, and when to give up.

use std::time::Duration;

/// The limits of a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryRules {
    /// Attempts at one request, the first included.
    pub tries: u32,
    /// The first wait is a random part of this; it doubles with each failure.
    pub base: Duration,
    /// No wait of our own is longer.
    pub cap: Duration,
    /// Fixed waits, used instead of the random ones.
    pub delays: Vec<Duration>,
    /// What one run may wait for rate limits in all; a longer wait ends it as deferred.
    pub budget: Duration,
    /// Refusals for a rate limit in a row that one request may meet before it counts as failed.
    pub limited_tries: u32,
}

/// A service may ask for a nap of years; nobody means it.
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
    /// The wait after the `failures`th failure of a request, or `None` when it has had its tries. `random` is in 0..=1.
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

    /// The wait after the `refusals`th refusal in a row for a rate limit, or `None` when it was one too many. What
    /// the service asks for counts; without that, a doubling wait. Up to a second of jitter keeps clients apart.
    pub fn after_refusal(&self, refusals: u32, asked: Option<Duration>, random: f64) -> Option<Duration> {
        if refusals > self.limited_tries {
            return None;
        }
        let jitter = Duration::from_secs(1).min(self.base).mul_f64(random.clamp(0.0, 1.0));
        let doubling = || self.base.saturating_mul(1 << refusals.saturating_sub(1).min(30)).min(self.cap);
        Some((asked.unwrap_or_else(doubling).min(LONGEST_WAIT)) + jitter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Random waits double up to the cap and end with the tries; fixed ones are taken as written.
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

    /// What the service asks for is waited, never less; without it the wait doubles; ten refusals are too many.
    #[test]
    fn refusals_are_patient() {
        let rules = RetryRules::default();
        assert_eq!(rules.after_refusal(1, Some(Duration::from_secs(7)), 0.0), Some(Duration::from_secs(7)));
        assert!(rules.after_refusal(1, Some(Duration::from_secs(7)), 1.0) > Some(Duration::from_secs(7)));
        assert_eq!(rules.after_refusal(4, None, 0.0), Some(Duration::from_secs(8)));
        assert_eq!(rules.after_refusal(11, None, 0.0), None);
        let forever = rules.after_refusal(1, Some(Duration::MAX), 1.0);
        assert!(forever.is_some_and(|wait| wait < Duration::from_secs(90_000)));
    }
}
