//! Stores ops as tables: one folder for each kind of database, behind one trait.
//!
//! A destination knows tables, keys and types, but not the connector that sends the ops. It guarantees that rows and the
//! checkpoint that covers them are stored in one transaction, that no value is rounded, and that the run history accounts
//! for every row. Start at [`Destination`]; `writer` is shared by all kinds.

pub mod dry_run;
mod error;
mod place;
pub mod postgres;
mod run_history;
mod run_totals;
pub mod sqlite;
mod writer;
mod writer_thread;

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use jiff::Timestamp;

use crate::domain::syncing::cell::EXACT_IN_DOUBLE;
use crate::domain::syncing::op::{End, Op, State, TableShape, Tally};
pub use error::DestinationError;
pub use place::DestinationKind;
pub(crate) use place::sqlite_file;
pub use writer_thread::WriterThread;

pub use crate::domain::syncing::run_history::{
    Ending, Entry, FollowUp, NewestRun, RejectedRow, Run, TableFacts,
};

/// Tables, the state of their sync, and the history of its runs.
///
/// One run at a time: [`begin`](Self::begin), any number of [`write`](Self::write), [`end`](Self::end). If a run is
/// dropped without its end, committed rows and their checkpoint stay; the next run closes it as failed.
#[async_trait]
pub trait Destination: Send + Sync {
    /// The checkpoints that the next run resumes from.
    async fn state(&self) -> Result<State, DestinationError>;

    /// The stored tables, by name.
    async fn shapes(&self) -> Result<BTreeMap<String, TableShape>, DestinationError>;

    /// Starts a run and returns its number. Fails with [`DestinationError::is_busy`] while another run is active in any
    /// process.
    async fn begin(&self, start: RunStart) -> Result<i64, DestinationError>;

    /// Takes an op. It is stored later, in order; the failure of an earlier one is returned here.
    async fn write(&self, op: Op) -> Result<(), DestinationError>;

    /// Stores everything that was written, and closes the run. After an earlier failure the run is closed as
    /// failed, and that failure is returned.
    async fn end(&self, outcome: RunOutcome) -> Result<RunReport, DestinationError>;

    /// The last runs of the history, newest first, each with its tables.
    async fn runs(&self, limit: usize) -> Result<Vec<Run>, DestinationError>;

    /// The tables by name, with row counts. Counting millions of rows takes seconds.
    async fn tables(&self) -> Result<Vec<TableFacts>, DestinationError>;

    /// The last rejected rows, newest first.
    async fn rejected(&self, limit: usize) -> Result<Vec<RejectedRow>, DestinationError>;

    /// Stores pending ops and closes the connection. All later calls fail.
    async fn close(&self) -> Result<(), DestinationError>;
}

/// The parameters of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunStart {
    /// The `_synced_at` of every row that the run writes.
    pub started: Timestamp,
    /// Tables whose state is removed, because they are read from the start again.
    pub full_refresh: Vec<String>,
    /// Tables that may end with a sweep, so that the keys of their rows must be stored.
    pub sweeping: BTreeSet<String>,
}

/// The end of a run, as reported by the connector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunOutcome {
    pub ended: Timestamp,
    /// The run as a whole.
    pub run: Ending,
    /// Each table that was selected.
    pub tables: BTreeMap<String, Ending>,
}

/// The end of a run, as the destination stored it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunReport {
    /// Never `complete` if the tallies show missing rows.
    pub end: End,
    /// Why, if not complete.
    pub reason: Option<String>,
    /// How the rows of each table were stored.
    pub tallies: BTreeMap<String, Tally>,
    /// Messages for the log, such as a widened column or a table that was not replaced.
    pub notes: Vec<String>,
}

/// SQL: whether a column has an integer that a double cannot represent; see [`TableShape::integers_to_check`].
fn exceeds_double_sql(table: &str, column: &str) -> String {
    format!(
        "SELECT EXISTS (SELECT 1 FROM {table} WHERE {column} > {EXACT_IN_DOUBLE} OR {column} < -{EXACT_IN_DOUBLE})"
    )
}
