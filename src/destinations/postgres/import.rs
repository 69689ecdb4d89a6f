//! Tables taken over as they are stored elsewhere, marks included, into a schema that no sync has written to.
//!
//! A table comes in one transaction with a note of what came, so that a move that was cut off goes on at the table where
//! it was. Afterwards what is there is read back and summed up. Types are made, and widened, as a sync does. Start at
//! [`Import::open`], then [`Import::table`].

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, TryStreamExt as _};
use jiff::Timestamp;
use jiff::civil::Date;
use tokio::sync::mpsc;
use tokio_postgres::Transaction;
use tokio_postgres::binary_copy::{BinaryCopyOutRow, BinaryCopyOutStream};
use tokio_postgres::types::Type;

use super::names::{Names, list, quoted};
use super::rows::KEY_BYTES;
use super::session::Session;
use super::table::{self, DELETED, SYNCED};
use super::trouble::{Trouble, refuse};
use super::wire::{self, Misfit};
use super::{enter, ledger, run, schema};
use crate::database::{Database, Patience};
use crate::destinations::DestinationError;
use crate::destinations::moved::{Stored, Sum};
use crate::domain::cell::{Cell, ColumnType};
use crate::domain::op::{Checkpoint, Rejected, State, TableShape};

/// Encoded bytes that go by one statement.
const SEND_BYTES: usize = 4 << 20;

/// Rejected rows that wait in memory.
const REJECTED_AT_ONCE: usize = 1_000;

/// Long enough to read any table back.
const TIMEOUT: &str = "SET statement_timeout = '12h'; SET idle_in_transaction_session_timeout = '1h'";

/// The silence that this allows, and a little more.
const SILENCE: Duration = Duration::from_secs((12 * 60 + 10) * 60);

/// The name under which the note about a whole connector stands among those about its tables.
const WHOLE: &str = "";

/// The account of runs.
const RUNS: &str = "_runs";

/// Rows that no table here can hold are kept under the number of no run.
const NO_RUN: i64 = 0;

/// What is noted of a table that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// What was there, but for rows that no table here can hold.
    pub sum: Sum,
    /// Rows that no table here can hold: they are among the rejected ones.
    pub rejected: u64,
    /// What came, those rows included.
    pub came: Sum,
    /// The newest run when it came.
    run: i64,
}

/// A schema that takes tables over. Nothing else can write to it meanwhile.
pub struct Import {
    database: Database,
    names: Names,
    place: String,
    session: Session,
    token: i64,
    copied: BTreeMap<String, Copied>,
    newest_run: i64,
}

impl Import {
    /// Opens or creates the schema of a connector.
    ///
    /// # Errors
    /// As when a sync opens it; when a run is under way; when a sync has written there what did not come from here; and
    /// behind a pooler.
    pub async fn open(database: &Database, connector: &str) -> Result<Import, DestinationError> {
        let names = Names::new(connector);
        let place = format!("{}, schema {}", database.name(), names.schema);
        let database = &database.with_silence(SILENCE);
        let Some(session) = enter(database, &names, &place, true).await? else {
            return Err(DestinationError::OutOfOrder("the schema was not made"));
        };
        if !session.lasts() {
            let reason =
                "tables cannot be moved through a pooler: name the server itself in DATABASE_URL".into();
            return Err(DestinationError::Unwritable { place, reason });
        }
        let (copied, database) = (BTreeMap::new(), database.clone());
        let mut import = Import { database, names, place, session, token: 0, copied, newest_run: 0 };
        let taken = import.take().await;
        import.judged("taking the schema", taken)?;
        Ok(import)
    }

