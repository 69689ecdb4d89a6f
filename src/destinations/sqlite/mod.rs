//! SQLite: one file per connector, its tables under the names the definition gives them.
//!
//! One thread owns the connection and does all the writing; the rest of the program talks to it through a short
//! channel, which is what slows a fast source down. Rows are gathered and committed many at a time, with the
//! checkpoints that cover them. Beside the tables the file holds `_state`, `_runs`, `_rejected` and `_tables`.
//! Start at [`open`]; the thread's work is in `writer`, the tables in `table` and `rows`.

mod complete;
mod export;
mod file;
mod ledger;
mod rows;
mod run;
mod table;
mod writer;

use std::path::Path;

use super::DestinationError;
use super::threaded::Threaded;
pub use export::Export;
use file::Place;
use writer::Writer;

/// Opens or creates the file of a connector, `DATA_DIR/NAME.db`, and starts its thread. Blocks for a moment. Readers may
/// open the file while it is written.
///
/// # Errors
/// If the file cannot be opened, is no database, is damaged, or was written by a newer version.
pub fn open(path: &Path, connector: &str) -> Result<Threaded, DestinationError> {
    let place = Place::new(path);
    let db = place.open()?;
    let unwritable = |reason: std::io::Error| DestinationError::Unwritable {
        place: path.display().to_string(),
        reason: reason.to_string(),
    };
    // Only for its timer: a thread's own channel cannot be awaited from the other side.
    let clock = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(unwritable)?;
    let connector = connector.to_owned();
    Threaded::start(format!("sqlite {connector}"), move |inbox, failed| {
        Writer::new(place, db, &connector, failed).run(&clock, inbox);
    })
    .map_err(unwritable)
}
