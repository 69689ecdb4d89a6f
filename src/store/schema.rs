//! The schema of the state database in PostgreSQL: its name, and its numbered migrations. Start at [`Schema::prepare`].

use super::OpenError;
use crate::database::steps::{SchemaSteps, StepsError};
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

    /// Creates the schema and its tables, or brings them up to date.
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

    /// Whether the schema has our tables.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn exists(self, database: &Connected) -> Result<bool, DatabaseError> {
        Ok(self.steps().version(database).await? > 0)
    }
}
