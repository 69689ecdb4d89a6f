//! The page of one monitor: what is open, how fast it answers, a year of days, what changed, why it could not be read.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use maud::{Markup, html};

use super::days::{self, Cell, STRIP, YEAR};
use super::history::in_time;
use super::layout::{self, Frame, unreadable};
use super::monitors::{Row, legend};
use super::overview::{item, title_of};
use super::words::{
    LINE, ago, badge, before, brief, clean, count, lasting, moment, outside, percent, some, span,
};
use super::{Site, charts, timeline};
use crate::domain::history::{Span, date_of, days_before};
use crate::runtime::board::{Board, Missed, Paced};

/// Changes of one monitor on its page.
const CHANGES: usize = 100;

/// A copy of what the page needs.
struct Copy {
    live: bool,
    row: Row,
    reads_incidents: bool,
    address: String,
    looks: u64,
    not_modified: u64,
    failures: Vec<(&'static str, u64)>,
    pace: Vec<Paced>,
    missed: Vec<Missed>,
}

impl Copy {
    fn of(name: &str, board: &Board, now: Timestamp) -> Option<Copy> {
        let view = board.monitors.get(name)?;
        let mut pace: Vec<Paced> = view.pace.looks().collect();
        pace.reverse();
        Some(Copy {
            live: board.live,
            row: Row::of(name, view, board, now),
            reads_incidents: view.open.is_some(),
            address: view.address.clone(),
            looks: view.looks,
            not_modified: view.not_modified,
            failures: view.failures.iter().map(|(reason, times)| (*reason, *times)).collect(),
            pace,
            missed: view.missed.iter().rev().cloned().collect(),
        })
    }
}

pub(super) async fn page(State(site): State<Arc<Site>>, Path(name): Path<String>) -> Response {
    let now = site.shown.clock.now();
    let copy = site.shown.board.read(|board| Copy::of(&name, board, now));
    let Some(copy) = copy else {
        return layout::missing(&site, &format!("There is no monitor “{}”.", clean(&name, 80)));
    };
    let records = &site.shown.records;
    let span = Span {
        monitor: Some(name.clone()),
        from: before(now, 24 * YEAR),
        to: Timestamp::MAX,
        limit: CHANGES,
    };
    let (days, changes) = tokio::join!(
        in_time(records.days_of(&name, days_before(date_of(now), YEAR))),
        in_time(records.transitions(span)),
    );
    let main = html! {
        nav class="crumbs" aria-label="Where you are" { a href="/" { "Overview" } " / Monitors" }
        (head(&copy, now))
        @if copy.reads_incidents {
            section class="card" aria-labelledby="open" {
                h2 id="open" { "Incidents and maintenance" }
                @if copy.row.open.is_empty() { p class="empty" { "Nothing is open." } }
                ul class="events" { @for event in &copy.row.open { (item(None, event, now)) } }
            }
        }
        section class="card" aria-labelledby="year" {
            h2 id="year" { "A year of days" }
            @match &days {
                Ok(days) => {
                    @let kept: Vec<_> = days.iter().map(|(_, date, day)| (*date, *day)).collect();
                    (year(&days::cells(&kept, copy.row.status.known(), now, YEAR)))
                }
                Err(e) => (unreadable("History", e)),
            }
        }
        section class="card" aria-labelledby="pace" { h2 id="pace" { "Response times" } (pace(&copy)) }
        div class="pair" {
            section aria-labelledby="changes" {
                h2 id="changes" { "Changes" }
                @match &changes {
                    Ok(changes) if changes.is_empty() => p class="empty" { "Nothing has changed in a year." },
                    Ok(changes) => (timeline::list(changes, now, false)),
                    Err(e) => (unreadable("History", e)),
                }
            }
            section aria-labelledby="missed" { h2 id="missed" { "Looks without a reading" } (missed(&copy, now)) }
        }
    };
    layout::page(StatusCode::OK, &Frame { title: title_of(&copy.row), now, live: copy.live }, &main)
}

fn head(copy: &Copy, now: Timestamp) -> Markup {
    let state = &copy.row.state;
    let status = copy.row.status;
    html! {
        section class={ "hero small " (status.class()) } {
            (super::words::mark(status.class()))
            div {
                h1 { (clean(&copy.row.name, LINE)) }
                p {
                    (badge(status))
                    @if let Some(since) = copy.row.since() { " for " (lasting(now, since)) }
                    @if status.held().is_some() { " · held" }
                }
                p class="say" {
                    @if !state.description.is_empty() { (clean(&state.description, LINE)) " " }
                    @if let Some(link) = &state.link { (outside(&link.url, &link.label).unwrap_or_default()) }
                }
                @if let Some(unread) = &state.unknown {
                    p class="trouble" {
                        (super::words::mark("unknown"))
                        "Cannot be read for " (lasting(now, unread.since)) " (" (some(unread.times.into(), "look", "looks")) "): "
                        (clean(&unread.reason.to_string(), LINE))
                    }
                }
            }
            dl class="facts" {
                div { dt { "Last read" } dd { @match state.read_at { Some(at) => (ago(now, at)), None => "never" } } }
                div { dt { "Looks" } dd { (count(copy.looks)) } }
                div { dt { "Unchanged (304)" } dd { (count(copy.not_modified)) } }
                div { dt { "Looks at" } dd { (outside(&copy.address, &copy.address).unwrap_or_else(|| html! { (clean(&copy.address, LINE)) })) } }
            }
        }
    }
}

fn year(cells: &[Cell]) -> Markup {
    let figure = |days: i64| {
        let from = cells.len().saturating_sub(usize::try_from(days).unwrap_or_default());
        let uptime = days::uptime(&cells[from..]);
        html! {
            div {
                dt { (days) " days" }
                dd { @match uptime {
                    Some((share, watched)) => { strong { (percent(share)) } " of " (span(std::time::Duration::from_millis(watched))) " watched" },
                    None => "not watched",
                } }
            }
        }
    };
    html! {
        div class="scroll newest" tabindex="0" role="group" aria-label="A year of days, scrollable" { (charts::year(cells)) }
        dl class="facts" { (figure(7)) (figure(30)) (figure(STRIP)) (figure(YEAR)) }
        (legend())
    }
}

fn pace(copy: &Copy) -> Markup {
    let mut times: Vec<_> = copy.pace.iter().filter(|look| look.read).map(|look| look.took).collect();
    times.sort_unstable();
    let at = |share: usize| times.get((times.len() * share / 100).min(times.len().saturating_sub(1)));
    html! {
        @if copy.pace.is_empty() {
            p class="empty" { "No look has been timed yet." }
        } @else {
            (charts::pace(&copy.pace))
            dl class="facts" {
                div { dt { "Looks shown" } dd { (copy.pace.len()) } }
                div { dt { "Half within" } dd { (at(50).map_or("–".into(), |took| brief(*took))) } }
                div { dt { "95 % within" } dd { (at(95).map_or("–".into(), |took| brief(*took))) } }
                div { dt { "Longest" } dd { (times.last().map_or("–".into(), |took| brief(*took))) } }
            }
        }
    }
}

fn missed(copy: &Copy, now: Timestamp) -> Markup {
    html! {
        @if copy.missed.is_empty() {
            p class="empty" { "Every look since the start gave a reading." }
        } @else {
            div class="scroll" tabindex="0" role="group" aria-label="Looks without a reading, scrollable" {
                table class="stack" {
                    thead { tr { th scope="col" { "Reason" } th scope="col" { "First" } th scope="col" { "Last" } th scope="col" class="number" { "Looks" } } }
                    tbody {
                        @for row in &copy.missed {
                            tr {
                                td data-label="Reason" { (clean(&row.reason.to_string(), LINE)) }
                                td data-label="First" { (moment(row.first)) }
                                td data-label="Last" { (ago(now, row.last)) }
                                td class="number" data-label="Looks" { (count(row.times.into())) }
                            }
                        }
                    }
                }
            }
            p class="note" {
                "Since the start, by reason: "
                @for (i, (reason, times)) in copy.failures.iter().enumerate() { @if i > 0 { ", " } (reason) " " (count(*times)) }
                "."
            }
        }
    }
}
