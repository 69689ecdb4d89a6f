//! The PostgreSQL backend of the writer: rows are sent ahead by COPY; about 50,000 are merged and committed together.
//!
//! A transaction that conflicts with another session is retried. A lost connection ends the run, since the rows that were
//! sent ahead are lost. Start at [`PostgresBackend::try_commit`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::Transaction;

use super::failure::PostgresFailure;
use super::merge::{MergeTarget, PushedRow, Segment};
use super::names::Names;
use super::session::Session;
use super::{completion, schema, system_tables, table};
use crate::database::{Database, IdleTimeout};
use crate::destinations::run_history::RunClosing;
use crate::destinations::run_totals::CommitTotals;
use crate::destinations::writer::{ActiveRun, Backend, Completion, EnsuredTable, Finish, Misfits, OpenedRun};
use crate::destinations::{DestinationError, RejectedRow, Run, RunStart, TableFacts};
use crate::domain::syncing::cell::{Cell, ColumnType};
use crate::domain::syncing::op::{Rejected, Rows, State, TableShape, Write};

/// Limits for uncommitted rows.
struct Bounds {
    /// Rows after which a checkpoint ends the transaction.
    due: u64,
    /// Rows after which a transaction no longer waits for a checkpoint.
    max: u64,
}

/// For rows that wait in temporary tables at the server: few large merges.
const AT_SERVER: Bounds = Bounds { due: 50_000, max: 100_000 };

/// For rows that wait in memory, because a pooler does not keep temporary tables.
const IN_MEMORY: Bounds = Bounds { due: 10_000, max: 20_000 };

/// Bytes that wait in memory before they are sent or, behind a pooler, committed.
const MAX_BYTES: usize = 16 << 20;

/// Stored text of a rejected row, in bytes; as for rows that the connector rejects.
const RAW_BYTES: usize = 64 << 10;

/// Interval of the lease renewal: three renewals may fail before the lease expires.
const RENEW_AFTER: Duration = Duration::from_secs(schema::LEASE_SECONDS / 4);

/// Attempts of a transaction that conflicts with others.
const ATTEMPTS: u32 = 6;

/// Half the wait before the second attempt; it doubles with each attempt.
const BACKOFF: Duration = Duration::from_millis(20);

pub(crate) struct PostgresBackend {
    pub(crate) database: Database,
    pub(crate) names: Names,
    /// Server, database and schema, for messages.
    pub(crate) place: String,
    pub(crate) connector: String,
    pub(crate) session: Session,
}

/// Rows of the active run, and its lease.
pub(crate) struct SegmentBuffer {
    /// The fencing token of the lock, which every transaction checks.
    token: i64,
    renewed: Instant,
    /// Rows in the order they arrived, by table and shape.
    segments: Vec<Segment>,
}

type PostgresRun = ActiveRun<PostgresBackend>;

impl PostgresBackend {
    fn done<T>(&self, doing: &str, result: Result<T, PostgresFailure>) -> Result<T, DestinationError> {
        result.map_err(|failure| failure.into_error(&self.database, doing))
    }

    fn idle_timeout(&self) -> IdleTimeout {
        self.session.idle_timeout().clone()
    }

    fn bounds(&self) -> Bounds {
        if self.session.lasts() { AT_SERVER } else { IN_MEMORY }
    }

    async fn try_begin(&mut self, start: &RunStart) -> Result<OpenedRun<SegmentBuffer>, PostgresFailure> {
        let (names, in_session) = (&self.names, self.session.lasts());
        let db = self.session.transaction().await?;
        let Some(token) = schema::take(&db, names, &self.place, in_session).await? else {
            return Err(DestinationError::busy(&self.place).into());
        };
        let number = system_tables::open_run(&db, names, start.started).await?;
        table::drop_leftovers(&db, names).await?;
        let dropped = table::dropped(&db, names).await?;
        system_tables::remove_state(&db, names, &dropped).await?;
        table::remove_shapes(&db, names, &dropped).await?;
        system_tables::remove_state(&db, names, &start.full_refresh).await?;
        let stored = table::all(&db, names).await?;
        db.commit().await?;
        let buffer = SegmentBuffer { token, renewed: Instant::now(), segments: Vec::new() };
        Ok(OpenedRun { number, stored, buffer })
    }

