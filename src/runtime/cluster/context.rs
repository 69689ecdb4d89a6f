//! What terms and standby share.

use std::time::Duration;

use tokio::sync::watch;

use crate::domain::monitoring::assess::MonitorState;
use crate::domain::monitoring::news::ChannelState;
use crate::runtime::board::BoardWriter;
use crate::runtime::last_successes::LastSuccesses;
use crate::runtime::lease::{LeaseStatus, Right};
use crate::runtime::monitoring::deliveries::KeptDeliveries;
use crate::runtime::monitoring::messenger::{KeptChannel, KeptChannels};
use crate::runtime::monitoring::tenants::SavedBanners;
use crate::runtime::{Controls, MonitoringContext};
use crate::store::{Batch, Store, StoredState};

/// Shared by all terms.
pub(in crate::runtime) struct TermContext {
    pub(in crate::runtime) context: MonitoringContext,
    /// Last complete run of each connector.
    pub(in crate::runtime) successes: LastSuccesses,
    pub(in crate::runtime) controls: Controls,
}

/// The leader election that this daemon takes part in.
pub(in crate::runtime) struct Contended {
    pub(in crate::runtime) standing: watch::Receiver<LeaseStatus>,
    /// Name of this daemon.
    pub(in crate::runtime) name: String,
    /// Interval at which the status is shown on the board.
    pub(in crate::runtime) every: Duration,
}

/// Initial state of a term.
pub(in crate::runtime) struct Begin {
    pub(in crate::runtime) right: Right,
    pub(in crate::runtime) store: Store,
    pub(in crate::runtime) states: Vec<(String, MonitorState)>,
    pub(in crate::runtime) banners: SavedBanners,
    pub(in crate::runtime) channels: KeptChannels,
    pub(in crate::runtime) deliveries: KeptDeliveries,
    /// What an earlier term under the same lease could not save.
    pub(in crate::runtime) unsaved_changes: Batch,
}

/// The saved states of channels, as a term starts with them.
pub(in crate::runtime) fn kept_channels(saved: &StoredState) -> KeptChannels {
    let kept = |state: &ChannelState| KeptChannel { state: state.clone(), unsaved: false };
    saved.channels.iter().map(|(name, state)| (name.clone(), kept(state))).collect()
}

impl TermContext {
    /// Warns if there is no saved state. The daemon then recognises its own banner only by its content, and a displaced manual
    /// banner is found only in an old log.
    pub(in crate::runtime) fn warn_without_state(&self, saved: &StoredState) {
        if self.context.live && saved.states.is_empty() && saved.banners.is_empty() {
            tracing::warn!(
                target: "MainOrchestrator",
                "No saved state: this is a first start, or the state of earlier runs was lost (keep DATA_DIR on a volume, or set DATABASE_URL). A banner of an earlier run is recognised by its content."
            );
        }
    }
}

impl Contended {
    /// Shows the status of the lease on the board.
    pub(in crate::runtime) fn show(&self, board: &BoardWriter) {
        let standing = self.standing.borrow().clone();
        board.update(|board| {
            let view = board.lease.get_or_insert_default();
            view.trouble.clone_from(&standing.trouble);
            view.known = standing.known;
            match (&standing.hold, &standing.other) {
                (Some(hold), _) => (view.holder, view.since) = (Some(self.name.clone()), Some(hold.since)),
                (None, Some(other)) => {
                    (view.holder, view.since) = (Some(other.name.clone()), Some(other.since));
                }
                (None, None) => (view.holder, view.since) = (None, None),
            }
        });
    }
}
