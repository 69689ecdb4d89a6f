//! The loop of the thread that owns a connection: gathers the ops of a run and commits them, for any kind of database. The
//! differences, SQL and the binding of values, are behind [`Backend`].
//!
//! A transaction ends with a checkpoint if one arrives soon enough, and always contains consecutive ops, so that a
//! checkpoint is never stored without its rows. Start at [`DestinationWriter::serve`], then [`DestinationWriter::take`] and
//! [`DestinationWriter::commit`].

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::run_history::RunClosing;
use super::run_totals::{CommitTotals, RunTotals};
use super::writer_thread::{RunFailure, WriterRequest};
use super::{DestinationError, RejectedRow, Run, RunOutcome, RunReport, RunStart, TableFacts};
use crate::domain::syncing::op::{End, Op, Rows, State, Sweep, TableShape, Write};

/// Maximum wait of an op for its commit, so that rows of a slow source are soon visible.
const COMMIT_AFTER: Duration = Duration::from_secs(2);

type WriteResult<T> = Result<T, DestinationError>;

pub(super) trait Backend: Sized {
    /// How to write rows to a table.
    type Target;
    /// Uncommitted rows of the active run, and its lock.
    type Buffer;

    async fn state(&mut self) -> WriteResult<State>;
    async fn shapes(&mut self) -> WriteResult<BTreeMap<String, TableShape>>;
    async fn runs(&mut self, limit: usize) -> WriteResult<Vec<Run>>;
    async fn tables(&mut self) -> WriteResult<Vec<TableFacts>>;
    async fn rejected(&mut self, limit: usize) -> WriteResult<Vec<RejectedRow>>;

    /// Takes the lock, closes an interrupted run, and adds a new one to the history.
    async fn begin(&mut self, start: &RunStart) -> WriteResult<OpenedRun<Self::Buffer>>;

    /// Creates a table or widens its columns, after the rows gathered so far. `None` while the type of a key column is
    /// unknown.
    async fn ensure_table(
        &mut self,
        run: &mut ActiveRun<Self>,
        announced: &TableShape,
    ) -> WriteResult<Option<EnsuredTable<Self::Target>>>;

    /// Takes rows of a table that exists. Returns the rows that need a wider table.
    fn gather(&mut self, run: &mut ActiveRun<Self>, rows: Rows) -> WriteResult<Option<Misfits>>;

    /// Sends gathered rows to the database if there are many.
    async fn spill(&mut self, run: &mut ActiveRun<Self>) -> WriteResult<()>;

    /// Whether the open transaction is large enough to end at the next checkpoint.
    fn is_due(&self, run: &ActiveRun<Self>) -> bool;

    /// Whether the open transaction is too large to wait for a checkpoint.
    fn is_overdue(&self, run: &ActiveRun<Self>) -> bool;

    /// Stores everything taken so far in one transaction, with the completion of a table if it was read to its end.
    async fn commit(
        &mut self,
        run: &mut ActiveRun<Self>,
        finish: Option<&Finish>,
    ) -> WriteResult<CommitTotals>;

    /// Discards the rows since the last commit.
    async fn discard(&mut self, run: &mut ActiveRun<Self>);

    /// Ends the open transaction without storing it.
    fn roll_back(&mut self);

    /// Stores the end of the run in the history and releases its lock.
    async fn close_run(&mut self, run: &mut ActiveRun<Self>, closing: &RunClosing) -> WriteResult<()>;

    /// Releases the lock of a run that is not closed.
    async fn abandon(&mut self, run: ActiveRun<Self>);

    /// Time until the lease of the run must be renewed, if it has one.
    fn renewal_due(&self, _: &ActiveRun<Self>) -> Option<Duration> {
        None
    }

    async fn renew(&mut self, _: &mut ActiveRun<Self>) -> WriteResult<()> {
        Ok(())
    }
}

/// A run that a backend has started.
pub(super) struct OpenedRun<Buffer> {
    pub(super) number: i64,
    pub(super) stored: BTreeMap<String, TableShape>,
    pub(super) buffer: Buffer,
}

