//! A Slack bot: one message per incident, which is edited in place, and a reply in its thread when people should look again.
//!
//! An edit notifies no one, hence the replies. An answer with `"ok": false` is an error whatever its status. Facts:
//! <https://docs.slack.dev/reference/methods/chat.postMessage>, <https://docs.slack.dev/reference/methods/chat.update>,
//! <https://docs.slack.dev/reference/block-kit/blocks>.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use reqwest::Client;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::exchange::{SEND_TIMEOUT, clean, exchange};
use super::{Channel, ChannelError, texts};
use crate::domain::monitoring::news::{News, NewsState, Receipt};
use crate::domain::text;
use crate::secrets::{self, Redactor};

/// The Web API for all but GovSlack.
const API: &str = "https://slack.com/api";

/// Slack's limit of a header is 150 characters.
const MAX_HEADER: usize = 150;

/// Slack's limit of the text of a section is 3,000 characters.
const MAX_SECTION: usize = 2_900;

/// More would be a wall of text. Slack's limit is 50 blocks.
const MAX_LINES: usize = 50;

/// Longest notification, in characters.
const MAX_TEXT: usize = 300;

/// Errors of an update after which the message is posted again: it was deleted, may no longer be edited, or its channel can no
/// longer be used and the definition may name another one by now.
const POST_AGAIN: [&str; 7] = [
    "message_not_found",
    "cant_update_message",
    "edit_window_closed",
    "channel_not_found",
    "is_archived",
    "not_in_channel",
    "is_inactive",
];

/// The words for a rate limit, with a status of 200 or 429. Source: the list of errors of `chat.postMessage`.
const LIMITED: [&str; 3] = ["ratelimited", "rate_limited", "message_limit_exceeded"];

/// A bot that posts to one channel.
pub struct SlackBot {
    client: Client,
    api: String,
    channel: String,
    /// The variable of its token.
    variable: String,
    authorization: HeaderValue,
    redactor: Redactor,
    /// Id of the message of the last update. If its reply has to wait, only the reply is retried; after a restart, both.
    updated: Mutex<String>,
}

/// Where a message is.
#[derive(Debug, PartialEq)]
struct MessagePlace {
    /// Updates accept only the id from the answer, never a name.
    channel: String,
    ts: String,
}

/// A failed call.
enum SlackError {
    /// The word in `error`.
    Word(String),
    Other(ChannelError),
}

impl SlackBot {
    /// `variable` names the variable of the token, for errors. The client must not follow redirects.
    ///
    /// # Errors
    /// If the token has a character that is not allowed in a header.
    pub fn new(
        client: Client,
        api: Option<&str>,
        channel: &str,
        variable: String,
        token: &SecretString,
    ) -> Result<SlackBot, String> {
        let redactor = Redactor::default();
        redactor.register(&variable, token);
        let authorization = secrets::bearer(token)
            .map_err(|_| format!("{variable} contains a character that no token has; copy it again"))?;
        let api = api.unwrap_or(API).trim_end_matches('/').to_owned();
        let (channel, updated) = (channel.to_owned(), Mutex::default());
        Ok(SlackBot { client, api, channel, variable, authorization, redactor, updated })
    }

