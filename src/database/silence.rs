//! Ends a connection on which nothing moves any more.
//!
//! The server limits its own work, and TCP notices a machine that is gone. Neither sees a pooler or proxy in between that
//! keeps the connection and forwards nothing. It does not know whether an answer is awaited: an idle connection is ended too
//! and must be made again, and a statement that may take longer is announced first ([`Patience::at_length`]).
//! Start at [`until_silent`].

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// What the server may take for something that was announced as long, in its own words.
pub const LONG: &str = "4h";

/// The same, and a little more, so that the server's own words come first.
const LONG_SILENCE: Duration = Duration::from_secs((4 * 60 + 10) * 60);

/// How long nothing may move on a connection. Clones are of the same connection.
#[derive(Debug, Clone)]
pub struct Patience {
    usual: Duration,
    long: Arc<AtomicBool>,
}

/// While this is kept, long silence is expected.
#[must_use]
#[derive(Debug)]
pub struct AtLength(Arc<AtomicBool>);

impl Patience {
    pub(super) fn new(usual: Duration) -> Patience {
        Patience { usual, long: Arc::default() }
    }

    /// What is asked for next may take hours ([`LONG`]). To be kept until its answer is there.
    pub fn at_length(&self) -> AtLength {
        self.long.store(true, Ordering::Relaxed);
        AtLength(Arc::clone(&self.long))
    }

    fn limit(&self) -> Duration {
        if self.long.load(Ordering::Relaxed) { LONG_SILENCE } else { self.usual }
    }
}

impl Drop for AtLength {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Drives a connection to its end; `None` when it had nothing to do for as long as `patience` lasts. Whatever wakes it,
/// bytes that can be read or written or a request of ours, is a sign of life.
pub(super) async fn until_silent<C: Future>(connection: C, patience: Patience) -> Option<C::Output> {
    let mut connection = pin!(connection);
    let mut silence = pin!(sleep(patience.limit()));
    poll_fn(|cx| {
        if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
            return Poll::Ready(Some(ended));
        }
        if silence.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        // A request wakes us after its patience was asked for, so the limit is that of what is awaited now.
        silence.as_mut().reset(Instant::now() + patience.limit());
        // A timer that was reset wakes the task only after it was polled.
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

    /// A connection lives as long as something comes within each limit, and ends one limit after the last byte.
    #[tokio::test(start_paused = true)]
    async fn silence_counts_from_the_last_byte() {
        let (mut near, mut far) = duplex(64);
        let begun = Instant::now();
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
            ended = until_silent(listen, Patience::new(LIMIT)) => ended,
            () = talk => unreachable!(),
        };
        assert_eq!((ended, begun.elapsed()), (None, (LIMIT - Duration::from_secs(1)) * 5 + LIMIT));
    }

    /// A connection that ends says how.
    #[tokio::test(start_paused = true)]
    async fn an_end_is_no_silence() {
        let ends = timeout(LIMIT / 2, until_silent(async { "closed" }, Patience::new(LIMIT))).await;
        assert_eq!(ends, Ok(Some("closed")));
    }

    /// What was announced as long may take it; afterwards silence ends the connection as soon as before.
    #[tokio::test(start_paused = true)]
    async fn what_takes_long_is_waited_for() {
        let (mut near, mut far) = duplex(64);
        let begun = Instant::now();
        let patience = Patience::new(LIMIT);
        let long = patience.at_length();
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
            ended = until_silent(listen, patience) => ended,
            () = talk => unreachable!(),
        };
        assert_eq!((ended, begun.elapsed()), (None, LIMIT * 61));
    }
}
