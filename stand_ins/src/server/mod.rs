//! What all stand-in servers share: the port, the script, and the recorded requests.
//!
//! A stand-in server runs on its own thread and runtime. It therefore answers while a test blocks (on a child
//! process, for example), and its delays and deadlines are real time even in a test whose clock is paused. The
//! model's current time is a [`Clock`](crate::Clock) that the test can set.

use std::collections::VecDeque;
use std::io;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, State};
use axum::response::Response;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use crate::connection::{Connections, Line};
use crate::draw::below;
use crate::reply::Reply;
use crate::request::Request;

#[cfg(feature = "testing")]
mod testing;

/// A stand-in server's model: its state and its responses.
pub trait Service: Send + 'static {
    /// The response to a request without a script; changes the state as the model would.
    fn answer(&mut self, request: &Request) -> Reply;

    /// The state in a few lines, for the message of a failed wait.
    fn describe(&self) -> String;
}

/// A running stand-in server. Dropping it closes its port and every connection.
///
/// [`StandIn::next`] and the like script a [`Reply`] for future requests, [`StandIn::after`] changes the state right
/// after a certain request. A request to script or to look for is named by any part of `"METHOD /path "`. The blank at
/// the end lets a name say where the path ends.
pub struct StandIn<S> {
    url: String,
    shared: Arc<Shared<S>>,
    runtime: Option<Runtime>,
}

struct Shared<S> {
    inner: Mutex<Inner<S>>,
    changes: watch::Sender<u64>,
}

struct Inner<S> {
    service: S,
    script: Script<S>,
    record: Record,
    latency: Duration,
}

struct Script<S> {
    once: VecDeque<ScriptedReply>,
    always: VecDeque<ScriptedReply>,
    hooks: Vec<Hook<S>>,
}

struct ScriptedReply {
    what: String,
    reply: Reply,
}

struct Hook<S> {
    what: String,
    left: usize,
    change: Option<Change<S>>,
}

type Change<S> = Box<dyn FnOnce(&mut S) + Send>;

/// The requests so far. A demo runs for days, so it keeps their number and not the requests.
#[derive(Default)]
struct Record {
    keeps_requests: bool,
    requests: Vec<Request>,
    count: u64,
    in_flight: usize,
    most_in_flight: usize,
}

impl<S: Service> StandIn<S> {
    /// Starts a server on a free port of the loopback interface. It does not record requests.
    ///
    /// # Errors
    /// When no port is free or no thread can be started.
    pub fn serve(service: S) -> io::Result<StandIn<S>> {
        let script = Script { once: VecDeque::new(), always: VecDeque::new(), hooks: Vec::new() };
        let inner = Inner { service, script, record: Record::default(), latency: Duration::ZERO };
        let shared = Arc::new(Shared { inner: Mutex::new(inner), changes: watch::Sender::new(0) });
        let (url, runtime) = listen(shared.clone())?;
        Ok(StandIn { url, shared, runtime: Some(runtime) })
    }

    /// Scheme, host and port, without a slash at the end.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// The minimum time of a response, at most doubled at random, as over the internet. Zero at the start.
    pub fn set_latency(&self, latency: Duration) {
        self.lock().latency = latency;
    }

    /// Scripts the response to the next request of any kind.
    pub fn next(&self, reply: Reply) {
        self.next_on("", reply);
    }

    /// Scripts the response to the next request whose `"METHOD /path "` contains `what`. Calls queue up.
    pub fn next_on(&self, what: &str, reply: Reply) {
        self.lock().script.once.push_back(ScriptedReply { what: what.into(), reply });
    }

    /// Scripts the response to every request whose `"METHOD /path "` contains `what`, until [`StandIn::as_usual`].
    pub fn always_on(&self, what: &str, reply: Reply) {
        self.lock().script.always.push_front(ScriptedReply { what: what.into(), reply });
    }

    /// Drops the script: the model answers again. Hooks of [`StandIn::after`] stay.
    pub fn as_usual(&self) {
        let mut inner = self.lock();
        inner.script.once.clear();
        inner.script.always.clear();
    }

    /// Changes the state right after the `nth` (from 1) further request that `what` names was answered by the model,
    /// before any other request is: rows that move between two pages, a token that expires during a run.
    pub fn after(&self, nth: usize, what: &str, change: impl FnOnce(&mut S) + Send + 'static) {
        let hook = Hook { what: what.into(), left: nth, change: Some(Box::new(change)) };
        self.lock().script.hooks.push(hook);
    }

