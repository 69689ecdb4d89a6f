//! An invented past, so that history is to be seen in a demo that has none: incidents of the last ninety days.

use jiff::{SignedDuration, Timestamp};

use crate::domain::assess::Transition;
use crate::domain::history::{Day, Days, begin_of, date_of, days_before};
use crate::domain::severity::Severity;

/// Days of history.
const REACH: i64 = 90;
/// Days ago on which nobody watched.
const AWAY: [i64; 2] = [52, 51];
/// A monitor, and since how many days it is watched.
const SINCE: [(&str, i64); 5] =
    [("Epic Games", REACH), ("GitHub", REACH), ("MongoDB", REACH), ("Snowflake", REACH), (LATE, 34)];
/// The age of data is watched like a page.
const LATE: &str = "Visitor counts";

/// What was: the monitor, days ago, minute of the day, its length in minutes, how bad it was, and the words.
const INCIDENTS: [(&str, i64, i64, i64, Severity, &str); 16] = [
    ("Snowflake", 86, 612, 48, Severity::Minor, "Slow queries in EU Frankfurt"),
    ("GitHub", 81, 845, 35, Severity::Minor, "Delayed webhooks"),
    ("Epic Games", 77, 540, 180, Severity::Maintenance, "Weekly update of the store"),
    ("GitHub", 66, 923, 71, Severity::Major, "Pull requests cannot be merged"),
    ("MongoDB", 63, 130, 26, Severity::Minor, "Delayed metrics"),
    ("Epic Games", 49, 540, 150, Severity::Maintenance, "Weekly update of the store"),
    ("Epic Games", 44, 1010, 95, Severity::Critical, "No one can sign in"),
    ("Snowflake", 41, 388, 122, Severity::Major, "Warehouses do not start in US West"),
    ("GitHub", 33, 701, 22, Severity::Minor, "Actions start late"),
    (LATE, 29, 415, 240, Severity::Minor, "data is 4 h old"),
    ("Epic Games", 21, 540, 165, Severity::Maintenance, "Weekly update of the store"),
    ("MongoDB", 18, 1190, 57, Severity::Minor, "Backups are delayed"),
    ("Snowflake", 12, 745, 33, Severity::Minor, "Slow queries in US West"),
    ("GitHub", 9, 860, 44, Severity::Minor, "Slow searches"),
    (LATE, 6, 70, 120, Severity::Minor, "data is 2 h old"),
    ("Epic Games", 3, 540, 140, Severity::Maintenance, "Weekly update of the store"),
];

/// The past as it would have been kept, up to `now`. The words say that it is invented.
pub fn past(now: Timestamp) -> (Days, Vec<Transition>) {
    let today = date_of(now);
    let mut days = Days::new();
    for (monitor, since) in SINCE {
        for back in (0..since).filter(|back| !AWAY.contains(back)) {
            let date = days_before(today, back);
            let end = if back == 0 { now } else { begin_of(days_before(today, back - 1)) };
            let watched = u32::try_from(end.duration_since(begin_of(date)).as_millis()).unwrap_or(0);
            let mut day = Day::default();
            day.at[Severity::None as usize] = watched;
            days.insert((monitor.to_owned(), date), day);
        }
    }
    let mut transitions = Vec::new();
    for (monitor, back, minute, minutes, severity, words) in INCIDENTS {
        let date = days_before(today, back);
        if let Some(day) = days.get_mut(&(monitor.to_owned(), date)) {
            let ms = u32::try_from(minutes * 60_000).unwrap_or(0);
            day.at[Severity::None as usize] = day.at[Severity::None as usize].saturating_sub(ms);
            day.at[severity as usize] += ms;
        }
        let change = |after: i64, from, to, description: &str| Transition {
            monitor: monitor.to_owned(),
            at: begin_of(date).checked_add(SignedDuration::from_mins(minute + after)).unwrap_or(now),
            from,
            to,
            description: format!("{description} (invented)"),
        };
        transitions.push(change(0, Severity::None, severity, words));
        let well = if monitor == LATE { "data is fresh" } else { "All Systems Operational" };
        transitions.push(change(minutes, severity, Severity::None, well));
    }
    transitions.sort_by_key(|change| change.at);
    (days, transitions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::history::uptime;

    /// Every incident lies within its day and within what was watched, and ends before the demo begins; the worst of
    /// its day is what the transition says.
    #[test]
    fn the_past_holds_together() {
        let now: Timestamp = "2026-05-04T00:00:01Z".parse().unwrap();
        let (days, transitions) = past(now);
        assert_eq!(transitions.len(), 2 * INCIDENTS.len());
        assert!(transitions.iter().all(|change| change.at < now));
        for begun in transitions.iter().filter(|change| change.to > Severity::None) {
            let day = days[&(begun.monitor.clone(), date_of(begun.at))];
            assert_eq!((day.worst(), day.watched()), (Some(begun.to), 86_400_000), "{begun:?}");
        }
        let share = uptime(days.values()).unwrap();
        assert!((0.99..1.0).contains(&share), "{share}");
        assert!(!days.contains_key(&("GitHub".to_owned(), days_before(date_of(now), AWAY[0]))));
    }
}
