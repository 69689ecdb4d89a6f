//! Connections to PostgreSQL: the address, TLS, detection of dead servers, and error messages.
//!
//! Tables and statements belong to `destinations::postgres` and `store`. There is no pool, since each user needs one
//! connection of its own. This module spawns one task for each connection, which ends with it. Start at [`Database`].

mod address;
mod error;
mod hosts;
mod silence;
pub mod steps;
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
pub use error::{DatabaseError, DatabaseErrorKind};
pub use silence::{IdleTimeout, LONG, LongWork};

/// Limit for connecting, authentication included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection to a server that does not acknowledge data or probes is closed after about this time.
const DEAD_AFTER: Duration = Duration::from_secs(30);

/// Idle time before the first keepalive probe.
const PROBE_AFTER: Duration = Duration::from_secs(20);

/// Unanswered keepalive probes after which the server counts as dead.
const PROBES: u32 = 3;

/// Longer than `statement_timeout` below, so that the server's own error arrives first.
const SILENCE: Duration = Duration::from_secs(6 * 60);

/// Waits between the attempts of [`Database::connect_patiently`]: long enough for a restart of the server.
const CONNECT_BACKOFF: [Duration; 5] = [
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
    Duration::from_millis(1600),
    Duration::from_millis(3000),
];

/// Settings of each transaction or session. Our statements take seconds. A lock that another session holds for longer
/// is an error. A daemon that freezes inside a transaction does not block others for longer than its lease. The text of
/// numbers and times must not depend on the server's settings.
const SETTINGS: [(&str, &str); 6] = [
    ("statement_timeout", "5min"),
    ("lock_timeout", "30s"),
    ("idle_in_transaction_session_timeout", "1min"),
    ("timezone", "UTC"),
    ("datestyle", "ISO"),
    ("extra_float_digits", "1"),
];

/// The address of PostgreSQL and our credentials. Cheap to clone; opens no connection by itself.
#[derive(Clone)]
pub struct Database(Arc<DatabaseState>);

#[derive(Clone)]
struct DatabaseState {
    address: Address,
    config: Config,
    resolver: Resolver,
    tls: Option<MakeRustlsConnect>,
    silence: Duration,
    /// Shared with the databases of [`Database::with_silence`].
    pooled: Arc<AtomicBool>,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Database").field(&self.name()).finish()
    }
}

impl PartialEq for Database {
    /// The same server, database, user and authentication.
    fn eq(&self, other: &Self) -> bool {
        self.0.config == other.0.config && self.0.address == other.0.address
    }
}

impl Eq for Database {}

