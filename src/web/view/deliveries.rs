//! The data that tenants get, by connector.

use jiff::Timestamp;

use crate::domain::syncing::delivery::{DeliveryPhase, DeliveryReport};
use crate::runtime::board::{Board, DeliveryName, DeliveryView};

/// A tenant, and what it shows of a connector's data.
pub(in crate::web) struct Delivered {
    pub(in crate::web) tenant: String,
    pub(in crate::web) report: DeliveryReport,
    /// Start of the last complete run.
    synced: Option<Timestamp>,
}

impl Delivered {
    /// All tenants that get the data of a connector, by name.
    pub(in crate::web) fn of_connector(board: &Board, connector: &str) -> Vec<Delivered> {
        let of = board.deliveries.iter().filter(|((_, name), _)| name == connector);
        let synced = board.syncs.get(connector).and_then(|view| view.last_success);
        let one = |((tenant, _), view): (&DeliveryName, &DeliveryView)| Delivered {
            tenant: tenant.clone(),
            report: view.report.clone(),
            synced,
        };
        of.map(one).collect()
    }

    /// What happens now, for people.
    pub(in crate::web) fn words(&self) -> &'static str {
        match (self.report.phase, &self.report.trouble) {
            (DeliveryPhase::Idle, None) if self.report.as_of.is_none() => "waits for a complete run",
            (DeliveryPhase::Idle, None) if self.report.as_of < self.synced => {
                "waits for the next complete run"
            }
            (DeliveryPhase::Idle, None) => "up to date",
            (DeliveryPhase::Idle, Some(_)) => "not up to date",
            (_, Some(_)) => "trying again",
            (DeliveryPhase::Uploading, None) => "uploading",
            (DeliveryPhase::Committing, None) => "replacing files",
            (DeliveryPhase::Reloading, None) => "reloading",
        }
    }
}

/// The start of the run whose data all of them show; `None` if one shows none.
pub(in crate::web) fn as_of(all: &[Delivered]) -> Option<Timestamp> {
    all.iter().map(|one| one.report.as_of).min().flatten()
}