    async fn try_ensure(
        &mut self,
        run: &mut PostgresRun,
        announced: &TableShape,
    ) -> Result<Option<EnsuredTable<Arc<MergeTarget>>>, PostgresFailure> {
        let idle_timeout = self.idle_timeout();
        let names = &self.names;
        let db = self.session.transaction().await?;
        schema::hold(&db, names, run.buffer.token, &self.place).await?;
        let stored = run.totals.stored.get(&announced.table);
        let large = run.totals.beyond_double(&announced.table);
        let merge = table::ensure_table(&db, names, &idle_timeout, stored, announced, large).await?;
        let Some(merge) = merge else { return Ok(None) };
        let shape = merge.shape;
        let marked = match merge.recheck_deleted {
            true => table::mark_deleted(&db, names, &idle_timeout, &shape, run.start.started).await?,
            false => 0,
        };
        let sweeping = run.is_sweeping(&shape);
        if run.is_known(&announced.table) {
            table::convert_run_tables(&db, names, &shape, &merge.widened, sweeping).await?;
        }
        if sweeping {
            table::remember_keys(&db, names, &shape).await?;
        }
        if shape.write == Write::Replace {
            table::stage(&db, names, &shape).await?;
        }
        db.commit().await?;
        run.buffer.renewed = Instant::now();
        let target = Arc::new(MergeTarget::new(shape.clone(), sweeping));
        let widened = merge.widened.into_iter().map(|widening| widening.column).collect();
        Ok(Some(EnsuredTable { shape, target, widened, marked }))
    }

    async fn try_commit(
        &mut self,
        run: &mut PostgresRun,
        finish: Option<&Finish>,
    ) -> Result<CommitTotals, PostgresFailure> {
        self.session.send(&mut run.buffer.segments, true, true).await?;
        let sent = run.buffer.segments.iter().any(Segment::is_sent);
        let expected = self.session.backend();
        let (names, idle_timeout) = (&self.names, self.session.idle_timeout().clone());
        let db = self.session.transaction().await?;
        let backend = schema::hold(&db, names, run.buffer.token, &self.place).await?;
        if expected.is_some_and(|expected| expected != backend) {
            drop(db);
            self.session.notice_pooler();
            if sent {
                return Err(DestinationError::new(format!(
                    "{} is behind a pooler in transaction mode: add pooler=transaction to DATABASE_URL, or connect to the \
                     server itself",
                    self.place
                ))
                .into());
            }
            run.totals.note(
                "a pooler in transaction mode was detected, so rows are stored without COPY; add pooler=transaction to \
                 DATABASE_URL",
            );
            return Box::pin(self.try_commit(run, finish)).await;
        }
        let totals = store(&db, names, &idle_timeout, run, finish).await?;
        db.commit().await?;
        run.buffer.renewed = Instant::now();
        let closed = empty_segments(run, finish);
        self.session.drop_tables(closed).await;
        Ok(totals)
    }

    async fn try_close(&mut self, run: &PostgresRun, closing: &RunClosing) -> Result<(), PostgresFailure> {
        if self.session.is_lost() {
            self.session = Session::open(&self.database).await?;
        }
        let names = &self.names;
        let db = self.session.transaction().await?;
        schema::hold(&db, names, run.buffer.token, &self.place).await?;
        system_tables::close(&db, names, run.number, run.start.started, closing).await?;
        table::drop_leftovers(&db, names).await?;
        schema::release(&db, names, run.buffer.token).await?;
        db.commit().await?;
        if self.session.lasts() {
            schema::release_session(self.session.client(), names).await?;
        }
        Ok(())
    }
}

/// Retries work that conflicts with other transactions.
async fn retrying<T>(
    database: &Database,
    doing: &str,
    mut work: impl AsyncFnMut() -> Result<T, PostgresFailure>,
) -> Result<T, DestinationError> {
    let mut attempt = 1;
    loop {
        match work().await.map_err(|failure| failure.explained(database, doing)) {
            Err(failure) if failure.is_retriable() && attempt < ATTEMPTS => {
                tokio::time::sleep(BACKOFF * 2_u32.pow(attempt)).await;
                attempt += 1;
            }
            done => return done.map_err(|failure| failure.into_error(database, doing)),
        }
    }
}

/// Executes the statements of one transaction. It does not change the run, so that it can be repeated.
async fn store(
    db: &Transaction<'_>,
    names: &Names,
    idle_timeout: &IdleTimeout,
    run: &PostgresRun,
    finish: Option<&Finish>,
) -> Result<CommitTotals, PostgresFailure> {
    let mut totals = run.totals.start_commit();
    for segment in &run.buffer.segments {
        let table = &segment.target.shape.table;
        let target = run.target(table).unwrap_or(&segment.target);
        segment.merge(db, names, target, run.start.started, totals.tally(table)).await?;
        segment.clear(db).await?;
    }
    if let Some(finish) = finish {
        finish_table(db, names, idle_timeout, run, finish, &mut totals).await?;
    }
    system_tables::reject(db, names, run.number, &run.totals.rejected).await?;
    let checkpoints = run.totals.checkpoints(finish.map(|finish| finish.table.as_str()));
    system_tables::save(db, names, &checkpoints).await?;
    for (table, tally) in run.history_changes(&totals, finish) {
        system_tables::count(db, names, run.number, run.start.started, table, tally).await?;
    }
    Ok(totals)
}

