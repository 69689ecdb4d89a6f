//! A folder of definitions, read on a thread of its own: a network volume that hangs holds up nobody, and what was
//! read last stays until there is something better.
//!
//! It doesn't judge what was read. Start at [`Folder::look`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::task::JoinSet;

use crate::definitions::{self, Stamp};

/// How a folder is read. May block.
pub(super) type Read<T> = Arc<dyn Fn(&Path) -> T + Send + Sync>;

/// A folder that is read again when it changed, or when somebody asks.
pub(super) struct Folder<T> {
    path: PathBuf,
    read: Read<T>,
    /// As of the last reading.
    stamp: Option<Stamp>,
    under_way: JoinSet<(Option<Stamp>, Option<T>)>,
    /// Somebody asked while a look was under way that may have passed the file that was meant.
    asked: bool,
}

/// What a reading found.
pub(super) struct Found<T> {
    /// Whether the folder can be listed.
    pub(super) there: bool,
    pub(super) read: T,
}

impl<T: Send + 'static> Folder<T> {
    pub(super) fn new(path: PathBuf, read: Read<T>) -> Folder<T> {
        Folder { path, read, stamp: None, under_way: JoinSet::new(), asked: false }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Begins a look; it reads if something changed since the last reading, or if `asked` to. Only one is under way at
    /// a time.
    pub(super) fn look(&mut self, asked: bool) {
        if !self.under_way.is_empty() {
            self.asked |= asked;
            return;
        }
        let (path, read, known) = (self.path.clone(), Arc::clone(&self.read), self.stamp.clone());
        self.under_way.spawn_blocking(move || {
            // Before the reading: a file that changes meanwhile is found changed at the next look.
            let stamp = definitions::stamp(&path);
            let found = (asked || stamp != known).then(|| read(&path));
            (stamp, found)
        });
    }

    /// What the next look that read something found; `None` when no look is under way. Can be dropped and called again.
    pub(super) async fn found(&mut self) -> Option<Found<T>> {
        loop {
            let ended = self.under_way.join_next().await?;
            if std::mem::take(&mut self.asked) {
                self.look(true);
            }
            let Ok((stamp, found)) = ended else { continue };
            let there = stamp.is_some();
            self.stamp = stamp;
            if let Some(read) = found {
                return Some(Found { there, read });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::{Mutex, mpsc};

    use futures_util::FutureExt;

    use super::*;

    /// A reading that hangs holds up nobody; what is asked for meanwhile is read after it, and what did not change is
    /// not read again.
    #[tokio::test]
    async fn a_reading_that_hangs_holds_up_nobody() {
        let (go, gate) = mpsc::channel();
        let (gate, readings) = (Mutex::new(gate), AtomicU32::new(0));
        let read: Read<u32> = Arc::new(move |_| {
            gate.lock().unwrap().recv().unwrap();
            readings.fetch_add(1, Ordering::Relaxed) + 1
        });
        let mut folder = Folder::new("no such folder".into(), read);
        folder.look(true);
        assert!(folder.found().now_or_never().is_none());
        folder.look(true);
        assert!(folder.found().now_or_never().is_none());
        for nth in 1..=2 {
            go.send(()).unwrap();
            assert_eq!(folder.found().await.unwrap().read, nth);
        }
        folder.look(false);
        assert!(folder.found().await.is_none());
    }
}
