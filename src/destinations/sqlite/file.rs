//! The file: how it is opened and tuned, the tables it keeps for us, and what its errors mean for a person.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, functions::FunctionFlags};

use crate::destinations::DestinationError;

/// The version of the tables that begin with `_`, kept in `user_version`. A newer one is refused.
const FORMAT: i64 = 1;

/// How long we wait for another program's lock: longer than any sane transaction of a reader's tool.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Pages in the log before it is copied back: a large log turns random writes into sequential ones (four times the
/// rows per second on a million rows), at 64 MiB of disk.
const WAL_PAGES: u32 = 16_384;

/// The size the log is cut back to, in bytes: that of [`WAL_PAGES`].
const WAL_BYTES: u32 = WAL_PAGES * 4096;

/// SQLite's own memory, in KiB: part of the 64 MiB that a sync may use.
const CACHE_KIB: i32 = 16 * 1024;

/// Statements kept prepared: a few for each table.
const STATEMENTS: usize = 128;

/// Free pages given back at the end of a run, so that this never takes long.
const VACUUM_PAGES: u32 = 4_096;

const TABLES: &str = "
CREATE TABLE _tables (
    name     TEXT PRIMARY KEY NOT NULL,
    shape    TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE _state (
    table_name TEXT NOT NULL,
    partition  TEXT NOT NULL,
    format     INTEGER NOT NULL,
    cursor     TEXT NOT NULL,
    PRIMARY KEY (table_name, partition)
) WITHOUT ROWID;
CREATE TABLE _runs (
    run        INTEGER NOT NULL,
    table_name TEXT NOT NULL,
    started_at TEXT NOT NULL,
    ended_at   TEXT,
    outcome    TEXT NOT NULL,
    reason     TEXT,
    place      TEXT,
    requests   INTEGER NOT NULL DEFAULT 0,
    retries    INTEGER NOT NULL DEFAULT 0,
    waited_ms  INTEGER NOT NULL DEFAULT 0,
    seen       INTEGER NOT NULL DEFAULT 0,
    inserted   INTEGER NOT NULL DEFAULT 0,
    updated    INTEGER NOT NULL DEFAULT 0,
    unchanged  INTEGER NOT NULL DEFAULT 0,
    duplicate  INTEGER NOT NULL DEFAULT 0,
    rejected   INTEGER NOT NULL DEFAULT 0,
    deleted    INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (run, table_name)
) WITHOUT ROWID;
CREATE TABLE _rejected (
    id         INTEGER PRIMARY KEY,
    run        INTEGER NOT NULL,
    table_name TEXT NOT NULL,
    reason     TEXT NOT NULL,
    raw        TEXT NOT NULL
);";

/// The file's path, and its errors in our words.
#[derive(Debug, Clone)]
pub(super) struct Place(PathBuf);

impl Place {
    pub(super) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    pub(super) fn name(&self) -> String {
        self.0.display().to_string()
    }

    /// Turns an error of SQLite into ours, saying what was being done.
    pub(super) fn judge(&self, doing: &str, error: &rusqlite::Error) -> DestinationError {
        let place = self.name();
        let reason = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => DestinationError::Full { place },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => DestinationError::Locked { place },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                DestinationError::Damaged { place, reason }
            }
            Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                DestinationError::Unwritable { place, reason }
            }
            _ => DestinationError::Failed { place, doing: doing.to_owned(), reason },
        }
    }

    /// Opens the file, creating it with our own tables if it is not there.
    pub(super) fn open(&self) -> Result<Connection, DestinationError> {
        let db = Connection::open(&self.0).map_err(|e| self.judge("opening", &e))?;
        self.tune(&db).map_err(|e| self.judge("opening", &e))?;
        let found: i64 = db
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .map_err(|e| self.judge("reading its format", &e))?;
        match found {
            FORMAT => {}
            0 => self.create(&db)?,
            found if found > FORMAT => {
                return Err(DestinationError::Newer { place: self.name(), found, known: FORMAT });
            }
            found => {
                let reason = format!("its format {found} was never one of ours");
                return Err(DestinationError::Damaged { place: self.name(), reason });
            }
        }
        Ok(db)
    }

    /// Takes the lock that keeps two runs apart; it falls with its process, however that ends.
    pub(super) fn lock(&self) -> Result<File, DestinationError> {
        let mut path = self.0.clone().into_os_string();
        path.push(".lock");
        let unwritable = |e: std::io::Error| DestinationError::Unwritable {
            place: PathBuf::from(&path).display().to_string(),
            reason: e.to_string(),
        };
        let file =
            File::options().create(true).truncate(false).write(true).open(&path).map_err(unwritable)?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(DestinationError::Busy { place: self.name() }),
            Err(TryLockError::Error(e)) => Err(unwritable(e)),
        }
    }

    /// What is worth doing when a run has ended: a short log, and free pages given back. Readers may hinder
    /// either, and the next run tries again.
    pub(super) fn tidy(db: &Connection) {
        let _ = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        let _ = db.execute_batch(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"));
    }

    fn tune(&self, db: &Connection) -> Result<(), rusqlite::Error> {
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

    fn create(&self, db: &Connection) -> Result<(), DestinationError> {
        let sql = format!("BEGIN IMMEDIATE; {TABLES} PRAGMA user_version = {FORMAT}; COMMIT;");
        let Err(error) = db.execute_batch(&sql) else { return Ok(()) };
        let _ = db.execute_batch("ROLLBACK");
        // Another process may have created them in the same moment.
        match db.pragma_query_value(None, "user_version", |row| row.get(0)) {
            Ok(FORMAT) => Ok(()),
            _ => Err(self.judge("creating its tables", &error)),
        }
    }
}

/// An identifier as SQL takes it, whatever is in it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