    async fn take(&mut self) -> Result<(), Trouble> {
        let (names, notes) = (&self.names, self.names.of("_moved"));
        self.session.client().batch_execute(TIMEOUT).await?;
        let db = self.session.transaction().await?;
        let Some(token) = schema::take(&db, names, &self.place, true).await? else {
            return Err(DestinationError::Busy { place: self.place.clone() }.into());
        };
        let there = db.query_typed("SELECT to_regclass($1) IS NOT NULL", &[(&notes, Type::TEXT)]).await?;
        let known = there.first().is_some_and(|row| row.get(0));
        self.newest_run = newest_run(&db, names).await?;
        if known {
            let sql = format!("SELECT table_name, rows, checksum, rejected, came, run FROM {notes}");
            for row in db.query_typed(&sql, &[]).await? {
                let number = |place: usize| row.get::<_, i64>(place).cast_unsigned();
                let sum = Sum { rows: number(1), checksum: number(2) };
                let came = Sum { rows: sum.rows + number(3), checksum: number(4) };
                let copied = Copied { sum, rejected: number(3), came, run: row.get(5) };
                self.copied.insert(row.get(0), copied);
            }
        } else if self.newest_run > 0 || !table::all(&db, names).await?.is_empty() {
            return Err(written_to(names, &self.place));
        } else {
            let sql = format!(
                "CREATE TABLE {notes} (table_name text PRIMARY KEY, rows bigint NOT NULL, checksum bigint NOT NULL,
                     rejected bigint NOT NULL, came bigint NOT NULL, run bigint NOT NULL)"
            );
            db.batch_execute(&sql).await?;
        }
        db.commit().await?;
        self.token = token;
        let known = self.copied.get(RUNS).map_or(0, |runs| runs.run);
        if self.newest_run > known && !self.copied.contains_key(WHOLE) {
            return Err(written_to(&self.names, &self.place));
        }
        Ok(())
    }

    /// Whether everything came before, and syncs have gone on here since.
    pub fn has_gone_on(&self) -> bool {
        self.copied.get(WHOLE).is_some_and(|whole| self.newest_run > whole.run)
    }

    /// What is noted of a table that came.
    pub fn copied(&self, table: &str) -> Option<Copied> {
        self.copied.get(table).cloned()
    }

    /// Takes a table over: all rows that come, up to a chunk without any, or none. Rows that came before are replaced.
    /// `came` is told of each chunk.
    ///
    /// # Errors
    /// When the server refuses; nothing was stored then.
    pub async fn table(
        &mut self,
        shape: &TableShape,
        rows: &mut mpsc::Receiver<Result<Vec<Stored>, DestinationError>>,
        came: impl FnMut(usize),
    ) -> Result<Copied, DestinationError> {
        let taken = self.take_table(shape, rows, came).await;
        let copied = self.judged(&format!("taking over table {}", shape.table), taken)?;
        self.copied.insert(shape.table.clone(), copied.clone());
        Ok(copied)
    }

    async fn take_table(
        &mut self,
        shape: &TableShape,
        rows: &mut mpsc::Receiver<Result<Vec<Stored>, DestinationError>>,
        mut came: impl FnMut(usize),
    ) -> Result<Copied, Trouble> {
        let (names, kinds) = (&self.names, kinds(shape));
        // What a connection here may take is long enough.
        let patience = self.session.patience().clone();
        let db = self.session.transaction().await?;
        schema::hold(&db, names, self.token, &self.place).await?;
        let ours = is_ours(shape);
        if ours {
            let sql = format!("DELETE FROM {} WHERE run <> {NO_RUN}", names.of(&shape.table));
            db.batch_execute(&sql).await?;
        } else {
            let sql =
                format!("DELETE FROM {} WHERE run = {NO_RUN} AND table_name = $1", names.of("_rejected"));
            db.execute_typed(&sql, &[(&shape.table, Type::TEXT)]).await?;
            db.batch_execute(&format!("DROP TABLE IF EXISTS {}", names.of(&shape.table))).await?;
            table::forget(&db, names, std::slice::from_ref(&shape.table)).await?;
        }
        let mut to =
            if ours { Some(shape.clone()) } else { adopt(&db, names, &patience, None, shape).await? };
        let (mut sum, mut all) = (Sum::default(), Sum::default());
        let (mut rejected, mut buffer) = (Vec::new(), Buffer::default());
        let mut refused = 0;
        loop {
            let cut_off =
                DestinationError::OutOfOrder("whoever reads the rows ended before the last of them");
            let chunk = rows.recv().await.unwrap_or(Err(cut_off))?;
            let many = chunk.len();
            if many == 0 {
                break;
            }
            for row in chunk {
                let Some(target) = &mut to else {
                    return Err(refuse(&shape.table, "it has rows, and no column's type is known"));
                };
                all.add(&row, &kinds);
                let misfit = loop {
                    let Err((column, misfit)) = buffer.push(&row, shape, target) else { break None };
                    if misfit != Misfit::Widen {
                        break Some((column, misfit));
                    }
                    buffer.send(&db, names, target).await?;
                    let mut wider = target.clone();
                    for wide in wider.columns.iter_mut().filter(|wide| wide.name == column) {
                        wide.kind = ColumnType::Text;
                    }
                    *target = adopt(&db, names, &patience, Some(target), &wider).await?.unwrap_or(wider);
                };
                match misfit {
                    None => sum.add(&row, &kinds),
                    Some((_, Misfit::Reject(reason))) => {
                        refused += 1;
                        let raw = run::raw(shape, &row.cells);
                        rejected.push(Rejected {
                            table: shape.table.clone(),
                            raw,
                            reason: reason.to_owned(),
                        });
                    }
                    Some((column, _)) => {
                        return Err(refuse(&shape.table, format!("column {column} is of another type")));
                    }
                }
                if buffer.bytes.len() >= SEND_BYTES {
                    buffer.send(&db, names, target).await?;
                }
            }
            if rejected.len() >= REJECTED_AT_ONCE {
                ledger::reject(&db, names, NO_RUN, &std::mem::take(&mut rejected)).await?;
            }
            came(many);
        }
        if let Some(target) = &to {
            buffer.send(&db, names, target).await?;
        }
        ledger::reject(&db, names, NO_RUN, &rejected).await?;
        if shape.table == RUNS {
            self.newest_run = newest_run(&db, names).await?;
        }
        let copied = Copied { sum, rejected: refused, came: all, run: self.newest_run };
        note(&db, names, &shape.table, &copied).await?;
        db.commit().await?;
        Ok(copied)
    }

    /// What is in a table now, read back; `shape` is that of where it came from.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn sum(&mut self, shape: &TableShape) -> Result<Sum, DestinationError> {
        let summed = self.read_back(shape).await;
        self.judged(&format!("reading table {} back", shape.table), summed)
    }

    async fn read_back(&mut self, shape: &TableShape) -> Result<Sum, Trouble> {
        let stored = table::all(self.session.client(), &self.names).await?;
        let to = if is_ours(shape) { Some(shape) } else { stored.get(&shape.table) };
        let Some(to) = to else { return Ok(Sum::default()) };
        let kind =
            |name: &str| to.columns.iter().find(|column| column.name == name).map(|column| column.kind);
        let kinds: Vec<ColumnType> =
            shape.columns.iter().map(|column| kind(&column.name).unwrap_or(ColumnType::Unknown)).collect();
        let mut selected: Vec<String> =
            shape.columns.iter().zip(&kinds).map(|(c, kind)| read(&c.name, *kind)).collect();
        let mut types: Vec<Type> = kinds.iter().map(|kind| read_type(*kind)).collect();
        if !is_ours(shape) {
            selected.extend([SYNCED, DELETED].map(str::to_owned));
            types.extend([Type::TIMESTAMPTZ, Type::TIMESTAMPTZ]);
        }
        let table = self.names.of(&shape.table);
        let which = if is_ours(shape) { format!("WHERE run <> {NO_RUN}") } else { String::new() };
        let sql =
            format!("COPY (SELECT {} FROM {table} {which}) TO STDOUT (FORMAT binary)", selected.join(", "));
        let stream = self.session.client().copy_out(sql.as_str()).await?;
        let mut rows = std::pin::pin!(BinaryCopyOutStream::new(stream, &types));
        let (mut sum, from) = (Sum::default(), self::kinds(shape));
        while let Some(row) = rows.try_next().await? {
            let cells: Result<Vec<Cell>, _> =
                kinds.iter().enumerate().map(|(place, kind)| cell(&row, place, *kind)).collect();
            let mark = |place: usize| match is_ours(shape) {
                true => Ok(None),
                false => row.try_get::<Option<Timestamp>>(kinds.len() + place),
            };
            sum.add(&Stored { cells: cells?.into(), synced: mark(0)?, deleted: mark(1)? }, &from);
        }
        Ok(sum)
    }

    /// Takes the state over, as the last thing: from now on syncs can go on here. Lets go of the schema.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn finish(mut self, state: State) -> Result<(), DestinationError> {
        let finished = self.take_state(state).await;
        self.judged("taking over the state", finished)
    }

    async fn take_state(&mut self, state: State) -> Result<(), Trouble> {
        let names = &self.names;
        let db = self.session.transaction().await?;
        schema::hold(&db, names, self.token, &self.place).await?;
        db.batch_execute(&format!("DELETE FROM {}", names.of("_state"))).await?;
        let entries = state.tables.into_iter().flat_map(|(table, partitions)| {
            partitions.into_iter().map(move |(partition, cursor)| (table.clone(), partition, Some(cursor)))
        });
        ledger::save(&db, names, &[Checkpoint { entries: entries.collect() }]).await?;
        let run = newest_run(&db, names).await?;
        note(&db, names, WHOLE, &Copied { sum: Sum::default(), rejected: 0, came: Sum::default(), run })
            .await?;
        schema::release(&db, names, self.token).await?;
        db.commit().await?;
        schema::release_session(self.session.client(), names).await
    }

    fn judged<T>(&self, doing: &str, done: Result<T, Trouble>) -> Result<T, DestinationError> {
        done.map_err(|trouble| trouble.judged(&self.database, doing))
    }
}

