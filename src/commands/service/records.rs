//! Reads what the dashboard shows besides the board: history from the state database, and data of the connectors' tables.

use async_trait::async_trait;
use jiff::civil::Date;

use crate::destinations::{Destination, DestinationError, DestinationKind};
use crate::domain::monitoring::assess::Transition;
use crate::domain::monitoring::history::{MonitorDay, Span};
use crate::domain::monitoring::responses::MonitorResponses;
use crate::domain::syncing::run_history::{RejectedRow, Run, TableFacts};
use crate::store::{KeepError, StateReader};
use crate::web::view::records::{RecordError, RecordReader};

pub(in crate::commands) struct StoredRecords {
    place: DestinationKind,
    state: StateReader,
}

impl StoredRecords {
    pub(crate) fn new(place: DestinationKind, state: StateReader) -> StoredRecords {
        StoredRecords { place, state }
    }

    /// Opens the tables of a connector, also during a run. `None` if there are none yet.
    async fn open(&self, connector: &str) -> Result<Option<Box<dyn Destination>>, RecordError> {
        self.place.find(connector).await.map_err(destination_error)
    }
}

#[async_trait]
impl RecordReader for StoredRecords {
    async fn days(&self, since: Date) -> Result<Vec<MonitorDay>, RecordError> {
        self.state.days(None, since).await.map_err(state_error)
    }

    async fn days_of(&self, monitor: &str, since: Date) -> Result<Vec<MonitorDay>, RecordError> {
        self.state.days(Some(monitor.to_owned()), since).await.map_err(state_error)
    }

    async fn responses_of(&self, monitor: &str, since: Date) -> Result<Vec<MonitorResponses>, RecordError> {
        self.state.responses(Some(monitor.to_owned()), since).await.map_err(state_error)
    }

    async fn transitions(&self, span: Span) -> Result<Vec<Transition>, RecordError> {
        self.state.transitions(span).await.map_err(state_error)
    }

    async fn runs(&self, connector: &str, limit: usize) -> Result<Vec<Run>, RecordError> {
        let Some(place) = self.open(connector).await? else { return Ok(Vec::new()) };
        let found = place.runs(limit).await;
        close(place, found).await
    }

    async fn tables(&self, connector: &str) -> Result<Vec<TableFacts>, RecordError> {
        let Some(place) = self.open(connector).await? else { return Ok(Vec::new()) };
        let found = place.tables().await;
        close(place, found).await
    }

    async fn rejected(&self, connector: &str, limit: usize) -> Result<Vec<RejectedRow>, RecordError> {
        let Some(place) = self.open(connector).await? else { return Ok(Vec::new()) };
        let found = place.rejected(limit).await;
        close(place, found).await
    }
}

/// Ignores errors of closing, because nothing was written.
async fn close<T>(place: Box<dyn Destination>, found: Result<T, DestinationError>) -> Result<T, RecordError> {
    let _ = place.close().await;
    found.map_err(destination_error)
}

fn destination_error(error: DestinationError) -> RecordError {
    RecordError(error.to_string())
}

fn state_error(error: KeepError) -> RecordError {
    RecordError(error.to_string())
}
