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
    /// What to remember as the beginning of the reading under way.
    pub began: Date,
    /// What to remember as the first day ever asked for.
    pub start: Date,
}

/// Decides what a run has to read: everything since `start`, or from the last day read (less the look-back), or,
/// with a change filter and after one complete reading, what changed.
pub fn plan(window: &Window, state: Option<&WindowState>, start: Date, today: Date) -> Plan {
    let end = plus(today, u64::from(window.ahead_days) + 1);
    // An earlier start in the configuration means that what lies before was never read.
    let state = state.filter(|state| state.start.is_some_and(|known| known <= start));
    let known_start = state.and_then(|state| state.start).unwrap_or(start);
    let began = state.and_then(|state| state.began).unwrap_or(today);
    if let (Some(changes), Some(complete)) = (&window.changes, state.and_then(|state| state.complete)) {
        return Plan {
            days: Days { first: start, end },
            step_days: changes.step_days,
            changed_since: Some(minus(complete, changes.lookback_days)),
            began: today,
            start: known_start,
        };
    }
    let first = match state.and_then(|state| state.last_sync_date) {
        Some(last) => minus(last.min(today), window.lookback_days).max(start),
        None => start,
    };
    Plan {
        days: Days { first, end },
        step_days: window.step_days,
        changed_since: None,
        began,
        start: known_start,
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
