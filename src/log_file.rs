//! The file behind `monitor.log`: a name that never changes, so that `tail -F` works for ever.
//!
//! Rotation is by rename (`monitor.log` → `monitor.log.1` → `monitor.log.2` …), by size and by age. Before each
//! line the name is looked up again: if it was moved, deleted or replaced (by a person, by logrotate), the file is
//! opened anew. Nothing that goes wrong here reaches the caller: a line that cannot be written is counted, and the
//! first line that can be written again is preceded by one that says how many are missing.
//!
//! It does not buffer, format, or truncate what it finds, and it makes no directories. One call of
//! [`RotatingFile::write`] is one line. Start reading at [`RotatingFile::open`], then at its `Write`.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use jiff::{SignedDuration, Timestamp};

/// How long a rotation that failed is left alone: every line would try again otherwise, and shift the old files.
const ROTATION_RETRY: SignedDuration = SignedDuration::from_mins(1);

/// Why the log file could not be opened at start.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the log file {}: {source}; {}", path.display(), advice(source))]
pub struct LogFileError {
    /// The file, as an absolute path.
    pub path: PathBuf,
    /// What the operating system said.
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

/// When a file is put aside, and how many old ones stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// A line that would make the file longer than this many bytes begins a new file. 0: never by size.
    pub size: u64,
    /// A file older than this is put aside by the next line. Zero: never by age.
    pub age: SignedDuration,
    /// How many old files stay beside the current one. At least 1, because renaming is how readers keep up.
    pub keep: usize,
}

/// What the file has to say about itself, in a line of its own. The owner knows the format of lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Lines could not be written; now they can again.
    Lost {
        /// How many lines are missing.
        lines: u64,
        /// What the last failing write said.
        error: String,
    },
    /// The file is due for rotation but stays as it is for now. Nothing is lost.
    NotRotated {
        /// What the operating system said.
        error: String,
    },
}

type Announce = Box<dyn Fn(&Notice) -> String + Send>;
type Clock = Box<dyn Fn() -> Timestamp + Send>;

/// The part of a [`RotatingFile`] that others may hold while a writing thread owns the file itself.
#[derive(Debug, Clone, Default)]
pub struct LogFileHandle(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    reopen: AtomicBool,
    lost: AtomicU64,
}

impl LogFileHandle {
    /// Asks for the file to be opened anew by its name before the next line (SIGHUP).
    pub fn reopen(&self) {
        self.0.reopen.store(true, Ordering::Release);
    }

    /// How many lines could not be written since the start.
    pub fn lost_lines(&self) -> u64 {
        self.0.lost.load(Ordering::Acquire)
    }
}

/// The log file. Each `write` is one whole line with its newline, and always succeeds as far as the caller sees.
pub struct RotatingFile {
    path: PathBuf,
    rotation: Rotation,
    announce: Announce,
    clock: Clock,
    handle: LogFileHandle,
    open: Open,
    missing: Option<Missing>,
    rotation_failed: Option<Timestamp>,
}

/// The file as it was opened.
struct Open {
    file: File,
    /// Device and inode: what the name must still point to.
    identity: (u64, u64),
    /// When the file came to be, as well as the file system knows.
    born: Timestamp,
    /// The last byte is not a newline: what comes next must not be glued to half a line.
    torn: bool,
}

struct Missing {
    lines: u64,
    error: String,
}

impl RotatingFile {
    /// Opens `path` for appending, or creates it. Its directory must exist.
    ///
    /// `announce` makes the text of a [`Notice`]: one line with its newline, or nothing for silence.
    pub fn open(
        path: &Path,
        rotation: Rotation,
        announce: impl Fn(&Notice) -> String + Send + 'static,
    ) -> Result<Self, LogFileError> {
        let failed = |path: &Path, source| LogFileError { path: path.to_path_buf(), source };
        // A later change of the working directory must not move the log.
        let path = std::path::absolute(path).map_err(|source| failed(path, source))?;
        let open = Open::at(&path).map_err(|source| failed(&path, source))?;
        Ok(Self {
            path,
            rotation,
            announce: Box::new(announce),
            clock: Box::new(Timestamp::now),
            handle: LogFileHandle::default(),
            open,
            missing: None,
            rotation_failed: None,
        })
    }

