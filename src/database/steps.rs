//! Numbered migration steps for our own tables: one runner for SQLite, one for PostgreSQL.
//!
//! A released step never changes. Several programs of any version may run the steps at the same time: a lock admits one
//! of them, and an older program refuses tables of a newer one.

use rusqlite::{Connection as SqliteConnection, Transaction as SqliteTransaction, TransactionBehavior};
use tokio_postgres::types::Type;

use super::{Connected, Database, DatabaseError};

/// For steps that collide with another session's change of the catalog.
const ATTEMPTS: u32 = 5;

/// Why our tables cannot be used.
#[derive(Debug)]
pub enum StepsError<E> {
    /// A newer program has run `found` steps; this one knows `known`.
    Newer {
        found: i64,
        known: i64,
    },
    Database(E),
}

impl<E> From<E> for StepsError<E> {
    fn from(error: E) -> Self {
        StepsError::Database(error)
    }
}

/// Runs the missing steps; `PRAGMA user_version` is the number of the last one.
///
/// # Errors
/// When a newer program has run more of them, or SQLite refuses.
pub fn migrate_sqlite(db: &SqliteConnection, steps: &[&str]) -> Result<(), StepsError<rusqlite::Error>> {
    let version =
        || -> Result<i64, rusqlite::Error> { db.pragma_query_value(None, "user_version", |row| row.get(0)) };
    if missing(version()?, steps)?.is_empty() {
        return Ok(());
    }
    let transaction = SqliteTransaction::new_unchecked(db, TransactionBehavior::Immediate)?;
    let found = version()?;
    for (number, step) in (found + 1..).zip(missing(found, steps)?) {
        db.execute_batch(step)?;
        db.pragma_update(None, "user_version", number)?;
    }
    Ok(transaction.commit()?)
}

/// The steps after number `found`.
fn missing<S, E>(found: i64, steps: &[S]) -> Result<&[S], StepsError<E>> {
    let known = i64::try_from(steps.len()).unwrap_or(i64::MAX);
    let done = usize::try_from(found).unwrap_or(0);
    steps.get(done..).ok_or(StepsError::Newer { found, known })
}

/// Migration steps for a schema of PostgreSQL. They run with the schema as the search path.
pub struct SchemaSteps {
    /// The name, quoted for SQL if necessary.
    pub schema: String,
    /// The text that names the advisory lock.
    pub lock: String,
    /// The table that holds the number of the last step.
    pub version_table: &'static str,
    /// The SQL expression over that table for the number.
    pub version: &'static str,
    /// SQL that creates `version_table` if no step does.
    pub prelude: &'static str,
    /// SQL that stores the number `$1` (a bigint).
    pub record: &'static str,
    pub steps: Vec<String>,
}

impl SchemaSteps {
    /// Creates the schema and runs the missing steps.
    ///
    /// # Errors
    /// When a newer program has run more of them, or the database refuses.
    pub async fn migrate(&self, connection: &mut Connected) -> Result<(), StepsError<DatabaseError>> {
        if missing(self.version(connection).await?, &self.steps)?.is_empty() {
            return Ok(());
        }
        let mut attempt = 1;
        loop {
            match self.run(connection).await {
                Err(StepsError::Database(e)) if e.is_retriable() && attempt < ATTEMPTS => attempt += 1,
                done => return done,
            }
        }
    }

    /// The number of the last step; 0 before the first.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn version(&self, connection: &Connected) -> Result<i64, DatabaseError> {
        let version = self.read_version(&connection.client).await;
        version.map_err(|e| connection.judge(&self.doing("reading the version of"), &e))
    }

    async fn run(&self, connection: &mut Connected) -> Result<(), StepsError<DatabaseError>> {
        let database = connection.database().clone();
        let transaction = connection.transaction().await?;
        self.lock_and_create(&transaction).await.map_err(|e| self.preparing(&database, &e))?;
        let found = self.read_version(&transaction).await.map_err(|e| self.preparing(&database, &e))?;
        for (number, step) in (found + 1..).zip(missing(found, &self.steps)?) {
            let done = async {
                transaction.batch_execute(step).await?;
                transaction.execute_typed(self.record, &[(&number, Type::INT8)]).await
            };
            done.await.map_err(|e| self.preparing(&database, &e))?;
        }
        transaction.commit().await.map_err(|e| self.preparing(&database, &e))?;
        Ok(())
    }

    async fn lock_and_create(
        &self,
        transaction: &tokio_postgres::Transaction<'_>,
    ) -> Result<(), tokio_postgres::Error> {
        let lock = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))";
        transaction.execute_typed(lock, &[(&self.lock, Type::TEXT)]).await?;
        let exists = "SELECT to_regnamespace($1) IS NOT NULL";
        let exists = transaction.query_typed(exists, &[(&self.schema, Type::TEXT)]).await?;
        // IF NOT EXISTS requires the right to create schemas, even if the schema already exists.
        if !exists.first().is_some_and(|row| row.get(0)) {
            transaction.batch_execute(&format!("CREATE SCHEMA {}", self.schema)).await?;
        }
        transaction
            .batch_execute(&format!("SET LOCAL search_path TO {}; {}", self.schema, self.prelude))
            .await
    }

    async fn read_version(
        &self,
        client: &impl tokio_postgres::GenericClient,
    ) -> Result<i64, tokio_postgres::Error> {
        let table = format!("{}.{}", self.schema, self.version_table);
        let exists = "SELECT to_regclass($1) IS NOT NULL";
        let exists = client.query_typed(exists, &[(&table, Type::TEXT)]).await?;
        if !exists.first().is_some_and(|row| row.get(0)) {
            return Ok(0);
        }
        let rows =
            client.query_typed(&format!("SELECT ({})::bigint FROM {table}", self.version), &[]).await?;
        Ok(rows.first().map_or(0, |row| row.get(0)))
    }

    fn preparing(&self, database: &Database, error: &tokio_postgres::Error) -> DatabaseError {
        database.judge(&self.doing("preparing"), error)
    }

    fn doing(&self, what: &str) -> String {
        format!("{what} schema {}", self.schema.trim_matches('"'))
    }
}
