//! The thread that owns the connection: it gathers ops and commits them.
//!
//! Rows wait until about 5,000 are there and are then written sorted; about 50,000, or those of two seconds, are
//! committed together. A transaction ends with a checkpoint wherever one comes soon enough, and always holds the next
//! stretch of the stream of ops: that is why a checkpoint is never there without its rows. Start at [`Writer::run`], then [`Writer::take`] and
//! [`Writer::commit`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use rusqlite::Connection;
use tokio::sync::mpsc;

use super::file::Place;
use super::ledger;
use super::run::{COMMIT_AFTER, Running};
use super::table::{self, Trouble};
use crate::destinations::threaded::{Ask, Failure};
use crate::destinations::{Begin, DestinationError, Outcome, Report};
use crate::domain::op::{End, Op, State, TableShape};

pub(super) struct Writer {
    place: Place,
    db: Connection,
    connector: String,
    failed: Arc<Failure>,
    run: Option<Running>,
    in_transaction: bool,
}

impl Writer {
    pub(super) fn new(place: Place, db: Connection, connector: &str, failed: Arc<Failure>) -> Self {
        Self { place, db, connector: connector.to_owned(), failed, run: None, in_transaction: false }
    }

    /// Answers until nobody asks any more.
    pub(super) fn run(&mut self, clock: &tokio::runtime::Runtime, mut inbox: mpsc::Receiver<Ask>) {
        loop {
            let ask = match self.run.as_ref().and_then(|run| run.book.waiting_since) {
                None => inbox.blocking_recv(),
                Some(since) => {
                    let left = COMMIT_AFTER.saturating_sub(since.elapsed());
                    match clock.block_on(async { tokio::time::timeout(left, inbox.recv()).await }) {
                        Ok(ask) => ask,
                        Err(_) => {
                            let committed = self.commit_early();
                            self.remember_failure(committed);
                            continue;
                        }
                    }
                }
            };
            // Nobody hears an answer whose asker has gone.
            match ask {
                Some(Ask::Write(op)) => self.write(op),
                Some(Ask::State(reply)) => drop(reply.send(self.state())),
                Some(Ask::Shapes(reply)) => drop(reply.send(self.shapes())),
                Some(Ask::Begin(begin, reply)) => drop(reply.send(self.begin(*begin))),
                Some(Ask::End(outcome, reply)) => drop(reply.send(self.end(*outcome))),
                Some(Ask::Runs(limit, reply)) => {
                    let runs = ledger::runs(&self.db, limit);
                    drop(reply.send(runs.map_err(|e| self.place.judge("reading the ledger", &e))));
                }
                Some(Ask::Tables(reply)) => {
                    let facts = table::facts(&self.db);
                    drop(reply.send(facts.map_err(|e| self.place.judge("counting rows", &e))));
                }
                Some(Ask::Rejected(limit, reply)) => {
                    let rows = ledger::rejected(&self.db, limit);
                    drop(reply.send(rows.map_err(|e| self.place.judge("reading rejected rows", &e))));
                }
                Some(Ask::Close(reply)) => {
                    drop(reply.send(self.stop()));
                    return;
                }
                None => {
                    let _ = self.stop();
                    return;
                }
            }
        }
    }

    fn state(&self) -> Result<State, DestinationError> {
        let read = || -> Result<_, rusqlite::Error> {
            let mut state = ledger::state(&self.db, &self.connector)?;
            if let Ok(state) = &mut state {
                for table in table::dropped(&self.db)? {
                    state.tables.remove(&table);
                }
            }
            Ok(state)
        };
        read().map_err(|e| self.place.judge("reading the state", &e))?.map_err(|found| {
            DestinationError::Newer { place: self.place.name(), found, known: State::FORMAT.into() }
        })
    }

    fn shapes(&self) -> Result<BTreeMap<String, TableShape>, DestinationError> {
        table::all(&self.db).map_err(|e| self.place.judge("reading the tables", &e))
    }

    fn begin(&mut self, begin: Begin) -> Result<i64, DestinationError> {
        if self.run.is_some() {
            return Err(DestinationError::OutOfOrder("a run is under way: end it first"));
        }
        let lock = self.place.lock()?;
        self.failed.set(None);
        let opened = self.start().and_then(|()| {
            let run = Running::open(&self.db, begin, lock)?;
            self.finish()?;
            Ok(run)
        });
        match opened {
            Ok(run) => {
                let number = run.number;
                self.run = Some(run);
                Ok(number)
            }
            Err(trouble) => Err(self.give_up("opening the run", trouble)),
        }
    }

    fn write(&mut self, op: Op) {
        // What follows a failure must not be stored without what came before it.
        if self.failed.get().is_none() {
            let taken = self.take(op);
            self.remember_failure(taken);
        }
    }

