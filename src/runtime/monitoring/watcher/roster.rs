//! The roster: the definitions of monitors. They are reloaded when the folder changed or on request, without blocking the
//! watcher. A reload with an error changes nothing.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::engine_search::EngineAdvice;
use super::tell::FailureLog;
use super::{Options, Watched, Watcher};
use crate::definitions::DefinitionError;
use crate::definitions::monitor::{self, DefinitionOrigin};
use crate::domain::monitoring::assess::MonitorState;
use crate::domain::monitoring::history::WatchedSince;
use crate::domain::monitoring::monitor::{Monitor, MonitorSource};
use crate::domain::monitoring::plan::Reach;
use crate::domain::monitoring::schedule;
use crate::domain::text::counted;
use crate::runtime::folder::FolderScan;

pub(super) type LoadedMonitors = Result<(Vec<Monitor>, DefinitionOrigin), Vec<DefinitionError>>;

/// The definitions as last loaded.
pub(in crate::runtime) struct MonitorRoster {
    pub(super) monitors: Vec<Monitor>,
    pub(super) origin: DefinitionOrigin,
    /// Monitors of which a poll finished since the start of the daemon.
    pub(super) polled: BTreeSet<String>,
}

impl MonitorRoster {
    /// Loads the definitions for a standby, which may have to take over when the folder is invalid or missing. `None` if they
    /// cannot be loaded now.
    pub(in crate::runtime) async fn read(options: &Options) -> Option<MonitorRoster> {
        let (folder, engines) = (options.folder.clone(), options.engines.clone());
        let read = tokio::task::spawn_blocking(move || monitor::load(&folder, &engines)).await;
        let (monitors, origin) = read.ok()?.ok()?;
        Some(MonitorRoster { monitors, origin, polled: BTreeSet::new() })
    }
}

impl Watcher {
    /// Loads the first definitions. No assessment may be published before: it would show that all services are operational.
    /// Returns `false` at a stop.
    pub(super) async fn begin(&mut self, stop: &CancellationToken) -> bool {
        if let Some(MonitorRoster { monitors, origin, polled }) = self.roster.take() {
            self.origin = Some(origin);
            self.apply(monitors, true);
            for (name, watched) in &mut self.watched {
                watched.polled = polled.contains(name);
            }
            self.folder.scan(true);
            return true;
        }
        loop {
            self.folder.scan(true);
            tokio::select! {
                () = stop.cancelled() => return false,
                found = self.folder.found() => self.reload(found, true),
            }
            if self.origin.is_some() {
                return true;
            }
            tokio::select! {
                () = stop.cancelled() => return false,
                () = tokio::time::sleep(self.options.interval) => {}
            }
        }
    }

    /// Applies loaded definitions, or logs every error and keeps the last valid ones.
    pub(super) fn reload(&mut self, found: Option<FolderScan<LoadedMonitors>>, first: bool) {
        let Some(FolderScan { there, read }) = found else { return };
        let now = self.clock.now();
        if self.origin == Some(DefinitionOrigin::Folder) && !there {
            tracing::error!(target: "MainOrchestrator", "MONITORS_DIR {} is missing; the last valid set stays in use.", self.folder.path().display());
            self.board.update(|board| board.definitions = (false, now));
            return;
        }
        match read {
            // A folder may be empty briefly while a volume is being replaced.
            Ok((_, DefinitionOrigin::EmptyFolder)) if self.origin == Some(DefinitionOrigin::Folder) => {
                tracing::error!(target: "MainOrchestrator", "MONITORS_DIR {} is empty; the last valid set stays in use.", self.folder.path().display());
                self.board.update(|board| board.definitions = (false, now));
            }
            Ok((monitors, origin)) => {
                if first && origin == DefinitionOrigin::EmptyFolder {
                    tracing::warn!(target: "MainOrchestrator", "{}", monitor::empty(self.folder.path()));
                }
                if first && origin == DefinitionOrigin::BuiltIn {
                    let folder = self.folder.path().display();
                    tracing::info!(target: "MainOrchestrator", "No folder {folder}: using the built-in monitors.");
                }
                self.origin = Some(origin);
                self.board.update(|board| board.definitions = (true, now));
                self.apply(monitors, first);
            }
            Err(errors) => {
                for error in &errors {
                    tracing::error!(target: "MainOrchestrator", "{error}");
                }
                if !first {
                    tracing::error!(target: "MainOrchestrator", "The monitor definitions were not reloaded; the last valid set stays in use.");
                }
                self.board.update(|board| board.definitions = (false, now));
            }
        }
    }

