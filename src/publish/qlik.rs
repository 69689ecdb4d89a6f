//! The banner of a Qlik Cloud tenant. One slot: reading it is a GET, filling or emptying it an upsert.
//!
//! Nothing is tried again here, except that a token that is no longer taken is renewed once. Start at the
//! implementation of [`Target`].

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use reqwest::header::{ACCEPT, AGE, AUTHORIZATION, DATE, HeaderMap};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;
use tracing::{info, warn};
use url::Url;

use super::qlik_auth::{Bearer, QlikCredentials, Token};
use super::{LOG, Target, TargetError};
use crate::domain::banner::Banner;
use crate::domain::plan::Shown;
use crate::domain::text;
use crate::http::{self, Failure};
use crate::secrets::Redactor;

/// Each request must be answered wholly within this time: the tenant answers in well under a second, and a
/// request that hangs holds up the next banner.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(8);

/// A banner has about a kilobyte; this leaves room for a proxy's error page.
const MAX_BODY: usize = 256 * 1024;

/// Longest words of the tenant that are passed on.
const MAX_WORDS: usize = 300;

/// Longest trace id that is passed on; the tenant's have 32 characters.
const MAX_TRACE: usize = 64;

/// A tenant may not keep us away for longer than this, whatever it asks for: its limits are judged over five minutes.
const MAX_WAIT: Duration = Duration::from_secs(900);

/// Of a list of errors, this many are told.
const MAX_ERRORS: usize = 3;

/// A Qlik Cloud tenant.
#[derive(Debug)]
pub struct Qlik {
    client: Client,
    tenant: Url,
    bearer: Bearer,
    redactor: Redactor,
    /// What the tenant's clock showed when an answer came in.
    time: Mutex<Option<(Timestamp, Instant)>>,
    own_user: tokio::sync::OnceCell<String>,
}

impl Qlik {
    /// A tenant by the root of its address. The client must not follow redirects
    /// ([`Redirects::Refuse`](crate::http::Redirects::Refuse)), since its requests carry credentials.
    pub fn new(client: Client, tenant: Url, credentials: QlikCredentials) -> Qlik {
        let redactor = Redactor::default();
        let bearer = Bearer::new(credentials, at(&tenant, "/oauth/token"), redactor.clone());
        let (time, own_user) = (Mutex::default(), tokio::sync::OnceCell::new());
        Qlik { client, tenant, bearer, redactor, time, own_user }
    }

    /// What knows the credentials and tokens of the tenant.
    pub fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    async fn call(&self, method: Method, path: &str, banner: Option<&Banner>) -> Result<Answer, TargetError> {
        let mut token = self.bearer.get(&self.client, None).await?;
        let mut answer = self.call_with(method.clone(), path, banner, &token).await?;
        if answer.status == StatusCode::UNAUTHORIZED && self.bearer.can_renew() {
            token = self.bearer.get(&self.client, Some(&token)).await?;
            answer = self.call_with(method, path, banner, &token).await?;
        }
        match answer.status {
            // What the token may do is decided when it is made: the next attempt has a fresh one.
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => self.bearer.discard(&token).await,
            StatusCode::NOT_FOUND => self.note_time(&answer),
            status if status.is_success() => self.note_time(&answer),
            _ => {}
        }
        Ok(answer)
    }

    /// Notes what the tenant's clock shows. Only answers that are its own tell: a proxy has another clock.
    fn note_time(&self, answer: &Answer) {
        if let Some(time) = answer.time() {
            *self.time.lock().unwrap_or_else(PoisonError::into_inner) = Some((time, Instant::now()));
        }
    }

    async fn call_with(
        &self,
        method: Method,
        path: &str,
        banner: Option<&Banner>,
        token: &Token,
    ) -> Result<Answer, TargetError> {
        let mut request = self.client.request(method, at(&self.tenant, path));
        request = request.header(AUTHORIZATION, token.header()?);
        if let Some(banner) = banner {
            request = request.json(banner);
        }
        exchange(request, &Words::new(&self.redactor)).await
    }
}

