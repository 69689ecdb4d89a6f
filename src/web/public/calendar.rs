//! `/maintenances.ics`: maintenances on the monitored status pages, as a calendar to subscribe to (RFC 5545).
//!
//! Start at [`get`]; [`write()`] is pure.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::domain::monitoring::schedule::hash;
use crate::domain::monitoring::severity::Severity;
use crate::runtime::board::{Board, MonitorView};
use crate::web::state::WebState;

/// Maximum bytes in a line, without CRLF (RFC 5545, 3.1).
const LINE: usize = 75;

/// One maintenance on one status page.
#[derive(Debug, Clone, PartialEq, Default)]
struct PlannedWork {
    monitor: String,
    title: String,
    stage: String,
    begins: Timestamp,
    ends: Option<Timestamp>,
    update: String,
    url: Option<String>,
}

pub(in crate::web) async fn get(State(state): State<WebState>) -> Response {
    let planned = state.board.read(planned);
    ([(header::CONTENT_TYPE, "text/calendar; charset=utf-8")], write(&planned)).into_response()
}

/// All known maintenances, by start.
fn planned(board: &Board) -> Vec<PlannedWork> {
    let mut all: Vec<PlannedWork> =
        board.monitors.iter().flat_map(|(name, view)| maintenances_of(name, view)).collect();
    all.sort_by(|a, b| (a.begins, &a.monitor, &a.title).cmp(&(b.begins, &b.monitor, &b.title)));
    all
}

/// Announced maintenances; without announcements, a maintenance in progress.
fn maintenances_of(name: &str, view: &MonitorView) -> Vec<PlannedWork> {
    let events = view.open.iter().flatten().filter(|event| event.planned);
    let announced: Vec<PlannedWork> = events
        .filter_map(|event| {
            Some(PlannedWork {
                monitor: name.to_owned(),
                title: event.title.clone(),
                stage: event.state.clone(),
                begins: event.begins?,
                ends: event.ends.filter(|ends| Some(*ends) > event.begins),
                update: event.update.clone(),
                url: event.link.as_ref().map(|link| link.url.clone()),
            })
        })
        .collect();
    let now =
        view.state.since.filter(|_| announced.is_empty() && view.state.severity == Severity::Maintenance);
    let now = now.map(|begins| PlannedWork {
        monitor: name.to_owned(),
        title: view.state.description.clone(),
        stage: "in progress".into(),
        begins,
        url: view.state.link.as_ref().map(|link| link.url.clone()),
        ..PlannedWork::default()
    });
    announced.into_iter().chain(now).collect()
}

fn write(planned: &[PlannedWork]) -> String {
    let mut out = FoldedLines(String::new());
    for line in [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//data-sources-monitor//maintenances//EN",
        "CALSCALE:GREGORIAN",
        "METHOD:PUBLISH",
        "X-WR-CALNAME:Maintenances",
        "REFRESH-INTERVAL;VALUE=DURATION:PT15M",
        "X-PUBLISHED-TTL:PT15M",
    ] {
        out.line(line);
    }
    let planned: Vec<&PlannedWork> = planned.iter().filter(|one| writable(one.begins)).collect();
    for one in &planned {
        event(&mut out, one);
    }
    if planned.is_empty() {
        // A calendar must have a component, and a time zone is not displayed.
        for line in ["BEGIN:VTIMEZONE", "TZID:Etc/UTC", "BEGIN:STANDARD", "DTSTART:19700101T000000"] {
            out.line(line);
        }
        for line in ["TZOFFSETFROM:+0000", "TZOFFSETTO:+0000", "END:STANDARD", "END:VTIMEZONE"] {
            out.line(line);
        }
    }
    out.line("END:VCALENDAR");
    out.0
}

fn event(out: &mut FoldedLines, one: &PlannedWork) {
    let begins = utc(one.begins);
    // The id is stable when end or description change; a rescheduled maintenance gets a new one.
    let uid = format!("{}\n{}\n{begins}", one.monitor, one.title);
    out.line("BEGIN:VEVENT");
    out.line(&format!("UID:{:016x}@data-sources-monitor", hash(&uid)));
    // Status pages do not state it, and the current time would change every response.
    out.line(&format!("DTSTAMP:{begins}"));
    out.line(&format!("DTSTART:{begins}"));
    if let Some(ends) = one.ends.filter(|ends| writable(*ends)) {
        out.line(&format!("DTEND:{}", utc(ends)));
    }
    out.line(&format!("SUMMARY:{}", escaped(&format!("{}: {}", one.monitor, one.title))));
    let words: Vec<&str> = [&*one.stage, &*one.update].into_iter().filter(|text| !text.is_empty()).collect();
    if !words.is_empty() {
        out.line(&format!("DESCRIPTION:{}", escaped(&words.join(": "))));
    }
    if let Some(url) = &one.url {
        out.line(&format!("URL:{}", url.replace(['\r', '\n'], "")));
    }
    out.line("TRANSP:TRANSPARENT");
    out.line("END:VEVENT");
}

