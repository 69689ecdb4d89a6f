//! `/events`: notifies open pages of changes. An event carries no data; the page then fetches itself again.
//!
//! The number of streams is limited; a page that gets none polls instead. A stream holds nothing of the board: all
//! streams share one computed version, and they end at once when the daemon stops.

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

use crate::runtime::board::{BannerView, Board};
use crate::web::state::WebState;

/// Most open streams. Each is a connection and an open file, of which many systems allow 1,024.
pub(in crate::web) const STREAMS: usize = 64;
/// Changes within this time make one event. The state is on disk by then.
const GATHER: Duration = Duration::from_millis(250);
/// Many proxies close connections that are idle for a minute.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// `Retry-After` in seconds when the limit is reached.
const RETRY: &str = "30";

/// State shared by all streams.
pub(in crate::web) struct ChangeFeed {
    web: WebState,
    permits: Arc<Semaphore>,
    last: Mutex<Option<(Instant, u64)>>,
}

impl ChangeFeed {
    pub(in crate::web) fn new(web: WebState) -> ChangeFeed {
        ChangeFeed { web, permits: Arc::new(Semaphore::new(STREAMS)), last: Mutex::default() }
    }

    /// The version of what is shown, computed at most once per [`GATHER`].
    fn version(&self) -> u64 {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match *last {
            Some((at, version)) if at.elapsed() < GATHER => version,
            _ => {
                let version = self.web.board.read(version);
                *last = Some((Instant::now(), version));
                version
            }
        }
    }
}

pub(in crate::web) async fn stream(State(feed): State<Arc<ChangeFeed>>) -> Response {
    let Ok(permit) = feed.permits.clone().try_acquire_owned() else {
        let later = [(header::RETRY_AFTER, RETRY)];
        return (StatusCode::SERVICE_UNAVAILABLE, later, "too many open pages\n").into_response();
    };
    let listener = FeedClient { board: feed.web.board.subscribe(), sent: None, feed, _permit: permit };
    let events = stream::unfold(listener, FeedClient::next);
    let mut answer = Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response();
    // A proxy that buffers would delay events for minutes.
    answer.headers_mut().insert("x-accel-buffering", header::HeaderValue::from_static("no"));
    answer
}

struct FeedClient {
    feed: Arc<ChangeFeed>,
    board: tokio::sync::watch::Receiver<Board>,
    sent: Option<u64>,
    _permit: OwnedSemaphorePermit,
}

impl FeedClient {
    /// The first event is sent at once, so that a page fetched before the stream started misses no change.
    async fn next(mut self) -> Option<(Result<Event, Infallible>, FeedClient)> {
        let stop = self.feed.web.stop.clone();
        loop {
            if self.sent.is_some() {
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
            let version = self.feed.version();
            if self.sent.replace(version) != Some(version) {
                let event = Event::default().event("changed").data(format!("{version:016x}"));
                return Some((Ok(event), self));
            }
        }
    }
}

/// Changes whenever a page would show something else; ages alone count once per poll cycle.
fn version(board: &Board) -> u64 {
    let mut hasher = DefaultHasher::new();
    let on = &mut hasher;
    (board.cycles.finished, board.store_trouble.is_some()).hash(on);
    board.invalid_definitions().for_each(|kind| kind.hash(on));
    for (name, monitor) in &board.monitors {
        let state = &monitor.state;
        (name, state.severity, &state.description, state.unknown.as_ref().map(|u| &u.reason)).hash(on);
        for event in monitor.open.iter().flatten() {
            (&event.title, &event.state, &event.update).hash(on);
        }
    }
    for (name, BannerView { report, .. }) in &board.banners {
        let shown = report.shown.as_ref().map(|b| (&b.kind, b.enabled, &b.message, b.start_time, b.end_time));
        (name, shown, report.ours, report.pending_since, &report.trouble).hash(on);
    }
    board.lease.as_ref().map(|lease| (lease.held, &lease.holder, lease.copied_at, &lease.trouble)).hash(on);
    for (name, sync) in &board.syncs {
        (name, sync.running, sync.last_success, sync.next_at, sync.last_run.as_ref().map(|r| r.ended_at))
            .hash(on);
    }
    hasher.finish()
}
