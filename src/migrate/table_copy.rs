//! Copies one table into PostgreSQL within one transaction: encodes rows, sends them by COPY, and widens columns where a
//! value requires it.
//!
//! Start at [`TableCopy::start`].

use bytes::Bytes;
use futures_util::SinkExt as _;
use tokio_postgres::Transaction;
use tokio_postgres::types::Type;

use super::checksum::{MovedRow, TableChecksum};
use super::is_ours;
use crate::database::IdleTimeout;
use crate::destinations::DestinationError;
use crate::destinations::postgres::backend::{to_json, with_text};
use crate::destinations::postgres::binary::{self, Misfit};
use crate::destinations::postgres::failure::PostgresFailure;
use crate::destinations::postgres::merge::{KEY_BYTES, KEY_TOO_LONG};
use crate::destinations::postgres::names::{Names, list};
use crate::destinations::postgres::system_tables;
use crate::destinations::postgres::table::{self, DELETED, SYNCED};
use crate::domain::syncing::cell::{Cell, ColumnType};
use crate::domain::syncing::op::{Rejected, TableShape};

/// Encoded bytes per COPY statement.
const SEND_BYTES: usize = 4 << 20;

/// Rejected rows in memory before they are stored.
const MAX_REJECTED: usize = 1_000;

/// The run number of rows that PostgreSQL cannot store, since no sync rejected them.
pub(super) const NO_RUN: i64 = 0;

/// The result of copying a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CopiedTable {
    /// Checksum of the stored rows as they are in the source.
    pub(super) checksum: TableChecksum,
    /// Rows that PostgreSQL cannot store: they are in `_rejected`.
    pub(super) rejected: u64,
}

pub(super) struct TableCopy<'a> {
    db: &'a Transaction<'a>,
    names: &'a Names,
    idle_timeout: &'a IdleTimeout,
    source: &'a TableShape,
    kinds: Vec<ColumnType>,
    /// `None` if no column of the source has a known type.
    target: Option<TableShape>,
    encoded: Vec<u8>,
    waiting_rejected: Vec<Rejected>,
    copied: CopiedTable,
}

/// A value that the column cannot store.
struct MisfitColumn {
    column: String,
    misfit: Misfit,
}

