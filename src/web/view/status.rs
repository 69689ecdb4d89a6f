//! The status of each monitor at `now`, decided once for pages, API, badges, the Statuspage format and metrics. Pure.
//!
//! An unknown status never counts as operational: the status page cannot be read or has not been read yet, or the daemon has
//! not polled for too long. A known problem is held. Start at [`MonitorStatus::of`] and [`OverallStatus::of`].

use std::time::Duration;

use jiff::Timestamp;

use crate::domain::monitoring::banner::report::BannerReport;
use crate::domain::monitoring::severity::Severity;
use crate::runtime::board::{BannerView, Board, MonitorView};

/// A standby copies the leader's state every few seconds; an older copy says nothing about now.
const MAX_COPY_AGE: Duration = Duration::from_secs(300);

/// The status of one monitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::web) enum MonitorStatus {
    /// Current.
    Known(Severity),
    /// Its status page cannot be read since then; the severity is the last known.
    Unreadable(Severity, Timestamp),
    /// The daemon has not polled since then; the severity is the last known.
    Stale(Severity, Timestamp),
    /// Its status page was never read successfully.
    NeverReadable,
    /// Not polled yet.
    Pending,
}

/// The status of all monitors together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::web) struct OverallStatus {
    /// The worst severity, held ones included.
    pub(in crate::web) worst: Severity,
    /// Monitors whose status is unknown.
    pub(in crate::web) unknown: usize,
    pub(in crate::web) total: usize,
}

impl MonitorStatus {
    pub(in crate::web) fn of(view: &MonitorView, board: &Board, now: Timestamp) -> MonitorStatus {
        let state = &view.state;
        match (state.read_at, &state.unknown, stale_since(board, now)) {
            (None, None, _) => MonitorStatus::Pending,
            (None, Some(_), _) => MonitorStatus::NeverReadable,
            (Some(_), Some(unread), _) => MonitorStatus::Unreadable(state.severity, unread.since),
            (Some(_), None, Some(since)) => MonitorStatus::Stale(state.severity, since),
            (Some(_), None, None) => MonitorStatus::Known(state.severity),
        }
    }

    /// The severity if it is current.
    pub(in crate::web) fn known(self) -> Option<Severity> {
        if let MonitorStatus::Known(severity) = self { Some(severity) } else { None }
    }

    /// The last known severity and since when it is not current.
    pub(in crate::web) fn held(self) -> Option<(Severity, Timestamp)> {
        match self {
            MonitorStatus::Unreadable(severity, since) | MonitorStatus::Stale(severity, since) => {
                Some((severity, since))
            }
            MonitorStatus::Known(_) | MonitorStatus::NeverReadable | MonitorStatus::Pending => None,
        }
    }

    /// The current severity, or a held one that is a problem; `None` if the status is unknown.
    pub(in crate::web) fn severity(self) -> Option<Severity> {
        let held = self.held().map(|(severity, _)| severity).filter(|severity| *severity > Severity::None);
        self.known().or(held)
    }

    /// For programs: a severity, or `unknown`.
    pub(in crate::web) fn word(self) -> &'static str {
        self.known().map_or("unknown", Severity::as_str)
    }

    /// The CSS class, which also names the icon.
    pub(in crate::web) fn class(self) -> &'static str {
        self.severity().map_or("unknown", Severity::as_str)
    }

    /// For people.
    pub(in crate::web) fn label(self) -> &'static str {
        match (self.severity(), self) {
            (Some(severity), _) => severity_label(severity),
            (None, MonitorStatus::Pending) => "Not read yet",
            (None, MonitorStatus::Stale(..)) => "Not polled",
            (None, _) => "Not readable",
        }
    }
}

