//! The age of synced data as a reading.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::monitor::{DataStage, Freshness};
use super::observation::{Reading, Unknown};
use super::severity::Severity;

/// The reading for the age of a connector's data. `as_of` is the start of the run that it comes from, `every` the interval
/// between its runs if it is known. The description of late data does not depend on `now`, because each new text makes a
/// dismissed banner reappear for all users.
///
/// # Errors
/// [`Unknown::NoRun`] before the first complete run.
pub fn read(
    rule: &Freshness,
    as_of: Option<Timestamp>,
    every: Option<Duration>,
    now: Timestamp,
) -> Result<Reading, Unknown> {
    let since = as_of.ok_or(Unknown::NoRun)?;
    let age = Duration::try_from(now.duration_since(since)).unwrap_or(Duration::ZERO);
    if age <= rule.stale_after {
        return Ok(Reading::whole(Severity::None, "data is fresh".into(), None));
    }
    let since = TimeZone::UTC.to_datetime(since).strftime("%Y-%m-%d %H:%M UTC");
    let expected = interval(every.filter(|every| !every.is_zero()).unwrap_or(rule.stale_after));
    let place = match rule.stage {
        DataStage::Synced => "",
        DataStage::Qlik => " in Qlik",
    };
    let description = format!("no new data{place} since {since}, expected every {expected}");
    Ok(Reading::whole(rule.severity, description, None))
}

/// `10 s`, `15 min`, `1 h 30 min`, `2 d`.
fn interval(length: Duration) -> String {
    let seconds = length.as_secs();
    let units = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let Some(first) = units.iter().position(|(unit, _)| seconds >= *unit) else {
        return format!("{} ms", length.as_millis());
    };
    let mut text = format!("{} {}", seconds / units[first].0, units[first].1);
    if let Some((unit, name)) = units.get(first + 1) {
        let rest = seconds % units[first].0 / unit;
        if rest > 0 {
            text.push_str(&format!(" {rest} {name}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;

    fn rule(stale_after: Duration) -> Freshness {
        Freshness {
            connector: "statuscake".into(),
            stage: DataStage::Synced,
            stale_after,
            severity: Severity::Minor,
        }
    }

    /// The words stay the same while data gets later, also over midnight; before the first complete run the age is unknown.
    #[test]
    fn late_data_has_a_severity_and_words_that_do_not_change() {
        let rule = rule(Duration::from_secs(2 * 3600));
        let success: Timestamp = "2026-05-02T19:19:42Z".parse().unwrap();
        let every = Some(Duration::from_secs(900));
        let late = "no new data since 2026-05-02 19:19 UTC, expected every 15 min";
        for (minutes, want) in [
            (-180, (Severity::None, "data is fresh")),
            (5, (Severity::None, "data is fresh")),
            (120, (Severity::None, "data is fresh")),
            (121, (Severity::Minor, late)),
            (185, (Severity::Minor, late)),
            (60 * 11, (Severity::Minor, late)),
            (60 * 24 * 40, (Severity::Minor, late)),
        ] {
            let now = success.checked_add(SignedDuration::from_mins(minutes)).unwrap();
            let reading = read(&rule, Some(success), every, now).unwrap();
            assert_eq!((reading.severity, reading.description.as_str()), want, "{minutes}");
        }
        assert_eq!(read(&rule, None, every, success), Err(Unknown::NoRun));
    }

    /// From the connector's interval, else from the limit of the monitor.
    #[test]
    fn the_expected_interval_is_named() {
        let success = Timestamp::UNIX_EPOCH;
        let now = success.checked_add(SignedDuration::from_hours(9_000)).unwrap();
        for (stale_after, every, want) in [
            (7_200_000, None, "2 h"),
            (7_200_000, Some(0), "2 h"),
            (7_200_000, Some(900_000), "15 min"),
            (5_400_000, None, "1 h 30 min"),
            (18_000, None, "18 s"),
            (90_000, None, "1 min 30 s"),
            (600, None, "600 ms"),
            (172_800_000, None, "2 d"),
            (3_605_000, None, "1 h"),
        ] {
            let rule = rule(Duration::from_millis(stale_after));
            let reading = read(&rule, Some(success), every.map(Duration::from_millis), now).unwrap();
            let want = format!("no new data since 1970-01-01 00:00 UTC, expected every {want}");
            assert_eq!(reading.description, want);
        }
    }
}
