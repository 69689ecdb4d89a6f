//! Tables in SQLite: created from shapes, and widened without losing a value.
//!
//! A column is added when its type is known. SQLite cannot change a column's type, so that widening copies the rows into
//! a new table in the same transaction. With the declared types, SQLite's type affinity never converts a text to a
//! number. Start at [`ensure_table`].

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::file::{SqliteFailure, list, quoted};
use crate::destinations::{DestinationError, TableFacts, exceeds_double_sql};
use crate::domain::syncing::cell::ColumnType;
use crate::domain::syncing::op::TableShape;
use crate::domain::syncing::shape::{SchemaMerge, Widening};

/// Time of the last write of the row. Every table has this column and [`DELETED`].
pub(crate) const SYNCED: &str = "_synced_at";
/// Time at which the row was soft-deleted.
pub(crate) const DELETED: &str = "_deleted_at";

/// Our tables that exist.
pub(crate) fn all(db: &Connection) -> Result<BTreeMap<String, TableShape>, rusqlite::Error> {
    let mut query = db.prepare(
        "SELECT name, shape FROM _tables t
         WHERE EXISTS (SELECT 1 FROM sqlite_schema s WHERE s.type = 'table' AND s.name = t.name)",
    )?;
    let shapes = query.query_map([], |row| {
        let shape: String = row.get(1)?;
        let shape = serde_json::from_str(&shape).map_err(|e| {
            rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Text, Box::new(e))
        })?;
        Ok((row.get(0)?, shape))
    })?;
    shapes.collect()
}

