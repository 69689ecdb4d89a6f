//! Sends one request, with retries, until there is a usable answer or a final error.
//!
//! Applies the rate limit, the credentials and the retry rules; `reply` classifies answers. Start at [`Fetcher::get`].

use std::sync::atomic::Ordering;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, LOCATION};
use reqwest::{Request, StatusCode};
use tokio::time::Instant;
use url::Url;

use super::query::{self, RequestSpec, with_missing, with_query};
use super::reply::{Meaning, Reply};
use crate::domain::syncing::definition::answer::Rule;
use crate::domain::syncing::definition::connector::{Auth, Method};
use crate::domain::text::counted;
use crate::http::oauth::AccessToken;
use crate::http::{Failure, MAX_REDIRECTS, read_body, same_origin};
use crate::secrets;
use crate::source::auth;
use crate::source::decode::Facts;
use crate::source::run::{LIMIT, RunContext, Stop, TableProgress};

/// A complete page of JSON.
pub(in crate::source) struct Fetched {
    pub(in crate::source) body: Vec<u8>,
    pub(in crate::source) facts: Facts,
    pub(in crate::source) headers: HeaderMap,
    pub(in crate::source) url: Url,
    pub(in crate::source) place: String,
    /// A rule says that this is the last page.
    pub(in crate::source) last: bool,
    /// Time from the request to the last byte.
    pub(in crate::source) took: Duration,
}

pub(in crate::source) enum Answer {
    Page(Box<Fetched>),
    /// A page without rows.
    Empty,
    /// No rows, and no further page.
    End,
    /// The requested object does not exist any more.
    NotFound,
    /// The requested window is too wide.
    TooWide,
    /// The page timed out or was too large, and a smaller page size is possible.
    TooLarge,
}

/// Sends the requests for one table.
pub(in crate::source) struct Fetcher<'r> {
    pub(in crate::source) run: &'r RunContext,
    pub(in crate::source) progress: &'r TableProgress,
    /// The rules of the table, then those of the connector.
    pub(in crate::source) rules: Vec<Rule>,
    /// Whether a 404 means that the parent was deleted.
    pub(in crate::source) child: bool,
    /// Paths whose values are read from each page.
    pub(in crate::source) paths: Vec<String>,
}

/// The result of one attempt.
enum Attempt {
    Answer(Answer),
    /// A failure that a retry may solve.
    Transient(String),
    /// A rate limit, with the requested wait and a description of the answer.
    Limited(Option<Duration>, String),
    /// The access token is no longer valid.
    Refused(Option<AccessToken>, String),
    /// The service rejected this request.
    Rejected(Stop),
    Final(Stop),
}

/// The attempts so far.
#[derive(Default)]
struct Tries {
    failures: u32,
    refusals: u32,
    same_token: bool,
    renewed: bool,
    /// The link is requested without the parameters of the definition.
    bare: bool,
}

