//! One account at a source: where it is, who asks, and what all requests of the account share (connections, the rate
//! limit, the places for requests under way, the token).
//!
//! Kept by whoever runs a connector again and again, so that a token outlives a run. Start at [`Account::new`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use url::Url;

use super::auth::Tokens;
use crate::domain::config::{self, ConfigValues};
use crate::domain::connector::{Auth, Definition};
use crate::domain::rate::Limiter;
use crate::domain::schedule::parse_duration;
use crate::domain::template::Template;
use crate::domain::urls::{check_url, is_loopback};
use crate::http::{ClientOptions, Network, Redirects};
use crate::secrets::{self, Redactor};

/// An account; clones are the same one.
#[derive(Clone)]
pub struct Account(Arc<Shared>);

pub(super) struct Shared {
    pub(super) definition: Arc<Definition>,
    pub(super) config: ConfigValues,
    pub(super) client: reqwest::Client,
    pub(super) base: Url,
    pub(super) slots: Semaphore,
    pub(super) tokens: Option<Tokens>,
    pub(super) redactor: Redactor,
    limiter: Mutex<Limiter>,
    began: Instant,
}

/// Why an account cannot be used at all: the configuration has to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// A URL that is none, or that credentials must not go to.
    #[error("{key}: {reason}")]
    Url {
        /// The configuration key.
        key: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A value that no request can carry.
    #[error("{keys}: contains a character that is not allowed in the header {header} (a line break?)")]
    Header {
        /// The configuration keys it is made of.
        keys: String,
        /// The header.
        header: String,
    },
    /// No client can be built.
    #[error("{0}")]
    Client(String),
}

impl Account {
    /// Puts an account together. Nothing is asked of the source yet.
    ///
    /// # Errors
    /// When a URL or a header cannot be used or no https client can be built.
    pub fn new(
        definition: Arc<Definition>,
        config: ConfigValues,
        network: Network,
    ) -> Result<Account, AccountError> {
        let harmless = definition.auth == Auth::None;
        let base = url(&config, config::BASE_URL, &definition.base_url, harmless)?;
        let redactor = redactor(&definition, &config);
        let tokens = match &definition.auth {
            Auth::OAuth2(oauth) => {
                let url = url(&config, config::TOKEN_URL, &oauth.token_url, false)?;
                Some(Tokens::new(oauth.clone(), url, redactor.clone()))
            }
            _ => None,
        };
        check_headers(&definition, &config)?;
        let options = ClientOptions { network, redirects: Redirects::Refuse, keep_alive: true };
        let client = options.build().map_err(|e| AccountError::Client(e.to_string()))?;
        Ok(Account(Arc::new(Shared {
            slots: Semaphore::new(definition.http.concurrency),
            limiter: Mutex::new(Limiter::new(&definition.http.rates)),
            definition,
            config,
            client,
            base,
            tokens,
            redactor,
            began: Instant::now(),
        })))
    }

    /// What it runs.
    pub fn definition(&self) -> &Arc<Definition> {
        &self.0.definition
    }

    /// Its checked configuration.
    pub fn config(&self) -> &ConfigValues {
        &self.0.config
    }

    /// Whether another one asks the same source for the same, as the same.
    pub fn same(&self, other: &Account) -> bool {
        self.0.definition == other.0.definition && self.0.config == other.0.config
    }

    /// How often the daemon runs it.
    pub fn every(&self) -> Duration {
        self.0.config.get(config::EVERY).and_then(parse_duration).unwrap_or(self.0.definition.every)
    }

    /// What never shows anything secret of the account, tokens included.
    pub fn redactor(&self) -> &Redactor {
        &self.0.redactor
    }

    /// The variables of secrets too short to be redacted within a text; none where requests stay on this machine.
    pub fn short_secrets(&self) -> Vec<String> {
        let short = |secret: &SecretString| secret.expose_secret().chars().count() < secrets::SHORT;
        let of = |(key, _)| config::variable(&self.0.definition.name, key);
        if is_loopback(&self.0.base) {
            return Vec::new();
        }
        self.0.config.secrets().filter(|(_, secret)| short(secret)).map(of).collect()
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.0
    }
}

impl Shared {
    /// Books the next moment at which a request may start.
    pub(super) fn book(&self) -> Instant {
        let mut limiter = self.limiter.lock().unwrap_or_else(PoisonError::into_inner);
        self.began + limiter.book(self.began.elapsed())
    }

    /// Holds all requests of the account for `wait`, and says by how much that is longer than they were held anyway.
    pub(super) fn hold(&self, wait: Duration) -> Duration {
        let mut limiter = self.limiter.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.began.elapsed();
        let longer = (now + wait).saturating_sub(limiter.held_until().max(now));
        limiter.hold_until(now + wait);
        longer
    }

    /// For how long all requests are held from now on.
    pub(super) fn held(&self) -> Duration {
        let limiter = self.limiter.lock().unwrap_or_else(PoisonError::into_inner);
        limiter.held_until().saturating_sub(self.began.elapsed())
    }

    /// A text for people: a source may repeat what it was sent, and send what a terminal would obey.
    pub(super) fn redact(&self, text: &str) -> String {
        self.redactor.line(text)
    }

    /// The text of a template that needs nothing but the configuration.
    pub(super) fn fill(&self, template: &Template) -> Option<String> {
        self.config.fill(template, &BTreeMap::new())
    }

    /// The variables that a template is filled from, for messages about refused credentials.
    pub(super) fn variables(&self, templates: &[&Template]) -> String {
        let keys = templates.iter().flat_map(|template| template.config_keys());
        let names: Vec<String> = keys.map(|key| config::variable(&self.definition.name, key)).collect();
        if names.is_empty() { "the definition's [auth]".to_owned() } else { names.join(" and ") }
    }
}

/// Knows the secrets as they are configured and as they are sent.
fn redactor(definition: &Definition, config: &ConfigValues) -> Redactor {
    let redactor = Redactor::default();
    for (key, secret) in config.secrets() {
        redactor.register(key, secret);
    }
    let text = |template: &Template| config.fill(template, &BTreeMap::new()).unwrap_or_default();
    match &definition.auth {
        // Whoever writes a credential into the definition itself means it to be one.
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

/// A value pasted with a line break would otherwise look like a broken connection, request after request.
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
    harmless: bool,
) -> Result<Url, AccountError> {
    let text = match config.get(key) {
        Some(text) => text.to_owned(),
        None => config.fill(default, &BTreeMap::new()).unwrap_or_default(),
    };
    let bad = |reason: String| AccountError::Url { key, reason };
    check_url(&text, harmless).map_err(bad)?;
    let mut url = Url::parse(&text).map_err(|e| bad(e.to_string()))?;
    if !url.path().ends_with('/') && key == config::BASE_URL {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(url)
}
