//! The runs of a connector as a table: how each ended, why, and what became of its rows.
//!
//! A reason stands on one line, in full behind it; failures that repeat stand once. Start at [`table`].

use std::time::Duration;

use maud::{Markup, html};

use super::connectors::{rows, took};
use super::words::{LINE, brief, clean, count, mark, moment, some};
use crate::domain::ledger::{Entry, Run};
use crate::domain::op::End;

/// Of a reason on one line, in characters; the rest is behind it.
const SHORT: usize = 60;

/// The newest run first; `running` says whether that one may still go on.
pub(super) fn table(runs: &[Run], running: bool) -> Markup {
    let lines: Vec<&[Run]> =
        runs.chunk_by(|a, b| repeats(a) && a.entry.end == b.entry.end && alike(a, b)).collect();
    html! {
        @if runs.is_empty() { p class="empty" { "No run yet." } } @else {
            div class="scroll" tabindex="0" role="group" aria-label="Runs, scrollable" { table class="stack" {
                thead { tr {
                    th scope="col" { "Run" } th scope="col" { "End" } th scope="col" { "Began" } th scope="col" class="number" { "Took" }
                    th scope="col" class="number" { "Rows" } th scope="col" class="number" { "Requests" }
                    th scope="col" class="number" { "Retries" } th scope="col" class="number" { "Waited" } th scope="col" { "By table" }
                } }
                tbody { @for (i, line) in lines.iter().enumerate() {
                    // Only the newest can be the one that goes on.
                    (row(&line[0], &line[1..], running && i == 0))
                } }
            } }
        }
    }
}

/// Whether the run may stand for those before it that went as it did.
fn repeats(run: &Run) -> bool {
    matches!(run.entry.end, Some(End::Failed | End::Deferred))
}

fn alike(a: &Run, b: &Run) -> bool {
    (&a.entry.reason, &a.entry.place) == (&b.entry.reason, &b.entry.place)
}

/// A run; `before` are those that it stands for, newest first.
fn row(run: &Run, before: &[Run], running: bool) -> Markup {
    let (class, number) = (class(run, running), run.number);
    html! {
        tr {
            th scope="row" { "#" (number) }
            td data-label="End" {
                span class={ "badge " (class) } { (mark(class)) (end(&run.entry, running)) }
                (why(&format!("why-{number}"), &run.entry))
                @if let Some(first) = before.last() {
                    p class="say" { "The same " (some(before.len() as u64, "time", "times")) " before, since #" (first.number) ", " (moment(first.started)) }
                }
            }
            td data-label="Began" { (moment(run.started)) }
            td class="number" data-label="Took" { (took(run).map_or("–".into(), brief)) }
            td class="number" data-label="Rows" { (count(rows(run))) }
            td class="number" data-label="Requests" { (count(run.entry.requests)) }
            td class="number" data-label="Retries" { (count(run.entry.retries)) }
            td class="number" data-label="Waited" { (waited(&run.entry)) }
            td data-label="By table" { (by_table(run, running)) }
        }
    }
}

/// How it ended; what has no end goes on, or was cut off by an end of the daemon.
fn end(entry: &Entry, running: bool) -> &'static str {
    entry.end.map_or(if running { "running" } else { "cut off" }, End::as_str)
}

fn class(run: &Run, running: bool) -> &'static str {
    match run.entry.end {
        Some(End::Complete) => "none",
        Some(End::Partial) => "minor",
        Some(End::Deferred) => "maintenance",
        Some(End::Failed) => "critical",
        None if running => "maintenance",
        None => "unknown",
    }
}

fn waited(entry: &Entry) -> String {
    if entry.waited_ms == 0 { "–".into() } else { brief(Duration::from_millis(entry.waited_ms)) }
}

/// The reason and the place; `id` keeps it open over updates of the page.
fn why(id: &str, entry: &Entry) -> Markup {
    let Some(reason) = &entry.reason else { return Markup::default() };
    let place = entry.place.as_ref().map(|place| format!(" (at {})", clean(place, LINE)));
    let full = clean(reason, LINE) + &place.unwrap_or_default();
    let short = clean(reason, SHORT);
    html! {
        @if short == full {
            p class="say" { (full) }
        } @else {
            details class="why" id=(id) { summary { (short) } p class="say" { (full) } }
        }
    }
}

fn by_table(run: &Run, running: bool) -> Markup {
    html! {
        @if !run.tables.is_empty() {
            details id={ "run-" (run.number) } {
                summary { (some(run.tables.len() as u64, "table", "tables")) }
                ul { @for (i, (table, entry)) in run.tables.iter().enumerate() {
                    @let t = &entry.tally;
                    li {
                        strong { (clean(table, LINE)) } ": " (end(entry, running)) ", " (count(t.seen)) " seen = "
                        (count(t.inserted)) " inserted + " (count(t.updated)) " updated + " (count(t.unchanged)) " unchanged + "
                        (count(t.duplicate)) " duplicate + " (count(t.rejected)) " rejected; " (count(t.deleted)) " deleted"
                        (why(&format!("why-{}-{i}", run.number), entry))
                    }
                } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(number: i64, end: Option<End>, reason: Option<&str>) -> Run {
        let started = jiff::Timestamp::from_second(number * 60).unwrap();
        let entry = Entry { end, reason: reason.map(str::to_owned), ..Entry::default() };
        Run { number, started, ended: end.map(|_| started), entry, tables: [].into() }
    }

    fn words(runs: &[Run], running: bool) -> Vec<&'static str> {
        let page = table(runs, running).into_string();
        let known = ["running", "cut off", "failed", "complete"];
        let ends = page.match_indices("</svg>").map(|(at, _)| {
            let rest = &page[at + "</svg>".len()..];
            known.into_iter().find(|word| rest.starts_with(word)).unwrap()
        });
        ends.collect()
    }

    /// Of runs without an end only the newest can go on, and only while a run goes on; the others were cut off.
    #[test]
    fn without_an_end() {
        let runs = [run(3, None, None), run(2, None, None), run(1, Some(End::Complete), None)];
        assert_eq!(words(&runs, true), ["running", "cut off", "complete"]);
        assert_eq!(words(&runs, false), ["cut off", "cut off", "complete"]);
        assert_eq!(words(&runs[2..], true), ["complete"]);
    }

    /// Failures that repeat stand once and say how often; a long reason stands on one line with the rest behind it.
    #[test]
    fn failures_that_repeat() {
        let long = "HTTP 503 ".repeat(30);
        let failed = |number| run(number, Some(End::Failed), Some(long.trim()));
        let runs = [failed(5), failed(4), failed(3), run(2, Some(End::Complete), None), failed(1)];
        assert_eq!(words(&runs, false), ["failed", "complete", "failed"]);
        let page = table(&runs, false).into_string();
        assert!(page.contains("The same 2 times before, since #3, "), "{page}");
        assert_eq!(page.matches(long.trim()).count(), 2, "{page}");
        assert_eq!(page.matches("HTTP…</summary>").count(), 2, "{page}");
    }
}
