//! The headline of the overview: names what is wrong, worst first. Pure.
//!
//! A monitor that cannot be read is counted as such, so that it never passes as healthy. Muted ones are left out. Start at [`Headline::of`].

use std::cmp::Reverse;

use jiff::Timestamp;

use super::status::MonitorStatus;
use super::words::{clean, some};
use crate::domain::monitoring::severity::Severity;
use crate::runtime::board::Board;

/// Names in the headline; the rest is counted.
const NAMED: usize = 4;
/// Characters of a name.
const NAME: usize = 40;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::web) struct Headline {
    pub(in crate::web) text: String,
    /// The CSS class, which also names the icon.
    pub(in crate::web) class: &'static str,
    /// Monitors with an incident and connectors whose last run was not complete.
    pub(in crate::web) problems: usize,
}

impl Headline {
    pub(in crate::web) fn of(board: &Board, now: Timestamp) -> Headline {
        let monitors: Vec<_> = board
            .monitors
            .iter()
            .filter(|(_, view)| view.muted(now).is_none())
            .map(|(name, view)| (name.as_str(), MonitorStatus::of(view, board, now)))
            .collect();
        let syncs = board.syncs.iter();
        let ends: Vec<_> =
            syncs.filter_map(|(name, view)| Some((name.as_str(), view.last_run.as_ref()?.end))).collect();
        Headline::from(&monitors, &ends)
    }

    /// From the status of each monitor and the outcome of each connector's last run.
    fn from(monitors: &[(&str, MonitorStatus)], ends: &[(&str, &str)]) -> Headline {
        let severity = |status: MonitorStatus| status.severity().unwrap_or_default();
        let mut affected: Vec<_> =
            monitors.iter().filter(|(_, status)| severity(*status) > Severity::None).collect();
        affected.sort_by_key(|(name, status)| (Reverse(severity(*status)), *name));
        let incidents =
            affected.iter().filter(|(_, status)| severity(*status) > Severity::Maintenance).count();
        let mut items: Vec<String> = affected.iter().map(|(name, status)| item(name, *status)).collect();
        let (maintenance, mut syncs) = (items.split_off(incidents), Vec::new());
        for (end, words) in [("failed", "sync failing"), ("partial", "sync incomplete")] {
            let names = ends.iter().filter(|(_, last)| *last == end);
            syncs.extend(names.map(|(name, _)| format!("{} {words}", clean(name, NAME))));
        }
        let problems = items.len() + syncs.len();
        items.append(&mut syncs);
        items.extend(maintenance);
        let hidden = items.len().saturating_sub(NAMED);
        items.truncate(NAMED);
        if hidden > 0 {
            items.push(format!("+{hidden} more"));
        }
        let unknown = without_status(monitors, items.is_empty());
        let class = class(severity_of(&affected), problems, unknown.is_some());
        items.extend(unknown);
        let text = match (items.is_empty(), monitors.is_empty()) {
            (false, _) => items.join(" · "),
            (true, true) => "No monitor is defined".to_owned(),
            (true, false) => "All services operational".to_owned(),
        };
        Headline {
            text,
            class: if monitors.is_empty() && problems == 0 { "unknown" } else { class },
            problems,
        }
    }
}

fn severity_of(affected: &[&(&str, MonitorStatus)]) -> Severity {
    affected.iter().filter_map(|(_, status)| status.severity()).max().unwrap_or_default()
}

fn item(name: &str, status: MonitorStatus) -> String {
    let severity = status.severity().unwrap_or_default();
    let known = if status.held().is_some() { " (last known)" } else { "" };
    format!("{}: {severity}{known}", clean(name, NAME))
}

/// An incident outweighs what is unknown; that outweighs maintenance.
fn class(worst: Severity, problems: usize, unknown: bool) -> &'static str {
    match worst {
        Severity::Minor | Severity::Major | Severity::Critical => worst.as_str(),
        Severity::None | Severity::Maintenance if problems > 0 => "minor",
        Severity::None | Severity::Maintenance if unknown => "unknown",
        Severity::None | Severity::Maintenance => worst.as_str(),
    }
}

