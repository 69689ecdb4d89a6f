//! The configuration of one connector: its keys, and the checked values of a run.
//!
//! The caller reads the values (environment, files, a JSON document); this module checks them and decides
//! what is missing. Start at [`ConfigValues::resolve`].

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::{ToSpan, civil::Date};
use secrecy::{ExposeSecret, SecretString};

use super::connector::{Auth, ConfigKind, Definition, Enabled};
use super::template::{Template, TemplatePart};
use crate::domain::urls::check_url;

/// The address of the service.
pub const BASE_URL: &str = "base_url";
/// The token endpoint, for connectors with oauth2.
pub const TOKEN_URL: &str = "token_url";
/// The interval of the daemon's job.
pub const EVERY: &str = "every";
/// The format of exported files, or [`NO_EXPORT`].
pub const EXPORT: &str = "export";
/// The keys of every connector besides its own.
pub const COMMON: [&str; 4] = [BASE_URL, TOKEN_URL, EVERY, EXPORT];

/// Tables are not exported.
pub const NO_EXPORT: &str = "off";
/// The formats of exported files.
const EXPORT_FORMATS: [&str; 2] = ["parquet", "csv"];

/// Whether a connector is configured.
#[derive(Debug)]
pub enum ConfigStatus {
    /// Every required key is set and valid.
    On(ConfigValues),
    /// No required key is set: the connector is off.
    Off,
    /// A key is missing or invalid.
    Broken(Vec<ConfigError>),
}

/// What is wrong with one key. Never contains a secret's value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Required but not set.
    #[error("{key} is missing (variable {variable})")]
    Missing {
        key: String,
        /// The variable that sets it.
        variable: String,
    },
    /// The value does not have the key's type.
    #[error("{key}: {reason}")]
    Bad { key: String, reason: String },
}

/// The checked values of one run. Secrets are hidden in debug output.
#[derive(Debug, Clone, Default)]
pub struct ConfigValues {
    values: BTreeMap<String, SecretString>,
    secret: Vec<String>,
}

/// The variable that sets a key: `STATUSCAKE_API_KEY`.
pub fn variable(connector: &str, key: &str) -> String {
    format!("{}_{}", connector, key).to_ascii_uppercase().replace('-', "_")
}

impl PartialEq for ConfigValues {
    fn eq(&self, other: &ConfigValues) -> bool {
        let exposed = |of: &ConfigValues| -> Vec<(String, String)> {
            of.values.iter().map(|(key, value)| (key.clone(), value.expose_secret().to_owned())).collect()
        };
        self.secret == other.secret && exposed(self) == exposed(other)
    }
}

impl ConfigValues {
    /// Checks the given values against the definition. Keys that the definition does not have are ignored.
    pub fn resolve(definition: &Definition, given: &BTreeMap<String, SecretString>) -> ConfigStatus {
        let mut errors = Vec::new();
        let mut out = ConfigValues::default();
        let mut configured = definition.config.values().all(|key| key.optional || key.default.is_some());
        for (name, key) in &definition.config {
            let set = given.get(name).filter(|value| !value.expose_secret().trim().is_empty());
            let required = key.default.is_none() && !key.optional;
            configured |= required && set.is_some();
            if key.kind == ConfigKind::Secret {
                out.secret.push(name.clone());
            }
            let text = match (set, &key.default) {
                (Some(value), _) => value.expose_secret().trim().to_owned(),
                (None, Some(default)) => default.clone(),
                (None, None) if key.optional => continue,
                (None, None) => {
                    let variable = variable(&definition.name, name);
                    errors.push(ConfigError::Missing { key: name.clone(), variable });
                    continue;
                }
            };
            match check(definition, name, key.kind, &text) {
                Ok(()) => {
                    // Blanks after commas are common; a service might take them for a part of the name.
                    let text = match key.kind {
                        ConfigKind::List => members(&text).collect::<Vec<_>>().join(","),
                        _ => text,
                    };
                    out.values.insert(name.clone(), SecretString::from(text));
                }
                Err(reason) => errors.push(ConfigError::Bad { key: name.clone(), reason }),
            }
        }
        for name in COMMON {
            if let Some(value) = given.get(name).filter(|value| !value.expose_secret().trim().is_empty()) {
                match check_common(definition, name, value.expose_secret().trim()) {
                    Ok(text) => drop(out.values.insert(name.to_owned(), SecretString::from(text))),
                    Err(reason) => errors.push(ConfigError::Bad { key: name.to_owned(), reason }),
                }
            }
        }
        errors.extend(out.check_dates(definition));
        if !configured {
            // If nothing required is set, the connector is off; an invalid value is an error all the same.
            errors.retain(|error| matches!(error, ConfigError::Bad { .. }));
        }
        match (configured, errors.is_empty()) {
            (false, true) => ConfigStatus::Off,
            (false, false) => ConfigStatus::Broken(errors),
            (true, true) => ConfigStatus::On(out),
            (true, false) => ConfigStatus::Broken(errors),
        }
    }

