//! `monitors/*.toml` → monitors.
//!
//! Start at [`load`]. The four built-in monitors are compiled in and used if the folder does not exist.

mod page;

pub use page::page_root;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use toml::de::{DeTable, DeValue};

use super::engine::{self, Engines};
use super::keys::{File, Keys};
use super::{DefinitionError, misnamed, toml_files};
use crate::domain::monitoring::monitor::{DataStage, Freshness, Monitor, MonitorSource, Remap, Thresholds};
use crate::domain::monitoring::severity::Severity;

/// Longer names would leave no room for a description in the banner.
const MAX_NAME: usize = 80;
/// No status page changes faster, and third-party servers must not be overloaded.
const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// With a shorter timeout every status page would be unreadable.
const MIN_TIMEOUT: Duration = Duration::from_millis(100);

/// With a shorter time an incident would be dropped while its status page is only overloaded.
const MIN_HOLD: Duration = Duration::from_secs(60);

pub const BUILT_IN: [(&str, &str); 4] = [
    ("epicgames.toml", include_str!("../../monitors/epicgames.toml")),
    ("github.toml", include_str!("../../monitors/github.toml")),
    ("mongodb.toml", include_str!("../../monitors/mongodb.toml")),
    ("snowflake.toml", include_str!("../../monitors/snowflake.toml")),
];

/// Where a set of monitors comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefinitionOrigin {
    Folder,
    /// The folder does not exist; the built-in monitors are used.
    BuiltIn,
    /// The folder contains no definition; the built-in monitors are used.
    EmptyFolder,
}

/// Reads the folder, or the built-in monitors if it does not exist, and the folder of engines that they may name. Returns only
/// enabled monitors, sorted by name.
///
/// # Errors
/// Every configuration error of every file, and duplicate names.
pub fn load(folder: &Path, engines: &Path) -> Result<(Vec<Monitor>, DefinitionOrigin), Vec<DefinitionError>> {
    load_with(folder, &engine::load(engines)?)
}

fn load_with(
    folder: &Path,
    engines: &Engines,
) -> Result<(Vec<Monitor>, DefinitionOrigin), Vec<DefinitionError>> {
    let whole =
        |message: String| vec![DefinitionError { file: folder.display().to_string(), at: None, message }];
    let built_in = || read_all(BUILT_IN.map(|(name, text)| (name.to_owned(), Ok(text.to_owned()))), engines);
    match toml_files(folder) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            built_in().map(|monitors| (monitors, DefinitionOrigin::BuiltIn))
        }
        Err(e) => Err(whole(format!("cannot be read: {e}"))),
        Ok(files) if files.is_empty() && misnamed(folder).is_empty() => {
            built_in().map(|monitors| (monitors, DefinitionOrigin::EmptyFolder))
        }
        Ok(files) => {
            let texts = files.into_iter().map(|path| {
                (path.display().to_string(), std::fs::read_to_string(&path).map_err(|e| e.to_string()))
            });
            let mut errors = misnamed(folder);
            match read_all(texts, engines) {
                Ok(monitors) if errors.is_empty() => Ok((monitors, DefinitionOrigin::Folder)),
                Ok(_) => Err(errors),
                Err(more) => {
                    errors.extend(more);
                    Err(errors)
                }
            }
        }
    }
}

/// The warning about a folder without definitions.
pub fn empty(folder: &Path) -> String {
    format!("MONITORS_DIR {} contains no .toml file; using the built-in monitors", folder.display())
}

fn read_all(
    files: impl IntoIterator<Item = (String, Result<String, String>)>,
    engines: &Engines,
) -> Result<Vec<Monitor>, Vec<DefinitionError>> {
    let mut errors = Vec::new();
    let mut monitors: BTreeMap<String, (Monitor, String)> = BTreeMap::new();
    for (file, text) in files {
        let read = text.map_err(|e| DefinitionError {
            file: file.clone(),
            at: None,
            message: format!("cannot be read: {e}"),
        });
        match read.map_err(|error| vec![error]).and_then(|text| read_one(&file, &text, engines)) {
            Err(more) => errors.extend(more),
            Ok((monitor, true)) => {
                let name = monitor.name.clone();
                if let Some((_, other)) = monitors.insert(name.to_lowercase(), (monitor, file.clone())) {
                    let message =
                        format!("the name `{name}` is already used by {other}; names must be unique");
                    errors.push(DefinitionError { file, at: None, message });
                }
            }
            Ok((_, false)) => {}
        }
    }
    if errors.is_empty() {
        Ok(monitors.into_values().map(|(monitor, _)| monitor).collect())
    } else {
        Err(errors)
    }
}

/// The name in the text of a definition, which may have errors elsewhere.
pub fn name_in(text: &str) -> Option<String> {
    let table = DeTable::parse(text.trim_start_matches('\u{feff}')).ok()?;
    table.get_ref().get("name")?.get_ref().as_str().map(str::to_owned)
}

