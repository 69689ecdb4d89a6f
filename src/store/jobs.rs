//! The jobs that several daemons share, in PostgreSQL: which connector is due, and who runs it.
//!
//! A claim is a lease on one run: whoever holds it renews it, and whoever does not loses it. All moments are the
//! server's, so that daemons whose clocks differ agree. Each claim has a token that only ever grows; what comes with an
//! older one, or from another holder, changes nothing. What a connector is and when it should run is
//! for `runtime::jobs`. Start at [`Jobs::claim`].

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::OpenError;
use super::schema::Schema;
use crate::database::{Connected, Database, DatabaseError};

/// Connectors are the same ones whether or not the daemon that runs them writes the banner.
const SCHEMA: Schema = Schema::SHARED;

/// A statement of ours touches a few rows. One that takes longer than this is given up, with its connection, so that
/// a lease is not waited away.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a claim holds without being renewed: a run whose daemon died goes on elsewhere after this, and a server
/// that restarts is back before.
pub const LEASE: Duration = Duration::from_secs(20);

/// A connector that no daemon has offered for this long is none of anybody's any more, in seconds.
const OFFERED_WITHIN: f64 = 300.0;

/// Whether a job may be claimed: nobody holds it and it is due, or its holder let the lease end.
const FREE: &str = "CASE WHEN holder IS NULL THEN next_at <= now() ELSE lease_until <= now() END";

/// The table of jobs. Clones share one connection, which is made when it is needed.
#[derive(Clone)]
pub struct Jobs(Arc<Inner>);

struct Inner {
    database: Database,
    holder: String,
    lease: Duration,
    connection: Mutex<Option<Arc<Connected>>>,
}

/// A connector that a daemon can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// How often it should run.
    pub every: Duration,
    /// When it first runs, from now, if it never did or failed last.
    pub first_in: Duration,
}

/// A job as all daemons see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Shared {
    /// The connector.
    pub connector: String,
    /// Who runs it now.
    pub holder: Option<String>,
    /// Time until it may be claimed.
    pub free_in: Duration,
    /// Changes whenever a run of it ends.
    pub ended: Option<f64>,
}

/// The right to run a connector once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The connector.
    pub connector: String,
    /// Greater than that of every earlier claim of the connector.
    pub token: i64,
    /// Runs that failed in a row before this one.
    pub failures: u32,
    /// Who held it before and let the lease end.
    pub taken_from: Option<String>,
}

impl Jobs {
    /// The jobs in a database, for the daemon that calls itself `holder`. Nobody is connected to yet.
    pub fn new(database: Database, holder: String, lease: Duration) -> Jobs {
        Jobs(Arc::new(Inner { database, holder, lease, connection: Mutex::new(None) }))
    }

    /// How long a claim holds without being renewed.
    pub fn lease(&self) -> Duration {
        self.0.lease
    }

    /// Who we are to the others.
    pub fn holder(&self) -> &str {
        &self.0.holder
    }

