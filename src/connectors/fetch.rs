//! One request until it has an answer worth reading, or a reason why there is none.
//!
//! Here meet the rate limit, the credentials and the retries; what an answer means is judged in `reply`. Start at
//! [`Fetcher::get`].

use std::sync::atomic::Ordering;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, LOCATION};
use reqwest::{Request, StatusCode};
use tokio::time::Instant;
use url::Url;

use super::auth;
use super::decode::Facts;
use super::query::{self, Wanted, with_missing, with_query};
use super::reply::{Meaning, Reply};
use super::run::{LIMIT, Run, Stop, TableProgress};
use crate::domain::answer::Rule;
use crate::domain::connector::{Auth, Method};
use crate::http::oauth::AccessToken;
use crate::http::{Failure, MAX_REDIRECTS, read_body, same_origin};
use crate::secrets;

/// A page, whole and JSON.
pub(super) struct Fetched {
    pub(super) body: Vec<u8>,
    pub(super) facts: Facts,
    pub(super) headers: HeaderMap,
    pub(super) url: Url,
    pub(super) place: String,
    /// A rule says that no page follows.
    pub(super) last: bool,
}

/// The answer to a request.
pub(super) enum Answer {
    Page(Box<Fetched>),
    /// A page without rows.
    Empty,
    /// Nothing here, and no further page.
    End,
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
    /// A failure that may pass.
    Transient(String),
    /// A rate limit, with the wait that was asked for and what was answered.
    Limited(Option<Duration>, String),
    /// The access token is no longer valid.
    Refused(Option<AccessToken>, String),
    /// The service does not take this request.
    Rejected(Stop),
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
        let mut wanted = wanted.clone();
        loop {
            let attempt = self.attempt(&wanted).await?;
            let limited = matches!(attempt, Attempt::Limited(..));
            let wait = match attempt {
                Attempt::Answer(answer) => return Ok(answer),
                Attempt::Final(stop) => return Err(stop),
                Attempt::Rejected(stop) => {
                    // Some services take a link only as they wrote it, without the parameters of the definition.
                    wanted.url = wanted.bare.take().ok_or(stop)?;
                    self.progress.bare_links.store(true, Ordering::Relaxed);
                    Duration::ZERO
                }
                Attempt::Refused(token, what) => {
                    self.renew(&mut tries, token, &what, &wanted).await?;
                    Duration::ZERO
                }
                Attempt::Transient(reason) => self.after_failure(&mut tries, reason, &wanted)?,
                Attempt::Limited(asked, what) => self.after_refusal(&mut tries, asked, &what, &wanted)?,
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
        let place = self.place(&url);
        let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (facts, body, notes) = super::reply::walk(body, content_type, self.paths.clone()).await;
        for note in notes {
            self.run.note(format!("{}: {note}", self.run.account.definition().name));
        }
        let reply = Reply { status, headers, body, facts, url, place };
        self.heed_quota(&reply)?;
        Ok(self.judged(reply, token))
    }

    /// Sends the request and follows redirects within the origin; credentials never leave it. Each redirect keeps the
    /// method, the body, and the parameters that it does not name.
    async fn exchange(
        &self,
        wanted: &Wanted,
        token: Option<&AccessToken>,
    ) -> Result<(StatusCode, HeaderMap, Vec<u8>, Url), Failure> {
        let account = self.run.account.shared();
        let mut url = wanted.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let request = self.signed(wanted, url.clone(), token)?;
            let response = account.client.execute(request).await.map_err(|e| Failure::of(&e))?;
            let status = response.status();
            if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
                let to = response.headers().get(LOCATION).and_then(|to| to.to_str().ok());
                let to = to.and_then(|to| url.join(to).ok());
                let to = to.ok_or_else(|| {
                    Failure::Redirect(format!("answered {} without a location to go to", status.as_u16()))
                })?;
                url = redirected(&url, to, &account.base, (status, wanted.method))?;
                continue;
            }
            let headers = response.headers().clone();
            let body = read_body(response, account.definition.http.max_body).await?;
            return Ok((status, headers, body, url));
        }
        Err(Failure::Redirect("more than 5 redirects".into()))
    }

    /// The request with its credentials. No header and no parameter of ours is in it twice.
    fn signed(&self, wanted: &Wanted, url: Url, token: Option<&AccessToken>) -> Result<Request, Failure> {
        let account = self.run.account.shared();
        let mut request = match wanted.method {
            Method::Get => account.client.get(url),
            Method::Post => account.client.post(url).json(&wanted.body),
        };
        for (name, value) in &account.definition.http.headers {
            let value = account.fill(value).unwrap_or_default();
            // What no header can carry was refused with the account.
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), secrets::header(&value)) {
                request = request.header(name, value);
            }
        }
        let signed = auth::sign(account, request, token).build();
        let mut request = signed.map_err(|e| Failure::of(&e))?;
        query::once(request.headers_mut());
        if let Auth::Query { name, .. } = &account.definition.auth {
            // A link may hold it already.
            let signed = query::params(request.url()).into_iter().rfind(|(other, _)| other == name);
            with_query(request.url_mut(), signed.as_slice());
        }
        Ok(request)
    }

    fn failed(&self, failure: &Failure, wanted: &Wanted) -> Attempt {
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
                &wanted.url,
            )),
            Failure::Tls(_) | Failure::Redirect(_) | Failure::Encoding(_) => {
                Attempt::Final(self.stop(failure.to_string(), &wanted.url))
            }
        }
    }

    fn judged(&self, reply: Reply, token: Option<AccessToken>) -> Attempt {
        let account = self.run.account.shared();
        let context = super::reply::Context {
            rules: &self.rules,
            quota: account.definition.http.quota.as_ref(),
            child: self.child,
            renewable: token.is_some(),
            now: self.run.now(),
        };
        let meaning = reply.meaning(&context);
        let what = || reply.what(|text| account.redact(text));
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
                    })))
                }
                Err(error) => {
                    Attempt::Final(Stop::failed(account.redact(&error.to_string()), Some(reply.place)))
                }
            },
            Meaning::Empty => Attempt::Answer(Answer::Empty),
            Meaning::End => Attempt::Answer(Answer::End),
            Meaning::Gone => Attempt::Answer(Answer::Gone),
            Meaning::TooWide => Attempt::Answer(Answer::TooWide),
            Meaning::Transient => Attempt::Transient(what()),
            Meaning::Limited(asked) => Attempt::Limited(asked, what()),
            Meaning::Refused => Attempt::Refused(token, what()),
            Meaning::Failed => Attempt::Final(Stop::failed(what(), Some(reply.place.clone()))),
            Meaning::Rejected => {
                let stop = match reply.status.as_u16() {
                    401 => Stop::fatal(
                        format!("{}; {}", what(), auth::advice(account)),
                        Some(reply.place.clone()),
                    ),
                    403 => {
                        let advice = auth::advice(account);
                        let reason =
                            format!("{}; they may lack the permission to read this, or {advice}", what());
                        Stop::fatal(reason, Some(reply.place.clone()))
                    }
                    404 => {
                        let reason = format!("{}; nothing is there: check `path` and base_url", what());
                        Stop::failed(reason, Some(reply.place.clone()))
                    }
                    _ => Stop::failed(what(), Some(reply.place.clone())),
                };
                Attempt::Rejected(stop.with_status(reply.status.as_u16()))
            }
        }
    }

    /// A quota that is used up holds everybody before it is refused.
    fn heed_quota(&self, reply: &Reply) -> Result<(), Stop> {
        let account = self.run.account.shared();
        let Some(quota) = &account.definition.http.quota else { return Ok(()) };
        match (reply.remaining(quota), reply.reset(quota, self.run.now())) {
            // A reset far ahead beside an answer that was given is a daily quota; it is waited for when it refuses.
            (Some(left), Some(wait)) if left <= 0.0 && wait <= account.definition.http.retry.cap => {
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
        what: &str,
        wanted: &Wanted,
    ) -> Result<Duration, Stop> {
        tries.refusals += 1;
        let account = self.run.account.shared();
        let wait = account.definition.http.retry.after_refusal(tries.refusals, asked, self.run.random());
        let Some(wait) = wait else {
            let reason = format!(
                "the source's rate limit refused one request {} times; at last {what}",
                tries.refusals
            );
            return Err(self.stop(reason, &wanted.url));
        };
        // The limit is the account's, so everybody waits, and the budget is spent once for all.
        let longer = account.hold(wait);
        self.run.spend(longer, LIMIT)?;
        Ok(wait)
    }

    /// A refused token: first perhaps the same one again, then another one, then it is final.
    async fn renew(
        &self,
        tries: &mut Tries,
        refused: Option<AccessToken>,
        what: &str,
        wanted: &Wanted,
    ) -> Result<(), Stop> {
        let account = self.run.account.shared();
        let (Some(tokens), Some(refused)) = (&account.tokens, refused) else {
            return Err(self.stop(format!("{what}; there is no token to renew"), &wanted.url));
        };
        if let (Some(wait), false) = (tokens.retry_same_after(), tries.same_token) {
            tries.same_token = true;
            return self.run.sleep(wait).await;
        }
        if tries.renewed {
            let reason = format!("the source refuses a fresh token ({what}); {}", auth::advice(account));
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

/// Where a redirect leads, with the parameters that it does not name.
fn redirected(
    from: &Url,
    mut to: Url,
    base: &Url,
    (status, method): (StatusCode, Method),
) -> Result<Url, Failure> {
    if !same_origin(&to, base) {
        let origin = to.origin().ascii_serialization();
        return Err(Failure::Redirect(format!(
            "redirected to {origin}, where our credentials do not go: if it has moved there, set base_url"
        )));
    }
    // 301 and 302 may turn a POST into a GET, and 303 does: the body would be lost.
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
