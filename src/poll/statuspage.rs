//! One look at a Statuspage: which endpoints are asked, under one deadline, and how an exchange can end.
//!
//! Start at [`look`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue,
    IF_NONE_MATCH,
};
use reqwest::{Response, StatusCode};
use tokio::sync::Semaphore;
use url::Url;

use super::body::{Form, MAX_BODY};
use super::document::{self, Components, Document, Status, Summary};
use super::reading;
use crate::domain::monitor::{Page, Remap};
use crate::domain::observation::{Reading, Unknown};
use crate::domain::text;
use crate::http::{self, Failure, PageClient};

/// Bodies longer than this are read on a thread of their own, and so are judged this many components: what takes more than
/// a fraction of a millisecond would hold up everything else that the runtime's few threads do.
const HEAVY_BODY: usize = 8 * 1024;
const HEAVY_LIST: usize = 128;

/// Heavy work at once: more would only take processor time from the rest.
static HEAVY_WORK: Semaphore = Semaphore::const_new(2);

/// A page may not keep us away for longer than this, whatever it asks for.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// Longer etags are not worth their memory.
const MAX_ETAG: usize = 512;

/// Longest reason and address that are passed on.
const MAX_WORDS: usize = 200;

/// What is remembered of one page between looks: the last answer of each endpoint with its etag, so that a 304
/// is served from it.
#[derive(Debug, Default)]
pub struct Memo {
    status: Option<Kept<Status>>,
    summary: Option<Kept<Summary>>,
    components: Option<Kept<Components>>,
}

#[derive(Debug)]
struct Kept<D> {
    url: Url,
    etag: HeaderValue,
    answer: Arc<D>,
}

/// What one look gave.
#[derive(Debug)]
pub struct Look {
    /// The reading, or why there is none.
    pub outcome: Result<Reading, Unknown>,
    /// Whether the page answered, and all of its answers were the ones we knew.
    pub not_modified: bool,
    /// How long the page asks us to stay away, at most [`MAX_RETRY_AFTER`].
    pub retry_after: Option<Duration>,
    /// The address that answered, if it is not the one that was asked: the definition should follow.
    pub final_url: Option<String>,
}

/// Looks at a page once. Everything, bodies and second endpoints included, happens within `timeout`.
///
/// The client needs no deadline of its own.
pub async fn look(
    client: &PageClient,
    page: &Page,
    remap: &Remap,
    timeout: Duration,
    memo: &mut Memo,
) -> Look {
    let mut visit = Visit {
        client,
        root: &page.root,
        limit: timeout,
        started: Instant::now(),
        known: 0,
        answers: 0,
        retry_after: None,
        final_url: None,
    };
    let outcome = if page.by_component() {
        visit.components(page, remap, memo).await
    } else if page.incidents {
        visit.summary(page, remap, memo).await
    } else {
        visit.get(&mut memo.status).await.and_then(|status| reading::of_status(&status, page, remap))
    };
    Look {
        outcome,
        not_modified: visit.answers > 0 && visit.known == visit.answers,
        retry_after: visit.retry_after,
        final_url: visit.final_url,
    }
}

struct Visit<'a> {
    client: &'a PageClient,
    root: &'a Url,
    limit: Duration,
    started: Instant,
    /// Answers that were 304.
    known: u32,
    answers: u32,
    retry_after: Option<Duration>,
    final_url: Option<String>,
}

