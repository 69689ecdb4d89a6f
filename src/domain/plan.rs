//! What to do about the banner now: what the monitors call for, what the tenant shows, and what we remember, made into
//! one step.
//!
//! Start at [`plan`]. It is called with a fresh reading of the tenant each time, also right after a write, so
//! that nothing counts as done before the tenant shows it. The rules:
//!
//! - a write happens only on a difference, because each one makes a dismissed banner reappear for everybody;
//! - a banner that is not ours (`ownership`) is a manual banner: an incident displaces it and restores it afterwards, and
//!   what a person does to the slot during an incident stands until the assessment changes;
//! - after a start nothing is concluded from monitors that were not read yet: their issues keep a banner up and raise
//!   none, and a banner that names them is not cleared;
//! - the end time is an expiry, renewed when a quarter of it is left;
//! - only our own banner is ever disabled.

mod memory;
mod ownership;

use std::time::Duration;

use jiff::Timestamp;

use super::banner::{Banner, Kind, MAX_MESSAGE, RESOLVED, Wish};
use super::text;

pub use memory::{Memory, Ours, Shown};
use ownership::Slot;
pub use ownership::{Coverage, Reach, Witnesses};

/// The part of the expiry that is left when it is renewed: each renewal may bring the banner back to people who
/// dismissed it, so there are few, and a tenant that is away for hours still finds the banner up.
const RENEW_AT: i32 = 4;

/// What the operator wants.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    /// The expiry: from now to the end time at each write.
    pub lease: Duration,
    /// How long a `resolved` banner follows an incident; zero: none.
    pub resolved_for: Duration,
    /// What to do about a manual banner.
    pub foreign: Foreign,
    /// Least time between two writes while only the words change and not the kind: each write brings a
    /// dismissed banner back to everybody.
    pub spacing: Duration,
}

/// What to do about a manual banner that is in the slot when an incident begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Foreign {
    /// Displace it for the incident and restore it afterwards.
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
    /// A manual banner that the write replaces and nothing restores, because nobody sees it any more.
    pub replaces: Option<Banner>,
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
    /// Nothing to show; the slot holds a manual banner.
    Manual,
    /// A person changed the banner during this incident.
    PersonDecided,
    /// A manual banner is respected; ours waits.
    Waiting,
    /// The tenant's answer is older than our last write.
    Stale,
    /// The words changed, but the last write is too fresh.
    Soon,
    /// A banner of ours stays as it is until the monitors it names have been read.
    Unread,
    /// An issue of an earlier run is not shown, and its monitor was not read yet.
    Pending,
}

impl Keep {
    /// Whether the wish is fulfilled, or deliberately not; otherwise it stays pending.
    pub fn settled(self) -> bool {
        !matches!(self, Keep::Stale | Keep::Waiting | Keep::Soon | Keep::Pending)
    }
}

/// Why something is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// An incident begins.
    Raise,
    /// The incident changed.
    Update,
    /// The expiry is near.
    Renew,
    /// The incident is over and said so for a while.
    Resolve,
    /// The incident is over.
    Clear,
    /// The incident is over and the manual banner that it displaced is restored.
    Restore,
}

impl Why {
    /// All of them.
    pub const ALL: [Why; 6] = [Why::Raise, Why::Update, Why::Renew, Why::Resolve, Why::Clear, Why::Restore];

    /// One word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Why::Raise => "raise",
            Why::Update => "update",
            Why::Renew => "renew",
            Why::Resolve => "resolve",
            Why::Clear => "clear",
            Why::Restore => "hand_back",
        }
    }
}

/// What the monitors call for, and how much of it rests on polls since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Desired {
    /// From the monitors that were read since the start.
    pub confirmed: Wish,
    /// The same with the issues of an earlier run whose monitors were not read again yet.
    pub held: Wish,
    /// A monitor with such an issue has not been polled at all yet.
    pub unpolled: bool,
}

