//! What all destinations have in common: the same cases against each, with the same rows.
//!
//! Start at [`Kind`]. What only one kind has is in `sqlite` and `postgres`.

mod crash;
mod deletions;
mod failures;
mod random;
mod run_history;
mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use data_sources_monitor::testing::database::Database;
use data_sources_monitor::testing::destinations::{
    Destination, DestinationError, Ending, RunOutcome, RunReport, RunStart, WriterThread, postgres, sqlite,
};
use data_sources_monitor::testing::domain::syncing::cell::{Cell, ColumnType};
use data_sources_monitor::testing::domain::syncing::op::{
    Checkpoint, Column, End, Op, Rejected, Rows, Sweep, TableShape, Tally, Write,
};
use jiff::Timestamp;
use tempfile::TempDir;
use tokio_postgres::types::Type;

use crate::postgres::cluster::{self, Cluster};

/// Runs each case against each kind of destination.
macro_rules! against_each {
    ($($case:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $case() {
                super::$case(super::Kind::Sqlite).await;
            })*
        }
        mod postgres {
            $(#[tokio::test]
            async fn $case() {
                if $crate::postgres::cluster::programs().is_some() {
                    super::$case(super::Kind::Postgres).await;
                }
            })*
        }
        mod pooled {
            $(#[tokio::test]
            async fn $case() {
                if $crate::postgres::cluster::programs().is_some() {
                    super::$case(super::Kind::Pooled).await;
                }
            })*
        }
    };
}
pub(crate) use against_each;

/// A kind of destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
    /// PostgreSQL as if behind a pooler in transaction mode: nothing may be left in a session.
    Pooled,
}

impl Kind {
    pub(crate) async fn dest(self) -> TestDestination {
        if self == Kind::Sqlite {
            return TestDestination::new();
        }
        let cluster = cluster::shared().expect("asked before");
        let database = cluster.database().await;
        TestDestination::Postgres { cluster: Arc::new(cluster), database, pooled: self == Kind::Pooled }
    }
}

/// A new destination.
pub(crate) enum TestDestination {
    Sqlite(TempDir),
    Postgres { cluster: Arc<Cluster>, database: String, pooled: bool },
}

impl TestDestination {
    /// A SQLite file in a folder of its own.
    pub(crate) fn new() -> Self {
        TestDestination::Sqlite(tempfile::tempdir().unwrap())
    }

