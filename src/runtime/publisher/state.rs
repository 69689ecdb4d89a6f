//! What the publisher remembers, saves, shows and tells of the banner and of the tenant's clock.

use jiff::{SignedDuration, Timestamp};

use super::{Attempts, Publisher};
use crate::domain::banner::Banner;
use crate::domain::plan::{Desired, Keep, Memory, Shown};

/// From here on a difference of clocks is an error of one of them, and told.
const SKEW_TOLD: SignedDuration = SignedDuration::from_secs(30);

/// Below this it may come from the whole seconds of the tenant's date, and from the answer's way.
const SKEW_LEAST: SignedDuration = SignedDuration::from_secs(2);

impl Publisher {
    /// Compares the tenant's clock with ours. The tenant decides by its own whether people see a banner.
    pub(super) fn read_clock(&mut self) {
        let Some(theirs) = self.target.time() else { return };
        let measured = theirs.duration_since(self.clock.now());
        let skew = if measured.abs() < SKEW_LEAST { SignedDuration::ZERO } else { measured };
        // Measured anew each time, it would move the windows of the same banner.
        if (skew - self.skew).abs() < SKEW_LEAST {
            let skew = self.skew;
            self.board.update(|board| board.banner.clock_skew = Some(skew));
            return;
        }
        let (before, now) = (self.skew.abs() > SKEW_TOLD, skew.abs() > SKEW_TOLD);
        self.skew = skew;
        if now && !before {
            let (seconds, how) =
                (skew.as_secs().abs(), if skew.is_negative() { "ahead of" } else { "behind" });
            tracing::warn!(target: "QlikClient", "The clock of this machine is {seconds} s {how} the tenant's; start and end of the banner follow the tenant's clock. Check the time synchronisation.");
        } else if before && !now {
            tracing::info!(target: "QlikClient", "The clock of this machine and the tenant's agree again.");
        }
        self.board.update(|board| board.banner.clock_skew = Some(skew));
    }

    /// The present moment by the tenant's clock.
    pub(super) fn tenant_time(&self) -> Timestamp {
        let now = self.clock.now();
        now.checked_add(self.skew).unwrap_or(now)
    }

    /// Takes over the memory that goes with a step. A manual banner that ours displaces, that another one replaced, or
    /// that nobody sees any more is told in full: the log is the second place where it is not lost.
    pub(super) fn take_in(&mut self, memory: Memory, shown: Option<&Shown>, replaces: Option<Banner>) {
        self.unsaved |= memory != self.memory;
        let before = std::mem::replace(&mut self.memory, memory);
        if let Some(replaced) = replaces {
            tracing::info!(target: "QlikClient", "Replacing a manual banner that is disabled or over: {}", full(&replaced));
        }
        if before.displaced == self.memory.displaced {
            return;
        }
        if let Some(theirs) = &self.memory.displaced {
            tracing::info!(target: "QlikClient", "Displacing a manual banner for the incident: {}", full(theirs));
        }
        let returned = |old: &Banner| {
            shown.is_some_and(|shown| shown.banner.same_content(old) && shown.banner.enabled == old.enabled)
        };
        if let Some(old) =
            before.displaced.as_ref().filter(|old| old.has_time_left(self.tenant_time()) && !returned(old))
        {
            tracing::info!(target: "QlikClient", "Another manual banner replaced the one that was to be restored: {}", full(old));
        }
    }

    /// Notes that the tenant does not show what it should, as far as is known while it cannot be read.
    pub(super) fn note_pending(&self, desired: &Desired, attempts: &Attempts) {
        let unfulfilled = match &attempts.settled {
            Some(settled) => *settled != desired.held.key(),
            None => !desired.held.key().is_empty() || self.memory.holding,
        };
        if unfulfilled {
            let now = self.clock.now();
            self.board.update(|board| {
                board.banner.owed_since.get_or_insert(now);
            });
        }
    }

    pub(super) fn show(&self, shown: Option<&Shown>, why: Keep) {
        let now = self.clock.now();
        self.board.update(|board| {
            let view = &mut board.banner;
            view.shown = shown.map(|s| s.banner.clone());
            view.ours = self.memory.holding;
            view.answered_at = Some(now);
            view.trouble = None;
            view.avoided += 1;
            if why.settled() {
                view.owed_since = None;
            } else {
                view.owed_since.get_or_insert(now);
            }
        });
    }

    /// Saves what is remembered of the banner. Returns whether it is saved.
    pub(super) async fn save(&mut self) -> bool {
        let Some(tenant) = self.tenant.as_ref().filter(|_| self.unsaved) else { return true };
        let saved = self.store.keep_memory(tenant, self.memory.clone()).await;
        self.unsaved = saved.is_err();
        let trouble = saved.err().map(|e| e.to_string());
        let new = self.board.read(|board| board.banner.memory_trouble.is_some()) != trouble.is_some();
        match &trouble {
            Some(e) if new => {
                let then = if self.right.is_lease() {
                    "nothing is written to the tenant"
                } else {
                    "the banner goes on from memory"
                };
                tracing::error!(target: "MainOrchestrator", "Cannot save the state of the banner: {e}. Until it can be saved {then}.");
            }
            None if new => {
                tracing::info!(target: "MainOrchestrator", "The state of the banner is saved again.");
            }
            Some(_) | None => {}
        }
        if new {
            self.board.update(|board| board.banner.memory_trouble = trouble);
        }
        !self.unsaved
    }
}

pub(super) fn full(banner: &Banner) -> String {
    serde_json::to_string(banner).unwrap_or_else(|_| banner.message.clone())
}
