//! Plans the next banner write from the desired banner, the tenant's banner and the saved record.
//!
//! Start at [`plan`]. It is called with a fresh reading of the tenant each time, also right after a write,
//! because a write counts only once the tenant shows it. The rules:
//!
//! - a write happens only on a difference, because each write makes a dismissed banner reappear for all
//!   users;
//! - a banner that is not ours (`ownership`) is a manual banner: an incident displaces it and restores it
//!   afterwards, and what a person does to the slot during an incident stands until the assessment changes;
//! - after a start, monitors that were not read yet prove nothing: their issues keep a banner up but raise
//!   none, and a banner that names them is not cleared;
//! - the end time is an expiry, renewed when a quarter of it is left;
//! - only our own banner is ever disabled.

mod banner_state;
mod ownership;
mod slot;

use std::time::Duration;

use jiff::Timestamp;

use super::banner::{Banner, BannerKind, MAX_MESSAGE, RESOLVED, Wish};
use crate::domain::text;

pub use banner_state::BannerState;
pub use ownership::{Coverage, Reach, Witnesses};
pub use slot::Shown;
use slot::Slot;

/// The fraction of the expiry that is left at a renewal. Each renewal may bring the banner back to users who
/// dismissed it, so renewals are rare; the margin also covers hours in which the tenant is unreachable.
const RENEW_AT: i32 = 4;

/// The operator's settings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    /// The expiry: time from a write to the banner's end.
    pub lease: Duration,
    /// How long a `resolved` banner is shown after an incident; zero: not at all.
    pub resolved_for: Duration,
    pub foreign: Foreign,
    /// Minimum time between two writes while only the message changes and not the type.
    pub spacing: Duration,
}

/// How a manual banner in the slot is treated when an incident starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Foreign {
    /// Displace it for the incident and restore it afterwards.
    #[default]
    Borrow,
    /// Wait until it is gone.
    Respect,
}

#[derive(Debug, Clone, PartialEq)]
pub struct PlanStep {
    pub action: Action,
    /// When to plan again even if nothing changes.
    pub again_at: Option<Timestamp>,
    /// A manual banner that the write replaces and that is not restored, because it is no longer visible.
    pub replaces: Option<Banner>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// No write, with the reason.
    Keep(Keep),
    /// Write this banner, with the reason.
    Write(Banner, Why),
}

/// Why nothing is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// The tenant shows the desired banner.
    Right,
    /// No banner is desired, and none of ours is up.
    Empty,
    /// No banner is desired; the slot has a manual banner.
    Manual,
    /// A person changed the banner during this incident.
    PersonDecided,
    /// A manual banner is respected; ours waits.
    Waiting,
    /// The tenant's response is older than our last write.
    Stale,
    /// The message changed, but the last write was too recent.
    Soon,
    /// Our banner stays until the monitors it names have been read.
    Unread,
    /// An issue of an earlier run is not shown, and its monitor has not been read yet.
    Pending,
}

impl Keep {
    /// Whether the tenant shows the desired banner, or deliberately another one; otherwise the write is
    /// pending.
    pub fn settled(self) -> bool {
        !matches!(self, Keep::Stale | Keep::Waiting | Keep::Soon | Keep::Pending)
    }
}

/// Why something is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// An incident started.
    Raise,
    /// The incident changed.
    Update,
    /// The expiry is near.
    Renew,
    /// The incident is over, and the `resolved` banner is due.
    Resolve,
    /// The incident is over.
    Clear,
    /// The incident is over, and the displaced manual banner is restored.
    Restore,
}

impl Why {
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

/// The desired banner, and how much of it is confirmed by polls since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Desired {
    /// From the monitors that were read since the start.
    pub confirmed: Wish,
    /// The same, including issues of an earlier run whose monitors have not been read again yet.
    pub held: Wish,
    /// A monitor with such an issue has not been polled yet.
    pub unpolled: bool,
}

impl Desired {
    /// A wish that does not depend on unread monitors.
    pub fn only(wish: Wish) -> Desired {
        Desired { confirmed: wish.clone(), held: wish, unpolled: false }
    }
}

