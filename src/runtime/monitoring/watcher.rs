//! The watcher: starts each poll when it is due, updates the assessment with its result and publishes changes.
//!
//! One task owns the assessment. It only waits for the next event: polls and writes to the state database run in other
//! tasks. Start at `Watcher::run`. `cycle` and `tell` log, `roster` holds the definitions.

mod coverage;
mod cycle;
mod data_age;
mod engine_search;
mod polls;
mod roster;
mod saving;
mod tell;

use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::definitions::monitor::{self, DefinitionOrigin};
use crate::domain::monitoring::assess::{Assessment, Issue, MonitorState};
use crate::domain::monitoring::history::WatchedSince;
use crate::domain::monitoring::monitor::{Monitor, MonitorSource, Thresholds};
use crate::domain::monitoring::observation::Observation;
use crate::domain::monitoring::plan::{Coverage, Reach};
use crate::domain::monitoring::schedule;
use crate::domain::monitoring::severity::Severity;
use crate::http::PageClient;
use crate::runtime::MonitoringContext;
use crate::runtime::board::BoardWriter;
use crate::runtime::clock::{Clock, Comparison};
use crate::runtime::folder::WatchedFolder;
use crate::runtime::last_successes::Successes;
use crate::runtime::lease::Right;
use crate::store::{Batch, KeepError, Store};
use cycle::Cycle;
use data_age::HISTORY_CHECK;
use polls::{Finished, Polls};
pub(in crate::runtime) use roster::MonitorRoster;

/// Limit of open sockets; the usual limit of open files is 1,024.
const CONCURRENT_POLLS: usize = 512;
/// Polls start this long after the tick of the cycle, so that coarse timers keep their order.
const BEHIND: Duration = Duration::from_millis(5);
/// Interval at which states without changes and daily totals are saved.
const SAVE_EVERY: Duration = Duration::from_secs(300);
/// Shortest pause for a `Retry-After`.
const MIN_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause, in intervals of the monitor: status pages are overloaded when they matter most.
const MAX_PAUSE: u32 = 5;
/// Interval at which the clocks are compared, because timers stop while the machine sleeps.
const COMPARE_CLOCKS: Duration = Duration::from_secs(30);
/// Interval at which the history is pruned.
const PRUNE_EVERY: Duration = Duration::from_secs(24 * 3600);

/// Settings of the watcher.
pub struct Options {
    /// Folder of definitions.
    pub folder: PathBuf,
    /// The folder of engines.
    pub engines: PathBuf,
    /// Default time between two polls.
    pub interval: Duration,
    /// Default timeout of a poll.
    pub timeout: Duration,
    /// Default time for which the last known state is held while it cannot be confirmed.
    pub hold_for: Duration,
    /// Log the state of all monitors in each cycle, not only when it changes and hourly.
    pub log_every_cycle: bool,
    pub client: PageClient,
    /// Called after each cycle, for the service manager.
    pub on_tick: Box<dyn Fn(&str) + Send + Sync>,
}

/// The assessment that the publisher turns into a banner.
#[derive(Debug, Clone, Default)]
pub struct DesiredBanner {
    /// Assessment of the monitors that were read since the start.
    pub confirmed: Assessment,
    /// The same, plus the saved issues of monitors that were not read again yet.
    pub held: Assessment,
    /// How far each monitor has been polled. First polls alone do not notify the receiver.
    pub coverage: Coverage,
    /// When the poll result that changed the assessment arrived.
    pub changed_at: Option<Instant>,
}

/// A monitor and its state.
struct Watched {
    monitor: Monitor,
    state: MonitorState,
    /// The state is from an earlier run and was not confirmed since: it keeps a banner up but raises none.
    unconfirmed: bool,
    /// Its last known issue was not confirmed for too long, and what it was about was not read since.
    expired: bool,
    reach: Reach,
    failures: tell::FailureLog,
    polling: bool,
    /// The cycle that waits for its next poll; 0 for none.
    cycle: u64,
    not_before: Option<Instant>,
    /// The current pause for `Retry-After` was logged.
    pause_logged: bool,
    /// A poll finished, in this term or an earlier one.
    polled: bool,
    notes: Vec<String>,
    advice: engine_search::EngineAdvice,
    slot: polls::PollSlot,
    counted: WatchedSince,
}

