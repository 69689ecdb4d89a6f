//! Errors inside the writer; the server's errors are translated once, at its edge.

use crate::database::{Database, DatabaseError};
use crate::destinations::DestinationError;

#[derive(Debug)]
pub(crate) enum PostgresFailure {
    /// From the server or the connection.
    Sql(tokio_postgres::Error),
    /// Translated, with the operation.
    Explained(DatabaseError),
    Other(DestinationError),
}

impl From<tokio_postgres::Error> for PostgresFailure {
    fn from(error: tokio_postgres::Error) -> Self {
        PostgresFailure::Sql(error)
    }
}

impl From<DatabaseError> for PostgresFailure {
    fn from(error: DatabaseError) -> Self {
        PostgresFailure::Explained(error)
    }
}

impl From<DestinationError> for PostgresFailure {
    fn from(error: DestinationError) -> Self {
        PostgresFailure::Other(error)
    }
}

impl PostgresFailure {
    pub(crate) fn explained(self, database: &Database, doing: &str) -> PostgresFailure {
        match self {
            PostgresFailure::Sql(error) => PostgresFailure::Explained(database.judge(doing, &error)),
            other => other,
        }
    }

    /// Whether a retry of the transaction may succeed.
    pub(crate) fn is_retriable(&self) -> bool {
        matches!(self, PostgresFailure::Explained(error) if error.is_retriable())
    }

    pub(crate) fn into_error(self, database: &Database, doing: &str) -> DestinationError {
        match self {
            PostgresFailure::Sql(error) => database.judge(doing, &error).into(),
            PostgresFailure::Explained(error) => error.into(),
            PostgresFailure::Other(error) => error,
        }
    }
}
