//! The web port: HTTP/1.1 only, with bounds on connections, time and memory.
//!
//! A connection counts by finished requests and answers, never by bytes: one that drips keeps no one out. When all places
//! are taken, a new client gets the place of the connection that has been waiting longest for its next request, or else of
//! one that reads its answer slowly. So probes and signed-in clients always get in. gRPC has a port of its own.
//! Start at `serve`.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, Response, StatusCode, header};
use axum::response::IntoResponse;
use axum::serve::Listener;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// At once; up to 64 of them are streams of open pages. Many systems give a process 1,024 files for everything.
const CONNECTIONS: usize = 256;
/// For a whole request head, from the start of the connection or the end of the answer before. Clients send it at once.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// For making and sending one answer: half a megabyte at 8 kB/s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// When all places are taken, an answer that is under way for longer may be cut off; answers take milliseconds.
const SLOW: Duration = Duration::from_millis(500);
/// How often a client that waits for a place looks for a slow answer.
const RETRY: Duration = Duration::from_millis(100);
/// Answers made at once. Making one takes a processor for some milliseconds, so it is done beside the threads that poll pages
/// and answer probes.
const MAKING: usize = 8;
/// Made at once, whatever else is asked for.
const PROBES: [&str; 2] = ["/healthz", "/readyz"];
/// For a request head, and for what is gathered of an answer's parts; with [`CONNECTIONS`], 8 MiB in all.
const BUFFER_BYTES: usize = 32 << 10;
/// Answers under way in all, in KiB: some 40 of the largest pages.
const ANSWERS_KIB: u32 = 16 << 10;
/// Smaller answers are not counted, so that a probe is answered whatever else goes on.
const SMALL_BYTES: u64 = 16 << 10;

/// Mark of an answer (a response extension) to a client that is signed in: it is not cut off to make room.
#[derive(Debug, Clone, Copy)]
pub struct SignedIn;

/// Serves `router` until dropped, which ends every connection.
pub(super) async fn serve(mut listener: TcpListener, router: Router) {
    let stop = CancellationToken::new();
    let _stopped = stop.clone().drop_guard();
    let maker =
        Maker { service: TowerToHyperService::new(router), places: Arc::new(Semaphore::new(MAKING)), stop };
    let memory = Arc::new(Semaphore::new(ANSWERS_KIB as usize));
    let mut tasks = JoinSet::new();
    let mut connections: Vec<Weak<Connection>> = Vec::new();
    loop {
        let (stream, _) = Listener::accept(&mut listener).await;
        while tasks.try_join_next().is_some() {}
        connections.retain(|connection| connection.strong_count() > 0);
        while tasks.len() >= CONNECTIONS {
            evict(&connections);
            // No matter how it ended: its place is free.
            let _ = timeout(RETRY, tasks.join_next()).await;
        }
        let connection = Arc::new(Connection::new(Arc::clone(&memory)));
        connections.push(Arc::downgrade(&connection));
        tasks.spawn(serve_one(stream, maker.clone(), connection));
    }
}

/// Makes answers.
#[derive(Clone)]
struct Maker {
    service: TowerToHyperService<Router>,
    places: Arc<Semaphore>,
    stop: CancellationToken,
}

impl Maker {
    async fn answer(self, request: Request<Incoming>) -> Response<Body> {
        let probe = PROBES.contains(&request.uri().path());
        let answer = self.service.call(request.map(Body::new));
        if probe {
            return answer.await.unwrap_or_else(|never| match never {});
        }
        // No one closes the semaphore.
        let place = self.places.acquire_owned().await;
        let runtime = Handle::current();
        let gone = self.stop.child_token();
        let _given_up = gone.clone().drop_guard();
        let made = spawn_blocking(move || {
            let answer = runtime.block_on(gone.run_until_cancelled(answer));
            drop(place);
            answer
        });
        match made.await {
            Ok(Some(Ok(answer))) => answer,
            Ok(None) | Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }
}

/// Ends the connection that has waited longest for its next request, or if there is none, the slowest answer.
fn evict(connections: &[Weak<Connection>]) {
    let connections = connections.iter().filter_map(Weak::upgrade);
    let ranked = connections.filter_map(|connection| {
        let rank = connection.progress.borrow().rank();
        Some((rank?, connection))
    });
    if let Some((_, connection)) = ranked.min_by_key(|(rank, _)| *rank) {
        connection.progress.send_modify(|progress| progress.enter(Phase::Evicted));
    }
}

async fn serve_one(stream: TcpStream, maker: Maker, connection: Arc<Connection>) {
    let io = TokioIo::new(Watched { stream, connection: Arc::clone(&connection) });
    let answered = Arc::clone(&connection);
    let service = service_fn(move |request: Request<Incoming>| {
        let (connection, maker) = (Arc::clone(&answered), maker.clone());
        connection.begin();
        async move { Ok::<_, Infallible>(connection.answer(maker.answer(request).await)) }
    });
    tokio::select! {
        served = http1::Builder::new().max_buf_size(BUFFER_BYTES).serve_connection(io, service) => {
            if let Err(e) = served {
                tracing::debug!(target: "WebServer", "A connection failed: {e}");
            }
        }
        () = connection.overdue() => {}
    }
}

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Waiting for a whole request head.
    Idle,
    /// A request came whose answer is not yet sent.
    Answering,
    /// The client has all of an answer that goes on for as long as it likes.
    Streaming,
    /// Its place is needed.
    Evicted,
}

