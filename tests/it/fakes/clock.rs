//! The present moment as a fake service sees it: the machine's, or one that a test sets.

use std::sync::{Arc, Mutex};

use jiff::{SignedDuration, Timestamp};

/// Shared between a test and the fakes it started with it; clones show the same time.
#[derive(Clone, Default)]
pub(crate) struct Clock(Arc<Mutex<Option<Timestamp>>>);

impl Clock {
    /// Follows the machine's clock.
    pub(crate) fn system() -> Clock {
        Clock::default()
    }

    /// Stands still at a moment, written as RFC 3339, until set or advanced.
    pub(crate) fn at(moment: &str) -> Clock {
        let clock = Clock::default();
        clock.set(moment.parse().unwrap());
        clock
    }

    /// The present moment.
    pub(crate) fn now(&self) -> Timestamp {
        self.0.lock().unwrap().unwrap_or_else(Timestamp::now)
    }

    /// Stands still at this moment from now on.
    pub(crate) fn set(&self, moment: Timestamp) {
        *self.0.lock().unwrap() = Some(moment);
    }

    /// Jumps ahead (or back) and stands still there.
    pub(crate) fn advance(&self, by: SignedDuration) {
        self.set(self.now() + by);
    }
}

/// A moment as most of the services write it: UTC, milliseconds, `Z`.
pub(crate) fn millis(moment: Timestamp) -> String {
    format!("{moment:.3}")
}
