//! Leases in PostgreSQL: an exclusive right for a limited time, with a fencing token that outdates former leaders.
//!
//! A lease is a row. It is free when it was released, or when it has expired by the server's clock; the daemon that
//! takes it gets the next token. Each write under a lease checks the token in the same transaction
//! ([`Lease::confirm`]), so that a late write of a former leader is refused. The holder is checked too, because a
//! replica that is promoted without the last commits issues the same token again. This module has single statements
//! only: [`domain::tenure`](crate::domain::tenure) decides when to renew and what a daemon may assume in between. Start
//! at [`Lease::take`].

use std::time::Duration;

use jiff::Timestamp;
use tokio_postgres::types::Type;
use tokio_postgres::{Error, GenericClient, Row};

use super::schema::Schema;

/// A named lease, and the daemon that takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub schema: Schema,
    pub name: String,
    /// Readable name of this daemon, different for each start.
    pub holder: String,
    /// How long it is valid after each renewal.
    pub ttl: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Readable name of the daemon.
    pub name: String,
    /// By the server's clock.
    pub since: Timestamp,
    /// Its fencing token.
    pub token: i64,
    /// Whether the lease was released or has expired.
    pub over: bool,
}

/// Result of [`Lease::take`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// We hold it, with this fencing token, which is greater than all earlier ones.
    Ours(i64),
    /// Another daemon holds it, or held it last; `None` if it was taken at the same moment.
    Theirs(Option<Holder>),
}

impl Lease {
    /// Takes the lease if it is free. An expired lease counts as free only with `expired_too`: after an outage of the
    /// database its holder may renew it first.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn take(&self, db: &impl GenericClient, expired_too: bool) -> Result<Taken, Error> {
        // Read first: the statement below locks the row even when it changes nothing.
        if let Some(LeaseRow { holder, released }) = self.read(db).await?
            && !(holder.over && (expired_too || released))
        {
            return Ok(Taken::Theirs(Some(holder)));
        }
        let rows = db
            .query_typed(
                &self.schema.sql(TAKE),
                &[
                    (&self.name, Type::TEXT),
                    (&self.holder, Type::TEXT),
                    (&self.ttl.as_secs_f64(), Type::FLOAT8),
                    (&expired_too, Type::BOOL),
                ],
            )
            .await?;
        match rows.first() {
            Some(row) => Ok(Taken::Ours(row.try_get(0)?)),
            None => Ok(Taken::Theirs(None)),
        }
    }

    /// Renews the lease. Returns `false` if it is lost. An expired lease can be renewed until another daemon takes it.
    ///
    /// # Errors
    /// When the database refuses; the lease may have been renewed all the same.
    pub async fn renew(&self, db: &impl GenericClient, token: i64) -> Result<bool, Error> {
        let count = db
            .execute_typed(
                &self.schema.sql(
                    "UPDATE @.lease SET expires_at = clock_timestamp() + make_interval(secs => $3)
                     WHERE name = $1 AND token = $2 AND holder = $4 AND NOT released",
                ),
                &[
                    (&self.name, Type::TEXT),
                    (&token, Type::INT8),
                    (&self.ttl.as_secs_f64(), Type::FLOAT8),
                    (&self.holder, Type::TEXT),
                ],
            )
            .await?;
        Ok(count > 0)
    }

    /// Releases the lease, so that the next leader need not wait. No effect if we no longer hold it.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn release(&self, db: &impl GenericClient, token: i64) -> Result<(), Error> {
        let release = self.schema.sql(
            "UPDATE @.lease SET released = true, expires_at = clock_timestamp()
             WHERE name = $1 AND token = $2 AND holder = $3",
        );
        let ours =
            [(&self.name as _, Type::TEXT), (&token as _, Type::INT8), (&self.holder as _, Type::TEXT)];
        db.execute_typed(&release, &ours).await?;
        Ok(())
    }

    /// Whether we still hold the lease with this token. Called in the transaction that writes under it: until that ends,
    /// no other daemon can take the lease.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn confirm(&self, tx: &impl GenericClient, token: i64) -> Result<bool, Error> {
        let confirm = self.schema.sql(
            "SELECT 1 FROM @.lease WHERE name = $1 AND token = $2 AND holder = $3 AND NOT released FOR SHARE",
        );
        let ours =
            [(&self.name as _, Type::TEXT), (&token as _, Type::INT8), (&self.holder as _, Type::TEXT)];
        let rows = tx.query_typed(&confirm, &ours).await?;
        Ok(!rows.is_empty())
    }

    async fn read(&self, db: &impl GenericClient) -> Result<Option<LeaseRow>, Error> {
        let select = self.schema.sql(
            "SELECT holder, since, token, released, expires_at < clock_timestamp() FROM @.lease WHERE name = $1",
        );
        let rows = db.query_typed(&select, &[(&self.name, Type::TEXT)]).await?;
        rows.first().map(LeaseRow::read).transpose()
    }
}

const TAKE: &str = "INSERT INTO @.lease AS l (name, holder, token, since, expires_at, released)
    VALUES ($1, $2, 1, clock_timestamp(), clock_timestamp() + make_interval(secs => $3), false)
    ON CONFLICT (name) DO UPDATE SET holder = $2, token = l.token + 1, since = clock_timestamp(),
        expires_at = clock_timestamp() + make_interval(secs => $3), released = false
    WHERE l.released OR ($4 AND l.expires_at < clock_timestamp())
    RETURNING token";

struct LeaseRow {
    holder: Holder,
    released: bool,
}

impl LeaseRow {
    fn read(row: &Row) -> Result<LeaseRow, Error> {
        let released = row.try_get(3)?;
        let expired: bool = row.try_get(4)?;
        let holder = Holder {
            name: row.try_get(0)?,
            since: row.try_get(1)?,
            token: row.try_get(2)?,
            over: released || expired,
        };
        Ok(LeaseRow { holder, released })
    }
}
