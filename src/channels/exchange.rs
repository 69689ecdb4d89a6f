//! Sends a request of a channel and reads the response.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::HeaderMap;
use reqwest::{RequestBuilder, StatusCode};
use tokio::time::{Instant, timeout_at};

use super::ChannelError;
use crate::domain::text;
use crate::http::{self, Failure};
use crate::secrets::Redactor;

/// Timeout of one message, all its requests together. A stop waits for it.
pub(super) const SEND_TIMEOUT: Duration = Duration::from_secs(8);

/// Room for the error page of a proxy; answers are a few hundred bytes.
const MAX_BODY: usize = 64 * 1024;

/// Longest text of a receiver in an error.
const MAX_WORDS: usize = 200;

/// Upper limit of a `Retry-After`: a receiver may name a wait of years by mistake.
const MAX_WAIT: Duration = Duration::from_secs(3600);

/// A response, whatever its status.
pub(super) struct ChannelAnswer {
    pub(super) status: StatusCode,
    pub(super) wait: Option<Duration>,
    /// Empty if it could not be read.
    pub(super) body: Vec<u8>,
    /// Why the body could not be read.
    pub(super) cut: Option<Failure>,
}

/// The current time, for timestamps of signatures and dates in `Retry-After`.
pub(super) fn now() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "signatures contain the time of the request")]
    Timestamp::now()
}

/// Sends a request and reads the response until the deadline.
pub(super) async fn exchange(
    request: RequestBuilder,
    deadline: Instant,
    redactor: &Redactor,
) -> Result<ChannelAnswer, ChannelError> {
    let trouble = |failure: &Failure| ChannelError::Trouble {
        wait: None,
        // Only a request that was never sent certainly did not arrive.
        perhaps_sent: !matches!(failure, Failure::Dns | Failure::Connect(_) | Failure::Tls(_)),
        detail: clean(redactor, &failure.to_string()),
    };
    let response = timeout_at(deadline, request.send())
        .await
        .map_err(|_| trouble(&Failure::Timeout))?
        .map_err(|error| trouble(&Failure::of(&error)))?;
    let status = response.status();
    let wait = retry_after(response.headers());
    let body = timeout_at(deadline, http::read_body(response, MAX_BODY)).await;
    let (body, cut) = match body.unwrap_or(Err(Failure::Timeout)) {
        Ok(body) => (body, None),
        Err(failure) => (Vec::new(), Some(failure)),
    };
    Ok(ChannelAnswer { status, wait, body, cut })
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    http::retry_after(headers, now()).map(|wait| wait.min(MAX_WAIT))
}

/// A receiver's text for people: redacted before it is shortened, which could leave half of a secret.
pub(super) fn clean(redactor: &Redactor, words: &str) -> String {
    text::shorten(&redactor.line(words), MAX_WORDS).into_owned()
}

impl ChannelAnswer {
    /// `HTTP 404: no_team`.
    pub(super) fn describe(&self, redactor: &Redactor) -> String {
        let words = clean(redactor, &text::readable(&String::from_utf8_lossy(&self.body)));
        let status = self.status.as_u16();
        if words.is_empty() { format!("HTTP {status}") } else { format!("HTTP {status}: {words}") }
    }

    /// The error for a status other than 2xx. `setting`: what leads to the address.
    pub(super) fn error(&self, redactor: &Redactor, setting: &str) -> ChannelError {
        let detail = self.describe(redactor);
        let trouble = |perhaps_sent: bool, detail: String| ChannelError::Trouble {
            wait: self.wait,
            perhaps_sent,
            detail,
        };
        match self.status.as_u16() {
            410 => {
                ChannelError::Gone(format!("{detail}: the address no longer exists; set another {setting}"))
            }
            408 | 425 => trouble(true, detail),
            status @ 400..500 if status == 429 || self.wait.is_some() => {
                ChannelError::RateLimited { wait: self.wait, detail }
            }
            300..400 => ChannelError::Refused(format!(
                "HTTP {}: a redirect, which is not followed; check {setting}",
                self.status.as_u16()
            )),
            401 | 403 | 404 => ChannelError::Refused(format!("{detail}; check {setting}")),
            400..500 => ChannelError::Refused(detail),
            _ => trouble(true, detail),
        }
    }
}