impl Database {
    /// Reads `DATABASE_URL`. `password` is used where the URL has none; `extra_ca` is trusted beside the system's roots.
    ///
    /// # Errors
    /// When the URL, the file of certificate authorities or the system's certificate store cannot be used.
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
        Ok(Database(Arc::new(DatabaseState { address, config, resolver, tls, silence: SILENCE, pooled })))
    }

    /// The same database, whose connections are closed after this idle time instead of six minutes.
    #[must_use]
    pub fn with_silence(&self, silence: Duration) -> Database {
        Database(Arc::new(DatabaseState { silence, ..(*self.0).clone() }))
    }

    /// The server and the database for messages: `db.example.com:5432/acme`, without user or password.
    pub fn name(&self) -> &str {
        &self.0.address.name
    }

    /// The password from any source, to redact it in logs.
    pub fn password(&self) -> Option<SecretString> {
        let password = self.0.config.get_password()?;
        Some(String::from_utf8_lossy(password).into_owned().into())
    }

    /// Whether a pooler in transaction mode was configured (`pooler=transaction`) or detected, so that no session state
    /// outlives a transaction.
    pub fn is_pooled(&self) -> bool {
        self.0.pooled.load(Ordering::Relaxed)
    }

    /// Records that two transactions of one connection ran in different sessions.
    pub fn notice_pooler(&self) {
        self.0.pooled.store(true, Ordering::Relaxed);
    }

    /// Connects, and checks that the server accepts writes.
    ///
    /// # Errors
    /// When the server cannot be reached, rejects the credentials, or is read-only.
    pub async fn connect(&self) -> Result<Connected, DatabaseError> {
        let config = &self.0.config;
        let lost = Arc::new(OnceLock::new());
        let idle_timeout = IdleTimeout::new(self.0.silence);
        let limit = config.get_connect_timeout().copied().unwrap_or(CONNECT_TIMEOUT);
        let work = async {
            let unknown = |e| error::unresolved(&self.0.address, &e);
            let config = hosts::resolve(config, &self.0.resolver).await.map_err(unknown)?;
            let refused = |e| self.judge("connecting", &e);
            match self.0.tls.clone() {
                Some(tls) => {
                    let (client, connection) = config.connect(tls).await.map_err(refused)?;
                    drive(connection, self.clone(), idle_timeout.clone(), Arc::clone(&lost));
                    Ok(client)
                }
                None => {
                    let (client, connection) = config.connect(NoTls).await.map_err(refused)?;
                    drive(connection, self.clone(), idle_timeout.clone(), Arc::clone(&lost));
                    Ok(client)
                }
            }
        };
        let client = match tokio::time::timeout(limit, work).await {
            Ok(client) => client?,
            Err(_) => {
                let reason = format!("no answer within {} s", limit.as_secs());
                return Err(DatabaseError::unreachable(self.name(), &reason));
            }
        };
        let connected = Connected { client, database: self.clone(), idle_timeout, lost };
        connected.prepare().await?;
        Ok(connected)
    }

    /// As [`connect`](Self::connect), but retries for about six seconds if the server restarts or has no free connection.
    ///
    /// # Errors
    /// The error of the last attempt.
    pub async fn connect_patiently(&self) -> Result<Connected, DatabaseError> {
        for wait in CONNECT_BACKOFF {
            match self.connect().await {
                Err(error) if error.is_transient() => tokio::time::sleep(wait).await,
                done => return done,
            }
        }
        self.connect().await
    }

    /// Converts an error of the library; `doing` describes the operation.
    pub fn judge(&self, doing: &str, error: &tokio_postgres::Error) -> DatabaseError {
        error::judge(&self.0.address, doing, error)
    }
}

/// Drives a connection until it ends, and stores the reason: statements only report that it is closed.
fn drive<S, T>(
    connection: tokio_postgres::Connection<S, T>,
    database: Database,
    idle_timeout: IdleTimeout,
    lost: Arc<OnceLock<DatabaseError>>,
) where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        let why = match silence::until_idle(connection, idle_timeout).await {
            Some(Ok(())) => return,
            Some(Err(error)) => database.judge("waiting", &error),
            None => {
                let reason = format!("no data for {} s", database.0.silence.as_secs());
                DatabaseError::lost(database.name(), reason)
            }
        };
        let _ = lost.set(why);
    });
}

/// A connection. Dropping it closes it.
pub struct Connected {
    /// With a pooler, use only unnamed statements (`query_typed`, `execute_typed`).
    pub client: Client,
    database: Database,
    idle_timeout: IdleTimeout,
    lost: Arc<OnceLock<DatabaseError>>,
}

impl Connected {
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// The idle limit, which long statements lift.
    pub fn idle_timeout(&self) -> &IdleTimeout {
        &self.idle_timeout
    }

    /// Starts a transaction with timeouts for statements and locks.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn transaction(&mut self) -> Result<Transaction<'_>, DatabaseError> {
        let (pooled, database, lost) = (self.database.is_pooled(), &self.database, &self.lost);
        let judge = |e: tokio_postgres::Error| judge_lost(database, lost, "starting a transaction", &e);
        let transaction = self.client.transaction().await.map_err(judge)?;
        if pooled {
            transaction.batch_execute(&settings("SET LOCAL")).await.map_err(judge)?;
        }
        Ok(transaction)
    }

    /// As [`Database::judge`], with the reason why the connection ended if it is known.
    pub fn judge(&self, doing: &str, error: &tokio_postgres::Error) -> DatabaseError {
        judge_lost(&self.database, &self.lost, doing, error)
    }

    /// Configures the session, and refuses a read-only server.
    async fn prepare(&self) -> Result<(), DatabaseError> {
        let judge = |e: tokio_postgres::Error| self.judge("preparing the session", &e);
        if !self.database.is_pooled() {
            self.client.batch_execute(&settings("SET")).await.map_err(judge)?;
        }
        let read_only = "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::bool";
        let rows = self.client.query_typed(read_only, &[]).await.map_err(judge)?;
        if rows.first().is_some_and(|row| row.get(0)) {
            return Err(DatabaseError::read_only(self.database.name()));
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
