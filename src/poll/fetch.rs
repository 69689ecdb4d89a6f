//! Requests the documents of a status page, conditionally, and shares them between the monitors of the page.
//!
//! One request at a time for each document: whoever comes meanwhile waits for its response and uses it. Start at
//! [`PageDocuments`].

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue,
    IF_NONE_MATCH,
};
use reqwest::{Response, StatusCode};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use url::Url;

use super::body::{Form, MAX_WORDS, unknown};
use super::document::Document;
use crate::domain::monitoring::engine::{
    DocumentAddress, Engine, EngineTemplate, EngineTemplatePart, Format, ReadRules,
};
use crate::domain::monitoring::monitor::StatusPage;
use crate::domain::monitoring::observation::Unknown;
use crate::domain::text;
use crate::http::{self, PageClient};

/// Larger bodies are processed on a blocking thread. Work of more than a fraction of a millisecond would block the few
/// threads of the async runtime.
const HEAVY_BODY: usize = 8 * 1024;

/// Limits concurrent heavy work, which would take processor time from everything else.
static HEAVY_WORK: Semaphore = Semaphore::const_new(2);

/// Upper limit of the pause that a status page can request.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// The two clocks of a machine differ by less than this unless it slept.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(5);

/// Waits that differ by no more than this are the same.
const SLACK: Duration = Duration::from_millis(100);

/// Longer etags are not stored.
const MAX_ETAG: usize = 512;

type PageKey = (String, Url, BTreeMap<String, String>);

/// The pages that are polled now.
#[derive(Debug, Default)]
pub struct PageCache(Mutex<HashMap<PageKey, Weak<PageDocuments>>>);

impl PageCache {
    /// The documents of a page, shared by all its monitors.
    pub fn page(&self, page: &StatusPage) -> Arc<PageDocuments> {
        let mut pages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pages.retain(|_, documents| documents.strong_count() > 0);
        let key = (page.engine.name.clone(), page.root.clone(), page.options.clone());
        let known = pages.get(&key).and_then(Weak::upgrade);
        // A reload may change an engine.
        if let Some(documents) = known.filter(|documents| documents.engine == page.engine) {
            return documents;
        }
        let documents = Arc::new(PageDocuments::of(page));
        pages.insert(key, Arc::downgrade(&documents));
        documents
    }
}

/// The last responses of one page, for answers with 304 and for other monitors of the page.
#[derive(Debug)]
pub struct PageDocuments {
    engine: Arc<Engine>,
    slots: Vec<tokio::sync::Mutex<DocumentSlot>>,
}

impl PageDocuments {
    /// For a page that no other monitor shares.
    pub fn of(page: &StatusPage) -> PageDocuments {
        let slots = page.engine.reads.iter().map(|_| tokio::sync::Mutex::default()).collect();
        PageDocuments { engine: Arc::clone(&page.engine), slots }
    }
}

#[derive(Debug, Default)]
struct DocumentSlot {
    last: Option<Answer>,
    /// The last document with an etag.
    cached: Option<CachedDocument>,
}

impl DocumentSlot {
    /// The last answer, if it was requested since `not_before` or within the spacing of the engine. By the wall clock, too: the
    /// timer stops while the machine sleeps.
    ///
    /// That there was none is shared with those who would not wait longer, so that the monitors of a page that hangs do not wait
    /// for it one after the other.
    fn shared(
        &self,
        not_before: Instant,
        spacing: Duration,
        now: Timestamp,
        deadline: Instant,
    ) -> Option<&Answer> {
        let last = self.last.as_ref()?;
        let left = deadline.saturating_duration_since(Instant::now());
        if matches!(last.outcome, Err(Unknown::Timeout)) && left > last.waited + SLACK {
            return None;
        }
        let age = last.at.elapsed();
        let awake = now.duration_since(last.requested_at).unsigned_abs() <= age + CLOCK_TOLERANCE;
        ((last.at >= not_before || age < spacing) && awake).then_some(last)
    }
}

