//! The web port: HTTP/1.1 only, with bounds on connections, time and memory.
//!
//! A connection makes progress by finished requests and responses, never by bytes, so that a slow sender cannot keep
//! others out. At the connection limit, a new client evicts the connection that has been idle longest, or else one that
//! reads its response slowly. So probes and authenticated clients always get in. gRPC has a port of its own.
//! Start at [`serve`].

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

/// Most connections, of which up to 64 are streams of open pages. Many systems allow a process 1,024 open files.
const CONNECTIONS: usize = 256;
/// For a whole request head, from the start of the connection or the end of the previous response.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// For computing and sending one response: half a megabyte at 8 kB/s.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);
/// At the connection limit, a response in progress for longer may be cut off; usual ones take milliseconds.
const SLOW_RESPONSE: Duration = Duration::from_millis(500);
/// How often a waiting client checks for a slow response.
const RETRY: Duration = Duration::from_millis(100);
/// Responses computed in parallel. One takes milliseconds of processor time, so this happens outside the threads that poll
/// status pages and answer probes.
const PARALLEL_RESPONSES: usize = 8;
/// Answered without waiting for other requests.
const PROBES: [&str; 2] = ["/healthz", "/readyz"];
/// For a request head, and for the write buffer of a response; with [`CONNECTIONS`], 8 MiB in total.
const BUFFER_BYTES: usize = 32 << 10;
/// All responses in progress, in KiB: about 40 of the largest pages.
const RESPONSES_KIB: u32 = 16 << 10;
/// Smaller responses are not counted, so that probes are always answered.
const SMALL_BYTES: u64 = 16 << 10;

/// Response extension: the client is authenticated, so its response is never cut off for another client.
#[derive(Debug, Clone, Copy)]
pub(super) struct AuthenticatedClient;

/// Serves `router` until dropped, which ends every connection.
pub(crate) async fn serve(mut listener: TcpListener, router: Router) {
    let stop = CancellationToken::new();
    let _stopped = stop.clone().drop_guard();
    let maker = ResponseMaker {
        service: TowerToHyperService::new(router),
        permits: Arc::new(Semaphore::new(PARALLEL_RESPONSES)),
        stop,
    };
    let memory = Arc::new(Semaphore::new(RESPONSES_KIB as usize));
    let mut tasks = JoinSet::new();
    let mut connections: Vec<Weak<WebConnection>> = Vec::new();
    loop {
        let (stream, _) = Listener::accept(&mut listener).await;
        while tasks.try_join_next().is_some() {}
        connections.retain(|connection| connection.strong_count() > 0);
        while tasks.len() >= CONNECTIONS {
            evict(&connections);
            // Its result does not matter: the connection is gone.
            let _ = timeout(RETRY, tasks.join_next()).await;
        }
        let connection = Arc::new(WebConnection::new(Arc::clone(&memory)));
        connections.push(Arc::downgrade(&connection));
        tasks.spawn(serve_one(stream, maker.clone(), connection));
    }
}

/// Computes responses, [`PARALLEL_RESPONSES`] at a time.
#[derive(Clone)]
struct ResponseMaker {
    service: TowerToHyperService<Router>,
    permits: Arc<Semaphore>,
    stop: CancellationToken,
}

