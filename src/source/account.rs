//! One account at a source: its URL, its credentials, and what all its requests share (connections, the rate limit, the
//! limit of concurrent requests, the access token).
//!
//! The caller keeps it from run to run, so that a token outlives a run. Start at [`Account::new`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use url::Url;

use crate::domain::monitoring::schedule::parse_duration;
use crate::domain::syncing::definition::config;
use crate::domain::syncing::definition::config::ConfigValues;
use crate::domain::syncing::definition::connector::{Auth, Definition};
use crate::domain::syncing::definition::template::Template;
use crate::domain::syncing::rate::Limiter;
use crate::domain::urls::{check_url, is_loopback};
use crate::http::{ClientOptions, Network};
use crate::secrets::{self, Redactor};
use crate::source::tokens::Tokens;

/// An account. Clones share its state.
#[derive(Clone)]
pub struct Account(Arc<AccountState>);

pub(super) struct AccountState {
    pub(super) definition: Arc<Definition>,
    pub(super) config: ConfigValues,
    pub(super) client: reqwest::Client,
    pub(super) base: Url,
    pub(super) slots: Semaphore,
    pub(super) tokens: Option<Tokens>,
    pub(super) redactor: Redactor,
    limiter: Mutex<Limiter>,
    started: Instant,
}

/// Why an account cannot be used. All are configuration errors.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// The URL is invalid, or credentials must not be sent to it.
    #[error("{key}: {reason}")]
    Url {
        /// The configuration key.
        key: &'static str,
        reason: String,
    },
    /// The value cannot be sent in a header.
    #[error("{keys}: contains a character that is not allowed in the header {header} (a line break?)")]
    Header {
        /// The configuration keys that the value is made of.
        keys: String,
        header: String,
    },
    /// The HTTP client cannot be built.
    #[error("{0}")]
    Client(String),
}

impl Account {
    /// Creates an account without a request to the source.
    ///
    /// # Errors
    /// When a URL or a header cannot be used, or the HTTPS client cannot be built.
    pub fn new(
        definition: Arc<Definition>,
        config: ConfigValues,
        network: Network,
    ) -> Result<Account, AccountError> {
        let without_credentials = definition.auth == Auth::None;
        let base = url(&config, config::BASE_URL, &definition.base_url, without_credentials)?;
        let redactor = redactor(&definition, &config);
        let tokens = match &definition.auth {
            Auth::OAuth2(oauth) => {
                let url = url(&config, config::TOKEN_URL, &oauth.token_url, false)?;
                Some(Tokens::new(oauth.clone(), url, redactor.clone()))
            }
            _ => None,
        };
        check_headers(&definition, &config)?;
        let options = ClientOptions { network, keep_alive: true };
        let client = options.build().map_err(|e| AccountError::Client(e.to_string()))?;
        Ok(Account(Arc::new(AccountState {
            slots: Semaphore::new(definition.http.concurrency),
            limiter: Mutex::new(Limiter::new(&definition.http.rates)),
            definition,
            config,
            client,
            base,
            tokens,
            redactor,
            started: Instant::now(),
        })))
    }

    pub fn definition(&self) -> &Arc<Definition> {
        &self.0.definition
    }

    /// The checked configuration.
    pub fn config(&self) -> &ConfigValues {
        &self.0.config
    }

    /// Whether another account has the same definition and configuration.
    pub fn same(&self, other: &Account) -> bool {
        self.0.definition == other.0.definition && self.0.config == other.0.config
    }

    /// Interval of the daemon's runs.
    pub fn every(&self) -> Duration {
        self.0.config.get(config::EVERY).and_then(parse_duration).unwrap_or(self.0.definition.every)
    }

    /// Knows all secrets of the account, access tokens included.
    pub fn redactor(&self) -> &Redactor {
        &self.0.redactor
    }

    /// The variables of secrets that are too short to be redacted within a text; empty for a source on this machine.
    pub fn short_secrets(&self) -> Vec<String> {
        let short = |secret: &SecretString| secret.expose_secret().chars().count() < secrets::SHORT;
        let of = |(key, _)| config::variable(&self.0.definition.name, key);
        if is_loopback(&self.0.base) {
            return Vec::new();
        }
        self.0.config.secrets().filter(|(_, secret)| short(secret)).map(of).collect()
    }

