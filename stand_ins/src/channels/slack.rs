//! A Slack workspace with a bot: its channels, and their messages and threads as people see them.
//!
//! Start at [`Slack::open`]. Errors that depend on the state (an archived channel, a deleted message, a wrong token) follow
//! from it; others are scripted with [`refusal`].

use std::io;

use serde_json::{Value, json};

use crate::{Reply, Request, Service, StandIn};

/// Where messages are posted.
pub const POST: &str = "POST /api/chat.postMessage";
/// Where they are changed.
pub const UPDATE: &str = "POST /api/chat.update";
/// The token of the bot.
pub const TOKEN: &str = "xoxb-stand-in-token";
/// The bot's channel: its id, and its name.
pub const OPS: (&str, &str) = ("C0STANDIN", "ops");

/// A running workspace.
pub type Slack = StandIn<Workspace>;

/// A message as people see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// The time that identifies it.
    pub ts: String,
    /// The message that it replies to.
    pub thread: Option<String>,
    /// The lines of its blocks.
    pub lines: Vec<String>,
    /// The notification.
    pub text: String,
    /// How often it was changed.
    pub edits: usize,
    /// Deleted by a person.
    pub deleted: bool,
}

/// The state of a workspace.
#[derive(Default)]
pub struct Workspace {
    /// The channel is archived.
    pub archived: bool,
    /// The bot was removed from the channel.
    pub removed: bool,
    messages: Vec<Message>,
    /// Who was pinged.
    pings: Vec<String>,
    faults: Vec<String>,
}

impl Slack {
    /// A workspace with one channel that the bot is in.
    ///
    /// # Errors
    /// When no port is free.
    pub fn open() -> io::Result<Slack> {
        StandIn::serve(Workspace::default())
    }

    /// The address of the Web API.
    pub fn api(&self) -> String {
        format!("{}/api", self.url())
    }
}

#[cfg(feature = "testing")]
mod testing {
    //! What people see in the workspace, and what they do.

    #![expect(clippy::unwrap_used, reason = "a test that goes wrong must stop")]

    use super::{Message, Slack};

    impl Slack {
        /// A workspace that records its requests.
        pub fn start() -> Slack {
            Slack::open().unwrap().recording()
        }

        /// The messages in the channel, without replies and deleted ones.
        pub fn messages(&self) -> Vec<Message> {
            self.read(|workspace| {
                let shown = workspace.messages.iter().filter(|one| one.thread.is_none() && !one.deleted);
                shown.cloned().collect()
            })
        }

        /// The first lines of the replies in all threads, in order.
        pub fn replies(&self) -> Vec<String> {
            self.read(|workspace| {
                let replies = workspace.messages.iter().filter(|one| one.thread.is_some());
                replies.map(|one| one.lines.join(" | ")).collect()
            })
        }

        /// A person deletes a message.
        pub fn delete(&self, ts: &str) {
            self.change(|workspace| {
                workspace.messages.iter_mut().filter(|one| one.ts == ts).for_each(|one| one.deleted = true);
            });
        }

        /// Panics if a message pinged someone, or broke a documented limit.
        pub fn assert_well_behaved(&self) {
            self.read(|workspace| {
                assert!(workspace.pings.is_empty(), "pinged: {:?}", workspace.pings);
                assert!(workspace.faults.is_empty(), "faults: {:?}", workspace.faults);
            });
        }
    }
}

/// An answer with `"ok": false`.
pub fn refusal(word: &str) -> Reply {
    Reply::json(&json!({ "ok": false, "error": word }))
}

/// The answer to too many requests.
pub fn rate_limited(seconds: u32) -> Reply {
    refusal("ratelimited").with_status(429).header("retry-after", &seconds.to_string())
}

impl Service for Workspace {
    fn answer(&mut self, request: &Request) -> Reply {
        if request.bearer() != Some(TOKEN) {
            return refusal("invalid_auth");
        }
        let Some(body) = request.json() else { return refusal("invalid_json") };
        match format!("{} {}", request.method, request.path).as_str() {
            POST => self.post(&body),
            UPDATE => self.update(&body),
            _ => refusal("unknown_method"),
        }
    }

