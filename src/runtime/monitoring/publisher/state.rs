//! State of the publisher: saves and shows the state of the banner, and measures the tenant's clock.

use jiff::{SignedDuration, Timestamp};

use super::{Attempts, Publisher};
use crate::domain::monitoring::banner::Banner;
use crate::domain::monitoring::banner::report::BannerReport;
use crate::domain::monitoring::plan::{BannerState, Desired, Keep, Shown};
use crate::runtime::board::BannerView;
use crate::store::KeepError;

/// A larger difference of the clocks is logged as an error of one of them.
const MAX_SKEW: SignedDuration = SignedDuration::from_secs(30);

/// A smaller difference may be caused by latency and by the whole seconds of the tenant's date.
const MIN_SKEW: SignedDuration = SignedDuration::from_secs(2);

impl Publisher {
    /// Compares the tenant's clock with the clock of this machine. The tenant's clock decides whether a banner is visible.
    pub(super) fn read_clock(&mut self) {
        let Some(theirs) = self.tenant.target.time() else { return };
        let measured = theirs.duration_since(self.context.clock.now());
        let skew = if measured.abs() < MIN_SKEW { SignedDuration::ZERO } else { measured };
        // A new value for each measurement would move the window of the same banner.
        if (skew - self.skew).abs() < MIN_SKEW {
            let skew = self.skew;
            self.view(|view| view.clock_skew = Some(skew));
            return;
        }
        let (before, now) = (self.skew.abs() > MAX_SKEW, skew.abs() > MAX_SKEW);
        self.skew = skew;
        if now && !before {
            let (seconds, how) =
                (skew.as_secs().abs(), if skew.is_negative() { "ahead of" } else { "behind" });
            tracing::warn!(target: "QlikClient", "The clock of this machine is {seconds} s {how} the tenant's; start and end of the banner follow the tenant's clock. Check the time synchronisation.");
        } else if before && !now {
            tracing::info!(target: "QlikClient", "The clock of this machine and the tenant's agree again.");
        }
        self.view(|view| view.clock_skew = Some(skew));
    }

    /// The current time by the tenant's clock.
    pub(super) fn tenant_time(&self) -> Timestamp {
        let now = self.context.clock.now();
        now.checked_add(self.skew).unwrap_or(now)
    }

    /// Applies the state that follows from a step. Manual banners that are displaced or replaced are logged in full, so that
    /// they can be restored by hand.
    pub(super) fn take_in(&mut self, state: BannerState, shown: Option<&Shown>, replaces: Option<Banner>) {
        self.unsaved |= state != self.banner_state;
        let before = std::mem::replace(&mut self.banner_state, state);
        if let Some(replaced) = replaces {
            tracing::info!(target: "QlikClient", "Replacing a manual banner that is disabled or expired: {}", full(&replaced));
        }
        if before.displaced == self.banner_state.displaced {
            return;
        }
        if let Some(theirs) = &self.banner_state.displaced {
            tracing::info!(target: "QlikClient", "Displacing a manual banner for the incident: {}", full(theirs));
        }
        let returned = |old: &Banner| {
            shown.is_some_and(|shown| shown.banner.same_content(old) && shown.banner.enabled == old.enabled)
        };
        if let Some(old) =
            before.displaced.as_ref().filter(|old| old.has_time_left(self.tenant_time()) && !returned(old))
        {
            tracing::info!(target: "QlikClient", "Another manual banner replaced the one to be restored: {}", full(old));
        }
    }

    /// Records that a write is pending, as far as that is known while the tenant cannot be read.
    pub(super) fn note_pending(&mut self, desired: &Desired, attempts: &Attempts) {
        let unfulfilled = match &attempts.settled {
            Some(settled) => *settled != desired.held.key(),
            None => !desired.held.key().is_empty() || self.banner_state.holding,
        };
        if unfulfilled {
            let since = self.pending_since();
            self.report(|report| report.pending_since = Some(since));
        }
    }

    /// Since when a write is pending; sets it to now if none was.
    pub(super) fn pending_since(&mut self) -> Timestamp {
        *self.pending_since.get_or_insert_with(|| self.context.clock.now())
    }

    pub(super) fn show(&mut self, shown: Option<&Shown>, why: Keep) {
        let now = self.context.clock.now();
        self.pending_since = if why.settled() { None } else { Some(self.pending_since()) };
        self.view(|view| view.avoided += 1);
        let (ours, pending_since) = (self.banner_state.holding, self.pending_since);
        self.report(|report| {
            report.shown = shown.map(|s| s.banner.clone());
            report.ours = ours;
            report.answered_at = Some(now);
            report.trouble = None;
            report.pending_since = pending_since;
        });
    }

    /// Changes what the board shows of the tenant.
    pub(super) fn report(&mut self, change: impl FnOnce(&mut BannerReport)) {
        change(&mut self.report);
        self.report.displaced.clone_from(&self.banner_state.displaced);
        let report = self.report.clone();
        self.view(|view| view.report = report);
    }

    /// Changes the board's view of this tenant.
    pub(super) fn view(&self, change: impl FnOnce(&mut BannerView)) {
        let (name, key) = (&self.tenant.rules.name, self.tenant.key());
        self.context.board.update(|board| {
            // A tenant that moves keeps its name, and its old address is left meanwhile.
            if let Some(view) = board.banners.get_mut(name).filter(|view| view.url == key) {
                change(view);
            }
        });
    }

    /// Saves what standbys show. A failure has no consequences, because each attempt saves it again.
    pub(super) async fn save_report(&mut self) {
        let shared = self.context.live && self.right.is_lease();
        if !shared || self.unsaved || self.saved_report.as_ref() == Some(&self.report) {
            return;
        }
        let _ = self.store_banner_state().await;
    }

    async fn store_banner_state(&mut self) -> Result<(), KeepError> {
        let report = self.right.is_lease().then(|| self.report.clone());
        let state = self.banner_state.clone();
        self.context.store.keep_banner_state(self.tenant.key(), state, report.clone()).await?;
        self.saved_report = report;
        Ok(())
    }

    /// Saves the state of the banner. Returns whether it is saved.
    pub(super) async fn save(&mut self) -> bool {
        if !self.context.live || !self.unsaved {
            return true;
        }
        let saved = self.store_banner_state().await;
        self.unsaved = saved.is_err();
        let trouble = saved.err().map(|e| e.to_string());
        let new = std::mem::replace(&mut self.save_failed, trouble.is_some()) != trouble.is_some();
        match &trouble {
            Some(e) if new => {
                let then = if self.right.is_lease() {
                    "nothing is written to the tenant"
                } else {
                    "the banner is updated without saving"
                };
                tracing::error!(target: "MainOrchestrator", "Cannot save the state of the banner: {e}. Until it can be saved, {then}.");
            }
            None if new => {
                tracing::info!(target: "MainOrchestrator", "The state of the banner can be saved again.");
            }
            Some(_) | None => {}
        }
        if new {
            self.view(|view| view.state_error = trouble);
        }
        !self.unsaved
    }
}

pub(super) fn full(banner: &Banner) -> String {
    serde_json::to_string(banner).unwrap_or_else(|_| banner.message.clone())
}
