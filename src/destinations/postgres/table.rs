//! Tables as PostgreSQL has them: made from shapes, and widened without losing a value.
//!
//! A column is added when its first value comes. A wider type is an `ALTER` that converts what is stored into what it
//! would be had it come for the wider column. What somebody changed by hand is mended where nothing is lost by it, and
//! named otherwise. Start at [`adopt`].

use std::collections::BTreeMap;

use jiff::Timestamp;
use tokio_postgres::types::Type;
use tokio_postgres::{GenericClient, Transaction};

use super::names::{Names, SEEN, STAGING, fitted, list, literal, quoted};
use super::trouble::{Trouble, refuse};
use super::wire::sql_type;
use crate::database::{AtLength, LONG, Patience};
use crate::destinations::TableFacts;
use crate::domain::cell::ColumnType;
use crate::domain::op::{Column, TableShape, Write};

/// Columns of ours in every table: when the row was last written, and since when it is gone at the source.
pub(super) const SYNCED: &str = "_synced_at";
/// See [`SYNCED`].
pub(super) const DELETED: &str = "_deleted_at";

/// Reading or rewriting a large table takes longer than anything else we do: for the rest of the transaction the server
/// does not end it early, and while the answer is kept, neither do we.
pub(super) async fn at_length(db: &Transaction<'_>, patience: &Patience) -> Result<AtLength, Trouble> {
    db.batch_execute(&format!("SET LOCAL statement_timeout = {}", literal(LONG))).await?;
    Ok(patience.at_length())
}

/// Our tables, and whether each is still there.
async fn known(
    client: &impl GenericClient,
    names: &Names,
) -> Result<Vec<(String, TableShape, bool)>, Trouble> {
    let sql = format!("SELECT t.name, t.shape FROM {} t ORDER BY t.name COLLATE \"C\"", names.of("_tables"));
    let rows = client.query_typed(&sql, &[]).await?;
    let there: Vec<String> = client
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
            .map_err(|e| refuse(&name, format!("what is kept of its shape cannot be read: {e}")))?;
        let exists = there.iter().any(|there| *there == fitted(&name));
        known.push((name, shape, exists));
    }
    Ok(known)
}

/// The tables that are ours and still there.
pub(super) async fn all(
    client: &impl GenericClient,
    names: &Names,
) -> Result<BTreeMap<String, TableShape>, Trouble> {
    let known = known(client, names).await?;
    Ok(known.into_iter().filter(|(.., exists)| *exists).map(|(name, shape, _)| (name, shape)).collect())
}

/// Our tables that somebody dropped: what was read into them must be read again.
pub(super) async fn dropped(client: &impl GenericClient, names: &Names) -> Result<Vec<String>, Trouble> {
    let known = known(client, names).await?;
    Ok(known.into_iter().filter(|(.., exists)| !exists).map(|(name, ..)| name).collect())
}

