//! What all far ends share: an address on the loopback interface, a state, the time, and invented figures.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use jiff::Timestamp;
use tokio::net::TcpListener;

use super::Now;
use crate::domain::schedule::hash;

/// One far end; clones share its state.
pub(super) struct FarEnd<S> {
    root: Arc<str>,
    now: Now,
    state: Arc<Mutex<S>>,
}

impl<S> Clone for FarEnd<S> {
    fn clone(&self) -> Self {
        FarEnd { root: self.root.clone(), now: self.now, state: self.state.clone() }
    }
}

/// A far end's port and what answers there.
pub(super) struct Server {
    listener: TcpListener,
    router: Router,
}

impl Server {
    pub(super) async fn serve(self) -> io::Result<()> {
        axum::serve(self.listener, self.router).await
    }
}

impl<S> FarEnd<S> {
    /// Takes a free port.
    pub(super) async fn open(
        now: Now,
        state: S,
        router: impl FnOnce(FarEnd<S>) -> Router,
    ) -> io::Result<(FarEnd<S>, Server)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let root = format!("http://{}", listener.local_addr()?).into();
        let far_end = FarEnd { root, now, state: Arc::new(Mutex::new(state)) };
        let router = router(far_end.clone());
        Ok((far_end, Server { listener, router }))
    }

    /// Scheme, host and port, without a slash at the end.
    pub(super) fn root(&self) -> &str {
        &self.root
    }

    /// The present moment.
    pub(super) fn now(&self) -> Timestamp {
        (self.now)()
    }

    /// Reads or changes the state.
    pub(super) fn with<R>(&self, work: impl FnOnce(&mut S) -> R) -> R {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A moment as most services write it: milliseconds and `Z`.
pub(super) fn millis(moment: Timestamp) -> String {
    format!("{moment:.3}")
}

/// An invented figure below `bound`, the same each time it is asked for.
pub(super) fn draw(what: &str, number: i64, bound: u64) -> u64 {
    hash(&format!("{what} {number}")) % bound.max(1)
}

/// Lets about as much time pass as an answer takes over the internet.
pub(super) async fn travel(what: &str, number: u64, least: u64) {
    let spread = draw(what, i64::try_from(number).unwrap_or_default(), least);
    tokio::time::sleep(Duration::from_millis(least + spread)).await;
}
