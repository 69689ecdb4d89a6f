//! A destination whose connection belongs to one thread. The rest of the program talks to the thread over a short
//! channel, which also slows down a source that is faster than the database.
//!
//! What the thread does with a request is in `writer`. Start at [`WriterThread`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};

use super::{Destination, DestinationError, RejectedRow, Run, RunOutcome, RunReport, RunStart, TableFacts};
use crate::domain::op::{Op, State, TableShape};

/// Ops on their way to the writer: each is at most 1,000 rows, so that memory stays flat.
const CHANNEL: usize = 2;

pub(super) type Answer<T> = oneshot::Sender<Result<T, DestinationError>>;

/// The methods of [`Destination`] as messages.
pub(super) enum Request {
    State(Answer<State>),
    Shapes(Answer<BTreeMap<String, TableShape>>),
    Begin(Box<RunStart>, Answer<i64>),
    Write(Op),
    End(Box<RunOutcome>, Answer<RunReport>),
    Runs(usize, Answer<Vec<Run>>),
    Tables(Answer<Vec<TableFacts>>),
    Rejected(usize, Answer<Vec<RejectedRow>>),
    Close(Answer<()>),
}

/// A destination that a thread writes. Dropped without [`Destination::close`] it still commits what a run had.
#[derive(Debug)]
pub struct WriterThread {
    requests: mpsc::Sender<Request>,
    failure: Arc<RunFailure>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// The first failure of the active run, until the run ends: later ops of the run are refused with it.
#[derive(Debug, Default)]
pub(super) struct RunFailure(Mutex<Option<DestinationError>>);

impl RunFailure {
    pub(super) fn get(&self) -> Option<DestinationError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set(&self, failure: Option<DestinationError>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }
}

impl WriterThread {
    /// Starts a thread that answers requests until it returns.
    pub(super) fn start(
        name: String,
        work: impl FnOnce(mpsc::Receiver<Request>, Arc<RunFailure>) + Send + 'static,
    ) -> std::io::Result<Self> {
        let failure = Arc::new(RunFailure::default());
        let (requests, inbox) = mpsc::channel(CHANNEL);
        let shared = Arc::clone(&failure);
        let thread = std::thread::Builder::new().name(name).spawn(move || work(inbox, shared))?;
        Ok(Self { requests, failure, thread: Mutex::new(Some(thread)) })
    }

    async fn ask<T>(&self, request: impl FnOnce(Answer<T>) -> Request) -> Result<T, DestinationError> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(request(answer)).await.map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }
}

pub(super) fn closed() -> DestinationError {
    DestinationError::new("the destination is closed")
}

#[async_trait]
impl Destination for WriterThread {
    async fn state(&self) -> Result<State, DestinationError> {
        self.ask(Request::State).await
    }

    async fn shapes(&self) -> Result<BTreeMap<String, TableShape>, DestinationError> {
        self.ask(Request::Shapes).await
    }

    async fn begin(&self, start: RunStart) -> Result<i64, DestinationError> {
        self.ask(|answer| Request::Begin(Box::new(start), answer)).await
    }

    async fn write(&self, op: Op) -> Result<(), DestinationError> {
        if let Some(failure) = self.failure.get() {
            return Err(failure);
        }
        self.requests.send(Request::Write(op)).await.map_err(|_| closed())
    }

    async fn end(&self, outcome: RunOutcome) -> Result<RunReport, DestinationError> {
        self.ask(|answer| Request::End(Box::new(outcome), answer)).await
    }

    async fn runs(&self, limit: usize) -> Result<Vec<Run>, DestinationError> {
        self.ask(|answer| Request::Runs(limit, answer)).await
    }

    async fn tables(&self) -> Result<Vec<TableFacts>, DestinationError> {
        self.ask(Request::Tables).await
    }

    async fn rejected(&self, limit: usize) -> Result<Vec<RejectedRow>, DestinationError> {
        self.ask(|answer| Request::Rejected(limit, answer)).await
    }

    async fn close(&self) -> Result<(), DestinationError> {
        let closed = self.ask(Request::Close).await;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // It ends right after its answer. A panic was already printed.
            let _ = thread.join();
        }
        closed
    }
}

impl Drop for WriterThread {
    fn drop(&mut self) {
        // The thread commits and ends when its channel has no sender.
        let (without_receiver, _) = mpsc::channel(1);
        self.requests = without_receiver;
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
    }
}
