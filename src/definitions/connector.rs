//! `connectors/*.toml` → connector definitions.
//!
//! Start at [`load`]. The built-in connectors are compiled in; a file of the same name replaces one.
//! Everything that does not depend on the configuration is checked here: unknown keys, invalid durations,
//! references to tables that do not exist.

mod http;
mod json;
mod page;
mod rules;
mod semantics;
mod table;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::keys::{File, Keys};
use super::{DefinitionError, misnamed, toml_files};
use crate::domain::syncing::definition::connector::{Arrays, Auth, Definition};
use crate::domain::syncing::definition::connector::{ConfigKey, ConfigKind};
use crate::domain::syncing::definition::template::Template;

/// The supported version of the format.
const FORMAT: u32 = 1;
/// No source changes faster, and third-party servers must not be overloaded.
const MIN_EVERY: Duration = Duration::from_secs(1);
/// The default interval between two runs.
const DEFAULT_EVERY: Duration = Duration::from_secs(15 * 60);
/// Names in use by the program: the state database is `monitor.db`, or this schema in PostgreSQL.
const RESERVED: [&str; 2] = ["monitor", "data_sources_monitor"];

pub const BUILT_IN: [(&str, &str); 3] = [
    ("people_ai.toml", include_str!("../../connectors/people_ai.toml")),
    ("sensource.toml", include_str!("../../connectors/sensource.toml")),
    ("statuscake.toml", include_str!("../../connectors/statuscake.toml")),
];

/// Reads the built-in connectors and the folder, which need not exist. Sorted by name.
///
/// # Errors
/// Every configuration error of every file, and duplicate names.
pub fn load(folder: &Path) -> Result<Vec<Definition>, Vec<DefinitionError>> {
    let unreadable = |file: &Path, e: &std::io::Error| {
        vec![DefinitionError {
            file: file.display().to_string(),
            at: None,
            message: format!("cannot be read: {e}"),
        }]
    };
    let files = match toml_files(folder) {
        Ok(files) => files,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(e) => return Err(unreadable(folder, &e)),
    };
    let mut errors = misnamed(folder);
    let mut texts = Vec::new();
    for path in files {
        match std::fs::read_to_string(&path) {
            Ok(text) => texts.push((path.display().to_string(), text)),
            Err(e) => errors.extend(unreadable(&path, &e)),
        }
    }
    match read_all(&texts) {
        Ok(definitions) if errors.is_empty() => Ok(definitions),
        Ok(_) => Err(errors),
        Err(more) => {
            errors.extend(more);
            Err(errors)
        }
    }
}

/// Reads definitions given as (file, text). They replace built-in ones of the same name.
///
/// # Errors
/// As [`load`].
pub fn read_all(files: &[(String, String)]) -> Result<Vec<Definition>, Vec<DefinitionError>> {
    let mut errors = Vec::new();
    let mut found: BTreeMap<String, Definition> = BTreeMap::new();
    for (file, text) in BUILT_IN {
        match read_one(file, text, &BTreeMap::new()) {
            Ok(definition) => drop(found.insert(definition.name.clone(), definition)),
            Err(more) => errors.extend(more),
        }
    }
    let mut owners: BTreeMap<String, &str> = BTreeMap::new();
    // A definition may extend another, so definitions without `extends` are read first.
    let (extending, alone): (Vec<_>, Vec<_>) = files.iter().partition(|(_, text)| extends(text));
    for (file, text) in alone.into_iter().chain(extending) {
        match read_one(file, text, &found) {
            Err(more) => errors.extend(more),
            Ok(definition) => {
                let name = definition.name.clone();
                if let Some(other) = owners.insert(name.clone(), file) {
                    let message =
                        format!("the name `{name}` is already used by {other}; names must be unique");
                    errors.push(DefinitionError { file: file.clone(), at: None, message });
                }
                found.insert(name, definition);
            }
        }
    }
    if errors.is_empty() { Ok(found.into_values().collect()) } else { Err(errors) }
}

fn extends(text: &str) -> bool {
    let table = DeTable::parse(text.trim_start_matches('\u{feff}')).ok();
    let connector = table.as_ref().and_then(|table| table.get_ref().get("connector")?.get_ref().as_table());
    connector.is_some_and(|connector| connector.contains_key("extends"))
}

/// Reads one definition; `others` are those it may extend.
///
/// # Errors
/// Every configuration error in it.
pub fn read_one(
    file: &str,
    text: &str,
    others: &BTreeMap<String, Definition>,
) -> Result<Definition, Vec<DefinitionError>> {
    let text = text.trim_start_matches('\u{feff}');
    let mut file = File::new(file, text);
    let read = file.parse().and_then(|table| read_file(&mut file, table, text, others));
    match read {
        Some(definition) if file.errors.is_empty() => Ok(definition),
        _ => {
            file.errors.sort_by_key(|error| error.at);
            Err(file.errors)
        }
    }
}

