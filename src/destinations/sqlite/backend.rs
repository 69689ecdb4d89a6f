//! The SQLite backend of the writer: about 5,000 rows are gathered and then written in the order of their keys, within a
//! transaction that is committed after about 50,000 rows.
//!
//! Start at [`SqliteBackend::write_gathered`] and its [`Backend::commit`].

use std::collections::BTreeMap;
use std::fs::File;

use rusqlite::Connection;

use super::file::{self, DatabaseFile, SqliteFailure};
use super::upsert::UpsertTarget;
use super::{completion, system_tables, table};
use crate::destinations::run_history::RunClosing;
use crate::destinations::run_totals::CommitTotals;
use crate::destinations::writer::{ActiveRun, Backend, Completion, EnsuredTable, Finish, Misfits, OpenedRun};
use crate::destinations::{DestinationError, RejectedRow, Run, RunStart, TableFacts};
use crate::domain::syncing::cell::Cell;
use crate::domain::syncing::op::{Rows, State, TableShape, Write};

/// Rows sorted and written together: enough to write close to each other in the key's tree, few enough for memory.
const GATHERED_ROWS: usize = 5_000;

/// Text gathered, in bytes: the limit for large rows.
const GATHERED_BYTES: usize = 16 * 1024 * 1024;

/// Rows after which a checkpoint ends the transaction. A commit waits for the disk, so that there should be few.
const COMMIT_ROWS: usize = 50_000;

/// Rows after which a transaction no longer waits for a checkpoint, so that the WAL does not grow without bound.
const MAX_ROWS: usize = 100_000;

pub(super) struct SqliteBackend {
    file: DatabaseFile,
    db: Connection,
    connector: String,
    in_transaction: bool,
}

/// Rows of the active run.
pub(super) struct GatheredRows {
    _lock: File,
    /// The start of the run as stored text.
    synced: String,
    batches: Vec<Rows>,
    rows: usize,
    bytes: usize,
    /// Rows written in the open transaction.
    written: usize,
}

impl SqliteBackend {
    pub(super) fn new(file: DatabaseFile, db: Connection, connector: &str) -> Self {
        Self { file, db, connector: connector.to_owned(), in_transaction: false }
    }

    fn sql<T>(&self, doing: &str, result: Result<T, rusqlite::Error>) -> Result<T, DestinationError> {
        result.map_err(|e| self.file.error(doing, &e))
    }

    fn done<T>(&self, doing: &str, result: Result<T, SqliteFailure>) -> Result<T, DestinationError> {
        result.map_err(|failure| self.file.failure(doing, failure))
    }

    fn start_transaction(&mut self) -> Result<(), rusqlite::Error> {
        if !self.in_transaction {
            self.db.execute_batch("BEGIN IMMEDIATE")?;
            self.in_transaction = true;
        }
        Ok(())
    }

    fn commit_transaction(&mut self) -> Result<(), rusqlite::Error> {
        self.db.execute_batch("COMMIT")?;
        self.in_transaction = false;
        Ok(())
    }

    fn open_run(&mut self, start: &RunStart) -> Result<(i64, BTreeMap<String, TableShape>), rusqlite::Error> {
        self.start_transaction()?;
        let db = &self.db;
        let number = system_tables::open_run(db, start.started)?;
        for table in table::dropped(db)? {
            system_tables::remove_state(db, &table)?;
            db.execute("DELETE FROM _tables WHERE name = ?", [&table])?;
        }
        for table in &start.full_refresh {
            system_tables::remove_state(db, table)?;
        }
        let stored = table::all(db)?;
        self.commit_transaction()?;
        Ok((number, stored))
    }

