//! The schema in PostgreSQL that receives a connector's tables. It must not contain data of a sync.
//!
//! Each table is copied in one transaction, so that a table that exists is complete. The table `_moved` marks a schema
//! that was filled by a move: its row `_runs` has the newest run that was copied, and its row with an empty name, which is
//! written last, has the newest run when the move was complete. A newer run means that a sync has written since. Start
//! at [`Import::open`], then [`Import::table`].

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use jiff::civil::Date;
use tokio::sync::mpsc;
use tokio_postgres::Transaction;
use tokio_postgres::binary_copy::{BinaryCopyOutRow, BinaryCopyOutStream};
use tokio_postgres::types::Type;

use super::checksum::{MovedRow, TableChecksum};
use super::is_ours;
use super::table_copy::{CopiedTable, NO_RUN, TableCopy};
use crate::database::Database;
use crate::destinations::DestinationError;
use crate::destinations::postgres::backend::PostgresBackend;
use crate::destinations::postgres::failure::PostgresFailure;
use crate::destinations::postgres::names::{Names, quoted};
use crate::destinations::postgres::session::Session;
use crate::destinations::postgres::table::{self, DELETED, SYNCED};
use crate::destinations::postgres::{binary, connect, schema, system_tables};
use crate::domain::syncing::cell::{Cell, ColumnType};
use crate::domain::syncing::op::{Checkpoint, State, TableShape};

/// Long enough to read a table of any size.
const TIMEOUT: &str = "SET statement_timeout = '12h'; SET idle_in_transaction_session_timeout = '1h'";

/// A little longer than [`TIMEOUT`].
const SILENCE: Duration = Duration::from_secs((12 * 60 + 10) * 60);

const RUNS: &str = "_runs";
const MOVED: &str = "_moved";

/// The row of `_moved` for the whole move.
const WHOLE: &str = "";

/// The rows of a table; an empty chunk is the last.
pub(super) type Chunks = mpsc::Receiver<Result<Vec<MovedRow>, DestinationError>>;

/// A locked schema.
pub(super) struct Import {
    database: Database,
    names: Names,
    place: String,
    session: Session,
    token: i64,
    synced_since: bool,
}

impl Import {
    /// Opens or creates the schema of a connector. Fails if a run is active, if the schema has data of a sync without a
    /// complete move, and behind a pooler.
    pub(super) async fn open(database: &Database, connector: &str) -> Result<Import, DestinationError> {
        let database = database.with_silence(SILENCE);
        let Some(opened) = connect(&database, connector, true).await? else {
            return Err(DestinationError::new("the schema was not created"));
        };
        let PostgresBackend { names, place, session, .. } = opened;
        if !session.lasts() {
            let reason = "tables cannot be moved through a pooler: name the server itself in DATABASE_URL";
            return Err(DestinationError::cannot_open(place, reason));
        }
        let mut import = Import { database, names, place, session, token: 0, synced_since: false };
        let locked = import.lock().await;
        import.done("locking the schema", locked)?;
        Ok(import)
    }

    async fn lock(&mut self) -> Result<(), PostgresFailure> {
        let names = &self.names;
        self.session.client().batch_execute(TIMEOUT).await?;
        let db = self.session.transaction().await?;
        let Some(token) = schema::take(&db, names, &self.place, true).await? else {
            return Err(DestinationError::busy(&self.place).into());
        };
        let newest = newest_run(&db, names).await?;
        let moved = moved_runs(&db, names).await?;
        let untouched = newest == 0 && table::all(&db, names).await?.is_empty();
        match moved {
            Some(moved) if moved.get(WHOLE).is_some_and(|run| newest > *run) => self.synced_since = true,
            Some(moved) if moved.contains_key(WHOLE) || newest <= moved.get(RUNS).copied().unwrap_or(0) => {
                start_move(&db, names, newest).await?;
            }
            None if untouched => start_move(&db, names, newest).await?,
            _ => return Err(written_to(names, &self.place).into()),
        }
        db.commit().await?;
        self.token = token;
        Ok(())
    }

    /// Whether a move was complete and syncs have written here since.
    pub(super) fn has_synced_since(&self) -> bool {
        self.synced_since
    }

    /// Copies a table: all rows up to an empty chunk, or none. Drops the table of an earlier move. Calls `advance` with the
    /// number of rows of each chunk.
    pub(super) async fn table(
        &mut self,
        shape: &TableShape,
        rows: &mut Chunks,
        advance: impl FnMut(usize),
    ) -> Result<CopiedTable, DestinationError> {
        let copied = self.copy_table(shape, rows, advance).await;
        self.done(&format!("copying table {}", shape.table), copied)
    }

    async fn copy_table(
        &mut self,
        shape: &TableShape,
        rows: &mut Chunks,
        mut advance: impl FnMut(usize),
    ) -> Result<CopiedTable, PostgresFailure> {
        let (names, idle_timeout) = (&self.names, self.session.idle_timeout().clone());
        let db = self.session.transaction().await?;
        schema::hold(&db, names, self.token, &self.place).await?;
        let mut copy = TableCopy::start(&db, names, &idle_timeout, shape).await?;
        loop {
            let cut_off = DestinationError::new("the reader of the rows ended early");
            let chunk = rows.recv().await.unwrap_or(Err(cut_off))?;
            if chunk.is_empty() {
                break;
            }
            copy.push(&chunk).await?;
            advance(chunk.len());
        }
        let copied = copy.finish().await?;
        if shape.table == RUNS {
            let newest = newest_run(&db, names).await?;
            note_moved(&db, names, RUNS, newest).await?;
        }
        db.commit().await?;
        Ok(copied)
    }

