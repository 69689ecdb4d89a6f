//! Connections to our own port, bounded: so many at once, and none that is silent for ever.
//!
//! Whoever opens connections and says nothing, or asks and never reads, must not use up the files that the watching
//! needs, nor keep others out: when the house is full, who comes gets the place of the one that has been silent longest.
//! Start at [`Bounded`].

use std::future::{Future, pending};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep, timeout};

/// At once; the streams of open pages are 64 of them. Many machines give a program 1,024 files for everything.
const CONNECTIONS: usize = 256;
/// Longer than the usual minute between two scrapes and the heartbeat of a stream.
const QUIET: Duration = Duration::from_secs(90);
/// The same when others wait for a place: longer than any answer takes, and than the heartbeat of a stream.
const QUIET_IN_A_CROWD: Duration = Duration::from_secs(20);
/// In a crowd, a whole request has to follow its connection within this.
const GREETING: Duration = Duration::from_secs(1);
/// What a request without a body ends with.
const END_OF_HEAD: &[u8] = b"\r\n\r\n";
/// Who waits for a place looks again after this, whether somebody may be asked to leave by now.
const LOOK: Duration = Duration::from_millis(200);

/// Accepts no more than there is room for; who comes later takes the place of a silent one, or waits until somebody
/// leaves.
pub(super) struct Bounded {
    listener: TcpListener,
    places: Arc<Semaphore>,
    guests: Vec<Weak<Guest>>,
}

impl Bounded {
    pub(super) fn new(listener: TcpListener) -> Bounded {
        Bounded { listener, places: Arc::new(Semaphore::new(CONNECTIONS)), guests: Vec::new() }
    }

    async fn place(&mut self) -> OwnedSemaphorePermit {
        loop {
            if let Ok(place) = self.places.clone().try_acquire_owned() {
                return place;
            }
            self.let_one_go();
            match timeout(LOOK, self.places.clone().acquire_owned()).await {
                Ok(Ok(place)) => return place,
                // Nobody closes the semaphore.
                Ok(Err(_)) => pending().await,
                Err(_) => {}
            }
        }
    }

    /// Asks the one to leave that has been silent longest, and long enough: first of those that have asked for nothing.
    fn let_one_go(&mut self) {
        self.guests.retain(|guest| guest.strong_count() > 0);
        let guests = self.guests.iter().filter_map(Weak::upgrade);
        let staying = guests.filter(|guest| !guest.leaves.load(Ordering::Relaxed));
        let silent = staying.filter_map(|guest| {
            let (asked, since) = *guest.heard.lock().unwrap_or_else(PoisonError::into_inner);
            let patience = if asked { QUIET_IN_A_CROWD } else { GREETING };
            (since.elapsed() >= patience).then_some((asked, since, guest))
        });
        if let Some((.., guest)) = silent.min_by_key(|(asked, since, _)| (*asked, *since)) {
            guest.leaves.store(true, Ordering::Relaxed);
            guest.waker.wake();
        }
    }
}

/// A connection as the door knows it.
struct Guest {
    /// Whether it has ever asked for something, and when something last went either way; before that, when it came.
    heard: Mutex<(bool, Instant)>,
    /// It is asked to leave.
    leaves: AtomicBool,
    waker: AtomicWaker,
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let (stream, from) = Listener::accept(&mut self.listener).await;
        let place = self.place().await;
        let guest = Arc::new(Guest {
            heard: Mutex::new((false, Instant::now())),
            leaves: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        });
        self.guests.push(Arc::downgrade(&guest));
        if self.guests.len() > 2 * CONNECTIONS {
            self.guests.retain(|guest| guest.strong_count() > 0);
        }
        (Connection { stream, silence: Box::pin(sleep(QUIET)), guest, matched: 0, _place: place }, from)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Ends when nothing has gone either way for [`QUIET`], or when its place is wanted.
pub(super) struct Connection {
    stream: TcpStream,
    silence: Pin<Box<Sleep>>,
    guest: Arc<Guest>,
    /// Bytes of [`END_OF_HEAD`] that were heard last; all of them, once a request was heard.
    matched: usize,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    /// Whether a request has been heard, with these bytes.
    fn hear(&mut self, came: &[u8]) {
        for byte in came {
            self.matched = match END_OF_HEAD.get(self.matched) {
                None => return,
                Some(expected) if expected == byte => self.matched + 1,
                Some(_) => usize::from(END_OF_HEAD.first() == Some(byte)),
            };
        }
    }

    fn timed<T>(&mut self, context: &mut Context<'_>, found: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if found.is_ready() {
            let now = Instant::now();
            self.silence.as_mut().reset(now + QUIET);
            if self.matched == END_OF_HEAD.len() {
                *self.guest.heard.lock().unwrap_or_else(PoisonError::into_inner) = (true, now);
                // Who speaks in the last moment stays.
                self.guest.leaves.store(false, Ordering::Relaxed);
            }
            return found;
        }
        self.guest.waker.register(context.waker());
        if self.guest.leaves.load(Ordering::Relaxed) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
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
        let before = into.filled().len();
        let found = Pin::new(&mut self.stream).poll_read(context, into);
        self.hear(into.filled().get(before..).unwrap_or_default());
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

    /// Waits for an answer; `None` when the connection ends instead.
    async fn heard(stream: &mut TcpStream) -> Option<()> {
        let mut answer = Vec::new();
        while !answer.ends_with(b"hello") {
            if stream.read_buf(&mut answer).await.unwrap_or(0) == 0 {
                return None;
            }
        }
        Some(())
    }

    /// A house full of those that say nothing, or half of something, answers who comes almost at once, in the place of the
    /// one that came first; a house full of those that have been answered and stay does soon. (The clock runs ahead while
    /// everybody waits.)
    #[tokio::test(start_paused = true)]
    async fn who_comes_gets_the_place_of_a_silent_one() {
        let cases = [(&b""[..], GREETING), (&ASK[..10], GREETING), (ASK, QUIET_IN_A_CROWD)];
        for (said, patience) in cases {
            let address = serve("hello").await;
            let mut all = Vec::new();
            for _ in 0..CONNECTIONS {
                let mut stream = TcpStream::connect(address).await.unwrap();
                stream.write_all(said).await.unwrap();
                if said == ASK {
                    heard(&mut stream).await.unwrap();
                }
                all.push(stream);
            }
            let full = Instant::now();
            let mut late = TcpStream::connect(address).await.unwrap();
            late.write_all(ASK).await.unwrap();
            heard(&mut late).await.unwrap();
            assert!(full.elapsed() <= patience + 2 * LOOK, "{:?}", full.elapsed());
            assert_eq!(heard(&mut all[0]).await, None, "the first has left");
            let rest = if said == ASK { ASK } else { &ASK[said.len()..] };
            all[1].write_all(rest).await.unwrap();
            heard(&mut all[1]).await.expect("the second may stay");
        }
    }
}