#[derive(Debug)]
struct CachedDocument {
    url: Url,
    etag: HeaderValue,
    document: Arc<Document>,
}

/// The outcome of one request.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    /// When it was requested.
    at: Instant,
    requested_at: Timestamp,
    /// For how long the answer was awaited.
    waited: Duration,
    pub(super) outcome: Result<Arc<Document>, Unknown>,
    pub(super) not_modified: bool,
    pub(super) retry_after: Option<Duration>,
    /// The URL that answered after redirects, if it differs from the requested one.
    pub(super) final_url: Option<String>,
    /// The HTTP status, if there was a response.
    pub(super) status: Option<u16>,
    /// The requested URL.
    pub(super) url: Option<Url>,
}

impl Answer {
    fn new(outcome: Result<Arc<Document>, Unknown>) -> Answer {
        Answer {
            at: Instant::now(),
            requested_at: Timestamp::UNIX_EPOCH,
            waited: Duration::ZERO,
            outcome,
            not_modified: false,
            retry_after: None,
            final_url: None,
            status: None,
            url: None,
        }
    }
}

/// One document to request.
pub(super) struct Request<'a> {
    pub(super) client: &'a PageClient,
    pub(super) page: &'a StatusPage,
    pub(super) read: usize,
    pub(super) deadline: Instant,
    /// The response to a request since then is used instead of another one.
    pub(super) not_before: Instant,
    pub(super) now: Timestamp,
}

impl Request<'_> {
    /// The document, from a request or from one that another monitor sent recently.
    pub(super) async fn send(&self, documents: &PageDocuments) -> Answer {
        let (Some(read), Some(slot)) =
            (self.page.engine.reads.get(self.read), documents.slots.get(self.read))
        else {
            return Answer::new(Err(Unknown::Internal("a document that the engine does not have".into())));
        };
        let url = match address(read, self.page) {
            Ok(url) => url,
            Err(why) => return Answer::new(Err(Unknown::Internal(why))),
        };
        let answer = tokio::time::timeout_at(self.deadline, async {
            let mut slot = slot.lock().await;
            let spacing = self.page.engine.spacing;
            if let Some(last) = slot.shared(self.not_before, spacing, self.now, self.deadline) {
                return Answer { not_modified: last.outcome.is_ok(), ..last.clone() };
            }
            slot.cached.take_if(|cached| cached.url != url);
            let at = Instant::now();
            let exchange = self.exchange(&url, read, &mut slot.cached);
            let answer = tokio::time::timeout_at(self.deadline, exchange).await;
            let answer = answer.unwrap_or_else(|_| Answer::new(Err(Unknown::Timeout)));
            let answer = Answer { at, waited: at.elapsed(), requested_at: self.now, ..answer };
            slot.last = Some(answer.clone());
            answer
        });
        let answer = answer.await.unwrap_or_else(|_| Answer::new(Err(Unknown::Timeout)));
        Answer { url: Some(url), ..answer }
    }

    async fn exchange(&self, url: &Url, read: &ReadRules, cached: &mut Option<CachedDocument>) -> Answer {
        let accept = match read.format {
            Format::Json | Format::Jsonp => "application/json",
            Format::Xml => "application/rss+xml, application/atom+xml, application/xml",
            Format::Text | Format::Http => "*/*",
        };
        let mut headers = HeaderMap::from_iter([
            (ACCEPT, HeaderValue::from_static(accept)),
            (ACCEPT_ENCODING, HeaderValue::from_static("gzip")),
        ]);
        if let Some(cached) = cached {
            headers.insert(IF_NONE_MATCH, cached.etag.clone());
        }
        let response = match self.client.get(url, &headers).await {
            Ok(response) => response,
            Err(failure) => return Answer::new(Err(unknown(failure))),
        };
        let (status, moved) = (response.status(), elsewhere(url, response.url()).map(reason_of_move));
        let final_url = (response.url() != url).then(|| without_secrets(response.url()));
        let retry_after =
            http::retry_after(response.headers(), self.now).map(|wait| wait.min(MAX_RETRY_AFTER));
        let mut answer = Answer::new(Err(Unknown::Timeout));
        (answer.final_url, answer.status) = (final_url, Some(status.as_u16()));
        if status == StatusCode::NOT_MODIFIED
            && let Some(cached) = cached
        {
            (answer.outcome, answer.not_modified) = (Ok(Arc::clone(&cached.document)), true);
            return answer;
        }
        if challenges(response.headers()) {
            answer.retry_after = retry_after;
            answer.outcome = Err(Unknown::BotChallenge(status.as_u16()));
            return answer;
        }
        if !status.is_success() && read.format != Format::Http {
            answer.retry_after = retry_after;
            answer.outcome = Err(refused(status, moved, retry_after));
            return answer;
        }
        let etag = etag(response.headers());
        let received = receive(response, read, moved).await;
        if let Ok(document) = &received {
            *cached =
                etag.map(|etag| CachedDocument { url: url.clone(), etag, document: Arc::clone(document) });
        }
        answer.outcome = received;
        answer
    }
}