/// Reads one definition; the flag says whether it is enabled.
///
/// # Errors
/// Every configuration error in it.
pub fn read_one(file: &str, text: &str, engines: &Engines) -> Result<(Monitor, bool), Vec<DefinitionError>> {
    let mut file = File::new(file, text.trim_start_matches('\u{feff}'));
    let read = file.parse().map(|table| read_table(&mut file, table, engines));
    match read.flatten() {
        Some(read) if file.errors.is_empty() => Ok(read),
        _ => {
            file.errors.sort_by_key(|error| error.at);
            Err(file.errors)
        }
    }
}

fn read_table<'a>(file: &mut File<'a>, table: DeTable<'a>, engines: &Engines) -> Option<(Monitor, bool)> {
    let mut keys = Keys::of(file, table);
    let name = name(&mut keys);
    let enabled = keys.flag("enabled").unwrap_or(true);
    let interval = keys.duration("interval", MIN_INTERVAL);
    let thresholds = Thresholds {
        raise_after: keys.count("raise_after").unwrap_or(1),
        clear_after: keys.count("clear_after").unwrap_or(1),
        ..Thresholds::default()
    };
    let hold_for = keys.duration("hold_for", MIN_HOLD);
    let tags = tags(&mut keys);
    let muted_until = muted_until(&mut keys);
    let kind = keys.text("kind");
    let mut service_tags = Vec::new();
    let (source, timeout, remap) = match kind.as_ref().map(|(kind, at)| (kind.as_str(), *at)) {
        None | Some(("statuspage", _)) => {
            let timeout = keys.duration("timeout", MIN_TIMEOUT);
            let remap = Remap(keys.severities("severity").unwrap_or_default());
            let service = page::service(&mut keys);
            service_tags = service.map(|service| service.tags.clone()).unwrap_or_default();
            (page::page(&mut keys, service, engines).map(MonitorSource::Page), timeout, remap)
        }
        Some(("sync", _)) => (freshness(&mut keys).map(MonitorSource::Sync), None, Remap::default()),
        Some((other, at)) => {
            keys.wrong(at, format!("unknown kind `{other}`; known: statuspage, sync"));
            return None;
        }
    };
    keys.finish();
    let tags = tags.unwrap_or(service_tags);
    let monitor = Monitor {
        name: name?,
        source: source?,
        interval,
        timeout,
        thresholds,
        hold_for,
        remap,
        tags,
        muted_until: muted_until?,
    };
    Some((monitor, enabled))
}

fn name(keys: &mut Keys<'_, '_>) -> Option<String> {
    let Some((name, at)) = keys.text("name") else {
        keys.missing("`name` is missing (example: name = \"GitHub\")");
        return None;
    };
    let plain = crate::domain::text::plain(&name);
    if plain.is_empty() || plain != name || name.chars().count() > MAX_NAME {
        keys.wrong(at, format!("`name` must be one line of 1 to {MAX_NAME} visible characters"));
        return None;
    }
    Some(name)
}

/// Tags are compared as written, so that only one spelling is possible.
fn tags(keys: &mut Keys<'_, '_>) -> Option<Vec<String>> {
    let at = keys.place("tags");
    let tags = keys.texts("tags")?;
    let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    if let Some(wrong) = tags.iter().find(|tag| tag.is_empty() || !tag.chars().all(letter)) {
        let message = format!("`tags`: `{wrong}` must be lower-case letters, digits, - and _");
        keys.wrong(at.unwrap_or_default(), message);
    }
    Some(tags)
}

/// `Some(None)` if the key is missing, `None` if it is wrong.
#[expect(clippy::option_option, reason = "the caller tells a missing key from a wrong one")]
fn muted_until(keys: &mut Keys<'_, '_>) -> Option<Option<Timestamp>> {
    let Some(value) = keys.value("muted_until") else { return Some(None) };
    let text = match value.get_ref() {
        DeValue::Datetime(time) => Some(time.to_string()),
        value => value.as_str().map(str::to_owned),
    };
    let parsed = text.and_then(|text| text.parse::<Timestamp>().ok());
    if parsed.is_none() {
        let message = "`muted_until` must be a date and time with an offset (example: 2026-12-01T08:00:00Z)";
        keys.wrong(value.span().start, message);
    }
    parsed.map(Some)
}