/// The task that owns the assessment.
pub struct Watcher {
    options: Options,
    clock: Clock,
    board: BoardWriter,
    store: Store,
    /// Last complete run of each connector.
    successes: watch::Receiver<Successes>,
    wanted: watch::Sender<Option<DesiredBanner>>,
    watched: BTreeMap<String, Watched>,
    /// Saved states of monitors that are not defined (yet).
    saved_states: BTreeMap<String, MonitorState>,
    /// Whether a banner of an earlier run may be up, so that its issues are shown before they are confirmed.
    show_saved: bool,
    started_at: Timestamp,
    /// The set of monitors or the age of their states changed, so that the coverage must be recomputed.
    stale_coverage: bool,
    /// Monitors that were muted at the last cycle.
    muted: BTreeSet<String>,
    /// When the first poll result arrived that changed the assessment and is not published yet.
    changed_at: Option<Instant>,
    origin: Option<DefinitionOrigin>,
    due: BinaryHeap<std::cmp::Reverse<(Instant, String)>>,
    polls: Polls,
    searches: engine_search::EngineSearches,
    cycle: Cycle,
    folder: WatchedFolder<roster::LoadedMonitors>,
    /// Unsaved changes.
    unsaved_changes: Batch,
    /// Monitored time and response times, saved periodically.
    counts: Batch,
    saving: JoinSet<SaveResult>,
    /// The last attempt to save failed.
    save_failed: bool,
    /// The issues that the log and the board show.
    issues: Vec<Issue>,
    save_at: Instant,
    prune_at: Instant,
    right: Right,
    /// Definitions of the previous term.
    roster: Option<MonitorRoster>,
}

/// State of a watcher that stopped, for the next term.
pub struct WatcherRemains {
    pub(in crate::runtime) options: Options,
    pub(in crate::runtime) roster: Option<MonitorRoster>,
    pub(in crate::runtime) states: Vec<(String, MonitorState)>,
    /// Unsaved changes.
    pub(in crate::runtime) unsaved_changes: Batch,
}

type SaveResult = (Arc<Batch>, Result<(), KeepError>);

impl Watcher {
    /// Creates a watcher. It polls nothing before `Watcher::run`.
    pub fn new(
        options: Options,
        context: &MonitoringContext,
        successes: watch::Receiver<Successes>,
        wanted: watch::Sender<Option<DesiredBanner>>,
    ) -> Watcher {
        let clock = context.clock;
        let polls = Polls::new(options.client.clone(), Arc::new(Semaphore::new(CONCURRENT_POLLS)));
        let engines = options.engines.clone();
        let also = Some(options.engines.clone());
        let read = Arc::new(move |folder: &Path| monitor::load(folder, &engines));
        let folder = WatchedFolder::new(options.folder.clone(), also, read);
        Watcher {
            options,
            clock,
            board: context.board.clone(),
            store: context.store.clone(),
            successes,
            wanted,
            watched: BTreeMap::new(),
            saved_states: BTreeMap::new(),
            show_saved: false,
            started_at: clock.now(),
            stale_coverage: true,
            muted: BTreeSet::new(),
            changed_at: None,
            origin: None,
            due: BinaryHeap::new(),
            polls,
            searches: engine_search::EngineSearches::default(),
            cycle: Cycle::default(),
            folder,
            unsaved_changes: Batch::default(),
            counts: Batch::default(),
            saving: JoinSet::new(),
            save_failed: false,
            issues: Vec::new(),
            save_at: Instant::now() + SAVE_EVERY,
            prune_at: Instant::now(),
            right: Right::forever(),
            roster: None,
        }
    }

    /// Sets the saved states of an earlier run. They are shown before they are confirmed only if its banner may be up.
    #[must_use]
    pub fn remembering(mut self, states: Vec<(String, MonitorState)>, banner_may_be_up: bool) -> Watcher {
        self.saved_states = states.into_iter().collect();
        self.show_saved = banner_may_be_up;
        self
    }

    /// Sets the right to write, and the definitions and unsaved changes of an earlier term.
    #[must_use]
    pub(in crate::runtime) fn under(
        mut self,
        right: Right,
        roster: Option<MonitorRoster>,
        unsaved_changes: Batch,
    ) -> Watcher {
        (self.right, self.roster, self.unsaved_changes) = (right, roster, unsaved_changes);
        self
    }

