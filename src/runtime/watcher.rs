//! Watches: starts each look when it is due, folds what comes back into what is believed, and says so.
//!
//! One task owns all of it. It never waits for anything but the next event: looks run beside it, and so does the
//! writing of our memory. Start at `Watcher::run`; `cycle` and `tell` have the log's side of it, `roster` the
//! definitions.

mod coverage;
mod cycle;
mod looks;
mod roster;
mod tell;

use std::collections::{BTreeMap, BinaryHeap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::board::BoardHandle;
use super::clock::{Clock, Comparison};
use super::folder::Folder;
use super::lease::Right;
use crate::definitions::monitor::{self, Origin};
use crate::domain::assess::{Assessment, MonitorState};
use crate::domain::history::{Counted, Days};
use crate::domain::monitor::{Monitor, Source, Thresholds};
use crate::domain::observation::Observation;
use crate::domain::plan::{Coverage, Reach};
use crate::domain::severity::Severity;
use crate::domain::{freshness, schedule};
use crate::http::PageClient;
use crate::store::{Batch, KeepError, Store};
use cycle::Cycle;
use looks::{Finished, Looks};
pub(super) use roster::Roster;

/// Sockets open at once; the customary limit of open files is 1,024.
const CONCURRENT_LOOKS: usize = 512;
/// Looks begin this long after the cycle's tick, so that timers of coarse grain keep their order.
const BEHIND: Duration = Duration::from_millis(5);
/// Times of reading alone are kept this often: they are no history.
const KEEP_EVERY: Duration = Duration::from_secs(300);
/// Shortest pause that a page's `Retry-After` may ask for.
const MIN_PAUSE: Duration = Duration::from_secs(1);
/// Longest, in intervals of its monitor: status pages are overloaded when they matter most.
const MAX_PAUSE: u32 = 5;
/// The clocks are compared this often: timers stand still while the machine sleeps, pages do not.
const COMPARE_CLOCKS: Duration = Duration::from_secs(30);
/// History is pruned this often.
const PRUNE_EVERY: Duration = Duration::from_secs(24 * 3600);

/// How pages are watched.
pub struct Options {
    /// Folder of definitions.
    pub folder: PathBuf,
    /// Time between two looks.
    pub interval: Duration,
    /// Longest look.
    pub timeout: Duration,
    /// How long what cannot be confirmed is held, where a monitor does not say so itself.
    pub hold_for: Duration,
    /// For pages.
    pub client: PageClient,
    /// Called after each finished tick, for the service manager.
    pub on_tick: Box<dyn Fn(&str) + Send + Sync>,
}

/// What the publisher is to bring about.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Of the monitors that were read since the start.
    pub confirmed: Assessment,
    /// The same with the issues of an earlier run whose monitors were not read again yet.
    pub held: Assessment,
    /// How far each monitor has been polled. Nobody is woken when only this changes.
    pub coverage: Coverage,
    /// When the answer that changed it came in.
    pub changed_at: Option<Instant>,
}

/// One monitor at work.
struct Watched {
    monitor: Monitor,
    state: MonitorState,
    /// Of an earlier run and not read since: it keeps a banner up and raises none.
    unconfirmed: bool,
    reach: Reach,
    /// Told about a failure at this many in a row.
    told: u32,
    looking: bool,
    /// The cycle that waits for its next look; 0 for none.
    cycle: u64,
    not_before: Option<Instant>,
    /// A warning said that the page asked for a pause.
    pause_told: bool,
    notes: Vec<String>,
    slot: looks::Slot,
    counted: Counted,
}

/// The task that owns what is believed.
pub struct Watcher {
    options: Options,
    clock: Clock,
    board: BoardHandle,
    store: Store,
    wanted: watch::Sender<Option<Wanted>>,
    watched: BTreeMap<String, Watched>,
    /// Kept states of monitors that are not (yet) defined.
    kept: BTreeMap<String, MonitorState>,
    /// Whether a banner of an earlier run may be up, so that its issues are shown before they are read again.
    kept_counts: bool,
    begun_at: Timestamp,
    /// The monitors' names or ages changed, so that the coverage is made again.
    stale_coverage: bool,
    /// When an answer came in that changed what is believed and is not passed on yet.
    changed_at: Option<Instant>,
    origin: Option<Origin>,
    due: BinaryHeap<std::cmp::Reverse<(Instant, String)>>,
    looks: Looks,
    cycle: Cycle,
    folder: Folder<roster::Loaded>,
    /// What is not kept yet.
    unkept: Batch,
    /// Time watched, kept now and then.
    days: Days,
    saving: JoinSet<Saved>,
    keep_at: Instant,
    prune_at: Instant,
    right: Right,
    /// The definitions to begin with.
    roster: Option<Roster>,
}

