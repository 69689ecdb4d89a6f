//! Writes the rows of one table: encodes them as they arrive, sends them by COPY into a temporary table, and merges them
//! with one statement at the commit.
//!
//! Rows sent by COPY wait outside of any transaction, so that none is open while a source is slow, and a merge can be
//! retried after a deadlock. A small number of rows, and all rows behind a pooler, are sent as arrays in the merge
//! statement. Start at [`Segment::push`], then [`Segment::merge`].

use std::sync::Arc;

use bytes::Bytes;
use futures_util::SinkExt as _;
use jiff::Timestamp;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Transaction};

use super::binary::{self, Misfit};
use super::failure::PostgresFailure;
use super::names::{Names, list, quoted};
use super::table::{DELETED, SYNCED, conversion, truthy_sql};
use crate::destinations::DestinationError;
use crate::domain::syncing::cell::{Cell, ColumnType};
use crate::domain::syncing::op::{TableShape, Tally, Write};

/// Up to so many rows are sent in the merge statement, because a COPY needs additional round trips.
const FEW_ROWS: usize = 2_000;

/// Encoded bytes after which rows are sent ahead of their merge.
pub(super) const SEND_BYTES: usize = 1 << 20;

/// Bytes of a key that the server's index always accepts; its limit is a third of a page.
pub(crate) const KEY_BYTES: usize = 2_500;

pub(crate) const KEY_TOO_LONG: &str = "its key is longer than PostgreSQL can index";

/// A table in its current shape.
#[derive(Debug)]
pub(crate) struct MergeTarget {
    pub(super) shape: TableShape,
    /// The stored columns with a known type.
    columns: Vec<(String, ColumnType)>,
    /// Indexes of the key columns.
    key: Vec<usize>,
    deleted_if: Option<String>,
    /// Whether the keys of the rows are stored.
    pub(super) sweeping: bool,
}

impl MergeTarget {
    pub(super) fn new(shape: TableShape, sweeping: bool) -> Self {
        let columns: Vec<_> =
            shape.known_columns().map(|column| (column.name.clone(), column.kind)).collect();
        let at = |name: &String| columns.iter().position(|(column, _)| column == name);
        let key = shape.key.iter().filter_map(at).collect();
        let deleted_if = shape.deleted_column().map(str::to_owned);
        Self { shape, columns, key, deleted_if, sweeping }
    }
}

/// The result of pushing a row.
pub(super) enum PushedRow {
    /// It waits for its merge.
    Taken,
    /// A column must become text first.
    Widen(String),
    /// No column can store it.
    Rejected(&'static str),
}

/// Rows of one table and one shape.
pub(super) struct Segment {
    pub(super) target: Arc<MergeTarget>,
    /// For each stored column, the index of its cell in incoming rows.
    places: Vec<Option<usize>>,
    /// Encoded rows that are not sent yet.
    waiting: Vec<u8>,
    waiting_rows: usize,
    /// The number of rows in the temporary table, and its name.
    sent: u64,
    table: Option<String>,
}

impl Segment {
    pub(super) fn new(target: Arc<MergeTarget>) -> Self {
        Self { target, places: Vec::new(), waiting: Vec::new(), waiting_rows: 0, sent: 0, table: None }
    }

    /// Sets the order of the cells in the following rows.
    pub(super) fn expect(&mut self, shape: &TableShape) {
        let place = |(name, _): &(String, ColumnType)| shape.columns.iter().position(|c| c.name == *name);
        self.places = self.target.columns.iter().map(place).collect();
    }

    pub(super) fn push(&mut self, cells: &[Cell]) -> Result<PushedRow, DestinationError> {
        let start = self.waiting.len();
        let fields = self.target.columns.len() + 1;
        let fields = i16::try_from(fields).map_err(|_| {
            DestinationError::table(
                &self.target.shape.table,
                "it has more columns than PostgreSQL allows (1,600)",
            )
        })?;
        self.waiting.extend_from_slice(&fields.to_be_bytes());
        self.waiting.extend_from_slice(&8_i32.to_be_bytes());
        let order = self.rows();
        self.waiting.extend_from_slice(&order.to_be_bytes());
        let mut key_bytes = 0;
        for (i, (name, kind)) in self.target.columns.iter().enumerate() {
            let cell = self.places.get(i).copied().flatten().and_then(|place| cells.get(place));
            let cell = cell.unwrap_or(&Cell::Null);
            let before = self.waiting.len();
            let misfit = binary::append(cell, *kind, &mut self.waiting).err();
            if self.target.key.contains(&i) {
                key_bytes += self.waiting.len() - before;
            }
            let misfit = match misfit {
                None if key_bytes > KEY_BYTES => Misfit::Reject(KEY_TOO_LONG),
                None => continue,
                Some(misfit) => misfit,
            };
            self.waiting.truncate(start);
            return match misfit {
                Misfit::Widen => Ok(PushedRow::Widen(name.clone())),
                Misfit::Reject(reason) => Ok(PushedRow::Rejected(reason)),
                Misfit::Type => Err(DestinationError::misfit(&self.target.shape.table, name, *kind, cell)),
            };
        }
        self.waiting_rows += 1;
        Ok(PushedRow::Taken)
    }

