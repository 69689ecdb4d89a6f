//! The run history of a connector as a table: outcome, reason, and row counts of each run.
//!
//! A long reason is shortened and expands on click; repeated failures share a line. Start at [`table`].

use std::time::Duration;

use maud::{Markup, html};

use super::connector_cards::{rows, took};
use crate::domain::syncing::op::End;
use crate::domain::syncing::run_history::{EXPORT, Entry, Run};
use crate::web::view::words::{LINE, brief, clean, count, mark, moment, some};

/// Characters of a reason before it is shortened.
const SHORT: usize = 60;

/// Newest run first; `running`: whether that run may still be running.
pub(super) fn table(runs: &[Run], running: bool) -> Markup {
    let lines: Vec<&[Run]> =
        runs.chunk_by(|a, b| repeats(a) && a.entry.end == b.entry.end && same_reason(a, b)).collect();
    html! {
        @if runs.is_empty() { p class="empty" { "No run yet." } } @else {
            div class="scroll" tabindex="0" role="group" aria-label="Runs, scrollable" { table class="stack" {
                thead { tr {
                    th scope="col" { "Run" } th scope="col" { "Outcome" } th scope="col" { "Started" } th scope="col" class="number" { "Took" }
                    th scope="col" class="number" { "Rows" } th scope="col" class="number" { "Requests" }
                    th scope="col" class="number" { "Retries" } th scope="col" class="number" { "Waited" } th scope="col" { "By table" }
                } }
                tbody { @for (i, line) in lines.iter().enumerate() {
                    // Only the newest run can still be running.
                    (row(&line[0], &line[1..], running && i == 0))
                } }
            } }
        }
    }
}

/// Whether equal earlier runs may be merged into this one's line.
fn repeats(run: &Run) -> bool {
    matches!(run.entry.end, Some(End::Failed | End::Deferred))
}

fn same_reason(a: &Run, b: &Run) -> bool {
    (&a.entry.reason, &a.entry.place) == (&b.entry.reason, &b.entry.place)
}

/// A run; `before` are the earlier runs merged into its line, newest first.
fn row(run: &Run, before: &[Run], running: bool) -> Markup {
    let (class, number) = (class(run, running), run.number);
    html! {
        tr {
            th scope="row" { "#" (number) }
            td data-label="Outcome" {
                span class={ "badge " (class) } { (mark(class)) (outcome(&run.entry, running)) }
                (reason_details(&format!("why-{number}"), &run.entry))
                @if let Some(first) = before.last() {
                    p class="say" { "Same outcome " (some(before.len() as u64, "time", "times")) " before, since #" (first.number) ", " (moment(first.started)) }
                }
            }
            td data-label="Started" { (moment(run.started)) }
            td class="number" data-label="Took" { (took(run).map_or("–".into(), brief)) }
            td class="number" data-label="Rows" { (count(rows(run))) }
            td class="number" data-label="Requests" { (count(run.entry.requests)) }
            td class="number" data-label="Retries" { (count(run.entry.retries)) }
            td class="number" data-label="Waited" { (waited(&run.entry)) }
            td data-label="By table" { (by_table(run, running)) }
        }
    }
}

/// A run without an outcome is running, or the daemon stopped during it.
fn outcome(entry: &Entry, running: bool) -> &'static str {
    entry.end.map_or(if running { "running" } else { "interrupted" }, End::as_str)
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

/// The reason and where it occurred; `id` keeps it expanded when the page updates.
fn reason_details(id: &str, entry: &Entry) -> Markup {
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
                        strong { (clean(table, LINE)) } ": " (outcome(entry, running)) ", " (count(t.seen)) " seen = "
                        (count(t.inserted)) " inserted + " (count(t.updated)) " updated + " (count(t.unchanged)) " unchanged + "
                        (count(t.duplicate)) " duplicate + " (count(t.rejected)) " rejected; " (count(t.deleted)) " deleted"
                        (reason_details(&format!("why-{}-{i}", run.number), entry))
                    }
                }
                @for (i, (name, entry)) in run.follow_ups.iter().enumerate() {
                    @let (one, many) = if name == EXPORT { ("row written", "rows written") } else { ("file", "files") };
                    li {
                        strong { (clean(name, LINE)) } ": " (outcome(entry, running)) ", " (some(entry.tally.seen, one, many))
                        (reason_details(&format!("why-{}-after-{i}", run.number), entry))
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
        Run { number, started, ended: end.map(|_| started), entry, tables: [].into(), follow_ups: [].into() }
    }

    fn words(runs: &[Run], running: bool) -> Vec<&'static str> {
        let page = table(runs, running).into_string();
        let known = ["running", "interrupted", "failed", "complete"];
        let ends = page.match_indices("</svg>").map(|(at, _)| {
            let rest = &page[at + "</svg>".len()..];
            known.into_iter().find(|word| rest.starts_with(word)).unwrap()
        });
        ends.collect()
    }

    #[test]
    fn of_runs_without_an_outcome_only_the_newest_can_be_running() {
        let runs = [run(3, None, None), run(2, None, None), run(1, Some(End::Complete), None)];
        assert_eq!(words(&runs, true), ["running", "interrupted", "complete"]);
        assert_eq!(words(&runs, false), ["interrupted", "interrupted", "complete"]);
        assert_eq!(words(&runs[2..], true), ["complete"]);
    }

    #[test]
    fn repeated_failures_share_a_line_and_long_reasons_are_shortened() {
        let long = "HTTP 503 ".repeat(30);
        let failed = |number| run(number, Some(End::Failed), Some(long.trim()));
        let runs = [failed(5), failed(4), failed(3), run(2, Some(End::Complete), None), failed(1)];
        assert_eq!(words(&runs, false), ["failed", "complete", "failed"]);
        let page = table(&runs, false).into_string();
        assert!(page.contains("Same outcome 2 times before, since #3, "), "{page}");
        assert_eq!(page.matches(long.trim()).count(), 2, "{page}");
        assert_eq!(page.matches("HTTP…</summary>").count(), 2, "{page}");
    }
}
