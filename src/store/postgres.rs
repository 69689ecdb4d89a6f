//! The state database in a schema that several daemons share: one task, one connection, reopened when it is lost.
//!
//! Each request gets a reply within a few seconds, whatever the server does. Each write checks the fencing token in its
//! transaction; a former leader may still add history that it recorded as leader. Start at [`start`]; `tables` has the
//! statements.

mod late;
mod responses;
mod tables;
mod totals;

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::lease::Lease;
use super::schema::Schema;
use totals::BatchTotals;

use super::{KeepError, OpenError, StateChange, StoreRequest, WriterRight};
use crate::database::{Connected, Database, DatabaseError};
use crate::domain::monitoring::history;
use crate::domain::monitoring::plan::BannerState;

/// Limit for one request, a new connection included: the publisher waits for the reply before it writes to the tenant.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(4);

/// Wait before the next connection attempt; requests in the meantime fail at once.
const RECONNECT: Duration = Duration::from_secs(1);

/// For deadlocks and serialization failures.
const MAX_ATTEMPTS: usize = 3;

/// Connects, migrates the schema, and starts the worker task.
pub(super) async fn start(
    database: Database,
    lease: Lease,
    inbox: mpsc::Receiver<StoreRequest>,
) -> Result<(), OpenError> {
    let mut connected = database.connect_patiently().await?;
    lease.schema.prepare(&mut connected).await?;
    let connection = Some(connected);
    let worker = Worker { database, lease, connection, down: None, watched: BTreeMap::new() };
    tokio::spawn(worker.run(inbox));
    Ok(())
}

/// Reads the banner record of a tenant. Creates and changes nothing.
pub(super) async fn peek(
    database: &Database,
    schema: Schema,
    tenant: &str,
) -> Result<BannerState, DatabaseError> {
    let connected = database.connect().await?;
    if !schema.exists(&connected).await? {
        return Ok(BannerState::default());
    }
    Ok(tables::recall(&connected, schema).await?.banner_state_of(tenant))
}

/// Why a change was not saved.
enum Trouble {
    Database(DatabaseError),
    /// Another daemon holds the lease.
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
    /// When and why the last connection attempt failed.
    down: Option<(Instant, DatabaseError)>,
    /// What is stored of the last days under each fencing token. Rows hold totals, so that a repeated write adds nothing.
    watched: BTreeMap<i64, BatchTotals>,
}

impl Worker {
    async fn run(mut self, mut inbox: mpsc::Receiver<StoreRequest>) {
        while let Some(request) = inbox.recv().await {
            let deadline = Instant::now() + REQUEST_TIMEOUT;
            let schema = self.lease.schema;
            let db = Box::pin(self.connected(deadline)).await;
            // The receiver may have been dropped.
            match request {
                StoreRequest::Keep(change, writer, reply) => {
                    let done = match db {
                        Ok(mut db) => {
                            let done = self.save(&mut db, &change, writer, deadline).await;
                            self.finish(db, done)
                        }
                        Err(e) => Err(e),
                    };
                    drop(reply.send(done));
                }
                StoreRequest::Recall(reply) => {
                    drop(
                        reply
                            .send(self.read(db, deadline, async |db| tables::recall(db, schema).await).await),
                    );
                }
                StoreRequest::Days(of, since, reply) => {
                    let days = async |db: &Connected| tables::days(db, schema, of.as_deref(), since).await;
                    drop(reply.send(self.read(db, deadline, days).await));
                }
                StoreRequest::Responses(of, since, reply) => {
                    let responses =
                        async |db: &Connected| responses::read(db, schema, of.as_deref(), since).await;
                    drop(reply.send(self.read(db, deadline, responses).await));
                }
                StoreRequest::Transitions(span, reply) => {
                    let transitions = async |db: &Connected| tables::transitions(db, schema, &span).await;
                    drop(reply.send(self.read(db, deadline, transitions).await));
                }
            }
        }
    }

    /// The open connection, or a new one.
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
        self.finish(db, done.map_err(Trouble::Database))
    }

    async fn save(
        &mut self,
        db: &mut Connected,
        change: &StateChange,
        writer: WriterRight,
        deadline: Instant,
    ) -> Result<(), Trouble> {
        let token = match writer {
            WriterRight::Alone => 0,
            WriterRight::Holder(token) | WriterRight::Former(token) => token,
        };
        let mut totals = None;
        if let StateChange::Batch(batch) = change {
            totals = Some(BatchTotals::of(self.watched.get(&token), batch));
        }
        let mut attempt = 0;
        loop {
            attempt += 1;
            let work = tables::save(db, &self.lease, change, writer, totals.as_ref());
            let done = timeout_at(deadline, work).await;
            match done.unwrap_or_else(|_| Err(Trouble::Database(timed_out(&self.database)))) {
                Err(Trouble::Database(e)) if e.is_retriable() && attempt < MAX_ATTEMPTS => {}
                Err(trouble) => return Err(trouble),
                Ok(()) => break,
            }
        }
        if let Some(totals) = totals {
            self.watched.entry(token).or_default().merge(totals);
            // The previous one too, for late writes of a former leader.
            while self.watched.len() > 2 {
                self.watched.pop_first();
            }
        }
        Ok(())
    }

    /// Returns the result, and keeps the connection for the next request unless its state is uncertain.
    fn finish<T>(&mut self, db: Connected, done: Result<T, Trouble>) -> Result<T, KeepError> {
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

/// Runs `work` up to a deadline.
async fn within<T>(
    deadline: Instant,
    database: &Database,
    work: impl Future<Output = Result<T, DatabaseError>>,
) -> Result<T, DatabaseError> {
    timeout_at(deadline, work).await.unwrap_or_else(|_| Err(timed_out(database)))
}

fn timed_out(database: &Database) -> DatabaseError {
    let reason = format!("no answer within {} s", REQUEST_TIMEOUT.as_secs());
    DatabaseError::lost(database.name(), reason)
}

/// PostgreSQL cannot store NUL in text, which a status page may contain.
fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// PostgreSQL cannot store the earliest dates.
fn first_day() -> Date {
    history::date_of(Timestamp::UNIX_EPOCH)
}