fn freshness(keys: &mut Keys<'_, '_>) -> Option<Freshness> {
    let connector = keys.text("connector").map(|(connector, _)| connector);
    if connector.is_none() {
        keys.missing("`connector` is missing (example: connector = \"statuscake\")");
    }
    let stale_after = keys.duration("stale_after", Duration::from_secs(1));
    if stale_after.is_none() {
        keys.missing("`stale_after` is missing (example: stale_after = \"2h\")");
    }
    let severity = keys.severity("severity").unwrap_or(Severity::Minor);
    let stage = match keys.text("stage") {
        None => DataStage::Synced,
        Some((word, _)) if word == "qlik" => DataStage::Qlik,
        Some((_, at)) => {
            keys.wrong(at, "`stage` must be \"qlik\"; without it the age of the tables counts");
            DataStage::Synced
        }
    };
    Some(Freshness { connector: connector?, stage, stale_after: stale_after?, severity })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definitions::engine::built_in;

    #[test]
    fn built_in_monitors_are_valid() {
        let (monitors, origin) = load_with(Path::new("/no/such/folder"), built_in()).unwrap();
        let names: Vec<_> = monitors.iter().map(|m| m.name.as_str()).collect();
        assert_eq!(
            (names, origin),
            (vec!["Epic Games", "GitHub", "MongoDB", "Snowflake"], DefinitionOrigin::BuiltIn)
        );
    }

    #[test]
    fn reads_all_keys() {
        let text = r#"
            name = "Snowflake Oregon"
            url = "https://status.snowflake.com"
            interval = "2m"
            timeout = "5s"
            components = ["AWS - US West (Oregon)*"]
            ignore_components = ["*Snowsight*"]
            incidents = true
            raise_after = 2
            clear_after = 3
            hold_for = "2h"
            severity = { maintenance = "none", minor = "maintenance" }
        "#;
        let (monitor, enabled) = read_one("x.toml", text, built_in()).unwrap();
        let MonitorSource::Page(page) = &monitor.source else { panic!("a page") };
        assert!(enabled && page.incidents && page.by_component());
        assert!(page.components[0].matches("aws - us west (oregon) - Query engine"));
        let thresholds = Thresholds { raise_after: 2, clear_after: 3, ..Thresholds::default() };
        assert_eq!((monitor.thresholds, monitor.hold_for), (thresholds, Some(Duration::from_secs(7200))));
        assert_eq!(monitor.remap.apply(Severity::Minor), Severity::Maintenance);
        assert_eq!(monitor.remap.apply(Severity::Major), Severity::Major);
        assert_eq!(monitor.interval, Some(Duration::from_secs(120)));
    }

    #[test]
    fn reports_all_errors_with_their_positions() {
        let text = "name = \"\"\nurl = \"status.test\"\nintervall = \"60s\"\nraise_after = 0\n\
                    severity = { minor = \"bad\" }\ncomponents = \"x\"\ntimeout = 5\n";
        let errors: Vec<_> =
            read_one("m.toml", text, built_in()).unwrap_err().iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(errors.join("\n"), @r#"
        m.toml:1:8: `name` must be one line of 1 to 80 visible characters
        m.toml:2:7: `url` is not an address that begins with https:// (relative URL without a base)
        m.toml:3:1: unknown key `intervall`; known here: name, enabled, interval, raise_after, clear_after, hold_for, tags, muted_until, kind, timeout, severity, service, components, ignore_components, incidents, announce, engine, options, url
        m.toml:4:15: `raise_after` must be a whole number of at least 1
        m.toml:5:22: `severity`: "bad" is not a severity: none, maintenance, minor, major or critical
        m.toml:6:14: `components` must be a list of texts in quotes
        m.toml:7:11: `timeout` must be a duration in quotes of at least 100ms (examples: "90s", "2h")
        "#);
        let broken = read_one("m.toml", "name = \"x\nurl = 1", built_in()).unwrap_err();
        assert_eq!((broken.len(), broken[0].at), (1, Some((1, 10))));
    }

    #[test]
    fn reads_monitors_of_a_connector_s_data() {
        let text = "name = \"StatusCake\"\nkind = \"sync\"\nconnector = \"statuscake\"\nstale_after = \"2h\"\nseverity = \"major\"\n";
        let (monitor, _) = read_one("s.toml", text, built_in()).unwrap();
        let MonitorSource::Sync(freshness) = monitor.source else { panic!("a sync") };
        assert_eq!((freshness.severity, freshness.stale_after.as_secs()), (Severity::Major, 7_200));
        assert_eq!(read_one("s.toml", "name = \"S\"\nkind = \"sync\"\n", built_in()).unwrap_err().len(), 2);
    }

    /// Duplicate names, a disabled duplicate, an empty folder, and a folder that is a file.
    #[test]
    fn reads_folders() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(load_with(folder.path(), built_in()).unwrap().1, DefinitionOrigin::EmptyFolder);
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("a.toml", "name = \"A\"\nurl = \"https://a.test\"");
        write("b.toml", "name = \"a\"\nurl = \"https://b.test\"\nenabled = false");
        write(".hidden.toml", "rubbish");
        write("notes.txt", "rubbish");
        assert_eq!(load_with(folder.path(), built_in()).unwrap().0.len(), 1);
        write("b.toml", "name = \"a\"\nurl = \"https://b.test\"");
        assert!(load_with(folder.path(), built_in()).unwrap_err()[0].message.contains("is already used by"));
        assert!(load_with(&folder.path().join("a.toml"), built_in()).is_err());
    }
}
