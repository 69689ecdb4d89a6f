//! `engines/*.toml` → status page engines.
//!
//! The built-in engines are compiled in; a folder of a user's own adds to them, or replaces one of the same name. Start at
//! [`load`].

mod read;
mod rules;
mod values;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use toml::de::DeTable;
use url::Url;

use super::keys::{File, Keys};
use super::{DefinitionError, misnamed, toml_files};
use crate::domain::monitoring::engine::{Engine, RollUp, TimeRules};
use values::Context;

macro_rules! built_in {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../../engines/", $name, ".toml")))),+]
    };
}

/// The engines that are compiled in, in the order in which they are tried at an unknown page: engines that answer like
/// another one come before it.
pub const BUILT_IN: &[(&str, &str)] = built_in![
    "incidentio",
    "statuspage",
    "betterstack",
    "instatus",
    "statuscast",
    "hyperping",
    "rootly",
    "sorry",
    "cachet",
    "gatus",
    "uptime-kuma",
    "openstatus",
    "upptime",
    "aws",
    "azure-devops",
    "google",
    "heroku",
    "microsoft",
    "oci",
    "salesforce",
    "slack",
    "stripe",
    "zendesk",
    "statusio",
    "freshstatus",
    "incidentio-proxy",
    "feed",
    "http",
];

/// Engines by name.
pub type Engines = BTreeMap<String, Arc<Engine>>;

/// The built-in engines. A test parses all of them.
pub fn built_in() -> &'static Engines {
    static ENGINES: LazyLock<Engines> = LazyLock::new(|| {
        let read = BUILT_IN.iter().filter_map(|(name, text)| read_one(name, text).ok());
        read.map(|engine| (engine.name.clone(), Arc::new(engine))).collect()
    });
    &ENGINES
}

/// The built-in engines and those of a folder, which may be missing.
///
/// # Errors
/// Every configuration error of every file, and names that two files use.
pub fn load(folder: &Path) -> Result<Engines, Vec<DefinitionError>> {
    let files = match toml_files(folder) {
        Ok(files) => files,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(built_in().clone()),
        Err(e) => {
            let message = format!("cannot be read: {e}");
            return Err(vec![DefinitionError { file: folder.display().to_string(), at: None, message }]);
        }
    };
    let (mut engines, mut errors) = (built_in().clone(), misnamed(folder));
    let mut own = BTreeMap::new();
    for path in files {
        let file = path.display().to_string();
        let whole = |message: String| DefinitionError { file: file.clone(), at: None, message };
        match std::fs::read_to_string(&path) {
            Err(e) => errors.push(whole(format!("cannot be read: {e}"))),
            Ok(text) => match read_one(&file, &text) {
                Err(more) => errors.extend(more),
                Ok(engine) => match own.insert(engine.name.clone(), file.clone()) {
                    Some(other) => {
                        errors.push(whole(format!("the engine `{}` is already in {other}", engine.name)))
                    }
                    None => drop(engines.insert(engine.name.clone(), Arc::new(engine))),
                },
            },
        }
    }
    if errors.is_empty() { Ok(engines) } else { Err(errors) }
}

/// The order in which engines are tried at an unknown page: a user's own first, then as in [`BUILT_IN`].
pub fn detection_order(engines: &Engines) -> Vec<Arc<Engine>> {
    let position = |engine: &Arc<Engine>| BUILT_IN.iter().position(|(name, _)| *name == engine.name);
    let mut order: Vec<Arc<Engine>> = engines.values().cloned().collect();
    order.sort_by_key(position);
    order
}

/// Reads one definition.
///
/// # Errors
/// Every configuration error in it.
pub fn read_one(file: &str, text: &str) -> Result<Engine, Vec<DefinitionError>> {
    let mut file = File::new(file, text.trim_start_matches('\u{feff}'));
    let engine = file.parse().map(|table| engine(&mut file, table));
    match engine.flatten() {
        Some(engine) if file.errors.is_empty() => Ok(engine),
        _ => {
            file.errors.sort_by_key(|error| error.at);
            Err(file.errors)
        }
    }
}

