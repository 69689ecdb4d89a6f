//! Values as people read them on a page: times, spans, counts, severities, texts from upstream.
//!
//! Whatever comes from upstream goes through [`clean`]; the page's template escapes it.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};

use super::view::MonitorStatus;
use crate::domain::observation::Link;
use crate::domain::severity::Severity;
use crate::domain::text;

/// Longest text of upstream in a line of a page.
pub(super) const LINE: usize = 300;

/// One plain line of at most `max` characters, whatever it was.
pub(super) fn clean(text: &str, max: usize) -> String {
    text::shorten(&text::plain(text), max).into_owned()
}

/// A severity for people.
pub(super) fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::None => "Operational",
        Severity::Maintenance => "Maintenance",
        Severity::Minor => "Minor",
        Severity::Major => "Major",
        Severity::Critical => "Critical",
    }
}

/// A mark whose shape tells what its colour tells; the word stands beside it.
pub(super) fn mark(class: &str) -> Markup {
    html! { svg class={ "mark " (class) } aria-hidden="true" viewBox="0 0 24 24" { use href={ "#mark-" (class) } {} } }
}

/// Mark and word.
pub(super) fn badge(status: MonitorStatus) -> Markup {
    html! { span class={ "badge " (status.class()) } { (mark(status.class())) (status.label()) } }
}

/// `12 s`, `5 min`, `3 h 20 min`, `4 d 2 h`.
pub(super) fn span(length: Duration) -> String {
    let seconds = length.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |first: u64, unit: &str, second: u64, small: &str| match second {
        0 => format!("{first} {unit}"),
        _ => format!("{first} {unit} {second} {small}"),
    };
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, _) => two(hours, "h", minutes % 60, "min"),
        (1..=9, _, _) => two(days, "d", hours % 24, "h"),
        _ => format!("{days} d"),
    }
}

/// The time from one moment to another; nothing if it is the other way round.
pub(super) fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

/// A length of a few seconds with its parts: `84 ms`, `2.4 s`, `3 min`.
pub(super) fn brief(length: Duration) -> String {
    match length.as_millis() {
        ms @ 0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{:.1} s", length.as_secs_f64()),
        _ => span(length),
    }
}

/// `2026-05-02 09:14 UTC`.
pub(super) fn utc(at: Timestamp) -> String {
    TimeZone::UTC.to_datetime(at).strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// A moment in full.
pub(super) fn moment(at: Timestamp) -> Markup {
    html! { time datetime=(format!("{at:.0}")) { (utc(at)) } }
}

/// How long ago; the script keeps it true.
pub(super) fn ago(now: Timestamp, at: Timestamp) -> Markup {
    html! { time datetime=(format!("{at:.0}")) title=(utc(at)) data-age="ago" { (span(between(at, now))) " ago" } }
}

/// How long it has lasted.
pub(super) fn lasting(now: Timestamp, since: Timestamp) -> Markup {
    html! { time datetime=(format!("{since:.0}")) title={ "since " (utc(since)) } data-age="for" { (span(between(since, now))) } }
}

/// How long until then.
pub(super) fn ahead(now: Timestamp, at: Timestamp) -> Markup {
    let late = at <= now;
    html! {
        time datetime=(format!("{at:.0}")) title=(utc(at)) data-age="in" {
            @if late { "now" } @else { "in " (span(between(now, at))) }
        }
    }
}

/// A moment so long before another.
pub(super) fn before(now: Timestamp, hours: i64) -> Timestamp {
    now.checked_sub(SignedDuration::from_hours(hours)).unwrap_or(Timestamp::MIN)
}

/// `12,345`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 row`, `2 rows`.
pub(super) fn some(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// A share as a percentage that never rounds up to 100.
pub(super) fn percent(share: f64) -> String {
    let percent = (share * 10_000.0).floor() / 100.0;
    if percent >= 100.0 { "100 %".to_owned() } else { format!("{percent:.2} %") }
}

/// A link to another site, if its address may be followed.
pub(super) fn outside(url: &str, words: &str) -> Option<Markup> {
    let link = Link::checked(url, "")?;
    Some(html! { a href=(link.url) rel="noopener noreferrer nofollow" { (clean(words, Link::MAX_LABEL)) } })
}

/// A path of ours whose last part is any text.
pub(super) fn path(folder: &str, name: &str) -> String {
    let mut out = format!("/{folder}/");
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spans, counts and shares read well at every size, and nothing imperfect is called 100 %.
    #[test]
    fn reads_well() {
        for (seconds, want) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3_600, "1 h"),
            (3_665, "1 h 1 min"),
            (90_000, "1 d 1 h"),
            (20 * 86_400 + 5, "20 d"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), want);
        }
        assert_eq!(
            [count(0), count(999), count(1_000), count(12_345_678)],
            ["0", "999", "1,000", "12,345,678"]
        );
        assert_eq!([1.0, 0.999_999, 0.5].map(percent), ["100 %", "99.99 %", "50.00 %"]);
        assert_eq!(path("monitors", "a/b \"ü\"?"), "/monitors/a%2Fb%20%22%C3%BC%22%3F");
    }

    /// Only addresses that may stand in front of everybody become links.
    #[test]
    fn links_only_outwards() {
        assert!(outside("javascript:alert(1)", "x").is_none());
        let link = outside("https://status.acme.test/?a=\"b\"", "<i>read\u{202e}</i>").unwrap().into_string();
        assert_eq!(
            link,
            "<a href=\"https://status.acme.test/?a=%22b%22\" rel=\"noopener noreferrer nofollow\">&lt;i&gt;read&lt;/i&gt;</a>"
        );
    }
}
