//! The status page of a monitor: from the catalogue, or from its own keys.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::super::catalogue::{self, CatalogueService};
use super::super::engine::Engines;
use super::super::keys::Keys;
use crate::domain::monitoring::engine::{DEFAULT, Engine};
use crate::domain::monitoring::monitor::{Pattern, StatusPage};
use crate::domain::nearest::nearest;

/// Paths below the root of a status page that people copy from a browser.
const BELOW_A_ROOT: [&str; 5] = ["api/v2", "history", "incidents", "uptime", "index.html"];

/// The catalogue's entry that `service` names.
pub(super) fn service(keys: &mut Keys<'_, '_>) -> Option<&'static CatalogueService> {
    let (slug, at) = keys.text("service")?;
    let found = catalogue::find(&slug);
    if found.is_none() {
        keys.wrong(at, catalogue::unknown(&slug));
    }
    found
}

pub(super) fn page(
    keys: &mut Keys<'_, '_>,
    service: Option<&'static CatalogueService>,
    engines: &Engines,
) -> Option<StatusPage> {
    let patterns = |texts: Vec<String>| texts.iter().map(|text| Pattern::new(text)).collect();
    let components = keys.texts("components");
    let components = components.or_else(|| service.map(|service| service.components.clone()));
    let components = patterns(components.unwrap_or_default());
    let ignore = patterns(keys.texts("ignore_components").unwrap_or_default());
    let incidents = keys.flag("incidents").unwrap_or(false);
    let announce = keys.duration("announce", Duration::from_secs(60));
    let engine = engine(keys, service, engines);
    let own = options(keys);
    let url = keys.text("url");
    let engine = engine?;
    let mut options = service.map(|service| service.options.clone()).unwrap_or_default();
    for (name, (value, at)) in own {
        check_option(keys, &engine, &name, &value, at);
        options.insert(name, value);
    }
    check_needs(keys, &engine, &options);
    let known = service.map(|service| service.url.clone()).or_else(|| engine.root.clone());
    let root = match (url, known) {
        (None, Some(known)) => known,
        (None, None) => {
            keys.missing("`url` is missing (example: url = \"https://www.githubstatus.com\"), or `service`");
            return None;
        }
        (Some((url, at)), _) => match if engine.whole_url { document(&url) } else { page_root(&url) } {
            Ok(root) => root,
            Err(why) => {
                keys.wrong(at, format!("`url` {why}"));
                return None;
            }
        },
    };
    Some(StatusPage { root, engine, options, components, ignore, incidents, announce })
}

fn engine(
    keys: &mut Keys<'_, '_>,
    service: Option<&CatalogueService>,
    engines: &Engines,
) -> Option<Arc<Engine>> {
    let written = keys.text("engine");
    let (name, at) = match (&written, service) {
        (Some((name, at)), _) => (name.as_str(), *at),
        (None, Some(service)) => (service.engine.as_str(), 0),
        (None, None) => (DEFAULT, 0),
    };
    let found = engines.get(name).cloned();
    if found.is_none() {
        let known = engines.keys().map(String::as_str);
        let near = nearest(name, known.clone()).map(|near| format!("; did you mean `{near}`?"));
        let known = known.collect::<Vec<_>>().join(", ");
        let near = near.unwrap_or_else(|| format!("; known: {known}"));
        keys.wrong(at, format!("unknown engine `{name}`{near}"));
    }
    found
}

/// The options, each with its position.
fn options(keys: &mut Keys<'_, '_>) -> BTreeMap<String, (String, usize)> {
    let mut options = BTreeMap::new();
    let Some((table, _)) = keys.table("options") else { return options };
    for (name, value) in table {
        match value.get_ref().as_str() {
            Some(text) if !text.trim().is_empty() => {
                let option = (text.trim().to_owned(), value.span().start);
                options.insert(name.get_ref().to_string(), option);
            }
            _ => keys
                .wrong(value.span().start, format!("`options.{}` must be a text in quotes", name.get_ref())),
        }
    }
    options
}

fn check_needs(keys: &mut Keys<'_, '_>, engine: &Engine, options: &BTreeMap<String, String>) {
    for (name, hint) in &engine.needs {
        if !options.contains_key(name) {
            let example = format!("options = {{ {name} = \"…\" }}");
            keys.missing(format!("engine `{}` needs the option `{name}` ({hint}): {example}", engine.name));
        }
    }
}

fn check_option(keys: &mut Keys<'_, '_>, engine: &Engine, name: &str, value: &str, at: usize) {
    if !engine.needs.contains_key(name) && !engine.options.contains_key(name) {
        let known: Vec<&str> = engine.needs.keys().chain(engine.options.keys()).map(String::as_str).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        keys.wrong(at, format!("engine `{}` has no option `{name}`; known: {known}", engine.name));
    }
    // They would lead to another folder of the host.
    if matches!(value, "." | "..") {
        keys.wrong(at, format!("`options.{name}` must not be `{value}`"));
    }
}

/// The address of a document.
fn document(text: &str) -> Result<Url, String> {
    page_root(text)?;
    Url::parse(text.trim()).map_err(|error| error.to_string())
}

/// The root of a status page from any of its addresses: the root, a document, the history.
///
/// # Errors
/// What is wrong with the address.
pub fn page_root(text: &str) -> Result<Url, String> {
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

    /// From the root, `status.json` and other addresses below the root, with or without a slash.
    #[test]
    fn finds_the_root_of_a_status_page() {
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
}
