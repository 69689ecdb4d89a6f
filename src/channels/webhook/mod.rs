//! A webhook: one POST per message.
//!
//! Any 2xx is accepted, unless the body says that it failed. The address is a secret in all its parts. Start at the implementation
//! of [`Channel`].

mod body;
mod signature;
mod teams;

use async_trait::async_trait;
use percent_encoding::percent_decode_str;
use reqwest::Client;
use reqwest::header::CONTENT_TYPE;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use super::exchange::{ChannelAnswer, SEND_TIMEOUT, clean, exchange, now};
use super::{Channel, ChannelError};
use crate::domain::monitoring::news::channel::{ChannelSecret, WebhookFormat, variable};
use crate::domain::monitoring::news::{News, Receipt};
use crate::domain::urls::is_loopback;
use crate::secrets::{self, Redactor};

use signature::signing_key;

/// A part of the address that is shorter says nothing and occurs in ordinary texts.
const SHORTEST_PART: usize = 8;

/// No word of an ordinary text is this long.
const LONGEST_WORD: usize = 16;

/// What old Teams connectors answer with 200 when they fail.
const TEAMS_FAILURE: &str = "Webhook message delivery failed";

/// An address that messages are sent to.
pub struct Webhook {
    client: Client,
    url: Url,
    format: WebhookFormat,
    /// The variable of the address.
    variable: String,
    key: Option<ring::hmac::Key>,
    redactor: Redactor,
    /// Also redacts each part of the address. Only for texts of the receiver: a part may be a word of our own log.
    echoes: Redactor,
}

impl Webhook {
    /// The client must not follow redirects. `signing`: see [`signing_key`].
    ///
    /// # Errors
    /// If the address or the signing secret cannot be used. Neither is repeated.
    pub fn new(
        client: Client,
        channel: &str,
        format: WebhookFormat,
        url: &SecretString,
        signing: Option<&SecretString>,
    ) -> Result<Webhook, String> {
        let name = variable(channel, ChannelSecret::Url);
        let redactor = Redactor::default();
        redactor.register(&name, url);
        let text = url.expose_secret().trim();
        let parsed = Url::parse(text).map_err(|e| format!("{name} is not a URL ({e})"))?;
        let secure = parsed.scheme() == "https" || parsed.scheme() == "http" && is_loopback(&parsed);
        if !secure || parsed.host().is_none() {
            return Err(format!("{name} must begin with https:// (plain http only to this machine)"));
        }
        for (part, text) in [
            ("normal form", parsed.as_str()),
            ("path and query", &parsed[url::Position::BeforePath..url::Position::AfterQuery]),
            ("path", parsed.path()),
        ] {
            if text.len() >= SHORTEST_PART {
                redactor.register(&format!("{name} {part}"), &SecretString::from(text));
            }
        }
        if let Some(password) = parsed.password() {
            let password = decoded(password);
            redactor.register_basic(&format!("{name} login"), &decoded(parsed.username()), &password);
            redactor.register(&format!("{name} password"), &SecretString::from(password));
        }
        let echoes = Redactor::default();
        echoes.include("channel", &redactor);
        for (number, part) in parts(&parsed).into_iter().enumerate() {
            echoes.register(&format!("part {number}"), &SecretString::from(part));
        }
        let mut key = None;
        if let Some(signing) = signing {
            let name = variable(channel, ChannelSecret::Signing);
            redactor.register(&name, signing);
            key = Some(signing_key(signing).map_err(|why| format!("{name} {why}"))?);
        }
        Ok(Webhook { client, url: parsed, format, variable: name, key, redactor, echoes })
    }
}