fn written_to(names: &Names, place: &str) -> Trouble {
    let reason = format!(
        "a sync has already written to it, and what it wrote is newer; to have the old tables instead, DROP SCHEMA {} CASCADE and run this again",
        quoted(&names.schema)
    );
    DestinationError::Unwritable { place: place.to_owned(), reason }.into()
}

fn is_ours(shape: &TableShape) -> bool {
    shape.table.starts_with('_')
}

fn kinds(shape: &TableShape) -> Vec<ColumnType> {
    shape.columns.iter().map(|column| column.kind).collect()
}

async fn newest_run(db: &Transaction<'_>, names: &Names) -> Result<i64, Trouble> {
    let sql = format!("SELECT coalesce(max(run), 0) FROM {}", names.of(RUNS));
    Ok(db.query_typed(&sql, &[]).await?.first().map_or(0, |row| row.get(0)))
}

async fn adopt(
    db: &Transaction<'_>,
    names: &Names,
    patience: &Patience,
    stored: Option<&TableShape>,
    told: &TableShape,
) -> Result<Option<TableShape>, Trouble> {
    Ok(table::adopt(db, names, patience, stored, told).await?.map(|adopted| adopted.shape))
}

async fn note(db: &Transaction<'_>, names: &Names, table: &str, copied: &Copied) -> Result<(), Trouble> {
    let sql = format!(
        "INSERT INTO {} (table_name, rows, checksum, rejected, came, run) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (table_name) DO UPDATE SET rows = $2, checksum = $3, rejected = $4, came = $5, run = $6",
        names.of("_moved")
    );
    let numbers = [copied.sum.rows, copied.sum.checksum, copied.rejected, copied.came.checksum];
    let numbers = numbers.map(u64::cast_signed);
    db.execute_typed(
        &sql,
        &[
            (&table, Type::TEXT),
            (&numbers[0], Type::INT8),
            (&numbers[1], Type::INT8),
            (&numbers[2], Type::INT8),
            (&numbers[3], Type::INT8),
            (&copied.run, Type::INT8),
        ],
    )
    .await?;
    Ok(())
}

