//! `DATA_DIR` and `monitor.db` in it: opens, locks and checks it, and replaces it where it was damaged or removed.
//!
//! Start at [`OpenedFolder::open`].

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, MAIN_DB};
use rustix::fs::{Access, access};

use super::super::{Damaged, KeepError, OpenError, StoredState};
use super::{BUSY_TIMEOUT, MIGRATIONS, file, read_state};
use crate::database::steps::{StepsError, migrate_sqlite};

/// An open database and the lock of its folder.
pub(super) struct OpenedFolder {
    pub(super) db: Connection,
    path: PathBuf,
    lock: File,
    /// Device and inode of the database file, to detect that it was removed or replaced.
    identity: (u64, u64),
    /// Whether the missing file was logged.
    reported: bool,
}

impl OpenedFolder {
    /// Opens or creates the database. With [`Damaged::Replace`], a damaged one is renamed and a new one created, because
    /// lost history must not stop the monitoring.
    pub(super) fn open(folder: &Path, damaged: Damaged) -> Result<(OpenedFolder, StoredState), OpenError> {
        let lock = lock(folder)?;
        let path = file(folder);
        let (db, stored) = match prepare(&path) {
            Err(StepsError::Database(e)) if is_damaged(&e) && damaged == Damaged::Replace => {
                let aside = move_aside(&path).map_err(|e| refused(folder, &path, &e))?;
                tracing::warn!(
                    target: "MainOrchestrator",
                    "{} is damaged ({e}). Moved it to {} and started with a new one: history and the state of the \
                     banner are lost.",
                    path.display(),
                    aside.display()
                );
                prepare(&path)
            }
            done => done,
        }
        .map_err(|e| judge(e, folder, &path))?;
        let identity = identity(&path).map_err(|e| refused(folder, &path, &e))?;
        Ok((OpenedFolder { db, path, lock, identity, reported: false }, stored))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Checks that the file is still the one that is open. A removed file is written again from the open one, which the
    /// operating system keeps until it is closed.
    pub(super) fn restore_removed(&mut self) -> Result<(), KeepError> {
        let Some(folder) = self.path.parent().map(Path::to_owned) else { return Ok(()) };
        let failed =
            |reason: String| KeepError { place: self.path.display().to_string(), reason, fenced: false };
        match identity(&self.path) {
            Ok(identity) if identity == self.identity => return Ok(()),
            Ok(_) => {
                let reason =
                    "was replaced by another file while the daemon runs; restart the daemon to use that file";
                return Err(failed(reason.to_owned()));
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(failed(e.to_string())),
        }
        if !std::mem::replace(&mut self.reported, true) {
            tracing::error!(target: "MainOrchestrator", "DATA_DIR {}: monitor.db was removed while the daemon runs.", folder.display());
        }
        let failed = |e: &dyn std::fmt::Display| {
            failed(format!("was removed while the daemon runs and cannot be written again: {e}"))
        };
        let lock = lock(&folder).map_err(|e| failed(&e))?;
        let copy = folder.join("monitor.db.new");
        self.db.backup(MAIN_DB, &copy, None::<fn(rusqlite::backup::Progress)>).map_err(|e| failed(&e))?;
        std::fs::rename(&copy, &self.path).map_err(|e| failed(&e))?;
        let (db, _) = prepare(&self.path).map_err(|e| failed(&judge(e, &folder, &self.path)))?;
        let identity = identity(&self.path).map_err(|e| failed(&e))?;
        (self.db, self.lock, self.identity, self.reported) = (db, lock, identity, false);
        tracing::warn!(
            target: "MainOrchestrator",
            "Wrote the state to a new {}. What connectors stored in the folder is gone; their next runs start from the \
             beginning.",
            self.path.display()
        );
        Ok(())
    }
}

/// Why a database cannot be used.
type Failed = StepsError<rusqlite::Error>;

fn judge(failed: Failed, folder: &Path, path: &Path) -> OpenError {
    let shown = path.display().to_string();
    let error = match failed {
        StepsError::Newer { found, known } => return OpenError::TooNew { path: shown, found, known },
        StepsError::Database(error) => error,
    };
    // SQLite does not say why a file cannot be opened; the operating system does.
    let cause = match error.sqlite_error_code() {
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly) => {
            File::options().read(true).write(true).open(path).err()
        }
        _ => None,
    };
    match cause {
        Some(cause) => refused(folder, path, &cause),
        None if is_transient(&error) => OpenError::Unavailable { path: shown, reason: error.to_string() },
        None => OpenError::Unusable { path: shown, reason: error.to_string() },
    }
}

/// Opens and migrates the file.
fn prepare(path: &Path) -> Result<(Connection, StoredState), Failed> {
    let db = connect(path)?;
    migrate_sqlite(&db, &MIGRATIONS)?;
    let stored = read_state(&db)?;
    Ok((db, stored))
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let db = Connection::open(path)?;
    db.busy_timeout(BUSY_TIMEOUT)?;
    db.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    // The banner record must survive a power cut; writes are rare.
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "journal_size_limit", 4 << 20)?;
    Ok(db)
}

