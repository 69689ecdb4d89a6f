//! What to do about the banner now: the wish, what the tenant shows, and what we remember, made into one step.
//!
//! Start at [`plan`]. It is called with a fresh reading of the tenant each time, also right after a write, so
//! that nothing counts as done before the tenant shows it. The rules:
//!
//! - a write happens only on a difference, because each one makes a dismissed banner reappear for everybody;
//! - what is in the slot and is not ours belongs to a person: an incident borrows the slot and hands the
//!   banner back, and what a person does to the slot during an incident stands until the assessment changes;
//! - the end time is a lease, renewed when half of it is gone;
//! - only our own banner is ever disabled.

mod learn;

use std::time::Duration;

use jiff::Timestamp;

use super::banner::{Banner, Kind, MAX_MESSAGE, Wish};
use super::text;

/// Old writes worth recognising: a write that timed out may still arrive after later ones.
const REMEMBERED: usize = 8;

/// How long an answer may lag behind our write.
const STALE_FOR: Duration = Duration::from_secs(60);

/// What we remember of the banner. Kept over restarts.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct Memory {
    /// What we wrote or tried to write, newest last: how we know our own banner.
    pub ours: Vec<Ours>,
    /// The tenant's own time of our last write: an older answer lags behind it.
    pub written_at: Option<Timestamp>,
    /// Our own time of it.
    pub sent_at: Option<Timestamp>,
    /// Whether an incident's banner of ours was last known to be in the slot.
    pub holding: bool,
    /// The start of the incident that runs.
    pub since: Option<Timestamp>,
    /// The person's banner whose slot we borrowed.
    pub borrowed: Option<Banner>,
    /// Since when it is so, or is so no more.
    #[serde(default)]
    pub borrowed_at: Option<Timestamp>,
    /// The wish against which a person decided otherwise.
    pub stands: Option<String>,
    /// The banner by which they did, if it was one.
    #[serde(default)]
    pub overruled_by: Option<Banner>,
    /// The person's banner that was in the slot at the last look.
    #[serde(default)]
    pub person: Option<Banner>,
}

/// One write of ours.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Ours {
    /// What we sent.
    pub sent: Banner,
    /// What the tenant made of it, once we know.
    pub stored: Option<Shown>,
    /// When, by our own clock.
    #[serde(default)]
    pub at: Option<Timestamp>,
    /// The banner whose slot it borrowed, as was believed then.
    #[serde(default)]
    pub over: Option<Banner>,
}

/// What a tenant shows.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Shown {
    /// The banner in the slot.
    pub banner: Banner,
    /// The tenant's own time of its last change.
    pub updated_at: Option<Timestamp>,
}

/// What the operator wants.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    /// From now to the end time at each write.
    pub lease: Duration,
    /// How long a `resolved` banner follows an incident; zero: none.
    pub resolved_for: Duration,
    /// What to do about a person's banner.
    pub foreign: Foreign,
    /// Least time between two writes while only the words change and not the kind: each write brings a
    /// dismissed banner back to everybody.
    pub spacing: Duration,
}

/// What to do about a person's banner that is in the slot when an incident begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Foreign {
    /// Take its place for the incident and hand it back afterwards.
    #[default]
    Borrow,
    /// Wait until it is gone.
    Respect,
}

/// The next step.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// What to do.
    pub action: Action,
    /// When time alone may call for something: ask again then.
    pub again_at: Option<Timestamp>,
}

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Nothing; why.
    Keep(Keep),
    /// Write this; why.
    Write(Banner, Why),
}

/// Why nothing is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// The tenant shows what it should.
    Right,
    /// Nothing to show, and nothing of ours is there.
    Empty,
    /// The incident is over; the slot holds a person's banner.
    Theirs,
    /// A person changed the banner during this incident.
    PersonDecided,
    /// A person's banner is respected; ours waits.
    Waiting,
    /// The tenant's answer is older than our last write.
    Stale,
    /// The words changed, but the last write is too fresh.
    Soon,
}

impl Keep {
    /// Whether the wish is fulfilled, or deliberately not; otherwise it stays owed.
    pub fn settled(self) -> bool {
        !matches!(self, Keep::Stale | Keep::Waiting | Keep::Soon)
    }
}

/// Why something is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// An incident begins.
    Raise,
    /// The incident changed.
    Update,
    /// Half of the lease is gone.
    Renew,
    /// The incident is over and said so for a while.
    Resolve,
    /// The incident is over.
    Clear,
    /// The incident is over and a person's banner returns.
    HandBack,
}

impl Why {
    /// All of them.
    pub const ALL: [Why; 6] = [Why::Raise, Why::Update, Why::Renew, Why::Resolve, Why::Clear, Why::HandBack];

    /// One word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Why::Raise => "raise",
            Why::Update => "update",
            Why::Renew => "renew",
            Why::Resolve => "resolve",
            Why::Clear => "clear",
            Why::HandBack => "hand_back",
        }
    }
}

