//! Detects settings that changed since the daemon started. A reload does not apply them.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};

use crate::commands::setting_flags::SettingFlags;
use crate::settings::{VARIABLES, Vars, lookup};

/// The settings at the start, as hashes, so that no copy of a secret is stored.
pub(in crate::commands) struct ChangedSettings {
    flags: SettingFlags,
    hasher: RandomState,
    started_with: BTreeMap<String, Option<u64>>,
}

impl ChangedSettings {
    pub(crate) fn new(flags: &SettingFlags) -> ChangedSettings {
        #[expect(clippy::disallowed_methods, reason = "no other process can guess a secret from its hash")]
        let hasher = RandomState::new();
        let (started_with, _) = fingerprints(&flags.process_vars(), &hasher);
        ChangedSettings { flags: flags.clone(), hasher, started_with }
    }

    /// Logs the settings that need a restart and those that are now invalid. Values are not logged.
    pub(crate) fn report(&self) {
        let (now, problems) = fingerprints(&self.flags.process_vars(), &self.hasher);
        let changed: Vec<&str> = now
            .iter()
            .filter(|(name, value)| self.started_with.get(*name) != Some(*value))
            .map(|(name, _)| name.as_str())
            .collect();
        if !changed.is_empty() {
            let names = changed.join(", ");
            tracing::warn!(target: "MainOrchestrator", "SIGHUP: {names} changed; restart the daemon to apply it.");
        }
        for problem in problems {
            tracing::warn!(target: "MainOrchestrator", "SIGHUP: {problem}");
        }
    }
}

/// Returns the hash of each setting and the settings that cannot be read. Proxy variables have a lower-case spelling too.
fn fingerprints(vars: &dyn Vars, hasher: &RandomState) -> (BTreeMap<String, Option<u64>>, Vec<String>) {
    let mut problems: Vec<String> = vars.problems().iter().map(ToString::to_string).collect();
    let lower_case = VARIABLES.iter().map(|v| v.name).filter(|name| name.ends_with("_PROXY"));
    let names = VARIABLES.iter().map(|v| v.name.to_owned()).chain(lower_case.map(str::to_ascii_lowercase));
    let mut found = BTreeMap::new();
    for name in names {
        match lookup(vars, &name) {
            Ok(value) => drop(found.insert(name, value.map(|value| hasher.hash_one(value)))),
            Err(problem) => problems.push(problem.to_string()),
        }
    }
    (found, problems)
}
