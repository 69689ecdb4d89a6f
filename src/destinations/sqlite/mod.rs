//! SQLite: one file per connector, its tables under the names the definition gives them.
//!
//! Many rows are gathered and committed together, with the checkpoints that cover them. The file also contains the tables
//! `_state`, `_runs`, `_rejected` and `_tables`. Start at [`open`]; `backend` has the work of the thread, `table` and
//! `upsert` the tables.

mod backend;
mod completion;
pub(crate) mod file;
pub(crate) mod system_tables;
pub(crate) mod table;
mod upsert;

use std::path::Path;

use super::writer::DestinationWriter;
use super::{DestinationError, FollowUp, WriterThread};
use backend::SqliteBackend;
use file::DatabaseFile;

/// Opens or creates the file of a connector, `DATA_DIR/NAME.db`, and starts its thread. Blocking. Other programs may read
/// the file while it is written.
///
/// # Errors
/// When the file cannot be opened, is not a database, is corrupt, or was written by a newer version.
pub fn open(path: &Path, connector: &str) -> Result<WriterThread, DestinationError> {
    let file = DatabaseFile::new(path);
    let db = file.open()?;
    let cannot_open = |reason: std::io::Error| DestinationError::cannot_open(path.display(), reason);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(cannot_open)?;
    let name = format!("sqlite {connector}");
    let backend = SqliteBackend::new(file, db, connector);
    WriterThread::start(name, move |requests, failure| {
        runtime.block_on(DestinationWriter::new(backend, failure).serve(requests));
    })
    .map_err(cannot_open)
}

/// Adds the export after a run to the history of a connector's file. Blocking.
///
/// # Errors
/// When the file cannot be opened or written.
pub(super) fn record_follow_up(path: &Path, done: &FollowUp) -> Result<(), DestinationError> {
    let file = DatabaseFile::new(path);
    let recorded = system_tables::record_follow_up(&file.open()?, done);
    recorded.map_err(|e| file.error("writing the run history", &e))
}
