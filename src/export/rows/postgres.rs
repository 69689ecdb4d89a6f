//! Reads tables of a connector's PostgreSQL schema within one read-only transaction.

use std::collections::BTreeMap;
use std::error::Error;

use futures_util::TryStreamExt as _;
use tokio_postgres::types::{FromSql, Type};
use tokio_postgres::{Row, Transaction};

use super::feed::GroupFeed;
use super::{ChangeMark, DecimalExtent, HistoryFacts, ReadFailure};
use crate::database::{Connected, Database, IdleTimeout};
use crate::destinations::DestinationError;
use crate::destinations::postgres::failure::PostgresFailure;
use crate::destinations::postgres::names::{Names, quoted};
use crate::destinations::postgres::system_tables;
use crate::destinations::postgres::table::{self, DELETED};
use crate::domain::syncing::cell::ColumnType;
use crate::domain::syncing::op::TableShape;
use crate::export::canonical::{self, Exact};
use crate::export::columns::{GroupColumn, OutputColumn, OutputKind, RowGroup, TableLayout};

/// PostgreSQL counts from 2000-01-01.
const EPOCH_DAYS: i32 = 10_957;
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// A transaction that sees the database as it was at its start.
pub(in crate::export) struct PostgresSnapshot<'a> {
    db: Transaction<'a>,
    names: Names,
    database: Database,
    idle_timeout: IdleTimeout,
}

impl<'a> PostgresSnapshot<'a> {
    pub(in crate::export) async fn begin(
        connected: &'a mut Connected,
        names: &Names,
    ) -> Result<PostgresSnapshot<'a>, DestinationError> {
        let (database, idle_timeout) = (connected.database().clone(), connected.idle_timeout().clone());
        let db = connected.transaction().await?;
        let begin = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET LOCAL synchronize_seqscans = off";
        db.batch_execute(begin).await.map_err(|e| database.judge("starting to read", &e))?;
        Ok(PostgresSnapshot { db, names: names.clone(), database, idle_timeout })
    }

    pub(super) async fn shapes(&self) -> Result<BTreeMap<String, TableShape>, DestinationError> {
        let shapes = table::all(&self.db, &self.names).await;
        shapes.map_err(|failure| failure.into_error(&self.database, "reading the tables"))
    }

    pub(super) async fn history(&self) -> Result<HistoryFacts, DestinationError> {
        let facts = async {
            let newest = system_tables::newest_run(&self.db, &self.names).await?;
            let changed = system_tables::last_changes(&self.db, &self.names).await?;
            let mark = |(table, run, started)| (table, ChangeMark { run, started });
            Ok::<_, PostgresFailure>(HistoryFacts {
                newest,
                changed: changed.into_iter().map(mark).collect(),
            })
        };
        facts.await.map_err(|failure| failure.into_error(&self.database, "reading the run history"))
    }

    pub(super) async fn measure(
        &self,
        layout: &TableLayout,
        places: &[usize],
        mut extents: Vec<DecimalExtent>,
    ) -> Result<Vec<DecimalExtent>, DestinationError> {
        let columns: Vec<&OutputColumn> =
            places.iter().filter_map(|place| layout.columns.get(*place)).collect();
        let work = async {
            let _long = table::start_long_work(&self.db, &self.idle_timeout).await?;
            let sql = self.select(layout, &columns, false);
            let rows = self.db.query_typed_raw(&sql, Vec::<(i32, Type)>::new()).await?;
            let mut rows = std::pin::pin!(rows);
            while let Some(row) = rows.try_next().await? {
                for (place, extent) in extents.iter_mut().enumerate() {
                    if let Some(text) = row.try_get::<_, Option<&str>>(place)? {
                        extent.add(text);
                    }
                }
            }
            Ok::<_, PostgresFailure>(())
        };
        let done = work.await;
        done.map_err(|failure| failure.into_error(&self.database, "reading decimals"))?;
        Ok(extents)
    }

    pub(super) async fn read(&self, layout: &TableLayout, mut feed: GroupFeed) -> Result<(), ReadFailure> {
        let doing = format!("reading table {}", layout.table);
        let judge = |e: tokio_postgres::Error| ReadFailure::Failed(self.database.judge(&doing, &e).into());
        let long = table::start_long_work(&self.db, &self.idle_timeout).await;
        let _long = long.map_err(|failure| failure.into_error(&self.database, &doing))?;
        let columns: Vec<&OutputColumn> = layout.columns.iter().collect();
        let sql = self.select(layout, &columns, true);
        let rows = self.db.query_typed_raw(&sql, Vec::<(i32, Type)>::new()).await.map_err(judge)?;
        let mut rows = std::pin::pin!(rows);
        let mut group = feed.take().await?;
        while let Some(row) = rows.try_next().await.map_err(judge)? {
            let pushed = push(&row, layout, &mut group).map_err(judge)?;
            if let Err(place) = pushed {
                let column = layout.columns.get(place).map_or("?", |column| &column.name);
                let reason = format!(
                    "column {column} contains a value of another type: sync again, then export again"
                );
                return Err(DestinationError::table(&layout.table, reason).into());
            }
            if group.add_row(pushed.unwrap_or_default()) {
                feed.give(group).await?;
                group = feed.take().await?;
            }
        }
        if group.rows > 0 { feed.give(group).await } else { Ok(()) }
    }

    fn select(&self, layout: &TableLayout, columns: &[&OutputColumn], ordered: bool) -> String {
        let value = |column: &&OutputColumn| match column.stored {
            ColumnType::Decimal | ColumnType::Json => format!("{}::text", quoted(&column.name)),
            _ => quoted(&column.name),
        };
        let columns: Vec<String> = columns.iter().map(value).collect();
        let live = if layout.deleted { String::new() } else { format!(" WHERE {DELETED} IS NULL") };
        // The order of bytes, as SQLite's: independent of the language of the database.
        let sorted = |name: &String| {
            let stored =
                layout.columns.iter().find(|column| column.name == *name).map(|column| column.stored);
            match stored {
                Some(ColumnType::Text) => format!("{} COLLATE \"C\"", quoted(name)),
                Some(ColumnType::Decimal | ColumnType::Json) => {
                    format!("{}::text COLLATE \"C\"", quoted(name))
                }
                _ => quoted(name),
            }
        };
        let key: Vec<String> = layout.key.iter().map(sorted).collect();
        let order =
            if !ordered || key.is_empty() { String::new() } else { format!(" ORDER BY {}", key.join(", ")) };
        format!("SELECT {} FROM {}{live}{order}", columns.join(", "), self.names.of(&layout.table))
    }
}

