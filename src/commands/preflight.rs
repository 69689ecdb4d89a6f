//! Checks the whole configuration before the daemon starts. `validate` and `run` report the same errors, in the same words.
//! No request is sent.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use secrecy::ExposeSecret;
use serde::Serialize;

use super::tenants::ConfiguredTenant;
use super::{CommandError, compose, data_rules, tenants};
use crate::commands::channels;
use crate::commands::connectors;
use crate::commands::data_dir;
use crate::definitions::connector;
use crate::definitions::monitor::{self, DefinitionOrigin};
use crate::domain::monitoring::audience::{Audience, Selector};
use crate::domain::monitoring::monitor::{DataStage, Freshness, Monitor, MonitorSource};
use crate::domain::syncing::definition::config::{COMMON, EXPORT, NO_EXPORT, variable};
use crate::domain::syncing::definition::connector::Definition;
use crate::domain::urls::is_loopback;
use crate::log_file;
use crate::secrets::SHORT;
use crate::settings::{
    Credentials, Problem, PublicAccess, Settings, Vars, credential_names, lookup, unknown_names,
};
use crate::telemetry;

pub(super) struct Preflight {
    /// Valid only if the report has no errors.
    pub(super) settings: Settings,
    pub(super) report: Report,
}

/// Result of the check. Its JSON form is the output of `validate --json`.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    pub(super) mistakes: Vec<String>,
    pub(super) warnings: Vec<String>,
    /// The address of the only tenant; `None` in preview.
    pub(super) tenant: Option<String>,
    /// Name and address of each tenant; empty in preview.
    pub(super) tenants: BTreeMap<String, String>,
    pub(super) proxies: Option<String>,
    /// Its address and who may see it.
    pub(super) dashboard: String,
    pub(super) monitors_from: String,
    pub(super) monitors: Vec<String>,
    /// Enabled channels.
    pub(super) channels: Vec<String>,
    /// Location of the tables.
    pub(super) tables: String,
    pub(super) connectors_on: Vec<String>,
    pub(super) connectors_off: Vec<String>,
}

pub(super) fn preflight(vars: &dyn Vars) -> Preflight {
    let (settings, problems) = Settings::read(vars);
    let mut report = Report::default();
    report.mistakes.extend(problems.iter().map(ToString::to_string));
    report.warnings.extend(settings.warnings.iter().map(ToString::to_string));
    report.mistakes.extend(names_and_folders(&settings, vars));
    report.log(&settings);
    report.mistakes.extend(data_dir::problem(&settings));
    report.network(&settings);
    let monitors = report.monitors(&settings.monitors_dir, &settings.engines_dir);
    report.channels(&settings, vars, &monitors);
    report.connectors(&settings, vars, &monitors);
    report.tenants(&settings, vars, &monitors);
    let mut reported = BTreeSet::new();
    report.mistakes.retain(|error| reported.insert(error.clone()));
    Preflight { settings, report }
}

/// Returns settings without effect: unknown names and missing folders.
pub(super) fn names_and_folders(settings: &Settings, vars: &dyn Vars) -> Vec<String> {
    // Errors in definitions are reported elsewhere. Without the definitions the names of their variables are not known.
    let definitions = connector::load(&settings.connectors_dir);
    let found = definitions.as_deref().unwrap_or_default();
    let mut idle = exports_without_effect(settings, vars, found);
    let connectors = found.iter().map(|definition| definition.name.as_str());
    idle.extend(data_rules::without_effect(settings, vars, connectors));
    let known = definitions.ok().zip(tenants::variable_names(settings)).map(|(definitions, tenants)| {
        let keys = |definition: &Definition| {
            let keys = definition.config.keys().map(String::as_str).chain(COMMON);
            let keys = keys.map(|key| variable(&definition.name, key));
            keys.chain(data_rules::variables(&definition.name)).collect::<Vec<_>>()
        };
        definitions.iter().flat_map(keys).chain(tenants).collect::<BTreeSet<_>>()
    });
    let known = known.and_then(|mut known| {
        let channels = channels::definitions(settings).ok()?;
        known.extend(channels.iter().flat_map(channels::variables));
        Some(known)
    });
    let problems = settings.missing_folders(vars).into_iter().chain(unknown_names(vars, known.as_ref()));
    problems.chain(idle).map(|problem| problem.to_string()).collect()
}