fn engine<'a>(file: &mut File<'a>, table: DeTable<'a>) -> Option<Engine> {
    let mut keys = Keys::of(file, table);
    if keys.count("format") != Some(1) {
        keys.missing("`format` must be 1 (the version of this format)");
    }
    let head = head(&mut keys);
    let mut context = Context {
        reads: Vec::new(),
        maps: values::maps(&mut keys),
        options: head.needs.keys().chain(head.options.keys()).cloned().collect(),
    };
    let reads = read::reads(&mut keys, &mut context);
    let times = times(&mut keys);
    let overall = rules::overall(&mut keys, &context);
    let components = keys.table("components");
    let components = components.map(|(table, _)| rules::components(keys.inner(table), &context));
    let incidents = keys.table("incidents");
    let incidents = incidents.map(|(table, _)| rules::incidents(keys.inner(table), &context));
    let maintenances = keys.table("maintenances");
    let maintenances = maintenances.map(|(table, _)| rules::maintenances(keys.inner(table), &context));
    let mut overall = overall.unwrap_or_else(rules::no_overall);
    if overall.state.is_empty() && overall.from == RollUp::State {
        overall.from = if components.is_some() { RollUp::Components } else { RollUp::Incidents };
    }
    if overall.from == RollUp::Components && components.is_none()
        || (overall.from == RollUp::Incidents || overall.floor) && incidents.is_none()
    {
        keys.missing(
            "nothing says the state of a page: [overall] `state`, [components] or [incidents] is needed",
        );
    }
    keys.finish();
    Some(Engine {
        name: head.name?,
        hosts: head.hosts,
        root: head.root,
        whole_url: head.whole_url,
        needs: head.needs,
        options: head.options,
        defaults: head.defaults,
        spacing: head.spacing,
        reads,
        overall,
        components,
        incidents,
        maintenances,
        times,
    })
}

#[derive(Default)]
struct EngineHead {
    name: Option<String>,
    hosts: Vec<String>,
    root: Option<Url>,
    whole_url: bool,
    needs: BTreeMap<String, String>,
    options: BTreeMap<String, String>,
    defaults: BTreeMap<String, String>,
    spacing: Duration,
}

fn head(keys: &mut Keys<'_, '_>) -> EngineHead {
    let Some((table, _)) = keys.table("engine") else {
        keys.missing("[engine] is missing (example: [engine] name = \"acme\")");
        return EngineHead::default();
    };
    let mut keys = keys.inner(table);
    let mut head = EngineHead { hosts: keys.texts("hosts").unwrap_or_default(), ..EngineHead::default() };
    match keys.text("name") {
        Some((name, at)) => {
            let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if name.is_empty() || !name.chars().all(letter) {
                keys.wrong(at, "`name` must be lower-case letters, digits and hyphens");
            } else {
                head.name = Some(name);
            }
        }
        None => keys.missing("`name` is missing in [engine]"),
    }
    if let Some((root, at)) = keys.text("root") {
        match Url::parse(&root).map(|url| (url.scheme() == "https" && url.path().ends_with('/'), url)) {
            Ok((true, url)) => head.root = Some(url),
            _ => keys.wrong(at, "`root` must be an address that begins with https:// and ends with /"),
        }
    }
    head.whole_url = keys.flag("whole_url").unwrap_or(false);
    head.needs = values::hints(&mut keys, "needs");
    head.options = values::hints(&mut keys, "options");
    let place = keys.place("defaults");
    head.defaults = values::hints(&mut keys, "defaults");
    for name in head.defaults.keys().filter(|name| !head.options.contains_key(*name)) {
        keys.wrong(place.unwrap_or_default(), format!("`defaults`: `{name}` is not one of `options`"));
    }
    head.spacing = keys.duration("spacing", Duration::from_secs(1)).unwrap_or_default();
    keys.finish();
    head
}

