//! One request until it has an answer worth reading, or a reason why there is none.
//!
//! Here meet the rate limit, the credentials, the retries and the rules of a definition. Start at [`Fetcher::get`].

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use reqwest::header::{HeaderMap, LOCATION};
use reqwest::{RequestBuilder, StatusCode};
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use super::auth;
use super::decode::{Facts, PageError, RowReader};
use super::run::{LIMIT, Run, Stop, TableProgress};
use crate::domain::connector::{Method, Rule, Then};
use crate::http::oauth::AccessToken;
use crate::http::{Failure, MAX_REDIRECTS, read_body, retry_after, same_origin};
use crate::secrets;

/// A reset larger than this is a moment (Unix time), not a number of seconds.
const MOMENT: f64 = 1e9;
/// What an error message quotes of an answer.
const QUOTED_CHARS: usize = 200;
/// Where services say what is wrong, and by what they find the request again.
const SAID: [&str; 3] = ["message", "error", "id"];
/// Walking through a larger body is not done on the threads that wait for the network.
const WALK_INLINE: usize = 64 << 10;

/// What is asked for.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) url: Url,
    pub(super) method: Method,
    /// Members of a JSON body.
    pub(super) body: BTreeMap<String, Value>,
}

/// A page, whole and JSON.
pub(super) struct Fetched {
    pub(super) body: Vec<u8>,
    pub(super) facts: Facts,
    pub(super) headers: HeaderMap,
    pub(super) url: Url,
    pub(super) place: String,
}

/// The answer to a request.
pub(super) enum Answer {
    Page(Box<Fetched>),
    /// There is nothing, and that is fine.
    Empty,
    /// What was asked about is gone.
    Gone,
    /// Too much was asked for at once.
    TooWide,
}

/// Makes requests for one table.
pub(super) struct Fetcher<'r> {
    pub(super) run: &'r Run,
    pub(super) progress: &'r TableProgress,
    /// Rules of the table, then those of the connector.
    pub(super) rules: Vec<Rule>,
    /// A 404 means that the parent is gone.
    pub(super) child: bool,
    /// Paths whose values are wanted from each page.
    pub(super) paths: Vec<String>,
}

/// What one attempt came to.
enum Attempt {
    Answer(Answer),
    Transient(String),
    Limited(Option<Duration>),
    Refused(Option<AccessToken>),
    Final(Stop),
}

/// What was tried so far.
#[derive(Default)]
struct Tries {
    failures: u32,
    refusals: u32,
    same_token: bool,
    renewed: bool,
}