/// A table that can store rows of the announced shape.
pub(super) struct EnsuredTable<Target> {
    /// The stored shape; its types may be wider than announced.
    pub(super) shape: TableShape,
    pub(super) target: Target,
    /// Columns whose stored values were converted.
    pub(super) widened: Vec<String>,
    /// Number of stored live rows that were soft-deleted because their `deleted_if` column is true.
    pub(super) marked: u64,
}

/// Rows that need a wider table, and its required shape.
pub(super) struct Misfits {
    pub(super) shape: TableShape,
    pub(super) rows: Rows,
}

/// A table that was read to its end.
pub(super) struct Finish {
    pub(super) table: String,
    pub(super) sweep: Option<Sweep>,
}

/// How to complete a table that was read to its end.
pub(super) enum Completion<'a> {
    Nothing,
    /// The staged rows replace the stored ones.
    Replace(&'a TableShape),
    /// Stored rows that this run did not send are soft-deleted.
    DeleteStale(&'a TableShape, Sweep),
    /// Stale rows cannot be determined, because the run did not store its keys.
    KeysUnknown,
}

pub(super) struct ActiveRun<B: Backend> {
    pub(super) number: i64,
    pub(super) start: RunStart,
    pub(super) totals: RunTotals,
    pub(super) buffer: B::Buffer,
    tables: HashMap<String, RunTable<B::Target>>,
}

/// A table that the run writes to.
struct RunTable<Target> {
    announced: TableShape,
    shape: TableShape,
    /// Whether its rows wait in a staging table.
    staged: bool,
    target: Target,
}

impl<B: Backend> ActiveRun<B> {
    fn new(start: RunStart, opened: OpenedRun<B::Buffer>) -> Self {
        let OpenedRun { number, stored, buffer } = opened;
        Self { number, start, totals: RunTotals::new(stored), buffer, tables: HashMap::new() }
    }

    pub(super) fn target(&self, table: &str) -> Option<&B::Target> {
        self.tables.get(table).map(|table| &table.target)
    }

    pub(super) fn is_known(&self, table: &str) -> bool {
        self.tables.contains_key(table)
    }

    /// The tables that the run has written to and not completed.
    pub(super) fn open_tables(&self) -> impl Iterator<Item = &str> {
        self.tables.keys().map(String::as_str)
    }

    /// Whether the keys of a table's rows must be stored.
    pub(super) fn is_sweeping(&self, shape: &TableShape) -> bool {
        self.start.sweeping.contains(&shape.table) && !shape.key.is_empty()
    }

    pub(super) fn completion(&self, finish: &Finish) -> Completion<'_> {
        let Some(shape) = self.totals.stored.get(&finish.table) else { return Completion::Nothing };
        match finish.sweep {
            _ if shape.write == Write::Replace => Completion::Replace(shape),
            Some(_) if shape.key.is_empty() => Completion::Nothing,
            Some(sweep) if self.is_sweeping(shape) => Completion::DeleteStale(shape, sweep),
            Some(_) => Completion::KeysUnknown,
            None => Completion::Nothing,
        }
    }

    /// The rows of the history that a commit changes. Staged rows are counted when they replace the stored ones.
    pub(super) fn history_changes<'a>(
        &'a self,
        totals: &'a CommitTotals,
        finish: Option<&'a Finish>,
    ) -> impl Iterator<Item = (&'a str, &'a crate::domain::syncing::op::Tally)> {
        let counts = move |table: &str| {
            finish.is_some_and(|finish| finish.table == table)
                || !self.tables.get(table).is_some_and(|table| table.staged)
        };
        self.totals.changes(totals).filter(move |(table, _)| counts(table))
    }

    fn fits(&self, shape: &TableShape) -> bool {
        let table = self.tables.get(&shape.table);
        table.is_some_and(|table| table.announced == *shape || table.shape == *shape)
    }

    fn has_waited(&self) -> bool {
        self.totals.waiting_since.is_some_and(|since| since.elapsed() >= COMMIT_AFTER)
    }
}

pub(super) struct DestinationWriter<B: Backend> {
    backend: B,
    failure: Arc<RunFailure>,
    run: Option<ActiveRun<B>>,
}

impl<B: Backend> DestinationWriter<B> {
    pub(super) fn new(backend: B, failure: Arc<RunFailure>) -> Self {
        Self { backend, failure, run: None }
    }

