//! What people see of a delivery.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::step::ReloadOutcome;
use super::{DataRule, DeliveryStage, DeliveryState};

/// What a delivery is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DeliveryPhase {
    #[default]
    Idle,
    Uploading,
    Committing,
    Reloading,
}

impl DeliveryPhase {
    /// The word in pages and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            DeliveryPhase::Idle => "idle",
            DeliveryPhase::Uploading => "uploading",
            DeliveryPhase::Committing => "committing",
            DeliveryPhase::Reloading => "reloading",
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct DeliveryReport {
    pub connector: String,
    /// The space of the definition; `None` if apps are only reloaded.
    pub space: Option<String>,
    pub phase: DeliveryPhase,
    /// Start of the run whose data all apps show, or if none is reloaded, the space.
    pub as_of: Option<Timestamp>,
    /// From when the age of the data counts: the oldest data that an app or the space shows, or since when the first is awaited.
    pub age_from: Option<Timestamp>,
    /// Since when newer data waits.
    pub pending_since: Option<Timestamp>,
    /// The last failure, until an attempt succeeds.
    pub trouble: Option<String>,
    pub apps: BTreeMap<String, AppReport>,
}

/// What is known of an app's reloads.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AppReport {
    /// How the last awaited reload ended.
    pub outcome: Option<ReloadOutcome>,
    /// Why it failed, in the tenant's words.
    pub message: Option<String>,
    pub ended_at: Option<Timestamp>,
    /// Its id.
    pub reload: Option<String>,
    /// Start of the run whose data the app shows.
    pub as_of: Option<Timestamp>,
    /// The last failed request, until one succeeds.
    pub trouble: Option<String>,
}

impl AppReport {
    /// Why the app does not show the present data.
    fn problem(&self, app: &str) -> Option<String> {
        if let Some(trouble) = &self.trouble {
            return Some(format!("app {app}: {trouble}"));
        }
        let outcome = self.outcome.filter(|outcome| *outcome != ReloadOutcome::Succeeded)?;
        let message = self.message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
        Some(format!("the reload of app {app} ended {}{message}", outcome.as_str()))
    }
}

impl DeliveryState {
    pub fn report(&self, rule: &DataRule) -> DeliveryReport {
        let phase = self.current.as_ref().map_or(DeliveryPhase::Idle, |current| match current.stage {
            DeliveryStage::Uploading => DeliveryPhase::Uploading,
            DeliveryStage::Committing => DeliveryPhase::Committing,
            DeliveryStage::Reloading => DeliveryPhase::Reloading,
        });
        let app = |app: &String| self.apps.get(app).map(|one| one.report.clone()).unwrap_or_default();
        let apps: BTreeMap<String, AppReport> =
            rule.reload.iter().map(|name| (name.clone(), app(name))).collect();
        let as_of = if apps.is_empty() {
            self.committed_as_of
        } else {
            apps.values().map(|app| app.as_of).min().flatten()
        };
        let known = apps.values().filter_map(|app| app.as_of).min();
        let known = if apps.is_empty() { self.committed_as_of } else { known };
        let trouble = apps.iter().find_map(|(name, app)| app.problem(name));
        DeliveryReport {
            connector: rule.connector.clone(),
            space: rule.space.clone(),
            phase,
            as_of,
            age_from: known.or(self.awaited_since),
            pending_since: self.current.as_ref().map(|current| current.offered_at),
            trouble: self.trouble.clone().or(trouble),
            apps,
        }
    }
}
