//! The times of an engine.

use jiff::civil::DateTime;
use jiff::fmt::rfc2822;
use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::domain::monitoring::engine::{TimeFormat, TimeRules};

/// Larger numbers are milliseconds: 5,138 in seconds, 1973 in milliseconds.
const LARGEST_EPOCH: f64 = 1e11;

/// Zones of RFC 822 and their usual companions, in hours from UTC. The parser for RFC 2822 has to reject them.
const ZONES: [(&str, &str); 11] = [
    ("UT", "+0000"),
    ("UTC", "+0000"),
    ("GMT", "+0000"),
    ("EST", "-0500"),
    ("EDT", "-0400"),
    ("CST", "-0600"),
    ("CDT", "-0500"),
    ("MST", "-0700"),
    ("MDT", "-0600"),
    ("PST", "-0800"),
    ("PDT", "-0700"),
];

/// The time that a text means; `None` if it has none of the formats.
pub(in crate::poll) fn parse(text: &str, rules: &TimeRules) -> Option<Timestamp> {
    let text = text.trim();
    rules.formats.iter().find_map(|format| match format {
        TimeFormat::Rfc3339 => text.parse().ok(),
        TimeFormat::Rfc2822 => mail(text),
        TimeFormat::Epoch => epoch(text, 1.0),
        TimeFormat::EpochMs => epoch(text, 1000.0),
        TimeFormat::EpochAuto => {
            let large = text.parse::<f64>().ok()?.abs() >= LARGEST_EPOCH;
            epoch(text, if large { 1000.0 } else { 1.0 })
        }
        TimeFormat::Js => javascript(text),
        TimeFormat::Naive => {
            let zone = TimeZone::get(&rules.zone).ok()?;
            Some(text.parse::<DateTime>().ok()?.to_zoned(zone).ok()?.timestamp())
        }
    })
}

fn mail(text: &str) -> Option<Timestamp> {
    let (rest, zone) = text.rsplit_once(' ')?;
    let offset =
        ZONES.iter().find(|(name, _)| name.eq_ignore_ascii_case(zone)).map_or(zone, |(_, offset)| offset);
    let parser = rfc2822::DateTimeParser::new().relaxed_weekday(true);
    Some(parser.parse_zoned(format!("{rest} {offset}")).ok()?.timestamp())
}

fn epoch(text: &str, per_second: f64) -> Option<Timestamp> {
    let seconds = text.parse::<f64>().ok()? / per_second;
    Timestamp::UNIX_EPOCH.checked_add(SignedDuration::try_from_secs_f64(seconds).ok()?).ok()
}

/// `Tue Aug 04 2026 12:00:00 GMT+0200 (Central European Summer Time)`.
fn javascript(text: &str) -> Option<Timestamp> {
    let text = text.split(" (").next()?;
    BrokenDownTime::parse("%a %b %d %Y %H:%M:%S GMT%z", text).ok()?.to_timestamp().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_every_format() {
        use TimeFormat::{Epoch, EpochAuto, EpochMs, Js, Naive, Rfc2822, Rfc3339};
        let noon = "2026-08-04T12:00:00Z";
        for (format, text, want) in [
            (Rfc3339, "2026-08-04T14:00:00+02:00", Some(noon)),
            (Rfc3339, "2026-08-04", None),
            (Rfc2822, "Tue, 04 Aug 2026 12:00:00 GMT", Some(noon)),
            (Rfc2822, "Tue, 4 Aug 2026 05:00:00 PDT", Some(noon)),
            (Rfc2822, "Mon, 04 Aug 2026 12:00:00 +0000", Some(noon)),
            (Epoch, "1785844800", Some(noon)),
            (EpochMs, "1785844800000", Some(noon)),
            (EpochAuto, "1785844800", Some(noon)),
            (EpochAuto, "1785844800000", Some(noon)),
            (Js, "Tue Aug 04 2026 14:00:00 GMT+0200 (Central European Summer Time)", Some(noon)),
            (Naive, "2026-08-04T12:00:00", Some(noon)),
            (Naive, "2026-08-04 12:00:00.000", Some(noon)),
            (Epoch, "1e400", None),
            (Epoch, "NaN", None),
            (Rfc2822, "yesterday", None),
            (Naive, "", None),
        ] {
            let rules = TimeRules { formats: vec![format], zone: "UTC".into() };
            let read = parse(text, &rules).map(|time| time.to_string());
            assert_eq!(read.as_deref(), want, "{format:?} {text}");
        }
    }
}
