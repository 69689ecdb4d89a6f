//! `/api/v1/channels`: where messages about incidents are sent, and whether they arrive.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::values::{ApiTime, optional_time};
use crate::domain::monitoring::news::NewsState;
use crate::runtime::board::ChannelView;
use crate::web::state::WebState;
use crate::web::view::channels::ChannelStatus;

/// All enabled channels, by name; on a standby those that the leader saved.
#[derive(Debug, Serialize)]
pub(super) struct ChannelsReply {
    channels: Vec<ChannelEntry>,
}

#[derive(Debug, Serialize)]
struct ChannelEntry {
    name: String,
    kind: String,
    state: &'static str,
    /// The last message that the receiver confirmed.
    delivered_at: Option<ApiTime>,
    /// Since when a message is pending.
    pending_since: Option<ApiTime>,
    /// Why the last attempt failed.
    trouble: Option<String>,
    /// Since the daemon's start, by the state of the incident, zero counts included.
    messages: BTreeMap<&'static str, u64>,
    /// Since the daemon's start.
    failed_attempts: u64,
}

pub(super) async fn list(State(state): State<WebState>) -> Json<ChannelsReply> {
    let each = |(name, view): (&String, &ChannelView)| ChannelEntry::of(name, view);
    Json(state.board.read(|board| ChannelsReply { channels: board.channels.iter().map(each).collect() }))
}

impl ChannelEntry {
    fn of(name: &str, view: &ChannelView) -> ChannelEntry {
        let count = |state: NewsState| (state.as_str(), view.sent.get(&state).copied().unwrap_or(0));
        let report = &view.report;
        ChannelEntry {
            name: name.to_owned(),
            kind: report.kind.clone(),
            state: ChannelStatus::of(view).as_str(),
            delivered_at: optional_time(report.delivered_at),
            pending_since: optional_time(report.pending_since),
            trouble: report.trouble.clone(),
            messages: NewsState::ALL.into_iter().map(count).collect(),
            failed_attempts: view.failures,
        }
    }
}
