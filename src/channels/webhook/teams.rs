//! An adaptive card for a Teams workflow.
//!
//! All texts are `TextRun`s, which Teams shows as they are; a `TextBlock` would read them as Markdown. A flow that accepted a
//! request answers 202; whether it posts the card is not visible from outside. Facts:
//! <https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/add-incoming-webhook>,
//! <https://adaptivecards.io/explorer/RichTextBlock.html>.

use serde_json::{Value, json};

use crate::channels::texts;
use crate::domain::monitoring::news::{News, NewsState};
use crate::domain::monitoring::severity::Severity;

/// Services that a card lists.
const MAX_LINES: usize = 40;

/// JSON doubles quotes and backslashes; each line adds about 120 bytes. The limit of a request is 28 KB.
const MAX_BYTES: usize = 6_000;

pub(super) fn message(news: &News) -> Value {
    let colour = match (news.state, news.severity) {
        (NewsState::Resolved, _) => "Good",
        (_, Severity::Critical | Severity::Major) => "Attention",
        (_, Severity::Minor) => "Warning",
        (_, Severity::Maintenance | Severity::None) => "Accent",
    };
    let title = json!({
        "type": "TextRun", "text": texts::title(news), "weight": "Bolder", "size": "Medium", "color": colour,
    });
    let mut body = vec![block(title)];
    let lines = news.lines(MAX_LINES, MAX_BYTES);
    body.extend(lines.into_iter().map(|line| block(json!({ "type": "TextRun", "text": line }))));
    body.push(block(json!({ "type": "TextRun", "text": news.start(), "isSubtle": true, "size": "Small" })));
    let mut card = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.2",
        "msteams": { "width": "full" },
        "body": body,
    });
    if let Some(url) = &news.link {
        card["actions"] = json!([{ "type": "Action.OpenUrl", "title": texts::LINK, "url": url }]);
    }
    let attachment = json!({
        "contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": null, "content": card,
    });
    json!({ "type": "message", "attachments": [attachment] })
}

fn block(run: Value) -> Value {
    json!({ "type": "RichTextBlock", "inlines": [run] })
}
