//! The job table that several daemons share in PostgreSQL: which connector is due, and which daemon runs it.
//!
//! A claim is a lease on one run: the daemon renews it while it runs, and loses it if it stops. All times are the
//! server's, so that daemons with different clocks agree. Each claim of a connector has a greater fencing token than the
//! one before; an update with an older token, or from another holder, has no effect. `runtime::jobs` decides what a
//! connector is and when it runs. Start at [`Jobs::claim`].

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::OpenError;
use super::schema::Schema;
use crate::database::{Connected, Database, DatabaseError};

/// Connectors are the same whether or not the daemon that runs them writes the banner.
const SCHEMA: Schema = Schema::SHARED;

/// Our statements touch few rows. A statement that takes longer is abandoned with its connection, so that the lease does
/// not expire during the wait.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a claim is valid without renewal: long enough for a restart of the server, after which another daemon takes
/// over the run.
pub const LEASE: Duration = Duration::from_secs(20);

/// A connector that no daemon has offered for this long, in seconds, is no longer listed.
const OFFER_EXPIRY_S: f64 = 300.0;

/// SQL: whether a job can be claimed. It is due and not running, or the lease of its holder has expired.
const FREE: &str = "CASE WHEN holder IS NULL THEN next_at <= now() ELSE lease_until <= now() END";

/// The job table. Clones share one connection, which is opened when it is first needed.
#[derive(Clone)]
pub struct Jobs(Arc<JobsState>);

struct JobsState {
    database: Database,
    holder: String,
    lease: Duration,
    connection: Mutex<Option<Arc<Connected>>>,
}

/// A connector that a daemon can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// Interval between the starts of two runs.
    pub every: Duration,
    /// Delay from now until the first run, or until the retry of a failed one.
    pub first_in: Duration,
}

/// A row of the job table.
#[derive(Debug, Clone, PartialEq)]
pub struct SharedJob {
    pub connector: String,
    /// Interval between the starts of two runs.
    pub every: Duration,
    /// The daemon that runs it now.
    pub holder: Option<String>,
    /// Time until it can be claimed.
    pub free_in: Duration,
    /// End of the last run in seconds since 1970.
    pub ended: Option<f64>,
}

/// The right to execute one run of a connector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub connector: String,
    /// Fencing token: greater than that of every earlier claim of the connector.
    pub token: i64,
    /// Number of consecutive failed runs before this one.
    pub failures: u32,
    /// The daemon whose lease expired.
    pub taken_from: Option<String>,
}

impl Jobs {
    /// The job table of a database, for the daemon with the name `holder`. Does not connect yet.
    pub fn new(database: Database, holder: String, lease: Duration) -> Jobs {
        Jobs(Arc::new(JobsState { database, holder, lease, connection: Mutex::new(None) }))
    }

    /// How long a claim is valid without renewal.
    pub fn lease(&self) -> Duration {
        self.0.lease
    }

    /// The name of this daemon.
    pub fn holder(&self) -> &str {
        &self.0.holder
    }

    /// Adds a connector that this daemon can run, or updates it: a new interval counts from the start of the last run, and
    /// a failed connector is retried after `first_in`.
    ///
    /// # Errors
    /// When the database cannot be reached or written.
    pub async fn offer(&self, connector: &str, offer: Offer) -> Result<(), OpenError> {
        let (every, first) = (offer.every.as_secs_f64(), offer.first_in.as_secs_f64());
        let sql = "INSERT INTO @.job AS j (connector, every_s, next_at, offered_at)
            VALUES ($1, $2, now() + make_interval(secs => $3), now())
            ON CONFLICT (connector) DO UPDATE SET offered_at = now(), every_s = $2, next_at = CASE
                WHEN j.failures > 0 THEN least(j.next_at, now() + make_interval(secs => $3))
                WHEN j.every_s = $2 THEN j.next_at
                ELSE greatest(now(), coalesce(j.started_at, now()) + make_interval(secs => $2)) END";
        let params = [text(&connector), float(&every), float(&first)];
        self.query("offering a connector", sql, &params).await.map(drop)
    }

    /// Refreshes the offer of a connector.
    ///
    /// # Errors
    /// When the database cannot be reached or written.
    pub async fn still_offer(&self, connector: &str, offer: Offer) -> Result<(), OpenError> {
        let (every, first) = (offer.every.as_secs_f64(), offer.first_in.as_secs_f64());
        let sql = "INSERT INTO @.job (connector, every_s, next_at, offered_at)
            VALUES ($1, $2, now() + make_interval(secs => $3), now())
            ON CONFLICT (connector) DO UPDATE SET offered_at = now()";
        let params = [text(&connector), float(&every), float(&first)];
        self.query("offering a connector", sql, &params).await.map(drop)
    }