/// The row counts of our tables, by name.
pub(super) fn facts(db: &Connection) -> Result<Vec<TableFacts>, rusqlite::Error> {
    let mut facts = Vec::new();
    for table in all(db)?.into_keys() {
        let count = format!("SELECT count(*), count({}) FROM {}", quoted(DELETED), quoted(&table));
        let (all, deleted): (i64, i64) = db.query_row(&count, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let number = |count: i64| u64::try_from(count).unwrap_or(0);
        facts.push(TableFacts { table, rows: number(all - deleted), deleted: number(deleted) });
    }
    Ok(facts)
}

/// Our tables that were dropped by hand: their rows must be read again.
pub(super) fn dropped(db: &Connection) -> Result<Vec<String>, rusqlite::Error> {
    let mut query = db.prepare(
        "SELECT name FROM _tables t
         WHERE NOT EXISTS (SELECT 1 FROM sqlite_schema s WHERE s.type = 'table' AND s.name = t.name)",
    )?;
    query.query_map([], |row| row.get(0))?.collect()
}

/// Creates the stored table or widens it for rows of an announced shape. `None` while the type of a key column is
/// unknown: then there are no rows. `beyond_double` names the columns with an integer that a double cannot represent, as
/// far as rows are not in the table yet.
pub(super) fn ensure_table(
    db: &Connection,
    stored: Option<&TableShape>,
    announced: &TableShape,
    mut beyond_double: Vec<String>,
) -> Result<Option<SchemaMerge>, SqliteFailure> {
    let Some(stored) = stored else {
        if !announced.is_creatable() {
            return Ok(None);
        }
        create(db, announced)?;
        let (shape, widened) = (announced.clone(), Vec::new());
        return Ok(Some(SchemaMerge { shape, widened, recheck_deleted: false }));
    };
    for column in stored.integers_to_check(announced) {
        let sql = exceeds_double_sql(&quoted(&stored.table), &quoted(column));
        if db.query_row(&sql, [], |row| row.get(0))? {
            beyond_double.push(column.to_owned());
        }
    }
    let merge = stored
        .merge(announced, &beyond_double)
        .map_err(|conflict| DestinationError::table(&announced.table, conflict))?;
    if !merge.widened.is_empty() {
        rebuild(db, stored, &merge)?;
    }
    add_missing(db, &merge.shape)?;
    if merge.shape != *stored {
        store_shape(db, &merge.shape)?;
    }
    Ok(Some(merge))
}

/// Soft-deletes rows that were stored as live before the definition had `deleted_if`.
pub(super) fn mark_deleted(db: &Connection, shape: &TableShape, now: &str) -> Result<u64, rusqlite::Error> {
    let Some(column) = shape.deleted_column() else { return Ok(0) };
    let sql = format!(
        "UPDATE {} SET {DELETED} = ?1, {SYNCED} = ?1 WHERE {DELETED} IS NULL AND {}",
        quoted(&shape.table),
        truthy_sql(column)
    );
    Ok(db.execute(&sql, [now])? as u64)
}

/// SQL: this column is true, also after it was widened.
fn truthy_sql(column: &str) -> String {
    format!("CAST({} AS TEXT) IN ('true', '1')", quoted(column))
}

fn create(db: &Connection, shape: &TableShape) -> Result<(), SqliteFailure> {
    let taken: Option<String> = db
        .query_row("SELECT type FROM sqlite_schema WHERE lower(name) = lower(?)", [&shape.table], |row| {
            row.get(0)
        })
        .optional()?;
    if let Some(taken) = taken {
        let reason = format!("a {taken} of this name that is not ours is in the file: rename one of them");
        return Err(DestinationError::table(&shape.table, reason).into());
    }
    db.execute_batch(&definition(&quoted(&shape.table), shape, &[]))?;
    store_shape(db, shape)
}

fn store_shape(db: &Connection, shape: &TableShape) -> Result<(), SqliteFailure> {
    let text = serde_json::to_string(shape).map_err(|e| DestinationError::table(&shape.table, e))?;
    db.execute("INSERT OR REPLACE INTO _tables (name, shape) VALUES (?, ?)", params![shape.table, text])?;
    Ok(())
}

/// The declared type. People and drivers read its first word. The second word TEXT sets the affinity where SQLite would
/// use NUMERIC, which converts the text `1e3` to a number.
fn declared(kind: ColumnType) -> &'static str {
    match kind {
        ColumnType::Boolean => "BOOLEAN",
        ColumnType::Bigint => "BIGINT",
        ColumnType::Double => "DOUBLE",
        ColumnType::Decimal => "DECIMAL TEXT",
        ColumnType::Date => "DATE TEXT",
        ColumnType::Timestamp => "TIMESTAMP TEXT",
        ColumnType::Json => "JSON TEXT",
        ColumnType::Text | ColumnType::Unknown => "TEXT",
    }
}

fn definition(name: &str, shape: &TableShape, extras: &[(String, String)]) -> String {
    let mut parts = Vec::new();
    for column in shape.known_columns() {
        let keyed = shape.key.contains(&column.name);
        // Only the type INTEGER makes the key the rowid, without a separate index.
        let kind = match column.kind {
            ColumnType::Bigint if keyed && shape.key.len() == 1 => "INTEGER",
            kind => declared(kind),
        };
        let not_null = if keyed { " NOT NULL" } else { "" };
        parts.push(format!("{} {kind}{not_null}", quoted(&column.name)));
    }
    parts.push(format!("{SYNCED} TIMESTAMP TEXT NOT NULL"));
    parts.push(format!("{DELETED} TIMESTAMP TEXT"));
    parts.extend(extras.iter().map(|(name, kind)| format!("{} {kind}", quoted(name))));
    if !shape.key.is_empty() {
        parts.push(format!("PRIMARY KEY ({})", list(&shape.key)));
    }
    format!("CREATE TABLE {name} (\n    {}\n)", parts.join(",\n    "))
}

