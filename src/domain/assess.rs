//! From observations to what is believed: the state of each monitor, and the assessment of them all.
//!
//! Start at [`MonitorState::fold`]. What could not be read changes nothing here but the note that it could not:
//! it neither raises nor clears, and only a reading resets or advances a count.

use jiff::Timestamp;

use super::monitor::Thresholds;
use super::observation::{Link, Observation, Reading, Unknown};
use super::severity::Severity;
use super::text;

/// What is believed of one monitor. Kept over restarts.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct MonitorState {
    /// The definition it was read under, in short: what was believed of another page says nothing of this one.
    #[serde(default)]
    pub definition: u64,
    /// The severity that counts.
    pub severity: Severity,
    /// In the page's words, at the last reading of that severity.
    pub description: String,
    /// Where people read more.
    pub link: Option<Link>,
    /// Since when the severity counts: its first reading. `None` before the first reading.
    pub since: Option<Timestamp>,
    /// The last reading, whatever it said.
    pub read_at: Option<Timestamp>,
    /// Why it cannot be read now, since when, and how often in a row.
    pub unknown: Option<Unread>,
    /// A change that is not yet believed.
    pub candidate: Option<Candidate>,
}

/// A row of failed looks.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Unread {
    /// The latest reason.
    pub reason: Unknown,
    /// The first failed look of the row.
    pub since: Timestamp,
    /// Failed looks in a row.
    pub times: u32,
}

/// Readings in a row on one side of what is shown.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Candidate {
    /// Worse or better than what is shown.
    pub worse: bool,
    /// How many in a row.
    pub count: u32,
    /// The first of them.
    pub since: Timestamp,
}

/// A believed change of severity: one row of history.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Transition {
    /// The monitor.
    pub monitor: String,
    /// When the new severity was first read.
    pub at: Timestamp,
    /// Before.
    pub from: Severity,
    /// After.
    pub to: Severity,
    /// In the page's words.
    pub description: String,
}

impl MonitorState {
    /// Takes in one observation; returns the transition if the believed severity changed.
    pub fn fold(&mut self, seen: &Observation, thresholds: Thresholds) -> Option<Transition> {
        match &seen.outcome {
            Err(reason) => {
                self.miss(reason, seen.at);
                None
            }
            Ok(Reading { severity, partial: Some(reason), .. }) if *severity < self.severity => {
                self.miss(reason, seen.at);
                None
            }
            Ok(reading) => self.read(&seen.monitor, reading, seen.at, thresholds),
        }
    }

    fn miss(&mut self, reason: &Unknown, at: Timestamp) {
        let unread = self.unknown.get_or_insert(Unread { reason: reason.clone(), since: at, times: 0 });
        unread.reason = reason.clone();
        unread.times = unread.times.saturating_add(1);
    }

    fn read(
        &mut self,
        monitor: &str,
        reading: &Reading,
        at: Timestamp,
        thresholds: Thresholds,
    ) -> Option<Transition> {
        self.unknown = None;
        self.read_at = Some(at);
        let since_start = *self.since.get_or_insert(at);
        if reading.severity == self.severity {
            self.candidate = None;
            self.words(reading);
            return None;
        }
        let worse = reading.severity > self.severity;
        let needed = if worse { thresholds.raise_after } else { thresholds.clear_after };
        let (count, since) = match &self.candidate {
            Some(c) if c.worse == worse => (c.count + 1, c.since),
            _ => (1, at),
        };
        if count < needed {
            self.candidate = Some(Candidate { worse, count, since });
            return None;
        }
        let from = std::mem::replace(&mut self.severity, reading.severity);
        self.candidate = None;
        self.since = Some(since.max(since_start.min(at)));
        self.words(reading);
        Some(Transition {
            monitor: monitor.to_owned(),
            at: since,
            from,
            to: self.severity,
            description: self.description.clone(),
        })
    }

    fn words(&mut self, reading: &Reading) {
        self.description.clone_from(&reading.description);
        self.link.clone_from(&reading.link);
    }
}

/// One service that has a problem, as believed.
#[derive(Debug, Clone, PartialEq)]
pub struct Issue {
    /// The monitor's name.
    pub monitor: String,
    /// Never `none`.
    pub severity: Severity,
    /// In the page's words.
    pub description: String,
    /// Where people read more.
    pub link: Option<Link>,
    /// Since when.
    pub since: Timestamp,
}

impl Issue {
    /// The monitor's name as messages spell it.
    pub fn spelled(&self) -> std::borrow::Cow<'_, str> {
        text::plain(&self.monitor)
    }
}

/// What is believed of all monitors together.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Assessment {
    /// Worst first; of equal ones the longest first; of those by name.
    pub issues: Vec<Issue>,
}

