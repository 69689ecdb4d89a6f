//! The only place that builds an HTTP client, and what every caller needs around one: time limits, a cap on
//! bodies, rules for redirects, a reading of `Retry-After`, and a name for each way a request can fail.
//!
//! It decides nothing about *whether* to try again: pages are simply polled again, the banner and the
//! connectors each have their own rules. Start at [`ClientOptions::build`], [`read_body`] and [`Failure`].

mod encoding;
pub mod oauth;
mod pages;

use std::error::Error as StdError;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderMap, HeaderValue};
use reqwest::{Client, Response, redirect};

use crate::domain::proxy::Proxies;

pub use crate::domain::urls::{is_loopback, same_origin};

pub use pages::PageClient;

use crate::resolver::{LookupError, Resolver};

/// Sent with every request, so that the other side can tell who asks.
pub const USER_AGENT: &str = concat!("data-sources-monitor/", env!("CARGO_PKG_VERSION"));

/// Enough for a move behind a CDN; more is a loop.
pub const MAX_REDIRECTS: usize = 5;

/// A connection that is not there after this long will not be good for a poll either.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Idle connections are dropped after this long: longer ones are often dead, and a reset of a dead one looks
/// like an outage.
const POOL_IDLE: Duration = Duration::from_secs(20);

/// Chooses the TLS provider for the process. Idempotent; must come before any client is built.
pub fn install_tls_provider() {
    // Err means that one is installed already, which is all we want.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Which redirects a client follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redirects {
    /// None: the answer is the caller's. For requests that carry credentials.
    Refuse,
    /// At most [`MAX_REDIRECTS`], never from https down to http. For requests without credentials.
    Follow,
}

/// The way out of this machine, the same for every client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    /// PEM file with further certificate authorities to trust.
    pub extra_ca: Option<PathBuf>,
    /// The proxies, and what goes past them.
    pub proxies: Proxies,
}

/// What a client is built from.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// The way out.
    pub network: Network,
    /// Which redirects are followed.
    pub redirects: Redirects,
    /// Whether connections are kept for the next request.
    pub keep_alive: bool,
}

/// Why a client could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The extra CA file cannot be used.
    #[error("EXTRA_CA_FILE {path}: {reason}")]
    ExtraCa {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// The library refused; most often because the system has no CA store.
    #[error("cannot set up https: {0} (is the package ca-certificates installed, or SSL_CERT_FILE set?)")]
    Client(String),
}

impl ClientOptions {
    /// Builds the client. It has no total deadline: each caller puts its own around the whole exchange.
    ///
    /// # Errors
    /// When the extra CA file is unusable, or the system has no certificate store.
    pub fn build(&self) -> Result<Client, BuildError> {
        let policy = match self.redirects {
            Redirects::Refuse => redirect::Policy::none(),
            Redirects::Follow => redirect::Policy::custom(follow),
        };
        finish(self.builder()?.redirect(policy))
    }

    fn builder(&self) -> Result<reqwest::ClientBuilder, BuildError> {
        install_tls_provider();
        let mut builder = Client::builder()
            .user_agent(USER_AGENT)
            // Decoded by `read_body`: the library stops at the first member of a gzip stream.
            .no_gzip()
            .default_headers(HeaderMap::from_iter([(
                ACCEPT_ENCODING,
                HeaderValue::from_static(encoding::ACCEPTED),
            )]))
            .dns_resolver(Resolver::default())
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(if self.keep_alive { 8 } else { 0 });
        // The environment alone would miss what stands in `.env`.
        builder = builder.no_proxy();
        if !self.network.proxies.is_empty() {
            let proxies = self.network.proxies.clone();
            let choose = move |url: &url::Url| proxies.of(url).map(|proxy| proxy.url().clone());
            builder = builder.proxy(reqwest::Proxy::custom(choose));
        }
        if let Some(path) = &self.network.extra_ca {
            let bad = |reason: String| BuildError::ExtraCa { path: path.display().to_string(), reason };
            let pem = std::fs::read(path).map_err(|e| bad(e.to_string()))?;
            let authorities = reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| bad(describe(&e)))?;
            if authorities.is_empty() {
                return Err(bad("no certificate in it (PEM expected)".into()));
            }
            builder = builder.tls_certs_merge(authorities);
        }
        Ok(builder)
    }
}

fn finish(builder: reqwest::ClientBuilder) -> Result<Client, BuildError> {
    builder.build().map_err(|e| BuildError::Client(describe(&e)))
}

