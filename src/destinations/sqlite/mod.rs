//! SQLite: one file per connector, its tables under the names the definition gives them.
//!
//! Rows are gathered and committed many at a time, with the checkpoints that cover them. Beside the tables the file
//! holds `_state`, `_runs`, `_rejected` and `_tables`. Start at [`open`]; the work of the thread is in `backend`, the
//! tables in `table` and `upsert`.

mod backend;
mod completion;
pub(crate) mod file;
pub(crate) mod system_tables;
pub(crate) mod table;
mod upsert;

use std::path::Path;

use super::writer::Writer;
use super::{DestinationError, WriterThread};
use backend::SqliteBackend;
use file::DatabaseFile;

/// Opens or creates the file of a connector, `DATA_DIR/NAME.db`, and starts its thread. Blocks for a moment. Other
/// programs may read the file while it is written.
///
/// # Errors
/// If the file cannot be opened, is not a database, is corrupt, or was written by a newer version.
pub fn open(path: &Path, connector: &str) -> Result<WriterThread, DestinationError> {
    let file = DatabaseFile::new(path);
    let db = file.open()?;
    let cannot_open = |reason: std::io::Error| DestinationError::cannot_open(path.display(), reason);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(cannot_open)?;
    let name = format!("sqlite {connector}");
    let backend = SqliteBackend::new(file, db, connector);
    WriterThread::start(name, move |requests, failure| {
        runtime.block_on(Writer::new(backend, failure).serve(requests));
    })
    .map_err(cannot_open)
}