    /// Serves requests until the channel closes.
    pub(super) async fn serve(mut self, mut requests: mpsc::Receiver<WriterRequest>) {
        loop {
            let request = match self.time_until_due() {
                None => requests.recv().await,
                Some(left) => match tokio::time::timeout(left, requests.recv()).await {
                    Ok(request) => request,
                    Err(_) => {
                        let result = self.do_due_work().await;
                        self.record_failure(result);
                        continue;
                    }
                },
            };
            // The receiver of an answer may have been dropped.
            match request {
                Some(WriterRequest::Write(op, place)) => {
                    drop(place);
                    self.write(op).await;
                }
                Some(WriterRequest::State(answer)) => drop(answer.send(self.backend.state().await)),
                Some(WriterRequest::Shapes(answer)) => drop(answer.send(self.backend.shapes().await)),
                Some(WriterRequest::Begin(start, answer)) => drop(answer.send(self.begin(*start).await)),
                Some(WriterRequest::End(outcome, answer)) => drop(answer.send(self.end(*outcome).await)),
                Some(WriterRequest::Runs(limit, answer)) => drop(answer.send(self.backend.runs(limit).await)),
                Some(WriterRequest::Tables(answer)) => drop(answer.send(self.backend.tables().await)),
                Some(WriterRequest::Rejected(limit, answer)) => {
                    drop(answer.send(self.backend.rejected(limit).await));
                }
                Some(WriterRequest::Close(answer)) => {
                    drop(answer.send(self.stop().await));
                    return;
                }
                None => {
                    // The run stays open in the history; the next one closes it as interrupted.
                    let _ = self.stop().await;
                    return;
                }
            }
        }
    }

    fn time_until_due(&self) -> Option<Duration> {
        let run = self.run.as_ref().filter(|_| self.failure.get().is_none())?;
        let commit = run.totals.waiting_since.map(|since| COMMIT_AFTER.saturating_sub(since.elapsed()));
        commit.into_iter().chain(self.backend.renewal_due(run)).min()
    }

    /// Commits ops that have waited long enough, and renews the lease.
    async fn do_due_work(&mut self) -> WriteResult<()> {
        if self.run.as_ref().is_some_and(ActiveRun::has_waited) {
            self.commit_early().await?;
        }
        match &mut self.run {
            Some(run) if self.backend.renewal_due(run).is_some_and(|due| due.is_zero()) => {
                self.backend.renew(run).await
            }
            _ => Ok(()),
        }
    }

    async fn begin(&mut self, start: RunStart) -> WriteResult<i64> {
        if self.run.is_some() {
            return Err(DestinationError::new("a run is already active: end it first"));
        }
        self.failure.set(None);
        let opened = self.backend.begin(&start).await?;
        let run = self.run.insert(ActiveRun::new(start, opened));
        Ok(run.number)
    }

    async fn write(&mut self, op: Op) {
        // After a failure, later ops must not be stored.
        if self.failure.get().is_none() {
            let taken = self.take(op).await;
            self.record_failure(taken);
        }
    }

    async fn take(&mut self, op: Op) -> WriteResult<()> {
        let Some(run) = &mut self.run else { return Err(no_run()) };
        run.totals.waiting_since.get_or_insert_with(Instant::now);
        match op {
            Op::Rows(rows) => self.take_rows(rows).await,
            Op::Rejected(rows) => {
                run.totals.reject(rows);
                self.spill().await
            }
            Op::Checkpoint(checkpoint) => {
                run.totals.checkpoint(checkpoint);
                let due = run.totals.uncovered || run.has_waited() || self.backend.is_due(run);
                if due { self.commit(None).await } else { Ok(()) }
            }
            Op::Shape(shape) if run.fits(&shape) => Ok(()),
            Op::Shape(shape) => self.ensure_table(&shape).await,
            Op::Finish { table, sweep } => self.commit(Some(Finish { table, sweep })).await,
        }
    }

