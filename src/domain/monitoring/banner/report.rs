//! What the leader knows of the tenant's banner, saved so that standbys show the same. No decision reads it.

use jiff::Timestamp;

use super::Banner;

#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct BannerReport {
    /// Last known content of the tenant's banner slot.
    pub shown: Option<Banner>,
    /// Whether a daemon wrote it.
    pub ours: bool,
    /// The manual banner that is restored after the incident.
    pub displaced: Option<Banner>,
    /// Since when a write is pending.
    pub pending_since: Option<Timestamp>,
    /// When a request to the tenant last succeeded.
    pub answered_at: Option<Timestamp>,
    /// Why the last request failed; `None` if it succeeded.
    pub trouble: Option<String>,
}

impl BannerReport {
    /// Whether the tenant's slot was read.
    pub fn is_known(&self) -> bool {
        self.answered_at.is_some() || self.shown.is_some()
    }
}
