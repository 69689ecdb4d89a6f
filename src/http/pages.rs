//! The HTTP client for status pages. It follows redirects, but not into a private network.
//!
//! A definition may name any host, a redirect only a public one. Hosts in redirects are requested with a separate client that
//! resolves names to public addresses only, so that neither a redirect nor a name that changes its address between check and
//! connection reaches a private host. Behind a proxy, the proxy resolves names and has to block private ones. Responses are
//! returned as sent, compressed or not.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{HeaderMap, LOCATION};
use reqwest::{Client, Response, StatusCode};
use url::Url;

use super::{BuildError, ClientOptions, Failure, MAX_REDIRECTS, RedirectRefused};
use crate::domain::address;
use crate::domain::proxy::Proxies;
use crate::resolver::Resolver;

const PRIVATE: RedirectRefused = RedirectRefused("redirected to a private address");

type AnyResolver = Arc<dyn Resolve>;

/// Sends requests to status pages. Clones share their connections.
#[derive(Clone)]
pub struct PageClient {
    /// For hosts in definitions.
    own: Client,
    /// For hosts in redirects.
    elsewhere: Client,
}

impl PageClient {
    /// # Errors
    /// As [`ClientOptions::build`].
    pub fn new(options: &ClientOptions) -> Result<PageClient, BuildError> {
        PageClient::resolving(options, Arc::new(Resolver::default()))
    }

    /// Like [`PageClient::new`], with another resolver.
    ///
    /// # Errors
    /// As [`ClientOptions::build`].
    pub fn resolving(options: &ClientOptions, resolver: AnyResolver) -> Result<PageClient, BuildError> {
        let build = |resolver: AnyResolver| {
            let builder = options.builder()?;
            super::finish(builder.dns_resolver(resolver))
        };
        let Proxies { https, http, .. } = &options.network.proxies;
        let proxies = https.iter().chain(http);
        let exempt = proxies.filter_map(|proxy| proxy.url().host_str().map(str::to_lowercase)).collect();
        let public = PublicOnly { inner: Arc::clone(&resolver), exempt: Arc::new(exempt) };
        Ok(PageClient { own: build(resolver)?, elsewhere: build(Arc::new(public))? })
    }

    /// Sends a GET request and follows at most [`MAX_REDIRECTS`] redirects, never from https down to http.
    ///
    /// # Errors
    /// If there is no response, or a redirect is not allowed.
    pub async fn get(&self, url: &Url, headers: &HeaderMap) -> Result<Response, Failure> {
        // A definition that names a private host may redirect within that network.
        let guarded = address::is_public_host(url);
        let mut at = url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let foreign = guarded && at.host() != url.host();
            if foreign && !address::is_public_host(&at) {
                return Err(Failure::Redirect(PRIVATE.to_string()));
            }
            let client = if foreign { &self.elsewhere } else { &self.own };
            let sent = client.get(at.clone()).headers(headers.clone()).send().await;
            let response = sent.map_err(|error| Failure::of(&error))?;
            let Some(next) = next(&response, &at) else { return Ok(response) };
            if at.scheme() == "https" && next.scheme() != "https" {
                return Err(Failure::Redirect("redirected from https down to http".into()));
            }
            at = next;
        }
        Err(Failure::Redirect(format!("more than {MAX_REDIRECTS} redirects")))
    }
}

/// The target of a redirect, without user info; `None` for any other response and for a redirect without a valid target.
fn next(response: &Response, at: &Url) -> Option<Url> {
    let redirects = matches!(
        response.status(),
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    );
    let location = response.headers().get(LOCATION).filter(|_| redirects)?;
    let mut next = at.join(std::str::from_utf8(location.as_bytes()).ok()?).ok()?;
    let fits = matches!(next.scheme(), "https" | "http") && next.has_host();
    // Both fail only for URLs that cannot carry user info at all.
    let _ = next.set_username("");
    let _ = next.set_password(None);
    fits.then_some(next)
}

/// Resolves names to public addresses only. Proxies are exempt, because the operator configures them.
struct PublicOnly {
    inner: AnyResolver,
    exempt: Arc<HashSet<String>>,
}

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let exempt = self.exempt.contains(&name.as_str().to_lowercase());
        let found = self.inner.resolve(name);
        Box::pin(async move {
            let found: Vec<SocketAddr> =
                found.await?.filter(|at| exempt || address::is_public(at.ip())).collect();
            if found.is_empty() {
                return Err(PRIVATE.into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}
