//! The client for status pages: it follows redirects, and lets no page lead it into a private network.
//!
//! A definition may name any host. What a page's answer names may only be public: such a host is asked by a client of its
//! own, whose names resolve to public addresses alone, so that neither a redirect nor a name that changes its address
//! between check and connection reaches anything else. Behind a proxy names are resolved by the proxy, which then has to
//! refuse them. Answers are passed on as they were sent, compressed or not.

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

/// How names are looked up.
type AnyResolver = Arc<dyn Resolve>;

/// Asks status pages. Clones share their connections.
#[derive(Clone)]
pub struct PageClient {
    /// For the hosts that definitions name.
    own: Client,
    /// For the hosts that redirects name.
    elsewhere: Client,
}

impl PageClient {
    /// Builds it; the options' own rule for redirects does not apply.
    ///
    /// # Errors
    /// As [`ClientOptions::build`].
    pub fn new(options: &ClientOptions) -> Result<PageClient, BuildError> {
        PageClient::resolving(options, Arc::new(Resolver::default()))
    }

    /// The same with another way to look up names.
    ///
    /// # Errors
    /// As [`ClientOptions::build`].
    pub fn resolving(options: &ClientOptions, resolver: AnyResolver) -> Result<PageClient, BuildError> {
        let build = |resolver: AnyResolver| {
            let builder = options.builder()?.redirect(reqwest::redirect::Policy::none()).no_gzip();
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
    /// When no answer comes, or a redirect is refused.
    pub async fn get(&self, url: &Url, headers: &HeaderMap) -> Result<Response, Failure> {
        // Who names a private host in a definition is in that network already.
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

/// Where a redirect leads, without user info; `None` for any other answer, and for a redirect to nowhere.
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

/// Gives only the public addresses of a name. Proxies, which the operator names, are exempt.
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