    async fn take_rows(&mut self, mut rows: Rows) -> WriteResult<()> {
        loop {
            let table = &rows.shape.table;
            if !self.run.as_ref().is_some_and(|run| run.is_known(table)) {
                self.ensure_table(&rows.shape).await?;
            }
            let Some(run) = &mut self.run else { return Err(no_run()) };
            if !run.is_known(table) {
                let reason = "the connector sent rows whose key columns have no value";
                return Err(DestinationError::table(table, reason));
            }
            run.totals.uncovered |= rows.shape.write == Write::Append;
            run.totals.observe_integers(&rows);
            match self.backend.gather(run, rows)? {
                None => return self.spill().await,
                Some(misfits) => {
                    self.ensure_table(&misfits.shape).await?;
                    rows = misfits.rows;
                }
            }
        }
    }

    /// Sends gathered rows to the database, and commits if the transaction is too large to wait for a checkpoint.
    async fn spill(&mut self) -> WriteResult<()> {
        let Some(run) = &mut self.run else { return Ok(()) };
        self.backend.spill(run).await?;
        if self.backend.is_overdue(run) { self.commit_early().await } else { Ok(()) }
    }

    async fn ensure_table(&mut self, announced: &TableShape) -> WriteResult<()> {
        let Some(run) = &mut self.run else { return Ok(()) };
        let Some(table) = self.backend.ensure_table(run, announced).await? else { return Ok(()) };
        let EnsuredTable { shape, target, widened, marked } = table;
        for column in widened {
            run.totals.note_widened(&announced.table, &column);
        }
        run.totals.note_deleted(&shape, marked);
        let staged = shape.write == Write::Replace;
        run.totals.stored.insert(announced.table.clone(), shape.clone());
        let table = RunTable { announced: announced.clone(), shape, staged, target };
        run.tables.insert(announced.table.clone(), table);
        Ok(())
    }

    /// Stores all rows and checkpoints taken so far in one transaction.
    async fn commit(&mut self, finish: Option<Finish>) -> WriteResult<()> {
        let Some(run) = &mut self.run else { return Ok(()) };
        let totals = self.backend.commit(run, finish.as_ref()).await?;
        let finished = finish.as_ref().map(|finish| finish.table.as_str());
        if let Some(table) = finished {
            run.tables.remove(table);
        }
        run.totals.committed(totals, finished);
        Ok(())
    }

    /// Commits without waiting for a checkpoint. The next run may send the same rows again; since that would duplicate
    /// appended rows, those wait for their checkpoint.
    async fn commit_early(&mut self) -> WriteResult<()> {
        match &mut self.run {
            Some(run) if run.totals.uncovered => {
                run.totals.waiting_since = None;
                Ok(())
            }
            _ => self.commit(None).await,
        }
    }

    async fn end(&mut self, outcome: RunOutcome) -> WriteResult<RunReport> {
        if self.run.is_none() {
            return Err(no_run());
        }
        if outcome.run.end != End::Complete {
            self.discard_uncovered().await;
        }
        let failure = match self.failure.get() {
            Some(failure) => Some(failure),
            None => self.commit(None).await.err(),
        };
        if failure.is_some() {
            self.backend.roll_back();
        }
        let Some(mut run) = self.run.take() else { return Err(no_run()) };
        let staged = run.tables.iter().filter(|(_, table)| table.staged);
        let unfinished: Vec<&str> = staged.map(|(name, _)| name.as_str()).collect();
        let closing = run.totals.close(&unfinished, outcome, failure.as_ref());
        let closed = self.backend.close_run(&mut run, &closing).await;
        self.failure.set(None);
        match failure {
            Some(failure) => Err(failure),
            None => closed.map(|()| closing.report),
        }
    }

    async fn discard_uncovered(&mut self) {
        if let Some(run) = self.run.as_mut().filter(|run| run.totals.uncovered) {
            self.backend.discard(run).await;
            run.totals.discard();
        }
    }

    /// Stores the ops of an unfinished run.
    async fn stop(&mut self) -> WriteResult<()> {
        self.discard_uncovered().await;
        let committed = match (&self.run, self.failure.get()) {
            (Some(_), None) => self.commit(None).await,
            _ => Ok(()),
        };
        if let Some(run) = self.run.take() {
            self.backend.roll_back();
            self.backend.abandon(run).await;
        }
        committed
    }

    fn record_failure(&mut self, result: WriteResult<()>) {
        if let Err(failure) = result {
            self.backend.roll_back();
            self.failure.set(Some(failure));
        }
    }
}

fn no_run() -> DestinationError {
    DestinationError::new("no run is active: begin one first")
}
