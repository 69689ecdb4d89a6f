//! `monitors/*.toml` → monitors.
//!
//! Start at [`load`]. The four monitors that ship are compiled in and used where the folder does not exist.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use toml::de::DeTable;
use url::Url;

use super::keys::{File, Keys};
use super::{Mistake, misnamed, toml_files};
use crate::domain::monitor::{Freshness, Monitor, Page, Pattern, Remap, Source, Thresholds};
use crate::domain::severity::Severity;

/// Longer names would not leave room for a description in the banner.
const MAX_NAME: usize = 80;
/// Nobody changes a page more often, and other people's servers are not ours.
const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// Less would call every page unreadable.
const MIN_TIMEOUT: Duration = Duration::from_millis(100);

/// What browsers show below a page's root.
const BELOW_A_ROOT: [&str; 5] = ["api/v2", "history", "incidents", "uptime", "index.html"];

/// Less would let go of an incident while a page is only overloaded by it.
const MIN_HOLD: Duration = Duration::from_secs(60);

/// The monitors that ship.
pub const BUILT_IN: [(&str, &str); 4] = [
    ("epicgames.toml", include_str!("../../monitors/epicgames.toml")),
    ("github.toml", include_str!("../../monitors/github.toml")),
    ("mongodb.toml", include_str!("../../monitors/mongodb.toml")),
    ("snowflake.toml", include_str!("../../monitors/snowflake.toml")),
];

/// Where a set of monitors came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The folder.
    Folder,
    /// The folder does not exist: those that ship.
    BuiltIn,
    /// The folder holds no definition: those that ship.
    EmptyFolder,
}

/// Reads the folder, or what ships where there is no folder. Only enabled monitors come out, sorted by name.
///
/// # Errors
/// Every mistake of every file, and two monitors of one name.
pub fn load(folder: &Path) -> Result<(Vec<Monitor>, Origin), Vec<Mistake>> {
    let whole = |message: String| vec![Mistake { file: folder.display().to_string(), at: None, message }];
    let built_in = || read_all(BUILT_IN.map(|(name, text)| (name.to_owned(), Ok(text.to_owned()))));
    match toml_files(folder) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            built_in().map(|monitors| (monitors, Origin::BuiltIn))
        }
        Err(e) => Err(whole(format!("cannot be read: {e}"))),
        Ok(files) if files.is_empty() && misnamed(folder).is_empty() => {
            built_in().map(|monitors| (monitors, Origin::EmptyFolder))
        }
        Ok(files) => {
            let texts = files.into_iter().map(|path| {
                (path.display().to_string(), std::fs::read_to_string(&path).map_err(|e| e.to_string()))
            });
            let mut mistakes = misnamed(folder);
            match read_all(texts) {
                Ok(monitors) if mistakes.is_empty() => Ok((monitors, Origin::Folder)),
                Ok(_) => Err(mistakes),
                Err(more) => {
                    mistakes.extend(more);
                    Err(mistakes)
                }
            }
        }
    }
}

/// What is said of a folder without a definition.
pub fn empty(folder: &Path) -> String {
    format!("MONITORS_DIR {} holds no .toml file; using the built-in monitors", folder.display())
}

fn read_all(
    files: impl IntoIterator<Item = (String, Result<String, String>)>,
) -> Result<Vec<Monitor>, Vec<Mistake>> {
    let mut mistakes = Vec::new();
    let mut monitors: BTreeMap<String, (Monitor, String)> = BTreeMap::new();
    for (file, text) in files {
        let read = text.map_err(|e| Mistake {
            file: file.clone(),
            at: None,
            message: format!("cannot be read: {e}"),
        });
        match read.map_err(|mistake| vec![mistake]).and_then(|text| read_one(&file, &text)) {
            Err(more) => mistakes.extend(more),
            Ok((monitor, true)) => {
                let name = monitor.name.clone();
                if let Some((_, other)) = monitors.insert(name.to_lowercase(), (monitor, file.clone())) {
                    let message = format!("the name `{name}` is taken by {other}; names must be unique");
                    mistakes.push(Mistake { file, at: None, message });
                }
            }
            Ok((_, false)) => {}
        }
    }
    if mistakes.is_empty() {
        Ok(monitors.into_values().map(|(monitor, _)| monitor).collect())
    } else {
        Err(mistakes)
    }
}

