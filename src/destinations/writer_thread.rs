//! A destination whose connection is owned by one thread. Requests go through a bounded channel, which also slows down a
//! source that is faster than the database.
//!
//! `writer` handles the requests. Start at [`WriterThread`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use async_trait::async_trait;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::{Destination, DestinationError, RejectedRow, Run, RunOutcome, RunReport, RunStart, TableFacts};
use crate::domain::syncing::op::{Op, State, TableShape};

/// Limit of queued rows, so that memory stays flat. Nearly as many as the writer writes at once, so that the next rows
/// are read while it writes, even if the source's pages are small.
const ROWS_QUEUED: u32 = 3_000;

/// Limit of queued ops. A page of any size is at least one op.
const OPS_QUEUED: usize = 64;

pub(super) type AnswerSender<T> = oneshot::Sender<Result<T, DestinationError>>;

/// The methods of [`Destination`] as messages.
pub(super) enum WriterRequest {
    State(AnswerSender<State>),
    Shapes(AnswerSender<BTreeMap<String, TableShape>>),
    Begin(Box<RunStart>, AnswerSender<i64>),
    /// The permit counts its rows in the queue.
    Write(Op, OwnedSemaphorePermit),
    End(Box<RunOutcome>, AnswerSender<RunReport>),
    Runs(usize, AnswerSender<Vec<Run>>),
    Tables(AnswerSender<Vec<TableFacts>>),
    Rejected(usize, AnswerSender<Vec<RejectedRow>>),
    Close(AnswerSender<()>),
}

/// A destination with a thread of its own. If it is dropped without [`Destination::close`], it still commits pending ops.
#[derive(Debug)]
pub struct WriterThread {
    requests: mpsc::Sender<WriterRequest>,
    room: Arc<Semaphore>,
    failure: Arc<RunFailure>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// The first failure of the active run: all later ops of the run fail with it.
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
    /// Starts a thread that serves requests.
    pub(super) fn start(
        name: String,
        work: impl FnOnce(mpsc::Receiver<WriterRequest>, Arc<RunFailure>) + Send + 'static,
    ) -> std::io::Result<Self> {
        let failure = Arc::new(RunFailure::default());
        let (requests, inbox) = mpsc::channel(OPS_QUEUED);
        let shared = Arc::clone(&failure);
        let thread = std::thread::Builder::new().name(name).spawn(move || work(inbox, shared))?;
        let room = Arc::new(Semaphore::new(ROWS_QUEUED as usize));
        Ok(Self { requests, room, failure, thread: Mutex::new(Some(thread)) })
    }

    async fn request<T>(
        &self,
        request: impl FnOnce(AnswerSender<T>) -> WriterRequest,
    ) -> Result<T, DestinationError> {
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
        self.request(WriterRequest::State).await
    }

    async fn shapes(&self) -> Result<BTreeMap<String, TableShape>, DestinationError> {
        self.request(WriterRequest::Shapes).await
    }

    async fn begin(&self, start: RunStart) -> Result<i64, DestinationError> {
        self.request(|answer| WriterRequest::Begin(Box::new(start), answer)).await
    }

    async fn write(&self, op: Op) -> Result<(), DestinationError> {
        if let Some(failure) = self.failure.get() {
            return Err(failure);
        }
        let rows = u32::try_from(op.len()).unwrap_or(u32::MAX).clamp(1, ROWS_QUEUED);
        let permit = Arc::clone(&self.room).acquire_many_owned(rows).await.map_err(|_| closed())?;
        self.requests.send(WriterRequest::Write(op, permit)).await.map_err(|_| closed())
    }

    async fn end(&self, outcome: RunOutcome) -> Result<RunReport, DestinationError> {
        self.request(|answer| WriterRequest::End(Box::new(outcome), answer)).await
    }

    async fn runs(&self, limit: usize) -> Result<Vec<Run>, DestinationError> {
        self.request(|answer| WriterRequest::Runs(limit, answer)).await
    }

    async fn tables(&self) -> Result<Vec<TableFacts>, DestinationError> {
        self.request(WriterRequest::Tables).await
    }

    async fn rejected(&self, limit: usize) -> Result<Vec<RejectedRow>, DestinationError> {
        self.request(|answer| WriterRequest::Rejected(limit, answer)).await
    }

    async fn close(&self) -> Result<(), DestinationError> {
        let closed = self.request(WriterRequest::Close).await;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // The thread ends right after its answer. A panic was already logged.
            let _ = thread.join();
        }
        closed
    }
}

impl Drop for WriterThread {
    fn drop(&mut self) {
        // The thread commits and ends when its channel has no sender any more.
        let (without_receiver, _) = mpsc::channel(1);
        self.requests = without_receiver;
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
    }
}
