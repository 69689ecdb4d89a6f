//! From observations to what is believed: the state of each monitor, and the assessment of them all.
//!
//! Start at [`MonitorState::fold`]. What could not be read neither raises nor clears. It is held, part by part where the
//! source has parts, until it is read again or is too old to count; only a reading resets or advances a count.

use std::collections::HashMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::monitor::Thresholds;
use super::observation::{Link, Observation, Part, PartReading, Reading, Unknown};
use super::severity::Severity;
use super::text;

/// Parts held of one monitor, worst first: a state stays small, whatever a page says.
const MAX_PARTS: usize = 100;

/// Longest description of several parts: more than the whole banner takes.
const MAX_DESCRIPTION: usize = 300;

/// One failed poll after a suspend or a restart is no proof that nothing can be confirmed any more.
const MISSES_TO_EXPIRE: u32 = 3;

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
    /// The last reading, whatever it said. `None` before the first one, and after what was known got too old.
    pub read_at: Option<Timestamp>,
    /// Why it cannot be read now, since when, and how often in a row.
    pub unknown: Option<Unread>,
    /// A change that is not yet believed.
    pub candidate: Option<Candidate>,
    /// The parts that have a problem, each as it was read last. Absent in states that earlier versions kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<HeldPart>,
}

/// The last reading of a part that has a problem.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct HeldPart {
    /// See [`Part::id`].
    pub id: String,
    /// See [`Part::name`]; empty for the source as a whole.
    pub name: String,
    /// Worse than `none`.
    pub severity: Severity,
    /// For people.
    pub description: String,
    /// Where people read more.
    pub link: Option<Link>,
    /// When it was read.
    pub read_at: Timestamp,
}

/// What one observation changed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Folded {
    /// The change of the believed severity, if any.
    pub transition: Option<Transition>,
    /// Whether the transition is the first thing that was ever read: no earlier severity is known.
    pub first: bool,
    /// Descriptions of what is no longer counted, because it was not confirmed for too long.
    pub expired: Vec<String>,
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
    /// Takes in one observation; returns what it changed.
    pub fn fold(&mut self, seen: &Observation, thresholds: Thresholds) -> Folded {
        match &seen.outcome {
            Err(reason) => self.miss(reason, seen, thresholds.hold_for),
            Ok(reading) => self.read(reading, seen, thresholds),
        }
    }

    /// A poll without a reading: all that is known is held, as long as it is not too old.
    fn miss(&mut self, reason: &Unknown, seen: &Observation, hold_for: Duration) -> Folded {
        let times = self.note_unknown(reason, seen.at);
        let (held, expired): (Vec<_>, Vec<_>) =
            self.known_parts().into_iter().partition(|part| !part.is_older_than(hold_for, seen.at));
        if expired.is_empty() || times < MISSES_TO_EXPIRE {
            return Folded::default();
        }
        let expired: Vec<String> = expired.into_iter().map(|part| part.description).collect();
        let left = PartReading::worst_of(&held);
        let severity = left.as_ref().map_or(Severity::None, |left| left.severity);
        self.parts = held;
        let transition = (severity < self.severity).then(|| {
            let left = left.unwrap_or_else(|| PartReading {
                severity: Severity::None,
                description: format!("unknown: not confirmed for {hold_for:?}"),
                link: None,
            });
            self.believe(&seen.monitor, left, seen.at)
        });
        if self.severity == Severity::None {
            // Nothing is known any more, as before the first reading.
            (self.since, self.read_at, self.link) = (None, None, None);
            self.description.clear();
        }
        Folded { transition, first: false, expired }
    }

    fn note_unknown(&mut self, reason: &Unknown, at: Timestamp) -> u32 {
        let unread = self.unknown.get_or_insert(Unread { reason: reason.clone(), since: at, times: 0 });
        unread.reason = reason.clone();
        unread.times = unread.times.saturating_add(1);
        unread.times
    }

    /// The parts that have a problem. A source that is judged as a whole is one part, and so is the state that an
    /// earlier version kept.
    fn known_parts(&self) -> Vec<HeldPart> {
        match self.read_at {
            Some(read_at) if self.parts.is_empty() && self.severity > Severity::None => vec![HeldPart {
                id: String::new(),
                name: String::new(),
                severity: self.severity,
                description: self.description.clone(),
                link: self.link.clone(),
                read_at,
            }],
            _ => self.parts.clone(),
        }
    }

    fn read(&mut self, reading: &Reading, seen: &Observation, thresholds: Thresholds) -> Folded {
        let at = seen.at;
        let unread = Unconfirmed::by(reading);
        let (mut held, mut expired, mut reason) = (Vec::new(), Vec::new(), None);
        for part in self.known_parts() {
            match unread.reason(&part) {
                None => {}
                Some(_) if part.is_older_than(thresholds.hold_for, at) => expired.push(part.description),
                Some(why) => {
                    if part.severity > reading.severity {
                        reason.get_or_insert(why);
                    }
                    held.push(part);
                }
            }
        }
        let mut said = PartReading {
            severity: reading.severity,
            description: reading.description.clone(),
            link: reading.link.clone(),
        };
        if let Some(worst) = PartReading::worst_of(&held) {
            // What is held keeps what is believed, and never raises it.
            let severity = worst.severity.min(self.severity);
            if severity > said.severity {
                said = PartReading { severity, ..worst };
            }
        }
        match reason.as_ref().or(reading.partial.as_ref().filter(|_| said.severity == Severity::None)) {
            Some(reason) => drop(self.note_unknown(reason, at)),
            None => self.unknown = None,
        }
        self.parts = held;
        self.parts.extend(reading.parts.iter().filter_map(|part| HeldPart::of(part, at)));
        self.parts.sort_by_key(|part| std::cmp::Reverse(part.severity));
        self.parts.truncate(MAX_PARTS);
        self.read_at = Some(at);
        let (transition, first) = self.weigh(&seen.monitor, said, at, thresholds);
        Folded { transition, first, expired }
    }

    /// Counts a reading, and takes it over if it is the needed one of its side.
    fn weigh(
        &mut self,
        monitor: &str,
        said: PartReading,
        at: Timestamp,
        thresholds: Thresholds,
    ) -> (Option<Transition>, bool) {
        let first_read = *self.since.get_or_insert(at);
        if said.severity == self.severity {
            self.candidate = None;
            (self.description, self.link) = (said.description, said.link);
            return (None, false);
        }
        let worse = said.severity > self.severity;
        let needed = if worse { thresholds.raise_after } else { thresholds.clear_after };
        let (count, since) = match &self.candidate {
            Some(c) if c.worse == worse => (c.count.saturating_add(1), c.since),
            _ => (1, at),
        };
        if count < needed {
            self.candidate = Some(Candidate { worse, count, since });
            return (None, false);
        }
        let transition = self.believe(monitor, said, since);
        self.since = Some(since.max(first_read.min(at)));
        // Every reading before was of the same side, the first one included.
        (Some(transition), since == first_read)
    }

    fn believe(&mut self, monitor: &str, said: PartReading, since: Timestamp) -> Transition {
        let from = std::mem::replace(&mut self.severity, said.severity);
        self.candidate = None;
        self.since = Some(since);
        (self.description, self.link) = (said.description, said.link);
        Transition {
            monitor: monitor.to_owned(),
            at: since,
            from,
            to: self.severity,
            description: self.description.clone(),
        }
    }
}

