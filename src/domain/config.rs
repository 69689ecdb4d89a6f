//! The configuration of one connector: which keys there are, and the checked values of a run.
//!
//! Where values come from (environment, files, a JSON document) is the caller's business; here is decided what
//! they mean and what is missing. Start at [`ConfigValues::resolve`].

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use jiff::{ToSpan, civil::Date};
use secrecy::{ExposeSecret, SecretString};

use super::connector::{Auth, Definition, Enabled};
use super::template::{Part, Template};
use super::urls::check_url;

/// Keys that every connector takes besides its own.
pub const BASE_URL: &str = "base_url";
/// Where tokens are minted, for connectors with oauth2.
pub const TOKEN_URL: &str = "token_url";
/// The schedule of the daemon's job.
pub const EVERY: &str = "every";

/// One key of a connector's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigKey {
    /// What its value must be.
    pub kind: ConfigKind,
    /// Used when nothing is set.
    pub default: Option<String>,
    /// May be left out although there is no default.
    pub optional: bool,
    /// For whoever fills in a form.
    pub description: Option<String>,
}

/// What a value must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigKind {
    /// Never shown.
    Secret,
    /// Any text.
    String,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// `YYYY-MM-DD`, or `-730d` for so many days before today.
    Date,
    /// Comma-separated.
    List,
}

/// Where a connector stands, judged by what of its configuration is set.
#[derive(Debug)]
pub enum Standing {
    /// Everything required is there and readable.
    On(ConfigValues),
    /// Nothing of what it requires is set: nobody wants it.
    Off,
    /// A part is missing or unreadable.
    Broken(Vec<ConfigError>),
}

/// What is wrong with one key. Never contains a value of a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Required, and not set.
    #[error("{key} is missing (variable {variable})")]
    Missing {
        /// The key.
        key: String,
        /// The variable that would set it.
        variable: String,
    },
    /// Set to something else than its type.
    #[error("{key}: {reason}")]
    Bad {
        /// The key.
        key: String,
        /// What is expected.
        reason: String,
    },
}

