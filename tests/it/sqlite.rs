//! The SQLite destination, seen through the file it leaves behind.

mod crash;
mod ledger;
mod mishaps;
mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use data_sources_monitor::destinations::sqlite::Sqlite;
use data_sources_monitor::destinations::{Account, Begin, Destination, DestinationError, Outcome, Report};
use data_sources_monitor::domain::cell::{Cell, ColumnType};
use data_sources_monitor::domain::op::{
    Checkpoint, Column, End, Op, Rejected, Rows, Sweep, TableShape, Tally, Write,
};
use jiff::Timestamp;
use tempfile::TempDir;

/// A destination in a folder of its own.
struct Desk {
    folder: TempDir,
}

impl Desk {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("acme.db")
    }

    fn open(&self) -> Sqlite {
        Sqlite::open(&self.path(), "acme").unwrap()
    }

    /// One complete run with these ops.
    async fn run(&self, minute: i64, ops: Vec<Op>) -> Result<Report, DestinationError> {
        let sqlite = self.open();
        sqlite.begin(begin(minute)).await?;
        for op in ops {
            sqlite.write(op).await?;
        }
        let report = sqlite.end(outcome(minute, End::Complete)).await;
        sqlite.close().await?;
        report
    }

    /// Every row of a query, its values as SQLite shows them, separated by `|`.
    fn rows(&self, sql: &str) -> Vec<String> {
        rows(&self.path(), sql)
    }

    fn execute(&self, sql: &str) {
        rusqlite::Connection::open(self.path()).unwrap().execute_batch(sql).unwrap();
    }
}

fn rows(path: &Path, sql: &str) -> Vec<String> {
    let db = rusqlite::Connection::open(path).unwrap();
    let mut query = db.prepare(sql).unwrap();
    let width = query.column_count();
    let rows = query.query_map([], |row| {
        let values = (0..width).map(|i| {
            Ok(match row.get_ref(i)? {
                rusqlite::types::ValueRef::Null => "NULL".to_owned(),
                rusqlite::types::ValueRef::Integer(value) => value.to_string(),
                rusqlite::types::ValueRef::Real(value) => format!("{value:?}"),
                rusqlite::types::ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
                rusqlite::types::ValueRef::Blob(_) => "BLOB".to_owned(),
            })
        });
        Ok(values.collect::<Result<Vec<_>, rusqlite::Error>>()?.join("|"))
    });
    rows.unwrap().map(Result::unwrap).collect()
}

fn at(minute: i64) -> Timestamp {
    Timestamp::from_second(1_777_713_300 + minute * 60).unwrap()
}

fn begin(minute: i64) -> Begin {
    Begin { started: at(minute), full_refresh: Vec::new(), sweeping: BTreeSet::from(["thing".to_owned()]) }
}

fn account(end: End) -> Account {
    Account { end, reason: None, place: None, requests: 3, retries: 1, waited_ms: 250 }
}

fn outcome(minute: i64, end: End) -> Outcome {
    Outcome {
        ended: at(minute) + jiff::SignedDuration::from_secs(5),
        run: account(end),
        tables: BTreeMap::from([("thing".to_owned(), account(end))]),
    }
}

fn shape(columns: &[(&str, ColumnType)], key: &[&str], write: Write) -> Arc<TableShape> {
    let columns = columns.iter().map(|(name, kind)| Column { name: (*name).into(), kind: *kind }).collect();
    let key = key.iter().map(|name| (*name).into()).collect();
    Arc::new(TableShape { table: "thing".into(), columns, key, write })
}

/// The shape, and rows of it.
fn send(shape: &Arc<TableShape>, rows: Vec<Vec<Cell>>) -> Vec<Op> {
    let rows = rows.into_iter().map(Vec::into_boxed_slice).collect();
    vec![Op::Shape(Arc::clone(shape)), Op::Rows(Rows { shape: Arc::clone(shape), rows })]
}

fn text(value: &str) -> Cell {
    Cell::Text(value.into())
}

fn checkpoint(partition: &str, cursor: i64) -> Op {
    Op::Checkpoint(Checkpoint { entries: vec![("thing".into(), partition.into(), Some(cursor.into()))] })
}

fn finish(max_share: Option<f64>) -> Op {
    Op::Finish { table: "thing".into(), sweep: max_share.map(|max_share| Sweep { max_share }) }
}

fn rejected(raw: &str) -> Op {
    let raw = raw.to_owned();
    Op::Rejected(vec![Rejected { table: "thing".into(), raw, reason: "key column id is null".into() }])
}

/// seen, inserted, updated, unchanged, duplicate, rejected, deleted
fn counts(report: &Report) -> [u64; 7] {
    let tally: Tally = report.tallies.get("thing").copied().unwrap_or_default();
    assert_eq!(
        tally.seen,
        tally.inserted + tally.updated + tally.unchanged + tally.duplicate + tally.rejected,
        "{tally:?}"
    );
    [
        tally.seen,
        tally.inserted,
        tally.updated,
        tally.unchanged,
        tally.duplicate,
        tally.rejected,
        tally.deleted,
    ]
}
