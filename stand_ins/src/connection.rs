//! The sockets under the HTTP servers, so that a response can also break on the network: reset, or sent byte by byte
//! from its first header on.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Sleep;

/// What happens to the bytes of a response.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Manner {
    /// They are sent.
    Sound,
    /// One by one, with this pause before each.
    Drip(Duration),
    /// None are; the client sees its connection reset.
    Reset,
}

/// The handle by which a request's handler controls its connection.
#[derive(Debug, Clone)]
pub(crate) struct Line(Arc<Mutex<Manner>>);

impl Line {
    pub(crate) fn set(&self, manner: Manner) {
        *self.lock() = manner;
    }

    fn manner(&self) -> Manner {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Manner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connected<IncomingStream<'_, Connections>> for Line {
    fn connect_info(stream: IncomingStream<'_, Connections>) -> Line {
        stream.io().line.clone()
    }
}

/// A listener whose connections are [`Connection`]s.
pub(crate) struct Connections(pub(crate) TcpListener);

impl Listener for Connections {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let (stream, peer) = Listener::accept(&mut self.0).await;
        // Without it, small responses wait for the peer's delayed acknowledgement.
        let _ = stream.set_nodelay(true);
        (Connection { stream, line: Line(Arc::new(Mutex::new(Manner::Sound))), pause: None }, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// One connection.
pub(crate) struct Connection {
    stream: TcpStream,
    line: Line,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Connection {
    fn poll_drip(&mut self, every: Duration, bytes: &[u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let pause = self.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(every)));
        if pause.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.pause = None;
        Pin::new(&mut self.stream).poll_write(cx, &bytes[..bytes.len().min(1)])
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.line.manner() {
            Manner::Sound => Pin::new(&mut self.stream).poll_write(cx, bytes),
            Manner::Drip(every) => self.poll_drip(every, bytes, cx),
            Manner::Reset => {
                // Closing a socket that must not linger sends RST instead of FIN.
                let _ = self.stream.set_zero_linger();
                Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.line.manner() == Manner::Reset {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}
