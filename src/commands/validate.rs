//! `validate`: every mistake of the environment, `.env` and the definitions at once, without any network.

use std::process::ExitCode;

use serde_json::json;

use super::preflight::{Report, preflight};
use super::{CommandError, compose};

pub(super) fn validate(json: bool) -> Result<ExitCode, CommandError> {
    let report = preflight(&compose::process_vars()).report;
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
        say!("everything is fine");
        return Ok(ExitCode::SUCCESS);
    }
    Err(CommandError::Configuration(report.mistakes))
}

fn print(report: &Report) {
    for warning in &report.warnings {
        say!("warning: {warning}");
    }
    // With mistakes, what is missing may be what could not be read.
    let whole = report.mistakes.is_empty();
    match &report.tenant {
        Some(tenant) => say!("tenant: {tenant}"),
        None if whole => say!("tenant: preview (no QLIK_ variable is set)"),
        None => {}
    }
    if let Some(proxies) = &report.proxies {
        say!("proxies: {proxies}");
    }
    if !report.monitors.is_empty() {
        say!("monitors ({}): {}", report.monitors_from, report.monitors.join(", "));
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