    /// The same file with another idea of the present moment.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Fn() -> Timestamp + Send + 'static) -> Self {
        self.clock = Box::new(clock);
        self
    }

    /// What others hold to ask for a reopening and to count losses.
    pub fn handle(&self) -> LogFileHandle {
        self.handle.clone()
    }

    /// What the last failing write said, while lines are being lost.
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

    /// Makes sure that the open file is the one the name points to.
    fn follow_name(&mut self) -> io::Result<()> {
        let asked = self.handle.0.reopen.swap(false, Ordering::AcqRel);
        let same = fs::metadata(&self.path).is_ok_and(|found| identity(&found) == self.open.identity);
        if same && !asked {
            return Ok(());
        }
        match Open::at(&self.path) {
            Ok(open) => self.open = open,
            // A file that was moved away still has a reader who can find it: better there than nowhere.
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
            self.open.born = now;
            return;
        }
        let Rotation { size, age, .. } = self.rotation;
        let too_long = size > 0 && found.len().saturating_add(incoming as u64) > size;
        // A clock that was set back would otherwise leave the file in the future, and whole, until it catches up.
        self.open.born = self.open.born.min(now);
        let too_old = age > SignedDuration::ZERO && now.duration_since(self.open.born) >= age;
        let just_failed =
            self.rotation_failed.is_some_and(|then| now.duration_since(then).abs() < ROTATION_RETRY);
        if !(too_long || too_old) || just_failed {
            return;
        }
        self.rotation_failed = None;
        if let Err(error) = self.rotate() {
            self.rotation_failed = Some(now);
            let text = (self.announce)(&Notice::NotRotated { error: error.to_string() });
            // Whether this can be written shows with the line that follows.
            let _ = append(&mut self.open.file, &mut self.open.torn, text.as_bytes());
        }
    }

    fn rotate(&mut self) -> io::Result<()> {
        // Two programs may write to one file: the one that has the lock renames, the other finds a new inode.
        let lock = self.open.file.try_clone()?;
        if matches!(lock.try_lock(), Err(TryLockError::WouldBlock)) {
            return Ok(());
        }
        let rotated = self.put_aside().and_then(|()| Open::at(&self.path));
        let _ = lock.unlock();
        self.open = rotated?;
        Ok(())
    }

    fn put_aside(&self) -> io::Result<()> {
        // Where the name is a link, the files beside its target rotate and the link stays.
        let found = fs::canonicalize(&self.path).and_then(|target| Ok((fs::metadata(&target)?, target)));
        match found {
            Ok((found, target)) if identity(&found) == self.open.identity => {
                shift_old(&target, self.rotation.keep.max(1))?;
                fs::rename(&target, numbered(&target, 1))
            }
            // It was put aside already, by somebody else, since the last look.
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

/// Whether the file can be written, without leaving anything where there is none yet.
///
/// # Errors
/// Why it cannot.
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

impl Open {
    fn at(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        let found = file.metadata()?;
        Ok(Self { identity: identity(&found), born: born(&found), torn: ends_torn(path, &found), file })
    }
}

fn identity(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

/// Not every file system knows when a file was made; the last change is then the nearest thing.
fn born(found: &Metadata) -> Timestamp {
    let time = found.created().or_else(|_| found.modified());
    time.ok().and_then(|time| Timestamp::try_from(time).ok()).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn ends_torn(path: &Path, found: &Metadata) -> bool {
    if !found.is_file() || found.len() == 0 {
        return false;
    }
    let mut last = [0];
    let read = File::open(path).and_then(|file| file.read_exact_at(&mut last, found.len() - 1));
    read.is_ok() && last != *b"\n"
}

/// Writes one line whole, or says why not; `torn` tells from then on whether a part of a line stands at the end.
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

/// Frees the number 1 by moving each old file up by one, as far as the first gap; the oldest is overwritten.
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

    /// Takes so many bytes, then is full until it is emptied.
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

    /// A disk that fills up in the middle of a line leaves half a line, and the next one still starts its own.
    #[test]
    fn half_a_line_is_never_glued_to_the_next() {
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

    /// Old files move up only as far as the first gap: a rotation that keeps failing cannot push them off the end.
    #[test]
    fn old_files_shift_up_to_the_first_gap() {
        /// The numbers that are there, how many are kept, and what is found then: a number and the one it had.
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
