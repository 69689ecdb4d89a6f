//! Writes the file of one table: a thread for the file, while rows are read.
//!
//! If a value has no exact form in its column's type, the file is started again with that column as text. Start at
//! [`write()`].

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio_util::sync::CancellationToken;

use super::ExportError;
use super::columns::TableLayout;
use super::csv_file::CsvFile;
use super::files::{DraftFile, DraftOutput, ExportFolder};
use super::parquet_file::ParquetFile;
use super::rows::feed::{self, GroupQueue};
use super::rows::{ReadFailure, Snapshot};
use crate::destinations::DestinationError;
use crate::domain::file_format::FileFormat;

/// Bytes of CSV that are written at once.
const CSV_BUFFER: usize = 256 << 10;

/// A file in its place.
pub(super) struct WrittenFile {
    pub(super) path: PathBuf,
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

#[derive(Debug)]
pub(super) enum TableFileFailure {
    Stopped,
    Failed(ExportError),
}

impl From<ExportError> for TableFileFailure {
    fn from(error: ExportError) -> Self {
        TableFileFailure::Failed(error)
    }
}

impl From<DestinationError> for TableFileFailure {
    fn from(error: DestinationError) -> Self {
        TableFileFailure::Failed(error.into())
    }
}

pub(super) async fn write(
    snapshot: &Snapshot<'_>,
    folder: &ExportFolder,
    layout: &mut TableLayout,
    format: FileFormat,
    metadata: &[(String, String)],
    rows: &Arc<AtomicU64>,
    stop: &CancellationToken,
) -> Result<WrittenFile, TableFileFailure> {
    snapshot.measure(layout).await?;
    loop {
        rows.store(0, Ordering::Relaxed);
        let (to, columns, about) = (folder.path_of(&layout.table, format), layout.clone(), metadata.to_vec());
        let started = tokio::task::spawn_blocking(move || {
            let draft = DraftFile::create(to)?;
            let output = TableOutput::create(&draft, &columns, format, &about)?;
            Ok::<_, ExportError>((draft, output))
        });
        let (draft, output) = started.await.map_err(|e| interrupted(&e))??;
        let (feed, queue) = feed::channel(layout, Arc::clone(rows), stop.clone());
        let names: Vec<String> = layout.columns.iter().map(|column| column.name.clone()).collect();
        let writing = tokio::task::spawn_blocking(move || write_groups(output, draft, queue, &names));
        let read = snapshot.read(layout, feed).await;
        // The reader's end is closed, so that the writer ends too.
        let written = writing.await.map_err(|e| interrupted(&e))?;
        match read {
            Err(ReadFailure::NeedsText(place)) => layout.as_text(place),
            Err(ReadFailure::Stopped) => return Err(TableFileFailure::Stopped),
            Err(ReadFailure::Failed(error)) => return Err(error.into()),
            Ok(()) | Err(ReadFailure::WriterGone) => {
                let draft = written?;
                let put = tokio::task::spawn_blocking(move || draft.put()).await;
                let (path, bytes) = put.map_err(|e| interrupted(&e))??;
                return Ok(WrittenFile { path, rows: rows.load(Ordering::Relaxed), bytes });
            }
        }
    }
}

fn interrupted(error: &tokio::task::JoinError) -> ExportError {
    ExportError::new(format!("writing was interrupted: {error}"))
}

/// Writes groups until the reader's end is closed.
fn write_groups(
    mut output: TableOutput,
    draft: DraftFile,
    mut queue: GroupQueue,
    names: &[String],
) -> Result<DraftFile, ExportError> {
    while let Some(mut group) = queue.full.blocking_recv() {
        if let Some(name) = group.not_utf8().and_then(|place| names.get(place)) {
            let reason = format!(
                "column {name} contains text that is not UTF-8, which was changed by hand: correct it"
            );
            return Err(ExportError::new(reason));
        }
        output.write(&draft, &mut group)?;
        group.clear();
        // The reader may be done.
        let _ = queue.empty.blocking_send(group);
    }
    output.finish(&draft)?;
    Ok(draft)
}

enum TableOutput {
    Parquet(ParquetFile<DraftOutput>),
    Csv(CsvFile<std::io::BufWriter<DraftOutput>>),
}

impl TableOutput {
    fn create(
        draft: &DraftFile,
        layout: &TableLayout,
        format: FileFormat,
        metadata: &[(String, String)],
    ) -> Result<TableOutput, ExportError> {
        let out = draft.output()?;
        Ok(match format {
            FileFormat::Parquet => {
                TableOutput::Parquet(ParquetFile::create(out, layout, metadata).map_err(|e| draft.error(&e))?)
            }
            FileFormat::Csv => {
                let out = std::io::BufWriter::with_capacity(CSV_BUFFER, out);
                TableOutput::Csv(CsvFile::create(out, layout).map_err(|e| draft.error(&e))?)
            }
        })
    }

    fn write(&mut self, draft: &DraftFile, group: &mut super::columns::RowGroup) -> Result<(), ExportError> {
        match self {
            TableOutput::Parquet(file) => file.write(group).map_err(|e| draft.error(&e)),
            TableOutput::Csv(file) => file.write(group).map_err(|e| draft.error(&e)),
        }
    }

    fn finish(self, draft: &DraftFile) -> Result<(), ExportError> {
        match self {
            TableOutput::Parquet(file) => file.finish().map(drop).map_err(|e| draft.error(&e)),
            TableOutput::Csv(file) => {
                let flushed = file.finish().into_inner();
                flushed.map(drop).map_err(|e| draft.error(e.error()))
            }
        }
    }
}
