//! `/badge/NAME.svg` and `/badge/all.svg`: a severity as a small picture for other pages.
//!
//! Grey is unknown, and says so; it is never taken for good news. Pictures stand on other sites, so that these answers,
//! unlike all others, may be shown there. Start at [`one`]; [`draw`] is pure.

use std::time::Duration;

use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;

use super::Shown;
use super::view::{MonitorStatus, Overall};
use crate::domain::severity::Severity;
use crate::domain::text;

/// The name that stands for all monitors together.
const ALL: &str = "all";
/// A look is at most a minute old anyway.
const CACHE: &str = "max-age=30";
/// Longest text on a side, in characters.
const LONGEST: usize = 60;
/// White is read well on each of these.
const GREY: &str = "#5f6670";

/// A text and its colour.
#[derive(Debug, PartialEq)]
struct Side {
    text: String,
    colour: &'static str,
}

pub(super) async fn one(
    State(shown): State<Shown>,
    Path(file): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    let now = shown.clock.now();
    let known = file.strip_suffix(".svg");
    let name = known.unwrap_or(&file);
    let found = shown.board.read(|board| match known? {
        ALL => Some(of_all(Overall::of(board, now))),
        name => Some(of_one(MonitorStatus::of(board.monitors.get(name)?, board, now), now)),
    });
    let mut pairs = url::form_urlencoded::parse(query.as_deref().unwrap_or_default().as_bytes());
    let given = pairs.find(|(key, value)| key == "label" && !value.is_empty()).map(|(_, value)| value);
    let label = given.as_deref().unwrap_or(if known == Some(ALL) { "services" } else { name });
    let status = if found.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
    let side = found.unwrap_or_else(|| Side { text: "no such monitor".into(), colour: GREY });
    let headers = [
        (header::CONTENT_TYPE, "image/svg+xml"),
        (header::CACHE_CONTROL, CACHE),
        (HeaderName::from_static("cross-origin-resource-policy"), "cross-origin"),
    ];
    (status, headers, draw(label, &side)).into_response()
}

fn of_one(status: MonitorStatus, now: Timestamp) -> Side {
    match (status.known(), status.held()) {
        (Some(severity), _) => Side { text: word(severity).into(), colour: colour(severity) },
        (None, None) => Side { text: "unknown".into(), colour: GREY },
        (None, Some((severity, since))) => {
            let age = age(Duration::try_from(now.duration_since(since)).unwrap_or_default());
            let was = if severity > Severity::None { format!(", was {severity}") } else { String::new() };
            Side { text: format!("unknown for {age}{was}"), colour: GREY }
        }
    }
}

fn of_all(overall: Overall) -> Side {
    let unknown = if overall.unknown > 0 { format!("{} unknown", overall.unknown) } else { String::new() };
    match overall.severity() {
        Some(severity) if unknown.is_empty() => {
            Side { text: word(severity).into(), colour: colour(severity) }
        }
        Some(severity) => Side { text: format!("{}, {unknown}", word(severity)), colour: colour(severity) },
        None if overall.total == 0 => Side { text: "nothing watched".into(), colour: GREY },
        None => Side { text: unknown, colour: GREY },
    }
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::None => "operational",
        Severity::Maintenance => "maintenance",
        Severity::Minor => "minor problem",
        Severity::Major => "major problem",
        Severity::Critical => "critical problem",
    }
}

fn colour(severity: Severity) -> &'static str {
    match severity {
        Severity::None => "#2c7a36",
        Severity::Maintenance => "#1f5fa8",
        Severity::Minor => "#8a6100",
        Severity::Major => "#b8430b",
        Severity::Critical => "#b3141f",
    }
}

