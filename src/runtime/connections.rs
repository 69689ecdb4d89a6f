//! Connections to our own port, bounded: so many at once, and none that is silent for ever.
//!
//! Whoever opens connections and says nothing, or asks and never reads, must not use up the files that the watching
//! needs. Start at [`Bounded`].

use std::future::{Future, pending};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

/// At once; the streams of open pages are 64 of them. Many machines give a program 1,024 files for everything.
const CONNECTIONS: usize = 256;
/// Longer than the usual minute between two scrapes and the heartbeat of a stream.
const QUIET: Duration = Duration::from_secs(90);

/// Accepts no more than there is room for; who comes later waits until somebody leaves.
pub(super) struct Bounded {
    listener: TcpListener,
    places: Arc<Semaphore>,
}

impl Bounded {
    pub(super) fn new(listener: TcpListener) -> Bounded {
        Bounded { listener, places: Arc::new(Semaphore::new(CONNECTIONS)) }
    }
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // Nobody closes the semaphore.
        let Ok(place) = self.places.clone().acquire_owned().await else { return pending().await };
        let (stream, from) = Listener::accept(&mut self.listener).await;
        (Connection { stream, silence: Box::pin(sleep(QUIET)), _place: place }, from)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Ends when nothing has gone either way for [`QUIET`].
pub(super) struct Connection {
    stream: TcpStream,
    silence: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    fn timed<T>(&mut self, context: &mut Context<'_>, found: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if found.is_ready() {
            self.silence.as_mut().reset(Instant::now() + QUIET);
            return found;
        }
        self.silence.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let found = Pin::new(&mut self.stream).poll_read(context, into);
        self.timed(context, found)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let found = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.timed(context, found)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let found = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.timed(context, found)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const ASK: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";

    async fn serve(body: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(move || async move { body }));
        tokio::spawn(async move { axum::serve(Bounded::new(listener), router).await });
        address
    }

    /// Whoever says nothing, says half of something, or has been answered and stays, is let go of; whoever waits for a
    /// place gets one then. (The clock runs ahead while everybody waits.)
    #[tokio::test(start_paused = true)]
    async fn the_silent_are_let_go_of() {
        let address = serve("hello").await;
        let mut all = Vec::new();
        for i in 0..CONNECTIONS + 9 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let said = [&b""[..], &ASK[..10], ASK][i % 3];
            stream.write_all(said).await.unwrap();
            all.push((stream, said == ASK));
        }
        for (mut stream, asked) in all {
            let mut answer = Vec::new();
            // The end comes by itself; some systems tell it as a reset.
            let _ = stream.read_to_end(&mut answer).await;
            assert_eq!(answer.ends_with(b"hello"), asked);
        }
    }
}