    /// Writes the gathered rows, grouped by table, and the rejected ones, so that a source with only rejected rows does
    /// not fill the memory.
    fn write_gathered(&mut self, run: &mut ActiveRun<Self>) -> Result<(), SqliteFailure> {
        self.start_transaction()?;
        let batches = std::mem::take(&mut run.buffer.batches);
        let mut by_table: BTreeMap<&str, Vec<&Rows>> = BTreeMap::new();
        for rows in &batches {
            by_table.entry(&rows.shape.table).or_default().push(rows);
        }
        for (name, batches) in by_table {
            let mut tally = *run.totals.tally(name);
            if let Some(target) = run.target(name) {
                target.write(&self.db, &batches, &run.buffer.synced, &mut tally)?;
            }
            *run.totals.tally(name) = tally;
        }
        system_tables::reject(&self.db, run.number, &run.totals.rejected)?;
        run.buffer.written += run.buffer.rows + run.totals.rejected.len();
        run.totals.rejected.clear();
        (run.buffer.rows, run.buffer.bytes) = (0, 0);
        Ok(())
    }

    fn ensure(
        &mut self,
        run: &mut ActiveRun<Self>,
        announced: &TableShape,
    ) -> Result<Option<EnsuredTable<UpsertTarget>>, SqliteFailure> {
        self.write_gathered(run)?;
        let db = &self.db;
        let stored = run.totals.stored.get(&announced.table);
        let large = run.totals.beyond_double(&announced.table);
        let Some(merge) = table::ensure_table(db, stored, announced, large)? else { return Ok(None) };
        let shape = merge.shape;
        let marked =
            if merge.recheck_deleted { table::mark_deleted(db, &shape, &run.buffer.synced)? } else { 0 };
        let sweeping = run.is_sweeping(&shape);
        if sweeping {
            completion::remember_keys(db, &shape)?;
        }
        if shape.write == Write::Replace {
            completion::stage(db, &shape)?;
        }
        completion::convert(db, &shape, &merge.widened, sweeping)?;
        let target = UpsertTarget::new(&shape, sweeping);
        let widened = merge.widened.into_iter().map(|widening| widening.column).collect();
        Ok(Some(EnsuredTable { shape, target, widened, marked }))
    }

    fn store(
        &mut self,
        run: &mut ActiveRun<Self>,
        finish: Option<&Finish>,
    ) -> Result<CommitTotals, SqliteFailure> {
        self.write_gathered(run)?;
        let mut totals = run.totals.start_commit();
        if let Some(finish) = finish {
            self.finish_table(run, finish, &mut totals)?;
        }
        for checkpoint in run.totals.checkpoints(finish.map(|finish| finish.table.as_str())) {
            system_tables::save(&self.db, &checkpoint)?;
        }
        for (table, tally) in run.history_changes(&totals, finish) {
            system_tables::count(&self.db, run.number, run.start.started, table, tally)?;
        }
        self.commit_transaction()?;
        run.buffer.written = 0;
        Ok(totals)
    }

    fn finish_table(
        &self,
        run: &ActiveRun<Self>,
        finish: &Finish,
        totals: &mut CommitTotals,
    ) -> Result<(), SqliteFailure> {
        let (db, table) = (&self.db, finish.table.as_str());
        match run.completion(finish) {
            Completion::Nothing => {}
            Completion::Replace(shape) => completion::replace_rows(db, shape, totals.tally(table))?,
            Completion::DeleteStale(shape, sweep) => {
                let now = &run.buffer.synced;
                if let Err(refusal) = completion::delete_stale(db, shape, sweep, now, totals.tally(table))? {
                    totals.doubt(table, &refusal);
                }
            }
            Completion::KeysUnknown => totals.keys_unknown(table),
        }
        Ok(completion::drop_run_tables(db, table)?)
    }

    fn store_closing(&mut self, run: &ActiveRun<Self>, closing: &RunClosing) -> Result<(), rusqlite::Error> {
        self.start_transaction()?;
        let db = &self.db;
        for row in closing.rows() {
            system_tables::count(db, run.number, run.start.started, row.table, &row.tally)?;
            system_tables::close(db, run.number, closing.outcome.ended, &row)?;
        }
        for table in run.open_tables() {
            completion::drop_run_tables(db, table)?;
        }
        self.commit_transaction()
    }
}

impl Backend for SqliteBackend {
    type Target = UpsertTarget;
    type Buffer = GatheredRows;