/// Settings of exports that have no effect because there is no folder for them.
fn exports_without_effect(settings: &Settings, vars: &dyn Vars, definitions: &[Definition]) -> Vec<Problem> {
    if settings.export.dir.is_some() {
        return Vec::new();
    }
    let uploads = tenants::upload_something(settings, vars);
    let formats = definitions.iter().map(|definition| variable(&definition.name, EXPORT));
    let names = ["EXPORT_PARTIAL", "EXPORT_DELETED"].into_iter().map(str::to_owned).chain(formats);
    let is_set = |name: &String| matches!(lookup(vars, name), Ok(Some(text)) if text.trim() != NO_EXPORT);
    let problem =
        |name: String| Problem::new(name, "has no effect without EXPORT_DIR, the folder for exported files");
    let names = names.filter(|name| !(uploads && name == "EXPORT_DELETED"));
    names.filter(is_set).map(problem).collect()
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
        self.proxies = compose::proxies_in_use(settings);
        self.dashboard = dashboard(settings);
        self.mistakes.extend(compose::brand(settings).err().map(|e| e.to_string()));
        self.mistakes.extend(compose::page_client(settings).err().map(|e| e.to_string()));
        match compose::database(settings) {
            Ok(Some(database)) => self.tables = format!("PostgreSQL at {}", database.name()),
            Ok(None) => self.tables = format!("SQLite in {}", settings.data_dir.display()),
            Err(error) => self.mistakes.push(error.to_string()),
        }
    }

    fn monitors(&mut self, folder: &Path, engines: &Path) -> Vec<Monitor> {
        match monitor::load(folder, engines) {
            Ok((monitors, origin)) => {
                let built_in = origin != DefinitionOrigin::Folder;
                if origin == DefinitionOrigin::EmptyFolder {
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

    fn tenants(&mut self, settings: &Settings, vars: &dyn Vars, monitors: &[Monitor]) {
        match tenants::configured(settings, vars) {
            Ok(tenants) => {
                self.warnings.extend(tenants.iter().filter_map(short_secret));
                self.warnings.extend(shared_keys(&tenants));
                self.warnings.extend(selections(&tenants, monitors));
                self.data_rules(&tenants, monitors);
                self.tenants =
                    tenants.iter().map(|t| (t.rules.name.clone(), t.rules.url.to_string())).collect();
                self.tenant = settings.tenant.as_ref().map(|tenant| tenant.url.to_string());
            }
            Err(errors) => self.mistakes.extend(errors),
        }
    }

    /// Rules and monitors for data that no one brings to Qlik.
    fn data_rules(&mut self, tenants: &[ConfiguredTenant], monitors: &[Monitor]) {
        let rules = || tenants.iter().flat_map(|t| t.rules.data.iter().map(|rule| (&t.rules.name, rule)));
        for (tenant, rule) in rules() {
            let connector = &rule.connector;
            if self.connectors_off.contains(connector) {
                let warning =
                    format!("tenant {tenant}: connector {connector} is off, so its data never changes");
                self.warnings.push(warning);
            } else if !self.connectors_on.contains(connector) {
                let mut known = [&self.connectors_on[..], &self.connectors_off[..]].concat();
                known.sort_unstable();
                self.mistakes.push(format!(
                    "tenant {tenant}: [[data]] of an unknown connector {connector:?}; known connectors: {}",
                    known.join(", ")
                ));
            }
        }
        for monitor in monitors {
            let MonitorSource::Sync(Freshness { connector, stage: DataStage::Qlik, .. }) = &monitor.source
            else {
                continue;
            };
            if !rules().any(|(_, rule)| rule.connector == *connector) {
                let name = &monitor.name;
                self.mistakes.push(format!(
                    "monitor {name}: `stage` is qlik, but no tenant gets the data of {connector}"
                ));
            }
        }
    }

    fn channels(&mut self, settings: &Settings, vars: &dyn Vars, monitors: &[Monitor]) {
        match channels::configured(settings, vars) {
            Ok(found) => self.channels = found.into_iter().map(|channel| channel.name).collect(),
            Err(error) => self.mistakes.extend(error.into_lines()),
        }
        for channel in channels::definitions(settings).unwrap_or_default().iter().filter(|one| one.enabled) {
            let whose = format!("channel {}", channel.name);
            self.warnings.extend(unmatched(&whose, &channel.rules.audience, monitors, "nothing is sent"));
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
            self.mistakes.extend(undefined_connector(monitor, &self.connectors_on, &self.connectors_off));
            let MonitorSource::Sync(rule) = &monitor.source else { continue };
            if self.connectors_off.contains(&rule.connector) {
                let (name, connector) = (&monitor.name, &rule.connector);
                self.warnings.push(format!(
                    "monitor {name}: connector {connector} is off, so the state of its data is unknown"
                ));
            }
        }
    }
}

fn dashboard(settings: &Settings) -> String {
    let Some(address) = settings.listen else { return "off".to_owned() };
    let web = &settings.web;
    let who = match web.token {
        Some(_) => "protected by WEB_TOKEN",
        None if web.open == PublicAccess::Everything => "open to everyone who can reach it (WEB_OPEN=true)",
        None if address.ip().is_loopback() => "open on this machine",
        None => "closed: set WEB_TOKEN, or WEB_OPEN=true to open it to everyone",
    };
    format!("http://{address}, {who}")
}

/// Reports a secret that is too short to be redacted, unless the tenant is a stand-in on this machine.
fn short_secret(tenant: &ConfiguredTenant) -> Option<String> {
    let [key_name, _, secret_name] = credential_names(&tenant.prefix);
    let (name, secret) = match &tenant.credentials {
        Credentials::ApiKey(key) => (key_name, key),
        Credentials::OAuth { secret, .. } => (secret_name, secret),
    };
    let is_short = secret.expose_secret().chars().count() < SHORT && !is_loopback(&tenant.rules.url);
    is_short.then(|| format!("{name} has fewer than {SHORT} characters: too short to be redacted from logs"))
}

/// Reports API keys that serve several tenants: a key is valid for one tenant only.
fn shared_keys(tenants: &[ConfiguredTenant]) -> Vec<String> {
    let mut by_key: BTreeMap<&str, Vec<&ConfiguredTenant>> = BTreeMap::new();
    for tenant in tenants {
        if let Credentials::ApiKey(key) = &tenant.credentials {
            by_key.entry(key.expose_secret()).or_default().push(tenant);
        }
    }
    let shared = by_key.into_values().filter(|tenants| tenants.len() > 1);
    let warning = |tenants: Vec<&ConfiguredTenant>| {
        let names: Vec<&str> = tenants.iter().map(|tenant| tenant.rules.name.as_str()).collect();
        format!("tenants {} have the same API key, which is valid for one tenant only", names.join(", "))
    };
    shared.map(warning).collect()
}

/// Reports the selectors of a filter that match no monitor, and a filter that selects none.
fn unmatched(whose: &str, audience: &Audience, monitors: &[Monitor], effect: &str) -> Vec<String> {
    // An error in the definitions is reported instead.
    if monitors.is_empty() {
        return Vec::new();
    }
    let unused = |selector: &&Selector| !monitors.iter().any(|m| selector.selects(&m.name, &m.tags));
    let selectors = audience.monitors.iter().chain(&audience.ignore).filter(unused);
    let mut warnings: Vec<String> =
        selectors.map(|selector| format!("{whose}: `{}` matches no monitor", selector.text())).collect();
    if !monitors.iter().any(|m| audience.selects(&m.name, &m.tags)) {
        warnings.push(format!("{whose}: no monitor is selected, so {effect}"));
    }
    warnings
}

/// Reports unmatched filters of tenants, and monitors without a tenant.
fn selections(tenants: &[ConfiguredTenant], monitors: &[Monitor]) -> Vec<String> {
    let mut warnings = Vec::new();
    for tenant in tenants {
        let whose = format!("tenant {}", tenant.rules.name);
        warnings.extend(unmatched(&whose, &tenant.rules.audience, monitors, "it never has a banner"));
    }
    let seen = |m: &&Monitor| !tenants.iter().any(|t| t.rules.audience.selects(&m.name, &m.tags));
    let unseen: Vec<&str> = monitors.iter().filter(seen).map(|m| m.name.as_str()).collect();
    if !tenants.is_empty() && !unseen.is_empty() {
        warnings.push(format!("no tenant shows these monitors: {}", unseen.join(", ")));
    }
    warnings
}

/// Reports a monitor of an undefined connector. It would stay unknown forever.
fn undefined_connector(monitor: &Monitor, on: &[String], off: &[String]) -> Option<String> {
    let MonitorSource::Sync(rule) = &monitor.source else { return None };
    let mut all: Vec<&str> = on.iter().chain(off).map(String::as_str).collect();
    if all.contains(&rule.connector.as_str()) {
        return None;
    }
    all.sort_unstable();
    let (name, connector) = (&monitor.name, &rule.connector);
    Some(format!("monitor {name}: unknown connector {connector:?}; known connectors: {}", all.join(", ")))
}
