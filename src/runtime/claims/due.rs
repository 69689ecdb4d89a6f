//! When something is due, by the wall clock as well as by the monotonic one.
//!
//! The monotonic clock stands still while a machine sleeps, and the wall clock may be set; what is due by either is due.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// The wall clock is read at least this often, so that a jump of it or a sleep of the machine delays nothing for longer.
const LOOK: Duration = Duration::from_secs(30);

/// A moment on both clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Due {
    at: Instant,
    wall: Timestamp,
}

impl Due {
    /// So long after `now`, which is the present.
    pub(super) fn after(wait: Duration, now: Timestamp) -> Due {
        let signed = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
        Due { at: Instant::now() + wait, wall: now.checked_add(signed).unwrap_or(Timestamp::MAX) }
    }

    /// The time left at `now`, which is the present.
    pub(super) fn left(self, now: Timestamp) -> Duration {
        let by_wall = Duration::try_from(self.wall.duration_since(now)).unwrap_or(Duration::ZERO);
        self.at.saturating_duration_since(Instant::now()).min(by_wall)
    }

    /// Waits until it is reached.
    pub(super) async fn reached(self, now: impl Fn() -> Timestamp) {
        loop {
            let left = self.left(now());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(LOOK)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long a wait of fifteen minutes takes where the wall clock jumps by so many seconds after ten.
    async fn taken(jump: i64) -> Duration {
        let (began, start) = (Instant::now(), Timestamp::from_second(1_777_712_400).unwrap());
        let now = || {
            let passed = began.elapsed();
            let jumped = if passed > Duration::from_secs(10) { jump } else { 0 };
            start + SignedDuration::try_from(passed).unwrap() + SignedDuration::from_secs(jumped)
        };
        Due::after(Duration::from_secs(900), now()).reached(now).await;
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_sleep_of_the_machine_delays_nothing_by_more_than_a_minute() {
        let seconds = |taken: Duration| taken.as_secs();
        assert_eq!(seconds(taken(0).await), 900);
        assert!(seconds(taken(8 * 3600).await) <= 60, "the machine slept for eight hours");
        assert_eq!(seconds(taken(-3600).await), 900, "the clock was set back");
        assert!((600..=660).contains(&seconds(taken(300).await)));
    }
}
