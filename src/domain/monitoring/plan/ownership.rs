//! Whose banner is in the slot. Several witnesses decide, because the tenant's API has no owner tag, and the
//! record can be lost, unsaved or not shared.
//!
//! A banner is ours if we recorded writing it, or if its content is what we would write now, or if its
//! message has our form and a further sign supports it: its end is one expiry after its last change, or our
//! own user changed it last, or, while we do not hold the slot, it has the link of the tenant's definition or a
//! label of links from status pages. No such sign alone makes a banner ours. Start at [`slot`].

use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::banner_state::BannerState;
use super::slot::{Shown, Slot};
use super::{Policy, cleared};
use crate::domain::monitoring::banner::style::BannerStyle;
use crate::domain::monitoring::banner::{Banner, BannerKind, RESOLVED, SEPARATOR, Wish};

/// Tolerance between a banner's end and `updatedAt` plus the expiry: a write is prepared some seconds before
/// the tenant stores it.
const END_TOLERANCE: SignedDuration = SignedDuration::from_secs(30);

/// The labels of links from status pages.
const LABELS: [&str; 3] = ["Status page", "Incident", "Maintenance"];

/// How far a monitor has been polled since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// No poll has finished yet, not even with a failure.
    Unpolled,
    /// All polls failed; nothing recent is known.
    Unread,
    /// It could not be read for so long that its earlier state counts no longer. Whether its problem is over is not known.
    Expired,
    /// Its problems are not shown now, whatever the polls say.
    Muted,
    Read,
}

/// By monitor, with its name as written in messages.
pub type Coverage = BTreeMap<String, Reach>;

/// Evidence of a banner's owner besides the record.
#[derive(Debug, Clone, Copy)]
pub struct Witnesses<'a> {
    pub coverage: &'a Coverage,
    /// The user in `updatedBy` of our own writes, if no one else writes as that user.
    pub own_user: Option<&'a str>,
    /// The expiry of our banners.
    pub policy: Policy,
    /// What their messages and links have in common.
    pub style: &'a BannerStyle,
}

/// Whose banner is in the slot. `wishes`: what we would write now.
pub(super) fn slot<'a>(
    shown: Option<&'a Shown>,
    state: &BannerState,
    wishes: &[&Wish],
    witnesses: Witnesses<'_>,
) -> Slot<'a> {
    let Some(shown) = shown else { return Slot::Empty };
    let banner = &shown.banner;
    if let Some(ours) = state.ours.iter().rev().find(|ours| ours.is(shown)) {
        // An adopted banner is recorded too, but what was originally sent is not known.
        return Slot::Ours { banner: ours.sent.clone(), by_memory: ours.at.is_some() };
    }
    if state.restored.as_ref().is_some_and(|restored| restored.same_content(banner)) {
        return Slot::Manual(banner);
    }
    let desired = wishes.iter().any(|wish| wish.has_words(banner));
    let sent_by_us = witnesses.sent_by_us(shown, state);
    let form = || {
        let of_page = |label: &str| LABELS.contains(&label);
        let link = banner.link_enabled && banner.link_label.as_deref().is_some_and(of_page)
            || witnesses.style.has_link(banner);
        witnesses.has_our_form(banner) && (sent_by_us || (!state.holding && link))
    };
    let ours = state.knows_words(banner) || desired || form();
    match (banner.enabled, ours) {
        (false, true) => Slot::SwitchedOff,
        // Cleared with this program's command, or by a daemon with another record.
        (false, false) if banner.same_content(&cleared(banner.start_time)) => Slot::SwitchedOff,
        (_, false) => Slot::Manual(banner),
        (true, true) if state.holding && !sent_by_us => Slot::Edited(shown),
        (true, true) => Slot::Ours { banner: banner.clone(), by_memory: false },
    }
}

impl Witnesses<'_> {
    /// Whether it was probably written by a daemon and not by hand: by our own user, or with an end that is
    /// one expiry after the change and not one that we set earlier.
    fn sent_by_us(&self, shown: &Shown, state: &BannerState) -> bool {
        let by_user = self.own_user.is_some() && self.own_user == shown.updated_by.as_deref();
        let lasts = |lasts: std::time::Duration| {
            let (Some(at), Ok(lasts)) = (shown.updated_at, SignedDuration::try_from(lasts)) else {
                return false;
            };
            let off = shown.banner.end_time.duration_since(at) - lasts;
            off.abs() <= END_TOLERANCE
        };
        let by_end = lasts(self.policy.lease)
            || (shown.banner.kind == BannerKind::Resolved && lasts(self.policy.resolved_for));
        by_user || (by_end && !state.knows_end(&shown.banner))
    }

    /// Whether the message has the form of ours: it starts with the name of a monitor.
    fn has_our_form(&self, banner: &Banner) -> bool {
        let message = self.style.strip(&banner.message);
        let words = match &banner.kind {
            BannerKind::Other(_) => return false,
            BannerKind::Resolved => message.strip_prefix(RESOLVED),
            BannerKind::Info | BannerKind::Warning | BannerKind::Error => Some(message),
        };
        let first = words.and_then(|words| words.split(SEPARATOR).next());
        first.is_some_and(|first| monitor(first, self.coverage).is_some())
    }

    /// Whether the message names a monitor with one of these reaches, or may name an unpolled one if it was shortened.
    pub(super) fn names(&self, message: &str, reaches: &[Reach]) -> bool {
        let message = self.style.strip(message);
        let words = message.strip_prefix(RESOLVED).unwrap_or(message);
        words.split(SEPARATOR).any(|part| match monitor(part, self.coverage) {
            Some(found) => reaches.contains(&found),
            None if part.starts_with('+') => {
                reaches.contains(&Reach::Unpolled)
                    && self.coverage.values().any(|found| *found == Reach::Unpolled)
            }
            None => false,
        })
    }
}

/// The monitor at the start of a part of a message. Names may contain colons.
fn monitor(part: &str, coverage: &Coverage) -> Option<Reach> {
    part.match_indices(": ").find_map(|(end, _)| coverage.get(&part[..end])).copied()
}
