//! Deadlines by both the wall clock and the monotonic clock, whichever is reached first.
//!
//! The monotonic clock stops while a machine sleeps, and the wall clock may be set.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// The wall clock is read at least this often. This limits the delay after a clock jump or a sleep of the machine.
const CHECK_CLOCK: Duration = Duration::from_secs(30);

/// A point in time on both clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Due {
    at: Instant,
    wall: Timestamp,
}

impl Due {
    /// `wait` after `now`, the current time.
    pub(super) fn after(wait: Duration, now: Timestamp) -> Due {
        let signed = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
        Due { at: Instant::now() + wait, wall: now.checked_add(signed).unwrap_or(Timestamp::MAX) }
    }

    /// The time left at `now`, the current time.
    pub(super) fn left(self, now: Timestamp) -> Duration {
        let by_wall = Duration::try_from(self.wall.duration_since(now)).unwrap_or(Duration::ZERO);
        self.at.saturating_duration_since(Instant::now()).min(by_wall)
    }

    pub(super) async fn reached(self, now: impl Fn() -> Timestamp) {
        loop {
            let left = self.left(now());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(CHECK_CLOCK)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The duration of a wait of fifteen minutes if the wall clock jumps by `jump` seconds after ten seconds.
    async fn waited(jump: i64) -> Duration {
        let (started, start) = (Instant::now(), Timestamp::from_second(1_777_712_400).unwrap());
        let now = || {
            let passed = started.elapsed();
            let jumped = if passed > Duration::from_secs(10) { jump } else { 0 };
            start + SignedDuration::try_from(passed).unwrap() + SignedDuration::from_secs(jumped)
        };
        Due::after(Duration::from_secs(900), now()).reached(now).await;
        started.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_sleep_of_the_machine_delays_a_run_by_at_most_a_minute() {
        let seconds = |waited: Duration| waited.as_secs();
        assert_eq!(seconds(waited(0).await), 900);
        assert!(seconds(waited(8 * 3600).await) <= 60, "the machine slept for eight hours");
        assert_eq!(seconds(waited(-3600).await), 900, "the clock was set back");
        assert!((600..=660).contains(&seconds(waited(300).await)));
    }
}
