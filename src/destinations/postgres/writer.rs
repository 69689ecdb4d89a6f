//! The thread that owns the connection: it gathers ops and commits them.
//!
//! Rows are sent ahead as they gather; about 50,000, or those of two seconds, are merged and committed together with the
//! checkpoint that covers them. A transaction that collided with somebody else's is tried again; a connection that is
//! lost ends the run, since what it had sent is gone. Start at [`Writer::run`], then [`Writer::take`] and
//! [`Writer::commit`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::names::Names;
use super::run::{AT_SERVER, Bounds, COMMIT_AFTER, Finish, HERE, Running, Taken};
use super::session::Session;
use super::trouble::Trouble;
use super::{ledger, schema, table};
use crate::database::Database;
use crate::destinations::threaded::{Ask, Failure};
use crate::destinations::{Begin, DestinationError, Outcome, Report};
use crate::domain::op::{End, Op, Rows, State, TableShape};

/// How often a lease is renewed: often enough that three renewals may fail.
const RENEW_AFTER: Duration = Duration::from_secs(schema::LEASE_SECONDS / 4);

/// How often a transaction that collided is tried.
const ATTEMPTS: u32 = 6;

/// The wait before the second attempt; it doubles.
const COLLIDED: Duration = Duration::from_millis(20);

pub(super) struct Writer {
    pub(super) database: Database,
    pub(super) names: Names,
    /// Server, database and schema, for people.
    pub(super) place: String,
    pub(super) connector: String,
    pub(super) failed: Arc<Failure>,
    pub(super) session: Session,
    pub(super) run: Option<Running>,
}

impl Writer {
    /// Answers until nobody asks any more.
    pub(super) async fn run(&mut self, mut inbox: mpsc::Receiver<Ask>) {
        loop {
            let ask = match self.until_something_is_due() {
                None => inbox.recv().await,
                Some(left) => match tokio::time::timeout(left, inbox.recv()).await {
                    Ok(ask) => ask,
                    Err(_) => {
                        let kept = self.keep_up().await;
                        self.remember_failure(kept);
                        continue;
                    }
                },
            };
            // Nobody hears an answer whose asker has gone.
            match ask {
                Some(Ask::Write(op)) => self.write(op).await,
                Some(Ask::State(reply)) => drop(reply.send(self.state().await)),
                Some(Ask::Shapes(reply)) => {
                    let shapes = table::all(self.session.client(), &self.names).await;
                    drop(reply.send(self.judged("reading the tables", shapes)));
                }
                Some(Ask::Begin(begin, reply)) => drop(reply.send(self.begin(*begin).await)),
                Some(Ask::End(outcome, reply)) => drop(reply.send(self.end(*outcome).await)),
                Some(Ask::Runs(limit, reply)) => {
                    let runs = ledger::runs(self.session.client(), &self.names, limit).await;
                    drop(reply.send(self.judged("reading the ledger", runs)));
                }
                Some(Ask::Tables(reply)) => {
                    let facts = table::facts(self.session.client(), &self.names).await;
                    drop(reply.send(self.judged("counting rows", facts)));
                }
                Some(Ask::Rejected(limit, reply)) => {
                    let rows = ledger::rejected(self.session.client(), &self.names, limit).await;
                    drop(reply.send(self.judged("reading rejected rows", rows)));
                }
                Some(Ask::Close(reply)) => {
                    drop(reply.send(self.stop().await));
                    return;
                }
                None => {
                    let _ = self.stop().await;
                    return;
                }
            }
        }
    }

    fn until_something_is_due(&self) -> Option<Duration> {
        let run = self.run.as_ref().filter(|_| self.failed.get().is_none())?;
        let commit = run.book.waiting_since.map(|since| COMMIT_AFTER.saturating_sub(since.elapsed()));
        let renewal = RENEW_AFTER.saturating_sub(run.renewed.elapsed());
        Some(commit.map_or(renewal, |commit| commit.min(renewal)))
    }