impl<'a> TableCopy<'a> {
    /// Drops the table of an earlier move, and creates it again.
    pub(super) async fn start(
        db: &'a Transaction<'a>,
        names: &'a Names,
        idle_timeout: &'a IdleTimeout,
        source: &'a TableShape,
    ) -> Result<TableCopy<'a>, PostgresFailure> {
        let target = if is_ours(source) {
            let sql = format!("DELETE FROM {} WHERE run <> {NO_RUN}", names.of(&source.table));
            db.batch_execute(&sql).await?;
            Some(source.clone())
        } else {
            let rejected = names.of("_rejected");
            let sql = format!("DELETE FROM {rejected} WHERE run = {NO_RUN} AND table_name = $1");
            db.execute_typed(&sql, &[(&source.table, Type::TEXT)]).await?;
            db.batch_execute(&format!("DROP TABLE IF EXISTS {}", names.of(&source.table))).await?;
            table::remove_shapes(db, names, std::slice::from_ref(&source.table)).await?;
            let created = table::ensure_table(db, names, idle_timeout, None, source, Vec::new()).await?;
            created.map(|merge| merge.shape)
        };
        let kinds = source.columns.iter().map(|column| column.kind).collect();
        let copied = CopiedTable { checksum: TableChecksum::default(), rejected: 0 };
        let (encoded, waiting_rejected) = (Vec::new(), Vec::new());
        Ok(TableCopy { db, names, idle_timeout, source, kinds, target, encoded, waiting_rejected, copied })
    }

    pub(super) async fn push(&mut self, rows: &[MovedRow]) -> Result<(), PostgresFailure> {
        for row in rows {
            self.push_row(row).await?;
            if self.encoded.len() >= SEND_BYTES {
                self.send().await?;
            }
        }
        if self.waiting_rejected.len() >= MAX_REJECTED {
            self.store_rejected().await?;
        }
        Ok(())
    }

    async fn push_row(&mut self, row: &MovedRow) -> Result<(), PostgresFailure> {
        loop {
            let table = &self.source.table;
            let Some(target) = &self.target else {
                let reason = "it has rows, but the type of no column is known";
                return Err(DestinationError::table(table, reason).into());
            };
            let Err(MisfitColumn { column, misfit }) = encode(&mut self.encoded, row, self.source, target)
            else {
                self.copied.checksum.add(row, &self.kinds);
                return Ok(());
            };
            match misfit {
                Misfit::Widen => self.widen(&column).await?,
                Misfit::Reject(reason) => {
                    self.copied.rejected += 1;
                    let (table, raw) = (table.clone(), to_json(self.source, &row.cells));
                    self.waiting_rejected.push(Rejected { table, raw, reason: reason.to_owned() });
                    return Ok(());
                }
                Misfit::Type => {
                    let reason = format!("column {column} contains a value of another type");
                    return Err(DestinationError::table(table, reason).into());
                }
            }
        }
    }

    async fn widen(&mut self, column: &str) -> Result<(), PostgresFailure> {
        self.send().await?;
        if let Some(target) = &self.target {
            let wider = with_text(target, column);
            let merge =
                table::ensure_table(self.db, self.names, self.idle_timeout, Some(target), &wider, Vec::new())
                    .await?;
            self.target = Some(merge.map_or(wider, |merge| merge.shape));
        }
        Ok(())
    }

    pub(super) async fn finish(mut self) -> Result<CopiedTable, PostgresFailure> {
        self.send().await?;
        self.store_rejected().await?;
        Ok(self.copied)
    }

    async fn store_rejected(&mut self) -> Result<(), PostgresFailure> {
        let rejected = std::mem::take(&mut self.waiting_rejected);
        system_tables::reject(self.db, self.names, NO_RUN, &rejected).await
    }

    async fn send(&mut self) -> Result<(), PostgresFailure> {
        let Some(target) = self.target.as_ref().filter(|_| !self.encoded.is_empty()) else { return Ok(()) };
        let mut columns = list(target.known_columns().map(|column| &column.name));
        if !is_ours(target) {
            columns.push_str(&format!(", {SYNCED}, {DELETED}"));
        }
        let sql = format!("COPY {} ({columns}) FROM STDIN (FORMAT binary)", self.names.of(&target.table));
        let sink = self.db.copy_in::<_, Bytes>(sql.as_str()).await?;
        let mut sink = std::pin::pin!(sink);
        sink.send(Bytes::from_static(binary::COPY_HEADER)).await?;
        sink.send(Bytes::from(std::mem::take(&mut self.encoded))).await?;
        sink.send(Bytes::from_static(binary::COPY_TRAILER)).await?;
        sink.as_mut().finish().await?;
        Ok(())
    }
}

/// Appends a row of the source's shape for the target table, which has at least its columns. Appends nothing if a value
/// does not fit.
fn encode(
    out: &mut Vec<u8>,
    row: &MovedRow,
    source: &TableShape,
    target: &TableShape,
) -> Result<(), MisfitColumn> {
    let start = out.len();
    let encoded = encode_fields(out, row, source, target);
    if encoded.is_err() {
        out.truncate(start);
    }
    encoded
}

fn encode_fields(
    out: &mut Vec<u8>,
    row: &MovedRow,
    source: &TableShape,
    target: &TableShape,
) -> Result<(), MisfitColumn> {
    let marks = if is_ours(target) { 0 } else { 2 };
    let count = target.known_columns().count() + marks;
    out.extend_from_slice(&i16::try_from(count).unwrap_or(i16::MAX).to_be_bytes());
    let mut key_bytes = 0;
    for column in target.known_columns() {
        let place = source.columns.iter().position(|source| source.name == column.name);
        let cell = place.and_then(|place| row.cells.get(place)).unwrap_or(&Cell::Null);
        let before = out.len();
        binary::append(cell, column.kind, out)
            .map_err(|misfit| MisfitColumn { column: column.name.clone(), misfit })?;
        if !is_ours(target) && target.key.contains(&column.name) {
            key_bytes += out.len() - before;
        }
    }
    if key_bytes > KEY_BYTES {
        return Err(MisfitColumn { column: target.key.join(", "), misfit: Misfit::Reject(KEY_TOO_LONG) });
    }
    for mark in [row.synced, row.deleted].into_iter().take(marks) {
        let cell = mark.map_or(Cell::Null, Cell::Timestamp);
        binary::append(&cell, ColumnType::Timestamp, out)
            .map_err(|misfit| MisfitColumn { column: SYNCED.to_owned(), misfit })?;
    }
    Ok(())
}
