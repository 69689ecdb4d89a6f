//! `[[table]]`.

use std::collections::BTreeMap;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::page::page;
use super::{Keys, json, one_of, rules, scalar, template_of, templates};
use crate::domain::syncing::definition::connector::{
    ChangeFilter, ColumnKind, ColumnRule, Cursor, CursorFormat, CursorOrder, Enabled, Key, Method, Nested,
    Parent, Table, Window, WindowEnd,
};
use crate::domain::syncing::definition::template::Template;
use crate::domain::syncing::naming;
use crate::domain::syncing::op::Write;

/// The default for the share of live rows that a complete run may mark deleted. A source that wrongly returns
/// a short list is more likely than one that lost most of its rows.
const MAX_SHARE: f64 = 0.5;

/// A table and its positions in the file, for the checks that need the whole definition.
pub(super) struct Placed {
    pub(super) table: Table,
    pub(super) at: usize,
}

pub(super) fn read(mut keys: Keys<'_, '_>, at: usize) -> Option<Placed> {
    let name = keys.text("name");
    match &name {
        None => keys.wrong(at, "`name` of the table is missing"),
        Some((name, at)) if naming::table_name(name) != *name || name.starts_with('_') => {
            keys.wrong(
                *at,
                format!(
                    "the table {name:?} must be named in lower snake case: {:?}",
                    naming::table_name(name)
                ),
            );
        }
        Some((name, at)) if name.starts_with("sqlite_") => {
            keys.wrong(
                *at,
                format!(
                    "the table {name:?} needs another name: SQLite reserves names that start with sqlite_"
                ),
            );
        }
        Some(_) => {}
    }
    let path = match keys.text("path") {
        Some((text, at)) => template_of(&mut keys, "path", &text, at),
        None => {
            keys.wrong(at, "`path` of the table is missing");
            None
        }
    };
    let mut columns = keys.table("columns").map(|(table, _)| columns(&mut keys, &table)).unwrap_or_default();
    let nested = one_of(&mut keys, "nested", &[("flatten", Nested::Flatten), ("json", Nested::Json)])
        .unwrap_or(Nested::Flatten);
    let writes = [("upsert", Write::Upsert), ("append", Write::Append), ("replace", Write::Replace)];
    let write = one_of(&mut keys, "write", &writes).unwrap_or(Write::Upsert);
    let key = key(&mut keys, at, write);
    let deleted_if = deleted_if(&mut keys, &mut columns, &key, write, nested);
    let parent = keys.table("parent").and_then(|(table, at)| parent(keys.inner(table), at));
    let table = Table {
        name: name.map(|(name, _)| name).unwrap_or_default(),
        path: path.unwrap_or_default(),
        method: one_of(&mut keys, "method", &[("GET", Method::Get), ("POST", Method::Post)])
            .unwrap_or(Method::Get),
        params: templates(&mut keys, "params"),
        body: json::members(&mut keys, "body"),
        records: keys.texts("records").unwrap_or_else(|| vec![".".to_owned()]),
        null_is_empty: keys.flag("null_is_empty"),
        page: page(&mut keys, &key, parent.as_ref()),
        key,
        parent,
        cursor: keys.table("cursor").and_then(|(table, at)| cursor(keys.inner(table), at, &columns)),
        window: keys.table("window").and_then(|(table, at)| window(keys.inner(table), at)),
        columns,
        nested,
        write,
        snapshot: deletes(&mut keys),
        deleted_if,
        freeze: one_of(&mut keys, "schema", &[("evolve", false), ("freeze", true)]).unwrap_or(false),
        rules: rules::read(&mut keys),
        enabled: enabled(&mut keys),
    };
    keys.finish();
    Some(Placed { table, at })
}

fn key(keys: &mut Keys<'_, '_>, at: usize, write: Write) -> Vec<Key> {
    let Some(value) = keys.value("key") else {
        if write == Write::Upsert {
            keys.wrong(at, "`key` is missing; a table without one needs write = \"append\" or \"replace\"");
        }
        return Vec::new();
    };
    let start = value.span().start;
    let Some(items) = value.get_ref().as_array().filter(|items| !items.is_empty()) else {
        keys.wrong(start, "`key` must be a list of columns such as [\"id\"]");
        return Vec::new();
    };
    let mut key = Vec::new();
    for item in items {
        match item.get_ref() {
            DeValue::String(name) => {
                let column = naming::column_name(name);
                key.push(Key { column, fallbacks: Vec::new(), show: None });
            }
            DeValue::Table(table) => key.extend(key_column(keys.inner(table.clone()), item.span().start)),
            _ => keys.wrong(
                item.span().start,
                "a key column is a name, or { column = \"…\", or = [[\"prefix:\", \"field\"]] }",
            ),
        }
    }
    key
}

