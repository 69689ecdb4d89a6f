//! Classifies an answer: by the rules of the definition, otherwise by its status and headers.
//!
//! Start at [`Reply::meaning`].

use std::time::Duration;

use jiff::Timestamp;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde_json::Value;
use url::Url;

use crate::domain::syncing::definition::answer::{Answered, Rule, Then, read_wait};
use crate::domain::syncing::definition::connector::Quota;
use crate::http::retry_after;
use crate::source::decode::{Facts, PageError, RowReader};
use crate::source::text;

/// Length of the quoted answer in an error message.
const QUOTED_CHARS: usize = 200;
/// Members with an error message or a request id.
const ERROR_PATHS: [&str; 3] = ["message", "error", "id"];
/// Larger bodies are read on a blocking thread.
const WALK_INLINE: usize = 64 << 10;
/// A shorter wait would retry without a pause.
const MIN_WAIT: Duration = Duration::from_secs(1);
/// The usual headers of a quota (remaining, reset), for definitions without their own.
const QUOTAS: [(&str, &str); 3] = [
    ("x-ratelimit-remaining", "x-ratelimit-reset"),
    ("ratelimit-remaining", "ratelimit-reset"),
    ("x-rate-limit-remaining", "x-rate-limit-reset"),
];

/// A complete answer.
pub(in crate::source) struct Reply {
    pub(in crate::source) status: StatusCode,
    pub(in crate::source) headers: HeaderMap,
    pub(in crate::source) body: Vec<u8>,
    pub(in crate::source) facts: Result<Facts, PageError>,
    pub(in crate::source) url: Url,
    pub(in crate::source) place: String,
}

/// The inputs of the classification.
pub(in crate::source) struct Context<'a> {
    pub(in crate::source) rules: &'a [Rule],
    pub(in crate::source) quota: Option<&'a Quota>,
    /// Whether the request is for the child of a parent row.
    pub(in crate::source) child: bool,
    /// Whether the request had a token that can be renewed.
    pub(in crate::source) renewable: bool,
    pub(in crate::source) now: Timestamp,
}

#[derive(Debug, PartialEq)]
pub(in crate::source) enum Meaning {
    /// A page, and whether a rule marks it as the last one.
    Page { last: bool },
    /// A page without rows.
    Empty,
    /// No rows, and no further page.
    End,
    /// The requested object does not exist any more.
    NotFound,
    /// The requested window is too wide.
    TooWide,
    /// A failure that a retry may solve.
    Transient,
    /// A rate limit, with the requested wait.
    Limited(Option<Duration>),
    /// The token is no longer valid.
    Refused,
    /// The service rejected this request.
    Rejected,
    /// The answer cannot be read, and a retry does not help.
    Failed,
}

impl Answered for Reply {
    fn status(&self) -> u16 {
        self.status.as_u16()
    }

    fn is_empty(&self) -> bool {
        self.body.iter().all(u8::is_ascii_whitespace)
    }

    fn header(&self, name: &str) -> Option<String> {
        Some(String::from_utf8_lossy(self.headers.get(name)?.as_bytes()).into_owned())
    }

    fn value(&self, path: &str) -> Option<&Value> {
        self.facts.as_ref().ok()?.value(path)
    }
}

impl Reply {
    /// Classifies the answer by the first rule that matches, otherwise by its status.
    pub(in crate::source) fn meaning(&self, by: &Context<'_>) -> Meaning {
        match by.rules.iter().find(|rule| rule.fits(self)).map(|rule| &rule.then) {
            Some(Then::Empty) => Meaning::Empty,
            Some(Then::End) if self.status.is_success() && self.facts.is_ok() => Meaning::Page { last: true },
            Some(Then::End) => Meaning::End,
            Some(Then::Skip) => Meaning::NotFound,
            Some(Then::Retry) => Meaning::Transient,
            Some(Then::Limited(stated)) => {
                let stated = stated.as_ref().and_then(|stated| stated.read(self, by.now));
                Meaning::Limited(stated.map(|wait| wait.max(MIN_WAIT)).or_else(|| self.requested_wait(by)))
            }
            Some(Then::Renew) => Meaning::Refused,
            Some(Then::Fail) => Meaning::Failed,
            Some(Then::Halve) => Meaning::TooWide,
            None => self.usual_meaning(by),
        }
    }

    fn usual_meaning(&self, by: &Context<'_>) -> Meaning {
        let has_retry_after = retry_after(&self.headers, by.now).is_some();
        match (self.status.as_u16(), &self.facts) {
            (204 | 205, _) if self.is_empty() => Meaning::Empty,
            (200..=299, Ok(_)) => Meaning::Page { last: false },
            (200..=299, Err(error)) if self.is_transient(error) => Meaning::Transient,
            (200..=299, Err(_)) => Meaning::Failed,
            (401, _) if by.renewable && !has_retry_after => Meaning::Refused,
            (429, _) => Meaning::Limited(self.requested_wait(by)),
            (400..=599, _) if has_retry_after => Meaning::Limited(self.requested_wait(by)),
            (400..=499, _) if self.exhausted(by).is_some() => Meaning::Limited(self.requested_wait(by)),
            (408 | 425 | 500..=599, _) => Meaning::Transient,
            (404, _) if by.child => Meaning::NotFound,
            _ => Meaning::Rejected,
        }
    }

