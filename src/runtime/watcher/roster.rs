//! The roster: which monitors there are. Re-read beside the watching when the folder changed or somebody asks; a set
//! with a mistake in it changes nothing.

use std::cmp::Reverse;
use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::folder::Found;
use super::{Options, Watched, Watcher};
use crate::definitions::Mistake;
use crate::definitions::monitor::{self, Origin};
use crate::domain::assess::MonitorState;
use crate::domain::history::Counted;
use crate::domain::monitor::{Monitor, Source};
use crate::domain::plan::Reach;
use crate::domain::schedule;

/// What a reading of the folder gives.
pub(super) type Loaded = Result<(Vec<Monitor>, Origin), Vec<Mistake>>;

/// The definitions as they were read last.
pub(in super::super) struct Roster {
    pub(super) monitors: Vec<Monitor>,
    pub(super) origin: Origin,
}

impl Roster {
    /// Reads them, for a daemon that may have to take over when the folder is broken or gone; `None` if it is now.
    pub(in super::super) async fn read(options: &Options) -> Option<Roster> {
        let folder = options.folder.clone();
        let read = tokio::task::spawn_blocking(move || monitor::load(&folder)).await;
        let (monitors, origin) = read.ok()?.ok()?;
        Some(Roster { monitors, origin })
    }
}

impl Watcher {
    /// Takes over the first set of definitions. Nothing may be concluded before: it would look as if all was well.
    /// `false` at a stop.
    pub(super) async fn begin(&mut self, stop: &CancellationToken) -> bool {
        if let Some(Roster { monitors, origin }) = self.roster.take() {
            self.origin = Some(origin);
            self.take_over(monitors, true);
            self.folder.look(true);
            return true;
        }
        loop {
            self.folder.look(true);
            tokio::select! {
                () = stop.cancelled() => return false,
                found = self.folder.found() => self.read_again(found, true),
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

    /// Takes over what was read, or tells every mistake and keeps the last good set.
    pub(super) fn read_again(&mut self, found: Option<Found<Loaded>>, first: bool) {
        let Some(Found { there, read }) = found else { return };
        let now = self.clock.now();
        if self.origin == Some(Origin::Folder) && !there {
            tracing::error!(target: "MainOrchestrator", "MONITORS_DIR {} is gone; the last valid set stays in use.", self.folder.path().display());
            self.board.update(|board| board.definitions = (false, now));
            return;
        }
        match read {
            // While a volume is being replaced, a folder may be empty for a moment.
            Ok((_, Origin::EmptyFolder)) if self.origin == Some(Origin::Folder) => {
                tracing::error!(target: "MainOrchestrator", "MONITORS_DIR {} is empty; the last valid set stays in use.", self.folder.path().display());
                self.board.update(|board| board.definitions = (false, now));
            }
            Ok((monitors, origin)) => {
                if first && origin == Origin::EmptyFolder {
                    tracing::warn!(target: "MainOrchestrator", "{}", monitor::empty(self.folder.path()));
                }
                if first && origin == Origin::BuiltIn {
                    let folder = self.folder.path().display();
                    tracing::info!(target: "MainOrchestrator", "No folder {folder}: watching the built-in monitors.");
                }
                self.origin = Some(origin);
                self.board.update(|board| board.definitions = (true, now));
                self.take_over(monitors, first);
            }
            Err(mistakes) => {
                for mistake in &mistakes {
                    tracing::error!(target: "MainOrchestrator", "{mistake}");
                }
                if !first {
                    tracing::error!(target: "MainOrchestrator", "The monitor definitions were not reloaded; the last valid set stays in use.");
                }
                self.board.update(|board| board.definitions = (false, now));
            }
        }
    }

    fn take_over(&mut self, monitors: Vec<Monitor>, first: bool) {
        let mut gone = std::mem::take(&mut self.watched);
        let count = monitors.len();
        let mut changes = Vec::new();
        let mut fresh = std::collections::BTreeSet::new();
        for monitor in monitors {
            let name = monitor.name.clone();
            match gone.remove(&name) {
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
        changes.extend(gone.keys().map(|name| format!("removed {name}")));
        // What was believed of them must not come back with a later monitor of that name.
        let mut forgotten: Vec<String> = std::mem::take(&mut self.kept).into_keys().collect();
        forgotten.extend(gone.into_keys());
        if !forgotten.is_empty() {
            self.unkept.states.retain(|name, _| !forgotten.contains(name));
            let store = self.store.clone();
            self.saving.spawn(async move { (Arc::default(), store.forget(forgotten).await) });
        }
        let known = &self.watched;
        self.due.retain(|due| known.contains_key(&due.0.1) && !fresh.contains(&due.0.1));
        // New and changed monitors are looked at in this cycle, spread like the others.
        let (now, spread) = (Instant::now(), schedule::spread(count, self.options.interval));
        self.due
            .extend(fresh.into_iter().map(|name| Reverse((now + schedule::stagger(&name, spread), name))));
        self.looks.forget_unused();
        self.stale_coverage = true;
        self.board.update(|board| {
            board.monitors.retain(|name, _| known.contains_key(name));
            for (name, watched) in known {
                let view = board.monitors.entry(name.clone()).or_default();
                view.address = watched.address();
                view.state = watched.state.clone();
            }
        });
        if first {
            tracing::info!(target: "MainOrchestrator", "Watching {count} monitors every {:?}.", self.options.interval);
        } else if !changes.is_empty() {
            tracing::info!(target: "MainOrchestrator", "Monitor definitions reloaded: {}.", changes.join(", "));
            self.republish(Some(Instant::now()));
        }
    }

    fn added(&mut self, name: &str, monitor: Monitor) -> Watched {
        let definition = definition(&monitor);
        let kept = self.kept.remove(name).filter(|kept| kept.definition == definition);
        let unconfirmed = kept.is_some();
        Watched {
            slot: self.looks.slot(&monitor),
            monitor,
            state: kept.unwrap_or(MonitorState { definition, ..MonitorState::default() }),
            unconfirmed,
            reach: Reach::Unpolled,
            told: 0,
            looking: false,
            cycle: 0,
            not_before: None,
            pause_told: false,
            notes: Vec::new(),
            counted: Counted::default(),
        }
    }

    /// What was believed of another page says nothing of this one; other changes keep it.
    fn changed(&mut self, old: Watched, monitor: Monitor) -> Watched {
        let same_source = old.monitor.source == monitor.source && old.monitor.remap == monitor.remap;
        let fresh = MonitorState { definition: definition(&monitor), ..MonitorState::default() };
        let state = if same_source { old.state } else { fresh };
        Watched {
            slot: self.looks.slot(&monitor),
            monitor,
            state,
            unconfirmed: old.unconfirmed && same_source,
            reach: if same_source { old.reach } else { Reach::Unpolled },
            told: 0,
            looking: false,
            cycle: 0,
            not_before: old.not_before.filter(|_| same_source),
            pause_told: old.pause_told && same_source,
            notes: Vec::new(),
            counted: Counted::default(),
        }
    }
}

/// Tells definitions apart by what they read and how; thresholds and intervals do not count.
fn definition(monitor: &Monitor) -> u64 {
    schedule::hash(&format!("{:?} {:?}", monitor.source, monitor.remap))
}

impl Watched {
    fn address(&self) -> String {
        match &self.monitor.source {
            Source::Page(page) => page.root.to_string(),
            Source::Sync(rule) => format!("sync {}", rule.connector),
        }
    }
}
