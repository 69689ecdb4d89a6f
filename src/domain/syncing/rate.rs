//! Rate limits: when may the next request start?
//!
//! A limit of n per span holds in *every* span of that length, not only on average: services count in windows
//! of their own, and a token bucket that refills while it is drained allows twice the number.

use std::collections::VecDeque;
use std::time::Duration;

/// Several limits that every request must keep. Times are relative to any fixed moment.
#[derive(Debug, Clone)]
pub struct Limiter {
    limits: Vec<Limit>,
    not_before: Duration,
}

#[derive(Debug, Clone)]
struct Limit {
    count: usize,
    span: Duration,
    starts: VecDeque<Duration>,
}

impl Limiter {
    /// Limits as (requests, duration). An empty slice means no limit.
    pub fn new(rates: &[(u32, Duration)]) -> Limiter {
        let limits = rates
            .iter()
            .map(|&(count, span)| Limit { count: count.max(1) as usize, span, starts: VecDeque::new() })
            .collect();
        Limiter { limits, not_before: Duration::ZERO }
    }

    /// Reserves the next free moment at or after `now` and returns it.
    pub fn book(&mut self, now: Duration) -> Duration {
        let mut at = now.max(self.not_before);
        for limit in &self.limits {
            if limit.starts.len() >= limit.count
                && let Some(oldest) = limit.starts.front()
            {
                at = at.max(*oldest + limit.span);
            }
        }
        for limit in &mut self.limits {
            if limit.starts.len() >= limit.count {
                limit.starts.pop_front();
            }
            limit.starts.push_back(at);
        }
        at
    }

    /// No request starts before this moment, as the service requested.
    pub fn hold_until(&mut self, moment: Duration) {
        self.not_before = self.not_before.max(moment);
    }

    /// The moment before which no request starts.
    pub fn held_until(&self) -> Duration {
        self.not_before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// No span of the limit's length has more starts than allowed, and no request starts before it was
        /// made.
        #[test]
        fn never_more_than_allowed(
            gaps in proptest::collection::vec(0u64..400, 1..80),
            count in 1u32..7,
            minute in 5u32..30,
        ) {
            let rates = [(count, Duration::from_secs(1)), (minute, Duration::from_secs(10))];
            let mut limiter = Limiter::new(&rates);
            let mut now = Duration::ZERO;
            let mut starts = Vec::new();
            for gap in gaps {
                now += Duration::from_millis(gap);
                let at = limiter.book(now);
                prop_assert!(at >= now);
                starts.push(at);
            }
            for (allowed, span) in rates {
                for (i, first) in starts.iter().enumerate() {
                    let within = starts[i..].iter().filter(|at| **at < *first + span).count();
                    prop_assert!(within <= allowed as usize);
                }
            }
        }
    }

    /// A hold delays later requests, and an earlier hold never shortens a later one.
    #[test]
    fn a_hold_delays_requests() {
        let mut limiter = Limiter::new(&[]);
        limiter.hold_until(Duration::from_secs(9));
        limiter.hold_until(Duration::from_secs(3));
        assert_eq!(limiter.book(Duration::from_secs(1)), Duration::from_secs(9));
        assert_eq!(limiter.book(Duration::from_secs(20)), Duration::from_secs(20));
    }
}
