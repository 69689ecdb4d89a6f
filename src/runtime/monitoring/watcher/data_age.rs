//! Monitors of the age of a connector's data: their turn, which requests nothing.

use std::time::Duration;

use tokio::time::Instant;

use super::Watcher;
use crate::domain::monitoring::freshness;
use crate::domain::monitoring::monitor::{DataStage, Freshness, Monitor, MonitorSource};
use crate::domain::monitoring::observation::Observation;

/// At the start, the jobs read the run history at the same time as the first cycle. A monitor waits for it at most this long,
/// because the connector may be off.
const HISTORY_TIMEOUT: Duration = Duration::from_secs(60);
/// Interval at which it looks whether the run history was read.
pub(super) const HISTORY_CHECK: Duration = Duration::from_millis(500);

impl Watcher {
    /// Whether the run history of the monitor's connector has not been read yet. Judged before, data would have no age, and a
    /// banner about late data would be cleared and raised again.
    pub(super) fn awaits_history(&self, monitor: &Monitor) -> bool {
        let MonitorSource::Sync(rule) = &monitor.source else { return false };
        let known = self.successes.borrow().get(&rule.connector).is_some_and(|data| match rule.stage {
            DataStage::Synced => data.known,
            DataStage::Qlik => data.is_delivered(),
        });
        let age = Duration::try_from(self.clock.now().duration_since(self.started_at)).unwrap_or_default();
        !known && age < HISTORY_TIMEOUT
    }

    pub(super) fn judge_age(&mut self, name: &str, rule: &Freshness, now: Instant) {
        let data = self.successes.borrow().get(&rule.connector).cloned().unwrap_or_default();
        let at = self.clock.now();
        let as_of = match rule.stage {
            DataStage::Synced => data.success,
            DataStage::Qlik => data.delivered_as_of(),
        };
        let outcome = freshness::read(rule, as_of, data.every, at);
        let seen = Observation { monitor: name.to_owned(), at, outcome };
        self.take_in(name, &seen, Duration::ZERO, false, now);
    }
}
