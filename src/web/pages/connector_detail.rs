//! The page of one connector: tables, run history, rejected rows.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use maud::{Markup, html};

use super::connector_cards::ConnectorCard;
use super::layout::{self, PageFrame, unreadable};
use super::run_table;
use crate::domain::syncing::delivery::{AppReport, ReloadOutcome};
use crate::domain::syncing::op::End;
use crate::domain::syncing::run_history::{RejectedRow, Run, TableFacts};
use crate::runtime::board::Board;
use crate::web::state::PageState;
use crate::web::view::deliveries::Delivered;
use crate::web::view::history::in_time;
use crate::web::view::words::{LINE, ago, clean, count, mark};

/// Runs on the page; the command `runs` has the rest.
const RUNS: usize = 50;
/// Rejected rows on the page; the table `_rejected` has the rest.
const REJECTED: usize = 50;
/// Characters shown of a rejected row.
const RAW: usize = 2_000;

pub(in crate::web) async fn page(State(state): State<Arc<PageState>>, Path(name): Path<String>) -> Response {
    let now = state.web.clock.now();
    let found = state.web.board.read(|board| {
        Some((board.syncs.get(&name)?.clone(), Delivered::of_connector(board, &name), board.live))
    });
    let Some((view, delivered, live)) = found else {
        return layout::missing(&state, &format!("There is no enabled connector “{}”.", clean(&name, 80)));
    };
    let records = &state.web.records;
    let (card, runs, tables, rejected) = tokio::join!(
        ConnectorCard::load(&state.history, name.clone(), (view, delivered)),
        in_time(records.runs(&name, RUNS)),
        in_time(records.tables(&name)),
        in_time(records.rejected(&name, REJECTED)),
    );
    // A run may have started or completed since the first read of the board.
    let is_running = |board: &Board| board.syncs.get(&name).is_some_and(|view| view.running);
    let running = card.view.running || state.web.board.read(is_running);
    let (class, words) = card.outcome();
    let main = html! {
        nav class="crumbs" aria-label="Where you are" { a href="/" { "Overview" } " / " a href="/connectors" { "Connectors" } }
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
                (card.failures())
            }
            (card.facts(now))
        }
        section class="card" aria-labelledby="trend" { h2 id="trend" { "Runs over time" } (card.charts()) }
        @if !card.delivered.is_empty() {
            section class="card" aria-labelledby="qlik" { h2 id="qlik" { "Data in Qlik" } (in_qlik(&card.delivered, now)) }
        }
        section class="card" aria-labelledby="tables" {
            h2 id="tables" { "Tables" }
            @match &tables { Ok(tables) => (facts(tables, runs.as_deref().unwrap_or_default(), now)), Err(e) => (unreadable("Tables", e)) }
        }
        section class="card" aria-labelledby="runs" {
            h2 id="runs" { "Runs" }
            @match &runs { Ok(runs) => (run_table::table(runs, running)), Err(e) => (unreadable("Run history", e)) }
        }
        section class="card" aria-labelledby="rejected" {
            h2 id="rejected" { "Rejected rows" }
            @match &rejected { Ok(rows) => (rejected_rows(rows)), Err(e) => (unreadable("Rejected rows", e)) }
        }
    };
    layout::page(
        StatusCode::OK,
        &PageFrame {
            title: format!("{}: {words}", clean(&name, 80)),
            now,
            live,
            brand: state.web.brand.clone(),
        },
        &main,
    )
}

/// A row for each tenant.
fn in_qlik(all: &[Delivered], now: Timestamp) -> Markup {
    let app = |id: &String, app: &AppReport| {
        let outcome = app.outcome.map_or("not reloaded yet", ReloadOutcome::as_str).replace('_', " ");
        html! { p { (clean(id, LINE)) ": " (outcome) @if let Some(at) = app.ended_at { " " (ago(now, at)) } } }
    };
    html! {
        div class="scroll" tabindex="0" role="group" aria-label="Data in Qlik, scrollable" { table class="stack" {
            thead { tr { th scope="col" { "Tenant" } th scope="col" { "Space" } th scope="col" { "Data as of" } th scope="col" { "State" } th scope="col" { "Apps" } } }
            tbody { @for one in all { tr {
                th scope="row" { (clean(&one.tenant, LINE)) }
                td data-label="Space" { @match &one.report.space { Some(space) => (clean(space, LINE)), None => "–" } }
                td data-label="Data as of" { @match one.report.as_of { Some(at) => (ago(now, at)), None => "none yet" } }
                td data-label="State" { (one.words()) }
                td data-label="Apps" { @for (id, report) in &one.report.apps { (app(id, report)) } @if one.report.apps.is_empty() { "–" } }
            } } }
        } }
    }
}

/// A table is as fresh as the start of the last run that completed it.
fn facts(tables: &[TableFacts], runs: &[Run], now: Timestamp) -> Markup {
    let fresh = |table: &str| {
        let whole = |run: &&Run| run.tables.get(table).is_some_and(|entry| entry.end == Some(End::Complete));
        runs.iter().find(whole).map(|run| run.started)
    };
    html! {
        @if tables.is_empty() { p class="empty" { "No tables yet; the first run creates them." } } @else {
            div class="scroll" tabindex="0" role="group" aria-label="Tables, scrollable" { table class="stack" {
                thead { tr { th scope="col" { "Table" } th scope="col" class="number" { "Rows" } th scope="col" class="number" { "Deleted at source" } th scope="col" { "Complete as of" } } }
                tbody { @for table in tables { tr {
                    th scope="row" { (clean(&table.table, LINE)) }
                    td class="number" data-label="Rows" { (count(table.rows)) }
                    td class="number" data-label="Deleted at source" { (count(table.deleted)) }
                    td data-label="Complete as of" { @match fresh(&table.table) { Some(at) => (ago(now, at)), None => { "not in the last " (RUNS) " runs" } } }
                } } }
            } }
        }
    }
}

fn rejected_rows(rows: &[RejectedRow]) -> Markup {
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