/// What is left when the watching ends, for the next.
pub struct Ended {
    pub(super) options: Options,
    pub(super) roster: Option<Roster>,
    pub(super) states: Vec<(String, MonitorState)>,
    /// What is not kept.
    pub(super) unkept: Batch,
}

type Saved = (Arc<Batch>, Result<(), KeepError>);

impl Watcher {
    /// Nothing is looked at before `Watcher::run`.
    pub fn new(
        options: Options,
        clock: Clock,
        board: BoardHandle,
        store: Store,
        wanted: watch::Sender<Option<Wanted>>,
    ) -> Watcher {
        let looks = Looks::new(options.client.clone(), Arc::new(Semaphore::new(CONCURRENT_LOOKS)));
        let folder = Folder::new(options.folder.clone(), Arc::new(monitor::load));
        Watcher {
            options,
            clock,
            board,
            store,
            wanted,
            watched: BTreeMap::new(),
            kept: BTreeMap::new(),
            kept_counts: false,
            begun_at: clock.now(),
            stale_coverage: true,
            changed_at: None,
            origin: None,
            due: BinaryHeap::new(),
            looks,
            cycle: Cycle::default(),
            folder,
            unkept: Batch::default(),
            days: Days::new(),
            saving: JoinSet::new(),
            keep_at: Instant::now() + KEEP_EVERY,
            prune_at: Instant::now(),
            right: Right::forever(),
            roster: None,
        }
    }

    /// Takes up what an earlier run believed. It is shown at once only where our banner may be up.
    #[must_use]
    pub fn remembering(mut self, states: Vec<(String, MonitorState)>, banner_is_up: bool) -> Watcher {
        self.kept = states.into_iter().collect();
        self.kept_counts = banner_is_up;
        self
    }

    /// Takes up the work under a lease: what was read and not kept yet comes from an earlier term.
    #[must_use]
    pub(super) fn under(mut self, right: Right, roster: Option<Roster>, unkept: Batch) -> Watcher {
        (self.right, self.roster, self.unkept) = (right, roster, unkept);
        self
    }

    /// Runs until stopped; then keeps what is not kept yet, if it still may.
    pub(super) async fn run(mut self, reload: Arc<Notify>, stop: CancellationToken) -> Ended {
        if self.begin(&stop).await {
            self.work(reload, stop).await;
            self.looks.abort();
        }
        self.keep_rest().await;
        let states = self.watched.iter().map(|(name, watched)| (name.clone(), watched.state.clone()));
        let states = states.chain(std::mem::take(&mut self.kept)).collect();
        let monitors = self.watched.into_values().map(|watched| watched.monitor).collect();
        let roster = self.origin.map(|origin| Roster { monitors, origin });
        Ended { options: self.options, roster: roster.or(self.roster), states, unkept: self.unkept }
    }

