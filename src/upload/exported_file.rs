//! Exported files on this machine.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

use bytes::Bytes;
use jiff::Timestamp;

use crate::domain::syncing::delivery::{FailureKind, FileForUpload, StepFailure};
use crate::export::ExportReport;

/// Describes the files of an export as they are now. May block.
///
/// # Errors
/// If one cannot be read.
pub fn files_of(export: &ExportReport) -> io::Result<Vec<FileForUpload>> {
    let described = export.present().map(|file| {
        let metadata = std::fs::metadata(&file.path)?;
        let (bytes, modified) = (metadata.len(), modified(&metadata)?);
        let (table, path, format) = (file.table.clone(), file.path.clone(), file.format);
        Ok(FileForUpload { table, path, bytes, modified, format })
    });
    described.collect()
}

/// Reads a part of the file that was offered.
pub(super) async fn read(file: &FileForUpload, offset: u64, length: u64) -> Result<Bytes, StepFailure> {
    let wanted = file.clone();
    let work = move || read_part(&wanted, offset, length);
    let read = tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| Err(io::Error::other(e)));
    let path = shown(&file.path);
    match read {
        Ok(Some(content)) => Ok(content),
        Ok(None) => Err(replaced(format!("{path} was replaced during the upload"))),
        Err(e) if e.kind() == ErrorKind::NotFound => Err(replaced(format!("{path} is gone"))),
        Err(e) => Err(StepFailure::new(FailureKind::Transient, format!("cannot read {path}: {e}"))),
    }
}

/// `None` if the file is another one. The open file stays the same, even if it is replaced.
fn read_part(wanted: &FileForUpload, offset: u64, length: u64) -> io::Result<Option<Bytes>> {
    let mut file = File::open(&wanted.path)?;
    let metadata = file.metadata()?;
    if metadata.len() != wanted.bytes || modified(&metadata)? != wanted.modified {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(offset))?;
    let mut content = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    file.take(length).read_to_end(&mut content)?;
    Ok((content.len() as u64 == length).then(|| content.into()))
}

fn modified(metadata: &Metadata) -> io::Result<Timestamp> {
    Timestamp::try_from(metadata.modified()?).map_err(io::Error::other)
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn replaced(detail: String) -> StepFailure {
    StepFailure::new(FailureKind::FileReplaced, detail)
}