enum Slot<'a> {
    Empty,
    /// Ours, as sent.
    Ours(Banner),
    /// Ours, but a person switched it off.
    SwitchedOff,
    Theirs(&'a Banner),
}

/// Decides the next step and brings the memory up to date with what the tenant shows. Whoever carries out a
/// [`Action::Write`] calls [`Memory::sending`] before and [`Memory::stored`] after it.
pub fn plan(now: Timestamp, wish: &Wish, shown: Option<&Shown>, memory: &mut Memory, policy: Policy) -> Step {
    if memory.is_stale(shown, now) {
        return keep(Keep::Stale);
    }
    let slot = memory.whose(shown);
    memory.notice_late(&slot, now);
    memory.notice_person(&slot, wish);
    match wish {
        Wish::Raise { kind, message, link, since } => {
            let start = (*memory.since.get_or_insert(*since)).min(now);
            let target = Banner {
                kind: kind.clone(),
                enabled: true,
                message: message.clone(),
                start_time: start,
                end_time: later(now, policy.lease),
                link_enabled: link.is_some(),
                link_url: link.as_ref().map(|l| l.url.clone()),
                link_label: link.as_ref().map(|l| l.label.clone()),
            }
            .rounded();
            raise(now, wish, slot, target, memory, policy)
        }
        Wish::Quiet => {
            memory.since = None;
            memory.stands = None;
            quiet(now, slot, memory, policy)
        }
    }
}

fn raise(
    now: Timestamp,
    wish: &Wish,
    slot: Slot<'_>,
    target: Banner,
    memory: &mut Memory,
    policy: Policy,
) -> Step {
    if memory.stands.is_some() {
        if memory.stands.as_deref() == Some(wish.key().as_str()) {
            return keep(Keep::PersonDecided);
        }
        memory.stands = None;
    }
    match slot {
        Slot::Ours(ours) if ours.enabled && ours.same_content(&target) && ours.start_time <= now => {
            memory.holding = true;
            let left = ours.end_time.duration_since(now);
            let lease = jiff::SignedDuration::try_from(policy.lease).unwrap_or(jiff::SignedDuration::MAX);
            // Far more than a lease left means that the clock was wrong when we wrote it.
            if left > lease / 2 && left <= lease + lease / 2 {
                let again_at = ours.end_time.checked_sub(lease / 2).ok();
                return Step { action: Action::Keep(Keep::Right), again_at };
            }
            write(target, Why::Renew)
        }
        Slot::Ours(ours) if ours.visible(now) && ours.kind != Kind::Resolved => {
            memory.holding = true;
            let next = memory.sent_at.map(|sent| later(sent, policy.spacing));
            match next.filter(|next| ours.kind == target.kind && now < *next) {
                // A clock that was ahead when we wrote must not hold us back for long.
                Some(next) if next <= later(now, policy.spacing) => {
                    Step { action: Action::Keep(Keep::Soon), again_at: Some(next) }
                }
                _ => write(target, Why::Update),
            }
        }
        Slot::Ours(_) | Slot::SwitchedOff | Slot::Empty => write(target, Why::Raise),
        Slot::Theirs(theirs) => {
            if policy.foreign == Foreign::Respect && theirs.enabled && theirs.has_time_left(now) {
                return Step { action: Action::Keep(Keep::Waiting), again_at: Some(theirs.end_time) };
            }
            memory.borrow(theirs.has_time_left(now).then(|| theirs.clone()), now);
            write(target, Why::Raise)
        }
    }
}

fn quiet(now: Timestamp, slot: Slot<'_>, memory: &mut Memory, policy: Policy) -> Step {
    if memory.borrowed.as_ref().is_some_and(|b| !b.has_time_left(now)) {
        memory.borrow(None, now);
    }
    match slot {
        Slot::Theirs(_) => {
            memory.holding = false;
            memory.borrow(None, now);
            keep(Keep::Theirs)
        }
        Slot::Ours(_) | Slot::SwitchedOff | Slot::Empty if memory.borrowed.is_some() => {
            let theirs = memory.borrowed.clone().map(Banner::rounded);
            theirs.map_or(keep(Keep::Empty), |banner| write(banner, Why::HandBack))
        }
        Slot::Ours(ours) if ours.enabled => over(now, &ours, policy),
        Slot::Ours(_) | Slot::SwitchedOff | Slot::Empty => {
            memory.holding = false;
            keep(Keep::Empty)
        }
    }
}

/// Our own banner after the incident: `resolved` for a while if wanted, then off.
fn over(now: Timestamp, ours: &Banner, policy: Policy) -> Step {
    if ours.kind == Kind::Resolved {
        if ours.visible(now) {
            return Step { action: Action::Keep(Keep::Right), again_at: Some(ours.end_time) };
        }
    } else if ours.visible(now) && !policy.resolved_for.is_zero() {
        let resolved = Banner {
            kind: Kind::Resolved,
            message: text::shorten(&format!("Resolved: {}", ours.message), MAX_MESSAGE).into_owned(),
            start_time: now,
            end_time: later(now, policy.resolved_for),
            ..ours.clone()
        };
        return write(resolved.rounded(), Why::Resolve);
    }
    write(cleared(now), Why::Clear)
}

