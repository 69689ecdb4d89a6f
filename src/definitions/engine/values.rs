//! The kinds of values in an engine's definition: paths, sources, templates, conditions, word maps.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::super::keys::Keys;
use crate::domain::monitoring::engine::{
    EngineTemplate, EntryCondition, Glob, Join, Path, Source, Test, TimeFormat, WordMap,
};
use crate::domain::monitoring::severity::Severity;
use crate::domain::text;

/// What the other tables of a definition refer to.
pub(super) struct Context {
    /// The ids of the documents.
    pub(super) reads: Vec<String>,
    pub(super) maps: BTreeMap<String, WordMap>,
    /// The names of the options that a monitor must or may set.
    pub(super) options: Vec<String>,
}

pub(super) const TIME_FORMATS: [(&str, TimeFormat); 7] = [
    ("rfc3339", TimeFormat::Rfc3339),
    ("rfc2822", TimeFormat::Rfc2822),
    ("epoch", TimeFormat::Epoch),
    ("epoch_ms", TimeFormat::EpochMs),
    ("epoch_auto", TimeFormat::EpochAuto),
    ("js", TimeFormat::Js),
    ("naive", TimeFormat::Naive),
];

/// A text or a list of texts, each with its position.
pub(super) fn texts(keys: &mut Keys<'_, '_>, key: &'static str) -> Vec<(String, usize)> {
    let Some(value) = keys.value(key) else { return Vec::new() };
    let of = |value: &Spanned<DeValue<'_>>| {
        value.get_ref().as_str().map(|text| (text.to_owned(), value.span().start))
    };
    let read = match value.get_ref() {
        DeValue::Array(items) => items.iter().map(of).collect::<Option<Vec<_>>>(),
        _ => of(&value).map(|one| vec![one]),
    };
    read.unwrap_or_else(|| {
        keys.wrong(value.span().start, format!("`{key}` must be a text in quotes or a list of them"));
        Vec::new()
    })
}

/// The first path that is present counts.
pub(super) fn paths(keys: &mut Keys<'_, '_>, key: &'static str) -> Vec<Path> {
    let texts = texts(keys, key).into_iter();
    texts.filter_map(|(text, at)| parsed(keys, key, at, Path::parse(&text))).collect()
}

pub(super) fn path(keys: &mut Keys<'_, '_>, key: &'static str) -> Option<Path> {
    let (text, at) = keys.text(key)?;
    parsed(keys, key, at, Path::parse(&text))
}

fn parsed<T, E: ToString>(keys: &mut Keys<'_, '_>, key: &str, at: usize, result: Result<T, E>) -> Option<T> {
    result.map_err(|error| keys.wrong(at, format!("`{key}`: {}", error.to_string()))).ok()
}

/// Paths into documents: `document: path`, or only a path into the first one.
pub(super) fn sources(keys: &mut Keys<'_, '_>, key: &'static str, context: &Context) -> Vec<Source> {
    let texts = texts(keys, key).into_iter();
    texts.filter_map(|(text, at)| source_of(keys, key, &text, at, context)).collect()
}

pub(super) fn source(keys: &mut Keys<'_, '_>, key: &'static str, context: &Context) -> Option<Source> {
    let (text, at) = keys.text(key)?;
    source_of(keys, key, &text, at, context)
}

fn source_of(keys: &mut Keys<'_, '_>, key: &str, text: &str, at: usize, context: &Context) -> Option<Source> {
    let (read, path) = match text.split_once(':') {
        None => (0, text),
        Some((id, path)) => match context.reads.iter().position(|read| read == id.trim()) {
            Some(read) => (read, path),
            None => {
                let known = context.reads.join(", ");
                keys.wrong(at, format!("`{key}`: no [[read]] has the id `{id}`; known: {known}"));
                return None;
            }
        },
    };
    parsed(keys, key, at, Path::parse(path)).map(|path| Source { read, path })
}

pub(super) fn template(
    keys: &mut Keys<'_, '_>,
    key: &'static str,
    context: &Context,
) -> Option<EngineTemplate> {
    let (text, at) = keys.text(key)?;
    template_of(keys, key, &text, at, context)
}

fn template_of(
    keys: &mut Keys<'_, '_>,
    key: &str,
    text: &str,
    at: usize,
    context: &Context,
) -> Option<EngineTemplate> {
    let option = |name: &str| context.options.iter().any(|option| option == name);
    parsed(keys, key, at, EngineTemplate::parse(text, option))
}

