//! Values as people read them on a page: times, durations, counts, texts from status pages and sources.
//!
//! Every external text goes through [`clean`]; the template escapes it.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};

use super::status::MonitorStatus;
use crate::domain::monitoring::observation::Link;
use crate::domain::text;

/// Longest external text in a line of a page, in characters.
pub(in crate::web) const LINE: usize = 300;

/// One plain line of at most `max` characters.
pub(in crate::web) fn clean(text: &str, max: usize) -> String {
    text::shorten(&text::plain(text), max).into_owned()
}

/// An icon whose shape differs by class as its color does; the label stands beside it.
pub(in crate::web) fn mark(class: &str) -> Markup {
    html! { svg class={ "mark " (class) } aria-hidden="true" viewBox="0 0 24 24" { use href={ "#mark-" (class) } {} } }
}

/// Icon and label.
pub(in crate::web) fn badge(status: MonitorStatus) -> Markup {
    html! { span class={ "badge " (status.class()) } { (mark(status.class())) (status.label()) } }
}

/// `12 s`, `5 min`, `3 h 20 min`, `4 d 2 h`.
pub(in crate::web) fn span(length: Duration) -> String {
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

/// The time from one moment to another; zero if `to` is earlier.
pub(in crate::web) fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

/// A short duration: `84 ms`, `2.4 s`, `3 min`.
pub(in crate::web) fn brief(length: Duration) -> String {
    match length.as_millis() {
        ms @ 0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{:.1} s", length.as_secs_f64()),
        _ => span(length),
    }
}

/// `2026-05-02 09:14 UTC`.
pub(in crate::web) fn utc(at: Timestamp) -> String {
    TimeZone::UTC.to_datetime(at).strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// A time in full.
pub(in crate::web) fn moment(at: Timestamp) -> Markup {
    html! { time datetime=(format!("{at:.0}")) { (utc(at)) } }
}

/// How long ago; the script keeps it current.
pub(in crate::web) fn ago(now: Timestamp, at: Timestamp) -> Markup {
    html! { time datetime=(format!("{at:.0}")) title=(utc(at)) data-age="ago" { (span(between(at, now))) " ago" } }
}

pub(in crate::web) fn lasting(now: Timestamp, since: Timestamp) -> Markup {
    html! { time datetime=(format!("{since:.0}")) title={ "since " (utc(since)) } data-age="for" { (span(between(since, now))) } }
}

pub(in crate::web) fn ahead(now: Timestamp, at: Timestamp) -> Markup {
    let late = at <= now;
    html! {
        time datetime=(format!("{at:.0}")) title=(utc(at)) data-age="in" {
            @if late { "now" } @else { "in " (span(between(now, at))) }
        }
    }
}

pub(in crate::web) fn before(now: Timestamp, hours: i64) -> Timestamp {
    now.checked_sub(SignedDuration::from_hours(hours)).unwrap_or(Timestamp::MIN)
}

/// `12,345`.
pub(in crate::web) fn count(number: u64) -> String {
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
pub(in crate::web) fn some(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// A ratio as a percentage that never rounds up to 100.
pub(in crate::web) fn percent(share: f64) -> String {
    let percent = (share * 10_000.0).floor() / 100.0;
    if percent >= 100.0 { "100 %".to_owned() } else { format!("{percent:.2} %") }
}

/// A link to another site, if [`Link::checked`] accepts its address.
pub(in crate::web) fn outside(url: &str, words: &str) -> Option<Markup> {
    let link = Link::checked(url, "")?;
    Some(html! { a href=(link.url) rel="noopener noreferrer nofollow" { (clean(words, Link::MAX_LABEL)) } })
}

/// A path on this server whose last segment is any text.
pub(in crate::web) fn path(folder: &str, name: &str) -> String {
    format!("/{folder}/{}", text::path_segment(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_counts_and_percentages_are_readable_at_every_size() {
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

    #[test]
    fn only_web_addresses_become_links() {
        assert!(outside("javascript:alert(1)", "x").is_none());
        let link = outside("https://status.acme.test/?a=\"b\"", "<i>read\u{202e}</i>").unwrap().into_string();
        assert_eq!(
            link,
            "<a href=\"https://status.acme.test/?a=%22b%22\" rel=\"noopener noreferrer nofollow\">&lt;i&gt;read&lt;/i&gt;</a>"
        );
    }
}
