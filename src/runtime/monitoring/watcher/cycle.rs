//! The cycle: one round of polls per interval, for the log and the readiness check.
//!
//! Nothing waits for the end of a cycle: the banner follows each poll. A cycle ends when all polls that were due have
//! finished, at the latest when the next cycle starts. Its summary is logged when it changes and hourly, because a line
//! that comes every minute hides the others.

use std::time::Duration;

use super::{Watched, Watcher};
use crate::domain::monitoring::observation::{Reading, Unknown};
use crate::domain::monitoring::schedule;
use crate::domain::text::counted;
use tokio::time::Instant;

/// The daemon is ready at the latest this long after the start, even if some monitors have not been polled yet.
const FIRST_ROUND: Duration = Duration::from_secs(60);

/// An unchanged summary is logged again after this time.
const REPEAT_AFTER: Duration = Duration::from_secs(3600);

/// The current cycle.
#[derive(Default)]
pub(super) struct Cycle {
    /// Counted from 1.
    pub(super) number: u64,
    /// A cycle started since the last batch was saved, so that failed saves are retried.
    pub(super) just_started: bool,
    pending: usize,
    open: bool,
    polls: usize,
    network_failures: usize,
    /// Start of the first cycle.
    started: Option<Instant>,
    /// A poll of each monitor has finished.
    all_polled: bool,
    /// An outage of the local network was logged.
    offline: bool,
    /// The summary is logged even if it is unchanged.
    repeat: bool,
    /// The last summary in the log, and when it was logged.
    logged: Option<(CycleSummary, Instant)>,
}

/// What a cycle found.
#[derive(PartialEq)]
struct CycleSummary {
    issues: Vec<String>,
    unread: Vec<String>,
    /// Monitors without a poll result.
    waiting: Vec<String>,
}

impl Cycle {
    /// Counts a poll result if it belongs to the current cycle.
    pub(super) fn count(&mut self, of: u64, running: u64, outcome: &Result<Reading, Unknown>) {
        if of == running {
            self.polls += 1;
            let network = outcome.as_ref().err().is_some_and(Unknown::may_be_our_network);
            self.network_failures += usize::from(network);
        }
        self.answered(of, running);
    }

    /// A monitor that the cycle waits for has finished its poll or will not start one.
    pub(super) fn answered(&mut self, of: u64, running: u64) {
        if of == running {
            self.pending = self.pending.saturating_sub(1);
        }
    }
}

impl Watcher {
    pub(super) fn begin_cycle(&mut self) {
        if self.cycle.open {
            self.finish_cycle();
        }
        if self.cycle.number > 0 {
            self.folder.scan(false);
        }
        self.age();
        let now = Instant::now();
        let end = now + self.options.interval;
        self.cycle.number += 1;
        self.cycle.started.get_or_insert(now);
        self.cycle.just_started = true;
        (self.cycle.polls, self.cycle.network_failures) = (0, 0);
        let number = self.cycle.number;
        let mut pending = 0;
        for due in &self.due {
            let (at, name) = &due.0;
            if let Some(watched) = self.watched.get_mut(name) {
                let waits = watched.not_before.is_some_and(|not_before| *at < not_before);
                if *at < end && !watched.polling && !waits {
                    watched.cycle = number;
                    pending += 1;
                }
            }
        }
        self.cycle.pending = pending;
        self.cycle.open = true;
        let logged = self.cycle.logged.as_ref();
        self.cycle.repeat =
            self.options.log_every_cycle || logged.is_none_or(|(_, at)| at.elapsed() >= REPEAT_AFTER);
        if self.cycle.repeat {
            tracing::info!(target: "MainOrchestrator", "Checking services status...");
        }
        self.finish_cycle_if_done();
    }

    pub(super) fn finish_cycle_if_done(&mut self) {
        if self.cycle.open && self.cycle.pending == 0 {
            self.finish_cycle();
        }
    }

