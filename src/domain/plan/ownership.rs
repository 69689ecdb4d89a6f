//! Whose banner is in the slot: decided from several witnesses, since the tenant's API has no owner tag and memory can
//! be lost, unsaved or not shared.
//!
//! A banner is ours if we remember writing it, or if its content is what we would write now, or if its words have our
//! form and something supports them: its end is as far from its last change as we set it, or our own user changed it
//! last, or, while we do not hold the slot, it carries a link label of ours. No support alone makes a banner ours. Start
//! at [`slot`].

use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::memory::{Memory, Shown};
use super::{Policy, cleared};
use crate::domain::banner::{Banner, Kind, RESOLVED, SEPARATOR, Wish};

/// How far the end of a banner of ours may be from the expiry counted from `updatedAt`: a write is prepared some seconds
/// before the tenant stores it.
const END_TOLERANCE: SignedDuration = SignedDuration::from_secs(30);

/// Labels of the links that status pages give.
const LABELS: [&str; 3] = ["Status page", "Incident", "Maintenance"];

/// How far a monitor has been polled since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// No poll has ended yet, not even by a failure.
    Unpolled,
    /// Polls failed; nothing recent is known.
    Unread,
    /// It was read, or what was known of it is too old to hold anything.
    Read,
}

/// By monitor, in the spelling of messages.
pub type Coverage = BTreeMap<String, Reach>;

/// What tells whose a banner is, beside our memory.
#[derive(Debug, Clone, Copy)]
pub struct Witnesses<'a> {
    /// All monitors.
    pub coverage: &'a Coverage,
    /// The user that our own writes carry as `updatedBy`, where nobody else writes as that user.
    pub own_user: Option<&'a str>,
    /// How long our banners last.
    pub policy: Policy,
}

/// What is in the slot.
#[derive(Debug)]
pub(super) enum Slot<'a> {
    Empty,
    /// Ours. `by_memory`: we know what we sent; otherwise it is ours by other witnesses.
    Ours {
        banner: Banner,
        by_memory: bool,
    },
    /// Ours, but a person switched it off.
    SwitchedOff,
    /// Our words, with a link, an end or a detail that a person changed while we held the slot.
    Edited(&'a Shown),
    Manual(&'a Banner),
}

/// Whose banner is in the slot. `wishes`: what we would write now.
pub(super) fn slot<'a>(
    shown: Option<&'a Shown>,
    memory: &Memory,
    wishes: &[&Wish],
    witnesses: Witnesses<'_>,
) -> Slot<'a> {
    let Some(shown) = shown else { return Slot::Empty };
    let banner = &shown.banner;
    if let Some(ours) = memory.ours.iter().rev().find(|ours| ours.is(shown)) {
        // An adopted banner is remembered, too, but what we would have sent is not known of it.
        return Slot::Ours { banner: ours.sent.clone(), by_memory: ours.at.is_some() };
    }
    if memory.restored.as_ref().is_some_and(|restored| restored.same_content(banner)) {
        return Slot::Manual(banner);
    }
    let wanted = wishes.iter().any(|wish| wish.has_words(banner));
    let sent_by_us = witnesses.sent_by_us(shown, memory);
    let form = || {
        let label = banner.link_label.as_deref().is_some_and(|label| LABELS.contains(&label));
        witnesses.has_our_form(banner) && (sent_by_us || (!memory.holding && label))
    };
    let ours = memory.knows_words(banner) || wanted || form();
    match (banner.enabled, ours) {
        (false, true) => Slot::SwitchedOff,
        // Cleared by hand through this program, or by a daemon whose memory is not ours.
        (false, false) if banner.same_content(&cleared(banner.start_time)) => Slot::SwitchedOff,
        (_, false) => Slot::Manual(banner),
        (true, true) if memory.holding && !sent_by_us => Slot::Edited(shown),
        (true, true) => Slot::Ours { banner: banner.clone(), by_memory: false },
    }
}

impl Witnesses<'_> {
    /// Whether it was probably written by a daemon and not by hand: by our own user, or with an end that is one expiry
    /// after the change and not one that we set earlier.
    fn sent_by_us(&self, shown: &Shown, memory: &Memory) -> bool {
        let by_user = self.own_user.is_some() && self.own_user == shown.updated_by.as_deref();
        let lasts = |lasts: std::time::Duration| {
            let (Some(at), Ok(lasts)) = (shown.updated_at, SignedDuration::try_from(lasts)) else {
                return false;
            };
            let off = shown.banner.end_time.duration_since(at) - lasts;
            off.abs() <= END_TOLERANCE
        };
        let by_end = lasts(self.policy.lease)
            || (shown.banner.kind == Kind::Resolved && lasts(self.policy.resolved_for));
        by_user || (by_end && !memory.knows_end(&shown.banner))
    }

    /// Whether the words are like those we write: the name of a monitor comes first.
    fn has_our_form(&self, banner: &Banner) -> bool {
        let resolved = banner.message.strip_prefix(RESOLVED);
        let words = match &banner.kind {
            Kind::Other(_) => return false,
            Kind::Resolved => resolved,
            Kind::Info | Kind::Warning | Kind::Error => Some(banner.message.as_str()),
        };
        let first = words.and_then(|words| words.split(SEPARATOR).next());
        first.is_some_and(|first| monitor(first, self.coverage).is_some())
    }

    /// Whether a monitor that the message names, or may name where it was shortened, was polled less far than this.
    pub(super) fn waits_for(&self, message: &str, reach: Reach) -> bool {
        let behind = |found: Reach| match reach {
            Reach::Unpolled => found == Reach::Unpolled,
            Reach::Unread | Reach::Read => found != Reach::Read,
        };
        let words = message.strip_prefix(RESOLVED).unwrap_or(message);
        words.split(SEPARATOR).any(|part| match monitor(part, self.coverage) {
            Some(found) => behind(found),
            None if part.starts_with('+') => self.coverage.values().any(|found| *found == Reach::Unpolled),
            None => false,
        })
    }
}

/// The monitor that a part of a message begins with. Names may hold colons themselves.
fn monitor(part: &str, coverage: &Coverage) -> Option<Reach> {
    part.match_indices(": ").find_map(|(end, _)| coverage.get(&part[..end])).copied()
}
