//! Loads the definitions and the configuration of connectors, for several commands.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use secrecy::SecretString;
use serde_json::Value;

use crate::commands::{CommandError, compose};
use crate::definitions::{DefinitionError, connector};
use crate::destinations::DestinationKind;
use crate::domain::file_format::FileFormat;
use crate::domain::syncing::definition::config::{
    COMMON, ConfigStatus, ConfigValues, EXPORT, NO_EXPORT, variable,
};
use crate::domain::syncing::definition::connector::Definition;
use crate::export::ExportOptions;
use crate::runtime::jobs::{Job, LoadedConnectors};
use crate::secrets::SHORT;
use crate::settings::{ExportSettings, Settings, Vars, lookup};
use crate::source::Account;

/// Configuration values of a connector, by key.
pub(in crate::commands) type Given = BTreeMap<String, SecretString>;

pub(crate) fn definitions(settings: &Settings) -> Result<Vec<Definition>, CommandError> {
    connector::load(&settings.connectors_dir).map_err(CommandError::configuration)
}

/// Reads a definition from a file. It may extend one of `others`.
pub(crate) fn read_file(file: &Path, others: Vec<Definition>) -> Result<Definition, Vec<DefinitionError>> {
    let place = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|e| {
        vec![DefinitionError { file: place.clone(), at: None, message: format!("cannot be read: {e}") }]
    })?;
    let others = others.into_iter().map(|other| (other.name.clone(), other)).collect();
    connector::read_one(&place, &text, &others)
}

pub(crate) fn find(definitions: Vec<Definition>, name: &str) -> Result<Definition, CommandError> {
    let names: Vec<String> = definitions.iter().map(|definition| definition.name.clone()).collect();
    definitions.into_iter().find(|definition| definition.name == name).ok_or_else(|| {
        CommandError::configuration([format!(
            "unknown connector {name:?}; known connectors: {}",
            names.join(", ")
        )])
    })
}

