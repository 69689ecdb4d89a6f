//! The way of row groups from the reader of a table to the writer of its file, and back to be filled again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::ReadFailure;
use crate::export::columns::{RowGroup, TableLayout};

/// Groups in use: one is filled while the other is written.
const GROUPS: usize = 2;

/// The reader's end.
pub(in crate::export) struct GroupFeed {
    empty: mpsc::Receiver<RowGroup>,
    full: mpsc::Sender<RowGroup>,
    rows: Arc<AtomicU64>,
    stop: CancellationToken,
}

/// The writer's end.
pub(in crate::export) struct GroupQueue {
    pub(in crate::export) full: mpsc::Receiver<RowGroup>,
    pub(in crate::export) empty: mpsc::Sender<RowGroup>,
}

/// Creates both ends. `rows` counts the rows that were read.
pub(in crate::export) fn channel(
    layout: &TableLayout,
    rows: Arc<AtomicU64>,
    stop: CancellationToken,
) -> (GroupFeed, GroupQueue) {
    let (to_reader, empty) = mpsc::channel(GROUPS);
    let (full, to_writer) = mpsc::channel(GROUPS);
    for _ in 0..GROUPS {
        // There is room for all of them.
        let _ = to_reader.try_send(RowGroup::new(layout));
    }
    (GroupFeed { empty, full, rows, stop }, GroupQueue { full: to_writer, empty: to_reader })
}

impl GroupFeed {
    /// Waits for a group to fill.
    pub(super) fn take_blocking(&mut self) -> Result<RowGroup, ReadFailure> {
        self.empty.blocking_recv().ok_or(ReadFailure::WriterGone)
    }

    pub(super) fn give_blocking(&self, group: RowGroup) -> Result<(), ReadFailure> {
        self.check(&group)?;
        self.full.blocking_send(group).map_err(|_| ReadFailure::WriterGone)
    }

    /// As [`take_blocking`](Self::take_blocking), in a task.
    pub(super) async fn take(&mut self) -> Result<RowGroup, ReadFailure> {
        self.empty.recv().await.ok_or(ReadFailure::WriterGone)
    }

    pub(super) async fn give(&self, group: RowGroup) -> Result<(), ReadFailure> {
        self.check(&group)?;
        self.full.send(group).await.map_err(|_| ReadFailure::WriterGone)
    }

    fn check(&self, group: &RowGroup) -> Result<(), ReadFailure> {
        self.rows.fetch_add(group.rows as u64, Ordering::Relaxed);
        if self.stop.is_cancelled() { Err(ReadFailure::Stopped) } else { Ok(()) }
    }
}
