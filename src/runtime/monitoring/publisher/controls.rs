//! How a publisher is ended or woken.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How a publisher is controlled.
#[derive(Clone, Default)]
pub(in crate::runtime) struct PublisherControls {
    /// Ends it. The banner stays; at a stop of the daemon it is cleared if that is configured.
    pub(in crate::runtime) stop: CancellationToken,
    /// Another publisher continues with its state.
    replaced: Arc<AtomicBool>,
    /// Clears the banner if it is ours, and ends.
    pub(in crate::runtime) retire: CancellationToken,
    /// Makes it retry pending writes.
    pub(in crate::runtime) nudge: Arc<Notify>,
}

impl PublisherControls {
    /// Ends it, so that another publisher can continue with its state.
    pub(in crate::runtime) fn replace(&self) {
        self.replaced.store(true, Ordering::Relaxed);
        self.stop.cancel();
    }

    pub(in crate::runtime) fn is_ending(&self) -> bool {
        self.stop.is_cancelled() || self.retire.is_cancelled()
    }

    /// Whether the banner goes when the daemon stops. Retired publishers have cleared it.
    pub(super) fn clears_at_stop(&self) -> bool {
        !self.retire.is_cancelled() && !self.replaced.load(Ordering::Relaxed)
    }
}
