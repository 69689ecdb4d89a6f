//! Saves states and history in batches, one at a time. Monitoring never waits for the state database.

use std::sync::Arc;

use tokio::time::Instant;

use super::{PRUNE_EVERY, SAVE_EVERY, SaveResult, Watcher};

impl Watcher {
    /// Starts to save unsaved changes, one batch at a time.
    pub(super) fn save(&mut self) {
        let now = Instant::now();
        if now >= self.save_at {
            self.save_at = now + SAVE_EVERY;
            self.gather_all();
        }
        if now >= self.prune_at {
            self.prune_at = now + PRUNE_EVERY;
            let (store, at) = (self.store.clone(), self.clock.now());
            self.saving.spawn(async move { (Arc::default(), store.prune(at).await) });
        }
        let waiting = self.save_failed && !self.cycle.just_started;
        if self.unsaved_changes.is_empty() || waiting || !self.saving.is_empty() {
            return;
        }
        self.cycle.just_started = false;
        let batch = Arc::new(std::mem::take(&mut self.unsaved_changes));
        let store = self.store.clone();
        self.saving.spawn(async move {
            let done = store.keep(Arc::clone(&batch)).await;
            (batch, done)
        });
    }

    pub(super) fn gather_all(&mut self) {
        self.unsaved_changes
            .states
            .extend(self.watched.iter().map(|(name, w)| (name.clone(), w.state.clone())));
        self.unsaved_changes.put_back(std::mem::take(&mut self.counts));
    }

    pub(super) fn saved(&mut self, saved: Option<SaveResult>) {
        let Some((batch, done)) = saved else { return };
        let failed_before = std::mem::replace(&mut self.save_failed, done.is_err());
        match done {
            Ok(()) if failed_before => {
                tracing::info!(target: "MainOrchestrator", "State can be saved again; nothing was lost.");
                self.board.update(|board| board.store_trouble = None);
            }
            Ok(()) => {}
            Err(e) => {
                self.unsaved_changes.put_back(Arc::unwrap_or_clone(batch));
                if !failed_before {
                    tracing::error!(target: "MainOrchestrator", "Cannot save state: {e}. Monitoring continues; retrying every cycle.");
                    let now = self.clock.now();
                    self.board.update(|board| board.store_trouble = Some((now, e.to_string())));
                }
            }
        }
    }

    pub(super) async fn save_rest(&mut self) {
        while let Some(saved) = self.saving.join_next().await {
            self.saved(saved.ok());
        }
        self.gather_all();
        if self.right.left().is_none() {
            return;
        }
        let rest = Arc::new(std::mem::take(&mut self.unsaved_changes));
        if let Err(e) = self.store.keep(Arc::clone(&rest)).await {
            self.unsaved_changes = Arc::unwrap_or_clone(rest);
            tracing::error!(target: "MainOrchestrator", "Cannot save state at shutdown: {e}");
        }
    }
}
