//! Days of a monitor as a page shows them: the worst of each day, and the share of time without an incident.
//!
//! Time that was not watched is a kind of its own and never good news.

use jiff::Timestamp;
use jiff::civil::Date;

use crate::domain::history::{self, Day};
use crate::domain::severity::Severity;

/// Days of the strip on the overview.
pub(super) const STRIP: i64 = 90;
/// Days on a monitor's own page.
pub(super) const YEAR: i64 = 365;

/// One day.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Cell {
    pub(super) date: Date,
    /// The worst of the day; `None`: not watched.
    pub(super) worst: Option<Severity>,
    /// What was counted; nothing on days not watched, and today before the first counts are kept.
    pub(super) day: Day,
}

/// The last days up to today, oldest first. `kept` is in order of date; today also takes in what is believed `now`.
pub(super) fn cells(
    kept: &[(Date, Day)],
    believed: Option<Severity>,
    now: Timestamp,
    count: i64,
) -> Vec<Cell> {
    let today = history::date_of(now);
    let mut cells = Vec::with_capacity(usize::try_from(count).unwrap_or_default());
    let mut kept = kept.iter().peekable();
    for back in (0..count).rev() {
        let date = history::days_before(today, back);
        while kept.peek().is_some_and(|(kept, _)| *kept < date) {
            kept.next();
        }
        let day = kept.next_if(|(kept, _)| *kept == date).map(|(_, day)| *day).unwrap_or_default();
        let worst = if date == today { day.worst().max(believed) } else { day.worst() };
        cells.push(Cell { date, worst, day });
    }
    cells
}

/// The share of watched time without an incident, in words, and how much was watched.
pub(super) fn uptime(cells: &[Cell]) -> Option<(f64, u64)> {
    let watched: u64 = cells.iter().map(|cell| cell.day.watched()).sum();
    history::uptime(cells.iter().map(|cell| &cell.day)).map(|share| (share, watched))
}

/// The definition, said wherever the figure stands.
pub(super) const UPTIME: &str = "Uptime is the share of the watched time without an incident. Maintenance is no incident; time that was not watched does not count.";

#[cfg(test)]
mod tests {
    use super::*;

    /// Each day gets its own; days without counts are not watched; today takes in what is believed now.
    #[test]
    fn finds_each_day() {
        let now: Timestamp = "2026-05-04T12:00:00Z".parse().unwrap();
        let date = |text: &str| text.parse::<Date>().unwrap();
        let kept = [
            (date("2026-04-01"), Day { at: [0, 0, 0, 0, 9] }),
            (date("2026-05-02"), Day { at: [5, 0, 0, 5, 0] }),
            (date("2026-05-04"), Day { at: [5, 0, 0, 0, 0] }),
        ];
        let worst = |believed| -> Vec<_> { cells(&kept, believed, now, 4).iter().map(|c| c.worst).collect() };
        let (good, major) = (Some(Severity::None), Some(Severity::Major));
        assert_eq!(worst(None), [None, major, None, good]);
        assert_eq!(worst(Some(Severity::Minor)), [None, major, None, Some(Severity::Minor)]);
        assert_eq!(uptime(&cells(&kept, None, now, 4)), Some((10.0 / 15.0, 15)));
        assert_eq!(uptime(&cells(&[], good, now, 4)), None);
    }
}
