//! Proving who asks: fixed credentials, and OAuth2 tokens that are minted once, shared by all requests, and renewed in
//! time.
//!
//! One request for a token is under way at a time, whoever needs it. Start at [`Tokens::current`] and
//! [`Tokens::renew`].

use std::sync::{Mutex as Lock, PoisonError};
use std::time::Duration;

use reqwest::RequestBuilder;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::Url;

use super::account::Shared;
use super::run::{Run, Stop};
use crate::domain::connector::{Auth, OAuth2, SendAs};
use crate::http::{Failure, read_body, retry_after};

/// A token that says nothing about its life.
const UNSAID_LIFE: Duration = Duration::from_secs(3600);
/// A token said to live longer is renewed all the same: some services write a number beyond any calendar for "always".
const LONGEST_LIFE: Duration = Duration::from_secs(30 * 86_400);
/// A token is a few kilobytes.
const MAX_ANSWER: usize = 1 << 20;

/// Tokens that are never shown: requests under way may still carry the one before.
const KNOWN: usize = 2;

/// The token of an account.
pub(super) struct Tokens {
    rules: OAuth2,
    url: Url,
    slot: Mutex<Slot>,
    /// The last tokens, the one in force at the end: what must never be shown.
    known: Lock<Vec<SecretString>>,
}

#[derive(Default)]
struct Slot {
    token: Option<Token>,
    minted_at: Option<Instant>,
    serial: u64,
}

/// A token and which one it is.
#[derive(Clone)]
pub(super) struct Token {
    text: SecretString,
    pub(super) serial: u64,
    renew_at: Instant,
}

/// An answer of the token endpoint that is no token.
enum Refused {
    Transient(String),
    Limited(Option<Duration>),
    Final(String),
}

impl Tokens {
    pub(super) fn new(rules: OAuth2, url: Url) -> Tokens {
        Tokens { rules, url, slot: Mutex::new(Slot::default()), known: Lock::default() }
    }

    /// A text without the tokens.
    pub(super) fn redact(&self, text: &str) -> String {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().fold(text.to_owned(), |text, token| text.replace(token.expose_secret(), "[token]"))
    }

    fn remember(&self, token: &SecretString) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.push(token.clone());
        let surplus = known.len().saturating_sub(KNOWN);
        known.drain(..surplus);
    }

    /// After this, a refused token is worth another try before a new one is minted.
    pub(super) fn retry_same_after(&self) -> Option<Duration> {
        self.rules.retry_same_after
    }

    /// The token in force; minted if there is none or it is about to end.
    pub(super) async fn current(&self, run: &Run) -> Result<Token, Stop> {
        let mut slot = self.slot.lock().await;
        match &slot.token {
            Some(token) if token.renew_at > Instant::now() => Ok(token.clone()),
            _ => self.mint(run, &mut slot).await,
        }
    }

    /// Another token than the one that was refused. If somebody has renewed it meanwhile, theirs.
    pub(super) async fn renew(&self, run: &Run, refused: u64) -> Result<Token, Stop> {
        let mut slot = self.slot.lock().await;
        match &slot.token {
            Some(token) if token.serial != refused => Ok(token.clone()),
            _ => self.mint(run, &mut slot).await,
        }
    }

    async fn mint(&self, run: &Run, slot: &mut Slot) -> Result<Token, Stop> {
        let (mut failures, mut refusals) = (0, 0);
        let rules = &run.account.shared().definition.http.retry;
        loop {
            if let Some(minted_at) = slot.minted_at {
                run.sleep_until(minted_at + self.rules.mint_gap).await?;
            }
            let attempt = run.or_cancelled(self.ask(run)).await?;
            slot.minted_at = Some(Instant::now());
            let (wait, reason) = match attempt {
                Ok((text, life)) => {
                    self.remember(&text);
                    slot.serial += 1;
                    let margin = self.rules.renew_before.min(life / 2);
                    let token =
                        Token { text, serial: slot.serial, renew_at: Instant::now() + (life - margin) };
                    slot.token = Some(token.clone());
                    return Ok(token);
                }
                Err(Refused::Final(reason)) => {
                    return Err(Stop::fatal(self.said(run, &reason), self.place()));
                }
                Err(Refused::Transient(reason)) => {
                    failures += 1;
                    (rules.after_failure(failures, run.random()), reason)
                }
                Err(Refused::Limited(asked)) => {
                    refusals += 1;
                    let wait = rules.after_refusal(refusals, asked, run.random());
                    if let Some(wait) = wait {
                        run.spend(wait, "the token endpoint's rate limit")?;
                    }
                    (wait, "too many requests for tokens (429)".to_owned())
                }
            };
            match wait {
                Some(wait) => run.sleep(wait).await?,
                None => return Err(Stop::broken(self.said(run, &reason), self.place())),
            }
        }
    }

    fn said(&self, run: &Run, reason: &str) -> String {
        run.account.shared().redact(&format!("cannot get a token: {reason}"))
    }

    fn place(&self) -> Option<String> {
        Some(self.url.origin().ascii_serialization() + self.url.path())
    }

    async fn ask(&self, run: &Run) -> Result<(SecretString, Duration), Refused> {
        let account = run.account.shared();
        run.count_request(None);
        let exchange = async {
            let response = self.request(account).send().await.map_err(|e| Failure::of(&e))?;
            let status = response.status().as_u16();
            let asked = retry_after(response.headers(), run.now());
            Ok((status, asked, read_body(response, MAX_ANSWER).await?))
        };
        let answer = tokio::time::timeout(account.definition.http.timeout, exchange).await;
        let (status, asked, body) = match answer.unwrap_or(Err(Failure::Timeout)) {
            Ok(answer) => answer,
            Err(failure @ (Failure::Tls(_) | Failure::TooLarge(_))) => {
                return Err(Refused::Final(failure.to_string()));
            }
            Err(failure) => return Err(Refused::Transient(failure.to_string())),
        };
        let variables = account.variables(&[&self.rules.client_id, &self.rules.client_secret]);
        match status {
            200..=299 => read_token(&body).ok_or_else(|| {
                Refused::Final("the answer holds no access_token: is token_url right?".to_owned())
            }),
            400 | 401 | 403 => {
                Err(Refused::Final(format!("the credentials were refused ({status}): check {variables}")))
            }
            429 => Err(Refused::Limited(asked)),
            408 | 425 | 500..=599 => Err(Refused::Transient(format!("the token endpoint answered {status}"))),
            _ => Err(Refused::Final(format!("the token endpoint answered {status}: is token_url right?"))),
        }
    }

    fn request(&self, account: &Shared) -> RequestBuilder {
        let text = |template| account.fill(template).unwrap_or_default();
        let (id, secret) = (text(&self.rules.client_id), text(&self.rules.client_secret));
        let mut fields = vec![("grant_type", "client_credentials".to_owned())];
        fields.extend(self.rules.scope.as_ref().map(|scope| ("scope", text(scope))));
        let request = account.client.post(self.url.clone());
        match self.rules.send {
            SendAs::Basic => request.basic_auth(id, Some(secret)).form(&fields),
            send => {
                fields.extend([("client_id", id), ("client_secret", secret)]);
                if send == SendAs::Form {
                    request.form(&fields)
                } else {
                    request.json(&fields.into_iter().collect::<std::collections::BTreeMap<_, _>>())
                }
            }
        }
    }
}

