//! `validate`: reports every error in the environment, `.env` and the definitions. Sends no request.

use std::process::ExitCode;

use serde_json::json;

use crate::commands::CommandError;
use crate::commands::preflight::{Report, preflight};
use crate::commands::setting_flags::SettingFlags;

pub(crate) fn validate(flags: &SettingFlags, json: bool) -> Result<ExitCode, CommandError> {
    let report = preflight(&flags.process_vars()).report;
    if json {
        let valid = report.mistakes.is_empty();
        let mut document = json!(report);
        document["valid"] = valid.into();
        say!("{document:#}");
        return Ok(if valid {
            ExitCode::SUCCESS
        } else {
            CommandError::Configuration(Vec::new()).exit_code()
        });
    }
    print(&report);
    if report.mistakes.is_empty() {
        say!("configuration is valid");
        return Ok(ExitCode::SUCCESS);
    }
    Err(CommandError::Configuration(report.mistakes))
}

fn print(report: &Report) {
    for warning in &report.warnings {
        say!("warning: {warning}");
    }
    // With errors, values may be missing because they could not be read.
    let valid = report.mistakes.is_empty();
    match &report.tenant {
        Some(tenant) => say!("tenant: {tenant}"),
        None if report.tenants.is_empty() && valid => say!("tenant: preview (no QLIK_ variable is set)"),
        None => {
            for (name, url) in &report.tenants {
                say!("tenant {name}: {url}");
            }
        }
    }
    if let Some(proxies) = &report.proxies {
        say!("proxies: {proxies}");
    }
    if valid {
        say!("dashboard: {}", report.dashboard);
    }
    if !report.monitors.is_empty() {
        say!("monitors ({}): {}", report.monitors_from, report.monitors.join(", "));
    }
    if !report.channels.is_empty() {
        say!("channels: {}", report.channels.join(", "));
    }
    if !report.tables.is_empty() {
        say!("tables: {}", report.tables);
    }
    if !(report.connectors_on.is_empty() && report.connectors_off.is_empty()) {
        let (on, off) = (names(&report.connectors_on), names(&report.connectors_off));
        say!("connectors: on: {on}; off (not configured): {off}");
    }
}

fn names(list: &[String]) -> String {
    if list.is_empty() { "none".to_owned() } else { list.join(", ") }
}
