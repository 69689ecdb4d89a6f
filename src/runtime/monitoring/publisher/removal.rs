//! When a publisher is done with a tenant that was removed.

use super::{Attempts, PublishOutcome, Publisher};

impl Publisher {
    /// A banner cannot be deleted: an answer without one, after the tenant stored one of ours, comes from something in between.
    pub(super) fn doubt_empty(&self, outcome: PublishOutcome) -> PublishOutcome {
        let stored = self.banner_state.ours.iter().any(|ours| ours.stored.is_some());
        match outcome {
            PublishOutcome::Settled { .. } if stored && self.report.shown.is_none() => {
                PublishOutcome::Unsettled
            }
            other => other,
        }
    }

    /// Whether nothing of the daemon is left in a removed tenant; `None` if it takes another attempt. Logs the end.
    pub(super) fn removal(&self, outcome: &PublishOutcome, attempts: &Attempts) -> Option<bool> {
        let (name, url) = (&self.tenant.rules.name, self.tenant.key());
        match outcome {
            PublishOutcome::Settled { .. } => {
                let left = if self.report.shown.as_ref().is_some_and(|banner| banner.enabled) {
                    "its manual banner stays"
                } else {
                    "it has no banner of this daemon"
                };
                tracing::info!(target: "QlikClient", "Tenant {name} at {url} was removed; {left}.");
                Some(true)
            }
            PublishOutcome::Failed(error) if error.is_permanent() && attempts.needs_a_person() => {
                tracing::warn!(target: "QlikClient", "Tenant {name} at {url} was removed, but its banner could not be cleared: {error}. The banner expires by itself; the state is kept in case the tenant is defined again.");
                Some(false)
            }
            PublishOutcome::Failed(_) | PublishOutcome::Unsettled => None,
        }
    }
}
