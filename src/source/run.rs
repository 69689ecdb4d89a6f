//! The shared parts of a run: the channel for ops, the cancellation, the remaining wait budget, and the counters.

use std::collections::BTreeMap;
use std::future::Future;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::account::Account;
use super::decode::decoder::Decoder;
use crate::domain::syncing::definition::connector::Definition;
use crate::domain::syncing::op::Op;
use crate::domain::text::{counted, plain};

/// The progress of a run, for display while it is active.
#[derive(Debug, Default)]
pub struct RunProgress {
    tables: BTreeMap<String, Arc<TableProgress>>,
}

/// The progress of one table.
#[derive(Debug, Default)]
pub struct TableProgress {
    /// Rows emitted.
    pub rows: AtomicU64,
    /// Requests sent, including retries.
    pub requests: AtomicU64,
    pub retries: AtomicU64,
    /// Milliseconds waited for rate limits and retries.
    pub waited_ms: AtomicU64,
    /// Whether it currently waits for a rate limit.
    pub limited: AtomicBool,
    /// Whether its reading has started.
    pub started: AtomicBool,
    /// Whether its reading has ended.
    pub done: AtomicBool,
    /// Whether its reading ended early.
    pub broken: AtomicBool,
    /// Whether the service accepts its links only without the parameters of the definition.
    pub(super) bare_links: AtomicBool,
}

impl RunProgress {
    /// An empty progress for each table of a definition.
    pub fn new(definition: &Definition) -> Arc<RunProgress> {
        let tables = definition.tables.iter().map(|table| (table.name.clone(), Arc::default())).collect();
        Arc::new(RunProgress { tables })
    }

    /// By name.
    pub fn tables(&self) -> &BTreeMap<String, Arc<TableProgress>> {
        &self.tables
    }
}

impl TableProgress {
    /// Requests, retries and milliseconds waited.
    pub fn counts(&self) -> (u64, u64, u64) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (read(&self.requests), read(&self.retries), read(&self.waited_ms))
    }
}

/// Why a part of a run stopped.
#[derive(Debug, Clone)]
pub(super) enum Stop {
    Cancelled,
    /// The receiver of the ops was dropped.
    Closed,
    /// The service requires a longer wait than the budget allows.
    Deferred(String),
    Failed {
        reason: String,
        place: Option<String>,
        /// Whether the rest of the run would fail too.
        fatal: bool,
        /// Whether a person must change something first.
        mend: bool,
        /// The HTTP status of the source, if that is the reason.
        status: Option<u16>,
    },
}

impl Stop {
    pub(super) fn failed(reason: impl Into<String>, place: Option<String>) -> Stop {
        Stop::Failed { reason: reason.into(), place, fatal: false, mend: false, status: None }
    }

    /// The rest of this run would fail too, but another run may succeed.
    pub(super) fn broken(reason: impl Into<String>, place: Option<String>) -> Stop {
        Stop::Failed { reason: reason.into(), place, fatal: true, mend: false, status: None }
    }

    pub(super) fn fatal(reason: impl Into<String>, place: Option<String>) -> Stop {
        Stop::Failed { reason: reason.into(), place, fatal: true, mend: true, status: None }
    }

    /// Adds the HTTP status of the source.
    #[must_use]
    pub(super) fn with_status(mut self, code: u16) -> Stop {
        if let Stop::Failed { status, .. } = &mut self {
            *status = Some(code);
        }
        self
    }

    /// The HTTP status of the source, if that is the reason and concerns only this request.
    pub(super) fn status(&self) -> Option<u16> {
        match self {
            Stop::Failed { status, fatal: false, .. } => *status,
            _ => None,
        }
    }

    /// Whether other tables should still be read.
    pub(super) fn is_local(&self) -> bool {
        matches!(self, Stop::Failed { fatal: false, .. })
    }
}

pub(super) struct RunContext {
    pub(super) account: Account,
    ops: mpsc::Sender<Op>,
    cancel: CancellationToken,
    started_at: Timestamp,
    started: Instant,
    spent: Mutex<Duration>,
    notes: Mutex<Vec<String>>,
    empty_keys: Mutex<BTreeMap<String, u64>>,
    /// For requests without a table, such as those for tokens.
    pub(super) other: TableProgress,
    pub(super) decoder: Decoder,
    random: RandomState,
    draws: AtomicU64,
}