/// The format has four-digit years: clients reject a whole calendar for one invalid date.
fn writable(at: Timestamp) -> bool {
    (1..=9999).contains(&TimeZone::UTC.to_datetime(at).year())
}

/// `20260502T091500Z`.
fn utc(at: Timestamp) -> String {
    TimeZone::UTC.to_datetime(at).strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// A TEXT value: special characters are escaped, control characters removed.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.replace("\r\n", "\n").chars() {
        match c {
            '\\' | ';' | ',' => out.extend(['\\', c]),
            '\n' | '\r' => out.push_str("\\n"),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

/// Content lines: end with CRLF and are folded at [`LINE`] bytes, never within a character.
struct FoldedLines(String);

impl FoldedLines {
    fn line(&mut self, mut line: &str) {
        let mut room = LINE;
        while line.len() > room {
            let cut = line.floor_char_boundary(room);
            self.0.push_str(&line[..cut]);
            self.0.push_str("\r\n ");
            line = &line[cut..];
            // The leading space counts.
            room = LINE - 1;
        }
        self.0.push_str(line);
        self.0.push_str("\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn planned(title: &str) -> PlannedWork {
        PlannedWork {
            monitor: "Acme, Inc.".into(),
            title: title.into(),
            stage: "scheduled".into(),
            begins: "2026-05-02T22:00:00Z".parse().unwrap(),
            ends: Some("2026-05-03T01:30:00Z".parse().unwrap()),
            update: "We move\nthe disks; all of them".into(),
            url: Some("https://stspg.io/abc".into()),
        }
    }

    /// As a calendar client parses it: lines unfolded, values unescaped.
    fn read(text: &str) -> Vec<(String, String)> {
        let unfolded = text.replace("\r\n ", "");
        let lines = unfolded.strip_suffix("\r\n").unwrap().split("\r\n");
        lines.map(|line| line.split_once(':').map(|(k, v)| (k.to_owned(), unescaped(v))).unwrap()).collect()
    }

    fn unescaped(value: &str) -> String {
        let (mut out, mut chars) = (String::new(), value.chars());
        while let Some(c) = chars.next() {
            match c {
                '\\' => out.push(match chars.next().unwrap() {
                    'n' | 'N' => '\n',
                    c => c,
                }),
                c => out.push(c),
            }
        }
        out
    }

    #[test]
    fn as_subscribed() {
        insta::assert_snapshot!(write(&[planned("Storage upgrade")]).replace("\r\n", "\n"));
        let empty = write(&[]);
        assert!(empty.contains("BEGIN:VTIMEZONE\r\n") && !empty.contains("VEVENT"));
    }

    #[test]
    fn events_with_unrepresentable_dates_are_omitted() {
        let early = PlannedWork { begins: "-000500-01-01T00:00:00Z".parse().unwrap(), ..planned("early") };
        let text = write(&[early.clone(), planned("good")]);
        assert!(!text.contains("early") && text.contains("DTSTART:20260502T220000Z"), "{text}");
        let text = write(&[early]);
        assert!(text.contains("BEGIN:VTIMEZONE\r\n") && !text.contains("VEVENT"));
    }

    proptest! {
        #[test]
        fn any_title_is_folded_escaped_and_read_back(title in "[a-z;,:\\\\\"éß漢😀 ]{0,200}|(.|\n|\r){0,80}|(\r\nBEGIN:VEVENT|\r\n ){1,4}") {
            let text = write(&[planned(&title)]);
            for line in text.strip_suffix("\r\n").unwrap().split("\r\n") {
                prop_assert!(line.len() <= LINE, "{line}");
                prop_assert!(!line.contains(['\r', '\n']));
            }
            let read = read(&text);
            prop_assert_eq!(read.iter().filter(|(key, _)| key == "BEGIN").count(), 2);
            let shown = title.replace("\r\n", "\n").replace('\r', "\n");
            let shown: String = shown.chars().filter(|c| *c == '\n' || !c.is_control()).collect();
            let summary = read.iter().find(|(key, _)| key == "SUMMARY").unwrap();
            prop_assert_eq!(&summary.1, &format!("Acme, Inc.: {shown}"));
        }
    }
}
