//! Days of a monitor as a page shows them: the worst severity of each day, and uptime.
//!
//! Time without monitoring is shown as such and never counts as uptime.

use jiff::Timestamp;
use jiff::civil::Date;

use crate::domain::monitoring::history;
use crate::domain::monitoring::history::Day;
use crate::domain::monitoring::severity::Severity;

/// Days in the strip on the overview.
pub(in crate::web) const STRIP: i64 = 90;
/// Days on a monitor's own page.
pub(in crate::web) const YEAR: i64 = 365;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::web) struct DayCell {
    pub(in crate::web) date: Date,
    /// The worst severity of the day; `None`: not monitored.
    pub(in crate::web) worst: Option<Severity>,
    /// Zero on days without monitoring, and today before the first counts are stored.
    pub(in crate::web) day: Day,
}

/// The last `count` days up to today, oldest first. `stored` is in order of date; today includes the `current` severity.
pub(in crate::web) fn cells(
    stored: &[(Date, Day)],
    current: Option<Severity>,
    now: Timestamp,
    count: i64,
) -> Vec<DayCell> {
    let today = history::date_of(now);
    let mut cells = Vec::with_capacity(usize::try_from(count).unwrap_or_default());
    let mut stored = stored.iter().peekable();
    for back in (0..count).rev() {
        let date = history::days_before(today, back);
        while stored.peek().is_some_and(|(stored, _)| *stored < date) {
            stored.next();
        }
        let day = stored.next_if(|(stored, _)| *stored == date).map(|(_, day)| *day).unwrap_or_default();
        let worst = if date == today { day.worst().max(current) } else { day.worst() };
        cells.push(DayCell { date, worst, day });
    }
    cells
}

/// The share of monitored time without an incident, and the monitored time in ms.
pub(in crate::web) fn uptime(cells: &[DayCell]) -> Option<(f64, u64)> {
    let watched: u64 = cells.iter().map(|cell| cell.day.watched()).sum();
    history::uptime(cells.iter().map(|cell| &cell.day)).map(|share| (share, watched))
}

/// The definition, shown wherever the figure is.
pub(in crate::web) const UPTIME: &str = "Uptime is the share of monitored time without an incident. Maintenance is not an incident; time without monitoring does not count.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_without_counts_are_unmonitored_and_today_includes_the_current_severity() {
        let now: Timestamp = "2026-05-04T12:00:00Z".parse().unwrap();
        let date = |text: &str| text.parse::<Date>().unwrap();
        let stored = [
            (date("2026-04-01"), Day { at: [0, 0, 0, 0, 9] }),
            (date("2026-05-02"), Day { at: [5, 0, 0, 5, 0] }),
            (date("2026-05-04"), Day { at: [5, 0, 0, 0, 0] }),
        ];
        let worst = |current| -> Vec<_> { cells(&stored, current, now, 4).iter().map(|c| c.worst).collect() };
        let (good, major) = (Some(Severity::None), Some(Severity::Major));
        assert_eq!(worst(None), [None, major, None, good]);
        assert_eq!(worst(Some(Severity::Minor)), [None, major, None, Some(Severity::Minor)]);
        assert_eq!(uptime(&cells(&stored, None, now, 4)), Some((10.0 / 15.0, 15)));
        assert_eq!(uptime(&cells(&[], good, now, 4)), None);
    }
}
