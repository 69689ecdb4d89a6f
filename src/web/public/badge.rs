//! `/badge/NAME.svg` and `/badge/all.svg`: a severity as a small image for other pages.
//!
//! Gray means unknown, and the text says so. Unlike all other responses, badges may be embedded by other sites. Start at
//! [`one`]; [`draw`] is pure.

use std::time::Duration;

use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;

use crate::domain::monitoring::severity::Severity;
use crate::domain::text;
use crate::web::state::WebState;
use crate::web::view::status::{MonitorStatus, OverallStatus};

const ALL: &str = "all";
/// A status is up to a minute old anyway.
const CACHE: &str = "max-age=30";
/// Longest text on a side, in characters.
const MAX_TEXT: usize = 60;
/// White text has enough contrast on each of these colors.
const GREY: &str = "#5f6670";

#[derive(Debug, PartialEq)]
struct BadgeSide {
    text: String,
    colour: &'static str,
}

pub(in crate::web) async fn one(
    State(state): State<WebState>,
    Path(file): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    let now = state.clock.now();
    let known = file.strip_suffix(".svg");
    let name = known.unwrap_or(&file);
    let found = state.board.read(|board| match known? {
        ALL => Some(of_all(OverallStatus::of(board, now))),
        name => Some(of_one(MonitorStatus::of(board.monitors.get(name)?, board, now), now)),
    });
    let mut pairs = url::form_urlencoded::parse(query.as_deref().unwrap_or_default().as_bytes());
    let given = pairs.find(|(key, value)| key == "label" && !value.is_empty()).map(|(_, value)| value);
    let label = given.as_deref().unwrap_or(if known == Some(ALL) { "services" } else { name });
    let status = if found.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
    let side = found.unwrap_or_else(|| BadgeSide { text: "no such monitor".into(), colour: GREY });
    let headers = [
        (header::CONTENT_TYPE, "image/svg+xml"),
        (header::CACHE_CONTROL, CACHE),
        (HeaderName::from_static("cross-origin-resource-policy"), "cross-origin"),
    ];
    (status, headers, draw(label, &side)).into_response()
}

fn of_one(status: MonitorStatus, now: Timestamp) -> BadgeSide {
    match (status.known(), status.held()) {
        (Some(severity), _) => BadgeSide { text: word(severity).into(), colour: colour(severity) },
        (None, None) => BadgeSide { text: "unknown".into(), colour: GREY },
        (None, Some((severity, since))) => {
            let age = age(Duration::try_from(now.duration_since(since)).unwrap_or_default());
            let was = if severity > Severity::None { format!(", was {severity}") } else { String::new() };
            BadgeSide { text: format!("unknown for {age}{was}"), colour: GREY }
        }
    }
}

fn of_all(overall: OverallStatus) -> BadgeSide {
    let unknown = if overall.unknown > 0 { format!("{} unknown", overall.unknown) } else { String::new() };
    match overall.severity() {
        Some(severity) if unknown.is_empty() => {
            BadgeSide { text: word(severity).into(), colour: colour(severity) }
        }
        Some(severity) => {
            BadgeSide { text: format!("{}, {unknown}", word(severity)), colour: colour(severity) }
        }
        None if overall.total == 0 => BadgeSide { text: "no monitors".into(), colour: GREY },
        None => BadgeSide { text: unknown, colour: GREY },
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

/// Coarse, so that the image can be cached.
fn age(length: Duration) -> String {
    match length.as_secs() {
        0..60 => "a moment".to_owned(),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds @ 3600..86_400 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// `textLength` fits texts to their estimated widths, so that no font makes them overflow.
fn draw(label: &str, side: &BadgeSide) -> String {
    let clean = |text: &str| text::shorten(&text::plain(text), MAX_TEXT).into_owned();
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

/// Estimated width of a text in pixels, in the fonts and size used above.
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
        // Latin, Greek and Cyrillic; later characters are mostly wide.
        '\u{80}'..='\u{10ff}' => 73,
        _ => 115,
    }
}

/// For text or an attribute. Characters that XML forbids are removed.
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

    /// Unknown is gray whatever was before, and shows its age.
    #[test]
    fn each_status_has_a_text_and_a_color() {
        let side = |text: &str, colour| BadgeSide { text: text.into(), colour };
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
        let all = |worst, unknown, total| of_all(OverallStatus { worst, unknown, total }).text;
        assert_eq!(all(Severity::None, 0, 4), "operational");
        assert_eq!(all(Severity::None, 1, 4), "1 unknown");
        assert_eq!(all(Severity::Major, 1, 4), "major problem, 1 unknown");
        assert_eq!(all(Severity::None, 0, 0), "no monitors");
    }

    #[test]
    fn the_image_escapes_and_bounds_external_texts() {
        let side = BadgeSide { text: "operational".into(), colour: "#2c7a36" };
        insta::assert_snapshot!(draw("Snowflake", &side).replace("><", ">\n<"));
        let nasty = draw("</text><script>alert(\"1\")</script>\u{202e}&amp;\u{0}", &side);
        assert!(!nasty.contains("<script") && !nasty.contains('\u{202e}') && !nasty.contains("\"1\""));
        let long = draw(&"W".repeat(100_000), &side);
        assert!(long.len() < 2_000 && long.contains('…'), "{}", long.len());
    }
}
