//! The banner slot of a Qlik Cloud tenant: a GET reads it, an upsert writes it.
//!
//! Requests are not retried here, except once with a new access token after a rejected one. Start at the implementation of
//! [`Target`].

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;
use reqwest::{Client, Method, StatusCode};
use serde_json::Value;
use tokio::time::Instant;
use tracing::{info, warn};
use url::Url;

use super::{LOG, Target};
use crate::domain::monitoring::banner::Banner;
use crate::domain::monitoring::plan::Shown;
use crate::qlik::{REQUEST_TIMEOUT, TargetError, TenantAnswer, TenantClient};

#[derive(Debug)]
pub struct Qlik {
    client: Arc<TenantClient>,
    /// The tenant's time, and when its response arrived.
    time: Mutex<Option<(Timestamp, Instant)>>,
    own_user: tokio::sync::OnceCell<String>,
}

impl Qlik {
    pub fn new(client: Arc<TenantClient>) -> Qlik {
        Qlik { client, time: Mutex::default(), own_user: tokio::sync::OnceCell::new() }
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        banner: Option<&Banner>,
    ) -> Result<TenantAnswer, TargetError> {
        let build = |client: &Client, url: Url| {
            let request = client.request(method.clone(), url);
            match banner {
                Some(banner) => request.json(banner),
                None => request,
            }
        };
        let answer = self.client.send(path, REQUEST_TIMEOUT, build).await?;
        if answer.status == StatusCode::NOT_FOUND || answer.status.is_success() {
            self.note_time(&answer);
        }
        Ok(answer)
    }

    /// Records the tenant's time. Only responses of the tenant itself count, because a proxy has another clock.
    fn note_time(&self, answer: &TenantAnswer) {
        if let Some(time) = answer.time() {
            *self.time.lock().unwrap_or_else(PoisonError::into_inner) = Some((time, Instant::now()));
        }
    }
}

/// The banner in an answer.
fn shown(answer: &TenantAnswer) -> Option<Shown> {
    let banner = serde_json::from_slice(answer.body()).ok()?;
    let updated_at = answer.field("updatedAt").and_then(|text| text.parse().ok());
    Some(Shown { banner, updated_at, updated_by: answer.field("updatedBy") })
}

/// Whether the answer is complete and contains no banner. That of a tenant that never had one is not documented.
fn has_no_banner(answer: &TenantAnswer) -> bool {
    let Ok(body) = &answer.body else { return false };
    body.trim_ascii().is_empty()
        || serde_json::from_slice::<Value>(body)
            .is_ok_and(|value| value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty))
}

#[async_trait]
impl Target for Qlik {
    async fn read(&self) -> Result<Option<Shown>, TargetError> {
        let answer = self.call(Method::GET, "/api/v1/banners", None).await?;
        match answer.status {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() && has_no_banner(&answer) => Ok(None),
            status if status.is_success() => shown(&answer).map(Some).ok_or_else(|| {
                let why = answer.body.err().map_or("no banner".into(), |failure| failure.to_string());
                let detail = format!("HTTP {}, unexpected response: {why}", status.as_u16());
                TargetError::Trouble { wait: None, detail }
            }),
            _ => Err(answer.error(&self.client.words())),
        }
    }

    async fn write(&self, banner: &Banner) -> Result<Option<Shown>, TargetError> {
        let answer = self.call(Method::POST, "/api/v1/banners/actions/upsert", Some(banner)).await?;
        let words = self.client.words();
        if !answer.status.is_success() {
            return Err(answer.error(&words));
        }
        let shown = shown(&answer);
        match &shown {
            Some(Shown { banner, .. }) => {
                let id = words.clean(&answer.id().unwrap_or_default());
                let kind = words.clean(banner.kind.as_str());
                info!(target: LOG, "API answer: id={id}, enabled={}, type={kind}", banner.enabled);
            }
            None => warn!(target: LOG, "API answer: HTTP {}, unexpected response", answer.status.as_u16()),
        }
        Ok(shown)
    }

    fn time(&self) -> Option<Timestamp> {
        let (time, at) = (*self.time.lock().unwrap_or_else(PoisonError::into_inner))?;
        time.checked_add(at.elapsed()).ok()
    }

    async fn own_user(&self) -> Option<String> {
        // An API key belongs to a person, who may also set banners by hand.
        if !self.client.is_oauth_client() {
            return None;
        }
        let ask = async || {
            let answer = self.call(Method::GET, "/api/v1/users/me", None).await.map_err(drop)?;
            if answer.status.is_success() { answer.id().ok_or(()) } else { Err(()) }
        };
        // Optional: without it the daemon recognises its banner by other properties.
        self.own_user.get_or_try_init(ask).await.ok().cloned()
    }
}
