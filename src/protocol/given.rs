//! The configuration that a call brings with it.

use std::collections::BTreeMap;

use secrecy::SecretString;

use crate::domain::config::{ConfigError, ConfigValues, Standing};
use crate::domain::connector::Definition;

/// Checks what a call brings. `place` is what the caller calls it: `secrets`, `configuration`.
///
/// # Errors
/// Every key that is missing or unreadable, in one line.
pub(super) fn resolve(
    definition: &Definition,
    given: &BTreeMap<String, SecretString>,
    place: &str,
) -> Result<ConfigValues, String> {
    let errors = match ConfigValues::resolve(definition, given) {
        Standing::On(values) => return Ok(values),
        Standing::Broken(errors) => errors.iter().map(|error| words(error, place)).collect(),
        Standing::Off => required(definition).map(|key| missing(key, place)).collect::<Vec<_>>(),
    };
    Err(errors.join("; "))
}

/// The keys that must be given, by name.
pub(super) fn required(definition: &Definition) -> impl Iterator<Item = &str> {
    let required = definition.config.iter().filter(|(_, key)| key.default.is_none() && !key.optional);
    required.map(|(name, _)| name.as_str())
}

fn missing(key: &str, place: &str) -> String {
    format!("{key} is missing: give it in `{place}`")
}

fn words(error: &ConfigError, place: &str) -> String {
    match error {
        ConfigError::Missing { key, .. } => missing(key, place),
        ConfigError::Bad { key, reason } => format!("{key} in `{place}`: {reason}"),
    }
}
