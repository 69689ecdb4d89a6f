//! Authentication at Qlik Cloud: an API key, or an access token requested with OAuth machine-to-machine credentials, which is
//! cached and renewed.
//!
//! Start at [`Bearer::get`].

use std::time::Duration;

use reqwest::Client;
use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::answer::{REQUEST_TIMEOUT, TargetError, Words, exchange};
use crate::domain::syncing::definition::connector::SendAs;
use crate::http::oauth::{AccessToken, ClientCredentials, Grant, Moment, TokenKeeper};
use crate::secrets::{self, Redactor};

/// Minimum remaining lifetime of a token when it is sent.
const MARGIN: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub enum QlikCredentials {
    /// A key of a user with the role TenantAdmin.
    ApiKey(SecretString),
    /// An OAuth client with the grant `client_credentials`.
    OAuth { client_id: String, client_secret: SecretString },
}

/// A source of bearer tokens for one tenant.
#[derive(Debug)]
pub(super) struct Bearer {
    credentials: QlikCredentials,
    token_url: Url,
    keeper: TokenKeeper,
    redactor: Redactor,
}

/// The token of one request.
#[derive(Debug, Clone)]
pub(super) struct Token {
    secret: SecretString,
    /// `None` for an API key, which cannot be renewed.
    serial: Option<u64>,
}

impl Bearer {
    pub(super) fn new(credentials: QlikCredentials, token_url: Url, redactor: Redactor) -> Bearer {
        match &credentials {
            QlikCredentials::ApiKey(key) => redactor.register("QLIK_API_KEY", key),
            QlikCredentials::OAuth { client_id, client_secret } => {
                redactor.register("QLIK_CLIENT_SECRET", client_secret);
                redactor.register_basic("QLIK_CLIENT_ID", client_id, client_secret.expose_secret());
            }
        }
        let keeper = TokenKeeper::strict(MARGIN, redactor.clone());
        Bearer { credentials, token_url, keeper, redactor }
    }

    /// Returns a token to send, different from `refused`, which the tenant rejected.
    pub(super) async fn get(&self, client: &Client, refused: Option<&Token>) -> Result<Token, TargetError> {
        match &self.credentials {
            QlikCredentials::ApiKey(key) => Ok(Token { secret: key.clone(), serial: None }),
            QlikCredentials::OAuth { client_id, client_secret } => {
                let refused = refused.and_then(|refused| refused.serial);
                let fetch = self.fetch(client, client_id, client_secret);
                let token = self.keeper.get(Moment::now(), refused, fetch).await?;
                Ok(Token::from(token))
            }
        }
    }

    /// Discards a rejected token, so that the next request gets a new one.
    pub(super) async fn discard(&self, refused: &Token) {
        if let Some(serial) = refused.serial {
            self.keeper.discard(serial).await;
        }
    }

    /// Whether a rejected token can be replaced.
    pub(super) fn can_renew(&self) -> bool {
        matches!(self.credentials, QlikCredentials::OAuth { .. })
    }

    async fn fetch(
        &self,
        client: &Client,
        id: &str,
        secret: &SecretString,
    ) -> Result<(Grant, Moment), TargetError> {
        let credentials = ClientCredentials { id, secret, scope: None, send: SendAs::Json };
        let request = credentials.request(client, self.token_url.clone()).map_err(|_| unsendable())?;
        let asked_at = Moment::now();
        let words = Words::new(&self.redactor);
        let answer = exchange(request, &words, REQUEST_TIMEOUT).await?;
        if !answer.status.is_success() {
            return Err(match answer.error(&words) {
                TargetError::Refused { detail }
                | TargetError::Unauthorised { detail }
                | TargetError::Forbidden { detail } => {
                    TargetError::Unauthorised { detail: format!("no access token: {detail}") }
                }
                other => other,
            });
        }
        let unreadable = || TargetError::Trouble {
            wait: None,
            detail: "the response of the token endpoint contains no access_token".into(),
        };
        Ok((Grant::read(answer.body()).ok_or_else(unreadable)?, asked_at))
    }
}

impl From<AccessToken> for Token {
    fn from(token: AccessToken) -> Token {
        Token { secret: token.secret().clone(), serial: Some(token.serial()) }
    }
}

impl Token {
    /// The header value, marked as sensitive.
    pub(super) fn header(&self) -> Result<HeaderValue, TargetError> {
        secrets::bearer(&self.secret).map_err(|_| unsendable())
    }
}

fn unsendable() -> TargetError {
    TargetError::Unauthorised {
        detail: "the API key or token contains characters that cannot be sent".into(),
    }
}
