//! PostgreSQL, reached: the address, TLS, a connection that notices a dead server, and errors in words for people.
//!
//! Whose tables they are and what is written is for others: `destinations::postgres`, and the daemon's own memory.
//! There is no pool, since each user needs one connection that is its own. This module drives its connections: the one
//! task it spawns for each ends with the connection. Start at [`Database`].

mod address;
mod error;
mod hosts;
mod silence;
mod tls;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use secrecy::SecretString;
use tokio_postgres::{Client, Config, NoTls, Transaction};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::resolver::Resolver;

pub use address::Address;
pub use error::DatabaseError;
pub use silence::{AtLength, LONG, Patience};

/// A server that accepts and then says nothing is given up after this, sign-in included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Unanswered bytes, and silence, end a connection after about this: a server that is gone without a word is noticed.
const DEAD_AFTER: Duration = Duration::from_secs(30);

/// Silence before the first probe.
const PROBE_AFTER: Duration = Duration::from_secs(20);

/// How often it is asked again before it counts as dead.
const PROBES: u32 = 3;

/// What each transaction or session begins with limits a statement to five minutes: the server's own words come first.
const SILENCE: Duration = Duration::from_secs(6 * 60);

/// Waits between attempts of [`Database::connect_patiently`]: a server that restarts is back within that.
const PATIENCE: [Duration; 5] = [
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
    Duration::from_millis(1600),
    Duration::from_millis(3000),
];

/// What each transaction or session begins with. A statement of ours takes seconds; a lock that somebody holds for
/// longer is named; a holder that froze inside a transaction is not waited for longer than its lease. Text of numbers and times must not depend on the server's settings.
const SETTINGS: [(&str, &str); 6] = [
    ("statement_timeout", "5min"),
    ("lock_timeout", "30s"),
    ("idle_in_transaction_session_timeout", "1min"),
    ("timezone", "UTC"),
    ("datestyle", "ISO"),
    ("extra_float_digits", "1"),
];

/// Where PostgreSQL is and how to sign in. Cheap to clone; connects to nobody by itself.
#[derive(Clone)]
pub struct Database(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    address: Address,
    config: Config,
    resolver: Resolver,
    tls: Option<MakeRustlsConnect>,
    silence: Duration,
    /// Shared by all that were made from one.
    pooled: Arc<AtomicBool>,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Database").field(&self.name()).finish()
    }
}

impl PartialEq for Database {
    /// The same server, database and user, signed in to in the same way.
    fn eq(&self, other: &Self) -> bool {
        self.0.config == other.0.config && self.0.address == other.0.address
    }
}

impl Eq for Database {}

impl Database {
    /// Reads `DATABASE_URL`. `password` is used where the URL has none; `extra_ca` is trusted beside the system's roots.
    ///
    /// # Errors
    /// When the URL, the file of authorities or the system's certificate store cannot be used.
    pub fn new(
        url: &SecretString,
        password: Option<&SecretString>,
        extra_ca: Option<&Path>,
    ) -> Result<Database, DatabaseError> {
        let (address, mut config) = address::read(url, password)?;
        config.connect_timeout(config.get_connect_timeout().copied().unwrap_or(CONNECT_TIMEOUT));
        config.tcp_user_timeout(config.get_tcp_user_timeout().copied().unwrap_or(DEAD_AFTER));
        config.keepalives_idle(config.get_keepalives_idle().min(PROBE_AFTER));
        config.keepalives_interval(config.get_keepalives_interval().unwrap_or(DEAD_AFTER / PROBES));
        config.keepalives_retries(config.get_keepalives_retries().unwrap_or(PROBES));
        let tls = if address.encrypted { Some(tls::connector(extra_ca)?) } else { None };
        let pooled = Arc::new(AtomicBool::new(address.pooled));
        let resolver = Resolver::default();
        Ok(Database(Arc::new(Inner { address, config, resolver, tls, silence: SILENCE, pooled })))
    }

    /// The same, whose connections end when nothing has moved on them for so long, instead of six minutes.
    #[must_use]
    pub fn with_silence(&self, silence: Duration) -> Database {
        Database(Arc::new(Inner { silence, ..(*self.0).clone() }))
    }

    /// The server and the database for people: `db.example.com:5432/acme`, without user or password.
    pub fn name(&self) -> &str {
        &self.0.address.name
    }

    /// The password it signs in with, wherever that was given: what the log must leave out.
    pub fn password(&self) -> Option<SecretString> {
        let password = self.0.config.get_password()?;
        Some(String::from_utf8_lossy(password).into_owned().into())
    }

    /// Whether nothing of a session outlives a transaction: `pooler=transaction` stands in the URL, or it was noticed.
    pub fn is_pooled(&self) -> bool {
        self.0.pooled.load(Ordering::Relaxed)
    }

    /// Remembers that two transactions of one connection were served by two sessions.
    pub fn notice_pooler(&self) {
        self.0.pooled.store(true, Ordering::Relaxed);
    }

