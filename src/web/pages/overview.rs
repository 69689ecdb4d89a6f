//! The overview page: the tenant's banner, open incidents, channels, monitors, connectors, recent changes.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{Redirect, Response};
use futures_util::future::join_all;
use jiff::Timestamp;
use maud::{Markup, html};

use super::connector_cards::ConnectorCard;
use super::layout::{self, PageFrame, unreadable};
use super::monitor_list::{MonitorListQuery, MonitorRow, MonitorRows};
use super::tenant_banner;
use super::timeline;
use crate::domain::monitoring::assess::Transition;
use crate::domain::monitoring::news::ChannelReport;
use crate::domain::monitoring::observation::Event;
use crate::domain::monitoring::severity::Severity;
use crate::runtime::board::{Board, ChannelView, SyncView};
use crate::web::state::PageState;
use crate::web::view::channels::ChannelStatus;
use crate::web::view::deliveries::Delivered;
use crate::web::view::headline::Headline;
use crate::web::view::listing::StateFilter;
use crate::web::view::status::MonitorStatus;
use crate::web::view::words::{LINE, ago, ahead, badge, clean, lasting, mark, outside, path, some};

/// Incidents and maintenances on the overview; the monitors' own pages list all.
const EVENTS: usize = 20;

/// Status changes on the overview before "more".
const CHANGES: usize = 6;

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(in crate::web) struct OverviewQuery {
    q: String,
    page: String,
    state: String,
    tag: String,
    view: String,
    changes: String,
}

/// A copy of what the page needs, so that rendering does not lock the board.
struct OverviewData {
    live: bool,
    banner: tenant_banner::BannerSection,
    rows: MonitorRows,
    open: Vec<MonitorRow>,
    head: OverviewHead,
    channels: Vec<ChannelRow>,
    syncs: Vec<(String, (SyncView, Vec<Delivered>))>,
}

struct ChannelRow {
    name: String,
    status: ChannelStatus,
    report: ChannelReport,
}

struct OverviewHead {
    headline: Headline,
    cycle: Option<Timestamp>,
    /// On a standby: the leader, and when its state was last copied.
    standby: Option<(Option<String>, Option<Timestamp>)>,
    not_ready: Vec<String>,
    invalid: Vec<&'static str>,
}

impl OverviewQuery {
    /// An invalid parameter selects what none selects.
    fn list(&self) -> MonitorListQuery {
        MonitorListQuery {
            search: self.q.clone(),
            state: StateFilter::parse(&self.state),
            tag: clean(&self.tag, 100),
            compact: self.view == "compact",
            page: self.page.parse().unwrap_or(1),
        }
    }
}

impl OverviewData {
    fn of(board: &Board, list: MonitorListQuery, now: Timestamp) -> OverviewData {
        let open =
            board.monitors.iter().filter(|(_, view)| view.open.as_ref().is_some_and(|open| !open.is_empty()));
        let standby = board.lease.as_ref().filter(|lease| !lease.held);
        OverviewData {
            live: board.live,
            banner: tenant_banner::BannerSection::of(board, now),
            open: open.take(EVENTS).map(|(name, view)| MonitorRow::of(name, view, board, now)).collect(),
            head: OverviewHead {
                headline: Headline::of(board, now),
                cycle: board.cycles.finished_at,
                standby: standby.map(|lease| (lease.holder.clone(), lease.copied_at)),
                not_ready: board.ready(now),
                invalid: board.invalid_definitions().collect(),
            },
            rows: MonitorRows::of(board, list, now),
            channels: board.channels.iter().map(|(name, view)| ChannelRow::of(name, view)).collect(),
            syncs: board
                .syncs
                .iter()
                .map(|(name, view)| (name.clone(), (view.clone(), Delivered::of_connector(board, name))))
                .collect(),
        }
    }
}

/// All tenants, on a page of their own.
pub(in crate::web) async fn tenants(State(state): State<Arc<PageState>>) -> Response {
    let now = state.web.clock.now();
    let read = |board: &Board| (board.live, tenant_banner::BannerSection::of(board, now));
    let (live, banners) = state.web.board.read(read);
    let frame = PageFrame { title: "Tenants".into(), now, live, brand: state.web.brand.clone() };
    let back = html! { p { a href="/" { "Back to the overview" } } };
    layout::page(StatusCode::OK, &frame, &html! { (banners.page(now)) (back) })
}

