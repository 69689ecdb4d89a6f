//! Channel for the last complete run of each connector and for what tenants show of it: from the jobs to the deliveries,
//! and from both to the watcher, which judges the age of the data.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

/// What is known of each connector's data.
pub(in crate::runtime) type Successes = BTreeMap<String, DataAge>;

#[derive(Debug, Clone, Default, PartialEq)]
pub struct DataAge {
    /// Start of the last complete run.
    pub(in crate::runtime) success: Option<Timestamp>,
    /// Interval between runs.
    pub(in crate::runtime) every: Option<Duration>,
    /// Whether the run history was read, or a run ended.
    pub(in crate::runtime) known: bool,
    /// By tenant, the start of the run whose data it shows.
    delivered: BTreeMap<String, Option<Timestamp>>,
}

impl DataAge {
    /// Whether a tenant gets the data.
    pub(in crate::runtime) fn is_delivered(&self) -> bool {
        !self.delivered.is_empty()
    }

    /// The start of the run whose data all tenants show.
    pub(in crate::runtime) fn delivered_as_of(&self) -> Option<Timestamp> {
        self.delivered.values().copied().min().flatten()
    }
}

/// Sending end of the channel. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct LastSuccesses(watch::Sender<Successes>);

impl LastSuccesses {
    pub(in crate::runtime) fn subscribe(&self) -> watch::Receiver<Successes> {
        self.0.subscribe()
    }

    /// Records a run that this daemon completed.
    pub(in crate::runtime) fn record(&self, connector: &str, started: Timestamp) {
        self.0.send_modify(|all| {
            let age = all.entry(connector.to_owned()).or_default();
            (age.success, age.known) = (Some(started), true);
        });
    }

    /// Records what a tenant shows; `None` if it shows nothing yet.
    pub(in crate::runtime) fn deliver(&self, connector: &str, tenant: &str, as_of: Option<Timestamp>) {
        self.0.send_if_modified(|all| {
            let delivered = &mut all.entry(connector.to_owned()).or_default().delivered;
            delivered.insert(tenant.to_owned(), as_of) != Some(as_of)
        });
    }

    /// Removes a tenant that gets the data no more.
    pub(in crate::runtime) fn end_delivery(&self, connector: &str, tenant: &str) {
        self.0.send_if_modified(|all| {
            all.get_mut(connector).is_some_and(|age| age.delivered.remove(tenant).is_some())
        });
    }

    /// Records the interval between runs. Must come before the first run, so that late data is described in the same words
    /// from the start.
    pub(in crate::runtime) fn expect(&self, connector: &str, every: Duration) {
        self.0.send_if_modified(|all| {
            let age = all.entry(connector.to_owned()).or_default();
            age.every.replace(every) != Some(every)
        });
    }

    /// Merges a complete run from the run history, which may be older than the recorded one. Returns the later of the two.
    pub(in crate::runtime) fn merge(&self, connector: &str, started: Option<Timestamp>) -> Option<Timestamp> {
        let mut latest = started;
        // In one step, because a run may end concurrently.
        self.0.send_modify(|all| {
            let age = all.entry(connector.to_owned()).or_default();
            latest = latest.max(age.success);
            (age.success, age.known) = (latest, true);
        });
        latest
    }

    /// Removes connectors that no longer exist.
    pub(in crate::runtime) fn retain(&self, is_there: impl Fn(&str) -> bool) {
        self.0.send_modify(|all| all.retain(|connector, _| is_there(connector)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_run_of_the_history_replaces_no_newer_one() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let successes = LastSuccesses::default();
        let seen = successes.subscribe();
        assert_eq!(successes.merge("shop", None), None);
        successes.expect("shop", Duration::from_secs(900));
        assert_eq!(
            seen.borrow()["shop"],
            DataAge {
                success: None,
                every: Some(Duration::from_secs(900)),
                known: true,
                ..DataAge::default()
            }
        );
        assert_eq!(successes.merge("shop", Some(at(10))), Some(at(10)));
        successes.record("shop", at(20));
        assert_eq!(successes.merge("shop", Some(at(15))), Some(at(20)));
        assert_eq!(successes.merge("shop", None), Some(at(20)));
        successes.retain(|connector| connector != "shop");
        assert!(seen.borrow().is_empty());
    }
}