/// The checked values of one run. Secrets print as such.
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
    /// Checks what is given against what the definition asks for. Keys the definition does not know are left alone.
    pub fn resolve(definition: &Definition, given: &BTreeMap<String, SecretString>) -> Standing {
        let mut errors = Vec::new();
        let mut out = ConfigValues::default();
        let mut wanted = definition.config.values().all(|key| key.optional || key.default.is_some());
        for (name, key) in &definition.config {
            let set = given.get(name).filter(|value| !value.expose_secret().trim().is_empty());
            let required = key.default.is_none() && !key.optional;
            wanted |= required && set.is_some();
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
                    // People put blanks behind commas; a service may take them for a part of the name.
                    let text = match key.kind {
                        ConfigKind::List => members(&text).collect::<Vec<_>>().join(","),
                        _ => text,
                    };
                    out.values.insert(name.clone(), SecretString::from(text));
                }
                Err(reason) => errors.push(ConfigError::Bad { key: name.clone(), reason }),
            }
        }
        for name in [BASE_URL, TOKEN_URL, EVERY] {
            if let Some(value) = given.get(name).filter(|value| !value.expose_secret().trim().is_empty()) {
                match check_common(definition, name, value.expose_secret().trim()) {
                    Ok(text) => drop(out.values.insert(name.to_owned(), SecretString::from(text))),
                    Err(reason) => errors.push(ConfigError::Bad { key: name.to_owned(), reason }),
                }
            }
        }
        errors.extend(out.no_days(definition));
        if !wanted {
            // What is missing only says that nobody wants it; a wrong value is a mistake all the same.
            errors.retain(|error| matches!(error, ConfigError::Bad { .. }));
        }
        match (wanted, errors.is_empty()) {
            (false, true) => Standing::Off,
            (false, false) => Standing::Broken(errors),
            (true, true) => Standing::On(out),
            (true, false) => Standing::Broken(errors),
        }
    }

    /// What should be the first day of a table and is none, though each value by itself is what it has to be.
    fn no_days(&self, definition: &Definition) -> Option<ConfigError> {
        let windows = definition.tables.iter().filter_map(|table| table.window.as_ref());
        windows.into_iter().find_map(|window| {
            let reason = self.first_day(&window.start, Date::constant(2026, 1, 1)).err()?;
            let none = BTreeMap::new();
            let chosen = window.start.iter().find(|template| self.fill(template, &none).is_some())?;
            let key = chosen.config_keys().next().unwrap_or("start").to_owned();
            Some(ConfigError::Bad { key, reason })
        })
    }

    /// The variables that have to be set for a connector to be on.
    pub fn required(definition: &Definition) -> Vec<String> {
        let required = definition.config.iter().filter(|(_, key)| key.default.is_none() && !key.optional);
        required.map(|(name, _)| variable(&definition.name, name)).collect()
    }

    /// The secrets and the variables they are known by, for whoever hides them.
    pub fn secrets(&self) -> impl Iterator<Item = (&str, &SecretString)> {
        self.secret.iter().filter_map(|key| Some((key.as_str(), self.values.get(key)?)))
    }

    /// The text of a key; lists are comma-separated. Secrets included: for requests only.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(ExposeSecret::expose_secret)
    }

    /// The members of a list.
    pub fn list(&self, key: &str) -> Vec<&str> {
        members(self.get(key).unwrap_or_default()).collect()
    }

    /// Fills a template from these values and a parent row. `None` when a value is not set.
    pub fn fill(&self, template: &Template, row: &BTreeMap<String, String>) -> Option<String> {
        template.fill(|part| match part {
            Part::Config(key) => self.get(key).map(Cow::Borrowed),
            Part::Row(column) => row.get(column).map(|value| Cow::Owned(value.clone())),
            Part::Text(text) => Some(Cow::Owned(text.clone())),
        })
    }

    /// The first candidate whose configuration is set, read as a day.
    ///
    /// # Errors
    /// When it is no day, with the text that is not.
    pub fn first_day(&self, candidates: &[Template], today: Date) -> Result<Option<Date>, String> {
        let none = BTreeMap::new();
        let Some(text) = candidates.iter().find_map(|template| self.fill(template, &none)) else {
            return Ok(None);
        };
        day(&text, today).map(Some).ok_or_else(|| format!("{text:?} is not a day (YYYY-MM-DD, or -730d)"))
    }

    /// Whether a table is to be read.
    pub fn enables(&self, enabled: &Enabled) -> bool {
        match enabled {
            Enabled::Fixed(yes) => *yes,
            Enabled::Listed { list, has } => self.list(list).contains(&has.as_str()),
        }
    }
}

/// A day as configuration writes it: `2026-05-01`, or `-730d` counted from `today`.
pub fn day(text: &str, today: Date) -> Option<Date> {
    if let Some(days) = text.strip_prefix('-').and_then(|rest| rest.strip_suffix('d')) {
        return today
            .checked_sub(days.parse::<i64>().ok().filter(|n| (0..=100_000).contains(n))?.days())
            .ok();
    }
    // A seed wrote instants here as well; the day is what counts.
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

/// A list that switches tables on may only name tables that it can switch.
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
        Some(unknown) => Err(format!("{unknown:?} is not known; known are {}", known.join(", "))),
        None => Ok(()),
    }
}

fn check_common(definition: &Definition, name: &str, text: &str) -> Result<String, String> {
    if name == EVERY {
        return match super::schedule::parse_duration(text) {
            Some(every) if every.as_secs() >= 1 => Ok(text.to_owned()),
            _ => Err(format!("{text:?} is not a duration of a second or more (30s, 15m, 6h)")),
        };
    }
    check_url(text, definition.auth == Auth::None).map(|()| text.trim_end_matches('/').to_owned())
}

impl fmt::Display for ConfigKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ConfigKind::Secret | ConfigKind::String => "a text",
            ConfigKind::Integer => "a whole number",
            ConfigKind::Boolean => "true or false",
            ConfigKind::Date => "a day (YYYY-MM-DD, or -730d for so many days ago)",
            ConfigKind::List => "a comma-separated list",
        })
    }
}
