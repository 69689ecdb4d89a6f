//! `tenants/*.toml` → tenants.
//!
//! Start at [`load`]. Credentials are not part of a definition; they are variables.

use std::path::Path;
use std::time::Duration;

use toml::de::DeTable;
use url::Url;

use super::audience::audience;
use super::data_rule::data_rules;
use super::keys::{File, Keys};
use super::{DefinitionError, misnamed, toml_files};
use crate::domain::monitoring::audience::tenant::{TenantRules, is_name, is_prefix, tenant_url};
use crate::domain::monitoring::banner::style::{BannerLink, BannerStyle, MAX_PREFIX};
use crate::domain::monitoring::observation::Link;
use crate::domain::monitoring::plan::{Foreign, Policy};

/// A shorter expiry would be renewed all the time.
const MIN_LEASE: Duration = Duration::from_secs(60);

/// The label of a link to the dashboard.
const DASHBOARD_LABEL: &str = "Dashboard";

/// The label of a fixed link.
const LINK_LABEL: &str = "More information";

/// What applies where a definition says nothing.
#[derive(Debug, Clone)]
pub struct TenantDefaults {
    pub policy: Policy,
    /// Where people reach the dashboard.
    pub dashboard: Option<Url>,
}

/// One file.
#[derive(Debug, Clone, PartialEq)]
pub struct TenantDefinition {
    pub rules: TenantRules,
    pub enabled: bool,
}