async fn finish_table(
    db: &Transaction<'_>,
    names: &Names,
    idle_timeout: &IdleTimeout,
    run: &PostgresRun,
    finish: &Finish,
    totals: &mut CommitTotals,
) -> Result<(), PostgresFailure> {
    let _long = table::start_long_work(db, idle_timeout).await?;
    let table = finish.table.as_str();
    match run.completion(finish) {
        Completion::Nothing => {}
        Completion::Replace(shape) => {
            completion::replace_rows(db, names, shape, totals.tally(table)).await?;
        }
        Completion::DeleteStale(shape, sweep) => {
            let now = run.start.started;
            let done = completion::delete_stale(db, names, shape, sweep, now, totals.tally(table)).await?;
            if let Err(refusal) = done {
                totals.doubt(table, &refusal);
            }
        }
        Completion::KeysUnknown => totals.keys_unknown(table),
    }
    table::drop_run_tables(db, names, table).await
}

impl SegmentBuffer {
    /// The segment for rows of a target; a table that was widened during the run has a new one.
    fn segment(&mut self, target: &Arc<MergeTarget>) -> Option<&mut Segment> {
        let mine = |segment: &Segment| Arc::ptr_eq(&segment.target, target);
        if !self.segments.iter().any(mine) {
            self.segments.push(Segment::new(Arc::clone(target)));
        }
        self.segments.iter_mut().rfind(|segment| Arc::ptr_eq(&segment.target, target))
    }

    fn rows(&self) -> u64 {
        self.segments.iter().map(Segment::rows).sum()
    }
}

/// Empties the segments that receive further rows, after a commit. Returns the others.
fn empty_segments(run: &mut PostgresRun, finish: Option<&Finish>) -> Vec<Segment> {
    let segments = std::mem::take(&mut run.buffer.segments);
    let (open, closed): (Vec<_>, Vec<_>) = segments.into_iter().partition(|segment| {
        let table = &segment.target.shape.table;
        let finished = finish.is_some_and(|finish| finish.table == *table);
        !finished && run.target(table).is_some_and(|target| Arc::ptr_eq(target, &segment.target))
    });
    run.buffer.segments = open.into_iter().map(Segment::emptied).collect();
    closed
}

fn waiting_bytes(run: &PostgresRun) -> usize {
    run.totals.rejected_bytes() + run.buffer.segments.iter().map(Segment::bytes).sum::<usize>()
}

fn waiting_rows(run: &PostgresRun) -> u64 {
    run.buffer.rows() + run.totals.rejected.len() as u64
}

impl Backend for PostgresBackend {
    type Target = Arc<MergeTarget>;
    type Buffer = SegmentBuffer;

    async fn state(&mut self) -> Result<State, DestinationError> {
        let (client, names) = (self.session.client(), &self.names);
        let state = system_tables::state(client, names, &self.connector, &self.place).await;
        let mut state = self.done("reading the state", state)?;
        let dropped = table::dropped(client, names).await;
        for table in self.done("reading the tables", dropped)? {
            state.tables.remove(&table);
        }
        Ok(state)
    }

    async fn shapes(&mut self) -> Result<BTreeMap<String, TableShape>, DestinationError> {
        let shapes = table::all(self.session.client(), &self.names).await;
        self.done("reading the tables", shapes)
    }

    async fn runs(&mut self, limit: usize) -> Result<Vec<Run>, DestinationError> {
        let runs = system_tables::runs(self.session.client(), &self.names, limit).await;
        self.done("reading the run history", runs)
    }

    async fn tables(&mut self) -> Result<Vec<TableFacts>, DestinationError> {
        let facts = table::facts(self.session.client(), &self.names).await;
        self.done("counting rows", facts)
    }

    async fn rejected(&mut self, limit: usize) -> Result<Vec<RejectedRow>, DestinationError> {
        let rows = system_tables::rejected(self.session.client(), &self.names, limit).await;
        self.done("reading rejected rows", rows)
    }

    async fn begin(&mut self, start: &RunStart) -> Result<OpenedRun<SegmentBuffer>, DestinationError> {
        if self.session.is_lost() {
            self.session = Session::open(&self.database).await?;
        }
        let database = self.database.clone();
        retrying(&database, "starting the run", async || self.try_begin(start).await).await
    }

    async fn ensure_table(
        &mut self,
        run: &mut PostgresRun,
        announced: &TableShape,
    ) -> Result<Option<EnsuredTable<Arc<MergeTarget>>>, DestinationError> {
        let (database, doing) = (self.database.clone(), format!("changing table {}", announced.table));
        retrying(&database, &doing, async || self.try_ensure(run, announced).await).await
    }