/// Reads one definition; the flag says whether it is enabled.
///
/// # Errors
/// Every mistake in it.
pub fn read_one(file: &str, text: &str) -> Result<(Monitor, bool), Vec<Mistake>> {
    let mut file = File::new(file, text.trim_start_matches('\u{feff}'));
    let read = file.parse().map(|table| read_table(&mut file, table));
    match read.flatten() {
        Some(read) if file.mistakes.is_empty() => Ok(read),
        _ => {
            file.mistakes.sort_by_key(|mistake| mistake.at);
            Err(file.mistakes)
        }
    }
}

fn read_table<'a>(file: &mut File<'a>, table: DeTable<'a>) -> Option<(Monitor, bool)> {
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
    let kind = keys.text("kind");
    let (source, timeout, remap) = match kind.as_ref().map(|(kind, at)| (kind.as_str(), *at)) {
        None | Some(("statuspage", _)) => {
            let timeout = keys.duration("timeout", MIN_TIMEOUT);
            let remap = Remap(keys.severities("severity").unwrap_or_default());
            (page(&mut keys).map(Source::Page), timeout, remap)
        }
        Some(("sync", _)) => (freshness(&mut keys).map(Source::Sync), None, Remap::default()),
        Some((other, at)) => {
            keys.wrong(at, format!("unknown kind `{other}`; known: statuspage, sync"));
            return None;
        }
    };
    keys.finish();
    Some((Monitor { name: name?, source: source?, interval, timeout, thresholds, hold_for, remap }, enabled))
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

fn page(keys: &mut Keys<'_, '_>) -> Option<Page> {
    let patterns =
        |texts: Option<Vec<String>>| texts.unwrap_or_default().iter().map(|t| Pattern::new(t)).collect();
    let components = patterns(keys.texts("components"));
    let ignore = patterns(keys.texts("ignore_components"));
    let incidents = keys.flag("incidents").unwrap_or(false);
    let Some((url, at)) = keys.text("url") else {
        keys.missing("`url` is missing (example: url = \"https://www.githubstatus.com\")");
        return None;
    };
    match page_root(&url) {
        Ok(root) => Some(Page { root, components, ignore, incidents }),
        Err(why) => {
            keys.wrong(at, format!("`url` {why}"));
            None
        }
    }
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
    Some(Freshness { connector: connector?, stale_after: stale_after?, severity })
}

