//! Publishes the assessment, and how far each monitor has been polled since the start.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::{Watched, Watcher};
use crate::domain::monitoring::assess::Assessment;
use crate::domain::monitoring::plan::Reach;
use crate::domain::text;

impl Watcher {
    /// Publishes the assessment if it changed.
    pub(super) fn republish(&mut self, changed_at: Option<Instant>) {
        let now = self.clock.now();
        let muted = self.muted_at(now);
        let stale = std::mem::take(&mut self.stale_coverage) || muted != self.muted;
        self.muted = muted;
        let (watched, started_at, hold_for) = (&self.watched, self.started_at, self.options.hold_for);
        let counting = |held: bool| {
            let aged = |w: &Watched| w.is_aged(now, started_at, w.monitor.hold_for.unwrap_or(hold_for));
            let counts = |w: &Watched| !w.unconfirmed || (held && !aged(w));
            let muted = |name: &String| self.muted.contains(name);
            let counting = watched.iter().filter(|(name, watched)| counts(watched) && !muted(name));
            Assessment::of(
                counting.map(|(name, watched)| (name.as_str(), &*watched.monitor.tags, &watched.state)),
            )
        };
        let (confirmed, held) = (counting(false), counting(true));
        let shown = if self.show_saved { &held } else { &confirmed };
        self.issues.clone_from(&shown.issues);
        self.board.update(|board| board.issues.clone_from(&shown.issues));
        self.wanted.send_if_modified(|wanted| {
            // The first one is always sent, because the publisher waits for it.
            let changed =
                wanted.as_ref().is_none_or(|wanted| wanted.confirmed != confirmed || wanted.held != held);
            let wanted = wanted.get_or_insert_default();
            if stale {
                let reach = |(name, watched): (&String, &Watched)| (spelled(name), self.reach(name, watched));
                wanted.coverage = self.watched.iter().map(reach).collect();
            }
            if changed {
                (wanted.confirmed, wanted.held, wanted.changed_at) = (confirmed, held, changed_at);
            }
            changed || stale
        });
    }

    /// Drops states of an earlier run that are too old, and follows the end of a mute.
    pub(super) fn age(&mut self) {
        let now = self.clock.now();
        for watched in self.watched.values_mut().filter(|watched| watched.reach == Reach::Unread) {
            let hold_for = watched.monitor.hold_for.unwrap_or(self.options.hold_for);
            if watched.is_aged(now, self.started_at, hold_for) {
                (watched.reach, self.stale_coverage) = (Reach::Expired, true);
            }
        }
        if self.stale_coverage || self.muted_at(now) != self.muted {
            self.republish(None);
        }
    }

    fn muted_at(&self, now: Timestamp) -> BTreeSet<String> {
        let muted =
            |(name, watched): (&String, &Watched)| watched.monitor.is_muted(now).then(|| name.clone());
        self.watched.iter().filter_map(muted).collect()
    }

    fn reach(&self, name: &str, watched: &Watched) -> Reach {
        if self.muted.contains(name) { Reach::Muted } else { watched.reach }
    }

    /// Records how far a monitor has been polled. Receivers poll for first polls; they are notified of later ones.
    pub(super) fn cover(&self, name: &str) {
        let Some(watched) = self.watched.get(name) else { return };
        let reach = self.reach(name, watched);
        self.wanted.send_if_modified(|wanted| {
            let before = wanted.as_mut().and_then(|wanted| wanted.coverage.insert(spelled(name), reach));
            before.is_some_and(|before| before != Reach::Unpolled)
        });
    }
}

impl Watched {
    /// Whether its state is older than `hold_for`.
    fn is_aged(&self, now: Timestamp, started_at: Timestamp, hold_for: Duration) -> bool {
        let hold_for = SignedDuration::try_from(hold_for).unwrap_or(SignedDuration::MAX);
        now.duration_since(self.state.read_at.unwrap_or(started_at)) >= hold_for
    }

    pub(super) fn reach_at(
        &self,
        polled: bool,
        now: Timestamp,
        started_at: Timestamp,
        hold_for: Duration,
    ) -> Reach {
        let read = self.state.read_at.is_some() && !self.unconfirmed;
        match (polled, read) {
            (false, _) => Reach::Unpolled,
            _ if self.expired => Reach::Expired,
            (true, true) => Reach::Read,
            (true, false) if self.is_aged(now, started_at, hold_for) => Reach::Expired,
            (true, false) => Reach::Unread,
        }
    }
}

/// A monitor's name as it is spelled in messages.
fn spelled(name: &str) -> String {
    text::plain(name).into_owned()
}
