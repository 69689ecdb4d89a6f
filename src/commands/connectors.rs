//! What several commands need of connectors: the definitions, their configuration, their files.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use secrecy::SecretString;
use serde_json::Value;

use super::{CommandError, compose};
use crate::connectors::Account;
use crate::definitions::{Mistake, connector};
use crate::destinations::Place;
use crate::domain::config::{BASE_URL, ConfigValues, EVERY, Standing, TOKEN_URL, variable};
use crate::domain::connector::Definition;
use crate::runtime::jobs::{Job, Loaded};
use crate::secrets::SHORT;
use crate::settings::{Settings, Vars, lookup};

/// What is given to a connector, by key.
pub(super) type Given = BTreeMap<String, SecretString>;

pub(super) fn definitions(settings: &Settings) -> Result<Vec<Definition>, CommandError> {
    connector::load(&settings.connectors_dir).map_err(CommandError::configuration)
}

/// A definition in a file of its own, which may extend one of the others.
pub(super) fn read_file(file: &Path, others: Vec<Definition>) -> Result<Definition, Vec<Mistake>> {
    let place = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|e| {
        vec![Mistake { file: place.clone(), at: None, message: format!("cannot be read: {e}") }]
    })?;
    let others = others.into_iter().map(|other| (other.name.clone(), other)).collect();
    connector::read_one(&place, &text, &others)
}

pub(super) fn find(definitions: Vec<Definition>, name: &str) -> Result<Definition, CommandError> {
    let names: Vec<String> = definitions.iter().map(|definition| definition.name.clone()).collect();
    definitions.into_iter().find(|definition| definition.name == name).ok_or_else(|| {
        CommandError::configuration([format!(
            "there is no connector {name:?}; there are {}",
            names.join(", ")
        )])
    })
}

/// The configuration out of variables: `STATUSCAKE_API_KEY`, its `_FILE`, or systemd's credential of that name.
pub(super) fn from_vars(definition: &Definition, vars: &dyn Vars) -> Result<Given, CommandError> {
    let keys = definition.config.keys().map(String::as_str).chain([BASE_URL, TOKEN_URL, EVERY]);
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

/// The configuration out of a flat JSON object. Keys nobody knows are named on stderr and left alone.
pub(super) fn from_file(definition: &Definition, path: &Path) -> Result<Given, CommandError> {
    let wrong = |what: String| CommandError::configuration([format!("{}: {what}", path.display())]);
    let text = std::fs::read_to_string(path).map_err(|e| wrong(format!("cannot be read: {e}")))?;
    let object: BTreeMap<String, Value> = serde_json::from_str(text.trim_start_matches('\u{feff}'))
        // Where the mistake is, not what stands there: it may be a secret.
        .map_err(|e| wrong(format!("is not a flat JSON object: line {} column {}", e.line(), e.column())))?;
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
                return Err(wrong(format!("`{key}` must be a text, number, flag or list of texts")));
            }
        };
        if !definition.config.contains_key(&key) && ![BASE_URL, TOKEN_URL, EVERY].contains(&key.as_str()) {
            eprintln!("{}: `{key}` is not known to {} and is ignored", path.display(), definition.name);
        }
        given.insert(key, SecretString::from(text));
    }
    Ok(given)
}

/// The account of a connector that a person asked for by name.
pub(super) fn account(
    settings: &Settings,
    definition: Definition,
    configuration: Option<&Path>,
) -> Result<Account, CommandError> {
    let mut given = from_vars(&definition, &compose::vars()?)?;
    if let Some(path) = configuration {
        given.extend(from_file(&definition, path)?);
    }
    let config = match ConfigValues::resolve(&definition, &given) {
        Standing::On(config) => config,
        Standing::Off => {
            let missing = ConfigValues::required(&definition).join(", ");
            let message =
                format!("{} is not configured: set {missing}, or use --configuration", definition.name);
            return Err(CommandError::configuration([message]));
        }
        Standing::Broken(errors) => {
            return Err(CommandError::configuration(
                errors.iter().map(|e| format!("{}: {e}", definition.name)),
            ));
        }
    };
    put_together(settings, definition, config)
}

fn put_together(
    settings: &Settings,
    definition: Definition,
    config: ConfigValues,
) -> Result<Account, CommandError> {
    let name = definition.name.clone();
    let wrong = |what: String| CommandError::configuration([format!("{name}: {what}")]);
    let account = Account::new(Arc::new(definition), config, compose::network(settings))
        .map_err(|e| wrong(e.to_string()))?;
    match account.short_secrets().as_slice() {
        [] => Ok(account),
        short => Err(wrong(format!(
            "{} has fewer than {SHORT} characters, which is no secret: it cannot be kept out of logs",
            short.join(" and ")
        ))),
    }
}

/// Every connector and where it stands.
pub(super) fn all(settings: &Settings, vars: &dyn Vars) -> Result<Vec<(Definition, Standing)>, CommandError> {
    let (mut all, mut mistakes) = (Vec::new(), Vec::new());
    for definition in definitions(settings)? {
        match from_vars(&definition, vars) {
            Ok(given) => {
                let standing = ConfigValues::resolve(&definition, &given);
                all.push((definition, standing));
            }
            Err(error) => mistakes.extend(error.into_lines()),
        }
    }
    if mistakes.is_empty() { Ok(all) } else { Err(CommandError::Configuration(mistakes)) }
}

/// The accounts of all connectors that are on, and the names of those that are off.
///
/// # Errors
/// When one is configured in part.
pub(super) fn accounts_on(
    settings: &Settings,
    vars: &dyn Vars,
) -> Result<(Vec<Account>, Vec<String>), CommandError> {
    let (mut accounts, mut off, mut mistakes) = (Vec::new(), Vec::new(), Vec::new());
    for (definition, standing) in all(settings, vars)? {
        match standing {
            Standing::On(config) => match put_together(settings, definition, config) {
                Ok(account) => accounts.push(account),
                Err(e) => mistakes.push(e.to_string()),
            },
            Standing::Off => off.push(definition.name),
            Standing::Broken(errors) => {
                mistakes.extend(errors.iter().map(|e| format!("{}: {e}", definition.name)));
            }
        }
    }
    if mistakes.is_empty() { Ok((accounts, off)) } else { Err(CommandError::Configuration(mistakes)) }
}

/// The daemon's jobs: every connector that is on.
pub(super) fn jobs(settings: &Settings, vars: &dyn Vars) -> Result<Loaded, CommandError> {
    let (accounts, off) = accounts_on(settings, vars)?;
    let place = place(settings)?;
    let job = |account: Account| Job { place: place.clone(), account };
    Ok(Loaded { jobs: accounts.into_iter().map(job).collect(), off })
}

/// Where the tables are.
pub(super) fn place(settings: &Settings) -> Result<Place, CommandError> {
    Ok(match compose::database(settings)? {
        Some(database) => Place::Postgres(database),
        None => Place::Sqlite(settings.data_dir.clone()),
    })
}
