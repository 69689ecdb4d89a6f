//! What pages show besides the board, read out of our memory and the connectors' tables.

use async_trait::async_trait;
use jiff::civil::Date;

use crate::destinations::{Destination, DestinationError, Place};
use crate::domain::assess::Transition;
use crate::domain::history::{MonitorDay, Span};
use crate::domain::ledger::{RejectedRow, Run, TableFacts};
use crate::store::{KeepError, Reader};
use crate::web::records::{Records, Unreadable};

/// Our memory, and where the connectors' tables are.
pub(super) struct Kept {
    place: Place,
    memory: Reader,
}

impl Kept {
    pub(super) fn new(place: Place, memory: Reader) -> Kept {
        Kept { place, memory }
    }

    /// What a connector wrote, to be read beside a run that may be going on; `None` where there is nothing yet.
    async fn open(&self, connector: &str) -> Result<Option<Box<dyn Destination>>, Unreadable> {
        self.place.find(connector).await.map_err(of_place)
    }
}

#[async_trait]
impl Records for Kept {
    async fn days(&self, since: Date) -> Result<Vec<MonitorDay>, Unreadable> {
        self.memory.days(None, since).await.map_err(of_memory)
    }

    async fn days_of(&self, monitor: &str, since: Date) -> Result<Vec<MonitorDay>, Unreadable> {
        self.memory.days(Some(monitor.to_owned()), since).await.map_err(of_memory)
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
