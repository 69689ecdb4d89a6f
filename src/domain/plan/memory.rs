//! What the daemon remembers of the banner, and how a write, its answer and a reading of the tenant change it.
//!
//! Nothing is decided here but what is remembered; whose banner is in the slot is decided in `ownership`.

use std::time::Duration;

use jiff::Timestamp;

use super::ownership::Slot;
use super::{Why, later};
use crate::domain::banner::{Banner, Kind, Wish};

/// Old writes worth recognising: a write that timed out may still arrive after later ones.
const REMEMBERED: usize = 8;

/// How long an answer may lag behind our write.
const STALE_FOR: Duration = Duration::from_secs(60);

/// What is remembered of the banner, over restarts too. All times are by the tenant's clock.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct Memory {
    /// What we wrote, tried to write or adopted, newest last: how we know our own banner.
    pub ours: Vec<Ours>,
    /// `updatedAt` of our last write: an older answer lags behind it.
    pub written_at: Option<Timestamp>,
    /// When our last write left.
    pub sent_at: Option<Timestamp>,
    /// Whether a banner of ours for an incident was last known to be in the slot.
    pub holding: bool,
    /// The start of the incident that runs.
    pub since: Option<Timestamp>,
    /// The manual banner that ours displaced.
    #[serde(rename = "borrowed")]
    pub displaced: Option<Banner>,
    /// When that changed last.
    #[serde(default, rename = "borrowed_at")]
    pub displaced_at: Option<Timestamp>,
    /// The wish against which a person decided otherwise.
    pub stands: Option<String>,
    /// The banner by which they did, if it was one.
    #[serde(default)]
    pub overruled_by: Option<Banner>,
    /// The manual banner that was in the slot at the last reading.
    #[serde(default)]
    pub person: Option<Banner>,
    /// The manual banner that we restored last: our own user wrote it, and yet it is not ours.
    #[serde(default)]
    pub restored: Option<Banner>,
}

/// One write of ours.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Ours {
    /// What we sent.
    pub sent: Banner,
    /// What the tenant made of it, once it answered. Until then it may be in the slot or not.
    pub stored: Option<Shown>,
    /// When it was prepared; `None` for a banner that was adopted.
    #[serde(default)]
    pub at: Option<Timestamp>,
}

/// What a tenant shows.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Shown {
    /// The banner in the slot.
    pub banner: Banner,
    /// The tenant's own time of its last change.
    pub updated_at: Option<Timestamp>,
    /// The user who changed it last.
    #[serde(default)]
    pub updated_by: Option<String>,
}

impl Memory {
    /// Notes a write that is about to be sent. To be saved before the request leaves: after a crash in between we
    /// must know our own banner again.
    pub fn intend(&mut self, banner: &Banner, why: Why, now: Timestamp) {
        if why == Why::Restore {
            self.restored = Some(banner.clone());
            return;
        }
        self.remember(Ours { sent: banner.clone(), stored: None, at: Some(now) });
    }

    /// Notes that the write leaves now.
    pub fn sent(&mut self, now: Timestamp) {
        self.sent_at = Some(now);
    }

    /// Notes that the tenant refused the write, so that it cannot be in the slot.
    pub fn refused(&mut self, banner: &Banner) {
        let unanswered = |ours: &Ours| ours.stored.is_none() && ours.sent == *banner;
        if let Some(at) = self.ours.iter().rposition(unanswered) {
            self.ours.remove(at);
        }
    }

    /// Notes what the tenant answered to the write.
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

    /// Whether the last write for an incident was never answered: it may be in the slot.
    pub fn perhaps_up(&self) -> bool {
        self.ours.last().is_some_and(|ours| ours.sent.enabled && ours.stored.is_none())
    }

    /// Whether we remember writing what the tenant shows.
    pub fn remembers(&self, shown: &Shown) -> bool {
        self.ours.iter().any(|ours| ours.is(shown))
    }

    /// Takes what the tenant shows for the answer to a write of ours that was not answered.
    pub(super) fn confirm(&mut self, shown: &Shown) {
        let unanswered = |ours: &&mut Ours| ours.stored.is_none() && ours.is(shown);
        if let Some(ours) = self.ours.iter_mut().rev().find(unanswered) {
            ours.stored = Some(shown.clone());
        }
    }

    /// Takes a banner that is ours by other witnesses for ours from now on.
    pub(super) fn adopt(&mut self, shown: &Shown) {
        self.remember(Ours { sent: shown.banner.clone(), stored: Some(shown.clone()), at: None });
        if shown.banner.kind != Kind::Resolved && self.stands.is_none() {
            self.holding = true;
            self.since.get_or_insert(shown.banner.start_time);
        }
    }

    fn remember(&mut self, ours: Ours) {
        self.ours.push(ours);
        if self.ours.len() > REMEMBERED {
            // The last one that the tenant confirmed is the likeliest to be in the slot.
            let confirmed = self.ours.iter().rposition(|ours| ours.stored.is_some());
            self.ours.remove(usize::from(confirmed == Some(0)));
        }
    }

    /// Notes which manual banner ours displaced.
    pub(super) fn displace(&mut self, banner: Option<Banner>, now: Timestamp) {
        if self.displaced != banner {
            (self.displaced, self.displaced_at) = (banner, Some(now));
        }
    }

    /// An answer that is older than our last write comes from a copy that lags behind. Only shortly after the write,
    /// in case the tenant's clocks disagree, and by whole seconds where it shows no finer ones.
    pub(super) fn is_stale(&self, shown: Option<&Shown>, now: Timestamp) -> bool {
        let fresh = self.sent_at.is_some_and(|sent| sent <= now && now < later(sent, STALE_FOR));
        match (self.written_at, shown.and_then(|s| s.updated_at)) {
            (Some(written), Some(seen)) if seen.subsec_nanosecond() == 0 => {
                fresh && seen.as_second() < written.as_second()
            }
            (Some(written), Some(seen)) => fresh && seen < written,
            _ => false,
        }
    }

    /// A write of ours that arrives late may displace a manual banner that was there at the last reading.
    pub(super) fn notice_late(&mut self, slot: &Slot<'_>, shown: Option<&Shown>, now: Timestamp) {
        // What is ours was never displaced; restored it would be ours again, and so on.
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
                // A later manual banner takes the place of the one that was to be restored.
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

    /// A slot that held our incident and now holds something else was changed by a person.
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

    /// Whether we wrote these words in this colour, whatever the link and the window.
    pub(super) fn knows_words(&self, banner: &Banner) -> bool {
        let same = |ours: &Banner| ours.enabled && ours.kind == banner.kind && ours.message == banner.message;
        self.ours.iter().any(|ours| same(&ours.sent) || ours.stored.as_ref().is_some_and(|s| same(&s.banner)))
    }

    /// Whether a write of ours ended at that moment.
    pub(super) fn knows_end(&self, banner: &Banner) -> bool {
        self.ours.iter().any(|ours| ours.sent.end_time == banner.end_time)
    }
}

impl Ours {
    pub(super) fn is(&self, shown: &Shown) -> bool {
        if self.sent == shown.banner || self.stored.as_ref().is_some_and(|s| s.banner == shown.banner) {
            return true;
        }
        // In case the tenant shows it otherwise than it answered: while we have no answer the exact window tells
        // our write, and with one its own time of the change beside the window or the words.
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