pub(in crate::web) async fn page(
    State(state): State<Arc<PageState>>,
    query: Result<Query<OverviewQuery>, QueryRejection>,
) -> Response {
    let now = state.web.clock.now();
    // An invalid query shows the whole list.
    let Query(query) = query.unwrap_or_default();
    let copy = state.web.board.read(|board| OverviewData::of(board, query.list(), now));
    let history = &state.history;
    let cards = join_all(copy.syncs.into_iter().map(|(name, of)| ConnectorCard::load(history, name, of)));
    let (days, changes, cards) = tokio::join!(history.days(now), history.changes(now), cards);
    let main = html! {
        (copy.head.section(&copy.rows, now))
        div class="pair" {
            (copy.banner.section(now))
            (events(&copy.open, now))
            (channels(&copy.channels, now))
            @if !copy.live { (next_steps(cards.is_empty())) }
        }
        (copy.rows.section(&days, now))
        div class="pair wide-left" {
            section aria-labelledby="connectors" {
                h2 id="connectors" { "Connectors" }
                @if cards.is_empty() {
                    p class="empty" { "No connector is enabled. A connector is enabled once its variables are set; " code { "connector list" } " names them." }
                }
                div class="cards" { @for card in &cards { (card.article(now)) } }
            }
            section aria-labelledby="changes" {
                h2 id="changes" { "Recent changes" }
                @match &changes {
                    Ok(changes) if changes.is_empty() => p class="empty" { "Nothing has changed in the last 30 days." },
                    Ok(changes) => (recent(changes, &query.changes, now)),
                    Err(e) => (unreadable("History", e)),
                }
            }
        }
    };
    let headline = &copy.head.headline;
    let title = match headline.problems {
        0 => headline.text.clone(),
        problems => format!("({problems}) {}", headline.text),
    };
    layout::page(
        StatusCode::OK,
        &PageFrame { title, now, live: copy.live, brand: state.web.brand.clone() },
        &main,
    )
}

/// The section of the overview that lists all monitors or connectors.
pub(in crate::web) async fn section(id: &'static str, RawQuery(query): RawQuery) -> Redirect {
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    Redirect::temporary(&format!("/{query}#{id}"))
}

/// The last changes, and a link to the rest of those that were loaded.
fn recent(changes: &[Transition], parameter: &str, now: Timestamp) -> Markup {
    let all = parameter == "all";
    let shown = if all { changes.len() } else { changes.len().min(CHANGES) };
    html! {
        (timeline::list(changes, shown, now, true))
        p class="more" {
            @if shown < changes.len() {
                a href="/?changes=all#changes" { (some((changes.len() - shown) as u64, "more change", "more changes")) }
            } @else if all {
                a href="/#changes" { "Fewer changes" }
            }
        }
    }
}

/// What to do after a first start.
fn next_steps(no_connector: bool) -> Markup {
    html! {
        section class="card" aria-labelledby="next" {
            h2 id="next" { "Next steps" }
            ol class="steps" {
                li { "Name your own status pages: " code { "init" } " creates the folder " code { "monitors" } "; each file in it needs a " code { "name" } " and a " code { "url" } "." }
                li { "Check the settings and definitions: " code { "validate" } "." }
                li { "Write the banner: set " code { "QLIK_TENANT_URL" } " and " code { "QLIK_API_KEY" } ", then restart." }
                @if no_connector { li { "Load data, if you need it: " code { "connector list" } " names the variables of each connector." } }
            }
        }
    }
}