    fn finish_cycle(&mut self) {
        self.cycle.open = false;
        self.log_network();
        self.log_summary();
        let spread = schedule::spread(self.watched.len(), self.options.interval);
        let max_age = self.options.interval * 2 + self.options.timeout + spread + Duration::from_secs(5);
        let now = self.clock.now();
        let unread = self.watched.values().filter(|watched| watched.state.unknown.is_some()).count();
        let (count, issues) = (self.watched.len(), self.issues.len());
        let monitors = counted(count as u64, "monitor");
        let status = format!("{monitors}, {issues} with issues, {unread} unreadable");
        self.cycle.all_polled |= self.watched.values().all(|watched| watched.polled);
        // The daemon does not report readiness before it has polled.
        let late = self.cycle.started.is_some_and(|started| started.elapsed() >= FIRST_ROUND);
        let ready = self.cycle.all_polled || late;
        self.board.update(|board| {
            board.cycles.finished += 1;
            board.cycles.finished_at = ready.then_some(now);
            board.cycles.max_age = max_age;
        });
        if ready {
            (self.options.on_tick)(&status);
        }
    }

    fn log_network(&mut self) {
        let all_failed = self.cycle.polls > 1 && self.cycle.network_failures == self.cycle.polls;
        if all_failed && !self.cycle.offline {
            tracing::error!(
                target: "MainOrchestrator",
                "None of {} status pages can be reached: the local network is the likely cause. The last known state is held.",
                self.cycle.polls
            );
        } else if self.cycle.offline && self.cycle.polls > 0 && !all_failed {
            tracing::info!(target: "MainOrchestrator", "Status pages can be reached again.");
        }
        if self.cycle.polls > 0 {
            self.cycle.offline = all_failed;
        }
    }

    fn log_summary(&mut self) {
        let summary = self.summary();
        let unchanged = self.cycle.logged.as_ref().is_some_and(|(last, _)| *last == summary);
        if self.watched.is_empty() || unchanged && !self.cycle.repeat {
            return;
        }
        summary.log();
        self.cycle.logged = Some((summary, Instant::now()));
    }

    fn summary(&self) -> CycleSummary {
        let issues = self.issues.iter();
        let issues =
            issues.map(|i| format!("{}: {} (Severity: {})", i.monitor, i.description, i.severity)).collect();
        let names = |those: fn(&Watched) -> bool| -> Vec<String> {
            let found = self.watched.iter().filter(|(_, watched)| those(watched));
            found.map(|(name, _)| name.clone()).collect()
        };
        let unread = names(|watched| watched.state.unknown.is_some());
        let waiting = names(|watched| watched.state.unknown.is_none() && !watched.polled);
        CycleSummary { issues, unread, waiting }
    }
}

impl CycleSummary {
    fn log(&self) {
        let CycleSummary { issues, unread, waiting } = self;
        if !waiting.is_empty() {
            tracing::info!(target: "MainOrchestrator", "Waiting for the first poll result of: {}", some(waiting));
        }
        match (issues.is_empty(), unread.is_empty()) {
            (true, true) if !waiting.is_empty() => {}
            (true, true) => tracing::info!(target: "MainOrchestrator", "All services operational."),
            (true, false) => {
                tracing::warn!(target: "MainOrchestrator", "No issues detected; not readable: {}", some(unread));
            }
            (false, true) => {
                tracing::warn!(target: "MainOrchestrator", "Issues detected: {}", some(issues));
            }
            (false, false) => {
                tracing::warn!(target: "MainOrchestrator", "Issues detected: {}; not readable: {}", some(issues), some(unread));
            }
        }
    }
}

/// A list that is shortened to stay readable in one line.
fn some(items: &[String]) -> String {
    const SHOWN: usize = 20;
    let mut line = items[..items.len().min(SHOWN)].join(", ");
    if items.len() > SHOWN {
        line.push_str(&format!(" and {} more", items.len() - SHOWN));
    }
    line
}
