//! Simulated history of the demo: incidents of the last ninety days, and response times of the last month.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::domain::monitoring::assess::Transition;
use crate::domain::monitoring::history::{Day, DayTotals, begin_of, date_of, days_before};
use crate::domain::monitoring::responses::{KEEP_RESPONSE_DAYS, ResponseTotals, hour_of};
use crate::domain::monitoring::schedule::hash;
use crate::domain::monitoring::severity::Severity;

/// Days of history.
const REACH: i64 = 90;
/// Days ago without monitoring.
const AWAY: [i64; 2] = [52, 51];
/// Monitors, and the number of days since their start.
const SINCE: [(&str, i64); 7] = [
    ("BigQuery", REACH),
    ("Epic Games", REACH),
    ("GitHub", REACH),
    ("MongoDB", REACH),
    ("OpenAI", REACH),
    ("Snowflake", REACH),
    (LATE, 34),
];
/// The monitor of the age of data.
const LATE: &str = "Visitor counts";

/// Monitor, days ago, minute of the day, duration in minutes, severity, description.
const INCIDENTS: [(&str, i64, i64, i64, Severity, &str); 18] = [
    ("Snowflake", 86, 612, 48, Severity::Minor, "Slow queries in EU Frankfurt"),
    ("GitHub", 81, 845, 35, Severity::Minor, "Delayed webhooks"),
    ("Epic Games", 77, 540, 180, Severity::Maintenance, "Weekly update of the store"),
    ("BigQuery", 71, 480, 64, Severity::Major, "Load jobs fail in Europe"),
    ("GitHub", 66, 923, 71, Severity::Major, "Pull requests cannot be merged"),
    ("MongoDB", 63, 130, 26, Severity::Minor, "Delayed metrics"),
    ("Epic Games", 49, 540, 150, Severity::Maintenance, "Weekly update of the store"),
    ("Epic Games", 44, 1010, 95, Severity::Critical, "No one can sign in"),
    ("Snowflake", 41, 388, 122, Severity::Major, "Warehouses do not start in US West"),
    ("GitHub", 33, 701, 22, Severity::Minor, "Actions start late"),
    (LATE, 29, 415, 240, Severity::Minor, "no new data since the night, expected every 30 min"),
    ("Epic Games", 21, 540, 165, Severity::Maintenance, "Weekly update of the store"),
    ("OpenAI", 19, 955, 38, Severity::Minor, "Slow answers of the API"),
    ("MongoDB", 18, 1190, 57, Severity::Minor, "Backups are delayed"),
    ("Snowflake", 12, 745, 33, Severity::Minor, "Slow queries in US West"),
    ("GitHub", 9, 860, 44, Severity::Minor, "Slow searches"),
    (LATE, 6, 70, 120, Severity::Minor, "no new data since midnight, expected every 30 min"),
    ("Epic Games", 3, 540, 140, Severity::Maintenance, "Weekly update of the store"),
];

/// The history as it would have been saved up to `now`. The descriptions say that it is simulated.
pub fn past(now: Timestamp) -> (DayTotals, Vec<Transition>) {
    let today = date_of(now);
    let mut days = DayTotals::new();
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
    for (monitor, back, minute, minutes, severity, text) in INCIDENTS {
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
            description: format!("{description} (simulated)"),
        };
        transitions.push(change(0, Severity::None, severity, text));
        let well = if monitor == LATE { "data is fresh" } else { "All Systems Operational" };
        transitions.push(change(minutes, severity, Severity::None, well));
    }
    transitions.sort_by_key(|change| change.at);
    (days, transitions)
}

/// Response times of the last days up to `now`: slower by day than by night, with a few failed polls.
pub fn past_responses(now: Timestamp) -> ResponseTotals {
    let mut totals = ResponseTotals::new();
    for (monitor, _) in SINCE.into_iter().filter(|(monitor, _)| *monitor != LATE) {
        let usual = 60 + hash(monitor) % 90;
        for back in 1..KEEP_RESPONSE_DAYS * 24 {
            let Ok(at) = now.checked_sub(SignedDuration::from_hours(back)) else { continue };
            let (date, hour) = hour_of(at);
            let by_day = usual * u64::from(12 - hour.abs_diff(14).min(12)) / 12;
            let day = totals.entry((monitor.to_owned(), date)).or_default();
            let polls = day.0.entry(hour).or_default();
            for minute in 0..60 {
                let chance = hash(&format!("{monitor} {date} {hour} {minute}"));
                let late = if chance.is_multiple_of(37) { usual * 4 } else { 0 };
                let ms = usual + by_day + chance % 40 + late;
                polls.record(Duration::from_millis(ms), !chance.is_multiple_of(2_003));
            }
        }
    }
    totals
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::monitoring::history::uptime;

    /// Every incident lies within a monitored day and ends before the demo starts. It is the worst severity of its day.
    #[test]
    fn the_history_is_consistent() {
        let now: Timestamp = "2026-05-04T00:00:01Z".parse().unwrap();
        let (days, transitions) = past(now);
        assert_eq!(transitions.len(), 2 * INCIDENTS.len());
        assert!(transitions.iter().all(|change| change.at < now));
        for start in transitions.iter().filter(|change| change.to > Severity::None) {
            let day = days[&(start.monitor.clone(), date_of(start.at))];
            assert_eq!((day.worst(), day.watched()), (Some(start.to), 86_400_000), "{start:?}");
        }
        let share = uptime(days.values()).unwrap();
        assert!((0.99..1.0).contains(&share), "{share}");
        assert!(!days.contains_key(&("GitHub".to_owned(), days_before(date_of(now), AWAY[0]))));
    }
}
