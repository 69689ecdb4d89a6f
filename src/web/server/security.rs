//! Access control for pages and API, and the security headers of every response.
//!
//! Pages answer GET and HEAD only. The name in `Host` must be in the list of allowed hosts, which defeats DNS rebinding; an
//! IP address is always allowed because it cannot be rebound. With a token, a browser signs in once with `?token=` and then
//! sends a cookie; programs send `Authorization: Bearer`. Health and metrics need no token: they hold figures and
//! names of monitors, and probes and scrapers can rarely authenticate. Badges and `/api/v2` can be made public, because
//! images on other sites and other monitors cannot authenticate either. Start at [`guard`].

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use super::connections::AuthenticatedClient;
use crate::web::pages::layout;

/// Only our own files; no frames, no forms to other sites, no inline script or style.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; \
     base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
const COOKIE: &str = "dsm_token";
const PARAMETER: &str = "token";
/// Half a year, in seconds; signing in again is easy for who has the token.
const COOKIE_AGE: u32 = 180 * 24 * 3600;

/// Access rules of the web port.
#[derive(Debug, Clone)]
pub struct Access {
    pub mode: AccessMode,
    /// Whether badges and `/api/v2` are public in every mode.
    pub status_open: bool,
    /// Allowed host names besides localhost; `*` for any.
    pub hosts: Vec<String>,
}

/// Who may see the pages.
#[derive(Debug, Clone)]
pub enum AccessMode {
    /// Every client that reaches the port.
    Open,
    /// Clients that send this token.
    Token(SecretString),
    /// No one: the port is reachable from other machines and no access rule is set.
    Closed,
}

impl Access {
    /// Whether a `Host` is localhost, an IP address or one of the names set.
    fn allows_host(&self, host: &str) -> bool {
        let name = match host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => host.rsplit_once(':').map_or(host, |(name, _)| name),
        };
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        name == "localhost"
            || name.ends_with(".localhost")
            || name.parse::<IpAddr>().is_ok()
            || self.hosts.iter().any(|own| own == "*" || own.eq_ignore_ascii_case(&name))
    }
}

/// Refuses requests that the access rules do not allow.
pub(in crate::web) async fn guard(
    State(access): State<Arc<Access>>,
    request: Request,
    next: Next,
) -> Response {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let allow = [(header::ALLOW, "GET, HEAD")];
        return (StatusCode::METHOD_NOT_ALLOWED, allow, "only GET and HEAD\n").into_response();
    }
    // HTTP also allows the host in the request target.
    let named = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let host = named.or_else(|| request.uri().authority().map(|authority| authority.as_str()));
    if !host.is_some_and(|host| access.allows_host(host)) {
        let words =
            "This host name is not allowed. Use localhost or the IP address, or add the name to WEB_HOSTS.";
        return layout::refusal(StatusCode::MISDIRECTED_REQUEST, "Unknown host name", words, false);
    }
    match &access.mode {
        _ if access.status_open && is_public_path(request.uri().path()) => next.run(request).await,
        AccessMode::Open => next.run(request).await,
        AccessMode::Closed => layout::refusal(
            StatusCode::FORBIDDEN,
            "Closed",
            "LISTEN is not a loopback address, so these pages need WEB_TOKEN (a secret of 16 characters or more), \
             or WEB_OPEN=true to make them public.",
            false,
        ),
        AccessMode::Token(token) => check_token(token, request, next).await,
    }
}

async fn check_token(token: &SecretString, request: Request, next: Next) -> Response {
    if let Some(given) = parameter(request.uri().query().unwrap_or_default()) {
        if matches(token, &given) {
            return welcome(request.uri().path(), &given, request.headers());
        }
        return layout::refusal(StatusCode::UNAUTHORIZED, "Sign in", "This token is wrong.", true);
    }
    let bearer = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = bearer.and_then(|value| {
        let (scheme, given) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| given.trim().to_owned())
    });
    if bearer.or_else(|| cookie(request.headers())).is_some_and(|given| matches(token, &given)) {
        let mut answer = next.run(request).await;
        answer.extensions_mut().insert(AuthenticatedClient);
        forbid_shared_caching(answer.headers_mut());
        return answer;
    }
    let mut answer =
        layout::refusal(StatusCode::UNAUTHORIZED, "Sign in", "These pages require WEB_TOKEN.", true);
    answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    answer
}

