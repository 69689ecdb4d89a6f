//! Writes the rows of one table into SQLite: converts them to the stored types, sorts them by key, and writes only changed
//! rows.
//!
//! Sorting a large batch by key keeps the writes to the key's tree close together, and makes rows with the same key
//! adjacent, so that only the last is written. Start at [`UpsertTarget::write`].

use std::cmp::Ordering;
use std::sync::Arc;

use jiff::tz::TimeZone;
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{CachedStatement, Connection};

use super::file::{SqliteFailure, list, quoted};
use super::table::{DELETED, SYNCED};
use crate::destinations::DestinationError;
use crate::domain::syncing::cell::{Cell, ColumnType, exact_double};
use crate::domain::syncing::op::{Rows, TableShape, Tally, Write};

/// A table to write to, with its statements.
#[derive(Debug)]
pub(super) struct UpsertTarget {
    table: String,
    /// The stored columns in the order of the statements' parameters.
    columns: Vec<(String, ColumnType)>,
    /// Indexes of the key columns.
    key: Vec<usize>,
    /// Index of the `deleted_if` column.
    deleted_if: Option<usize>,
    insert: String,
    update: Option<String>,
    remember: Option<String>,
    /// Whether rows are written to the staging table, where rows with the same key are from the same run.
    staging: bool,
}

/// The temporary table for the keys of the rows of this run.
pub(super) fn seen(table: &str) -> String {
    format!("temp.{}", quoted(&format!("seen {table}")))
}

/// The temporary table for the rows that will replace a table's rows.
pub(super) fn staging(table: &str) -> String {
    format!("temp.{}", quoted(&format!("staging {table}")))
}

/// SQL: any of these pairs differs.
pub(super) fn differs(pairs: impl Iterator<Item = (String, String)>) -> String {
    pairs.map(|(stored, new)| format!("{stored} IS NOT {new}")).collect::<Vec<_>>().join(" OR ")
}

impl UpsertTarget {
    /// The statements for a stored table. With `sweeping`, the key of every row is stored.
    pub(super) fn new(shape: &TableShape, sweeping: bool) -> Self {
        let columns: Vec<_> =
            shape.known_columns().map(|column| (column.name.clone(), column.kind)).collect();
        let at = |name: &String| columns.iter().position(|(column, _)| column == name);
        let key: Vec<usize> = shape.key.iter().filter_map(at).collect();
        let name = match shape.write {
            Write::Replace => staging(&shape.table),
            Write::Upsert | Write::Append => quoted(&shape.table),
        };
        let deleted_if =
            shape.deleted_column().and_then(|name| columns.iter().position(|(column, _)| column == name));
        let mark = DeletedParameter::new(deleted_if.map(|_| columns.len() + 2));
        let names: Vec<String> = columns.iter().map(|(name, _)| quoted(name)).collect();
        let places: Vec<String> = (1..=columns.len() + 1).map(|i| format!("?{i}")).collect();
        let mut insert = format!(
            "INSERT INTO {name} ({}, {SYNCED}{}) VALUES ({}{})",
            names.join(", "),
            mark.column,
            places.join(", "),
            mark.value
        );
        let mut update = None;
        if !key.is_empty() {
            insert.push_str(&format!(" ON CONFLICT ({}) DO NOTHING", list(&shape.key)));
            let is_key = |i: &usize| key.contains(i);
            let set: Vec<_> = (0..columns.len()).filter(|i| !is_key(i)).collect();
            let sets = set.iter().map(|i| format!("{} = ?{}", names[*i], i + 1));
            let sets = sets
                .chain([format!("{SYNCED} = ?{}", columns.len() + 1), format!("{DELETED} = {}", mark.kept)]);
            let keys: Vec<_> = key.iter().map(|i| format!("{} = ?{}", names[*i], i + 1)).collect();
            let pairs = set.iter().map(|i| (names[*i].clone(), format!("?{}", i + 1)));
            let pairs = pairs.chain([mark.differs]);
            update = Some(format!(
                "UPDATE {name} SET {} WHERE {} AND ({})",
                sets.collect::<Vec<_>>().join(", "),
                keys.join(" AND "),
                differs(pairs)
            ));
        }
        let remember = (sweeping && !key.is_empty()).then(|| {
            let places: Vec<_> = (1..=key.len()).map(|i| format!("?{i}")).collect();
            format!("INSERT OR IGNORE INTO {} VALUES ({})", seen(&shape.table), places.join(", "))
        });
        let staging = shape.write == Write::Replace;
        Self { table: shape.table.clone(), columns, key, deleted_if, insert, update, remember, staging }
    }

