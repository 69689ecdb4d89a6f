//! The list of monitors, worst first: which of them are shown, and a row for each.

use jiff::Timestamp;
use jiff::civil::Date;
use maud::{Markup, html};

use super::charts;
use super::days::{self, STRIP};
use super::history::ByMonitor;
use super::records::Unreadable;
use super::view::{MonitorStatus, Overall};
use super::words::{LINE, ago, badge, brief, clean, lasting, outside, path, percent};
use crate::domain::assess::MonitorState;
use crate::domain::history::Day;
use crate::domain::observation::Event;
use crate::domain::severity::Severity;
use crate::runtime::board::{Board, MonitorView};

/// Rows on one page of the list.
pub(super) const ROWS: usize = 200;

/// A copy of what a row needs.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) state: MonitorState,
    pub(super) status: MonitorStatus,
    took: Option<std::time::Duration>,
    paused_until: Option<Timestamp>,
    pub(super) open: Vec<Event>,
}

/// The rows of one page.
pub(super) struct Rows {
    pub(super) rows: Vec<Row>,
    /// Those that fit the search.
    pub(super) fitting: usize,
    /// What is known of all monitors together.
    pub(super) overall: Overall,
    /// From 1.
    pub(super) page: usize,
    search: String,
}

impl Rows {
    /// The page that was asked for, or the last there is. What is sought stands in the name or the description.
    pub(super) fn of(board: &Board, search: &str, page: usize, now: Timestamp) -> Rows {
        let sought = search.trim().to_lowercase();
        let status = |view: &MonitorView| MonitorStatus::of(view, board, now);
        let fits = |name: &str, view: &MonitorView| {
            sought.is_empty()
                || name.to_lowercase().contains(&sought)
                || view.state.description.to_lowercase().contains(&sought)
                || status(view).label().to_lowercase().contains(&sought)
        };
        let mut found: Vec<(&String, &MonitorView)> =
            board.monitors.iter().filter(|(name, view)| fits(name, view)).collect();
        // Worst first; of equals those that cannot be read, then the longest; the board is in order of names.
        found.sort_by_key(|(_, view)| {
            let state = &view.state;
            (std::cmp::Reverse((state.severity, status(view).known().is_none())), state.since)
        });
        let fitting = found.len();
        let page = page.clamp(1, fitting.div_ceil(ROWS).max(1));
        let shown = found.into_iter().skip((page - 1) * ROWS).take(ROWS);
        Rows {
            rows: shown.map(|(name, view)| Row::of(name, view, board, now)).collect(),
            fitting,
            overall: Overall::of(board, now),
            page,
            search: clean(search, 100),
        }
    }

    /// The section.
    pub(super) fn section(
        &self,
        days: &Result<std::sync::Arc<ByMonitor>, Unreadable>,
        now: Timestamp,
    ) -> Markup {
        html! {
            section aria-labelledby="monitors" {
                div class="heading" {
                    h2 id="monitors" { "Monitors" }
                    form class="search" role="search" method="get" action="/" {
                        label class="hidden" for="q" { "Search monitors" }
                        input id="q" name="q" type="search" placeholder="Search monitors" value=(self.search) maxlength="100" autocomplete="off" data-search;
                        button class="quiet" { "Search" }
                    }
                }
                @if let Err(e) = days { (super::layout::unreadable("History", e)) }
                @if self.rows.is_empty() {
                    p class="empty" {
                        @if self.overall.total == 0 { "No monitor is defined." } @else { "No monitor fits “" (self.search) "”. " a href="/" { "Show all" } }
                    }
                } @else {
                    ul class="monitors" {
                        @for row in &self.rows {
                            (row.item(days.as_ref().ok().and_then(|days| days.get(&row.name)).map(Vec::as_slice), now))
                        }
                    }
                    (self.pages())
                    (legend())
                }
            }
        }
    }

    fn pages(&self) -> Markup {
        let last = self.fitting.div_ceil(ROWS);
        let first = (self.page - 1) * ROWS;
        let to = |page: usize| {
            let q: String = url::form_urlencoded::byte_serialize(self.search.as_bytes()).collect();
            if q.is_empty() {
                format!("/?page={page}#monitors")
            } else {
                format!("/?q={q}&page={page}#monitors")
            }
        };
        html! {
            @if last > 1 {
                nav class="pages" aria-label="Pages of monitors" {
                    @if self.page > 1 { a rel="prev" href=(to(self.page - 1)) { "← Worse" } }
                    span { (first + 1) "–" (first + self.rows.len()) " of " (super::words::count(self.fitting as u64)) }
                    @if self.page < last { a rel="next" href=(to(self.page + 1)) { "More →" } }
                }
            } @else if self.fitting < self.overall.total {
                nav class="pages" aria-label="Pages of monitors" {
                    span { (self.fitting) " of " (self.overall.total) } a href="/#monitors" { "Show all" }
                }
            }
        }
    }
}

impl Row {
    pub(super) fn of(name: &str, view: &MonitorView, board: &Board, now: Timestamp) -> Row {
        Row {
            name: name.to_owned(),
            state: view.state.clone(),
            status: MonitorStatus::of(view, board, now),
            // The age of our own data takes no time to look at.
            took: (!view.took.is_zero()).then_some(view.took),
            paused_until: view.paused_until,
            open: view.open.clone().unwrap_or_default(),
        }
    }

    /// Since when its status is what it is: a healthy monitor that is unknown now is that, not healthy.
    pub(super) fn since(&self) -> Option<Timestamp> {
        match self.status.held() {
            Some((Severity::None, since)) => Some(since),
            Some(_) | None => self.state.since,
        }
    }

    fn item(&self, kept: Option<&[(Date, Day)]>, now: Timestamp) -> Markup {
        let state = &self.state;
        let cells = days::cells(kept.unwrap_or_default(), self.status.known(), now, STRIP);
        html! {
            li class={ "monitor " (self.status.class()) } {
                div class="what" {
                    h3 { a href=(path("monitors", &self.name)) { (clean(&self.name, LINE)) } }
                    p class="say" { (self.says()) }
                    @if let Some(until) = self.paused_until.filter(|until| *until > now) {
                        p class="say" { "Not polled for another " (lasting(until, now)) ", as the page asked (Retry-After)." }
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
                    div { dt { "Read" } dd { @match state.read_at { Some(at) => (ago(now, at)), None => "never" } } }
                    div { dt { "Took" } dd { @match self.took { Some(took) => (brief(took)), None => "–" } } }
                }
            }
        }
    }

    fn says(&self) -> Markup {
        let state = &self.state;
        html! {
            @if let Some(unread) = &state.unknown {
                "Cannot be read: " (clean(&unread.reason.to_string(), LINE)) "."
                @if state.read_at.is_some() { " Held: " (clean(&state.description, LINE)) "." }
            } @else if state.read_at.is_none() {
                "Waiting for the first answer"
            } @else {
                @if let MonitorStatus::Stale(..) = self.status { "Not polled lately. Held: " }
                (clean(&state.description, LINE)) " "
                @if let Some(link) = &state.link { (outside(&link.url, &link.label).unwrap_or_default()) }
            }
        }
    }
}

/// What the bars mean.
pub(super) fn legend() -> Markup {
    html! {
        div class="legend" {
            ul {
                @for (class, word) in [("none", "Operational"), ("maintenance", "Maintenance"), ("minor", "Minor"), ("major", "Major"), ("critical", "Critical"), ("unwatched", "Not watched")] {
                    li { span class={ "swatch " (class) } {} (word) }
                }
            }
            p { "A bar is a day, by its worst moment. " (days::UPTIME) }
        }
    }
}
