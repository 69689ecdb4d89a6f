//! Reads tables of a connector's SQLite file within one read transaction: the next sync may write meanwhile.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, Row};

use super::feed::GroupFeed;
use super::instant::{days, micros};
use super::{ChangeMark, DecimalExtent, HistoryFacts, ReadFailure};
use crate::destinations::DestinationError;
use crate::destinations::sqlite::file::{DatabaseFile, quoted};
use crate::destinations::sqlite::system_tables;
use crate::destinations::sqlite::table::{self, DELETED};
use crate::domain::syncing::cell::ColumnType;
use crate::domain::syncing::op::TableShape;
use crate::export::canonical::{self, Exact};
use crate::export::columns::{GroupColumn, OutputKind, RowGroup, TableLayout};

/// Page cache in KiB. A sync writes rows in sorted batches, so that rows in the order of their key come from as many places of
/// the file as there were batches; a page that leaves the cache before its rows are read is read again.
const CACHE_KIB: i32 = 16 * 1024;

/// A read transaction.
#[derive(Clone)]
pub(in crate::export) struct SqliteSnapshot {
    file: DatabaseFile,
    db: Arc<Mutex<Connection>>,
}

impl SqliteSnapshot {
    /// Begins a read transaction. `None` if the connector has never written.
    pub(in crate::export) async fn open(path: &Path) -> Result<Option<SqliteSnapshot>, DestinationError> {
        let path = path.to_owned();
        let open = move || {
            let file = DatabaseFile::new(&path);
            if !path.exists() {
                return Ok(None);
            }
            // Also brings a file of an earlier version to the current format.
            drop(file.open()?);
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let db = Connection::open_with_flags(&path, flags).map_err(|e| file.error("opening", &e))?;
            let begin = || -> Result<(), rusqlite::Error> {
                db.pragma_update(None, "cache_size", -CACHE_KIB)?;
                db.execute_batch("BEGIN")?;
                // The snapshot is that of the first statement that reads.
                db.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
            };
            begin().map_err(|e| file.error("starting to read", &e))?;
            Ok(Some(SqliteSnapshot { file, db: Arc::new(Mutex::new(db)) }))
        };
        blocking(open).await?
    }

    pub(super) async fn shapes(&self) -> Result<BTreeMap<String, TableShape>, DestinationError> {
        self.with("reading the tables", table::all).await
    }

    pub(super) async fn history(&self) -> Result<HistoryFacts, DestinationError> {
        let facts = |db: &Connection| -> Result<HistoryFacts, rusqlite::Error> {
            let newest = system_tables::newest_run(db)?;
            let changed = system_tables::last_changes(db)?;
            let mark = |(table, run, started)| (table, ChangeMark { run, started });
            Ok(HistoryFacts { newest, changed: changed.into_iter().map(mark).collect() })
        };
        self.with("reading the run history", facts).await
    }

    pub(super) async fn measure(
        &self,
        layout: &TableLayout,
        places: &[usize],
        mut extents: Vec<DecimalExtent>,
    ) -> Result<Vec<DecimalExtent>, DestinationError> {
        let names = places.iter().filter_map(|place| layout.columns.get(*place)).map(|column| &*column.name);
        let names: Vec<String> = names.map(str::to_owned).collect();
        let layout = layout.clone();
        let measured = move |db: &Connection| -> Result<Vec<DecimalExtent>, rusqlite::Error> {
            let mut query = db.prepare(&select(db, &layout, &names, false)?)?;
            let mut rows = query.query([])?;
            while let Some(row) = rows.next()? {
                for (place, extent) in extents.iter_mut().enumerate() {
                    if let ValueRef::Text(text) = row.get_ref(place)? {
                        extent.add(&String::from_utf8_lossy(text));
                    }
                }
            }
            Ok(extents)
        };
        self.with("reading decimals", measured).await
    }

    pub(super) async fn read(&self, layout: TableLayout, feed: GroupFeed) -> Result<(), ReadFailure> {
        let this = self.clone();
        let read = move || this.read_blocking(&layout, feed);
        blocking(read).await.map_err(ReadFailure::Failed)?
    }

    fn read_blocking(&self, layout: &TableLayout, mut feed: GroupFeed) -> Result<(), ReadFailure> {
        let judge = |e: rusqlite::Error| self.file.error(&format!("reading table {}", layout.table), &e);
        let db = self.db.lock().unwrap_or_else(PoisonError::into_inner);
        let names: Vec<String> = layout.columns.iter().map(|column| column.name.clone()).collect();
        let sql = select(&db, layout, &names, true).map_err(judge)?;
        let mut query = db.prepare(&sql).map_err(judge)?;
        let mut rows = query.query([]).map_err(judge)?;
        let mut group = feed.take_blocking()?;
        while let Some(row) = rows.next().map_err(judge)? {
            let text_bytes = match push(row, layout, &mut group).map_err(judge)? {
                Ok(text_bytes) => text_bytes,
                // The next attempt finds the other columns.
                Err(Unfit::NeedsText(place)) => return Err(ReadFailure::NeedsText(place)),
                Err(Unfit::Type(place)) => return Err(self.wrong_type(layout, place).into()),
            };
            if group.add_row(text_bytes) {
                feed.give_blocking(group)?;
                group = feed.take_blocking()?;
            }
        }
        if group.rows > 0 { feed.give_blocking(group) } else { Ok(()) }
    }

