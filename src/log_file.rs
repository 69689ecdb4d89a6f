//! The file behind `monitor.log`. Its name never changes, so `tail -F` keeps working across rotations.
//!
//! Rotation renames files (`monitor.log` → `monitor.log.1` → `monitor.log.2` …), by size and by age. Before
//! each line the writer checks that the name still refers to the open file. If a person or logrotate moved,
//! deleted or replaced the file, the writer opens it again. No failure reaches the caller: lines that cannot
//! be written are counted, and the next line that can be written is preceded by a notice with the number of
//! missing lines.
//!
//! This module does not buffer or format, and it creates no directories. One call of [`RotatingFile::write`]
//! is one line. Start reading at [`RotatingFile::open`], then at its `Write` implementation.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use jiff::{SignedDuration, Timestamp};

/// How long to wait after a failed rotation. Without it, every line would retry and shift the old files.
const ROTATION_RETRY: SignedDuration = SignedDuration::from_mins(1);

#[derive(Debug, thiserror::Error)]
#[error("cannot open the log file {}: {source}; {}", path.display(), advice(source))]
pub struct LogFileError {
    /// An absolute path.
    pub path: PathBuf,
    #[source]
    pub source: io::Error,
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "create its directory, or name another file",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "make it writable for this user, or name another file"
        }
        io::ErrorKind::IsADirectory => "name a file, not a directory",
        _ => "name another file, or switch the log file off",
    }
}

/// When the file is rotated, and how many old files are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// A line that would make the file longer than this many bytes starts a new file. 0: no rotation by size.
    pub size: u64,
    /// The next line rotates a file older than this. Zero: no rotation by age.
    pub age: SignedDuration,
    /// How many old files are kept. At least 1, because readers follow a rotation by the rename.
    pub keep: usize,
}

/// A message about the log file itself. The caller knows the line format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Writing works again after lines were lost.
    Lost {
        lines: u64,
        /// The error of the last failed write.
        error: String,
    },
    /// The file is due for rotation but could not be rotated. No line is lost.
    NotRotated { error: String },
}

type Announce = Box<dyn Fn(&Notice) -> String + Send>;
type NowFn = Box<dyn Fn() -> Timestamp + Send>;

/// The part of a [`RotatingFile`] that other threads may hold while a writer thread owns the file.
#[derive(Debug, Clone, Default)]
pub struct LogFileHandle(Arc<SharedFile>);

#[derive(Debug, Default)]
struct SharedFile {
    reopen: AtomicBool,
    lost: AtomicU64,
}

impl LogFileHandle {
    /// Requests that the file is opened again by its name before the next line (SIGHUP).
    pub fn reopen(&self) {
        self.0.reopen.store(true, Ordering::Release);
    }

    /// How many lines could not be written since the start.
    pub fn lost_lines(&self) -> u64 {
        self.0.lost.load(Ordering::Acquire)
    }
}

/// The log file. Each `write` is one whole line with its newline, and reports success even if the line is
/// lost.
pub struct RotatingFile {
    path: PathBuf,
    rotation: Rotation,
    announce: Announce,
    clock: NowFn,
    handle: LogFileHandle,
    open: OpenFile,
    missing: Option<Missing>,
    rotation_failed: Option<Timestamp>,
}

struct OpenFile {
    file: File,
    /// Device and inode, to detect that the name refers to another file.
    identity: (u64, u64),
    /// Creation time, as exactly as the file system knows it.
    created_at: Timestamp,
    /// The last byte is not a newline, so the next line must start with one.
    torn: bool,
}

struct Missing {
    lines: u64,
    error: String,
}

impl RotatingFile {
    /// Opens `path` for appending, or creates it. Its directory must exist.
    ///
    /// `announce` returns the text of a [`Notice`]: one line with its newline, or an empty string for none.
    pub fn open(
        path: &Path,
        rotation: Rotation,
        announce: impl Fn(&Notice) -> String + Send + 'static,
    ) -> Result<Self, LogFileError> {
        let failed = |path: &Path, source| LogFileError { path: path.to_path_buf(), source };
        // A later change of the working directory must not move the log.
        let path = std::path::absolute(path).map_err(|source| failed(path, source))?;
        let open = OpenFile::at(&path).map_err(|source| failed(&path, source))?;
        Ok(Self {
            path,
            rotation,
            announce: Box::new(announce),
            #[expect(clippy::disallowed_methods, reason = "the machine's clock; tests replace it")]
            clock: Box::new(Timestamp::now),
            handle: LogFileHandle::default(),
            open,
            missing: None,
            rotation_failed: None,
        })
    }

