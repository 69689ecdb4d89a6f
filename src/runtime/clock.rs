//! The only place that reads the wall clock.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::domain::monitoring::schedule;

/// The wall clock, or in tests a clock that follows tokio's (pausable) time.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Option<(Timestamp, Instant)>,
    /// Offset in seconds.
    ahead: Option<&'static AtomicI64>,
}

impl Clock {
    pub fn system() -> Clock {
        Clock { start: None, ahead: None }
    }

    /// A clock that shows `now` at first and then follows tokio's time.
    pub fn starting_at(now: Timestamp) -> Clock {
        Clock { start: Some((now, Instant::now())), ahead: None }
    }

    /// The same clock, ahead by a variable number of seconds, for tests of clock jumps.
    pub fn ahead_by(self, seconds: &'static AtomicI64) -> Clock {
        Clock { ahead: Some(seconds), ..self }
    }

    pub fn now(self) -> Timestamp {
        let now = match self.start {
            #[expect(clippy::disallowed_methods, reason = "the machine's clock")]
            None => Timestamp::now(),
            Some((start, started)) => {
                let passed = SignedDuration::try_from(started.elapsed()).unwrap_or(SignedDuration::MAX);
                start.checked_add(passed).unwrap_or(Timestamp::MAX)
            }
        };
        let ahead = self.ahead.map_or(0, |ahead| ahead.load(Ordering::Relaxed));
        now.checked_add(SignedDuration::from_secs(ahead)).unwrap_or(now)
    }

    /// The current Unix time.
    pub fn since_epoch(self) -> std::time::Duration {
        std::time::Duration::try_from(self.now().duration_since(Timestamp::UNIX_EPOCH)).unwrap_or_default()
    }
}

/// Compares the wall clock with the monotonic clock of timers, which stops while the machine sleeps.
pub(super) struct Comparison {
    clock: Clock,
    wall: Timestamp,
    steady: Instant,
}

impl Comparison {
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
