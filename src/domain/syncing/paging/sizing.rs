//! The number of rows to request per page: few requests, as long as the service is fast enough.
//!
//! Each page is judged by the definition's `size`. Up to `size_max`, requests ask for more: the size doubles
//! while pages are full, fast and small, and halves if the service rejects it or times out. Each reading
//! starts with the definition's size, and grows only after the service has accepted an arbitrary offset. A
//! large page with fewer rows than the definition's size proves nothing, because a service may use its
//! default size for a request that it cannot satisfy; the page is requested again with the definition's size.
//! Start at [`Pager::weigh`].

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{PageKind, Pager, PagingStep};

/// After a response that took longer, the size is not doubled.
const QUICK: Duration = Duration::from_secs(2);

/// After a larger response, in bytes, the size is not doubled: two pages are in memory at a time.
const SMALL: usize = 4_000_000;

/// The sizes above the definition's that a service accepts, saved from run to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PageSizes {
    /// The largest size that returned a full page.
    pub worked: Option<u64>,
    /// The smallest size that was rejected, or returned fewer rows than a smaller size.
    pub refused: Option<u64>,
    /// The smallest size that timed out or was too large. It is not saved: a source that is slow today may be fast
    /// tomorrow, and a size is only tried if pages of half of it are fast and small.
    #[serde(skip)]
    pub too_slow: Option<u64>,
}

impl PageSizes {
    fn allows(&self, size: u64) -> bool {
        [self.refused, self.too_slow].into_iter().flatten().all(|limit| size < limit)
    }
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sizing {
    /// The requested size, if larger than the definition's size.
    grown: Option<u64>,
    /// The requested size of the page that was weighed and is not measured yet.
    weighed: Option<u64>,
    /// The requested size of the page that was measured last.
    measured: Option<u64>,
    /// The previous page was full, and nothing unusual was detected.
    filled: bool,
    /// The size whose page was short or missing and is requested again with the definition's size.
    short: Option<u64>,
}

impl Pager {
    /// The number of rows of a full page.
    pub(super) fn size(&self) -> Option<u64> {
        self.habits.size.or_else(|| self.page.size.as_ref().map(|(_, size)| *size))
    }

    /// The number of rows to request.
    pub(super) fn requested(&self) -> Option<u64> {
        self.habits.size.or(self.sizing.grown).or_else(|| self.size())
    }

    /// The number of rows requested for the page that is judged.
    pub(super) fn requested_now(&self) -> Option<u64> {
        self.habits.size.or(self.sizing.measured).or_else(|| self.requested())
    }

    /// Whether the current request asks for more rows than the definition does, so that a smaller request is
    /// possible.
    pub fn is_grown(&self) -> bool {
        self.requested() > self.size()
    }

    /// Adapts the next size to a response's duration and number of bytes, before its rows are known.
    pub fn weigh(&mut self, took: Duration, bytes: usize) {
        let requested = self.requested();
        self.sizing.weighed = requested;
        let (Some(requested), Some(most)) = (requested, self.page.size_max) else { return };
        let may = matches!(self.page.kind, PageKind::Offset { .. })
            && self.sizing.filled
            && self.habits.size.is_none()
            && !self.habits.whole_pages
            && self.counted.is_steady();
        if !may || took > QUICK || bytes > SMALL {
            return;
        }
        let sizes = self.habits.sizes;
        // Always doubled, so that every size is a multiple of the definition's size.
        let fits = |size: &u64| *size <= most && sizes.allows(*size);
        let known = sizes.worked.filter(|worked| *worked > requested && worked % requested == 0).filter(fits);
        self.sizing.grown = known.or(requested.checked_mul(2).filter(fits)).or(self.sizing.grown);
    }

    /// The expected number of rows of the current page.
    pub(super) fn coming(&self, came_before: Option<u64>) -> Option<u64> {
        if self.sizing.filled { self.sizing.weighed } else { came_before.or_else(|| self.size()) }
    }

    /// Halves the size if the current request timed out or its response was too large; `None` if the size is not above the
    /// definition's size.
    pub fn shrink(&mut self) -> Option<PagingStep> {
        let grown = self.sizing.grown.filter(|_| self.is_grown())?;
        let sizes = &mut self.habits.sizes;
        sizes.too_slow = Some(grown);
        sizes.worked = sizes.worked.filter(|worked| *worked < grown);
        self.halve(grown)
    }

    /// The same if the size was rejected.
    pub(super) fn reject_size(&mut self) -> Option<PagingStep> {
        let grown = self.sizing.grown.filter(|_| self.is_grown())?;
        self.refuse(grown);
        self.halve(grown)
    }

    fn halve(&mut self, grown: u64) -> Option<PagingStep> {
        let half = grown / 2;
        self.sizing =
            Sizing { grown: Some(half).filter(|half| Some(*half) > self.size()), ..Sizing::default() };
        Some(PagingStep::Next(self.ask()))
    }

    /// Asks in the definition's size where the place may have been refused, and not the size; `None` if that was asked for.
    pub(super) fn reset_size(&mut self) -> Option<PagingStep> {
        let size = self.requested().filter(|_| self.is_grown())?;
        Some(self.ask_small(size))
    }

    fn ask_small(&mut self, short: u64) -> PagingStep {
        self.sizing = Sizing { short: Some(short), ..Sizing::default() };
        PagingStep::Next(self.ask())
    }

    fn refuse(&mut self, size: u64) {
        let sizes = &mut self.habits.sizes;
        sizes.refused = Some(sizes.refused.map_or(size, |refused| refused.min(size)));
        sizes.worked = sizes.worked.filter(|worked| *worked < size);
    }

    /// Compares a page with the requested size. Returns the step if the page must be requested again.
    pub(super) fn measure(&mut self, records: u64) -> Option<PagingStep> {
        let requested = self.sizing.weighed.take().or_else(|| self.requested());
        self.sizing.measured = requested;
        let grown = requested.filter(|_| requested > self.size());
        let full = self.size().is_some_and(|size| records >= size);
        self.sizing.filled = requested.is_some_and(|requested| records >= requested);
        if let Some(size) = grown {
            if !full {
                return Some(self.ask_small(size));
            }
            if self.sizing.filled {
                self.habits.sizes.worked = self.habits.sizes.worked.max(grown);
            }
        } else if let Some(size) = self.sizing.short.take().filter(|_| full) {
            self.refuse(size);
        }
        None
    }
}
