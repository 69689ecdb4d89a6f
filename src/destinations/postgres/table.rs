//! Tables in PostgreSQL: created from shapes, and widened without losing a value.
//!
//! A column is added when its type is known. Widening is an `ALTER` that converts stored values as if they had arrived in
//! the wider type. Manual changes are repaired if that loses no data, and refused otherwise. Start at [`ensure_table`].

use std::collections::BTreeMap;

use jiff::Timestamp;
use tokio_postgres::types::Type;
use tokio_postgres::{GenericClient, Transaction};

use super::binary::sql_type;
use super::failure::PostgresFailure;
use super::names::{Names, SEEN, STAGING, fitted, list, literal, quoted};
use crate::database::{IdleTimeout, LONG, LongWork};
use crate::destinations::{DestinationError, TableFacts, exceeds_double_sql};
use crate::domain::syncing::cell::ColumnType;
use crate::domain::syncing::op::{TableShape, Write};
use crate::domain::syncing::shape::{SchemaMerge, Widening};

/// Time of the last write of the row. Every table has this column and [`DELETED`].
pub(crate) const SYNCED: &str = "_synced_at";
/// Time at which the row was soft-deleted.
pub(crate) const DELETED: &str = "_deleted_at";

/// Allows a statement that reads or rewrites a large table: lifts the server's timeout for the rest of the transaction,
/// and our idle limit while the returned guard lives.
pub(crate) async fn start_long_work(
    db: &Transaction<'_>,
    idle_timeout: &IdleTimeout,
) -> Result<LongWork, PostgresFailure> {
    db.batch_execute(&format!("SET LOCAL statement_timeout = {}", literal(LONG))).await?;
    Ok(idle_timeout.start_long_work())
}

/// Our tables, and whether each still exists.
async fn known(
    client: &impl GenericClient,
    names: &Names,
) -> Result<Vec<(String, TableShape, bool)>, PostgresFailure> {
    let sql = format!("SELECT t.name, t.shape FROM {} t ORDER BY t.name COLLATE \"C\"", names.of("_tables"));
    let rows = client.query_typed(&sql, &[]).await?;
    let present: Vec<String> = client
        .query_typed(
            "SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname = $1 AND c.relkind IN ('r', 'p')",
            &[(&names.schema, Type::TEXT)],
        )
        .await?
        .iter()
        .map(|row| row.get(0))
        .collect();
    let mut known = Vec::with_capacity(rows.len());
    for row in rows {
        let (name, shape): (String, String) = (row.get(0), row.get(1));
        let shape = serde_json::from_str(&shape)
            .map_err(|e| DestinationError::table(&name, format!("its stored schema is unreadable: {e}")))?;
        let exists = present.iter().any(|present| *present == fitted(&name));
        known.push((name, shape, exists));
    }
    Ok(known)
}

/// Our tables that exist.
pub(crate) async fn all(
    client: &impl GenericClient,
    names: &Names,
) -> Result<BTreeMap<String, TableShape>, PostgresFailure> {
    let known = known(client, names).await?;
    Ok(known.into_iter().filter(|(.., exists)| *exists).map(|(name, shape, _)| (name, shape)).collect())
}

/// Our tables that were dropped by hand: their rows must be read again.
pub(super) async fn dropped(
    client: &impl GenericClient,
    names: &Names,
) -> Result<Vec<String>, PostgresFailure> {
    let known = known(client, names).await?;
    Ok(known.into_iter().filter(|(.., exists)| !exists).map(|(name, ..)| name).collect())
}

/// The row counts of our tables, by name.
pub(super) async fn facts(
    client: &impl GenericClient,
    names: &Names,
) -> Result<Vec<TableFacts>, PostgresFailure> {
    let mut facts = Vec::new();
    for table in all(client, names).await?.into_keys() {
        let sql = format!("SELECT count(*), count({DELETED}) FROM {}", names.of(&table));
        let rows = client.query_typed(&sql, &[]).await?;
        let (all, deleted): (i64, i64) = rows.first().map_or((0, 0), |row| (row.get(0), row.get(1)));
        let number = |count: i64| u64::try_from(count).unwrap_or(0);
        facts.push(TableFacts { table, rows: number(all - deleted), deleted: number(deleted) });
    }
    Ok(facts)
}

/// Removes the stored shapes of tables that no longer exist.
pub(crate) async fn remove_shapes(
    db: &Transaction<'_>,
    names: &Names,
    tables: &[String],
) -> Result<(), PostgresFailure> {
    let sql = format!("DELETE FROM {} WHERE name = ANY($1)", names.of("_tables"));
    db.execute_typed(&sql, &[(&tables, Type::TEXT_ARRAY)]).await?;
    Ok(())
}

