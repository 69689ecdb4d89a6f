//! Our own memory: what is believed of each monitor, its history, the banner.
//!
//! One worker owns the database ([`sqlite`]: a thread, `DATA_DIR/monitor.db`); everybody else sends it what to keep
//! and may wait for the answer. Single looks are not rows: only what is believed now, each change of it, and how long
//! each day was spent at which severity. Start at [`Store::open`].

pub mod sqlite;

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use jiff::civil::Date;
use tokio::sync::{mpsc, oneshot};

use crate::domain::assess::{MonitorState, Transition};
use crate::domain::history::{Days, MonitorDay, Span};
use crate::domain::plan::Memory;

pub use sqlite::Closer;

/// Enough for a burst; whoever sends more waits, which slows it to the speed of the disk.
const QUEUE: usize = 256;

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another daemon works on the same folder.
    #[error(
        "DATA_DIR {folder} is in use by another data-sources-monitor ({holder}); two would fight over the \
         banner. Stop it, or give this one a DATA_DIR of its own"
    )]
    InUse {
        /// The folder.
        folder: String,
        /// What the lock file says of the holder.
        holder: String,
    },
    /// The folder or a file in it cannot be used.
    #[error("DATA_DIR {path}: {reason}")]
    Unusable {
        /// Folder or file.
        path: String,
        /// Why.
        reason: String,
    },
    /// A later version wrote it.
    #[error(
        "{path} was written by a later version (layout {found}, this program knows {known}); update the program"
    )]
    TooNew {
        /// The file.
        path: String,
        /// Its layout.
        found: i64,
        /// Ours.
        known: i64,
    },
}

/// Something could not be kept or read. The daemon goes on with what it has in memory.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{place}: {reason}")]
pub struct KeepError {
    /// The file or server.
    pub place: String,
    /// Why.
    pub reason: String,
}

/// What was kept of an earlier run.
#[derive(Debug, Default)]
pub struct Kept {
    /// By monitor.
    pub states: Vec<(String, MonitorState)>,
    /// Of the banner, and the tenant it belongs to.
    pub banner: Option<(String, Memory)>,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Remembered {
    tenant: String,
    memory: Memory,
}

impl Kept {
    /// What is remembered of this tenant's banner: nothing if it was another's.
    pub fn memory_of(&self, tenant: &str) -> Memory {
        self.banner.as_ref().filter(|(whose, _)| whose == tenant).map(|(_, m)| m.clone()).unwrap_or_default()
    }
}

/// What the watcher has to keep: all of it together, or nothing.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// What is believed, by monitor.
    pub states: BTreeMap<String, MonitorState>,
    /// What changed.
    pub transitions: Vec<Transition>,
    /// Time watched since the last batch; added to what is kept.
    pub days: Days,
}

impl Batch {
    /// Whether there is nothing to keep.
    pub fn is_empty(&self) -> bool {
        self.states.is_empty() && self.transitions.is_empty() && self.days.is_empty()
    }

    /// Takes back a batch that could not be kept: what is newer in this one stands.
    pub fn put_back(&mut self, mut earlier: Batch) {
        for (name, state) in earlier.states {
            self.states.entry(name).or_insert(state);
        }
        earlier.transitions.append(&mut self.transitions);
        self.transitions = earlier.transitions;
        for (key, day) in earlier.days {
            self.days.entry(key).or_default().add(&day);
        }
    }
}

enum Ask {
    Keep(Order, Reply<()>),
    Days(Option<String>, Date, Reply<Vec<MonitorDay>>),
    Transitions(Span, Reply<Vec<Transition>>),
}

enum Order {
    Batch(Batch),
    Memory(Box<Remembered>),
    Forget(Vec<String>),
    Prune(Timestamp),
}

type Reply<T> = oneshot::Sender<Result<T, KeepError>>;

/// The handle. Dropping the last clone lets the worker finish; [`Closer::join`] waits for it.
#[derive(Clone)]
pub struct Store {
    asks: mpsc::Sender<Ask>,
    place: String,
}

