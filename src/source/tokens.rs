//! The access token of an account: its rules, where it is requested, and the current one. [`super::auth`] requests it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use url::Url;

use crate::domain::syncing::definition::connector::OAuth2;
use crate::http::oauth::TokenKeeper;
use crate::secrets::Redactor;

/// The token of an account, shared by all its requests.
pub(super) struct Tokens {
    pub(super) rules: OAuth2,
    pub(super) url: Url,
    pub(super) keeper: TokenKeeper,
    requested_at: Mutex<Option<Instant>>,
}

impl Tokens {
    pub(super) fn new(rules: OAuth2, url: Url, redactor: Redactor) -> Tokens {
        let keeper = TokenKeeper::gentle(rules.renew_before, redactor);
        Tokens { rules, url, keeper, requested_at: Mutex::default() }
    }

    /// The wait before a rejected token is sent once more; `None` if a new one is requested at once.
    pub(super) fn retry_same_after(&self) -> Option<Duration> {
        self.rules.retry_same_after
    }

    /// The earliest time of the next request for a token, if there was one before.
    pub(super) fn next_request_at(&self) -> Option<Instant> {
        let requested_at = *self.requested_at.lock().unwrap_or_else(PoisonError::into_inner);
        requested_at.map(|at| at + self.rules.mint_gap)
    }

    pub(super) fn count_request(&self) {
        *self.requested_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// The endpoint in messages.
    pub(super) fn place(&self) -> Option<String> {
        Some(self.url.origin().ascii_serialization() + self.url.path())
    }
}
