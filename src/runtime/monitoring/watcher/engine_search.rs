//! Which engine reads a status page that its own engine has lastingly failed to read: advice for the log and the
//! dashboard. A monitor's engine never changes by itself.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::Instrument;

use super::{Watcher, tell};
use crate::definitions::engine::{self, detection_order};
use crate::domain::monitoring::assess::Unread;
use crate::domain::monitoring::monitor::{MonitorSource, StatusPage};
use crate::domain::text;
use crate::poll::{Detection, detect};

/// A search starts with this failure in a row for a lasting reason: a single odd response proves nothing.
const FAILURES: u32 = 3;
/// Shortest time between two searches for one monitor; each sends a request or two per engine.
const AGAIN: Duration = Duration::from_secs(24 * 3600);
/// Concurrent searches: behind a proxy that refuses everything, all monitors search at once.
const CONCURRENT: usize = 4;
/// A search may take this many timeouts of a poll.
const TIMEOUTS: u32 = 3;

/// What is known of the engine of one monitor's page.
#[derive(Debug, Default)]
pub(super) struct EngineAdvice {
    searched_at: Option<Instant>,
    /// This failure was searched for.
    searched: bool,
    pub(super) text: Option<String>,
}

impl EngineAdvice {
    fn is_due(&mut self, unread: &Unread, now: Instant) -> bool {
        let lasts = unread.times >= FAILURES && unread.reason.looks_permanent();
        let rested = self.searched_at.is_none_or(|at| now.duration_since(at) >= AGAIN);
        let due = lasts && rested && !self.searched;
        if due {
            (self.searched, self.searched_at) = (true, Some(now));
        }
        due
    }
}

/// A finished search.
pub(super) struct FoundEngine {
    monitor: String,
    generation: u64,
    detection: Option<Detection>,
}

/// The searches that are running.
pub(super) struct EngineSearches {
    turn: Arc<Semaphore>,
    pub(super) running: JoinSet<FoundEngine>,
}

impl Default for EngineSearches {
    fn default() -> Self {
        EngineSearches { turn: Arc::new(Semaphore::new(CONCURRENT)), running: JoinSet::new() }
    }
}

impl Watcher {
    /// Starts a search if the monitor has been unreadable for a lasting reason; withdraws the advice if it is readable.
    pub(super) fn search_engine(&mut self, name: &str, now: Instant) {
        let Some(watched) = self.watched.get_mut(name) else { return };
        let Some(unread) = &watched.state.unknown else {
            watched.advice.searched = false;
            if watched.advice.text.take().is_some() {
                self.board.update(|board| board.monitors.entry(name.to_owned()).or_default().advice = None);
            }
            return;
        };
        let MonitorSource::Page(page) = &watched.monitor.source else { return };
        if !watched.advice.is_due(unread, now) {
            return;
        }
        let (root, folder) = (page.root.clone(), self.options.engines.clone());
        let timeout = watched.monitor.timeout.unwrap_or(self.options.timeout) * TIMEOUTS;
        let (client, turn) = (self.options.client.clone(), Arc::clone(&self.searches.turn));
        let (monitor, generation) = (name.to_owned(), watched.slot.generation);
        let permits = self.polls.permits(&watched.slot);
        let task = async move {
            let _turn = turn.acquire_owned().await;
            let _permits = permits.await;
            let engines = tokio::task::spawn_blocking(move || engine::load(&folder)).await;
            let detection = match engines {
                Ok(Ok(engines)) => detect(&client, &root, &detection_order(&engines), timeout).await.ok(),
                _ => None,
            };
            FoundEngine { monitor, generation, detection }
        };
        self.searches.running.spawn(task.instrument(tell::poll_span(name)));
    }

    /// Logs and shows which engine reads the page, if it is another one.
    pub(super) fn advise(&mut self, found: FoundEngine) {
        let FoundEngine { monitor: name, generation, detection: Some(detection) } = found else { return };
        let Some(watched) = self.watched.get_mut(&name) else { return };
        let MonitorSource::Page(page) = &watched.monitor.source else { return };
        if watched.slot.generation != generation || watched.state.unknown.is_none() {
            return;
        }
        let Some(advice) = advice(page, &detection) else { return };
        let _span = tell::poll_span(&name).entered();
        tracing::warn!(target: "StatusClient", "{name}: {advice}.");
        watched.advice.text = Some(advice.clone());
        self.board.update(|board| board.monitors.entry(name).or_default().advice = Some(advice));
    }
}

fn advice(page: &StatusPage, found: &Detection) -> Option<String> {
    let engine = &found.engine.name;
    let mut keys = Vec::new();
    keys.extend((*engine != page.engine.name).then(|| format!("engine = \"{engine}\"")));
    keys.extend((found.root != page.root).then(|| format!("url = \"{}\"", text::plain(found.root.as_str()))));
    let keys = keys.join(" and ");
    (!keys.is_empty())
        .then(|| format!("its status page now answers as {engine}; set {keys} in its definition"))
}
