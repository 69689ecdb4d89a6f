//! Where the tables of all connectors are: the only choice between the kinds of database.
//!
//! Start at [`Place::open`].

use std::path::PathBuf;

use super::{Destination, DestinationError, postgres, sqlite};
use crate::database::Database;

/// A folder or a database for the tables of all connectors. Cheap to clone; opens nothing by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A folder with one SQLite file for each connector.
    Sqlite(PathBuf),
    /// A database with one schema for each connector.
    Postgres(Database),
}

impl Place {
    /// Opens or creates the destination of a connector.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub async fn open(&self, connector: &str) -> Result<Box<dyn Destination>, DestinationError> {
        match self {
            Place::Sqlite(folder) => {
                let (folder, connector) = (folder.clone(), connector.to_owned());
                let place = folder.display().to_string();
                let cannot_open = |reason: String| DestinationError::cannot_open(place, reason);
                let opened = tokio::task::spawn_blocking(move || {
                    if let Err(e) = std::fs::create_dir_all(&folder) {
                        return Err(e.to_string());
                    }
                    Ok(sqlite::open(&file(&folder, &connector), &connector))
                });
                let sqlite = opened.await.unwrap_or_else(|e| Err(e.to_string())).map_err(cannot_open)?;
                Ok(Box::new(sqlite?))
            }
            Place::Postgres(database) => Ok(Box::new(postgres::open(database, connector).await?)),
        }
    }

    /// Opens the destination of a connector; `None` if it never wrote anything, and then nothing is created.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub async fn find(&self, connector: &str) -> Result<Option<Box<dyn Destination>>, DestinationError> {
        match self {
            Place::Sqlite(folder) if !file(folder, connector).exists() => Ok(None),
            Place::Sqlite(_) => self.open(connector).await.map(Some),
            Place::Postgres(database) => {
                let found = postgres::find(database, connector).await?;
                Ok(found.map(|found| Box::new(found) as Box<dyn Destination>))
            }
        }
    }
}

fn file(folder: &std::path::Path, connector: &str) -> PathBuf {
    folder.join(format!("{connector}.db"))
}
