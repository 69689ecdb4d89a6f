//! The state database: the state of each monitor, its history, and the banner record.
//!
//! One worker owns the database (`sqlite`: a thread, `DATA_DIR/monitor.db`; `postgres`: a task, a schema that several
//! daemons share). All other code sends it requests and may wait for the reply. Single polls are not stored: only the
//! current state, each transition, and how long each day was spent at which severity. Where daemons share a database,
//! every write needs a [`lease`]. Start at [`Store::open`] and [`Store::connect`].

mod batch;
pub mod jobs;
pub mod lease;
mod postgres;
pub mod schema;
mod sqlite;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{mpsc, oneshot};

use crate::database::{Database, DatabaseError};
use crate::domain::monitoring::assess::{MonitorState, Transition};
use crate::domain::monitoring::banner::report::BannerReport;
use crate::domain::monitoring::history::{MonitorDay, Span};
use crate::domain::monitoring::news::ChannelState;
use crate::domain::monitoring::plan::BannerState;
use crate::domain::monitoring::responses::MonitorResponses;
use crate::domain::syncing::delivery::DeliveryState;

pub use batch::Batch;
use lease::Lease;

/// Enough for a burst. Beyond it, senders wait and so slow down to the speed of the disk.
const QUEUE: usize = 256;

/// Callers give up after this, because they have other work that does not need the server. Longer than the worker's own
/// timeout, so that callers get the worker's reason.
const REPLY_TIMEOUT: Duration = Duration::from_secs(6);

/// How long history is kept: more than a year, so that a year can be compared with the previous one.
const KEEP_HISTORY: SignedDuration = SignedDuration::from_hours(400 * 24);

/// At least this many of the newest days with rows are kept, so that a clock that is wrong by years deletes nothing.
const KEEP_DAYS: i64 = 400;

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another daemon uses the same folder.
    #[error(
        "DATA_DIR {folder} is in use by another data-sources-monitor ({holder}); two would fight over the \
         banner. Stop it, or give this one a DATA_DIR of its own"
    )]
    InUse {
        folder: String,
        /// What the lock file says of the holder.
        holder: String,
    },
    /// The folder or a file in it cannot be used; a retry does not help.
    #[error("DATA_DIR {path}: {reason}")]
    Unusable {
        /// Folder or file.
        path: String,
        reason: String,
    },
    /// The folder or a file in it cannot be used at the moment: locked by another program, no space, a failing disk,
    /// read-only. A retry may succeed.
    #[error("DATA_DIR {path}: {reason}")]
    Unavailable {
        /// Folder or file.
        path: String,
        reason: String,
    },
    /// The PostgreSQL database cannot be used.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// A later version wrote it.
    #[error(
        "{path} was written by a later version (layout {found}, this program knows {known}); update the program"
    )]
    TooNew {
        /// The file or schema.
        path: String,
        found: i64,
        known: i64,
    },
}

impl OpenError {
    /// Whether a retry may succeed without a change of the configuration.
    pub fn is_transient(&self) -> bool {
        match self {
            OpenError::Unavailable { .. } => true,
            OpenError::Database(e) => !e.is_configuration(),
            OpenError::InUse { .. } | OpenError::Unusable { .. } | OpenError::TooNew { .. } => false,
        }
    }
}

/// State could not be saved or read. The daemon continues with what it holds in memory.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{place}: {reason}")]
pub struct KeepError {
    /// The file or schema.
    pub place: String,
    pub reason: String,
    /// Another daemon holds the lease, so nothing may be written anywhere.
    pub fenced: bool,
}

/// The state that an earlier process saved.
#[derive(Debug, Default)]
pub struct StoredState {
    /// With the name of the monitor.
    pub states: Vec<(String, MonitorState)>,
    /// The banner records, by the URL of their tenant.
    pub banners: BTreeMap<String, SavedBanner>,
    /// By channel.
    pub channels: BTreeMap<String, ChannelState>,
    pub deliveries: SavedDeliveries,
}

/// What is saved of deliveries.
pub type SavedDeliveries = BTreeMap<DeliveryKey, DeliveryState>;

/// The URL of a tenant, and a connector whose data it gets.
pub type DeliveryKey = (String, String);