impl Assessment {
    /// Gathers the issues of all monitors.
    pub fn of<'a>(states: impl Iterator<Item = (&'a str, &'a MonitorState)>) -> Assessment {
        let mut issues: Vec<Issue> = states
            .filter(|(_, state)| state.severity > Severity::None)
            .filter_map(|(name, state)| {
                Some(Issue {
                    monitor: name.to_owned(),
                    severity: state.severity,
                    description: state.description.clone(),
                    link: state.link.clone(),
                    since: state.since?,
                })
            })
            .collect();
        issues.sort_by(|a, b| {
            b.severity.cmp(&a.severity).then(a.since.cmp(&b.since)).then_with(|| a.monitor.cmp(&b.monitor))
        });
        Assessment { issues }
    }

    /// The worst severity, `none` without issues.
    pub fn worst(&self) -> Severity {
        self.issues.first().map_or(Severity::None, |issue| issue.severity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + minute * 60).unwrap()
    }

    fn seen(minute: i64, what: Option<Severity>) -> Observation {
        let outcome = what
            .map(|severity| Reading {
                severity,
                description: format!("it is {severity}"),
                link: None,
                notes: vec![],
                partial: None,
                open: None,
            })
            .ok_or(Unknown::Timeout);
        Observation { monitor: "Examplify".into(), at: at(minute), outcome }
    }

    /// `n`one, m`a`intenance, m`i`nor, ma`j`or, `c`ritical, `?` unread; upper case: what is believed after it.
    fn play(script: &str, raise_after: u32, clear_after: u32) -> String {
        let mut state = MonitorState::default();
        let mut out = String::new();
        for (minute, c) in script.chars().enumerate() {
            let what = match c {
                'n' => Some(Severity::None),
                'a' => Some(Severity::Maintenance),
                'i' => Some(Severity::Minor),
                'j' => Some(Severity::Major),
                'c' => Some(Severity::Critical),
                _ => None,
            };
            state.fold(&seen(minute as i64, what), Thresholds { raise_after, clear_after });
            out.push(match state.severity {
                Severity::None => 'n',
                Severity::Maintenance => 'a',
                Severity::Minor => 'i',
                Severity::Major => 'j',
                Severity::Critical => 'c',
            });
        }
        out
    }

    /// Unread looks hold what is believed; thresholds count readings on one side of it, and only readings.
    #[test]
    fn folds_by_table() {
        for (script, raise, clear, want) in [
            ("nij?n", 1, 1, "nijjn"),
            ("j???n", 1, 1, "jjjjn"),
            ("???", 1, 1, "nnn"),
            ("jjj", 3, 1, "nnj"),
            ("jnjjnjjj", 3, 1, "nnnnnnnj"),
            ("j?j?j", 3, 1, "nnnnj"),
            ("jnn", 1, 2, "jjn"),
            ("jnjnn", 1, 2, "jjjjn"),
            ("jn?n", 1, 2, "jjjn"),
            ("ijj", 2, 1, "njj"),
            ("cjc", 1, 2, "ccc"),
            ("cji", 1, 2, "cci"),
            ("iijnjn", 2, 2, "niiiii"),
            ("iijnjj", 2, 2, "niiiij"),
        ] {
            assert_eq!(play(script, raise, clear), want, "{script} {raise}/{clear}");
        }
    }

    /// A partial reading is the least it can be: it raises and holds, but never lowers what is believed.
    #[test]
    fn partial_readings_never_lower() {
        let partial = |minute, severity| {
            let mut seen = seen(minute, Some(severity));
            if let Ok(reading) = &mut seen.outcome {
                reading.partial = Some(Unknown::NoComponent("Storage".into()));
            }
            seen
        };
        let mut state = MonitorState::default();
        state.fold(&partial(0, Severity::Major), Thresholds::default());
        assert_eq!((state.severity, state.unknown.is_some()), (Severity::Major, false));
        state.fold(&partial(1, Severity::Minor), Thresholds::default());
        assert_eq!((state.severity, state.unknown.is_some()), (Severity::Major, true));
        state.fold(&seen(2, Some(Severity::Minor)), Thresholds::default());
        assert_eq!((state.severity, state.unknown.is_some()), (Severity::Minor, false));
        state.fold(&partial(3, Severity::Minor), Thresholds::default());
        assert_eq!((state.severity, state.unknown.is_some()), (Severity::Minor, false));
    }

    /// A transition says when the change was first read, also when it had to be confirmed.
    #[test]
    fn transitions_tell_the_first_reading() {
        let thresholds = Thresholds { raise_after: 2, clear_after: 1 };
        let mut state = MonitorState::default();
        assert_eq!(state.fold(&seen(0, Some(Severity::None)), thresholds), None);
        assert_eq!(state.fold(&seen(1, Some(Severity::Minor)), thresholds), None);
        let change = state.fold(&seen(2, Some(Severity::Major)), thresholds).unwrap();
        assert_eq!((change.from, change.to, change.at), (Severity::None, Severity::Major, at(1)));
        assert_eq!(state.since, Some(at(1)));
        assert_eq!(state.description, "it is major");
    }

    /// Worst first, then longest, then by name; healthy and never-read monitors are no issues.
    #[test]
    fn sorts_issues() {
        let state = |severity, minute| MonitorState {
            severity,
            since: Some(at(minute)),
            description: "x".into(),
            ..MonitorState::default()
        };
        let states = [
            ("b", state(Severity::Minor, 5)),
            ("a", state(Severity::Minor, 5)),
            ("late", state(Severity::Major, 9)),
            ("early", state(Severity::Major, 1)),
            ("fine", state(Severity::None, 1)),
            ("new", MonitorState::default()),
        ];
        let assessment = Assessment::of(states.iter().map(|(n, s)| (*n, s)));
        let names: Vec<&str> = assessment.issues.iter().map(|i| i.monitor.as_str()).collect();
        assert_eq!(names, ["early", "late", "a", "b"]);
        assert_eq!(assessment.worst(), Severity::Major);
    }

    proptest! {
        /// With thresholds of 1 what is believed is the last reading; unread looks never change it.
        #[test]
        fn follows_the_last_reading(script in "[naijc?]{0,40}") {
            let believed = play(&script, 1, 1);
            let mut last = 'n';
            for (c, b) in script.chars().zip(believed.chars()) {
                if c != '?' { last = c; }
                prop_assert_eq!(b, last);
            }
        }
    }
}
