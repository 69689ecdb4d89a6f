//! How a span of days is cut into windows, which of them a run has to read, and what it remembers.
//!
//! A day here is a calendar day, so a day of 23 or 25 hours is one like any other. Start at [`plan`].

use jiff::{ToSpan, civil::Date};
use serde::{Deserialize, Serialize};

use super::connector::Window;

/// Whether the end that is asked for belongs to the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowEnd {
    /// The end is the first day not asked for.
    Exclusive,
    /// The end is the last day asked for.
    Inclusive,
}

/// A filter by which later runs see only what changed at the source since the last complete run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeFilter {
    /// Parameter of the first day of change.
    pub from: String,
    /// Parameter of the last day of change.
    pub to: Option<String>,
    /// Days before the last complete run that are asked for again.
    pub lookback_days: u32,
    /// Days of the range asked for at once.
    pub step_days: u32,
}

/// Days from `first` up to, not including, `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days {
    /// The first day.
    pub first: Date,
    /// The day after the last.
    pub end: Date,
}

/// What is remembered between runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowState {
    /// The last day read; it may not have been over.
    pub last_sync_date: Option<Date>,
    /// The first day ever asked for: an earlier one in the configuration begins anew.
    pub start: Option<Date>,
    /// The day on which the first full reading began, while it lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began: Option<Date>,
    /// The day on which the last complete run began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complete: Option<Date>,
}

/// What a run has to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// All of it; empty when the start lies ahead.
    pub days: Days,
    /// Days asked for at once.
    pub step_days: u32,
    /// Only what changed since this day.
    pub changed_since: Option<Date>,
    /// Days that the last complete run did not reach: they are read whole, because what lay there may have changed last
    /// before that run. Empty without a change filter.
    pub fresh: Days,
    /// What to remember as the beginning of the reading under way.
    pub began: Date,
    /// What to remember as the first day ever asked for.
    pub start: Date,
    /// The last day read already: reading again what lies before does not take it back.
    pub reached: Option<Date>,
}

/// Decides what a run has to read: everything since `start`, or from the last day read (less the look-back), or,
/// with a change filter and after one complete reading, what changed.
pub fn plan(window: &Window, state: Option<&WindowState>, start: Date, today: Date) -> Plan {
    let end = plus(today, u64::from(window.ahead_days) + 1);
    // An earlier start in the configuration means that what lies before was never read.
    let state = state.filter(|state| state.start.is_some_and(|known| known <= start));
    let known_start = state.and_then(|state| state.start).unwrap_or(start);
    let began = state.and_then(|state| state.began).unwrap_or(today);
    let reached = state.and_then(|state| state.last_sync_date).map(|last| last.min(today));
    if let (Some(changes), Some(complete)) = (&window.changes, state.and_then(|state| state.complete)) {
        let behind = plus(complete, u64::from(window.ahead_days) + 1);
        return Plan {
            days: Days { first: start, end },
            step_days: changes.step_days,
            changed_since: Some(minus(complete, changes.lookback_days)),
            fresh: Days { first: behind.max(start).min(end), end },
            began: today,
            // What changes before it is not read, so an earlier start later on begins anew.
            start,
            reached,
        };
    }
    let first = reached.map_or(start, |last| minus(last, window.lookback_days).max(start));
    // A start behind what was read leaves a gap, which an earlier start later on must not take for read.
    let gap = reached.is_some_and(|last| first > plus(last, 1));
    Plan {
        days: Days { first, end },
        step_days: window.step_days,
        changed_since: None,
        fresh: Days { first: end, end },
        began,
        start: if gap { start } else { known_start },
        reached,
    }
}

impl Plan {
    /// Whether each of its windows, once read, is a place to go on from: only in a reading of everything.
    pub fn remembers_windows(&self) -> bool {
        self.changed_since.is_none() && self.fresh.is_empty()
    }
}

impl Days {
    /// The next window of at most `step_days` from `at`; `None` when nothing is left.
    pub fn window(self, at: Date, step_days: u32) -> Option<Days> {
        (at < self.end).then(|| Days { first: at, end: plus(at, u64::from(step_days.max(1))).min(self.end) })
    }

    /// Its length.
    pub fn len(self) -> u32 {
        u32::try_from((self.end - self.first).get_days()).unwrap_or(0)
    }

    /// Whether no day is in it.
    pub fn is_empty(self) -> bool {
        self.first >= self.end
    }

    /// The day that is written as the end.
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

    /// Where a run begins: at the start, two days before the last day read, or anew when the start moved back; with a
    /// change filter, over the whole range for what changed since the last complete run.
    #[test]
    fn plans() {
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

    /// A reading that was broken off remembers when it began, so that what changed meanwhile is asked for later.
    #[test]
    fn remembers_the_beginning() {
        let broken = WindowState {
            last_sync_date: Some(day("2026-02-01")),
            start: Some(day("2026-01-01")),
            began: Some(day("2026-04-20")),
            complete: None,
        };
        let plan = plan(&window(true), Some(&broken), day("2026-01-01"), day("2026-05-02"));
        assert_eq!(plan.began, day("2026-04-20"));
    }

    /// Days that were skipped are read when the start is set back, however it was moved about meanwhile; and days that
    /// come into reach after a complete run are read whole, not only for what changed.
    #[test]
    fn leaves_no_gap() {
        let state = |last: &str, complete: Option<&str>| WindowState {
            last_sync_date: Some(day(last)),
            start: Some(day("2022-01-01")),
            began: None,
            complete: complete.map(day),
        };
        let today = day("2026-05-02");
        // Broken off in 2022, then begun in 2025: what lies between was never read.
        let jumped = super::plan(&window(false), Some(&state("2022-03-01", None)), day("2025-01-01"), today);
        assert_eq!((jumped.days.first, jumped.start), (day("2025-01-01"), day("2025-01-01")));
        let next_to = super::plan(&window(false), Some(&state("2024-12-31", None)), day("2025-01-01"), today);
        assert_eq!(next_to.start, day("2022-01-01"));
        // Only changes of 2025 and later are read, so a start of 2022 may not take the rest for read.
        let known = state("2026-04-30", Some("2026-04-30"));
        let later = super::plan(&window(true), Some(&known), day("2025-01-01"), today);
        assert_eq!(later.start, day("2025-01-01"));

        let ahead = Window { ahead_days: 10, ..window(true) };
        let reached = super::plan(&ahead, Some(&known), day("2022-01-01"), today).fresh;
        assert_eq!(reached, Days { first: day("2026-05-11"), end: day("2026-05-13") });
        let same_day = state("2026-05-02", Some("2026-05-02"));
        assert!(super::plan(&ahead, Some(&same_day), day("2022-01-01"), today).fresh.is_empty());
        let clock_set_back = state("2026-06-01", Some("2026-06-01"));
        assert!(super::plan(&ahead, Some(&clock_set_back), day("2022-01-01"), today).fresh.is_empty());
    }

    proptest! {
        /// Windows cover every day once, none is wider than asked, and halving changes neither.
        #[test]
        fn windows_cover_every_day(
            first in 0i64..20_000,
            length in 0i64..2_000,
            step in 1u32..400,
            halvings in proptest::collection::vec(any::<bool>(), 0..40),
        ) {
            let first = Date::constant(1990, 1, 1).checked_add(first.days()).unwrap();
            let days = Days { first, end: first.checked_add(length.days()).unwrap() };
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