    async fn state(&mut self) -> Result<State, DestinationError> {
        let mut state = system_tables::state(&self.db, &self.connector, &self.file)?;
        for table in self.sql("reading the state", table::dropped(&self.db))? {
            state.tables.remove(&table);
        }
        Ok(state)
    }

    async fn shapes(&mut self) -> Result<BTreeMap<String, TableShape>, DestinationError> {
        self.sql("reading the tables", table::all(&self.db))
    }

    async fn runs(&mut self, limit: usize) -> Result<Vec<Run>, DestinationError> {
        self.sql("reading the run history", system_tables::runs(&self.db, limit))
    }

    async fn tables(&mut self) -> Result<Vec<TableFacts>, DestinationError> {
        self.sql("counting rows", table::facts(&self.db))
    }

    async fn rejected(&mut self, limit: usize) -> Result<Vec<RejectedRow>, DestinationError> {
        self.sql("reading rejected rows", system_tables::rejected(&self.db, limit))
    }

    async fn begin(&mut self, start: &RunStart) -> Result<OpenedRun<GatheredRows>, DestinationError> {
        let lock = self.file.lock()?;
        let opened = self.open_run(start);
        if opened.is_err() {
            self.roll_back();
        }
        let (number, stored) = self.sql("starting the run", opened)?;
        let synced = system_tables::to_text(start.started);
        let buffer = GatheredRows { _lock: lock, synced, batches: Vec::new(), rows: 0, bytes: 0, written: 0 };
        Ok(OpenedRun { number, stored, buffer })
    }

    async fn ensure_table(
        &mut self,
        run: &mut ActiveRun<Self>,
        announced: &TableShape,
    ) -> Result<Option<EnsuredTable<UpsertTarget>>, DestinationError> {
        let ensured = self.ensure(run, announced);
        self.done("changing a table", ensured)
    }

    fn gather(&mut self, run: &mut ActiveRun<Self>, rows: Rows) -> Result<Option<Misfits>, DestinationError> {
        let gathered = &mut run.buffer;
        gathered.bytes += rows.rows.iter().flatten().map(Cell::text_len).sum::<usize>();
        gathered.rows += rows.rows.len();
        gathered.batches.push(rows);
        Ok(None)
    }

    async fn spill(&mut self, run: &mut ActiveRun<Self>) -> Result<(), DestinationError> {
        let rows = run.buffer.rows + run.totals.rejected.len();
        let bytes = run.buffer.bytes + run.totals.rejected_bytes();
        if rows < GATHERED_ROWS && bytes < GATHERED_BYTES {
            return Ok(());
        }
        let written = self.write_gathered(run);
        self.done("storing rows", written)
    }

    fn is_due(&self, run: &ActiveRun<Self>) -> bool {
        run.buffer.written + run.buffer.rows >= COMMIT_ROWS
    }

    fn is_overdue(&self, run: &ActiveRun<Self>) -> bool {
        run.buffer.written >= MAX_ROWS
    }

    async fn commit(
        &mut self,
        run: &mut ActiveRun<Self>,
        finish: Option<&Finish>,
    ) -> Result<CommitTotals, DestinationError> {
        let stored = self.store(run, finish);
        self.done("storing rows", stored)
    }

    async fn discard(&mut self, run: &mut ActiveRun<Self>) {
        self.roll_back();
        run.buffer.batches.clear();
        (run.buffer.rows, run.buffer.bytes, run.buffer.written) = (0, 0, 0);
    }

    fn roll_back(&mut self) {
        if self.in_transaction {
            // After some errors SQLite has already rolled back; then this fails.
            let _ = self.db.execute_batch("ROLLBACK");
            self.in_transaction = false;
        }
    }

    async fn close_run(
        &mut self,
        run: &mut ActiveRun<Self>,
        closing: &RunClosing,
    ) -> Result<(), DestinationError> {
        let stored = self.store_closing(run, closing);
        if stored.is_err() {
            self.roll_back();
        }
        self.sql("closing the run", stored)?;
        file::shrink(&self.db);
        Ok(())
    }

    async fn abandon(&mut self, _: ActiveRun<Self>) {
        // Dropping the run releases the lock of the file.
    }
}
