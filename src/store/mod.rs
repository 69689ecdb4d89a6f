//! Our own memory: what is believed of each monitor, its history, the banner.
//!
//! One worker owns the database (`sqlite`: a thread, `DATA_DIR/monitor.db`; `postgres`: a task, a schema that several
//! daemons share); everybody else sends it what to keep and may wait for the answer. Single looks are not rows: only
//! what is believed now, each change of it, and how long each day was spent at which severity. Where daemons share a
//! memory, what is kept is kept under a [`lease`]. Start at [`Store::open`] and [`Store::connect`].

pub mod jobs;
pub mod lease;
mod postgres;
pub mod schema;
mod sqlite;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{mpsc, oneshot};

use crate::database::{Database, DatabaseError};
use crate::domain::assess::{MonitorState, Transition};
use crate::domain::history::{Days, MonitorDay, Span};
use crate::domain::plan::Memory;

use lease::Lease;

/// Enough for a burst; whoever sends more waits, which slows it to the speed of the disk.
const QUEUE: usize = 256;

/// A server may be silent for this long before whoever asked goes on without an answer: those who ask have work that
/// does not need the server. Longer than the worker's own patience, so that its reason is heard.
const ANSWER_WITHIN: Duration = Duration::from_secs(6);

/// Changes that wait while nothing can be kept; beyond that older ones are merged. About 1 kB each.
const MAX_WAITING: usize = 2_000;

/// How long history is kept: a year and a bit, so that a year can be compared with the last.
const KEEP_HISTORY: SignedDuration = SignedDuration::from_hours(400 * 24);

/// As many of the newest days that have rows are kept whatever the clock says: one that is wrong by years deletes nothing.
const KEEP_DAYS: i64 = 400;

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
    /// The folder or a file in it cannot be used, until somebody changes that.
    #[error("DATA_DIR {path}: {reason}")]
    Unusable {
        /// Folder or file.
        path: String,
        /// Why.
        reason: String,
    },
    /// The same, which may be over by itself: locked by another program, no space, a failing disk, read-only.
    #[error("DATA_DIR {path}: {reason}")]
    Unavailable {
        /// Folder or file.
        path: String,
        /// Why.
        reason: String,
    },
    /// The database on a server cannot be used.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// A later version wrote it.
    #[error(
        "{path} was written by a later version (layout {found}, this program knows {known}); update the program"
    )]
    TooNew {
        /// The file or schema.
        path: String,
        /// Its layout.
        found: i64,
        /// Ours.
        known: i64,
    },
}

impl OpenError {
    /// Whether the same may succeed later although nobody changes the configuration.
    pub fn is_transient(&self) -> bool {
        match self {
            OpenError::Unavailable { .. } => true,
            OpenError::Database(e) => !e.is_configuration(),
            OpenError::InUse { .. } | OpenError::Unusable { .. } | OpenError::TooNew { .. } => false,
        }
    }
}

/// Something could not be kept or read. The daemon goes on with what it has in memory.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{place}: {reason}")]
pub struct KeepError {
    /// The file or schema.
    pub place: String,
    /// Why.
    pub reason: String,
    /// Another daemon holds the lease, so nothing may be written anywhere.
    pub fenced: bool,
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

    /// Adds a change.
    pub fn add(&mut self, change: Transition) {
        self.transitions.push(change);
        self.bound();
    }

    /// Merges the older half of the changes into one per monitor where there are too many: from the first state to the last.
    fn bound(&mut self) {
        if self.transitions.len() <= MAX_WAITING {
            return;
        }
        let newer = self.transitions.split_off(self.transitions.len() - MAX_WAITING / 2);
        let mut merged: BTreeMap<String, Transition> = BTreeMap::new();
        for change in self.transitions.drain(..) {
            match merged.entry(change.monitor.clone()) {
                Entry::Vacant(free) => drop(free.insert(change)),
                Entry::Occupied(mut first) => {
                    let from = first.get().from;
                    first.insert(Transition { from, ..change });
                }
            }
        }
        self.transitions = merged.into_values().filter(|change| change.from != change.to).collect();
        self.transitions.sort_by_key(|change| change.at);
        self.transitions.extend(newer);
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
        self.bound();
    }
}