    pub(crate) fn folder(&self) -> &Path {
        match self {
            TestDestination::Sqlite(folder) => folder.path(),
            TestDestination::Postgres { .. } => panic!("only a file has a folder"),
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder().join("acme.db")
    }

    /// The database's address, as in `DATABASE_URL`.
    pub(crate) fn url(&self) -> String {
        match self {
            TestDestination::Sqlite(_) => panic!("a file has no address"),
            TestDestination::Postgres { cluster, database, pooled } => {
                let url = cluster.url("postgres", database);
                if *pooled { format!("{url}&pooler=transaction") } else { url }
            }
        }
    }

    /// Where it is, for another process.
    pub(crate) fn address(&self) -> String {
        match self {
            TestDestination::Sqlite(folder) => folder.path().display().to_string(),
            TestDestination::Postgres { .. } => self.url(),
        }
    }

    pub(crate) async fn try_open(&self) -> Result<WriterThread, DestinationError> {
        match self {
            TestDestination::Sqlite(_) => sqlite::open(&self.path(), "acme"),
            TestDestination::Postgres { .. } => {
                postgres::open(&Database::new(&self.url().into(), None, None).unwrap(), "acme").await
            }
        }
    }

    pub(crate) async fn open(&self) -> WriterThread {
        self.try_open().await.unwrap()
    }

    /// One complete run with these ops.
    pub(crate) async fn run(&self, minute: i64, ops: Vec<Op>) -> Result<RunReport, DestinationError> {
        let destination = self.open().await;
        destination.begin(begin(minute)).await?;
        for op in ops {
            destination.write(op).await?;
        }
        let report = destination.end(outcome(minute, End::Complete)).await;
        destination.close().await?;
        report
    }

    /// Every row of a query, its values as SQLite shows them, separated by `|`.
    pub(crate) async fn rows(&self, sql: &str) -> Vec<String> {
        match self {
            TestDestination::Sqlite(_) => rows(&self.path(), sql),
            TestDestination::Postgres { .. } => server_rows(&self.session().await, sql).await,
        }
    }

    pub(crate) async fn execute(&self, sql: &str) {
        match self {
            TestDestination::Sqlite(_) => {
                rusqlite::Connection::open(self.path()).unwrap().execute_batch(sql).unwrap()
            }
            TestDestination::Postgres { .. } => self.session().await.batch_execute(sql).await.unwrap(),
        }
    }

    /// A session of another user in the connector's schema.
    pub(crate) async fn session(&self) -> tokio_postgres::Client {
        let TestDestination::Postgres { cluster, database, .. } = self else {
            panic!("a file has no session")
        };
        let session = cluster.session(database).await;
        session.batch_execute("SET search_path TO acme; SET timezone TO 'UTC'").await.unwrap();
        session
    }
}

/// Opens the destination that [`TestDestination::address`] names.
pub(crate) async fn opened(address: &str) -> WriterThread {
    if address.starts_with("postgres:") {
        postgres::open(&Database::new(&address.into(), None, None).unwrap(), "acme").await.unwrap()
    } else {
        sqlite::open(&Path::new(address).join("acme.db"), "acme").unwrap()
    }
}

pub(crate) fn rows(path: &Path, sql: &str) -> Vec<String> {
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

/// The same of a server: what is equal there is equal here.
pub(crate) async fn server_rows(session: &tokio_postgres::Client, sql: &str) -> Vec<String> {
    let statement = session.prepare(sql).await.unwrap();
    let kinds: Vec<Type> = statement.columns().iter().map(|column| column.type_().clone()).collect();
    let mut rows = Vec::new();
    for message in session.simple_query(sql).await.unwrap() {
        let tokio_postgres::SimpleQueryMessage::Row(row) = message else { continue };
        let values = kinds.iter().enumerate().map(|(i, kind)| match (row.get(i), kind) {
            (None, _) => "NULL".to_owned(),
            (Some(text), kind) if *kind == Type::BOOL => u8::from(text == "t").to_string(),
            (Some(text), kind) if *kind == Type::FLOAT8 => format!("{:?}", text.parse::<f64>().unwrap()),
            (Some(text), kind) if *kind == Type::TIMESTAMPTZ => text.trim_end_matches("+00").to_owned(),
            (Some(text), _) => text.to_owned(),
        });
        rows.push(values.collect::<Vec<_>>().join("|"));
    }
    rows
}

pub(crate) fn at(minute: i64) -> Timestamp {
    Timestamp::from_second(1_777_713_300 + minute * 60).unwrap()
}

pub(crate) fn begin(minute: i64) -> RunStart {
    RunStart { started: at(minute), full_refresh: Vec::new(), sweeping: BTreeSet::from(["thing".to_owned()]) }
}

pub(crate) fn ending(end: End) -> Ending {
    Ending { end, reason: None, place: None, requests: 3, retries: 1, waited_ms: 250 }
}

pub(crate) fn outcome(minute: i64, end: End) -> RunOutcome {
    RunOutcome {
        ended: at(minute) + jiff::SignedDuration::from_secs(5),
        run: ending(end),
        tables: BTreeMap::from([("thing".to_owned(), ending(end))]),
    }
}

pub(crate) fn shape(columns: &[(&str, ColumnType)], key: &[&str], write: Write) -> Arc<TableShape> {
    let columns = columns.iter().map(|(name, kind)| Column { name: (*name).into(), kind: *kind }).collect();
    let key = key.iter().map(|name| (*name).into()).collect();
    Arc::new(TableShape { table: "thing".into(), columns, key, write, deleted_if: None })
}

/// A column of every type, and a row whose values would show any loss.
pub(crate) fn every_type() -> ([(&'static str, ColumnType); 10], Vec<Cell>) {
    let columns = [
        ("id", ColumnType::Text),
        ("flag", ColumnType::Boolean),
        ("count", ColumnType::Bigint),
        ("ratio", ColumnType::Double),
        ("amount", ColumnType::Decimal),
        ("day", ColumnType::Date),
        ("moment", ColumnType::Timestamp),
        ("doc", ColumnType::Json),
        ("never", ColumnType::Unknown),
        ("order", ColumnType::Text),
    ];
    let row = vec![
        text("a"),
        Cell::Bool(true),
        Cell::Int(9_007_199_254_740_993),
        Cell::Double(0.1),
        Cell::Decimal("123456789012345678901234567890.10".into()),
        Cell::Date("2024-02-29".parse().unwrap()),
        Cell::Timestamp("2026-05-02T09:15:00.5Z".parse().unwrap()),
        Cell::Json("[1e3]".into()),
        Cell::Null,
        text("1e3"),
    ];
    (columns, row)
}

/// The shape, and rows of it.
pub(crate) fn send(shape: &Arc<TableShape>, rows: Vec<Vec<Cell>>) -> Vec<Op> {
    let rows = rows.into_iter().map(Vec::into_boxed_slice).collect();
    vec![Op::Shape(Arc::clone(shape)), Op::Rows(Rows { shape: Arc::clone(shape), rows })]
}

pub(crate) fn text(value: &str) -> Cell {
    Cell::Text(value.into())
}

pub(crate) fn checkpoint(partition: &str, cursor: i64) -> Op {
    Op::Checkpoint(Checkpoint { entries: vec![("thing".into(), partition.into(), Some(cursor.into()))] })
}

pub(crate) fn finish(max_share: Option<f64>) -> Op {
    Op::Finish { table: "thing".into(), sweep: max_share.map(|max_share| Sweep { max_share }) }
}

pub(crate) fn rejected(raw: &str) -> Op {
    let raw = raw.to_owned();
    Op::Rejected(vec![Rejected { table: "thing".into(), raw, reason: "key column id is null".into() }])
}

/// seen, inserted, updated, unchanged, duplicate, rejected, deleted
pub(crate) fn counts(report: &RunReport) -> [u64; 7] {
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