/// The URL of a document.
fn address(read: &ReadRules, page: &StatusPage) -> Result<Url, String> {
    let fill = |template: &EngineTemplate| {
        template.fill(|part| match part {
            EngineTemplatePart::Host => page.root.host_str().map(str::to_owned),
            EngineTemplatePart::Option(name) => {
                let value = page.options.get(name).or_else(|| page.engine.defaults.get(name));
                value.map(|value| text::path_segment(value))
            }
            EngineTemplatePart::Text(text) => Some(text.clone()),
            EngineTemplatePart::Root | EngineTemplatePart::Path(_) => None,
        })
    };
    let missing = || format!("an option for the address of `{}` is missing", read.id);
    match &read.address {
        DocumentAddress::Whole => Ok(page.root.clone()),
        DocumentAddress::Path(path) => {
            let url = page.root.join(&fill(path).ok_or_else(missing)?).map_err(|error| error.to_string())?;
            let stays = url.origin() == page.root.origin();
            if stays { Ok(url) } else { Err(format!("the path of `{}` leaves the page", read.id)) }
        }
        DocumentAddress::Url(url) => {
            fill(url).ok_or_else(missing)?.parse().map_err(|error: url::ParseError| error.to_string())
        }
    }
}

/// Whether a firewall answers instead of the page, with something that only browsers pass.
fn challenges(headers: &HeaderMap) -> bool {
    let is = |name: &str, words: &[&str]| {
        headers.get(name).is_some_and(|value| {
            words.iter().any(|word| value.as_bytes().eq_ignore_ascii_case(word.as_bytes()))
        })
    };
    is("cf-mitigated", &["challenge"]) || is("x-amzn-waf-action", &["challenge", "captcha"])
}

/// The reason, if what answers at another place is not the document.
fn reason_of_move(to: String) -> Unknown {
    const SIGN_IN: [&str; 10] =
        ["login", "signin", "sso", "auth", "oauth", "oauth2", "saml", "saml2", "authorize", "session"];
    let words = to.split(['/', '.']).map(text::folded);
    let asks = words.into_iter().any(|word| SIGN_IN.contains(&word.as_str()));
    if asks { Unknown::SignIn(to) } else { Unknown::Moved(to) }
}

fn refused(status: StatusCode, moved: Option<Unknown>, wait: Option<Duration>) -> Unknown {
    match (status, moved) {
        (StatusCode::TOO_MANY_REQUESTS, _) => Unknown::RateLimited(wait.map_or(0, |wait| wait.as_secs())),
        (StatusCode::NOT_FOUND | StatusCode::GONE, Some(why)) => why,
        (status, _) => Unknown::HttpStatus(status.as_u16()),
    }
}