#[async_trait]
impl Target for Qlik {
    async fn read(&self) -> Result<Option<Shown>, TargetError> {
        let answer = self.call(Method::GET, "/api/v1/banners", None).await?;
        match answer.status {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() && answer.says_nothing() => Ok(None),
            status if status.is_success() => answer.shown().map(Some).ok_or_else(|| {
                let why = answer.body.err().map_or("no banner".into(), |failure| failure.to_string());
                let detail = format!("HTTP {} with an answer that cannot be read: {why}", status.as_u16());
                TargetError::Trouble { wait: None, detail }
            }),
            _ => Err(answer.error(&Words::new(&self.redactor))),
        }
    }

    async fn write(&self, banner: &Banner) -> Result<Option<Shown>, TargetError> {
        let answer = self.call(Method::POST, "/api/v1/banners/actions/upsert", Some(banner)).await?;
        let words = Words::new(&self.redactor);
        if !answer.status.is_success() {
            return Err(answer.error(&words));
        }
        let shown = answer.shown();
        match &shown {
            Some(Shown { banner, .. }) => {
                let id = words.clean(&answer.id().unwrap_or_default());
                let kind = words.clean(banner.kind.as_str());
                info!(target: LOG, "API answer: id={id}, enabled={}, type={kind}", banner.enabled);
            }
            None => warn!(target: LOG, "API answer: HTTP {}, not understood", answer.status.as_u16()),
        }
        Ok(shown)
    }

    fn time(&self) -> Option<Timestamp> {
        let (time, at) = (*self.time.lock().unwrap_or_else(PoisonError::into_inner))?;
        time.checked_add(at.elapsed()).ok()
    }

    async fn own_user(&self) -> Option<String> {
        // Behind an API key is a person, who may also set banners by hand.
        if !self.bearer.can_renew() {
            return None;
        }
        let ask = async || {
            let answer = self.call(Method::GET, "/api/v1/users/me", None).await.map_err(drop)?;
            if answer.status.is_success() { answer.id().ok_or(()) } else { Err(()) }
        };
        // It only supports other witnesses: without an answer those decide alone.
        self.own_user.get_or_try_init(ask).await.ok().cloned()
    }
}

/// A whole answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    headers: HeaderMap,
    /// Why there is none, if it could not be read: a 2xx counts all the same, and an error needs no words.
    body: Result<Vec<u8>, Failure>,
}

/// Sends a request under its own deadline and reads the answer.
pub(super) async fn exchange(request: RequestBuilder, words: &Words<'_>) -> Result<Answer, TargetError> {
    let trouble =
        |failure: Failure| TargetError::Trouble { wait: None, detail: words.clean(&failure.to_string()) };
    let deadline = tokio::time::Instant::now() + REQUEST_TIMEOUT;
    let response = tokio::time::timeout_at(deadline, request.header(ACCEPT, "application/json").send())
        .await
        .map_err(|_| trouble(Failure::Timeout))?
        .map_err(|error| trouble(Failure::of(&error)))?;
    let (status, headers) = (response.status(), response.headers().clone());
    let body = tokio::time::timeout_at(deadline, http::read_body(response, MAX_BODY))
        .await
        .unwrap_or(Err(Failure::Timeout));
    Ok(Answer { status, headers, body })
}

impl Answer {
    /// What came; nothing if it could not be read.
    pub(super) fn body(&self) -> &[u8] {
        self.body.as_deref().unwrap_or_default()
    }

    fn shown(&self) -> Option<Shown> {
        let banner = serde_json::from_slice(self.body()).ok()?;
        let updated_at = self.field("updatedAt").and_then(|text| text.parse().ok());
        Some(Shown { banner, updated_at, updated_by: self.field("updatedBy") })
    }

