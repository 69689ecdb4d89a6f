//! Reads a connector's SQLite file: its tables and our own ones.
//!
//! Holds the lock of a run, so that the file does not change. Blocking. Start at [`Export::open`].

use std::fs::File;
use std::path::Path;

use jiff::Timestamp;
use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::checksum::{MovedRow, TableChecksum, micros};
use super::is_ours;
use crate::destinations::DestinationError;
use crate::destinations::sqlite::file::{DatabaseFile, quoted};
use crate::destinations::sqlite::system_tables;
use crate::destinations::sqlite::table::{self, DELETED, SYNCED};
use crate::domain::syncing::cell::{Cell, ColumnType};
use crate::domain::syncing::op::{Column, State, TableShape, Write};

const REJECTED: &str = "_rejected";

const CHUNK_ROWS: usize = 1_000;

/// Text of one chunk, in bytes.
const CHUNK_BYTES: usize = 4 << 20;

pub(super) struct Export {
    file: DatabaseFile,
    db: Connection,
    connector: String,
    _lock: File,
}

impl Export {
    /// Opens the file of a connector and takes its lock; fails while a run is active.
    pub(super) fn open(path: &Path, connector: &str) -> Result<Export, DestinationError> {
        let file = DatabaseFile::new(path);
        let db = file.open()?;
        let lock = file.lock()?;
        Ok(Export { file, db, connector: connector.to_owned(), _lock: lock })
    }

    /// The connector's tables, and our own ones for the run history and rejected rows.
    pub(super) fn tables(&self) -> Result<Vec<TableShape>, DestinationError> {
        let tables = table::all(&self.db).map_err(|e| self.file.error("reading the tables", &e))?;
        Ok(tables.into_values().chain([run_history(), rejected()]).collect())
    }

    pub(super) fn state(&self) -> Result<State, DestinationError> {
        system_tables::state(&self.db, &self.connector, &self.file)
    }

    pub(super) fn count(&self, table: &str) -> Result<u64, DestinationError> {
        let count = format!("SELECT count(*) FROM {}", quoted(table));
        let count = self.db.query_row(&count, [], |row| row.get::<_, i64>(0));
        Ok(count.map_err(|e| self.file.error("counting rows", &e))?.unsigned_abs())
    }

    pub(super) fn checksum(&self, shape: &TableShape) -> Result<TableChecksum, DestinationError> {
        let kinds: Vec<ColumnType> = shape.columns.iter().map(|column| column.kind).collect();
        let mut checksum = TableChecksum::default();
        self.read(shape, |rows| {
            rows.iter().for_each(|row| checksum.add(row, &kinds));
            true
        })?;
        Ok(checksum)
    }

    /// Passes all rows of a table to `take` in non-empty chunks, until it returns false. Fails if a value does not have
    /// its column's type.
    pub(super) fn read(
        &self,
        shape: &TableShape,
        mut take: impl FnMut(Vec<MovedRow>) -> bool,
    ) -> Result<(), DestinationError> {
        let judge = |e: rusqlite::Error| self.file.error(&format!("reading table {}", shape.table), &e);
        let present = self.columns(&shape.table)?;
        let is_present = |name: &str| present.iter().any(|present| present == name);
        let value = |name: &str| if is_present(name) { quoted(name) } else { "NULL".to_owned() };
        let columns: Vec<String> = shape
            .columns
            .iter()
            .map(|column| column.name.as_str())
            .chain([SYNCED, DELETED])
            .map(value)
            .collect();
        // The order shows which rejected rows are the newest.
        let order = if shape.table == REJECTED { " ORDER BY id" } else { "" };
        let sql = format!("SELECT {} FROM {}{order}", columns.join(", "), quoted(&shape.table));
        let mut query = self.db.prepare(&sql).map_err(judge)?;
        let mut rows = query.query([]).map_err(judge)?;
        let (mut chunk, mut bytes) = (Vec::new(), 0);
        while let Some(row) = rows.next().map_err(judge)? {
            let at = |place: usize| row.get_ref(place).map_err(judge);
            let mut cells = Vec::with_capacity(shape.columns.len());
            for (place, column) in shape.columns.iter().enumerate() {
                let cell =
                    cell(at(place)?, column.kind).ok_or_else(|| self.wrong_type(shape, &column.name))?;
                cells.push(if is_ours(shape) { fitting(cell) } else { cell });
            }
            let mark = |place: usize, name: &str| match cell(at(place)?, ColumnType::Timestamp) {
                Some(Cell::Timestamp(at)) => Ok(Some(micros(at))),
                Some(_) => Ok(None),
                None => Err(self.wrong_type(shape, name)),
            };
            let (synced, deleted) =
                (mark(shape.columns.len(), SYNCED)?, mark(shape.columns.len() + 1, DELETED)?);
            bytes += cells.iter().map(Cell::text_len).sum::<usize>();
            chunk.push(MovedRow { cells: cells.into(), synced, deleted });
            if chunk.len() >= CHUNK_ROWS || bytes >= CHUNK_BYTES {
                bytes = 0;
                if !take(std::mem::take(&mut chunk)) {
                    return Ok(());
                }
            }
        }
        if !chunk.is_empty() {
            take(chunk);
        }
        Ok(())
    }