impl Store {
    /// Opens or makes the database in a folder, locks the folder against a second daemon, and reads what was kept.
    ///
    /// # Errors
    /// When the folder is in use, cannot be written, or comes from a later version.
    pub fn open(folder: &Path) -> Result<(Store, Closer, Kept), OpenError> {
        let (asks, inbox) = mpsc::channel(QUEUE);
        let (closer, kept) = sqlite::start(folder, inbox)?;
        Ok((Store { asks, place: sqlite::file(folder).display().to_string() }, closer, kept))
    }

    /// What is remembered of the banner, read beside a daemon that may be running. Nothing is made or changed.
    ///
    /// # Errors
    /// When there is a database that cannot be read.
    pub fn peek(folder: &Path, tenant: &str) -> Result<Memory, KeepError> {
        Ok(sqlite::peek(folder)?.memory_of(tenant))
    }

    /// Keeps what is believed, what changed and the time watched.
    ///
    /// # Errors
    /// When it could not be written; nothing of it is then.
    pub async fn keep(&self, batch: Batch) -> Result<(), KeepError> {
        self.order(Order::Batch(batch)).await
    }

    /// Keeps the memory of a tenant's banner.
    ///
    /// # Errors
    /// When it could not be written.
    pub async fn keep_memory(&self, tenant: &str, memory: Memory) -> Result<(), KeepError> {
        self.order(Order::Memory(Box::new(Remembered { tenant: tenant.to_owned(), memory }))).await
    }

    /// Forgets what was believed of monitors that are no longer defined. Their history stays.
    ///
    /// # Errors
    /// When it could not be written.
    pub async fn forget(&self, monitors: Vec<String>) -> Result<(), KeepError> {
        self.order(Order::Forget(monitors)).await
    }

    /// Forgets history that is too old.
    ///
    /// # Errors
    /// When it could not be written.
    pub async fn prune(&self, now: Timestamp) -> Result<(), KeepError> {
        self.order(Order::Prune(now)).await
    }

    /// A handle that only reads.
    pub fn reader(&self) -> Reader {
        Reader { asks: self.asks.downgrade(), place: self.place.clone() }
    }

    async fn order(&self, order: Order) -> Result<(), KeepError> {
        self.ask(|reply| Ask::Keep(order, reply)).await
    }

    async fn ask<T>(&self, ask: impl FnOnce(Reply<T>) -> Ask) -> Result<T, KeepError> {
        put(Some(self.asks.clone()), &self.place, ask).await
    }
}

/// Reads what is kept, for whoever shows it. It does not keep the worker from ending.
#[derive(Clone)]
pub struct Reader {
    asks: mpsc::WeakSender<Ask>,
    place: String,
}

impl Reader {
    /// The days of one monitor, or of all, since a date, by monitor and date.
    ///
    /// # Errors
    /// When it could not be read.
    pub async fn days(&self, of: Option<String>, since: Date) -> Result<Vec<MonitorDay>, KeepError> {
        put(self.asks.upgrade(), &self.place, |reply| Ask::Days(of, since, reply)).await
    }

    /// Changes of what was believed, newest first.
    ///
    /// # Errors
    /// When it could not be read.
    pub async fn transitions(&self, span: Span) -> Result<Vec<Transition>, KeepError> {
        put(self.asks.upgrade(), &self.place, |reply| Ask::Transitions(span, reply)).await
    }
}

/// Asks the worker, and lets go of it before its answer comes.
async fn put<T>(
    asks: Option<mpsc::Sender<Ask>>,
    place: &str,
    ask: impl FnOnce(Reply<T>) -> Ask,
) -> Result<T, KeepError> {
    let gone = || KeepError { place: place.to_owned(), reason: "the store's worker has ended".into() };
    let (reply, answer) = oneshot::channel();
    let asks = asks.ok_or_else(gone)?;
    asks.send(ask(reply)).await.map_err(|_| gone())?;
    drop(asks);
    answer.await.map_err(|_| gone())?
}

#[cfg(test)]
mod tests;
