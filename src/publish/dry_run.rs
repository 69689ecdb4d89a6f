//! A tenant in memory, for preview: logs the banner that would be written.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use tracing::info;

use super::{LOG, Target, TargetError};
use crate::domain::monitoring::banner::Banner;
use crate::domain::monitoring::plan::Shown;

/// Stores the last banner until the program stops.
#[derive(Debug, Default)]
pub struct DryRun {
    slot: Mutex<Option<Shown>>,
}

#[async_trait]
impl Target for DryRun {
    async fn read(&self) -> Result<Option<Shown>, TargetError> {
        Ok(self.slot.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    async fn write(&self, banner: &Banner) -> Result<Option<Shown>, TargetError> {
        if banner.enabled {
            let Banner { kind, message, end_time, .. } = banner;
            info!(target: LOG, "Preview: would set banner: {kind} \"{message}\" until {end_time:.0}");
        } else {
            info!(target: LOG, "Preview: would clear the banner");
        }
        let shown = Some(Shown { banner: banner.clone(), updated_at: None, updated_by: None });
        self.slot.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&shown);
        Ok(shown)
    }
}
