//! A rate limit by the service's clock, which is virtual when a test sets it.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};

/// At most so many requests within any span of a given length.
pub struct Limiter {
    count: usize,
    span: SignedDuration,
    admitted: VecDeque<Timestamp>,
}

impl Limiter {
    /// So many requests in so many seconds.
    pub fn new(count: usize, seconds: i64) -> Limiter {
        Limiter { count, span: SignedDuration::from_secs(seconds), admitted: VecDeque::new() }
    }

    /// Admits a request and returns how many more it would admit, or returns the seconds until the next one (at least 1).
    pub fn admit(&mut self, now: Timestamp) -> Result<usize, i64> {
        while self.admitted.front().is_some_and(|oldest| *oldest + self.span <= now) {
            self.admitted.pop_front();
        }
        match self.admitted.front() {
            Some(oldest) if self.admitted.len() >= self.count => {
                let wait = (*oldest + self.span).duration_since(now);
                Err(wait.as_secs() + i64::from(wait.subsec_nanos() > 0))
            }
            _ => {
                self.admitted.push_back(now);
                Ok(self.count - self.admitted.len())
            }
        }
    }
}