/// A banner that shows nothing. Its words are nobody's incident, so that a person who switches it on again
/// has made it theirs.
pub fn cleared(now: Timestamp) -> Banner {
    Banner {
        kind: Kind::Info,
        enabled: false,
        message: "All services operational.".into(),
        start_time: now,
        end_time: later(now, Duration::from_secs(60)),
        link_enabled: false,
        link_url: None,
        link_label: None,
    }
    .rounded()
}

fn same_window(a: &Banner, b: &Banner) -> bool {
    (&a.kind, a.enabled, a.start_time, a.end_time) == (&b.kind, b.enabled, b.start_time, b.end_time)
}

fn keep(why: Keep) -> Step {
    Step { action: Action::Keep(why), again_at: None }
}

fn write(banner: Banner, why: Why) -> Step {
    Step { action: Action::Write(banner, why), again_at: None }
}

fn later(now: Timestamp, by: Duration) -> Timestamp {
    now.checked_add(by).unwrap_or(Timestamp::MAX)
}

impl Memory {
    /// Whether what the tenant shows is a write of ours.
    pub fn is_ours(&self, shown: &Shown) -> bool {
        matches!(self.whose(Some(shown)), Slot::Ours(_))
    }

    /// Notes whose slot we have.
    fn borrow(&mut self, banner: Option<Banner>, now: Timestamp) {
        if self.borrowed != banner {
            (self.borrowed, self.borrowed_at) = (banner, Some(now));
        }
    }

    /// Notes a write that is about to be sent. To be stored before the request leaves: after a crash in
    /// between we must know our own banner again.
    pub fn sending(&mut self, banner: &Banner, why: Why, now: Timestamp) {
        self.sent_at = Some(now);
        if why == Why::HandBack {
            return;
        }
        let over = self.borrowed.clone();
        self.ours.push(Ours { sent: banner.clone(), stored: None, at: Some(now), over });
        if self.ours.len() > REMEMBERED {
            self.ours.remove(0);
        }
    }

    /// Notes what the tenant answered to the write.
    pub fn stored(&mut self, why: Why, answer: Shown) {
        self.written_at = answer.updated_at.or(self.written_at);
        if why == Why::HandBack {
            // It stays borrowed until the tenant shows it.
            self.holding = false;
            return;
        }
        self.holding = answer.banner.enabled && why != Why::Resolve;
        if let Some(last) = self.ours.last_mut() {
            last.stored = Some(answer);
        }
    }

    /// An answer that is older than our last write comes from a copy that lags behind. Only shortly after the write,
    /// in case the tenant's clocks disagree, and by whole seconds where it shows no finer ones.
    fn is_stale(&self, shown: Option<&Shown>, now: Timestamp) -> bool {
        let fresh = self.sent_at.is_some_and(|sent| sent <= now && now < later(sent, STALE_FOR));
        match (self.written_at, shown.and_then(|s| s.updated_at)) {
            (Some(written), Some(seen)) if seen.subsec_nanosecond() == 0 => {
                fresh && seen.as_second() < written.as_second()
            }
            (Some(written), Some(seen)) => fresh && seen < written,
            _ => false,
        }
    }

    fn whose<'a>(&self, shown: Option<&'a Shown>) -> Slot<'a> {
        let Some(shown) = shown else { return Slot::Empty };
        for ours in self.ours.iter().rev() {
            if ours.is(shown) {
                return Slot::Ours(ours.sent.clone());
            }
            if ours.sent.enabled && ours.is_switched_off(&shown.banner) {
                return Slot::SwitchedOff;
            }
        }
        // Cleared by hand through this program.
        if !shown.banner.enabled && shown.banner.same_content(&cleared(Timestamp::UNIX_EPOCH)) {
            return Slot::SwitchedOff;
        }
        Slot::Theirs(&shown.banner)
    }

    /// A slot that held our incident and now holds something else was changed by a person.
    fn notice_person(&mut self, slot: &Slot<'_>, wish: &Wish) {
        if self.holding && matches!(slot, Slot::Theirs(_) | Slot::SwitchedOff) {
            let up = self.ours.iter().rev().find(|ours| ours.stored.is_some()).or(self.ours.last());
            let decided = up.map(|ours| format!("{}: {}", ours.sent.kind, ours.sent.message));
            self.stands = decided.or_else(|| Some(wish.key()));
            self.overruled_by = match slot {
                Slot::Theirs(theirs) => Some((*theirs).clone()),
                Slot::Empty | Slot::Ours(_) | Slot::SwitchedOff => None,
            };
            self.holding = false;
        }
    }
}

impl Ours {
    fn is(&self, shown: &Shown) -> bool {
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

    fn is_switched_off(&self, banner: &Banner) -> bool {
        let off = |mine: &Banner| !banner.enabled && mine.same_content(banner);
        off(&self.sent) || self.stored.as_ref().is_some_and(|s| off(&s.banner))
    }
}

#[cfg(test)]
mod tests;
