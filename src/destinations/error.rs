//! The error of a destination: a message, and whether the destination is busy.

use std::fmt::Display;

use crate::database::DatabaseError;
use crate::domain::syncing::cell::{Cell, ColumnType};

/// Clonable, because one failure is returned by every later call of its run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct DestinationError {
    message: String,
    busy: bool,
}

impl DestinationError {
    /// Whether another run holds the lock of the same tables.
    pub fn is_busy(&self) -> bool {
        self.busy
    }

    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), busy: false }
    }

    pub(crate) fn busy(place: &str) -> Self {
        let message = format!("{place} is in use by another sync: wait for it to end, or stop it");
        Self { message, busy: true }
    }

    pub(crate) fn cannot_open(place: impl Display, reason: impl Display) -> Self {
        Self::new(format!("cannot open {place}: {reason}"))
    }

    pub(crate) fn failed(doing: &str, place: &str, reason: impl Display) -> Self {
        Self::new(format!("{doing} in {place}: {reason}"))
    }

    pub(crate) fn table(table: &str, reason: impl Display) -> Self {
        Self::new(format!("table {table}: {reason}"))
    }

    /// The connector sent a value that does not fit its announced shape.
    pub(crate) fn misfit(table: &str, column: &str, kind: ColumnType, cell: &Cell) -> Self {
        let sent = cell.column_type();
        Self::table(table, format!("a {sent:?} value arrived for column {column}, which is {kind:?}"))
    }

    pub(crate) fn full(place: &str) -> Self {
        Self::new(format!(
            "no space left for {place}: the last transaction was rolled back; free some space, and the next run resumes \
             from the last checkpoint"
        ))
    }

    pub(crate) fn corrupt(place: &str, reason: impl Display) -> Self {
        Self::new(format!(
            "{place} is corrupt or not a database ({reason}): move it aside, or restore a backup, and sync again"
        ))
    }

    pub(crate) fn newer(place: &str, found: impl Display, known: impl Display) -> Self {
        Self::new(format!(
            "{place} was written by a newer version of this program (format {found}, this version knows {known}): update \
             the program"
        ))
    }
}

impl From<DatabaseError> for DestinationError {
    fn from(error: DatabaseError) -> Self {
        Self::new(error.to_string())
    }
}
