//! Fakes: the services we talk to, as real HTTP servers on 127.0.0.1 with a port of their own.
//!
//! Each keeps state like its model, answers as its model is known to answer, records every request, and can be
//! told to misbehave: [`Fake::next`] and its kin script a [`Reply`] for requests to come, [`Fake::after`] changes
//! the state right after a certain request. Nothing here knows the program under test.
//!
//! A fake runs on a thread and runtime of its own. It therefore answers while a test blocks (waiting for a child
//! process, say), and its delays and deadlines are real time even in a test whose clock is paused. What the
//! model takes as the present moment is a [`Clock`] that the test may hold.
//!
//! Start at [`Fake`]; a request to script or to look for is named by any part of `"METHOD /path "`. The blank at the
//! end lets a name say where the path ends.

use std::collections::VecDeque;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{ConnectInfo, State};
use axum::response::Response;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

pub(crate) mod chaos;
mod clock;
mod draw;
pub(crate) mod library;
pub(crate) mod limiter;
pub(crate) mod made_up;
pub(crate) mod people_ai;
mod reply;
mod request;
mod seen;
pub(crate) mod sensource;
pub(crate) mod statuscake;
pub(crate) mod statuspage;
pub(crate) mod tenant;
mod wire;

pub(crate) use clock::Clock;
pub(crate) use reply::{Gate, Reply};
pub(crate) use request::Request;
use wire::{Line, Wires};

/// How long a test waits for something that should happen at once: long enough for a machine under load.
const PATIENCE: Duration = Duration::from_secs(20);
/// How many of the last requests a failed wait prints.
const DUMPED: usize = 40;

/// What a fake is made of: the state of the model and how it answers.
pub(crate) trait Service: Send + 'static {
    /// The answer to a request when no script says otherwise; changes the state as the model would.
    fn answer(&mut self, request: &Request) -> Reply;

    /// The state in a few lines, for the message of a wait that failed.
    fn describe(&self) -> String;
}

/// A running fake. Dropping it closes its port and every connection.
pub(crate) struct Fake<S> {
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
    requests: Vec<Request>,
    once: VecDeque<Scripted>,
    always: VecDeque<Scripted>,
    hooks: Vec<Hook<S>>,
    in_flight: usize,
    most_in_flight: usize,
}

struct Scripted {
    what: String,
    reply: Reply,
}

struct Hook<S> {
    what: String,
    left: usize,
    change: Option<Change<S>>,
}

type Change<S> = Box<dyn FnOnce(&mut S) + Send>;

impl<S: Service> Fake<S> {
    /// Starts a server on a free port.
    pub(crate) fn serve(service: S) -> Fake<S> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let inner = Inner {
            service,
            requests: Vec::new(),
            once: VecDeque::new(),
            always: VecDeque::new(),
            hooks: Vec::new(),
            in_flight: 0,
            most_in_flight: 0,
        };
        let shared = Arc::new(Shared { inner: Mutex::new(inner), changes: watch::Sender::new(0) });
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let app = Router::new()
            .fallback(handle::<S>)
            .with_state(shared.clone())
            .into_make_service_with_connect_info::<Line>();
        runtime.spawn(async move {
            let wires = Wires(tokio::net::TcpListener::from_std(listener).unwrap());
            axum::serve(wires, app).await
        });
        Fake { url, shared, runtime: Some(runtime) }
    }

    /// Scheme, host and port, without a slash at the end.
    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    /// Answers the next request of any kind so.
    pub(crate) fn next(&self, reply: Reply) {
        self.next_on("", reply);
    }

    /// Answers the next request whose `"METHOD /path "` contains `what` so. Calls queue up.
    pub(crate) fn next_on(&self, what: &str, reply: Reply) {
        self.lock().once.push_back(Scripted { what: what.into(), reply });
    }

    /// Answers every request whose `"METHOD /path "` contains `what` so, until [`Fake::as_usual`].
    pub(crate) fn always_on(&self, what: &str, reply: Reply) {
        self.lock().always.push_front(Scripted { what: what.into(), reply });
    }

    /// Drops the script: the model answers again. Hooks of [`Fake::after`] stay.
    pub(crate) fn as_usual(&self) {
        let mut inner = self.lock();
        inner.once.clear();
        inner.always.clear();
    }

    /// Changes the state right after the `nth` (from 1) further request that `what` names was answered by the
    /// model, before any other request is: rows that move between two pages, a token that dies in mid-run.
    pub(crate) fn after(&self, nth: usize, what: &str, change: impl FnOnce(&mut S) + Send + 'static) {
        let hook = Hook { what: what.into(), left: nth, change: Some(Box::new(change)) };
        self.lock().hooks.push(hook);
    }

    /// Every request so far, in the order of arrival.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.lock().requests.clone()
    }

    /// The requests whose `"METHOD /path "` contains `what`.
    pub(crate) fn requests_on(&self, what: &str) -> Vec<Request> {
        self.lock().requests.iter().filter(|request| request.is(what)).cloned().collect()
    }

    /// How many requests were answered with this status.
    pub(crate) fn answered(&self, status: u16) -> usize {
        self.lock().requests.iter().filter(|request| request.status == Some(status)).count()
    }

    /// How many requests wait for their answer.
    pub(crate) fn in_flight(&self) -> usize {
        self.lock().in_flight
    }

    /// The largest number of requests that waited for an answer at one moment.
    pub(crate) fn most_in_flight(&self) -> usize {
        self.lock().most_in_flight
    }

    /// The largest number of requests that arrived within any span of this length.
    pub(crate) fn most_within(&self, span: Duration) -> usize {
        let inner = self.lock();
        let arrivals: Vec<Instant> = inner.requests.iter().map(|request| request.at).collect();
        let within =
            |from: usize| arrivals[from..].iter().take_while(|at| **at - arrivals[from] < span).count();
        (0..arrivals.len()).map(within).max().unwrap_or(0)
    }

    /// Looks at the state.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&S) -> R) -> R {
        look(&self.lock().service)
    }

    /// Changes the state, and wakes whoever waits in [`Fake::wait_until`].
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut S) -> R) -> R {
        let result = change(&mut self.lock().service);
        self.shared.tell();
        result
    }

    /// Waits until the condition holds; it is looked at after each request, answer and change. Panics with the
    /// fake's state and last requests when it does not come true within [`PATIENCE`].
    pub(crate) async fn wait_until(&self, condition: impl Fn(&Self) -> bool) {
        let mut changes = self.shared.changes.subscribe();
        let mut deadline = self.runtime.as_ref().unwrap().spawn(tokio::time::sleep(PATIENCE));
        while !condition(self) {
            tokio::select! {
                changed = changes.changed() => changed.unwrap(),
                _ = &mut deadline => panic!("waited {PATIENCE:?} in vain; {}", self.dump()),
            }
        }
        deadline.abort();
    }

    /// Waits until this many requests have arrived in all.
    pub(crate) async fn wait_for_requests(&self, count: usize) {
        self.wait_until(|fake| fake.lock().requests.len() >= count).await;
    }

    /// State and last requests, for messages.
    pub(crate) fn dump(&self) -> String {
        let inner = self.lock();
        let skipped = inner.requests.len().saturating_sub(DUMPED);
        let lines: Vec<String> =
            inner.requests[skipped..].iter().map(|request| format!("\n  {request}")).collect();
        let state = inner.service.describe();
        format!("{} saw {} requests{}\n  state: {state}", self.url, inner.requests.len(), lines.concat())
    }

    fn lock(&self) -> MutexGuard<'_, Inner<S>> {
        self.shared.inner.lock().unwrap()
    }
}