    /// Whether there is no banner in a whole answer: what a tenant says before the first one is not documented.
    fn says_nothing(&self) -> bool {
        let Ok(body) = &self.body else { return false };
        body.trim_ascii().is_empty()
            || serde_json::from_slice::<Value>(body).is_ok_and(|value| {
                value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty)
            })
    }

    /// The present moment by the server's clock: from its date or, after a write, from the change's own time.
    fn time(&self) -> Option<Timestamp> {
        if self.headers.contains_key(AGE) {
            // A cache has kept it for a while.
            return None;
        }
        let date =
            self.headers.get(DATE).and_then(|date| jiff::fmt::rfc2822::parse(date.to_str().ok()?).ok());
        match date {
            // It shows whole seconds.
            Some(date) => date.timestamp().checked_add(Duration::from_millis(500)).ok(),
            None if self.status == StatusCode::CREATED => self.field("updatedAt")?.parse().ok(),
            None => None,
        }
    }

    fn id(&self) -> Option<String> {
        self.field("id")
    }

    fn field(&self, name: &str) -> Option<String> {
        let value: Value = serde_json::from_slice(self.body()).ok()?;
        value.get(name)?.as_str().map(str::to_owned)
    }

    /// What an answer other than 2xx means.
    pub(super) fn error(&self, words: &Words<'_>) -> TargetError {
        let detail = words.of(self);
        let wait = http::retry_after(&self.headers, Timestamp::now()).map(|wait| wait.min(MAX_WAIT));
        match self.status.as_u16() {
            401 => TargetError::Unauthorised { detail },
            403 => TargetError::Forbidden { detail },
            404 => TargetError::NotFound { detail },
            429 => TargetError::RateLimited { wait, detail },
            408 | 425 => TargetError::Trouble { wait, detail },
            400..500 => TargetError::Refused { detail },
            300..400 => TargetError::Trouble {
                wait,
                detail: format!("{detail}: a redirect, which is not followed; check QLIK_TENANT_URL"),
            },
            _ => TargetError::Trouble { wait, detail },
        }
    }
}

/// Makes the tenant's words fit to be told: plain, short, without the secrets it might repeat.
pub(super) struct Words<'a> {
    redactor: &'a Redactor,
}

impl<'a> Words<'a> {
    pub(super) fn new(redactor: &'a Redactor) -> Words<'a> {
        Words { redactor }
    }

    /// The status and what the body says of it, whatever its form.
    pub(super) fn of(&self, answer: &Answer) -> String {
        let mut parts = vec![format!("HTTP {}", answer.status.as_u16())];
        let envelope: Envelope = serde_json::from_slice(answer.body()).unwrap_or_default();
        for error in envelope.errors.iter().take(MAX_ERRORS) {
            let title = error["title"].as_str().map(|title| title.trim_end_matches('.'));
            parts.extend([title, error["detail"].as_str()].into_iter().flatten().map(str::to_owned));
        }
        let line = self.scrub(&parts.join(": "));
        match envelope.trace_id.as_str() {
            // What a support case begins with must survive the shortening.
            Some(trace) => {
                let trace = self.scrub(trace);
                format!("{} (trace {})", text::shorten(&line, MAX_WORDS), text::shorten(&trace, MAX_TRACE))
            }
            None => text::shorten(&line, MAX_WORDS).into_owned(),
        }
    }

    /// Any text from outside.
    pub(super) fn clean(&self, words: &str) -> String {
        text::shorten(&self.scrub(words), MAX_WORDS).into_owned()
    }

    /// Comes before any shortening, which could leave half of a secret.
    fn scrub(&self, words: &str) -> String {
        self.redactor.line(words)
    }
}

/// What the tenant says of an error; nothing of it is sure to be there.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Envelope {
    errors: Vec<Value>,
    #[serde(rename = "traceId")]
    trace_id: Value,
}

fn at(tenant: &Url, path: &str) -> Url {
    let mut url = tenant.clone();
    url.set_path(path);
    url
}
