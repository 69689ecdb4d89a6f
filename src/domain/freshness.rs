//! Late data as a reading like any other.

use std::time::Duration;

use jiff::Timestamp;

use super::monitor::Freshness;
use super::observation::{Reading, Unknown};
use super::severity::Severity;

/// Ages that are told apart, in hours. Coarse on purpose: each new text makes the banner reappear for everybody.
const HOURS: [u64; 12] = [1, 2, 3, 4, 6, 8, 12, 18, 24, 48, 72, 168];
/// The same below an hour, in minutes; so young only where a rule is stricter than an hour.
const MINUTES: [u64; 5] = [1, 5, 15, 30, 45];

/// What the age of a connector's data says; `last_success` is the start of its last complete run.
///
/// # Errors
/// [`Unknown::NoRun`] before the first complete run.
pub fn read(rule: &Freshness, last_success: Option<Timestamp>, now: Timestamp) -> Result<Reading, Unknown> {
    let age = now.duration_since(last_success.ok_or(Unknown::NoRun)?);
    let age = Duration::try_from(age).unwrap_or(Duration::ZERO);
    let late = age > rule.stale_after;
    let severity = if late { rule.severity } else { Severity::None };
    let description = if late { format!("data is {} old", words(age)) } else { "data is fresh".into() };
    Ok(Reading::whole(severity, description, None))
}

fn words(age: Duration) -> String {
    let minutes = age.as_secs() / 60;
    let reached = |steps: &[u64], number: u64| steps.iter().rev().find(|step| **step <= number).copied();
    match (reached(&HOURS, minutes / 60), reached(&MINUTES, minutes)) {
        (Some(hours), _) if hours > 24 => format!("{} days", hours / 24),
        (Some(hours), _) => format!("{hours} h"),
        (None, Some(minutes)) => format!("{minutes} min"),
        (None, None) => "less than a minute".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Late data gets its severity and an age in coarse steps; before any run nothing is known.
    #[test]
    fn reads_ages() {
        let rule = Freshness {
            connector: "statuscake".into(),
            stale_after: Duration::from_secs(2 * 3600),
            severity: Severity::Minor,
        };
        let now: Timestamp = "2026-05-02T12:00:00Z".parse().unwrap();
        for (minutes, want) in [
            (5, (Severity::None, "data is fresh")),
            (120, (Severity::None, "data is fresh")),
            (121, (Severity::Minor, "data is 2 h old")),
            (185, (Severity::Minor, "data is 3 h old")),
            (60 * 11, (Severity::Minor, "data is 8 h old")),
            (60 * 60, (Severity::Minor, "data is 2 days old")),
        ] {
            let success = now.checked_sub(jiff::SignedDuration::from_mins(minutes)).unwrap();
            let reading = read(&rule, Some(success), now).unwrap();
            assert_eq!((reading.severity, reading.description.as_str()), want, "{minutes}");
        }
        let strict = Freshness { stale_after: Duration::from_secs(18), ..rule.clone() };
        for (seconds, want) in [(20, "less than a minute"), (61, "1 min"), (899, "5 min"), (3599, "45 min")] {
            let success = now.checked_sub(jiff::SignedDuration::from_secs(seconds)).unwrap();
            let told = read(&strict, Some(success), now).unwrap().description;
            assert_eq!(told, format!("data is {want} old"), "{seconds}");
        }
        assert_eq!(read(&rule, None, now), Err(Unknown::NoRun));
        let ahead = now.checked_add(jiff::SignedDuration::from_hours(3)).unwrap();
        assert_eq!(read(&rule, Some(ahead), now).unwrap().severity, Severity::None);
    }
}
