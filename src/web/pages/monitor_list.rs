//! The list of monitors, worst first: search, filters, paging, and a row for each.

use jiff::Timestamp;
use jiff::civil::Date;
use maud::{Markup, html};

use crate::domain::monitoring::assess::MonitorState;
use crate::domain::monitoring::history::Day;
use crate::domain::monitoring::observation::Event;
use crate::domain::monitoring::severity::Severity;
use crate::runtime::board::{Board, MonitorView};
use crate::web::view::charts;
use crate::web::view::days::{self, STRIP};
use crate::web::view::history::DaysByMonitor;
use crate::web::view::listing::{self, ListItem, StateFilter};
use crate::web::view::records::RecordError;
use crate::web::view::status::{MonitorStatus, OverallStatus};
use crate::web::view::words::{LINE, ago, badge, brief, clean, lasting, outside, path, percent};

/// Rows on one page of the list.
pub(super) const ROWS: usize = 200;

pub(super) struct MonitorRow {
    pub(super) name: String,
    pub(super) state: MonitorState,
    pub(super) status: MonitorStatus,
    took: Option<std::time::Duration>,
    paused_until: Option<Timestamp>,
    muted_until: Option<Timestamp>,
    tags: Vec<String>,
    pub(super) open: Vec<Event>,
}

/// Which part of the list is shown, and how.
#[derive(Debug, Clone, Default)]
pub(super) struct MonitorListQuery {
    pub(super) search: String,
    pub(super) state: StateFilter,
    /// Empty: any.
    pub(super) tag: String,
    /// One short line for each monitor.
    pub(super) compact: bool,
    /// From 1.
    pub(super) page: usize,
}

pub(super) struct MonitorRows {
    pub(super) rows: Vec<MonitorRow>,
    /// Monitors that match the filters, on all pages.
    pub(super) matching: usize,
    pub(super) overall: OverallStatus,
    query: MonitorListQuery,
}

impl MonitorListQuery {
    /// The address of the list with other parameters; empty ones are left out.
    fn address(&self, change: impl FnOnce(&mut MonitorListQuery)) -> String {
        let mut query = self.clone();
        change(&mut query);
        let page = if query.page > 1 { query.page.to_string() } else { String::new() };
        let view = if query.compact { "compact" } else { "" };
        let pairs = [
            ("q", query.search.as_str()),
            ("state", query.state.word()),
            ("tag", query.tag.as_str()),
            ("view", view),
            ("page", page.as_str()),
        ];
        let pairs = pairs.into_iter().filter(|(_, value)| !value.is_empty());
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        if query.is_empty() { "/#monitors".to_owned() } else { format!("/?{query}#monitors") }
    }

    fn is_filtered(&self) -> bool {
        !self.search.is_empty() || !self.tag.is_empty() || self.state != StateFilter::All
    }
}

impl MonitorRows {
    /// The given page, or the last there is. The search covers name, tags, description and status.
    pub(super) fn of(board: &Board, mut query: MonitorListQuery, now: Timestamp) -> MonitorRows {
        let needle = query.search.trim().to_lowercase();
        let contains = |text: &str| text.to_lowercase().contains(&needle);
        let mut found: Vec<ListItem<'_, &MonitorView>> = board
            .monitors
            .iter()
            .map(|(name, view)| ListItem {
                name,
                tags: &view.tags,
                status: MonitorStatus::of(view, board, now),
                what: view,
            })
            .filter(|item| {
                let sought = needle.is_empty()
                    || contains(item.name)
                    || contains(&item.what.state.description)
                    || contains(item.status.label())
                    || item.tags.iter().any(|tag| contains(tag));
                let tagged = query.tag.is_empty() || item.tags.contains(&query.tag);
                sought && tagged && query.state.matches(item.status)
            })
            .collect();
        listing::arrange(&mut found);
        let matching = found.len();
        query.page = query.page.clamp(1, matching.div_ceil(ROWS).max(1));
        query.search = clean(&query.search, 100);
        let shown = found.into_iter().skip((query.page - 1) * ROWS).take(ROWS);
        MonitorRows {
            rows: shown.map(|item| MonitorRow::of(item.name, item.what, board, now)).collect(),
            matching,
            overall: OverallStatus::of(board, now),
            query,
        }
    }

