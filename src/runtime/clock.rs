//! The one place that asks what time it is.

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// The wall clock, or in tests one that runs with the runtime's own (pausable) time.
#[derive(Debug, Clone, Copy)]
pub struct Clock(Option<(Timestamp, Instant)>);

impl Clock {
    /// The machine's.
    pub fn system() -> Clock {
        Clock(None)
    }

    /// One that shows `now` at this moment and goes on with the runtime's time.
    pub fn starting_at(now: Timestamp) -> Clock {
        Clock(Some((now, Instant::now())))
    }

    /// The present moment.
    pub fn now(self) -> Timestamp {
        match self.0 {
            None => Timestamp::now(),
            Some((start, began)) => {
                let passed = SignedDuration::try_from(began.elapsed()).unwrap_or(SignedDuration::MAX);
                start.checked_add(passed).unwrap_or(Timestamp::MAX)
            }
        }
    }

    /// The present moment as a time since 1970.
    pub fn since_epoch(self) -> std::time::Duration {
        std::time::Duration::try_from(self.now().duration_since(Timestamp::UNIX_EPOCH)).unwrap_or_default()
    }
}