impl<S> Drop for Fake<S> {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl<S: Service> Shared<S> {
    /// Records the request and settles its answer, all at one moment.
    fn settle(&self, mut request: Request) -> Reply {
        let mut inner = self.inner.lock().unwrap();
        let reply = match inner.scripted(&request) {
            Some(scripted) if scripted.needs_usual() => scripted.over(inner.usual(&request)),
            Some(scripted) => scripted,
            None => inner.usual(&request),
        };
        request.status = reply.seen_status();
        inner.requests.push(request);
        drop(inner);
        self.tell();
        reply
    }

    fn tell(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}

impl<S: Service> Inner<S> {
    fn scripted(&mut self, request: &Request) -> Option<Reply> {
        if let Some(index) = self.once.iter().position(|scripted| request.is(&scripted.what)) {
            return self.once.remove(index).map(|scripted| scripted.reply);
        }
        self.always.iter().find(|scripted| request.is(&scripted.what)).map(|scripted| scripted.reply.clone())
    }

    fn usual(&mut self, request: &Request) -> Reply {
        let reply = self.service.answer(request);
        for hook in self.hooks.iter_mut().filter(|hook| request.is(&hook.what)) {
            hook.left = hook.left.saturating_sub(1);
            if hook.left == 0
                && let Some(change) = hook.change.take()
            {
                change(&mut self.service);
            }
        }
        self.hooks.retain(|hook| hook.change.is_some());
        reply
    }
}

/// Counts a request as in flight until it is answered or its client is gone.
struct Flight<S: Service>(Arc<Shared<S>>);

impl<S: Service> Flight<S> {
    fn begin(shared: &Arc<Shared<S>>) -> Flight<S> {
        let mut inner = shared.inner.lock().unwrap();
        inner.in_flight += 1;
        inner.most_in_flight = inner.most_in_flight.max(inner.in_flight);
        drop(inner);
        Flight(shared.clone())
    }
}

impl<S: Service> Drop for Flight<S> {
    fn drop(&mut self) {
        self.0.inner.lock().unwrap().in_flight -= 1;
        self.0.tell();
    }
}

async fn handle<S: Service>(
    State(shared): State<Arc<Shared<S>>>,
    ConnectInfo(line): ConnectInfo<Line>,
    request: axum::extract::Request,
) -> Response {
    let request = Request::record(request).await;
    let _flight = Flight::begin(&shared);
    let reply = shared.settle(request);
    reply.send(&line).await
}

/// A client for the fakes' own tests: no proxy, no redirects, no TLS, and the crypto provider installed.
pub(crate) fn client() -> reqwest::Client {
    install_crypto();
    // Without roots of its own, each client would read and parse the machine's.
    let plain = reqwest::Client::builder().no_proxy().tls_certs_only([]);
    plain.redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

/// Installs the process-wide crypto provider, which reqwest needs even for plain http. Cheap to call again.
pub(crate) fn install_crypto() {
    // An error means that another test of this process was first.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
