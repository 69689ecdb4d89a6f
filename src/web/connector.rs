//! The page of one connector: its tables, its runs, rows that were rejected.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use maud::{Markup, html};

use super::connectors::Card;
use super::history::in_time;
use super::layout::{self, Frame, unreadable};
use super::words::{LINE, ago, clean, count, mark};
use super::{Site, ledger};
use crate::domain::ledger::{RejectedRow, Run, TableFacts};
use crate::domain::op::End;
use crate::runtime::board::Board;

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
    // One may have begun since, or ended.
    let going_on = |board: &Board| board.syncs.get(&name).is_some_and(|view| view.running);
    let running = card.view.running || site.shown.board.read(going_on);
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
            @match &runs { Ok(runs) => (ledger::table(runs, running)), Err(e) => (unreadable("The ledger", e)) }
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
            div class="scroll" tabindex="0" role="group" aria-label="Tables, scrollable" { table class="stack" {
                thead { tr { th scope="col" { "Table" } th scope="col" class="number" { "Rows" } th scope="col" class="number" { "Gone at the source" } th scope="col" { "Complete as of" } } }
                tbody { @for table in tables { tr {
                    th scope="row" { (clean(&table.table, LINE)) }
                    td class="number" data-label="Rows" { (count(table.rows)) }
                    td class="number" data-label="Gone at the source" { (count(table.deleted)) }
                    td data-label="Complete as of" { @match fresh(&table.table) { Some(at) => (ago(now, at)), None => { "not in the last " (RUNS) " runs" } } }
                } } }
            } }
        }
    }
}

fn refused(rows: &[RejectedRow]) -> Markup {
    html! {
        @if rows.is_empty() { p class="empty" { "None." } } @else {
            div class="scroll" tabindex="0" role="group" aria-label="Rejected rows, scrollable" { table class="stack" {
                thead { tr { th scope="col" { "Run" } th scope="col" { "Table" } th scope="col" { "Why" } th scope="col" { "As sent" } } }
                tbody { @for (i, row) in rows.iter().enumerate() { tr {
                    td data-label="Run" { "#" (row.run) }
                    td data-label="Table" { (clean(&row.table, LINE)) }
                    td data-label="Why" { (clean(&row.reason, LINE)) }
                    td data-label="As sent" { details id={ "raw-" (row.run) "-" (i) } { summary { "show" } code { (clean(&row.raw, RAW)) } } }
                } } }
            } }
        }
    }
}
