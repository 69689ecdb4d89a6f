//! The run history of a destination: runs, the contents of its tables, rejected rows.
//!
//! Plain values for display; a destination writes and reads them.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::op::{End, Tally};

/// One run in the run history.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Its number; numbers increase.
    pub number: i64,
    pub started: Timestamp,
    /// `None` while it is running, or if the process ended before the run was recorded.
    pub ended: Option<Timestamp>,
    /// The totals; their outcome is `None` while it is running.
    pub entry: Entry,
    /// The same for each table.
    pub tables: BTreeMap<String, Entry>,
    /// What was done with its rows afterwards, by [`FollowUp::name`]: `complete` or `failed`, and rows or files as `seen`.
    pub follow_ups: BTreeMap<String, Entry>,
}

/// The newest run, without its tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewestRun {
    pub number: i64,
    /// `None` while it runs.
    pub ended: Option<Timestamp>,
    /// `None` while it runs.
    pub end: Option<End>,
}

/// The name of the export after a run.
pub const EXPORT: &str = "export";

/// The name of the upload to a tenant after a run.
pub fn upload_to(tenant: &str) -> String {
    format!("upload to {tenant}")
}

/// What was done with the rows of a run, for the run history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowUp {
    /// Its number.
    pub run: i64,
    /// [`EXPORT`], or that of [`upload_to`].
    pub name: String,
    pub started: Timestamp,
    pub ended: Timestamp,
    /// Why it failed; `None` if it did not.
    pub failure: Option<String>,
    /// Rows that were exported, or files that were uploaded.
    pub count: u64,
}

impl FollowUp {
    pub fn end(&self) -> End {
        if self.failure.is_some() { End::Failed } else { End::Complete }
    }
}

/// One row of the run history.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entry {
    /// `None` while it is running.
    pub end: Option<End>,
    /// Why it is not complete, or what was skipped.
    pub reason: Option<String>,
    /// The table, partition or address concerned.
    pub place: Option<String>,
    pub requests: u64,
    pub retries: u64,
    /// Milliseconds spent waiting.
    pub waited_ms: u64,
    /// The row counts.
    pub tally: Tally,
}

/// The start of the last run that read all tables completely, of runs newest first. A complete run with a
/// reason skipped some tables.
pub fn last_whole(runs: &[Run]) -> Option<Timestamp> {
    let whole = |run: &&Run| run.entry.end == Some(End::Complete) && run.entry.reason.is_none();
    runs.iter().find(whole).map(|run| run.started)
}

/// The newest finished run that changed rows, of runs newest first.
pub fn newest_change(runs: &[Run]) -> Option<i64> {
    let changes = |entry: &Entry| entry.tally.inserted + entry.tally.updated + entry.tally.deleted > 0;
    let finished = runs.iter().filter(|run| run.entry.end.is_some());
    finished.into_iter().find(|run| run.tables.values().any(changes)).map(|run| run.number)
}

/// The outcome of a run or of one of its tables, as far as the reader of the source knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    pub end: End,
    /// Why it is not complete, or what was skipped.
    pub reason: Option<String>,
    /// A table, a partition, or an address without secrets.
    pub place: Option<String>,
    /// All requests, including retries.
    pub requests: u64,
    pub retries: u64,
    /// Milliseconds spent waiting for rate limits and before retries, summed over all requests.
    pub waited_ms: u64,
}

/// The contents of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableFacts {
    pub table: String,
    /// Rows that exist at the source, as far as known.
    pub rows: u64,
    /// Rows that are marked deleted.
    pub deleted: u64,
}

/// A row that could not be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedRow {
    /// The run that rejected it.
    pub run: i64,
    pub table: String,
    pub reason: String,
    /// As the source sent it, at most 64 KiB.
    pub raw: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The counts of a run in progress are there before its end.
    #[test]
    fn only_a_finished_run_changes_what_apps_may_read() {
        let run = |number, end, inserted| {
            let started = Timestamp::UNIX_EPOCH;
            let tally = Tally { inserted, ..Tally::default() };
            let tables = [("orders".to_owned(), Entry { tally, ..Entry::default() })].into();
            let entry = Entry { end, ..Entry::default() };
            Run { number, started, ended: None, entry, tables, follow_ups: BTreeMap::new() }
        };
        let whole = Some(End::Complete);
        let runs = [run(4, None, 7), run(3, whole, 0), run(2, Some(End::Partial), 1), run(1, whole, 9)];
        assert_eq!(newest_change(&runs), Some(2));
        assert_eq!(newest_change(&runs[..2]), None);
    }
}