/// How far a connection has come.
struct Progress {
    phase: Phase,
    since: Instant,
    /// Requests whose answer has not been handed over for sending.
    unfinished: usize,
    streaming: bool,
    signed_in: bool,
    /// For the answers that are under way.
    memory: Option<OwnedSemaphorePermit>,
}

impl Progress {
    fn enter(&mut self, phase: Phase) {
        if self.phase != Phase::Evicted && self.phase != phase {
            (self.phase, self.since) = (phase, Instant::now());
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Idle => Some(self.since + REQUEST_TIMEOUT),
            Phase::Answering => Some(self.since + ANSWER_TIMEOUT),
            Phase::Streaming => None,
            Phase::Evicted => Some(self.since),
        }
    }

    /// The lowest is evicted first; `None`: it stays. Streams stay because they are few.
    fn rank(&self) -> Option<(Phase, Instant)> {
        let slow = !self.signed_in && self.since.elapsed() >= SLOW;
        let may_go = self.phase == Phase::Idle || (self.phase == Phase::Answering && slow);
        may_go.then_some((self.phase, self.since))
    }
}

/// A connection as the server knows it.
struct Connection {
    progress: watch::Sender<Progress>,
    /// Shared by all: what answers that are under way may take.
    memory: Arc<Semaphore>,
}

impl Connection {
    fn new(memory: Arc<Semaphore>) -> Connection {
        let progress = Progress {
            phase: Phase::Idle,
            since: Instant::now(),
            unfinished: 0,
            streaming: false,
            signed_in: false,
            memory: None,
        };
        Connection { progress: watch::Sender::new(progress), memory }
    }

    /// Ends when the connection has to.
    async fn overdue(&self) {
        let mut progress = self.progress.subscribe();
        loop {
            let deadline = progress.borrow_and_update().deadline();
            let passed = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = passed => return,
                // The sender is ours: it is not gone.
                _ = progress.changed() => {}
            }
        }
    }

    /// A whole request head came. A pipelined one does not give more time to the answer before it.
    fn begin(&self) {
        self.progress.send_modify(|progress| {
            progress.unfinished += 1;
            progress.enter(Phase::Answering);
        });
    }

    fn answer(self: Arc<Self>, answer: Response<Body>) -> Response<Answer> {
        let signed_in = answer.extensions().get::<SignedIn>().is_some();
        let size = answer.body().size_hint().exact();
        let memory = match size.filter(|bytes| *bytes > SMALL_BYTES && !signed_in) {
            None => None,
            Some(bytes) => {
                let kib = u32::try_from(bytes >> 10).unwrap_or(u32::MAX).min(ANSWERS_KIB);
                match Arc::clone(&self.memory).try_acquire_many_owned(kib) {
                    Ok(memory) => Some(memory),
                    Err(_) => return busy().map(|body| Answer { body, connection: self }),
                }
            }
        };
        self.progress.send_modify(|progress| {
            (progress.signed_in, progress.streaming) = (signed_in, size.is_none());
            match (&mut progress.memory, memory) {
                (Some(held), Some(more)) => held.merge(more),
                (held, more) => *held = held.take().or(more),
            }
        });
        answer.map(|body| Answer { body, connection: self })
    }

    /// All that was to be sent has been.
    fn flushed(&self) {
        self.progress.send_if_modified(|progress| {
            let next = match (progress.phase, progress.unfinished, progress.streaming) {
                (Phase::Answering, 0, _) => Phase::Idle,
                (Phase::Answering, _, true) => Phase::Streaming,
                _ => return false,
            };
            progress.memory = None;
            progress.enter(next);
            true
        });
    }
}

fn busy() -> Response<Body> {
    let mut answer =
        (StatusCode::SERVICE_UNAVAILABLE, "too many answers are being read slowly\n").into_response();
    answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    answer
}

/// The body of an answer; tells the connection how far it has come.
struct Answer {
    body: Body,
    connection: Arc<Connection>,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if frame.is_ready() {
            self.connection.progress.send_modify(|progress| progress.enter(Phase::Answering));
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.connection.progress.send_modify(|progress| {
            progress.unfinished = progress.unfinished.saturating_sub(1);
            progress.streaming = false;
        });
    }
}

/// The socket; tells the connection when everything has been sent.
struct Watched {
    stream: TcpStream,
    connection: Arc<Connection>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// The HTTP library flushes only after it has written everything it has.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        if flushed.is_ready() {
            self.connection.flushed();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
