//! The interface between connectors and their consumers: a stream of [`Op`].
//!
//! A consumer does not know the connector, and a connector does not know the consumer. A checkpoint is part
//! of the stream, so its order relative to rows is fixed: everything before a checkpoint must be durable no
//! later than the checkpoint itself, in the same transaction.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::cell::Cell;
pub use super::shape::{Column, TableShape, Write};
use super::state_text::TextCursors;

/// Rows of one table. `rows[i].len() == shape.columns.len()` for every row. Cells fit the column types: a
/// [`Cell::Null`] fits all, an `Int` fits a `Double` column and so on; the destination converts them.
#[derive(Debug, Clone)]
pub struct Rows {
    /// The current shape.
    pub shape: Arc<TableShape>,
    /// In the source's order; of two rows with the same key the later one wins.
    pub rows: Vec<Box<[Cell]>>,
}

/// A row that could not be stored.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Rejected {
    pub table: String,
    /// The row as the source sent it (JSON text, at most 64 KiB).
    pub raw: String,
    /// The reason, for people.
    pub reason: String,
}

/// The saved state of a connector: one JSON cursor per table and partition. Versioned by `format`.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct State {
    /// The version of this layout; see [`State::FORMAT`].
    pub format: u32,
    pub connector: String,
    /// table → partition (empty for a table without partitions) → cursor.
    pub tables: BTreeMap<String, BTreeMap<String, serde_json::Value>>,
    /// Further cursors, of a state that a caller saves.
    #[serde(skip)]
    pub text: TextCursors,
}

impl State {
    /// The version that this program writes and reads.
    pub const FORMAT: u32 = 1;

    pub fn cursor(&self, table: &str, partition: &str) -> Option<Cow<'_, serde_json::Value>> {
        let value = self.tables.get(table).and_then(|partitions| partitions.get(partition));
        let text = || serde_json::from_str(self.text.get(table, partition)?).ok();
        value.map(Cow::Borrowed).or_else(|| text().map(Cow::Owned))
    }

    pub fn partitions(&self, table: &str) -> impl Iterator<Item = Cow<'_, str>> {
        let values = self.tables.get(table).into_iter().flat_map(BTreeMap::keys);
        let text = self.text.partitions(table).map(|(partition, _)| partition);
        values.map(|partition| Cow::Borrowed(partition.as_str())).chain(text)
    }
}

/// A change of the state: the entries to set or, with `None`, to remove. Its size does not depend on the
/// state's size.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Checkpoint {
    /// (table, partition, cursor).
    pub entries: Vec<(String, String, Option<serde_json::Value>)>,
}

/// One operation in a connector's stream.
#[derive(Debug, Clone)]
pub enum Op {
    /// The shape of a table: before its first rows, and again whenever a column is added or widened.
    Shape(Arc<TableShape>),
    Rows(Rows),
    Rejected(Vec<Rejected>),
    /// Everything before this can be committed together with this state.
    Checkpoint(Checkpoint),
    /// The table was read completely in this run. With `sweep`, rows that this run did not send no longer
    /// exist at the source and are marked deleted, unless they are more than `sweep.max_share` of the live
    /// rows.
    Finish {
        table: String,
        /// Soft deletion of rows that this run did not send.
        sweep: Option<Sweep>,
    },
}

impl Op {
    /// The number of rows, including rejected ones.
    pub fn len(&self) -> usize {
        match self {
            Op::Rows(rows) => rows.rows.len(),
            Op::Rejected(rows) => rows.len(),
            Op::Shape(_) | Op::Checkpoint(_) | Op::Finish { .. } => 0,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The limit of a soft deletion.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sweep {
    /// The maximum share (0 to 1) of live rows that one run may mark deleted; above it nothing is marked and
    /// the run is partial.
    pub max_share: f64,
}

impl Sweep {
    /// Why this run may not mark rows deleted, given its rejected and missing rows; `None` if it may.
    pub fn refusal(self, rejected: u64, missing: u64, live: u64) -> Option<String> {
        if rejected > 0 {
            return Some(
                "no row was marked deleted, because the rejected rows may be the missing ones".to_owned(),
            );
        }
        let share = missing as f64 / (live as f64).max(1.0);
        (share > self.max_share).then(|| {
            format!(
                "{missing} of {live} rows are missing at the source, more than the {} % that one run may mark deleted: none \
                 was; if they are really gone, a sync with --full-refresh marks them",
                self.max_share * 100.0
            )
        })
    }
}

/// The row counts of one table in one run. `seen = inserted + updated + unchanged + duplicate + rejected`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Tally {
    /// Rows that the source sent.
    pub seen: u64,
    /// Rows with a new key.
    pub inserted: u64,
    /// Rows with a known key and changed values.
    pub updated: u64,
    /// Rows with a known key and the same values; they are not rewritten.
    pub unchanged: u64,
    /// Rows replaced by a later row with the same key in the same batch.
    pub duplicate: u64,
    /// Rows rejected with a reason.
    pub rejected: u64,
    /// Rows marked deleted without being sent: rows missing at the source, or stored rows after the
    /// definition's deletion column changed. Not part of `seen`. A row that is sent as deleted is counted
    /// above.
    pub deleted: u64,
}

/// The outcome of a run. A run with missing rows is never complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// Everything was read and stored.
    Complete,
    /// Rows are or may be missing; the run history gives the reason.
    Partial,
    /// A wait longer than the run's budget (a rate limit), or a stop: the state is saved, the next run
    /// continues.
    Deferred,
    /// An error; everything up to the last checkpoint is saved.
    Failed,
}

impl End {
    /// All outcomes, best first.
    pub const ALL: [End; 4] = [End::Complete, End::Partial, End::Deferred, End::Failed];

    /// The word in run histories, logs, metrics and the dashboard.
    pub fn as_str(self) -> &'static str {
        match self {
            End::Complete => "complete",
            End::Partial => "partial",
            End::Deferred => "deferred",
            End::Failed => "failed",
        }
    }
}