/// Encoded rows on their way.
#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
}

impl Buffer {
    /// Takes a row of one shape for a table of another, which has at least its columns. After a misfit nothing is taken;
    /// it comes with the name of the column.
    fn push(&mut self, row: &Stored, from: &TableShape, to: &TableShape) -> Result<(), (String, Misfit)> {
        let begun = self.bytes.len();
        let pushed = self.push_fields(row, from, to);
        if pushed.is_err() {
            self.bytes.truncate(begun);
        }
        pushed
    }

    fn push_fields(
        &mut self,
        row: &Stored,
        from: &TableShape,
        to: &TableShape,
    ) -> Result<(), (String, Misfit)> {
        let known = |kind: ColumnType| kind != ColumnType::Unknown;
        let marks = if is_ours(to) { 0 } else { 2 };
        let count = to.columns.iter().filter(|column| known(column.kind)).count() + marks;
        self.bytes.extend_from_slice(&i16::try_from(count).unwrap_or(i16::MAX).to_be_bytes());
        let mut key_bytes = 0;
        for column in to.columns.iter().filter(|column| known(column.kind)) {
            let place = from.columns.iter().position(|from| from.name == column.name);
            let cell = place.and_then(|place| row.cells.get(place)).unwrap_or(&Cell::Null);
            let before = self.bytes.len();
            wire::append(cell, column.kind, &mut self.bytes)
                .map_err(|misfit| (column.name.clone(), misfit))?;
            if !is_ours(to) && to.key.contains(&column.name) {
                key_bytes += self.bytes.len() - before;
            }
        }
        if key_bytes > KEY_BYTES {
            let misfit = Misfit::Reject("its key is longer than PostgreSQL can index");
            return Err((to.key.join(", "), misfit));
        }
        for mark in [row.synced, row.deleted].into_iter().take(marks) {
            let cell = mark.map_or(Cell::Null, Cell::Timestamp);
            wire::append(&cell, ColumnType::Timestamp, &mut self.bytes)
                .map_err(|misfit| (SYNCED.to_owned(), misfit))?;
        }
        Ok(())
    }