/// Paths that other sites embed and other monitors poll.
fn is_public_path(path: &str) -> bool {
    path.starts_with("/badge/") || path.starts_with("/api/v2/")
}

/// A response to an authenticated client may be cached by that client, never by a shared cache.
fn forbid_shared_caching(headers: &mut HeaderMap) {
    let encoding = headers.insert(header::VARY, HeaderValue::from_static("authorization, cookie"));
    if let Some(encoding) = encoding {
        headers.append(header::VARY, encoding);
    }
    let cached = headers.get(header::CACHE_CONTROL).and_then(|value| value.to_str().ok());
    if let Some(Ok(value)) = cached.map(|value| HeaderValue::try_from(format!("private, {value}"))) {
        headers.insert(header::CACHE_CONTROL, value);
    }
}

/// In constant time, so that response times do not reveal how much of a guess is right. The length is not secret.
fn matches(token: &SecretString, given: &str) -> bool {
    token.expose_secret().as_bytes().ct_eq(given.as_bytes()).into()
}

fn parameter(query: &str) -> Option<String> {
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    pairs.find(|(name, _)| name == PARAMETER).map(|(_, value)| value.into_owned())
}

fn cookie(headers: &HeaderMap) -> Option<String> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(name, _)| *name == COOKIE)?;
    let mut decoded = url::form_urlencoded::parse(value.as_bytes());
    decoded.next().map(|(text, _)| text.into_owned())
}

/// Sets the cookie and forwards by a page, not by a redirect: after a redirect, browsers would not send a `SameSite=Strict`
/// cookie if the navigation started on another site.
fn welcome(path: &str, token: &str, headers: &HeaderMap) -> Response {
    let value: String = url::form_urlencoded::byte_serialize(token.as_bytes()).collect();
    let secure = headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https");
    let secure = if secure { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={COOKIE_AGE}{secure}");
    // A path that starts with two slashes would lead to another host.
    let path = format!("/{}", path.trim_start_matches(['/', '\\']));
    let mut answer = layout::welcome(&path);
    match HeaderValue::try_from(cookie) {
        Ok(cookie) => drop(answer.headers_mut().insert(header::SET_COOKIE, cookie)),
        Err(e) => tracing::error!(target: "WebServer", "Cannot set the sign-in cookie: {e}"),
    }
    answer
}

/// Adds the security headers, and `no-store` where a response does not say otherwise.
pub(in crate::web) async fn headers(request: Request, next: Next) -> Response {
    let mut answer = next.run(request).await;
    let headers = answer.headers_mut();
    let mut put = |name: HeaderName, value| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    put(header::CONTENT_SECURITY_POLICY, POLICY);
    put(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    put(header::REFERRER_POLICY, "no-referrer");
    put(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    put(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    put(header::CACHE_CONTROL, "no-store");
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_localhost_ip_addresses_and_configured_hosts_are_allowed() {
        let access =
            Access { mode: AccessMode::Open, status_open: false, hosts: vec!["Monitor.acme.test".into()] };
        for (host, allowed) in [
            ("localhost:8080", true),
            ("127.0.0.1", true),
            ("[::1]:8080", true),
            ("192.0.2.7:80", true),
            ("monitor.acme.test:443", true),
            ("monitor.acme.test.", true),
            ("evil.test", false),
            ("localhost.evil.test", false),
            ("127.0.0.1.evil.test:8080", false),
            ("", false),
            ("[evil", false),
        ] {
            assert_eq!(access.allows_host(host), allowed, "{host}");
        }
        assert!(
            Access { mode: AccessMode::Open, status_open: false, hosts: vec!["*".into()] }
                .allows_host("any.test")
        );
    }

    #[test]
    fn only_the_whole_token_matches() {
        let token = SecretString::from("correct horse battery");
        for (given, right) in [
            ("correct horse battery", true),
            ("correct horse batterz", false),
            ("correct horse", false),
            ("correct horse battery\0", false),
            ("", false),
        ] {
            assert_eq!(matches(&token, given), right, "{given:?}");
        }
    }
}