impl Desired {
    /// Without regard to any monitor.
    pub fn only(wish: Wish) -> Desired {
        Desired { confirmed: wish.clone(), held: wish, unpolled: false }
    }
}

/// Decides the next step and brings the memory up to date with what the tenant shows; `now` is by the tenant's clock.
/// Whoever carries out a [`Action::Write`] calls [`Memory::intend`] and [`Memory::sent`] before and [`Memory::stored`]
/// after it.
pub fn plan(
    now: Timestamp,
    desired: &Desired,
    shown: Option<&Shown>,
    memory: &mut Memory,
    witnesses: Witnesses<'_>,
) -> Step {
    if memory.is_stale(shown, now) {
        return keep(Keep::Stale);
    }
    let slot = ownership::slot(shown, memory, &[&desired.held, &desired.confirmed], witnesses);
    memory.notice_late(&slot, shown, now);
    memory.notice_person(&slot, &desired.held);
    let slot = match (slot, shown) {
        (Slot::Ours { banner, by_memory: false }, Some(shown)) => {
            if !memory.remembers(shown) {
                memory.adopt(shown);
            }
            Slot::Ours { banner, by_memory: false }
        }
        (slot @ Slot::Ours { .. }, Some(shown)) => {
            memory.confirm(shown);
            slot
        }
        (Slot::Edited(shown), _) => Slot::Ours { banner: shown.banner.clone(), by_memory: false },
        (slot, _) => slot,
    };
    let up = match &slot {
        Slot::Ours { banner, .. } if banner.enabled => Some(banner.clone()),
        Slot::Ours { .. } | Slot::Empty | Slot::SwitchedOff | Slot::Edited(_) | Slot::Manual(_) => None,
    };
    // What an earlier run saw keeps a banner up, and a person's decision about it stands; it raises nothing.
    let visible = up.as_ref().is_some_and(|banner| banner.visible(now));
    let wish = if visible || memory.stands.is_some() { &desired.held } else { &desired.confirmed };
    if *wish == Wish::Quiet && desired.held != Wish::Quiet {
        return keep(Keep::Pending);
    }
    let waits = |reach| up.as_ref().is_some_and(|banner| witnesses.waits_for(&banner.message, reach));
    let step = match wish {
        Wish::Quiet if waits(Reach::Unread) => return keep(Keep::Unread),
        Wish::Quiet => {
            memory.since = None;
            memory.stands = None;
            quiet(now, slot, memory, witnesses.policy)
        }
        Wish::Raise { .. } => raise(now, wish, slot, memory, witnesses.policy),
    };
    match step.action {
        Action::Write(..) if desired.unpolled || (visible && waits(Reach::Unpolled)) => keep(Keep::Unread),
        Action::Write(..) | Action::Keep(_) => step,
    }
}

/// The banner that a wish calls for; without one, a cleared banner.
fn target(now: Timestamp, wish: &Wish, memory: &mut Memory, policy: Policy) -> Banner {
    let Wish::Raise { kind, message, link, since } = wish else { return cleared(now) };
    let start = (*memory.since.get_or_insert(*since)).min(now);
    Banner {
        kind: kind.clone(),
        enabled: true,
        message: message.clone(),
        start_time: start,
        end_time: later(now, policy.lease),
        link_enabled: link.is_some(),
        link_url: link.as_ref().map(|l| l.url.clone()),
        link_label: link.as_ref().map(|l| l.label.clone()),
    }
    .rounded()
}