fn follow(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let from_https = attempt.previous().last().is_some_and(|url| url.scheme() == "https");
    if attempt.previous().len() > MAX_REDIRECTS {
        attempt.error(RedirectRefused("more than 5 redirects"))
    } else if from_https && attempt.url().scheme() != "https" {
        attempt.error(RedirectRefused("redirected from https down to http"))
    } else {
        attempt.follow()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct RedirectRefused(&'static str);

/// The way a request failed before an answer was whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The time limit passed.
    #[error("no answer in time")]
    Timeout,
    /// The name does not resolve.
    #[error("the host name does not resolve")]
    Dns,
    /// The certificate or the handshake.
    #[error("TLS: {0}")]
    Tls(String),
    /// Nobody listens, or the network is gone.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// A redirect that we do not follow.
    #[error("{0}")]
    Redirect(String),
    /// The body is larger than allowed.
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    /// The connection broke in the middle.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// A content encoding that was not asked for, or that is not what the body has.
    #[error("{0}")]
    Encoding(String),
}

impl Failure {
    /// Sorts an error of the HTTP library into ours. Never contains the URL.
    pub fn of(error: &reqwest::Error) -> Failure {
        if error.is_timeout() {
            return Failure::Timeout;
        }
        if let Some(refused) = causes(error).find_map(|cause| cause.downcast_ref::<RedirectRefused>()) {
            return Failure::Redirect(refused.to_string());
        }
        if error.is_redirect() {
            return Failure::Redirect("a redirect that cannot be followed".into());
        }
        if let Some(tls) = causes(error).find_map(tls_error) {
            return Failure::Tls(tls);
        }
        if causes(error).any(|cause| cause.is::<LookupError>()) {
            return Failure::Dns;
        }
        let words = io_words(error).unwrap_or_else(|| describe(error));
        if error.is_connect() { Failure::Connect(words) } else { Failure::Broken(words) }
    }
}

/// An io error hides what it carries from `source`, and may carry another io error.
fn tls_error(cause: &(dyn StdError + 'static)) -> Option<String> {
    if let Some(error) = cause.downcast_ref::<rustls::Error>() {
        return Some(error.to_string());
    }
    tls_error(cause.downcast_ref::<std::io::Error>()?.get_ref()?)
}

fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&cause| cause.source())
}

/// What the system says of a connection, without the numbers and the library's own words around it.
fn io_words(error: &reqwest::Error) -> Option<String> {
    use std::io::ErrorKind;
    let io = causes(error).filter_map(|cause| cause.downcast_ref::<std::io::Error>()).last()?;
    let words = match io.kind() {
        ErrorKind::ConnectionRefused => "connection refused",
        ErrorKind::ConnectionReset => "connection reset",
        ErrorKind::ConnectionAborted => "connection aborted",
        ErrorKind::HostUnreachable => "host unreachable",
        ErrorKind::NetworkUnreachable => "network unreachable",
        ErrorKind::BrokenPipe => "connection closed",
        _ => return None,
    };
    Some(words.to_owned())
}

/// The innermost two causes of an error in one line, without any URL.
fn describe(error: &reqwest::Error) -> String {
    let chain: Vec<String> = causes(error).skip(1).map(ToString::to_string).collect();
    match chain.as_slice() {
        [] => "the request could not be carried out".into(),
        [one] => one.clone(),
        [.., a, b] if a == b || a.contains(b.as_str()) => a.clone(),
        [.., a, b] => format!("{a}: {b}"),
    }
}

/// Reads a body up to `cap` bytes (counted before and after decompression).
///
/// # Errors
/// [`Failure::TooLarge`] above the cap, or how the connection failed.
pub async fn read_body(mut response: Response, cap: usize) -> Result<Vec<u8>, Failure> {
    let body = read_encoded(&mut response, cap).await?;
    let encodings = response.headers().get_all(CONTENT_ENCODING).iter();
    let encodings: Vec<&str> = encodings.filter_map(|value| value.to_str().ok()).collect();
    encoding::decoded(body, &encodings.join(","), cap).await
}

/// The same, still encoded as `Content-Encoding` says: for callers that bound the ratio of the compression, too.
///
/// # Errors
/// As [`read_body`].
pub async fn read_encoded(response: &mut Response, cap: usize) -> Result<Vec<u8>, Failure> {
    let announced = response.content_length().and_then(|n| usize::try_from(n).ok());
    if announced.is_some_and(|n| n > cap) {
        return Err(Failure::TooLarge(cap));
    }
    let mut body = Vec::with_capacity(announced.unwrap_or(0));
    while let Some(chunk) = response.chunk().await.map_err(|e| Failure::of(&e))? {
        if body.len() + chunk.len() > cap {
            return Err(Failure::TooLarge(cap));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The wait that `Retry-After` asks for, as it was said: seconds, also with a fraction, or a date counted from `now`.
/// `None` when absent or unreadable. Zero and past dates are zero: each caller has its own floor and ceiling.
pub fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value =
        headers.get(reqwest::header::RETRY_AFTER)?.to_str().ok()?.trim().trim_end_matches(';').trim_end();
    let digits = value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if let Some(seconds) = value.parse::<f64>().ok().filter(|_| digits) {
        // A number beyond all durations is no wait.
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    Some(Duration::try_from(date.duration_since(now)).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `Retry-After` is read as seconds, with a fraction too, and as a date; a past date is no wait; rubbish is absent.
    #[test]
    fn reads_retry_after() {
        let now: Timestamp = "2026-05-02T09:00:00Z".parse().unwrap();
        for (value, want) in [
            ("13", Some(13_000)),
            (" 0 ", Some(0)),
            ("1.5", Some(1_500)),
            ("0.493", Some(493)),
            ("2;", Some(2_000)),
            ("1e3", None),
            (".", None),
            ("inf", None),
            ("Sat, 02 May 2026 09:02:00 GMT", Some(120_000)),
            ("Sat, 02 May 2026 08:00:00 GMT", Some(0)),
            ("soon", None),
            ("-5", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("retry-after", value.parse().unwrap());
            assert_eq!(retry_after(&headers, now).map(|d| d.as_millis()), want, "{value}");
        }
    }
}