fn key_column(mut keys: Keys<'_, '_>, at: usize) -> Option<Key> {
    let column = keys.text("column").map(|(name, _)| naming::column_name(&name));
    if column.is_none() {
        keys.wrong(at, "`column` is missing");
    }
    let fallbacks = keys.value("or").map(|value| {
        let pairs = value.get_ref().as_array().into_iter().flatten();
        let read: Option<Vec<_>> = pairs
            .map(|pair| {
                match pair.get_ref().as_array()?.iter().map(|i| i.get_ref().as_str()).collect::<Vec<_>>()[..]
                {
                    [Some(prefix), Some(field)] => Some((prefix.to_owned(), field.to_owned())),
                    _ => None,
                }
            })
            .collect();
        read.unwrap_or_else(|| {
            keys.wrong(
                value.span().start,
                "`or` must be a list of pairs such as [[\"phone:\", \"phone_number\"]]",
            );
            Vec::new()
        })
    });
    let show = keys.text("show").map(|(name, _)| naming::column_name(&name));
    keys.finish();
    Some(Key { column: column?, fallbacks: fallbacks.unwrap_or_default(), show })
}

fn parent(mut keys: Keys<'_, '_>, at: usize) -> Option<Parent> {
    let table = keys.text("table").map(|(name, _)| name);
    let columns = keys.table("as").map(|(table, _)| {
        let pairs = table.iter();
        pairs
            .filter_map(|(ours, theirs)| {
                let theirs = naming::column_name(theirs.get_ref().as_str()?);
                Some((naming::column_name(ours.get_ref()), theirs))
            })
            .collect::<BTreeMap<_, _>>()
    });
    if table.is_none() || columns.as_ref().is_none_or(BTreeMap::is_empty) {
        keys.wrong(at, "`parent` needs `table` and `as`: { table = \"tests\", as = { test_id = \"id\" } }");
    }
    keys.finish();
    Some(Parent { table: table?, columns: columns? })
}

fn cursor(mut keys: Keys<'_, '_>, at: usize, columns: &BTreeMap<String, ColumnRule>) -> Option<Cursor> {
    let field = keys.text("field");
    if field.is_none() {
        keys.wrong(at, "`field` of the cursor is missing");
    }
    if let Some((name, at)) = &field
        && columns.get(name) == Some(&ColumnRule::Drop)
    {
        keys.wrong(*at, format!("the cursor needs the column {name:?}, which `columns` drops"));
    }
    let format = match keys.text("format").map(|(format, _)| format).as_deref() {
        None | Some("rfc3339") => CursorFormat::Rfc3339,
        Some("epoch") => CursorFormat::EpochSeconds,
        Some("epoch_ms") => CursorFormat::EpochMillis,
        Some("date") => CursorFormat::Date,
        Some("plain") => CursorFormat::Plain,
        Some(letters) if letters.contains('%') => CursorFormat::Strftime(letters.to_owned()),
        Some(other) => {
            keys.wrong(at, format!("`format` is {other:?}; it must be rfc3339, epoch, epoch_ms, date, plain or strftime letters"));
            CursorFormat::Plain
        }
    };
    let orders = [
        ("asc", CursorOrder::Ascending),
        ("desc", CursorOrder::Descending),
        ("unknown", CursorOrder::Unknown),
    ];
    let order = one_of(&mut keys, "order", &orders).unwrap_or(CursorOrder::Unknown);
    let param = keys.text("param").map(|(name, _)| name);
    if param.is_none() && order != CursorOrder::Descending {
        keys.wrong(at, "a cursor without `param` can only stop at stored rows, which needs order = \"desc\"");
    }
    let cursor = Cursor {
        column: field.map(|(name, _)| column_of(&name, columns)).unwrap_or_default(),
        param,
        format,
        start: candidates(&mut keys, "start"),
        lookback: keys.duration("lookback", Duration::ZERO).unwrap_or_default(),
        order,
    };
    keys.finish();
    Some(cursor)
}

