//! How long the last looks at a monitor took.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// The last looks in four bytes each: there may be thousands of monitors.
#[derive(Debug, Default, Clone)]
pub struct Pace {
    looks: VecDeque<Step>,
    last: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy)]
struct Step {
    /// Seconds since the look before.
    after: u16,
    /// Milliseconds in 15 bits, and in the highest whether there was a reading.
    took: u16,
}

/// One look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paced {
    /// When it ended, to the second.
    pub at: Timestamp,
    /// How long it took, at most half a minute.
    pub took: Duration,
    /// Whether there was a reading.
    pub read: bool,
}

impl Pace {
    /// Two hours at one look a minute.
    pub const LOOKS: usize = 120;
    const READ: u16 = 1 << 15;

    pub(super) fn push(&mut self, at: Timestamp, took: Duration, read: bool) {
        let after = self.last.map_or(0, |last| at.duration_since(last).as_secs());
        let after = u16::try_from(after.max(0)).unwrap_or(u16::MAX);
        let ms = u16::try_from(took.as_millis()).unwrap_or(u16::MAX).min(Self::READ - 1);
        if self.looks.len() == Self::LOOKS {
            self.looks.pop_front();
        }
        self.looks.push_back(Step { after, took: if read { ms | Self::READ } else { ms } });
        self.last = Some(at);
    }

    /// Newest first.
    pub fn looks(&self) -> impl Iterator<Item = Paced> + '_ {
        let mut at = self.last.unwrap_or_default();
        self.looks.iter().rev().map(move |step| {
            let took = Duration::from_millis(u64::from(step.took & !Self::READ));
            let look = Paced { at, took, read: step.took & Self::READ != 0 };
            at = at.checked_sub(SignedDuration::from_secs(i64::from(step.after))).unwrap_or(at);
            look
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The newest looks come back with their moments, lengths and outcomes, and no more than are kept.
    #[test]
    fn keeps_the_newest() {
        let at = |second: i64| Timestamp::from_second(1_700_000_000 + second).unwrap();
        let mut pace = Pace::default();
        for minute in 0..200 {
            pace.push(at(minute * 60), Duration::from_millis(minute as u64), minute != 198);
        }
        pace.push(at(200 * 60), Duration::from_secs(90), true);
        let looks: Vec<Paced> = pace.looks().collect();
        assert_eq!(looks.len(), Pace::LOOKS);
        assert_eq!(looks[0], Paced { at: at(12_000), took: Duration::from_millis(32_767), read: true });
        assert_eq!(looks[2], Paced { at: at(11_880), took: Duration::from_millis(198), read: false });
        assert_eq!(looks[119].at, at(81 * 60));
    }
}
