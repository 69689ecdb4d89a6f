//! Tells open pages that there is something new. The event says only that; the page fetches itself again.
//!
//! At most so many streams at a time; whoever comes later is told to ask now and then instead. A stream holds nothing
//! of the board: it looks at what matters now and then, once for all of them, and ends at once when the daemon stops.

use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep};

use super::Site;
use crate::runtime::board::Board;

/// Open streams. Each is a connection; there are other things to do with a thousand open files.
pub(super) const STREAMS: usize = 64;
/// What changes in the same moment makes one event. Our memory of it is on disk by then.
const GATHER: Duration = Duration::from_millis(250);
/// Proxies close connections that are silent for a minute.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// When to try again, where all streams are taken.
const RETRY: &str = "30";

/// What the streams share.
pub(super) struct Pulse {
    places: Arc<Semaphore>,
    seen: Mutex<Option<(Instant, u64)>>,
}

impl Default for Pulse {
    fn default() -> Self {
        Pulse { places: Arc::new(Semaphore::new(STREAMS)), seen: Mutex::default() }
    }
}

impl Pulse {
    /// The version of what is shown, worked out at most once in [`GATHER`].
    fn version(&self, site: &Site) -> u64 {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match *seen {
            Some((at, version)) if at.elapsed() < GATHER => version,
            _ => {
                let version = site.shown.board.read(version);
                *seen = Some((Instant::now(), version));
                version
            }
        }
    }
}

pub(super) async fn stream(State(site): State<Arc<Site>>) -> Response {
    let Ok(place) = site.pulse.places.clone().try_acquire_owned() else {
        let later = [(header::RETRY_AFTER, RETRY)];
        return (StatusCode::SERVICE_UNAVAILABLE, later, "too many open pages\n").into_response();
    };
    let listener = Listener { board: site.shown.board.subscribe(), told: None, site, _place: place };
    let events = stream::unfold(listener, Listener::next);
    let mut answer = Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response();
    // A proxy that gathers would tell nothing for minutes.
    answer.headers_mut().insert("x-accel-buffering", header::HeaderValue::from_static("no"));
    answer
}

struct Listener {
    site: Arc<Site>,
    board: tokio::sync::watch::Receiver<Board>,
    told: Option<u64>,
    _place: OwnedSemaphorePermit,
}

impl Listener {
    /// The first event comes at once, so that a page that was fetched before the stream began misses nothing.
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Listener)> {
        let stop = self.site.shown.stop.clone();
        loop {
            if self.told.is_some() {
                tokio::select! {
                    () = stop.cancelled() => return None,
                    changed = self.board.changed() => changed.ok()?,
                }
                tokio::select! {
                    () = stop.cancelled() => return None,
                    () = sleep(GATHER) => {}
                }
            }
            if stop.is_cancelled() {
                return None;
            }
            self.board.mark_unchanged();
            let version = self.site.pulse.version(&self.site);
            if self.told.replace(version) != Some(version) {
                let event = Event::default().event("changed").data(format!("{version:016x}"));
                return Some((Ok(event), self));
            }
        }
    }
}

/// A figure that changes when a page shows something else; the mere age of readings counts once a cycle.
fn version(board: &Board) -> u64 {
    let mut hasher = DefaultHasher::new();
    let on = &mut hasher;
    (board.cycles.finished, board.definitions.0, board.store_trouble.is_some()).hash(on);
    for (name, monitor) in &board.monitors {
        let state = &monitor.state;
        (name, state.severity, &state.description, state.unknown.as_ref().map(|u| &u.reason)).hash(on);
        for event in monitor.open.iter().flatten() {
            (&event.title, &event.state, &event.update).hash(on);
        }
    }
    let banner = &board.banner;
    let shown = banner.shown.as_ref().map(|b| (&b.kind, b.enabled, &b.message, b.start_time, b.end_time));
    (shown, banner.ours, banner.owed_since, &banner.trouble).hash(on);
    board.lease.as_ref().map(|lease| (lease.held, &lease.holder, lease.copied_at, &lease.trouble)).hash(on);
    for (name, sync) in &board.syncs {
        (name, sync.running, sync.last_success, sync.next_at, sync.last_run.as_ref().map(|r| r.ended_at))
            .hash(on);
    }
    hasher.finish()
}