/// A map by name, or a table of severities and words.
pub(super) fn map(keys: &mut Keys<'_, '_>, key: &'static str, context: &Context) -> Option<WordMap> {
    let value = keys.value(key)?;
    let at = value.span().start;
    match value.into_inner() {
        DeValue::String(name) => {
            let found = context.maps.get(name.as_ref());
            if found.is_none() {
                keys.wrong(at, format!("`{key}`: there is no table [map.{name}]"));
            }
            found.cloned()
        }
        DeValue::Table(table) => Some(word_map(keys, table)),
        _ => {
            keys.wrong(at, format!("`{key}` must be the name of a [map.…] or a table {{ none = [\"ok\"] }}"));
            None
        }
    }
}

/// The tables `[map.NAME]`.
pub(super) fn maps(keys: &mut Keys<'_, '_>) -> BTreeMap<String, WordMap> {
    let mut maps = BTreeMap::new();
    let Some((tables, _)) = keys.table("map") else { return maps };
    for (name, value) in tables {
        let at = value.span().start;
        match value.into_inner() {
            DeValue::Table(table) => drop(maps.insert(name.get_ref().to_string(), word_map(keys, table))),
            _ => keys.wrong(at, "must be a table of severities and words: minor = [\"degraded\"]"),
        }
    }
    maps
}

fn word_map(keys: &mut Keys<'_, '_>, table: DeTable<'_>) -> WordMap {
    let mut map = WordMap::default();
    for (severity, list) in table {
        let at = severity.span().start;
        let Ok(severity) = severity.get_ref().parse::<Severity>() else {
            keys.wrong(
                at,
                format!(
                    "`{}` is not a severity: none, maintenance, minor, major or critical",
                    severity.get_ref()
                ),
            );
            continue;
        };
        let items = match list.get_ref() {
            DeValue::Array(items) => items.iter().collect(),
            _ => vec![&list],
        };
        for item in items {
            let at = item.span().start;
            match word(item.get_ref()) {
                None => keys.wrong(at, "must be a word in quotes, a number, true or false"),
                Some(word) if !map.insert(&word, severity) => {
                    keys.wrong(at, format!("`{word}` is already mapped to another severity"));
                }
                Some(_) => {}
            }
        }
    }
    map
}

