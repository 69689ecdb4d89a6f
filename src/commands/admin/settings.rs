//! `settings`: prints every setting, its value and its origin. Secrets are redacted.

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use serde_json::json;

use crate::commands::CommandError;
use crate::commands::connectors;
use crate::commands::setting_flags::SettingFlags;
use crate::commands::table::print_table;
use crate::domain::proxy::ProxyAddress;
use crate::domain::syncing::definition::config::{COMMON, variable};
use crate::domain::syncing::definition::connector::ConfigKind;
use crate::domain::syncing::definition::connector::Definition;
use crate::secrets::MARK;
use crate::settings::{Problem, Secrecy, Settings, VARIABLES, ValueOrigin, Vars, locate};

#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  data-sources-monitor settings
  data-sources-monitor settings --json \\
      | jq '.settings[] | select(.origin != \"default\")'")]
pub struct SettingsArgs {
    /// Print one JSON document instead of a table
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Serialize)]
struct SettingRow {
    name: String,
    /// `None` if it is not set and has no default.
    value: Option<String>,
    /// default, flag, environment, env_file, file or credential.
    origin: &'static str,
    /// The flag, the line of `.env`, or the variable that contains the file name.
    place: Option<String>,
}

pub(crate) fn settings(flags: &SettingFlags, args: &SettingsArgs) -> Result<ExitCode, CommandError> {
    let vars = flags.process_vars();
    let (settings, problems) = Settings::read(&vars);
    let mut errors: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let mut rows: Vec<SettingRow> = VARIABLES.iter().filter_map(|v| daemon_row(&vars, v)).collect();
    match connectors::definitions(&settings) {
        Ok(definitions) => {
            for definition in &definitions {
                connector_rows(&vars, definition, &mut rows, &mut errors);
            }
        }
        Err(error) => errors.extend(error.into_lines()),
    }
    if args.json {
        say!("{:#}", json!({ "settings": rows }));
    } else {
        print(&rows);
    }
    if errors.is_empty() { Ok(ExitCode::SUCCESS) } else { Err(CommandError::Configuration(errors)) }
}

/// A setting of the daemon. `None` if it cannot be read, which is reported as a configuration error.
fn daemon_row(vars: &dyn Vars, of: &crate::settings::Variable) -> Option<SettingRow> {
    // Proxy variables are commonly set in either case; upper case takes precedence.
    let lower = of.name.ends_with("_PROXY").then(|| of.name.to_ascii_lowercase());
    row(vars, of.name, lower.as_deref(), Some(of.default).filter(|text| !text.is_empty()), of.secrecy).ok()
}

fn connector_rows(
    vars: &dyn Vars,
    definition: &Definition,
    rows: &mut Vec<SettingRow>,
    errors: &mut Vec<String>,
) {
    let own = definition.config.iter().map(|(name, key)| {
        let secrecy = if key.kind == ConfigKind::Secret { Secrecy::Secret } else { Secrecy::Public };
        (name.as_str(), key.default.as_deref(), secrecy, true)
    });
    // Their defaults are in the definition.
    let common = COMMON.map(|name| (name, None, Secrecy::Public, false));
    for (key, default, secrecy, always) in own.chain(common) {
        match row(vars, &variable(&definition.name, key), None, default, secrecy) {
            Ok(row) if always || row.value.is_some() => rows.push(row),
            Ok(_) => {}
            Err(problem) => errors.push(problem.to_string()),
        }
    }
}

