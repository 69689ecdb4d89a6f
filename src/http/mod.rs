//! Builds all HTTP clients, and provides what their callers share: timeouts, a limit on body sizes, rules for redirects,
//! parsing of `Retry-After`, and error types.
//!
//! Retries are up to the callers. Start at [`ClientOptions::build`], [`read_body`] and [`Failure`].

mod encoding;
pub mod oauth;
mod pages;

use std::error::Error as StdError;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderMap, HeaderValue};
use reqwest::{Client, Response, redirect};

use crate::domain::network;
use crate::domain::proxy::Proxies;

pub use crate::domain::urls::same_origin;

pub use encoding::decompress;
pub use pages::PageClient;

use crate::resolver::{LookupError, Resolver};

/// Sent with every request.
pub const USER_AGENT: &str = concat!("data-sources-monitor/", env!("CARGO_PKG_VERSION"));

/// Enough for a site that moved behind a CDN; more is probably a loop.
pub const MAX_REDIRECTS: usize = 5;

/// A connection that takes longer would not serve a poll in time either.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Idle connections are closed after this time. Older ones are often dead, and their reset looks like an outage.
const POOL_IDLE: Duration = Duration::from_secs(20);

/// Sets the TLS provider of the process. Idempotent; must be called before a client is built.
pub fn install_tls_provider() {
    // An error means that a provider is already installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Network settings, the same for every client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    /// PEM file of additional trusted certificate authorities.
    pub extra_ca: Option<PathBuf>,
    pub proxies: Proxies,
}

#[derive(Debug, Clone)]
pub struct ClientOptions {
    pub network: Network,
    /// Whether idle connections are reused.
    pub keep_alive: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("EXTRA_CA_FILE {path}: {reason}")]
    ExtraCa { path: String, reason: String },
    /// Usually the system has no CA store.
    #[error("cannot set up https: {0} (install the package ca-certificates, or set SSL_CERT_FILE)")]
    Client(String),
}

impl ClientOptions {
    /// Builds the client. It has no total timeout; callers set one around each exchange.
    ///
    /// # Errors
    /// If the extra CA file is invalid, or the system has no certificate store.
    pub fn build(&self) -> Result<Client, BuildError> {
        finish(self.builder()?)
    }

    fn builder(&self) -> Result<reqwest::ClientBuilder, BuildError> {
        install_tls_provider();
        let mut builder = Client::builder()
            .user_agent(USER_AGENT)
            // `read_body` decodes: the library stops after the first member of a gzip stream.
            .no_gzip()
            .default_headers(HeaderMap::from_iter([(
                ACCEPT_ENCODING,
                HeaderValue::from_static(encoding::ACCEPTED),
            )]))
            // Callers follow redirects themselves, each with its own rules for hosts, methods and credentials.
            .redirect(redirect::Policy::none())
            .dns_resolver(Resolver::default())
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(if self.keep_alive { 8 } else { 0 });
        // The library would read only the environment, not `.env`.
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
                return Err(bad("contains no certificate (PEM expected)".into()));
            }
            builder = builder.tls_certs_merge(authorities);
        }
        Ok(builder)
    }
}

fn finish(builder: reqwest::ClientBuilder) -> Result<Client, BuildError> {
    builder.build().map_err(|e| BuildError::Client(describe(&e)))
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct RedirectRefused(&'static str);

/// Why a request failed before its response was complete.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("no answer in time")]
    Timeout,
    #[error("the host name does not resolve")]
    Dns,
    #[error("TLS: {0}")]
    Tls(String),
    /// The connection is refused, or the network is down.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// A redirect that is not followed.
    #[error("{0}")]
    Redirect(String),
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the connection broke: {0}")]
    Broken(String),
    /// A content encoding that was not requested, or that the body does not have.
    #[error("{0}")]
    Encoding(String),
}

impl Failure {
    /// Classifies an error of the HTTP library. The result never contains the URL.
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
        let reason = io_reason(error).unwrap_or_else(|| describe(error));
        if error.is_connect() { Failure::Connect(reason) } else { Failure::Broken(reason) }
    }
}

/// `source` of an I/O error skips the error inside it, which may be another I/O error.
fn tls_error(cause: &(dyn StdError + 'static)) -> Option<String> {
    if let Some(error) = cause.downcast_ref::<rustls::Error>() {
        return Some(error.to_string());
    }
    tls_error(cause.downcast_ref::<std::io::Error>()?.get_ref()?)
}

fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&cause| cause.source())
}

fn io_reason(error: &reqwest::Error) -> Option<String> {
    let io = causes(error).filter_map(|cause| cause.downcast_ref::<std::io::Error>()).last()?;
    network::reason(io.kind()).map(str::to_owned)
}

/// The innermost two causes of an error in one line, without any URL.
fn describe(error: &reqwest::Error) -> String {
    let chain: Vec<String> = causes(error).skip(1).map(ToString::to_string).collect();
    match chain.as_slice() {
        [] => "the request failed".into(),
        [one] => one.clone(),
        [.., a, b] if a == b || a.contains(b.as_str()) => a.clone(),
        [.., a, b] => format!("{a}: {b}"),
    }
}

/// Reads a body of at most `cap` bytes, before and after decompression.
///
/// # Errors
/// [`Failure::TooLarge`] above the cap, or a connection error.
pub async fn read_body(mut response: Response, cap: usize) -> Result<Vec<u8>, Failure> {
    let body = read_encoded(&mut response, cap).await?;
    let encodings = response.headers().get_all(CONTENT_ENCODING).iter();
    let encodings: Vec<&str> = encodings.filter_map(|value| value.to_str().ok()).collect();
    encoding::decompressed(body, encodings.join(","), cap).await
}

/// Like [`read_body`], but not decompressed, for callers that also limit the compression ratio.
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

/// Parses `Retry-After`: seconds, also with a fraction, or a date, relative to `now`. `None` if it is absent or invalid. A
/// past date is zero; callers apply their own limits.
pub fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value =
        headers.get(reqwest::header::RETRY_AFTER)?.to_str().ok()?.trim().trim_end_matches(';').trim_end();
    let digits = value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if let Some(seconds) = value.parse::<f64>().ok().filter(|_| digits) {
        // A number out of range counts as absent.
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    Some(Duration::try_from(date.duration_since(now)).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_as_seconds_or_date_and_ignored_if_invalid() {
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
