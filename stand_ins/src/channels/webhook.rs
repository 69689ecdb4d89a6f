//! A receiver of webhooks in any format: it records what it was sent and answers 200, or what a test scripts.
//!
//! Start at [`Receiver::start`].

#![expect(clippy::unwrap_used, reason = "a test that goes wrong must stop")]

use serde_json::Value;

use crate::{Reply, Request, Service, StandIn};

/// The path of the hook; a secret.
pub const PATH: &str = "/hooks/stand-in-secret-path";

/// A running receiver.
pub type Receiver = StandIn<Inbox>;

/// One request that was accepted.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The body.
    pub body: Value,
    /// The raw body, for signatures.
    pub raw: Vec<u8>,
    /// `webhook-id`, `webhook-timestamp`, `webhook-signature`.
    pub headers: [Option<String>; 3],
}

/// What a receiver got.
#[derive(Default)]
pub struct Inbox(Vec<Delivery>);

impl Receiver {
    /// A receiver that accepts everything.
    pub fn start() -> Receiver {
        StandIn::serve(Inbox::default()).unwrap().recording()
    }

    /// The address of the hook.
    pub fn hook(&self) -> String {
        format!("{}{PATH}", self.url())
    }

    /// All requests that were accepted, in order.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.read(|inbox| inbox.0.clone())
    }

    /// `state title` of each message in our own format, without those that came again under the same id.
    pub fn announced(&self) -> Vec<String> {
        let mut seen = Vec::new();
        let mut announced = Vec::new();
        for delivery in self.deliveries() {
            let id = delivery.headers[0].clone();
            if !seen.contains(&id) {
                let word = |key: &str| delivery.body[key].as_str().unwrap_or_default().to_owned();
                announced.push(format!("{} {}", word("state"), word("title")));
                seen.push(id);
            }
        }
        announced
    }

    /// The texts of each card, in the format of Teams.
    pub fn cards(&self) -> Vec<Vec<String>> {
        self.deliveries().iter().map(|delivery| card(&delivery.body)).collect()
    }
}

fn card(body: &Value) -> Vec<String> {
    let content = &body["attachments"][0]["content"];
    assert_eq!(body["attachments"][0]["contentType"], "application/vnd.microsoft.card.adaptive");
    let blocks = content["body"].as_array().unwrap();
    blocks.iter().map(|block| block["inlines"][0]["text"].as_str().unwrap().to_owned()).collect()
}

impl Service for Inbox {
    fn answer(&mut self, request: &Request) -> Reply {
        let Some(body) = request.json() else { return Reply::status(400) };
        let header = |name: &str| request.header(name).map(str::to_owned);
        let headers = ["webhook-id", "webhook-timestamp", "webhook-signature"].map(header);
        self.0.push(Delivery { body, raw: request.body.clone(), headers });
        Reply::status(200)
    }

    fn describe(&self) -> String {
        self.0.iter().map(|delivery| format!("\n    {}", delivery.body)).collect()
    }
}
