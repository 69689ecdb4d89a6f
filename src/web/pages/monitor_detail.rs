//! The page of one monitor: open incidents, a year of days, response times, status changes, failed polls.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use maud::{Markup, html};

use super::layout::{self, PageFrame, unreadable};
use super::monitor_list::{MonitorRow, legend};
use super::overview::{event_item, page_title};
use super::timeline;
use crate::domain::monitoring::history::{Span, date_of, days_before};
use crate::domain::monitoring::responses::MonitorResponses;
use crate::runtime::board::{Board, Missed, Paced};
use crate::web::state::PageState;
use crate::web::view::charts;
use crate::web::view::days::{self, DayCell, STRIP, YEAR};
use crate::web::view::history::in_time;
use crate::web::view::records::RecordError;
use crate::web::view::response_chart::{self, ChartRange};
use crate::web::view::words::{
    LINE, ago, badge, before, brief, clean, count, lasting, moment, outside, path, percent, some, span,
};

/// Status changes on the page.
const CHANGES: usize = 100;

struct MonitorData {
    live: bool,
    row: MonitorRow,
    address: String,
    advice: Option<String>,
    polls: u64,
    not_modified: u64,
    failures: Vec<(&'static str, u64)>,
    pace: Vec<Paced>,
    missed: Vec<Missed>,
}

impl MonitorData {
    fn of(name: &str, board: &Board, now: Timestamp) -> Option<MonitorData> {
        let view = board.monitors.get(name)?;
        let mut pace: Vec<Paced> = view.pace.polls().collect();
        pace.reverse();
        Some(MonitorData {
            live: board.live,
            row: MonitorRow::of(name, view, board, now),
            address: view.address.clone(),
            advice: view.advice.clone(),
            polls: view.polls,
            not_modified: view.not_modified,
            failures: view.failures.iter().map(|(reason, times)| (*reason, *times)).collect(),
            pace,
            missed: view.missed.iter().rev().cloned().collect(),
        })
    }
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(in crate::web) struct MonitorQuery {
    range: String,
}

pub(in crate::web) async fn page(
    State(state): State<Arc<PageState>>,
    Path(name): Path<String>,
    query: Result<Query<MonitorQuery>, QueryRejection>,
) -> Response {
    let now = state.web.clock.now();
    let data = state.web.board.read(|board| MonitorData::of(&name, board, now));
    let Some(data) = data else {
        return layout::missing(&state, &format!("There is no monitor “{}”.", clean(&name, 80)));
    };
    let records = &state.web.records;
    let span = Span {
        monitor: Some(name.clone()),
        from: before(now, 24 * YEAR),
        to: Timestamp::MAX,
        limit: CHANGES,
    };
    let range = ChartRange::parse(&query.unwrap_or_default().range);
    let first = days_before(date_of(now), range.unwrap_or(ChartRange::Day).days());
    let (days, changes, responses) = tokio::join!(
        in_time(records.days_of(&name, days_before(date_of(now), YEAR))),
        in_time(records.transitions(span)),
        in_time(records.responses_of(&name, first)),
    );
    let main = html! {
        nav class="crumbs" aria-label="Where you are" { a href="/" { "Overview" } " / " a href="/monitors" { "Monitors" } }
        (head(&data, now))
        @if !data.row.open.is_empty() {
            section class="card" aria-labelledby="open" {
                h2 id="open" { "Incidents and maintenance" }
                ul class="events" { @for event in &data.row.open { (event_item(None, event, now)) } }
            }
        }
        section class="card" aria-labelledby="year" {
            h2 id="year" { "A year of days" }
            @match &days {
                Ok(days) => {
                    @let stored: Vec<_> = days.iter().map(|(_, date, day)| (*date, *day)).collect();
                    (year(&days::cells(&stored, data.row.status.known(), now, YEAR)))
                }
                Err(e) => (unreadable("History", e)),
            }
        }
        section class="card" aria-labelledby="pace" { h2 id="pace" { "Response times" } (response_times(&data, range, &responses, now)) }
        div class="pair" {
            section aria-labelledby="changes" {
                h2 id="changes" { "Changes" }
                @match &changes {
                    Ok(changes) if changes.is_empty() => p class="empty" { "No status change in a year." },
                    Ok(changes) => (timeline::list(changes, changes.len(), now, false)),
                    Err(e) => (unreadable("History", e)),
                }
            }
            section aria-labelledby="missed" { h2 id="missed" { "Failed polls" } (failed_polls(&data, now)) }
        }
    };
    let brand = state.web.brand.clone();
    let frame = PageFrame { title: page_title(&data.row), now, live: data.live, brand };
    layout::page(StatusCode::OK, &frame, &main)
}

fn head(data: &MonitorData, now: Timestamp) -> Markup {
    let state = &data.row.state;
    let status = data.row.status;
    html! {
        section class={ "hero small " (status.class()) } {
            (crate::web::view::words::mark(status.class()))
            div {
                h1 { (clean(&data.row.name, LINE)) }
                p {
                    (badge(status))
                    @if let Some(since) = data.row.since() { " for " (lasting(now, since)) }
                }
                p class="say" {
                    @if status.held().is_some() { "Last known: " }
                    @if !state.description.is_empty() { (clean(&state.description, LINE)) " " }
                    @if let Some(link) = &state.link { (outside(&link.url, &link.label).unwrap_or_default()) }
                }
                @if !data.address.is_empty() {
                    p class="when" { (outside(&data.address, &data.address).unwrap_or_else(|| html! { (clean(&data.address, LINE)) })) }
                }
                @if let Some(unread) = &state.unknown {
                    p class="trouble" {
                        (crate::web::view::words::mark("unknown"))
                        "Cannot be read for " (lasting(now, unread.since)) " (" (some(unread.times.into(), "poll", "polls")) "): "
                        (clean(&unread.reason.to_string(), LINE))
                        @if let Some(advice) = &data.advice { "; " (clean(advice, LINE)) }
                    }
                }
            }
            dl class="facts" {
                div { dt { "Last read" } dd { @match state.read_at { Some(at) => (ago(now, at)), None => "never" } } }
                div { dt { "Polls" } dd { (count(data.polls)) } }
                div { dt { "Unchanged (304)" } dd { (count(data.not_modified)) } }
            }
        }
    }
}

fn year(cells: &[DayCell]) -> Markup {
    let figure = |days: i64| {
        let from = cells.len().saturating_sub(usize::try_from(days).unwrap_or_default());
        let uptime = days::uptime(&cells[from..]);
        html! {
            div {
                dt { (days) " days" }
                dd { @match uptime {
                    Some((share, watched)) => { strong { (percent(share)) } " of " (span(std::time::Duration::from_millis(watched))) " monitored" },
                    None => "not monitored",
                } }
            }
        }
    };
    html! {
        div class="scroll newest" tabindex="0" role="group" aria-label="A year of days, scrollable" { (charts::year(cells)) }
        dl class="facts" { (figure(7)) (figure(30)) (figure(STRIP)) (figure(YEAR)) }
        (legend("square"))
    }
}

/// Without a range: the last day, or the last polls as long as nothing is stored.
fn response_times(
    data: &MonitorData,
    range: Option<ChartRange>,
    stored: &Result<Vec<MonitorResponses>, RecordError>,
    now: Timestamp,
) -> Markup {
    let none = stored.as_ref().map_or(true, Vec::is_empty);
    let range = range.unwrap_or(if none { ChartRange::Polls } else { ChartRange::Day });
    html! {
        nav class="filters" aria-label="Range of the chart" {
            @for one in ChartRange::ALL {
                a href={ (path("monitors", &data.row.name)) "?range=" (one.word()) "#pace" } aria-current=[(one == range).then_some("true")] { (one.label()) }
            }
        }
        @match (range, stored) {
            (ChartRange::Polls, _) if data.pace.is_empty() => p class="empty" { "No poll has finished since the start." },
            (ChartRange::Polls, _) => {
                (response_chart::chart(range, &response_chart::of_polls(&data.pace)))
                (poll_facts(data))
            }
            (_, Err(e)) => (unreadable("Response times", e)),
            (_, Ok(_)) if none => p class="empty" { "Nothing is stored yet. Response times are stored every 5 minutes." },
            (_, Ok(stored)) => {
                @let (bars, all) = response_chart::of_hours(range, stored, now);
                (response_chart::chart(range, &bars))
                (facts(all.succeeded() + all.failed(), [all.quantile(0.5), all.quantile(0.95), all.longest()]))
            }
        }
    }
}

fn poll_facts(data: &MonitorData) -> Markup {
    let mut times: Vec<_> = data.pace.iter().filter(|poll| poll.read).map(|poll| poll.took).collect();
    times.sort_unstable();
    let at =
        |share: usize| times.get((times.len() * share / 100).min(times.len().saturating_sub(1))).copied();
    facts(u32::try_from(data.pace.len()).unwrap_or(u32::MAX), [at(50), at(95), times.last().copied()])
}

/// Median, 95th percentile and the longest.
fn facts(polls: u32, times: [Option<Duration>; 3]) -> Markup {
    html! {
        dl class="facts" {
            div { dt { "Polls shown" } dd { (count(polls.into())) } }
            @for (name, time) in ["Median", "95th percentile", "Longest"].into_iter().zip(times) {
                div { dt { (name) } dd { (time.map_or("–".into(), brief)) } }
            }
        }
    }
}

fn failed_polls(data: &MonitorData, now: Timestamp) -> Markup {
    html! {
        @if data.missed.is_empty() {
            p class="empty" { "No poll has failed since the daemon started." }
        } @else {
            div class="scroll" tabindex="0" role="group" aria-label="Failed polls, scrollable" {
                table class="stack" {
                    thead { tr { th scope="col" { "Reason" } th scope="col" { "First" } th scope="col" { "Last" } th scope="col" class="number" { "Polls" } } }
                    tbody {
                        @for row in &data.missed {
                            tr {
                                td data-label="Reason" { (clean(&row.reason.to_string(), LINE)) }
                                td data-label="First" { (moment(row.first)) }
                                td data-label="Last" { (ago(now, row.last)) }
                                td class="number" data-label="Polls" { (count(row.times.into())) }
                            }
                        }
                    }
                }
            }
            p class="note" {
                "Since the daemon started, by reason: "
                @for (i, (reason, times)) in data.failures.iter().enumerate() { @if i > 0 { ", " } (reason) " " (count(*times)) }
                "."
            }
        }
    }
}