enum Ask {
    Keep(Order, Writer, Reply<()>),
    Recall(Reply<Kept>),
    Days(Option<String>, Date, Reply<Vec<MonitorDay>>),
    Transitions(Span, Reply<Vec<Transition>>),
}

enum Order {
    Batch(Arc<Batch>),
    Memory(Box<Remembered>),
    Forget(Vec<String>),
    Prune(Timestamp),
}

/// What becomes of a damaged database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damaged {
    /// It is renamed, and a new one takes its place.
    Replace,
    /// It is an error.
    Refuse,
}

/// Who writes, where several daemons might.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writer {
    /// Nobody else can.
    Alone,
    /// The holder of the lease under this token, if it still is.
    Holder(i64),
    /// Who was the holder under this token: what was seen then is still true.
    Former(i64),
}

type Reply<T> = oneshot::Sender<Result<T, KeepError>>;

/// Waits for the worker at the end.
pub struct Closer(Option<JoinHandle<()>>);

impl Closer {
    /// Returns when everything sent is on disk and the file is closed. Every [`Store`] must be gone by then. On a
    /// server there is nothing to wait for: what was answered is kept.
    pub fn join(self) {
        if let Some(thread) = self.0 {
            // The thread only ends by finishing its work; a panic in it was logged by the panic hook.
            let _ = thread.join();
        }
    }
}

/// The handle. Dropping the last clone lets the worker finish; [`Closer::join`] waits for it.
#[derive(Clone)]
pub struct Store {
    asks: mpsc::Sender<Ask>,
    place: String,
    writer: Writer,
    /// `None`: an answer comes for sure.
    patience: Option<Duration>,
}

impl Store {
    /// Opens or makes the database in a folder, locks the folder against a second daemon, and reads what was kept.
    ///
    /// # Errors
    /// When the folder is in use, cannot be written, or comes from a later version. A damaged database is no error: it is
    /// renamed, with a warning.
    pub fn open(folder: &Path) -> Result<(Store, Closer, Kept), OpenError> {
        Self::open_in(folder, Damaged::Replace)
    }

    /// The same, where a damaged database is an error.
    ///
    /// # Errors
    /// As [`Store::open`], and when the database is damaged.
    pub fn open_undamaged(folder: &Path) -> Result<(Store, Closer, Kept), OpenError> {
        Self::open_in(folder, Damaged::Refuse)
    }

    fn open_in(folder: &Path, damaged: Damaged) -> Result<(Store, Closer, Kept), OpenError> {
        let (asks, inbox) = mpsc::channel(QUEUE);
        let (thread, kept) = sqlite::start(folder, damaged, inbox)?;
        let place = sqlite::file(folder).display().to_string();
        let store = Store { asks, place, writer: Writer::Alone, patience: None };
        Ok((store, Closer(Some(thread)), kept))
    }

    /// Whether this user can write to a folder, or create it. Changes nothing.
    ///
    /// # Errors
    /// Why not, and what to do about it.
    pub fn check(folder: &Path) -> Result<(), OpenError> {
        sqlite::check(folder)
    }

    /// Connects to a server and makes the schema or brings it up to date. Nothing can be kept before
    /// [`Store::under`]; what was kept is read by [`Store::recall`], once the lease is held.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses, or a later version made the schema.
    pub async fn connect(database: Database, lease: Lease) -> Result<(Store, Closer), OpenError> {
        let (asks, inbox) = mpsc::channel(QUEUE);
        let place = format!("schema {}", lease.schema.name());
        postgres::start(database, lease, inbox).await?;
        // No token was ever 0.
        let store = Store { asks, place, writer: Writer::Holder(0), patience: Some(ANSWER_WITHIN) };
        Ok((store, Closer(None)))
    }

    /// What is remembered of the banner, read beside a daemon that may be running. Nothing is made or changed.
    ///
    /// # Errors
    /// When there is a database that cannot be read.
    pub fn peek(folder: &Path, tenant: &str) -> Result<Memory, KeepError> {
        Ok(sqlite::peek(folder)?.memory_of(tenant))
    }