/// Drops the tables of runs that were interrupted.
pub(super) async fn drop_leftovers(db: &Transaction<'_>, names: &Names) -> Result<(), PostgresFailure> {
    let rows = db
        .query_typed(
            "SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname = $1 AND c.relkind = 'r' AND (starts_with(c.relname, $2) OR starts_with(c.relname, $3))",
            &[(&names.schema, Type::TEXT), (&SEEN, Type::TEXT), (&STAGING, Type::TEXT)],
        )
        .await?;
    for row in rows {
        db.batch_execute(&format!("DROP TABLE {}", names.of(row.get(0)))).await?;
    }
    Ok(())
}

/// Creates the stored table or widens it for rows of an announced shape. `None` while the type of a key column is
/// unknown: then there are no rows. `beyond_double` names the columns with an integer that a double cannot represent, as
/// far as rows are not in the table yet.
pub(crate) async fn ensure_table(
    db: &Transaction<'_>,
    names: &Names,
    idle_timeout: &IdleTimeout,
    stored: Option<&TableShape>,
    announced: &TableShape,
    mut beyond_double: Vec<String>,
) -> Result<Option<SchemaMerge>, PostgresFailure> {
    let Some(stored) = stored else {
        if !announced.is_creatable() {
            return Ok(None);
        }
        create(db, names, announced).await?;
        let (shape, widened) = (announced.clone(), Vec::new());
        return Ok(Some(SchemaMerge { shape, widened, recheck_deleted: false }));
    };
    let (name, table) = (&announced.table, names.of(&announced.table));
    for column in stored.integers_to_check(announced) {
        let _long = start_long_work(db, idle_timeout).await?;
        let rows = db.query_typed(&exceeds_double_sql(&table, &quoted(column)), &[]).await?;
        if rows.first().is_some_and(|row| row.get(0)) {
            beyond_double.push(column.to_owned());
        }
    }
    let merge = stored
        .merge(announced, &beyond_double)
        .map_err(|conflict| DestinationError::table(name, conflict))?;
    check_unchanged(db, names, stored).await?;
    if !merge.widened.is_empty() {
        widen(db, idle_timeout, name, &table, &merge.widened).await?;
    }
    add_missing(db, names, &merge.shape, &table, name).await?;
    if merge.shape != *stored {
        store_shape(db, names, &merge.shape).await?;
    }
    Ok(Some(merge))
}

/// Soft-deletes rows that were stored as live before the definition had `deleted_if`.
pub(super) async fn mark_deleted(
    db: &Transaction<'_>,
    names: &Names,
    idle_timeout: &IdleTimeout,
    shape: &TableShape,
    now: Timestamp,
) -> Result<u64, PostgresFailure> {
    let Some(column) = shape.deleted_column() else { return Ok(0) };
    let _long = start_long_work(db, idle_timeout).await?;
    let sql = format!(
        "UPDATE {} SET {DELETED} = $1, {SYNCED} = $1 WHERE {DELETED} IS NULL AND {}",
        names.of(&shape.table),
        truthy_sql(column)
    );
    Ok(db.execute_typed(&sql, &[(&now, Type::TIMESTAMPTZ)]).await?)
}

/// SQL: this column is true, also after it was widened.
pub(super) fn truthy_sql(column: &str) -> String {
    format!("{}::text IN ('true', '1')", quoted(column))
}

async fn create(db: &Transaction<'_>, names: &Names, shape: &TableShape) -> Result<(), PostgresFailure> {
    let taken = db
        .query_typed(
            "SELECT CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'table' WHEN 'v' THEN 'view' ELSE 'relation' END
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2",
            &[(&names.schema, Type::TEXT), (&fitted(&shape.table), Type::TEXT)],
        )
        .await?;
    if let Some(taken) = taken.first() {
        let taken: String = taken.get(0);
        let reason = format!(
            "a {taken} of this name that is not ours is in schema {}: rename one of them",
            names.schema
        );
        return Err(DestinationError::table(&shape.table, reason).into());
    }
    db.batch_execute(&definition(&names.of(&shape.table), shape)).await?;
    store_shape(db, names, shape).await
}

async fn store_shape(db: &Transaction<'_>, names: &Names, shape: &TableShape) -> Result<(), PostgresFailure> {
    let text = serde_json::to_string(shape).map_err(|e| DestinationError::table(&shape.table, e))?;
    let sql = format!(
        "INSERT INTO {} (name, shape) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET shape = EXCLUDED.shape",
        names.of("_tables")
    );
    db.execute_typed(&sql, &[(&shape.table, Type::TEXT), (&text, Type::TEXT)]).await?;
    Ok(())
}