/// What is saved of a tenant's banner.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SavedBanner {
    pub state: BannerState,
    /// What the leader last knew of it.
    pub report: Option<BannerReport>,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Remembered {
    tenant: String,
    memory: BannerState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    report: Option<BannerReport>,
}

impl StoredState {
    /// The banner record of this tenant; the default if there is none.
    pub fn banner_state_of(&self, tenant: &str) -> BannerState {
        self.banners.get(tenant).map(|saved| saved.state.clone()).unwrap_or_default()
    }
}

enum StoreRequest {
    Keep(StateChange, WriterRight, ReplySender<()>),
    Recall(ReplySender<StoredState>),
    Days(Option<String>, Date, ReplySender<Vec<MonitorDay>>),
    Responses(Option<String>, Date, ReplySender<Vec<MonitorResponses>>),
    Transitions(Span, ReplySender<Vec<Transition>>),
}

enum StateChange {
    Batch(Arc<Batch>),
    BannerState(Box<Remembered>),
    ForgetBanner(String),
    /// The state of a channel; `None` deletes it.
    Channel(String, Option<Box<ChannelState>>),
    /// The state of a delivery; `None` deletes it.
    Delivery(DeliveryKey, Option<Box<DeliveryState>>),
    Forget(Vec<String>),
    Prune(Timestamp),
}

/// How a damaged database is handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damaged {
    /// Rename it and create a new one.
    Replace,
    /// Fail.
    Refuse,
}

/// The right under which a change is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WriterRight {
    /// The folder is locked, so no other daemon can write.
    Alone,
    /// The leader with this fencing token; the write is refused if it no longer holds the lease.
    Holder(i64),
    /// The former leader with this fencing token; it may still add history that it recorded as leader.
    Former(i64),
}

type ReplySender<T> = oneshot::Sender<Result<T, KeepError>>;

/// Waits for the worker at shutdown.
pub struct Closer(Option<JoinHandle<()>>);

impl Closer {
    /// Returns when everything sent is on disk and the file is closed. Every [`Store`] must be dropped first. With
    /// PostgreSQL there is nothing to wait for: a confirmed write is committed.
    pub fn join(self) {
        if let Some(thread) = self.0 {
            // The thread ends only when its work is done; the panic hook has logged a panic in it.
            let _ = thread.join();
        }
    }
}

/// A handle of the state database. When the last clone is dropped, the worker finishes; [`Closer::join`] waits for it.
#[derive(Clone)]
pub struct Store {
    requests: mpsc::Sender<StoreRequest>,
    place: String,
    writer: WriterRight,
    /// `None` for SQLite, whose thread always replies.
    timeout: Option<Duration>,
}

impl Store {
    /// Opens or creates the database in a folder, locks the folder against a second daemon, and reads the saved state.
    ///
    /// # Errors
    /// When the folder is in use, cannot be written, or comes from a later version. A damaged database is not an error: it
    /// is renamed, with a warning.
    pub fn open(folder: &Path) -> Result<(Store, Closer, StoredState), OpenError> {
        Self::open_in(folder, Damaged::Replace)
    }

    /// As [`Store::open`], but a damaged database is an error.
    ///
    /// # Errors
    /// As [`Store::open`], and when the database is damaged.
    pub fn open_undamaged(folder: &Path) -> Result<(Store, Closer, StoredState), OpenError> {
        Self::open_in(folder, Damaged::Refuse)
    }

    fn open_in(folder: &Path, damaged: Damaged) -> Result<(Store, Closer, StoredState), OpenError> {
        let (requests, inbox) = mpsc::channel(QUEUE);
        let (thread, stored) = sqlite::start(folder, damaged, inbox)?;
        let place = sqlite::file(folder).display().to_string();
        let store = Store { requests, place, writer: WriterRight::Alone, timeout: None };
        Ok((store, Closer(Some(thread)), stored))
    }

    /// Locks a folder against daemons while its files are replaced; creates it if necessary. The lock is released when the
    /// returned file is dropped.
    ///
    /// # Errors
    /// When the folder is in use or cannot be written.
    pub(crate) fn lock(folder: &Path) -> Result<std::fs::File, OpenError> {
        sqlite::lock(folder)
    }

