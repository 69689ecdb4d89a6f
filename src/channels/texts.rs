//! What the formats share: marks of severities, and texts of status pages that address nobody and format nothing.

use crate::domain::monitoring::news::{News, NewsState};
use crate::domain::monitoring::severity::Severity;

/// The title with a mark of the severity.
pub(super) fn title(news: &News) -> String {
    let mark = match (news.state, news.severity) {
        _ if news.test => "🔔",
        (NewsState::Resolved, _) => "✅",
        (_, Severity::Critical | Severity::Major) => "🔴",
        (_, Severity::Minor) => "🟡",
        (_, Severity::Maintenance | Severity::None) => "🔧",
    };
    format!("{mark} {}", news.title)
}

/// A text that pings no one: `@channel`, `@all` and the like are words for Mattermost, Rocket.Chat and Discord wherever they
/// stand.
pub(super) fn silent(text: &str) -> String {
    text.replace('@', "@\u{200b}")
}

/// A text for Slack's `text`, which other chats read as Markdown: the three control characters are escaped, and no code,
/// link or mention starts.
pub(super) fn mrkdwn(text: &str) -> String {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    silent(&escaped).replace('`', "'").replace("](", "] (")
}

/// A link in Slack's `text`. The characters that would end it are percent-encoded.
pub(super) fn link(url: &str, label: &str) -> String {
    let url = url.replace('&', "&amp;").replace('<', "%3C").replace('>', "%3E").replace('|', "%7C");
    format!("<{url}|{label}>")
}

/// The label of a message's link.
pub(super) const LINK: &str = "Status page";