impl OverviewHead {
    fn section(&self, rows: &MonitorRows, now: Timestamp) -> Markup {
        let class = self.headline.class;
        html! {
            section class={ "hero " (class) } aria-label="At a glance" {
                (mark(class))
                div {
                    h1 { (self.headline.text) }
                    p {
                        (some(rows.overall.total as u64, "monitor", "monitors")) " · "
                        @if let Some((leader, copied_at)) = &self.standby {
                            "standby: a copy of what "
                            @match leader { Some(leader) => { "the leader " (clean(leader, LINE)) " saved" }, None => "the last leader saved" }
                            ", read " @match copied_at { Some(at) => (ago(now, *at)), None => "never" }
                            "; times of polls may be 5 min old"
                        } @else {
                            @match self.cycle { Some(at) => { "last poll cycle " (ago(now, at)) }, None => "first poll cycle in progress" }
                        }
                    }
                    @for kind in &self.invalid {
                        p class="trouble" { (mark("minor")) "The " (kind) " definitions have an error; the last valid set stays in use. See the log." }
                    }
                    @if self.cycle.is_some() {
                        @for reason in &self.not_ready { p class="trouble" { (mark("minor")) "Not ready: " (clean(reason, LINE)) } }
                    }
                }
            }
        }
    }
}

impl ChannelRow {
    fn of(name: &str, view: &ChannelView) -> ChannelRow {
        ChannelRow { name: name.to_owned(), status: ChannelStatus::of(view), report: view.report.clone() }
    }
}

/// Where messages are sent, and whether they arrive; nothing without channels.
fn channels(rows: &[ChannelRow], now: Timestamp) -> Markup {
    html! {
        @if !rows.is_empty() {
            section class="card" aria-labelledby="channels" {
                h2 id="channels" { "Channels" }
                dl class="facts" {
                    @for ChannelRow { name, status, report } in rows {
                        div class="whole" {
                            dt { (clean(name, LINE)) " (" (report.kind) ")" }
                            dd {
                                @match (status, report.pending_since) {
                                    (ChannelStatus::Stopped, _) => { (mark("major")) "stopped, " },
                                    (ChannelStatus::Ok, _) if report.trouble.is_some() => { (mark("minor")) },
                                    (ChannelStatus::Ok, _) | (_, None) => {},
                                    (_, Some(since)) => { (mark("minor")) "a message is pending for " (lasting(now, since)) ", " },
                                }
                                @match report.delivered_at {
                                    Some(at) => { "last message " (ago(now, at)) },
                                    None => "no message yet",
                                }
                                @if let Some(trouble) = &report.trouble { p class="trouble" { (clean(trouble, LINE)) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Open incidents and maintenances of the status pages that list them; nothing if there are none.
fn events(rows: &[MonitorRow], now: Timestamp) -> Markup {
    let mut all: Vec<(&MonitorRow, &Event)> =
        rows.iter().flat_map(|row| row.open.iter().map(move |event| (row, event))).collect();
    all.sort_by_key(|(_, event)| (event.planned, std::cmp::Reverse(event.impact), event.begins));
    all.truncate(EVENTS);
    html! {
        @if !all.is_empty() {
            section class="card" aria-labelledby="open" {
                h2 id="open" { "Incidents and maintenance" }
                ul class="events" { @for (row, event) in all { (event_item(Some(row), event, now)) } }
            }
        }
    }
}

pub(super) fn event_item(row: Option<&MonitorRow>, event: &Event, now: Timestamp) -> Markup {
    let impact = if event.planned { Severity::Maintenance } else { event.impact };
    let upcoming = event.begins.filter(|at| *at > now);
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
                    @match (event.begins, upcoming) {
                        (_, Some(at)) => { "starts " (ahead(now, at)) },
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

pub(super) fn page_title(row: &MonitorRow) -> String {
    let label = row.status.label();
    let held =
        if row.status.held().is_some() && row.status.severity().is_some() { " (last known)" } else { "" };
    format!("{}: {label}{held}", clean(&row.name, 80))
}

#[cfg(test)]
pub(super) fn channel_card(board: &Board, now: Timestamp) -> Markup {
    channels(&OverviewData::of(board, MonitorListQuery::default(), now).channels, now)
}

#[cfg(test)]
pub(super) fn sections(board: &Board, now: Timestamp) -> (Markup, Markup) {
    let copy = OverviewData::of(board, MonitorListQuery::default(), now);
    (copy.head.section(&copy.rows, now), events(&copy.open, now))
}