impl OverallStatus {
    pub(in crate::web) fn of(board: &Board, now: Timestamp) -> OverallStatus {
        let mut overall = OverallStatus { worst: Severity::None, unknown: 0, total: board.monitors.len() };
        for view in board.monitors.values() {
            let status = MonitorStatus::of(view, board, now);
            overall.unknown += usize::from(status.known().is_none());
            overall.worst = overall.worst.max(status.severity().unwrap_or_default());
        }
        overall
    }

    /// The worst severity, `None` if unknown. An unknown monitor outweighs maintenance but not an incident.
    pub(in crate::web) fn severity(self) -> Option<Severity> {
        let certain = self.unknown == 0 && self.total > 0;
        (certain || self.worst > Severity::Maintenance).then_some(self.worst)
    }
}

/// A severity as people read it.
pub(in crate::web) fn severity_label(severity: Severity) -> &'static str {
    match severity {
        Severity::None => "Operational",
        Severity::Maintenance => "Maintenance",
        Severity::Minor => "Minor",
        Severity::Major => "Major",
        Severity::Critical => "Critical",
    }
}

/// What is known of a tenant's banner: nothing on a standby whose copy of the leader's state is too old.
pub(in crate::web) fn banner_report(board: &Board, view: &BannerView, now: Timestamp) -> BannerReport {
    if !board.leads() && stale_since(board, now).is_some() {
        return BannerReport::default();
    }
    let mut report = view.report.clone();
    // What has ended is not restored.
    report.displaced.take_if(|theirs| !theirs.has_time_left(now));
    report
}

/// The state of a tenant's banner in a word: `trouble`, `pending`, `incident`, `manual`, `none` or `unknown`.
pub(in crate::web) fn banner_word(report: &BannerReport, now: Timestamp) -> &'static str {
    let visible = report.shown.as_ref().is_some_and(|banner| banner.visible(now));
    match () {
        () if report.trouble.is_some() => "trouble",
        () if report.pending_since.is_some() => "pending",
        () if visible && report.ours => "incident",
        () if visible => "manual",
        () if report.is_known() => "none",
        () => "unknown",
    }
}

/// Since when nothing was polled, if that is too long: before the first cycle, and when cycles stop. For a standby, since
/// when its copy of the leader's state was not renewed.
fn stale_since(board: &Board, now: Timestamp) -> Option<Timestamp> {
    let (last, max_age) = match &board.lease {
        Some(lease) if !lease.held => (lease.copied_at, MAX_COPY_AGE),
        _ => (board.cycles.finished_at, board.cycles.max_age),
    };
    let Some(last) = last else { return Some(board.started_at) };
    let age = Duration::try_from(now.duration_since(last)).unwrap_or_default();
    (age > max_age).then_some(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::monitoring::assess::Unread;
    use crate::domain::monitoring::observation::Unknown;
    use crate::runtime::board::channel;

    /// `n`one, m`a`intenance, m`i`nor, ma`j`or; upper case: held, not readable; `?` never read.
    fn overall(monitors: &str) -> String {
        let now = Timestamp::UNIX_EPOCH;
        let (writer, board) = channel(now, true);
        writer.update(|board| {
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
        board
            .read(|board| OverallStatus::of(board, now))
            .severity()
            .map_or("unknown", Severity::as_str)
            .to_owned()
    }

    #[test]
    fn an_unknown_monitor_is_never_operational() {
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

    #[test]
    fn the_status_is_stale_when_cycles_stop() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let (writer, board) = channel(at(0), true);
        let status = |now| board.read(|board| MonitorStatus::of(&board.monitors["A"], board, at(now)));
        writer.update(|board| {
            board.monitors.entry("A".into()).or_default().state.read_at = Some(at(0));
            board.cycles.max_age = Duration::from_secs(60);
        });
        assert_eq!(status(1), MonitorStatus::Stale(Severity::None, at(0)));
        writer.update(|board| board.cycles.finished_at = Some(at(10)));
        assert_eq!(
            (status(70), status(71)),
            (MonitorStatus::Known(Severity::None), MonitorStatus::Stale(Severity::None, at(10)))
        );
    }
}
