//! The database file: opening and tuning, the lock for one run at a time, and error messages.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, functions::FunctionFlags};

use crate::database::steps::{StepsError, migrate_sqlite};
use crate::destinations::DestinationError;

/// The tables whose names start with `_`, one step for each version of their format.
const MIGRATIONS: [&str; 1] = [include_str!("migrations/1.sql")];

/// Wait for another program's lock: longer than the usual transactions of other tools.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Pages in the write-ahead log before a checkpoint: a large log makes random writes sequential (four times the rows per
/// second on a million rows), for 64 MiB of disk space.
const WAL_PAGES: u32 = 16_384;

/// Maximum size of the log after a checkpoint, in bytes.
const WAL_BYTES: u32 = WAL_PAGES * 4096;

/// SQLite's page cache in KiB: part of the 64 MiB that a sync may use.
const CACHE_KIB: i32 = 16 * 1024;

/// Size of the cache of prepared statements: a few for each table.
const STATEMENTS: usize = 128;

/// Limit of free pages released at the end of a run, so that this takes little time.
const VACUUM_PAGES: u32 = 4_096;

/// Errors inside the writer; SQLite's errors are translated once, at its edge.
#[derive(Debug)]
pub(crate) enum SqliteFailure {
    Sql(rusqlite::Error),
    Other(DestinationError),
}

impl From<rusqlite::Error> for SqliteFailure {
    fn from(error: rusqlite::Error) -> Self {
        SqliteFailure::Sql(error)
    }
}

impl From<DestinationError> for SqliteFailure {
    fn from(error: DestinationError) -> Self {
        SqliteFailure::Other(error)
    }
}

#[derive(Debug, Clone)]
pub(crate) struct DatabaseFile(PathBuf);

impl DatabaseFile {
    pub(crate) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    pub(crate) fn name(&self) -> String {
        self.0.display().to_string()
    }

    /// Translates an error of SQLite; `doing` describes the operation.
    pub(crate) fn error(&self, doing: &str, error: &rusqlite::Error) -> DestinationError {
        let place = self.name();
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => DestinationError::full(&place),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => DestinationError::new(format!(
                "{place} is locked by another program: close the program that writes to it; the next run resumes from the \
                 last checkpoint"
            )),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                DestinationError::corrupt(&place, error)
            }
            Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                DestinationError::cannot_open(place, error)
            }
            _ => DestinationError::failed(doing, &place, error),
        }
    }

    pub(crate) fn failure(&self, doing: &str, failure: SqliteFailure) -> DestinationError {
        match failure {
            SqliteFailure::Sql(error) => self.error(doing, &error),
            SqliteFailure::Other(error) => error,
        }
    }

    /// Opens the file; creates it with our own tables if it does not exist.
    pub(crate) fn open(&self) -> Result<Connection, DestinationError> {
        let db = Connection::open(&self.0).map_err(|e| self.error("opening", &e))?;
        tune(&db).map_err(|e| self.error("opening", &e))?;
        match migrate_sqlite(&db, &MIGRATIONS) {
            Ok(()) => Ok(db),
            Err(StepsError::Newer { found, known }) => {
                Err(DestinationError::newer(&self.name(), found, known))
            }
            Err(StepsError::Database(e)) => Err(self.error("creating tables", &e)),
        }
    }

    /// Takes the lock for one run at a time. The operating system releases it when the process ends.
    pub(crate) fn lock(&self) -> Result<File, DestinationError> {
        let mut path = self.0.clone().into_os_string();
        path.push(".lock");
        let path = PathBuf::from(path);
        let cannot_open = |e: std::io::Error| DestinationError::cannot_open(path.display(), e);
        let file =
            File::options().create(true).truncate(false).write(true).open(&path).map_err(cannot_open)?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(DestinationError::busy(&self.name())),
            Err(TryLockError::Error(e)) => Err(cannot_open(e)),
        }
    }
}

/// Truncates the log and releases free pages. Readers may prevent either; the next run retries.
pub(super) fn shrink(db: &Connection) {
    let _ = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    let _ = db.execute_batch(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"));
}

fn tune(db: &Connection) -> Result<(), rusqlite::Error> {
    db.busy_timeout(BUSY_TIMEOUT)?;
    // Works only on a file without tables and before WAL mode; later it would need a lock.
    if db.pragma_query_value(None, "page_count", |row| row.get::<_, i64>(0))? == 0 {
        db.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    }
    db.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    // Committed checkpoints must survive a power loss; with large commits this costs a few percent.
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "wal_autocheckpoint", WAL_PAGES)?;
    db.pragma_update_and_check(None, "journal_size_limit", WAL_BYTES, |_| Ok(()))?;
    db.pragma_update(None, "cache_size", -CACHE_KIB)?;
    db.pragma_update(None, "foreign_keys", false)?;
    // A rebuilt table is renamed to its old name, and views that refer to it must not change.
    db.pragma_update(None, "legacy_alter_table", true)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    db.create_scalar_function("double_text", 1, flags, |call| {
        Ok(call.get::<Option<f64>>(0)?.map(|value| value.to_string()))
    })
}

/// A quoted SQL identifier.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Identifiers, quoted and separated by commas.
pub(super) fn list<N: AsRef<str>>(names: impl IntoIterator<Item = N>) -> String {
    names.into_iter().map(|name| quoted(name.as_ref())).collect::<Vec<_>>().join(", ")
}
