//! The memory in a schema that several daemons share: one task, one connection, made again when it is lost.
//!
//! Whoever asks gets an answer within some seconds, whatever the server does. What is kept is kept under the lease's
//! token, checked in the same transaction; what a former holder saw in its time may still be added. Start at [`start`];
//! what is written and read is in `tables`.

mod late;
mod tables;

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::lease::Lease;
use super::schema::Schema;
use super::{Ask, KeepError, OpenError, Order, Writer};
use crate::database::{Connected, Database, DatabaseError};
use crate::domain::history::Days;
use crate::domain::plan::Memory;

/// Each answer comes within this, a new connection included: the publisher waits for it before it writes.
const PATIENCE: Duration = Duration::from_secs(4);

/// A server that cannot be reached is not asked again before this; whoever asks meanwhile hears so at once.
const RECONNECT: Duration = Duration::from_secs(1);

/// Deadlocks and serialization failures are tried again this often.
const TRIES: usize = 3;

/// Connects, brings the schema up to date, and starts the task that answers.
pub(super) async fn start(
    database: Database,
    lease: Lease,
    inbox: mpsc::Receiver<Ask>,
) -> Result<(), OpenError> {
    let mut connected = database.connect_patiently().await?;
    lease.schema.prepare(&mut connected).await?;
    let connection = Some(connected);
    let worker = Worker { database, lease, connection, down: None, watched: BTreeMap::new() };
    tokio::spawn(worker.run(inbox));
    Ok(())
}

/// What is remembered of a tenant's banner. Nothing is made or changed.
pub(super) async fn peek(database: &Database, schema: Schema, tenant: &str) -> Result<Memory, DatabaseError> {
    let connected = database.connect().await?;
    if !schema.exists(&connected).await? {
        return Ok(Memory::default());
    }
    Ok(tables::recall(&connected, schema).await?.memory_of(tenant))
}

/// Why something was not kept.
enum Trouble {
    Database(DatabaseError),
    /// Somebody else holds the lease.
    Fenced,
}

impl From<DatabaseError> for Trouble {
    fn from(error: DatabaseError) -> Trouble {
        Trouble::Database(error)
    }
}

struct Worker {
    database: Database,
    lease: Lease,
    connection: Option<Connected>,
    /// Why there is none, and since when.
    down: Option<(Instant, DatabaseError)>,
    /// All that was kept of days under each token: rows hold totals, so that one kept twice adds nothing.
    watched: BTreeMap<i64, Days>,
}

impl Worker {
    async fn run(mut self, mut inbox: mpsc::Receiver<Ask>) {
        while let Some(ask) = inbox.recv().await {
            let deadline = Instant::now() + PATIENCE;
            let schema = self.lease.schema;
            let db = Box::pin(self.connected(deadline)).await;
            // Whoever asked may have given up waiting.
            match ask {
                Ask::Keep(order, writer, reply) => {
                    let done = match db {
                        Ok(mut db) => {
                            let done = self.keep(&mut db, &order, writer, deadline).await;
                            self.settle(db, done)
                        }
                        Err(e) => Err(e),
                    };
                    drop(reply.send(done));
                }
                Ask::Recall(reply) => {
                    drop(
                        reply
                            .send(self.read(db, deadline, async |db| tables::recall(db, schema).await).await),
                    );
                }
                Ask::Days(of, since, reply) => {
                    let days = async |db: &Connected| tables::days(db, schema, of.as_deref(), since).await;
                    drop(reply.send(self.read(db, deadline, days).await));
                }
                Ask::Transitions(span, reply) => {
                    let transitions = async |db: &Connected| tables::transitions(db, schema, &span).await;
                    drop(reply.send(self.read(db, deadline, transitions).await));
                }
            }
        }
    }

    /// The connection, made again if it is gone.
    async fn connected(&mut self, deadline: Instant) -> Result<Connected, KeepError> {
        if let Some(db) = self.connection.take().filter(|db| !db.client.is_closed()) {
            return Ok(db);
        }
        if let Some((at, why)) = self.down.take_if(|(at, _)| at.elapsed() < RECONNECT) {
            let failed = self.failed(&why.to_string());
            self.down = Some((at, why));
            return Err(failed);
        }
        let connecting = within(deadline, &self.database, Box::pin(self.database.connect())).await;
        connecting.map_err(|why| {
            let failed = self.failed(&why.to_string());
            self.down = Some((Instant::now(), why));
            failed
        })
    }

    async fn read<T>(
        &mut self,
        db: Result<Connected, KeepError>,
        deadline: Instant,
        work: impl AsyncFnOnce(&Connected) -> Result<T, DatabaseError>,
    ) -> Result<T, KeepError> {
        let db = db?;
        let done = within(deadline, &self.database, work(&db)).await;
        self.settle(db, done.map_err(Trouble::Database))
    }

    async fn keep(
        &mut self,
        db: &mut Connected,
        order: &Order,
        writer: Writer,
        deadline: Instant,
    ) -> Result<(), Trouble> {
        let token = match writer {
            Writer::Alone => 0,
            Writer::Holder(token) | Writer::Former(token) => token,
        };
        let mut totals = None;
        if let Order::Batch(batch) = order {
            totals = Some(tables::totals(self.watched.get(&token), &batch.days));
        }
        let mut tried = 0;
        loop {
            tried += 1;
            let work = tables::keep(db, &self.lease, order, writer, totals.as_ref());
            let done = timeout_at(deadline, work).await;
            match done.unwrap_or_else(|_| Err(Trouble::Database(silent(&self.database)))) {
                Err(Trouble::Database(e)) if e.is_retriable() && tried < TRIES => {}
                Err(trouble) => return Err(trouble),
                Ok(()) => break,
            }
        }
        if let Some(totals) = totals {
            tables::note(self.watched.entry(token).or_default(), totals);
            // One more than the present: what is late is of the last.
            while self.watched.len() > 2 {
                self.watched.pop_first();
            }
        }
        Ok(())
    }

    /// Keeps the connection for the next, unless it may be in the middle of something.
    fn settle<T>(&mut self, db: Connected, done: Result<T, Trouble>) -> Result<T, KeepError> {
        match done {
            Ok(value) => {
                self.connection = Some(db);
                Ok(value)
            }
            Err(Trouble::Fenced) => {
                self.connection = Some(db);
                Err(KeepError { fenced: true, ..self.failed("another daemon holds the lease now") })
            }
            Err(Trouble::Database(error)) => Err(self.failed(&error.to_string())),
        }
    }

    fn failed(&self, reason: &str) -> KeepError {
        let place = format!("schema {}", self.lease.schema.name());
        KeepError { place, reason: reason.to_owned(), fenced: false }
    }
}

/// The work's end, or that the server does not answer.
async fn within<T>(
    deadline: Instant,
    database: &Database,
    work: impl Future<Output = Result<T, DatabaseError>>,
) -> Result<T, DatabaseError> {
    timeout_at(deadline, work).await.unwrap_or_else(|_| Err(silent(database)))
}

fn silent(database: &Database) -> DatabaseError {
    let reason = format!("no answer within {} s", PATIENCE.as_secs());
    DatabaseError::lost(database.name(), reason)
}
