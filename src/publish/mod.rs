//! The interface to a tenant's banner slot, and its errors.
//!
//! A target reads and writes the slot once per call. Callers decide what to write and when to retry. There is one file per kind
//! of target: `qlik`, and `dry_run` for preview.

mod dry_run;
mod qlik;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::domain::monitoring::banner::Banner;
use crate::domain::monitoring::plan::Shown;

pub use dry_run::DryRun;
pub use qlik::Qlik;

pub use crate::qlik::TargetError;

/// Log target of all targets. It has been the same since the first version.
const LOG: &str = "QlikClient";

/// A tenant with one banner slot.
#[async_trait]
pub trait Target: Send + Sync {
    /// Reads the slot; `None` if it is empty.
    ///
    /// # Errors
    /// See [`TargetError`]. An unexpected response is an error, never an empty slot.
    async fn read(&self) -> Result<Option<Shown>, TargetError>;

    /// Writes the banner into the slot, whatever it contains. Returns the stored banner; `None` if the tenant accepted the
    /// banner but its response could not be parsed, so that the caller must read the slot.
    ///
    /// # Errors
    /// See [`TargetError`]. After [`TargetError::Trouble`] the banner may have been stored.
    async fn write(&self, banner: &Banner) -> Result<Option<Shown>, TargetError>;

    /// The current time by the tenant's clock, extrapolated from its last response; `None` if it is unknown.
    fn time(&self) -> Option<Timestamp> {
        None
    }

    /// The user in `updatedBy` of the daemon's own writes; `None` if people may write as the same user, or if it is unknown.
    async fn own_user(&self) -> Option<String> {
        None
    }
}
