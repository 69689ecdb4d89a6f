//! Cache of OAuth access tokens for client credentials: requested once, shared by all requests, renewed in time, and replaced
//! when a server rejects one.
//!
//! It does not retry and is independent of the server: callers pass the future that requests a token, with its own timeout
//! and retries. Start at [`TokenKeeper::get`].

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reqwest::header::{AUTHORIZATION, InvalidHeaderValue};
use reqwest::{Client, RequestBuilder};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::Url;

use crate::domain::syncing::definition::connector::SendAs;
use crate::secrets::{self, Redactor};

/// Lifetime of a token without `expires_in`.
const DEFAULT_LIFE: Duration = Duration::from_secs(3600);

/// Upper limit of a token's lifetime. Some services send a huge number for "forever", and a revoked client should not be
/// served for longer.
const MAX_LIFE: Duration = Duration::from_secs(24 * 3600);

/// Fraction of its lifetime for which a token is used; the rest allows for clocks that differ.
const USED: f64 = 0.85;

/// Number of tokens that are redacted: running requests may still carry the previous one.
const REDACTED: u64 = 2;

/// A point in time on both clocks: the monotonic one stops while a machine sleeps, the wall clock can be set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moment {
    pub instant: Instant,
    pub wall: Timestamp,
}

impl Moment {
    #[expect(clippy::disallowed_methods, reason = "tokens expire while a machine sleeps, too")]
    pub fn now() -> Moment {
        Moment { instant: Instant::now(), wall: Timestamp::now() }
    }

    fn after(self, wait: Duration) -> Moment {
        let wall = SignedDuration::try_from(wait).ok().and_then(|wait| self.wall.checked_add(wait).ok());
        Moment { instant: self.instant + wait, wall: wall.unwrap_or(Timestamp::MAX) }
    }

    /// Whether neither clock has reached `other`.
    fn is_before(self, other: Moment) -> bool {
        self.instant < other.instant && self.wall < other.wall
    }
}

/// A token as granted by the token endpoint.
#[derive(Debug)]
pub struct Grant {
    secret: SecretString,
    seconds: Option<f64>,
}

impl Grant {
    /// Parses the body of a 2xx response; `None` if it contains no access token.
    pub fn read(body: &[u8]) -> Option<Grant> {
        let answer: serde_json::Value = serde_json::from_slice(body).ok()?;
        let secret = answer.get("access_token")?.as_str().filter(|text| !text.is_empty())?;
        let seconds =
            answer.get("expires_in").and_then(|life| life.as_f64().or_else(|| life.as_str()?.parse().ok()));
        Some(Grant { secret: SecretString::from(secret), seconds })
    }
}

/// An access token with a serial number.
#[derive(Debug, Clone)]
pub struct AccessToken {
    secret: SecretString,
    serial: u64,
    renew_at: Moment,
    expires_at: Moment,
}

impl AccessToken {
    /// Distinguishes tokens without comparing secrets.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    pub fn secret(&self) -> &SecretString {
        &self.secret
    }
}

#[derive(Debug)]
pub struct TokenKeeper {
    /// Minimum remaining lifetime when a token is sent; at most half of its lifetime if `gently`.
    margin: Duration,
    gently: bool,
    redactor: Redactor,
    /// Locked during a token request, so that all other callers wait for its result.
    kept: Mutex<(u64, Option<AccessToken>)>,
}

impl TokenKeeper {
    /// Renews `margin` before a token expires, whatever its lifetime. For few requests, none of which may carry an expired
    /// token.
    pub fn strict(margin: Duration, redactor: Redactor) -> TokenKeeper {
        TokenKeeper { margin, gently: false, redactor, kept: Mutex::default() }
    }

    /// Uses each token for at least half of its lifetime. For many requests, each of which would otherwise request a new
    /// short-lived token.
    pub fn gentle(margin: Duration, redactor: Redactor) -> TokenKeeper {
        TokenKeeper { gently: true, ..TokenKeeper::strict(margin, redactor) }
    }

    /// Returns a token to send, different from `refused`, which the server rejected. `fetch` is polled only if a new token is
    /// needed, by one caller at a time; it also returns when it sent its request.
    ///
    /// # Errors
    /// The error of `fetch`, unless the current token has not expired yet.
    pub async fn get<E>(
        &self,
        now: Moment,
        refused: Option<u64>,
        fetch: impl Future<Output = Result<(Grant, Moment), E>>,
    ) -> Result<AccessToken, E> {
        let mut kept = self.kept.lock().await;
        let (serial, token) = &mut *kept;
        token.take_if(|token| refused == Some(token.serial));
        // Waiting for the lock may have taken as long as a request.
        let now = Moment { instant: Instant::now().max(now.instant), ..now };
        if let Some(token) = token.as_ref().filter(|token| now.is_before(token.renew_at)) {
            return Ok(token.clone());
        }
        match fetch.await {
            Ok((grant, asked_at)) => {
                let life = self.life(grant.seconds);
                *serial += 1;
                self.redactor.register(&format!("access token {}", *serial % REDACTED), &grant.secret);
                let fresh = AccessToken {
                    secret: grant.secret,
                    serial: *serial,
                    renew_at: asked_at.after(self.renew_after(life)),
                    expires_at: asked_at.after(life),
                };
                Ok(token.insert(fresh).clone())
            }
            Err(error) => token.clone().filter(|token| now.is_before(token.expires_at)).ok_or(error),
        }
    }

    /// Discards a rejected token, unless it was already replaced.
    pub async fn discard(&self, refused: u64) {
        self.kept.lock().await.1.take_if(|token| token.serial == refused);
    }