async fn receive(
    mut response: Response,
    read: &ReadRules,
    moved: Option<Unknown>,
) -> Result<Arc<Document>, Unknown> {
    let header = |name: HeaderName| {
        let value = response.headers().get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().trim().to_ascii_lowercase()
    };
    let form = Form { encoding: header(CONTENT_ENCODING), kind: header(CONTENT_TYPE) };
    let status = response.status().as_u16();
    // A page that asks to sign in says nothing about the one behind it.
    if let (Format::Http, Some(asks @ Unknown::SignIn(_))) = (read.format, &moved) {
        return Err(asks.clone());
    }
    let body = http::read_encoded(&mut response, read.max).await.map_err(unknown)?;
    let heavy = body.len() > HEAVY_BODY || !form.encoding.is_empty();
    let read = read.clone();
    let document = off_runtime(heavy, move || match read.format {
        Format::Http => Ok(Document::of_response(status, &body, &form, read.max)),
        _ => Document::read(&body, &form, &read),
    });
    document.await?.map(Arc::new).map_err(|why| match (why, moved) {
        (Unknown::NotJson(_) | Unknown::NotXml(_) | Unknown::NoIndicator, Some(moved)) => moved,
        (why, _) => why,
    })
}

/// Whether documents of this size in total are interpreted on a blocking thread.
pub(super) fn is_heavy(size: usize) -> bool {
    size > HEAVY_BODY
}

/// Runs heavy work on a blocking thread.
pub(super) async fn off_runtime<T: Send + 'static>(
    heavy: bool,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Unknown> {
    if !heavy {
        return Ok(work());
    }
    // The semaphore is never closed.
    let _permit = HEAVY_WORK.acquire().await;
    tokio::task::spawn_blocking(work).await.map_err(|e| Unknown::Internal(e.to_string()))
}

fn etag(headers: &HeaderMap) -> Option<HeaderValue> {
    headers.get(ETAG).filter(|etag| !etag.is_empty() && etag.len() <= MAX_ETAG).cloned()
}

/// Returns the host and path that answered, if they differ from the requested ones. A change from http to https does not
/// count.
fn elsewhere(asked: &Url, answered: &Url) -> Option<String> {
    let host = |url: &Url| match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (host, _) => host.unwrap_or_default().to_owned(),
    };
    let (from, to) = (host(asked), host(answered));
    if from != to {
        Some(text::shorten(&to, MAX_WORDS).into_owned())
    } else if asked.path() != answered.path() {
        Some(text::shorten(&format!("{to}{}", answered.path()), MAX_WORDS).into_owned())
    } else {
        None
    }
}

/// A URL for display, without user info, query and fragment.
fn without_secrets(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // Both fail only for URLs that cannot carry user info at all.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    text::shorten(url.as_str(), MAX_WORDS).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Timers stop while the machine sleeps.
    #[test]
    fn an_answer_from_before_a_suspend_is_not_shared() {
        let at = |second: i64| Timestamp::from_second(1_000_000 + second).unwrap();
        let answer = Answer { requested_at: at(0), ..Answer::new(Err(Unknown::Dns)) };
        let slot = DocumentSlot { last: Some(answer), cached: None };
        let earlier = Instant::now() - Duration::from_secs(1);
        for (second, shared) in
            [(0, true), (-1, true), (4, true), (31, false), (8 * 3600, false), (-3600, false)]
        {
            let answer = slot.shared(earlier, Duration::ZERO, at(second), Instant::now());
            assert_eq!(answer.is_some(), shared, "{second}");
        }
        let later = Instant::now() + Duration::from_secs(1);
        assert!(slot.shared(later, Duration::ZERO, at(0), later).is_none());
        assert!(slot.shared(later, Duration::from_secs(60), at(0), later).is_some());
    }

    #[test]
    fn a_timeout_is_shared_with_those_who_would_not_wait_longer() {
        let (now, second) = (Timestamp::UNIX_EPOCH, Duration::from_secs(1));
        let answer = Answer { waited: second * 10, ..Answer::new(Err(Unknown::Timeout)) };
        let slot = DocumentSlot { last: Some(answer), cached: None };
        let earlier = Instant::now() - second;
        for (left, shared) in [(1, true), (10, true), (20, false)] {
            let deadline = Instant::now() + second * left;
            assert_eq!(slot.shared(earlier, second, now, deadline).is_some(), shared, "{left}");
        }
    }
}
