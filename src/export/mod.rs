//! Exports tables as Parquet or CSV files, from both kinds of destinations.
//!
//! An export is no destination: rows and checkpoints stay in the database, and a file is a snapshot of a table after a run.
//! A table is due for export if its file is missing, has another layout, or is older than the last run that changed the table:
//! the run history and the list of files decide, so that a crash forgets nothing. Start at [`export`].

mod canonical;
mod columns;
mod csv_file;
mod files;
mod parquet_file;
mod rows;
mod table_file;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::{Timestamp, TimestampRound, Unit};
use tokio_util::sync::CancellationToken;

use crate::destinations::postgres::names::Names;
use crate::destinations::postgres::schema;
use crate::destinations::{DestinationError, DestinationKind, NewestRun, sqlite_file};
use crate::domain::file_format::FileFormat;
use crate::domain::syncing::op::{End, TableShape};
use columns::TableLayout;
use files::{ExportFolder, FileEntry};
use rows::postgres::PostgresSnapshot;
use rows::sqlite::SqliteSnapshot;
use rows::{HistoryFacts, Snapshot};
use table_file::TableFileFailure;

/// Where and how tables are exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportOptions {
    /// The files are in a subfolder with the name of the connector.
    pub dir: PathBuf,
    pub format: FileFormat,
    /// Also after runs that ended `partial`.
    pub partial: bool,
    /// Also rows that are marked deleted.
    pub deleted: bool,
}

/// Which tables are exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExportScope {
    /// Those that are due, if the last run ended as the options require.
    Due,
    /// All, whatever the last run was.
    All,
    /// These, whatever the last run was.
    Tables(Vec<String>),
    /// As [`ExportScope::Due`], of these tables.
    DueOf(Vec<String>),
}

impl ExportScope {
    /// The tables that it names.
    fn names(&self) -> &[String] {
        match self {
            ExportScope::Tables(names) | ExportScope::DueOf(names) => names,
            ExportScope::Due | ExportScope::All => &[],
        }
    }
}

/// A file that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportedFile {
    pub table: String,
    pub path: PathBuf,
    pub format: FileFormat,
    pub rows: u64,
    pub bytes: u64,
}

/// What an export did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExportReport {
    /// The newest run in the files.
    pub run: i64,
    /// How that run ended.
    pub end: Option<End>,
    pub files: Vec<ExportedFile>,
    /// Files of the selected tables that are up to date.
    pub unchanged: Vec<ExportedFile>,
    /// Tables whose export failed, and why; a table without a name stands for all.
    pub failures: Vec<(String, String)>,
}

impl ExportReport {
    /// All files of the selected tables.
    pub fn present(&self) -> impl Iterator<Item = &ExportedFile> {
        self.files.iter().chain(&self.unchanged)
    }

    /// Rows of the files that were written.
    pub fn rows(&self) -> u64 {
        self.files.iter().map(|file| file.rows).sum()
    }

    /// Why files are missing, in one sentence.
    pub fn failure(&self) -> Option<String> {
        let (table, reason) = self.failures.first()?;
        Some(match self.failures.len() {
            1 if table.is_empty() => reason.clone(),
            1 => format!("table {table}: {reason}"),
            several => format!("{several} tables, first {table}: {reason}"),
        })
    }
}

/// The result of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExportOutcome {
    Done(ExportReport),
    /// Nothing may be exported now, and why.
    Skipped(String),
    /// Stopped on request; what is due stays due.
    Stopped,
}

/// Why nothing was exported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct ExportError {
    reason: String,
    is_busy: bool,
}

impl ExportError {
    pub(crate) fn new(reason: impl Into<String>) -> ExportError {
        ExportError { reason: reason.into(), is_busy: false }
    }

    fn busy(folder: &Path) -> ExportError {
        let reason = format!("another export writes to {}: wait until it is done", folder.display());
        ExportError { reason, is_busy: true }
    }

    /// Another process exports to the same folder.
    pub fn is_busy(&self) -> bool {
        self.is_busy
    }

    fn file(doing: &str, path: &Path, error: &std::io::Error) -> ExportError {
        use std::io::ErrorKind as K;
        let remedy = match error.kind() {
            K::StorageFull | K::QuotaExceeded => ": free some space, or set EXPORT_DIR to another disk",
            K::PermissionDenied | K::ReadOnlyFilesystem => {
                ": give the daemon the right to write there, or set EXPORT_DIR to another folder"
            }
            _ => "",
        };
        ExportError::new(format!("cannot {doing} {}: {error}{remedy}", path.display()))
    }
}

