//! A channel as its definition describes it: where messages go, and which ones.

use std::time::Duration;

use super::super::assess::Assessment;
use super::super::audience::Audience;

/// Between two messages to a place that changes a message in place; Slack accepts about one request per second.
const SPACING: Duration = Duration::from_secs(1);

/// The same where each change is a further message.
const SPACING_OF_REPEATED: Duration = Duration::from_secs(60);

/// A validated definition.
#[derive(Debug, Clone, PartialEq)]
pub struct ChannelDefinition {
    /// Unique; also after [`variable`].
    pub name: String,
    /// Nothing is sent to a disabled one.
    pub enabled: bool,
    pub place: ChannelPlace,
    pub rules: ChannelRules,
}

/// Where the messages go. Its secrets are not part of the definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChannelPlace {
    Slack {
        /// The id or the name of the channel.
        channel: String,
        /// Another address of the Web API, such as the one of GovSlack.
        api_url: Option<String>,
    },
    Webhook(WebhookFormat),
}

/// The body of a webhook's requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookFormat {
    /// Our own documented format.
    Json,
    /// Slack's incoming webhooks, which Mattermost and Rocket.Chat also accept.
    Slack,
    /// A Teams workflow that posts an adaptive card.
    Teams,
    /// An Apprise API server.
    Apprise,
}

/// Which messages a channel gets.
#[derive(Debug, Clone, PartialEq)]
pub struct ChannelRules {
    pub audience: Audience,
    /// Whether the end of an incident is a message.
    pub resolved: bool,
    /// An open incident without a change is announced again after this time.
    pub remind_after: Option<Duration>,
    /// Whether the place can change a message, so that each change is sent. Elsewhere each change is a further message, and
    /// only those of a severity are sent.
    pub in_place: bool,
    /// Minimum time between two messages while the worst severity does not rise.
    pub spacing: Duration,
}

/// The secrets of channels: the last part of the variable's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelSecret {
    /// A Slack bot's token.
    Token,
    /// The address of a webhook.
    Url,
    /// The key of a webhook's signatures.
    Signing,
}

impl ChannelSecret {
    pub fn suffix(self) -> &'static str {
        match self {
            ChannelSecret::Token => "TOKEN",
            ChannelSecret::Url => "URL",
            ChannelSecret::Signing => "SECRET",
        }
    }
}

/// The variable that holds a secret of a channel: `CHANNEL_OPS_URL`.
pub fn variable(channel: &str, secret: ChannelSecret) -> String {
    format!("CHANNEL_{}_{}", channel.to_ascii_uppercase().replace('-', "_"), secret.suffix())
}

impl ChannelPlace {
    /// The secrets that the place needs, and whether each is required.
    pub fn secrets(&self) -> &'static [(ChannelSecret, bool)] {
        match self {
            ChannelPlace::Slack { .. } => &[(ChannelSecret::Token, true)],
            ChannelPlace::Webhook(_) => &[(ChannelSecret::Url, true), (ChannelSecret::Signing, false)],
        }
    }

    /// The word of `kind` in definitions, and of the dashboard.
    pub fn kind(&self) -> &'static str {
        match self {
            ChannelPlace::Slack { .. } => "slack",
            ChannelPlace::Webhook(_) => "webhook",
        }
    }

    /// See [`ChannelRules::in_place`].
    pub fn in_place(&self) -> bool {
        match self {
            ChannelPlace::Slack { .. } | ChannelPlace::Webhook(WebhookFormat::Json) => true,
            ChannelPlace::Webhook(WebhookFormat::Slack | WebhookFormat::Teams | WebhookFormat::Apprise) => {
                false
            }
        }
    }

    /// See [`ChannelRules::spacing`].
    pub fn spacing(&self) -> Duration {
        if self.in_place() { SPACING } else { SPACING_OF_REPEATED }
    }
}

impl WebhookFormat {
    pub const ALL: [WebhookFormat; 4] =
        [WebhookFormat::Json, WebhookFormat::Slack, WebhookFormat::Teams, WebhookFormat::Apprise];

    /// The word of `format` in definitions.
    pub fn as_str(self) -> &'static str {
        match self {
            WebhookFormat::Json => "json",
            WebhookFormat::Slack => "slack",
            WebhookFormat::Teams => "teams",
            WebhookFormat::Apprise => "apprise",
        }
    }
}

impl ChannelRules {
    /// The part of an assessment that concerns the channel.
    pub fn narrow(&self, whole: &Assessment) -> Assessment {
        self.audience.narrow(whole)
    }
}