fn raise(now: Timestamp, wish: &Wish, slot: Slot<'_>, memory: &mut Memory, policy: Policy) -> Step {
    let target = target(now, wish, memory, policy);
    if memory.stands.is_some() {
        if memory.stands.as_deref() == Some(wish.key().as_str()) {
            return keep(Keep::PersonDecided);
        }
        memory.stands = None;
    }
    match slot {
        Slot::Ours { banner: ours, by_memory }
            if ours.enabled && ours.same_content(&target) && ours.start_time <= now =>
        {
            memory.holding = true;
            let left = ours.end_time.duration_since(now);
            let lease = jiff::SignedDuration::try_from(policy.lease).unwrap_or(jiff::SignedDuration::MAX);
            // Far more than an expiry left means that the clock was wrong when we wrote it.
            if left > lease / RENEW_AT && (!by_memory || left <= lease + lease / 2) {
                let again_at = ours.end_time.checked_sub(lease / RENEW_AT).ok();
                return Step { again_at, ..keep(Keep::Right) };
            }
            write(target, Why::Renew)
        }
        Slot::Ours { banner: ours, .. } if ours.visible(now) && ours.kind != Kind::Resolved => {
            memory.holding = true;
            let next = memory.sent_at.map(|sent| later(sent, policy.spacing));
            match next.filter(|next| ours.kind == target.kind && now < *next) {
                // A clock that was ahead when we wrote must not hold us back for long.
                Some(next) if next <= later(now, policy.spacing) => {
                    Step { again_at: Some(next), ..keep(Keep::Soon) }
                }
                _ => write(target, Why::Update),
            }
        }
        Slot::Ours { .. } | Slot::Edited(_) | Slot::SwitchedOff | Slot::Empty => write(target, Why::Raise),
        Slot::Manual(theirs) => {
            let seen = theirs.enabled && theirs.has_time_left(now);
            if policy.foreign == Foreign::Respect && seen {
                return Step { again_at: Some(theirs.end_time), ..keep(Keep::Waiting) };
            }
            let restorable = seen.then(|| theirs.clone());
            memory.displace(restorable, now);
            let replaces = (!seen).then(|| theirs.clone());
            Step { replaces, ..write(target, Why::Raise) }
        }
    }
}

fn quiet(now: Timestamp, slot: Slot<'_>, memory: &mut Memory, policy: Policy) -> Step {
    if memory.displaced.as_ref().is_some_and(|b| !b.enabled || !b.has_time_left(now)) {
        memory.displace(None, now);
    }
    match slot {
        Slot::Manual(_) => {
            memory.holding = false;
            memory.displace(None, now);
            keep(Keep::Manual)
        }
        Slot::Ours { banner, .. } if memory.displaced.is_none() && banner.enabled => {
            over(now, &banner, policy)
        }
        Slot::Ours { .. } | Slot::Edited(_) | Slot::SwitchedOff | Slot::Empty => match &memory.displaced {
            Some(banner) => write(banner.clone().rounded(), Why::Restore),
            None => {
                memory.holding = false;
                keep(Keep::Empty)
            }
        },
    }
}

/// Our own banner after the incident: `resolved` for a while if wanted, then off.
fn over(now: Timestamp, ours: &Banner, policy: Policy) -> Step {
    if ours.kind == Kind::Resolved {
        if ours.visible(now) {
            return Step { again_at: Some(ours.end_time), ..keep(Keep::Right) };
        }
    } else if ours.visible(now) && !policy.resolved_for.is_zero() {
        let resolved = Banner {
            kind: Kind::Resolved,
            message: text::shorten(&format!("{RESOLVED}{}", ours.message), MAX_MESSAGE).into_owned(),
            start_time: now,
            end_time: later(now, policy.resolved_for),
            ..ours.clone()
        };
        return write(resolved.rounded(), Why::Resolve);
    }
    write(cleared(now), Why::Clear)
}

/// A banner that shows nothing. Its words name no incident, so that a person who switches it on again has made it
/// theirs.
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

/// Whether what the tenant shows is a banner of ours.
pub fn is_ours(shown: &Shown, memory: &Memory, witnesses: Witnesses<'_>) -> bool {
    matches!(ownership::slot(Some(shown), memory, &[], witnesses), Slot::Ours { .. })
}

fn keep(why: Keep) -> Step {
    Step { action: Action::Keep(why), again_at: None, replaces: None }
}

fn write(banner: Banner, why: Why) -> Step {
    Step { action: Action::Write(banner, why), again_at: None, replaces: None }
}

fn later(now: Timestamp, by: Duration) -> Timestamp {
    now.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
