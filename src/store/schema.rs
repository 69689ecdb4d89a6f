//! The schema of the state database in PostgreSQL: its name, and its numbered migrations. Start at [`Schema::prepare`].

use super::OpenError;
use crate::database::steps::{SchemaSteps, StepsError};
use crate::database::{Connected, DatabaseError};

/// Numbered by position, from 1; never changed once released.
const MIGRATIONS: [&str; 7] = [
    include_str!("postgres/1.sql"),
    include_str!("postgres/2.sql"),
    include_str!("postgres/3.sql"),
    include_str!("postgres/4.sql"),
    include_str!("postgres/5.sql"),
    include_str!("postgres/6.sql"),
    include_str!("postgres/7.sql"),
];

/// The name of a schema; it needs no quotes in SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schema(&'static str);

impl Schema {
    /// The schema that all daemons of a database share.
    pub const SHARED: Schema = Schema("data_sources_monitor");
    /// The schema of daemons in preview mode, so that they never hold the lease that daemons with a tenant need.
    pub const PREVIEW: Schema = Schema("data_sources_monitor_preview");

    pub fn name(self) -> &'static str {
        self.0
    }

    /// Replaces `@` in a statement by the schema.
    pub fn sql(self, text: &str) -> String {
        text.replace("@.", &format!("{}.", self.0))
    }

    /// Creates or migrates the schema and its tables.
    ///
    /// # Errors
    /// When a newer version has created them, or the database refuses.
    pub async fn prepare(self, database: &mut Connected) -> Result<(), OpenError> {
        match self.steps().migrate(database).await {
            Ok(()) => Ok(()),
            Err(StepsError::Newer { found, known }) => {
                let path = format!("{} (schema {})", database.database().name(), self.0);
                Err(OpenError::TooNew { path, found, known })
            }
            Err(StepsError::Database(error)) => Err(error.into()),
        }
    }

    fn steps(self) -> SchemaSteps {
        SchemaSteps {
            schema: self.0.to_owned(),
            lock: self.0.to_owned(),
            version_table: "layout",
            version: "coalesce(max(number), 0)",
            prelude: "CREATE TABLE IF NOT EXISTS layout (number bigint PRIMARY KEY)",
            record: "INSERT INTO layout (number) VALUES ($1)",
            steps: MIGRATIONS.map(|step| self.sql(step)).to_vec(),
        }
    }

    /// Whether the schema contains our tables.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn exists(self, database: &Connected) -> Result<bool, DatabaseError> {
        Ok(self.steps().version(database).await? > 0)
    }
}