impl ResponseMaker {
    async fn respond(self, request: Request<Incoming>) -> Response<Body> {
        let probe = PROBES.contains(&request.uri().path());
        let answer = self.service.call(request.map(Body::new));
        if probe {
            return answer.await.unwrap_or_else(|never| match never {});
        }
        // The semaphore is never closed.
        let permit = self.permits.acquire_owned().await;
        let runtime = Handle::current();
        let gone = self.stop.child_token();
        let _given_up = gone.clone().drop_guard();
        let made = spawn_blocking(move || {
            let answer = runtime.block_on(gone.run_until_cancelled(answer));
            drop(permit);
            answer
        });
        match made.await {
            Ok(Some(Ok(answer))) => answer,
            Ok(None) | Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }
}

/// Ends the connection that has been idle longest, or if none is idle, the slowest response.
fn evict(connections: &[Weak<WebConnection>]) {
    let connections = connections.iter().filter_map(Weak::upgrade);
    let ranked = connections.filter_map(|connection| {
        let rank = connection.progress.borrow().rank();
        Some((rank?, connection))
    });
    if let Some((_, connection)) = ranked.min_by_key(|(rank, _)| *rank) {
        connection.progress.send_modify(|progress| progress.enter(ConnectionPhase::Evicted));
    }
}

async fn serve_one(stream: TcpStream, maker: ResponseMaker, connection: Arc<WebConnection>) {
    let io = TokioIo::new(TrackedStream { stream, connection: Arc::clone(&connection) });
    let answered = Arc::clone(&connection);
    let service = service_fn(move |request: Request<Incoming>| {
        let (connection, maker) = (Arc::clone(&answered), maker.clone());
        connection.begin();
        async move { Ok::<_, Infallible>(connection.track(maker.respond(request).await)) }
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum ConnectionPhase {
    /// Waiting for a whole request head.
    Idle,
    /// A request was received and its response is not sent yet.
    Responding,
    /// The client has everything sent so far of a response without an end.
    Streaming,
    /// Ended in favor of another client.
    Evicted,
}

struct ConnectionProgress {
    phase: ConnectionPhase,
    since: Instant,
    /// Requests whose response has not been handed over for sending.
    unfinished: usize,
    streaming: bool,
    signed_in: bool,
    /// Share of the memory limit that responses in progress hold.
    memory: Option<OwnedSemaphorePermit>,
}

impl ConnectionProgress {
    fn enter(&mut self, phase: ConnectionPhase) {
        if self.phase != ConnectionPhase::Evicted && self.phase != phase {
            (self.phase, self.since) = (phase, Instant::now());
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self.phase {
            ConnectionPhase::Idle => Some(self.since + REQUEST_TIMEOUT),
            ConnectionPhase::Responding => Some(self.since + RESPONSE_TIMEOUT),
            ConnectionPhase::Streaming => None,
            ConnectionPhase::Evicted => Some(self.since),
        }
    }

    /// The lowest is evicted first; `None`: never. Streams stay because their number is limited.
    fn rank(&self) -> Option<(ConnectionPhase, Instant)> {
        let slow = !self.signed_in && self.since.elapsed() >= SLOW_RESPONSE;
        let may_go =
            self.phase == ConnectionPhase::Idle || (self.phase == ConnectionPhase::Responding && slow);
        may_go.then_some((self.phase, self.since))
    }
}

struct WebConnection {
    progress: watch::Sender<ConnectionProgress>,
    /// BannerState limit of all responses in progress, shared by all connections.
    memory: Arc<Semaphore>,
}

impl WebConnection {
    fn new(memory: Arc<Semaphore>) -> WebConnection {
        let progress = ConnectionProgress {
            phase: ConnectionPhase::Idle,
            since: Instant::now(),
            unfinished: 0,
            streaming: false,
            signed_in: false,
            memory: None,
        };
        WebConnection { progress: watch::Sender::new(progress), memory }
    }

    /// Completes when the connection must end.
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
                // Never fails: `self` holds the sender.
                _ = progress.changed() => {}
            }
        }
    }

    /// A whole request head was received. A pipelined one does not extend the deadline of the previous response.
    fn begin(&self) {
        self.progress.send_modify(|progress| {
            progress.unfinished += 1;
            progress.enter(ConnectionPhase::Responding);
        });
    }

    fn track(self: Arc<Self>, answer: Response<Body>) -> Response<TrackedBody> {
        let signed_in = answer.extensions().get::<AuthenticatedClient>().is_some();
        let size = answer.body().size_hint().exact();
        let memory = match size.filter(|bytes| *bytes > SMALL_BYTES && !signed_in) {
            None => None,
            Some(bytes) => {
                let kib = u32::try_from(bytes >> 10).unwrap_or(u32::MAX).min(RESPONSES_KIB);
                match Arc::clone(&self.memory).try_acquire_many_owned(kib) {
                    Ok(memory) => Some(memory),
                    Err(_) => return busy().map(|body| TrackedBody { body, connection: self }),
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
        answer.map(|body| TrackedBody { body, connection: self })
    }

    /// Everything written so far has been sent.
    fn flushed(&self) {
        self.progress.send_if_modified(|progress| {
            let next = match (progress.phase, progress.unfinished, progress.streaming) {
                (ConnectionPhase::Responding, 0, _) => ConnectionPhase::Idle,
                (ConnectionPhase::Responding, _, true) => ConnectionPhase::Streaming,
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
        (StatusCode::SERVICE_UNAVAILABLE, "too many responses are in progress\n").into_response();
    answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    answer
}

/// A response body that reports progress to its connection.
struct TrackedBody {
    body: Body,
    connection: Arc<WebConnection>,
}

impl HttpBody for TrackedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if frame.is_ready() {
            self.connection.progress.send_modify(|progress| progress.enter(ConnectionPhase::Responding));
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

impl Drop for TrackedBody {
    fn drop(&mut self) {
        self.connection.progress.send_modify(|progress| {
            progress.unfinished = progress.unfinished.saturating_sub(1);
            progress.streaming = false;
        });
    }
}

/// A socket that reports to its connection when everything has been sent.
struct TrackedStream {
    stream: TcpStream,
    connection: Arc<WebConnection>,
}

impl AsyncRead for TrackedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for TrackedStream {
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

    /// hyper flushes only after it has written everything it has.
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
