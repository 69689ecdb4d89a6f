//! The banners as the tenants' users see them, who set them, and pending writes.

use jiff::Timestamp;
use maud::{Markup, html};

use crate::domain::monitoring::banner::report::BannerReport;
use crate::domain::monitoring::banner::{Banner, BannerKind};
use crate::runtime::board::Board;
use crate::web::view::status::banner_report;
use crate::web::view::words::{LINE, ago, ahead, clean, lasting, mark, outside};

/// Tenants on the overview. All of them are on a page of their own.
const SHOWN: usize = 12;

/// The banners of all tenants, those that need attention first.
pub(super) struct BannerSection {
    live: bool,
    tenants: Vec<TenantBanner>,
}

struct TenantBanner {
    /// Empty before the first tenant is known.
    name: String,
    live: bool,
    report: BannerReport,
    state_error: Option<String>,
    /// The leader, and whether it is this daemon.
    lease: Option<(Option<String>, bool)>,
}

impl BannerSection {
    pub(super) fn of(board: &Board, now: Timestamp) -> BannerSection {
        let lease = board.lease.as_ref().map(|lease| (lease.holder.clone(), lease.held));
        let tenant = |name: &str, report: BannerReport, state_error: Option<String>| TenantBanner {
            name: name.to_owned(),
            live: board.live,
            report,
            state_error,
            lease: lease.clone(),
        };
        let mut tenants: Vec<TenantBanner> = board
            .banners
            .iter()
            .map(|(name, view)| tenant(name, banner_report(board, view, now), view.state_error.clone()))
            .collect();
        tenants.sort_by_key(|tenant| tenant.calm(now));
        if tenants.is_empty() {
            tenants.push(tenant("", BannerReport::default(), None));
        }
        BannerSection { live: board.live, tenants }
    }

    /// The part of the overview.
    pub(super) fn section(&self, now: Timestamp) -> Markup {
        let title = match (&*self.tenants, self.live) {
            ([_], true) => "What users of the tenant see",
            ([_], false) => "What users of a tenant would see",
            _ => "What users of the tenants see",
        };
        html! {
            section class="card tenant" aria-labelledby="banner" {
                h2 id="banner" { (title) }
                @match &*self.tenants {
                    [tenant] => (tenant.banner(now)),
                    tenants => {
                        (list(&tenants[..tenants.len().min(SHOWN)], now))
                        @if tenants.len() > SHOWN {
                            p class="note" { a href="/tenants" { "All " (tenants.len()) " tenants" } }
                        }
                    }
                }
            }
        }
    }

    /// All tenants.
    pub(super) fn page(&self, now: Timestamp) -> Markup {
        html! {
            h1 { "Tenants" }
            section class="card tenant" aria-label="Banners" { (list(&self.tenants, now)) }
        }
    }
}

fn list(tenants: &[TenantBanner], now: Timestamp) -> Markup {
    html! {
        ul class="tenants" {
            @for tenant in tenants {
                li {
                    h3 { (clean(&tenant.name, LINE)) }
                    (tenant.strip_or_words(now))
                    @if let Some(trouble) = tenant.trouble() { p class="trouble" { (mark("minor")) (clean(trouble, LINE)) } }
                    details { summary { "Details of " (clean(&tenant.name, LINE)) } (tenant.rest(now)) }
                }
            }
        }
    }
}

impl TenantBanner {
    fn visible(&self, now: Timestamp) -> Option<&Banner> {
        self.report.shown.as_ref().filter(|banner| banner.visible(now))
    }

    /// Sorts what needs attention first.
    fn calm(&self, now: Timestamp) -> (bool, bool) {
        let troubled = self.trouble().is_some() || self.report.pending_since.is_some();
        (!troubled, self.visible(now).is_none())
    }

    fn trouble(&self) -> Option<&String> {
        self.report.trouble.as_ref().or(self.state_error.as_ref())
    }

    fn strip_or_words(&self, now: Timestamp) -> Markup {
        match self.visible(now) {
            Some(banner) => strip(banner),
            None => html! { p class="strip quiet" { (self.without_banner()) } },
        }
    }

    /// What is beside the banner itself.
    fn rest(&self, now: Timestamp) -> Markup {
        html! {
            @if let Some(theirs) = &self.report.displaced {
                p class="displaced" {
                    "A manual banner was replaced. It will be restored when the incident is over (it ends "
                    (ahead(now, theirs.end_time)) "): " q { (clean(&theirs.message, 1000)) }
                }
            }
            (self.facts(self.visible(now), now))
        }
    }

    fn banner(&self, now: Timestamp) -> Markup {
        html! {
            (self.strip_or_words(now))
            (self.rest(now))
            @if let Some(trouble) = self.trouble() {
                p class="trouble" { (mark("minor")) (clean(trouble, LINE)) }
            }
            @if !self.live {
                p class="note" { "Preview: no tenant is configured, so nothing is written." }
            }
        }
    }

    fn facts(&self, visible: Option<&Banner>, now: Timestamp) -> Markup {
        html! {
            dl class="facts" {
                @if let Some(banner) = visible {
                    div { dt { "Set by" } dd { @if self.report.ours { "this monitor" } @else { "a person" } } }
                    div { dt { "Shown for" } dd { (lasting(now, banner.start_time)) } }
                    div { dt { @if self.report.ours { "Expires" } @else { "Ends" } } dd { (ahead(now, banner.end_time)) } }
                }
                @if self.report.is_known() || self.report.pending_since.is_some() {
                    div { dt { "Pending write" } dd {
                        @match self.report.pending_since {
                            Some(since) => span class="badge minor" { (mark("minor")) "for " (lasting(now, since)) },
                            None => "none",
                        }
                    } }
                }
                @if !self.live {
                    div { dt { "Tenant" } dd { "not configured" } }
                } @else if let Some(at) = self.report.answered_at {
                    div { dt { "Tenant answered" } dd { (ago(now, at)) } }
                }
                @if let Some((holder, held)) = &self.lease {
                    div class="whole" { dt { "Leader" } dd {
                        (clean(holder.as_deref().unwrap_or("none"), LINE)) @if *held { " (this daemon)" }
                    } }
                }
            }
        }
    }

    /// What stands in the place of the banner. An unread tenant is not one without a banner.
    fn without_banner(&self) -> String {
        match &self.lease {
            _ if self.report.is_known() => "No banner".to_owned(),
            Some((Some(leader), false)) => format!("The leader {} shows it", clean(leader, LINE)),
            Some((None, false)) => "Not known: no daemon is the leader".to_owned(),
            _ if self.live => "The tenant has not been read yet".to_owned(),
            _ => "No assessment yet".to_owned(),
        }
    }
}

fn strip(banner: &Banner) -> Markup {
    let (class, shape) = match &banner.kind {
        BannerKind::Error => ("error", "critical"),
        BannerKind::Warning => ("warning", "minor"),
        BannerKind::Resolved => ("resolved", "none"),
        BannerKind::Info | BannerKind::Other(_) => ("info", "maintenance"),
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