fn row(
    vars: &dyn Vars,
    name: &str,
    second: Option<&str>,
    default: Option<&str>,
    secrecy: Secrecy,
) -> Result<SettingRow, Problem> {
    let located = match (locate(vars, name)?, second) {
        (None, Some(second)) => locate(vars, second)?.map(|located| (second, located)),
        (located, _) => located.map(|located| (name, located)),
    };
    let Some((found, located)) = located else {
        let value = default.map(str::to_owned);
        return Ok(SettingRow { name: name.to_owned(), value, origin: "default", place: None });
    };
    let spelling = (found != name).then(|| found.to_owned());
    let (origin, place) = match located.origin {
        ValueOrigin::Flag(flag) => ("flag", Some(flag.to_owned())),
        ValueOrigin::Environment => ("environment", spelling),
        ValueOrigin::EnvFile(place) => ("env_file", Some(place)),
        ValueOrigin::File(variable) => ("file", Some(variable)),
        ValueOrigin::Credential => ("credential", None),
    };
    let value = Some(shown(&located.value, secrecy));
    Ok(SettingRow { name: name.to_owned(), value, origin, place })
}

/// A value with its secret parts redacted.
fn shown(value: &str, secrecy: Secrecy) -> String {
    match secrecy {
        // Public settings accept no credentials in a URL, but invalid values are printed too.
        Secrecy::Public if value.contains("://") && value.contains('@') => shown(value, Secrecy::Address),
        Secrecy::Public => value.to_owned(),
        Secrecy::Secret => MARK.to_owned(),
        Secrecy::Address if is_database(value) => without_password(value).unwrap_or_else(|| MARK.to_owned()),
        Secrecy::Address => {
            ProxyAddress::parse(value).map_or_else(|_| MARK.to_owned(), |proxy| proxy.to_string())
        }
    }
}

fn is_database(value: &str) -> bool {
    value.starts_with("postgres://") || value.starts_with("postgresql://")
}

/// `None` if it is unclear which part is the password.
fn without_password(url: &str) -> Option<String> {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    if query.contains('@') || query.to_ascii_lowercase().contains("password") {
        return None;
    }
    let (scheme, rest) = base.split_once("://")?;
    let Some((login, host)) = rest.rsplit_once('@') else { return Some(url.to_owned()) };
    let tail = url.strip_prefix(base)?;
    match login.split_once(':') {
        Some((user, _)) => Some(format!("{scheme}://{user}:{MARK}@{host}{tail}")),
        None => Some(url.to_owned()),
    }
}

fn print(rows: &[SettingRow]) {
    let cells = rows.iter().map(|row| {
        let origin = match (row.origin, &row.place) {
            ("default", _) if row.value.is_none() => "not set".to_owned(),
            ("env_file" | "flag", Some(place)) => place.clone(),
            ("file", Some(variable)) => format!("the file in {variable}"),
            ("credential", _) => "systemd credential".to_owned(),
            (origin, Some(place)) => format!("{origin} ({place})"),
            (origin, None) => origin.to_owned(),
        };
        vec![row.name.clone(), row.value.clone().unwrap_or_default(), origin]
    });
    print_table(&["SETTING", "VALUE", "FROM"], &[], cells.collect());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_of_an_address_is_shown() {
        for (value, want) in [
            ("postgres://dsm@db.test/dsm?sslmode=require", "postgres://dsm@db.test/dsm?sslmode=require"),
            ("postgres://dsm:hush@db.test:5432/dsm?a=b", "postgres://dsm:[redacted]@db.test:5432/dsm?a=b"),
            ("postgres://dsm:hu@sh:x@db.test/dsm", "postgres://dsm:[redacted]@db.test/dsm"),
            ("postgres://dsm:hu?sh@db.test/dsm", "[redacted]"),
            ("postgres://db.test/dsm?user=dsm&password=hush", "[redacted]"),
            ("mysql://dsm:hush@db.test/dsm", "[redacted]"),
            ("http://me:hush@proxy.test:3128", "http://[redacted]@proxy.test:3128"),
            ("http://proxy.test:3128", "http://proxy.test:3128"),
            ("hush", "http://hush"),
        ] {
            assert_eq!(shown(value, Secrecy::Address), want, "{value}");
        }
        assert_eq!(shown("hush", Secrecy::Secret), "[redacted]");
        assert_eq!(shown("https://me:hush@acme.test", Secrecy::Public), "https://[redacted]@acme.test");
    }
}
