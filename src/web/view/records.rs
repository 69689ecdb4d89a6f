//! Read access to what is stored: monitor history, run history, tables, rejected rows.
//!
//! Pages and API read through this trait and know neither files nor databases. Nothing here writes.

use async_trait::async_trait;
use jiff::civil::Date;

use crate::domain::monitoring::assess::Transition;
use crate::domain::monitoring::history::{MonitorDay, Span};
use crate::domain::monitoring::responses::MonitorResponses;
use crate::domain::syncing::run_history::{RejectedRow, Run, TableFacts};

/// Why stored data cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot be read: {0}")]
pub struct RecordError(pub String);

/// Reads stored data. Each call may take as long as the disk or the database.
#[async_trait]
pub trait RecordReader: Send + Sync {
    /// The days of all monitors since a date, by monitor and date.
    async fn days(&self, since: Date) -> Result<Vec<MonitorDay>, RecordError>;

    /// The days of one monitor since a date, by date.
    async fn days_of(&self, monitor: &str, since: Date) -> Result<Vec<MonitorDay>, RecordError>;

    /// The response times of one monitor since a date, by date.
    async fn responses_of(&self, monitor: &str, since: Date) -> Result<Vec<MonitorResponses>, RecordError>;

    /// Status changes of monitors, newest first.
    async fn transitions(&self, span: Span) -> Result<Vec<Transition>, RecordError>;

    /// A connector's last runs, newest first; none if it never ran.
    async fn runs(&self, connector: &str, limit: usize) -> Result<Vec<Run>, RecordError>;

    /// A connector's tables by name, with row counts. Takes seconds on tables of millions of rows.
    async fn tables(&self, connector: &str) -> Result<Vec<TableFacts>, RecordError>;

    /// A connector's last rejected rows, newest first.
    async fn rejected(&self, connector: &str, limit: usize) -> Result<Vec<RejectedRow>, RecordError>;
}
