//! The board: what the daemon knows at this moment, for everybody who shows it. The only shared state.
//!
//! Changed in place by whoever knows something new, read by the web and by nobody who decides. Bounded by the
//! number of definitions, whatever happens.

mod pace;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use crate::domain::assess::{Issue, MonitorState};
use crate::domain::banner::Banner;
use crate::domain::observation::{Event, Observation, Unknown};
use crate::domain::plan::Why;

pub use pace::{Pace, Paced};

/// The handle; clones share one board.
#[derive(Clone)]
pub struct BoardHandle(Arc<watch::Sender<Board>>);

/// Everything on it.
#[derive(Debug)]
pub struct Board {
    /// When the daemon started.
    pub started_at: Timestamp,
    /// Whether the banner is really written.
    pub live: bool,
    /// Who watches and writes, where several daemons share a memory; `None`: we do, alone.
    pub lease: Option<LeaseView>,
    /// By name.
    pub monitors: BTreeMap<String, MonitorView>,
    /// Worst first.
    pub issues: Vec<Issue>,
    /// The cycles.
    pub cycles: Cycles,
    /// The banner.
    pub banner: BannerView,
    /// Why our own memory cannot be written, and since when.
    pub store_trouble: Option<(Timestamp, String)>,
    /// Whether the last reading of the definitions succeeded, and when it was.
    pub definitions: (bool, Timestamp),
    /// Whether the last reading of the connectors' definitions succeeded.
    pub connectors_ok: bool,
    /// By connector.
    pub syncs: BTreeMap<String, SyncView>,
}

/// The monitor's lease.
#[derive(Debug, Default)]
pub struct LeaseView {
    /// Whether it is ours. Otherwise we stand by, and what is shown of monitors is a copy of what its holder kept.
    pub held: bool,
    /// Whether the database has been asked at all.
    pub known: bool,
    /// Who has it, or had it last.
    pub holder: Option<String>,
    /// Since when.
    pub since: Option<Timestamp>,
    /// Why the database cannot be asked.
    pub trouble: Option<String>,
    /// When the copy was made.
    pub copied_at: Option<Timestamp>,
}

/// One monitor.
#[derive(Debug, Default)]
pub struct MonitorView {
    /// Where it looks.
    pub address: String,
    /// What is believed.
    pub state: MonitorState,
    /// How long the last look took.
    pub took: Duration,
    /// Until when it is not polled, because the page asked for it.
    pub paused_until: Option<Timestamp>,
    /// Looks since the start.
    pub looks: u64,
    /// Looks answered by 304.
    pub not_modified: u64,
    /// Looks without a reading, by reason.
    pub failures: BTreeMap<&'static str, u64>,
    /// How long the last looks took.
    pub pace: Pace,
    /// The last reasons why it could not be read, oldest first; a reason that repeats stands once.
    pub missed: VecDeque<Missed>,
    /// What was open on the page at the last reading; `None` where that does not read it.
    pub open: Option<Vec<Event>>,
}

/// Looks in a row that failed for one reason.
#[derive(Debug, Clone, PartialEq)]
pub struct Missed {
    /// Why.
    pub reason: Unknown,
    /// The first.
    pub first: Timestamp,
    /// The last.
    pub last: Timestamp,
    /// How many.
    pub times: u32,
}

/// The cycles.
#[derive(Debug, Default)]
pub struct Cycles {
    /// Finished since the start.
    pub finished: u64,
    /// The end of the last.
    pub finished_at: Option<Timestamp>,
    /// A later end than this after the last means that something hangs.
    pub patience: Duration,
    /// Looks that were due while the one before had not ended.
    pub missed: u64,
}

