//! Looks that run beside the watcher: bounded overall and per origin, each isolated from the others.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::domain::monitor::{Monitor, Page, Source};
use crate::domain::observation::Unknown;
use crate::http::PageClient;
use crate::poll::{Look, Memo, look};

/// Looks at one host at a time: several pages of one host are asked one after the other.
const CONCURRENT_PER_ORIGIN: usize = 2;

/// What a monitor's looks share.
pub(super) struct Slot {
    pub(super) memo: Memo,
    pub(super) moved_to: Option<String>,
    /// Tells the looks of an older definition apart.
    pub(super) generation: u64,
    gate: Arc<Semaphore>,
}

/// A look that has ended.
pub(super) struct Finished {
    pub(super) name: String,
    pub(super) look: Look,
    pub(super) took: Duration,
    pub(super) memo: Memo,
    pub(super) generation: u64,
}

/// All looks.
pub(super) struct Looks {
    client: PageClient,
    everyone: Arc<Semaphore>,
    gates: HashMap<String, Arc<Semaphore>>,
    running: JoinSet<Finished>,
    generations: u64,
}

impl Looks {
    pub(super) fn new(client: PageClient, everyone: Arc<Semaphore>) -> Looks {
        Looks { client, everyone, gates: HashMap::new(), running: JoinSet::new(), generations: 0 }
    }

    /// A fresh slot for a new or changed definition.
    pub(super) fn slot(&mut self, monitor: &Monitor) -> Slot {
        self.generations += 1;
        let origin = match &monitor.source {
            Source::Page(page) => page.root.origin().ascii_serialization(),
            Source::Sync(_) => String::new(),
        };
        let fresh = || Arc::new(Semaphore::new(CONCURRENT_PER_ORIGIN));
        let gate = self.gates.entry(origin).or_insert_with(fresh).clone();
        Slot { memo: Memo::default(), moved_to: None, generation: self.generations, gate }
    }

    /// Forgets gates that nobody uses any more.
    pub(super) fn forget_unused(&mut self) {
        self.gates.retain(|_, gate| Arc::strong_count(gate) > 1);
    }

    /// Begins one look. It waits for its turn, then has `timeout` in all.
    pub(super) fn start(&mut self, name: &str, monitor: &Monitor, slot: &mut Slot, timeout: Duration) {
        let Source::Page(page) = &monitor.source else { return };
        let (page, remap): (Page, _) = (page.clone(), monitor.remap.clone());
        let (client, everyone, gate) = (self.client.clone(), self.everyone.clone(), slot.gate.clone());
        let (name, mut memo, generation) = (name.to_owned(), std::mem::take(&mut slot.memo), slot.generation);
        self.running.spawn(async move {
            // Closed gates cannot happen; without a permit the look would only be less polite.
            let _turn = gate.acquire_owned().await;
            let _place = everyone.acquire_owned().await;
            let began = Instant::now();
            let looking = look(&client, &page, &remap, timeout, &mut memo);
            let look = AssertUnwindSafe(looking).catch_unwind().await.unwrap_or_else(|_| Look {
                outcome: Err(Unknown::Internal("see the log".into())),
                not_modified: false,
                retry_after: None,
                final_url: None,
            });
            Finished { name, look, took: began.elapsed(), memo, generation }
        });
    }

    /// The next look that ends; never, while none runs.
    pub(super) async fn next(&mut self) -> Option<Finished> {
        loop {
            match self.running.join_next().await {
                None => return std::future::pending().await,
                Some(Ok(finished)) => return Some(finished),
                // Only an abort ends a look otherwise.
                Some(Err(_)) => {}
            }
        }
    }

    /// One that has ended already, if any.
    pub(super) fn try_next(&mut self) -> Option<Finished> {
        self.running.try_join_next()?.ok()
    }

    pub(super) fn abort(&mut self) {
        self.running.abort_all();
    }
}
