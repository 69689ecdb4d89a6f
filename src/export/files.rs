//! The files of an export: each is written beside its place, synced and renamed, so that readers see the old or the new file.
//!
//! `_files.json` beside them says which state of a table each file has. It is written after the file, so that a crash in
//! between costs one more export and never a missing one. Start at [`ExportFolder::open`].

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::ExportError;
use crate::domain::file_format::FileFormat;
use crate::export::rows::ChangeMark;

const LIST: &str = "_files.json";
const LOCK: &str = ".lock";

/// The end of names of files that are being written.
const DRAFT: &str = ".part";

/// Bytes of a file's name without its ending; file systems allow 255.
const LONGEST_NAME: usize = 200;

/// What is known of one exported file.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct FileEntry {
    pub(super) file: String,
    pub(super) format: FileFormat,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    /// The run after which it was written.
    pub(super) run: i64,
    /// The run that last changed the table.
    pub(super) changed: Option<ChangeMark>,
    /// Fingerprint of columns, key and rules; empty if the file must be written again.
    pub(super) layout: String,
}

/// The files in a folder, by table.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
struct FileList {
    files: BTreeMap<String, FileEntry>,
}

/// The folder of a connector, locked.
pub(super) struct ExportFolder {
    path: PathBuf,
    list: FileList,
    _lock: File,
}

impl ExportFolder {
    /// Creates and locks the folder, and removes what an interrupted export left. Blocking.
    pub(super) fn open(dir: &Path, connector: &str) -> Result<ExportFolder, ExportError> {
        let path = folder_of(dir, connector);
        std::fs::create_dir_all(&path).map_err(|e| ExportError::file("create", &path, &e))?;
        let lock = lock(&path)?;
        let entries = std::fs::read_dir(&path).map_err(|e| ExportError::file("read", &path, &e))?;
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with('.') && name.ends_with(DRAFT) {
                // A leftover that stays is replaced by the next draft.
                let _ = std::fs::remove_file(entry.path());
            }
        }
        // A list that cannot be read costs one more export.
        let text = std::fs::read(path.join(LIST)).unwrap_or_default();
        let mut list: FileList = serde_json::from_slice(&text).unwrap_or_default();
        // A file that was deleted or changed is written again.
        list.files.retain(|_, entry| {
            let found = std::fs::metadata(path.join(&entry.file));
            found.is_ok_and(|found| found.is_file() && found.len() == entry.bytes)
        });
        Ok(ExportFolder { path, list, _lock: lock })
    }

    pub(super) fn path_of(&self, table: &str, format: FileFormat) -> PathBuf {
        self.path.join(format!("{}.{}", file_name(table), format.as_str()))
    }

    /// What is known of the file of a table, if it was there when the folder was opened.
    pub(super) fn entry(&self, table: &str) -> Option<&FileEntry> {
        self.list.files.get(table)
    }

    /// Records a file that was just put in its place, and removes the table's file in another format.
    pub(super) fn record(&mut self, table: &str, entry: FileEntry) -> Result<(), ExportError> {
        let file = entry.file.clone();
        let before = self.list.files.insert(table.to_owned(), entry);
        let to = self.path.join(LIST);
        let text = serde_json::to_vec_pretty(&self.list);
        let text = text.map_err(|e| ExportError::new(format!("cannot write {}: {e}", to.display())))?;
        let draft = self.path.join(format!(".{LIST}{DRAFT}"));
        let written = (|| {
            let mut out = File::create(&draft)?;
            out.write_all(&text)?;
            out.sync_all()?;
            std::fs::rename(&draft, &to)?;
            sync_folder(&self.path)
        })();
        written.map_err(|e| ExportError::file("write", &to, &e))?;
        if let Some(before) = before.filter(|before| before.file != file) {
            let _ = std::fs::remove_file(self.path.join(before.file));
        }
        Ok(())
    }
}

/// Where the files of a connector are.
pub(super) fn folder_of(dir: &Path, connector: &str) -> PathBuf {
    dir.join(file_name(connector))
}

fn lock(folder: &Path) -> Result<File, ExportError> {
    let path = folder.join(LOCK);
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|e| ExportError::file("create", &path, &e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(ExportError::busy(folder)),
        Err(TryLockError::Error(e)) => Err(ExportError::file("lock", &path, &e)),
    }
}

/// A file that is being written beside its place. It is removed unless it is put there.
pub(super) struct DraftFile {
    path: PathBuf,
    to: PathBuf,
    file: File,
    failure: Arc<OnceLock<i32>>,
}

/// Where the content goes. It keeps the system's error, which the writers of formats do not.
pub(super) struct DraftOutput {
    file: File,
    failure: Arc<OnceLock<i32>>,
}

impl DraftFile {
    /// Starts a new file beside its place. Blocking.
    pub(super) fn create(to: PathBuf) -> Result<DraftFile, ExportError> {
        let name = to.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let path = to.with_file_name(format!(".{name}{DRAFT}"));
        let file = File::create(&path).map_err(|e| ExportError::file("create", &path, &e))?;
        Ok(DraftFile { path, to, file, failure: Arc::default() })
    }

    pub(super) fn output(&self) -> Result<DraftOutput, ExportError> {
        let file = self.file.try_clone().map_err(|e| ExportError::file("write", &self.to, &e))?;
        Ok(DraftOutput { file, failure: Arc::clone(&self.failure) })
    }

    /// The error of a failed write.
    pub(super) fn error(&self, error: &dyn std::error::Error) -> ExportError {
        match self.failure.get() {
            Some(code) => ExportError::file("write", &self.to, &io::Error::from_raw_os_error(*code)),
            None => ExportError::new(format!("cannot write {}: {error}", self.to.display())),
        }
    }

    /// Syncs the content and puts the file in its place. Returns its path and size.
    pub(super) fn put(self) -> Result<(PathBuf, u64), ExportError> {
        let put = || -> io::Result<u64> {
            self.file.sync_all()?;
            let bytes = self.file.metadata()?.len();
            std::fs::rename(&self.path, &self.to)?;
            if let Some(folder) = self.to.parent() {
                sync_folder(folder)?;
            }
            Ok(bytes)
        };
        let bytes = put().map_err(|e| ExportError::file("write", &self.to, &e))?;
        Ok((self.to.clone(), bytes))
    }
}

impl Drop for DraftFile {
    fn drop(&mut self) {
        // It is gone if it was put in its place.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Write for DraftOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes);
        if let Err(code) = written.as_ref().map_err(|e| e.raw_os_error().unwrap_or_default()) {
            self.failure.get_or_init(|| code);
        }
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A rename is durable once its folder is.
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// The name of a table or connector as a file name: letters, digits, `_` and `-` stay, other bytes become `%XX`, long names
/// are cut and made distinct.
fn file_name(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    if out.len() > LONGEST_NAME {
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        out.truncate(LONGEST_NAME);
        out.push_str(&format!("-{hash:016x}"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_a_file_name_of_its_own() {
        let long = "a".repeat(300);
        let other = format!("{long}b");
        let names = ["orders", "a/b", "a%2Fb", "..", ".", "", "naïve", "two words", "CON", &long, &other];
        let files: Vec<String> = names.iter().map(|name| file_name(name)).collect();
        for (name, file) in names.iter().zip(&files) {
            assert!(!file.contains('/') && !file.starts_with('.') && file.len() < 240, "{name}: {file}");
            assert_eq!(files.iter().filter(|other| *other == file).count(), 1, "{name}: {file}");
        }
        assert_eq!(&files[..3], ["orders", "a%2Fb", "a%252Fb"]);
    }
}