    /// A negative lifetime means that the token has expired, or is meaningless: with many requests each would request a token.
    fn life(&self, seconds: Option<f64>) -> Duration {
        match seconds {
            Some(seconds) if seconds >= 0.0 => {
                Duration::try_from_secs_f64(seconds).unwrap_or(MAX_LIFE).min(MAX_LIFE)
            }
            Some(_) if !self.gently => Duration::ZERO,
            Some(_) | None => DEFAULT_LIFE,
        }
    }

    fn renew_after(&self, life: Duration) -> Duration {
        let margin = if self.gently { self.margin.min(life / 2) } else { self.margin };
        life.mul_f64(USED).min(life.saturating_sub(margin))
    }
}

/// Client credentials, and how they are sent.
pub struct ClientCredentials<'a> {
    pub id: &'a str,
    pub secret: &'a SecretString,
    /// Where the service requires one.
    pub scope: Option<String>,
    pub send: SendAs,
}

impl ClientCredentials<'_> {
    /// Builds the token request.
    ///
    /// # Errors
    /// If the credentials contain characters that a header cannot carry.
    pub fn request(self, client: &Client, url: Url) -> Result<RequestBuilder, InvalidHeaderValue> {
        let secret = self.secret.expose_secret();
        let mut fields = BTreeMap::from([("grant_type", "client_credentials")]);
        fields.extend(self.scope.as_deref().map(|scope| ("scope", scope)));
        let request = client.post(url);
        if self.send == SendAs::Basic {
            return Ok(request.header(AUTHORIZATION, secrets::basic(self.id, secret)?).form(&fields));
        }
        fields.extend([("client_id", self.id), ("client_secret", secret)]);
        Ok(if self.send == SendAs::Form { request.form(&fields) } else { request.json(&fields) })
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn now() -> Moment {
        Moment { instant: Instant::now(), wall: "2026-05-02T09:00:00Z".parse().unwrap() }
    }

    async fn granted(life: u64, at: Moment) -> Result<(Grant, Moment), Infallible> {
        let body = format!(r#"{{"access_token":"token","expires_in":{life}}}"#);
        Ok((Grant::read(body.as_bytes()).unwrap(), at))
    }

    #[test]
    fn a_token_is_renewed_at_85_percent_of_its_lifetime_or_a_margin_early() {
        let (strict, gentle) = [TokenKeeper::strict, TokenKeeper::gentle]
            .map(|of| of(Duration::from_secs(60), Redactor::default()))
            .into();
        for (life, for_few, for_many) in [
            (21600, 18360, 18360),
            (400, 340, 340),
            (300, 240, 240),
            (90, 30, 45),
            (60, 0, 30),
            (4, 0, 2),
            (0, 0, 0),
        ] {
            let life = Duration::from_secs(life);
            assert_eq!(strict.renew_after(life), Duration::from_secs(for_few), "{life:?}");
            assert_eq!(gentle.renew_after(life), Duration::from_secs(for_many), "{life:?}");
        }
    }

    #[test]
    fn the_lifetime_is_read_as_services_write_it() {
        for (expires_in, want) in [
            (r#","expires_in":300"#, (300, 300)),
            (r#","expires_in":"300""#, (300, 300)),
            (r#","expires_in":-1"#, (0, 3600)),
            (r#","expires_in":1e300"#, (86_400, 86_400)),
            (r#","expires_in":null"#, (3600, 3600)),
            ("", (3600, 3600)),
        ] {
            let body = format!(r#"{{"access_token":"token"{expires_in}}}"#);
            let grant = Grant::read(body.as_bytes()).unwrap();
            let [few, many] = [TokenKeeper::strict, TokenKeeper::gentle]
                .map(|of| of(Duration::ZERO, Redactor::default()).life(grant.seconds).as_secs());
            assert_eq!((few, many), want, "{body}");
        }
        for body in ["", "{}", r#"{"access_token":""}"#, r#"{"access_token":7}"#] {
            assert!(Grant::read(body.as_bytes()).is_none(), "{body}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_expired_while_the_machine_slept_is_renewed() {
        let keeper = TokenKeeper::strict(Duration::from_secs(60), Redactor::default());
        let started = now();
        let mut serials = Vec::new();
        for wall in
            ["2026-05-02T09:00:00Z", "2026-05-02T09:30:00Z", "2026-05-02T11:00:00Z", "2026-05-02T08:00:00Z"]
        {
            let now = Moment { wall: wall.parse().unwrap(), ..started };
            serials.push(keeper.get(now, None, granted(3600, now)).await.unwrap().serial());
        }
        assert_eq!(serials, [1, 1, 2, 2]);
        tokio::time::advance(Duration::from_secs(3600)).await;
        let now = Moment { wall: started.wall, ..now() };
        assert_eq!(keeper.get(now, None, granted(3600, now)).await.unwrap().serial(), 3);
    }

    /// A token that is due for renewal but has not expired is used if its renewal fails.
    #[tokio::test(start_paused = true)]
    async fn a_rejected_token_is_replaced_once_and_a_valid_one_survives_a_failed_renewal() {
        let keeper = TokenKeeper::strict(Duration::from_secs(60), Redactor::default());
        let first = keeper.get(now(), None, granted(100, now())).await.unwrap().serial();
        for _ in 0..3 {
            assert_eq!(keeper.get(now(), Some(first), granted(100, now())).await.unwrap().serial(), 2);
        }
        tokio::time::advance(Duration::from_secs(50)).await;
        assert_eq!(keeper.get(now(), None, async { Err("away") }).await.unwrap().serial(), 2);
        assert_eq!(keeper.get(now(), Some(2), async { Err("away") }).await.unwrap_err(), "away");
    }
}