    fn gather(&mut self, run: &mut PostgresRun, rows: Rows) -> Result<Option<Misfits>, DestinationError> {
        let table = &rows.shape.table;
        let Some(target) = run.target(table).cloned() else { return Ok(None) };
        let Some(segment) = run.buffer.segment(&target) else { return Ok(None) };
        segment.expect(&rows.shape);
        let mut rejected = Vec::new();
        let mut misfits = None;
        for (i, cells) in rows.rows.iter().enumerate() {
            match segment.push(cells)? {
                PushedRow::Taken => {}
                PushedRow::Rejected(reason) => {
                    let (table, reason) = (table.clone(), reason.to_owned());
                    rejected.push(Rejected { table, raw: to_json(&rows.shape, cells), reason });
                }
                PushedRow::Widen(column) => {
                    misfits = Some((i, column));
                    break;
                }
            }
        }
        run.totals.reject(rejected);
        let Some((taken, column)) = misfits else { return Ok(None) };
        let shape = with_text(&rows.shape, &column);
        let rest = rows.rows.into_iter().skip(taken).collect();
        Ok(Some(Misfits { shape, rows: Rows { shape: rows.shape, rows: rest } }))
    }

    async fn spill(&mut self, run: &mut PostgresRun) -> Result<(), DestinationError> {
        let heavy = waiting_bytes(run) >= MAX_BYTES;
        let sent = self.session.send(&mut run.buffer.segments, heavy, false).await;
        self.done("sending rows", sent)
    }

    fn is_due(&self, run: &PostgresRun) -> bool {
        waiting_rows(run) >= self.bounds().due
    }

    fn is_overdue(&self, run: &PostgresRun) -> bool {
        waiting_rows(run) >= self.bounds().max || waiting_bytes(run) >= MAX_BYTES
    }

    async fn commit(
        &mut self,
        run: &mut PostgresRun,
        finish: Option<&Finish>,
    ) -> Result<CommitTotals, DestinationError> {
        let database = self.database.clone();
        retrying(&database, "storing rows", async || self.try_commit(run, finish).await).await
    }

    async fn discard(&mut self, run: &mut PostgresRun) {
        self.session.drop_tables(std::mem::take(&mut run.buffer.segments)).await;
    }

    fn roll_back(&mut self) {
        // An uncommitted transaction was rolled back when it was dropped.
    }

    async fn close_run(
        &mut self,
        run: &mut PostgresRun,
        closing: &RunClosing,
    ) -> Result<(), DestinationError> {
        let closed = self.try_close(run, closing).await;
        self.session.drop_tables(std::mem::take(&mut run.buffer.segments)).await;
        self.done("closing the run", closed)
    }

    async fn abandon(&mut self, run: PostgresRun) {
        if self.session.is_lost() {
            return;
        }
        // Otherwise the next run waits until the lease expires.
        if let Ok(db) = self.session.transaction().await
            && schema::release(&db, &self.names, run.buffer.token).await.is_ok()
        {
            let _ = db.commit().await;
        }
    }

    fn renewal_due(&self, run: &PostgresRun) -> Option<Duration> {
        Some(RENEW_AFTER.saturating_sub(run.buffer.renewed.elapsed()))
    }

    async fn renew(&mut self, run: &mut PostgresRun) -> Result<(), DestinationError> {
        let (client, token) = (self.session.client(), run.buffer.token);
        let held = schema::hold(client, &self.names, token, &self.place).await;
        run.buffer.renewed = Instant::now();
        self.done("renewing the lease of the run", held).map(drop)
    }
}

/// The same shape with a column widened to text.
pub(crate) fn with_text(shape: &TableShape, column: &str) -> TableShape {
    let mut shape = shape.clone();
    for wide in shape.columns.iter_mut().filter(|wide| wide.name == column) {
        wide.kind = ColumnType::Text;
    }
    shape
}

/// A rejected row as JSON: the text of the source is not available here.
pub(crate) fn to_json(shape: &TableShape, cells: &[Cell]) -> String {
    let value = |cell: &Cell| match cell {
        Cell::Null => serde_json::Value::Null,
        Cell::Bool(value) => (*value).into(),
        Cell::Int(value) => (*value).into(),
        cell => cell.to_text().unwrap_or_default().into(),
    };
    let row: serde_json::Map<String, serde_json::Value> = shape
        .columns
        .iter()
        .zip(cells)
        .filter(|(_, cell)| !matches!(cell, Cell::Null))
        .map(|(column, cell)| (column.name.clone(), value(cell)))
        .collect();
    let mut text = serde_json::Value::Object(row).to_string();
    text.truncate(text.floor_char_boundary(RAW_BYTES));
    text
}
