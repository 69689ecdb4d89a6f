//! `[[data]]` of a tenant → rules for the data of connectors.

use super::keys::Keys;
use crate::domain::data_rule::DataRule;
use crate::domain::file_format::FileFormat;

/// The rules of a tenant: at most one for each connector.
pub(super) fn data_rules(keys: &mut Keys<'_, '_>) -> Vec<DataRule> {
    let mut rules: Vec<DataRule> = Vec::new();
    for (table, at) in keys.tables("data").unwrap_or_default() {
        let Some(rule) = data_rule(keys.inner(table), at) else { continue };
        if rules.iter().any(|other| other.connector == rule.connector) {
            let name = &rule.connector;
            keys.wrong(at, format!("connector {name} already has a [[data]] in this tenant; use one"));
        }
        rules.push(rule);
    }
    rules
}

fn data_rule(mut keys: Keys<'_, '_>, at: usize) -> Option<DataRule> {
    let connector = keys.text("connector").map(|(name, _)| name);
    if connector.is_none() {
        keys.wrong(at, "`connector` is missing in [[data]] (example: connector = \"statuscake\")");
    }
    let space = keys.text("space").map(|(space, _)| space.trim().to_owned());
    let tables = keys.texts("tables").unwrap_or_default();
    let reload = keys.texts("reload").unwrap_or_default();
    let format = keys.text("format").and_then(|(word, at)| {
        let format = FileFormat::parse(&word);
        if format.is_none() {
            keys.wrong(at, "`format` must be parquet or csv");
        }
        Some((format?, at))
    });
    if let (Some((_, at)), None) = (&format, &space) {
        keys.wrong(*at, "`format` has no effect without `space`");
    }
    let format = format.map(|(format, _)| format).unwrap_or_default();
    let rule = connector.map(|connector| DataRule { connector, space, tables, reload, format });
    if let Some(problem) = rule.as_ref().and_then(DataRule::problem) {
        keys.wrong(at, format!("[[data]] {problem}"));
    }
    keys.finish();
    rule
}
