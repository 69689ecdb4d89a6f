//! Ends a connection on which nothing moves any more.
//!
//! The server limits its own work, and TCP notices a machine that is gone. Neither sees a pooler or proxy in between that
//! keeps the connection and hands nothing on. It does not know whether an answer is awaited: whoever has nothing to ask
//! for so long connects anew. Start at [`until_silent`].

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Drives a connection to its end; `None` when it had nothing to do for `limit`. Whatever wakes it, bytes that can be read
/// or written or a request of ours, is a sign of life.
pub(super) async fn until_silent<C: Future>(connection: C, limit: Duration) -> Option<C::Output> {
    let mut connection = pin!(connection);
    let mut silence = pin!(sleep(limit));
    poll_fn(|cx| {
        if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
            return Poll::Ready(Some(ended));
        }
        if silence.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        silence.as_mut().reset(Instant::now() + limit);
        // Only a poll makes a timer that was set anew wake us.
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
            ended = until_silent(listen, LIMIT) => ended,
            () = talk => unreachable!(),
        };
        assert_eq!((ended, begun.elapsed()), (None, (LIMIT - Duration::from_secs(1)) * 5 + LIMIT));
    }

    /// A connection that ends says how.
    #[tokio::test(start_paused = true)]
    async fn an_end_is_no_silence() {
        let ends = timeout(LIMIT / 2, until_silent(async { "closed" }, LIMIT)).await;
        assert_eq!(ends, Ok(Some("closed")));
    }
}
