//! What is learned late: a write that arrives after later ones, and what another daemon wrote and could not say in time.
//!
//! Between the loss of the shared memory and the end of its lease a holder goes on writing. The next holder takes those
//! writes for a person's until it hears of them; then it corrects what it concluded from them. Start at
//! [`Memory::learn`].

use jiff::Timestamp;

use super::{Banner, Memory, Ours, REMEMBERED, Shown, Slot};

impl Memory {
    /// A write of ours that arrives late may take the place of a person's banner, which was there at the last look: it
    /// counts as borrowed then.
    pub(super) fn notice_late(&mut self, slot: &Slot<'_>, now: Timestamp) {
        // What is ours was never borrowed; handed back it would be ours again, and so on.
        if self.borrowed.as_ref().is_some_and(|banner| self.ours.iter().any(|ours| ours.made(banner))) {
            self.borrow(None, now);
        }
        match slot {
            Slot::Theirs(theirs) => self.person = Some((*theirs).clone()),
            Slot::Ours(_) => {
                let displaced = self.person.take().filter(|_| !self.holding);
                if let Some(person) = displaced.filter(|banner| banner.enabled && banner.has_time_left(now)) {
                    self.borrow(Some(person), now);
                }
            }
            Slot::SwitchedOff | Slot::Empty => self.person = None,
        }
    }

    /// Takes in what a former holder remembers. A banner that was taken for a person's and was its own counts as ours
    /// from now on: it is not handed back, and it overrules nothing. Learning the same again changes nothing.
    pub fn learn(&mut self, former: &Memory) {
        let mut news = false;
        let full = self.ours.len() >= REMEMBERED;
        let oldest = self.ours.iter().filter(|_| full).map(|ours| ours.at).min();
        for theirs in &former.ours {
            match self.ours.iter_mut().find(|known| known.sent == theirs.sent && known.at == theirs.at) {
                Some(known) => {
                    if known.stored.is_none() {
                        known.stored.clone_from(&theirs.stored);
                    }
                }
                // Older than all that is worth recognising.
                None if oldest.is_some_and(|oldest| theirs.at < oldest) => {}
                None => {
                    self.ours.push(theirs.clone());
                    news = true;
                }
            }
        }
        self.written_at = self.written_at.max(former.written_at);
        let all = || self.ours.iter().chain(&former.ours);
        let ours = |banner: &Banner| all().any(|ours| ours.made(banner));
        let of_us = |banner: &Option<Banner>| banner.as_ref().is_some_and(ours);
        let (borrowed_ours, overruled_by_us) = (of_us(&self.borrowed), of_us(&self.overruled_by));
        // Perhaps it was taken in itself, by one before it.
        let its_loan = self.behind(former.borrowed.as_ref()).or_else(|| self.behind(former.person.as_ref()));
        let its_loan = its_loan.filter(|banner| banner.enabled);
        if of_us(&self.person) {
            self.person = None;
        }
        if borrowed_ours {
            self.borrowed = self.behind(self.borrowed.as_ref());
        }
        if overruled_by_us {
            (self.stands, self.overruled_by) = (None, None);
        }
        // Of what it wrote we knew nothing, so we cannot know either whose place it took, unless we found out later.
        if news && (self.borrowed.is_none() || self.borrowed_at < former.borrowed_at) {
            (self.borrowed, self.borrowed_at) = (its_loan, former.borrowed_at);
        }
        self.ours.sort_by_key(|ours| ours.at);
        let surplus = self.ours.len().saturating_sub(REMEMBERED);
        self.ours.drain(..surplus);
    }
}

impl Memory {
    /// The person's banner that is behind one of ours, perhaps behind several that took each other's place.
    fn behind(&self, banner: Option<&Banner>) -> Option<Banner> {
        let mut behind = banner?.clone();
        for _ in 0..=self.ours.len() {
            let Some(ours) = self.ours.iter().rev().find(|ours| ours.made(&behind)) else {
                return Some(behind);
            };
            behind = ours.over.clone()?;
        }
        None
    }
}

impl Ours {
    /// Whether a banner, as the tenant showed it once, was this write.
    fn made(&self, banner: &Banner) -> bool {
        self.is(&Shown { banner: banner.clone(), updated_at: None })
    }
}
