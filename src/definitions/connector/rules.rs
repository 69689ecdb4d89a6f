//! `rules`: the meaning of particular responses.

use serde_json::Value;
use toml::de::{DeTable, DeValue};

use super::{Keys, one_of, one_of_needed, scalar};
use crate::domain::syncing::definition::answer::{
    Condition, Rule, StatedWait, Statuses, Then, WaitPlace, WaitUnit,
};

/// The rules of a table or of `[http]`.
pub(super) fn read(keys: &mut Keys<'_, '_>) -> Vec<Rule> {
    let tables: Vec<(DeTable<'_>, usize)> = keys.tables("rules").unwrap_or_default();
    tables.into_iter().filter_map(|(table, at)| rule(keys.inner(table), at)).collect()
}

fn rule(mut keys: Keys<'_, '_>, at: usize) -> Option<Rule> {
    let known = ["status", "has", "absent", "null", "equals", "empty_body", "header"];
    let says = known.iter().any(|key| keys.has(key));
    let statuses = statuses(&mut keys);
    let mut conditions = Vec::new();
    conditions.extend(keys.text("has").map(|(path, _)| Condition::Has(path)));
    conditions.extend(keys.text("absent").map(|(path, _)| Condition::Absent(path)));
    conditions.extend(keys.text("null").map(|(path, _)| Condition::Null(path)));
    conditions.extend(equals(&mut keys));
    if keys.flag("empty_body") == Some(true) {
        conditions.push(Condition::EmptyBody);
    }
    conditions.extend(header(&mut keys));
    if !says {
        keys.wrong(at, format!("a rule needs one of {}", known.join(", ")));
    }
    let words = [
        ("empty", Then::Empty),
        ("end", Then::End),
        ("skip", Then::Skip),
        ("retry", Then::Retry),
        ("limited", Then::Limited(None)),
        ("renew", Then::Renew),
        ("halve", Then::Halve),
        ("fail", Then::Fail),
    ];
    let then = one_of_needed(&mut keys, "then", &words, at);
    let wait = keys.table("wait").and_then(|(table, at)| wait(keys.inner(table), at).map(|wait| (wait, at)));
    let then = match (then, wait) {
        (Some(Then::Limited(None)), wait) => Some(Then::Limited(wait.map(|(wait, _)| wait))),
        (then, Some((_, at))) => {
            keys.wrong(at, "`wait` is allowed only with then = \"limited\"");
            then
        }
        (then, None) => then,
    };
    keys.finish();
    Some(Rule { statuses, conditions, then: then? })
}

/// A status, a class such as `"4xx"`, or a list of such.
fn statuses(keys: &mut Keys<'_, '_>) -> Vec<Statuses> {
    let Some(value) = keys.value("status") else { return Vec::new() };
    let one = |value: &DeValue<'_>| {
        let text = scalar(value)?;
        match text.strip_suffix("xx") {
            Some(class) => class.parse().ok().filter(|n| (1..6).contains(n)).map(Statuses::Class),
            None => text.parse().ok().filter(|n| (100..600).contains(n)).map(Statuses::One),
        }
    };
    let read: Option<Vec<Statuses>> = match value.get_ref().as_array() {
        Some(items) => items.iter().map(|item| one(item.get_ref())).collect(),
        None => one(value.get_ref()).map(|one| vec![one]),
    };
    read.filter(|statuses| !statuses.is_empty()).unwrap_or_else(|| {
        keys.wrong(
            value.span().start,
            "`status` must be an HTTP status, 100 to 599, a class such as \"4xx\", or a list of such",
        );
        Vec::new()
    })
}

fn equals(keys: &mut Keys<'_, '_>) -> Vec<Condition> {
    let Some((table, at)) = keys.table("equals") else { return Vec::new() };
    let pairs = table.iter().map(|(path, value)| {
        let value = match value.get_ref() {
            DeValue::Boolean(flag) => Value::Bool(*flag),
            other => Value::String(scalar(other)?),
        };
        Some(Condition::Equals(path.get_ref().to_string(), value))
    });
    pairs.collect::<Option<Vec<_>>>().filter(|pairs| !pairs.is_empty()).unwrap_or_else(|| {
        keys.wrong(at, "`equals` must be a table of paths and values: { \"error.code\" = \"RATE_LIMIT\" }");
        Vec::new()
    })
}

/// The name of a required header, or a table of headers and their values.
fn header(keys: &mut Keys<'_, '_>) -> Vec<Condition> {
    let Some(value) = keys.value("header") else { return Vec::new() };
    let read = match value.get_ref() {
        DeValue::String(name) => Some(vec![Condition::Header(name.to_lowercase(), None)]),
        DeValue::Table(table) => table
            .iter()
            .map(|(name, value)| {
                Some(Condition::Header(name.get_ref().to_lowercase(), Some(scalar(value.get_ref())?)))
            })
            .collect(),
        _ => None,
    };
    read.unwrap_or_else(|| {
        keys.wrong(
            value.span().start,
            "`header` must be a name in quotes or a table: { \"x-ratelimit-remaining\" = \"0\" }",
        );
        Vec::new()
    })
}

fn wait(mut keys: Keys<'_, '_>, at: usize) -> Option<StatedWait> {
    let header = keys.text("header").map(|(name, _)| WaitPlace::Header(name.to_lowercase()));
    let path = keys.text("path").map(|(path, _)| WaitPlace::Path(path));
    if header.is_some() == path.is_some() {
        keys.wrong(at, "`wait` needs either `header` or `path`");
    }
    let units = [("s", WaitUnit::Seconds), ("ms", WaitUnit::Millis), ("date", WaitUnit::Date)];
    let unit = one_of(&mut keys, "unit", &units);
    keys.finish();
    Some(StatedWait { at: header.or(path)?, unit })
}
