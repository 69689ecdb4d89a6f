//! The saved record of the banner, and how a write, its response and a reading of the tenant change it.
//!
//! This module decides only what is recorded; `ownership` decides whose banner is in the slot.

use std::time::Duration;

use jiff::Timestamp;

use super::slot::{Shown, Slot};
use super::{Why, later};
use crate::domain::monitoring::banner::{Banner, BannerKind, Wish};

/// How many old writes are kept: a write that timed out may still arrive after later ones.
const REMEMBERED: usize = 8;

/// How long a response may lag behind our write.
const STALE_FOR: Duration = Duration::from_secs(60);

/// How far the tenant's clock may be behind the time of our last write without having gone back: its dates show whole
/// seconds, and its servers may disagree a little.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(5);

/// The record of the banner, saved over restarts. All times are by the tenant's clock.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct BannerState {
    /// What we wrote, tried to write or adopted, newest last. It identifies our own banner.
    pub ours: Vec<Ours>,
    /// `updatedAt` of our last write; a response with an earlier time is stale. `None` if the tenant's clock went back since.
    pub written_at: Option<Timestamp>,
    /// When our last write was sent.
    pub sent_at: Option<Timestamp>,
    /// Whether the slot last had a banner of ours for an incident.
    pub holding: bool,
    /// The start of the current incident.
    pub since: Option<Timestamp>,
    /// The manual banner that ours displaced.
    #[serde(rename = "borrowed")]
    pub displaced: Option<Banner>,
    /// When that last changed.
    #[serde(default, rename = "borrowed_at")]
    pub displaced_at: Option<Timestamp>,
    /// The key of the wish that a person overrode.
    pub stands: Option<String>,
    /// The banner with which they overrode it, if any.
    #[serde(default)]
    pub overruled_by: Option<Banner>,
    /// The manual banner that was in the slot at the last reading.
    #[serde(default)]
    pub person: Option<Banner>,
    /// The manual banner that we restored last. Our own user wrote it, but it is not ours.
    #[serde(default)]
    pub restored: Option<Banner>,
}

/// One write of ours.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Ours {
    pub sent: Banner,
    /// What the tenant stored, once it responded. Until then the write may or may not be in the slot.
    pub stored: Option<Shown>,
    /// When it was prepared; `None` for a banner that was adopted.
    #[serde(default)]
    pub at: Option<Timestamp>,
}

impl BannerState {
    /// Records a write that is about to be sent. It must be saved before the request is sent, so that our own
    /// banner is recognised after a crash in between.
    pub fn intend(&mut self, banner: &Banner, why: Why, now: Timestamp) {
        if why == Why::Restore {
            self.restored = Some(banner.clone());
            return;
        }
        self.remember(Ours { sent: banner.clone(), stored: None, at: Some(now) });
    }

    /// Records that the write is sent now.
    pub fn sent(&mut self, now: Timestamp) {
        self.sent_at = Some(now);
    }

    /// Records that the tenant rejected the write, so it cannot be in the slot.
    pub fn refused(&mut self, banner: &Banner) {
        let unanswered = |ours: &Ours| ours.stored.is_none() && ours.sent == *banner;
        if let Some(at) = self.ours.iter().rposition(unanswered) {
            self.ours.remove(at);
        }
    }

    /// Records the tenant's response to the write.
    pub fn stored(&mut self, why: Why, answer: Shown) {
        self.written_at = answer.updated_at.or(self.written_at);
        if why == Why::Restore {
            // It stays displaced until the tenant shows it.
            self.holding = false;
            return;
        }
        self.holding = answer.banner.enabled && why != Why::Resolve;
        if let Some(last) = self.ours.last_mut() {
            last.stored = Some(answer);
        }
    }

    /// Whether the last write for an incident got no response: it may be in the slot.
    pub fn perhaps_up(&self) -> bool {
        self.ours.last().is_some_and(|ours| ours.sent.enabled && ours.stored.is_none())
    }

    /// Whether the tenant shows a recorded write of ours.
    pub fn remembers(&self, shown: &Shown) -> bool {
        self.ours.iter().any(|ours| ours.is(shown))
    }

    /// Takes the banner in the slot as the response to a write that got none.
    pub(super) fn confirm(&mut self, shown: &Shown) {
        let unanswered = |ours: &&mut Ours| ours.stored.is_none() && ours.is(shown);
        if let Some(ours) = self.ours.iter_mut().rev().find(unanswered) {
            ours.stored = Some(shown.clone());
            self.written_at = shown.updated_at.or(self.written_at);
        }
    }

    /// Records a banner as ours that other witnesses identified.
    pub(super) fn adopt(&mut self, shown: &Shown) {
        self.remember(Ours { sent: shown.banner.clone(), stored: Some(shown.clone()), at: None });
        if shown.banner.kind != BannerKind::Resolved && self.stands.is_none() {
            self.holding = true;
            self.since.get_or_insert(shown.banner.start_time);
        }
    }

    fn remember(&mut self, ours: Ours) {
        self.ours.push(ours);
        if self.ours.len() > REMEMBERED {
            // The last confirmed write is the most likely one in the slot.
            let confirmed = self.ours.iter().rposition(|ours| ours.stored.is_some());
            self.ours.remove(usize::from(confirmed == Some(0)));
        }
    }

    /// Records the manual banner that ours displaced.
    pub(super) fn displace(&mut self, banner: Option<Banner>, now: Timestamp) {
        if self.displaced != banner {
            (self.displaced, self.displaced_at) = (banner, Some(now));
        }
    }