/// The final name of a source field's column.
fn column_of(source: &str, columns: &BTreeMap<String, ColumnRule>) -> String {
    match columns.get(source) {
        Some(ColumnRule::Keep { name: Some(name), .. }) => name.clone(),
        _ => match source.rsplit_once('.') {
            Some((object, name)) => naming::column_name(&format!("{}_{name}", column_of(object, columns))),
            None => naming::column_name(source),
        },
    }
}

fn window(mut keys: Keys<'_, '_>, at: usize) -> Option<Window> {
    let from = keys.text("from").map(|(name, _)| name);
    let to = keys.text("to").map(|(name, _)| name);
    let start = candidates(&mut keys, "start");
    if from.is_none() || to.is_none() || start.is_empty() {
        keys.wrong(at, "`window` needs `from`, `to` and `start`");
    }
    let ends = [("exclusive", WindowEnd::Exclusive), ("inclusive", WindowEnd::Inclusive)];
    let zone = keys.text("tz").map_or_else(
        || "UTC".to_owned(),
        |(zone, at)| {
            if jiff::tz::TimeZone::get(&zone).is_err() {
                keys.wrong(at, format!("`tz` {zone:?} is not a time zone known to this machine"));
            }
            zone
        },
    );
    let window = Window {
        from: from.unwrap_or_default(),
        to: to.unwrap_or_default(),
        format: keys.text("format").map_or_else(|| "%Y-%m-%d".to_owned(), |(format, _)| format),
        start,
        step_days: days(&mut keys, "step", 1).unwrap_or(30),
        end: one_of(&mut keys, "end", &ends).unwrap_or(WindowEnd::Exclusive),
        lookback_days: days(&mut keys, "lookback", 0).unwrap_or(0),
        ahead_days: days(&mut keys, "ahead", 0).unwrap_or(0),
        halve_to_days: days(&mut keys, "halve_to", 1),
        zone,
        changes: keys.table("changes").and_then(|(table, at)| changes(keys.inner(table), at)),
    };
    keys.finish();
    Some(window)
}

fn changes(mut keys: Keys<'_, '_>, at: usize) -> Option<ChangeFilter> {
    let from = keys.text("from").map(|(name, _)| name);
    if from.is_none() {
        keys.wrong(at, "`from` is missing");
    }
    let filter = ChangeFilter {
        from: from.unwrap_or_default(),
        to: keys.text("to").map(|(name, _)| name),
        lookback_days: days(&mut keys, "lookback", 0).unwrap_or(1),
        step_days: days(&mut keys, "step", 1).unwrap_or(30),
    };
    keys.finish();
    Some(filter)
}

/// A number of whole days, written as `"30d"`.
fn days(keys: &mut Keys<'_, '_>, key: &'static str, least: u32) -> Option<u32> {
    let (text, at) = keys.text(key)?;
    let days = text.strip_suffix('d').and_then(|n| n.parse().ok()).filter(|n| (least..=36_500).contains(n));
    if days.is_none() {
        keys.wrong(at, format!("`{key}` must be whole days such as \"30d\", at least {least}"));
    }
    days
}

/// One template, or several; the first whose configuration is set is used.
fn candidates(keys: &mut Keys<'_, '_>, key: &'static str) -> Vec<Template> {
    let Some(value) = keys.value(key) else { return Vec::new() };
    let at = value.span().start;
    let texts: Vec<Option<String>> = match value.get_ref().as_array() {
        Some(items) => items.iter().map(|item| scalar(item.get_ref())).collect(),
        None => vec![scalar(value.get_ref())],
    };
    let templates = texts.into_iter().map(|text| text.and_then(|text| template_of(keys, key, &text, at)));
    let all: Vec<Option<Template>> = templates.collect();
    if all.iter().any(Option::is_none) {
        keys.wrong(at, format!("`{key}` must be a text or a list of texts"));
    }
    all.into_iter().flatten().collect()
}