    /// Writes gathered rows of this table in order, and counts the results.
    pub(super) fn write(
        &self,
        db: &Connection,
        batches: &[&Rows],
        synced: &str,
        tally: &mut Tally,
    ) -> Result<(), SqliteFailure> {
        let rows: Vec<IncomingRow<'_>> = batches.iter().flat_map(|rows| self.incoming(rows)).collect();
        tally.seen += rows.len() as u64;
        let mut order: Vec<(u64, usize)> = rows.iter().map(|row| self.lead(row)).zip(0..).collect();
        if !self.key.is_empty() {
            order.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| self.by_key(&rows[a.1], &rows[b.1])));
        }
        let mut insert = db.prepare_cached(&self.insert)?;
        let mut update = self.update.as_deref().map(|sql| db.prepare_cached(sql)).transpose()?;
        let mut remember = self.remember.as_deref().map(|sql| db.prepare_cached(sql)).transpose()?;
        for (i, &(lead, at)) in order.iter().enumerate() {
            let row = &rows[at];
            let next = order.get(i + 1).filter(|next| next.0 == lead).map(|&(_, next)| &rows[next]);
            if !self.key.is_empty() && next.is_some_and(|next| self.by_key(row, next) == Ordering::Equal) {
                tally.duplicate += 1;
                continue;
            }
            if let Some(remember) = &mut remember {
                for (place, &column) in self.key.iter().enumerate() {
                    remember.raw_bind_parameter(place + 1, self.value(row, column)?)?;
                }
                remember.raw_execute()?;
            }
            if self.execute(&mut insert, row, synced)? > 0 {
                tally.inserted += 1;
                continue;
            }
            let changed = match &mut update {
                Some(update) => self.execute(update, row, synced)?,
                None => 0,
            };
            match (self.staging, changed) {
                (true, _) => tally.duplicate += 1,
                (false, 0) => tally.unchanged += 1,
                (false, _) => tally.updated += 1,
            }
        }
        Ok(())
    }

    fn execute(
        &self,
        statement: &mut CachedStatement<'_>,
        row: &IncomingRow<'_>,
        synced: &str,
    ) -> Result<usize, SqliteFailure> {
        for column in 0..self.columns.len() {
            statement.raw_bind_parameter(column + 1, self.value(row, column)?)?;
        }
        statement.raw_bind_parameter(self.columns.len() + 1, synced)?;
        if let Some(column) = self.deleted_if {
            let mark = row.cell(column).is_true().then_some(synced);
            statement.raw_bind_parameter(self.columns.len() + 2, mark)?;
        }
        Ok(statement.raw_execute()?)
    }

    fn incoming<'r>(&self, rows: &'r Rows) -> impl Iterator<Item = IncomingRow<'r>> + use<'r> {
        let places: Vec<Option<usize>> = self
            .columns
            .iter()
            .map(|(name, _)| rows.shape.columns.iter().position(|column| column.name == *name))
            .collect();
        let places: Arc<[Option<usize>]> = places.into();
        rows.rows.iter().map(move |cells| IncomingRow { cells, places: Arc::clone(&places) })
    }

    fn value<'r>(&self, row: &'r IncomingRow<'_>, column: usize) -> Result<ToSqlOutput<'r>, SqliteFailure> {
        let Some((name, kind)) = self.columns.get(column) else { return Ok(NULL) };
        let cell = row.cell(column);
        stored(cell, *kind).ok_or_else(|| DestinationError::misfit(&self.table, name, *kind, cell).into())
    }

    /// The first bytes of a row's key as a number with the same order, so that most comparisons need not read the keys.
    fn lead(&self, row: &IncomingRow<'_>) -> u64 {
        let Some(&column) = self.key.first() else { return 0 };
        self.columns.get(column).map_or(0, |(_, kind)| lead(row.cell(column), *kind))
    }

    fn by_key(&self, a: &IncomingRow<'_>, b: &IncomingRow<'_>) -> Ordering {
        self.key
            .iter()
            .map(|&column| {
                let kind = self.columns.get(column).map_or(ColumnType::Text, |(_, kind)| *kind);
                compare(a.cell(column), b.cell(column), kind)
            })
            .find(|order| *order != Ordering::Equal)
            .unwrap_or(Ordering::Equal)
    }
}