    /// Enters a connector that this daemon can run, or what is new about it: another `every` counts from its last run
    /// on, and one that failed is tried again soon.
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
        let with = [text(&connector), float(&every), float(&first)];
        self.ask("offering a connector", sql, &with).await.map(drop)
    }

    /// Says again that this daemon can run a connector.
    ///
    /// # Errors
    /// When the database cannot be reached or written.
    pub async fn still_offer(&self, connector: &str, offer: Offer) -> Result<(), OpenError> {
        let (every, first) = (offer.every.as_secs_f64(), offer.first_in.as_secs_f64());
        let sql = "INSERT INTO @.job (connector, every_s, next_at, offered_at)
            VALUES ($1, $2, now() + make_interval(secs => $3), now())
            ON CONFLICT (connector) DO UPDATE SET offered_at = now()";
        let with = [text(&connector), float(&every), float(&first)];
        self.ask("offering a connector", sql, &with).await.map(drop)
    }

    /// The jobs that anybody offers, by connector.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn look(&self) -> Result<Vec<Shared>, OpenError> {
        let sql = "SELECT connector, CASE WHEN lease_until > now() THEN holder END,
                extract(epoch FROM CASE WHEN holder IS NULL THEN next_at ELSE lease_until END - now())::float8,
                extract(epoch FROM ended_at)::float8
            FROM @.job WHERE offered_at > now() - make_interval(secs => $1) ORDER BY connector";
        let rows = self.ask("looking for jobs", sql, &[float(&OFFERED_WITHIN)]).await?;
        let shared = |row: &Row| {
            Ok(Shared {
                connector: row.try_get(0)?,
                holder: row.try_get(1)?,
                free_in: Duration::try_from_secs_f64(row.try_get::<_, f64>(2)?).unwrap_or_default(),
                ended: row.try_get(3)?,
            })
        };
        let read: Result<_, tokio_postgres::Error> = rows.iter().map(shared).collect();
        Ok(read.map_err(|e| self.0.database.judge("looking for jobs", &e))?)
    }

    /// The same for one who only wants to know: nothing is made where there is nothing.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn peek(&self) -> Result<Vec<Shared>, OpenError> {
        let connected = self.0.database.connect().await?;
        if SCHEMA.exists(&connected).await? { self.look().await } else { Ok(Vec::new()) }
    }

    /// Claims a run of a connector, if it is due and nobody else has it.
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
        let with = [text(&connector), text(holder), float(&lease)];
        let rows = self.ask("claiming a job", &sql, &with).await?;
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

    /// Renews a claim. `false`: it is lost.
    ///
    /// # Errors
    /// When the database cannot be reached or written; the lease then ends by itself.
    pub async fn renew(&self, claim: &Claim) -> Result<bool, OpenError> {
        let sql = "UPDATE @.job SET lease_until = now() + make_interval(secs => $3)
            WHERE connector = $1 AND token = $2 AND holder = $4 RETURNING 1";
        let lease = self.0.lease.as_secs_f64();
        let with =
            [text(&claim.connector), (&claim.token as _, Type::INT8), float(&lease), text(&self.0.holder)];
        Ok(!self.ask("renewing a claim", sql, &with).await?.is_empty())
    }

    /// Ends a claim: the next run is due after `next_in`, and so many have failed in a row. `false`: it was lost.
    ///
    /// # Errors
    /// When the database cannot be reached or written.
    pub async fn release(&self, claim: &Claim, next_in: Duration, failures: u32) -> Result<bool, OpenError> {
        let sql = "UPDATE @.job SET holder = NULL, lease_until = NULL, ended_at = clock_timestamp(),
                next_at = now() + make_interval(secs => $3), failures = $4
            WHERE connector = $1 AND token = $2 AND holder = $5 RETURNING 1";
        let (next_in, failures) = (next_in.as_secs_f64(), i32::try_from(failures).unwrap_or(i32::MAX));
        let with = [
            text(&claim.connector),
            (&claim.token as _, Type::INT8),
            float(&next_in),
            (&failures, Type::INT4),
            text(&self.0.holder),
        ];
        Ok(!self.ask("ending a claim", sql, &with).await?.is_empty())
    }

    async fn ask(
        &self,
        doing: &str,
        sql: &str,
        with: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Vec<Row>, OpenError> {
        let work = async {
            let connected = self.connected().await?;
            let rows = connected.client.query_typed(&SCHEMA.sql(sql), with).await;
            Ok(rows.map_err(|e| connected.judge(doing, &e))?)
        };
        let answer = tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| {
            let reason = format!("no answer within {} s", PATIENCE.as_secs());
            Err(DatabaseError::timeout(self.0.database.name(), doing, reason).into())
        });
        if answer.is_err() {
            // Whatever it was, the next question has a connection of its own.
            self.0.connection.lock().await.take();
        }
        answer
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