fn columns<'a>(keys: &mut Keys<'_, 'a>, table: &DeTable<'a>) -> BTreeMap<String, ColumnRule> {
    let mut out = BTreeMap::new();
    for (name, value) in table {
        let at = value.span().start;
        let rule = match value.get_ref() {
            DeValue::String(word) if word == "drop" => Some(ColumnRule::Drop),
            DeValue::Table(rule) => Some(column(keys.inner(rule.clone()))),
            _ => {
                keys.wrong(
                    at,
                    format!(
                        "the column `{}` must be \"drop\" or a table with name, type or from",
                        name.get_ref()
                    ),
                );
                None
            }
        };
        out.extend(rule.map(|rule| (name.get_ref().to_string(), rule)));
    }
    out
}

fn column(mut keys: Keys<'_, '_>) -> ColumnRule {
    let kinds = [
        ("boolean", ColumnKind::Boolean),
        ("bigint", ColumnKind::Bigint),
        ("double", ColumnKind::Double),
        ("decimal", ColumnKind::Decimal),
        ("date", ColumnKind::Date),
        ("timestamp", ColumnKind::Timestamp),
        ("epoch", ColumnKind::EpochSeconds),
        ("epoch_ms", ColumnKind::EpochMillis),
        ("text", ColumnKind::Text),
        ("json", ColumnKind::Json),
    ];
    let rule = ColumnRule::Keep {
        name: keys.text("name").map(|(name, _)| naming::column_name(&name)),
        kind: one_of(&mut keys, "type", &kinds),
        from: keys.text("from").map(|(field, _)| field),
    };
    keys.finish();
    rule
}

fn deletes(keys: &mut Keys<'_, '_>) -> Option<f64> {
    let snapshot = one_of(keys, "deletes", &[("keep", false), ("snapshot", true)]).unwrap_or(false);
    let share = keys.value("max_share").map(|value| {
        let share = scalar(value.get_ref())
            .and_then(|text| text.parse::<f64>().ok())
            .filter(|s| (0.0..=1.0).contains(s));
        share.unwrap_or_else(|| {
            keys.wrong(value.span().start, "`max_share` must be between 0 and 1");
            MAX_SHARE
        })
    });
    snapshot.then(|| share.unwrap_or(MAX_SHARE))
}

/// The column that marks deleted rows. It is declared as a boolean, so that it exists before the first row.
fn deleted_if(
    keys: &mut Keys<'_, '_>,
    columns: &mut BTreeMap<String, ColumnRule>,
    key: &[Key],
    write: Write,
    nested: Nested,
) -> Option<String> {
    let (field, at) = keys.text("deleted_if")?;
    let column = column_of(&field, columns);
    let within =
        |source: &str| field.strip_prefix(source).is_some_and(|r| r.is_empty() || r.starts_with('.'));
    let dropped = columns.iter().any(|(source, rule)| *rule == ColumnRule::Drop && within(source));
    let untyped = ColumnRule::Keep { name: None, kind: None, from: None };
    let typed = match columns.entry(field.clone()).or_insert(untyped) {
        ColumnRule::Drop => false,
        ColumnRule::Keep { kind, .. } => *kind.get_or_insert(ColumnKind::Boolean) != ColumnKind::Boolean,
    };
    for (wrong, why) in [
        (field.is_empty(), "names no field"),
        (write != Write::Upsert, "needs write = \"upsert\": only upserted rows can be marked deleted"),
        (dropped, "names a field that `columns` drops"),
        (typed, "names a field that `columns` declares with a type other than boolean"),
        (key.iter().any(|key| key.column == column), "names a column of the key"),
        (
            nested == Nested::Json && field.contains('.'),
            "cannot name a field inside an object that nested = \"json\" stores as one column",
        ),
    ] {
        if wrong {
            keys.wrong(at, format!("`deleted_if` {why}"));
        }
    }
    Some(column)
}

fn enabled(keys: &mut Keys<'_, '_>) -> Enabled {
    let Some(value) = keys.value("enabled") else { return Enabled::Fixed(true) };
    let at = value.span().start;
    match value.get_ref() {
        DeValue::Boolean(yes) => Enabled::Fixed(*yes),
        DeValue::Table(table) => {
            let mut keys = keys.inner(table.clone());
            let (list, has) = (keys.text("list"), keys.text("has"));
            keys.finish();
            match list.zip(has) {
                Some(((list, _), (has, _))) => Enabled::Listed { list, has },
                None => Enabled::Fixed(true),
            }
        }
        _ => {
            keys.wrong(at, "`enabled` must be true, false, or { list = \"…\", has = \"…\" }");
            Enabled::Fixed(true)
        }
    }
}
