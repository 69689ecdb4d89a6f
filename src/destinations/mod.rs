//! Where ops become tables. One folder for each kind of database, behind one small trait.
//!
//! A destination knows tables, keys and types; it never knows which connector sends the ops. It guarantees that rows and
//! the checkpoint that covers them are stored in one transaction, that no value is rounded, and that the run history
//! accounts for every row. Start at [`Destination`]; what all kinds share is in `writer`.

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

use crate::domain::cell::EXACT_IN_DOUBLE;
use crate::domain::op::{End, Op, State, TableShape, Tally};
pub use error::DestinationError;
pub use place::Place;
pub use writer_thread::WriterThread;

pub use crate::domain::ledger::{Ending, Entry, RejectedRow, Run, TableFacts};

/// Tables, the state of their sync, and the history of its runs.
///
/// One run at a time: [`begin`](Self::begin), any number of [`write`](Self::write), [`end`](Self::end). A run that
/// is dropped without its end keeps what was committed, with its checkpoint; the next run closes it as failed.
#[async_trait]
pub trait Destination: Send + Sync {
    /// The checkpoints that the next run resumes from.
    async fn state(&self) -> Result<State, DestinationError>;

    /// The stored tables, by name.
    async fn shapes(&self) -> Result<BTreeMap<String, TableShape>, DestinationError>;

    /// Starts a run and returns its number. Fails with [`DestinationError::is_busy`] while another run is active,
    /// in whatever process.
    async fn begin(&self, start: RunStart) -> Result<i64, DestinationError>;

    /// Takes an op. It is stored later, in order; the failure of an earlier one is returned here.
    async fn write(&self, op: Op) -> Result<(), DestinationError>;

    /// Stores everything that was written, and closes the run. After an earlier failure the run is closed as
    /// failed, and that failure is returned.
    async fn end(&self, outcome: RunOutcome) -> Result<RunReport, DestinationError>;

    /// The last runs of the history, newest first, each with its tables.
    async fn runs(&self, limit: usize) -> Result<Vec<Run>, DestinationError>;

    /// The tables by name, with their rows counted, which takes seconds where there are millions.
    async fn tables(&self) -> Result<Vec<TableFacts>, DestinationError>;

    /// The last rejected rows, newest first.
    async fn rejected(&self, limit: usize) -> Result<Vec<RejectedRow>, DestinationError>;

    /// Stores what is under way and closes the connection. Nothing can be asked afterwards.
    async fn close(&self) -> Result<(), DestinationError>;
}

/// What a destination must know when a run starts.
#[derive(Debug, Clone, PartialEq)]
pub struct RunStart {
    /// The `_synced_at` of every row that the run writes.
    pub started: Timestamp,
    /// Tables whose state is removed, because they are read from the start again.
    pub full_refresh: Vec<String>,
    /// Tables that may end with a sweep, so that the keys of their rows must be remembered.
    pub sweeping: BTreeSet<String>,
}

/// The end of a run, as the connector sees it.
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
    /// What became of each table's rows.
    pub tallies: BTreeMap<String, Tally>,
    /// What a person should know: a column stored wider than before, a table that was not replaced.
    pub notes: Vec<String>,
}

/// Asks whether a column holds an integer that no double holds; see [`TableShape::integers_to_check`].
fn exceeds_double_sql(table: &str, column: &str) -> String {
    format!(
        "SELECT EXISTS (SELECT 1 FROM {table} WHERE {column} > {EXACT_IN_DOUBLE} OR {column} < -{EXACT_IN_DOUBLE})"
    )
}