    /// Number of rows that wait for the merge.
    pub(super) fn rows(&self) -> u64 {
        self.sent + self.waiting_rows as u64
    }

    /// Bytes in memory.
    pub(super) fn bytes(&self) -> usize {
        self.waiting.len()
    }

    /// Whether rows are in the temporary table, which is lost with the session.
    pub(super) fn is_sent(&self) -> bool {
        self.sent > 0
    }

    /// Whether there are too many rows for the merge statement.
    pub(super) fn is_large(&self) -> bool {
        self.sent > 0 || self.waiting_rows > FEW_ROWS
    }

    /// Sends the rows in memory into the temporary table.
    pub(super) async fn send(
        &mut self,
        client: &Client,
        number: &mut u64,
    ) -> Result<(), tokio_postgres::Error> {
        if self.waiting_rows == 0 {
            return Ok(());
        }
        // In a transaction, all messages go to one session. Otherwise a pooler that is not configured could switch
        // sessions during a COPY, and both sides would wait forever.
        client.batch_execute("BEGIN").await?;
        match self.copy(client, number).await {
            Ok((table, sent)) => {
                client.batch_execute("COMMIT").await?;
                self.table = Some(table);
                self.sent += sent;
                self.waiting.clear();
                self.waiting_rows = 0;
                Ok(())
            }
            Err(error) => {
                // Return the first error; on a lost connection the rollback fails too.
                let _ = client.batch_execute("ROLLBACK").await;
                Err(error)
            }
        }
    }

    /// Copies the rows in memory. Returns the name of the table and the number of rows.
    async fn copy(&self, client: &Client, number: &mut u64) -> Result<(String, u64), tokio_postgres::Error> {
        let table = match &self.table {
            Some(table) => table.clone(),
            None => {
                *number += 1;
                let table = format!("pg_temp.incoming_{number}");
                client.batch_execute(&self.definition(&table)).await?;
                table
            }
        };
        let statement = format!("COPY {table} FROM STDIN (FORMAT binary)");
        let sink = client.copy_in::<_, Bytes>(statement.as_str()).await?;
        let mut sink = std::pin::pin!(sink);
        sink.send(Bytes::from_static(binary::COPY_HEADER)).await?;
        sink.send(Bytes::copy_from_slice(&self.waiting)).await?;
        sink.send(Bytes::from_static(binary::COPY_TRAILER)).await?;
        let sent = sink.as_mut().finish().await?;
        Ok((table, sent))
    }

    fn definition(&self, table: &str) -> String {
        let columns = self.target.columns.iter().enumerate();
        let columns: Vec<_> =
            columns.map(|(i, (_, kind))| format!("c{i} {}", binary::sql_type(*kind))).collect();
        format!(
            "CREATE TEMPORARY TABLE {} (ord bigint, {})",
            table.replace("pg_temp.", ""),
            columns.join(", ")
        )
    }

    /// Empties the temporary table, in the transaction that merged it.
    pub(super) async fn clear(&self, db: &Transaction<'_>) -> Result<(), PostgresFailure> {
        if let Some(table) = self.table.as_ref().filter(|_| self.sent > 0) {
            db.batch_execute(&format!("TRUNCATE {table}")).await?;
        }
        Ok(())
    }

    /// The segment without its rows, after they were committed.
    pub(super) fn emptied(mut self) -> Self {
        self.waiting.clear();
        self.waiting_rows = 0;
        self.sent = 0;
        self
    }

    pub(super) async fn drop_table(self, client: &Client) -> Result<(), tokio_postgres::Error> {
        match self.table {
            Some(table) => client.batch_execute(&format!("DROP TABLE {table}")).await,
            None => Ok(()),
        }
    }

