//! Who may see the pages, and what a browser may do with them.
//!
//! Pages answer GET and HEAD only. The name in `Host` must be one of ours, so that no other site's name can be pointed
//! at us; an address made of numbers cannot be pointed. With a token, whoever has it signs in once with `?token=` and
//! has a cookie from then on, or sends it as `Authorization: Bearer`. Health and metrics are open: they hold figures
//! and names of monitors, and those who ask for them can rarely sign in. Badges and `/api/v2` can be opened as well, for
//! pictures on other sites and other monitors cannot sign in either. Start at `guard`.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use secrecy::{ExposeSecret, SecretString};

use super::{Site, layout};
use crate::runtime::connections::SignedIn;

/// Nothing but our own files; no frame, no form elsewhere, no script or style within a page.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; \
     base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
/// The cookie of those who have signed in.
const COOKIE: &str = "dsm_token";
/// The parameter to sign in with.
const PARAMETER: &str = "token";
/// Half a year; who has the token can sign in again.
const COOKIE_AGE: u32 = 180 * 24 * 3600;

/// Who may see the pages.
#[derive(Debug, Clone)]
pub struct Access {
    /// The door.
    pub door: Door,
    /// Whether badges and `/api/v2` are for everybody, whatever the door.
    pub status_open: bool,
    /// Further names that the pages are reached by; `*` for any.
    pub hosts: Vec<String>,
}

/// The door to the pages.
#[derive(Debug, Clone)]
pub enum Door {
    /// Everybody who reaches the port.
    Open,
    /// Those who have it.
    Token(SecretString),
    /// Nobody: the port can be reached from elsewhere, and nobody has said who may.
    Shut,
}

impl Access {
    /// Whether a `Host` may be answered: this machine, an address in numbers, or one of the names set.
    fn knows(&self, host: &str) -> bool {
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

/// Lets through to the pages whoever may see them.
pub(super) async fn guard(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let allow = [(header::ALLOW, "GET, HEAD")];
        return (StatusCode::METHOD_NOT_ALLOWED, allow, "only GET and HEAD\n").into_response();
    }
    // A request may name it in its target instead.
    let named = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let host = named.or_else(|| request.uri().authority().map(|authority| authority.as_str()));
    if !host.is_some_and(|host| site.access.knows(host)) {
        let words = "This name is not known here. Use localhost or the address in numbers, or set WEB_HOSTS.";
        return layout::refusal(StatusCode::MISDIRECTED_REQUEST, "Not this name", words, false);
    }
    match &site.access.door {
        _ if site.access.status_open && outward(request.uri().path()) => next.run(request).await,
        Door::Open => next.run(request).await,
        Door::Shut => layout::refusal(
            StatusCode::FORBIDDEN,
            "Closed",
            "LISTEN is not a loopback address, so these pages need WEB_TOKEN (a secret of 16 characters or more), \
             or WEB_OPEN=true to show them to everybody.",
            false,
        ),
        Door::Token(token) => signed_in(token, request, next).await,
    }
}

async fn signed_in(token: &SecretString, request: Request, next: Next) -> Response {
    if let Some(given) = parameter(request.uri().query().unwrap_or_default()) {
        if same(token, &given) {
            return welcome(request.uri().path(), &given, request.headers());
        }
        return layout::refusal(
            StatusCode::UNAUTHORIZED,
            "Sign in",
            "This token is not the right one.",
            true,
        );
    }
    let bearer = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = bearer.and_then(|value| {
        let (scheme, given) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| given.trim().to_owned())
    });
    if bearer.or_else(|| cookie(request.headers())).is_some_and(|given| same(token, &given)) {
        let mut answer = next.run(request).await;
        answer.extensions_mut().insert(SignedIn);
        keep_private(answer.headers_mut());
        return answer;
    }
    let mut answer =
        layout::refusal(StatusCode::UNAUTHORIZED, "Sign in", "These pages ask for WEB_TOKEN.", true);
    answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    answer
}

/// What other sites show and other monitors watch.
fn outward(path: &str) -> bool {
    path.starts_with("/badge/") || path.starts_with("/api/v2/")
}

/// What was shown for a token may be kept by the browser that has it, never by a cache between.
fn keep_private(headers: &mut HeaderMap) {
    headers.insert(header::VARY, HeaderValue::from_static("authorization, cookie"));
    let kept = headers.get(header::CACHE_CONTROL).and_then(|value| value.to_str().ok());
    if let Some(Ok(value)) = kept.map(|kept| HeaderValue::try_from(format!("private, {kept}"))) {
        headers.insert(header::CACHE_CONTROL, value);
    }
}

/// Compares without telling by its duration how much is right.
fn same(token: &SecretString, given: &str) -> bool {
    let (want, given) = (token.expose_secret().as_bytes(), given.as_bytes());
    let longest = want.len().max(given.len());
    let mut differences = u8::from(want.len() != given.len());
    for at in 0..longest {
        let (a, b) = (want.get(at).copied().unwrap_or(0), given.get(at).copied().unwrap_or(0));
        differences |= std::hint::black_box(a ^ b);
    }
    differences == 0
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

/// Sets the cookie. A page that goes on by itself, not a redirect: to one, browsers would not send the cookie if the
/// way began on another site.
fn welcome(path: &str, token: &str, headers: &HeaderMap) -> Response {
    let value: String = url::form_urlencoded::byte_serialize(token.as_bytes()).collect();
    let secure = headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https");
    let secure = if secure { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={COOKIE_AGE}{secure}");
    // Two slashes would be another host.
    let path = format!("/{}", path.trim_start_matches(['/', '\\']));
    let mut answer = layout::welcome(&path);
    match HeaderValue::try_from(cookie) {
        Ok(cookie) => drop(answer.headers_mut().insert(header::SET_COOKIE, cookie)),
        Err(e) => tracing::error!(target: "WebServer", "The cookie cannot be set: {e}"),
    }
    answer
}

/// What every answer tells the browser.
pub(super) async fn headers(request: Request, next: Next) -> Response {
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

    /// This machine, addresses in numbers and the names set are ours; any other name may be somebody else's.
    #[test]
    fn knows_its_names() {
        let access = Access { door: Door::Open, status_open: false, hosts: vec!["Monitor.acme.test".into()] };
        for (host, ours) in [
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
            assert_eq!(access.knows(host), ours, "{host}");
        }
        assert!(Access { door: Door::Open, status_open: false, hosts: vec!["*".into()] }.knows("any.test"));
    }

    /// Only the whole token is the token.
    #[test]
    fn compares_tokens() {
        let token = SecretString::from("correct horse battery");
        for (given, right) in [
            ("correct horse battery", true),
            ("correct horse batterz", false),
            ("correct horse", false),
            ("correct horse battery\0", false),
            ("", false),
        ] {
            assert_eq!(same(&token, given), right, "{given:?}");
        }
    }
}