fn definition(name: &str, shape: &TableShape) -> String {
    let mut parts = Vec::new();
    for column in shape.known_columns() {
        let not_null = if shape.key.contains(&column.name) { " NOT NULL" } else { "" };
        parts.push(format!("{} {}{not_null}", quoted(&column.name), sql_type(column.kind)));
    }
    parts.push(format!("{SYNCED} timestamp with time zone NOT NULL"));
    parts.push(format!("{DELETED} timestamp with time zone"));
    if !shape.key.is_empty() {
        parts.push(format!("PRIMARY KEY ({})", list(&shape.key)));
    }
    format!("CREATE TABLE {name} ({})", parts.join(", "))
}

/// Creates the unlogged staging table for the rows that will replace a table's rows.
pub(super) async fn stage(
    db: &Transaction<'_>,
    names: &Names,
    shape: &TableShape,
) -> Result<(), PostgresFailure> {
    let staging = names.staging(&shape.table);
    let sql = definition(&staging, shape).replacen("CREATE TABLE", "CREATE UNLOGGED TABLE IF NOT EXISTS", 1);
    db.batch_execute(&sql).await?;
    add_missing(db, names, shape, &staging, &format!("{STAGING}{}", shape.table)).await
}

/// Creates the table for the keys of the rows of this run.
pub(super) async fn remember_keys(
    db: &Transaction<'_>,
    names: &Names,
    shape: &TableShape,
) -> Result<(), PostgresFailure> {
    let column = |key: &String| format!("{} {}", quoted(key), sql_type(shape.column_type(key)));
    let columns: Vec<String> = shape.key.iter().map(column).collect();
    let sql =
        format!("CREATE UNLOGGED TABLE IF NOT EXISTS {} ({})", names.seen(&shape.table), columns.join(", "));
    db.batch_execute(&sql).await?;
    Ok(())
}

/// Drops the staging and key tables of a table.
pub(super) async fn drop_run_tables(
    db: &Transaction<'_>,
    names: &Names,
    table: &str,
) -> Result<(), PostgresFailure> {
    let sql = format!("DROP TABLE IF EXISTS {}, {}", names.seen(table), names.staging(table));
    db.batch_execute(&sql).await?;
    Ok(())
}

/// The existing columns with their types.
async fn physical(
    db: &Transaction<'_>,
    names: &Names,
    relation: &str,
) -> Result<Vec<(String, String)>, PostgresFailure> {
    let rows = db
        .query_typed(
            "SELECT a.attname::text, format_type(a.atttypid, a.atttypmod)
             FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname = $1 AND c.relname = $2 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
            &[(&names.schema, Type::TEXT), (&fitted(relation), Type::TEXT)],
        )
        .await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Refuses manual changes that cannot be repaired: a column's type, or the key.
async fn check_unchanged(
    db: &Transaction<'_>,
    names: &Names,
    stored: &TableShape,
) -> Result<(), PostgresFailure> {
    let present = physical(db, names, &stored.table).await?;
    let ours = stored.known_columns();
    let own = [SYNCED, DELETED].map(|name| (name.to_owned(), sql_type(ColumnType::Timestamp)));
    for (name, want) in ours.map(|column| (column.name.clone(), sql_type(column.kind))).chain(own) {
        let found = present.iter().find(|(found, _)| *found == fitted(&name));
        if let Some((_, found)) = found.filter(|(_, found)| found != want) {
            let reason = format!(
                "its column {name} was changed by hand from {want} to {found}; change it back, or drop the table and sync again"
            );
            return Err(DestinationError::table(&stored.table, reason).into());
        }
        if found.is_none() && (name == SYNCED || name == DELETED) {
            let reason = format!("its column {name} is missing: drop the table and sync again");
            return Err(DestinationError::table(&stored.table, reason).into());
        }
    }
    if stored.key.is_empty() {
        return Ok(());
    }
    let keys: Vec<String> = stored.key.iter().map(|key| fitted(key).into_owned()).collect();
    let rows = db
        .query_typed(
            "SELECT EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = to_regclass($1) AND i.indisunique AND i.indisvalid
                 AND i.indpred IS NULL AND i.indnkeyatts = cardinality($2::text[]) AND $2::text[] @> (
                     SELECT array_agg(a.attname::text) FROM pg_attribute a
                     WHERE a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey)))",
            &[(&names.of(&stored.table), Type::TEXT), (&keys, Type::TEXT_ARRAY)],
        )
        .await?;
    if rows.first().is_some_and(|row| row.get(0)) {
        return Ok(());
    }
    let missing = keys.iter().find(|key| !present.iter().any(|(found, _)| found == *key));
    let reason = match missing {
        Some(key) => format!("its key column {key} is missing: drop the table and sync again"),
        None => format!(
            "its primary key is missing: ALTER TABLE {} ADD PRIMARY KEY ({}), or drop the table and sync again",
            names.of(&stored.table),
            list(&stored.key)
        ),
    };
    Err(DestinationError::table(&stored.table, reason).into())
}

