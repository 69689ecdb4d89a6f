//! `DATA_DIR` and `monitor.db` in it: opened, locked, checked, and written anew where it was damaged or removed.
//!
//! Start at [`Opened::open`].

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, MAIN_DB};
use rustix::fs::{Access, access};

use super::super::{Damaged, KeepError, Kept, OpenError};
use super::{BUSY_TIMEOUT, file, migrate, read_kept};

/// An open database and the lock of its folder.
pub(super) struct Opened {
    pub(super) db: Connection,
    path: PathBuf,
    lock: File,
    /// Device and inode of the database file, by which a removed or replaced one is noticed.
    identity: (u64, u64),
    /// Whether the log has the error that the file is gone.
    reported: bool,
}

impl Opened {
    /// Opens or creates the database. A damaged one may be renamed and kept, and a new one takes its place: history is no
    /// reason not to monitor.
    pub(super) fn open(folder: &Path, damaged: Damaged) -> Result<(Opened, Kept), OpenError> {
        let lock = lock(folder)?;
        let path = file(folder);
        let (db, kept) = match prepare(&path) {
            Err(Failed::Sqlite(e)) if is_damaged(&e) && damaged == Damaged::Replace => {
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
        .map_err(|e| e.judge(folder, &path))?;
        let identity = identity(&path).map_err(|e| refused(folder, &path, &e))?;
        Ok((Opened { db, path, lock, identity, reported: false }, kept))
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes sure that the file is still the one that is open. A removed one is written anew from the open one, which
    /// the system keeps as long as it is open.
    pub(super) fn restore_removed(&mut self) -> Result<(), KeepError> {
        let Some(folder) = self.path.parent().map(Path::to_owned) else { return Ok(()) };
        let failed =
            |reason: String| KeepError { place: self.path.display().to_string(), reason, fenced: false };
        match identity(&self.path) {
            Ok(identity) if identity == self.identity => return Ok(()),
            Ok(_) => {
                let reason =
                    "another file took its place while the daemon runs; restart the daemon to use that file";
                return Err(failed(reason.to_owned()));
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(failed(e.to_string())),
        }
        if !std::mem::replace(&mut self.reported, true) {
            tracing::error!(target: "MainOrchestrator", "DATA_DIR {}: monitor.db was removed while the daemon runs.", folder.display());
        }
        let failed = |e: &dyn std::fmt::Display| {
            failed(format!("removed while the daemon runs, and cannot be written again: {e}"))
        };
        let lock = lock(&folder).map_err(|e| failed(&e))?;
        let copy = folder.join("monitor.db.new");
        self.db.backup(MAIN_DB, &copy, None::<fn(rusqlite::backup::Progress)>).map_err(|e| failed(&e))?;
        std::fs::rename(&copy, &self.path).map_err(|e| failed(&e))?;
        let (db, _) = prepare(&self.path).map_err(|e| failed(&e.judge(&folder, &self.path)))?;
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
enum Failed {
    Sqlite(rusqlite::Error),
    TooNew { found: i64, known: i64 },
}

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Failed {
        Failed::Sqlite(error)
    }
}

impl Failed {
    fn judge(self, folder: &Path, path: &Path) -> OpenError {
        let shown = path.display().to_string();
        let error = match self {
            Failed::TooNew { found, known } => return OpenError::TooNew { path: shown, found, known },
            Failed::Sqlite(error) => error,
        };
        // SQLite does not say why a file cannot be opened; the system does.
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
}

/// Opens the file and brings it up to date.
fn prepare(path: &Path) -> Result<(Connection, Kept), Failed> {
    let mut db = connect(path)?;
    if let Some((found, known)) = migrate(&mut db)? {
        return Err(Failed::TooNew { found, known });
    }
    let kept = read_kept(&db)?;
    Ok((db, kept))
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let db = Connection::open(path)?;
    db.busy_timeout(BUSY_TIMEOUT)?;
    db.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    // A banner's memory must survive a power cut; writes are rare.
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "journal_size_limit", 4 << 20)?;
    Ok(db)
}

/// The file is no database, or what is in it was not written by this program.
fn is_damaged(error: &rusqlite::Error) -> bool {
    matches!(error, rusqlite::Error::FromSqlConversionFailure(..))
        || matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Locked by another program, no space, a failing disk, a read-only file system: that may be over by itself.
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

/// Renames the database and what SQLite keeps beside it.
fn move_aside(path: &Path) -> io::Result<PathBuf> {
    let named = |ending: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let mark = format!(".damaged-{}", Timestamp::now().strftime("%Y%m%dT%H%M%SZ"));
    let aside = named(&mark);
    std::fs::rename(path, &aside)?;
    for ending in ["-wal", "-shm"] {
        match std::fs::rename(named(ending), named(&format!("{mark}{ending}"))) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    Ok(aside)
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let about = std::fs::metadata(path)?;
    Ok((about.dev(), about.ino()))
}

fn lock(folder: &Path) -> Result<File, OpenError> {
    std::fs::create_dir_all(folder).map_err(|e| refused(folder, folder, &e))?;
    let path = folder.join("monitor.lock");
    let unusable = |e: io::Error| refused(folder, &path, &e);
    let mut file =
        File::options().create(true).truncate(false).read(true).write(true).open(&path).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(std::fs::TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // What it says is only a help for the reader.
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
    let there = folder.ancestors().find(|path| path.as_os_str().is_empty() || path.exists());
    let there = there.filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !there.is_dir() {
        return Err(refused(folder, there, &ErrorKind::NotADirectory.into()));
    }
    let files = [file(folder), folder.join("monitor.lock")].into_iter().filter(|path| path.exists());
    let checked = std::iter::once((there.to_owned(), Access::WRITE_OK | Access::EXEC_OK))
        .chain(files.map(|path| (path, Access::WRITE_OK)));
    for (path, how) in checked {
        access(&path, how).map_err(|e| refused(folder, &path, &e.into()))?;
    }
    Ok(())
}

/// What the system says of a file or folder, with the user it refused and the remedy.
fn refused(folder: &Path, path: &Path, error: &io::Error) -> OpenError {
    // Of a file that cannot be created the folder says who may.
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
    let owner = std::fs::metadata(path).map(|about| format!(" (its owner is user {})", about.uid()));
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