/// Whether the file is not a database, or its content was not written by this program.
fn is_damaged(error: &rusqlite::Error) -> bool {
    matches!(error, rusqlite::Error::FromSqlConversionFailure(..))
        || matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Whether a retry may succeed: locked by another program, no space, a failing disk, a read-only file system.
fn is_transient(error: &rusqlite::Error) -> bool {
    use ErrorCode::{
        CannotOpen, DatabaseBusy, DatabaseLocked, DiskFull, FileLockingProtocolFailed, OutOfMemory, ReadOnly,
        SystemIoFailure,
    };
    matches!(
        error.sqlite_error_code(),
        Some(
            DatabaseBusy
                | DatabaseLocked
                | DiskFull
                | SystemIoFailure
                | ReadOnly
                | CannotOpen
                | FileLockingProtocolFailed
                | OutOfMemory
        )
    )
}

/// Renames the database and the files that SQLite keeps beside it.
fn move_aside(path: &Path) -> io::Result<PathBuf> {
    let with_suffix = |ending: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    #[expect(clippy::disallowed_methods, reason = "the file name only shows people when it happened")]
    let now = Timestamp::now();
    let mark = format!(".damaged-{}", now.strftime("%Y%m%dT%H%M%SZ"));
    let aside = with_suffix(&mark);
    std::fs::rename(path, &aside)?;
    for ending in ["-wal", "-shm"] {
        match std::fs::rename(with_suffix(ending), with_suffix(&format!("{mark}{ending}"))) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    Ok(aside)
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = std::fs::metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

pub(super) fn lock(folder: &Path) -> Result<File, OpenError> {
    std::fs::create_dir_all(folder).map_err(|e| refused(folder, folder, &e))?;
    let path = folder.join("monitor.lock");
    let unusable = |e: io::Error| refused(folder, &path, &e);
    let mut file =
        File::options().create(true).truncate(false).read(true).write(true).open(&path).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(std::fs::TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // The content only helps the reader of the error.
            let _ = file.read_to_string(&mut holder);
            let folder = folder.display().to_string();
            return Err(OpenError::InUse { folder, holder: holder.trim().to_owned() });
        }
        Err(std::fs::TryLockError::Error(e)) => return Err(unusable(e)),
    }
    file.set_len(0).map_err(unusable)?;
    file.rewind().map_err(unusable)?;
    writeln!(file, "process {}", std::process::id()).map_err(unusable)?;
    Ok(file)
}

/// Whether this user can write where the database is or would be. Changes nothing.
pub(super) fn check(folder: &Path) -> Result<(), OpenError> {
    let existing = folder.ancestors().find(|path| path.as_os_str().is_empty() || path.exists());
    let existing = existing.filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !existing.is_dir() {
        return Err(refused(folder, existing, &ErrorKind::NotADirectory.into()));
    }
    let files = [file(folder), folder.join("monitor.lock")].into_iter().filter(|path| path.exists());
    let checked = std::iter::once((existing.to_owned(), Access::WRITE_OK | Access::EXEC_OK))
        .chain(files.map(|path| (path, Access::WRITE_OK)));
    for (path, mode) in checked {
        access(&path, mode).map_err(|e| refused(folder, &path, &e.into()))?;
    }
    if folder.exists() { Ok(()) } else { check_creation(folder, existing) }
}

/// Whether a folder can be created. Permissions are not enough: some file systems, such as /proc, refuse it all the same.
fn check_creation(folder: &Path, existing: &Path) -> Result<(), OpenError> {
    let probe = existing.join(format!(".data-sources-monitor-{}", std::process::id()));
    match std::fs::create_dir(&probe).and_then(|()| std::fs::remove_dir(&probe)) {
        // These may be temporary; the start retries them.
        Err(e)
            if !matches!(
                e.kind(),
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::ReadOnlyFilesystem
            ) =>
        {
            let (path, reason) = (folder.display().to_string(), format!("cannot be created: {e}"));
            Err(OpenError::Unusable { path, reason })
        }
        _ => Ok(()),
    }
}

/// The error for a file or folder; a refused permission names the user and the remedy.
fn refused(folder: &Path, path: &Path, error: &io::Error) -> OpenError {
    // For a file that cannot be created, the permissions of the folder matter.
    let path = if path.exists() { path } else { folder };
    let shown = path.display().to_string();
    match error.kind() {
        ErrorKind::PermissionDenied => {
            OpenError::Unusable { path: shown, reason: no_permission(folder, path) }
        }
        ErrorKind::NotADirectory
        | ErrorKind::IsADirectory
        | ErrorKind::AlreadyExists
        | ErrorKind::InvalidInput
        | ErrorKind::InvalidFilename => OpenError::Unusable { path: shown, reason: error.to_string() },
        _ => OpenError::Unavailable { path: shown, reason: error.to_string() },
    }
}

fn no_permission(folder: &Path, path: &Path) -> String {
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let owner = std::fs::metadata(path).map(|metadata| format!(" (its owner is user {})", metadata.uid()));
    let remedy = if folder.exists() {
        format!("`chown -R {user}:{group} {}`", folder.display())
    } else {
        format!("`install -d -o {user} -g {group} {}`", folder.display())
    };
    format!(
        "permission denied for user {user}{}; give it to this user with {remedy}",
        owner.unwrap_or_default()
    )
}
