//! The schema of our own memory in PostgreSQL: its name, and its numbered migrations.
//!
//! Any number of daemons may start at once, of any version: a lock lets one of them migrate, and an older program
//! refuses what a newer one has made. Start at [`Schema::prepare`].

use tokio_postgres::types::Type;

use super::OpenError;
use crate::database::{Connected, DatabaseError};

/// Numbered by position, from 1; never changed once released.
const MIGRATIONS: [&str; 3] =
    [include_str!("postgres/1.sql"), include_str!("postgres/2.sql"), include_str!("postgres/3.sql")];

/// A schema by its name, which is one of ours and needs no quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schema(&'static str);

impl Schema {
    /// What all daemons of a database share.
    pub const SHARED: Schema = Schema("data_sources_monitor");
    /// What daemons in preview share: they must not keep those that write the banner from their work.
    pub const PREVIEW: Schema = Schema("data_sources_monitor_preview");

    /// Its name.
    pub fn name(self) -> &'static str {
        self.0
    }

    /// A statement, in which `@` stands for the schema.
    pub fn sql(self, text: &str) -> String {
        text.replace("@.", &format!("{}.", self.0))
    }

    /// Makes the schema and its tables, or brings them up to date.
    ///
    /// # Errors
    /// When a later version made them, or the database refuses.
    pub async fn prepare(self, database: &mut Connected) -> Result<(), OpenError> {
        let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
        let place = format!("{} (schema {})", database.database().name(), self.0);
        let check = |found: i64| {
            let too_new = OpenError::TooNew { path: place.clone(), found, known };
            if found > known { Err(too_new) } else { Ok(found) }
        };
        if check(self.layout(database).await?)? == known {
            return Ok(());
        }
        let server = database.database().clone();
        let judge = |e: tokio_postgres::Error| server.judge("preparing our own memory", &e);
        let tx = database.transaction().await?;
        tx.execute_typed("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", &[(&self.0, Type::TEXT)])
            .await
            .map_err(judge)?;
        let exists = tx.query_typed(EXISTS, &[(&self.0, Type::TEXT)]).await.map_err(judge)?;
        // IF NOT EXISTS would want the right to create schemas from a user who was given one ready-made.
        if !exists.first().is_some_and(|row| row.get(0)) {
            let making = |e| server.judge(&format!("making schema {}", self.0), &e);
            tx.batch_execute(&format!("CREATE SCHEMA {}", self.0)).await.map_err(making)?;
        }
        tx.batch_execute(&self.sql("CREATE TABLE IF NOT EXISTS @.layout (number bigint PRIMARY KEY)"))
            .await
            .map_err(judge)?;
        let rows = tx.query_typed(&self.sql(LAYOUT), &[]).await.map_err(judge)?;
        let found = check(rows.first().map_or(0, |row| row.get(0)))?;
        for (number, text) in (1i64..).zip(MIGRATIONS).skip_while(|(number, _)| *number <= found) {
            tx.batch_execute(&self.sql(text)).await.map_err(judge)?;
            let note = self.sql("INSERT INTO @.layout (number) VALUES ($1)");
            tx.execute_typed(&note, &[(&number, Type::INT8)]).await.map_err(judge)?;
        }
        Ok(tx.commit().await.map_err(judge)?)
    }

    /// Whether somebody has made it.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn exists(self, database: &Connected) -> Result<bool, DatabaseError> {
        Ok(self.layout(database).await? > 0)
    }

    /// The layout that is there; 0 for none.
    async fn layout(self, database: &Connected) -> Result<i64, DatabaseError> {
        let judge = |e| database.judge("reading the layout of our own memory", &e);
        let table = format!("{}.layout", self.0);
        let there = database
            .client
            .query_typed("SELECT to_regclass($1) IS NOT NULL", &[(&table, Type::TEXT)])
            .await
            .map_err(judge)?;
        if !there.first().is_some_and(|row| row.get(0)) {
            return Ok(0);
        }
        let rows = database.client.query_typed(&self.sql(LAYOUT), &[]).await.map_err(judge)?;
        Ok(rows.first().map_or(0, |row| row.get(0)))
    }
}

const EXISTS: &str = "SELECT to_regnamespace($1) IS NOT NULL";
const LAYOUT: &str = "SELECT coalesce(max(number), 0) FROM @.layout";