    /// Commits what has waited long enough, and renews the lease of a run that has nothing to commit.
    async fn keep_up(&mut self) -> Result<(), DestinationError> {
        let waited = self.run.as_ref().and_then(|run| run.book.waiting_since);
        if waited.is_some_and(|since| since.elapsed() >= COMMIT_AFTER) {
            self.commit_early().await?;
        }
        let Some(run) = &mut self.run else { return Ok(()) };
        if run.renewed.elapsed() >= RENEW_AFTER {
            let held = schema::hold(self.session.client(), &self.names, run.token, &self.place).await;
            run.renewed = Instant::now();
            return self.judged("renewing the lease of the run", held).map(drop);
        }
        Ok(())
    }

    async fn state(&self) -> Result<State, DestinationError> {
        let client = self.session.client();
        let state = ledger::state(client, &self.names, &self.connector, &self.place).await;
        let mut state = self.judged("reading the state", state)?;
        let dropped = table::dropped(client, &self.names).await;
        for table in self.judged("reading the tables", dropped)? {
            state.tables.remove(&table);
        }
        Ok(state)
    }

    async fn begin(&mut self, begin: Begin) -> Result<i64, DestinationError> {
        if self.run.is_some() {
            return Err(DestinationError::OutOfOrder("a run is under way: end it first"));
        }
        if self.session.is_lost() {
            self.session = Session::open(&self.database).await.map_err(DestinationError::Database)?;
        }
        self.failed.set(None);
        let mut attempt = 1;
        let opened = loop {
            let opened = self.try_to_begin(&begin).await;
            match opened.map_err(|trouble| trouble.told(&self.database, "opening the run")) {
                Err(trouble) if trouble.is_retriable() && attempt < ATTEMPTS => {
                    tokio::time::sleep(COLLIDED * 2_u32.pow(attempt)).await;
                    attempt += 1;
                }
                opened => break opened,
            }
        };
        let Some((number, token, stored)) = self.judged("opening the run", opened)? else {
            return Err(DestinationError::Busy { place: self.place.clone() });
        };
        self.run = Some(Running::new(number, token, begin, stored));
        Ok(number)
    }

    async fn try_to_begin(
        &mut self,
        begin: &Begin,
    ) -> Result<Option<(i64, i64, BTreeMap<String, TableShape>)>, Trouble> {
        let (names, in_session) = (&self.names, self.session.lasts());
        let db = self.session.transaction().await?;
        let Some(token) = schema::take(&db, names, in_session).await? else { return Ok(None) };
        let number = ledger::open_run(&db, names, begin.started).await?;
        table::sweep_out(&db, names).await?;
        let dropped = table::dropped(&db, names).await?;
        ledger::forget(&db, names, &dropped).await?;
        table::forget(&db, names, &dropped).await?;
        ledger::forget(&db, names, &begin.full_refresh).await?;
        let stored = table::all(&db, names).await?;
        db.commit().await?;
        Ok(Some((number, token, stored)))
    }

    async fn write(&mut self, op: Op) {
        // What follows a failure must not be stored without what came before it.
        if self.failed.get().is_none() {
            let taken = self.take(op).await;
            self.remember_failure(taken);
        }
    }

    async fn take(&mut self, op: Op) -> Result<(), DestinationError> {
        let bounds = self.bounds();
        let Some(run) = &mut self.run else {
            return Err(DestinationError::OutOfOrder("no run is under way: begin one first"));
        };
        run.book.waiting_since.get_or_insert_with(Instant::now);
        match op {
            Op::Rows(rows) => self.gather(rows).await,
            Op::Rejected(rows) => {
                run.book.reject(rows);
                self.make_room().await
            }
            Op::Checkpoint(checkpoint) => {
                run.book.checkpoint(checkpoint);
                if run.is_due(bounds) { self.commit(None).await } else { Ok(()) }
            }
            Op::Shape(shape) if run.fits(&shape) => Ok(()),
            Op::Shape(shape) => self.adopt(&shape).await,
            Op::Finish { table, sweep } => self.commit(Some(Finish { table, sweep })).await,
        }
    }

