//! The current time of a stand-in server: the machine's, or one that a test sets.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};

/// Shared between a test and the servers it started with it; clones show the same time.
#[derive(Clone, Default)]
pub struct Clock(Arc<Mutex<Option<Timestamp>>>);

impl Clock {
    /// Follows the machine's clock.
    pub fn system() -> Clock {
        Clock::default()
    }

    /// Stopped at a time in RFC 3339, until set or advanced.
    #[cfg(feature = "testing")]
    #[expect(clippy::unwrap_used, reason = "a test that goes wrong must stop")]
    pub fn at(moment: &str) -> Clock {
        let clock = Clock::default();
        clock.set(moment.parse().unwrap());
        clock
    }

    /// The current time.
    pub fn now(&self) -> Timestamp {
        self.lock().unwrap_or_else(Timestamp::now)
    }

    /// Stops at this time.
    pub fn set(&self, moment: Timestamp) {
        *self.lock() = Some(moment);
    }

    /// Jumps ahead (or back) and stops there.
    pub fn advance(&self, by: SignedDuration) {
        self.set(self.now() + by);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Timestamp>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A time as most of the services write it: UTC, milliseconds, `Z`.
pub(crate) fn millis(moment: Timestamp) -> String {
    format!("{moment:.3}")
}