    /// Merges the rows into the table in its current shape, and counts them.
    pub(super) async fn merge(
        &self,
        db: &Transaction<'_>,
        names: &Names,
        now: &MergeTarget,
        synced: Timestamp,
        tally: &mut Tally,
    ) -> Result<(), PostgresFailure> {
        let rows = self.rows();
        if rows == 0 {
            return Ok(());
        }
        let arrays = if self.sent == 0 { self.arrays() } else { Vec::new() };
        let sql = MergeSql { segment: self, now, names };
        let mut params: Vec<(&(dyn ToSql + Sync), Type)> =
            arrays.iter().map(|array| (array as &(dyn ToSql + Sync), array.kind.clone())).collect();
        params.push((&synced, Type::TIMESTAMPTZ));
        let row = db.query_typed(&sql.merge(params.len()), &params).await?;
        params.pop();
        let (changed, fresh): (i64, i64) = row.first().map_or((0, 0), |row| (row.get(0), row.get(1)));
        let (changed, fresh) = (changed.unsigned_abs(), fresh.unsigned_abs());
        tally.seen += rows;
        tally.inserted += fresh;
        if now.shape.write == Write::Replace {
            // A staged row with the same key is from this run.
            tally.duplicate += rows.saturating_sub(fresh);
        } else if now.key.is_empty() || changed == rows {
            tally.updated += changed - fresh;
        } else {
            let distinct = db.query_typed(&sql.distinct(), &params).await?;
            let distinct: i64 = distinct.first().map_or(0, |row| row.get(0));
            let distinct = distinct.unsigned_abs();
            tally.updated += changed - fresh;
            tally.unchanged += distinct.saturating_sub(changed);
            tally.duplicate += rows.saturating_sub(distinct);
        }
        if now.sweeping {
            db.execute_typed(&sql.remember(), &params).await?;
        }
        Ok(())
    }

    /// The rows column by column: an array element has the encoding of a COPY field.
    fn arrays(&self) -> Vec<BinaryArray> {
        let count = self.target.columns.len();
        let mut arrays: Vec<BinaryArray> = std::iter::once(BinaryArray::new(ColumnType::Bigint))
            .chain(self.target.columns.iter().map(|(_, kind)| BinaryArray::new(*kind)))
            .collect();
        let mut rest = self.waiting.as_slice();
        while let Some((_, fields)) = rest.split_at_checked(2) {
            rest = fields;
            for array in arrays.iter_mut().take(count + 1) {
                let Some((length, _)) = rest.split_first_chunk::<4>() else { return arrays };
                let length = usize::try_from(i32::from_be_bytes(*length));
                let whole = 4 + length.unwrap_or(0);
                let Some((field, others)) = rest.split_at_checked(whole) else { return arrays };
                array.push(field, length.is_err());
                rest = others;
            }
        }
        arrays
    }
}

/// The statements for a segment.
struct MergeSql<'a> {
    segment: &'a Segment,
    now: &'a MergeTarget,
    names: &'a Names,
}