#[async_trait]
impl Channel for Webhook {
    async fn send(&self, news: &News, _: Option<&Receipt>) -> Result<Receipt, ChannelError> {
        let body = body::of(self.format, news).to_string();
        let mut request = self.client.post(self.url.clone()).header(CONTENT_TYPE, "application/json");
        let stamp = now().as_second().to_string();
        // A signature needs both. Without one, receivers of other formats may reject what they do not know.
        if self.format == WebhookFormat::Json || self.key.is_some() {
            request = request.header("webhook-id", &news.id).header("webhook-timestamp", &stamp);
        }
        if let Some(key) = &self.key {
            let signature = signature::sign(key, &news.id, &stamp, &body);
            let value = secrets::header(&signature).map_err(|e| ChannelError::Refused(e.to_string()))?;
            request = request.header("webhook-signature", value);
        }
        let answer = exchange(request.body(body), Instant::now() + SEND_TIMEOUT, &self.echoes).await?;
        if self.format == WebhookFormat::Apprise
            && let Some(error) = self.apprise_error(&answer)
        {
            return Err(error);
        }
        if !answer.status.is_success() {
            return Err(answer.error(&self.echoes, &self.variable));
        }
        if let Some(failure) = failure_in(&answer.body) {
            let detail = format!("HTTP {}, but it failed: {failure}", answer.status.as_u16());
            let detail = clean(&self.echoes, &detail);
            // Some of the work may be done.
            return Err(ChannelError::Trouble { wait: answer.wait, perhaps_sent: true, detail });
        }
        Ok(Receipt(format!("accepted with HTTP {}", answer.status.as_u16())))
    }

    fn redactor(&self) -> &Redactor {
        &self.redactor
    }
}

impl Webhook {
    /// What the statuses of an Apprise API server mean beyond HTTP. Source:
    /// <https://github.com/caronc/apprise-api/blob/master/apprise_api/api/views.py>.
    fn apprise_error(&self, answer: &ChannelAnswer) -> Option<ChannelError> {
        match answer.status.as_u16() {
            204 => Some(ChannelError::Refused(format!(
                "HTTP 204: no target belongs to the address; check {}",
                self.variable
            ))),
            424 => Some(ChannelError::InPart(format!(
                "not all targets got the message, and it is not repeated: {}",
                answer.describe(&self.echoes)
            ))),
            _ => None,
        }
    }
}

/// The parts of an address that a receiver may repeat alone, as they are and decoded.
fn parts(url: &Url) -> Vec<String> {
    let mut segments: Vec<&str> = url.path().split('/').filter(|segment| !segment.is_empty()).collect();
    // Often the only secret, and sometimes a word, such as the key of an Apprise API server.
    let last = segments.pop();
    segments.retain(|part| part.len() >= LONGEST_WORD || part.contains(|c: char| c.is_ascii_digit()));
    let pairs = url.query().unwrap_or_default().split('&');
    let values = pairs.map(|pair| pair.split_once('=').map_or(pair, |(_, value)| value));
    let all = segments.into_iter().chain(last).chain(values).chain(url.host_str()).chain([url.username()]);
    all.flat_map(|part| [part.to_owned(), decoded(part)]).filter(|part| part.len() >= SHORTEST_PART).collect()
}

fn decoded(part: &str) -> String {
    percent_decode_str(part).decode_utf8_lossy().into_owned()
}

/// The failure that a body states although the status is a success.
fn failure_in(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    if text.contains(TEAMS_FAILURE) {
        return Some(text.into_owned());
    }
    let reply: Value = serde_json::from_slice(body).ok()?;
    let failed = ["ok", "success"].iter().any(|key| reply[*key] == false);
    let error = ["error", "errors"].iter().map(|key| &reply[*key]).find_map(|error| match error {
        Value::String(words) if !words.is_empty() => Some(words.clone()),
        Value::Object(fields) if !fields.is_empty() => Some(error.to_string()),
        Value::Array(items) if !items.is_empty() => Some(error.to_string()),
        Value::Bool(true) => Some("error".to_owned()),
        _ => None,
    });
    error.or_else(|| failed.then(|| text.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_in_the_body_of_a_success_is_found() {
        for (body, failed) in [
            ("", false),
            ("ok", false),
            ("1", false),
            ("<html>thanks</html>", false),
            ("{}", false),
            (r#"{"ok":true}"#, false),
            (r#"{"error":null,"errors":[]}"#, false),
            (r#"{"status":"success","id":"7"}"#, false),
            (r#"{"ok":false,"error":"no_team"}"#, true),
            (r#"{"success":false}"#, true),
            (r#"{"error":"unknown workflow"}"#, true),
            (r#"{"errors":[{"title":"bad"}]}"#, true),
            (
                "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 413",
                true,
            ),
        ] {
            assert_eq!(failure_in(body.as_bytes()).is_some(), failed, "{body}");
        }
    }
}