/// How many monitors have no current status, by reason; `alone`: nothing else is in the headline.
fn without_status(monitors: &[(&str, MonitorStatus)], alone: bool) -> Option<String> {
    let count =
        |matches: fn(MonitorStatus) -> bool| monitors.iter().filter(|(_, status)| matches(*status)).count();
    let pending = count(|status| status == MonitorStatus::Pending);
    let stale = count(|status| matches!(status, MonitorStatus::Stale(..)));
    let unreadable =
        count(|status| matches!(status, MonitorStatus::Unreadable(..) | MonitorStatus::NeverReadable));
    let total = monitors.len();
    if alone && total > 0 {
        if pending == total {
            return Some("Waiting for the first poll results".to_owned());
        }
        if unreadable == total {
            return Some(match total {
                1 => "The only monitor cannot be read".to_owned(),
                _ => format!("None of {total} monitors can be read"),
            });
        }
        if stale == total {
            return Some("No monitor has been polled recently".to_owned());
        }
    }
    let groups = [(unreadable, "not readable"), (stale, "not polled"), (pending, "not read yet")];
    let mut words: Vec<String> =
        groups.iter().filter(|(many, _)| *many > 0).map(|(many, what)| format!("{many} {what}")).collect();
    let known = total - pending - stale - unreadable;
    if !words.is_empty() && alone && known > 0 {
        words.insert(0, format!("{} operational", some(known as u64, "service", "services")));
    }
    (!words.is_empty()).then(|| words.join(" · "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `n`one, m`a`intenance, m`i`nor, ma`j`or, `c`ritical; upper case: held, not readable; `s`tale; `x` never readable;
    /// `?` pending.
    fn status(letter: char) -> MonitorStatus {
        let at = Timestamp::UNIX_EPOCH;
        let severity = match letter.to_ascii_lowercase() {
            'a' => Severity::Maintenance,
            'i' => Severity::Minor,
            'j' => Severity::Major,
            'c' => Severity::Critical,
            _ => Severity::None,
        };
        match letter {
            '?' => MonitorStatus::Pending,
            'x' => MonitorStatus::NeverReadable,
            's' => MonitorStatus::Stale(Severity::None, at),
            upper if upper.is_ascii_uppercase() => MonitorStatus::Unreadable(severity, at),
            _ => MonitorStatus::Known(severity),
        }
    }

    #[test]
    fn the_headline_names_the_worst_and_counts_the_rest() {
        for (monitors, ends, text, class, problems) in [
            ("", "", "No monitor is defined", "unknown", 0),
            ("nn", "c", "All services operational", "none", 0),
            ("??", "", "Waiting for the first poll results", "unknown", 0),
            ("?n", "", "1 service operational · 1 not read yet", "unknown", 0),
            ("xx", "", "None of 2 monitors can be read", "unknown", 0),
            ("x", "", "The only monitor cannot be read", "unknown", 0),
            ("xN", "", "None of 2 monitors can be read", "unknown", 0),
            ("?x", "", "1 not readable · 1 not read yet", "unknown", 0),
            ("ss", "", "No monitor has been polled recently", "unknown", 0),
            ("nsN", "", "1 service operational · 1 not readable · 1 not polled", "unknown", 0),
            ("ijn", "", "B: major · A: minor", "major", 2),
            ("iijn", "fp", "C: major · A: minor · B: minor · s0 sync failing · +1 more", "major", 5),
            ("na", "", "B: maintenance", "maintenance", 0),
            ("nA", "", "B: maintenance (last known) · 1 not readable", "unknown", 0),
            ("nJx", "", "B: major (last known) · 2 not readable", "major", 1),
            ("ai", "", "B: minor · A: maintenance", "minor", 1),
            ("nn", "fp", "s0 sync failing · s1 sync incomplete", "minor", 2),
            ("na", "f", "s0 sync failing · B: maintenance", "minor", 1),
            ("", "f", "s0 sync failing", "minor", 1),
            ("ccccc", "", "A: critical · B: critical · C: critical · D: critical · +1 more", "critical", 5),
        ] {
            let names = ["A", "B", "C", "D", "E"];
            let monitors: Vec<_> = names.into_iter().zip(monitors.chars().map(status)).collect();
            let syncs = ["s0", "s1"].into_iter().zip(ends.chars().map(|end| match end {
                'f' => "failed",
                'p' => "partial",
                _ => "complete",
            }));
            let headline = Headline::from(&monitors, &syncs.collect::<Vec<_>>());
            let want = Headline { text: text.to_owned(), class, problems };
            assert_eq!(headline, want, "{monitors:?}");
        }
    }
}