    fn apply(&mut self, monitors: Vec<Monitor>, first: bool) {
        let mut removed = std::mem::take(&mut self.watched);
        let count = monitors.len();
        let mut changes = Vec::new();
        let mut fresh = BTreeSet::new();
        for monitor in monitors {
            let name = monitor.name.clone();
            match removed.remove(&name) {
                Some(same) if same.monitor == monitor => {
                    self.watched.insert(name, same);
                    continue;
                }
                Some(old) => {
                    changes.push(format!("changed {name}"));
                    let watched = self.changed(old, monitor);
                    self.watched.insert(name.clone(), watched);
                }
                None => {
                    changes.push(format!("added {name}"));
                    let watched = self.added(&name, monitor);
                    self.watched.insert(name.clone(), watched);
                }
            }
            fresh.insert(name);
        }
        changes.extend(removed.keys().map(|name| format!("removed {name}")));
        // Their states must not be used for a later monitor of the same name.
        let mut forgotten: Vec<String> = std::mem::take(&mut self.saved_states).into_keys().collect();
        forgotten.extend(removed.into_keys());
        if !forgotten.is_empty() {
            self.unsaved_changes.states.retain(|name, _| !forgotten.contains(name));
            let store = self.store.clone();
            self.saving.spawn(async move { (Arc::default(), store.forget(forgotten).await) });
        }
        let known = &self.watched;
        self.due.retain(|due| known.contains_key(&due.0.1) && !fresh.contains(&due.0.1));
        // New and changed monitors are polled in this cycle, spread like the others.
        let (now, spread) = (Instant::now(), schedule::spread(count, self.options.interval));
        let at = |name: &String| {
            known.get(name).map_or(now, |one| now + schedule::stagger(&one.spread_by(), spread))
        };
        self.due.extend(fresh.into_iter().map(|name| Reverse((at(&name), name))));
        self.polls.remove_unused_gates();
        self.stale_coverage = true;
        self.board.update(|board| {
            board.monitors.retain(|name, _| known.contains_key(name));
            for (name, watched) in known {
                let view = board.monitors.entry(name.clone()).or_default();
                view.address = watched.address();
                view.tags.clone_from(&watched.monitor.tags);
                view.muted_until = watched.monitor.muted_until;
                view.state = watched.state.clone();
                view.advice.clone_from(&watched.advice.text);
            }
        });
        if first {
            tracing::info!(target: "MainOrchestrator", "Polling {} every {:?}.", counted(count as u64, "monitor"), self.options.interval);
        } else if !changes.is_empty() {
            tracing::info!(target: "MainOrchestrator", "Monitor definitions reloaded: {}.", changes.join(", "));
            self.republish(Some(Instant::now()));
        }
    }

    fn added(&mut self, name: &str, monitor: Monitor) -> Watched {
        let definition = definition(&monitor);
        let saved = self.saved_states.remove(name).filter(|saved| saved.definition == definition);
        let unconfirmed = saved.is_some();
        let expired = saved.as_ref().is_some_and(|state| state.read_at.is_none() && state.unknown.is_some());
        Watched {
            slot: self.polls.slot(&monitor),
            monitor,
            state: saved.unwrap_or(MonitorState { definition, ..MonitorState::default() }),
            unconfirmed,
            expired,
            reach: Reach::Unpolled,
            failures: FailureLog::default(),
            polling: false,
            cycle: 0,
            not_before: None,
            pause_logged: false,
            polled: false,
            notes: Vec::new(),
            advice: EngineAdvice::default(),
            counted: WatchedSince::default(),
        }
    }

    /// Keeps the state unless the definition now reads another status page or maps severities differently.
    fn changed(&mut self, old: Watched, monitor: Monitor) -> Watched {
        let same_source = old.monitor.source == monitor.source && old.monitor.remap == monitor.remap;
        let fresh = MonitorState { definition: definition(&monitor), ..MonitorState::default() };
        let state = if same_source { old.state } else { fresh };
        Watched {
            slot: self.polls.slot(&monitor),
            monitor,
            state,
            unconfirmed: old.unconfirmed && same_source,
            expired: old.expired && same_source,
            reach: if same_source { old.reach } else { Reach::Unpolled },
            failures: FailureLog::default(),
            polling: false,
            cycle: 0,
            not_before: old.not_before.filter(|_| same_source),
            pause_logged: old.pause_logged && same_source,
            polled: old.polled,
            notes: Vec::new(),
            advice: EngineAdvice::default(),
            counted: WatchedSince::default(),
        }
    }
}

/// Fingerprint of a definition's source and severity mapping. Thresholds and intervals do not count.
fn definition(monitor: &Monitor) -> u64 {
    schedule::hash(&format!("{:?} {:?}", monitor.source, monitor.remap))
}

impl Watched {
    /// What distributes the polls over the interval. Monitors of one page are polled at the same time, so that they share its
    /// documents.
    pub(super) fn spread_by(&self) -> String {
        match &self.monitor.source {
            MonitorSource::Page(page) => page.root.to_string(),
            MonitorSource::Sync(_) => self.monitor.name.clone(),
        }
    }

    fn address(&self) -> String {
        match &self.monitor.source {
            MonitorSource::Page(page) => page.root.to_string(),
            MonitorSource::Sync(rule) => format!("sync {}", rule.connector),
        }
    }
}
