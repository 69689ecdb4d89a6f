//! How a request to Qlik Cloud proves who we are: an API key as it is, or a token fetched with OAuth
//! machine-to-machine credentials, kept and renewed.
//!
//! Start at [`Bearer::get`].

use std::time::Duration;

use reqwest::Client;
use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::Url;

use super::TargetError;
use super::qlik::{Answer, Words, exchange};

/// A token that does not say how long it lives.
const DEFAULT_LIFE: Duration = Duration::from_secs(3600);

/// Whatever a token says, a new one is fetched once a day.
const MAX_LIFE: Duration = Duration::from_secs(24 * 3600);

/// A token must live this much longer than the moment it is sent.
const MARGIN: Duration = Duration::from_secs(60);

/// How we sign in.
#[derive(Debug)]
pub enum QlikCredentials {
    /// A key of a user with the role TenantAdmin.
    ApiKey(SecretString),
    /// An OAuth client with the grant `client_credentials`.
    OAuth {
        /// Its public name.
        client_id: String,
        /// Its secret.
        client_secret: SecretString,
    },
}

/// A source of bearer tokens for one tenant.
#[derive(Debug)]
pub(super) struct Bearer {
    credentials: QlikCredentials,
    token_url: Url,
    /// Held while a token is fetched: all others wait for that one.
    kept: Mutex<Option<Token>>,
}

/// What goes into one request.
#[derive(Debug, Clone)]
pub(super) struct Token {
    secret: SecretString,
    /// `None` for a key that we cannot renew. Also tells tokens apart without comparing secrets.
    life: Option<Life>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Life {
    asked_at: Instant,
    renew_at: Instant,
    expires_at: Instant,
}

impl Bearer {
    pub(super) fn new(credentials: QlikCredentials, token_url: Url) -> Bearer {
        Bearer { credentials, token_url, kept: Mutex::new(None) }
    }

    /// A token to send; another one than `refused`, which the tenant did not take.
    pub(super) async fn get(&self, client: &Client, refused: Option<&Token>) -> Result<Token, TargetError> {
        let (client_id, client_secret) = match &self.credentials {
            QlikCredentials::ApiKey(key) => {
                return Ok(Token { secret: key.clone(), life: None });
            }
            QlikCredentials::OAuth { client_id, client_secret } => (client_id, client_secret),
        };
        let mut kept = self.kept.lock().await;
        kept.take_if(|kept| refused.is_some_and(|refused| refused.life == kept.life));
        if let Some(token) = kept.as_ref().filter(|token| token.is_before(|life| life.renew_at)) {
            return Ok(token.clone());
        }
        match self.fetch(client, client_id, client_secret).await {
            Ok(token) => {
                *kept = Some(token.clone());
                Ok(token)
            }
            // Due for renewal, but still good.
            Err(error) => kept.clone().filter(|token| token.is_before(|life| life.expires_at)).ok_or(error),
        }
    }

    /// Lets go of a token that was refused, so that the next request fetches another one.
    pub(super) async fn discard(&self, refused: &Token) {
        self.kept.lock().await.take_if(|kept| kept.life == refused.life);
    }

    /// Whether a token that was refused can be replaced.
    pub(super) fn can_renew(&self) -> bool {
        matches!(self.credentials, QlikCredentials::OAuth { .. })
    }

    async fn fetch(
        &self,
        client: &Client,
        client_id: &str,
        client_secret: &SecretString,
    ) -> Result<Token, TargetError> {
        let request = client.post(self.token_url.clone()).json(&json!({
            "client_id": client_id,
            "client_secret": client_secret.expose_secret(),
            "grant_type": "client_credentials",
        }));
        let asked_at = Instant::now();
        let words = Words { secrets: vec![client_secret] };
        let answer = exchange(request, &words).await?;
        if !answer.status.is_success() {
            return Err(match answer.error(&words) {
                TargetError::Refused { detail }
                | TargetError::Unauthorised { detail }
                | TargetError::Forbidden { detail } => {
                    TargetError::Unauthorised { detail: format!("no token: {detail}") }
                }
                other => other,
            });
        }
        Token::read(&answer, asked_at)
    }
}

impl Token {
    fn read(answer: &Answer, asked_at: Instant) -> Result<Token, TargetError> {
        #[derive(Deserialize)]
        struct Body {
            access_token: SecretString,
            #[serde(default)]
            expires_in: Option<serde_json::Value>,
        }
        // The library's own message is left out: it could repeat a part of the token.
        let unreadable = || TargetError::Trouble {
            wait: None,
            detail: "the answer to the request for a token holds no access_token".into(),
        };
        let body: Body = serde_json::from_slice(answer.body()).map_err(|_| unreadable())?;
        if body.access_token.expose_secret().is_empty() {
            return Err(unreadable());
        }
        let seconds = body.expires_in.and_then(|life| match life {
            serde_json::Value::String(text) => text.parse::<f64>().ok(),
            other => other.as_f64(),
        });
        let life =
            seconds.map_or(DEFAULT_LIFE, |s| Duration::try_from_secs_f64(s.max(0.0)).unwrap_or(MAX_LIFE));
        let life = life.min(MAX_LIFE);
        Ok(Token {
            secret: body.access_token,
            life: Some(Life {
                asked_at,
                renew_at: asked_at + renew_after(life),
                expires_at: asked_at + life,
            }),
        })
    }

    fn is_before(&self, moment: fn(Life) -> Instant) -> bool {
        self.life.is_some_and(|life| Instant::now() < moment(life))
    }

    /// The header's value, kept out of debug output.
    pub(super) fn header(&self) -> Result<HeaderValue, TargetError> {
        let mut value =
            HeaderValue::try_from(format!("Bearer {}", self.secret.expose_secret())).map_err(|_| {
                TargetError::Unauthorised {
                    detail: "the key or token holds characters that cannot be sent".into(),
                }
            })?;
        value.set_sensitive(true);
        Ok(value)
    }

    pub(super) fn secret(&self) -> &SecretString {
        &self.secret
    }
}

/// 85 % of a long life; of a short one what leaves a minute.
fn renew_after(life: Duration) -> Duration {
    life.mul_f64(0.85).min(life.saturating_sub(MARGIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A long-lived token is renewed at 85 % of its life, a short-lived one a minute early, never too late.
    #[test]
    fn renews_in_time() {
        for (life, want) in [(21600, 18360), (400, 340), (300, 240), (90, 30), (60, 0), (5, 0), (0, 0)] {
            assert_eq!(renew_after(Duration::from_secs(life)), Duration::from_secs(want), "{life}");
        }
    }
}
