//! Where messages about incidents go: Slack and webhooks.
//!
//! A channel sends one message per call. What is sent and when to retry is up to the caller; so is what a receipt belongs to.
//! There is one file per kind: `slack`, `webhook`, and `dry_run` for preview. Redirects are not followed, because the addresses
//! and headers are secrets. Start at [`Channel`].

mod dry_run;
mod exchange;
mod slack;
mod texts;
mod webhook;

use std::time::Duration;

use async_trait::async_trait;

use crate::domain::monitoring::news::{News, Receipt};
use crate::secrets::Redactor;

pub use dry_run::PreviewChannel;
pub use slack::SlackBot;
pub use webhook::Webhook;

/// A place that gets messages.
#[async_trait]
pub trait Channel: Send + Sync {
    /// Sends a message, or changes the incident's earlier one, which the receipt identifies. The new receipt also says what
    /// the receiver answered.
    ///
    /// # Errors
    /// See [`ChannelError`]. The caller sends the same message again, unless it was delivered in part.
    async fn send(&self, news: &News, last: Option<&Receipt>) -> Result<Receipt, ChannelError>;

    /// Redacts the secrets of the channel.
    fn redactor(&self) -> &Redactor;
}

/// Why a message was not confirmed. The texts are short, in one line and redacted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// The receiver rejected the message and would reject it again.
    #[error("{0}")]
    Refused(String),
    /// 410: the receiver wants no further requests.
    #[error("{0}")]
    Gone(String),
    /// The receiver passed the message on to some of its targets only. It counts as delivered: if it is repeated, these get it
    /// again.
    #[error("{0}")]
    InPart(String),
    /// The receiver limits requests, and did not accept this one.
    #[error("rate limited: {detail}")]
    RateLimited {
        /// From `Retry-After`.
        wait: Option<Duration>,
        detail: String,
    },
    /// Transient: 5xx, network error, timeout, unexpected response.
    #[error("{detail}")]
    Trouble {
        /// From `Retry-After`.
        wait: Option<Duration>,
        /// Whether the receiver may have the message.
        perhaps_sent: bool,
        detail: String,
    },
}

impl ChannelError {
    /// The wait that the receiver requested.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            ChannelError::RateLimited { wait, .. } | ChannelError::Trouble { wait, .. } => *wait,
            ChannelError::Refused(_) | ChannelError::Gone(_) | ChannelError::InPart(_) => None,
        }
    }

    /// Whether the same message will probably not be accepted before a person fixes something.
    pub fn is_permanent(&self) -> bool {
        matches!(self, ChannelError::Refused(_) | ChannelError::Gone(_))
    }

    /// Whether the receiver may have the message.
    pub fn perhaps_sent(&self) -> bool {
        matches!(self, ChannelError::Trouble { perhaps_sent: true, .. })
    }
}