impl MergeSql<'_> {
    /// The rows with the current columns of the table, and their order as `ord`.
    fn source(&self) -> String {
        let segment = self.segment;
        let columns: Vec<String> = self
            .now
            .columns
            .iter()
            .map(|(name, kind)| {
                let incoming = segment.target.columns.iter().position(|(incoming, _)| incoming == name);
                let expression = match incoming.and_then(|i| Some((i, segment.target.columns.get(i)?.1))) {
                    Some((i, incoming)) => conversion(&format!("c{i}"), incoming, *kind),
                    None => format!("NULL::{}", binary::sql_type(*kind)),
                };
                format!("{expression} AS {}", quoted(name))
            })
            .collect();
        let from = match &segment.table {
            Some(table) if segment.sent > 0 => table.clone(),
            _ => {
                let names: Vec<String> = (0..segment.target.columns.len()).map(|i| format!("c{i}")).collect();
                let kinds = std::iter::once("bigint")
                    .chain(segment.target.columns.iter().map(|(_, kind)| binary::sql_type(*kind)));
                let arrays: Vec<String> =
                    kinds.enumerate().map(|(i, kind)| format!("${}::{kind}[]", i + 1)).collect();
                format!("unnest({}) AS rows_that_came(ord, {})", arrays.join(", "), names.join(", "))
            }
        };
        format!("(SELECT ord, {} FROM {from}) AS i", columns.join(", "))
    }

    fn keys(&self) -> Vec<String> {
        self.now.key.iter().filter_map(|i| self.now.columns.get(*i)).map(|(name, _)| name.clone()).collect()
    }

    /// Of two rows with one key, the later is stored. An unchanged row is not written.
    fn merge(&self, synced: usize) -> String {
        let replace = self.now.shape.write == Write::Replace;
        let table = &self.now.shape.table;
        let table = if replace { self.names.staging(table) } else { self.names.of(table) };
        let all = list(self.now.columns.iter().map(|(name, _)| name));
        let source = self.source();
        if self.now.key.is_empty() {
            return format!(
                "WITH merged AS (INSERT INTO {table} ({all}, {SYNCED}) SELECT {all}, ${synced} FROM {source}
                 ORDER BY ord RETURNING 1) SELECT count(*), count(*) FROM merged"
            );
        }
        let keys = self.keys();
        let key = list(&keys);
        let others: Vec<String> = self
            .now
            .columns
            .iter()
            .filter(|(name, _)| !keys.contains(name))
            .map(|(name, _)| quoted(name))
            .collect();
        let mark = self.mark(synced);
        let sets = others.iter().map(|name| format!("{name} = EXCLUDED.{name}"));
        let sets: Vec<String> = sets
            .chain([format!("{SYNCED} = EXCLUDED.{SYNCED}"), format!("{DELETED} = {}", mark.kept)])
            .collect();
        let differs =
            different(&others, "t", "EXCLUDED").chain([mark.differs]).collect::<Vec<_>>().join(" OR ");
        format!(
            "WITH merged AS (
                 INSERT INTO {table} AS t ({all}, {SYNCED}{}) SELECT DISTINCT ON ({key}) {all}, ${synced}{}
                 FROM {source} ORDER BY {key}, ord DESC
                 ON CONFLICT ({key}) DO UPDATE SET {} WHERE {differs} RETURNING xmax = 0 AS fresh)
             SELECT count(*), count(*) FILTER (WHERE fresh) FROM merged",
            mark.column,
            mark.value,
            sets.join(", ")
        )
    }

    /// A row is live unless its `deleted_if` column is true. A row that was already deleted keeps the time of its first
    /// deletion.
    fn mark(&self, synced: usize) -> DeletedExpressions {
        let Some(column) = &self.now.deleted_if else {
            let (column, value) = (String::new(), String::new());
            return DeletedExpressions {
                column,
                value,
                kept: "NULL".into(),
                differs: format!("t.{DELETED} IS NOT NULL"),
            };
        };
        let sent = format!("EXCLUDED.{DELETED}");
        DeletedExpressions {
            column: format!(", {DELETED}"),
            value: format!(", CASE WHEN {} THEN ${synced} END", truthy_sql(column)),
            kept: format!("CASE WHEN {sent} IS NOT NULL THEN coalesce(t.{DELETED}, {sent}) END"),
            differs: format!("(t.{DELETED} IS NULL) <> ({sent} IS NULL)"),
        }
    }

    /// Counts the keys that were sent.
    fn distinct(&self) -> String {
        format!("SELECT count(*) FROM (SELECT DISTINCT {} FROM {}) AS k", list(self.keys()), self.source())
    }

    /// Stores the keys that were sent.
    fn remember(&self) -> String {
        let key = list(self.keys());
        format!(
            "INSERT INTO {} ({key}) SELECT DISTINCT {key} FROM {}",
            self.names.seen(&self.now.shape.table),
            self.source()
        )
    }
}

/// SQL for the column [`DELETED`] in the merge.
struct DeletedExpressions {
    /// The column, if a value other than NULL can be inserted.
    column: String,
    /// The inserted value.
    value: String,
    /// The new value for an existing row.
    kept: String,
    /// Whether the new value differs from the stored one.
    differs: String,
}

/// SQL: any of these columns differs, or the row was soft-deleted.
pub(super) fn differs(columns: &[String], stored: &str, new: &str) -> String {
    let deleted = format!("{stored}.{DELETED} IS NOT NULL");
    different(columns, stored, new).chain([deleted]).collect::<Vec<_>>().join(" OR ")
}

/// SQL: this column differs, for each column.
fn different(columns: &[String], stored: &str, new: &str) -> impl Iterator<Item = String> {
    columns.iter().map(move |name| format!("{stored}.{name} IS DISTINCT FROM {new}.{name}"))
}

/// An array in the binary format, with encoded elements.
#[derive(Debug)]
struct BinaryArray {
    kind: Type,
    element: Type,
    length: i32,
    nulls: bool,
    elements: Vec<u8>,
}

impl BinaryArray {
    fn new(kind: ColumnType) -> Self {
        let (kind, element) = binary::array_type(kind);
        Self { kind, element, length: 0, nulls: false, elements: Vec::new() }
    }

    fn push(&mut self, field: &[u8], null: bool) {
        self.elements.extend_from_slice(field);
        self.length += 1;
        self.nulls |= null;
    }
}

impl ToSql for BinaryArray {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut bytes::BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        // The number of dimensions, the null flag, the type of the elements, their number, and the lower bound.
        for word in [1, i32::from(self.nulls)] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        out.extend_from_slice(&self.element.oid().to_be_bytes());
        for word in [self.length, 1] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        out.extend_from_slice(&self.elements);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}
