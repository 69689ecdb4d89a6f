//! The page that everybody opens: what the tenant's users see, every monitor, every connector, what changed.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use futures_util::future::join_all;
use jiff::Timestamp;
use maud::{Markup, html};

use super::banner;
use super::connectors::Card;
use super::layout::{self, Frame, unreadable};
use super::monitors::{Row, Rows};
use super::view::MonitorStatus;
use super::words::{LINE, ago, ahead, badge, clean, lasting, mark, outside, path, some};
use super::{Site, timeline};
use crate::domain::observation::Event;
use crate::domain::severity::Severity;
use crate::runtime::board::{Board, SyncView};

/// Incidents and maintenances on the overview; the rest stands on the monitors' own pages.
const EVENTS: usize = 20;

/// What can be asked of the page.
#[derive(Debug, Default, serde::Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    q: String,
    #[serde(default)]
    page: String,
}

/// A copy of what the page needs, so that nobody who reads slowly holds the board.
struct Copy {
    live: bool,
    banner: banner::Shown,
    rows: Rows,
    open: Vec<Row>,
    head: Head,
    syncs: Vec<(String, SyncView)>,
}

struct Head {
    worst: MonitorStatus,
    /// More than planned work.
    problems: usize,
    planned: usize,
    cycle: Option<Timestamp>,
    /// Who watches in our place, and when what they kept was copied.
    standby: Option<(String, Option<Timestamp>)>,
    not_ready: Vec<String>,
    definitions_ok: bool,
}

impl Copy {
    fn of(board: &Board, search: &str, page: usize, now: Timestamp) -> Copy {
        let nothing_read = board.monitors.values().all(|view| view.state.read_at.is_none());
        let rows = Rows::of(board, search, page, now);
        let problems = board.issues.iter().filter(|issue| issue.severity > Severity::Maintenance).count();
        let open =
            board.monitors.iter().filter(|(_, view)| view.open.as_ref().is_some_and(|open| !open.is_empty()));
        Copy {
            live: board.live,
            banner: banner::Shown::of(board),
            open: open.take(EVENTS).map(|(name, view)| Row::of(name, view, board, now)).collect(),
            head: Head {
                worst: if nothing_read {
                    MonitorStatus::Pending
                } else {
                    MonitorStatus::Known(rows.overall.worst)
                },
                problems,
                planned: board.issues.len() - problems,
                cycle: board.cycles.finished_at,
                standby: board
                    .lease
                    .as_ref()
                    .filter(|lease| !lease.held)
                    .map(|lease| (lease.role(), lease.copied_at)),
                not_ready: board.ready(now),
                definitions_ok: board.definitions.0,
            },
            rows,
            syncs: board.syncs.iter().map(|(name, view)| (name.clone(), view.clone())).collect(),
        }
    }
}