    /// The same where it is on a server.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    pub async fn peek_at(
        database: &Database,
        schema: schema::Schema,
        tenant: &str,
    ) -> Result<Memory, DatabaseError> {
        postgres::peek(database, schema, tenant).await
    }

    /// The same store for the holder of the lease under this token: what it keeps is refused as soon as somebody else
    /// has the lease. In a folder, which only one daemon can open, it changes nothing.
    #[must_use]
    pub fn under(&self, token: i64) -> Store {
        let writer = if self.writer == Writer::Alone { Writer::Alone } else { Writer::Holder(token) };
        Store { writer, ..self.clone() }
    }

    /// What is kept now.
    ///
    /// # Errors
    /// When it could not be read.
    pub async fn recall(&self) -> Result<Kept, KeepError> {
        self.ask(Ask::Recall).await
    }

    /// Keeps what is believed, what changed and the time watched.
    ///
    /// # Errors
    /// When it could not be written; nothing of it is then.
    pub async fn keep(&self, batch: impl Into<Arc<Batch>>) -> Result<(), KeepError> {
        self.order(Order::Batch(batch.into())).await
    }

    /// Keeps what changed and the time watched while the lease was held, after it was lost. What was believed is
    /// dropped, since somebody else knows better by now.
    ///
    /// # Errors
    /// When it could not be written; nothing of it is then.
    pub async fn keep_late(&self, mut batch: Batch) -> Result<(), KeepError> {
        batch.states.clear();
        let writer = match self.writer {
            Writer::Alone => Writer::Alone,
            Writer::Holder(token) | Writer::Former(token) => Writer::Former(token),
        };
        Store { writer, ..self.clone() }.order(Order::Batch(Arc::new(batch))).await
    }

    /// Saves the memory of a tenant's banner.
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
        Reader { asks: self.asks.downgrade(), place: self.place.clone(), patience: self.patience }
    }

    async fn order(&self, order: Order) -> Result<(), KeepError> {
        let writer = self.writer;
        self.ask(|reply| Ask::Keep(order, writer, reply)).await
    }

    async fn ask<T>(&self, ask: impl FnOnce(Reply<T>) -> Ask) -> Result<T, KeepError> {
        put(Some(self.asks.clone()), &self.place, self.patience, ask).await
    }
}

/// Reads what is kept, for whoever shows it. It does not keep the worker from ending.
#[derive(Clone)]
pub struct Reader {
    asks: mpsc::WeakSender<Ask>,
    place: String,
    patience: Option<Duration>,
}

impl Reader {
    /// The days of one monitor, or of all, since a date, by monitor and date.
    ///
    /// # Errors
    /// When it could not be read.
    pub async fn days(&self, of: Option<String>, since: Date) -> Result<Vec<MonitorDay>, KeepError> {
        put(self.asks.upgrade(), &self.place, self.patience, |reply| Ask::Days(of, since, reply)).await
    }

    /// Changes of what was believed, newest first.
    ///
    /// # Errors
    /// When it could not be read.
    pub async fn transitions(&self, span: Span) -> Result<Vec<Transition>, KeepError> {
        put(self.asks.upgrade(), &self.place, self.patience, |reply| Ask::Transitions(span, reply)).await
    }
}

/// Asks the worker, and lets go of it before its answer comes, which is waited for no longer than `patience`.
async fn put<T>(
    asks: Option<mpsc::Sender<Ask>>,
    place: &str,
    patience: Option<Duration>,
    ask: impl FnOnce(Reply<T>) -> Ask,
) -> Result<T, KeepError> {
    let failed =
        |reason: &str| KeepError { place: place.to_owned(), reason: reason.to_owned(), fenced: false };
    let gone = || failed("the store's worker has ended");
    let (reply, answer) = oneshot::channel();
    let asks = asks.ok_or_else(gone)?;
    let asking = async {
        asks.send(ask(reply)).await.map_err(|_| gone())?;
        drop(asks);
        answer.await.map_err(|_| gone())?
    };
    match patience {
        None => asking.await,
        Some(patience) => tokio::time::timeout(patience, asking)
            .await
            .unwrap_or_else(|_| Err(failed("the server does not answer in time"))),
    }
}

#[cfg(test)]
mod tests;
