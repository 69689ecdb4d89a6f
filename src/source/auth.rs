//! Authentication: fixed credentials, and OAuth2 access tokens that all requests share and that are renewed before they
//! expire.
//!
//! At most one token request runs at a time. Start at [`current`] and [`renew`].

use std::time::Duration;

use reqwest::RequestBuilder;
use reqwest::header::AUTHORIZATION;
use secrecy::SecretString;

use crate::domain::syncing::definition::connector::Auth;
use crate::http::oauth::{AccessToken, ClientCredentials, Grant, Moment};
use crate::http::{Failure, read_body, retry_after};
use crate::secrets::{self, MARK};
use crate::source::account::AccountState;
use crate::source::run::{RunContext, Stop};
use crate::source::tokens::Tokens;

/// In bytes; a token response has a few kilobytes.
const MAX_RESPONSE: usize = 1 << 20;

/// Why the token endpoint returned no token.
enum Refused {
    Transient(String),
    Limited(Option<Duration>),
    Final(String),
}

/// The current token; requested if there is none or it expires soon.
pub(super) async fn current(tokens: &Tokens, run: &RunContext) -> Result<AccessToken, Stop> {
    tokens.keeper.get(Moment::now(), None, mint(tokens, run)).await
}

/// A token other than the rejected one, requested unless another request has already renewed it.
pub(super) async fn renew(tokens: &Tokens, run: &RunContext, rejected: u64) -> Result<AccessToken, Stop> {
    tokens.keeper.get(Moment::now(), Some(rejected), mint(tokens, run)).await
}

async fn mint(tokens: &Tokens, run: &RunContext) -> Result<(Grant, Moment), Stop> {
    let (mut failures, mut refusals) = (0, 0);
    let rules = &run.account.shared().definition.http.retry;
    loop {
        if let Some(at) = tokens.next_request_at() {
            run.sleep_until(at).await?;
        }
        let sent_at = Moment::now();
        let attempt = run.or_cancelled(exchange_once(tokens, run)).await?;
        tokens.count_request();
        let (wait, reason) = match attempt {
            Ok(grant) => return Ok((grant, sent_at)),
            Err(Refused::Final(reason)) => {
                return Err(Stop::fatal(error_text(run, &reason), tokens.place()));
            }
            Err(Refused::Transient(reason)) => {
                failures += 1;
                (rules.after_failure(failures, run.random()), reason)
            }
            Err(Refused::Limited(requested_wait)) => {
                refusals += 1;
                let wait = rules.after_refusal(refusals, requested_wait, run.random());
                if let Some(wait) = wait {
                    run.spend(wait, "the token endpoint's rate limit")?;
                }
                (wait, "too many requests for tokens (429)".to_owned())
            }
        };
        match wait {
            Some(wait) => run.sleep(wait).await?,
            None => return Err(Stop::broken(error_text(run, &reason), tokens.place())),
        }
    }
}

fn error_text(run: &RunContext, reason: &str) -> String {
    run.account.shared().redact(&format!("cannot get a token: {reason}"))
}

async fn exchange_once(tokens: &Tokens, run: &RunContext) -> Result<Grant, Refused> {
    let account = run.account.shared();
    let variables = account.variables(&[&tokens.rules.client_id, &tokens.rules.client_secret]);
    let request = token_request(tokens, account).ok_or_else(|| {
        Refused::Final(format!("{variables}: contains a character that cannot be sent (a line break?)"))
    })?;
    run.count_request(None);
    let exchange = async {
        let response = request.send().await.map_err(|e| Failure::of(&e))?;
        let status = response.status().as_u16();
        let requested_wait = retry_after(response.headers(), run.now());
        Ok((status, requested_wait, read_body(response, MAX_RESPONSE).await?))
    };
    let answer = tokio::time::timeout(account.definition.http.timeout, exchange).await;
    let (status, requested_wait, body) = match answer.unwrap_or(Err(Failure::Timeout)) {
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
        429 => Err(Refused::Limited(requested_wait)),
        408 | 425 | 500..=599 => Err(Refused::Transient(format!("the token endpoint answered {status}"))),
        _ => Err(Refused::Final(format!("the token endpoint answered {status}: is token_url right?"))),
    }
}

fn token_request(tokens: &Tokens, account: &AccountState) -> Option<RequestBuilder> {
    let text = |template| account.fill(template).unwrap_or_default();
    let (id, secret) = (text(&tokens.rules.client_id), SecretString::from(text(&tokens.rules.client_secret)));
    let scope = tokens.rules.scope.as_ref().map(text);
    let credentials = ClientCredentials { id: &id, secret: &secret, scope, send: tokens.rules.send };
    credentials.request(&account.client, tokens.url.clone()).ok()
}

/// Adds the account's credentials to a request. A value that is invalid in a header is omitted: [`Account::new`] refuses
/// such credentials, and without a valid token the source rejects the request.
///
/// [`Account::new`]: crate::source::Account::new
pub(in crate::source) fn sign(
    account: &AccountState,
    request: RequestBuilder,
    token: Option<&AccessToken>,
) -> RequestBuilder {
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

/// Describes the authentication without its secrets.
pub(in crate::source) fn shown(auth: &Auth) -> String {
    match auth {
        Auth::None => String::new(),
        Auth::Header { name, .. } => format!(" ({name}: {MARK})"),
        Auth::Query { name, .. } => format!(" (and {name}={MARK})"),
        Auth::Basic { .. } => format!(" (HTTP basic: {MARK})"),
        Auth::OAuth2(_) => format!(" (Authorization: Bearer {MARK})"),
    }
}

/// What to check when the credentials are rejected.
pub(in crate::source) fn advice(account: &AccountState) -> String {
    let variables = match &account.definition.auth {
        Auth::None => return "the source requires credentials, but the definition has no [auth]".to_owned(),
        Auth::Header { value, .. } | Auth::Query { value, .. } => account.variables(&[value]),
        Auth::Basic { user, password } => account.variables(&[user, password]),
        Auth::OAuth2(oauth) => account.variables(&[&oauth.client_id, &oauth.client_secret]),
    };
    format!("the credentials were refused: check {variables}")
}