    pub(super) fn section(
        &self,
        days: &Result<std::sync::Arc<DaysByMonitor>, RecordError>,
        now: Timestamp,
    ) -> Markup {
        html! {
            section aria-labelledby="monitors" {
                (self.heading())
                @if let Err(e) = days { (super::layout::unreadable("History", e)) }
                @if self.rows.is_empty() { (self.empty()) } @else {
                    @for group in self.rows.chunk_by(|a, b| a.tags.first() == b.tags.first()) {
                        (self.group(group, days, now))
                    }
                    (self.pages())
                    @if !self.query.compact { (legend("bar")) }
                }
            }
        }
    }

    /// Monitors of one group. It has a heading only where there are tags.
    fn group(
        &self,
        rows: &[MonitorRow],
        days: &Result<std::sync::Arc<DaysByMonitor>, RecordError>,
        now: Timestamp,
    ) -> Markup {
        let tag = rows.first().and_then(|row| row.tags.first());
        let tagged = self.rows.iter().any(|row| !row.tags.is_empty());
        html! {
            @if tagged {
                h3 class="group" {
                    @match tag {
                        Some(tag) => a href=(self.query.address(|query| (query.tag, query.page) = (tag.clone(), 1))) { (clean(tag, LINE)) },
                        None => "Without a tag",
                    }
                    " " span class="when" { (rows.len()) }
                }
            }
            ul class=(if self.query.compact { "monitors compact" } else { "monitors" }) {
                @for row in rows {
                    @if self.query.compact { (row.compact(now)) } @else {
                        (row.item(days.as_ref().ok().and_then(|days| days.get(&row.name)).map(Vec::as_slice), now))
                    }
                }
            }
        }
    }

    fn heading(&self) -> Markup {
        let query = &self.query;
        html! {
            div class="heading" {
                h2 id="monitors" { "Monitors" }
                nav class="filters" aria-label="Monitors by state" {
                    @for state in StateFilter::ALL {
                        @let address = query.address(|query| (query.state, query.page) = (state, 1));
                        a href=(address) aria-current=[(state == query.state).then_some("true")] { (state.label()) }
                    }
                    a class="view" href=(query.address(|query| query.compact = !query.compact)) {
                        @if query.compact { "Full rows" } @else { "Compact" }
                    }
                }
                form class="search" role="search" method="get" action="/" {
                    label class="hidden" for="q" { "Search monitors" }
                    input id="q" name="q" type="search" placeholder="Search monitors" value=(query.search) maxlength="100" autocomplete="off" data-search;
                    @if query.state != StateFilter::All { input type="hidden" name="state" value=(query.state.word()); }
                    @if !query.tag.is_empty() { input type="hidden" name="tag" value=(query.tag); }
                    @if query.compact { input type="hidden" name="view" value="compact"; }
                    button class="quiet" { "Search" }
                }
            }
        }
    }

    fn empty(&self) -> Markup {
        let query = &self.query;
        let show_all = query.address(|query| {
            (query.state, query.page) = (StateFilter::All, 1);
            query.search.clear();
            query.tag.clear();
        });
        html! {
            p class="empty" {
                @if self.overall.total == 0 {
                    "No monitor is defined. Add a file with " code { "name" } " and " code { "url" } " to the folder MONITORS_DIR."
                } @else if query.search.is_empty() {
                    "No monitor has this state. " a href=(show_all) { "Show all" }
                } @else {
                    "No monitor matches “" (query.search) "”. " a href=(show_all) { "Show all" }
                }
            }
        }
    }

    fn pages(&self) -> Markup {
        let last = self.matching.div_ceil(ROWS);
        let current = self.query.page;
        let first = (current - 1) * ROWS;
        let to = |page: usize| self.query.address(|query| query.page = page);
        html! {
            @if last > 1 {
                nav class="pages" aria-label="Pages of monitors" {
                    @if current > 1 { a rel="prev" href=(to(current - 1)) { "← Previous" } }
                    span { (first + 1) "–" (first + self.rows.len()) " of " (crate::web::view::words::count(self.matching as u64)) }
                    @if current < last { a rel="next" href=(to(current + 1)) { "Next →" } }
                }
            } @else if self.query.is_filtered() {
                nav class="pages" aria-label="Pages of monitors" {
                    span { (self.matching) " of " (self.overall.total) } a href="/#monitors" { "Show all" }
                }
            }
        }
    }
}

