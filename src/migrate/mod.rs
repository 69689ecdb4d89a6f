//! Moves a folder of SQLite files to PostgreSQL and compares both afterwards.
//!
//! Locks block daemons and syncs on both sides during the move. A table is copied in one transaction, so that an
//! interrupted move can be repeated: tables that are equal on both sides stay, others are dropped and copied again. The
//! folder does not change. Start at [`LockedFolder`]; `state` copies the daemon's own state.

mod checksum;
mod export;
mod import;
mod state;
mod table_copy;

use std::fmt::Arguments;
use std::io::IsTerminal;
use std::path::Path;

use anyhow::{Context, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::mpsc;

use crate::database::Database;
use crate::destinations::DestinationError;
use crate::domain::syncing::op::TableShape;
use crate::domain::text::counted;
use crate::store::OpenError;
use crate::store::schema::Schema;
use checksum::TableChecksum;
use export::Export;
use import::Import;
use state::StateSource;
use table_copy::CopiedTable;

/// Chunks between the reader and the writer: each has at most a thousand rows or a few megabytes.
const CHANNEL: usize = 2;

/// The file of the daemon's own state, which does not belong to a connector.
const STATE_FILE: &str = "monitor";

/// Prints a line for people.
pub(crate) type Print = fn(Arguments<'_>);

/// A folder whose files no daemon or sync can write to.
pub(crate) struct LockedFolder {
    connectors: Vec<(String, Export)>,
    state: Option<StateSource>,
}

/// Why a folder cannot be moved.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct FolderError {
    message: String,
    /// Whether a setting must change first.
    pub(crate) is_configuration: bool,
}

impl LockedFolder {
    /// Takes all locks at the start, so that a running daemon cannot interrupt a move.
    pub(crate) fn open(folder: &Path) -> Result<LockedFolder, FolderError> {
        let configuration = |message: String| FolderError { message, is_configuration: true };
        let names = connectors(folder).map_err(|e| configuration(format!("{e:#}")))?;
        let state = StateSource::open(folder).map_err(|e| FolderError {
            message: e.to_string(),
            is_configuration: !matches!(e, OpenError::InUse { .. }),
        })?;
        let mut connectors = Vec::new();
        for name in names {
            let export = Export::open(&folder.join(format!("{name}.db")), &name);
            let export =
                export.map_err(|e| FolderError { message: e.to_string(), is_configuration: false })?;
            connectors.push((name, export));
        }
        Ok(LockedFolder { connectors, state })
    }

    /// Copies everything; the daemon's state goes to `schema` under a lease that `holder` takes.
    pub(crate) async fn copy_to(
        self,
        database: &Database,
        schema: Schema,
        holder: String,
        print: Print,
    ) -> anyhow::Result<()> {
        for (name, export) in self.connectors {
            move_connector(database, &name, export, print).await.context(name)?;
        }
        if let Some(state) = self.state {
            state.copy(database, schema, holder, print).await.context("the daemon's own state")?;
        }
        Ok(())
    }
}

/// The connectors that have a file in a folder.
fn connectors(folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry.with_context(|| format!("cannot read {}", folder.display()))?.path();
        if path.extension().is_some_and(|ending| ending == "db")
            && let Some(name) = path.file_stem().and_then(|name| name.to_str())
            && name != STATE_FILE
        {
            names.push(name.to_owned());
        }
    }
    let nothing = names.is_empty() && !folder.join(format!("{STATE_FILE}.db")).exists();
    ensure!(!nothing, "nothing to move in {}", folder.display());
    names.sort();
    Ok(names)
}

async fn move_connector(database: &Database, name: &str, export: Export, print: Print) -> anyhow::Result<()> {
    let mut import = Import::open(database, name).await?;
    if import.has_synced_since() {
        print(format_args!("{name}: already moved, and synced there since: skipped"));
        return Ok(());
    }
    let (mut export, tables) = reading(export, Export::tables).await?;
    for shape in tables? {
        export = move_table(&mut import, name, export, &shape, print).await?;
    }
    let (_export, state) = reading(export, Export::state).await?;
    import.finish(state?).await?;
    Ok(())
}

