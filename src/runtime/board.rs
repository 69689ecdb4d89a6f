//! The board: the current state that the daemon shows. It is the only shared state.
//!
//! It is one-way: the runtime holds a [`BoardWriter`], which cannot read, and the web holds a [`BoardReader`]. Values that
//! the runtime needs for decisions have an owner and a channel of their own. The size of the board is bounded by the number
//! of definitions. Start at [`channel`].

mod pace;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use crate::domain::monitoring::assess::{Issue, MonitorState};
use crate::domain::monitoring::banner::report::BannerReport;
use crate::domain::monitoring::news::{ChannelReport, NewsState};
use crate::domain::monitoring::observation::{Event, Observation, Unknown};
use crate::domain::monitoring::plan::Why;
use crate::domain::syncing::delivery::DeliveryReport;

pub use pace::{Paced, PollPace};

/// Writing end of the board. Clones share one board.
#[derive(Debug, Clone)]
pub struct BoardWriter(watch::Sender<Board>);

/// Reading end of the board. For display only, never for a decision.
#[derive(Debug, Clone)]
pub struct BoardReader(watch::Receiver<Board>);

#[derive(Debug)]
pub struct Board {
    pub started_at: Timestamp,
    /// `false` in preview: no banner is written.
    pub live: bool,
    /// Where several daemons share a state database; `None` if this daemon is alone.
    pub lease: Option<LeaseView>,
    pub monitors: BTreeMap<String, MonitorView>,
    /// Worst first.
    pub issues: Vec<Issue>,
    pub cycles: Cycles,
    /// By name of the tenant; in preview, what would be written.
    pub banners: BTreeMap<String, BannerView>,
    /// Why the state database cannot be written, and since when.
    pub store_trouble: Option<(Timestamp, String)>,
    /// Whether the last reload of the monitors succeeded, and when it was.
    pub definitions: (bool, Timestamp),
    /// Whether the last reload of the connectors succeeded.
    pub connectors_ok: bool,
    /// Whether the last reload of the tenants succeeded.
    pub tenants_ok: bool,
    /// Whether the last reload of the channels succeeded.
    pub channels_ok: bool,
    pub syncs: BTreeMap<String, SyncView>,
    /// The channels that messages are sent to.
    pub channels: BTreeMap<String, ChannelView>,
    /// The data that tenants get.
    pub deliveries: BTreeMap<DeliveryName, DeliveryView>,
}

/// The name of a tenant, and the connector whose data it gets.
pub type DeliveryName = (String, String);

/// The lease of monitoring: only its holder polls status pages and writes the banner.
#[derive(Debug, Default)]
pub struct LeaseView {
    /// Whether this daemon is the leader. A standby shows a copy of the state that the leader saved.
    pub held: bool,
    /// Whether the database has answered at least once.
    pub known: bool,
    /// The current or last leader.
    pub holder: Option<String>,
    pub since: Option<Timestamp>,
    /// Why the database cannot be reached.
    pub trouble: Option<String>,
    /// When a standby last copied the saved state.
    pub copied_at: Option<Timestamp>,
}

#[derive(Debug, Default)]
pub struct MonitorView {
    /// Until then it is left out of banners.
    pub muted_until: Option<Timestamp>,
    /// URL of the status page, or the connector whose data is monitored.
    pub address: String,
    /// Tags of its definition; the first one is its group on the dashboard.
    pub tags: Vec<String>,
    pub state: MonitorState,
    /// What to change in its definition, because another engine reads its page.
    pub advice: Option<String>,
    /// Duration of the last poll.
    pub took: Duration,
    /// Polling pauses until then, because the status page sent `Retry-After`.
    pub paused_until: Option<Timestamp>,
    /// Polls since the start.
    pub polls: u64,
    /// Polls answered with 304.
    pub not_modified: u64,
    /// Failed polls, by reason.
    pub failures: BTreeMap<&'static str, u64>,
    /// Durations of the last polls.
    pub pace: PollPace,
    /// The last failures, oldest first. Consecutive failures for the same reason are one entry.
    pub missed: VecDeque<Missed>,
    /// Incidents and maintenance that were open at the last poll; `None` if the monitor does not read them.
    pub open: Option<Vec<Event>>,
}

/// Consecutive polls that failed for the same reason.
#[derive(Debug, Clone, PartialEq)]
pub struct Missed {
    pub reason: Unknown,
    pub first: Timestamp,
    pub last: Timestamp,
    pub times: u32,
}

#[derive(Debug, Default)]
pub struct Cycles {
    /// Finished since the start.
    pub finished: u64,
    pub finished_at: Option<Timestamp>,
    /// If no cycle finishes within this time after the last one, the daemon hangs.
    pub max_age: Duration,
    /// Polls that were due while the previous one was still running.
    pub missed: u64,
}

