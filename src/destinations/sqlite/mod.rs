//! SQLite: one file per connector, its tables under the names the definition gives them.
//!
//! One thread owns the connection and does all the writing; the rest of the program talks to it through a short
//! channel, which is what slows a fast source down. Rows are gathered and committed many at a time, with the
//! checkpoints that cover them. Beside the tables the file holds `_state`, `_runs`, `_rejected` and `_tables`.
//! Start at [`Sqlite`]; the thread's work is in `writer`, the tables in `table` and `rows`.

mod complete;
mod file;
mod ledger;
mod rows;
mod run;
mod table;
mod writer;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};

use super::{Begin, Destination, DestinationError, Outcome, Report, Run};
use crate::domain::op::{Op, State, TableShape};
use file::Place;
use writer::Writer;

/// Ops on their way to the writer: each is at most 1,000 rows, so that memory stays flat.
const CHANNEL: usize = 2;

type Reply<T> = oneshot::Sender<Result<T, DestinationError>>;

/// What the thread is asked to do.
enum Ask {
    State(Reply<State>),
    Shapes(Reply<BTreeMap<String, TableShape>>),
    Begin(Box<Begin>, Reply<i64>),
    Write(Op),
    End(Box<Outcome>, Reply<Report>),
    Runs(usize, Reply<Vec<Run>>),
    Close(Reply<()>),
}

/// A destination in one SQLite file. Readers may open the file while it is written.
#[derive(Debug)]
pub struct Sqlite {
    asks: mpsc::Sender<Ask>,
    /// The first failure of the run under way; what is written after it would only be thrown away.
    failed: Arc<Failure>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// A failure that stays until the run ends.
#[derive(Debug, Default)]
struct Failure(Mutex<Option<DestinationError>>);

impl Failure {
    fn get(&self) -> Option<DestinationError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, failure: Option<DestinationError>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }
}

impl Sqlite {
    /// Opens or creates the file of a connector, `DATA_DIR/NAME.db`, and starts its thread. Blocks for a moment.
    ///
    /// # Errors
    /// If the file cannot be opened, is no database, is damaged, or was written by a newer version.
    pub fn open(path: &Path, connector: &str) -> Result<Self, DestinationError> {
        let place = Place::new(path);
        let db = place.open()?;
        let failed = Arc::new(Failure::default());
        let (asks, inbox) = mpsc::channel(CHANNEL);
        let mut writer = Writer::new(place, db, connector, Arc::clone(&failed));
        let unwritable = |reason: std::io::Error| DestinationError::Unwritable {
            place: path.display().to_string(),
            reason: reason.to_string(),
        };
        // Only for its timer: a thread's own channel cannot be awaited from the other side.
        let clock =
            tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(unwritable)?;
        let name = format!("sqlite {connector}");
        let thread = std::thread::Builder::new()
            .name(name)
            .spawn(move || writer.run(&clock, inbox))
            .map_err(unwritable)?;
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
impl Destination for Sqlite {
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

impl Drop for Sqlite {
    fn drop(&mut self) {
        let (asks, _) = mpsc::channel(1);
        // The thread commits what it has when nobody can ask any more.
        self.asks = asks;
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
    }
}
