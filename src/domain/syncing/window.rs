//! How a range of days is divided into windows, which of them a run reads, and what it saves.
//!
//! A day is a calendar day, whatever its length in hours. Start at [`plan`].

use jiff::{ToSpan, civil::Date};
use serde::{Deserialize, Serialize};

use crate::domain::syncing::definition::connector::{Window, WindowEnd};

/// Days from `first` up to, but excluding, `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayRange {
    pub first: Date,
    /// The day after the last.
    pub end: Date,
}

/// The state saved between runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowState {
    /// The last day read; it may not have been over.
    pub last_sync_date: Option<Date>,
    /// The first day ever requested: an earlier one in the configuration causes a full refresh.
    pub start: Option<Date>,
    /// The day on which the current full reading started, until it is complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began: Option<Date>,
    /// The day on which the last complete run started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complete: Option<Date>,
}

/// What a run reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowPlan {
    /// The whole range; empty if the start is in the future.
    pub days: DayRange,
    /// Days per request.
    pub step_days: u32,
    /// Only what changed since this day.
    pub changed_since: Option<Date>,
    /// Days after the range of the last complete run. They are read completely, because rows there may have
    /// changed last before that run. Empty without a change filter.
    pub fresh: DayRange,
    /// The start of the current reading, to be saved.
    pub began: Date,
    /// The first day ever requested, to be saved.
    pub start: Date,
    /// The last day read so far: reading earlier days again does not move it back.
    pub reached: Option<Date>,
}

/// Decides what a run reads: everything since `start`, or from the last day read (less the look-back), or,
/// with a change filter and after one complete reading, what changed.
pub fn plan(window: &Window, state: Option<&WindowState>, start: Date, today: Date) -> WindowPlan {
    let end = plus(today, u64::from(window.ahead_days) + 1);
    // An earlier start in the configuration means that the days before were never read.
    let state = state.filter(|state| state.start.is_some_and(|known| known <= start));
    let known_start = state.and_then(|state| state.start).unwrap_or(start);
    let began = state.and_then(|state| state.began).unwrap_or(today);
    let reached = state.and_then(|state| state.last_sync_date).map(|last| last.min(today));
    if let (Some(changes), Some(complete)) = (&window.changes, state.and_then(|state| state.complete)) {
        let behind = plus(complete, u64::from(window.ahead_days) + 1);
        return WindowPlan {
            days: DayRange { first: start, end },
            step_days: changes.step_days,
            changed_since: Some(minus(complete, changes.lookback_days)),
            fresh: DayRange { first: behind.max(start).min(end), end },
            began: today,
            // Changes before this day are not read, so an earlier start later causes a full refresh.
            start,
            reached,
        };
    }
    let first = reached.map_or(start, |last| minus(last, window.lookback_days).max(start));
    // A start after the days read leaves a gap, which must not count as read when the start moves back later.
    let gap = reached.is_some_and(|last| first > plus(last, 1));
    WindowPlan {
        days: DayRange { first, end },
        step_days: window.step_days,
        changed_since: None,
        fresh: DayRange { first: end, end },
        began,
        start: if gap { start } else { known_start },
        reached,
    }
}

impl WindowPlan {
    /// Whether each finished window is a checkpoint: only in a full reading.
    pub fn remembers_windows(&self) -> bool {
        self.changed_since.is_none() && self.fresh.is_empty()
    }
}

impl DayRange {
    /// The next window of at most `step_days` from `at`; `None` at the end.
    pub fn window(self, at: Date, step_days: u32) -> Option<DayRange> {
        (at < self.end)
            .then(|| DayRange { first: at, end: plus(at, u64::from(step_days.max(1))).min(self.end) })
    }

    /// Its length.
    pub fn len(self) -> u32 {
        u32::try_from((self.end - self.first).get_days()).unwrap_or(0)
    }

    pub fn is_empty(self) -> bool {
        self.first >= self.end
    }

    /// The day that is sent as the end.
    pub fn written_end(self, end: WindowEnd) -> Date {
        match end {
            WindowEnd::Exclusive => self.end,
            WindowEnd::Inclusive => minus(self.end, 1),
        }
    }
}

fn plus(day: Date, days: u64) -> Date {
    i64::try_from(days).ok().and_then(|n| day.checked_add(n.days()).ok()).unwrap_or(Date::MAX)
}

