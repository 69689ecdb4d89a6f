//! Completes a table that was read to its end: soft-deletes stale rows, or replaces all rows.

use jiff::Timestamp;
use tokio_postgres::Transaction;
use tokio_postgres::types::Type;

use super::failure::PostgresFailure;
use super::merge::differs;
use super::names::{Names, list, quoted};
use super::table::{self, DELETED, SYNCED};
use crate::domain::syncing::op::{Sweep, TableShape, Tally};

/// Soft-deletes the rows that this run did not send. The inner `Err` is the reason why it refused.
pub(super) async fn delete_stale(
    db: &Transaction<'_>,
    names: &Names,
    shape: &TableShape,
    sweep: Sweep,
    now: Timestamp,
    tally: &mut Tally,
) -> Result<Result<(), String>, PostgresFailure> {
    table::remember_keys(db, names, shape).await?;
    let (table, seen) = (names.of(&shape.table), names.seen(&shape.table));
    // The planner has no statistics of a table that was just filled.
    db.batch_execute(&format!("ANALYZE {seen}")).await?;
    let keys = same_key(shape, "s", "t");
    let gone = format!("t.{DELETED} IS NULL AND NOT EXISTS (SELECT 1 FROM {seen} s WHERE {keys})");
    // Only in WHERE does the server plan an anti-join; elsewhere it would scan the keys for each row.
    let sql = format!(
        "SELECT (SELECT count(*) FROM {table} WHERE {DELETED} IS NULL), (SELECT count(*) FROM {table} t WHERE {gone})"
    );
    let rows = db.query_typed(&sql, &[]).await?;
    let (live, missing): (i64, i64) = rows.first().map_or((0, 0), |row| (row.get(0), row.get(1)));
    if let Some(refusal) = sweep.refusal(tally.rejected, missing.unsigned_abs(), live.unsigned_abs()) {
        return Ok(Err(refusal));
    }
    let sql = format!("UPDATE {table} t SET {DELETED} = $1, {SYNCED} = $1 WHERE {gone}");
    tally.deleted += db.execute_typed(&sql, &[(&now, Type::TIMESTAMPTZ)]).await?;
    Ok(Ok(()))
}

fn same_key(shape: &TableShape, left: &str, right: &str) -> String {
    let pairs = shape.key.iter().map(|key| format!("{left}.{0} = {right}.{0}", quoted(key)));
    pairs.collect::<Vec<_>>().join(" AND ")
}

/// Replaces the rows of a table by the staged ones; unchanged rows stay as they are.
pub(super) async fn replace_rows(
    db: &Transaction<'_>,
    names: &Names,
    shape: &TableShape,
    tally: &mut Tally,
) -> Result<(), PostgresFailure> {
    table::stage(db, names, shape).await?;
    let (table, staged) = (names.of(&shape.table), names.staging(&shape.table));
    db.batch_execute(&format!("ANALYZE {staged}")).await?;
    let known: Vec<String> = shape.known_columns().map(|column| column.name.clone()).collect();
    let all = format!("{}, {SYNCED}", list(&known));
    let rows = db.query_typed(&format!("SELECT count(*) FROM {staged}"), &[]).await?;
    let fresh = rows.first().map_or(0, |row| row.get::<_, i64>(0)).unsigned_abs();
    // They were counted as inserted when they arrived.
    tally.inserted = tally.inserted.saturating_sub(fresh);
    if shape.key.is_empty() {
        tally.deleted += db.execute_typed(&format!("DELETE FROM {table}"), &[]).await?;
        let sql = format!("INSERT INTO {table} ({all}) SELECT {all} FROM {staged}");
        tally.inserted += db.execute_typed(&sql, &[]).await?;
        return Ok(());
    }
    let gone = format!(
        "DELETE FROM {table} t WHERE NOT EXISTS (SELECT 1 FROM {staged} s WHERE {})",
        same_key(shape, "s", "t")
    );
    let deleted = db.execute_typed(&gone, &[]).await?;
    let others: Vec<String> =
        known.iter().filter(|name| !shape.key.contains(name)).map(|name| quoted(name)).collect();
    let sets: Vec<String> =
        others.iter().map(String::as_str).chain([SYNCED]).map(|name| format!("{name} = s.{name}")).collect();
    let change = format!(
        "UPDATE {table} t SET {}, {DELETED} = NULL FROM {staged} s WHERE {} AND ({})",
        sets.join(", "),
        same_key(shape, "s", "t"),
        differs(&others, "t", "s")
    );
    let updated = db.execute_typed(&change, &[]).await?;
    let sql = format!(
        "INSERT INTO {table} ({all}) SELECT {all} FROM {staged} ON CONFLICT ({}) DO NOTHING",
        list(&shape.key)
    );
    let inserted = db.execute_typed(&sql, &[]).await?;
    tally.deleted += deleted;
    tally.inserted += inserted;
    tally.updated += updated;
    tally.unchanged += fresh.saturating_sub(inserted + updated);
    Ok(())
}