    pub(super) fn shared(&self) -> &AccountState {
        &self.0
    }
}

impl AccountState {
    /// Reserves the next time at which a request may start.
    pub(super) fn book(&self) -> Instant {
        let mut limiter = self.limiter.lock().unwrap_or_else(PoisonError::into_inner);
        self.started + limiter.book(self.started.elapsed())
    }

    /// Delays all requests of the account by `wait`. Returns how much longer that is than the current delay.
    pub(super) fn hold(&self, wait: Duration) -> Duration {
        let mut limiter = self.limiter.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.started.elapsed();
        let longer = (now + wait).saturating_sub(limiter.held_until().max(now));
        limiter.hold_until(now + wait);
        longer
    }

    /// The current delay of all requests.
    pub(super) fn held(&self) -> Duration {
        let limiter = self.limiter.lock().unwrap_or_else(PoisonError::into_inner);
        limiter.held_until().saturating_sub(self.started.elapsed())
    }

    /// Makes text of the source printable: it may repeat secrets, or contain control characters for the terminal.
    pub(super) fn redact(&self, text: &str) -> String {
        self.redactor.line(text)
    }

    /// Fills a template that uses only the configuration.
    pub(super) fn fill(&self, template: &Template) -> Option<String> {
        self.config.fill(template, &BTreeMap::new())
    }

    /// The environment variables that templates use, for messages about rejected credentials.
    pub(super) fn variables(&self, templates: &[&Template]) -> String {
        let keys = templates.iter().flat_map(|template| template.config_keys());
        let names: Vec<String> = keys.map(|key| config::variable(&self.definition.name, key)).collect();
        if names.is_empty() { "the definition's [auth]".to_owned() } else { names.join(" and ") }
    }
}

/// A redactor for the secrets as they are configured and as they are sent.
fn redactor(definition: &Definition, config: &ConfigValues) -> Redactor {
    let redactor = Redactor::default();
    for (key, secret) in config.secrets() {
        redactor.register(key, secret);
    }
    let text = |template: &Template| config.fill(template, &BTreeMap::new()).unwrap_or_default();
    match &definition.auth {
        // A credential may be written in the definition itself.
        Auth::Header { value, .. } | Auth::Query { value, .. } if value.config_keys().next().is_none() => {
            redactor.register("[auth] value", &text(value).into());
        }
        Auth::Basic { user, password } => redactor.register_basic("[auth]", &text(user), &text(password)),
        Auth::OAuth2(oauth) => {
            redactor.register_basic("[auth]", &text(&oauth.client_id), &text(&oauth.client_secret));
        }
        Auth::None | Auth::Header { .. } | Auth::Query { .. } => {}
    }
    redactor
}

/// Without this check, a value pasted with a line break would look like a connection error on each request.
fn check_headers(definition: &Definition, config: &ConfigValues) -> Result<(), AccountError> {
    let signed = match &definition.auth {
        Auth::Header { name, value } => Some((name, value)),
        _ => None,
    };
    for (name, value) in definition.http.headers.iter().chain(signed) {
        let text = config.fill(value, &BTreeMap::new()).unwrap_or_default();
        if HeaderValue::try_from(text).is_err() {
            let keys: Vec<&str> = value.config_keys().collect();
            return Err(AccountError::Header { keys: keys.join(", "), header: name.to_string() });
        }
    }
    Ok(())
}

fn url(
    config: &ConfigValues,
    key: &'static str,
    default: &Template,
    without_credentials: bool,
) -> Result<Url, AccountError> {
    let text = match config.get(key) {
        Some(text) => text.to_owned(),
        None => config.fill(default, &BTreeMap::new()).unwrap_or_default(),
    };
    let bad = |reason: String| AccountError::Url { key, reason };
    check_url(&text, without_credentials).map_err(bad)?;
    let mut url = Url::parse(&text).map_err(|e| bad(e.to_string()))?;
    if !url.path().ends_with('/') && key == config::BASE_URL {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(url)
}