/// Adds columns of a known type that do not exist, because they are new or were dropped by hand.
async fn add_missing(
    db: &Transaction<'_>,
    names: &Names,
    shape: &TableShape,
    table: &str,
    relation: &str,
) -> Result<(), PostgresFailure> {
    let present = physical(db, names, relation).await?;
    let missing: Vec<String> = shape
        .known_columns()
        .filter(|column| !present.iter().any(|(name, _)| *name == fitted(&column.name)))
        .map(|column| format!("ADD COLUMN {} {}", quoted(&column.name), sql_type(column.kind)))
        .collect();
    if !missing.is_empty() {
        db.batch_execute(&format!("ALTER TABLE {table} {}", missing.join(", "))).await?;
    }
    Ok(())
}

/// SQL: converts a stored value as if it had arrived in the wider type.
pub(super) fn conversion(value: &str, old: ColumnType, new: ColumnType) -> String {
    use ColumnType::{Date, Decimal, Double, Text, Timestamp};
    let to = sql_type(new);
    match (old, new) {
        (old, new) if old == new => value.to_owned(),
        // The shortest digits, without an exponent.
        (Double, Text) => format!("{value}::text::numeric::text"),
        (Double, Decimal) => format!("{value}::text::numeric"),
        (Date, Timestamp) => format!("({value}::timestamp AT TIME ZONE 'UTC')"),
        (Timestamp, Text) => format!("({value} AT TIME ZONE 'UTC')::text"),
        _ => format!("{value}::{to}"),
    }
}

/// Widens columns. Fails with the names of views that depend on them.
async fn widen(
    db: &Transaction<'_>,
    idle_timeout: &IdleTimeout,
    table: &str,
    relation: &str,
    widened: &[Widening],
) -> Result<(), PostgresFailure> {
    let columns: Vec<String> = widened.iter().map(|widening| fitted(&widening.column).into_owned()).collect();
    let rows = db
        .query_typed(
            "SELECT string_agg(DISTINCT v.oid::regclass::text, ', ') FROM pg_depend d
             JOIN pg_rewrite r ON r.oid = d.objid JOIN pg_class v ON v.oid = r.ev_class
             JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
             WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
               AND d.refobjid = to_regclass($1) AND a.attname = ANY($2) AND v.oid <> d.refobjid",
            &[(&relation, Type::TEXT), (&columns, Type::TEXT_ARRAY)],
        )
        .await?;
    if let Some(views) = rows.first().and_then(|row| row.get::<_, Option<String>>(0)) {
        let reason = format!(
            "column {} must be widened, but views depend on it ({views}): drop them, sync, and create them again",
            columns.join(", ")
        );
        return Err(DestinationError::table(table, reason).into());
    }
    let _long = start_long_work(db, idle_timeout).await?;
    db.batch_execute(&alter(relation, widened)).await?;
    Ok(())
}

/// The statement that converts columns.
fn alter(relation: &str, widened: &[Widening]) -> String {
    let parts: Vec<String> = widened
        .iter()
        .map(|Widening { column, from, to }| {
            let column = quoted(column);
            format!("ALTER COLUMN {column} TYPE {} USING {}", sql_type(*to), conversion(&column, *from, *to))
        })
        .collect();
    format!("ALTER TABLE {relation} {}", parts.join(", "))
}

/// Converts the staging and key tables in the same way as the table.
pub(super) async fn convert_run_tables(
    db: &Transaction<'_>,
    names: &Names,
    shape: &TableShape,
    widened: &[Widening],
    sweeping: bool,
) -> Result<(), PostgresFailure> {
    let keys: Vec<_> =
        widened.iter().filter(|widening| shape.key.contains(&widening.column)).cloned().collect();
    if sweeping && !keys.is_empty() {
        db.batch_execute(&alter(&names.seen(&shape.table), &keys)).await?;
    }
    if shape.write == Write::Replace && !widened.is_empty() {
        db.batch_execute(&alter(&names.staging(&shape.table), widened)).await?;
    }
    Ok(())
}
