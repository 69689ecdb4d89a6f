//! What the watcher saves in one transaction, and how batches that could not be saved are merged.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::monitoring::assess::{MonitorState, Transition};
use crate::domain::monitoring::history::DayTotals;
use crate::domain::monitoring::responses::{self, ResponseTotals};

/// Transitions that wait while the database is unavailable; beyond that, older ones are merged. About 1 kB each.
pub(super) const MAX_PENDING: usize = 2_000;

#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// By monitor.
    pub states: BTreeMap<String, MonitorState>,
    pub transitions: Vec<Transition>,
    /// Monitored time since the last batch; added to the stored totals.
    pub days: DayTotals,
    /// Response times since the last batch; added to the stored ones.
    pub responses: ResponseTotals,
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.states.is_empty()
            && self.transitions.is_empty()
            && self.days.is_empty()
            && self.responses.is_empty()
    }

    pub fn add(&mut self, transition: Transition) {
        self.transitions.push(transition);
        self.merge_oldest();
    }

    /// Counts the duration of a poll.
    pub fn add_poll(&mut self, monitor: &str, at: Timestamp, took: Duration, succeeded: bool) {
        let (date, hour) = responses::hour_of(at);
        let day = self.responses.entry((monitor.to_owned(), date)).or_default();
        day.0.entry(hour).or_default().record(took, succeeded);
    }

    /// If there are too many transitions, merges the older half into one per monitor: from its first state to its last.
    fn merge_oldest(&mut self) {
        if self.transitions.len() <= MAX_PENDING {
            return;
        }
        let newer = self.transitions.split_off(self.transitions.len() - MAX_PENDING / 2);
        let mut merged: BTreeMap<String, Transition> = BTreeMap::new();
        for transition in self.transitions.drain(..) {
            match merged.entry(transition.monitor.clone()) {
                Entry::Vacant(free) => drop(free.insert(transition)),
                Entry::Occupied(mut first) => {
                    let from = first.get().from;
                    first.insert(Transition { from, ..transition });
                }
            }
        }
        self.transitions = merged.into_values().filter(|merged| merged.from != merged.to).collect();
        self.transitions.sort_by_key(|merged| merged.at);
        self.transitions.extend(newer);
    }

    /// Merges an earlier batch that could not be saved into this one; newer states win.
    pub fn put_back(&mut self, mut earlier: Batch) {
        for (name, state) in earlier.states {
            self.states.entry(name).or_insert(state);
        }
        earlier.transitions.append(&mut self.transitions);
        self.transitions = earlier.transitions;
        for (key, day) in earlier.days {
            self.days.entry(key).or_default().add(&day);
        }
        for (key, day) in earlier.responses {
            self.responses.entry(key).or_default().add(&day);
        }
        self.merge_oldest();
    }
}