/// A page's root from any address that people paste: its root, one of its documents, its history.
fn page_root(text: &str) -> Result<Url, String> {
    let mut url =
        Url::parse(text.trim()).map_err(|e| format!("is not an address that begins with https:// ({e})"))?;
    if !matches!(url.scheme(), "https" | "http") || !url.has_host() {
        return Err("must begin with https:// or http://".into());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not contain a user name or password".into());
    }
    url.set_query(None);
    url.set_fragment(None);
    let path = url.path().trim_end_matches('/');
    let below = BELOW_A_ROOT.iter().filter_map(|below| path.find(&format!("/{below}")).map(|at| (at, below)));
    let whole = |(at, below): &(usize, &&str)| {
        let after = &path[at + 1 + below.len()..];
        after.is_empty() || after.starts_with(['/', '.'])
    };
    let root = below.filter(whole).map(|(at, _)| at).min().unwrap_or(path.len());
    let root = format!("{}/", path[..root].trim_end_matches('/'));
    url.set_path(&root);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What ships is right.
    #[test]
    fn built_in_monitors_are_right() {
        let (monitors, origin) = load(Path::new("/no/such/folder")).unwrap();
        let names: Vec<_> = monitors.iter().map(|m| m.name.as_str()).collect();
        assert_eq!((names, origin), (vec!["Epic Games", "GitHub", "MongoDB", "Snowflake"], Origin::BuiltIn));
    }

    /// A page is named by its root or by its status.json, with or without a slash.
    #[test]
    fn roots() {
        for (text, want) in [
            ("https://www.githubstatus.com", Some("https://www.githubstatus.com/")),
            ("https://www.githubstatus.com/api/v2/status.json", Some("https://www.githubstatus.com/")),
            ("https://a.test/pages/x/", Some("https://a.test/pages/x/")),
            ("http://127.0.0.1:80", Some("http://127.0.0.1/")),
            ("www.githubstatus.com", None),
            ("https://a.test?x", Some("https://a.test/")),
            ("https://a.test/api/v2/summary.json?t=1", Some("https://a.test/")),
            ("https://a.test/api/v2/incidents/unresolved.json", Some("https://a.test/")),
            ("https://a.test/api/v2/", Some("https://a.test/")),
            (" https://a.test/history ", Some("https://a.test/")),
            ("https://a.test/history.atom", Some("https://a.test/")),
            ("https://a.test/history?page=2#m", Some("https://a.test/")),
            ("https://a.test/incidents/zx81", Some("https://a.test/")),
            ("https://a.test/pages/x/history/", Some("https://a.test/pages/x/")),
            ("https://a.test/historyland", Some("https://a.test/historyland/")),
            ("https://a.test/index.html", Some("https://a.test/")),
            ("https://me:pw@a.test", None),
            ("file:///etc/passwd", None),
        ] {
            assert_eq!(page_root(text).ok().map(String::from).as_deref(), want, "{text}");
        }
    }

    /// Everything a monitor can say.
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
        let (monitor, enabled) = read_one("x.toml", text).unwrap();
        let Source::Page(page) = &monitor.source else { panic!("a page") };
        assert!(enabled && page.incidents && page.by_component());
        assert!(page.components[0].matches("aws - us west (oregon) - Query engine"));
        let thresholds = Thresholds { raise_after: 2, clear_after: 3, ..Thresholds::default() };
        assert_eq!((monitor.thresholds, monitor.hold_for), (thresholds, Some(Duration::from_secs(7200))));
        assert_eq!(monitor.remap.apply(Severity::Minor), Severity::Maintenance);
        assert_eq!(monitor.remap.apply(Severity::Major), Severity::Major);
        assert_eq!(monitor.interval, Some(Duration::from_secs(120)));
    }

    /// Every mistake of a file comes out at once, each with its place.
    #[test]
    fn tells_all_mistakes_with_their_places() {
        let text = "name = \"\"\nurl = \"status.test\"\nintervall = \"60s\"\nraise_after = 0\n\
                    severity = { minor = \"bad\" }\ncomponents = \"x\"\ntimeout = 5\n";
        let mistakes: Vec<_> =
            read_one("m.toml", text).unwrap_err().iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(mistakes.join("\n"), @r#"
        m.toml:1:8: `name` must be one line of 1 to 80 visible characters
        m.toml:2:7: `url` is not an address that begins with https:// (relative URL without a base)
        m.toml:3:1: unknown key `intervall`; known here: name, enabled, interval, raise_after, clear_after, hold_for, kind, timeout, severity, components, ignore_components, incidents, url
        m.toml:4:15: `raise_after` must be a whole number of at least 1
        m.toml:5:22: `severity`: "bad" is not a severity: none, maintenance, minor, major or critical
        m.toml:6:14: `components` must be a list of texts in quotes
        m.toml:7:11: `timeout` must be a duration in quotes of at least 100ms (examples: "90s", "2h")
        "#);
        let broken = read_one("m.toml", "name = \"x\nurl = 1").unwrap_err();
        assert_eq!((broken.len(), broken[0].at), (1, Some((1, 10))));
    }

    /// Late data is watched like a page.
    #[test]
    fn sync_monitors() {
        let text = "name = \"StatusCake\"\nkind = \"sync\"\nconnector = \"statuscake\"\nstale_after = \"2h\"\nseverity = \"major\"\n";
        let (monitor, _) = read_one("s.toml", text).unwrap();
        let Source::Sync(freshness) = monitor.source else { panic!("a sync") };
        assert_eq!((freshness.severity, freshness.stale_after.as_secs()), (Severity::Major, 7_200));
        assert_eq!(read_one("s.toml", "name = \"S\"\nkind = \"sync\"\n").unwrap_err().len(), 2);
    }

    /// Two monitors of one name, a disabled one beside, an empty folder, and a folder that is a file.
    #[test]
    fn folders() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(load(folder.path()).unwrap().1, Origin::EmptyFolder);
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("a.toml", "name = \"A\"\nurl = \"https://a.test\"");
        write("b.toml", "name = \"a\"\nurl = \"https://b.test\"\nenabled = false");
        write(".hidden.toml", "rubbish");
        write("notes.txt", "rubbish");
        assert_eq!(load(folder.path()).unwrap().0.len(), 1);
        write("b.toml", "name = \"a\"\nurl = \"https://b.test\"");
        assert!(load(folder.path()).unwrap_err()[0].message.contains("is taken by"));
        assert!(load(&folder.path().join("a.toml")).is_err());
    }
}
