//! What is kept and not on the board: history, ledgers, tables, rejected rows.
//!
//! Pages read it through this trait and know neither files nor servers. Nothing here writes.

use async_trait::async_trait;
use jiff::civil::Date;

use crate::domain::assess::Transition;
use crate::domain::history::{MonitorDay, Span};
use crate::domain::ledger::{RejectedRow, Run, TableFacts};

/// Why something cannot be shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot be read: {0}")]
pub struct Unreadable(pub String);

/// Reads what is kept. Each answer may take as long as a disk or a server takes.
#[async_trait]
pub trait Records: Send + Sync {
    /// The days of all monitors since a date, by monitor and date.
    async fn days(&self, since: Date) -> Result<Vec<MonitorDay>, Unreadable>;

    /// The days of one monitor since a date, by date.
    async fn days_of(&self, monitor: &str, since: Date) -> Result<Vec<MonitorDay>, Unreadable>;

    /// Changes of what was believed, newest first.
    async fn transitions(&self, span: Span) -> Result<Vec<Transition>, Unreadable>;

    /// A connector's last runs, newest first; none if it never ran.
    async fn runs(&self, connector: &str, limit: usize) -> Result<Vec<Run>, Unreadable>;

    /// What is in a connector's tables, by name. Counts rows: seconds where there are millions.
    async fn tables(&self, connector: &str) -> Result<Vec<TableFacts>, Unreadable>;

    /// A connector's last rejected rows, newest first.
    async fn rejected(&self, connector: &str, limit: usize) -> Result<Vec<RejectedRow>, Unreadable>;
}