/// Decides the next step and updates the record with what the tenant shows; `now` is by the tenant's clock.
/// The caller that executes an [`Action::Write`] calls [`BannerState::intend`] and [`BannerState::sent`] before the
/// write and [`BannerState::stored`] after it.
pub fn plan(
    now: Timestamp,
    desired: &Desired,
    shown: Option<&Shown>,
    state: &mut BannerState,
    witnesses: Witnesses<'_>,
) -> PlanStep {
    state.notice_clock(now);
    if state.is_stale(shown, now) {
        return keep(Keep::Stale);
    }
    let slot = ownership::slot(shown, state, &[&desired.held, &desired.confirmed], witnesses);
    state.notice_late(&slot, shown, now);
    state.notice_person(&slot, &desired.held);
    let slot = match (slot, shown) {
        (Slot::Ours { banner, by_memory: false }, Some(shown)) => {
            if !state.remembers(shown) {
                state.adopt(shown);
            }
            Slot::Ours { banner, by_memory: false }
        }
        (slot @ Slot::Ours { .. }, Some(shown)) => {
            state.confirm(shown);
            slot
        }
        (Slot::Edited(shown), _) => Slot::Ours { banner: shown.banner.clone(), by_memory: false },
        (slot, _) => slot,
    };
    let up = match &slot {
        Slot::Ours { banner, .. } if banner.enabled => Some(banner.clone()),
        Slot::Ours { .. } | Slot::Empty | Slot::SwitchedOff | Slot::Edited(_) | Slot::Manual(_) => None,
    };
    // Issues of an earlier run keep a banner up, and a person's decision about it stands; they raise nothing.
    let visible = up.as_ref().is_some_and(|banner| banner.visible(now));
    let wish = if visible || state.stands.is_some() { &desired.held } else { &desired.confirmed };
    if *wish == Wish::Quiet && desired.held != Wish::Quiet {
        return keep(Keep::Pending);
    }
    let names = |reaches| up.as_ref().is_some_and(|banner| witnesses.names(&banner.message, reaches));
    let step = match wish {
        Wish::Quiet if names(&[Reach::Unpolled, Reach::Unread]) => return keep(Keep::Unread),
        Wish::Quiet => {
            state.since = None;
            state.stands = None;
            quiet(now, slot, state, witnesses)
        }
        Wish::Raise { .. } => raise(now, wish, slot, state, witnesses.policy),
    };
    match step.action {
        Action::Write(..) if desired.unpolled || (visible && names(&[Reach::Unpolled])) => keep(Keep::Unread),
        Action::Write(..) | Action::Keep(_) => step,
    }
}

