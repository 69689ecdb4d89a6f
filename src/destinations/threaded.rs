//! A destination whose connection belongs to one thread: the rest of the program talks to it through a short channel,
//! which is what slows a fast source down.
//!
//! What the thread does is for each kind of destination; here is only the talking. Start at [`Threaded`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};

use super::{Begin, Destination, DestinationError, Outcome, RejectedRow, Report, Run, TableFacts};
use crate::domain::op::{Op, State, TableShape};

/// Ops on their way to the writer: each is at most 1,000 rows, so that memory stays flat.
const CHANNEL: usize = 2;

pub(super) type Reply<T> = oneshot::Sender<Result<T, DestinationError>>;

/// What the thread is asked to do.
pub(super) enum Ask {
    State(Reply<State>),
    Shapes(Reply<BTreeMap<String, TableShape>>),
    Begin(Box<Begin>, Reply<i64>),
    Write(Op),
    End(Box<Outcome>, Reply<Report>),
    Runs(usize, Reply<Vec<Run>>),
    Tables(Reply<Vec<TableFacts>>),
    Rejected(usize, Reply<Vec<RejectedRow>>),
    Close(Reply<()>),
}

/// A destination that a thread writes. Dropped without [`Destination::close`] it still commits what a run had.
#[derive(Debug)]
pub struct Threaded {
    asks: mpsc::Sender<Ask>,
    /// The first failure of the run under way; what is written after it would only be thrown away.
    failed: Arc<Failure>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// A failure that stays until the run ends.
#[derive(Debug, Default)]
pub(super) struct Failure(Mutex<Option<DestinationError>>);

impl Failure {
    pub(super) fn get(&self) -> Option<DestinationError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set(&self, failure: Option<DestinationError>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }
}

impl Threaded {
    /// Starts a thread that answers what comes in.
    pub(super) fn start(
        name: String,
        work: impl FnOnce(mpsc::Receiver<Ask>, Arc<Failure>) + Send + 'static,
    ) -> std::io::Result<Self> {
        let failed = Arc::new(Failure::default());
        let (asks, inbox) = mpsc::channel(CHANNEL);
        let told = Arc::clone(&failed);
        let thread = std::thread::Builder::new().name(name).spawn(move || work(inbox, told))?;
        Ok(Self { asks, failed, thread: Mutex::new(Some(thread)) })
    }

    async fn ask<T>(&self, ask: impl FnOnce(Reply<T>) -> Ask) -> Result<T, DestinationError> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(ask(reply)).await.map_err(|_| GONE)?;
        answer.await.map_err(|_| GONE)?
    }
}

const GONE: DestinationError = DestinationError::OutOfOrder("the destination is closed");

#[async_trait]
impl Destination for Threaded {
    async fn state(&self) -> Result<State, DestinationError> {
        self.ask(Ask::State).await
    }

    async fn shapes(&self) -> Result<BTreeMap<String, TableShape>, DestinationError> {
        self.ask(Ask::Shapes).await
    }

    async fn begin(&self, run: Begin) -> Result<i64, DestinationError> {
        self.ask(|reply| Ask::Begin(Box::new(run), reply)).await
    }

    async fn write(&self, op: Op) -> Result<(), DestinationError> {
        if let Some(failure) = self.failed.get() {
            return Err(failure);
        }
        self.asks.send(Ask::Write(op)).await.map_err(|_| GONE)
    }

    async fn end(&self, outcome: Outcome) -> Result<Report, DestinationError> {
        self.ask(|reply| Ask::End(Box::new(outcome), reply)).await
    }

    async fn runs(&self, limit: usize) -> Result<Vec<Run>, DestinationError> {
        self.ask(|reply| Ask::Runs(limit, reply)).await
    }

    async fn tables(&self) -> Result<Vec<TableFacts>, DestinationError> {
        self.ask(Ask::Tables).await
    }

    async fn rejected(&self, limit: usize) -> Result<Vec<RejectedRow>, DestinationError> {
        self.ask(|reply| Ask::Rejected(limit, reply)).await
    }

    async fn close(&self) -> Result<(), DestinationError> {
        let closed = self.ask(Ask::Close).await;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // It has answered and does nothing more.
            let _ = thread.join();
        }
        closed
    }
}

impl Drop for Threaded {
    fn drop(&mut self) {
        let (asks, _) = mpsc::channel(1);
        // The thread commits what it has when nobody can ask any more.
        self.asks = asks;
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
    }
}