fn times(keys: &mut Keys<'_, '_>) -> TimeRules {
    let zone = "UTC".to_owned();
    let Some((table, _)) = keys.table("time") else {
        return TimeRules { formats: vec![values::TIME_FORMATS[0].1], zone };
    };
    let mut keys = keys.inner(table);
    let formats = values::time_formats(&mut keys);
    let zone = keys.text("zone").map_or(zone, |(zone, at)| {
        if jiff::tz::TimeZone::get(&zone).is_err() {
            keys.wrong(at, format!("`zone`: {zone:?} is not a time zone (example: \"America/Los_Angeles\")"));
        }
        zone
    });
    keys.finish();
    TimeRules { formats, zone }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_engines_are_valid() {
        for (name, text) in BUILT_IN {
            let engine = read_one(name, text).unwrap_or_else(|errors| {
                panic!("{name}: {}", errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
            });
            assert_eq!(engine.name, *name);
            assert!(engine.reads.len() <= 3, "{name}");
        }
        assert_eq!(built_in().len(), BUILT_IN.len());
    }

    #[test]
    fn the_address_of_a_document_stays_on_its_host() {
        let errors = |address: &str| {
            let text = format!(
                "format = 1\n[engine]\nname = \"a\"\nneeds = {{ id = \"an id\" }}\n[[read]]\n{address}\n\
                [overall]\nstate = \"s\"\nmap = {{ none = \"ok\" }}\n"
            );
            read_one("a.toml", &text)
                .err()
                .unwrap_or_default()
                .iter()
                .map(ToString::to_string)
                .collect::<String>()
        };
        for fine in
            ["path = \"a/${id}/${host}.json\"", "path = \"/a.json\"", "url = \"https://a.test/${id}\""]
        {
            assert_eq!(errors(fine), "", "{fine}");
        }
        for (wrong, want) in [
            ("path = \"//b.test/x\"", "a.toml:6:8: `path` must be below the page"),
            ("path = \"https://b.test/x\"", "a.toml:6:8: `path` must be below the page"),
            ("path = \"\\\\b.test/x\"", "a.toml:6:8: `path` must be below the page"),
            ("path = \"a/${ids}\"", "a.toml:6:8: `path`: `${ids}` is not one of the options: id"),
            (
                "url = \"https://a.test/${root}\"",
                "a.toml:6:7: `url`: `${root}` is not one of the options: id",
            ),
            ("url = \"https://a.test\\\\${id}\"", "a.toml:6:7: `url` must begin with https://"),
        ] {
            assert!(errors(wrong).contains(want), "{wrong}: {}", errors(wrong));
        }
    }

    #[test]
    fn every_error_is_reported_with_its_line() {
        let text = r#"format = 1
[engine]
name = "acme"
options = { region = "a region" }
defaults = { regoin = "eu" }
[[read]]
path = "a.json"
empty_if = [{ path = "status" }]
[components]
state = "state"
state_if = [{ path = "over", absent = true }]
[incidents]
list = "page: list[]"
open = [{ path = "a", is = 1, not = 2 }, { path = "b[", matches = "${x" }]
touches_parts = 5
"#;
        let errors = read_one("acme.toml", text).unwrap_err();
        let shown: Vec<String> = errors.iter().map(ToString::to_string).collect();
        for want in [
            "acme.toml:5:",
            "`regoin` is not one of `options`",
            "acme.toml:8:",
            "a condition has a `path` and one test",
            "acme.toml:10:1: [components] needs `list` and `name`",
            "acme.toml:11:",
            "`state_if` belongs to `state_from`",
            "acme.toml:14:",
            "acme.toml:15:",
        ] {
            assert!(shown.iter().any(|line| line.contains(want)), "{want}: {shown:#?}");
        }
    }
}
