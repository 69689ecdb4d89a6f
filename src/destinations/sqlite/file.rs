//! The file: how it is opened and tuned, the lock that keeps runs apart, and what its errors mean for a person.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, functions::FunctionFlags};

use crate::database::steps::{StepsError, migrate_sqlite};
use crate::destinations::DestinationError;

/// The tables that begin with `_`, one step for each version of their layout.
const MIGRATIONS: [&str; 1] = [include_str!("migrations/1.sql")];

/// How long we wait for another program's lock: longer than any sane transaction of a reader's tool.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Pages in the write-ahead log before it is copied back: a large log turns random writes into sequential ones (four
/// times the rows per second on a million rows), at 64 MiB of disk.
const WAL_PAGES: u32 = 16_384;

/// The size the log is cut back to, in bytes: that of [`WAL_PAGES`].
const WAL_BYTES: u32 = WAL_PAGES * 4096;

/// SQLite's page cache, in KiB: part of the 64 MiB that a sync may use.
const CACHE_KIB: i32 = 16 * 1024;

/// Statements kept prepared: a few for each table.
const STATEMENTS: usize = 128;

/// Free pages given back at the end of a run, so that this never takes long.
const VACUUM_PAGES: u32 = 4_096;

/// What goes wrong inside the writer: SQLite's errors are translated once, at its edge.
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

/// A connector's file.
#[derive(Debug, Clone)]
pub(crate) struct DatabaseFile(PathBuf);

impl DatabaseFile {
    pub(crate) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    pub(crate) fn name(&self) -> String {
        self.0.display().to_string()
    }

    /// Translates an error of SQLite, with what was being done.
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

    /// Takes the lock that keeps two runs apart; it ends with its process, however that ends.
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

/// Shortens the log and gives free pages back. Readers may prevent either; the next run tries again.
pub(super) fn shrink(db: &Connection) {
    let _ = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    let _ = db.execute_batch(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"));
}

fn tune(db: &Connection) -> Result<(), rusqlite::Error> {
    db.busy_timeout(BUSY_TIMEOUT)?;
    // Only works on a file without tables and before the log is switched on; later it would ask for a lock.
    if db.pragma_query_value(None, "page_count", |row| row.get::<_, i64>(0))? == 0 {
        db.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    }
    db.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    // A checkpoint survives a power loss; with commits this large it costs a few percent.
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "wal_autocheckpoint", WAL_PAGES)?;
    db.pragma_update_and_check(None, "journal_size_limit", WAL_BYTES, |_| Ok(()))?;
    db.pragma_update(None, "cache_size", -CACHE_KIB)?;
    db.pragma_update(None, "foreign_keys", false)?;
    // A table that is rebuilt takes its old name back; views name it and must be left as they are.
    db.pragma_update(None, "legacy_alter_table", true)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    db.create_scalar_function("double_text", 1, flags, |call| {
        Ok(call.get::<Option<f64>>(0)?.map(|value| value.to_string()))
    })
}

/// An identifier as SQL takes it, whatever is in it.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Identifiers, quoted and separated by commas.
pub(super) fn list<N: AsRef<str>>(names: impl IntoIterator<Item = N>) -> String {
    names.into_iter().map(|name| quoted(name.as_ref())).collect::<Vec<_>>().join(", ")
}
