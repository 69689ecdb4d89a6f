//! The page of one connector: its tables, the ledger of its runs, rows that were rejected.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use maud::{Markup, html};

use super::Site;
use super::connectors::{Card, end, rows, took};
use super::history::in_time;
use super::layout::{self, Frame, unreadable};
use super::words::{LINE, ago, brief, clean, count, mark, moment};
use crate::domain::ledger::{Entry, RejectedRow, Run, TableFacts};
use crate::domain::op::End;

/// Runs on the page; the command `runs` has the rest.
const RUNS: usize = 50;
/// Rejected rows on the page; the table `_rejected` has the rest.
const REJECTED: usize = 50;
/// Of a rejected row, in characters.
const RAW: usize = 2_000;

pub(super) async fn page(State(site): State<Arc<Site>>, Path(name): Path<String>) -> Response {
    let now = site.shown.clock.now();
    let found = site.shown.board.read(|board| Some((board.syncs.get(&name)?.clone(), board.live)));
    let Some((view, live)) = found else {
        return layout::missing(&site, &format!("There is no connector “{}” that is on.", clean(&name, 80)));
    };
    let records = &site.shown.records;
    let (card, runs, tables, rejected) = tokio::join!(
        Card::load(&site.history, name.clone(), view),
        in_time(records.runs(&name, RUNS)),
        in_time(records.tables(&name)),
        in_time(records.rejected(&name, REJECTED)),
    );
    let (class, words) = card.end();
    let main = html! {
        nav class="crumbs" aria-label="Where you are" { a href="/" { "Overview" } " / Connectors" }
        section class={ "hero small " (class) } {
            (mark(class))
            div {
                h1 { (clean(&name, LINE)) }
                p {
                    span class={ "badge " (class) } { (mark(class)) (words) } " · "
                    @match card.view.last_success { Some(at) => { "data as of " (ago(now, at)) }, None => "no complete run yet" }
                }
                @if let Some(reason) = card.view.last_run.as_ref().and_then(|run| run.reason.as_ref()) {
                    p class="say" { (clean(reason, LINE)) }
                }
            }
            (card.facts(now))
        }
        section class="card" aria-labelledby="trend" { h2 id="trend" { "Runs over time" } (card.charts()) }
        section class="card" aria-labelledby="tables" {
            h2 id="tables" { "Tables" }
            @match &tables { Ok(tables) => (facts(tables, runs.as_deref().unwrap_or_default(), now)), Err(e) => (unreadable("The tables", e)) }
        }
        section class="card" aria-labelledby="ledger" {
            h2 id="ledger" { "Runs" }
            @match &runs { Ok(runs) => (ledger(runs)), Err(e) => (unreadable("The ledger", e)) }
        }
        section class="card" aria-labelledby="rejected" {
            h2 id="rejected" { "Rejected rows" }
            @match &rejected { Ok(rows) => (refused(rows)), Err(e) => (unreadable("Rejected rows", e)) }
        }
    };
    layout::page(StatusCode::OK, &Frame { title: format!("{}: {words}", clean(&name, 80)), now, live }, &main)
}

/// A table is as fresh as the start of the last run that brought it whole.
fn facts(tables: &[TableFacts], runs: &[Run], now: Timestamp) -> Markup {
    let fresh = |table: &str| {
        let whole = |run: &&Run| run.tables.get(table).is_some_and(|entry| entry.end == Some(End::Complete));
        runs.iter().find(whole).map(|run| run.started)
    };
    html! {
        @if tables.is_empty() { p class="empty" { "No table yet; the first run makes them." } } @else {
            div class="scroll" tabindex="0" role="group" aria-label="Tables, scrollable" { table {
                thead { tr { th scope="col" { "Table" } th scope="col" class="number" { "Rows" } th scope="col" class="number" { "Gone at the source" } th scope="col" { "Complete as of" } } }
                tbody { @for table in tables { tr {
                    th scope="row" { (clean(&table.table, LINE)) }
                    td class="number" { (count(table.rows)) }
                    td class="number" { (count(table.deleted)) }
                    td { @match fresh(&table.table) { Some(at) => (ago(now, at)), None => { "not in the last " (RUNS) " runs" } } }
                } } }
            } }
        }
    }
}

