//! What handlers share.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::brand::Brand;
use super::metrics::LogLosses;
use super::view::history::History;
use super::view::records::RecordReader;
use crate::runtime::board::BoardReader;
use crate::runtime::clock::Clock;

/// What every answer is made from.
#[derive(Clone)]
pub struct WebState {
    pub board: BoardReader,
    pub clock: Clock,
    /// What is not on the board.
    pub records: Arc<dyn RecordReader>,
    /// Counts what the log could not write.
    pub log_losses: Arc<dyn Fn() -> LogLosses + Send + Sync>,
    pub brand: Arc<Brand>,
    /// Ends open streams.
    pub stop: CancellationToken,
}

/// What the pages share.
pub(super) struct PageState {
    pub(super) web: WebState,
    pub(super) history: History,
}