impl From<DestinationError> for ExportError {
    fn from(error: DestinationError) -> Self {
        ExportError::new(error.to_string())
    }
}

/// How far an export is, for display.
#[derive(Debug, Default)]
pub struct ExportProgress {
    /// Rows of the current table that were read.
    pub rows: Arc<AtomicU64>,
    table: std::sync::Mutex<String>,
}

impl ExportProgress {
    /// The current table.
    pub fn table(&self) -> String {
        self.table.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    fn start(&self, table: &str) {
        table.clone_into(&mut self.table.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        self.rows.store(0, Ordering::Relaxed);
    }
}

/// Removes the exported files of a connector. Blocking.
///
/// # Errors
/// If the folder exists and cannot be removed.
pub fn remove(dir: &Path, connector: &str) -> std::io::Result<()> {
    match std::fs::remove_dir_all(files::folder_of(dir, connector)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Exports tables of a connector. A table that fails does not keep the others from their files.
///
/// # Errors
/// When the database cannot be read, or another process exports to the folder.
pub async fn export(
    place: &DestinationKind,
    connector: &str,
    options: &ExportOptions,
    scope: &ExportScope,
    progress: &ExportProgress,
    stop: &CancellationToken,
) -> Result<ExportOutcome, ExportError> {
    let never = || Ok(ExportOutcome::Skipped(format!("{connector} has never synced")));
    let work = |snapshot| ExportWork { connector, options, scope, progress, stop, snapshot };
    match place {
        DestinationKind::Sqlite(folder) => {
            let Some(snapshot) = SqliteSnapshot::open(&sqlite_file(folder, connector)).await? else {
                return never();
            };
            work(Snapshot::Sqlite(snapshot)).run().await
        }
        DestinationKind::Postgres(database) => {
            let names = Names::new(connector);
            let place = format!("{}, schema {}", database.name(), names.schema);
            let connected = database.connect_patiently().await;
            let mut connected = connected.map_err(DestinationError::from)?;
            let exists = schema::exists(&connected.client, &names, &place).await;
            if !exists.map_err(|failure| failure.into_error(database, "opening the schema"))? {
                return never();
            }
            let snapshot = PostgresSnapshot::begin(&mut connected, &names).await?;
            work(Snapshot::Postgres(snapshot)).run().await
        }
    }
}

/// An export within a snapshot.
struct ExportWork<'a> {
    connector: &'a str,
    options: &'a ExportOptions,
    scope: &'a ExportScope,
    progress: &'a ExportProgress,
    stop: &'a CancellationToken,
    snapshot: Snapshot<'a>,
}

impl ExportWork<'_> {
    async fn run(&self) -> Result<ExportOutcome, ExportError> {
        let history = self.snapshot.history().await?;
        let last = match self.newest_run(&history) {
            Ok(last) => last,
            Err(why) => return Ok(ExportOutcome::Skipped(why)),
        };
        let shapes = self.snapshot.shapes().await?;
        self.check_names(&shapes)?;
        let (dir, connector) = (self.options.dir.clone(), self.connector.to_owned());
        let opened = tokio::task::spawn_blocking(move || ExportFolder::open(&dir, &connector)).await;
        let mut report = ExportReport { run: last.number, end: last.end, ..ExportReport::default() };
        let mut folder = match opened.map_err(|e| ExportError::new(format!("interrupted: {e}")))? {
            Ok(folder) => folder,
            Err(error) if error.is_busy() => return Err(error),
            Err(error) => {
                report.failures.push((String::new(), error.to_string()));
                return Ok(ExportOutcome::Done(report));
            }
        };
        for shape in shapes.values().filter(|shape| self.is_selected(&shape.table)) {
            let mut layout = TableLayout::of(shape, self.options.deleted);
            if let Some(present) = self.up_to_date(&folder, &history, &layout) {
                report.unchanged.push(present);
                continue;
            }
            let written = match self.export_table(&folder, &history, last, &mut layout).await {
                Ok((file, entry)) => {
                    let table = shape.table.clone();
                    // Syncing may take long on a slow disk, and hangs on a network volume that is gone.
                    let recorded = tokio::task::spawn_blocking(move || {
                        let recorded = folder.record(&table, entry);
                        (folder, recorded)
                    });
                    let recorded =
                        recorded.await.map_err(|e| ExportError::new(format!("interrupted: {e}")))?;
                    folder = recorded.0;
                    recorded.1.map(|()| file).map_err(TableFileFailure::from)
                }
                Err(failure) => Err(failure),
            };
            match written {
                Ok(file) => report.files.push(file),
                Err(TableFileFailure::Stopped) => return Ok(ExportOutcome::Stopped),
                Err(TableFileFailure::Failed(error)) => {
                    report.failures.push((shape.table.clone(), error.to_string()));
                }
            }
        }
        Ok(ExportOutcome::Done(report))
    }

    /// The newest run of the snapshot. `Err` if the scope requires another end of it.
    fn newest_run<'h>(&self, history: &'h HistoryFacts) -> Result<&'h NewestRun, String> {
        let Some(last) = &history.newest else { return Err(format!("{} has never synced", self.connector)) };
        let is_accepted = match last.end {
            Some(End::Complete) => true,
            Some(End::Partial) => self.options.partial,
            _ => false,
        };
        if is_accepted || matches!(self.scope, ExportScope::All | ExportScope::Tables(_)) {
            return Ok(last);
        }
        let end = last.end.map_or("is not finished".to_owned(), |end| format!("ended {}", end.as_str()));
        Err(format!("the last run (#{}) {end}", last.number))
    }