    async fn work(&mut self, reload: Arc<Notify>, stop: CancellationToken) {
        self.republish(None);
        self.begin_cycle();
        let mut next_cycle = self.next_tick(self.options.interval, Duration::ZERO);
        let mut clocks = Comparison::begin(self.clock);
        loop {
            let next_look = self.due.peek().map_or(next_cycle, |due| due.0.0);
            let compare_at = Instant::now() + COMPARE_CLOCKS;
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(finished) = self.looks.next() => {
                    self.absorb(finished);
                    // What has come in meanwhile makes one assessment, however many it is.
                    while let Some(finished) = self.looks.try_next() {
                        self.absorb(finished);
                    }
                }
                Some(saved) = self.saving.join_next() => self.saved(saved.ok()),
                () = reload.notified() => {
                    self.folder.look(true);
                    self.poll_all_now();
                }
                found @ Some(_) = self.folder.found() => self.read_again(found, false),
                () = sleep_until(next_cycle) => {
                    self.begin_cycle();
                    next_cycle = self.next_tick(self.options.interval, Duration::ZERO);
                }
                () = sleep_until(next_look) => self.start_due(),
                () = sleep_until(compare_at) => {}
            }
            if let Some(by) = clocks.jump() {
                tracing::info!(target: "MainOrchestrator", "The clock jumped by {by:#}; polling every page now.");
                self.poll_all_now();
                self.begin_cycle();
                next_cycle = self.next_tick(self.options.interval, Duration::ZERO);
            }
            if let Some(at) = self.changed_at.take() {
                self.republish(Some(at));
                self.finish_cycle_if_done();
            }
            self.keep();
        }
    }

    fn next_tick(&self, interval: Duration, offset: Duration) -> Instant {
        // The wall clock first: were this task held up in between, the timer would come late, never early.
        let wait = schedule::until_tick(self.clock.since_epoch(), interval, offset);
        Instant::now() + wait
    }

    /// Makes every monitor due at once, also those that wait because their page asked for it.
    fn poll_all_now(&mut self) {
        let (now, spread) = (Instant::now(), schedule::spread(self.watched.len(), self.options.interval));
        self.due.clear();
        for (name, watched) in &mut self.watched {
            watched.not_before = None;
            self.due.push(std::cmp::Reverse((now + schedule::stagger(name, spread), name.clone())));
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
        let offset = BEHIND + schedule::stagger(name, schedule::spread(self.watched.len(), interval));
        let next = self.next_tick(interval, offset);
        self.due.push(std::cmp::Reverse((next, name.to_owned())));
        let number = self.cycle.number;
        let Some(watched) = self.watched.get_mut(name) else { return };
        if watched.looking {
            self.board.update(|board| board.cycles.missed += 1);
            return;
        }
        if watched.not_before.is_some_and(|not_before| now < not_before) {
            self.cycle.answered(std::mem::take(&mut watched.cycle), number);
            self.finish_cycle_if_done();
            return;
        }
        watched.not_before = None;
        match &watched.monitor.source {
            Source::Page(_) => {
                watched.looking = true;
                let timeout = watched.monitor.timeout.unwrap_or(self.options.timeout);
                self.looks.start(name, &watched.monitor, &mut watched.slot, timeout);
            }
            Source::Sync(rule) => {
                let rule = rule.clone();
                let success =
                    self.board.read(|b| b.syncs.get(&rule.connector).and_then(|sync| sync.last_success));
                let at = self.clock.now();
                let outcome = freshness::read(&rule, success, at);
                let took = Duration::ZERO;
                self.take_in(name, &Observation { monitor: name.to_owned(), at, outcome }, took, false, now);
            }
        }
    }

    fn absorb(&mut self, finished: Finished) {
        let Finished { name, look, took, memo, generation } = finished;
        let now = Instant::now();
        let Some(watched) = self.watched.get_mut(&name) else { return };
        if watched.slot.generation != generation {
            return;
        }
        watched.looking = false;
        watched.slot.memo = memo;
        let interval = watched.monitor.interval.unwrap_or(self.options.interval);
        let pause =
            look.retry_after.map(|asked| asked.clamp(MIN_PAUSE, (interval * MAX_PAUSE).max(MIN_PAUSE)));
        watched.not_before = pause.map(|pause| now + pause);
        watched.tell_pause(&name, look.retry_after.zip(pause).filter(|(_, pause)| *pause > interval));
        let paused_until = pause
            .filter(|pause| *pause > interval)
            .and_then(|pause| self.clock.now().checked_add(pause).ok());
        watched.tell_notes(&name, &look);
        let observation = Observation { monitor: name.clone(), at: self.clock.now(), outcome: look.outcome };
        self.board.update(|board| {
            board.monitors.entry(name.clone()).or_default().paused_until = paused_until;
        });
        self.take_in(&name, &observation, took, look.not_modified, now);
    }

    /// Folds one observation into what is believed, and passes on what changed.
    fn take_in(&mut self, name: &str, seen: &Observation, took: Duration, not_modified: bool, now: Instant) {
        let number = self.cycle.number;
        let Some(watched) = self.watched.get_mut(name) else { return };
        let before = watched.state.clone();
        let hold_for = watched.monitor.hold_for.unwrap_or(self.options.hold_for);
        let folded = watched.state.fold(seen, Thresholds { hold_for, ..watched.monitor.thresholds });
        let confirmed = watched.unconfirmed && seen.verdict().is_ok();
        watched.unconfirmed &= !confirmed;
        let reach = watched.reach_at(true, seen.at, self.begun_at, hold_for);
        let reached = std::mem::replace(&mut watched.reach, reach) != reach;
        tell::expired(name, &folded.expired, hold_for);
        watched.tell_readability(name, seen, &before);
        let readable = watched.state.unknown.is_none().then_some(watched.state.severity);
        let longest = watched.monitor.interval.unwrap_or(self.options.interval) * 2 + self.options.timeout;
        watched.counted.look(name, seen.at, readable, longest, &mut self.days);
        let state = &watched.state;
        let words = |s: &MonitorState| (s.severity, s.description.clone(), s.link.clone(), s.since);
        let changed = confirmed || words(&before) != words(state);
        let kept_changed = changed
            || before.candidate != state.candidate
            || before.parts.len() != state.parts.len()
            || before.unknown.is_some() != state.unknown.is_some();
        if kept_changed {
            self.unkept.states.insert(name.to_owned(), state.clone());
        }
        let severity = state.severity;
        let of = std::mem::take(&mut watched.cycle);
        match watched.monitor.source {
            Source::Page(_) => self.cycle.count(of, number, &seen.outcome),
            Source::Sync(_) => self.cycle.answered(of, number),
        }
        self.board.update(|board| {
            let view = board.monitors.entry(name.to_owned()).or_default();
            view.looked(took, not_modified, seen);
            view.state = state.clone();
        });
        if reached {
            self.cover(name, reach);
        }
        if let Some(transition) = folded.transition {
            tell::transition(&transition, folded.first);
            self.unkept.add(transition);
        }
        if changed && (before.severity, severity) != (Severity::None, Severity::None) {
            self.changed_at.get_or_insert(now);
        } else if self.changed_at.is_none() {
            self.finish_cycle_if_done();
        }
    }

    /// Starts to keep what is not kept yet, one batch at a time.
    fn keep(&mut self) {
        let now = Instant::now();
        if now >= self.keep_at {
            self.keep_at = now + KEEP_EVERY;
            self.gather_all();
        }
        if now >= self.prune_at {
            self.prune_at = now + PRUNE_EVERY;
            let (store, at) = (self.store.clone(), self.clock.now());
            self.saving.spawn(async move { (Arc::default(), store.prune(at).await) });
        }
        let waiting = self.board.read(|board| board.store_trouble.is_some()) && !self.cycle.just_begun;
        if self.unkept.is_empty() || waiting || !self.saving.is_empty() {
            return;
        }
        self.cycle.just_begun = false;
        let batch = Arc::new(std::mem::take(&mut self.unkept));
        let store = self.store.clone();
        self.saving.spawn(async move {
            let done = store.keep(Arc::clone(&batch)).await;
            (batch, done)
        });
    }

    fn gather_all(&mut self) {
        self.unkept.states.extend(self.watched.iter().map(|(name, w)| (name.clone(), w.state.clone())));
        self.unkept.put_back(Batch { days: std::mem::take(&mut self.days), ..Batch::default() });
    }

    fn saved(&mut self, saved: Option<Saved>) {
        let Some((batch, done)) = saved else { return };
        let trouble = self.board.read(|board| board.store_trouble.is_some());
        match done {
            Ok(()) if trouble => {
                tracing::info!(target: "MainOrchestrator", "State can be saved again; nothing was lost.");
                self.board.update(|board| board.store_trouble = None);
            }
            Ok(()) => {}
            Err(e) => {
                self.unkept.put_back(Arc::unwrap_or_clone(batch));
                if !trouble {
                    tracing::error!(target: "MainOrchestrator", "Cannot save state: {e}. Monitoring continues; retrying every cycle.");
                    let now = self.clock.now();
                    self.board.update(|board| board.store_trouble = Some((now, e.to_string())));
                }
            }
        }
    }

    async fn keep_rest(&mut self) {
        while let Some(saved) = self.saving.join_next().await {
            self.saved(saved.ok());
        }
        self.gather_all();
        if self.right.left().is_none() {
            return;
        }
        let rest = Arc::new(std::mem::take(&mut self.unkept));
        if let Err(e) = self.store.keep(Arc::clone(&rest)).await {
            self.unkept = Arc::unwrap_or_clone(rest);
            tracing::error!(target: "MainOrchestrator", "Cannot save state at shutdown: {e}");
        }
    }
}