pub(super) async fn page(
    State(site): State<Arc<Site>>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Response {
    let now = site.shown.clock.now();
    // What makes no sense is the whole list, and what is no page number the first page.
    let Query(asked) = asked.unwrap_or_default();
    let number = asked.page.parse().unwrap_or(1);
    let copy = site.shown.board.read(|board| Copy::of(board, &asked.q, number, now));
    let history = &site.history;
    let cards = join_all(copy.syncs.into_iter().map(|(name, view)| Card::load(history, name, view)));
    let (days, changes, cards) = tokio::join!(history.days(now), history.changes(now), cards);
    let main = html! {
        (copy.head.section(&copy.rows, now))
        div class="pair" {
            (copy.banner.section(now))
            (events(&copy.open, now))
        }
        (copy.rows.section(&days, now))
        div class="pair wide-left" {
            section aria-labelledby="connectors" {
                h2 id="connectors" { "Connectors" }
                @if cards.is_empty() {
                    p class="empty" { "No connector is on. One is on once its variables are set; " code { "connector list" } " names them." }
                }
                div class="cards" { @for card in &cards { (card.article(now)) } }
            }
            section aria-labelledby="changes" {
                h2 id="changes" { "Recent changes" }
                @match &changes {
                    Ok(changes) if changes.is_empty() => p class="empty" { "Nothing has changed in the last 30 days." },
                    Ok(changes) => (timeline::list(changes, now, true)),
                    Err(e) => (unreadable("History", e)),
                }
            }
        }
    };
    let title = match copy.head.problems {
        0 => copy.head.worst.label().to_owned(),
        problems => format!("({problems}) {}", copy.head.worst.label()),
    };
    layout::page(StatusCode::OK, &Frame { title, now, live: copy.live }, &main)
}

impl Head {
    fn section(&self, rows: &Rows, now: Timestamp) -> Markup {
        let unknown = rows.overall.unknown;
        let headline = match (self.worst, self.problems, self.planned, unknown) {
            (MonitorStatus::Pending, ..) => "Waiting for the first answers".to_owned(),
            (_, 0, 0, 0) => "All services operational".to_owned(),
            (_, 0, 0, unknown) => format!("No problem known, {unknown} unknown"),
            (_, 0, planned, _) => {
                format!("{}, no problem", some(planned as u64, "maintenance", "maintenances"))
            }
            (_, 1, ..) => "1 service has a problem".to_owned(),
            (_, problems, ..) => format!("{problems} services have a problem"),
        };
        let class = match (self.worst, unknown) {
            (MonitorStatus::Known(Severity::None), 1..) => "unknown",
            (worst, _) => worst.class(),
        };
        html! {
            section class={ "hero " (class) } aria-label="At a glance" {
                (mark(class))
                div {
                    h1 { (headline) }
                    p {
                        (some(rows.overall.total as u64, "monitor", "monitors"))
                        @if self.problems > 0 && self.planned > 0 { ", " (self.planned) " in maintenance" }
                        @if self.problems + self.planned > 0 && unknown > 0 { ", " (unknown) " unknown" }
                        " · "
                        @if let Some((role, copied_at)) = &self.standby {
                            (clean(role, LINE)) ", copied " @match copied_at { Some(at) => (ago(now, *at)), None => "never" }
                        } @else {
                            @match self.cycle { Some(at) => { "last round " (ago(now, at)) }, None => "first round under way" }
                        }
                    }
                    @if !self.definitions_ok {
                        p class="trouble" { (mark("minor")) "The monitor definitions have an error; the last valid set stays in use. See the log." }
                    }
                    @if self.cycle.is_some() {
                        @for reason in &self.not_ready { p class="trouble" { (mark("minor")) "Not ready: " (clean(reason, LINE)) } }
                    }
                }
            }
        }
    }
}

/// What is open or planned on the pages that tell it.
fn events(rows: &[Row], now: Timestamp) -> Markup {
    let mut all: Vec<(&Row, &Event)> =
        rows.iter().flat_map(|row| row.open.iter().map(move |event| (row, event))).collect();
    all.sort_by_key(|(_, event)| (event.planned, std::cmp::Reverse(event.impact), event.begins));
    all.truncate(EVENTS);
    html! {
        section class="card" aria-labelledby="open" {
            h2 id="open" { "Incidents and maintenance" }
            @if all.is_empty() {
                p class="empty" { "Nothing is open on the pages that are read for it." }
            } @else {
                ul class="events" { @for (row, event) in all { (item(Some(row), event, now)) } }
            }
        }
    }
}

/// One incident or maintenance.
pub(super) fn item(row: Option<&Row>, event: &Event, now: Timestamp) -> Markup {
    let impact = if event.planned { Severity::Maintenance } else { event.impact };
    let ahead_of_us = event.begins.filter(|at| *at > now);
    html! {
        li {
            (badge(MonitorStatus::Known(impact)))
            div {
                p class="title" {
                    @if let Some(row) = row { a class="name" href=(path("monitors", &row.name)) { (clean(&row.name, LINE)) } " " }
                    (clean(&event.title, LINE))
                }
                @if !event.update.is_empty() { p class="say" { (clean(&event.update, LINE)) } }
                p class="when" {
                    @if !event.state.is_empty() { span class="word" { (clean(&event.state, 60)) } " · " }
                    @match (event.begins, ahead_of_us) {
                        (_, Some(at)) => { "begins " (ahead(now, at)) },
                        (Some(at), None) => { "for " (lasting(now, at)) },
                        (None, None) => "since an unknown time",
                    }
                    @if let Some(end) = event.ends { " · ends " (ahead(now, end)) }
                    @if let Some(link) = &event.link { " · " (outside(&link.url, &link.label).unwrap_or_default()) }
                }
            }
        }
    }
}

/// The heading of a monitor's page: severity in words for the title.
pub(super) fn title_of(row: &Row) -> String {
    let label = row.status.label();
    let held = if row.status.held().is_some() && row.status.severity().is_some() { " (held)" } else { "" };
    format!("{}: {label}{held}", clean(&row.name, 80))
}

/// The head and what is open, for the tests.
#[cfg(test)]
pub(super) fn sections(board: &Board, now: Timestamp) -> (Markup, Markup) {
    let copy = Copy::of(board, "", 1, now);
    (copy.head.section(&copy.rows, now), events(&copy.open, now))
}
