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
/// The same for those that have not said a word yet: a request follows its connection at once.
const GREETING: Duration = Duration::from_secs(1);
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

    /// Asks the one to leave that has been silent longest, and long enough: first of those that have not said a word.
    fn let_one_go(&mut self) {
        self.guests.retain(|guest| guest.strong_count() > 0);
        let guests = self.guests.iter().filter_map(Weak::upgrade);
        let staying = guests.filter(|guest| !guest.leaves.load(Ordering::Relaxed));
        let silent = staying.filter_map(|guest| {
            let (spoke, since) = *guest.heard.lock().unwrap_or_else(PoisonError::into_inner);
            let patience = if spoke { QUIET_IN_A_CROWD } else { GREETING };
            (since.elapsed() >= patience).then_some((spoke, since, guest))
        });
        if let Some((.., guest)) = silent.min_by_key(|(spoke, since, _)| (*spoke, *since)) {
            guest.leaves.store(true, Ordering::Relaxed);
            guest.waker.wake();
        }
    }
}

/// A connection as the door knows it.
struct Guest {
    /// Whether it has ever said a word, and when something last went either way.
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
        (Connection { stream, silence: Box::pin(sleep(QUIET)), guest, _place: place }, from)
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
    _place: OwnedSemaphorePermit,
}

impl Connection {
    fn timed<T>(&mut self, context: &mut Context<'_>, found: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if found.is_ready() {
            let now = Instant::now();
            self.silence.as_mut().reset(now + QUIET);
            *self.guest.heard.lock().unwrap_or_else(PoisonError::into_inner) = (true, now);
            // Who speaks in the last moment stays.
            self.guest.leaves.store(false, Ordering::Relaxed);
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

    async fn answered(stream: &mut TcpStream) -> bool {
        stream.write_all(ASK).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"hello") {
            if stream.read_buf(&mut answer).await.unwrap_or(0) == 0 {
                return false;
            }
        }
        true
    }

    /// A house full of the silent answers who comes at once, in the place of the one that came first; a house full of
    /// those that have been answered and stay does soon. (The clock runs ahead while everybody waits.)
    #[tokio::test(start_paused = true)]
    async fn who_comes_gets_the_place_of_a_silent_one() {
        for (asking, longest) in [(false, GREETING + 2 * LOOK), (true, QUIET_IN_A_CROWD + 2 * LOOK)] {
            let address = serve("hello").await;
            let mut all = Vec::new();
            for _ in 0..CONNECTIONS {
                let mut stream = TcpStream::connect(address).await.unwrap();
                assert!(!asking || answered(&mut stream).await);
                all.push(stream);
            }
            let full = Instant::now();
            assert!(answered(&mut TcpStream::connect(address).await.unwrap()).await);
            assert!(full.elapsed() <= longest, "{:?}", full.elapsed());
            let mut left = all.iter_mut();
            assert!(!answered(left.next().unwrap()).await, "the first has left");
            assert!(answered(left.next().unwrap()).await, "the second may stay");
        }
    }
}
