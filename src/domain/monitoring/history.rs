//! History by days: how long a monitor was watched on each day, and at which severity.
//!
//! Only the time between two consecutive polls counts as watched, and only if the first one gave a reading
//! and the second came in time. The rest is a gap, which never counts as healthy. Start at [`WatchedSince`];
//! single changes are [`Transition`](super::assess::Transition)s.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::severity::Severity;

/// One day (UTC) of one monitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Day {
    /// Milliseconds at each severity, in the order of [`Severity::ALL`].
    pub at: [u32; Severity::ALL.len()],
}

/// A day of a monitor, as stored.
pub type MonitorDay = (String, Date, Day);

/// A selection of transitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Of one monitor; `None`: of all.
    pub monitor: Option<String>,
    /// The first moment.
    pub from: Timestamp,
    /// The moment after the last.
    pub to: Timestamp,
    /// Maximum number; the newest are selected.
    pub limit: usize,
}

/// Days by monitor and date, to be added to the stored ones.
pub type DayTotals = BTreeMap<(String, Date), Day>;

impl Day {
    pub fn watched(&self) -> u64 {
        self.at.iter().copied().map(u64::from).sum()
    }

    /// The worst severity of the day; `None` if it was not watched.
    pub fn worst(&self) -> Option<Severity> {
        Severity::ALL.into_iter().zip(self.at).rev().find(|(_, ms)| *ms > 0).map(|(severity, _)| severity)
    }

    /// Milliseconds without an incident. Maintenance is not an incident.
    pub fn up(&self) -> u64 {
        u64::from(self.at[Severity::None as usize]) + u64::from(self.at[Severity::Maintenance as usize])
    }

    /// Adds the time of another part of the same day.
    pub fn add(&mut self, other: &Day) {
        for (mine, theirs) in self.at.iter_mut().zip(other.at) {
            *mine = mine.saturating_add(theirs);
        }
    }
}

/// The share (0 to 1) of the watched time without an incident; `None` if nothing was watched.
pub fn uptime<'a>(days: impl IntoIterator<Item = &'a Day>) -> Option<f64> {
    let (mut up, mut watched) = (0, 0);
    for day in days {
        (up, watched) = (up + day.up(), watched + day.watched());
    }
    (watched > 0).then(|| up as f64 / watched as f64)
}

/// Counts the time of one monitor from poll to poll.
#[derive(Debug, Clone, Copy, Default)]
pub struct WatchedSince(Option<(Timestamp, Severity)>);

impl WatchedSince {
    /// Records a poll at `at` after which the monitor's severity is `severity` (`None`: no reading). Adds the
    /// time since the previous poll, if that one gave a reading and is at most `longest` ago.
    pub fn look(
        &mut self,
        monitor: &str,
        at: Timestamp,
        severity: Option<Severity>,
        longest: Duration,
        days: &mut DayTotals,
    ) {
        let before = std::mem::replace(&mut self.0, severity.map(|severity| (at, severity)));
        if let Some((from, severity)) = before {
            let passed = Duration::try_from(at.duration_since(from)).unwrap_or_default();
            if passed <= longest {
                spread(monitor, from, at, severity, days);
            }
        }
    }
}

/// Adds the time between two moments to the days on which it falls.
fn spread(monitor: &str, mut from: Timestamp, to: Timestamp, severity: Severity, days: &mut DayTotals) {
    while from < to {
        let date = date_of(from);
        let end = next_midnight(date).min(to);
        // A day is 86.4 million milliseconds.
        let ms = u32::try_from(end.duration_since(from).as_millis()).unwrap_or(u32::MAX);
        let mut part = Day::default();
        part.at[severity as usize] = ms;
        days.entry((monitor.to_owned(), date)).or_default().add(&part);
        from = end;
    }
}

pub fn date_of(at: Timestamp) -> Date {
    TimeZone::UTC.to_datetime(at).date()
}

fn next_midnight(date: Date) -> Timestamp {
    let midnight = date.tomorrow().ok().and_then(|next| next.to_zoned(TimeZone::UTC).ok());
    midnight.map_or(Timestamp::MAX, |zoned| zoned.timestamp())
}

/// The first moment of a day (UTC).
pub fn begin_of(date: Date) -> Timestamp {
    let zoned = date.to_zoned(TimeZone::UTC);
    zoned.map_or(Timestamp::MIN, |zoned| zoned.timestamp())
}

pub fn days_before(date: Date, days: i64) -> Date {
    date.checked_sub(SignedDuration::from_hours(24 * days)).unwrap_or(Date::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn shown(days: &DayTotals) -> Vec<String> {
        days.iter().map(|((name, date), day)| format!("{name} {date} {:?}", day.at)).collect()
    }

    /// Time counts at the severity at its start, on the day on which it falls. It does not count after a poll
    /// without a reading, or after a gap.
    #[test]
    fn counts_only_watched_time() {
        let (mut counted, mut days) = (WatchedSince::default(), DayTotals::new());
        let longest = Duration::from_secs(130);
        for (moment, severity) in [
            ("2026-05-01T23:58:30Z", Some(Severity::None)),
            ("2026-05-01T23:59:30Z", Some(Severity::Major)),
            ("2026-05-02T00:00:30Z", None),
            ("2026-05-02T00:01:30Z", Some(Severity::Major)),
            ("2026-05-02T00:02:30Z", Some(Severity::None)),
            ("2026-05-02T01:00:00Z", Some(Severity::None)),
            ("2026-05-02T00:30:00Z", Some(Severity::None)),
        ] {
            counted.look("A", at(moment), severity, longest, &mut days);
        }
        assert_eq!(
            shown(&days),
            ["A 2026-05-01 [60000, 0, 0, 30000, 0]", "A 2026-05-02 [0, 0, 0, 90000, 0]"]
        );
    }

    /// Time that was not watched affects neither the worst severity of a day nor its uptime.
    #[test]
    fn judges_days() {
        let day = |at| Day { at };
        assert_eq!(day([0; 5]).worst(), None);
        assert_eq!(day([5, 0, 0, 0, 0]).worst(), Some(Severity::None));
        assert_eq!(day([5, 0, 1, 0, 0]).worst(), Some(Severity::Minor));
        assert_eq!(uptime(&[day([0; 5])]), None);
        assert_eq!(uptime(&[day([60, 20, 0, 0, 0]), day([0, 0, 10, 5, 5])]), Some(0.8));
    }

    proptest! {
        /// No day has more time than a day, and all of it is time between polls.
        #[test]
        fn no_time_is_made_up(steps in proptest::collection::vec((0i64..200_000, 0usize..6), 1..40)) {
            let (mut counted, mut days) = (WatchedSince::default(), DayTotals::new());
            let (mut now, mut want, mut readable) = (at("2026-05-01T00:00:00Z"), 0u64, false);
            for (ms, severity) in steps {
                now = now.checked_add(SignedDuration::from_millis(ms)).unwrap();
                let severity = Severity::ALL.get(severity).copied();
                counted.look("A", now, severity, Duration::from_secs(150), &mut days);
                if readable && ms <= 150_000 { want += ms as u64; }
                readable = severity.is_some();
            }
            prop_assert!(days.values().all(|day| day.watched() <= 86_400_000));
            prop_assert_eq!(days.values().map(Day::watched).sum::<u64>(), want);
        }
    }
}
