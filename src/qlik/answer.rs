//! Sends requests to the tenant and interprets the responses.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{ACCEPT, AGE, AsHeaderName, DATE, HeaderMap};
use reqwest::{RequestBuilder, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use crate::domain::text;
use crate::http::{self, Failure};
use crate::secrets::Redactor;

/// Timeout of a whole request. The tenant answers in well under a second, and a request that hangs delays the next banner.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(8);

/// A banner is about a kilobyte; this leaves room for the error page of a proxy.
const MAX_BODY: usize = 256 * 1024;

/// Longest text of the tenant in an error.
const MAX_WORDS: usize = 300;

/// Longest trace id in an error; the tenant's have 32 characters.
const MAX_TRACE: usize = 64;

/// Upper limit of a `Retry-After`. The tenant's rate limits cover five minutes.
const MAX_WAIT: Duration = Duration::from_secs(900);

/// Maximum number of the tenant's errors in one error.
const MAX_ERRORS: usize = 3;

pub(crate) struct TenantAnswer {
    pub(crate) status: StatusCode,
    headers: HeaderMap,
    /// An unreadable body is not fatal: the status is enough for a 2xx and for an error.
    pub(crate) body: Result<Vec<u8>, Failure>,
}

/// Sends a request and reads the response, within `timeout`.
pub(super) async fn exchange(
    request: RequestBuilder,
    words: &Words<'_>,
    timeout: Duration,
) -> Result<TenantAnswer, TargetError> {
    let trouble =
        |failure: Failure| TargetError::Trouble { wait: None, detail: words.clean(&failure.to_string()) };
    let deadline = tokio::time::Instant::now() + timeout;
    let response = tokio::time::timeout_at(deadline, request.header(ACCEPT, "application/json").send())
        .await
        .map_err(|_| trouble(Failure::Timeout))?
        .map_err(|error| trouble(Failure::of(&error)))?;
    let (status, headers) = (response.status(), response.headers().clone());
    let body = tokio::time::timeout_at(deadline, http::read_body(response, MAX_BODY))
        .await
        .unwrap_or(Err(Failure::Timeout));
    Ok(TenantAnswer { status, headers, body })
}

impl TenantAnswer {
    /// The body; empty if it could not be read.
    pub(crate) fn body(&self) -> &[u8] {
        self.body.as_deref().unwrap_or_default()
    }

    /// The server's time, from `Date` or, after a write, from `updatedAt`.
    pub(crate) fn time(&self) -> Option<Timestamp> {
        if self.headers.contains_key(AGE) {
            // The response comes from a cache.
            return None;
        }
        let date =
            self.headers.get(DATE).and_then(|date| jiff::fmt::rfc2822::parse(date.to_str().ok()?).ok());
        match date {
            // `Date` has whole seconds, so half a second is the expected remainder.
            Some(date) => date.timestamp().checked_add(Duration::from_millis(500)).ok(),
            None if self.status == StatusCode::CREATED => self.field("updatedAt")?.parse().ok(),
            None => None,
        }
    }

    /// A header as text.
    pub(crate) fn header(&self, name: impl AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(crate) fn id(&self) -> Option<String> {
        self.field("id")
    }

    pub(crate) fn field(&self, name: &str) -> Option<String> {
        let value: Value = serde_json::from_slice(self.body()).ok()?;
        value.get(name)?.as_str().map(str::to_owned)
    }

    /// The error for a response other than 2xx.
    pub(crate) fn error(&self, words: &Words<'_>) -> TargetError {
        let detail = words.of(self);
        #[expect(clippy::disallowed_methods, reason = "Retry-After may name a time of day")]
        let now = Timestamp::now();
        let wait = http::retry_after(&self.headers, now).map(|wait| wait.min(MAX_WAIT));
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

/// Why a request to the tenant failed. The texts are short, in one line and redacted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The same request would be rejected again; usually 400.
    #[error("the tenant rejected the request: {detail}")]
    Refused {
        /// The tenant's own text.
        detail: String,
    },
    /// 401, or the token endpoint rejected the credentials.
    #[error(
        "the tenant rejected our credentials (check that the key or client is valid and not expired): {detail}"
    )]
    Unauthorised {
        /// The tenant's own text.
        detail: String,
    },
    /// 403.
    #[error(
        "not allowed to set the banner (a user needs the role TenantAdmin, an OAuth client the scope admin_classic and consent Trusted): {detail}"
    )]
    Forbidden {
        /// The tenant's own text.
        detail: String,
    },
    /// 404 on a write: usually the wrong host.
    #[error("the banner API was not found (check QLIK_TENANT_URL): {detail}")]
    NotFound {
        /// The tenant's own text.
        detail: String,
    },
    /// 429.
    #[error("rate limited by the tenant: {detail}")]
    RateLimited {
        /// From `Retry-After`.
        wait: Option<Duration>,
        /// The tenant's own text.
        detail: String,
    },
    /// Transient: 5xx, network error, timeout, unexpected response.
    #[error("the request to the tenant failed: {detail}")]
    Trouble {
        /// From `Retry-After`.
        wait: Option<Duration>,
        detail: String,
    },
}

impl TargetError {
    /// The wait that the tenant requested.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            TargetError::RateLimited { wait, .. } | TargetError::Trouble { wait, .. } => *wait,
            _ => None,
        }
    }

    /// Whether the same request will probably not succeed before a person fixes something.
    pub fn is_permanent(&self) -> bool {
        !matches!(self, TargetError::RateLimited { .. } | TargetError::Trouble { .. })
    }

    /// Label for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            TargetError::Refused { .. } => "refused",
            TargetError::Unauthorised { .. } => "unauthorised",
            TargetError::Forbidden { .. } => "forbidden",
            TargetError::NotFound { .. } => "not_found",
            TargetError::RateLimited { .. } => "rate_limited",
            TargetError::Trouble { .. } => "trouble",
        }
    }
}

/// Cleans, redacts and shortens texts of the tenant.
pub(crate) struct Words<'a> {
    redactor: &'a Redactor,
}

impl<'a> Words<'a> {
    pub(crate) fn new(redactor: &'a Redactor) -> Words<'a> {
        Words { redactor }
    }

    /// The status and the errors in the body, if it has any.
    pub(crate) fn of(&self, answer: &TenantAnswer) -> String {
        let mut parts = vec![format!("HTTP {}", answer.status.as_u16())];
        let envelope: Envelope = serde_json::from_slice(answer.body()).unwrap_or_default();
        for error in envelope.errors.iter().take(MAX_ERRORS) {
            let title = error["title"].as_str().map(|title| title.trim_end_matches('.'));
            parts.extend([title, error["detail"].as_str()].into_iter().flatten().map(str::to_owned));
        }
        let line = self.scrub(&parts.join(": "));
        match envelope.trace_id.as_str() {
            // Support cases need the trace id, so it must not be cut off.
            Some(trace) => {
                let trace = self.scrub(trace);
                format!("{} (trace {})", text::shorten(&line, MAX_WORDS), text::shorten(&trace, MAX_TRACE))
            }
            None => text::shorten(&line, MAX_WORDS).into_owned(),
        }
    }

    pub(crate) fn clean(&self, words: &str) -> String {
        text::shorten(&self.scrub(words), MAX_WORDS).into_owned()
    }

    /// Must precede shortening, which could leave half of a secret.
    fn scrub(&self, words: &str) -> String {
        self.redactor.line(words)
    }
}

/// The tenant's error document. Every field may be missing.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Envelope {
    errors: Vec<Value>,
    #[serde(rename = "traceId")]
    trace_id: Value,
}
