//! What goes wrong inside the writer: the server's errors are judged once, at its edge.

use crate::database::{Database, DatabaseError};
use crate::destinations::DestinationError;

#[derive(Debug)]
pub(super) enum Trouble {
    /// The server, or the way to it, says so.
    Sql(tokio_postgres::Error),
    /// The same, already in words.
    Told(DatabaseError),
    /// We say so.
    Ours(DestinationError),
}

impl From<tokio_postgres::Error> for Trouble {
    fn from(error: tokio_postgres::Error) -> Self {
        Trouble::Sql(error)
    }
}

impl From<DatabaseError> for Trouble {
    fn from(error: DatabaseError) -> Self {
        Trouble::Told(error)
    }
}

impl From<DestinationError> for Trouble {
    fn from(error: DestinationError) -> Self {
        Trouble::Ours(error)
    }
}

impl Trouble {
    /// In words, with what was being done.
    pub(super) fn told(self, database: &Database, doing: &str) -> Trouble {
        match self {
            Trouble::Sql(error) => Trouble::Told(database.judge(doing, &error)),
            told => told,
        }
    }

    /// Whether the same transaction may succeed when tried again.
    pub(super) fn is_retriable(&self) -> bool {
        matches!(self, Trouble::Told(error) if error.is_retriable())
    }

    /// The error for whoever uses the destination.
    pub(super) fn judged(self, database: &Database, doing: &str) -> DestinationError {
        match self.told(database, doing) {
            Trouble::Ours(error) => error,
            Trouble::Told(DatabaseError::Full { place }) => DestinationError::Full { place },
            Trouble::Told(error) => DestinationError::Database(error),
            Trouble::Sql(error) => DestinationError::Database(database.judge(doing, &error)),
        }
    }
}

pub(super) fn refuse(table: &str, reason: impl Into<String>) -> Trouble {
    Trouble::Ours(DestinationError::Table { table: table.to_owned(), reason: reason.into() })
}