    /// Whether this user can write to a folder, or create it. Changes nothing.
    ///
    /// # Errors
    /// Why not, and what to do about it.
    pub fn check(folder: &Path) -> Result<(), OpenError> {
        sqlite::check(folder)
    }

    /// Connects to PostgreSQL and creates or migrates the schema. Writes need a store from [`Store::under`];
    /// [`Store::recall`] reads the saved state once the lease is held.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses, or a later version created the schema.
    pub async fn connect(database: Database, lease: Lease) -> Result<(Store, Closer), OpenError> {
        let (requests, inbox) = mpsc::channel(QUEUE);
        let place = format!("schema {}", lease.schema.name());
        postgres::start(database, lease, inbox).await?;
        // Fencing tokens start at 1, so that 0 refuses all writes.
        let store = Store { requests, place, writer: WriterRight::Holder(0), timeout: Some(REPLY_TIMEOUT) };
        Ok((store, Closer(None)))
    }

    /// Reads the banner record of a folder while a daemon may be running. Creates and changes nothing.
    ///
    /// # Errors
    /// When there is a database that cannot be read.
    pub fn peek(folder: &Path, tenant: &str) -> Result<BannerState, KeepError> {
        Ok(sqlite::peek(folder)?.banner_state_of(tenant))
    }

    /// As [`Store::peek`], for PostgreSQL.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    pub async fn peek_at(
        database: &Database,
        schema: schema::Schema,
        tenant: &str,
    ) -> Result<BannerState, DatabaseError> {
        postgres::peek(database, schema, tenant).await
    }

    /// A store that writes under this fencing token: its writes are refused as soon as another daemon holds the lease. No
    /// effect in a folder, which only one daemon can open.
    #[must_use]
    pub fn under(&self, token: i64) -> Store {
        let writer =
            if self.writer == WriterRight::Alone { WriterRight::Alone } else { WriterRight::Holder(token) };
        Store { writer, ..self.clone() }
    }

    /// Reads the saved state.
    ///
    /// # Errors
    /// When it could not be read.
    pub async fn recall(&self) -> Result<StoredState, KeepError> {
        self.send(StoreRequest::Recall).await
    }

    /// Saves a batch.
    ///
    /// # Errors
    /// When it could not be written; then none of it is stored.
    pub async fn keep(&self, batch: impl Into<Arc<Batch>>) -> Result<(), KeepError> {
        self.save(StateChange::Batch(batch.into())).await
    }

    /// Saves the transitions and monitored time of a leader after it lost its lease. The states are dropped, since the
    /// new leader has newer ones.
    ///
    /// # Errors
    /// When it could not be written; then none of it is stored.
    pub async fn keep_late(&self, mut batch: Batch) -> Result<(), KeepError> {
        batch.states.clear();
        let writer = match self.writer {
            WriterRight::Alone => WriterRight::Alone,
            WriterRight::Holder(token) | WriterRight::Former(token) => WriterRight::Former(token),
        };
        Store { writer, ..self.clone() }.save(StateChange::Batch(Arc::new(batch))).await
    }

    /// Saves the banner record of a tenant, and where daemons share it, what standbys show.
    ///
    /// # Errors
    /// When it could not be written.
    pub async fn keep_banner_state(
        &self,
        tenant: &str,
        memory: BannerState,
        report: Option<BannerReport>,
    ) -> Result<(), KeepError> {
        let remembered = Remembered { tenant: tenant.to_owned(), memory, report };
        self.save(StateChange::BannerState(Box::new(remembered))).await
    }

    /// Deletes the banner record of a tenant that is no longer defined.
    ///
    /// # Errors
    /// When it could not be written.
    pub async fn forget_banner_state(&self, tenant: &str) -> Result<(), KeepError> {
        self.save(StateChange::ForgetBanner(tenant.to_owned())).await
    }

    /// Saves the state of a channel, or deletes it.
    ///
    /// # Errors
    /// When it could not be written.
    pub async fn keep_channel_state(&self, name: &str, state: Option<ChannelState>) -> Result<(), KeepError> {
        self.save(StateChange::Channel(name.to_owned(), state.map(Box::new))).await
    }

    /// Saves the state of a delivery, or deletes it.
    ///
    /// # Errors
    /// When it could not be written.
    pub async fn keep_delivery_state(
        &self,
        key: &DeliveryKey,
        state: Option<DeliveryState>,
    ) -> Result<(), KeepError> {
        self.save(StateChange::Delivery(key.clone(), state.map(Box::new))).await
    }

    /// Deletes the states of monitors that are no longer defined. Their history stays.
    ///
    /// # Errors
    /// When it could not be written.
    pub async fn forget(&self, monitors: Vec<String>) -> Result<(), KeepError> {
        self.save(StateChange::Forget(monitors)).await
    }

    /// Deletes history that is too old.
    ///
    /// # Errors
    /// When it could not be written.
    pub async fn prune(&self, now: Timestamp) -> Result<(), KeepError> {
        self.save(StateChange::Prune(now)).await
    }

    /// A read-only handle.
    pub fn reader(&self) -> StateReader {
        StateReader { requests: self.requests.downgrade(), place: self.place.clone(), timeout: self.timeout }
    }

    async fn save(&self, change: StateChange) -> Result<(), KeepError> {
        let writer = self.writer;
        self.send(|reply| StoreRequest::Keep(change, writer, reply)).await
    }

    async fn send<T>(&self, request: impl FnOnce(ReplySender<T>) -> StoreRequest) -> Result<T, KeepError> {
        send(Some(self.requests.clone()), &self.place, self.timeout, request).await
    }
}

