//! The one place that asks what time it is.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::domain::schedule;

/// The wall clock, or in tests one that runs with the runtime's own (pausable) time.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Option<(Timestamp, Instant)>,
    /// Seconds that it is ahead.
    ahead: Option<&'static AtomicI64>,
}

impl Clock {
    /// The machine's.
    pub fn system() -> Clock {
        Clock { start: None, ahead: None }
    }

    /// One that shows `now` at this moment and goes on with the runtime's time.
    pub fn starting_at(now: Timestamp) -> Clock {
        Clock { start: Some((now, Instant::now())), ahead: None }
    }

    /// The same clock, ahead by as many seconds as the number says, which may change: for tests of clocks that jump.
    pub fn ahead_by(self, seconds: &'static AtomicI64) -> Clock {
        Clock { ahead: Some(seconds), ..self }
    }

    /// The present moment.
    pub fn now(self) -> Timestamp {
        let now = match self.start {
            None => Timestamp::now(),
            Some((start, began)) => {
                let passed = SignedDuration::try_from(began.elapsed()).unwrap_or(SignedDuration::MAX);
                start.checked_add(passed).unwrap_or(Timestamp::MAX)
            }
        };
        let ahead = self.ahead.map_or(0, |ahead| ahead.load(Ordering::Relaxed));
        now.checked_add(SignedDuration::from_secs(ahead)).unwrap_or(now)
    }

    /// The present moment as a time since 1970.
    pub fn since_epoch(self) -> std::time::Duration {
        std::time::Duration::try_from(self.now().duration_since(Timestamp::UNIX_EPOCH)).unwrap_or_default()
    }
}

/// The wall clock beside the one that timers run by, which stands still while the machine sleeps.
pub(super) struct Comparison {
    clock: Clock,
    wall: Timestamp,
    steady: Instant,
}

impl Comparison {
    /// Begins to compare.
    pub(super) fn begin(clock: Clock) -> Comparison {
        Comparison { clock, wall: clock.now(), steady: Instant::now() }
    }

    /// By how much the wall clock jumped since the last call, if it did.
    pub(super) fn jump(&mut self) -> Option<SignedDuration> {
        let (wall, steady) = (self.clock.now(), Instant::now());
        let jump = schedule::jump(wall.duration_since(self.wall), steady.duration_since(self.steady));
        (self.wall, self.steady) = (wall, steady);
        jump
    }
}