    async fn send(&mut self, db: &Transaction<'_>, names: &Names, to: &TableShape) -> Result<(), Trouble> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        let known = to.columns.iter().filter(|column| column.kind != ColumnType::Unknown);
        let mut columns = list(known.map(|column| &column.name));
        if !is_ours(to) {
            columns.push_str(&format!(", {SYNCED}, {DELETED}"));
        }
        let sql = format!("COPY {} ({columns}) FROM STDIN (FORMAT binary)", names.of(&to.table));
        let sink = db.copy_in::<_, Bytes>(sql.as_str()).await?;
        let mut sink = std::pin::pin!(sink);
        // Signature, flags, no extension; the end is a count of fields that no row has.
        sink.send(Bytes::from_static(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0")).await?;
        sink.send(Bytes::from(std::mem::take(&mut self.bytes))).await?;
        sink.send(Bytes::from_static(&[0xff, 0xff])).await?;
        sink.as_mut().finish().await?;
        Ok(())
    }
}

/// What is selected of a column: numbers and documents as text, since their binary form is the server's own.
fn read(name: &str, kind: ColumnType) -> String {
    match kind {
        ColumnType::Decimal | ColumnType::Json => format!("{}::text", quoted(name)),
        ColumnType::Unknown => "NULL::text".to_owned(),
        _ => quoted(name),
    }
}

fn read_type(kind: ColumnType) -> Type {
    match kind {
        ColumnType::Decimal | ColumnType::Json | ColumnType::Unknown => Type::TEXT,
        kind => wire::array_type(kind).1,
    }
}

fn cell(row: &BinaryCopyOutRow, place: usize, kind: ColumnType) -> Result<Cell, tokio_postgres::Error> {
    let text = || row.try_get::<Option<&str>>(place);
    let cell = match kind {
        ColumnType::Boolean => row.try_get::<Option<bool>>(place)?.map(Cell::Bool),
        ColumnType::Bigint => row.try_get::<Option<i64>>(place)?.map(Cell::Int),
        ColumnType::Double => row.try_get::<Option<f64>>(place)?.map(Cell::Double),
        ColumnType::Date => row.try_get::<Option<Date>>(place)?.map(Cell::Date),
        ColumnType::Timestamp => row.try_get::<Option<Timestamp>>(place)?.map(Cell::Timestamp),
        ColumnType::Decimal => text()?.map(|text| Cell::Decimal(text.into())),
        ColumnType::Json => text()?.map(|text| Cell::Json(text.into())),
        ColumnType::Text | ColumnType::Unknown => text()?.map(|text| Cell::Text(text.into())),
    };
    Ok(cell.unwrap_or(Cell::Null))
}
