//! The cycle: what people who read the log see of the watching, once per interval.
//!
//! Nothing waits for a cycle's end: the banner follows each answer. The end is when all looks that were due have
//! ended, and at the latest when the next cycle begins.

use std::time::Duration;

use super::super::board::MonitorView;
use super::Watcher;
use crate::domain::observation::{Reading, Unknown};
use crate::domain::schedule;
use tokio::time::Instant;

/// A start counts as ready at the latest this long after it began, though some monitors have not answered yet.
const FIRST_ROUND: Duration = Duration::from_secs(60);

/// The cycle that runs.
#[derive(Default)]
pub(super) struct Cycle {
    /// Counted from 1.
    pub(super) number: u64,
    /// Since the last batch was kept, a cycle began: the time to try again what could not be kept.
    pub(super) just_begun: bool,
    pending: usize,
    open: bool,
    looks: usize,
    network_failures: usize,
    /// When the first cycle began.
    started: Option<Instant>,
    /// Each monitor answered or failed once.
    all_polled: bool,
    /// Told that our own network is the likely cause.
    offline: bool,
}

impl Cycle {
    /// Counts an answer that belongs to the running cycle.
    pub(super) fn count(&mut self, of: u64, running: u64, outcome: &Result<Reading, Unknown>) {
        if of == running {
            self.looks += 1;
            let ours = outcome.as_ref().err().is_some_and(Unknown::may_be_our_network);
            self.network_failures += usize::from(ours);
        }
        self.answered(of, running);
    }

    /// One of those the cycle waits for has ended, or will not begin.
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
            self.folder.look(false);
        }
        self.age();
        let now = Instant::now();
        let end = now + self.options.interval;
        self.cycle.number += 1;
        self.cycle.started.get_or_insert(now);
        self.cycle.just_begun = true;
        (self.cycle.looks, self.cycle.network_failures) = (0, 0);
        let number = self.cycle.number;
        let mut pending = 0;
        for due in &self.due {
            let (at, name) = &due.0;
            if let Some(watched) = self.watched.get_mut(name) {
                let waits = watched.not_before.is_some_and(|not_before| *at < not_before);
                if *at < end && !watched.looking && !waits {
                    watched.cycle = number;
                    pending += 1;
                }
            }
        }
        self.cycle.pending = pending;
        self.cycle.open = true;
        tracing::info!(target: "MainOrchestrator", "Checking services status...");
        self.finish_cycle_if_done();
    }

    pub(super) fn finish_cycle_if_done(&mut self) {
        if self.cycle.open && self.cycle.pending == 0 {
            self.finish_cycle();
        }
    }

    fn finish_cycle(&mut self) {
        self.cycle.open = false;
        self.tell_network();
        self.tell_summary();
        let spread = schedule::spread(self.watched.len(), self.options.interval);
        let patience = self.options.interval * 2 + self.options.timeout + spread + Duration::from_secs(5);
        let now = self.clock.now();
        let status = self.board.read(|board| {
            let unread = board.monitors.values().filter(|m| m.state.unknown.is_some()).count();
            self.cycle.all_polled |= board.monitors.values().all(|monitor| monitor.looks > 0);
            format!(
                "{} monitors, {} with issues, {unread} unreadable",
                board.monitors.len(),
                board.issues.len()
            )
        });
        // Before something was read nobody is told that the daemon does its work.
        let late = self.cycle.started.is_some_and(|started| started.elapsed() >= FIRST_ROUND);
        let ready = self.cycle.all_polled || late;
        self.board.update(|board| {
            board.cycles.finished += 1;
            board.cycles.finished_at = ready.then_some(now);
            board.cycles.patience = patience;
        });
        if ready {
            (self.options.on_tick)(&status);
        }
    }

    fn tell_network(&mut self) {
        let all_failed = self.cycle.looks > 1 && self.cycle.network_failures == self.cycle.looks;
        if all_failed && !self.cycle.offline {
            tracing::error!(
                target: "MainOrchestrator",
                "None of {} pages can be reached: the local network is the likely cause. The last known state is held.",
                self.cycle.looks
            );
        } else if self.cycle.offline && self.cycle.looks > 0 && !all_failed {
            tracing::info!(target: "MainOrchestrator", "Pages can be reached again.");
        }
        if self.cycle.looks > 0 {
            self.cycle.offline = all_failed;
        }
    }

    fn tell_summary(&self) {
        let (issues, unread, waiting) = self.board.read(|board| {
            let issues: Vec<String> = board
                .issues
                .iter()
                .map(|i| format!("{}: {} (Severity: {})", i.monitor, i.description, i.severity))
                .collect();
            let names = |those: fn(&MonitorView) -> bool| -> Vec<String> {
                let found = board.monitors.iter().filter(|(_, monitor)| those(monitor));
                found.map(|(name, _)| name.clone()).collect()
            };
            let unread = names(|monitor| monitor.state.unknown.is_some());
            let waiting = names(|monitor| monitor.state.unknown.is_none() && monitor.looks == 0);
            (issues, unread, waiting)
        });
        if !waiting.is_empty() {
            tracing::info!(target: "MainOrchestrator", "Waiting for the first answer of: {}", some(&waiting));
        }
        match (issues.is_empty(), unread.is_empty()) {
            (true, true) if !waiting.is_empty() || self.watched.is_empty() => {}
            (true, true) => tracing::info!(target: "MainOrchestrator", "All services operational."),
            (true, false) => {
                tracing::warn!(target: "MainOrchestrator", "No issues detected; not readable: {}", some(&unread));
            }
            (false, true) => {
                tracing::warn!(target: "MainOrchestrator", "Issues detected: {}", some(&issues));
            }
            (false, false) => {
                tracing::warn!(target: "MainOrchestrator", "Issues detected: {}; not readable: {}", some(&issues), some(&unread));
            }
        }
    }
}

/// A list that stays readable in one line.
fn some(items: &[String]) -> String {
    const SHOWN: usize = 20;
    let mut line = items[..items.len().min(SHOWN)].join(", ");
    if items.len() > SHOWN {
        line.push_str(&format!(" and {} more", items.len() - SHOWN));
    }
    line
}