fn read_token(body: &[u8]) -> Option<(SecretString, Duration)> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let text = answer.get("access_token")?.as_str().filter(|text| !text.is_empty())?;
    let life = answer.get("expires_in").and_then(|life| {
        life.as_f64().or_else(|| life.as_str()?.parse().ok()).filter(|seconds| *seconds >= 0.0)
    });
    let life = life.map_or(UNSAID_LIFE, |seconds| {
        Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST_LIFE).min(LONGEST_LIFE)
    });
    Some((SecretString::from(text), life))
}

/// A request with the account's credentials on it.
pub(super) fn sign(account: &Shared, request: RequestBuilder, token: Option<&Token>) -> RequestBuilder {
    let text = |template| account.fill(template).unwrap_or_default();
    match &account.definition.auth {
        Auth::None => request,
        Auth::Header { name, value } => request.header(name, text(value)),
        Auth::Query { name, value } => request.query(&[(name, text(value))]),
        Auth::Basic { user, password } => request.basic_auth(text(user), Some(text(password))),
        Auth::OAuth2(_) => match token {
            Some(token) => request.bearer_auth(token.text.expose_secret()),
            None => request,
        },
    }
}

/// How requests are signed, without what they are signed with.
pub(super) fn shown(auth: &Auth) -> String {
    match auth {
        Auth::None => String::new(),
        Auth::Header { name, .. } => format!(" ({name}: [secret])"),
        Auth::Query { name, .. } => format!(" (and {name}=[secret])"),
        Auth::Basic { .. } => " (HTTP basic: [secret])".to_owned(),
        Auth::OAuth2(_) => " (Authorization: Bearer [token])".to_owned(),
    }
}

/// What to look at when the credentials are refused.
pub(super) fn advice(account: &Shared) -> String {
    let variables = match &account.definition.auth {
        Auth::None => return "the source wants credentials, and the definition has no [auth]".to_owned(),
        Auth::Header { value, .. } | Auth::Query { value, .. } => account.variables(&[value]),
        Auth::Basic { user, password } => account.variables(&[user, password]),
        Auth::OAuth2(oauth) => account.variables(&[&oauth.client_id, &oauth.client_secret]),
    };
    format!("the credentials were refused: check {variables}")
}