    /// Replaces the clock.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Fn() -> Timestamp + Send + 'static) -> Self {
        self.clock = Box::new(clock);
        self
    }

    /// A handle to request a reopen and to count lost lines.
    pub fn handle(&self) -> LogFileHandle {
        self.handle.clone()
    }

    /// The error of the last failed write, while lines are being lost.
    pub fn trouble(&self) -> Option<&str> {
        self.missing.as_ref().map(|missing| missing.error.as_str())
    }

    fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        self.follow_name()?;
        self.rotate_if_due(line.len());
        if let Some(Missing { lines, error }) = &self.missing {
            let notice = Notice::Lost { lines: *lines, error: error.clone() };
            let text = (self.announce)(&notice);
            append(&mut self.open.file, &mut self.open.torn, text.as_bytes())?;
            self.missing = None;
        }
        append(&mut self.open.file, &mut self.open.torn, line)
    }

    /// Ensures that the open file is the one that the name refers to.
    fn follow_name(&mut self) -> io::Result<()> {
        let reopen_requested = self.handle.0.reopen.swap(false, Ordering::AcqRel);
        let same = fs::metadata(&self.path).is_ok_and(|found| identity(&found) == self.open.identity);
        if same && !reopen_requested {
            return Ok(());
        }
        match OpenFile::at(&self.path) {
            Ok(open) => self.open = open,
            // A file that was moved away may still have a reader, so writing there is better than losing the
            // line.
            Err(_) if self.open.file.metadata().is_ok_and(|old| old.nlink() > 0) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn rotate_if_due(&mut self, incoming: usize) {
        let Ok(found) = self.open.file.metadata() else { return };
        if !found.is_file() {
            return;
        }
        let now = (self.clock)();
        if found.len() == 0 {
            self.open.created_at = now;
            return;
        }
        let Rotation { size, age, .. } = self.rotation;
        let too_long = size > 0 && found.len().saturating_add(incoming as u64) > size;
        // If the clock was set back, the file's creation time would stay in the future and delay rotation
        // until then.
        self.open.created_at = self.open.created_at.min(now);
        let too_old = age > SignedDuration::ZERO && now.duration_since(self.open.created_at) >= age;
        let just_failed =
            self.rotation_failed.is_some_and(|then| now.duration_since(then).abs() < ROTATION_RETRY);
        if !(too_long || too_old) || just_failed {
            return;
        }
        self.rotation_failed = None;
        if let Err(error) = self.rotate() {
            self.rotation_failed = Some(now);
            let text = (self.announce)(&Notice::NotRotated { error: error.to_string() });
            // The line that follows shows whether the new file can be written.
            let _ = append(&mut self.open.file, &mut self.open.torn, text.as_bytes());
        }
    }

    fn rotate(&mut self) -> io::Result<()> {
        // Two programs may write to one file: the one with the lock renames it, the other detects a new
        // inode.
        let lock = self.open.file.try_clone()?;
        if matches!(lock.try_lock(), Err(TryLockError::WouldBlock)) {
            return Ok(());
        }
        let rotated = self.shift_files().and_then(|()| OpenFile::at(&self.path));
        let _ = lock.unlock();
        self.open = rotated?;
        Ok(())
    }

    fn shift_files(&self) -> io::Result<()> {
        // If the name is a link, the files beside its target are rotated and the link stays.
        let found = fs::canonicalize(&self.path).and_then(|target| Ok((fs::metadata(&target)?, target)));
        match found {
            Ok((found, target)) if identity(&found) == self.open.identity => {
                shift_old(&target, self.rotation.keep.max(1))?;
                fs::rename(&target, numbered(&target, 1))
            }
            // Another process has rotated the file since the last check.
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Write for RotatingFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Err(error) = self.write_line(line) {
            let lines = self.missing.take().map_or(0, |missing| missing.lines);
            self.missing = Some(Missing { lines: lines.saturating_add(1), error: error.to_string() });
            self.handle.0.lost.fetch_add(1, Ordering::AcqRel);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Checks that the file can be written, without creating it.
///
/// # Errors
/// If it cannot be opened for writing.
pub fn check(path: &Path) -> Result<(), LogFileError> {
    let created = match OpenOptions::new().append(true).open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(path)
            .and_then(|_| std::fs::remove_file(path)),
        opened => opened.map(drop),
    };
    created.map_err(|source| LogFileError { path: path.to_path_buf(), source })
}

impl OpenFile {
    fn at(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        let found = file.metadata()?;
        Ok(Self {
            identity: identity(&found),
            created_at: created_at(&found),
            torn: ends_in_partial_line(path, &found),
            file,
        })
    }
}

fn identity(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

/// Not every file system stores the creation time; the modification time is the closest substitute.
fn created_at(found: &Metadata) -> Timestamp {
    let time = found.created().or_else(|_| found.modified());
    time.ok().and_then(|time| Timestamp::try_from(time).ok()).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn ends_in_partial_line(path: &Path, found: &Metadata) -> bool {
    if !found.is_file() || found.len() == 0 {
        return false;
    }
    let mut last = [0];
    let read = File::open(path).and_then(|file| file.read_exact_at(&mut last, found.len() - 1));
    read.is_ok() && last != *b"\n"
}

/// Writes one whole line. After an error, `torn` says whether the file ends in a partial line.
fn append(file: &mut impl Write, torn: &mut bool, line: &[u8]) -> io::Result<()> {
    if *torn && !line.is_empty() {
        put(file, torn, b"\n")?;
    }
    put(file, torn, line)
}

fn put(file: &mut impl Write, torn: &mut bool, mut rest: &[u8]) -> io::Result<()> {
    while !rest.is_empty() {
        match file.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                let (done, left) = rest.split_at(written);
                *torn = !done.ends_with(b"\n");
                rest = left;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Frees number 1: moves each old file up by one, as far as the first gap; the oldest is overwritten.
fn shift_old(target: &Path, keep: usize) -> io::Result<()> {
    let gap = (1..keep).find(|number| !numbered(target, *number).exists()).unwrap_or(keep);
    for number in (1..gap).rev() {
        fs::rename(numbered(target, number), numbered(target, number + 1))?;
    }
    Ok(())
}

fn numbered(target: &Path, number: usize) -> PathBuf {
    let mut name = OsString::from(target);
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Accepts a number of bytes, then is full until it is emptied.
    struct Disk {
        room: usize,
        holds: Vec<u8>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let fits = bytes.len().min(self.room);
            if fits == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.room -= fits;
            self.holds.extend_from_slice(&bytes[..fits]);
            Ok(fits)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// After a partial write to a full disk, the next line starts on a line of its own.
    #[test]
    fn a_partial_line_is_never_joined_with_the_next() {
        let (mut disk, mut torn) = (Disk { room: 10, holds: Vec::new() }, false);
        append(&mut disk, &mut torn, b"first\n").unwrap();
        assert!(append(&mut disk, &mut torn, b"second\n").is_err());
        assert!(append(&mut disk, &mut torn, b"third\n").is_err());
        disk.room = 100;
        append(&mut disk, &mut torn, b"fourth\n").unwrap();
        disk.room = 0;
        assert!(append(&mut disk, &mut torn, b"fifth\n").is_err());
        disk.room = 100;
        append(&mut disk, &mut torn, b"sixth\n").unwrap();
        assert_eq!(String::from_utf8(disk.holds).unwrap(), "first\nseco\nfourth\nsixth\n");
    }

    /// A rotation that fails again and again cannot push old files off the end.
    #[test]
    fn old_files_shift_up_to_the_first_gap() {
        /// The existing numbers, how many are kept, and the expected result: each number and its former
        /// number.
        type Case = (&'static [usize], usize, &'static [(usize, usize)]);
        let cases: [Case; 5] = [
            (&[], 3, &[]),
            (&[1], 3, &[(2, 1)]),
            (&[1, 2, 3], 3, &[(2, 1), (3, 2)]),
            (&[2, 3], 3, &[(2, 2), (3, 3)]),
            (&[1], 1, &[(1, 1)]),
        ];
        for (before, keep, after) in cases {
            let dir = tempfile::tempdir().unwrap();
            let target = dir.path().join("monitor.log");
            for number in before {
                fs::write(numbered(&target, *number), number.to_string()).unwrap();
            }
            shift_old(&target, keep).unwrap();
            for (number, content) in after {
                let found = fs::read_to_string(numbered(&target, *number)).unwrap();
                assert_eq!(found, content.to_string(), "{before:?} keeping {keep}: .{number}");
            }
            let count = fs::read_dir(dir.path()).unwrap().count();
            assert_eq!(count, after.len(), "{before:?} keeping {keep}");
        }
    }
}
