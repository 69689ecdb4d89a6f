//! The account of syncs: runs as they stand in a destination's ledger, what its tables hold, what was rejected.
//!
//! Values only, for whoever shows them; a destination writes and reads them.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::op::{End, Tally};

/// One run in the ledger.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Its number, growing.
    pub number: i64,
    /// When it began.
    pub started: Timestamp,
    /// When it ended; `None` while it is running, or if nobody was left to write it.
    pub ended: Option<Timestamp>,
    /// How it went; the end is `None` as long as it runs.
    pub entry: Entry,
    /// The same for each table.
    pub tables: BTreeMap<String, Entry>,
}

/// One line of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entry {
    /// `None` while it is running.
    pub end: Option<End>,
    /// Why, if not complete; or what was left out.
    pub reason: Option<String>,
    /// Where.
    pub place: Option<String>,
    /// Requests made.
    pub requests: u64,
    /// Requests made again.
    pub retries: u64,
    /// Milliseconds spent waiting.
    pub waited_ms: u64,
    /// What became of the rows.
    pub tally: Tally,
}

/// When the last run began that read all tables to their end, of runs newest first. A complete one that has a reason left
/// some out.
pub fn last_whole(runs: &[Run]) -> Option<Timestamp> {
    let whole = |run: &&Run| run.entry.end == Some(End::Complete) && run.entry.reason.is_none();
    runs.iter().find(whole).map(|run| run.started)
}

/// How a run or one of its tables went, as far as whoever read the source can say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// How it ended.
    pub end: End,
    /// Why, if not complete; or what was left out.
    pub reason: Option<String>,
    /// Where: a table, a partition, an address without secrets.
    pub place: Option<String>,
    /// Requests made, repeated ones included.
    pub requests: u64,
    /// Requests made again.
    pub retries: u64,
    /// Milliseconds waited for limits and before retries, summed over all requests.
    pub waited_ms: u64,
}

/// What is in a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableFacts {
    /// Its name.
    pub table: String,
    /// Rows that are at the source, as far as we know.
    pub rows: u64,
    /// Rows kept although they are gone at the source.
    pub deleted: u64,
}

/// A row that could not be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedRow {
    /// The run that met it.
    pub run: i64,
    /// The table it was meant for.
    pub table: String,
    /// Why.
    pub reason: String,
    /// As the source sent it, at most 64 KiB of it.
    pub raw: String,
}
