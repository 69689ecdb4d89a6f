//! What the tenant shows, and whose it is.

use jiff::Timestamp;

use crate::domain::monitoring::banner::Banner;

#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Shown {
    pub banner: Banner,
    /// The tenant's own time of the last change.
    pub updated_at: Option<Timestamp>,
    /// The user who made the last change.
    #[serde(default)]
    pub updated_by: Option<String>,
}

/// The owner of the banner in the slot.
#[derive(Debug)]
pub(super) enum Slot<'a> {
    Empty,
    /// Ours. `by_memory`: the record identifies it; otherwise other witnesses do.
    Ours {
        banner: Banner,
        by_memory: bool,
    },
    /// Ours, but a person disabled it.
    SwitchedOff,
    /// Our message, with a link, an end or a detail that a person changed while we held the slot.
    Edited(&'a Shown),
    Manual(&'a Banner),
}
