//! The status of each monitor at `now`, decided once for pages, API, badges, the Statuspage format and metrics. Pure.
//!
//! What is not known never counts as operational: a page that cannot be read or was not read yet, and everything while the
//! daemon has not polled for too long. A known problem is held. Start at [`MonitorStatus::of`] and [`Overall::of`].

use std::time::Duration;

use jiff::Timestamp;

use crate::domain::severity::Severity;
use crate::runtime::board::{Board, MonitorView};

/// A standby copies the leader's state every few seconds; an older copy says nothing about now.
const MAX_COPY_AGE: Duration = Duration::from_secs(300);

/// What is known of one monitor now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MonitorStatus {
    /// Current.
    Known(Severity),
    /// Its page cannot be read since then; the severity is the last known.
    Unreadable(Severity, Timestamp),
    /// The daemon has not polled since then; the severity is the last known.
    Stale(Severity, Timestamp),
    /// Its page could never be read.
    NeverReadable,
    /// Not polled yet.
    Pending,
}

/// What is known of all of them together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Overall {
    /// The worst severity, held ones included.
    pub(super) worst: Severity,
    /// Monitors whose status is unknown.
    pub(super) unknown: usize,
    /// Monitors in all.
    pub(super) total: usize,
}

impl MonitorStatus {
    /// The status of a monitor on this board.
    pub(super) fn of(view: &MonitorView, board: &Board, now: Timestamp) -> MonitorStatus {
        let state = &view.state;
        match (state.read_at, &state.unknown, stale_since(board, now)) {
            (None, None, _) => MonitorStatus::Pending,
            (None, Some(_), _) => MonitorStatus::NeverReadable,
            (Some(_), Some(unread), _) => MonitorStatus::Unreadable(state.severity, unread.since),
            (Some(_), None, Some(since)) => MonitorStatus::Stale(state.severity, since),
            (Some(_), None, None) => MonitorStatus::Known(state.severity),
        }
    }

    /// The severity where it is current.
    pub(super) fn known(self) -> Option<Severity> {
        if let MonitorStatus::Known(severity) = self { Some(severity) } else { None }
    }

    /// The last known severity and since when it is not current.
    pub(super) fn held(self) -> Option<(Severity, Timestamp)> {
        match self {
            MonitorStatus::Unreadable(severity, since) | MonitorStatus::Stale(severity, since) => {
                Some((severity, since))
            }
            MonitorStatus::Known(_) | MonitorStatus::NeverReadable | MonitorStatus::Pending => None,
        }
    }

    /// The severity to act on; `None` if there is no reason to act, and none to be calm either.
    pub(super) fn severity(self) -> Option<Severity> {
        let held = self.held().map(|(severity, _)| severity).filter(|severity| *severity > Severity::None);
        self.known().or(held)
    }

    /// For programs: a severity, or `unknown`.
    pub(super) fn word(self) -> &'static str {
        self.known().map_or("unknown", Severity::as_str)
    }

    /// For style sheet and marks.
    pub(super) fn class(self) -> &'static str {
        self.severity().map_or("unknown", Severity::as_str)
    }

    /// For people.
    pub(super) fn label(self) -> &'static str {
        match (self.severity(), self) {
            (Some(severity), _) => super::words::word(severity),
            (None, MonitorStatus::Pending) => "Not read yet",
            (None, MonitorStatus::Stale(..)) => "Not polled",
            (None, _) => "Not readable",
        }
    }
}

impl Overall {
    /// Of all monitors on this board.
    pub(super) fn of(board: &Board, now: Timestamp) -> Overall {
        let mut overall = Overall { worst: Severity::None, unknown: 0, total: board.monitors.len() };
        for view in board.monitors.values() {
            let status = MonitorStatus::of(view, board, now);
            overall.unknown += usize::from(status.known().is_none());
            overall.worst = overall.worst.max(status.severity().unwrap_or_default());
        }
        overall
    }

    /// The worst where that can be said. What is unknown may be worse than planned work, but is no incident.
    pub(super) fn severity(self) -> Option<Severity> {
        let sure = self.unknown == 0 && self.total > 0;
        (sure || self.worst > Severity::Maintenance).then_some(self.worst)
    }
}

/// Since when nothing was polled, if that is too long: before the first cycle, and when cycles stay out. A standby shows
/// a copy instead.
fn stale_since(board: &Board, now: Timestamp) -> Option<Timestamp> {
    let (last, max_age) = match &board.lease {
        Some(lease) if !lease.held => (lease.copied_at, MAX_COPY_AGE),
        _ => (board.cycles.finished_at, board.cycles.patience),
    };
    let Some(last) = last else { return Some(board.started_at) };
    let age = Duration::try_from(now.duration_since(last)).unwrap_or_default();
    (age > max_age).then_some(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::assess::Unread;
    use crate::domain::observation::Unknown;
    use crate::runtime::board::BoardHandle;

    /// `n`one, m`a`intenance, m`i`nor, ma`j`or; upper case: held, not readable; `?` never read.
    fn overall(monitors: &str) -> String {
        let now = Timestamp::UNIX_EPOCH;
        let board = BoardHandle::new(now, true);
        board.update(|board| {
            board.cycles.finished_at = Some(now);
            for (number, letter) in monitors.chars().enumerate() {
                let view = board.monitors.entry(format!("{number}")).or_default();
                view.state.read_at = (letter != '?').then_some(now);
                view.state.severity = match letter.to_ascii_lowercase() {
                    'a' => Severity::Maintenance,
                    'i' => Severity::Minor,
                    'j' => Severity::Major,
                    _ => Severity::None,
                };
                let unread = Unread { reason: Unknown::Timeout, since: now, times: 1 };
                view.state.unknown = letter.is_ascii_uppercase().then_some(unread);
            }
        });
        board.read(|board| Overall::of(board, now)).severity().map_or("unknown", Severity::as_str).to_owned()
    }

    /// Only when all is known is all well; what is known to be wrong is told, also beside what is unknown.
    #[test]
    fn the_unknown_is_never_well() {
        for (monitors, want) in [
            ("", "unknown"),
            ("n", "none"),
            ("nan", "maintenance"),
            ("nij", "major"),
            ("nN", "unknown"),
            ("n?", "unknown"),
            ("aN", "unknown"),
            ("A", "unknown"),
            ("iN", "minor"),
            ("nJ", "major"),
            ("?J", "major"),
        ] {
            assert_eq!(overall(monitors), want, "{monitors}");
        }
    }

    /// Before the first cycle and when cycles stay out, the last known state is stale.
    #[test]
    fn the_status_is_stale_when_cycles_stop() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let board = BoardHandle::new(at(0), true);
        let look = |now| board.read(|board| MonitorStatus::of(&board.monitors["A"], board, at(now)));
        board.update(|board| {
            board.monitors.entry("A".into()).or_default().state.read_at = Some(at(0));
            board.cycles.patience = Duration::from_secs(60);
        });
        assert_eq!(look(1), MonitorStatus::Stale(Severity::None, at(0)));
        board.update(|board| board.cycles.finished_at = Some(at(10)));
        assert_eq!(
            (look(70), look(71)),
            (MonitorStatus::Known(Severity::None), MonitorStatus::Stale(Severity::None, at(10)))
        );
    }
}
