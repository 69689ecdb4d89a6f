//! The status of a channel, for pages, API and metrics.

use crate::runtime::board::ChannelView;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::web) enum ChannelStatus {
    /// Nothing is pending.
    Ok,
    /// A message is on its way.
    Pending,
    /// The last attempt failed; it is retried.
    Failing,
    /// The receiver is gone; nothing is sent until the definitions are read again.
    Stopped,
}

impl ChannelStatus {
    pub(in crate::web) fn of(view: &ChannelView) -> ChannelStatus {
        let report = &view.report;
        match (report.stopped, &report.trouble, report.pending_since) {
            (true, _, _) => ChannelStatus::Stopped,
            (false, Some(_), Some(_)) => ChannelStatus::Failing,
            (false, None, Some(_)) => ChannelStatus::Pending,
            (false, _, None) => ChannelStatus::Ok,
        }
    }

    pub(in crate::web) fn as_str(self) -> &'static str {
        match self {
            ChannelStatus::Ok => "ok",
            ChannelStatus::Pending => "pending",
            ChannelStatus::Failing => "failing",
            ChannelStatus::Stopped => "stopped",
        }
    }
}
