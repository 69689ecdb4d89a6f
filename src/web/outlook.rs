//! What outsiders are told of a monitor: badges, other monitors, programs. Pure.
//!
//! Nothing that is not known passes for operational: not a page that cannot be read, nor one that was read before the
//! daemon started or stood still. A problem that was known is held. Start at [`Outlook::of`] and [`Overall::of`].

use std::time::Duration;

use jiff::Timestamp;

use crate::domain::severity::Severity;
use crate::runtime::board::{Board, MonitorView};

/// A copy of what another daemon knows is taken every few seconds; one that is older than this is no knowledge.
const COPY: Duration = Duration::from_secs(300);

/// What one monitor looks like now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outlook {
    /// Read, and believed.
    Known(Severity),
    /// Not readable since then; the severity is what was believed last.
    Held(Severity, Timestamp),
    /// Never read.
    Never,
}

/// What all of them look like together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Overall {
    /// The worst, held ones included.
    pub(super) worst: Severity,
    /// How many are not known now.
    pub(super) unknown: usize,
    /// How many there are.
    pub(super) total: usize,
}

impl Outlook {
    /// Of a monitor on this board.
    pub(super) fn of(view: &MonitorView, board: &Board, now: Timestamp) -> Outlook {
        let believed = &view.state;
        let unread = believed.unknown.as_ref().map(|unread| unread.since);
        match (believed.read_at, unread.or_else(|| stands_still(board, now))) {
            (None, _) => Outlook::Never,
            (Some(_), Some(since)) => Outlook::Held(believed.severity, since),
            (Some(_), None) => Outlook::Known(believed.severity),
        }
    }

    /// The word for it now: a severity, or `unknown`.
    pub(super) fn word(self) -> &'static str {
        match self {
            Outlook::Known(severity) => severity.as_str(),
            Outlook::Held(..) | Outlook::Never => "unknown",
        }
    }

    /// The severity to act on; `None` if there is no reason to act, and none to be calm either.
    pub(super) fn severity(self) -> Option<Severity> {
        match self {
            Outlook::Known(severity) => Some(severity),
            Outlook::Held(severity, _) => Some(severity).filter(|severity| *severity > Severity::None),
            Outlook::Never => None,
        }
    }
}

impl Overall {
    /// Of all monitors on this board.
    pub(super) fn of(board: &Board, now: Timestamp) -> Overall {
        let mut overall = Overall { worst: Severity::None, unknown: 0, total: board.monitors.len() };
        for view in board.monitors.values() {
            let outlook = Outlook::of(view, board, now);
            overall.unknown += usize::from(!matches!(outlook, Outlook::Known(_)));
            overall.worst = overall.worst.max(outlook.severity().unwrap_or_default());
        }
        overall
    }

    /// The worst where that can be said. What is unknown may be worse than planned work, but is no incident.
    pub(super) fn severity(self) -> Option<Severity> {
        let sure = self.unknown == 0 && self.total > 0;
        (sure || self.worst > Severity::Maintenance).then_some(self.worst)
    }
}

/// Since when nobody has looked, if nobody has for too long: before the first cycle, and when cycles stay out. One that
/// stands by shows a copy instead.
fn stands_still(board: &Board, now: Timestamp) -> Option<Timestamp> {
    let (last, patience) = match &board.lease {
        Some(lease) if !lease.held => (lease.copied_at, COPY),
        _ => (board.cycles.finished_at, board.cycles.patience),
    };
    let Some(last) = last else { return Some(board.started_at) };
    let age = Duration::try_from(now.duration_since(last)).unwrap_or_default();
    (age > patience).then_some(last)
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

    /// Before the first cycle and when cycles stay out, what was believed is not known.
    #[test]
    fn a_daemon_that_stands_still_knows_nothing() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let board = BoardHandle::new(at(0), true);
        let look = |now| board.read(|board| Outlook::of(&board.monitors["A"], board, at(now)));
        board.update(|board| {
            board.monitors.entry("A".into()).or_default().state.read_at = Some(at(0));
            board.cycles.patience = Duration::from_secs(60);
        });
        assert_eq!(look(1), Outlook::Held(Severity::None, at(0)));
        board.update(|board| board.cycles.finished_at = Some(at(10)));
        assert_eq!(
            (look(70), look(71)),
            (Outlook::Known(Severity::None), Outlook::Held(Severity::None, at(10)))
        );
    }
}