    fn bounds(&self) -> Bounds {
        if self.session.lasts() { AT_SERVER } else { HERE }
    }

    async fn gather(&mut self, mut rows: Rows) -> Result<(), DestinationError> {
        loop {
            if !self.run.as_ref().is_some_and(|run| run.knows(&rows.shape.table)) {
                self.adopt(&rows.shape).await?;
            }
            let Some(run) = &mut self.run else { return Ok(()) };
            let taken = run.gather(rows);
            match self.judged("taking rows", taken)? {
                Taken::All => return self.make_room().await,
                Taken::Widen { shape, rest } => {
                    self.adopt(&shape).await?;
                    rows = rest;
                }
            }
        }
    }

    /// Sends what has gathered ahead, and leaves the commit to the checkpoint behind it, if that comes soon.
    async fn make_room(&mut self) -> Result<(), DestinationError> {
        let Some(run) = &mut self.run else { return Ok(()) };
        let heavy = run.is_heavy();
        let sent = self.session.send(&mut run.segments, heavy, false).await;
        let overdue = run.is_overdue(if self.session.lasts() { AT_SERVER } else { HERE }) || run.is_heavy();
        self.judged("sending rows", sent)?;
        if overdue { self.commit_early().await } else { Ok(()) }
    }

    /// Makes a table fit for a shape. What waits was told in the shape before it, and is converted when it is merged.
    async fn adopt(&mut self, shape: &TableShape) -> Result<(), DestinationError> {
        let mut attempt = 1;
        loop {
            let adopted = self.try_to_adopt(shape).await;
            match adopted
                .map_err(|trouble| trouble.told(&self.database, &format!("changing table {}", shape.table)))
            {
                Err(trouble) if trouble.is_retriable() && attempt < ATTEMPTS => {
                    tokio::time::sleep(COLLIDED * 2_u32.pow(attempt)).await;
                    attempt += 1;
                }
                done => return self.judged("changing a table", done),
            }
        }
    }

    async fn try_to_adopt(&mut self, shape: &TableShape) -> Result<(), Trouble> {
        let Some(run) = &mut self.run else { return Ok(()) };
        let db = self.session.transaction().await?;
        schema::hold(&db, &self.names, run.token, &self.place).await?;
        let adopted = run.adopt(&db, &self.names, shape).await?;
        db.commit().await?;
        run.renewed = Instant::now();
        if let Some(adopted) = adopted {
            run.adopted(shape, adopted);
        }
        Ok(())
    }

    /// Stores everything taken so far, rows and checkpoints, or nothing of it.
    async fn commit(&mut self, finish: Option<Finish>) -> Result<(), DestinationError> {
        // A replaced table that sent nothing is empty now, and its stored shape says so.
        let mut attempt = 1;
        loop {
            let stored = self.try_to_commit(finish.as_ref()).await;
            match stored.map_err(|trouble| trouble.told(&self.database, "storing rows")) {
                Err(trouble) if trouble.is_retriable() && attempt < ATTEMPTS => {
                    tokio::time::sleep(COLLIDED * 2_u32.pow(attempt)).await;
                    attempt += 1;
                }
                done => return self.judged("storing rows", done),
            }
        }
    }