/// The bytes of a value in the binary format.
struct RawBytes<'a>(&'a [u8]);

impl<'a> FromSql<'a> for RawBytes<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(RawBytes(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// Appends a row, and returns the bytes of its texts. The inner `Err` is the place of a value of another type.
fn push(
    row: &Row,
    layout: &TableLayout,
    group: &mut RowGroup,
) -> Result<Result<usize, usize>, tokio_postgres::Error> {
    let mut text_bytes = 0;
    for (place, (column, output)) in layout.columns.iter().zip(&mut group.columns).enumerate() {
        match row.try_get::<_, Option<RawBytes<'_>>>(place)? {
            None => output.push_null(),
            Some(RawBytes(bytes)) => match push_value(bytes, column, output) {
                Some(bytes) => text_bytes += bytes,
                None => return Ok(Err(place)),
            },
        }
    }
    Ok(Ok(text_bytes))
}

fn push_value(bytes: &[u8], column: &OutputColumn, output: &mut GroupColumn) -> Option<usize> {
    let int8 = || bytes.try_into().ok().map(i64::from_be_bytes);
    match (column.stored, column.kind) {
        (ColumnType::Boolean, _) => output.push_bool(*bytes.first()? != 0),
        (ColumnType::Bigint, _) => output.push_i64(int8()?),
        (ColumnType::Double, _) => output.push_double(f64::from_be_bytes(bytes.try_into().ok()?)),
        (ColumnType::Date, _) => {
            let days = i32::from_be_bytes(bytes.try_into().ok()?);
            output.push_i32(days.checked_add(EPOCH_DAYS)?)
        }
        (ColumnType::Timestamp, _) => output.push_i64(int8()?.checked_add(EPOCH_MICROS)?),
        (ColumnType::Decimal, OutputKind::Decimal { scale }) => {
            let exact = Exact::parse(std::str::from_utf8(bytes).ok()?)?;
            output.push_decimal(exact.unscaled(scale)?)
        }
        (ColumnType::Decimal, _) => {
            let text = std::str::from_utf8(bytes).ok()?;
            output.push_text(|out| canonical::number(text, out))
        }
        (ColumnType::Json, _) => output.push_text(|out| canonical::json(bytes, out)),
        (ColumnType::Text | ColumnType::Unknown, _) => output.push_text(|out| out.extend_from_slice(bytes)),
    }
}