    /// The first template of a start day that does not result in a day, although each value in it is valid.
    fn check_dates(&self, definition: &Definition) -> Option<ConfigError> {
        let windows = definition.tables.iter().filter_map(|table| table.window.as_ref());
        windows.into_iter().find_map(|window| {
            let reason = self.first_day(&window.start, Date::constant(2026, 1, 1)).err()?;
            let none = BTreeMap::new();
            let chosen = window.start.iter().find(|template| self.fill(template, &none).is_some())?;
            let key = chosen.config_keys().next().unwrap_or("start").to_owned();
            Some(ConfigError::Bad { key, reason })
        })
    }

    /// The variables that must be set for a connector to be on.
    pub fn required(definition: &Definition) -> Vec<String> {
        let required = definition.config.iter().filter(|(_, key)| key.default.is_none() && !key.optional);
        required.map(|(name, _)| variable(&definition.name, name)).collect()
    }

    /// The secrets with their variables, for a redactor.
    pub fn secrets(&self) -> impl Iterator<Item = (&str, &SecretString)> {
        self.secret.iter().filter_map(|key| Some((key.as_str(), self.values.get(key)?)))
    }

    /// The text of a key; lists are comma-separated. Includes secrets, so it is for requests only.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(ExposeSecret::expose_secret)
    }

    pub fn list(&self, key: &str) -> Vec<&str> {
        members(self.get(key).unwrap_or_default()).collect()
    }

    /// Fills a template from these values and a parent row. `None` if a value is not set.
    pub fn fill(&self, template: &Template, row: &BTreeMap<String, String>) -> Option<String> {
        template.fill(|part| match part {
            TemplatePart::Config(key) => self.get(key).map(Cow::Borrowed),
            TemplatePart::Row(column) => row.get(column).map(|value| Cow::Owned(value.clone())),
            TemplatePart::Text(text) => Some(Cow::Owned(text.clone())),
        })
    }

    /// The first candidate whose configuration is set, as a day.
    ///
    /// # Errors
    /// If it is not a day: a message with its text.
    pub fn first_day(&self, candidates: &[Template], today: Date) -> Result<Option<Date>, String> {
        let none = BTreeMap::new();
        let Some(text) = candidates.iter().find_map(|template| self.fill(template, &none)) else {
            return Ok(None);
        };
        day(&text, today).map(Some).ok_or_else(|| format!("{text:?} is not a day (YYYY-MM-DD, or -730d)"))
    }

    /// Whether a table is enabled.
    pub fn enables(&self, enabled: &Enabled) -> bool {
        match enabled {
            Enabled::Fixed(yes) => *yes,
            Enabled::Listed { list, has } => self.list(list).contains(&has.as_str()),
        }
    }
}

/// A day in the configuration: `2026-05-01`, or `-730d` relative to `today`.
pub fn day(text: &str, today: Date) -> Option<Date> {
    if let Some(days) = text.strip_prefix('-').and_then(|rest| rest.strip_suffix('d')) {
        return today
            .checked_sub(days.parse::<i64>().ok().filter(|n| (0..=100_000).contains(n))?.days())
            .ok();
    }
    // A predecessor wrote instants here as well; only the day is used.
    text.get(..10)
        .and_then(|day| day.parse().ok())
        .filter(|_| text.len() == 10 || text.as_bytes().get(10) == Some(&b'T'))
}

fn members(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|member| !member.is_empty())
}

fn check(definition: &Definition, name: &str, kind: ConfigKind, text: &str) -> Result<(), String> {
    let ok = match kind {
        ConfigKind::Secret | ConfigKind::String => return Ok(()),
        ConfigKind::Integer => text.parse::<i64>().is_ok(),
        ConfigKind::Boolean => matches!(text, "true" | "false"),
        ConfigKind::Date => day(text, Date::constant(2026, 1, 1)).is_some(),
        ConfigKind::List => return check_members(definition, name, text),
    };
    if ok { Ok(()) } else { Err(format!("{text:?} is not {kind}")) }
}

/// A list that enables tables may contain only the names of tables that it can enable.
fn check_members(definition: &Definition, name: &str, text: &str) -> Result<(), String> {
    let known: Vec<&str> = definition
        .tables
        .iter()
        .filter_map(|table| match &table.enabled {
            Enabled::Listed { list, has } if list == name => Some(has.as_str()),
            _ => None,
        })
        .collect();
    match members(text).find(|member| !known.is_empty() && !known.contains(member)) {
        Some(unknown) => Err(format!("{unknown:?} is unknown; known: {}", known.join(", "))),
        None => Ok(()),
    }
}

fn check_common(definition: &Definition, name: &str, text: &str) -> Result<String, String> {
    if name == EVERY {
        return match crate::domain::monitoring::schedule::parse_duration(text) {
            Some(every) if every.as_secs() >= 1 => Ok(text.to_owned()),
            _ => Err(format!("{text:?} is not a duration of a second or more (30s, 15m, 6h)")),
        };
    }
    if name == EXPORT {
        return match text {
            NO_EXPORT => Ok(text.to_owned()),
            text if EXPORT_FORMATS.contains(&text) => Ok(text.to_owned()),
            _ => Err(format!("{text:?} is not {}, or {NO_EXPORT}", EXPORT_FORMATS.join(", "))),
        };
    }
    check_url(text, definition.auth == Auth::None).map(|()| text.trim_end_matches('/').to_owned())
}