/// How many rows our tables hold, by name.
pub(super) async fn facts(client: &impl GenericClient, names: &Names) -> Result<Vec<TableFacts>, Trouble> {
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

/// Forgets tables that are gone.
pub(super) async fn forget(db: &Transaction<'_>, names: &Names, tables: &[String]) -> Result<(), Trouble> {
    let sql = format!("DELETE FROM {} WHERE name = ANY($1)", names.of("_tables"));
    db.execute_typed(&sql, &[(&tables, Type::TEXT_ARRAY)]).await?;
    Ok(())
}

/// Drops what runs leave behind that were cut off: the tables that live no longer than a run.
pub(super) async fn sweep_out(db: &Transaction<'_>, names: &Names) -> Result<(), Trouble> {
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

/// What [`adopt`] did.
pub(super) struct Adopted {
    /// The table as stored; its types may be wider than those asked for.
    pub(super) shape: TableShape,
    /// Columns whose stored values were converted: old and new type.
    pub(super) converted: Vec<(String, ColumnType, ColumnType)>,
    /// Rows that were taken for live, and say of themselves that they are deleted; see [`mark`].
    pub(super) marked: u64,
}

/// Makes the stored table fit for rows of a shape. `None` as long as a key's type is unknown: no rows can come.
pub(super) async fn adopt(
    db: &Transaction<'_>,
    names: &Names,
    patience: &Patience,
    stored: Option<&TableShape>,
    told: &TableShape,
) -> Result<Option<Adopted>, Trouble> {
    let Some(stored) = stored else {
        return create(db, names, told).await;
    };
    if stored.key != told.key || stored.write != told.write {
        let reason = format!(
            "it is stored with key ({}) and write = {:?}, and the definition now wants ({}) and {:?}: \
             drop or rename the table {} and sync again",
            stored.key.join(", "),
            stored.write,
            told.key.join(", "),
            told.write,
            names.of(&told.table)
        );
        return Err(refuse(&told.table, reason));
    }
    let mut shape = TableShape { deleted_if: told.deleted_if.clone(), ..stored.clone() };
    for column in &told.columns {
        match shape.columns.iter_mut().find(|stored| stored.name == column.name) {
            Some(stored) => {
                stored.kind = meet(db, names, patience, &told.table, stored, column.kind).await?;
            }
            None => shape.columns.push(column.clone()),
        }
    }
    compare(db, names, stored).await?;
    let mut converted = Vec::new();
    for new in &shape.columns {
        let old = stored.columns.iter().find(|old| old.name == new.name).map(|old| old.kind);
        if let Some(old) = old.filter(|old| *old != ColumnType::Unknown && *old != new.kind) {
            converted.push((new.name.clone(), old, new.kind));
        }
    }
    if !converted.is_empty() {
        widen(db, patience, &told.table, &names.of(&told.table), &converted).await?;
    }
    add_missing(db, names, &shape, &names.of(&told.table), &told.table).await?;
    if shape != *stored {
        remember(db, names, &shape).await?;
    }
    Ok(Some(Adopted { shape, converted, marked: 0 }))
}

/// Marks what was stored as live before the definition said which column tells: no later run may bring it again.
pub(super) async fn mark(
    db: &Transaction<'_>,
    names: &Names,
    patience: &Patience,
    shape: &TableShape,
    now: Timestamp,
) -> Result<u64, Trouble> {
    let place = shape.deleted_place();
    let Some(column) = place.and_then(|place| shape.columns.get(place)) else { return Ok(0) };
    let _long = at_length(db, patience).await?;
    let sql = format!(
        "UPDATE {} SET {DELETED} = $1, {SYNCED} = $1 WHERE {DELETED} IS NULL AND {}",
        names.of(&shape.table),
        says_true(&column.name)
    );
    Ok(db.execute_typed(&sql, &[(&now, Type::TIMESTAMPTZ)]).await?)
}

/// "This column says yes", whatever it has widened to, as SQL.
pub(super) fn says_true(column: &str) -> String {
    format!("{}::text IN ('true', '1')", quoted(column))
}

async fn create(db: &Transaction<'_>, names: &Names, told: &TableShape) -> Result<Option<Adopted>, Trouble> {
    let known = |column: &&Column| column.kind != ColumnType::Unknown;
    let decided = told.columns.iter().filter(known).count();
    let keyed = told.key.iter().all(|key| told.columns.iter().filter(known).any(|c| c.name == *key));
    if decided == 0 || !keyed {
        return Ok(None);
    }
    let taken = db
        .query_typed(
            "SELECT CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'table' WHEN 'v' THEN 'view' ELSE 'relation' END
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2",
            &[(&names.schema, Type::TEXT), (&fitted(&told.table), Type::TEXT)],
        )
        .await?;
    if let Some(taken) = taken.first() {
        let taken: String = taken.get(0);
        let reason = format!(
            "a {taken} of this name that is not ours is in schema {}: rename one of them",
            names.schema
        );
        return Err(refuse(&told.table, reason));
    }
    db.batch_execute(&definition(&names.of(&told.table), told)).await?;
    remember(db, names, told).await?;
    Ok(Some(Adopted { shape: told.clone(), converted: Vec::new(), marked: 0 }))
}

async fn remember(db: &Transaction<'_>, names: &Names, shape: &TableShape) -> Result<(), Trouble> {
    let text = serde_json::to_string(shape).map_err(|e| refuse(&shape.table, e.to_string()))?;
    let sql = format!(
        "INSERT INTO {} (name, shape) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET shape = EXCLUDED.shape",
        names.of("_tables")
    );
    db.execute_typed(&sql, &[(&shape.table, Type::TEXT), (&text, Type::TEXT)]).await?;
    Ok(())
}

/// The type in which what is stored and what comes meet. An integer that no double holds keeps its digits.
async fn meet(
    db: &Transaction<'_>,
    names: &Names,
    patience: &Patience,
    table: &str,
    stored: &Column,
    told: ColumnType,
) -> Result<ColumnType, Trouble> {
    match (stored.kind, told) {
        // What comes may hold such an integer, and whoever sends it does not know of the doubles here.
        (ColumnType::Double, ColumnType::Bigint) => Ok(ColumnType::Decimal),
        (ColumnType::Bigint, ColumnType::Double) => {
            let (table, column) = (names.of(table), quoted(&stored.name));
            let limit = 1_i64 << 53;
            let sql = format!(
                "SELECT EXISTS (SELECT 1 FROM {table} WHERE {column} > {limit} OR {column} < -{limit})"
            );
            let _long = at_length(db, patience).await?;
            let large = db.query_typed(&sql, &[]).await?.first().is_some_and(|row| row.get(0));
            Ok(if large { ColumnType::Decimal } else { ColumnType::Double })
        }
        (stored, told) => Ok(stored.join(told)),
    }
}

fn definition(name: &str, shape: &TableShape) -> String {
    let mut parts = Vec::new();
    for column in shape.columns.iter().filter(|column| column.kind != ColumnType::Unknown) {
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

/// The table for the rows that will replace a table's: as the table itself, but of this run only, and not logged.
pub(super) async fn stage(db: &Transaction<'_>, names: &Names, shape: &TableShape) -> Result<(), Trouble> {
    let staging = names.staging(&shape.table);
    let sql = definition(&staging, shape).replacen("CREATE TABLE", "CREATE UNLOGGED TABLE IF NOT EXISTS", 1);
    db.batch_execute(&sql).await?;
    add_missing(db, names, shape, &staging, &format!("{STAGING}{}", shape.table)).await
}

/// The table for the keys of this run.
pub(super) async fn remember_keys(
    db: &Transaction<'_>,
    names: &Names,
    shape: &TableShape,
) -> Result<(), Trouble> {
    let kind =
        |key: &String| shape.columns.iter().find(|c| c.name == *key).map_or(ColumnType::Text, |c| c.kind);
    let columns: Vec<String> =
        shape.key.iter().map(|key| format!("{} {}", quoted(key), sql_type(kind(key)))).collect();
    let sql =
        format!("CREATE UNLOGGED TABLE IF NOT EXISTS {} ({})", names.seen(&shape.table), columns.join(", "));
    db.batch_execute(&sql).await?;
    Ok(())
}

/// Drops the tables of this run that belong to a table.
pub(super) async fn forget_run(db: &Transaction<'_>, names: &Names, table: &str) -> Result<(), Trouble> {
    let sql = format!("DROP TABLE IF EXISTS {}, {}", names.seen(table), names.staging(table));
    db.batch_execute(&sql).await?;
    Ok(())
}

/// The columns that are really there, with their types.
async fn physical(
    db: &Transaction<'_>,
    names: &Names,
    relation: &str,
) -> Result<Vec<(String, String)>, Trouble> {
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

/// Names what somebody changed by hand and we cannot mend: a column's type, or the key.
async fn compare(db: &Transaction<'_>, names: &Names, stored: &TableShape) -> Result<(), Trouble> {
    let there = physical(db, names, &stored.table).await?;
    let ours = stored.columns.iter().filter(|column| column.kind != ColumnType::Unknown);
    let own = [SYNCED, DELETED].map(|name| (name.to_owned(), sql_type(ColumnType::Timestamp)));
    for (name, want) in ours.map(|column| (column.name.clone(), sql_type(column.kind))).chain(own) {
        let found = there.iter().find(|(found, _)| *found == fitted(&name));
        if let Some((_, found)) = found.filter(|(_, found)| found != want) {
            let reason = format!(
                "its column {name} was changed by hand: it is {found} and was made as {want}; change it back, or drop the table and sync again"
            );
            return Err(refuse(&stored.table, reason));
        }
        if found.is_none() && (name == SYNCED || name == DELETED) {
            let reason = format!("its column {name} is gone: drop the table and sync again");
            return Err(refuse(&stored.table, reason));
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
    let gone = keys.iter().find(|key| !there.iter().any(|(found, _)| found == *key));
    let reason = match gone {
        Some(key) => format!("its key column {key} is gone: drop the table and sync again"),
        None => format!(
            "its primary key is gone: ALTER TABLE {} ADD PRIMARY KEY ({}), or drop the table and sync again",
            names.of(&stored.table),
            list(&stored.key)
        ),
    };
    Err(refuse(&stored.table, reason))
}

/// Adds the columns whose type is decided and that are not there, be it that they are new or that somebody
/// dropped them.
async fn add_missing(
    db: &Transaction<'_>,
    names: &Names,
    shape: &TableShape,
    table: &str,
    relation: &str,
) -> Result<(), Trouble> {
    let there = physical(db, names, relation).await?;
    let missing: Vec<String> = shape
        .columns
        .iter()
        .filter(|column| column.kind != ColumnType::Unknown)
        .filter(|column| !there.iter().any(|(name, _)| *name == fitted(&column.name)))
        .map(|column| format!("ADD COLUMN {} {}", quoted(&column.name), sql_type(column.kind)))
        .collect();
    if !missing.is_empty() {
        db.batch_execute(&format!("ALTER TABLE {table} {}", missing.join(", "))).await?;
    }
    Ok(())
}

/// The expression that turns a stored value of one type into what would be stored had it come as the other.
pub(super) fn conversion(value: &str, old: ColumnType, new: ColumnType) -> String {
    use ColumnType::{Date, Decimal, Double, Text, Timestamp};
    let to = sql_type(new);
    match (old, new) {
        (old, new) if old == new => value.to_owned(),
        // Shortest digits, and never an exponent.
        (Double, Text) => format!("{value}::text::numeric::text"),
        (Double, Decimal) => format!("{value}::text::numeric"),
        (Date, Timestamp) => format!("({value}::timestamp AT TIME ZONE 'UTC')"),
        (Timestamp, Text) => format!("({value} AT TIME ZONE 'UTC')::text"),
        _ => format!("{value}::{to}"),
    }
}

/// Makes columns wider, unless a view would stand in the way; then it is named.
async fn widen(
    db: &Transaction<'_>,
    patience: &Patience,
    table: &str,
    relation: &str,
    converted: &[(String, ColumnType, ColumnType)],
) -> Result<(), Trouble> {
    let columns: Vec<String> = converted.iter().map(|(column, ..)| fitted(column).into_owned()).collect();
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
            "column {} must become wider, and these views read it: {views}; drop them, sync, and make them again",
            columns.join(", ")
        );
        return Err(refuse(table, reason));
    }
    let _long = at_length(db, patience).await?;
    db.batch_execute(&alter(relation, converted)).await?;
    Ok(())
}

/// The statement that converts columns.
fn alter(relation: &str, converted: &[(String, ColumnType, ColumnType)]) -> String {
    let parts: Vec<String> = converted
        .iter()
        .map(|(column, old, new)| {
            let column = quoted(column);
            format!("ALTER COLUMN {column} TYPE {} USING {}", sql_type(*new), conversion(&column, *old, *new))
        })
        .collect();
    format!("ALTER TABLE {relation} {}", parts.join(", "))
}

/// Converts what the tables of this run hold, as the table itself was converted.
pub(super) async fn convert_run(
    db: &Transaction<'_>,
    names: &Names,
    shape: &TableShape,
    converted: &[(String, ColumnType, ColumnType)],
    sweeping: bool,
) -> Result<(), Trouble> {
    let keys: Vec<_> = converted.iter().filter(|(column, ..)| shape.key.contains(column)).cloned().collect();
    if sweeping && !keys.is_empty() {
        db.batch_execute(&alter(&names.seen(&shape.table), &keys)).await?;
    }
    if shape.write == Write::Replace && !converted.is_empty() {
        db.batch_execute(&alter(&names.staging(&shape.table), converted)).await?;
    }
    Ok(())
}