    /// A truncated page or the error page of a proxy is retried like a lost connection; a document with a syntax error is
    /// not.
    fn is_transient(&self, error: &PageError) -> bool {
        let first = self.body.iter().find(|byte| !byte.is_ascii_whitespace());
        !matches!((error, first), (PageError::NotJson { .. }, Some(b'{' | b'[')))
    }

    /// The wait that the service requests: `Retry-After`, or the reset of an exhausted quota.
    fn requested_wait(&self, by: &Context<'_>) -> Option<Duration> {
        let reset = match by.quota {
            // The refusal has another reason, such as too many concurrent requests: the reset of the quota does not matter.
            Some(quota) if self.remaining(quota).is_some_and(|left| left > 0.0) => None,
            Some(quota) => self.reset(quota, by.now),
            None => self.exhausted(by),
        };
        retry_after(&self.headers, by.now).max(reset).map(|wait| wait.max(MIN_WAIT))
    }

    /// The wait until an exhausted quota is reset.
    fn exhausted(&self, by: &Context<'_>) -> Option<Duration> {
        let used_up = |quota: &Quota| {
            self.remaining(quota).is_some_and(|left| left <= 0.0).then(|| self.reset(quota, by.now)).flatten()
        };
        match by.quota {
            Some(quota) => used_up(quota),
            None => QUOTAS.iter().find_map(|(remaining, reset)| {
                used_up(&Quota { remaining: Some((*remaining).to_owned()), reset: (*reset).to_owned() })
            }),
        }
    }

    /// The remaining requests, from a header.
    pub(in crate::source) fn remaining(&self, quota: &Quota) -> Option<f64> {
        self.header(quota.remaining.as_ref()?)?.trim().parse().ok()
    }

    /// The wait until the quota is reset, from a header.
    pub(in crate::source) fn reset(&self, quota: &Quota, now: Timestamp) -> Option<Duration> {
        read_wait(&self.header(&quota.reset)?, None, now)
    }

    /// Describes the answer for people.
    pub(in crate::source) fn describe(&self, redact: impl Fn(&str) -> String) -> String {
        match &self.facts {
            Err(error) if self.status.is_success() => redact(&error.to_string()),
            _ => format!("the source answered {}{}", self.status.as_u16(), self.error_text(redact)),
        }
    }

    /// The source's error message. It is redacted before it is shortened, because a part of a secret is secret too.
    fn error_text(&self, redact: impl Fn(&str) -> String) -> String {
        let mut id = None;
        let text = match &self.facts {
            Ok(facts) => {
                let of = |key: &str| match facts.value(key) {
                    Some(Value::String(text)) => Some(text.clone()),
                    Some(Value::Null) | None => None,
                    Some(other) => Some(other.to_string()),
                };
                id = of("id");
                of("message").or_else(|| of("error")).unwrap_or_default()
            }
            Err(_) => {
                let start = self.body.get(..self.body.len().min(4 * QUOTED_CHARS)).unwrap_or_default();
                String::from_utf8_lossy(start).into_owned()
            }
        };
        let quoted = |text: &str| -> String {
            redact(text).split_whitespace().collect::<Vec<_>>().join(" ").chars().take(QUOTED_CHARS).collect()
        };
        let text = quoted(&text);
        match id.map(|id| quoted(&id)) {
            _ if text.is_empty() => String::new(),
            Some(id) if !id.is_empty() => format!(": {text:?} (its id {id:?})"),
            _ => format!(": {text:?}"),
        }
    }
}

/// Converts a body to UTF-8 JSON and reads its values outside of the records. Also returns notes about replaced
/// characters.
pub(in crate::source) async fn read_facts(
    body: Vec<u8>,
    content_type: Option<String>,
    paths: Vec<String>,
) -> (Result<Facts, PageError>, Vec<u8>, Vec<&'static str>) {
    let small = body.len() < WALK_INLINE;
    let walk = move || {
        let (body, notes) = text::utf8(body, content_type.as_deref());
        let paths: Vec<&str> = paths.iter().map(String::as_str).chain(ERROR_PATHS).collect();
        let facts = RowReader::facts(&body, &paths);
        if matches!(facts, Err(PageError::NotJson { .. }))
            && let Some(marked) = text::mark_non_numbers(&body)
            && let Ok(facts) = RowReader::facts(&marked, &paths)
        {
            return (Ok(facts), marked, notes);
        }
        (facts, body, notes)
    };
    if small {
        return walk();
    }
    match tokio::task::spawn_blocking(walk).await {
        Ok(walked) => walked,
        // The decoder should not panic; if it does, the page is unreadable.
        Err(e) => (Err(PageError::NotJson { reason: e.to_string() }), Vec::new(), Vec::new()),
    }
}