fn ledger(runs: &[Run]) -> Markup {
    html! {
        @if runs.is_empty() { p class="empty" { "No run yet." } } @else {
            div class="scroll" tabindex="0" role="group" aria-label="Runs, scrollable" { table {
                thead { tr {
                    th scope="col" { "Run" } th scope="col" { "Began" } th scope="col" { "End" } th scope="col" class="number" { "Took" }
                    th scope="col" class="number" { "Rows" } th scope="col" class="number" { "Requests" }
                    th scope="col" class="number" { "Again" } th scope="col" class="number" { "Waited" } th scope="col" { "By table" }
                } }
                tbody { @for run in runs { tr {
                    th scope="row" { "#" (run.number) }
                    td { (moment(run.started)) }
                    td { span class={ "badge " (class(run)) } { (mark(class(run))) (end(run)) } (why(&run.entry)) }
                    td class="number" { (took(run).map_or("–".into(), brief)) }
                    td class="number" { (count(rows(run))) }
                    td class="number" { (count(run.entry.requests)) }
                    td class="number" { (count(run.entry.retries)) }
                    td class="number" { (waited(&run.entry)) }
                    td { (by_table(run)) }
                } } }
            } }
        }
    }
}

fn class(run: &Run) -> &'static str {
    match run.entry.end {
        Some(End::Complete) => "none",
        Some(End::Partial) => "minor",
        Some(End::Deferred) => "maintenance",
        Some(End::Failed) => "critical",
        None => "unknown",
    }
}

fn waited(entry: &Entry) -> String {
    if entry.waited_ms == 0 { "–".into() } else { brief(std::time::Duration::from_millis(entry.waited_ms)) }
}

fn why(entry: &Entry) -> Markup {
    html! {
        @if let Some(reason) = &entry.reason {
            p class="say" { (clean(reason, LINE)) @if let Some(place) = &entry.place { " (at " (clean(place, LINE)) ")" } }
        }
    }
}

fn by_table(run: &Run) -> Markup {
    html! {
        @if !run.tables.is_empty() {
            details id={ "run-" (run.number) } {
                summary { (super::words::some(run.tables.len() as u64, "table", "tables")) }
                ul { @for (table, entry) in &run.tables {
                    @let t = &entry.tally;
                    li {
                        strong { (clean(table, LINE)) } ": " (entry.end.map_or("unfinished", End::as_str)) ", " (count(t.seen)) " seen = "
                        (count(t.inserted)) " inserted + " (count(t.updated)) " updated + " (count(t.unchanged)) " unchanged + "
                        (count(t.duplicate)) " duplicate + " (count(t.rejected)) " rejected; " (count(t.deleted)) " deleted"
                        (why(entry))
                    }
                } }
            }
        }
    }
}

fn refused(rows: &[RejectedRow]) -> Markup {
    html! {
        @if rows.is_empty() { p class="empty" { "None." } } @else {
            div class="scroll" tabindex="0" role="group" aria-label="Rejected rows, scrollable" { table {
                thead { tr { th scope="col" { "Run" } th scope="col" { "Table" } th scope="col" { "Why" } th scope="col" { "As sent" } } }
                tbody { @for (i, row) in rows.iter().enumerate() { tr {
                    td { "#" (row.run) }
                    td { (clean(&row.table, LINE)) }
                    td { (clean(&row.reason, LINE)) }
                    td { details id={ "raw-" (row.run) "-" (i) } { summary { "show" } code { (clean(&row.raw, RAW)) } } }
                } } }
            } }
        }
    }
}
