//! The floor: a bare loop of one prepared upsert over rows that are already decoded and sorted, with the settings of
//! the destination. Only the time in SQLite counts; its processor time is measured too, which can be compared on a
//! busy machine.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use data_sources_monitor::testing::domain::syncing::cell::{Cell, ColumnType};
use data_sources_monitor::testing::domain::syncing::definition::connector::{
    Arrays, ColumnKind, ColumnRule, Key, Nested,
};
use data_sources_monitor::testing::domain::syncing::op::{Op, Rows, TableShape, Write};
use data_sources_monitor::testing::source::decode::{Layout, RowReader};
use rusqlite::Connection;

/// As many rows as the destination sorts and commits at once.
const SORTED: usize = 5_000;
const COMMITTED: usize = 50_000;

/// Activities as the definition of People.ai lays them out.
pub(crate) fn activity_layout() -> Layout {
    let times = ["activity_timestamp", "created_at", "ingested_at", "modified_at"];
    let mut columns: Vec<(&str, Option<&str>, ColumnKind)> =
        times.into_iter().map(|name| (name, None, ColumnKind::EpochMillis)).collect();
    columns.push(("subject", Some("api_subject"), ColumnKind::Text));
    columns.push(("opportunity_stage_id", None, ColumnKind::Text));
    layout("activity", &["uid"], &[], &columns)
}

/// Results as the definition of StatusCake lays them out.
pub(crate) fn history_layout() -> Layout {
    let columns = [
        ("created_at", None, ColumnKind::Timestamp),
        ("location", None, ColumnKind::Text),
        ("performance", None, ColumnKind::Bigint),
    ];
    layout("uptime_test_history", &["test_id", "created_at", "location"], &["test_id"], &columns)
}

fn layout(
    table: &str,
    key: &[&str],
    inherited: &[&str],
    columns: &[(&str, Option<&str>, ColumnKind)],
) -> Layout {
    let rule = |(name, new, kind): &(&str, Option<&str>, ColumnKind)| {
        let rule = ColumnRule::Keep { name: new.map(str::to_owned), kind: Some(*kind), from: None };
        ((*name).to_owned(), rule)
    };
    Layout {
        table: table.to_owned(),
        records: vec!["data".into(), ".".into()],
        null_is_empty: None,
        total: None,
        key: key.iter().map(|column| Key::plain(*column)).collect(),
        write: Write::Upsert,
        nested: Nested::Flatten,
        arrays: Arrays::Json,
        columns: columns.iter().map(rule).collect(),
        inherited: inherited.iter().map(|column| (*column).to_owned()).collect(),
        freeze: false,
        deleted_if: None,
        raw: Vec::new(),
    }
}

/// Pages of a table, decoded one after the other.
pub(crate) fn decoded(
    layout: Layout,
    pages: impl Iterator<Item = String>,
) -> anyhow::Result<impl Iterator<Item = Rows>> {
    let mut reader = RowReader::new(layout, None)?;
    Ok(pages.flat_map(move |page| {
        let mut decoded = Vec::new();
        let read = reader.read(page.as_bytes(), &[], &mut |op| {
            if let Op::Rows(rows) = op {
                decoded.push(rows);
            }
        });
        read.unwrap();
        decoded
    }))
}

/// The time in SQLite.
pub(crate) struct WriteTime {
    pub(crate) rows: u64,
    pub(crate) wall: Duration,
    /// Processor seconds.
    pub(crate) cpu: f64,
}

/// Writes pages into a new file.
pub(crate) fn write(
    path: &Path,
    layout: Layout,
    pages: impl Iterator<Item = (String, Vec<Cell>)>,
) -> anyhow::Result<WriteTime> {
    let db = Connection::open(path)?;
    db.execute_batch(
        "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         PRAGMA wal_autocheckpoint = 16384; PRAGMA cache_size = -16384;",
    )?;
    let (upsert, waiting, took) =
        (String::new(), Vec::new(), WriteTime { rows: 0, wall: Duration::ZERO, cpu: 0.0 });
    let mut floor = Floor { db, upsert, waiting, open: 0, took };
    let mut reader = RowReader::new(layout, None)?;
    let mut waiting = 0;
    for (body, inherited) in pages {
        let inherited: Vec<_> = inherited.into_iter().map(Into::into).collect();
        let read = reader.read(body.as_bytes(), &inherited, &mut |op| {
            if let Op::Rows(rows) = op {
                floor.waiting.push(rows);
            }
        })?;
        waiting += usize::try_from(read.records)?;
        if waiting >= SORTED {
            floor.flush()?;
            waiting = 0;
        }
    }
    floor.flush()?;
    floor.finish()
}

