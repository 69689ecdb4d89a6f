//! JSON written as TOML: the bodies of requests.

use std::collections::BTreeMap;

use serde_json::Value;
use toml::de::{DeTable, DeValue};

use super::{Keys, template_of};
use crate::domain::syncing::definition::template::JsonTemplate;

/// Maximum nesting depth of lists and tables; no search request needs more.
const MAX_DEPTH: usize = 16;

/// A table of JSON values by name.
pub(super) fn members(keys: &mut Keys<'_, '_>, key: &'static str) -> BTreeMap<String, JsonTemplate> {
    let Some((table, _)) = keys.table(key) else { return BTreeMap::new() };
    object(keys, key, &table, 1)
}

fn object(
    keys: &mut Keys<'_, '_>,
    key: &str,
    table: &DeTable<'_>,
    depth: usize,
) -> BTreeMap<String, JsonTemplate> {
    let mut members = BTreeMap::new();
    for (name, of) in table {
        let value = value(keys, key, of.get_ref(), of.span().start, depth);
        members.extend(value.map(|value| (name.get_ref().to_string(), value)));
    }
    members
}

fn value(
    keys: &mut Keys<'_, '_>,
    key: &str,
    value: &DeValue<'_>,
    at: usize,
    depth: usize,
) -> Option<JsonTemplate> {
    if depth > MAX_DEPTH {
        keys.wrong(at, format!("`{key}` is nested deeper than {MAX_DEPTH}"));
        return None;
    }
    Some(match value {
        DeValue::String(text) => JsonTemplate::Text(template_of(keys, key, text, at)?),
        DeValue::Datetime(day) => JsonTemplate::Fixed(Value::String(day.to_string())),
        DeValue::Boolean(flag) => JsonTemplate::Fixed(Value::Bool(*flag)),
        DeValue::Integer(number) => {
            let read = i64::from_str_radix(number.as_str(), number.radix());
            let Ok(number) = read else {
                keys.wrong(at, format!("`{key}`: whole numbers are limited to 64 bits"));
                return None;
            };
            JsonTemplate::Fixed(number.into())
        }
        DeValue::Float(number) => {
            let read = number.as_str().parse().ok().and_then(serde_json::Number::from_f64);
            let Some(number) = read else {
                keys.wrong(at, format!("`{key}`: JSON cannot represent the number {}", number.as_str()));
                return None;
            };
            JsonTemplate::Fixed(Value::Number(number))
        }
        DeValue::Array(items) => {
            let items = items.iter();
            let items =
                items.map(|item| self::value(keys, key, item.get_ref(), item.span().start, depth + 1));
            JsonTemplate::List(items.collect::<Vec<_>>().into_iter().flatten().collect())
        }
        DeValue::Table(table) => JsonTemplate::Object(object(keys, key, table, depth + 1)),
    })
}
