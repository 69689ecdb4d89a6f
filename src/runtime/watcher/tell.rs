//! What the log says of single monitors: changes, trouble with reading, pauses. Each is said once, or again at growing distances.

use std::time::Duration;

use jiff::Timestamp;

use super::Watched;
use crate::domain::assess::{MonitorState, Transition};
use crate::domain::observation::Observation;
use crate::poll::Look;

/// Tells a change. Before the first reading there was no state that it could have changed from.
pub(super) fn transition(change: &Transition, first: bool) {
    let Transition { monitor, from, to, description, .. } = change;
    if first {
        tracing::warn!(target: "MainOrchestrator", "{monitor}: {to}: {description} (first reading)");
    } else if to > from {
        tracing::warn!(target: "MainOrchestrator", "{monitor}: {from} -> {to}: {description}");
    } else {
        tracing::info!(target: "MainOrchestrator", "{monitor}: {from} -> {to}: {description}");
    }
}

/// Tells what no longer counts.
pub(super) fn expired(name: &str, descriptions: &[String], hold_for: Duration) {
    for description in descriptions {
        tracing::warn!(
            target: "MainOrchestrator",
            "{name}: not confirmed for {hold_for:?}, so it is unknown and no longer counted: {description}"
        );
    }
}

impl Watched {
    /// Tells once that a page asked for a pause: what it asked for, and what it gets.
    pub(super) fn tell_pause(&mut self, name: &str, pause: Option<(Duration, Duration)>) {
        if let Some((asked, pause)) = pause.filter(|_| !self.pause_told) {
            tracing::warn!(
                target: "StatusClient",
                "{name} asks not to be polled for {asked:?} (Retry-After); next poll in {pause:?}."
            );
        }
        self.pause_told = pause.is_some();
    }

    /// Tells what is new about a look that stands: a pattern that matched nothing, a page that moved.
    pub(super) fn tell_notes(&mut self, name: &str, look: &Look) {
        if let Some(reading) = look.outcome.as_ref().ok().filter(|reading| reading.notes != self.notes) {
            for note in &reading.notes {
                tracing::warn!(target: "StatusClient", "{name}: {note}");
            }
            self.notes.clone_from(&reading.notes);
        }
        if let Some(address) = look.final_url.as_ref().filter(|url| self.slot.moved_to.as_ref() != Some(url))
        {
            tracing::info!(target: "StatusClient", "{name} answers from {address}; its definition may be updated.");
            self.slot.moved_to = Some(address.clone());
        }
    }

    /// Tells when a monitor can no longer be read, again at powers of two, and when it can be read again.
    pub(super) fn tell_readability(&mut self, name: &str, seen: &Observation, before: &MonitorState) {
        match &self.state.unknown {
            Some(unread) if unread.times >= self.told.max(1) => {
                let reason = &unread.reason;
                self.told = unread.times.saturating_mul(2);
                let held = held(before, seen.at);
                let row = if unread.times > 1 {
                    format!(" ({} times in a row)", unread.times)
                } else {
                    String::new()
                };
                let advice = if reason.looks_permanent() { "; check its address" } else { "" };
                tracing::warn!(target: "StatusClient", "{name} cannot be read: {reason}{row}{advice}. {held}.");
            }
            None if before.unknown.is_some() => {
                self.told = 0;
                tracing::info!(target: "StatusClient", "{name} can be read again.");
            }
            Some(_) | None => {}
        }
    }
}

/// What is held while a monitor cannot be read, with its age.
fn held(state: &MonitorState, now: Timestamp) -> String {
    match state.read_at {
        None => "Nothing is known of it yet".to_owned(),
        Some(at) => {
            let minutes = now.duration_since(at).as_mins().max(0);
            format!("Held: {}, read {minutes} min ago", state.severity)
        }
    }
}
