//! `/api/v1/tenants`: the banner of each tenant, who set it, and pending writes; `/api/v1/banner` for the only tenant.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use jiff::Timestamp;
use serde::Serialize;

use super::problem::ApiProblem;
use super::values::{ApiTime, optional_time};
use crate::domain::monitoring::audience::tenant::DEFAULT;
use crate::domain::monitoring::banner;
use crate::domain::monitoring::plan::Why;
use crate::runtime::board::{BannerView, Board};
use crate::web::state::WebState;
use crate::web::view::status::{banner_report, banner_word};

#[derive(Debug, Serialize)]
pub(super) struct BannerReply {
    /// `live`, or `preview` without a tenant.
    mode: &'static str,
    /// `daemon`, `leader` (this is a standby, which shows what the leader saved), or `None` if nothing is known.
    source: Option<&'static str>,
    /// The banner in the tenant's slot, enabled or not; `None` if it is empty or was not read yet.
    shown: Option<BannerContent>,
    /// `daemon` or `person`.
    owner: Option<&'static str>,
    /// The manual banner that is restored after the incident.
    displaced: Option<BannerContent>,
    /// Since when a write is pending.
    owed_since: Option<ApiTime>,
    /// Last successful response of the tenant.
    answered_at: Option<ApiTime>,
    /// Why the last request failed.
    trouble: Option<String>,
    /// Since the daemon's start.
    writes: BannerWrites,
}

#[derive(Debug, Serialize)]
struct BannerContent {
    /// `info`, `warning`, `error` or `resolved`; the tenant may add others.
    #[serde(rename = "type")]
    kind: String,
    enabled: bool,
    message: String,
    starts_at: ApiTime,
    ends_at: ApiTime,
    link_url: Option<String>,
    link_label: Option<String>,
}

#[derive(Debug, Serialize)]
struct BannerWrites {
    /// By reason, zero counts included.
    accepted: BTreeMap<&'static str, u64>,
    /// Reads of the tenant that found nothing to write.
    avoided: u64,
    failed_exchanges: u64,
}

/// All tenants.
#[derive(Debug, Serialize)]
pub(super) struct TenantsReply {
    tenants: Vec<TenantEntry>,
}

#[derive(Debug, Serialize)]
pub(super) struct TenantEntry {
    name: String,
    /// `None` in preview.
    url: Option<String>,
    /// See [`banner_word`].
    state: &'static str,
    banner: BannerReply,
}

/// The banner of the tenant `default`, or of the first tenant by name.
pub(super) async fn get(State(state): State<WebState>) -> Json<BannerReply> {
    let now = state.clock.now();
    Json(state.board.read(|board| {
        let view = board.banners.get(DEFAULT).or_else(|| board.banners.values().next());
        BannerReply::of(board, view.unwrap_or(&BannerView::default()), now)
    }))
}

pub(super) async fn list(State(state): State<WebState>) -> Json<TenantsReply> {
    let now = state.clock.now();
    let entries = |board: &Board| {
        board.banners.iter().map(|(name, view)| TenantEntry::of(name, board, view, now)).collect()
    };
    Json(TenantsReply { tenants: state.board.read(entries) })
}

pub(super) async fn one(
    State(state): State<WebState>,
    Path(name): Path<String>,
) -> Result<Json<TenantEntry>, ApiProblem> {
    let now = state.clock.now();
    let found = state
        .board
        .read(|board| board.banners.get(&name).map(|view| TenantEntry::of(&name, board, view, now)));
    found.map(Json).ok_or_else(|| ApiProblem::unknown("tenant", &name, "/api/v1/tenants"))
}

impl TenantEntry {
    fn of(name: &str, board: &Board, view: &BannerView, now: Timestamp) -> TenantEntry {
        let url = board.live.then(|| view.url.clone());
        let state = banner_word(&banner_report(board, view, now), now);
        TenantEntry { name: name.to_owned(), url, state, banner: BannerReply::of(board, view, now) }
    }
}

impl BannerReply {
    fn of(board: &Board, view: &BannerView, now: Timestamp) -> BannerReply {
        let report = banner_report(board, view, now);
        let count = |why: Why| (why.as_str(), view.writes.get(why.as_str()).copied().unwrap_or(0));
        BannerReply {
            mode: if board.live { "live" } else { "preview" },
            source: report.is_known().then_some(if board.leads() { "daemon" } else { "leader" }),
            shown: report.shown.as_ref().map(BannerContent::from),
            owner: report.shown.as_ref().map(|_| if report.ours { "daemon" } else { "person" }),
            displaced: report.displaced.as_ref().map(BannerContent::from),
            owed_since: optional_time(report.pending_since),
            answered_at: optional_time(report.answered_at),
            trouble: report.trouble,
            writes: BannerWrites {
                accepted: Why::ALL.into_iter().map(count).collect(),
                avoided: view.avoided,
                failed_exchanges: view.failures,
            },
        }
    }
}

impl From<&banner::Banner> for BannerContent {
    fn from(banner: &banner::Banner) -> BannerContent {
        let linked = |text: &Option<String>| text.clone().filter(|_| banner.link_enabled);
        BannerContent {
            kind: banner.kind.as_str().to_owned(),
            enabled: banner.enabled,
            message: banner.message.clone(),
            starts_at: ApiTime(banner.start_time),
            ends_at: ApiTime(banner.end_time),
            link_url: linked(&banner.link_url),
            link_label: linked(&banner.link_label),
        }
    }
}
