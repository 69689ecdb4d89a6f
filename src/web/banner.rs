//! The banner as the tenant's users see it, whose it is, and what is owed.

use jiff::Timestamp;
use maud::{Markup, html};

use super::words::{LINE, ago, ahead, clean, lasting, mark, outside};
use crate::domain::banner::{Banner, Kind};
use crate::runtime::board::Board;

/// A copy of what the page needs.
pub(super) struct Shown {
    live: bool,
    banner: Option<Banner>,
    ours: bool,
    owed_since: Option<Timestamp>,
    answered_at: Option<Timestamp>,
    trouble: Option<String>,
    lease: Option<(String, bool)>,
}

impl Shown {
    pub(super) fn of(board: &Board) -> Shown {
        let view = &board.banner;
        Shown {
            live: board.live,
            banner: view.shown.clone(),
            ours: view.ours,
            owed_since: view.owed_since,
            answered_at: view.answered_at,
            trouble: view.trouble.clone().or_else(|| view.memory_trouble.clone()),
            lease: board
                .lease
                .as_ref()
                .map(|lease| (lease.holder.clone().unwrap_or_else(|| "nobody".into()), lease.held)),
        }
    }

    /// The section.
    pub(super) fn section(&self, now: Timestamp) -> Markup {
        let visible = self.banner.as_ref().filter(|banner| banner.visible(now));
        html! {
            section class="card tenant" aria-labelledby="banner" {
                h2 id="banner" {
                    @if self.live { "What users of the tenant see" } @else { "What users of a tenant would see" }
                }
                @match visible {
                    Some(banner) => (strip(banner)),
                    None => p class="strip quiet" { "No banner" },
                }
                dl class="facts" {
                    div { dt { "Set by" } dd { (self.whose(visible)) } }
                    @if let Some(banner) = visible {
                        div { dt { "Up for" } dd { (lasting(now, banner.start_time)) } }
                        div { dt { @if self.ours { "Runs out" } @else { "Ends" } } dd { (ahead(now, banner.end_time)) } }
                    }
                    div { dt { "Still to write" } dd {
                        @match self.owed_since {
                            Some(since) => span class="badge minor" { (mark("minor")) "for " (lasting(now, since)) },
                            None => "nothing",
                        }
                    } }
                    div { dt { @if self.live { "Tenant answered" } @else { "Tenant" } } dd {
                        @match self.answered_at {
                            _ if !self.live => "none set",
                            Some(at) => (ago(now, at)),
                            None => "not yet",
                        }
                    } }
                    @if let Some((holder, held)) = &self.lease {
                        div { dt { "Who watches" } dd { (clean(holder, LINE)) @if *held { " (this daemon)" } } }
                    }
                }
                @if let Some(trouble) = &self.trouble {
                    p class="trouble" { (mark("minor")) (clean(trouble, LINE)) }
                }
                @if !self.live {
                    p class="note" { "Preview: no tenant is set, so nothing is written. Set the QLIK_ variables to go live." }
                }
            }
        }
    }

    fn whose(&self, visible: Option<&Banner>) -> &'static str {
        match (visible, self.ours) {
            (None, _) => "nobody",
            (Some(_), true) => "this monitor",
            (Some(_), false) => "a person",
        }
    }
}

fn strip(banner: &Banner) -> Markup {
    let (class, shape) = match &banner.kind {
        Kind::Error => ("error", "critical"),
        Kind::Warning => ("warning", "minor"),
        Kind::Resolved => ("resolved", "none"),
        Kind::Info | Kind::Other(_) => ("info", "maintenance"),
    };
    let link = banner.link_url.as_deref().filter(|_| banner.link_enabled);
    html! {
        div class={ "strip " (class) } {
            (mark(shape))
            p {
                span class="kind" { (clean(banner.kind.as_str(), 20)) }
                (clean(&banner.message, 1000)) " "
                @if let Some(url) = link {
                    (outside(url, banner.link_label.as_deref().unwrap_or("More")).unwrap_or_default())
                }
            }
        }
    }
}