/// Reads the folder. Returns all definitions, sorted by name; none if the folder does not exist or has none.
///
/// # Errors
/// Every configuration error of every file, and names or addresses that enabled tenants use twice.
pub fn load(folder: &Path, defaults: &TenantDefaults) -> Result<Vec<TenantDefinition>, Vec<DefinitionError>> {
    let files = match toml_files(folder) {
        Ok(files) => files,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => {
            let (file, message) = (folder.display().to_string(), format!("cannot be read: {e}"));
            return Err(vec![DefinitionError { file, at: None, message }]);
        }
    };
    let mut errors = misnamed(folder);
    let (mut definitions, mut enabled) = (Vec::new(), Vec::new());
    for path in files {
        let file = path.display().to_string();
        let read = std::fs::read_to_string(&path).map_err(|e| {
            vec![DefinitionError { file: file.clone(), at: None, message: format!("cannot be read: {e}") }]
        });
        match read.and_then(|text| read_one(&file, &text, defaults)) {
            Ok(definition) => {
                if definition.enabled {
                    errors.extend(twice(&definition.rules, &file, &enabled));
                    enabled.push((definition.rules.clone(), file));
                }
                definitions.push(definition);
            }
            Err(more) => errors.extend(more),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    definitions.sort_by(|a, b| a.rules.name.cmp(&b.rules.name));
    Ok(definitions)
}

/// Two publishers of one tenant would overwrite each other's banner.
fn twice(tenant: &TenantRules, file: &str, others: &[(TenantRules, String)]) -> Vec<DefinitionError> {
    let error = |message| DefinitionError { file: file.to_owned(), at: None, message };
    let same = |what: &str, value: &str, other: &str| {
        error(format!("the {what} `{value}` is already used by {other}; each tenant has one definition"))
    };
    let mut errors = Vec::new();
    for (other, place) in others {
        if other.name == tenant.name {
            errors.push(same("name", &tenant.name, place));
        }
        if other.url == tenant.url {
            errors.push(same("url", tenant.url.as_str(), place));
        }
    }
    errors
}

/// Reads one definition.
///
/// # Errors
/// Every configuration error in it.
fn read_one(
    file: &str,
    text: &str,
    defaults: &TenantDefaults,
) -> Result<TenantDefinition, Vec<DefinitionError>> {
    let mut file = File::new(file, text.trim_start_matches('\u{feff}'));
    let read = file.parse().map(|table| read_table(&mut file, table, defaults));
    match read.flatten() {
        Some(definition) if file.errors.is_empty() => Ok(definition),
        _ => {
            file.errors.sort_by_key(|error| error.at);
            Err(file.errors)
        }
    }
}

fn read_table<'a>(
    file: &mut File<'a>,
    table: DeTable<'a>,
    defaults: &TenantDefaults,
) -> Option<TenantDefinition> {
    let mut keys = Keys::of(file, table);
    let name = name(&mut keys);
    let enabled = keys.flag("enabled").unwrap_or(true);
    let url = url(&mut keys);
    let audience = audience(&mut keys);
    let usual = defaults.policy;
    let policy = Policy {
        lease: keys.duration("lease", MIN_LEASE).unwrap_or(usual.lease),
        resolved_for: keys.duration("resolved_for", Duration::ZERO).unwrap_or(usual.resolved_for),
        foreign: foreign(&mut keys).unwrap_or(usual.foreign),
        spacing: keys.duration("spacing", Duration::ZERO).unwrap_or(usual.spacing),
    };
    let style = BannerStyle::new(&prefix(&mut keys), link(&mut keys, defaults.dashboard.as_ref()));
    let data = data_rules(&mut keys);
    keys.finish();
    let rules = TenantRules { name: name?, url: url?, audience, policy, style, data };
    Some(TenantDefinition { rules, enabled })
}

fn name(keys: &mut Keys<'_, '_>) -> Option<String> {
    let Some((name, at)) = keys.text("name") else {
        keys.missing("`name` is missing (example: name = \"prod\")");
        return None;
    };
    if !is_name(&name) {
        keys.wrong(at, "`name` must be 1 to 40 lower-case letters, digits and - (example: prod-eu)");
        return None;
    }
    Some(name)
}

fn url(keys: &mut Keys<'_, '_>) -> Option<Url> {
    let Some((url, at)) = keys.text("url") else {
        keys.missing("`url` is missing (example: url = \"https://acme.eu.qlikcloud.com\")");
        return None;
    };
    tenant_url(&url).map_err(|why| keys.wrong(at, format!("`url`: {why}"))).ok()
}

fn foreign(keys: &mut Keys<'_, '_>) -> Option<Foreign> {
    let (word, at) = keys.text("foreign")?;
    match word.as_str() {
        "borrow" => Some(Foreign::Borrow),
        "respect" => Some(Foreign::Respect),
        _ => {
            keys.wrong(at, "`foreign` must be borrow or respect");
            None
        }
    }
}

fn prefix(keys: &mut Keys<'_, '_>) -> String {
    let Some((prefix, at)) = keys.text("prefix") else { return String::new() };
    if !is_prefix(&prefix) {
        let message = format!("`prefix` must be one line of at most {MAX_PREFIX} visible characters");
        keys.wrong(at, message);
    }
    prefix
}

fn link(keys: &mut Keys<'_, '_>, dashboard: Option<&Url>) -> BannerLink {
    let Some((word, at)) = keys.text("link") else { return BannerLink::StatusPage };
    let fixed = |address: &str, label: &str| Link::checked(address, label).map(BannerLink::Fixed);
    let (link, problem) = match (word.as_str(), dashboard) {
        ("page", _) => (Some(BannerLink::StatusPage), ""),
        ("off", _) => (Some(BannerLink::Off), ""),
        ("dashboard", None) => (None, "`link` is dashboard, but DASHBOARD_URL is not set"),
        ("dashboard", Some(url)) => {
            (fixed(url.as_str(), DASHBOARD_LABEL), "`link`: DASHBOARD_URL cannot be shown to users")
        }
        (address, _) => {
            let problem = "`link` must be page, dashboard, off, or an address that begins with https://";
            (fixed(address, LINK_LABEL).filter(|_| address.starts_with("https://")), problem)
        }
    };
    if link.is_none() {
        keys.wrong(at, problem);
    }
    link.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults() -> TenantDefaults {
        let policy = Policy {
            lease: Duration::from_secs(12 * 3600),
            resolved_for: Duration::ZERO,
            foreign: Foreign::Borrow,
            spacing: Duration::from_secs(10),
        };
        TenantDefaults { policy, dashboard: Some(Url::parse("https://monitor.example.com/").unwrap()) }
    }

    #[test]
    fn reads_all_keys() {
        let text = r#"
            name = "prod-eu"
            url = "acme.eu.qlikcloud.test"
            monitors = ["snowflake*", "tag:warehouse"]
            ignore_monitors = ["tag:us"]
            severity = { maintenance = "none" }
            min_severity = "minor"
            lease = "6h"
            resolved_for = "10m"
            foreign = "respect"
            spacing = "1m"
            prefix = "[External]"
            link = "dashboard"
        "#;
        let tenant = read_one("t.toml", text, &defaults()).unwrap().rules;
        assert_eq!(
            (tenant.name.as_str(), tenant.url.as_str()),
            ("prod-eu", "https://acme.eu.qlikcloud.test/")
        );
        assert!(tenant.audience.selects("Snowflake EU", &[]));
        assert!(!tenant.audience.selects("Snowflake US", &["us".to_owned()]));
        assert_eq!((tenant.policy.lease.as_secs(), tenant.policy.foreign), (21_600, Foreign::Respect));
        let BannerLink::Fixed(link) = &tenant.style.link else { panic!("a fixed link") };
        assert_eq!(link.url, "https://monitor.example.com/");
        let plain = read_one("t.toml", "name = \"a\"\nurl = \"https://a.test\"", &defaults()).unwrap();
        assert_eq!((plain.rules.policy, plain.rules.style), (defaults().policy, BannerStyle::default()));
        assert!(plain.enabled);
        let off = "name = \"a\"\nurl = \"https://a.test\"\nenabled = false";
        assert!(!read_one("t.toml", off, &defaults()).unwrap().enabled);
    }

    #[test]
    fn reports_all_errors_with_their_positions() {
        let text = "name = \"Prod\"\nurl = \"http://a.test/x\"\nmonitors = []\nmin_severity = \"bad\"\nlease = \"1s\"\n\
                    foreign = \"x\"\nprefix = \"a\\nb\"\nlink = \"javascript:x\"\nprefx = 1\n";
        let errors: Vec<_> =
            read_one("t.toml", text, &defaults()).unwrap_err().iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(errors.join("\n"), @r#"
        t.toml:1:8: `name` must be 1 to 40 lower-case letters, digits and - (example: prod-eu)
        t.toml:2:7: `url`: must begin with https://
        t.toml:3:12: `monitors` must not be empty; leave it out instead
        t.toml:4:16: `min_severity` must be one of none, maintenance, minor, major, critical, in quotes
        t.toml:5:9: `lease` must be a duration in quotes of at least 60s (examples: "90s", "2h")
        t.toml:6:11: `foreign` must be borrow or respect
        t.toml:7:10: `prefix` must be one line of at most 40 visible characters
        t.toml:8:8: `link` must be page, dashboard, off, or an address that begins with https://
        t.toml:9:1: unknown key `prefx`; known here: name, enabled, url, monitors, ignore_monitors, severity, min_severity, lease, resolved_for, foreign, spacing, prefix, link, data
        "#);
        let text = "name = \"a\"\nurl = \"https://a.test\"\nlink = \"dashboard\"";
        let without = TenantDefaults { dashboard: None, ..defaults() };
        assert!(read_one("t.toml", text, &without).unwrap_err()[0].message.contains("DASHBOARD_URL"));
    }

    #[test]
    fn data_of_a_connector_has_one_rule_with_an_effect() {
        let start = "name = \"a\"\nurl = \"https://a.test\"\n";
        let shop = "[[data]]\nconnector = \"shop\"\nspace = \"Sales\"\ntables = [\"orders\"]\nreload = [\"a-1\"]\nformat = \"csv\"\n";
        let tenant = read_one("t.toml", &format!("{start}{shop}"), &defaults()).unwrap();
        let rule = &tenant.rules.data[0];
        assert_eq!((rule.connector.as_str(), rule.space.as_deref()), ("shop", Some("Sales")));
        assert_eq!((&rule.tables[..], &rule.reload[..]), (&["orders".into()][..], &["a-1".into()][..]));
        let others = "[[data]]\nconnector = \"shop\"\nreload = [\"a\"]\n[[data]]\nspace = \"x\"\n[[data]]\nconnector = \"b\"\nformat = \"csv\"\nspaces = \"x\"\n";
        let errors = read_one("t.toml", &format!("{start}{shop}{others}"), &defaults()).unwrap_err();
        let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(errors.join("\n"), @r#"
        t.toml:9:1: connector shop already has a [[data]] in this tenant; use one
        t.toml:12:1: `connector` is missing in [[data]] (example: connector = "statuscake")
        t.toml:14:1: [[data]] names neither a space to upload to nor an app to reload
        t.toml:16:10: `format` has no effect without `space`
        t.toml:17:1: unknown key `spaces`; known here: connector, space, tables, reload, format
        "#);
    }

    #[test]
    fn one_name_or_address_in_two_files_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let write = |file: &str, name: &str, url: &str| {
            let text = format!("name = \"{name}\"\nurl = \"{url}\"\n");
            std::fs::write(folder.path().join(file), text).unwrap();
        };
        write("a.toml", "a", "https://a.test");
        write("b.toml", "b", "https://b.test");
        let disabled = "name = \"a\"\nurl = \"https://a.test\"\nenabled = false\n";
        std::fs::write(folder.path().join("old.toml"), disabled).unwrap();
        let read = load(folder.path(), &defaults()).unwrap();
        let names: Vec<_> = read.iter().map(|one| (one.rules.name.as_str(), one.enabled)).collect();
        assert_eq!(names, [("a", true), ("a", false), ("b", true)]);
        write("c.toml", "a", "https://B.test/");
        let errors = load(folder.path(), &defaults()).unwrap_err();
        assert_eq!(errors.len(), 2, "{errors:?}");
        assert!(load(Path::new("/no/such/folder"), &defaults()).unwrap().is_empty());
    }
}