    fn take(&mut self, op: Op) -> Result<(), DestinationError> {
        let Some(run) = &mut self.run else {
            return Err(DestinationError::OutOfOrder("no run is under way: begin one first"));
        };
        run.book.waiting_since.get_or_insert_with(Instant::now);
        let taken = match op {
            Op::Rows(rows) => {
                run.gather(rows);
                return if run.is_full() { self.spill() } else { Ok(()) };
            }
            Op::Rejected(rows) => {
                run.reject(rows);
                return if run.is_full() { self.spill() } else { Ok(()) };
            }
            Op::Checkpoint(checkpoint) => {
                run.book.checkpoint(checkpoint);
                return if run.is_due() { self.commit() } else { Ok(()) };
            }
            Op::Shape(shape) => {
                if run.fits(&shape) {
                    return Ok(());
                }
                self.in_order(|run, db| run.adopt(db, &shape))
            }
            Op::Finish { table, sweep } => {
                self.in_order(|run, db| run.complete(db, &table, sweep))
                    .map_err(|t| self.judge("finishing", t))?;
                return self.commit();
            }
        };
        taken.map_err(|trouble| self.judge("changing a table", trouble))
    }

    /// Does something that must come after the rows gathered so far, in their transaction.
    fn in_order(
        &mut self,
        act: impl FnOnce(&mut Running, &Connection) -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        self.start()?;
        let Some(run) = &mut self.run else { return Ok(()) };
        run.write_rows(&self.db)?;
        act(run, &self.db)
    }

    /// Stores everything taken so far, rows and checkpoints, or nothing of it.
    fn commit(&mut self) -> Result<(), DestinationError> {
        let stored = self.in_order(|run, db| run.write_rest(db)).and_then(|()| self.finish());
        stored.map_err(|trouble| self.judge("storing rows", trouble))?;
        if let Some(run) = &mut self.run {
            run.committed();
        }
        Ok(())
    }

    /// Writes what has gathered, and leaves the commit to the checkpoint behind it, if that comes soon.
    fn spill(&mut self) -> Result<(), DestinationError> {
        self.in_order(|_, _| Ok(())).map_err(|trouble| self.judge("storing rows", trouble))?;
        if self.run.as_ref().is_some_and(Running::is_overdue) { self.commit_early() } else { Ok(()) }
    }

    /// Commits without waiting for a checkpoint: the same rows may come once more, which only appended ones mind.
    fn commit_early(&mut self) -> Result<(), DestinationError> {
        match &mut self.run {
            Some(run) if run.book.uncovered => {
                run.book.waiting_since = None;
                Ok(())
            }
            _ => self.commit(),
        }
    }

    fn end(&mut self, outcome: Outcome) -> Result<Report, DestinationError> {
        if self.run.is_none() {
            return Err(DestinationError::OutOfOrder("no run is under way: begin one first"));
        }
        if outcome.run.end != End::Complete {
            self.discard_uncovered();
        }
        let failure = self.failed.get().or_else(|| self.commit().err());
        if failure.is_some() {
            self.roll_back();
        }
        let Some(mut run) = self.run.take() else {
            return Err(DestinationError::OutOfOrder("no run is under way: begin one first"));
        };
        let report = run.report(outcome, failure.as_ref());
        let closed = self.start().and_then(|()| {
            run.close(&self.db, &report)?;
            self.finish()
        });
        self.failed.set(None);
        if let Err(trouble) = closed {
            let second = self.give_up("closing the run", trouble);
            return Err(failure.unwrap_or(second));
        }
        Place::tidy(&self.db);
        match failure {
            Some(failure) => Err(failure),
            None => Ok(report.report),
        }
    }

    fn discard_uncovered(&mut self) {
        if self.run.as_ref().is_some_and(|run| run.book.uncovered) {
            self.roll_back();
            if let Some(run) = &mut self.run {
                run.discard();
            }
        }
    }

    /// The last thing: a run that nobody ended keeps what it had.
    fn stop(&mut self) -> Result<(), DestinationError> {
        self.discard_uncovered();
        if self.run.is_some() && self.failed.get().is_none() {
            let committed = self.commit();
            self.run = None;
            return committed;
        }
        self.roll_back();
        Ok(())
    }

    fn start(&mut self) -> Result<(), Trouble> {
        if !self.in_transaction {
            self.db.execute_batch("BEGIN IMMEDIATE")?;
            self.in_transaction = true;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Trouble> {
        self.db.execute_batch("COMMIT")?;
        self.in_transaction = false;
        Ok(())
    }

    fn roll_back(&mut self) {
        // SQLite has already rolled back after some errors; then this says so, and that is all.
        let _ = self.db.execute_batch("ROLLBACK");
        self.in_transaction = false;
    }

    fn judge(&self, doing: &str, trouble: Trouble) -> DestinationError {
        match trouble {
            Trouble::Sql(error) => self.place.judge(doing, &error),
            Trouble::Ours(error) => error,
        }
    }

    fn give_up(&mut self, doing: &str, trouble: Trouble) -> DestinationError {
        self.roll_back();
        self.judge(doing, trouble)
    }

    fn remember_failure(&mut self, result: Result<(), DestinationError>) {
        if let Err(failure) = result {
            self.roll_back();
            if let Some(run) = &mut self.run {
                run.book.waiting_since = None;
            }
            self.failed.set(Some(failure));
        }
    }
}