/// SQL for the column [`DELETED`] in the statements.
struct DeletedParameter {
    /// The column, if a value other than NULL can be inserted.
    column: String,
    /// The inserted value.
    value: String,
    /// The new value for an existing row.
    kept: String,
    /// The stored and the new state; they differ if the deletion changed.
    differs: (String, String),
}

impl DeletedParameter {
    /// A row is live unless this parameter is set. A row that was already deleted keeps the time of its first deletion.
    fn new(place: Option<usize>) -> Self {
        let Some(place) = place else {
            let differs = (DELETED.to_owned(), "NULL".to_owned());
            return Self { column: String::new(), value: String::new(), kept: "NULL".to_owned(), differs };
        };
        Self {
            column: format!(", {DELETED}"),
            value: format!(", ?{place}"),
            kept: format!("iif(?{place} IS NULL, NULL, coalesce({DELETED}, ?{place}))"),
            differs: (format!("({DELETED} IS NULL)"), format!("(?{place} IS NULL)")),
        }
    }
}

/// A row, and the index of the cell for each stored column.
struct IncomingRow<'r> {
    cells: &'r [Cell],
    places: Arc<[Option<usize>]>,
}

impl IncomingRow<'_> {
    /// The cell for a stored column; null if the row does not have the column.
    fn cell(&self, column: usize) -> &Cell {
        let place = self.places.get(column).copied().flatten();
        place.and_then(|place| self.cells.get(place)).unwrap_or(&Cell::Null)
    }
}

const NULL: ToSqlOutput<'static> = ToSqlOutput::Owned(Value::Null);

/// The stored value of a cell in a column of this type; `None` if the type cannot store it.
fn stored(cell: &Cell, kind: ColumnType) -> Option<ToSqlOutput<'_>> {
    use ColumnType as T;
    let integer = |value: i64| Some(ToSqlOutput::Owned(Value::Integer(value)));
    let real = |value: f64| Some(ToSqlOutput::Owned(Value::Real(value)));
    match (kind, cell) {
        (_, Cell::Null) => Some(NULL),
        (T::Text, cell) => as_text(cell),
        (T::Boolean | T::Bigint, Cell::Bool(value)) => integer((*value).into()),
        (T::Bigint, Cell::Int(value)) => integer(*value),
        (T::Double, Cell::Bool(value)) => real(f64::from(u8::from(*value))),
        (T::Double, Cell::Int(value)) => exact_double(*value).and_then(real),
        (T::Double, Cell::Double(value)) => real(*value),
        (T::Decimal, Cell::Bool(value)) => as_owned(u8::from(*value).to_string()),
        (T::Decimal, Cell::Int(_) | Cell::Double(_) | Cell::Decimal(_)) => as_text(cell),
        (T::Date, Cell::Date(_)) | (T::Timestamp, Cell::Timestamp(_)) | (T::Json, Cell::Json(_)) => {
            as_text(cell)
        }
        (T::Timestamp, Cell::Date(day)) => as_owned(format!("{day} 00:00:00")),
        _ => None,
    }
}