    async fn call(&self, method: &str, body: &Value, deadline: Instant) -> Result<Value, SlackError> {
        let request = self.client.post(format!("{}/{method}", self.api));
        let request = request.header(AUTHORIZATION, self.authorization.clone()).json(body);
        let answer = exchange(request, deadline, &self.redactor).await.map_err(SlackError::Other)?;
        if !answer.status.is_success() {
            return Err(SlackError::Other(answer.error(&self.redactor, "`api_url`")));
        }
        let unclear = |detail: String| {
            SlackError::Other(ChannelError::Trouble { wait: answer.wait, perhaps_sent: true, detail })
        };
        if let Some(cut) = &answer.cut {
            return Err(unclear(clean(&self.redactor, &cut.to_string())));
        }
        let reply: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        match (reply["ok"].as_bool(), reply["error"].as_str()) {
            (Some(true), _) => Ok(reply),
            (Some(false), Some(word)) if LIMITED.contains(&word) => {
                Err(SlackError::Other(ChannelError::RateLimited {
                    wait: answer.wait,
                    detail: word.to_owned(),
                }))
            }
            // The documentation says of these that some of the work may be done.
            (Some(false), Some(word @ ("fatal_error" | "internal_error"))) => Err(unclear(word.to_owned())),
            (Some(false), Some(word @ ("service_unavailable" | "request_timeout" | "team_added_to_org"))) => {
                Err(SlackError::Other(ChannelError::Trouble {
                    wait: answer.wait,
                    perhaps_sent: false,
                    detail: word.to_owned(),
                }))
            }
            (Some(false), word) => Err(SlackError::Word(word.unwrap_or("no reason").to_owned())),
            (None, _) => Err(unclear(format!("unexpected response: {}", answer.describe(&self.redactor)))),
        }
    }

    async fn post(
        &self,
        channel: &str,
        thread: Option<&str>,
        content: Value,
        deadline: Instant,
    ) -> Result<MessagePlace, SlackError> {
        let mut body = content;
        body["channel"] = channel.into();
        (body["unfurl_links"], body["unfurl_media"]) = (false.into(), false.into());
        if let Some(thread) = thread {
            body["thread_ts"] = thread.into();
        }
        let reply = self.call("chat.postMessage", &body, deadline).await?;
        let place = |key: &str| reply[key].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        place("channel").zip(place("ts")).map(|(channel, ts)| MessagePlace { channel, ts }).ok_or_else(|| {
            SlackError::Other(ChannelError::Trouble {
                wait: None,
                perhaps_sent: true,
                detail: "the response has no `channel` or `ts`".to_owned(),
            })
        })
    }

    async fn update(&self, place: &MessagePlace, news: &News, deadline: Instant) -> Result<(), SlackError> {
        if *self.updated() == news.id {
            return Ok(());
        }
        let mut body = content(news);
        (body["channel"], body["ts"]) = (place.channel.as_str().into(), place.ts.as_str().into());
        self.call("chat.update", &body, deadline).await?;
        self.updated().clone_from(&news.id);
        Ok(())
    }

    fn updated(&self) -> MutexGuard<'_, String> {
        self.updated.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self, error: SlackError) -> ChannelError {
        let word = match error {
            SlackError::Other(error) => return error,
            SlackError::Word(word) => clean(&self.redactor, &word),
        };
        let hint = match word.as_str() {
            "not_in_channel" => "invite the bot to the channel: /invite @its-name".to_owned(),
            "channel_not_found" => {
                format!("no channel {}, or a private one without the bot; invite it", self.channel)
            }
            "is_archived" => {
                format!("channel {} is archived; unarchive it or name another one", self.channel)
            }
            "missing_scope" | "no_permission" => {
                "add the scope chat:write to the app and install it again".to_owned()
            }
            "invalid_auth" | "not_authed" | "token_revoked" | "token_expired" | "account_inactive" => {
                format!("check {}", self.variable)
            }
            _ => return ChannelError::Refused(format!("Slack answered `{word}`")),
        };
        ChannelError::Refused(format!("Slack answered `{word}`: {hint}"))
    }
}

#[async_trait]
impl Channel for SlackBot {
    async fn send(&self, news: &News, last: Option<&Receipt>) -> Result<Receipt, ChannelError> {
        let deadline = Instant::now() + SEND_TIMEOUT;
        if let Some(place) = last.and_then(MessagePlace::read) {
            match self.update(&place, news, deadline).await {
                Ok(()) => {
                    self.reply(&place, news, deadline).await?;
                    return Ok(place.receipt());
                }
                Err(SlackError::Word(word)) if POST_AGAIN.contains(&word.as_str()) => {
                    tracing::warn!(target: "Messenger", "Slack cannot change the earlier message ({word}); posting another one.");
                }
                Err(error) => return Err(self.error(error)),
            }
        }
        let posted = self.post(&self.channel, None, content(news), deadline).await;
        posted.map(|place| place.receipt()).map_err(|error| self.error(error))
    }

