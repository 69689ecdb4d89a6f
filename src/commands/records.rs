//! What pages show besides the board, read out of our memory and the connectors' tables.

use async_trait::async_trait;
use jiff::civil::Date;

use super::connectors;
use crate::destinations::{Destination, DestinationError};
use crate::domain::assess::Transition;
use crate::domain::history::{MonitorDay, Span};
use crate::domain::ledger::{RejectedRow, Run, TableFacts};
use crate::settings::Settings;
use crate::store::{KeepError, Reader};
use crate::web::records::{Records, Unreadable};

/// Our memory, and where the connectors' tables are.
pub(super) struct Kept {
    settings: Settings,
    memory: Reader,
}

impl Kept {
    pub(super) fn new(settings: &Settings, memory: Reader) -> Kept {
        Kept { settings: settings.clone(), memory }
    }

    /// A connector's place, to be read beside a run that may be going on; `None` where there is none yet.
    async fn open(&self, connector: &str) -> Result<Option<Box<dyn Destination>>, Unreadable> {
        if !connectors::file(&self.settings, connector).exists() {
            return Ok(None);
        }
        let (settings, name) = (self.settings.clone(), connector.to_owned());
        let opened = tokio::task::spawn_blocking(move || connectors::open(&settings, &name)).await;
        let opened = opened.map_err(|e| Unreadable(e.to_string()))?;
        Ok(Some(Box::new(opened.map_err(of_place)?)))
    }
}

#[async_trait]
impl Records for Kept {
    async fn days(&self, since: Date) -> Result<Vec<MonitorDay>, Unreadable> {
        self.memory.days(since).await.map_err(of_memory)
    }

    async fn transitions(&self, span: Span) -> Result<Vec<Transition>, Unreadable> {
        self.memory.transitions(span).await.map_err(of_memory)
    }

    async fn runs(&self, connector: &str, limit: usize) -> Result<Vec<Run>, Unreadable> {
        let Some(place) = self.open(connector).await? else { return Ok(Vec::new()) };
        let found = place.runs(limit).await;
        close(place, found).await
    }

    async fn tables(&self, connector: &str) -> Result<Vec<TableFacts>, Unreadable> {
        let Some(place) = self.open(connector).await? else { return Ok(Vec::new()) };
        let found = place.tables().await;
        close(place, found).await
    }

    async fn rejected(&self, connector: &str, limit: usize) -> Result<Vec<RejectedRow>, Unreadable> {
        let Some(place) = self.open(connector).await? else { return Ok(Vec::new()) };
        let found = place.rejected(limit).await;
        close(place, found).await
    }
}

/// Nothing was written, so that nothing can fail to be stored.
async fn close<T>(place: Box<dyn Destination>, found: Result<T, DestinationError>) -> Result<T, Unreadable> {
    let _ = place.close().await;
    found.map_err(of_place)
}

fn of_place(error: DestinationError) -> Unreadable {
    Unreadable(error.to_string())
}

fn of_memory(error: KeepError) -> Unreadable {
    Unreadable(error.to_string())
}