/// The banner.
#[derive(Debug, Default)]
pub struct BannerView {
    /// What the tenant showed last.
    pub shown: Option<Banner>,
    /// Whether it is ours.
    pub ours: bool,
    /// Since when something is owed.
    pub owed_since: Option<Timestamp>,
    /// When the tenant last answered as it should.
    pub answered_at: Option<Timestamp>,
    /// Why the last exchange failed; `None` after one that did not.
    pub trouble: Option<String>,
    /// Writes by reason.
    pub writes: BTreeMap<&'static str, u64>,
    /// Times that a look at the tenant found nothing to write.
    pub avoided: u64,
    /// How far the tenant's clock is ahead of ours, once it differs.
    pub clock_skew: Option<SignedDuration>,
    /// Why the state of the banner cannot be saved.
    pub memory_trouble: Option<String>,
    /// How old the last good answer may get while all is well.
    pub patience: Duration,
    /// Failed exchanges.
    pub failures: u64,
    /// Seconds from the change seen on a page to the banner accepted.
    pub lag: Histogram,
}

/// How a connector's data stands.
#[derive(Debug, Default, Clone)]
pub struct SyncView {
    /// Start of the last complete run.
    pub last_success: Option<Timestamp>,
    /// The last run: when it ended, how, why, how long it took, and rows seen by table.
    pub last_run: Option<LastRun>,
    /// Runs by how they ended.
    pub ends: BTreeMap<&'static str, u64>,
    /// Whether a run is going on.
    pub running: bool,
    /// Time from one run to the next, as configured.
    pub every: Duration,
    /// Which daemon runs it, where several share the jobs.
    pub holder: Option<String>,
    /// When the next run begins.
    pub next_at: Option<Timestamp>,
}

/// The end of a run.
#[derive(Debug, Clone)]
pub struct LastRun {
    /// When it ended.
    pub ended_at: Timestamp,
    /// `complete`, `partial`, `deferred` or `failed`.
    pub end: &'static str,
    /// Why, where it is not complete.
    pub reason: Option<String>,
    /// Its duration.
    pub took: Duration,
    /// Rows the source sent, by table.
    pub rows: BTreeMap<String, u64>,
    /// How much of it was waiting for limits and for further tries.
    pub waited: Duration,
}

/// Counts of durations by upper bound.
#[derive(Debug, Clone)]
pub struct Histogram {
    /// Counts per bound of [`Histogram::BOUNDS`], and one more for what is above.
    pub counts: [u64; 9],
    /// Sum of all, in seconds.
    pub sum: f64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { counts: [0; 9], sum: 0.0 }
    }
}

impl Histogram {
    /// Upper bounds in seconds.
    pub const BOUNDS: [f64; 8] = [0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0];

    /// Counts one.
    pub fn observe(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        let place = Self::BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(Self::BOUNDS.len());
        self.counts[place] += 1;
        self.sum += seconds;
    }
}

impl BoardHandle {
    /// An empty board.
    pub fn new(started_at: Timestamp, live: bool) -> BoardHandle {
        BoardHandle(Arc::new(watch::Sender::new(Board {
            started_at,
            live,
            lease: None,
            monitors: BTreeMap::new(),
            issues: Vec::new(),
            cycles: Cycles::default(),
            banner: BannerView::default(),
            store_trouble: None,
            definitions: (true, started_at),
            connectors_ok: true,
            syncs: BTreeMap::new(),
        })))
    }

    /// Changes it in place; whoever waits for a change is woken.
    pub fn update(&self, change: impl FnOnce(&mut Board)) {
        self.0.send_modify(change);
    }

    /// Reads it. The reference must not be held over an await.
    pub fn read<T>(&self, read: impl FnOnce(&Board) -> T) -> T {
        read(&self.0.borrow())
    }

    /// To wait for changes.
    pub fn subscribe(&self) -> watch::Receiver<Board> {
        self.0.subscribe()
    }
}

impl MonitorView {
    /// Reasons that are kept.
    const MISSED: usize = 12;

