//! The location of the tables of all connectors, and the choice of the kind of database.
//!
//! Start at [`DestinationKind::open`].

use std::path::PathBuf;

use super::{Destination, DestinationError, FollowUp, postgres, sqlite};
use crate::database::Database;

/// A folder or a database for the tables of all connectors. Cheap to clone; does not open anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DestinationKind {
    /// A folder with one SQLite file for each connector.
    Sqlite(PathBuf),
    /// A database with one schema for each connector.
    Postgres(Database),
}

impl DestinationKind {
    /// Opens or creates the destination of a connector.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub async fn open(&self, connector: &str) -> Result<Box<dyn Destination>, DestinationError> {
        match self {
            DestinationKind::Sqlite(folder) => {
                let (folder, connector) = (folder.clone(), connector.to_owned());
                let place = folder.display().to_string();
                let cannot_open = |reason: String| DestinationError::cannot_open(place, reason);
                let opened = tokio::task::spawn_blocking(move || {
                    if let Err(e) = std::fs::create_dir_all(&folder) {
                        return Err(e.to_string());
                    }
                    Ok(sqlite::open(&sqlite_file(&folder, &connector), &connector))
                });
                let sqlite = opened.await.unwrap_or_else(|e| Err(e.to_string())).map_err(cannot_open)?;
                Ok(Box::new(sqlite?))
            }
            DestinationKind::Postgres(database) => Ok(Box::new(postgres::open(database, connector).await?)),
        }
    }

    /// Opens the destination of a connector. Returns `None`, and creates nothing, if the connector has never written.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub async fn find(&self, connector: &str) -> Result<Option<Box<dyn Destination>>, DestinationError> {
        match self {
            DestinationKind::Sqlite(folder) if !sqlite_file(folder, connector).exists() => Ok(None),
            DestinationKind::Sqlite(_) => self.open(connector).await.map(Some),
            DestinationKind::Postgres(database) => {
                let found = postgres::find(database, connector).await?;
                Ok(found.map(|found| Box::new(found) as Box<dyn Destination>))
            }
        }
    }

    /// Adds what follows a run to the history of a connector.
    ///
    /// # Errors
    /// When the destination cannot be opened or written.
    pub async fn record_follow_up(&self, connector: &str, done: FollowUp) -> Result<(), DestinationError> {
        match self {
            DestinationKind::Sqlite(folder) => {
                let path = sqlite_file(folder, connector);
                let recorded =
                    tokio::task::spawn_blocking(move || sqlite::record_follow_up(&path, &done)).await;
                recorded.unwrap_or_else(|e| Err(DestinationError::new(e.to_string())))
            }
            DestinationKind::Postgres(database) => {
                postgres::record_follow_up(database, connector, &done).await
            }
        }
    }
}

/// The file of a connector in DATA_DIR.
pub(crate) fn sqlite_file(folder: &std::path::Path, connector: &str) -> PathBuf {
    folder.join(format!("{connector}.db"))
}
