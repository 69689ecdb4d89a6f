//! The one currency between connectors and whoever consumes them: a stream of [`Op`].
//!
//! Whoever consumes ops never knows the connector; whoever produces them never knows the consumer. A
//! checkpoint travels *in* the stream, so its order to the rows cannot go wrong: everything before a
//! checkpoint must be durable no later than the checkpoint itself, in the same transaction.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::cell::{Cell, ColumnType};
use super::state_text::TextCursors;

/// One column of a table.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Column {
    /// Lower snake case; unique in its table.
    pub name: String,
    /// Only ever widened.
    pub kind: ColumnType,
}

/// How rows of a table meet those already there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Write {
    /// By key: insert, or replace every column.
    Upsert,
    /// Always insert; a table without a key.
    Append,
    /// The run's rows replace the table's rows as a whole, at the commit of its [`Op::Finish`].
    Replace,
}

/// The shape of a table as known at this point of the stream. Columns keep their order; new ones are appended.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TableShape {
    /// Lower snake case.
    pub table: String,
    /// The columns of rows that follow, in this order.
    pub columns: Vec<Column>,
    /// Names of the key's columns; empty only with [`Write::Append`] or [`Write::Replace`].
    pub key: Vec<String>,
    /// How rows are written.
    pub write: Write,
    /// The column in which the source says of a row that it is deleted: where it is true the row is marked, or told
    /// as a deletion, and not taken for a live one. Only with [`Write::Upsert`] and a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_if: Option<String>,
}

impl TableShape {
    /// Where in a row the cell is that says whether the row is deleted; `None` where no row can say so.
    pub fn deleted_place(&self) -> Option<usize> {
        let name =
            self.deleted_if.as_ref().filter(|_| self.write == Write::Upsert && !self.key.is_empty())?;
        self.columns.iter().position(|column| column.name == *name && column.kind != ColumnType::Unknown)
    }
}

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
    /// Why nothing is marked where so many of the live rows are missing; `None` when they may be marked.
    pub fn refusal(self, missing: u64, live: u64) -> Option<String> {
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
    /// Something is missing or doubtful, and the ledger says what.
    Partial,
    /// A wait longer than the run's budget (a rate limit), or a stop: state kept, the next run goes on.
    Deferred,
    /// It went wrong; what was committed before stays, with its checkpoint.
    Failed,
}

impl End {
    /// All of them, best first.
    pub const ALL: [End; 4] = [End::Complete, End::Partial, End::Deferred, End::Failed];

    /// The word for it, in ledgers, logs, metrics and pages.
    pub fn as_str(self) -> &'static str {
        match self {
            End::Complete => "complete",
            End::Partial => "partial",
            End::Deferred => "deferred",
            End::Failed => "failed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shape that was stored before deletions could be told reads as one that tells none, and is written as it was.
    #[test]
    fn shapes_that_tell_nothing_are_as_they_were() {
        let stored = r#"{"table":"t","columns":[{"name":"id","kind":"bigint"},{"name":"gone","kind":"boolean"}],"key":["id"],"write":"upsert"}"#;
        let shape: TableShape = serde_json::from_str(stored).unwrap();
        assert_eq!(
            (shape.deleted_place(), serde_json::to_string(&shape).unwrap()),
            (None, stored.to_owned())
        );
        let telling = TableShape { deleted_if: Some("gone".into()), ..shape };
        assert_eq!(telling.deleted_place(), Some(1));
        let read: TableShape = serde_json::from_str(&serde_json::to_string(&telling).unwrap()).unwrap();
        assert_eq!(read, telling);
        let unable = [
            TableShape { write: Write::Replace, ..telling.clone() },
            TableShape { key: Vec::new(), ..telling.clone() },
            TableShape { deleted_if: Some("other".into()), ..telling },
        ];
        assert!(unable.iter().all(|shape| shape.deleted_place().is_none()));
    }
}
