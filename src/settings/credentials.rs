//! The tenant of `QLIK_TENANT_URL`, and the credentials of tenants: an API key, or the id and secret of an OAuth client.

use std::path::Path;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::problem::Problem;
use super::source::{Vars, lookup};
use crate::domain::monitoring::audience::tenant::tenant_url;

/// The prefix of the default tenant's credentials, which also serve tenants without their own.
pub const QLIK: &str = "QLIK";

/// The tenant and its credentials.
#[derive(Debug, Clone)]
pub struct Tenant {
    /// Root URL, https (http only on loopback).
    pub url: Url,
    pub credentials: Credentials,
}

#[derive(Debug, Clone)]
pub enum Credentials {
    ApiKey(SecretString),
    /// OAuth machine-to-machine client.
    OAuth {
        id: String,
        secret: SecretString,
    },
}

impl PartialEq for Credentials {
    fn eq(&self, other: &Credentials) -> bool {
        match (self, other) {
            (Credentials::ApiKey(a), Credentials::ApiKey(b)) => a.expose_secret() == b.expose_secret(),
            (Credentials::OAuth { id: a, secret: x }, Credentials::OAuth { id: b, secret: y }) => {
                a == b && x.expose_secret() == y.expose_secret()
            }
            (Credentials::ApiKey(_), Credentials::OAuth { .. })
            | (Credentials::OAuth { .. }, Credentials::ApiKey(_)) => false,
        }
    }
}

/// The names of the variables that [`credentials`] reads.
pub fn credential_names(prefix: &str) -> [String; 3] {
    ["API_KEY", "CLIENT_ID", "CLIENT_SECRET"].map(|name| format!("{prefix}_{name}"))
}

/// Reads the credentials of a tenant; `None` if no variable with this prefix is set.
///
/// # Errors
/// What is missing, set twice or unusable.
pub fn credentials(vars: &dyn Vars, prefix: &str) -> Result<Option<Credentials>, Vec<Problem>> {
    let names = credential_names(prefix);
    let mut problems = Vec::new();
    let [key, id, secret] = names.each_ref().map(|name| match lookup(vars, name) {
        Ok(value) => value,
        Err(problem) => {
            problems.push(problem);
            None
        }
    });
    if !problems.is_empty() {
        return Err(problems);
    }
    let [key_name, id_name, secret_name] = &names;
    let wrong = |name: &str, message: String| Err(vec![Problem::new(name, message)]);
    match (key, id, secret) {
        (None, None, None) => Ok(None),
        (Some(key), None, None) => api_key(key_name, &key).map(Some),
        (None, Some(id), Some(secret)) => Ok(Some(Credentials::OAuth { id, secret: secret.into() })),
        (Some(_), _, _) => {
            wrong(key_name, format!("is set together with {id_name} or {secret_name}; keep one of the two"))
        }
        (None, None, Some(_)) => wrong(id_name, format!("is missing; it is required with {secret_name}")),
        (None, Some(_), None) => wrong(secret_name, format!("is missing; it is required with {id_name}")),
    }
}

fn api_key(name: &str, key: &str) -> Result<Credentials, Vec<Problem>> {
    if let Some(at) = key.trim().chars().position(|c| !c.is_ascii_graphic()) {
        let place = at + 1;
        let message = format!(
            "contains a character that is not allowed in an API key (character {place}); copy it again"
        );
        return Err(vec![Problem::new(name, message)]);
    }
    Ok(Credentials::ApiKey(key.trim().into()))
}

/// What the `QLIK_` variables mean.
#[derive(Debug, Default)]
pub(super) struct QlikVariables {
    pub(super) tenant: Option<Tenant>,
    /// For tenants without their own.
    pub(super) shared: Option<Credentials>,
    /// Whether there are definitions of tenants.
    pub(super) has_definitions: bool,
    pub(super) problems: Vec<Problem>,
}

/// Reads the `QLIK_` variables. Beside definitions of tenants, only credentials have an effect.
pub(super) fn qlik_variables(vars: &dyn Vars, tenants_dir: &Path) -> QlikVariables {
    let (url, mut problems) = match lookup(vars, "QLIK_TENANT_URL") {
        Ok(url) => (url, Vec::new()),
        Err(problem) => (None, vec![problem]),
    };
    let credentials = credentials(vars, QLIK);
    if has_definitions(tenants_dir) {
        if url.is_some() {
            let place = tenants_dir.display();
            let message = format!(
                "has no effect beside the definitions in {place}; remove it, or define this tenant in {place}/default.toml"
            );
            problems.push(Problem::new("QLIK_TENANT_URL", message));
        }
        let shared = credentials.unwrap_or_else(|more| {
            problems.extend(more);
            None
        });
        return QlikVariables { shared, has_definitions: true, problems, ..QlikVariables::default() };
    }
    let set = url.is_some() || !matches!(credentials, Ok(None));
    if !set || !problems.is_empty() {
        return QlikVariables { problems, ..QlikVariables::default() };
    }
    let credentials = credentials.and_then(|found| {
        let missing =
            || Problem::new("QLIK_API_KEY", "is missing (or QLIK_CLIENT_ID and QLIK_CLIENT_SECRET)");
        found.ok_or_else(|| vec![missing()])
    });
    let url = match url.as_deref().map(tenant_url) {
        None => Err("is missing (example: https://acme.eu.qlikcloud.com)".to_owned()),
        Some(read) => read,
    };
    let url = url.map_err(|why| Problem::new("QLIK_TENANT_URL", why));
    match (credentials, url) {
        (Ok(credentials), Ok(url)) => {
            let shared = Some(credentials.clone());
            QlikVariables {
                tenant: Some(Tenant { url, credentials }),
                shared,
                problems,
                ..QlikVariables::default()
            }
        }
        (credentials, url) => {
            problems.extend(credentials.err().into_iter().flatten());
            problems.extend(url.err());
            QlikVariables { problems, ..QlikVariables::default() }
        }
    }
}

/// Whether the folder has a definition. Errors in it are reported when it is read.
fn has_definitions(folder: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.ends_with(".toml") && !name.starts_with('.')
    })
}
