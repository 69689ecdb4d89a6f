//! What tests check in a stand-in server.

#![expect(clippy::unwrap_used, reason = "a test that goes wrong must stop")]

use std::time::{Duration, Instant};

use super::{Service, StandIn};
use crate::request::Request;

/// How long a test waits for something that should happen at once: long enough for a loaded machine.
const TIMEOUT: Duration = Duration::from_secs(20);
/// How many of the last requests a failed wait prints.
const DUMPED: usize = 40;

impl<S: Service> StandIn<S> {
    /// Records requests from now on.
    pub fn recording(self) -> StandIn<S> {
        self.lock().record.keeps_requests = true;
        self
    }

    /// Every request so far, in the order of arrival.
    pub fn requests(&self) -> Vec<Request> {
        self.lock().record.requests.clone()
    }

    /// The requests whose `"METHOD /path "` contains `what`.
    pub fn requests_on(&self, what: &str) -> Vec<Request> {
        self.lock().record.requests.iter().filter(|request| request.is(what)).cloned().collect()
    }

    /// How many requests were answered with this status.
    pub fn answered(&self, status: u16) -> usize {
        self.lock().record.requests.iter().filter(|request| request.status == Some(status)).count()
    }

    /// How many requests wait for their answer.
    pub fn in_flight(&self) -> usize {
        self.lock().record.in_flight
    }

    /// The largest number of requests that waited for an answer at one moment.
    pub fn most_in_flight(&self) -> usize {
        self.lock().record.most_in_flight
    }

    /// The largest number of requests that arrived within any span of this length.
    pub fn most_within(&self, span: Duration) -> usize {
        let inner = self.lock();
        let arrivals: Vec<Instant> = inner.record.requests.iter().map(|request| request.at).collect();
        let within =
            |from: usize| arrivals[from..].iter().take_while(|at| **at - arrivals[from] < span).count();
        (0..arrivals.len()).map(within).max().unwrap_or(0)
    }

    /// Waits until the condition holds; it is checked after each request, answer and change. Panics with the
    /// server's state and last requests when it does not come true within 20 s.
    pub async fn wait_until(&self, condition: impl Fn(&Self) -> bool) {
        let mut changes = self.shared.changes.subscribe();
        let mut deadline = self.runtime.as_ref().unwrap().spawn(tokio::time::sleep(TIMEOUT));
        while !condition(self) {
            tokio::select! {
                changed = changes.changed() => changed.unwrap(),
                _ = &mut deadline => panic!("timeout after {TIMEOUT:?}; {}", self.dump()),
            }
        }
        deadline.abort();
    }

    /// Waits until this many requests have arrived in all.
    pub async fn wait_for_requests(&self, count: usize) {
        self.wait_until(|server| server.lock().record.requests.len() >= count).await;
    }

    /// State and last requests, for messages.
    pub fn dump(&self) -> String {
        let inner = self.lock();
        let requests = &inner.record.requests;
        let skipped = requests.len().saturating_sub(DUMPED);
        let lines: Vec<String> = requests[skipped..].iter().map(|request| format!("\n  {request}")).collect();
        let state = inner.service.describe();
        format!("{} got {} requests{}\n  state: {state}", self.url, requests.len(), lines.concat())
    }
}