    /// The checksum of the stored table; `shape` is that of the source. `None` if the table does not exist.
    pub(super) async fn checksum(
        &mut self,
        shape: &TableShape,
    ) -> Result<Option<TableChecksum>, DestinationError> {
        let read = self.read_back(shape).await;
        self.done(&format!("reading table {} back", shape.table), read)
    }

    async fn read_back(&mut self, shape: &TableShape) -> Result<Option<TableChecksum>, PostgresFailure> {
        let stored = table::all(self.session.client(), &self.names).await?;
        let target = if is_ours(shape) { Some(shape) } else { stored.get(&shape.table) };
        let Some(target) = target else { return Ok(None) };
        let kinds: Vec<ColumnType> =
            shape.columns.iter().map(|column| target.column_type(&column.name)).collect();
        let mut selected: Vec<String> =
            shape.columns.iter().zip(&kinds).map(|(c, kind)| select(&c.name, *kind)).collect();
        let mut types: Vec<Type> = kinds.iter().map(|kind| selected_type(*kind)).collect();
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
        let source_kinds: Vec<ColumnType> = shape.columns.iter().map(|column| column.kind).collect();
        let mut checksum = TableChecksum::default();
        while let Some(row) = rows.try_next().await? {
            let cells: Result<Vec<Cell>, _> =
                kinds.iter().enumerate().map(|(place, kind)| cell(&row, place, *kind)).collect();
            let mark = |place: usize| match is_ours(shape) {
                true => Ok(None),
                false => row.try_get::<Option<Timestamp>>(kinds.len() + place),
            };
            let row = MovedRow { cells: cells?.into(), synced: mark(0)?, deleted: mark(1)? };
            checksum.add(&row, &source_kinds);
        }
        Ok(Some(checksum))
    }

    /// Copies the checkpoints as the last step, so that syncs resume from this schema. Releases the schema.
    pub(super) async fn finish(mut self, state: State) -> Result<(), DestinationError> {
        let finished = self.copy_state(state).await;
        self.done("copying the state", finished)
    }

    async fn copy_state(&mut self, state: State) -> Result<(), PostgresFailure> {
        let names = &self.names;
        let db = self.session.transaction().await?;
        schema::hold(&db, names, self.token, &self.place).await?;
        db.batch_execute(&format!("DELETE FROM {}", names.of("_state"))).await?;
        let entries = state.tables.into_iter().flat_map(|(table, partitions)| {
            partitions.into_iter().map(move |(partition, cursor)| (table.clone(), partition, Some(cursor)))
        });
        system_tables::save(&db, names, &[Checkpoint { entries: entries.collect() }]).await?;
        let newest = newest_run(&db, names).await?;
        note_moved(&db, names, WHOLE, newest).await?;
        schema::release(&db, names, self.token).await?;
        db.commit().await?;
        schema::release_session(self.session.client(), names).await
    }

    fn done<T>(&self, doing: &str, result: Result<T, PostgresFailure>) -> Result<T, DestinationError> {
        result.map_err(|failure| failure.into_error(&self.database, doing))
    }
}

fn written_to(names: &Names, place: &str) -> DestinationError {
    let reason = format!(
        "a sync has already written to it, and its data is newer; to use the old tables instead, DROP SCHEMA {} CASCADE and run this again",
        quoted(&names.schema)
    );
    DestinationError::cannot_open(place, reason)
}

async fn newest_run(db: &Transaction<'_>, names: &Names) -> Result<i64, PostgresFailure> {
    let sql = format!("SELECT coalesce(max(run), 0) FROM {}", names.of(RUNS));
    Ok(db.query_typed(&sql, &[]).await?.first().map_or(0, |row| row.get(0)))
}

/// The rows of `_moved`; `None` if the table does not exist.
async fn moved_runs(
    db: &Transaction<'_>,
    names: &Names,
) -> Result<Option<BTreeMap<String, i64>>, PostgresFailure> {
    let moved = names.of(MOVED);
    let there = db.query_typed("SELECT to_regclass($1) IS NOT NULL", &[(&moved, Type::TEXT)]).await?;
    if !there.first().is_some_and(|row| row.get(0)) {
        return Ok(None);
    }
    let rows = db.query_typed(&format!("SELECT table_name, run FROM {moved}"), &[]).await?;
    Ok(Some(rows.iter().map(|row| (row.get(0), row.get(1))).collect()))
}

/// Marks the schema as filled by a move that is not complete.
async fn start_move(db: &Transaction<'_>, names: &Names, newest: i64) -> Result<(), PostgresFailure> {
    let moved = names.of(MOVED);
    let create = format!(
        "DROP TABLE IF EXISTS {moved}; CREATE TABLE {moved} (table_name text PRIMARY KEY, run bigint NOT NULL)"
    );
    db.batch_execute(&create).await?;
    note_moved(db, names, RUNS, newest).await
}

async fn note_moved(db: &Transaction<'_>, names: &Names, row: &str, run: i64) -> Result<(), PostgresFailure> {
    let sql = format!(
        "INSERT INTO {} (table_name, run) VALUES ($1, $2) ON CONFLICT (table_name) DO UPDATE SET run = $2",
        names.of(MOVED)
    );
    db.execute_typed(&sql, &[(&row, Type::TEXT), (&run, Type::INT8)]).await?;
    Ok(())
}

/// Decimals and documents are read as text, because their binary format is internal to the server.
fn select(name: &str, kind: ColumnType) -> String {
    match kind {
        ColumnType::Decimal | ColumnType::Json => format!("{}::text", quoted(name)),
        ColumnType::Unknown => "NULL::text".to_owned(),
        _ => quoted(name),
    }
}

fn selected_type(kind: ColumnType) -> Type {
    match kind {
        ColumnType::Decimal | ColumnType::Json | ColumnType::Unknown => Type::TEXT,
        kind => binary::array_type(kind).1,
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