/// Runs blocking work on the file.
async fn reading<T: Send + 'static>(
    export: Export,
    work: impl FnOnce(&Export) -> T + Send + 'static,
) -> anyhow::Result<(Export, T)> {
    let done = tokio::task::spawn_blocking(move || {
        let done = work(&export);
        (export, done)
    });
    done.await.context("the reading thread ended early")
}

async fn move_table(
    import: &mut Import,
    connector: &str,
    export: Export,
    shape: &TableShape,
    print: Print,
) -> anyhow::Result<Export> {
    let name = format!("{connector}.{}", shape.table);
    let table = shape.clone();
    let (export, count) = reading(export, move |export| {
        Ok::<_, DestinationError>((export.count(&table.table)?, export.foreign_columns(&table)?))
    })
    .await?;
    let (count, foreign) = count?;
    if !foreign.is_empty() {
        print(format_args!("{name}: columns added by hand are not moved: {}", foreign.join(", ")));
    }
    let (export, unchanged) = unchanged(import, export, shape, count).await?;
    if let Some(TableChecksum { rows, checksum }) = unchanged {
        print(format_args!("{name}: {}, checksum {checksum:016x}, was there", counted(rows, "row")));
        return Ok(export);
    }
    let bar = progress_bar(&name, count);
    let (export, copied) = copy(import, export, shape, &bar).await?;
    let stored = import.checksum(shape).await?.unwrap_or_default();
    compare(shape, copied.checksum, stored)?;
    bar.finish_and_clear();
    let rejected = match copied.rejected {
        0 => String::new(),
        rejected => {
            format!(
                "; {} with values that PostgreSQL cannot store: see _rejected for the reasons",
                counted(rejected, "row")
            )
        }
    };
    let TableChecksum { rows, checksum } = copied.checksum;
    print(format_args!("{name}: {}, checksum {checksum:016x}, copied{rejected}", counted(rows, "row")));
    Ok(export)
}

/// The checksum of a table that is already equal on both sides.
async fn unchanged(
    import: &mut Import,
    export: Export,
    shape: &TableShape,
    count: u64,
) -> anyhow::Result<(Export, Option<TableChecksum>)> {
    let stored = import.checksum(shape).await?;
    let Some(stored) = stored.filter(|stored| stored.rows == count) else { return Ok((export, None)) };
    let table = shape.clone();
    let (export, source) = reading(export, move |export| export.checksum(&table)).await?;
    let source = source?;
    Ok((export, (stored == source).then_some(stored)))
}

fn compare(shape: &TableShape, sent: TableChecksum, stored: TableChecksum) -> anyhow::Result<()> {
    ensure!(
        stored == sent,
        "table {}: sent {} rows with checksum {:016x}, but {} rows with checksum {:016x} were stored: the server or its disk changed them; run this again",
        shape.table,
        sent.rows,
        sent.checksum,
        stored.rows,
        stored.checksum
    );
    Ok(())
}

async fn copy(
    import: &mut Import,
    export: Export,
    shape: &TableShape,
    bar: &ProgressBar,
) -> anyhow::Result<(Export, CopiedTable)> {
    let (send, mut rows) = mpsc::channel(CHANNEL);
    let table = shape.clone();
    let reader = reading(export, move |export| {
        let read = export.read(&table, |rows| send.blocking_send(Ok(rows)).is_ok());
        // If the receiver was dropped, the writer has failed and returns the reason.
        let _ = send.blocking_send(read.map(|()| Vec::new()));
    });
    let writer = async {
        let copied = import.table(shape, &mut rows, |count| bar.inc(count as u64)).await;
        // Stops the reader if the writer has failed.
        drop(rows);
        copied
    };
    let (read, copied) = tokio::join!(reader, writer);
    let (export, ()) = read?;
    Ok((export, copied?))
}

/// Whether a table is one of our own: their names start with `_`, and they have no `_synced_at`.
fn is_ours(shape: &TableShape) -> bool {
    shape.table.starts_with('_')
}

fn progress_bar(name: &str, rows: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(rows).with_prefix(name.to_owned());
    match ProgressStyle::with_template("{prefix:<32} {bar:24} {human_pos}/{human_len} rows, {eta} left") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
