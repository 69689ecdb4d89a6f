//! The configuration in a request.

use std::collections::BTreeMap;

use secrecy::SecretString;

use crate::domain::syncing::definition::config::{ConfigError, ConfigStatus, ConfigValues};
use crate::domain::syncing::definition::connector::Definition;

/// Checks the configuration of a request. `place` is its name in the protocol: `secrets`, `configuration`.
///
/// # Errors
/// All missing or invalid keys, in one line.
pub(super) fn resolve(
    definition: &Definition,
    given: &BTreeMap<String, SecretString>,
    place: &str,
) -> Result<ConfigValues, String> {
    let errors = match ConfigValues::resolve(definition, given) {
        ConfigStatus::On(values) => return Ok(values),
        ConfigStatus::Broken(errors) => errors.iter().map(|error| describe(error, place)).collect(),
        ConfigStatus::Off => required(definition).map(|key| missing(key, place)).collect::<Vec<_>>(),
    };
    Err(errors.join("; "))
}

/// The names of the required keys.
pub(super) fn required(definition: &Definition) -> impl Iterator<Item = &str> {
    let required = definition.config.iter().filter(|(_, key)| key.default.is_none() && !key.optional);
    required.map(|(name, _)| name.as_str())
}

fn missing(key: &str, place: &str) -> String {
    format!("{key} is missing: give it in `{place}`")
}

fn describe(error: &ConfigError, place: &str) -> String {
    match error {
        ConfigError::Missing { key, .. } => missing(key, place),
        ConfigError::Bad { key, reason } => format!("{key} in `{place}`: {reason}"),
    }
}