impl Fetcher<'_> {
    /// Sends the request, with retries, until there is an answer.
    pub(in crate::source) async fn get(&self, spec: &RequestSpec) -> Result<Answer, Stop> {
        let mut tries = Tries::default();
        let mut spec = spec.clone();
        loop {
            let attempt = self.attempt(&spec).await?;
            let limited = matches!(attempt, Attempt::Limited(..));
            if matches!(attempt, Attempt::Rejected(_) | Attempt::Answer(Answer::NotFound))
                && let Some(bare) = spec.bare.take()
            {
                // Some services accept a link only as they sent it, without the parameters of the definition.
                (spec.url, tries.bare) = (bare, true);
                self.progress.retries.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            let wait = match attempt {
                Attempt::Answer(answer) => {
                    let accepted = tries.bare && !matches!(answer, Answer::NotFound);
                    self.progress.bare_links.fetch_or(accepted, Ordering::Relaxed);
                    return Ok(answer);
                }
                Attempt::Rejected(stop) | Attempt::Final(stop) => return Err(stop),
                Attempt::Refused(token, what) => {
                    self.renew(&mut tries, token, &what, &spec).await?;
                    Duration::ZERO
                }
                Attempt::Transient(reason) => self.after_failure(&mut tries, reason, &spec)?,
                Attempt::Limited(requested_wait, what) => {
                    self.after_refusal(&mut tries, requested_wait, &what, &spec)?
                }
            };
            self.wait_until(Instant::now() + wait, limited).await?;
            self.progress.retries.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn attempt(&self, spec: &RequestSpec) -> Result<Attempt, Stop> {
        let account = self.run.account.shared();
        // Closed only when the account is dropped, which outlives the run.
        let _slot = self.run.or_cancelled(account.slots.acquire()).await?.map_err(|_| Stop::Closed)?;
        self.wait_until(account.book(), true).await?;
        let token = match &account.tokens {
            Some(tokens) => Some(auth::current(tokens, self.run).await?),
            None => None,
        };
        self.run.count_request(Some(self.progress));
        let sent = Instant::now();
        let exchange =
            tokio::time::timeout(account.definition.http.timeout, self.exchange(spec, token.as_ref()));
        let (status, headers, body, url) =
            match self.run.or_cancelled(exchange).await?.unwrap_or(Err(Failure::Timeout)) {
                Ok(whole) => whole,
                Err(Failure::Timeout | Failure::TooLarge(_)) if spec.grown => {
                    return Ok(Attempt::Answer(Answer::TooLarge));
                }
                Err(failure) => return Ok(self.failed(&failure, spec)),
            };
        if spec.grown && matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT) {
            return Ok(Attempt::Answer(Answer::TooLarge));
        }
        let took = sent.elapsed();
        let place = self.place(&url);
        let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (facts, body, notes) = super::reply::read_facts(body, content_type, self.paths.clone()).await;
        for note in notes {
            self.run.note(format!("{}: {note}", self.run.account.definition().name));
        }
        let reply = Reply { status, headers, body, facts, url, place };
        self.apply_quota(&reply)?;
        Ok(self.classify(reply, took, token))
    }

    /// Sends the request and follows redirects within the origin, so that credentials never leave it. A redirect keeps
    /// the method, the body, and the parameters that it does not set.
    async fn exchange(
        &self,
        spec: &RequestSpec,
        token: Option<&AccessToken>,
    ) -> Result<(StatusCode, HeaderMap, Vec<u8>, Url), Failure> {
        let account = self.run.account.shared();
        let mut url = spec.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let request = self.signed(spec, url.clone(), token)?;
            let response = account.client.execute(request).await.map_err(|e| Failure::of(&e))?;
            let status = response.status();
            if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
                let to = response.headers().get(LOCATION).and_then(|to| to.to_str().ok());
                let to = to.and_then(|to| url.join(to).ok());
                let to = to.ok_or_else(|| {
                    Failure::Redirect(format!("answered {} without a Location header", status.as_u16()))
                })?;
                url = redirected(&url, to, &account.base, (status, spec.method))?;
                continue;
            }
            let headers = response.headers().clone();
            let body = read_body(response, account.definition.http.max_body).await?;
            return Ok((status, headers, body, url));
        }
        Err(Failure::Redirect("more than 5 redirects".into()))
    }

    /// The request with its credentials. No header and no parameter of ours is sent twice.
    fn signed(&self, spec: &RequestSpec, url: Url, token: Option<&AccessToken>) -> Result<Request, Failure> {
        let account = self.run.account.shared();
        let mut request = match spec.method {
            Method::Get => account.client.get(url),
            Method::Post => account.client.post(url).json(&spec.body),
        };
        for (name, value) in &account.definition.http.headers {
            let value = account.fill(value).unwrap_or_default();
            // Invalid header values were refused with the account.
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), secrets::header(&value)) {
                request = request.header(name, value);
            }
        }
        let signed = auth::sign(account, request, token).build();
        let mut request = signed.map_err(|e| Failure::of(&e))?;
        query::remove_duplicates(request.headers_mut());
        if let Auth::Query { name, .. } = &account.definition.auth {
            // A link may already have the parameter.
            let signed = query::params(request.url()).into_iter().rfind(|(other, _)| other == name);
            with_query(request.url_mut(), signed.as_slice());
        }
        Ok(request)
    }

    fn failed(&self, failure: &Failure, spec: &RequestSpec) -> Attempt {
        match failure {
            Failure::Timeout => {
                let limit = self.run.account.definition().http.timeout;
                Attempt::Transient(format!("no answer within {limit:?}, the `timeout`"))
            }
            Failure::Dns | Failure::Connect(_) | Failure::Broken(_) => {
                Attempt::Transient(failure.to_string())
            }
            Failure::TooLarge(bytes) => Attempt::Final(self.stop(
                format!(
                    "the answer is larger than {bytes} bytes: raise `max_body_mb`, or request smaller pages (`size`)"
                ),
                &spec.url,
            )),
            Failure::Tls(_) | Failure::Redirect(_) | Failure::Encoding(_) => {
                Attempt::Final(self.stop(failure.to_string(), &spec.url))
            }
        }
    }

    fn classify(&self, reply: Reply, took: Duration, token: Option<AccessToken>) -> Attempt {
        let account = self.run.account.shared();
        let context = super::reply::Context {
            rules: &self.rules,
            quota: account.definition.http.quota.as_ref(),
            child: self.child,
            renewable: token.is_some(),
            now: self.run.now(),
        };
        let meaning = reply.meaning(&context);
        let describe = || reply.describe(|text| account.redact(text));
        match meaning {
            Meaning::Page { last } => match reply.facts {
                Ok(facts) => {
                    let Reply { body, headers, url, place, .. } = reply;
                    Attempt::Answer(Answer::Page(Box::new(Fetched {
                        body,
                        facts,
                        headers,
                        url,
                        place,
                        last,
                        took,
                    })))
                }
                Err(error) => {
                    Attempt::Final(Stop::failed(account.redact(&error.to_string()), Some(reply.place)))
                }
            },
            Meaning::Empty => Attempt::Answer(Answer::Empty),
            Meaning::End => Attempt::Answer(Answer::End),
            Meaning::NotFound => Attempt::Answer(Answer::NotFound),
            Meaning::TooWide => Attempt::Answer(Answer::TooWide),
            Meaning::Transient => Attempt::Transient(describe()),
            Meaning::Limited(requested_wait) => Attempt::Limited(requested_wait, describe()),
            Meaning::Refused => Attempt::Refused(token, describe()),
            Meaning::Failed => Attempt::Final(Stop::failed(describe(), Some(reply.place.clone()))),
            Meaning::Rejected => {
                let stop = match reply.status.as_u16() {
                    401 => Stop::fatal(
                        format!("{}; {}", describe(), auth::advice(account)),
                        Some(reply.place.clone()),
                    ),
                    403 => {
                        let advice = auth::advice(account);
                        let reason = format!(
                            "{}; the credentials may lack the permission to read this, or {advice}",
                            describe()
                        );
                        Stop::fatal(reason, Some(reply.place.clone()))
                    }
                    404 => {
                        let reason = format!("{}; not found: check `path` and base_url", describe());
                        Stop::failed(reason, Some(reply.place.clone()))
                    }
                    _ => Stop::failed(describe(), Some(reply.place.clone())),
                };
                Attempt::Rejected(stop.with_status(reply.status.as_u16()))
            }
        }
    }

    /// Delays all requests of the account if the quota is exhausted.
    fn apply_quota(&self, reply: &Reply) -> Result<(), Stop> {
        let account = self.run.account.shared();
        let Some(quota) = &account.definition.http.quota else { return Ok(()) };
        match (reply.remaining(quota), reply.reset(quota, self.run.now())) {
            // A distant reset on a successful answer is a daily quota: wait only when it refuses a request.
            (Some(left), Some(wait)) if left <= 0.0 && wait <= account.definition.http.retry.cap => {
                let longer = account.hold(wait);
                self.run.spend(longer, LIMIT)
            }
            _ => Ok(()),
        }
    }

    fn after_failure(&self, tries: &mut Tries, reason: String, spec: &RequestSpec) -> Result<Duration, Stop> {
        tries.failures += 1;
        let rules = &self.run.account.definition().http.retry;
        rules.after_failure(tries.failures, self.run.random()).ok_or_else(|| {
            let attempts =
                if tries.failures == 1 { "once".to_owned() } else { format!("{} times", tries.failures) };
            self.stop(format!("{reason} (tried {attempts})"), &spec.url)
        })
    }

    fn after_refusal(
        &self,
        tries: &mut Tries,
        requested_wait: Option<Duration>,
        what: &str,
        spec: &RequestSpec,
    ) -> Result<Duration, Stop> {
        tries.refusals += 1;
        let account = self.run.account.shared();
        let wait =
            account.definition.http.retry.after_refusal(tries.refusals, requested_wait, self.run.random());
        let Some(wait) = wait else {
            let reason = format!(
                "the source's rate limit refused one request {}; last answer: {what}",
                counted(tries.refusals.into(), "time")
            );
            return Err(self.stop(reason, &spec.url));
        };
        // The limit applies to the account: all requests wait, and the wait is charged to the budget once.
        let longer = account.hold(wait);
        self.run.spend(longer, LIMIT)?;
        Ok(wait)
    }

    /// Handles a rejected token: sends the same one again if the definition says so, then a new one, then fails.
    async fn renew(
        &self,
        tries: &mut Tries,
        refused: Option<AccessToken>,
        what: &str,
        spec: &RequestSpec,
    ) -> Result<(), Stop> {
        let account = self.run.account.shared();
        let (Some(tokens), Some(refused)) = (&account.tokens, refused) else {
            return Err(self.stop(format!("{what}; there is no token to renew"), &spec.url));
        };
        if let (Some(wait), false) = (tokens.retry_same_after(), tries.same_token) {
            tries.same_token = true;
            return self.run.sleep(wait).await;
        }
        if tries.renewed {
            let reason = format!("the source rejected a new token ({what}); {}", auth::advice(account));
            return Err(Stop::fatal(account.redact(&reason), Some(self.place(&spec.url))));
        }
        tries.renewed = true;
        auth::renew(tokens, self.run, refused.serial()).await.map(drop)
    }

    /// Waits and counts the time; `limited` if the wait is for a rate limit.
    async fn wait_until(&self, moment: Instant, limited: bool) -> Result<(), Stop> {
        let started = Instant::now();
        if moment <= started {
            return Ok(());
        }
        self.progress.limited.store(limited, Ordering::Relaxed);
        let waited = self.run.sleep_until(moment).await;
        self.progress.limited.store(false, Ordering::Relaxed);
        // A cancellation may have ended the wait early.
        let millis = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.progress.waited_ms.fetch_add(millis, Ordering::Relaxed);
        waited
    }

    fn stop(&self, reason: String, url: &Url) -> Stop {
        Stop::failed(self.run.account.shared().redact(&reason), Some(self.place(url)))
    }

    /// The redacted URL.
    pub(in crate::source) fn place(&self, url: &Url) -> String {
        self.run.account.shared().redact(url.as_str())
    }
}

/// The target of a redirect, with the parameters that it does not set.
fn redirected(
    from: &Url,
    mut to: Url,
    base: &Url,
    (status, method): (StatusCode, Method),
) -> Result<Url, Failure> {
    if !same_origin(&to, base) {
        let origin = to.origin().ascii_serialization();
        return Err(Failure::Redirect(format!(
            "redirected to {origin}, another origin, to which no credentials are sent: if the service has moved there, set base_url"
        )));
    }
    // 301 and 302 may turn a POST into a GET, and 303 always does: the body would be lost.
    let keeps = [StatusCode::TEMPORARY_REDIRECT, StatusCode::PERMANENT_REDIRECT].contains(&status);
    if method == Method::Post && !keeps {
        return Err(Failure::Redirect(format!(
            "answered {} to a POST, which would lose its body on the way to {}: correct `path`",
            status.as_u16(),
            to.path()
        )));
    }
    with_missing(&mut to, &query::params(from));
    Ok(to)
}