fn minus(day: Date, days: u32) -> Date {
    day.checked_sub(i64::from(days).days()).unwrap_or(Date::MIN)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::syncing::definition::connector::ChangeFilter;

    fn window(changes: bool) -> Window {
        Window {
            from: "from".into(),
            to: "to".into(),
            format: "%Y-%m-%d".into(),
            start: Vec::new(),
            step_days: 30,
            end: WindowEnd::Exclusive,
            lookback_days: 2,
            ahead_days: 0,
            halve_to_days: Some(1),
            zone: "UTC".into(),
            changes: changes.then(|| ChangeFilter {
                from: "ingested-from".into(),
                to: None,
                lookback_days: 1,
                step_days: 700,
            }),
        }
    }

    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }

    /// At the start, two days before the last day read, or at the new start if it moved back; with a change
    /// filter, over the whole range for changes since the last complete run.
    #[test]
    fn a_run_reads_from_the_right_day() {
        let today = day("2026-05-02");
        let state = |last: &str, start: &str, complete: Option<&str>| WindowState {
            last_sync_date: Some(day(last)),
            start: Some(day(start)),
            began: None,
            complete: complete.map(day),
        };
        for (changes, known, start, first, since) in [
            (false, None, "2026-01-01", "2026-01-01", None),
            (false, Some(state("2026-05-01", "2026-01-01", None)), "2026-01-01", "2026-04-29", None),
            (false, Some(state("2026-05-01", "2026-01-01", None)), "2026-02-01", "2026-04-29", None),
            (false, Some(state("2026-05-01", "2026-01-01", None)), "2025-12-01", "2025-12-01", None),
            (false, Some(state("2026-09-01", "2026-01-01", None)), "2026-01-01", "2026-04-30", None),
            (false, Some(state("2026-05-01", "2026-01-01", None)), "2026-05-01", "2026-05-01", None),
            (true, Some(state("2026-03-01", "2026-01-01", None)), "2026-01-01", "2026-02-27", None),
            (
                true,
                Some(state("2026-05-01", "2026-01-01", Some("2026-05-01"))),
                "2026-01-01",
                "2026-01-01",
                Some("2026-04-30"),
            ),
        ] {
            let plan = plan(&window(changes), known.as_ref(), day(start), today);
            let got = (plan.days.first, plan.changed_since);
            assert_eq!(got, (day(first), since.map(day)), "{known:?} {start}");
            assert_eq!(plan.days.end, day("2026-05-03"));
        }
        let ahead = super::plan(&window(false), None, day("2027-01-01"), today);
        assert!(ahead.days.is_empty());
    }

    /// An interrupted reading saves when it started, so that changes made meanwhile are requested later.
    #[test]
    fn an_interrupted_reading_saves_its_start() {
        let broken = WindowState {
            last_sync_date: Some(day("2026-02-01")),
            start: Some(day("2026-01-01")),
            began: Some(day("2026-04-20")),
            complete: None,
        };
        let plan = plan(&window(true), Some(&broken), day("2026-01-01"), day("2026-05-02"));
        assert_eq!(plan.began, day("2026-04-20"));
    }

    /// Skipped days are read when the start is moved back, however it was moved before; days that come into
    /// range after a complete run are read completely.
    #[test]
    fn leaves_no_gap() {
        let state = |last: &str, complete: Option<&str>| WindowState {
            last_sync_date: Some(day(last)),
            start: Some(day("2022-01-01")),
            began: None,
            complete: complete.map(day),
        };
        let today = day("2026-05-02");
        // Interrupted in 2022, then started in 2025: the days between were never read.
        let jumped = super::plan(&window(false), Some(&state("2022-03-01", None)), day("2025-01-01"), today);
        assert_eq!((jumped.days.first, jumped.start), (day("2025-01-01"), day("2025-01-01")));
        let next_to = super::plan(&window(false), Some(&state("2024-12-31", None)), day("2025-01-01"), today);
        assert_eq!(next_to.start, day("2022-01-01"));
        // Only changes of 2025 and later are read, so a start of 2022 must not count the rest as read.
        let known = state("2026-04-30", Some("2026-04-30"));
        let later = super::plan(&window(true), Some(&known), day("2025-01-01"), today);
        assert_eq!(later.start, day("2025-01-01"));

        let ahead = Window { ahead_days: 10, ..window(true) };
        let reached = super::plan(&ahead, Some(&known), day("2022-01-01"), today).fresh;
        assert_eq!(reached, DayRange { first: day("2026-05-11"), end: day("2026-05-13") });
        let same_day = state("2026-05-02", Some("2026-05-02"));
        assert!(super::plan(&ahead, Some(&same_day), day("2022-01-01"), today).fresh.is_empty());
        let clock_set_back = state("2026-06-01", Some("2026-06-01"));
        assert!(super::plan(&ahead, Some(&clock_set_back), day("2022-01-01"), today).fresh.is_empty());
    }

    proptest! {
        /// Every day is in exactly one window, none is wider than requested, and halving changes neither.
        #[test]
        fn windows_cover_every_day(
            first in 0i64..20_000,
            length in 0i64..2_000,
            step in 1u32..400,
            halvings in proptest::collection::vec(any::<bool>(), 0..40),
        ) {
            let first = Date::constant(1990, 1, 1).checked_add(first.days()).unwrap();
            let days = DayRange { first, end: first.checked_add(length.days()).unwrap() };
            let (mut at, mut step) = (days.first, step);
            let mut halvings = halvings.into_iter();
            let mut covered = 0;
            while let Some(window) = days.window(at, step) {
                if halvings.next() == Some(true) && window.len() > 1 {
                    step = (window.len() / 2).max(1);
                    continue;
                }
                prop_assert!(window.first == at && window.len() <= step && !window.is_empty());
                covered += window.len();
                at = window.end;
            }
            prop_assert_eq!(i64::from(covered), length);
        }
    }
}
