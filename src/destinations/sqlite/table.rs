//! Tables as SQLite has them: made from shapes, and widened without losing a value.
//!
//! A column is added to the file when its first value comes, because SQLite cannot change a column's type: a wider
//! type means a new table, into which the rows are copied in the same transaction. Declared types are chosen so that
//! SQLite's affinities never turn a text into a number. Start at [`adopt`].

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::file::quoted;
use crate::destinations::{DestinationError, TableFacts};
use crate::domain::cell::ColumnType;
use crate::domain::op::{Column, TableShape};

/// Columns of ours in every table: when the row was last written, and since when it is gone at the source.
pub(super) const SYNCED: &str = "_synced_at";
/// See [`SYNCED`].
pub(super) const DELETED: &str = "_deleted_at";

/// What goes wrong inside the writer: SQLite's errors are judged once, at its edge.
#[derive(Debug)]
pub(super) enum Trouble {
    /// SQLite says so.
    Sql(rusqlite::Error),
    /// We say so.
    Ours(DestinationError),
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        Trouble::Sql(error)
    }
}

pub(super) fn refuse(table: &str, reason: impl Into<String>) -> Trouble {
    Trouble::Ours(DestinationError::Table { table: table.to_owned(), reason: reason.into() })
}

/// The tables that are ours and still there.
pub(super) fn all(db: &Connection) -> Result<BTreeMap<String, TableShape>, rusqlite::Error> {
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

/// How many rows our tables hold, by name.
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

/// Our tables that somebody dropped: what was read into them must be read again.
pub(super) fn dropped(db: &Connection) -> Result<Vec<String>, rusqlite::Error> {
    let mut query = db.prepare(
        "SELECT name FROM _tables t
         WHERE NOT EXISTS (SELECT 1 FROM sqlite_schema s WHERE s.type = 'table' AND s.name = t.name)",
    )?;
    query.query_map([], |row| row.get(0))?.collect()
}

/// What [`adopt`] did.
pub(super) struct Adopted {
    /// The table as stored; its types may be wider than those asked for.
    pub(super) shape: TableShape,
    /// Columns whose stored values were converted, with the expression that did it.
    pub(super) converted: Vec<(String, String)>,
}

/// Makes the stored table fit for rows of a shape. `None` as long as a key's type is unknown: no rows can come.
pub(super) fn adopt(
    db: &Connection,
    stored: Option<&TableShape>,
    told: &TableShape,
) -> Result<Option<Adopted>, Trouble> {
    let Some(stored) = stored else {
        return create(db, told);
    };
    if stored.key != told.key || stored.write != told.write {
        let reason = format!(
            "it is stored with key ({}) and write = {:?}, and the definition now wants ({}) and {:?}: \
             drop or rename the table in the file and sync again",
            stored.key.join(", "),
            stored.write,
            told.key.join(", "),
            told.write
        );
        return Err(refuse(&told.table, reason));
    }
    let mut shape = TableShape { deleted_if: told.deleted_if.clone(), ..stored.clone() };
    for column in &told.columns {
        match shape.columns.iter_mut().find(|stored| stored.name == column.name) {
            Some(stored) => stored.kind = meet(db, &told.table, stored, column.kind)?,
            None => shape.columns.push(column.clone()),
        }
    }
    let mut converted = Vec::new();
    if shape != *stored {
        let widened = |new: &&Column| {
            let old = stored.columns.iter().find(|old| old.name == new.name);
            old.is_some_and(|old| old.kind != ColumnType::Unknown && old.kind != new.kind)
        };
        for new in shape.columns.iter().filter(widened) {
            let old = stored.columns.iter().find(|old| old.name == new.name);
            let old = old.map_or(ColumnType::Unknown, |old| old.kind);
            converted.push((new.name.clone(), conversion(&quoted(&new.name), old, new.kind)));
        }
        if !converted.is_empty() {
            rebuild(db, stored, &shape, &converted)?;
        }
    }
    add_missing(db, &shape)?;
    if shape != *stored {
        remember(db, &shape)?;
    }
    Ok(Some(Adopted { shape, converted }))
}

/// Marks what was stored as live before the definition said which column tells: no later run may bring it again.
pub(super) fn mark(db: &Connection, shape: &TableShape, now: &str) -> Result<u64, rusqlite::Error> {
    let place = shape.deleted_place();
    let Some(column) = place.and_then(|place| shape.columns.get(place)) else { return Ok(0) };
    let (table, column) = (quoted(&shape.table), quoted(&column.name));
    let sql = format!(
        "UPDATE {table} SET {DELETED} = ?1, {SYNCED} = ?1
         WHERE {DELETED} IS NULL AND CAST({column} AS TEXT) IN ('true', '1')"
    );
    Ok(db.execute(&sql, [now])? as u64)
}

fn create(db: &Connection, told: &TableShape) -> Result<Option<Adopted>, Trouble> {
    let known = |column: &&Column| column.kind != ColumnType::Unknown;
    let decided = told.columns.iter().filter(known).count();
    let keyed = told.key.iter().all(|key| told.columns.iter().filter(known).any(|c| c.name == *key));
    if decided == 0 || !keyed {
        return Ok(None);
    }
    let taken: Option<String> = db
        .query_row("SELECT type FROM sqlite_schema WHERE lower(name) = lower(?)", [&told.table], |row| {
            row.get(0)
        })
        .optional()?;
    if let Some(taken) = taken {
        let reason = format!("a {taken} of this name that is not ours is in the file: rename one of them");
        return Err(refuse(&told.table, reason));
    }
    db.execute_batch(&definition(&quoted(&told.table), told, &[]))?;
    remember(db, told)?;
    Ok(Some(Adopted { shape: told.clone(), converted: Vec::new() }))
}

fn remember(db: &Connection, shape: &TableShape) -> Result<(), Trouble> {
    let text = serde_json::to_string(shape).map_err(|e| refuse(&shape.table, e.to_string()))?;
    db.execute("INSERT OR REPLACE INTO _tables (name, shape) VALUES (?, ?)", params![shape.table, text])?;
    Ok(())
}

/// The type in which what is stored and what comes meet. An integer that no double holds keeps its digits.
fn meet(
    db: &Connection,
    table: &str,
    stored: &Column,
    told: ColumnType,
) -> Result<ColumnType, rusqlite::Error> {
    match (stored.kind, told) {
        // What comes may hold such an integer, and whoever sends it does not know of the doubles here.
        (ColumnType::Double, ColumnType::Bigint) => Ok(ColumnType::Decimal),
        (ColumnType::Bigint, ColumnType::Double) => {
            let (table, column) = (quoted(table), quoted(&stored.name));
            let limit = 1_i64 << 53;
            let sql = format!(
                "SELECT EXISTS (SELECT 1 FROM {table} WHERE {column} > {limit} OR {column} < -{limit})"
            );
            let large: bool = db.query_row(&sql, [], |row| row.get(0))?;
            Ok(if large { ColumnType::Decimal } else { ColumnType::Double })
        }
        (stored, told) => Ok(stored.join(told)),
    }
}

/// The declared type: its words for people and for drivers that look at the first one, its affinity for SQLite.
/// Where SQLite's own guess would be NUMERIC, which turns the text `1e3` into a number, it says TEXT.
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
    for column in shape.columns.iter().filter(|column| column.kind != ColumnType::Unknown) {
        let keyed = shape.key.contains(&column.name);
        // The one spelling that makes the key the row's own number, without a second tree.
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

/// Names as SQL takes them, separated by commas.
pub(super) fn list(names: &[String]) -> String {
    names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")
}

/// The columns that are really there, with their declared types.
fn physical(db: &Connection, table: &str) -> Result<Vec<(String, String)>, rusqlite::Error> {
    let mut query = db.prepare("SELECT name, type FROM pragma_table_xinfo(?) WHERE hidden = 0")?;
    query.query_map([table], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// Adds the columns whose type is decided and that are not there, be it that they are new or that somebody
/// dropped them.
fn add_missing(db: &Connection, shape: &TableShape) -> Result<(), Trouble> {
    let there = physical(db, &shape.table)?;
    for column in shape.columns.iter().filter(|column| column.kind != ColumnType::Unknown) {
        if there.iter().any(|(name, _)| name.eq_ignore_ascii_case(&column.name)) {
            continue;
        }
        if shape.key.contains(&column.name) {
            let reason = format!("its key column {} is gone: drop the table and sync again", column.name);
            return Err(refuse(&shape.table, reason));
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

/// The expression that turns a stored value of one type into what would be stored had it come as the other.
fn conversion(column: &str, old: ColumnType, new: ColumnType) -> String {
    use ColumnType::{Bigint, Boolean, Date, Decimal, Double, Text, Timestamp};
    match (old, new) {
        (Boolean, Text) => format!("CASE {column} WHEN 1 THEN 'true' WHEN 0 THEN 'false' END"),
        (Boolean | Bigint, Double) => format!("CAST({column} AS REAL)"),
        (Boolean | Bigint, Decimal | Text) => format!("CAST({column} AS TEXT)"),
        (Double, Decimal | Text) => format!("double_text({column})"),
        (Date, Timestamp) => format!("{column} || ' 00:00:00'"),
        _ => column.to_owned(),
    }
}

/// Copies a table into one with wider columns, under its own name, with its indexes and triggers; columns that
/// somebody added stay. A view that no longer works stops it, and is named.
fn rebuild(
    db: &Connection,
    old: &TableShape,
    new: &TableShape,
    converted: &[(String, String)],
) -> Result<(), Trouble> {
    let table = quoted(&old.table);
    let fresh = quoted(&format!("_rebuilt_{}", old.table));
    let there = physical(db, &old.table)?;
    let ours = |name: &str| name == SYNCED || name == DELETED || old.columns.iter().any(|c| c.name == name);
    let extras: Vec<_> = there.iter().filter(|(name, _)| !ours(name)).cloned().collect();
    let attached: Vec<String> = db
        .prepare(
            "SELECT sql FROM sqlite_schema WHERE tbl_name = ? AND type IN ('index', 'trigger') AND sql IS NOT NULL",
        )?
        .query_map([&old.table], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let views = working_views(db)?;

    // Only the columns that are there; a new or healed one is added behind them.
    let kept: Vec<String> = there.iter().map(|(name, _)| name.clone()).collect();
    let mut shape = new.clone();
    shape.columns.retain(|column| kept.contains(&column.name));
    let values: Vec<String> = kept
        .iter()
        .map(|name| match converted.iter().find(|(converted, _)| converted == name) {
            Some((_, expression)) => expression.clone(),
            None => quoted(name),
        })
        .collect();
    db.execute_batch(&format!(
        "{}; INSERT INTO {fresh} ({}) SELECT {} FROM {table}; DROP TABLE {table}; ALTER TABLE {fresh} RENAME TO {table};",
        definition(&fresh, &shape, &extras),
        list(&kept),
        values.join(", ")
    ))?;
    for sql in attached {
        db.execute_batch(&sql)?;
    }
    for view in views {
        if let Err(error) = db.prepare(&format!("SELECT * FROM {}", quoted(&view))) {
            let reason = format!(
                "a column must become wider, and view {view} would not work any more ({error}): \
                 drop the view, sync, and make it again"
            );
            return Err(refuse(&old.table, reason));
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