    /// A last write with a time ahead of the tenant's clock was stored before that clock went back. The time must not make
    /// later changes look older. It is removed for good, because the clock reaches it again.
    pub(super) fn notice_clock(&mut self, now: Timestamp) {
        self.written_at.take_if(|written| later(now, CLOCK_TOLERANCE) < *written);
    }

    /// Whether a response is older than our last write, from a replica that lags behind. Only shortly after
    /// the write, in case the tenant's clocks disagree, and in whole seconds if its times have no fraction. A response that
    /// shows a last write without an answer does not lag behind it.
    pub(super) fn is_stale(&self, shown: Option<&Shown>, now: Timestamp) -> bool {
        let unanswered = self.ours.last().filter(|ours| ours.stored.is_none());
        if unanswered.zip(shown).is_some_and(|(ours, shown)| ours.is(shown)) {
            return false;
        }
        let fresh = self.sent_at.is_some_and(|sent| sent <= now && now < later(sent, STALE_FOR));
        match (self.written_at, shown.and_then(|s| s.updated_at)) {
            (Some(written), Some(seen)) if seen.subsec_nanosecond() == 0 => {
                fresh && seen.as_second() < written.as_second()
            }
            (Some(written), Some(seen)) => fresh && seen < written,
            _ => false,
        }
    }

    /// Handles a write of ours that arrived late and displaced the manual banner of the last reading.
    pub(super) fn notice_late(&mut self, slot: &Slot<'_>, shown: Option<&Shown>, now: Timestamp) {
        // Our own banner was never displaced; restoring it would make it ours again, endlessly.
        let ours = |banner: &Banner| match slot {
            Slot::Ours { .. } | Slot::SwitchedOff | Slot::Edited(_) => {
                shown.is_some_and(|s| s.banner.enabled == banner.enabled && s.banner.same_content(banner))
            }
            Slot::Empty | Slot::Manual(_) => false,
        };
        if self.displaced.as_ref().is_some_and(|banner| self.wrote(banner) || ours(banner)) {
            self.displace(None, now);
        }
        match slot {
            Slot::Manual(theirs) => {
                // A later manual banner replaces the one that was to be restored.
                let same = |old: &Banner| old.enabled == theirs.enabled && old.same_content(theirs);
                if self.displaced.as_ref().is_some_and(|old| !same(old)) {
                    self.displace(None, now);
                }
                self.person = Some((*theirs).clone());
            }
            Slot::Ours { .. } => {
                let displaced = self.person.take().filter(|_| !self.holding);
                if let Some(person) = displaced.filter(|banner| banner.enabled && banner.has_time_left(now)) {
                    self.displace(Some(person), now);
                }
            }
            Slot::SwitchedOff | Slot::Edited(_) | Slot::Empty => self.person = None,
        }
    }

    /// Detects that a person changed the slot: it had our incident and now has something else.
    pub(super) fn notice_person(&mut self, slot: &Slot<'_>, wish: &Wish) {
        let overruled_by = match slot {
            Slot::Manual(theirs) => Some((*theirs).clone()),
            Slot::Edited(shown) => Some(shown.banner.clone()),
            Slot::SwitchedOff => None,
            Slot::Empty | Slot::Ours { .. } => return,
        };
        if self.holding {
            let up = self.ours.iter().rev().find(|ours| ours.stored.is_some()).or(self.ours.last());
            let decided = up.map(|ours| format!("{}: {}", ours.sent.kind, ours.sent.message));
            self.stands = decided.or_else(|| Some(wish.key()));
            self.overruled_by = overruled_by;
            self.holding = false;
        }
    }

    /// Whether a banner, as the tenant showed it once, was a write of ours.
    fn wrote(&self, banner: &Banner) -> bool {
        let shown = Shown { banner: banner.clone(), updated_at: None, updated_by: None };
        self.ours.iter().any(|ours| ours.is(&shown))
    }

    /// Whether we wrote this message and type, with any link and window.
    pub(super) fn knows_words(&self, banner: &Banner) -> bool {
        let same = |ours: &Banner| ours.enabled && ours.kind == banner.kind && ours.message == banner.message;
        self.ours.iter().any(|ours| same(&ours.sent) || ours.stored.as_ref().is_some_and(|s| same(&s.banner)))
    }

    /// Whether a write of ours had this end time.
    pub(super) fn knows_end(&self, banner: &Banner) -> bool {
        self.ours.iter().any(|ours| ours.sent.end_time == banner.end_time)
    }
}

impl Ours {
    pub(super) fn is(&self, shown: &Shown) -> bool {
        if self.sent == shown.banner || self.stored.as_ref().is_some_and(|s| s.banner == shown.banner) {
            return true;
        }
        // The tenant may show a banner differently from its response. Without a response, the exact window
        // identifies our write; with one, the tenant's time of the change together with the window or the
        // message.
        match &self.stored {
            None => same_window(&self.sent, &shown.banner),
            Some(stored) => {
                let second = |at: Option<Timestamp>| at.map(Timestamp::as_second);
                let words =
                    self.sent.enabled == shown.banner.enabled && self.sent.same_content(&shown.banner);
                shown.updated_at.is_some()
                    && second(stored.updated_at) == second(shown.updated_at)
                    && (words || same_window(&self.sent, &shown.banner))
            }
        }
    }
}

fn same_window(a: &Banner, b: &Banner) -> bool {
    (&a.kind, a.enabled, a.start_time, a.end_time) == (&b.kind, b.enabled, b.start_time, b.end_time)
}
