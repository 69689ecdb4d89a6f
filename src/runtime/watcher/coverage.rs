//! What the watcher passes on: the assessment, and how much of it rests on polls since the start.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::{Watched, Watcher};
use crate::domain::assess::Assessment;
use crate::domain::plan::Reach;
use crate::domain::text;

impl Watcher {
    /// Passes on what is believed of all, if that changed.
    pub(super) fn republish(&mut self, changed_at: Option<Instant>) {
        let now = self.clock.now();
        let (watched, begun_at, hold_for) = (&self.watched, self.begun_at, self.options.hold_for);
        let counting = |held: bool| {
            let aged = |w: &Watched| w.is_aged(now, begun_at, w.monitor.hold_for.unwrap_or(hold_for));
            let counts = |w: &Watched| !w.unconfirmed || (held && !aged(w));
            let counting = watched.iter().filter(|(_, watched)| counts(watched));
            Assessment::of(counting.map(|(name, watched)| (name.as_str(), &watched.state)))
        };
        let (confirmed, held) = (counting(false), counting(true));
        let shown = if self.kept_counts { &held } else { &confirmed };
        self.board.update(|board| board.issues.clone_from(&shown.issues));
        let stale = std::mem::take(&mut self.stale_coverage);
        self.wanted.send_if_modified(|wanted| {
            // The first is always sent: before it the publisher does nothing.
            let changed =
                wanted.as_ref().is_none_or(|wanted| wanted.confirmed != confirmed || wanted.held != held);
            let wanted = wanted.get_or_insert_default();
            if stale {
                let reach = |(name, watched): (&String, &Watched)| (spelled(name), watched.reach);
                wanted.coverage = self.watched.iter().map(reach).collect();
            }
            if changed {
                (wanted.confirmed, wanted.held, wanted.changed_at) = (confirmed, held, changed_at);
            }
            changed
        });
    }

    /// Lets go of what an earlier run believed where it is too old.
    pub(super) fn age(&mut self) {
        let now = self.clock.now();
        for watched in self.watched.values_mut().filter(|watched| watched.reach == Reach::Unread) {
            let hold_for = watched.monitor.hold_for.unwrap_or(self.options.hold_for);
            if watched.is_aged(now, self.begun_at, hold_for) {
                (watched.reach, self.stale_coverage) = (Reach::Read, true);
            }
        }
        if self.stale_coverage {
            self.republish(None);
        }
    }

    /// Notes how far a monitor has been polled. Nobody is woken for it.
    pub(super) fn cover(&self, name: &str, reach: Reach) {
        self.wanted.send_if_modified(|wanted| {
            if let Some(wanted) = wanted {
                wanted.coverage.insert(spelled(name), reach);
            }
            false
        });
    }
}

impl Watched {
    /// Whether what is known of it is too old to hold anything.
    fn is_aged(&self, now: Timestamp, begun_at: Timestamp, hold_for: Duration) -> bool {
        let hold_for = SignedDuration::try_from(hold_for).unwrap_or(SignedDuration::MAX);
        now.duration_since(self.state.read_at.unwrap_or(begun_at)) >= hold_for
    }

    pub(super) fn reach_at(
        &self,
        polled: bool,
        now: Timestamp,
        begun_at: Timestamp,
        hold_for: Duration,
    ) -> Reach {
        let read = self.state.read_at.is_some() && !self.unconfirmed;
        match (polled, read) {
            (false, _) => Reach::Unpolled,
            (true, false) if !self.is_aged(now, begun_at, hold_for) => Reach::Unread,
            (true, _) => Reach::Read,
        }
    }
}

/// A monitor's name as messages spell it.
fn spelled(name: &str) -> String {
    text::plain(name).into_owned()
}