    /// Notes one look.
    pub fn looked(&mut self, took: Duration, not_modified: bool, seen: &Observation) {
        self.took = took;
        self.looks += 1;
        self.not_modified += u64::from(not_modified);
        // The age of our own data takes no time to look at.
        if !took.is_zero() {
            self.pace.push(seen.at, took, seen.verdict().is_ok());
        }
        match seen.verdict() {
            Ok(reading) => self.open.clone_from(&reading.open),
            Err(reason) => {
                *self.failures.entry(reason.reason()).or_default() += 1;
                self.miss(reason, seen.at);
            }
        }
    }

    fn miss(&mut self, reason: &Unknown, at: Timestamp) {
        match self.missed.back_mut().filter(|missed| missed.reason == *reason) {
            Some(missed) => (missed.last, missed.times) = (at, missed.times.saturating_add(1)),
            None => {
                if self.missed.len() == Self::MISSED {
                    self.missed.pop_front();
                }
                self.missed.push_back(Missed { reason: reason.clone(), first: at, last: at, times: 1 });
            }
        }
    }
}

impl BannerView {
    /// Notes a write that the tenant accepted.
    pub fn wrote(&mut self, why: Why, lag: Option<Duration>) {
        *self.writes.entry(why.as_str()).or_default() += 1;
        if let Some(lag) = lag {
            self.lag.observe(lag);
        }
    }
}

impl LeaseView {
    /// In words.
    pub fn role(&self) -> String {
        let since = self.since.map(|since| format!(" since {since:.0}")).unwrap_or_default();
        match (&self.holder, self.held) {
            (_, true) => format!("leading{since}"),
            (Some(holder), false) => format!("standing by: {holder} has the lease{since}"),
            (None, false) => "standing by".to_owned(),
        }
    }
}

impl Board {
    /// Whether we are the one that watches and writes.
    pub fn leads(&self) -> bool {
        self.lease.as_ref().is_none_or(|lease| lease.held)
    }

    /// The monitors that are not polled at `now`, because their pages asked for it, and until when.
    pub fn paused(&self, now: Timestamp) -> impl Iterator<Item = (&str, Timestamp)> {
        let until = move |view: &MonitorView| view.paused_until.filter(|until| *until > now);
        self.monitors.iter().filter_map(move |(name, view)| Some((name.as_str(), until(view)?)))
    }

    /// Whether the daemon does its work at `now`; otherwise every reason why not. One that stands by does it as long as
    /// the database answers.
    pub fn ready(&self, now: Timestamp) -> Vec<String> {
        let mut reasons = Vec::new();
        let store_trouble = self.store_trouble.as_ref();
        let store_trouble = store_trouble
            .map(|(since, why)| format!("the store has not been writable since {since:.0}: {why}"));
        if let Some(lease) = &self.lease {
            reasons.extend(lease.trouble.as_ref().map(|why| format!("the database does not answer: {why}")));
            if !lease.held {
                let unknown = !lease.known && reasons.is_empty();
                reasons.extend(unknown.then(|| "the database has not been asked yet".to_owned()));
                reasons.extend(store_trouble);
                return reasons;
            }
        }
        let age = |at: Timestamp| Duration::try_from(now.duration_since(at)).unwrap_or(Duration::ZERO);
        match self.cycles.finished_at {
            None => reasons.push("the first cycle has not finished".to_owned()),
            Some(at) if age(at) > self.cycles.patience => {
                reasons.push(format!("the last cycle finished {} s ago", age(at).as_secs()));
            }
            Some(_) => {}
        }
        reasons.extend(store_trouble);
        if let Some(why) = &self.banner.memory_trouble {
            reasons.push(format!("the state of the banner cannot be saved: {why}"));
        }
        if let Some(why) = &self.banner.trouble {
            reasons.push(format!("the tenant's last answer: {why}"));
        } else if let Some(at) = self.banner.answered_at.filter(|at| age(*at) > self.banner.patience) {
            reasons.push(format!("the tenant last answered {} s ago", age(at).as_secs()));
        }
        reasons
    }
}