/// Which held parts a reading says nothing new about.
struct Unconfirmed<'a> {
    reading: &'a Reading,
    ids: HashMap<&'a str, &'a Part>,
    names: HashMap<&'a str, &'a Part>,
}

impl<'a> Unconfirmed<'a> {
    fn by(reading: &'a Reading) -> Unconfirmed<'a> {
        let parts = || reading.parts.iter();
        let ids = parts().filter(|part| !part.id.is_empty()).map(|part| (part.id.as_str(), part)).collect();
        Unconfirmed { reading, ids, names: parts().map(|part| (part.name.as_str(), part)).collect() }
    }

    /// Why nothing new is known of a part; `None` if it was read, or if the reading speaks for the whole source.
    fn reason(&self, held: &HeldPart) -> Option<Unknown> {
        let id = self.ids.get(held.id.as_str());
        match id.or_else(|| self.names.get(held.name.as_str())) {
            Some(part) => part.outcome.as_ref().err().cloned(),
            None => match &self.reading.partial {
                Some(reason) => Some(reason.clone()),
                None if held.name.is_empty() || self.reading.parts.is_empty() => None,
                None => Some(Unknown::NoComponent(held.name.clone())),
            },
        }
    }
}

impl HeldPart {
    fn of(part: &Part, at: Timestamp) -> Option<HeldPart> {
        let said = part.outcome.as_ref().ok().filter(|said| said.severity > Severity::None)?;
        Some(HeldPart {
            id: part.id.clone(),
            name: part.name.clone(),
            severity: said.severity,
            description: said.description.clone(),
            link: said.link.clone(),
            read_at: at,
        })
    }

    /// A reading from the future, after the clock went back, is as old as it says.
    fn is_older_than(&self, hold_for: Duration, now: Timestamp) -> bool {
        let limit = SignedDuration::try_from(hold_for).unwrap_or(SignedDuration::MAX);
        now.duration_since(self.read_at).abs() > limit
    }
}

impl PartReading {
    /// The worst of the parts, in the words of all that are as bad.
    fn worst_of(parts: &[HeldPart]) -> Option<PartReading> {
        let severity = parts.iter().map(|part| part.severity).max()?;
        let worst: Vec<&HeldPart> = parts.iter().filter(|part| part.severity == severity).collect();
        let words: Vec<&str> = worst.iter().map(|part| part.description.as_str()).collect();
        let link = worst.first().and_then(|part| part.link.clone());
        let description = text::shorten(&words.join(", "), MAX_DESCRIPTION).into_owned();
        Some(PartReading { severity, description, link })
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
mod tests;