fn as_text(cell: &Cell) -> Option<ToSqlOutput<'_>> {
    Some(match cell.to_text()? {
        std::borrow::Cow::Borrowed(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
        std::borrow::Cow::Owned(text) => ToSqlOutput::Owned(Value::Text(text)),
    })
}

fn as_owned(text: String) -> Option<ToSqlOutput<'static>> {
    Some(ToSqlOutput::Owned(Value::Text(text)))
}

/// The order of two values in a column; equal exactly if their stored values are equal.
fn compare(a: &Cell, b: &Cell, kind: ColumnType) -> Ordering {
    match kind {
        // The most common case, which needs no copy.
        _ if let (Cell::Text(a), Cell::Text(b)) = (a, b) => a.cmp(b),
        ColumnType::Boolean | ColumnType::Bigint => integer_of(a).cmp(&integer_of(b)),
        ColumnType::Double => real_of(a).total_cmp(&real_of(b)),
        ColumnType::Timestamp => instant_of(a).cmp(&instant_of(b)),
        _ => a.to_text().cmp(&b.to_text()),
    }
}

/// A number whose order never contradicts [`compare`]; the keys of equal numbers must be compared.
fn lead(cell: &Cell, kind: ColumnType) -> u64 {
    match kind {
        ColumnType::Text => {
            let text = cell.to_text().unwrap_or_default();
            let mut lead = [0; 8];
            lead.iter_mut().zip(text.bytes()).for_each(|(place, byte)| *place = byte);
            u64::from_be_bytes(lead)
        }
        ColumnType::Boolean | ColumnType::Bigint => {
            integer_of(cell).map_or(0, |value| value.cast_unsigned() ^ (1 << 63))
        }
        _ => 0,
    }
}

fn integer_of(cell: &Cell) -> Option<i64> {
    match cell {
        Cell::Bool(value) => Some((*value).into()),
        Cell::Int(value) => Some(*value),
        _ => None,
    }
}

fn real_of(cell: &Cell) -> f64 {
    let value = match cell {
        Cell::Double(value) => *value,
        cell => integer_of(cell).and_then(exact_double).unwrap_or(f64::NAN),
    };
    // SQLite has one zero.
    value + 0.0
}

fn instant_of(cell: &Cell) -> Option<jiff::Timestamp> {
    match cell {
        Cell::Timestamp(value) => Some(*value),
        Cell::Date(day) => day.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lead_numbers_never_contradict_the_order_of_keys() {
        let text = |text: &str| Cell::Text(text.into());
        let texts = ["", "\0", "a", "ab", "abcdefgh", "abcdefgh\0", "abcdefghi", "b", "\u{e9}", "\u{10ffff}"];
        let mut texts: Vec<Cell> = texts.into_iter().map(text).collect();
        texts.extend([Cell::Null, Cell::Int(-7), Cell::Int(12), Cell::Bool(true)]);
        let numbers = [i64::MIN, -5_000_000_000, -1, 0, 1, 7, i64::MAX].map(Cell::Int);
        let numbers: Vec<Cell> = numbers.into_iter().chain([Cell::Null, Cell::Bool(true)]).collect();
        for (kind, cells) in [(ColumnType::Text, texts), (ColumnType::Bigint, numbers)] {
            for (a, b) in cells.iter().flat_map(|a| cells.iter().map(move |b| (a, b))) {
                let by_lead = lead(a, kind).cmp(&lead(b, kind));
                assert!(by_lead == Ordering::Equal || by_lead == compare(a, b, kind), "{a:?} {b:?}");
            }
        }
    }
}