/// The name of the account's limit in messages.
pub(super) const LIMIT: &str = "the source's rate limit";

const MAX_NOTES: usize = 50;

impl RunContext {
    pub(super) fn new(
        account: Account,
        ops: mpsc::Sender<Op>,
        cancel: CancellationToken,
        now: Timestamp,
    ) -> RunContext {
        RunContext {
            account,
            ops,
            cancel,
            started_at: now,
            started: Instant::now(),
            spent: Mutex::default(),
            notes: Mutex::default(),
            empty_keys: Mutex::default(),
            other: TableProgress::default(),
            decoder: Decoder::default(),
            #[expect(clippy::disallowed_methods, reason = "clients must not retry in step")]
            random: RandomState::new(),
            draws: AtomicU64::new(0),
        }
    }

    /// The current time, counted from the start of the run.
    pub(super) fn now(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.started.elapsed()).unwrap_or(SignedDuration::MAX);
        self.started_at.checked_add(passed).unwrap_or(Timestamp::MAX)
    }

    pub(super) fn started_at(&self) -> Timestamp {
        self.started_at
    }

    /// Between 0 and 1, for jitter.
    pub(super) fn random(&self) -> f64 {
        let mut hasher = self.random.build_hasher();
        hasher.write_u64(self.draws.fetch_add(1, Ordering::Relaxed));
        f64::from(u32::try_from(hasher.finish() >> 32).unwrap_or(0)) / f64::from(u32::MAX)
    }

    /// Emits an op; waits while the channel is full.
    pub(super) async fn send(&self, op: Op) -> Result<(), Stop> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(Stop::Cancelled),
            sent = self.ops.send(op) => sent.map_err(|_| Stop::Closed),
        }
    }

    /// The channel for ops, for the decoder thread.
    pub(super) fn ops(&self) -> mpsc::Sender<Op> {
        self.ops.clone()
    }

    /// Waits for `work` or the cancellation of the run.
    pub(super) async fn or_cancelled<T>(&self, work: impl Future<Output = T>) -> Result<T, Stop> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(Stop::Cancelled),
            done = work => Ok(done),
        }
    }

    pub(super) async fn sleep(&self, wait: Duration) -> Result<(), Stop> {
        self.or_cancelled(tokio::time::sleep(wait)).await
    }

    pub(super) async fn sleep_until(&self, moment: Instant) -> Result<(), Stop> {
        if moment <= Instant::now() {
            Ok(())
        } else {
            self.or_cancelled(tokio::time::sleep_until(moment)).await
        }
    }

    /// Charges a wait for a rate limit to the run's budget.
    pub(super) fn spend(&self, wait: Duration, on: &str) -> Result<(), Stop> {
        let budget = self.account.definition().http.retry.budget;
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        if *spent + wait > budget {
            let reason = format!(
                "{on} asks to wait {} s more; the run has waited {} s of at most {} s",
                wait.as_secs(),
                spent.as_secs(),
                budget.as_secs()
            );
            return Err(Stop::Deferred(reason));
        }
        *spent += wait;
        Ok(())
    }

    /// Adds a message for the log, once and on one line.
    pub(super) fn note(&self, note: String) {
        let note = plain(&note).into_owned();
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if notes.len() < MAX_NOTES && !notes.contains(&note) {
            notes.push(note);
        }
    }

    /// Counts rows of a table that were stored without a part of their key.
    pub(super) fn count_empty_keys(&self, table: &str, rows: u64) {
        if rows > 0 {
            let mut counted = self.empty_keys.lock().unwrap_or_else(PoisonError::into_inner);
            *counted.entry(table.to_owned()).or_default() += rows;
        }
    }

    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let of_tables = self.empty_keys.lock().unwrap_or_else(PoisonError::into_inner);
        let note_of = |(table, rows): (&String, &u64)| {
            format!("{table}: {} with a part of their key absent at the source", counted(*rows, "row"))
        };
        notes.extend(of_tables.iter().map(note_of));
        notes
    }

    pub(super) fn count_request(&self, table: Option<&TableProgress>) {
        table.unwrap_or(&self.other).requests.fetch_add(1, Ordering::Relaxed);
    }
}
