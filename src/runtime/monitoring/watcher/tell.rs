//! Log lines about single monitors: changes, failed polls, pauses. Each is logged once, or again at growing intervals.
//!
//! A page that fails for a new reason is logged at once, because the reason is what tells an operator where to look.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use tracing::Span;

use super::Watched;
use crate::domain::monitoring::assess::{MonitorState, Transition, Unread};
use crate::domain::monitoring::observation::{Observation, Unknown};
use crate::domain::text;
use crate::poll::PollResult;

/// A page that alternates between reasons, such as 502 and 504, gets no more lines than this in [`REASONS_PER`].
const MAX_REASONS: u32 = 10;
const REASONS_PER: Duration = Duration::from_secs(3600);

/// The span of a poll and of its log lines. Its level is ERROR, like that of all spans here, because a span below the log
/// level would lose its fields.
pub(super) fn poll_span(monitor: &str) -> Span {
    tracing::error_span!(target: "StatusClient", "poll", monitor)
}

/// Logs each poll at level `debug`.
pub(super) fn log_poll(name: &str, result: &PollResult, took: Duration) {
    let status = match &result.outcome {
        Ok(reading) => reading.severity.as_str(),
        Err(reason) => reason.reason(),
    };
    let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let http_status = http_status(result);
    tracing::debug!(target: "StatusClient", status, http_status, duration_ms, "Polled {name}");
}

/// The HTTP status, if the result implies it.
fn http_status(result: &PollResult) -> Option<u16> {
    match &result.outcome {
        Ok(_) if result.not_modified => Some(304),
        Ok(_) => Some(200),
        Err(Unknown::HttpStatus(status)) => Some(*status),
        Err(Unknown::RateLimited(_)) => Some(429),
        Err(_) => None,
    }
}

/// Decides which of the failed polls of one monitor are logged.
#[derive(Debug, Default)]
pub(super) struct FailureLog {
    /// A failure for the same reason is logged from this number of failures in a row.
    repeat_at: u32,
    reason: Option<Unknown>,
    /// Changes of the reason that were logged since this time.
    changes: Option<(Instant, u32)>,
}

impl FailureLog {
    fn is_due(&mut self, unread: &Unread, now: Instant) -> bool {
        let same = self.reason.as_ref().is_some_and(|last| is_same_reason(last, &unread.reason));
        self.reason = Some(unread.reason.clone());
        let due = unread.times >= self.repeat_at || !same && self.count_change(now);
        if due {
            self.repeat_at = unread.times.saturating_mul(2);
        }
        due
    }

    fn count_change(&mut self, now: Instant) -> bool {
        let current = self.changes.filter(|(since, _)| now.duration_since(*since) < REASONS_PER);
        let (since, count) = current.unwrap_or((now, 0));
        self.changes = Some((since, count.saturating_add(1)));
        count < MAX_REASONS
    }

    fn readable(&mut self) {
        (self.repeat_at, self.reason) = (0, None);
    }
}

/// The remaining wait of a rate limit differs in each response.
fn is_same_reason(one: &Unknown, other: &Unknown) -> bool {
    one == other || matches!((one, other), (Unknown::RateLimited(_), Unknown::RateLimited(_)))
}

/// Logs a change of severity. The first poll has no previous severity.
pub(super) fn transition(change: &Transition, first: bool) {
    let Transition { monitor, from, to, description, .. } = change;
    let _span = poll_span(monitor).entered();
    if first {
        tracing::warn!(target: "MainOrchestrator", "{monitor}: {to}: {description} (first reading)");
    } else if to > from {
        tracing::warn!(target: "MainOrchestrator", "{monitor}: {from} -> {to}: {description}");
    } else {
        tracing::info!(target: "MainOrchestrator", "{monitor}: {from} -> {to}: {description}");
    }
}

/// Logs states that expired because they could not be confirmed.
pub(super) fn expired(name: &str, descriptions: &[String], hold_for: Duration) {
    let _span = poll_span(name).entered();
    for description in descriptions {
        tracing::warn!(
            target: "MainOrchestrator",
            "{name}: not confirmed for {hold_for:?}, now unknown and no longer counted: {description}"
        );
    }
}

impl Watched {
    /// Logs once that a status page sent `Retry-After`: the requested pause and the actual one.
    pub(super) fn log_pause(&mut self, name: &str, pause: Option<(Duration, Duration)>) {
        let _span = poll_span(name).entered();
        if let Some((requested, pause)) = pause.filter(|_| !self.pause_logged) {
            tracing::warn!(
                target: "StatusClient",
                "{name} requested a pause of {requested:?} (Retry-After); next poll in {pause:?}."
            );
        }
        self.pause_logged = pause.is_some();
    }