    async fn with<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Connection) -> Result<T, rusqlite::Error> + Send + 'static,
    ) -> Result<T, DestinationError> {
        let this = self.clone();
        let work = move || {
            let db = this.db.lock().unwrap_or_else(PoisonError::into_inner);
            work(&db).map_err(|e| this.file.error(doing, &e))
        };
        blocking(work).await?
    }

    fn wrong_type(&self, layout: &TableLayout, place: usize) -> DestinationError {
        let column = layout.columns.get(place).map_or("?", |column| &column.name);
        let reason = format!(
            "column {column} in {} contains a value of another type, which was changed by hand: correct it, or drop the table and \
             sync again",
            self.file.name()
        );
        DestinationError::table(&layout.table, reason)
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, DestinationError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| DestinationError::new(format!("reading was interrupted: {e}")))
}

/// The query for these columns. Columns that were dropped by hand are null.
fn select(
    db: &Connection,
    layout: &TableLayout,
    names: &[String],
    ordered: bool,
) -> Result<String, rusqlite::Error> {
    let present = table::physical(db, &layout.table)?;
    let is_present = |name: &str| present.iter().any(|(present, _)| present == name);
    let value = |name: &String| if is_present(name) { quoted(name) } else { "NULL".to_owned() };
    let columns: Vec<String> = names.iter().map(value).collect();
    let live = if layout.deleted { String::new() } else { format!(" WHERE {DELETED} IS NULL") };
    let key: Vec<String> = layout.key.iter().map(|name| quoted(name)).collect();
    let order = match (ordered, key.is_empty()) {
        (false, _) => String::new(),
        (true, true) => " ORDER BY rowid".to_owned(),
        (true, false) => format!(" ORDER BY {}", key.join(", ")),
    };
    Ok(format!("SELECT {} FROM {}{live}{order}", columns.join(", "), quoted(&layout.table)))
}

/// A value that its column cannot hold.
enum Unfit {
    NeedsText(usize),
    Type(usize),
}

/// Appends a row. Returns the bytes of its texts.
fn push(
    row: &Row<'_>,
    layout: &TableLayout,
    group: &mut RowGroup,
) -> Result<Result<usize, Unfit>, rusqlite::Error> {
    let mut text_bytes = 0;
    for (place, (column, output)) in layout.columns.iter().zip(&mut group.columns).enumerate() {
        match row.get_ref(place)? {
            ValueRef::Null => output.push_null(),
            value => match push_value(value, column.stored, column.kind, layout.is_mark(place), output) {
                Some(Some(bytes)) => text_bytes += bytes,
                Some(None) => return Ok(Err(Unfit::NeedsText(place))),
                None => return Ok(Err(Unfit::Type(place))),
            },
        }
    }
    Ok(Ok(text_bytes))
}

/// Appends a stored value. `None` if it does not have the column's type, `Some(None)` if it fits only as text.
fn push_value(
    value: ValueRef<'_>,
    stored: ColumnType,
    kind: OutputKind,
    is_mark: bool,
    output: &mut GroupColumn,
) -> Option<Option<usize>> {
    use ColumnType as T;
    let utf8 = |bytes| std::str::from_utf8(bytes).ok();
    Some(match (stored, value) {
        (T::Boolean, ValueRef::Integer(value @ (0 | 1))) => output.push_bool(value == 1),
        (T::Bigint, ValueRef::Integer(value)) => output.push_i64(value),
        (T::Double, ValueRef::Real(value)) => output.push_double(value),
        (T::Decimal, ValueRef::Text(text)) => {
            let text = utf8(text)?;
            match kind {
                OutputKind::Decimal { scale } => Exact::parse(text)
                    .and_then(|exact| exact.unscaled(scale))
                    .and_then(|n| output.push_decimal(n)),
                _ => output.push_text(|out| canonical::number(text, out)),
            }
        }
        (T::Json, ValueRef::Text(text)) => output.push_text(|out| canonical::json(text, out)),
        // The writer checks that texts are UTF-8, all of a column at once.
        (T::Text | T::Unknown, ValueRef::Text(text)) => output.push_text(|out| out.extend_from_slice(text)),
        (T::Date, ValueRef::Text(text)) => output.push_i32(days(utf8(text)?)?),
        (T::Timestamp, ValueRef::Text(text)) => {
            let at = micros(text)?;
            match kind {
                OutputKind::Timestamp if at.is_cut && !is_mark => None,
                OutputKind::Timestamp => output.push_i64(at.micros),
                _ => output.push_text(|out| out.extend_from_slice(text)),
            }
        }
        _ => return None,
    })
}