/// Coarse, so that the picture stays the same for a while.
fn age(length: Duration) -> String {
    match length.as_secs() {
        0..60 => "a moment".to_owned(),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds @ 3600..86_400 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// The picture. Texts are stretched to the estimated widths, so that no font makes them leave their side.
fn draw(label: &str, side: &Side) -> String {
    let clean = |text: &str| text::shorten(&text::plain(text), LONGEST).into_owned();
    let (label, words) = (clean(label), clean(&side.text));
    let (left, right) = (width(&label), width(&words));
    let (first, whole) = (left + 10, left + right + 20);
    let (label, words, colour) = (escaped(&label), escaped(&words), side.colour);
    let text = |x: u32, length: u32, words: &str| {
        format!(
            r#"<text x="{x}" y="14" textLength="{length}" lengthAdjust="spacingAndGlyphs">{words}</text>"#
        )
    };
    format!(
        concat!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" width="{whole}" height="20" role="img" aria-label="{label}: {words}">"#,
            r#"<title>{label}: {words}</title><clipPath id="c"><rect width="{whole}" height="20" rx="3"/></clipPath>"#,
            r##"<g clip-path="url(#c)"><rect width="{first}" height="20" fill="#3b3f46"/>"##,
            r#"<rect x="{first}" width="{second}" height="20" fill="{colour}"/></g>"#,
            r##"<g fill="#fff" font-family="Verdana,DejaVu Sans,Geneva,sans-serif" font-size="11">{a}{b}</g></svg>"##,
        ),
        whole = whole,
        first = first,
        second = right + 10,
        label = label,
        words = words,
        colour = colour,
        a = text(5, left, &label),
        b = text(first + 5, right, &words),
    )
}

/// Pixels that a text takes, about, in the fonts named above at their size.
fn width(text: &str) -> u32 {
    let tenths: u32 = text.chars().map(tenths).sum();
    tenths.div_ceil(10).max(1)
}

fn tenths(c: char) -> u32 {
    match c {
        'i' | 'j' | 'l' | '\'' | '|' => 30,
        ' ' | '.' | ',' | ':' | ';' | 'f' | 't' | 'r' | '!' | 'I' | '/' | '\\' | '(' | ')' | '[' | ']'
        | '-' => 43,
        'm' | 'w' | 'M' | 'W' | '@' | '%' | '—' => 107,
        'a'..='z' | '0'..='9' | 'J' | 'L' | '_' => 67,
        'A'..='Z' | '&' | '+' | '=' | '<' | '>' | '~' | '#' => 78,
        c if c.is_ascii() => 67,
        // Letters of Latin, Greek and Cyrillic; what comes after is wide as a rule.
        '\u{80}'..='\u{10ff}' => 73,
        _ => 115,
    }
}

/// For a text or an attribute. What may not stand in XML at all goes.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\u{fffe}' | '\u{ffff}' => {}
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// Each state has its words and its colour; what is unknown is grey whatever was before, and tells its age.
    #[test]
    fn words_and_colours() {
        let side = |text: &str, colour| Side { text: text.into(), colour };
        for (status, want) in [
            (MonitorStatus::Known(Severity::None), side("operational", "#2c7a36")),
            (MonitorStatus::Known(Severity::Critical), side("critical problem", "#b3141f")),
            (MonitorStatus::Pending, side("unknown", GREY)),
            (MonitorStatus::Stale(Severity::None, at(0)), side("unknown for 3 h", GREY)),
            (
                MonitorStatus::Unreadable(Severity::Major, at(3 * 3600 - 120)),
                side("unknown for 2 min, was major", GREY),
            ),
        ] {
            assert_eq!(of_one(status, at(3 * 3600)), want);
        }
        let all = |worst, unknown, total| of_all(Overall { worst, unknown, total }).text;
        assert_eq!(all(Severity::None, 0, 4), "operational");
        assert_eq!(all(Severity::None, 1, 4), "1 unknown");
        assert_eq!(all(Severity::Major, 1, 4), "major problem, 1 unknown");
        assert_eq!(all(Severity::None, 0, 0), "nothing watched");
    }

    /// The picture, whole; texts from outside cannot leave their places.
    #[test]
    fn the_picture() {
        let side = Side { text: "operational".into(), colour: "#2c7a36" };
        insta::assert_snapshot!(draw("Snowflake", &side).replace("><", ">\n<"));
        let nasty = draw("</text><script>alert(\"1\")</script>\u{202e}&amp;\u{0}", &side);
        assert!(!nasty.contains("<script") && !nasty.contains('\u{202e}') && !nasty.contains("\"1\""));
        let long = draw(&"W".repeat(100_000), &side);
        assert!(long.len() < 2_000 && long.contains('…'), "{}", long.len());
    }
}
