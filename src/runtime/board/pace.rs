//! Durations of the last polls of a monitor.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// The last polls, stored in four bytes each because there may be thousands of monitors.
#[derive(Debug, Default, Clone)]
pub struct PollPace {
    steps: VecDeque<PaceStep>,
    last: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy)]
struct PaceStep {
    /// Seconds since the previous poll.
    after: u16,
    /// Milliseconds in the low 15 bits; the highest bit is set if the poll succeeded.
    took: u16,
}

/// One poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paced {
    /// When it ended, to the second.
    pub at: Timestamp,
    /// Capped at about half a minute.
    pub took: Duration,
    /// Whether it succeeded.
    pub read: bool,
}

impl PollPace {
    /// Two hours at one poll per minute.
    pub const POLLS: usize = 120;
    const READ: u16 = 1 << 15;

    pub(super) fn push(&mut self, at: Timestamp, took: Duration, read: bool) {
        let after = self.last.map_or(0, |last| at.duration_since(last).as_secs());
        let after = u16::try_from(after.max(0)).unwrap_or(u16::MAX);
        let ms = u16::try_from(took.as_millis()).unwrap_or(u16::MAX).min(Self::READ - 1);
        if self.steps.len() == Self::POLLS {
            self.steps.pop_front();
        }
        self.steps.push_back(PaceStep { after, took: if read { ms | Self::READ } else { ms } });
        self.last = Some(at);
    }

    /// Newest first.
    pub fn polls(&self) -> impl Iterator<Item = Paced> + '_ {
        let mut at = self.last.unwrap_or_default();
        self.steps.iter().rev().map(move |step| {
            let took = Duration::from_millis(u64::from(step.took & !Self::READ));
            let poll = Paced { at, took, read: step.took & Self::READ != 0 };
            at = at.checked_sub(SignedDuration::from_secs(i64::from(step.after))).unwrap_or(at);
            poll
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_polls_are_returned_with_time_duration_and_outcome() {
        let at = |second: i64| Timestamp::from_second(1_700_000_000 + second).unwrap();
        let mut pace = PollPace::default();
        for minute in 0..200 {
            pace.push(at(minute * 60), Duration::from_millis(minute as u64), minute != 198);
        }
        pace.push(at(200 * 60), Duration::from_secs(90), true);
        let polls: Vec<Paced> = pace.polls().collect();
        assert_eq!(polls.len(), PollPace::POLLS);
        assert_eq!(polls[0], Paced { at: at(12_000), took: Duration::from_millis(32_767), read: true });
        assert_eq!(polls[2], Paced { at: at(11_880), took: Duration::from_millis(198), read: false });
        assert_eq!(polls[119].at, at(81 * 60));
    }
}