    /// Columns that were added by hand: they are not read.
    pub(super) fn foreign_columns(&self, shape: &TableShape) -> Result<Vec<String>, DestinationError> {
        let known = |name: &String| {
            is_ours(shape)
                || [SYNCED, DELETED].contains(&name.as_str())
                || shape.columns.iter().any(|c| c.name == *name)
        };
        Ok(self.columns(&shape.table)?.into_iter().filter(|name| !known(name)).collect())
    }

    fn columns(&self, table: &str) -> Result<Vec<String>, DestinationError> {
        let columns = self
            .db
            .prepare("SELECT name FROM pragma_table_xinfo(?) WHERE hidden = 0")
            .and_then(|mut query| query.query_map([table], |row| row.get(0))?.collect());
        columns.map_err(|e| self.file.error(&format!("reading table {table}"), &e))
    }

    fn wrong_type(&self, shape: &TableShape, column: &str) -> DestinationError {
        let reason = format!(
            "column {column} in {} contains a value of another type, which was changed by hand: correct it, or drop the table and \
             sync again",
            self.file.name()
        );
        DestinationError::table(&shape.table, reason)
    }
}

/// Converts a value of our own tables to one that PostgreSQL can store: microseconds, and no NUL character.
fn fitting(cell: Cell) -> Cell {
    match cell {
        Cell::Timestamp(at) => Cell::Timestamp(micros(at)),
        Cell::Text(text) if text.contains('\0') => Cell::Text(text.replace('\0', "\u{2400}").into()),
        cell => cell,
    }
}

/// The cell of a stored value; `None` if it does not have this type.
fn cell(value: ValueRef<'_>, kind: ColumnType) -> Option<Cell> {
    use ColumnType as T;
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(Box::<str>::from);
    Some(match (kind, value) {
        (_, ValueRef::Null) => Cell::Null,
        (T::Boolean, ValueRef::Integer(value @ (0 | 1))) => Cell::Bool(value == 1),
        (T::Bigint, ValueRef::Integer(value)) => Cell::Int(value),
        (T::Double, ValueRef::Real(value)) => Cell::Double(value),
        (T::Decimal, ValueRef::Text(value)) => Cell::Decimal(text(value)?),
        (T::Json, ValueRef::Text(value)) => Cell::Json(text(value)?),
        (T::Text | T::Unknown, ValueRef::Text(value)) => Cell::Text(text(value)?),
        (T::Date, ValueRef::Text(value)) => Cell::Date(pad_negative_year(&text(value)?).parse().ok()?),
        (T::Timestamp, ValueRef::Text(value)) => Cell::Timestamp(parse_instant(&text(value)?)?),
        _ => return None,
    })
}

fn parse_instant(text: &str) -> Option<Timestamp> {
    format!("{}Z", pad_negative_year(text).replacen(' ', "T", 1)).parse().ok()
}

/// Negative years are stored with fewer digits than the parser requires.
fn pad_negative_year(text: &str) -> String {
    match text.strip_prefix('-').and_then(|rest| rest.split_once('-')) {
        Some((year, rest)) => format!("-{year:0>6}-{rest}"),
        None => text.to_owned(),
    }
}

fn ours(table: &str, columns: &[(&str, ColumnType)], key: &[&str]) -> TableShape {
    let column = |(name, kind): &(&str, ColumnType)| Column { name: (*name).to_owned(), kind: *kind };
    TableShape {
        table: table.to_owned(),
        columns: columns.iter().map(column).collect(),
        key: key.iter().map(|name| (*name).to_owned()).collect(),
        write: Write::Append,
        deleted_if: None,
    }
}

fn run_history() -> TableShape {
    use ColumnType::{Bigint, Text, Timestamp};
    let head = [("run", Bigint), ("table_name", Text), ("started_at", Timestamp), ("ended_at", Timestamp)];
    let words = ["outcome", "reason", "place"].map(|name| (name, Text));
    let counts = [
        "requests",
        "retries",
        "waited_ms",
        "seen",
        "inserted",
        "updated",
        "unchanged",
        "duplicate",
        "rejected",
        "deleted",
    ]
    .map(|name| (name, Bigint));
    let columns: Vec<_> = head.into_iter().chain(words).chain(counts).collect();
    ours("_runs", &columns, &["run", "table_name"])
}

fn rejected() -> TableShape {
    use ColumnType::{Bigint, Text};
    ours(REJECTED, &[("run", Bigint), ("table_name", Text), ("reason", Text), ("raw", Text)], &[])
}