    /// Reads the state.
    pub fn read<R>(&self, read: impl FnOnce(&S) -> R) -> R {
        read(&self.lock().service)
    }

    /// Changes the state, and wakes those that wait for a condition.
    pub fn change<R>(&self, change: impl FnOnce(&mut S) -> R) -> R {
        let result = change(&mut self.lock().service);
        self.shared.notify();
        result
    }

    fn lock(&self) -> MutexGuard<'_, Inner<S>> {
        self.shared.lock()
    }
}

impl<S> Drop for StandIn<S> {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl<S> Shared<S> {
    fn lock(&self) -> MutexGuard<'_, Inner<S>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn notify(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}

impl<S: Service> Inner<S> {
    fn usual(&mut self, request: &Request) -> Reply {
        let reply = self.service.answer(request);
        for hook in self.script.hooks.iter_mut().filter(|hook| request.is(&hook.what)) {
            hook.left = hook.left.saturating_sub(1);
            if hook.left == 0
                && let Some(change) = hook.change.take()
            {
                change(&mut self.service);
            }
        }
        self.script.hooks.retain(|hook| hook.change.is_some());
        reply
    }

    fn travel(&self) -> Duration {
        let least = u64::try_from(self.latency.as_micros()).unwrap_or(u64::MAX);
        let spread = if least == 0 { 0 } else { below(least, 0, "travel", self.record.count) };
        self.latency + Duration::from_micros(spread)
    }
}

impl<S> Script<S> {
    fn reply(&mut self, request: &Request) -> Option<Reply> {
        if let Some(index) = self.once.iter().position(|scripted| request.is(&scripted.what)) {
            return self.once.remove(index).map(|scripted| scripted.reply);
        }
        self.always.iter().find(|scripted| request.is(&scripted.what)).map(|scripted| scripted.reply.clone())
    }
}

impl Record {
    fn add(&mut self, request: Request) {
        self.count += 1;
        if self.keeps_requests {
            self.requests.push(request);
        }
    }
}

/// The part of a service that the HTTP side needs. It is one type for all services, so that the program contains one server.
trait Exchange: Send + Sync {
    /// Counts a request as in flight.
    fn begin(&self);

    /// Records the request and decides its response atomically.
    fn settle(&self, request: Request) -> Reply;

    /// The request was answered, or its client is gone.
    fn end(&self);
}

impl<S: Service> Exchange for Shared<S> {
    fn begin(&self) {
        let record = &mut self.lock().record;
        record.in_flight += 1;
        record.most_in_flight = record.most_in_flight.max(record.in_flight);
    }

    fn settle(&self, mut request: Request) -> Reply {
        let mut inner = self.lock();
        let reply = match inner.script.reply(&request) {
            Some(scripted) if scripted.needs_usual() => scripted.over(inner.usual(&request)),
            Some(scripted) => scripted,
            None => inner.usual(&request),
        };
        request.status = reply.seen_status();
        let travel = inner.travel();
        inner.record.add(request);
        drop(inner);
        self.notify();
        reply.later(travel)
    }

    fn end(&self) {
        self.lock().record.in_flight -= 1;
        self.notify();
    }
}

/// Listens on a free port, on a runtime of its own. Returns the URL and the runtime.
fn listen(exchange: Arc<dyn Exchange>) -> io::Result<(String, Runtime)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let url = format!("http://{}", listener.local_addr()?);
    let runtime =
        Builder::new_multi_thread().worker_threads(1).thread_name("stand-in").enable_all().build()?;
    let connections = {
        let _context = runtime.enter();
        Connections(tokio::net::TcpListener::from_std(listener)?)
    };
    let app =
        Router::new().fallback(handle).with_state(exchange).into_make_service_with_connect_info::<Line>();
    runtime.spawn(async move { axum::serve(connections, app).await });
    Ok((url, runtime))
}

/// Ends the exchange of a request also when its client is gone.
struct Flight(Arc<dyn Exchange>);

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.end();
    }
}

async fn handle(
    State(exchange): State<Arc<dyn Exchange>>,
    ConnectInfo(line): ConnectInfo<Line>,
    request: axum::extract::Request,
) -> Response {
    let request = Request::record(request).await;
    exchange.begin();
    let flight = Flight(exchange);
    let reply = flight.0.settle(request);
    reply.send(&line).await
}
