//! The one currency between connectors and their consumers: a stream of [`Op`].
//!
//! A consumer of ops never knows the connector, and a connector never knows the consumer. A
//! checkpoint travels *in* the stream, so its order to the rows cannot go wrong: everything before a
//! checkpoint must be durable no later than the checkpoint itself, in the same transaction.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::cell::Cell;
pub use super::shape::{Column, TableShape, Write};
use super::state_text::TextCursors;

/// Rows of one table. `rows[i].len() == shape.columns.len()` for every row; cells fit the column types (a
/// [`Cell::Null`] fits all, an `Int` fits a `Double` column and so on: the destination converts along the lattice).
#[derive(Debug, Clone)]
pub struct Rows {
    /// The shape in force.
    pub shape: Arc<TableShape>,
    /// The rows, in the order the source gave them; of two with one key the later wins.
    pub rows: Vec<Box<[Cell]>>,
}

/// A row that could not be stored, kept with its reason.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Rejected {
    /// The table it was meant for.
    pub table: String,
    /// The row as the source sent it (JSON text, at most 64 KiB kept).
    pub raw: String,
    /// Why, in words for a person.
    pub reason: String,
}

/// Where reading goes on: one JSON value per table and partition. Versioned by `format`.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct State {
    /// Version of this layout; see [`State::FORMAT`].
    pub format: u32,
    /// The connector that wrote it.
    pub connector: String,
    /// table → partition (empty for a table without partitions) → cursor.
    pub tables: BTreeMap<String, BTreeMap<String, serde_json::Value>>,
    /// Further cursors, of a state that a caller keeps.
    #[serde(skip)]
    pub text: TextCursors,
}

impl State {
    /// The version this program writes and reads.
    pub const FORMAT: u32 = 1;

    /// The cursor of a partition.
    pub fn cursor(&self, table: &str, partition: &str) -> Option<Cow<'_, serde_json::Value>> {
        let value = self.tables.get(table).and_then(|partitions| partitions.get(partition));
        let text = || serde_json::from_str(self.text.get(table, partition)?).ok();
        value.map(Cow::Borrowed).or_else(|| text().map(Cow::Owned))
    }

    /// The partitions of a table.
    pub fn partitions(&self, table: &str) -> impl Iterator<Item = Cow<'_, str>> {
        let values = self.tables.get(table).into_iter().flat_map(BTreeMap::keys);
        let text = self.text.partitions(table).map(|(partition, _)| partition);
        values.map(|partition| Cow::Borrowed(partition.as_str())).chain(text)
    }
}

/// A change of the state: the entries to set (or, with `None`, to remove). Small, however large the state is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Checkpoint {
    /// (table, partition, cursor).
    pub entries: Vec<(String, String, Option<serde_json::Value>)>,
}

/// What a connector says, in order.
#[derive(Debug, Clone)]
pub enum Op {
    /// The shape of a table: before its first rows, and again whenever a column is added or widened.
    Shape(Arc<TableShape>),
    /// Rows to write.
    Rows(Rows),
    /// Rows that cannot be written.
    Rejected(Vec<Rejected>),
    /// Everything before this is safe to commit with this state.
    Checkpoint(Checkpoint),
    /// The table was read to its end in this run. With `sweep`, a row that this run did not send is gone at
    /// the source and is marked deleted, unless more than `sweep.max_share` of the live rows would be.
    Finish {
        /// The table.
        table: String,
        /// Soft deletion of what was not seen, only after a complete pass.
        sweep: Option<Sweep>,
    },
}

/// The bounds of a soft deletion.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sweep {
    /// The largest share (0 to 1) of live rows that one pass may mark deleted; above it nothing is marked and
    /// the run ends partial.
    pub max_share: f64,
}

impl Sweep {
    /// Why nothing may be soft-deleted in a pass that rejected and missed so many rows; `None` if it may.
    pub fn refusal(self, rejected: u64, missing: u64, live: u64) -> Option<String> {
        if rejected > 0 {
            return Some(
                "no row was marked deleted, because the rejected rows may be the missing ones".to_owned(),
            );
        }
        #[allow(clippy::cast_precision_loss)]
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

/// The account of one table in one run. `seen = inserted + updated + unchanged + duplicate + rejected`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Tally {
    /// Rows the source sent.
    pub seen: u64,
    /// New keys.
    pub inserted: u64,
    /// Known keys with other values.
    pub updated: u64,
    /// Known keys with the same values: not rewritten.
    pub unchanged: u64,
    /// Rows replaced by a later row of the same key in the same batch.
    pub duplicate: u64,
    /// Rows kept aside with a reason.
    pub rejected: u64,
    /// Rows marked deleted without having come: by a sweep, or because the definition now says which column tells.
    /// Not part of `seen`. A row that comes and says of itself that it is deleted is counted above, like any other.
    pub deleted: u64,
}

/// How a run ended. Never green with rows missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// Everything was read and stored.
    Complete,
    /// Something is missing or doubtful, and the run history says what.
    Partial,
    /// A wait longer than the run's budget (a rate limit), or a stop: state kept, the next run goes on.
    Deferred,
    /// It went wrong; what was committed before stays, with its checkpoint.
    Failed,
}

impl End {
    /// All of them, best first.
    pub const ALL: [End; 4] = [End::Complete, End::Partial, End::Deferred, End::Failed];

    /// As it is written in run histories, logs, metrics and pages.
    pub fn as_str(self) -> &'static str {
        match self {
            End::Complete => "complete",
            End::Partial => "partial",
            End::Deferred => "deferred",
            End::Failed => "failed",
        }
    }
}
