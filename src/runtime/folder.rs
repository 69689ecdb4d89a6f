//! A folder of definitions that is read on its own thread, so that a network volume that hangs blocks nothing. The last
//! definitions stay in use until the folder was read again.
//!
//! The caller validates the result. Start at [`WatchedFolder::scan`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::task::JoinSet;

use crate::definitions::{self, Stamp};

/// Reads a folder. May block.
pub(super) type Read<T> = Arc<dyn Fn(&Path) -> T + Send + Sync>;

/// A folder that is read again when it changed, or on request.
pub(super) struct WatchedFolder<T> {
    path: PathBuf,
    /// Another folder that its files refer to.
    also: Option<PathBuf>,
    read: Read<T>,
    /// State of the folders at the last read.
    stamp: FolderStamps,
    scanning: JoinSet<(FolderStamps, Option<T>)>,
    /// A read was requested during a scan, which may already have passed the changed file.
    requested: bool,
}

/// The state of the folder and of the other one, if they can be listed.
type FolderStamps = (Option<Stamp>, Option<Stamp>);

/// Result of reading a folder.
pub(super) struct FolderScan<T> {
    /// Whether the folder can be listed.
    pub(super) there: bool,
    pub(super) read: T,
}

impl<T: Send + 'static> WatchedFolder<T> {
    pub(super) fn new(path: PathBuf, also: Option<PathBuf>, read: Read<T>) -> WatchedFolder<T> {
        let stamp = (None, None);
        WatchedFolder { path, also, read, stamp, scanning: JoinSet::new(), requested: false }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Starts a scan, which reads the folder if it changed since the last read or if `forced`. Only one scan runs at a time.
    pub(super) fn scan(&mut self, forced: bool) {
        if !self.scanning.is_empty() {
            self.requested |= forced;
            return;
        }
        let (path, also) = (self.path.clone(), self.also.clone());
        let (read, known) = (Arc::clone(&self.read), self.stamp.clone());
        self.scanning.spawn_blocking(move || {
            // Taken before the read, so that the next scan detects files that change during the read.
            let stamp = (definitions::stamp(&path), also.and_then(|also| definitions::stamp(&also)));
            let found = (forced || stamp != known).then(|| read(&path));
            (stamp, found)
        });
    }

    /// Waits for the next scan that read the folder; `None` if no scan is running. Cancel-safe.
    pub(super) async fn found(&mut self) -> Option<FolderScan<T>> {
        loop {
            let ended = self.scanning.join_next().await?;
            if std::mem::take(&mut self.requested) {
                self.scan(true);
            }
            let Ok((stamp, found)) = ended else { continue };
            let there = stamp.0.is_some();
            self.stamp = stamp;
            if let Some(read) = found {
                return Some(FolderScan { there, read });
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

    /// A request during a scan is served after it, and an unchanged folder is not read again.
    #[tokio::test]
    async fn a_scan_that_hangs_blocks_nothing() {
        let (go, gate) = mpsc::channel();
        let (gate, reads) = (Mutex::new(gate), AtomicU32::new(0));
        let read: Read<u32> = Arc::new(move |_| {
            gate.lock().unwrap().recv().unwrap();
            reads.fetch_add(1, Ordering::Relaxed) + 1
        });
        let mut folder = WatchedFolder::new("no such folder".into(), None, read);
        folder.scan(true);
        assert!(folder.found().now_or_never().is_none());
        folder.scan(true);
        assert!(folder.found().now_or_never().is_none());
        for nth in 1..=2 {
            go.send(()).unwrap();
            assert_eq!(folder.found().await.unwrap().read, nth);
        }
        folder.scan(false);
        assert!(folder.found().await.is_none());
    }
}
