//! Closes a connection without traffic.
//!
//! The server limits its statements, and TCP detects a dead machine. Neither detects a pooler or proxy that keeps the
//! connection open and forwards nothing. This module does not know whether a reply is pending: an idle connection is
//! closed too and must be reopened, and a long statement must be announced first ([`IdleTimeout::start_long_work`]). Start at
//! [`until_idle`].

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// The server's `statement_timeout` for statements that were announced as long.
pub const LONG: &str = "4h";

/// A little longer than [`LONG`], so that the server's own error arrives first.
const LONG_SILENCE: Duration = Duration::from_secs((4 * 60 + 10) * 60);

/// How long a connection may be without traffic. Clones belong to the same connection.
#[derive(Debug, Clone)]
pub struct IdleTimeout {
    usual: Duration,
    long: Arc<AtomicBool>,
}

/// A guard: while it lives, the limit for long statements applies.
#[must_use]
#[derive(Debug)]
pub struct LongWork(Arc<AtomicBool>);

impl IdleTimeout {
    pub(super) fn new(usual: Duration) -> IdleTimeout {
        IdleTimeout { usual, long: Arc::default() }
    }

    /// Announces that the next statement may take hours ([`LONG`]). Keep the guard until the statement ends.
    pub fn start_long_work(&self) -> LongWork {
        self.long.store(true, Ordering::Relaxed);
        LongWork(Arc::clone(&self.long))
    }

    fn limit(&self) -> Duration {
        if self.long.load(Ordering::Relaxed) { LONG_SILENCE } else { self.usual }
    }
}

impl Drop for LongWork {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Drives a connection to its end. Returns `None` if it was idle for as long as `idle_timeout` allows; each wake-up (readable
/// or writable bytes, or a request of ours) restarts the time.
pub(super) async fn until_idle<C: Future>(connection: C, idle_timeout: IdleTimeout) -> Option<C::Output> {
    let mut connection = pin!(connection);
    let mut silence = pin!(sleep(idle_timeout.limit()));
    poll_fn(|cx| {
        if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
            return Poll::Ready(Some(ended));
        }
        if silence.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        // A request wakes this task after its guard was taken, so the limit is that of the current request.
        silence.as_mut().reset(Instant::now() + idle_timeout.limit());
        // A timer that was reset wakes the task only after a poll.
        silence.as_mut().poll(cx).map(|()| None)
    })
    .await
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::time::timeout;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn the_idle_time_counts_from_the_last_byte() {
        let (mut near, mut far) = duplex(64);
        let started = Instant::now();
        let talk = async {
            for _ in 0..5 {
                sleep(LIMIT - Duration::from_secs(1)).await;
                far.write_all(b"x").await.unwrap();
            }
            std::future::pending::<()>().await;
        };
        let listen = async {
            let mut bytes = [0; 64];
            while near.read(&mut bytes).await.unwrap() > 0 {}
        };
        let ended = tokio::select! {
            ended = until_idle(listen, IdleTimeout::new(LIMIT)) => ended,
            () = talk => unreachable!(),
        };
        assert_eq!((ended, started.elapsed()), (None, (LIMIT - Duration::from_secs(1)) * 5 + LIMIT));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_ends_returns_its_result() {
        let ends = timeout(LIMIT / 2, until_idle(async { "closed" }, IdleTimeout::new(LIMIT))).await;
        assert_eq!(ends, Ok(Some("closed")));
    }

    /// Afterwards the usual limit applies again.
    #[tokio::test(start_paused = true)]
    async fn an_announced_long_statement_may_exceed_the_idle_limit() {
        let (mut near, mut far) = duplex(64);
        let started = Instant::now();
        let idle_timeout = IdleTimeout::new(LIMIT);
        let long = idle_timeout.start_long_work();
        let talk = async {
            sleep(LIMIT * 60).await;
            drop(long);
            far.write_all(b"x").await.unwrap();
            std::future::pending::<()>().await;
        };
        let listen = async {
            let mut bytes = [0; 64];
            while near.read(&mut bytes).await.unwrap() > 0 {}
        };
        let ended = tokio::select! {
            ended = until_idle(listen, idle_timeout) => ended,
            () = talk => unreachable!(),
        };
        assert_eq!((ended, started.elapsed()), (None, LIMIT * 61));
    }
}
