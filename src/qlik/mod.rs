//! Requests to a Qlik Cloud tenant: authentication, deadlines, and what its answers say.
//!
//! Callers decide what to send and when to retry. Start at [`TenantClient::send`].

mod answer;
mod auth;

use std::time::Duration;

use reqwest::header::AUTHORIZATION;
use reqwest::{Client, RequestBuilder, StatusCode};
use url::Url;

use crate::secrets::Redactor;
use answer::exchange;
use auth::Bearer;

pub use answer::{REQUEST_TIMEOUT, TargetError};
pub(crate) use answer::{TenantAnswer, Words};
pub use auth::QlikCredentials;

/// The way to one tenant. Its access token is shared by all who use it.
#[derive(Debug)]
pub struct TenantClient {
    client: Client,
    tenant: Url,
    bearer: Bearer,
    redactor: Redactor,
}

impl TenantClient {
    /// `tenant` is its root URL. The client must not follow redirects, since requests carry credentials.
    pub fn new(client: Client, tenant: Url, credentials: QlikCredentials) -> TenantClient {
        let redactor = Redactor::default();
        let bearer = Bearer::new(credentials, at(&tenant, "/oauth/token"), redactor.clone());
        TenantClient { client, tenant, bearer, redactor }
    }

    /// Redacts the credentials and access tokens of the tenant.
    pub fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// Whether the credentials are an OAuth client, whose tokens can be renewed.
    pub(crate) fn is_oauth_client(&self) -> bool {
        self.bearer.can_renew()
    }

    /// Cleans, redacts and shortens texts of the tenant.
    pub(crate) fn words(&self) -> Words<'_> {
        Words::new(&self.redactor)
    }

    /// Sends the request that `build` makes for the address of `path`, and once more with a new access token if the first one was
    /// rejected.
    ///
    /// # Errors
    /// If there is no access token, or no answer within `timeout`.
    pub(crate) async fn send(
        &self,
        path: &str,
        timeout: Duration,
        build: impl Fn(&Client, Url) -> RequestBuilder,
    ) -> Result<TenantAnswer, TargetError> {
        let words = self.words();
        let mut token = self.bearer.get(&self.client, None).await?;
        let request = || build(&self.client, at(&self.tenant, path));
        let mut answer = exchange(request().header(AUTHORIZATION, token.header()?), &words, timeout).await?;
        if answer.status == StatusCode::UNAUTHORIZED && self.bearer.can_renew() {
            token = self.bearer.get(&self.client, Some(&token)).await?;
            answer = exchange(request().header(AUTHORIZATION, token.header()?), &words, timeout).await?;
        }
        // Permissions are fixed when a token is issued, so the next attempt needs a new one.
        if [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&answer.status) {
            self.bearer.discard(&token).await;
        }
        Ok(answer)
    }
}

fn at(tenant: &Url, path: &str) -> Url {
    let mut url = tenant.clone();
    url.set_path(path);
    url
}
