//! `validate`: every mistake of the environment, `.env` and the definitions at once, without any network.

use std::path::Path;
use std::process::ExitCode;

use super::{CommandError, compose, connectors, data_dir};
use crate::definitions::monitor::{self, Origin};
use crate::domain::monitor::{Monitor, Source};
use crate::settings::{ProcessVars, Settings, VARIABLES, Vars, lookup};

pub(super) fn validate() -> Result<ExitCode, CommandError> {
    let mut mistakes = Vec::new();
    let vars: Box<dyn Vars> = match ProcessVars::load(Path::new(compose::ENV_FILE)) {
        Ok(vars) => Box::new(vars),
        Err(problem) => {
            mistakes.push(problem.to_string());
            Box::new(std::collections::BTreeMap::new())
        }
    };
    let settings = Settings::from_vars(vars.as_ref());
    // With a mistake elsewhere the definitions are still read, from where the variable says.
    let folder = match &settings {
        Ok(settings) => settings.monitors_dir.clone(),
        Err(_) => lookup(vars.as_ref(), "MONITORS_DIR").ok().flatten().unwrap_or_else(default_folder).into(),
    };
    match &settings {
        Ok(settings) => {
            for warning in &settings.warnings {
                say!("warning: {warning}");
            }
            let mode = settings
                .tenant
                .as_ref()
                .map_or("preview (no QLIK_ variable is set)".to_owned(), |t| t.url.to_string());
            say!("tenant: {mode}");
        }
        Err(problems) => mistakes.extend(problems.iter().map(ToString::to_string)),
    }
    let mut watching = Vec::new();
    match monitor::load(&folder) {
        Ok((monitors, origin)) => {
            let from =
                if origin == Origin::Folder { folder.display().to_string() } else { "built in".to_owned() };
            if origin == Origin::EmptyFolder {
                say!("warning: {}", monitor::empty(&folder));
            }
            let names: Vec<&str> = monitors.iter().map(|m| m.name.as_str()).collect();
            say!("monitors ({from}): {}", names.join(", "));
            watching = monitors;
        }
        Err(found) => mistakes.extend(found.iter().map(ToString::to_string)),
    }
    if let Ok(settings) = &settings {
        mistakes.extend(data_dir::problem(settings));
        match compose::database(settings) {
            Ok(Some(database)) => say!("tables: PostgreSQL at {}", database.name()),
            Ok(None) => say!("tables: SQLite in {}", settings.data_dir.display()),
            Err(error) => mistakes.push(error.to_string()),
        }
        match connectors::accounts_on(settings, vars.as_ref()) {
            Ok((on, off)) => {
                let on: Vec<&str> = on.iter().map(|account| account.definition().name.as_str()).collect();
                say!("connectors: on: {}; off (not configured): {}", names(&on), names(&off));
                mistakes.extend(watching.iter().filter_map(|monitor| unwatchable(monitor, &on, &off)));
            }
            Err(CommandError::Configuration(found)) => mistakes.extend(found),
            Err(error) => mistakes.push(error.to_string()),
        }
    }
    if mistakes.is_empty() {
        say!("everything is fine");
        return Ok(ExitCode::SUCCESS);
    }
    Err(CommandError::Configuration(mistakes))
}

/// What is wrong with watching the data of a connector: a mistyped name would be unknown for ever.
fn unwatchable(monitor: &Monitor, on: &[&str], off: &[String]) -> Option<String> {
    let Source::Sync(rule) = &monitor.source else { return None };
    let (name, connector) = (&monitor.name, &rule.connector);
    if on.contains(&connector.as_str()) {
        return None;
    }
    if off.contains(connector) {
        say!("warning: monitor {name}: its connector {connector} is off, so nothing is known of its data");
        return None;
    }
    let mut all: Vec<&str> = on.iter().copied().chain(off.iter().map(String::as_str)).collect();
    all.sort_unstable();
    Some(format!("monitor {name}: there is no connector {connector:?}; there are {}", all.join(", ")))
}

fn names(list: &[impl AsRef<str>]) -> String {
    let names: Vec<&str> = list.iter().map(AsRef::as_ref).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn default_folder() -> String {
    VARIABLES.iter().find(|v| v.name == "MONITORS_DIR").map_or(String::new(), |v| v.default.to_owned())
}
