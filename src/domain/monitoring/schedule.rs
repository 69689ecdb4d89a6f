//! Timing: aligned ticks, an even spread of many monitors over the interval, and exponential backoff.

use std::time::Duration;

use jiff::{SignedDuration, Span, SpanRelativeTo};

/// Maximum distance between the starts of two monitors of one interval, so that thousands do not start at
/// once.
const SPACING: Duration = Duration::from_millis(5);

/// The time until the next aligned tick: the smallest multiple of `interval` plus `offset` after
/// `since_epoch`. Computed from the wall clock each time, so that ticks never drift.
pub fn until_tick(since_epoch: Duration, interval: Duration, offset: Duration) -> Duration {
    let interval = interval.max(Duration::from_millis(1)).as_nanos();
    let behind = (since_epoch.as_nanos() + interval - offset.as_nanos() % interval) % interval;
    Duration::from_nanos(u64::try_from(interval - behind).unwrap_or(u64::MAX))
}

/// Clocks that are slewed, or read one after the other on a busy machine, differ by less than this.
const JUMP: SignedDuration = SignedDuration::from_secs(5);

/// How far the wall clock jumped relative to a monotonic one; `None` if they agree.
pub fn jump(wall: SignedDuration, steady: Duration) -> Option<SignedDuration> {
    let difference = wall.checked_sub(SignedDuration::try_from(steady).ok()?)?;
    (difference.abs() > JUMP).then_some(difference)
}

/// The time over which the starts of `count` monitors are spread: at most half the interval, so that every
/// poll is finished before the next tick.
pub fn spread(count: usize, interval: Duration) -> Duration {
    let count = u32::try_from(count.saturating_sub(1)).unwrap_or(u32::MAX);
    SPACING.saturating_mul(count).min(interval / 2)
}

/// A monitor's offset within the spread: the same in every process, for the same name.
pub fn stagger(name: &str, spread: Duration) -> Duration {
    spread.mul_f64(unit(hash(name)))
}

/// The wait before attempt `attempt` (from 0): it doubles from `base` to `cap`, of which a random part (by
/// `seed`) between half and the whole is used, so that many clients do not return at once.
pub fn backoff(attempt: u32, base: Duration, cap: Duration, seed: u64) -> Duration {
    let whole = base.saturating_mul(1u32.checked_shl(attempt.min(31)).unwrap_or(u32::MAX)).min(cap);
    whole / 2 + (whole / 2).mul_f64(unit(seed))
}

/// A hash that distributes names evenly (FNV-1a, then mixed).
pub fn hash(name: &str) -> u64 {
    let folded = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    mix(folded)
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Between 0 and 1.
fn unit(seed: u64) -> f64 {
    f64::from(u32::try_from(mix(seed) >> 32).unwrap_or(0)) / f64::from(u32::MAX)
}

/// Parses a duration: `60s`, `4h`, `1h 30m`, `30d`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let span: Span = text.trim().parse().ok()?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    Duration::try_from(duration).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_suspend_and_a_set_clock_are_jumps_but_a_slow_machine_is_not() {
        for (wall, steady, want) in [
            (30, 30, None),
            (34, 30, None),
            (3630, 30, Some(3600)),
            (-3570, 30, Some(-3600)),
            (40, 30, Some(10)),
        ] {
            let want = want.map(SignedDuration::from_secs);
            assert_eq!(jump(SignedDuration::from_secs(wall), s(steady)), want, "{wall} {steady}");
        }
    }

    /// They are multiples of the interval since the epoch, moved by the offset.
    #[test]
    fn ticks_are_aligned() {
        assert_eq!(until_tick(s(0), s(60), s(0)), s(60));
        assert_eq!(until_tick(s(59), s(60), s(0)), s(1));
        assert_eq!(until_tick(s(60), s(60), s(5)), s(5));
        assert_eq!(until_tick(s(65), s(60), s(5)), s(60));
        assert_eq!(until_tick(s(66), s(60), s(65)), s(59));
    }

    /// Ten thousand monitors are spread evenly over half the interval; four start almost together.
    #[test]
    fn monitors_are_spread_over_the_interval() {
        assert_eq!(spread(4, s(60)), Duration::from_millis(15));
        assert_eq!(spread(10_000, s(60)), s(30));
        let tenths = (0..10_000).fold([0; 10], |mut tenths, i| {
            let at = stagger(&format!("monitor {i}"), s(30)).as_millis();
            tenths[usize::try_from(at / 3_001).unwrap()] += 1;
            tenths
        });
        assert!(tenths.iter().all(|n| (800..1_200).contains(n)), "{tenths:?}");
    }

    proptest! {
        /// The next tick is in the future, within one interval, and aligned.
        #[test]
        fn next_tick_is_near(now in 0u64..u64::MAX / 4, interval in 1u64..10_000_000_000_000, offset in 0u64..10_000_000_000) {
            let interval = interval.max(1_000_000);
            let wait = until_tick(Duration::from_nanos(now), Duration::from_nanos(interval), Duration::from_nanos(offset));
            let wait = u64::try_from(wait.as_nanos()).unwrap();
            prop_assert!(wait > 0 && wait <= interval);
            prop_assert_eq!((u128::from(now) + u128::from(wait)) % u128::from(interval), u128::from(offset % interval));
        }

        #[test]
        fn backoff_is_bounded(attempt in 0u32..100, seed: u64) {
            let wait = backoff(attempt, s(1), s(300), seed);
            prop_assert!(wait >= Duration::from_millis(500) && wait <= s(300));
        }
    }
}