    /// The jobs that at least one daemon offers, ordered by connector.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn look(&self) -> Result<Vec<SharedJob>, OpenError> {
        let sql = "SELECT connector, CASE WHEN lease_until > now() THEN holder END,
                extract(epoch FROM CASE WHEN holder IS NULL THEN next_at ELSE lease_until END - now())::float8,
                extract(epoch FROM ended_at)::float8, every_s
            FROM @.job WHERE offered_at > now() - make_interval(secs => $1) ORDER BY connector";
        let rows = self.query("reading the job table", sql, &[float(&OFFER_EXPIRY_S)]).await?;
        let job = |row: &Row| {
            Ok(SharedJob {
                connector: row.try_get(0)?,
                every: Duration::try_from_secs_f64(row.try_get::<_, f64>(4)?).unwrap_or_default(),
                holder: row.try_get(1)?,
                free_in: Duration::try_from_secs_f64(row.try_get::<_, f64>(2)?).unwrap_or_default(),
                ended: row.try_get(3)?,
            })
        };
        let read: Result<_, tokio_postgres::Error> = rows.iter().map(job).collect();
        Ok(read.map_err(|e| self.0.database.judge("reading the job table", &e))?)
    }

    /// As [`Jobs::look`], but does not create the schema.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn peek(&self) -> Result<Vec<SharedJob>, OpenError> {
        let connected = self.0.database.connect().await?;
        if SCHEMA.exists(&connected).await? { self.look().await } else { Ok(Vec::new()) }
    }

    /// Claims a run of a connector, if it is due and not claimed.
    ///
    /// # Errors
    /// When the database cannot be reached or written.
    pub async fn claim(&self, connector: &str) -> Result<Option<Claim>, OpenError> {
        let sql = format!(
            "UPDATE @.job AS j SET holder = $2, token = j.token + 1, started_at = now(),
                lease_until = now() + make_interval(secs => $3)
            FROM (SELECT connector, holder FROM @.job WHERE connector = $1 AND {FREE}
                FOR UPDATE SKIP LOCKED) AS due
            WHERE j.connector = due.connector RETURNING j.token, j.failures, due.holder"
        );
        let (holder, lease) = (&self.0.holder, self.0.lease.as_secs_f64());
        let params = [text(&connector), text(holder), float(&lease)];
        let rows = self.query("claiming a job", &sql, &params).await?;
        let claim = |row: &Row| {
            Ok(Claim {
                connector: connector.to_owned(),
                token: row.try_get(0)?,
                failures: u32::try_from(row.try_get::<_, i32>(1)?).unwrap_or(0),
                taken_from: row.try_get(2)?,
            })
        };
        let read: Result<_, tokio_postgres::Error> = rows.first().map(claim).transpose();
        Ok(read.map_err(|e| self.0.database.judge("claiming a job", &e))?)
    }

    /// Renews a claim. Returns `false` if it is lost.
    ///
    /// # Errors
    /// When the database cannot be reached or written; the lease then expires.
    pub async fn renew(&self, claim: &Claim) -> Result<bool, OpenError> {
        let sql = "UPDATE @.job SET lease_until = now() + make_interval(secs => $3)
            WHERE connector = $1 AND token = $2 AND holder = $4 RETURNING 1";
        let lease = self.0.lease.as_secs_f64();
        let params =
            [text(&claim.connector), (&claim.token as _, Type::INT8), float(&lease), text(&self.0.holder)];
        Ok(!self.query("renewing a claim", sql, &params).await?.is_empty())
    }

    /// Ends a claim: the next run is due after `next_in`; `failures` is the number of consecutive failed runs. Returns
    /// `false` if the claim was lost.
    ///
    /// # Errors
    /// When the database cannot be reached or written.
    pub async fn release(&self, claim: &Claim, next_in: Duration, failures: u32) -> Result<bool, OpenError> {
        let sql = "UPDATE @.job SET holder = NULL, lease_until = NULL, ended_at = clock_timestamp(),
                next_at = now() + make_interval(secs => $3), failures = $4
            WHERE connector = $1 AND token = $2 AND holder = $5 RETURNING 1";
        let (next_in, failures) = (next_in.as_secs_f64(), i32::try_from(failures).unwrap_or(i32::MAX));
        let params = [
            text(&claim.connector),
            (&claim.token as _, Type::INT8),
            float(&next_in),
            (&failures, Type::INT4),
            text(&self.0.holder),
        ];
        Ok(!self.query("ending a claim", sql, &params).await?.is_empty())
    }

    async fn query(
        &self,
        doing: &str,
        sql: &str,
        params: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Vec<Row>, OpenError> {
        let work = async {
            let connected = self.connected().await?;
            let rows = connected.client.query_typed(&SCHEMA.sql(sql), params).await;
            Ok(rows.map_err(|e| connected.judge(doing, &e))?)
        };
        let result = tokio::time::timeout(STATEMENT_TIMEOUT, work).await.unwrap_or_else(|_| {
            let reason = format!("no answer within {} s", STATEMENT_TIMEOUT.as_secs());
            Err(DatabaseError::timeout(self.0.database.name(), doing, reason).into())
        });
        if result.is_err() {
            // The connection may be unusable, so the next statement opens a new one.
            self.0.connection.lock().await.take();
        }
        result
    }

    async fn connected(&self) -> Result<Arc<Connected>, OpenError> {
        let mut connection = self.0.connection.lock().await;
        if let Some(connected) = connection.as_ref().filter(|connected| !connected.client.is_closed()) {
            return Ok(Arc::clone(connected));
        }
        let mut connected = self.0.database.connect().await?;
        SCHEMA.prepare(&mut connected).await?;
        let connected = Arc::new(connected);
        *connection = Some(Arc::clone(&connected));
        Ok(connected)
    }
}

fn text(value: &(impl ToSql + Sync)) -> (&(dyn ToSql + Sync), Type) {
    (value, Type::TEXT)
}

fn float(value: &f64) -> (&(dyn ToSql + Sync), Type) {
    (value, Type::FLOAT8)
}