    /// Logs new notes of a poll: a pattern that matches no component, a status page that moved.
    pub(super) fn log_notes(&mut self, name: &str, result: &PollResult) {
        let _span = poll_span(name).entered();
        if let Some(reading) = result.outcome.as_ref().ok().filter(|reading| reading.notes != self.notes) {
            for note in &reading.notes {
                tracing::warn!(target: "StatusClient", "{name}: {note}");
            }
            self.notes.clone_from(&reading.notes);
        }
        if let Some(address) =
            result.final_url.as_ref().filter(|url| self.slot.moved_to.as_ref() != Some(url))
        {
            tracing::info!(target: "StatusClient", "{name} redirects to {address}; update its definition.");
            self.slot.moved_to = Some(address.clone());
        }
    }

    /// Logs when a status page can no longer be read, when the reason changes, again at powers of two, and when it can be
    /// read again.
    pub(super) fn log_readability(&mut self, name: &str, seen: &Observation, before: &MonitorState) {
        let _span = poll_span(name).entered();
        match &self.state.unknown {
            Some(unread) if self.failures.is_due(unread, Instant::now()) => {
                let reason = &unread.reason;
                let held = held(before, seen.at);
                let repeated = if unread.times > 1 {
                    format!(" ({} times in a row)", unread.times)
                } else {
                    String::new()
                };
                let lasts = reason.looks_permanent() || unread.times > 1;
                let advice = if lasts { explained_by(name) } else { String::new() };
                tracing::warn!(target: "StatusClient", "{name} cannot be read: {reason}{repeated}{advice}. {held}.");
            }
            None if before.unknown.is_some() => {
                self.failures.readable();
                tracing::info!(target: "StatusClient", "{name} can be read again.");
            }
            Some(_) | None => {}
        }
    }
}

/// The command that says more about a failure.
fn explained_by(name: &str) -> String {
    let name = text::plain(name).replace('\'', "'\\''");
    format!("; `data-sources-monitor monitor explain '{name}'` says more")
}

/// The last known state and its age, for a monitor that cannot be read.
fn held(state: &MonitorState, now: Timestamp) -> String {
    match state.read_at {
        None => "No state is known yet".to_owned(),
        Some(at) => {
            let minutes = now.duration_since(at).as_mins().max(0);
            format!("Last known state: {}, read {minutes} min ago", state.severity)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logged(log: &mut FailureLog, reasons: impl IntoIterator<Item = Unknown>, now: Instant) -> Vec<u32> {
        let polls = (1..).zip(reasons);
        let due = polls.filter(|(times, reason)| {
            let unread = Unread { reason: reason.clone(), since: Timestamp::UNIX_EPOCH, times: *times };
            log.is_due(&unread, now)
        });
        due.map(|(times, _)| times).collect()
    }

    #[test]
    fn the_same_reason_is_logged_at_powers_of_two_and_a_new_one_at_once() {
        let now = Instant::now();
        let bad_gateway = || Unknown::HttpStatus(502);
        let same = std::iter::repeat_with(bad_gateway).take(20);
        assert_eq!(logged(&mut FailureLog::default(), same, now), [1, 2, 4, 8, 16]);
        let limits = (1..10).map(Unknown::RateLimited);
        assert_eq!(logged(&mut FailureLog::default(), limits, now), [1, 2, 4, 8]);
        let changing =
            [bad_gateway(), bad_gateway(), Unknown::Dns, Unknown::Dns, bad_gateway(), Unknown::Timeout];
        assert_eq!(logged(&mut FailureLog::default(), changing, now), [1, 2, 3, 5, 6]);
    }

    #[test]
    fn the_advice_can_be_pasted_into_a_shell() {
        assert_eq!(
            explained_by("It's up"),
            "; `data-sources-monitor monitor explain 'It'\\''s up'` says more"
        );
    }

    #[test]
    fn alternating_reasons_do_not_flood_the_log() {
        let (mut log, now) = (FailureLog::default(), Instant::now());
        let alternating = || (0..60).map(|poll| Unknown::HttpStatus(502 + poll % 2 * 2));
        assert_eq!(logged(&mut log, alternating(), now).len(), 14);
        log.readable();
        assert_eq!(logged(&mut log, alternating(), now + REASONS_PER).len(), 14);
    }
}
