//! Everything that the daemon would refuse or ignore, found before it starts: what `validate` prints and what `run`
//! refuses are the same, in the same words. No request is sent.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Serialize;

use super::{CommandError, compose, connectors, data_dir};
use crate::definitions::connector;
use crate::definitions::monitor::{self, Origin};
use crate::domain::config::{BASE_URL, EVERY, TOKEN_URL, variable};
use crate::domain::monitor::{Monitor, Source};
use crate::log_file;
use crate::settings::{Settings, Vars, unknown_names};
use crate::telemetry;

/// What was found.
pub(super) struct Preflight {
    /// The settings; only to be used without mistakes.
    pub(super) settings: Settings,
    pub(super) report: Report,
}

/// What there is to tell, for people and programs.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    pub(super) mistakes: Vec<String>,
    pub(super) warnings: Vec<String>,
    /// `None`: preview.
    pub(super) tenant: Option<String>,
    /// `None`: there is none.
    pub(super) proxies: Option<String>,
    /// Where the monitors come from.
    pub(super) monitors_from: String,
    pub(super) monitors: Vec<String>,
    /// Where the tables are.
    pub(super) tables: String,
    pub(super) connectors_on: Vec<String>,
    pub(super) connectors_off: Vec<String>,
}

/// Checks everything.
pub(super) fn preflight(vars: &dyn Vars) -> Preflight {
    let (settings, problems) = Settings::read(vars);
    let mut report = Report::default();
    report.mistakes.extend(problems.iter().map(ToString::to_string));
    report.warnings.extend(settings.warnings.iter().map(ToString::to_string));
    report.mistakes.extend(names_and_folders(&settings, vars));
    report.log(&settings);
    report.mistakes.extend(data_dir::problem(&settings));
    report.network(&settings);
    let monitors = report.monitors(&settings.monitors_dir);
    report.connectors(&settings, vars, &monitors);
    let mut told = BTreeSet::new();
    report.mistakes.retain(|mistake| told.insert(mistake.clone()));
    Preflight { settings, report }
}

/// What is set and means nothing: names that are not known, folders that are not there.
pub(super) fn names_and_folders(settings: &Settings, vars: &dyn Vars) -> Vec<String> {
    // Definitions that cannot be read are told by whoever needs them; until then nobody knows all names.
    let definitions = connector::load(&settings.connectors_dir);
    let known = definitions.ok().map(|definitions| {
        let keys = |definition: &crate::domain::connector::Definition| {
            let keys = definition.config.keys().map(String::as_str).chain([BASE_URL, TOKEN_URL, EVERY]);
            keys.map(|key| variable(&definition.name, key)).collect::<Vec<_>>()
        };
        definitions.iter().flat_map(keys).collect()
    });
    let problems = settings.missing_folders(vars).into_iter().chain(unknown_names(vars, known.as_ref()));
    problems.map(|problem| problem.to_string()).collect()
}

impl Report {
    fn log(&mut self, settings: &Settings) {
        if let Err(e) = telemetry::check_level(&settings.log.level) {
            self.mistakes.push(format!("LOG_LEVEL: {e}"));
        }
        let checked = settings.log.file.as_deref().map_or(Ok(()), log_file::check);
        self.mistakes.extend(checked.err().map(|e| format!("LOG_FILE: {e}")));
    }

    fn network(&mut self, settings: &Settings) {
        self.tenant = settings.tenant.as_ref().map(|tenant| tenant.url.to_string());
        self.proxies = compose::proxies_in_use(settings);
        self.mistakes.extend(compose::page_client(settings).err().map(|e| e.to_string()));
        match compose::database(settings) {
            Ok(Some(database)) => self.tables = format!("PostgreSQL at {}", database.name()),
            Ok(None) => self.tables = format!("SQLite in {}", settings.data_dir.display()),
            Err(error) => self.mistakes.push(error.to_string()),
        }
    }

    fn monitors(&mut self, folder: &Path) -> Vec<Monitor> {
        match monitor::load(folder) {
            Ok((monitors, origin)) => {
                let built_in = origin != Origin::Folder;
                if origin == Origin::EmptyFolder {
                    self.warnings.push(monitor::empty(folder));
                }
                self.monitors_from = if built_in { "built in".into() } else { folder.display().to_string() };
                self.monitors = monitors.iter().map(|monitor| monitor.name.clone()).collect();
                monitors
            }
            Err(found) => {
                self.mistakes.extend(found.iter().map(ToString::to_string));
                Vec::new()
            }
        }
    }

    fn connectors(&mut self, settings: &Settings, vars: &dyn Vars, monitors: &[Monitor]) {
        match connectors::accounts_on(settings, vars) {
            Ok((on, off)) => {
                self.connectors_on = on.iter().map(|account| account.definition().name.clone()).collect();
                self.connectors_off = off;
            }
            Err(CommandError::Configuration(found)) => {
                self.mistakes.extend(found);
                return;
            }
            Err(error) => self.mistakes.push(error.to_string()),
        }
        for monitor in monitors {
            self.mistakes.extend(unwatchable(monitor, &self.connectors_on, &self.connectors_off));
            let Source::Sync(rule) = &monitor.source else { continue };
            if self.connectors_off.contains(&rule.connector) {
                let (name, connector) = (&monitor.name, &rule.connector);
                self.warnings.push(format!(
                    "monitor {name}: its connector {connector} is off, so nothing is known of its data"
                ));
            }
        }
    }
}

/// What is wrong with watching the data of a connector: a mistyped name would stay unknown forever.
fn unwatchable(monitor: &Monitor, on: &[String], off: &[String]) -> Option<String> {
    let Source::Sync(rule) = &monitor.source else { return None };
    let mut all: Vec<&str> = on.iter().chain(off).map(String::as_str).collect();
    if all.contains(&rule.connector.as_str()) {
        return None;
    }
    all.sort_unstable();
    let (name, connector) = (&monitor.name, &rule.connector);
    Some(format!("monitor {name}: there is no connector {connector:?}; there are {}", all.join(", ")))
}
