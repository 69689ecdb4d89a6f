//! What an answer means: by the rules of the definition, else by what services mean by their statuses and headers.
//!
//! Start at [`Reply::meaning`].

use std::time::Duration;

use jiff::Timestamp;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde_json::Value;
use url::Url;

use super::decode::{Facts, PageError, RowReader};
use super::text;
use crate::domain::answer::{Answered, Rule, Then, read_wait};
use crate::domain::connector::Quota;
use crate::http::retry_after;

/// What an error message quotes of an answer.
const QUOTED_CHARS: usize = 200;
/// Where services say what is wrong, and by what they find the request again.
const SAID: [&str; 3] = ["message", "error", "id"];
/// Walking through a larger body is not done on the threads that wait for the network.
const WALK_INLINE: usize = 64 << 10;
/// A shorter wait than this asks for nothing: it would be a loop without a pause.
const LEAST_WAIT: Duration = Duration::from_secs(1);
/// The customary headers of a quota (remaining, reset), for refusals where the definition names none.
const QUOTAS: [(&str, &str); 3] = [
    ("x-ratelimit-remaining", "x-ratelimit-reset"),
    ("ratelimit-remaining", "ratelimit-reset"),
    ("x-rate-limit-remaining", "x-rate-limit-reset"),
];

/// A whole answer.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    pub(super) facts: Result<Facts, PageError>,
    pub(super) url: Url,
    pub(super) place: String,
}

/// By what an answer is judged.
pub(super) struct Context<'a> {
    pub(super) rules: &'a [Rule],
    pub(super) quota: Option<&'a Quota>,
    /// What was asked about is a parent's child.
    pub(super) child: bool,
    /// The request carried a token that can be renewed.
    pub(super) renewable: bool,
    pub(super) now: Timestamp,
}

/// What an answer means.
#[derive(Debug, PartialEq)]
pub(super) enum Meaning {
    /// A page, and whether it is said to be the last.
    Page { last: bool },
    /// A page without rows.
    Empty,
    /// Nothing here, and no further page.
    End,
    /// What was asked about is gone.
    Gone,
    /// Too much at once.
    TooWide,
    /// A failure that may pass.
    Transient,
    /// A rate limit, with the wait that is asked for.
    Limited(Option<Duration>),
    /// The token is no longer valid.
    Refused,
    /// The service does not take this request.
    Rejected,
    /// It cannot be read, now or later.
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
    /// What it means: by the first rule that fits, else by its status.
    pub(super) fn meaning(&self, by: &Context<'_>) -> Meaning {
        match by.rules.iter().find(|rule| rule.fits(self)).map(|rule| &rule.then) {
            Some(Then::Empty) => Meaning::Empty,
            Some(Then::End) if self.status.is_success() && self.facts.is_ok() => Meaning::Page { last: true },
            Some(Then::End) => Meaning::End,
            Some(Then::Skip) => Meaning::Gone,
            Some(Then::Retry) => Meaning::Transient,
            Some(Then::Limited(stated)) => {
                let stated = stated.as_ref().and_then(|stated| stated.read(self, by.now));
                Meaning::Limited(stated.map(|wait| wait.max(LEAST_WAIT)).or_else(|| self.asked(by)))
            }
            Some(Then::Renew) => Meaning::Refused,
            Some(Then::Fail) => Meaning::Failed,
            Some(Then::Halve) => Meaning::TooWide,
            None => self.usual_meaning(by),
        }
    }

    fn usual_meaning(&self, by: &Context<'_>) -> Meaning {
        let told = retry_after(&self.headers, by.now).is_some();
        match (self.status.as_u16(), &self.facts) {
            (204 | 205, _) if self.is_empty() => Meaning::Empty,
            (200..=299, Ok(_)) => Meaning::Page { last: false },
            (200..=299, Err(error)) if self.may_pass(error) => Meaning::Transient,
            (200..=299, Err(_)) => Meaning::Failed,
            (401, _) if by.renewable && !told => Meaning::Refused,
            (429, _) => Meaning::Limited(self.asked(by)),
            (400..=599, _) if told => Meaning::Limited(self.asked(by)),
            (400..=499, _) if self.exhausted(by).is_some() => Meaning::Limited(self.asked(by)),
            (408 | 425 | 500..=599, _) => Meaning::Transient,
            (404, _) if by.child => Meaning::Gone,
            _ => Meaning::Rejected,
        }
    }

    /// A page cut off or a proxy's error page is as good as a broken connection; a document with a fault in it will have
    /// that fault again.
    fn may_pass(&self, error: &PageError) -> bool {
        let first = self.body.iter().find(|byte| !byte.is_ascii_whitespace());
        !matches!((error, first), (PageError::NotJson { .. }, Some(b'{' | b'[')))
    }

    /// What the service asks us to wait: `Retry-After`, or when an exhausted quota is full again.
    fn asked(&self, by: &Context<'_>) -> Option<Duration> {
        let reset = match by.quota {
            // A refusal for something else, too many requests at once say, tells the reset of a quota that is not used up.
            Some(quota) if self.remaining(quota).is_some_and(|left| left > 0.0) => None,
            Some(quota) => self.reset(quota, by.now),
            None => self.exhausted(by),
        };
        retry_after(&self.headers, by.now).max(reset).map(|wait| wait.max(LEAST_WAIT))
    }

    /// When there will be more of a quota that is used up.
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

    /// Requests that are left, as a header tells.
    pub(super) fn remaining(&self, quota: &Quota) -> Option<f64> {
        self.header(quota.remaining.as_ref()?)?.trim().parse().ok()
    }

    /// The wait until a quota is full again, as a header tells.
    pub(super) fn reset(&self, quota: &Quota, now: Timestamp) -> Option<Duration> {
        read_wait(&self.header(&quota.reset)?, None, now)
    }

    /// What was answered, for people.
    pub(super) fn what(&self, hide: impl Fn(&str) -> String) -> String {
        match &self.facts {
            Err(error) if self.status.is_success() => hide(&error.to_string()),
            _ => format!("the source answered {}{}", self.status.as_u16(), self.said(hide)),
        }
    }

    /// What the source said about an error. Secrets are hidden before it is cut: a part of one is one, too.
    fn said(&self, hide: impl Fn(&str) -> String) -> String {
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
            hide(text).split_whitespace().collect::<Vec<_>>().join(" ").chars().take(QUOTED_CHARS).collect()
        };
        let text = quoted(&text);
        match id.map(|id| quoted(&id)) {
            _ if text.is_empty() => String::new(),
            Some(id) if !id.is_empty() => format!(": {text:?} (its id {id:?})"),
            _ => format!(": {text:?}"),
        }
    }
}

/// Makes a body readable and reads what it says beside its rows. Also says what had to be replaced.
pub(super) async fn walk(
    body: Vec<u8>,
    content_type: Option<String>,
    paths: Vec<String>,
) -> (Result<Facts, PageError>, Vec<u8>, Vec<&'static str>) {
    let small = body.len() < WALK_INLINE;
    let walk = move || {
        let (body, notes) = text::utf8(body, content_type.as_deref());
        let paths: Vec<&str> = paths.iter().map(String::as_str).chain(SAID).collect();
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
        // The decoder does not panic; if it did, the page counts as unreadable.
        Err(e) => (Err(PageError::NotJson { reason: e.to_string() }), Vec::new(), Vec::new()),
    }
}