/// The banner of a tenant. On a standby: as the leader saved it, and empty if it saved nothing.
#[derive(Debug, Default)]
pub struct BannerView {
    /// The tenant's root.
    pub url: String,
    /// What is known of the tenant's banner slot.
    pub report: BannerReport,
    /// Writes by reason.
    pub writes: BTreeMap<&'static str, u64>,
    /// Checks of the tenant after which no write was needed.
    pub avoided: u64,
    /// How far the tenant's clock is ahead of the clock of this machine, once it differs.
    pub clock_skew: Option<SignedDuration>,
    /// Why the state of the banner cannot be saved.
    pub state_error: Option<String>,
    /// Maximum age of the last successful request.
    pub max_age: Duration,
    /// Failed requests.
    pub failures: u64,
    /// Seconds from a change on a status page to the accepted write.
    pub lag: Histogram,
}

/// A channel. On a standby: as the leader saved it.
#[derive(Debug, Default)]
pub struct ChannelView {
    pub report: ChannelReport,
    /// Confirmed messages since the start.
    pub sent: BTreeMap<NewsState, u64>,
    /// Failed attempts since the start.
    pub failures: u64,
}

/// The data of a connector in a tenant. On a standby: as the leader saved it.
#[derive(Debug, Default)]
pub struct DeliveryView {
    pub report: DeliveryReport,
    /// Files and bytes that were put into the space since the start.
    pub files: u64,
    pub bytes: u64,
    /// Failed requests since the start.
    pub failures: u64,
    /// Awaited reloads since the start, by outcome.
    pub reloads: BTreeMap<&'static str, u64>,
}

/// State of a connector's data and runs.
#[derive(Debug, Default, Clone)]
pub struct SyncView {
    /// Start of the last complete run.
    pub last_success: Option<Timestamp>,
    pub last_run: Option<LastRun>,
    /// Runs by outcome.
    pub ends: BTreeMap<&'static str, u64>,
    pub running: bool,
    /// Configured interval between runs.
    pub every: Duration,
    /// The daemon that is executing a run, where several share the jobs.
    pub holder: Option<String>,
    /// Start of the next run.
    pub next_at: Option<Timestamp>,
    pub exports: ExportsView,
}

/// Exports of a connector since the start.
#[derive(Debug, Default, Clone)]
pub struct ExportsView {
    /// Whether the connector exports.
    pub on: bool,
    pub last: Option<LastExport>,
    /// End of the last one that did not fail.
    pub last_success: Option<Timestamp>,
    /// Exports by outcome: `complete` or `failed`.
    pub ends: BTreeMap<&'static str, u64>,
    /// Files, rows and bytes written.
    pub files: u64,
    pub rows: u64,
    pub bytes: u64,
}

/// The last export of a connector.
#[derive(Debug, Clone)]
pub struct LastExport {
    pub at: Timestamp,
    /// Why it failed; `None` if it did not.
    pub failure: Option<String>,
    pub took: Duration,
    /// Files written; others were up to date.
    pub files: u64,
}

/// The last finished run of a connector.
#[derive(Debug, Clone)]
pub struct LastRun {
    pub ended_at: Timestamp,
    /// `complete`, `partial`, `deferred` or `failed`.
    pub end: &'static str,
    /// Why the run is not complete.
    pub reason: Option<String>,
    pub took: Duration,
    /// Rows that the source sent, by table.
    pub rows: BTreeMap<String, u64>,
    /// Part of `took` that was spent waiting for rate limits and retries.
    pub waited: Duration,
}

/// Counts of durations by upper bound.
#[derive(Debug, Clone)]
pub struct Histogram {
    /// Counts per bound of [`Histogram::BOUNDS`], and one more above the last bound.
    pub counts: [u64; 9],
    /// Sum in seconds.
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

    pub fn observe(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        let place = Self::BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(Self::BOUNDS.len());
        self.counts[place] += 1;
        self.sum += seconds;
    }
}

/// Creates an empty board and returns its two ends.
pub fn channel(started_at: Timestamp, live: bool) -> (BoardWriter, BoardReader) {
    let (writer, reader) = watch::channel(Board {
        started_at,
        live,
        lease: None,
        monitors: BTreeMap::new(),
        issues: Vec::new(),
        cycles: Cycles::default(),
        banners: BTreeMap::new(),
        store_trouble: None,
        definitions: (true, started_at),
        connectors_ok: true,
        tenants_ok: true,
        channels_ok: true,
        syncs: BTreeMap::new(),
        channels: BTreeMap::new(),
        deliveries: BTreeMap::new(),
    });
    (BoardWriter(writer), BoardReader(reader))
}

impl BoardWriter {
    /// Changes the board in place and notifies subscribers.
    pub fn update(&self, change: impl FnOnce(&mut Board)) {
        self.0.send_modify(change);
    }
}