/// Reads the configuration from variables: `STATUSCAKE_API_KEY`, its `_FILE`, or the systemd credential of that name.
pub(crate) fn from_vars(definition: &Definition, vars: &dyn Vars) -> Result<Given, CommandError> {
    let keys = definition.config.keys().map(String::as_str).chain(COMMON);
    let mut given = Given::new();
    let mut problems = Vec::new();
    for key in keys {
        match lookup(vars, &variable(&definition.name, key)) {
            Ok(Some(value)) => drop(given.insert(key.to_owned(), SecretString::from(value))),
            Ok(None) => {}
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(given) } else { Err(CommandError::configuration(problems)) }
}

/// Reads the configuration from a flat JSON object. Unknown keys are reported on stderr and ignored.
pub(crate) fn from_file(definition: &Definition, path: &Path) -> Result<Given, CommandError> {
    let invalid = |what: String| CommandError::configuration([format!("{}: {what}", path.display())]);
    let text = std::fs::read_to_string(path).map_err(|e| invalid(format!("cannot be read: {e}")))?;
    let object: BTreeMap<String, Value> = serde_json::from_str(text.trim_start_matches('\u{feff}'))
        // The parser's message may quote a secret, so only the position is reported.
        .map_err(|e| {
            invalid(format!("is not a flat JSON object: line {} column {}", e.line(), e.column()))
        })?;
    let mut given = Given::new();
    for (key, value) in object {
        let text = match &value {
            Value::Null => continue,
            Value::String(text) => text.clone(),
            Value::Number(_) | Value::Bool(_) => value.to_string(),
            Value::Array(items) if items.iter().all(Value::is_string) => {
                items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
            }
            Value::Array(_) | Value::Object(_) => {
                return Err(invalid(format!("`{key}` must be a string, number, boolean or list of strings")));
            }
        };
        if !definition.config.contains_key(&key) && !COMMON.contains(&key.as_str()) {
            eprintln!("{}: ignoring `{key}`, which is not a setting of {}", path.display(), definition.name);
        }
        given.insert(key, SecretString::from(text));
    }
    Ok(given)
}

/// Builds the account of a connector. Fails if the connector is not configured.
pub(crate) fn account(
    settings: &Settings,
    vars: &dyn Vars,
    definition: Definition,
    configuration: Option<&Path>,
) -> Result<Account, CommandError> {
    let mut given = from_vars(&definition, vars)?;
    if let Some(path) = configuration {
        given.extend(from_file(&definition, path)?);
    }
    let config = match ConfigValues::resolve(&definition, &given) {
        ConfigStatus::On(config) => config,
        ConfigStatus::Off => {
            let missing = ConfigValues::required(&definition).join(", ");
            let message =
                format!("{} is not configured: set {missing}, or use --configuration", definition.name);
            return Err(CommandError::configuration([message]));
        }
        ConfigStatus::Broken(errors) => {
            return Err(CommandError::configuration(
                errors.iter().map(|e| format!("{}: {e}", definition.name)),
            ));
        }
    };
    build_account(settings, definition, config)
}

fn build_account(
    settings: &Settings,
    definition: Definition,
    config: ConfigValues,
) -> Result<Account, CommandError> {
    let name = definition.name.clone();
    let invalid = |what: String| CommandError::configuration([format!("{name}: {what}")]);
    let account = Account::new(Arc::new(definition), config, compose::network(settings))
        .map_err(|e| invalid(e.to_string()))?;
    match account.short_secrets().as_slice() {
        [] => Ok(account),
        short => Err(invalid(format!(
            "{} has fewer than {SHORT} characters: too short to be redacted from logs",
            short.join(" and ")
        ))),
    }
}

/// Returns every connector with its configuration status.
pub(crate) fn all(
    settings: &Settings,
    vars: &dyn Vars,
) -> Result<Vec<(Definition, ConfigStatus)>, CommandError> {
    let (mut all, mut errors) = (Vec::new(), Vec::new());
    for definition in definitions(settings)? {
        match from_vars(&definition, vars) {
            Ok(given) => {
                let status = ConfigValues::resolve(&definition, &given);
                all.push((definition, status));
            }
            Err(error) => errors.extend(error.into_lines()),
        }
    }
    if errors.is_empty() { Ok(all) } else { Err(CommandError::Configuration(errors)) }
}

/// Returns the accounts of all connectors that are on, and the names of those that are off.
///
/// # Errors
/// If a connector is configured incompletely.
pub(crate) fn accounts_on(
    settings: &Settings,
    vars: &dyn Vars,
) -> Result<(Vec<Account>, Vec<String>), CommandError> {
    let (mut accounts, mut off, mut errors) = (Vec::new(), Vec::new(), Vec::new());
    for (definition, status) in all(settings, vars)? {
        match status {
            ConfigStatus::On(config) => match build_account(settings, definition, config) {
                Ok(account) => accounts.push(account),
                Err(e) => errors.push(e.to_string()),
            },
            ConfigStatus::Off => off.push(definition.name),
            ConfigStatus::Broken(found) => {
                errors.extend(found.iter().map(|e| format!("{}: {e}", definition.name)));
            }
        }
    }
    if errors.is_empty() { Ok((accounts, off)) } else { Err(CommandError::Configuration(errors)) }
}

/// Returns a job for every connector that is on.
pub(crate) fn jobs(settings: &Settings, vars: &dyn Vars) -> Result<LoadedConnectors, CommandError> {
    let (accounts, off) = accounts_on(settings, vars)?;
    let place = destination_kind(settings)?;
    let job = |account: Account| Job {
        place: place.clone(),
        export: export_options(settings, account.config().get(EXPORT)),
        account,
    };
    Ok(LoadedConnectors { jobs: accounts.into_iter().map(job).collect(), off })
}

/// How tables are exported after runs; `None` if they are not. `format` is the value of `NAME_EXPORT`.
pub(crate) fn export_options(settings: &Settings, format: Option<&str>) -> Option<ExportOptions> {
    let ExportSettings { dir, partial, deleted } = settings.export.clone();
    let format = match format {
        Some(NO_EXPORT) => return None,
        Some(text) => FileFormat::parse(text)?,
        None => FileFormat::Parquet,
    };
    Some(ExportOptions { dir: dir?, format, partial, deleted })
}

pub(crate) fn destination_kind(settings: &Settings) -> Result<DestinationKind, CommandError> {
    Ok(match compose::database(settings)? {
        Some(database) => DestinationKind::Postgres(database),
        None => DestinationKind::Sqlite(settings.data_dir.clone()),
    })
}