/// A read-only handle for the dashboard and API. It does not keep the worker alive.
#[derive(Clone)]
pub struct StateReader {
    requests: mpsc::WeakSender<StoreRequest>,
    place: String,
    timeout: Option<Duration>,
}

impl StateReader {
    /// The days of one monitor, or of all, since a date, ordered by monitor and date.
    ///
    /// # Errors
    /// When it could not be read.
    pub async fn days(&self, of: Option<String>, since: Date) -> Result<Vec<MonitorDay>, KeepError> {
        send(self.requests.upgrade(), &self.place, self.timeout, |reply| StoreRequest::Days(of, since, reply))
            .await
    }

    /// The response times of one monitor, or of all, since a date, ordered by monitor and date.
    ///
    /// # Errors
    /// When it could not be read.
    pub async fn responses(
        &self,
        of: Option<String>,
        since: Date,
    ) -> Result<Vec<MonitorResponses>, KeepError> {
        send(self.requests.upgrade(), &self.place, self.timeout, |reply| {
            StoreRequest::Responses(of, since, reply)
        })
        .await
    }

    /// Transitions, newest first.
    ///
    /// # Errors
    /// When it could not be read.
    pub async fn transitions(&self, span: Span) -> Result<Vec<Transition>, KeepError> {
        send(self.requests.upgrade(), &self.place, self.timeout, |reply| {
            StoreRequest::Transitions(span, reply)
        })
        .await
    }
}

/// Sends a request and waits for the reply, at most for `timeout`. The sender is dropped before the wait, so that a
/// pending reply does not keep the worker alive.
async fn send<T>(
    requests: Option<mpsc::Sender<StoreRequest>>,
    place: &str,
    timeout: Option<Duration>,
    request: impl FnOnce(ReplySender<T>) -> StoreRequest,
) -> Result<T, KeepError> {
    let failed =
        |reason: &str| KeepError { place: place.to_owned(), reason: reason.to_owned(), fenced: false };
    let gone = || failed("the worker of the state database has stopped");
    let (reply, answer) = oneshot::channel();
    let requests = requests.ok_or_else(gone)?;
    let exchange = async {
        requests.send(request(reply)).await.map_err(|_| gone())?;
        drop(requests);
        answer.await.map_err(|_| gone())?
    };
    match timeout {
        None => exchange.await,
        Some(timeout) => tokio::time::timeout(timeout, exchange)
            .await
            .unwrap_or_else(|_| Err(failed(&format!("no reply within {} s", timeout.as_secs())))),
    }
}

#[cfg(test)]
mod tests;