/// The banner for a wish; without an incident, a cleared banner.
fn target(now: Timestamp, wish: &Wish, state: &mut BannerState, policy: Policy) -> Banner {
    let Wish::Raise { kind, message, link, since } = wish else { return cleared(now) };
    let start = (*state.since.get_or_insert(*since)).min(now);
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

fn raise(now: Timestamp, wish: &Wish, slot: Slot<'_>, state: &mut BannerState, policy: Policy) -> PlanStep {
    let target = target(now, wish, state, policy);
    if state.stands.is_some() {
        if state.stands.as_deref() == Some(wish.key().as_str()) {
            return keep(Keep::PersonDecided);
        }
        state.stands = None;
    }
    match slot {
        Slot::Ours { banner: ours, by_memory }
            if ours.enabled && ours.same_content(&target) && ours.start_time <= now =>
        {
            state.holding = true;
            let left = ours.end_time.duration_since(now);
            let lease = jiff::SignedDuration::try_from(policy.lease).unwrap_or(jiff::SignedDuration::MAX);
            // Much more than one expiry left means that the clock was wrong at the write.
            if left > lease / RENEW_AT && (!by_memory || left <= lease + lease / 2) {
                let again_at = ours.end_time.checked_sub(lease / RENEW_AT).ok();
                return PlanStep { again_at, ..keep(Keep::Right) };
            }
            write(target, Why::Renew)
        }
        Slot::Ours { banner: ours, .. } if ours.visible(now) && ours.kind != BannerKind::Resolved => {
            state.holding = true;
            let next = state.sent_at.map(|sent| later(sent, policy.spacing));
            match next.filter(|next| ours.kind == target.kind && now < *next) {
                // If the clock was ahead at the last write, it must not block writes for long.
                Some(next) if next <= later(now, policy.spacing) => {
                    PlanStep { again_at: Some(next), ..keep(Keep::Soon) }
                }
                _ => write(target, Why::Update),
            }
        }
        Slot::Ours { .. } | Slot::Edited(_) | Slot::SwitchedOff | Slot::Empty => write(target, Why::Raise),
        Slot::Manual(theirs) => {
            let seen = theirs.enabled && theirs.has_time_left(now);
            if policy.foreign == Foreign::Respect && seen {
                return PlanStep { again_at: Some(theirs.end_time), ..keep(Keep::Waiting) };
            }
            let restorable = seen.then(|| theirs.clone());
            state.displace(restorable, now);
            let replaces = (!seen).then(|| theirs.clone());
            PlanStep { replaces, ..write(target, Why::Raise) }
        }
    }
}

fn quiet(now: Timestamp, slot: Slot<'_>, state: &mut BannerState, witnesses: Witnesses<'_>) -> PlanStep {
    if state.displaced.as_ref().is_some_and(|b| !b.enabled || !b.has_time_left(now)) {
        state.displace(None, now);
    }
    match slot {
        Slot::Manual(_) => {
            state.holding = false;
            state.displace(None, now);
            keep(Keep::Manual)
        }
        Slot::Ours { banner, .. } if state.displaced.is_none() && banner.enabled => {
            over(now, &banner, witnesses)
        }
        Slot::Ours { .. } | Slot::Edited(_) | Slot::SwitchedOff | Slot::Empty => match &state.displaced {
            Some(banner) => write(banner.clone().rounded(), Why::Restore),
            None => {
                state.holding = false;
                keep(Keep::Empty)
            }
        },
    }
}

/// Our own banner after the incident: `resolved` for a while if configured, then off. It is not resolved if one of its monitors
/// could not be read any more or is muted.
fn over(now: Timestamp, ours: &Banner, witnesses: Witnesses<'_>) -> PlanStep {
    let policy = witnesses.policy;
    let recovered = !witnesses.names(&ours.message, &[Reach::Expired, Reach::Muted]);
    if ours.kind == BannerKind::Resolved {
        if ours.visible(now) && !policy.resolved_for.is_zero() {
            return PlanStep { again_at: Some(ours.end_time), ..keep(Keep::Right) };
        }
    } else if recovered && ours.visible(now) && !policy.resolved_for.is_zero() {
        let resolved = Banner {
            kind: BannerKind::Resolved,
            message: text::shorten(&witnesses.style.marked(&ours.message, RESOLVED), MAX_MESSAGE)
                .into_owned(),
            start_time: now,
            end_time: later(now, policy.resolved_for),
            ..ours.clone()
        };
        return write(resolved.rounded(), Why::Resolve);
    }
    write(cleared(now), Why::Clear)
}

/// A disabled banner. Its message names no incident, so that a person who enables it again makes it a manual
/// banner.
pub fn cleared(now: Timestamp) -> Banner {
    Banner {
        kind: BannerKind::Info,
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

/// Whether the tenant shows a banner of ours.
pub fn is_ours(shown: &Shown, state: &BannerState, witnesses: Witnesses<'_>) -> bool {
    matches!(ownership::slot(Some(shown), state, &[], witnesses), Slot::Ours { .. })
}

fn keep(why: Keep) -> PlanStep {
    PlanStep { action: Action::Keep(why), again_at: None, replaces: None }
}

fn write(banner: Banner, why: Why) -> PlanStep {
    PlanStep { action: Action::Write(banner, why), again_at: None, replaces: None }
}

fn later(now: Timestamp, by: Duration) -> Timestamp {
    now.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