    fn redactor(&self) -> &Redactor {
        &self.redactor
    }
}

impl SlackBot {
    /// Replies in the thread of a changed message if people should look again.
    async fn reply(&self, place: &MessagePlace, news: &News, deadline: Instant) -> Result<(), ChannelError> {
        if !(news.is_worse() || news.reminder || news.state == NewsState::Resolved) {
            return Ok(());
        }
        let content = reply(news);
        match self.post(&place.channel, Some(&place.ts), content, deadline).await {
            Ok(_) => Ok(()),
            // The message itself is right, and a locked thread stays locked.
            Err(SlackError::Word(word)) => {
                tracing::warn!(target: "Messenger", "Slack rejected a reply in the thread: {}", clean(&self.redactor, &word));
                Ok(())
            }
            // People see the update already, whatever became of the reply.
            Err(SlackError::Other(error)) => Err(ChannelError::Trouble {
                wait: error.retry_after(),
                perhaps_sent: true,
                detail: format!("the message was updated, but not its thread: {error}"),
            }),
        }
    }
}

impl MessagePlace {
    fn read(receipt: &Receipt) -> Option<MessagePlace> {
        let (channel, ts) = receipt.0.split_once('/')?;
        Some(MessagePlace { channel: channel.to_owned(), ts: ts.to_owned() })
    }

    fn receipt(&self) -> Receipt {
        Receipt(format!("{}/{}", self.channel, self.ts))
    }
}

fn plain(text: &str) -> Value {
    json!({ "type": "plain_text", "text": text, "emoji": false })
}

/// The blocks, and the text of notifications. No text of a status page is formatted, and none addresses anyone.
fn content(news: &News) -> Value {
    let title = texts::title(news);
    let mut blocks = vec![json!({ "type": "header", "text": plain(&text::shorten(&title, MAX_HEADER)) })];
    let mut section = String::new();
    for line in news.lines(MAX_LINES, usize::MAX) {
        if !section.is_empty() && section.chars().count() + line.chars().count() >= MAX_SECTION {
            blocks.push(json!({ "type": "section", "text": plain(&section) }));
            section.clear();
        }
        if !section.is_empty() {
            section.push('\n');
        }
        section.push_str(&line);
    }
    if !section.is_empty() {
        blocks.push(json!({ "type": "section", "text": plain(&section) }));
    }
    let mut elements = vec![plain(&news.start())];
    if let Some(url) = &news.link {
        elements.push(json!({ "type": "mrkdwn", "text": texts::link(url, texts::LINK), "verbatim": true }));
    }
    blocks.push(json!({ "type": "context", "elements": elements }));
    json!({
        "text": texts::mrkdwn(&text::shorten(&title, MAX_TEXT)),
        "mrkdwn": false,
        // The default of an update differs from that of a post.
        "parse": "none",
        "link_names": false,
        "blocks": blocks,
    })
}

/// The title, and the services that became worse.
fn reply(news: &News) -> Value {
    let worse = News {
        services: news.services.iter().filter(|service| service.worse).cloned().collect(),
        more: 0,
        ..news.clone()
    };
    let title = text::shorten(&texts::title(news), MAX_TEXT).into_owned();
    let lines = worse.lines(MAX_LINES, MAX_SECTION - title.len());
    let mut block = title.clone();
    for line in lines {
        block.push('\n');
        block.push_str(&line);
    }
    json!({
        "text": texts::mrkdwn(&title),
        "mrkdwn": false,
        "parse": "none",
        "link_names": false,
        "blocks": [{ "type": "section", "text": plain(&block) }],
    })
}