    async fn try_to_commit(&mut self, finish: Option<&Finish>) -> Result<(), Trouble> {
        let Some(run) = &mut self.run else { return Ok(()) };
        self.session.send(&mut run.segments, true, true).await?;
        let sent = run.segments.iter().any(super::rows::Segment::is_sent);
        let expected = self.session.backend();
        let db = self.session.transaction().await?;
        let backend = schema::hold(&db, &self.names, run.token, &self.place).await?;
        if expected.is_some_and(|expected| expected != backend) {
            drop(db);
            self.session.notice_pooler();
            if sent {
                return Err(DestinationError::Pooled { place: self.place.clone() }.into());
            }
            run.book.note("a pooler in transaction mode was noticed: rows go without COPY; add pooler=transaction to DATABASE_URL");
            return Box::pin(self.try_to_commit(finish)).await;
        }
        let stored = run.store(&db, &self.names, finish).await?;
        db.commit().await?;
        let gone = run.committed(stored, finish);
        self.session.forget(gone).await;
        Ok(())
    }

    /// Commits without waiting for a checkpoint: the same rows may come once more, which only appended ones mind.
    async fn commit_early(&mut self) -> Result<(), DestinationError> {
        match &mut self.run {
            Some(run) if run.book.uncovered => {
                run.book.waiting_since = None;
                Ok(())
            }
            _ => self.commit(None).await,
        }
    }

    async fn end(&mut self, outcome: Outcome) -> Result<Report, DestinationError> {
        if self.run.is_none() {
            return Err(DestinationError::OutOfOrder("no run is under way: begin one first"));
        }
        if outcome.run.end != End::Complete {
            self.discard_uncovered().await;
        }
        let failure = match self.failed.get() {
            Some(failure) => Some(failure),
            None => self.commit(None).await.err(),
        };
        let Some(mut run) = self.run.take() else {
            return Err(DestinationError::OutOfOrder("no run is under way: begin one first"));
        };
        let closing = run.report(outcome, failure.as_ref());
        let closed = self.close_run(&run, &closing).await;
        self.session.forget(std::mem::take(&mut run.segments)).await;
        self.failed.set(None);
        match (failure, closed) {
            (Some(failure), _) => Err(failure),
            (None, Err(trouble)) => Err(trouble.judged(&self.database, "closing the run")),
            (None, Ok(())) => Ok(closing.report),
        }
    }

    /// Enters the end of a run; over a new connection, if the old one is lost.
    async fn close_run(
        &mut self,
        run: &Running,
        closing: &crate::destinations::account::Closing,
    ) -> Result<(), Trouble> {
        if self.session.is_lost() {
            self.session = Session::open(&self.database).await?;
        }
        let names = &self.names;
        let db = self.session.transaction().await?;
        schema::hold(&db, names, run.token, &self.place).await?;
        ledger::close(&db, names, run.number, run.begin.started, closing).await?;
        table::sweep_out(&db, names).await?;
        schema::release(&db, names, run.token).await?;
        db.commit().await?;
        if self.session.lasts() {
            schema::release_session(self.session.client(), names).await?;
        }
        Ok(())
    }

    async fn discard_uncovered(&mut self) {
        if let Some(run) = self.run.as_mut().filter(|run| run.book.uncovered) {
            let gone = run.discard();
            self.session.forget(gone).await;
        }
    }

    /// The last thing: a run that nobody ended keeps what it had.
    async fn stop(&mut self) -> Result<(), DestinationError> {
        self.discard_uncovered().await;
        let committed = match (&self.run, self.failed.get()) {
            (Some(_), None) => self.commit(None).await,
            _ => Ok(()),
        };
        if let Some(run) = self.run.take().filter(|_| !self.session.is_lost()) {
            // The next run needs not wait for the lease to end.
            let names = &self.names;
            if let Ok(db) = self.session.transaction().await
                && schema::release(&db, names, run.token).await.is_ok()
            {
                let _ = db.commit().await;
            }
        }
        committed
    }

    fn judged<T>(&self, doing: &str, result: Result<T, Trouble>) -> Result<T, DestinationError> {
        result.map_err(|trouble| trouble.judged(&self.database, doing))
    }

    fn remember_failure(&mut self, result: Result<(), DestinationError>) {
        if let Err(failure) = result {
            self.failed.set(Some(failure));
        }
    }
}
