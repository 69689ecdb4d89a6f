//! Polls that run concurrently with the watcher: limited in total and per origin, and isolated from each other.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::Instrument;

use super::tell;
use crate::domain::monitoring::monitor::{Monitor, MonitorSource, StatusPage};
use crate::domain::monitoring::observation::Unknown;
use crate::http::PageClient;
use crate::poll::{PageCache, PageDocuments, PollResult, look};

/// Concurrent polls per origin, so that several status pages on one host are not requested all at once.
const CONCURRENT_PER_ORIGIN: usize = 2;

/// Monitors of one page are polled at the same time and share documents that are younger than this.
const SHARED: Duration = Duration::from_secs(5);

/// State shared by all polls of one monitor.
pub(super) struct PollSlot {
    /// The end of the monitor's last poll. Only documents that were requested since then are shared, so that no answer counts
    /// twice for it.
    pub(super) fresh_since: Instant,
    documents: Option<Arc<PageDocuments>>,
    pub(super) moved_to: Option<String>,
    /// Distinguishes polls of an older definition.
    pub(super) generation: u64,
    gate: Arc<Semaphore>,
}

/// Held while a poll sends requests. The semaphores are never closed.
pub(super) type PollPermits =
    (Result<OwnedSemaphorePermit, AcquireError>, Result<OwnedSemaphorePermit, AcquireError>);

/// A finished poll.
pub(super) struct Finished {
    pub(super) name: String,
    pub(super) result: PollResult,
    pub(super) took: Duration,
    pub(super) generation: u64,
}

pub(super) struct Polls {
    client: PageClient,
    total: Arc<Semaphore>,
    gates: HashMap<String, Arc<Semaphore>>,
    pages: PageCache,
    /// Older documents are requested again.
    fresh_from: Instant,
    running: JoinSet<Finished>,
    generations: u64,
}

impl Polls {
    pub(super) fn new(client: PageClient, total: Arc<Semaphore>) -> Polls {
        Polls {
            client,
            total,
            gates: HashMap::new(),
            pages: PageCache::default(),
            fresh_from: Instant::now(),
            running: JoinSet::new(),
            generations: 0,
        }
    }

    /// Creates the state for a new or changed definition.
    pub(super) fn slot(&mut self, monitor: &Monitor) -> PollSlot {
        self.generations += 1;
        let origin = match &monitor.source {
            MonitorSource::Page(page) => page.root.origin().ascii_serialization(),
            MonitorSource::Sync(_) => String::new(),
        };
        let fresh = || Arc::new(Semaphore::new(CONCURRENT_PER_ORIGIN));
        let gate = self.gates.entry(origin).or_insert_with(fresh).clone();
        let documents = match &monitor.source {
            MonitorSource::Page(page) => Some(self.pages.page(page)),
            MonitorSource::Sync(_) => None,
        };
        let fresh_since = self.fresh_from;
        PollSlot { fresh_since, documents, moved_to: None, generation: self.generations, gate }
    }

    /// Makes the next polls request documents again, however young they are.
    pub(super) fn refresh(&mut self) {
        self.fresh_from = Instant::now();
    }

    /// Removes the gates of origins that are no longer polled.
    pub(super) fn remove_unused_gates(&mut self) {
        self.gates.retain(|_, gate| Arc::strong_count(gate) > 1);
    }

    /// Starts one poll. `timeout` begins when the poll has its permits.
    pub(super) fn start(
        &mut self,
        name: &str,
        monitor: &Monitor,
        slot: &PollSlot,
        timeout: Duration,
        interval: Duration,
    ) {
        let (MonitorSource::Page(page), Some(documents)) = (&monitor.source, &slot.documents) else { return };
        let documents = Arc::clone(documents);
        let now = Instant::now();
        let recent = now.checked_sub(SHARED.min(interval / 2)).unwrap_or(now);
        let not_before = recent.max(self.fresh_from).max(slot.fresh_since);
        let (page, remap): (StatusPage, _) = (page.clone(), monitor.remap.clone());
        let (client, permits) = (self.client.clone(), self.permits(slot));
        let (name, generation) = (name.to_owned(), slot.generation);
        let span = tell::poll_span(&name);
        let task = async move {
            let _permits = permits.await;
            let started = Instant::now();
            let polling = look(&client, &documents, &page, &remap, timeout, not_before);
            let result = AssertUnwindSafe(polling).catch_unwind().await.unwrap_or_else(|_| PollResult {
                outcome: Err(Unknown::Internal("see the log".into())),
                not_modified: false,
                retry_after: None,
                final_url: None,
            });
            let took = started.elapsed();
            tell::log_poll(&name, &result, took);
            Finished { name, result, took, generation }
        };
        self.running.spawn(task.instrument(span));
    }

    /// The permits of a task that sends requests like a poll.
    pub(super) fn permits(&self, slot: &PollSlot) -> impl Future<Output = PollPermits> + Send + use<> {
        let (total, gate) = (self.total.clone(), slot.gate.clone());
        async move { (gate.acquire_owned().await, total.acquire_owned().await) }
    }

    /// Waits for the next poll that finishes; forever if none is running.
    pub(super) async fn next(&mut self) -> Option<Finished> {
        loop {
            match self.running.join_next().await {
                None => return std::future::pending().await,
                Some(Ok(finished)) => return Some(finished),
                // The poll was aborted.
                Some(Err(_)) => {}
            }
        }
    }

    /// Returns a poll that has already finished, if any.
    pub(super) fn try_next(&mut self) -> Option<Finished> {
        self.running.try_join_next()?.ok()
    }

    pub(super) fn abort(&mut self) {
        self.running.abort_all();
    }
}