struct Floor {
    db: Connection,
    upsert: String,
    waiting: Vec<Rows>,
    /// Rows in the open transaction.
    open: usize,
    took: WriteTime,
}

impl Floor {
    fn flush(&mut self) -> anyhow::Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        let Some(first) = waiting.first() else { return Ok(()) };
        if self.upsert.is_empty() {
            self.upsert = create(&self.db, &first.shape)?;
        }
        let places: Vec<usize> = first
            .shape
            .key
            .iter()
            .filter_map(|key| first.shape.columns.iter().position(|column| column.name == *key))
            .collect();
        let mut sorted: Vec<_> = waiting.iter().flat_map(|rows| &rows.rows).collect();
        sorted.sort_by_cached_key(|row| {
            places.iter().map(|at| row[*at].to_text().unwrap_or_default().into_owned()).collect::<Vec<_>>()
        });
        let begun = (Instant::now(), cpu());
        if self.db.is_autocommit() {
            self.db.execute_batch("BEGIN")?;
        }
        let mut statement = self.db.prepare_cached(&self.upsert)?;
        for row in &sorted {
            for (at, cell) in row.iter().enumerate() {
                match cell {
                    Cell::Null => statement.raw_bind_parameter(at + 1, rusqlite::types::Null)?,
                    Cell::Int(value) => statement.raw_bind_parameter(at + 1, value)?,
                    Cell::Bool(value) => statement.raw_bind_parameter(at + 1, value)?,
                    Cell::Double(value) => statement.raw_bind_parameter(at + 1, value)?,
                    cell => {
                        let text = cell.to_text().context("a cell without text")?;
                        statement.raw_bind_parameter(at + 1, text.as_ref())?;
                    }
                }
            }
            statement.raw_bind_parameter(row.len() + 1, "2026-05-02 09:15:00")?;
            statement.raw_execute()?;
        }
        drop(statement);
        self.open += sorted.len();
        self.took.rows += sorted.len() as u64;
        if self.open >= COMMITTED {
            self.commit()?;
        }
        self.took.since(begun);
        Ok(())
    }

    fn commit(&mut self) -> anyhow::Result<()> {
        self.open = 0;
        if !self.db.is_autocommit() {
            self.db.execute_batch("COMMIT")?;
        }
        Ok(())
    }

    fn finish(mut self) -> anyhow::Result<WriteTime> {
        let begun = (Instant::now(), cpu());
        self.commit()?;
        // The destination leaves a file without a WAL behind, too.
        self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        self.took.since(begun);
        Ok(self.took)
    }
}

impl WriteTime {
    fn since(&mut self, (begun, cpu): (Instant, f64)) {
        self.wall += begun.elapsed();
        self.cpu += self::cpu() - cpu;
    }
}

/// Processor seconds of this thread so far.
fn cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|nanos| nanos.parse::<f64>().ok()).unwrap_or_default() / 1e9
}

/// Makes the table as the destination would; returns the upsert.
fn create(db: &Connection, shape: &TableShape) -> anyhow::Result<String> {
    let names: Vec<String> = shape.columns.iter().map(|column| format!("\"{}\"", column.name)).collect();
    let columns: Vec<String> = shape
        .columns
        .iter()
        .map(|column| {
            let kind = match column.kind {
                ColumnType::Bigint | ColumnType::Boolean => "BIGINT",
                ColumnType::Double => "DOUBLE",
                _ => "TEXT",
            };
            format!("\"{}\" {kind}", column.name)
        })
        .collect();
    let key = shape.key.join(", ");
    let table = &shape.table;
    db.execute_batch(&format!(
        "CREATE TABLE {table} ({}, _synced_at TEXT, _deleted_at TEXT, PRIMARY KEY ({key}))",
        columns.join(", ")
    ))?;
    let sets: Vec<String> = names.iter().map(|name| format!("{name} = excluded.{name}")).collect();
    Ok(format!(
        "INSERT INTO {table} ({}, _synced_at) VALUES ({}, ?) ON CONFLICT ({key}) DO UPDATE SET {}",
        names.join(", "),
        vec!["?"; names.len()].join(", "),
        sets.join(", ")
    ))
}
