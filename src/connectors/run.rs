//! What all of a run shares: the way out for ops, the stop signal, the patience left, and the counting.

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
use super::decoder::Decoder;
use crate::domain::connector::Definition;
use crate::domain::op::Op;
use crate::domain::text::plain;

/// What a run has done so far, for whoever shows it while it goes on.
#[derive(Debug, Default)]
pub struct Progress {
    tables: BTreeMap<String, Arc<TableProgress>>,
}

/// What a run has done so far for one table.
#[derive(Debug, Default)]
pub struct TableProgress {
    /// Rows handed on.
    pub rows: AtomicU64,
    /// Requests made, repeated ones included.
    pub requests: AtomicU64,
    /// Requests made again.
    pub retries: AtomicU64,
    /// Milliseconds waited before requests could be made or made again.
    pub waited_ms: AtomicU64,
    /// Whether it waits for a rate limit at this moment.
    pub limited: AtomicBool,
    /// Whether it is being read.
    pub started: AtomicBool,
    /// Whether its reading is over.
    pub done: AtomicBool,
    /// Whether that was before its end.
    pub broken: AtomicBool,
    /// Whether the service takes its links only without the parameters of the definition.
    pub(super) bare_links: AtomicBool,
}

impl Progress {
    /// Nothing done yet for any table of a definition.
    pub fn new(definition: &Definition) -> Arc<Progress> {
        let tables = definition.tables.iter().map(|table| (table.name.clone(), Arc::default())).collect();
        Arc::new(Progress { tables })
    }

    /// The tables, by name.
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

/// Why a part of a run does not go on.
#[derive(Debug, Clone)]
pub(super) enum Stop {
    /// Somebody wants the run to end.
    Cancelled,
    /// Nobody takes the rows any more.
    Closed,
    /// The service wants us to wait longer than we may.
    Deferred(String),
    /// It went wrong.
    Failed {
        reason: String,
        place: Option<String>,
        /// Nothing else of this run can go well either.
        fatal: bool,
        /// A person has to mend something first.
        mend: bool,
        /// The HTTP status that the source answered with, where that is the reason.
        status: Option<u16>,
    },
}

impl Stop {
    pub(super) fn failed(reason: impl Into<String>, place: Option<String>) -> Stop {
        Stop::Failed { reason: reason.into(), place, fatal: false, mend: false, status: None }
    }

    /// What another run may be spared, though the rest of this one cannot be.
    pub(super) fn broken(reason: impl Into<String>, place: Option<String>) -> Stop {
        Stop::Failed { reason: reason.into(), place, fatal: true, mend: false, status: None }
    }

    pub(super) fn fatal(reason: impl Into<String>, place: Option<String>) -> Stop {
        Stop::Failed { reason: reason.into(), place, fatal: true, mend: true, status: None }
    }

    /// The same, with the status that the source answered with.
    #[must_use]
    pub(super) fn with_status(mut self, code: u16) -> Stop {
        if let Stop::Failed { status, .. } = &mut self {
            *status = Some(code);
        }
        self
    }

    /// The status that the source answered with, where that is the reason and only this request is concerned.
    pub(super) fn status(&self) -> Option<u16> {
        match self {
            Stop::Failed { status, fatal: false, .. } => *status,
            _ => None,
        }
    }

    /// Whether other tables should be read all the same.
    pub(super) fn is_local(&self) -> bool {
        matches!(self, Stop::Failed { fatal: false, .. })
    }
}

/// One execution.
pub(super) struct Run {
    pub(super) account: Account,
    ops: mpsc::Sender<Op>,
    cancel: CancellationToken,
    started_at: Timestamp,
    started: Instant,
    spent: Mutex<Duration>,
    notes: Mutex<Vec<String>>,
    empty_keys: Mutex<BTreeMap<String, u64>>,
    /// For requests that belong to no table, such as those for tokens.
    pub(super) other: TableProgress,
    pub(super) decoder: Decoder,
    random: RandomState,
    draws: AtomicU64,
}

/// What a wait for the account's limit is called.
pub(super) const LIMIT: &str = "the source's rate limit";

/// More notes than a person reads.
const MAX_NOTES: usize = 50;

impl Run {
    pub(super) fn new(
        account: Account,
        ops: mpsc::Sender<Op>,
        cancel: CancellationToken,
        now: Timestamp,
    ) -> Run {
        Run {
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
            random: RandomState::new(),
            draws: AtomicU64::new(0),
        }
    }

    /// The present moment, counted from the run's start.
    pub(super) fn now(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.started.elapsed()).unwrap_or(SignedDuration::MAX);
        self.started_at.checked_add(passed).unwrap_or(Timestamp::MAX)
    }

    /// The moment the run began.
    pub(super) fn started_at(&self) -> Timestamp {
        self.started_at
    }

    /// Between 0 and 1, for jitter.
    pub(super) fn random(&self) -> f64 {
        let mut hasher = self.random.build_hasher();
        hasher.write_u64(self.draws.fetch_add(1, Ordering::Relaxed));
        f64::from(u32::try_from(hasher.finish() >> 32).unwrap_or(0)) / f64::from(u32::MAX)
    }

    /// Hands an op on, as soon as there is room.
    pub(super) async fn send(&self, op: Op) -> Result<(), Stop> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(Stop::Cancelled),
            sent = self.ops.send(op) => sent.map_err(|_| Stop::Closed),
        }
    }

    /// The way out, for the decoding thread.
    pub(super) fn ops(&self) -> mpsc::Sender<Op> {
        self.ops.clone()
    }

    /// Waits for something, but not for longer than the run is wanted.
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

    /// Takes a wait for a rate limit out of the run's budget.
    pub(super) fn spend(&self, wait: Duration, on: &str) -> Result<(), Stop> {
        let budget = self.account.definition().http.retry.budget;
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        if *spent + wait > budget {
            let reason = format!(
                "{on} asks to wait {} s more, {} s were waited already, and the run may wait {} s in all",
                wait.as_secs(),
                spent.as_secs(),
                budget.as_secs()
            );
            return Err(Stop::Deferred(reason));
        }
        *spent += wait;
        Ok(())
    }

    /// Notes what a person should know, once and on one line.
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
        let counted = self.empty_keys.lock().unwrap_or_else(PoisonError::into_inner);
        let told = |(table, rows): (&String, &u64)| {
            format!("{table}: {rows} rows with a part of their key absent at the source")
        };
        notes.extend(counted.iter().map(told));
        notes
    }

    pub(super) fn count_request(&self, table: Option<&TableProgress>) {
        table.unwrap_or(&self.other).requests.fetch_add(1, Ordering::Relaxed);
    }
}
