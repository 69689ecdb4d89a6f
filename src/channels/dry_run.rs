//! A channel for preview: logs what would be sent.

use async_trait::async_trait;

use super::{Channel, ChannelError};
use crate::domain::monitoring::news::{News, Receipt};
use crate::secrets::Redactor;

/// Lines of a message in the log.
const LINES: usize = 10;

/// Sends nothing.
#[derive(Debug, Default)]
pub struct PreviewChannel {
    redactor: Redactor,
}

#[async_trait]
impl Channel for PreviewChannel {
    async fn send(&self, news: &News, _: Option<&Receipt>) -> Result<Receipt, ChannelError> {
        let lines = news.lines(LINES, usize::MAX).join(" | ");
        let (state, title) = (news.state.as_str(), &news.title);
        tracing::info!(target: "Messenger", "Preview: would send ({state}): {title}: {lines}");
        Ok(Receipt("preview".to_owned()))
    }

    fn redactor(&self) -> &Redactor {
        &self.redactor
    }
}