/// The content of `[connector]`.
struct Head {
    name: String,
    extends: Option<(String, usize)>,
    base_url: Option<Template>,
    /// Position of the base URL in the file.
    base_at: Option<usize>,
    check: Option<Template>,
    every: Option<Duration>,
    arrays: Option<Arrays>,
}

fn read_file<'a>(
    file: &mut File<'a>,
    table: DeTable<'a>,
    text: &str,
    others: &BTreeMap<String, Definition>,
) -> Option<Definition> {
    let mut keys = Keys::of(file, table);
    match keys.count("format") {
        Some(FORMAT) => {}
        Some(other) => {
            keys.missing(format!("`format = {other}` is not known; this program reads format {FORMAT}"))
        }
        None => keys.missing(format!("`format = {FORMAT}` is missing at the top")),
    }
    let head = match keys.table("connector") {
        Some((table, _)) => head(keys.inner(table)),
        None => {
            keys.missing("[connector] is missing: it gives the name and base_url");
            None
        }
    };
    let config = keys.table("config").map(|(table, _)| config(&mut keys, &table)).unwrap_or_default();
    let auth = keys.table("auth").map(|(table, at)| http::auth(keys.inner(table), at));
    let http = keys.table("http").map(|(table, _)| http::requests(keys.inner(table)));
    let tables = keys.tables("table").map(|tables| {
        tables.into_iter().filter_map(|(table, at)| table::read(keys.inner(table), at)).collect::<Vec<_>>()
    });
    let head = head?;
    if let Some((other, at)) = head.extends.clone() {
        let own = auth.is_some() || http.is_some() || tables.is_some();
        let definition = extended(&mut keys, head, config, own, (others.get(&other), &other, at), text);
        keys.finish();
        return definition;
    }
    let tables = tables.unwrap_or_default();
    if tables.is_empty() {
        keys.missing("no [[table]] is defined");
    }
    if head.base_url.is_none() {
        keys.missing("`base_url` is missing in [connector]");
    }
    let definition = Definition {
        name: head.name,
        base_url: head.base_url.unwrap_or_default(),
        check: head.check,
        every: head.every.unwrap_or(DEFAULT_EVERY),
        arrays: head.arrays.unwrap_or(Arrays::Json),
        config,
        auth: auth.flatten().unwrap_or(Auth::None),
        http: http.unwrap_or_default(),
        tables: Vec::new(),
        source: text.to_owned(),
    };
    semantics::address(&mut keys, &definition, head.base_at);
    let definition = semantics::check(&mut keys, definition, tables);
    keys.finish();
    Some(definition)
}

fn head(mut keys: Keys<'_, '_>) -> Option<Head> {
    let name = keys.text("name");
    if let Some((name, at)) = &name {
        let first = name.chars().next();
        let plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if !plain || name.len() > 40 || !first.is_some_and(|c| c.is_ascii_lowercase()) {
            keys.wrong(*at, format!("`name` must be a-z, 0-9 and _, begin with a letter and have at most 40 characters; {name:?} is not"));
        } else if RESERVED.contains(&name.as_str()) {
            keys.wrong(*at, format!("the name `{name}` is reserved for the program's own database"));
        }
    } else {
        keys.missing("`name` is missing in [connector]");
    }
    let head = Head {
        name: name.map(|(name, _)| name).unwrap_or_default(),
        extends: keys.text("extends"),
        base_at: keys.place("base_url"),
        base_url: template(&mut keys, "base_url"),
        check: template(&mut keys, "check"),
        every: keys.duration("every", MIN_EVERY),
        arrays: one_of(&mut keys, "arrays", &[("json", Arrays::Json), ("comma", Arrays::Comma)]),
    };
    keys.finish();
    Some(head)
}

/// A second account of a source: the other definition with the keys set here replaced.
fn extended(
    keys: &mut Keys<'_, '_>,
    head: Head,
    config: BTreeMap<String, ConfigKey>,
    own: bool,
    (base, name, at): (Option<&Definition>, &str, usize),
    text: &str,
) -> Option<Definition> {
    let Some(base) = base.filter(|base| base.name != head.name) else {
        keys.wrong(at, format!("`extends` names {name:?}, which is not another connector"));
        return None;
    };
    if own {
        keys.wrong(
            at,
            "with `extends`, tables, [auth] and [http] come from the other definition and cannot be set here",
        );
    }
    let mut definition = base.clone();
    definition.name = head.name;
    definition.base_url = head.base_url.unwrap_or(definition.base_url);
    definition.check = head.check.or(definition.check);
    definition.every = head.every.unwrap_or(definition.every);
    definition.arrays = head.arrays.unwrap_or(definition.arrays);
    definition.config.extend(config);
    definition.source = text.to_owned();
    semantics::address(keys, &definition, head.base_at);
    Some(definition)
}