    /// Runs until stopped, then saves unsaved changes if the right to write is still valid.
    pub(in crate::runtime) async fn run(
        mut self,
        reload: Arc<Notify>,
        stop: CancellationToken,
    ) -> WatcherRemains {
        if self.begin(&stop).await {
            self.work(reload, stop).await;
            self.polls.abort();
            self.searches.running.abort_all();
        }
        self.save_rest().await;
        let states = self.watched.iter().map(|(name, watched)| (name.clone(), watched.state.clone()));
        let states = states.chain(std::mem::take(&mut self.saved_states)).collect();
        let polled = self.watched.iter().filter(|(_, watched)| watched.polled);
        let polled = polled.map(|(name, _)| name.clone()).collect();
        let monitors = self.watched.into_values().map(|watched| watched.monitor).collect();
        let roster = self.origin.map(|origin| MonitorRoster { monitors, origin, polled });
        WatcherRemains {
            options: self.options,
            roster: roster.or(self.roster),
            states,
            unsaved_changes: self.unsaved_changes,
        }
    }

    async fn work(&mut self, reload: Arc<Notify>, stop: CancellationToken) {
        self.republish(None);
        self.begin_cycle();
        let mut next_cycle = self.next_tick(self.options.interval, Duration::ZERO);
        let mut clocks = Comparison::begin(self.clock);
        loop {
            let next_poll = self.due.peek().map_or(next_cycle, |due| due.0.0);
            let compare_at = Instant::now() + COMPARE_CLOCKS;
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(finished) = self.polls.next() => {
                    self.absorb(finished);
                    // All results that are available now make one assessment.
                    while let Some(finished) = self.polls.try_next() {
                        self.absorb(finished);
                    }
                }
                Some(found) = self.searches.running.join_next() => found.into_iter().for_each(|found| self.advise(found)),
                Some(saved) = self.saving.join_next() => self.saved(saved.ok()),
                () = reload.notified() => {
                    self.folder.scan(true);
                    self.poll_all_now();
                }
                found @ Some(_) = self.folder.found() => self.reload(found, false),
                () = sleep_until(next_cycle) => {
                    self.begin_cycle();
                    next_cycle = self.next_tick(self.options.interval, Duration::ZERO);
                }
                () = sleep_until(next_poll) => self.start_due(),
                () = sleep_until(compare_at) => {}
            }
            if let Some(by) = clocks.jump() {
                tracing::info!(target: "MainOrchestrator", "The clock jumped by {by:#}; polling every status page now.");
                self.poll_all_now();
                self.begin_cycle();
                next_cycle = self.next_tick(self.options.interval, Duration::ZERO);
            }
            if let Some(at) = self.changed_at.take() {
                self.republish(Some(at));
                self.finish_cycle_if_done();
            }
            self.save();
        }
    }

    fn next_tick(&self, interval: Duration, offset: Duration) -> Instant {
        // The wall clock is read first, so that a delay of this task makes the timer late, never early.
        let wait = schedule::until_tick(self.clock.since_epoch(), interval, offset);
        Instant::now() + wait
    }

    /// Makes every monitor due now, also those paused by `Retry-After`.
    fn poll_all_now(&mut self) {
        let (now, spread) = (Instant::now(), schedule::spread(self.watched.len(), self.options.interval));
        self.due.clear();
        self.polls.refresh();
        for (name, watched) in &mut self.watched {
            watched.not_before = None;
            let at = now + schedule::stagger(&watched.spread_by(), spread);
            self.due.push(std::cmp::Reverse((at, name.clone())));
        }
    }

    fn start_due(&mut self) {
        let now = Instant::now();
        while self.due.peek().is_some_and(|due| due.0.0 <= now) {
            let Some(std::cmp::Reverse((_, name))) = self.due.pop() else { return };
            self.start(&name, now);
        }
    }

    fn start(&mut self, name: &str, now: Instant) {
        let Some(watched) = self.watched.get(name) else { return };
        let interval = watched.monitor.interval.unwrap_or(self.options.interval);
        let spread = schedule::spread(self.watched.len(), interval);
        let offset = BEHIND + schedule::stagger(&watched.spread_by(), spread);
        let awaits_history = self.awaits_history(&watched.monitor);
        let next = if awaits_history { now + HISTORY_CHECK } else { self.next_tick(interval, offset) };
        self.due.push(std::cmp::Reverse((next, name.to_owned())));
        let number = self.cycle.number;
        let Some(watched) = self.watched.get_mut(name) else { return };
        if watched.polling {
            self.board.update(|board| board.cycles.missed += 1);
            return;
        }
        if awaits_history || watched.not_before.is_some_and(|not_before| now < not_before) {
            self.cycle.answered(std::mem::take(&mut watched.cycle), number);
            self.finish_cycle_if_done();
            return;
        }
        watched.not_before = None;
        match &watched.monitor.source {
            MonitorSource::Page(_) => {
                watched.polling = true;
                let timeout = watched.monitor.timeout.unwrap_or(self.options.timeout);
                self.polls.start(name, &watched.monitor, &watched.slot, timeout, interval);
            }
            MonitorSource::Sync(rule) => {
                let rule = rule.clone();
                self.judge_age(name, &rule, now);
            }
        }
    }

    fn absorb(&mut self, finished: Finished) {
        let Finished { name, result, took, generation } = finished;
        let now = Instant::now();
        let Some(watched) = self.watched.get_mut(&name) else { return };
        if watched.slot.generation != generation {
            return;
        }
        watched.polling = false;
        watched.slot.fresh_since = now;
        let interval = watched.monitor.interval.unwrap_or(self.options.interval);
        let pause = result
            .retry_after
            .map(|requested| requested.clamp(MIN_PAUSE, (interval * MAX_PAUSE).max(MIN_PAUSE)));
        watched.not_before = pause.map(|pause| now + pause);
        watched.log_pause(&name, result.retry_after.zip(pause).filter(|(_, pause)| *pause > interval));
        let paused_until = pause
            .filter(|pause| *pause > interval)
            .and_then(|pause| self.clock.now().checked_add(pause).ok());
        watched.log_notes(&name, &result);
        let observation =
            Observation { monitor: name.clone(), at: self.clock.now(), outcome: result.outcome };
        self.board.update(|board| {
            board.monitors.entry(name.clone()).or_default().paused_until = paused_until;
        });
        self.take_in(&name, &observation, took, result.not_modified, now);
        self.search_engine(&name, now);
    }

    /// Updates a monitor's state with one observation, and records what changed.
    fn take_in(&mut self, name: &str, seen: &Observation, took: Duration, not_modified: bool, now: Instant) {
        let number = self.cycle.number;
        let Some(watched) = self.watched.get_mut(name) else { return };
        watched.polled = true;
        let before = watched.state.clone();
        let hold_for = watched.monitor.hold_for.unwrap_or(self.options.hold_for);
        let folded = watched.state.fold(seen, Thresholds { hold_for, ..watched.monitor.thresholds });
        let confirmed = watched.unconfirmed && seen.verdict().is_ok();
        watched.unconfirmed &= !confirmed;
        let lapsed = !folded.expired.is_empty() && watched.state.severity == Severity::None;
        // A worse reading that is not confirmed yet does not show that the issue is over.
        let open = seen.verdict().is_err() || watched.state.candidate.is_some();
        watched.expired = lapsed || (watched.expired && open);
        let reach = watched.reach_at(true, seen.at, self.started_at, hold_for);
        let reached = std::mem::replace(&mut watched.reach, reach) != reach;
        tell::expired(name, &folded.expired, hold_for);
        watched.log_readability(name, seen, &before);
        let readable = watched.state.unknown.is_none().then_some(watched.state.severity);
        let longest = watched.monitor.interval.unwrap_or(self.options.interval) * 2 + self.options.timeout;
        watched.counted.look(name, seen.at, readable, longest, &mut self.counts.days);
        // The age of data is not a poll.
        if !took.is_zero() {
            self.counts.add_poll(name, seen.at, took, seen.verdict().is_ok());
        }
        let state = &watched.state;
        let content = |s: &MonitorState| (s.severity, s.description.clone(), s.link.clone(), s.since);
        let changed = confirmed || content(&before) != content(state);
        let must_save = changed
            || before.candidate != state.candidate
            || before.parts.len() != state.parts.len()
            || before.unknown.is_some() != state.unknown.is_some();
        if must_save {
            self.unsaved_changes.states.insert(name.to_owned(), state.clone());
        }
        let severity = state.severity;
        let of = std::mem::take(&mut watched.cycle);
        match watched.monitor.source {
            MonitorSource::Page(_) => self.cycle.count(of, number, &seen.outcome),
            MonitorSource::Sync(_) => self.cycle.answered(of, number),
        }
        self.board.update(|board| {
            let view = board.monitors.entry(name.to_owned()).or_default();
            view.looked(took, not_modified, seen);
            view.state = state.clone();
        });
        if let Some(transition) = folded.transition {
            tell::transition(&transition, folded.first);
            self.unsaved_changes.add(transition);
        }
        if changed && (before.severity, severity) != (Severity::None, Severity::None) {
            self.changed_at.get_or_insert(now);
            // Published together, so that no receiver sees one without the other.
            self.stale_coverage |= reached;
            return;
        }
        if reached {
            self.cover(name);
        }
        if self.changed_at.is_none() {
            self.finish_cycle_if_done();
        }
    }
}