impl Visit<'_> {
    async fn components(&mut self, page: &Page, remap: &Remap, memo: &mut Memo) -> Result<Reading, Unknown> {
        let components = self.get(&mut memo.components).await?;
        let summary = if page.incidents { Some(self.get(&mut memo.summary).await) } else { None };
        let (page, remap, weight) = (page.clone(), remap.clone(), components.all.len());
        beside(weight > HEAVY_LIST, move || {
            let summary = summary.as_ref().map(|read| read.as_deref().map_err(Unknown::clone));
            reading::of_components(&components, summary, &page, &remap)
        })
        .await?
    }

    async fn summary(&mut self, page: &Page, remap: &Remap, memo: &mut Memo) -> Result<Reading, Unknown> {
        let reason = match self.get(&mut memo.summary).await {
            Ok(summary) => return reading::of_summary(&summary, page, remap),
            // Neither a network that is away nor a page that is overloaded is asked once more.
            Err(reason @ Unknown::RateLimited(_)) => return Err(reason),
            Err(reason) if reason.may_be_our_network() => return Err(reason),
            Err(reason) => reason,
        };
        match self.get(&mut memo.status).await {
            Ok(status) => reading::without_summary(&status, reason, page, remap),
            Err(_) => Err(reason),
        }
    }

    async fn get<D: Document>(&mut self, kept: &mut Option<Kept<D>>) -> Result<Arc<D>, Unknown> {
        let url = self.root.join(D::PATH).map_err(|error| Unknown::Internal(error.to_string()))?;
        kept.take_if(|kept| kept.url != url);
        let left = self.limit.saturating_sub(self.started.elapsed());
        tokio::time::timeout(left, self.exchange(url, kept)).await.unwrap_or(Err(Unknown::Timeout))
    }

    async fn exchange<D: Document>(
        &mut self,
        url: Url,
        kept: &mut Option<Kept<D>>,
    ) -> Result<Arc<D>, Unknown> {
        let mut headers = HeaderMap::from_iter([
            (ACCEPT, HeaderValue::from_static("application/json")),
            (ACCEPT_ENCODING, HeaderValue::from_static("gzip")),
        ]);
        if let Some(kept) = kept {
            headers.insert(IF_NONE_MATCH, kept.etag.clone());
        }
        let response = self.client.get(&url, &headers).await.map_err(unknown)?;
        let moved = elsewhere(&url, response.url());
        if response.url() != &url {
            self.final_url = Some(address(response.url()));
        }
        let status = response.status();
        if status == StatusCode::NOT_MODIFIED
            && let Some(kept) = kept
        {
            self.answers += 1;
            self.known += 1;
            return Ok(Arc::clone(&kept.answer));
        }
        if !status.is_success() {
            return Err(self.refused(&response, moved));
        }
        let etag = etag(response.headers());
        let answer = Arc::new(receive::<D>(response, moved).await?);
        self.answers += 1;
        *kept = etag.map(|etag| Kept { url, etag, answer: Arc::clone(&answer) });
        Ok(answer)
    }

    fn refused(&mut self, response: &Response, moved: Option<String>) -> Unknown {
        let wait =
            http::retry_after(response.headers(), Timestamp::now()).map(|wait| wait.min(MAX_RETRY_AFTER));
        self.retry_after = wait.or(self.retry_after);
        match (response.status(), moved) {
            (StatusCode::TOO_MANY_REQUESTS, _) => Unknown::RateLimited(wait.map_or(0, |wait| wait.as_secs())),
            (StatusCode::NOT_FOUND | StatusCode::GONE, Some(to)) => Unknown::Moved(to),
            (status, _) => Unknown::HttpStatus(status.as_u16()),
        }
    }
}

async fn receive<D: Document>(mut response: Response, moved: Option<String>) -> Result<D, Unknown> {
    let header = |name: HeaderName| {
        let value = response.headers().get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().trim().to_ascii_lowercase()
    };
    let form = Form { encoding: header(CONTENT_ENCODING), kind: header(CONTENT_TYPE) };
    let body = http::read_encoded(&mut response, MAX_BODY).await.map_err(unknown)?;
    let heavy = body.len() > HEAVY_BODY || !form.encoding.is_empty();
    let read = beside(heavy, move || document::read(&body, &form)).await?;
    read.map_err(|why| match (why, moved) {
        (Unknown::NotJson(_) | Unknown::NoIndicator, Some(to)) => Unknown::Moved(to),
        (why, _) => why,
    })
}

/// Does work that may take long without holding up the runtime's threads.
async fn beside<T: Send + 'static>(
    heavy: bool,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Unknown> {
    if !heavy {
        return Ok(work());
    }
    // The semaphore is never closed.
    let _place = HEAVY_WORK.acquire().await;
    tokio::task::spawn_blocking(work).await.map_err(|e| Unknown::Internal(e.to_string()))
}

fn etag(headers: &HeaderMap) -> Option<HeaderValue> {
    headers.get(ETAG).filter(|etag| !etag.is_empty() && etag.len() <= MAX_ETAG).cloned()
}

/// Where an answer came from, if that is another place: another host, or another path. Only the way there
/// (http to https) makes no other place.
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

/// An address for people: without user info, query and fragment.
fn address(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // Both fail only for URLs that cannot carry user info at all.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    text::shorten(url.as_str(), MAX_WORDS).into_owned()
}

fn unknown(failure: Failure) -> Unknown {
    let words = |why: String| text::shorten(&text::plain(&why), MAX_WORDS).into_owned();
    match failure {
        Failure::Timeout => Unknown::Timeout,
        Failure::Dns => Unknown::Dns,
        Failure::Tls(why) => Unknown::Tls(words(why)),
        Failure::Connect(why) => Unknown::Connect(words(why)),
        Failure::Redirect(why) => Unknown::Redirect(words(why)),
        Failure::TooLarge(cap) => Unknown::TooLarge(cap),
        Failure::Broken(why) | Failure::Encoding(why) => Unknown::Broken(words(why)),
    }
}