impl Fetcher<'_> {
    /// Asks until there is an answer.
    pub(super) async fn get(&self, wanted: &Wanted) -> Result<Answer, Stop> {
        let mut tries = Tries::default();
        loop {
            let attempt = self.attempt(wanted).await?;
            let limited = matches!(attempt, Attempt::Limited(_));
            let wait = match attempt {
                Attempt::Answer(answer) => return Ok(answer),
                Attempt::Final(stop) => return Err(stop),
                Attempt::Refused(token) => {
                    self.renew(&mut tries, token, wanted).await?;
                    Duration::ZERO
                }
                Attempt::Transient(reason) => self.after_failure(&mut tries, reason, wanted)?,
                Attempt::Limited(asked) => self.after_refusal(&mut tries, asked, wanted)?,
            };
            self.wait_until(Instant::now() + wait, limited).await?;
            self.progress.retries.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn attempt(&self, wanted: &Wanted) -> Result<Attempt, Stop> {
        let account = self.run.account.shared();
        // Closed only when the account is dropped, which outlives us.
        let _slot = self.run.or_cancelled(account.slots.acquire()).await?.map_err(|_| Stop::Closed)?;
        self.wait_until(account.book(), true).await?;
        let token = match &account.tokens {
            Some(tokens) => Some(tokens.current(self.run).await?),
            None => None,
        };
        self.run.count_request(Some(self.progress));
        let exchange =
            tokio::time::timeout(account.definition.http.timeout, self.exchange(wanted, token.as_ref()));
        let (status, headers, body, url) =
            match self.run.or_cancelled(exchange).await?.unwrap_or(Err(Failure::Timeout)) {
                Ok(whole) => whole,
                Err(failure) => return Ok(self.failed(&failure, wanted)),
            };
        self.heed_quota(&headers)?;
        if status == StatusCode::UNAUTHORIZED && token.is_some() {
            return Ok(Attempt::Refused(token));
        }
        let place = self.place(&url);
        let paths = self.paths.clone();
        let (facts, body) = walk(body, paths).await;
        Ok(self.judge(status, headers, body, facts, url, place))
    }

    /// Sends the request and follows redirects within the origin; credentials never leave it.
    async fn exchange(
        &self,
        wanted: &Wanted,
        token: Option<&AccessToken>,
    ) -> Result<(StatusCode, HeaderMap, Vec<u8>, Url), Failure> {
        let account = self.run.account.shared();
        let mut url = wanted.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let request = auth::sign(account, self.request(wanted, url.clone()), token);
            let response = request.send().await.map_err(|e| Failure::of(&e))?;
            if response.status().is_redirection() && response.status() != StatusCode::NOT_MODIFIED {
                let to = response.headers().get(LOCATION).and_then(|to| to.to_str().ok());
                let to = to.and_then(|to| url.join(to).ok());
                let to = to.ok_or_else(|| Failure::Redirect("redirected to nowhere".into()))?;
                if !same_origin(&to, &account.base) || wanted.method != Method::Get {
                    let origin = to.origin().ascii_serialization();
                    return Err(Failure::Redirect(format!(
                        "redirected to {origin}, where our credentials do not go: if it has moved there, set base_url"
                    )));
                }
                url = to;
                continue;
            }
            let (status, headers) = (response.status(), response.headers().clone());
            let body = read_body(response, account.definition.http.max_body).await?;
            return Ok((status, headers, body, url));
        }
        Err(Failure::Redirect("more than 5 redirects".into()))
    }

    fn request(&self, wanted: &Wanted, url: Url) -> RequestBuilder {
        let account = self.run.account.shared();
        let mut request = match wanted.method {
            Method::Get => account.client.get(url),
            Method::Post => account.client.post(url).json(&wanted.body),
        };
        for (name, value) in &account.definition.http.headers {
            let value = account.fill(value).unwrap_or_default();
            // What no header can carry was refused with the account.
            request = match secrets::header(&value) {
                Ok(value) => request.header(name, value),
                Err(_) => request,
            };
        }
        request
    }

    fn failed(&self, failure: &Failure, wanted: &Wanted) -> Attempt {
        match failure {
            Failure::Timeout | Failure::Dns | Failure::Connect(_) | Failure::Broken(_) => {
                Attempt::Transient(failure.to_string())
            }
            Failure::TooLarge(bytes) => Attempt::Final(self.stop(
                format!("the answer is larger than {bytes} bytes: ask for smaller pages (`size`), or raise `max_body_mb`"),
                &wanted.url,
            )),
            Failure::Tls(_) | Failure::Redirect(_) => Attempt::Final(self.stop(failure.to_string(), &wanted.url)),
        }
    }

    fn judge(
        &self,
        status: StatusCode,
        headers: HeaderMap,
        body: Vec<u8>,
        facts: Result<Facts, PageError>,
        url: Url,
        place: String,
    ) -> Attempt {
        let fits = |rule: &&Rule| {
            let there =
                |path| facts.as_ref().is_ok_and(|facts| facts.value(path).is_some_and(|v| !is_nothing(v)));
            rule.status == status.as_u16() && rule.has.as_deref().is_none_or(there)
        };
        let said = said(&facts, &body, |text| self.run.account.shared().redact(text));
        let what = format!("the source answered {}{said}", status.as_u16());
        match self.rules.iter().find(fits).map(|rule| rule.then) {
            Some(Then::Empty) => return Attempt::Answer(Answer::Empty),
            Some(Then::Skip) => return Attempt::Answer(Answer::Gone),
            Some(Then::Retry) => return Attempt::Transient(what),
            Some(Then::Fail) => return Attempt::Final(Stop::failed(what, Some(place))),
            Some(Then::Halve) => return Attempt::Answer(Answer::TooWide),
            None => {}
        }
        match (status.as_u16(), facts) {
            (204, _) => Attempt::Answer(Answer::Empty),
            (200..=299, Ok(facts)) => {
                Attempt::Answer(Answer::Page(Box::new(Fetched { body, facts, headers, url, place })))
            }
            // A page cut off or a proxy's error page is as good as a broken connection.
            (200..=299, Err(error)) => {
                Attempt::Transient(self.run.account.shared().redact(&error.to_string()))
            }
            (429, _) => Attempt::Limited(self.asked(&headers)),
            (503, _) if retry_after(&headers, self.run.now()).is_some() => {
                Attempt::Limited(self.asked(&headers))
            }
            (408 | 425 | 500..=599, _) => Attempt::Transient(what),
            (404, _) if self.child => Attempt::Answer(Answer::Gone),
            (401 | 403, _) => {
                let advice = auth::advice(self.run.account.shared());
                Attempt::Final(Stop::fatal(format!("{what}; {advice}"), Some(place)))
            }
            _ => Attempt::Final(Stop::failed(what, Some(place)).with_status(status.as_u16())),
        }
    }

    /// What the service asks us to wait: `Retry-After`, or when its quota is full again.
    fn asked(&self, headers: &HeaderMap) -> Option<Duration> {
        retry_after(headers, self.run.now())
            .max(self.reset(headers))
            .map(|wait| wait.max(Duration::from_secs(1)))
    }

    fn reset(&self, headers: &HeaderMap) -> Option<Duration> {
        let quota = self.run.account.definition().http.quota.as_ref()?;
        let value: f64 = headers.get(&quota.reset)?.to_str().ok()?.trim().parse().ok()?;
        let now = self.run.now().as_millisecond() as f64 / 1000.0;
        let seconds = if value >= MOMENT { value - now } else { value };
        Duration::try_from_secs_f64(seconds.max(0.0)).ok()
    }

    /// A quota that is used up holds everybody before it is refused.
    fn heed_quota(&self, headers: &HeaderMap) -> Result<(), Stop> {
        let account = self.run.account.shared();
        let remaining = account.definition.http.quota.as_ref().and_then(|quota| quota.remaining.as_ref());
        let left = remaining.and_then(|name| headers.get(name)?.to_str().ok()?.trim().parse::<i64>().ok());
        match (left, self.reset(headers)) {
            // A reset far ahead beside an answer that was given is a daily quota; it is waited for when it refuses.
            (Some(..=0), Some(wait)) if wait <= account.definition.http.retry.cap => {
                let longer = account.hold(wait);
                self.run.spend(longer, LIMIT)
            }
            _ => Ok(()),
        }
    }

    fn after_failure(&self, tries: &mut Tries, reason: String, wanted: &Wanted) -> Result<Duration, Stop> {
        tries.failures += 1;
        let rules = &self.run.account.definition().http.retry;
        rules.after_failure(tries.failures, self.run.random()).ok_or_else(|| {
            let attempts =
                if tries.failures == 1 { "once".to_owned() } else { format!("{} times", tries.failures) };
            self.stop(format!("{reason} (tried {attempts})"), &wanted.url)
        })
    }

    fn after_refusal(
        &self,
        tries: &mut Tries,
        asked: Option<Duration>,
        wanted: &Wanted,
    ) -> Result<Duration, Stop> {
        tries.refusals += 1;
        let account = self.run.account.shared();
        let wait = account.definition.http.retry.after_refusal(tries.refusals, asked, self.run.random());
        let Some(wait) = wait else {
            let reason = format!("the source's rate limit refused one request {} times", tries.refusals);
            return Err(self.stop(reason, &wanted.url));
        };
        // The limit is the account's, so everybody waits, and the budget is spent once for all.
        let longer = account.hold(wait);
        self.run.spend(longer, LIMIT)?;
        Ok(wait)
    }

    /// A 401: first perhaps the same token again, then another one, then it is final.
    async fn renew(
        &self,
        tries: &mut Tries,
        refused: Option<AccessToken>,
        wanted: &Wanted,
    ) -> Result<(), Stop> {
        let account = self.run.account.shared();
        let (Some(tokens), Some(refused)) = (&account.tokens, refused) else { return Ok(()) };
        if let (Some(wait), false) = (tokens.retry_same_after(), tries.same_token) {
            tries.same_token = true;
            return self.run.sleep(wait).await;
        }
        if tries.renewed {
            let reason = format!("the source refuses a fresh token (401); {}", auth::advice(account));
            return Err(Stop::fatal(account.redact(&reason), Some(self.place(&wanted.url))));
        }
        tries.renewed = true;
        tokens.renew(self.run, refused.serial()).await.map(drop)
    }

    /// Waits, and counts it; `limited` if it is for a rate limit and not for another attempt.
    async fn wait_until(&self, moment: Instant, limited: bool) -> Result<(), Stop> {
        let began = Instant::now();
        if moment <= began {
            return Ok(());
        }
        self.progress.limited.store(limited, Ordering::Relaxed);
        let waited = self.run.sleep_until(moment).await;
        self.progress.limited.store(false, Ordering::Relaxed);
        // A stop may have ended it early.
        let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.progress.waited_ms.fetch_add(millis, Ordering::Relaxed);
        waited
    }

    fn stop(&self, reason: String, url: &Url) -> Stop {
        Stop::failed(self.run.account.shared().redact(&reason), Some(self.place(url)))
    }

    /// The URL as it may be shown.
    pub(super) fn place(&self, url: &Url) -> String {
        self.run.account.shared().redact(url.as_str())
    }
}

