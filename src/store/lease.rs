//! Leases in PostgreSQL: the right to do something alone, for a limited time, with a token that fences former holders.
//!
//! A lease is a row. It is free when it was given back, or when its time is over by the server's clock; whoever takes
//! it gets the next token. Whatever is written under a lease checks the token in the same transaction
//! ([`Lease::confirm`]), so that a former holder's write is refused however late it comes. The holder is checked with
//! it: a replica that is promoted without the last commits gives the same token once more. These are single
//! statements: when to ask again, and what a daemon may believe in between, is
//! [`domain::tenure`](crate::domain::tenure). Start at [`Lease::take`].

use std::time::Duration;

use jiff::Timestamp;
use tokio_postgres::types::Type;
use tokio_postgres::{Error, GenericClient, Row};

use super::schema::Schema;

/// A lease by its name, for one who wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Where the table is.
    pub schema: Schema,
    /// What for.
    pub name: String,
    /// Who we are, in words for people; different for each start of each daemon.
    pub holder: String,
    /// How long it lasts after each renewal.
    pub ttl: Duration,
}

/// Who holds a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// In words for people.
    pub name: String,
    /// Since when, by the server's clock.
    pub since: Timestamp,
    /// The token of this holding.
    pub token: i64,
    /// Whether it is over: given back, or its time has passed.
    pub over: bool,
}

/// What came of trying to take a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// It is ours, under this token, greater than that of every earlier holding.
    Ours(i64),
    /// Somebody has it, or had it last; not known who, if somebody was quicker just now.
    Theirs(Option<Holder>),
}

impl Lease {
    /// Takes the lease if it is free. One that was not given back but whose time is over counts as free only with
    /// `expired_too`: after an outage of the database its holder deserves the first try.
    ///
    /// # Errors
    /// The database's.
    pub async fn take(&self, db: &impl GenericClient, expired_too: bool) -> Result<Taken, Error> {
        // A look first: the statement below locks the row even when it changes nothing.
        if let Some(Found { holder, given_back }) = self.found(db).await?
            && !(holder.over && (expired_too || given_back))
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

    /// Holds it for another while. `false`: it was lost to somebody. A lease whose time is over is renewed all the
    /// same as long as nobody took it.
    ///
    /// # Errors
    /// The database's; it may have been renewed then.
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

    /// Gives it back, so that the next need not wait. Nothing happens if it is not ours any more.
    ///
    /// # Errors
    /// The database's.
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

    /// Whether the token is still the last one, asked in a transaction that writes under it: until that ends nobody
    /// else can take the lease.
    ///
    /// # Errors
    /// The database's.
    pub async fn confirm(&self, tx: &impl GenericClient, token: i64) -> Result<bool, Error> {
        let confirm = self.schema.sql(
            "SELECT 1 FROM @.lease WHERE name = $1 AND token = $2 AND holder = $3 AND NOT released FOR SHARE",
        );
        let ours =
            [(&self.name as _, Type::TEXT), (&token as _, Type::INT8), (&self.holder as _, Type::TEXT)];
        let rows = tx.query_typed(&confirm, &ours).await?;
        Ok(!rows.is_empty())
    }

    async fn found(&self, db: &impl GenericClient) -> Result<Option<Found>, Error> {
        let look = self.schema.sql(
            "SELECT holder, since, token, released, expires_at < clock_timestamp() FROM @.lease WHERE name = $1",
        );
        let rows = db.query_typed(&look, &[(&self.name, Type::TEXT)]).await?;
        rows.first().map(Found::read).transpose()
    }
}

const TAKE: &str = "INSERT INTO @.lease AS l (name, holder, token, since, expires_at, released)
    VALUES ($1, $2, 1, clock_timestamp(), clock_timestamp() + make_interval(secs => $3), false)
    ON CONFLICT (name) DO UPDATE SET holder = $2, token = l.token + 1, since = clock_timestamp(),
        expires_at = clock_timestamp() + make_interval(secs => $3), released = false
    WHERE l.released OR ($4 AND l.expires_at < clock_timestamp())
    RETURNING token";

struct Found {
    holder: Holder,
    given_back: bool,
}

impl Found {
    fn read(row: &Row) -> Result<Found, Error> {
        let given_back = row.try_get(3)?;
        let expired: bool = row.try_get(4)?;
        let holder = Holder {
            name: row.try_get(0)?,
            since: row.try_get(1)?,
            token: row.try_get(2)?,
            over: given_back || expired,
        };
        Ok(Found { holder, given_back })
    }
}