impl MonitorRow {
    pub(super) fn of(name: &str, view: &MonitorView, board: &Board, now: Timestamp) -> MonitorRow {
        MonitorRow {
            name: name.to_owned(),
            state: view.state.clone(),
            status: MonitorStatus::of(view, board, now),
            // A freshness monitor reads our own data, which takes no time.
            took: (!view.took.is_zero()).then_some(view.took),
            paused_until: view.paused_until,
            muted_until: view.muted(now),
            tags: view.tags.clone(),
            open: view.open.clone().unwrap_or_default(),
        }
    }

    /// Since when it has its status: for a healthy monitor that became unknown, since then.
    pub(super) fn since(&self) -> Option<Timestamp> {
        match self.status.held() {
            Some((Severity::None, since)) => Some(since),
            Some(_) | None => self.state.since,
        }
    }

    fn item(&self, stored: Option<&[(Date, Day)]>, now: Timestamp) -> Markup {
        let state = &self.state;
        let cells = days::cells(stored.unwrap_or_default(), self.status.known(), now, STRIP);
        html! {
            li class={ "monitor " (self.status.class()) } {
                div class="what" {
                    h3 { a href=(path("monitors", &self.name)) { (clean(&self.name, LINE)) } }
                    p class="say" { (self.description()) }
                    @if let Some(until) = self.muted_until {
                        p class="say" { "Muted until " (until.strftime("%Y-%m-%d %H:%M UTC").to_string()) ": left out of the banner." }
                    }
                    @if let Some(until) = self.paused_until.filter(|until| *until > now) {
                        p class="say" { "Paused for another " (lasting(until, now)) ": the status page sent Retry-After." }
                    }
                }
                div class="state" {
                    (badge(self.status))
                    @if let Some(since) = self.since() { p class="when" { "for " (lasting(now, since)) } }
                }
                div class="past" {
                    (charts::strip(&cells))
                    p class="axis" {
                        span { (STRIP) " days ago" }
                        span class="uptime" {
                            @match days::uptime(&cells) {
                                Some((share, _)) => { strong { (percent(share)) } " uptime" }
                                None => "no history yet",
                            }
                        }
                        span { "today" }
                    }
                }
                dl class="read" {
                    div { dt { "Last read" } dd { @match state.read_at { Some(at) => (ago(now, at)), None => "never" } } }
                    @if let Some(took) = self.took { div { dt { "Response" } dd { (brief(took)) } } }
                }
            }
        }
    }

    /// One line: status, name, since when.
    fn compact(&self, now: Timestamp) -> Markup {
        html! {
            li class={ "monitor " (self.status.class()) } {
                a class="name" href=(path("monitors", &self.name)) { (clean(&self.name, LINE)) }
                (badge(self.status))
                @if self.muted_until.is_some() { span class="when" { "muted" } }
                span class="when" { @if let Some(since) = self.since() { (lasting(now, since)) } }
            }
        }
    }

    fn description(&self) -> Markup {
        let state = &self.state;
        html! {
            @if let Some(unread) = &state.unknown {
                "Cannot be read: " (clean(&unread.reason.to_string(), LINE)) "."
                @if state.read_at.is_some() { " Last known: " (clean(&state.description, LINE)) "." }
            } @else if state.read_at.is_none() {
                "Waiting for the first poll"
            } @else {
                @if let MonitorStatus::Stale(..) = self.status { "Not polled recently. Last known: " }
                (clean(&state.description, LINE)) " "
                @if let Some(link) = &state.link { (outside(&link.url, &link.label).unwrap_or_default()) }
            }
        }
    }
}

/// `mark` is the shape of a day: a bar or a square.
pub(super) fn legend(mark: &str) -> Markup {
    html! {
        div class={ "legend of-" (mark) } {
            ul {
                @for (class, word) in [("none", "Operational"), ("maintenance", "Maintenance"), ("minor", "Minor"), ("major", "Major"), ("critical", "Critical"), ("unwatched", "Not monitored")] {
                    li { span class={ "swatch " (class) } {} (word) }
                }
            }
            p { "Each " (mark) " is a day, colored by its worst severity. " (days::UPTIME) }
        }
    }
}
