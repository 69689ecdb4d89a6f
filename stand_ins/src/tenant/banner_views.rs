//! What a user of the tenant sees over time, computed from the writes and the windows of their banners.

use std::fmt;

use jiff::Timestamp;

use super::{Banner, Write};

/// What users saw from a time on.
#[derive(Clone, PartialEq)]
pub struct BannerView {
    /// When it started, by the tenant's clock.
    pub from: Timestamp,
    /// The banner, or none.
    pub banner: Option<Banner>,
}

/// Every view from the first write until `now`. A stretch without a banner is one view, whatever was written.
pub(super) fn timeline(writes: &[Write], now: Timestamp) -> Vec<BannerView> {
    let mut sights: Vec<BannerView> = Vec::new();
    let mut see = |from: Timestamp, banner: Option<&Banner>| {
        let blank = sights.last().is_none_or(|last| last.banner.is_none());
        if banner.is_some() || !blank {
            sights.push(BannerView { from, banner: banner.cloned() });
        }
    };
    for (index, write) in writes.iter().enumerate() {
        let until = writes.get(index + 1).map_or(now, |next| next.at);
        let (at, banner) = (write.at, &write.banner);
        see(at, Some(banner).filter(|one| one.shows_at(at)));
        if banner.enabled && at < banner.start && banner.start <= until {
            see(banner.start, Some(banner));
        }
        if banner.enabled && at <= banner.end && banner.end < until {
            see(banner.end, None);
        }
    }
    sights
}

impl fmt::Debug for BannerView {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.banner {
            Some(banner) => write!(out, "{} {}: {}", self.from, banner.kind, banner.message),
            None => write!(out, "{} nothing", self.from),
        }
    }
}
