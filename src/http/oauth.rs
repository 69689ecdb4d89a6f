//! The only keeper of OAuth access tokens that are granted for client credentials: fetched once, shared by all
//! requests, renewed in time, and once more when the far end refuses one.
//!
//! It sends nothing again and knows no tenant and no source: whoever wants a token gives the future that fetches one,
//! with its own deadline and retries. Start at [`TokenKeeper::get`].

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reqwest::header::{AUTHORIZATION, InvalidHeaderValue};
use reqwest::{Client, RequestBuilder};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::Url;

use crate::domain::connector::SendAs;
use crate::secrets::{self, Redactor};

/// A token that does not say how long it lives.
const DEFAULT_LIFE: Duration = Duration::from_secs(3600);

/// A new token is fetched once a day whatever a token says: some services write a number beyond any calendar for
/// "always", and a revoked client should not be served for longer.
const MAX_LIFE: Duration = Duration::from_secs(24 * 3600);

/// Of its life a token is used this much; the rest is for far ends whose clocks differ.
const USED: f64 = 0.85;

/// Tokens that are redacted: requests under way may still carry the one before.
const REDACTED: u64 = 2;

/// A moment on both clocks: the monotonic one stands still while a machine sleeps, the other can be set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moment {
    /// The monotonic clock.
    pub instant: Instant,
    /// The wall clock.
    pub wall: Timestamp,
}

impl Moment {
    /// The present one.
    pub fn now() -> Moment {
        Moment { instant: Instant::now(), wall: Timestamp::now() }
    }

    fn after(self, wait: Duration) -> Moment {
        let wall = SignedDuration::try_from(wait).ok().and_then(|wait| self.wall.checked_add(wait).ok());
        Moment { instant: self.instant + wait, wall: wall.unwrap_or(Timestamp::MAX) }
    }

    /// Neither clock has reached `other`.
    fn is_before(self, other: Moment) -> bool {
        self.instant < other.instant && self.wall < other.wall
    }
}

/// What the token endpoint granted.
#[derive(Debug)]
pub struct Grant {
    secret: SecretString,
    seconds: Option<f64>,
}

impl Grant {
    /// Reads the body of an answer with status 2xx; `None` if it holds no access token.
    pub fn read(body: &[u8]) -> Option<Grant> {
        let answer: serde_json::Value = serde_json::from_slice(body).ok()?;
        let secret = answer.get("access_token")?.as_str().filter(|text| !text.is_empty())?;
        let seconds =
            answer.get("expires_in").and_then(|life| life.as_f64().or_else(|| life.as_str()?.parse().ok()));
        Some(Grant { secret: SecretString::from(secret), seconds })
    }
}

/// An access token, and which one it is.
#[derive(Debug, Clone)]
pub struct AccessToken {
    secret: SecretString,
    serial: u64,
    renew_at: Moment,
    expires_at: Moment,
}

impl AccessToken {
    /// Tells tokens apart without comparing secrets.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// What is sent.
    pub fn secret(&self) -> &SecretString {
        &self.secret
    }
}

/// Keeps one access token.
#[derive(Debug)]
pub struct TokenKeeper {
    /// A token must live this much longer than the moment it is sent, or at least half of its life if `gently`.
    margin: Duration,
    gently: bool,
    redactor: Redactor,
    /// Held while a token is fetched: all others wait for that one.
    kept: Mutex<(u64, Option<AccessToken>)>,
}

impl TokenKeeper {
    /// A keeper that renews `margin` before a token ends, whatever its life: for few requests, none of which may meet
    /// an expired token.
    pub fn strict(margin: Duration, redactor: Redactor) -> TokenKeeper {
        TokenKeeper { margin, gently: false, redactor, kept: Mutex::default() }
    }

    /// A keeper that uses each token for half of its life at least: for many requests, which would otherwise fetch a
    /// short-lived token each.
    pub fn gentle(margin: Duration, redactor: Redactor) -> TokenKeeper {
        TokenKeeper { gently: true, ..TokenKeeper::strict(margin, redactor) }
    }

    /// A token to send; another one than `refused`, which the far end did not accept. `fetch` is polled only if a new
    /// one is needed, by one caller at a time; it also says when it asked.
    ///
    /// # Errors
    /// What `fetch` says, unless the token that is due for renewal is still good.
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

    /// Forgets a token that was refused, unless another one has taken its place.
    pub async fn discard(&self, refused: u64) {
        self.kept.lock().await.1.take_if(|token| token.serial == refused);
    }

    /// A life below zero has ended, or means nothing: whoever makes many requests would fetch a token for each.
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

/// Who asks for a token, and how it is sent.
pub struct ClientCredentials<'a> {
    /// The client.
    pub id: &'a str,
    /// Its secret.
    pub secret: &'a SecretString,
    /// What the token is for, where the service wants that.
    pub scope: Option<String>,
    /// Where they stand in the request.
    pub send: SendAs,
}

impl ClientCredentials<'_> {
    /// The request for a token.
    ///
    /// # Errors
    /// When the credentials cannot be carried by a header.
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

    /// A long-lived token is renewed at 85 % of its life, a short-lived one a margin early, never too late.
    #[test]
    fn renews_in_time() {
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
    fn lives_as_services_write_them() {
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

    /// A machine that slept renews a token that ended meanwhile, though the monotonic clock stood still.
    #[tokio::test(start_paused = true)]
    async fn sleep_of_the_machine_counts() {
        let keeper = TokenKeeper::strict(Duration::from_secs(60), Redactor::default());
        let began = now();
        let mut serials = Vec::new();
        for wall in
            ["2026-05-02T09:00:00Z", "2026-05-02T09:30:00Z", "2026-05-02T11:00:00Z", "2026-05-02T08:00:00Z"]
        {
            let now = Moment { wall: wall.parse().unwrap(), ..began };
            serials.push(keeper.get(now, None, granted(3600, now)).await.unwrap().serial());
        }
        assert_eq!(serials, [1, 1, 2, 2]);
        tokio::time::advance(Duration::from_secs(3600)).await;
        let now = Moment { wall: began.wall, ..now() };
        assert_eq!(keeper.get(now, None, granted(3600, now)).await.unwrap().serial(), 3);
    }

    /// A refused token is replaced once, however many refused it; one that is only due survives a failed renewal.
    #[tokio::test(start_paused = true)]
    async fn replaces_what_was_refused_and_keeps_what_is_good() {
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