/// Nothing that means anything: an empty error is no error.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

async fn walk(body: Vec<u8>, paths: Vec<String>) -> (Result<Facts, PageError>, Vec<u8>) {
    let small = body.len() < WALK_INLINE;
    let walk = move || {
        let paths: Vec<&str> = paths.iter().map(String::as_str).chain(SAID).collect();
        (RowReader::facts(&body, &paths), body)
    };
    if small {
        return walk();
    }
    match tokio::task::spawn_blocking(walk).await {
        Ok(walked) => walked,
        // The decoder does not panic; if it did, the page counts as unreadable.
        Err(e) => (Err(PageError::NotJson { reason: e.to_string() }), Vec::new()),
    }
}

/// What the source said about an error, for the message. Secrets are hidden before it is cut: a part of one is one, too.
fn said(facts: &Result<Facts, PageError>, body: &[u8], hide: impl Fn(&str) -> String) -> String {
    let mut id = None;
    let text = match facts {
        Ok(facts) => {
            let of = |key: &str| match facts.value(key) {
                Some(Value::String(text)) => Some(text.clone()),
                Some(Value::Null) | None => None,
                Some(other) => Some(other.to_string()),
            };
            id = of("id");
            of("message").or_else(|| of("error")).unwrap_or_default()
        }
        Err(_) => String::from_utf8_lossy(&body[..body.len().min(4 * QUOTED_CHARS)]).into_owned(),
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