    fn check_names(&self, shapes: &BTreeMap<String, TableShape>) -> Result<(), ExportError> {
        let Some(unknown) = self.scope.names().iter().find(|name| !shapes.contains_key(*name)) else {
            return Ok(());
        };
        let known = shapes.keys().cloned().collect::<Vec<_>>().join(", ");
        Err(ExportError::new(format!("{} has no table {unknown}; its tables: {known}", self.connector)))
    }

    fn is_selected(&self, table: &str) -> bool {
        let names = self.scope.names();
        names.is_empty() || names.iter().any(|name| name == table)
    }

    /// The file of a table that need not be written again.
    fn up_to_date(
        &self,
        folder: &ExportFolder,
        history: &HistoryFacts,
        layout: &TableLayout,
    ) -> Option<ExportedFile> {
        if matches!(self.scope, ExportScope::All | ExportScope::Tables(_)) {
            return None;
        }
        let entry = folder.entry(&layout.table)?;
        let is_same = entry.format == self.options.format
            && entry.layout == layout.fingerprint()
            && entry.changed.as_ref() == history.changed.get(&layout.table);
        is_same.then(|| ExportedFile {
            table: layout.table.clone(),
            path: folder.path_of(&layout.table, entry.format),
            format: entry.format,
            rows: entry.rows,
            bytes: entry.bytes,
        })
    }

    async fn export_table(
        &self,
        folder: &ExportFolder,
        history: &HistoryFacts,
        last: &NewestRun,
        layout: &mut TableLayout,
    ) -> Result<(ExportedFile, FileEntry), TableFileFailure> {
        let table = layout.table.clone();
        let (format, fingerprint) = (self.options.format, layout.fingerprint());
        let metadata = self.metadata(&table, last);
        self.progress.start(&table);
        let rows = &self.progress.rows;
        let written =
            table_file::write(&self.snapshot, folder, layout, format, &metadata, rows, self.stop).await?;
        let file = written.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let changed = history.changed.get(&table).cloned();
        // A run in progress may change the table further without another mark.
        let layout = if last.end.is_some() { fingerprint } else { String::new() };
        let (rows, bytes, run) = (written.rows, written.bytes, last.number);
        let entry = FileEntry { file, format, rows, bytes, run, changed, layout };
        Ok((ExportedFile { table, path: written.path, format, rows, bytes }, entry))
    }

    /// What the file says about itself.
    fn metadata(&self, table: &str, last: &NewestRun) -> Vec<(String, String)> {
        // PostgreSQL keeps microseconds.
        let round = TimestampRound::new().smallest(Unit::Microsecond).mode(jiff::RoundMode::Floor);
        let checkpoint = last.ended.and_then(|at| at.round(round).ok()).map(|at| Timestamp::to_string(&at));
        let pairs = [
            ("connector", self.connector.to_owned()),
            ("table", table.to_owned()),
            ("run", last.number.to_string()),
            ("checkpoint", checkpoint.unwrap_or_default()),
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ];
        pairs.into_iter().map(|(key, value)| (format!("dsm.{key}"), value)).collect()
    }
}
