//! The list of monitors, worst first: which of them are shown, and a row for each.

use jiff::Timestamp;
use jiff::civil::Date;
use maud::{Markup, html};

use super::charts;
use super::days::{self, STRIP};
use super::history::ByMonitor;
use super::records::Unreadable;
use super::words::{LINE, Look, ago, badge, brief, clean, lasting, outside, path, percent};
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
    took: Option<std::time::Duration>,
    paused_until: Option<Timestamp>,
    pub(super) open: Vec<Event>,
}

/// The rows of one page.
pub(super) struct Rows {
    pub(super) rows: Vec<Row>,
    /// Monitors in all.
    pub(super) all: usize,
    /// Those that fit the search.
    pub(super) fitting: usize,
    /// Those that cannot be read.
    pub(super) unread: usize,
    /// From 1.
    pub(super) page: usize,
    search: String,
}

/// What is to be seen of a monitor.
pub(super) fn look(state: &MonitorState) -> Look {
    match (&state.unknown, state.read_at) {
        (None, None) => Look::Never,
        (Some(_), None) => Look::Blind,
        (Some(_), Some(_)) => Look::Held(state.severity),
        (None, Some(_)) => Look::Read(state.severity),
    }
}

/// Since when it is what is to be seen of it: a healthy monitor that cannot be read is unreadable, not healthy.
pub(super) fn since(state: &MonitorState) -> Option<Timestamp> {
    match &state.unknown {
        Some(unread) if state.severity == Severity::None => Some(unread.since),
        Some(_) | None => state.since,
    }
}

impl Rows {
    /// The page that was asked for, or the last there is. What is sought stands in the name or the description.
    pub(super) fn of(board: &Board, search: &str, page: usize) -> Rows {
        let sought = search.trim().to_lowercase();
        let fits = |name: &str, view: &MonitorView| {
            sought.is_empty()
                || name.to_lowercase().contains(&sought)
                || view.state.description.to_lowercase().contains(&sought)
                || look(&view.state).word().to_lowercase().contains(&sought)
        };
        let mut found: Vec<(&String, &MonitorView)> =
            board.monitors.iter().filter(|(name, view)| fits(name, view)).collect();
        // Worst first; of equals those that cannot be read, then the longest; the board is in order of names.
        found.sort_by_key(|(_, view)| {
            let state = &view.state;
            (std::cmp::Reverse((state.severity, look(state) != Look::Read(state.severity))), state.since)
        });
        let fitting = found.len();
        let page = page.clamp(1, fitting.div_ceil(ROWS).max(1));
        let shown = found.into_iter().skip((page - 1) * ROWS).take(ROWS);
        Rows {
            rows: shown.map(|(name, view)| Row::of(name, view)).collect(),
            all: board.monitors.len(),
            fitting,
            unread: board.monitors.values().filter(|view| view.state.unknown.is_some()).count(),
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
                        @if self.all == 0 { "No monitor is defined." } @else { "No monitor fits “" (self.search) "”. " a href="/" { "Show all" } }
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
            } @else if self.fitting < self.all {
                nav class="pages" aria-label="Pages of monitors" {
                    span { (self.fitting) " of " (self.all) } a href="/#monitors" { "Show all" }
                }
            }
        }
    }
}

impl Row {
    pub(super) fn of(name: &str, view: &MonitorView) -> Row {
        Row {
            name: name.to_owned(),
            state: view.state.clone(),
            // The age of our own data takes no time to look at.
            took: (!view.took.is_zero()).then_some(view.took),
            paused_until: view.paused_until,
            open: view.open.clone().unwrap_or_default(),
        }
    }

    fn item(&self, kept: Option<&[(Date, Day)]>, now: Timestamp) -> Markup {
        let state = &self.state;
        let look = look(state);
        let cells = days::cells(kept.unwrap_or_default(), believed(state), now, STRIP);
        html! {
            li class={ "monitor " (look.class()) } {
                div class="what" {
                    h3 { a href=(path("monitors", &self.name)) { (clean(&self.name, LINE)) } }
                    p class="say" { (self.says()) }
                    @if let Some(until) = self.paused_until.filter(|until| *until > now) {
                        p class="say" { "Not polled for another " (lasting(until, now)) ", as the page asked (Retry-After)." }
                    }
                }
                div class="state" {
                    (badge(look))
                    @if let Some(since) = since(state) { p class="when" { "for " (lasting(now, since)) } }
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
                (clean(&state.description, LINE)) " "
                @if let Some(link) = &state.link { (outside(&link.url, &link.label).unwrap_or_default()) }
            }
        }
    }
}

/// What is believed now, as far as it counts as watched.
pub(super) fn believed(state: &MonitorState) -> Option<Severity> {
    state.read_at.filter(|_| state.unknown.is_none()).map(|_| state.severity)
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