/// A word as it is compared: a text, a number or a flag.
fn word(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Boolean(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// Paths, or a table of a path and words that replace the page's own: `{ path = "state", map = { 100 = "open" } }`. The keys
/// of the map are folded.
pub(super) fn worded(keys: &mut Keys<'_, '_>, key: &'static str) -> (Vec<Path>, BTreeMap<String, String>) {
    if !keys.is_table(key) {
        return (paths(keys, key), BTreeMap::new());
    }
    let Some((table, _)) = keys.table(key) else { return (Vec::new(), BTreeMap::new()) };
    let mut keys = keys.inner(table);
    let paths = paths(&mut keys, "path");
    let words = hints(&mut keys, "map").into_iter();
    let words = words.map(|(from, to)| (text::folded(&from), to)).collect();
    keys.finish();
    (paths, words)
}

/// `beats: heartbeatList.${id}[-1].status` or `affected[component=${id}].status`.
pub(super) fn join(keys: &mut Keys<'_, '_>, text: &str, at: usize, context: &Context) -> Option<Join> {
    let (before, after) = text.split_once("${id}")?;
    let whole = |text: &str| if text.is_empty() { ".".to_owned() } else { text.to_owned() };
    let (list, by, state) = match before.strip_suffix('=') {
        Some(filter) => {
            let (list, field) = filter.rsplit_once('[')?;
            let state = after.strip_prefix(']')?;
            (
                format!("{list}[]"),
                Some(Path::parse(field).ok()?),
                whole(state.strip_prefix('.').unwrap_or(state)),
            )
        }
        None => (whole(before.strip_suffix('.')?), None, whole(after.strip_prefix('.').unwrap_or(after))),
    };
    let list = source_of(keys, "state_from", &list, at, context)?;
    Some(Join { list, by, only: Vec::new(), state: Path::parse(&state).ok()?, absent: None })
}

/// A table of texts.
pub(super) fn hints(keys: &mut Keys<'_, '_>, key: &'static str) -> BTreeMap<String, String> {
    let mut hints = BTreeMap::new();
    let Some((table, _)) = keys.table(key) else { return hints };
    for (name, value) in table {
        match value.get_ref().as_str() {
            Some(text) => drop(hints.insert(name.get_ref().to_string(), text.to_owned())),
            None => keys.wrong(value.span().start, format!("`{key}`: must be a text in quotes")),
        }
    }
    hints
}

pub(super) fn time_formats(keys: &mut Keys<'_, '_>) -> Vec<TimeFormat> {
    let mut formats = Vec::new();
    for (text, at) in texts(keys, "formats") {
        match TIME_FORMATS.iter().find(|(name, _)| *name == text) {
            Some((_, format)) => formats.push(*format),
            None => {
                let known = TIME_FORMATS.map(|(name, _)| name).join(", ");
                keys.wrong(at, format!("`formats`: unknown format `{text}`; known: {known}"));
            }
        }
    }
    formats
}

/// A list of conditions, all of which must hold.
pub(super) fn conditions(
    keys: &mut Keys<'_, '_>,
    key: &'static str,
    context: &Context,
) -> Vec<EntryCondition> {
    let tables = keys.tables(key).unwrap_or_default();
    tables.into_iter().filter_map(|(table, at)| condition(keys.inner(table), at, context)).collect()
}

const TESTS: &str = "is, not, allows, present, absent, before, after, matches, lacks";

fn condition(mut keys: Keys<'_, '_>, at: usize, context: &Context) -> Option<EntryCondition> {
    let paths = paths(&mut keys, "path");
    let if_present = keys.flag("if_present").unwrap_or(false);
    let mut tests = Vec::new();
    for key in ["is", "not", "allows"] {
        if let Some(words) = words(&mut keys, key, context) {
            tests.push(match key {
                "is" => Test::Is(words),
                "not" => Test::Not(words),
                _ => Test::Allows(words),
            });
        }
    }
    for (key, present, absent) in
        [("present", Test::Present, Test::Absent), ("absent", Test::Absent, Test::Present)]
    {
        if let Some(flag) = keys.flag(key) {
            tests.push(if flag { present } else { absent });
        }
    }
    for key in ["before", "after"] {
        let Some((text, at)) = keys.text(key) else { continue };
        match moment(&text) {
            Some(seconds) => {
                tests.push(if key == "before" { Test::Before(seconds) } else { Test::After(seconds) })
            }
            None => keys.wrong(at, format!("`{key}` must be \"now\", \"now - 24h\" or \"now + 2h\"")),
        }
    }
    for key in ["matches", "lacks"] {
        let texts = texts(&mut keys, key).into_iter();
        let globs: Vec<Glob> = texts
            .filter_map(|(text, at)| template_of(&mut keys, key, &text, at, context))
            .map(Glob::new)
            .collect();
        if !globs.is_empty() {
            tests.push(if key == "matches" { Test::Matches(globs) } else { Test::Lacks(globs) });
        }
    }
    let test = tests.pop();
    if paths.is_empty() || test.is_none() || !tests.is_empty() {
        keys.wrong(at, format!("a condition has a `path` and one test: {TESTS}"));
    }
    keys.finish();
    Some(EntryCondition { paths, test: test?, if_present })
}

fn words(keys: &mut Keys<'_, '_>, key: &'static str, context: &Context) -> Option<Vec<EngineTemplate>> {
    let value = keys.value(key)?;
    let items = match value.get_ref() {
        DeValue::Array(items) => items.iter().collect(),
        _ => vec![&value],
    };
    let mut words = Vec::new();
    for item in items {
        let at = item.span().start;
        match word(item.get_ref()) {
            Some(word) => words.extend(template_of(keys, key, &word, at, context)),
            None => keys
                .wrong(at, format!("`{key}` must be a word in quotes, a number, true or false, or a list")),
        }
    }
    Some(words)
}

/// `now`, `now - 24h`: in seconds from now.
fn moment(text: &str) -> Option<i64> {
    let rest = text.trim().strip_prefix("now")?.trim();
    if rest.is_empty() {
        return Some(0);
    }
    let (sign, span) =
        rest.strip_prefix('-').map(|span| (-1, span)).or_else(|| Some((1, rest.strip_prefix('+')?)))?;
    let span = crate::domain::monitoring::schedule::parse_duration(span.trim())?;
    Some(sign * i64::try_from(span.as_secs()).ok()?)
}
