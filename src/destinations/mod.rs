//! Where ops become tables. One file (or folder) for each kind of destination, behind one small trait.
//!
//! A destination knows tables, keys and types; it never knows what kind of connector sends the ops. It promises
//! three things: rows and the checkpoint that covers them are stored together or not at all, a value is never
//! rounded, and the account of a run says what happened to every row. Start at [`Destination`].

mod account;
mod book;
pub mod dry_run;
pub mod moved;
mod place;
pub mod postgres;
pub mod sqlite;
mod threaded;

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use jiff::Timestamp;

use crate::database::DatabaseError;
use crate::domain::op::{End, Op, State, TableShape, Tally};
pub use place::Place;
pub use threaded::Threaded;

pub use crate::domain::ledger::{Ending, Entry, RejectedRow, Run, TableFacts};

/// A place that stores tables, the state of their sync, and the account of its runs.
///
/// One run at a time: [`begin`](Self::begin), any number of [`write`](Self::write), [`end`](Self::end). A run that
/// is dropped without its end keeps what was committed, with its checkpoint, and is closed as failed when the
/// next one begins.
#[async_trait]
pub trait Destination: Send + Sync {
    /// Where reading goes on.
    async fn state(&self) -> Result<State, DestinationError>;

    /// The tables that are there, by name.
    async fn shapes(&self) -> Result<BTreeMap<String, TableShape>, DestinationError>;

    /// Opens a run and gives its number. Fails with [`DestinationError::Busy`] while another one is open,
    /// in whatever process.
    async fn begin(&self, run: Begin) -> Result<i64, DestinationError>;

    /// Takes an op. It is stored later, in order; the failure of an earlier one comes back here.
    async fn write(&self, op: Op) -> Result<(), DestinationError>;

    /// Stores everything that was written, and closes the run. After an earlier failure the run is closed as
    /// failed, and the failure comes back here.
    async fn end(&self, outcome: Outcome) -> Result<Report, DestinationError>;

    /// The ledger's last runs, newest first; each with its tables.
    async fn runs(&self, limit: usize) -> Result<Vec<Run>, DestinationError>;

    /// What is in the tables, by name. Counts rows, so it takes a moment where there are millions.
    async fn tables(&self) -> Result<Vec<TableFacts>, DestinationError>;

    /// The last rejected rows, newest first.
    async fn rejected(&self, limit: usize) -> Result<Vec<RejectedRow>, DestinationError>;

    /// Stores what is under way and lets go of everything. Nothing can be asked afterwards.
    async fn close(&self) -> Result<(), DestinationError>;
}

/// What a run needs to be told when it begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Begin {
    /// The start of the run: the `_synced_at` of every row it writes.
    pub started: Timestamp,
    /// Tables whose state is forgotten, because they are read from the start again.
    pub full_refresh: Vec<String>,
    /// Tables that may end with a sweep, so that the keys they send must be remembered.
    pub sweeping: BTreeSet<String>,
}

/// The end of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// When it ended.
    pub ended: Timestamp,
    /// The run as a whole.
    pub run: Ending,
    /// Each table that was asked for.
    pub tables: BTreeMap<String, Ending>,
}

/// What the destination says about a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The end as entered in the ledger: never greener than the tallies allow.
    pub end: End,
    /// Why, if not complete.
    pub reason: Option<String>,
    /// What became of each table's rows.
    pub tallies: BTreeMap<String, Tally>,
    /// What a person should know: a sweep refused, a column stored wider than the source says.
    pub notes: Vec<String>,
}

/// What can go wrong with a destination. Clonable, because one failure answers every later call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DestinationError {
    /// The place cannot be opened or written at all.
    #[error("cannot open {place}: {reason}")]
    Unwritable {
        /// The file or server.
        place: String,
        /// Why.
        reason: String,
    },
    /// Another run has it.
    #[error("{place} is in use by another sync: wait for it to end, or stop it")]
    Busy {
        /// The file or server.
        place: String,
    },
    /// Somebody else holds a lock for longer than we wait.
    #[error(
        "{place} is locked by another program: close the one that writes to it, the next run goes on from here"
    )]
    Locked {
        /// The file or server.
        place: String,
    },
    /// No room left.
    #[error(
        "no space left for {place}: nothing of the last transaction was stored; make room, the next run goes on from here"
    )]
    Full {
        /// The file or server.
        place: String,
    },
    /// The file is no database, or a broken one.
    #[error("{place} is damaged or no database: move it aside (or restore a copy) and sync again; {reason}")]
    Damaged {
        /// The file.
        place: String,
        /// What was found.
        reason: String,
    },
    /// Written by a newer version of the program.
    #[error(
        "{place} was written by a newer version of this program (format {found}, this one knows {known}): update the program"
    )]
    Newer {
        /// The file or server.
        place: String,
        /// The format found.
        found: i64,
        /// The newest this program knows.
        known: i64,
    },
    /// Another run began while this one was silent for longer than its lease.
    #[error(
        "{place}: another sync took over, because this one was paused or cut off for too long; nothing more of it was stored"
    )]
    Overtaken {
        /// The server and schema.
        place: String,
    },
    /// A pooler gives each transaction to another session, which nobody told us.
    #[error(
        "{place} is behind a pooler in transaction mode: add pooler=transaction to DATABASE_URL (or connect to the server itself)"
    )]
    Pooled {
        /// The server and schema.
        place: String,
    },
    /// PostgreSQL, or the way to it.
    #[error(transparent)]
    Database(DatabaseError),
    /// A table cannot become what the ops ask for.
    #[error("table {table}: {reason}")]
    Table {
        /// The table.
        table: String,
        /// Why, and what to do.
        reason: String,
    },
    /// Called out of order: a mistake of the caller.
    #[error("{0}")]
    OutOfOrder(&'static str),
    /// Anything else the database says.
    #[error("{doing} in {place}: {reason}")]
    Failed {
        /// The file or server.
        place: String,
        /// What was being done.
        doing: String,
        /// What the database said.
        reason: String,
    },
}