    /// Connects, and makes sure that the server takes writes.
    ///
    /// # Errors
    /// Why not, and what to do about it.
    pub async fn connect(&self) -> Result<Connected, DatabaseError> {
        let config = &self.0.config;
        let lost = Arc::new(OnceLock::new());
        let patience = Patience::new(self.0.silence);
        let limit = config.get_connect_timeout().copied().unwrap_or(CONNECT_TIMEOUT);
        let work = async {
            let unknown = |e| error::unresolved(&self.0.address, &e);
            let config = hosts::resolve(config, &self.0.resolver).await.map_err(unknown)?;
            let refused = |e| self.judge("connecting", &e);
            match self.0.tls.clone() {
                Some(tls) => {
                    let (client, connection) = config.connect(tls).await.map_err(refused)?;
                    drive(connection, self.clone(), patience.clone(), Arc::clone(&lost));
                    Ok(client)
                }
                None => {
                    let (client, connection) = config.connect(NoTls).await.map_err(refused)?;
                    drive(connection, self.clone(), patience.clone(), Arc::clone(&lost));
                    Ok(client)
                }
            }
        };
        let client = match tokio::time::timeout(limit, work).await {
            Ok(client) => client?,
            Err(_) => {
                let reason = format!("no answer within {} s", limit.as_secs());
                return Err(DatabaseError::Unreachable { place: self.name().to_owned(), reason });
            }
        };
        let connected = Connected { client, database: self.clone(), patience, lost };
        connected.settle().await?;
        Ok(connected)
    }

    /// Connects as [`connect`](Self::connect) does; a server that restarts or has no room for a moment is asked again
    /// for about six seconds.
    ///
    /// # Errors
    /// The last refusal.
    pub async fn connect_patiently(&self) -> Result<Connected, DatabaseError> {
        for wait in PATIENCE {
            match self.connect().await {
                Err(error) if error.is_transient() => tokio::time::sleep(wait).await,
                done => return done,
            }
        }
        self.connect().await
    }

    /// Turns an error of the library into ours, saying what was being done.
    pub fn judge(&self, doing: &str, error: &tokio_postgres::Error) -> DatabaseError {
        error::judge(&self.0.address, doing, error)
    }
}

/// Moves bytes until the connection ends; why it ended is told nowhere else.
fn drive<S, T>(
    connection: tokio_postgres::Connection<S, T>,
    database: Database,
    patience: Patience,
    lost: Arc<OnceLock<DatabaseError>>,
) where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        let why = match silence::until_silent(connection, patience).await {
            Some(Ok(())) => return,
            Some(Err(error)) => database.judge("waiting", &error),
            None => {
                let reason = format!("nothing came for {} s", database.0.silence.as_secs());
                DatabaseError::Lost { place: database.name().to_owned(), reason }
            }
        };
        let _ = lost.set(why);
    });
}

/// A connection. It ends when this is dropped.
pub struct Connected {
    /// The connection itself. With a pooler use only statements without a name (`query_typed`, `execute_typed`).
    pub client: Client,
    database: Database,
    patience: Patience,
    lost: Arc<OnceLock<DatabaseError>>,
}

impl Connected {
    /// Whom it is connected to.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// For whoever asks for something that takes long.
    pub fn patience(&self) -> &Patience {
        &self.patience
    }

    /// Begins a transaction, with limits for statements and locks in force.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn transaction(&mut self) -> Result<Transaction<'_>, DatabaseError> {
        let (pooled, database, lost) = (self.database.is_pooled(), &self.database, &self.lost);
        let judge = |e: tokio_postgres::Error| judge_lost(database, lost, "beginning a transaction", &e);
        let transaction = self.client.transaction().await.map_err(judge)?;
        if pooled {
            transaction.batch_execute(&settings("SET LOCAL")).await.map_err(judge)?;
        }
        Ok(transaction)
    }

    /// As [`Database::judge`], and says why the connection ended where that is known.
    pub fn judge(&self, doing: &str, error: &tokio_postgres::Error) -> DatabaseError {
        judge_lost(&self.database, &self.lost, doing, error)
    }

    /// Puts the session in order and refuses a server that takes no writes.
    async fn settle(&self) -> Result<(), DatabaseError> {
        let judge = |e: tokio_postgres::Error| self.judge("signing in", &e);
        if !self.database.is_pooled() {
            self.client.batch_execute(&settings("SET")).await.map_err(judge)?;
        }
        let question = "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::bool";
        let rows = self.client.query_typed(question, &[]).await.map_err(judge)?;
        if rows.first().is_some_and(|row| row.get(0)) {
            return Err(DatabaseError::ReadOnly { place: self.database.name().to_owned() });
        }
        Ok(())
    }
}

fn judge_lost(
    database: &Database,
    lost: &OnceLock<DatabaseError>,
    doing: &str,
    error: &tokio_postgres::Error,
) -> DatabaseError {
    match lost.get() {
        Some(why) if error.is_closed() => why.clone(),
        _ => database.judge(doing, error),
    }
}

fn settings(set: &str) -> String {
    SETTINGS.iter().map(|(name, value)| format!("{set} {name} = '{value}'; ")).collect()
}
