//! Proving who asks: fixed credentials, and OAuth2 tokens that are minted once, shared by all requests, and renewed in
//! time.
//!
//! One request for a token is under way at a time, whoever needs it. Start at [`Tokens::current`] and
//! [`Tokens::renew`].

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::RequestBuilder;
use reqwest::header::AUTHORIZATION;
use secrecy::SecretString;
use tokio::time::Instant;
use url::Url;

use super::account::Shared;
use super::run::{Run, Stop};
use crate::domain::connector::{Auth, OAuth2};
use crate::http::oauth::{AccessToken, ClientCredentials, Grant, Moment, TokenKeeper};
use crate::http::{Failure, read_body, retry_after};
use crate::secrets::{self, MARK, Redactor};

/// A token is a few kilobytes.
const MAX_ANSWER: usize = 1 << 20;

/// The token of an account.
pub(super) struct Tokens {
    rules: OAuth2,
    url: Url,
    keeper: TokenKeeper,
    requested_at: Mutex<Option<Instant>>,
}

/// An answer of the token endpoint that is no token.
enum Refused {
    Transient(String),
    Limited(Option<Duration>),
    Final(String),
}

impl Tokens {
    pub(super) fn new(rules: OAuth2, url: Url, redactor: Redactor) -> Tokens {
        let keeper = TokenKeeper::gentle(rules.renew_before, redactor);
        Tokens { rules, url, keeper, requested_at: Mutex::default() }
    }

    /// After this, a refused token is worth another try before a new one is minted.
    pub(super) fn retry_same_after(&self) -> Option<Duration> {
        self.rules.retry_same_after
    }

    /// The token in force; minted if there is none or it is about to end.
    pub(super) async fn current(&self, run: &Run) -> Result<AccessToken, Stop> {
        self.keeper.get(Moment::now(), None, self.mint(run)).await
    }

    /// Another token than the one that was refused. If another request has renewed it meanwhile, that one.
    pub(super) async fn renew(&self, run: &Run, refused: u64) -> Result<AccessToken, Stop> {
        self.keeper.get(Moment::now(), Some(refused), self.mint(run)).await
    }

    async fn mint(&self, run: &Run) -> Result<(Grant, Moment), Stop> {
        let (mut failures, mut refusals) = (0, 0);
        let rules = &run.account.shared().definition.http.retry;
        loop {
            let requested_at = *self.requested_at.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(requested_at) = requested_at {
                run.sleep_until(requested_at + self.rules.mint_gap).await?;
            }
            let asked_at = Moment::now();
            let attempt = run.or_cancelled(self.ask(run)).await?;
            *self.requested_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            let (wait, reason) = match attempt {
                Ok(grant) => return Ok((grant, asked_at)),
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

    async fn ask(&self, run: &Run) -> Result<Grant, Refused> {
        let account = run.account.shared();
        let variables = account.variables(&[&self.rules.client_id, &self.rules.client_secret]);
        let request = self.request(account).ok_or_else(|| {
            Refused::Final(format!("{variables} hold a character that cannot be sent; a line break perhaps?"))
        })?;
        run.count_request(None);
        let exchange = async {
            let response = request.send().await.map_err(|e| Failure::of(&e))?;
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
        match status {
            200..=299 => Grant::read(&body).ok_or_else(|| {
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

    fn request(&self, account: &Shared) -> Option<RequestBuilder> {
        let text = |template| account.fill(template).unwrap_or_default();
        let (id, secret) = (text(&self.rules.client_id), SecretString::from(text(&self.rules.client_secret)));
        let scope = self.rules.scope.as_ref().map(text);
        let credentials = ClientCredentials { id: &id, secret: &secret, scope, send: self.rules.send };
        credentials.request(&account.client, self.url.clone()).ok()
    }
}

/// A request with the account's credentials on it. What no header can carry was refused with the account, except for
/// a token, which the source then refuses.
pub(super) fn sign(account: &Shared, request: RequestBuilder, token: Option<&AccessToken>) -> RequestBuilder {
    let text = |template| account.fill(template).unwrap_or_default();
    let with = |request: RequestBuilder, name: &str, value: Result<_, _>| match value {
        Ok(value) => request.header(name, value),
        Err(_) => request,
    };
    match &account.definition.auth {
        Auth::None => request,
        Auth::Header { name, value } => with(request, name.as_str(), secrets::header(&text(value))),
        Auth::Query { name, value } => request.query(&[(name, text(value))]),
        Auth::Basic { user, password } => {
            with(request, AUTHORIZATION.as_str(), secrets::basic(&text(user), &text(password)))
        }
        Auth::OAuth2(_) => match token {
            Some(token) => with(request, AUTHORIZATION.as_str(), secrets::bearer(token.secret())),
            None => request,
        },
    }
}

/// How requests are signed, without what they are signed with.
pub(super) fn shown(auth: &Auth) -> String {
    match auth {
        Auth::None => String::new(),
        Auth::Header { name, .. } => format!(" ({name}: {MARK})"),
        Auth::Query { name, .. } => format!(" (and {name}={MARK})"),
        Auth::Basic { .. } => format!(" (HTTP basic: {MARK})"),
        Auth::OAuth2(_) => format!(" (Authorization: Bearer {MARK})"),
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