    fn describe(&self) -> String {
        let lines = self.messages.iter().map(|one| format!("\n    {one:?}"));
        format!("{} messages{}", self.messages.len(), lines.collect::<String>())
    }
}

impl Workspace {
    fn post(&mut self, body: &Value) -> Reply {
        let channel = body["channel"].as_str().unwrap_or_default();
        if channel != OPS.0 && channel.trim_start_matches('#') != OPS.1 {
            return refusal("channel_not_found");
        }
        if self.archived {
            return refusal("is_archived");
        }
        if self.removed {
            return refusal("not_in_channel");
        }
        let ts = format!("1777713300.{:06}", self.messages.len() + 1);
        let thread = body["thread_ts"].as_str().map(str::to_owned);
        if thread.as_ref().is_some_and(|thread| !self.messages.iter().any(|one| one.ts == *thread)) {
            return refusal("thread_not_found");
        }
        let (lines, text) = self.show(body);
        self.messages.push(Message { ts: ts.clone(), thread, lines, text, edits: 0, deleted: false });
        Reply::json(&json!({ "ok": true, "channel": OPS.0, "ts": ts, "message": {} }))
    }

    fn update(&mut self, body: &Value) -> Reply {
        // Only the id is accepted.
        if body["channel"] != OPS.0 {
            return refusal("channel_not_found");
        }
        if self.archived {
            return refusal("is_archived");
        }
        let found = self.messages.iter().position(|one| body["ts"] == one.ts.as_str() && !one.deleted);
        let Some(at) = found else { return refusal("message_not_found") };
        let (lines, text) = self.show(body);
        let message = &mut self.messages[at];
        (message.lines, message.text, message.edits) = (lines, text, message.edits + 1);
        Reply::json(&json!({ "ok": true, "channel": OPS.0, "ts": message.ts, "text": message.text }))
    }

    /// The lines of the blocks and the notification.
    fn show(&mut self, body: &Value) -> (Vec<String>, String) {
        let blocks = body["blocks"].as_array().cloned().unwrap_or_default();
        if blocks.len() > 50 {
            self.faults.push(format!("{} blocks", blocks.len()));
        }
        let mut lines = Vec::new();
        for block in &blocks {
            let (texts, limit) = match block["type"].as_str() {
                Some("header") => (vec![&block["text"]], 150),
                Some("section") => (vec![&block["text"]], 3000),
                Some("context") => (block["elements"].as_array().into_iter().flatten().collect(), 2000),
                other => {
                    self.faults.push(format!("a block of type {other:?}"));
                    continue;
                }
            };
            let texts: Vec<String> = texts.into_iter().map(|text| self.text(text, limit)).collect();
            lines.extend(texts.join(" · ").split('\n').map(str::to_owned));
        }
        let parses = body["parse"] != "none" || body["link_names"] == true;
        let text = body["text"].as_str().unwrap_or_default().to_owned();
        if parses && text.contains('@') {
            self.pings.push(text.clone());
        }
        (lines, self.decoded(&text))
    }

    fn text(&mut self, object: &Value, limit: usize) -> String {
        let text = object["text"].as_str().unwrap_or_default();
        if text.is_empty() || text.chars().count() > limit {
            self.faults.push(format!("a text of {} characters", text.chars().count()));
        }
        match object["type"].as_str() {
            Some("plain_text") => text.to_owned(),
            _ => self.decoded(text),
        }
    }

    /// Slack's control sequences: mentions ping, links show their label.
    fn decoded(&mut self, text: &str) -> String {
        let mut shown = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('<') {
            let (inside, after) = after.split_once('>').unwrap_or((after, ""));
            if inside.starts_with(['!', '@', '#']) {
                self.pings.push(inside.to_owned());
            }
            shown.push_str(before);
            shown.push_str(inside.split_once('|').map_or(inside, |(_, label)| label));
            rest = after;
        }
        shown.push_str(rest);
        shown.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    }
}
