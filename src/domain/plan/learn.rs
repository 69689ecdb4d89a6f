//! What a daemon learns from another that wrote the banner before it and could not say so in time.
//!
//! Between the loss of the shared memory and the end of its lease a holder goes on writing. The next holder takes those
//! writes for a person's until it hears of them; then it corrects what it concluded from them. Start at
//! [`Memory::learn`].

use super::{Banner, Memory, Ours, REMEMBERED, Shown};

impl Memory {
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
        let (borrowed_ours, overruled_by_us) =
            (self.borrowed.as_ref().is_some_and(ours), self.overruled_by.as_ref().is_some_and(ours));
        if borrowed_ours {
            self.borrowed = None;
        }
        if overruled_by_us {
            (self.stands, self.overruled_by) = (None, None);
        }
        // Of what it wrote we knew nothing, so we cannot know either whose place it took.
        if news && self.borrowed.is_none() {
            self.borrowed.clone_from(&former.borrowed);
        }
        self.ours.sort_by_key(|ours| ours.at);
        let surplus = self.ours.len().saturating_sub(REMEMBERED);
        self.ours.drain(..surplus);
    }
}

impl Ours {
    /// Whether a banner, as the tenant showed it once, was this write.
    fn made(&self, banner: &Banner) -> bool {
        self.is(&Shown { banner: banner.clone(), updated_at: None })
    }
}