impl BoardReader {
    /// The board is locked while `read` runs, so it must be short.
    pub fn read<T>(&self, read: impl FnOnce(&Board) -> T) -> T {
        read(&self.0.borrow())
    }

    /// Returns a receiver of the changes from now on.
    pub fn subscribe(&self) -> watch::Receiver<Board> {
        let mut changes = self.0.clone();
        changes.mark_unchanged();
        changes
    }
}

impl MonitorView {
    /// The end of its mute, while it is muted.
    pub fn muted(&self, now: Timestamp) -> Option<Timestamp> {
        self.muted_until.filter(|until| now < *until)
    }

    /// Maximum number of entries in `missed`.
    const MISSED: usize = 12;

    /// Records a poll.
    pub fn looked(&mut self, took: Duration, not_modified: bool, seen: &Observation) {
        self.took = took;
        self.polls += 1;
        self.not_modified += u64::from(not_modified);
        // Checking the age of synced data takes no time and is not a poll.
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
    /// Why the tenant may not show what it should.
    fn trouble(&self, age: impl Fn(Timestamp) -> Duration) -> Option<String> {
        if let Some(why) = &self.state_error {
            return Some(format!("the state of the banner cannot be saved: {why}"));
        }
        if let Some(why) = &self.report.trouble {
            return Some(format!("cannot update the banner: {why}"));
        }
        let at = self.report.answered_at.filter(|at| age(*at) > self.max_age)?;
        Some(format!("the last request to the tenant succeeded {} s ago", age(at).as_secs()))
    }

    /// Records a write that the tenant accepted.
    pub fn wrote(&mut self, why: Why, lag: Option<Duration>) {
        *self.writes.entry(why.as_str()).or_default() += 1;
        if let Some(lag) = lag {
            self.lag.observe(lag);
        }
    }
}

impl LeaseView {
    /// Describes the role of this daemon.
    pub fn role(&self) -> String {
        let since = self.since.map(|since| format!(" since {since:.0}")).unwrap_or_default();
        match (&self.holder, self.held) {
            (_, true) => format!("leading{since}"),
            (Some(holder), false) => format!("standby: {holder} holds the lease{since}"),
            (None, false) => "standby".to_owned(),
        }
    }
}

impl Board {
    /// The kinds of definitions whose last reload found an error.
    pub fn invalid_definitions(&self) -> impl Iterator<Item = &'static str> {
        let kinds = [
            ("monitor", self.definitions.0),
            ("tenant", self.tenants_ok),
            ("channel", self.channels_ok),
            ("connector", self.connectors_ok),
        ];
        kinds.into_iter().filter(|(_, valid)| !valid).map(|(kind, _)| kind)
    }

    /// Whether this daemon polls status pages and writes the banner.
    pub fn leads(&self) -> bool {
        self.lease.as_ref().is_none_or(|lease| lease.held)
    }

    /// The monitors whose polling is paused at `now` because of `Retry-After`, and until when.
    pub fn paused(&self, now: Timestamp) -> impl Iterator<Item = (&str, Timestamp)> {
        let until = move |view: &MonitorView| view.paused_until.filter(|until| *until > now);
        self.monitors.iter().filter_map(move |(name, view)| Some((name.as_str(), until(view)?)))
    }

    /// Returns the reasons why the daemon is not ready at `now`. A standby is ready as long as the database answers.
    pub fn ready(&self, now: Timestamp) -> Vec<String> {
        let mut reasons = Vec::new();
        let store_trouble = self.store_trouble.as_ref();
        let store_trouble =
            store_trouble.map(|(since, why)| format!("state cannot be saved since {since:.0}: {why}"));
        if let Some(lease) = &self.lease {
            reasons.extend(lease.trouble.as_ref().map(|why| format!("the database is unreachable: {why}")));
            if !lease.held {
                let unknown = !lease.known && reasons.is_empty();
                reasons.extend(unknown.then(|| "the database has not answered yet".to_owned()));
                reasons.extend(store_trouble);
                return reasons;
            }
        }
        let age = |at: Timestamp| Duration::try_from(now.duration_since(at)).unwrap_or(Duration::ZERO);
        match self.cycles.finished_at {
            None => reasons.push("the first cycle has not finished".to_owned()),
            Some(at) if age(at) > self.cycles.max_age => {
                reasons.push(format!("the last cycle finished {} s ago", age(at).as_secs()));
            }
            Some(_) => {}
        }
        reasons.extend(store_trouble);
        let troubles: Vec<String> = self.banners.values().filter_map(|banner| banner.trouble(age)).collect();
        // One tenant that is down must not take the dashboard away from the others.
        if troubles.len() == self.banners.len() {
            reasons.extend(troubles.into_iter().take(1));
        }
        reasons
    }
}