/// The existing columns with their declared types.
pub(crate) fn physical(db: &Connection, table: &str) -> Result<Vec<(String, String)>, rusqlite::Error> {
    let mut query = db.prepare("SELECT name, type FROM pragma_table_xinfo(?) WHERE hidden = 0")?;
    query.query_map([table], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// Adds columns of a known type that do not exist, because they are new or were dropped by hand.
fn add_missing(db: &Connection, shape: &TableShape) -> Result<(), SqliteFailure> {
    let present = physical(db, &shape.table)?;
    for column in shape.known_columns() {
        if present.iter().any(|(name, _)| name.eq_ignore_ascii_case(&column.name)) {
            continue;
        }
        if shape.key.contains(&column.name) {
            let reason = format!("its key column {} is missing: drop the table and sync again", column.name);
            return Err(DestinationError::table(&shape.table, reason).into());
        }
        db.execute_batch(&format!(
            "ALTER TABLE {} ADD COLUMN {} {}",
            quoted(&shape.table),
            quoted(&column.name),
            declared(column.kind)
        ))?;
    }
    Ok(())
}

/// SQL: converts a stored value as if it had arrived in the wider type.
pub(super) fn conversion(column: &str, old: ColumnType, new: ColumnType) -> String {
    use ColumnType::{Bigint, Boolean, Date, Decimal, Double, Text, Timestamp};
    match (old, new) {
        (Boolean, Text) => format!("CASE {column} WHEN 1 THEN 'true' WHEN 0 THEN 'false' END"),
        (Bigint, Double) => format!("CAST({column} AS REAL)"),
        (Bigint, Decimal | Text) => format!("CAST({column} AS TEXT)"),
        (Double, Decimal | Text) => format!("double_text({column})"),
        (Date, Timestamp) => format!("{column} || ' 00:00:00'"),
        _ => column.to_owned(),
    }
}

/// Copies a table into one with wider columns under the same name, with its indexes, triggers and manually added columns.
/// Fails with the name of a view that would no longer work.
fn rebuild(db: &Connection, old: &TableShape, merge: &SchemaMerge) -> Result<(), SqliteFailure> {
    let table = quoted(&old.table);
    let fresh = quoted(&format!("_rebuilt_{}", old.table));
    let present = physical(db, &old.table)?;
    let ours = |name: &str| name == SYNCED || name == DELETED || old.columns.iter().any(|c| c.name == name);
    let extras: Vec<_> = present.iter().filter(|(name, _)| !ours(name)).cloned().collect();
    let attached: Vec<String> = db
        .prepare(
            "SELECT sql FROM sqlite_schema WHERE tbl_name = ? AND type IN ('index', 'trigger') AND sql IS NOT NULL",
        )?
        .query_map([&old.table], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let views = working_views(db)?;

    // Only the existing columns; new ones are added at the end.
    let copied: Vec<String> = present.iter().map(|(name, _)| name.clone()).collect();
    let mut shape = merge.shape.clone();
    shape.columns.retain(|column| copied.contains(&column.name));
    let values: Vec<String> = copied
        .iter()
        .map(|name| match merge.widened.iter().find(|widening| widening.column == *name) {
            Some(Widening { from, to, .. }) => conversion(&quoted(name), *from, *to),
            None => quoted(name),
        })
        .collect();
    db.execute_batch(&format!(
        "{}; INSERT INTO {fresh} ({}) SELECT {} FROM {table}; DROP TABLE {table}; ALTER TABLE {fresh} RENAME TO {table};",
        definition(&fresh, &shape, &extras),
        list(&copied),
        values.join(", ")
    ))?;
    for sql in attached {
        db.execute_batch(&sql)?;
    }
    for view in views {
        if let Err(error) = db.prepare(&format!("SELECT * FROM {}", quoted(&view))) {
            let reason = format!(
                "view {view} would no longer work if a column is widened ({error}): drop the view, sync, and create it again"
            );
            return Err(DestinationError::table(&old.table, reason).into());
        }
    }
    Ok(())
}

fn working_views(db: &Connection) -> Result<Vec<String>, rusqlite::Error> {
    let mut query = db.prepare("SELECT name FROM sqlite_schema WHERE type = 'view'")?;
    let views: Vec<String> = query.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(views
        .into_iter()
        .filter(|view| db.prepare(&format!("SELECT * FROM {}", quoted(view))).is_ok())
        .collect())
}
