//! Completes a table that was read to its end: soft-deletes stale rows, or replaces all rows.

use rusqlite::Connection;

use super::file::{list, quoted};
use super::table::{DELETED, SYNCED, conversion};
use super::upsert::{differs, seen, staging};
use crate::domain::syncing::op::{Sweep, TableShape, Tally, Write};
use crate::domain::syncing::shape::Widening;

/// Creates the temporary table for the keys of this run. Its columns have no types, so that values are not converted.
pub(super) fn remember_keys(db: &Connection, shape: &TableShape) -> Result<(), rusqlite::Error> {
    let (name, key) = (seen(&shape.table), list(&shape.key));
    db.execute_batch(&format!("CREATE TABLE IF NOT EXISTS {name} ({key}, PRIMARY KEY ({key})) WITHOUT ROWID"))
}

/// Creates the staging table for the rows that will replace a table's rows, or adds missing columns to it.
pub(super) fn stage(db: &Connection, shape: &TableShape) -> Result<(), rusqlite::Error> {
    let name = staging(&shape.table);
    let key =
        if shape.key.is_empty() { String::new() } else { format!(", PRIMARY KEY ({})", list(&shape.key)) };
    let columns = list(columns(shape));
    db.execute_batch(&format!("CREATE TABLE IF NOT EXISTS {name} ({columns}, {SYNCED}, {DELETED}{key})"))?;
    let present: Vec<String> = db
        .prepare("SELECT name FROM pragma_table_info(?, 'temp')")?
        .query_map([format!("staging {}", shape.table)], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for column in self::columns(shape).iter().filter(|column| !present.contains(column)) {
        db.execute_batch(&format!("ALTER TABLE {name} ADD COLUMN {}", quoted(column)))?;
    }
    Ok(())
}

/// Converts the temporary tables in the same way as the table.
pub(super) fn convert(
    db: &Connection,
    shape: &TableShape,
    widened: &[Widening],
    sweeping: bool,
) -> Result<(), rusqlite::Error> {
    for widening in widened {
        let column = quoted(&widening.column);
        let set = format!("SET {column} = {}", conversion(&column, widening.from, widening.to));
        if sweeping && shape.key.contains(&widening.column) {
            db.execute_batch(&format!("UPDATE {} {set}", seen(&shape.table)))?;
        }
        if shape.write == Write::Replace {
            db.execute_batch(&format!("UPDATE {} {set}", staging(&shape.table)))?;
        }
    }
    Ok(())
}

/// Drops the temporary tables of a run.
pub(super) fn drop_run_tables(db: &Connection, table: &str) -> Result<(), rusqlite::Error> {
    db.execute_batch(&format!(
        "DROP TABLE IF EXISTS {}; DROP TABLE IF EXISTS {}",
        seen(table),
        staging(table)
    ))
}

/// Soft-deletes the rows that this run did not send. The inner `Err` is the reason why it refused.
pub(super) fn delete_stale(
    db: &Connection,
    shape: &TableShape,
    sweep: Sweep,
    now: &str,
    tally: &mut Tally,
) -> Result<Result<(), String>, rusqlite::Error> {
    remember_keys(db, shape)?;
    let table = quoted(&shape.table);
    let gone = format!("{DELETED} IS NULL AND {}", absent(shape, &seen(&shape.table)));
    let count = |sql: String| db.query_row(&sql, [], |row| row.get::<_, i64>(0));
    let live = count(format!("SELECT count(*) FROM {table} WHERE {DELETED} IS NULL"))?;
    let missing = count(format!("SELECT count(*) FROM {table} WHERE {gone}"))?;
    if let Some(refusal) = sweep.refusal(tally.rejected, missing.unsigned_abs(), live.unsigned_abs()) {
        return Ok(Err(refusal));
    }
    let marked =
        db.execute(&format!("UPDATE {table} SET {DELETED} = ?1, {SYNCED} = ?1 WHERE {gone}"), [now])?;
    tally.deleted += marked as u64;
    Ok(Ok(()))
}

/// Replaces the rows of a table by the staged ones; unchanged rows stay as they are.
pub(super) fn replace_rows(
    db: &Connection,
    shape: &TableShape,
    tally: &mut Tally,
) -> Result<(), rusqlite::Error> {
    stage(db, shape)?;
    let (table, staged) = (quoted(&shape.table), staging(&shape.table));
    let mut names = columns(shape);
    names.push(SYNCED.to_owned());
    let all = list(&names);
    names.pop();
    let fresh: i64 = db.query_row(&format!("SELECT count(*) FROM {staged}"), [], |row| row.get(0))?;
    let fresh = u64::try_from(fresh).unwrap_or(0);
    // They were counted as inserted when they arrived.
    tally.inserted = tally.inserted.saturating_sub(fresh);
    if shape.key.is_empty() {
        tally.deleted += db.execute(&format!("DELETE FROM {table}"), [])? as u64;
        tally.inserted +=
            db.execute(&format!("INSERT INTO {table} ({all}) SELECT {all} FROM {staged}"), [])? as u64;
        return Ok(());
    }
    let same_key = |left: &str, right: &str| {
        let pairs = shape.key.iter().map(|key| format!("{left}.{0} = {right}.{0}", quoted(key)));
        pairs.collect::<Vec<_>>().join(" AND ")
    };
    let deleted = db.execute(&format!("DELETE FROM {table} WHERE {}", absent(shape, &staged)), [])?;
    let inserted = db.execute(
        &format!(
            "INSERT INTO {table} ({all}) SELECT {all} FROM {staged} WHERE true ON CONFLICT ({}) DO NOTHING",
            list(&shape.key)
        ),
        [],
    )?;
    let set = names.iter().filter(|name| !shape.key.contains(name)).map(|name| quoted(name));
    let sets: Vec<_> =
        set.clone().chain([SYNCED.to_owned()]).map(|name| format!("{name} = s.{name}")).collect();
    let pairs = set.map(|name| (format!("{table}.{name}"), format!("s.{name}")));
    let pairs = pairs.chain([(format!("{table}.{DELETED}"), "NULL".to_owned())]);
    let updated = db.execute(
        &format!(
            "UPDATE {table} SET {}, {DELETED} = NULL FROM {staged} s WHERE {} AND ({})",
            sets.join(", "),
            same_key("s", &table),
            differs(pairs)
        ),
        [],
    )?;
    let (deleted, inserted, updated) = (deleted as u64, inserted as u64, updated as u64);
    tally.deleted += deleted;
    tally.inserted += inserted;
    tally.updated += updated;
    tally.unchanged += fresh.saturating_sub(inserted + updated);
    Ok(())
}

/// SQL: no row of the other table has this key. The other table's columns have no types, so that a join would scan it for
/// each row; `NOT IN` uses the index.
fn absent(shape: &TableShape, other: &str) -> String {
    let key = list(&shape.key);
    format!("({key}) NOT IN (SELECT {key} FROM {other})")
}

fn columns(shape: &TableShape) -> Vec<String> {
    shape.known_columns().map(|column| column.name.clone()).collect()
}