fn config<'a>(keys: &mut Keys<'_, 'a>, table: &DeTable<'a>) -> BTreeMap<String, ConfigKey> {
    let mut config = BTreeMap::new();
    for (name, value) in table {
        let at = name.span().start;
        let name = name.get_ref().to_string();
        if !name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') {
            keys.wrong(at, format!("the key {name:?} must be a-z, 0-9 and _: variables are named after it"));
        }
        if crate::domain::syncing::definition::config::COMMON.contains(&name.as_str()) {
            keys.wrong(at, format!("`{name}` is a predefined key of every connector"));
        }
        let Some(table) = value.get_ref().as_table() else {
            keys.wrong(at, format!("`{name}` must be a table such as {{ type = \"secret\" }}"));
            continue;
        };
        config.insert(name, config_key(keys.inner(table.clone()), at));
    }
    config
}

fn config_key(mut keys: Keys<'_, '_>, at: usize) -> ConfigKey {
    let kinds = [
        ("secret", ConfigKind::Secret),
        ("string", ConfigKind::String),
        ("integer", ConfigKind::Integer),
        ("boolean", ConfigKind::Boolean),
        ("date", ConfigKind::Date),
        ("list", ConfigKind::List),
    ];
    let kind = one_of_needed(&mut keys, "type", &kinds, at);
    let default = keys.value("default").and_then(|value| {
        let text = scalar_or_list(value.get_ref());
        if text.is_none() {
            keys.wrong(value.span().start, "`default` must be a text, number, flag or list of texts");
        }
        text
    });
    let key = ConfigKey {
        kind: kind.unwrap_or(ConfigKind::String),
        default,
        optional: keys.flag("optional").unwrap_or(false),
        description: keys.text("description").map(|(text, _)| text),
    };
    keys.finish();
    key
}

fn scalar_or_list(value: &DeValue<'_>) -> Option<String> {
    match value.as_array() {
        None => scalar(value),
        Some(items) => items
            .iter()
            .map(|item| scalar(item.get_ref()))
            .collect::<Option<Vec<_>>>()
            .map(|all| all.join(",")),
    }
}

/// A text, number or flag as text.
fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Float(number) => Some(number.to_string()),
        DeValue::Boolean(flag) => Some(flag.to_string()),
        DeValue::Datetime(day) => Some(day.to_string()),
        DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

fn template(keys: &mut Keys<'_, '_>, key: &'static str) -> Option<Template> {
    let (text, at) = keys.text(key)?;
    template_of(keys, key, &text, at)
}

fn template_of(keys: &mut Keys<'_, '_>, key: &str, text: &str, at: usize) -> Option<Template> {
    match Template::parse(text) {
        Ok(template) => Some(template),
        Err(e) => {
            keys.wrong(at, format!("`{key}`: {e}"));
            None
        }
    }
}

/// A table of templates, such as parameters.
fn templates(keys: &mut Keys<'_, '_>, key: &'static str) -> BTreeMap<String, Template> {
    let Some((table, _)) = keys.table(key) else { return BTreeMap::new() };
    let mut out = BTreeMap::new();
    for (name, value) in &table {
        let at = value.span().start;
        match scalar(value.get_ref()) {
            Some(text) => {
                if let Some(template) = template_of(keys, name.get_ref(), &text, at) {
                    out.insert(name.get_ref().to_string(), template);
                }
            }
            None => keys.wrong(at, format!("`{}` must be a text, number or flag", name.get_ref())),
        }
    }
    out
}

/// One of the given words.
fn one_of<T: Clone>(keys: &mut Keys<'_, '_>, key: &'static str, words: &[(&str, T)]) -> Option<T> {
    let (text, at) = keys.text(key)?;
    let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| value.clone());
    if found.is_none() {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        keys.wrong(at, format!("`{key}` is {text:?}; it must be one of {}", known.join(", ")));
    }
    found
}

/// As [`one_of`], and required.
fn one_of_needed<T: Clone>(
    keys: &mut Keys<'_, '_>,
    key: &'static str,
    words: &[(&str, T)],
    at: usize,
) -> Option<T> {
    if !keys.has(key) {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        keys.wrong(at, format!("`{key}` is missing: one of {}", known.join(", ")));
    }
    one_of(keys, key, words)
}

#[cfg(test)]
mod tests;
