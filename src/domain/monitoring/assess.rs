//! From observations to the assessment: the state of each monitor, and the assessment of all monitors.
//!
//! Start at [`MonitorState::fold`]. An unreadable status page neither raises nor clears an issue. The last
//! known state is held, part by part where the source has parts, until it is read again or is too old. Only a
//! reading resets or advances a count.

use std::collections::HashMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::monitor::Thresholds;
use super::observation::{Link, Observation, PartReading, Reading, ReadingPart, Unknown};
use super::severity::Severity;
use crate::domain::text;

/// Maximum number of parts held per monitor, worst first, so that a state stays small for any status page.
const MAX_PARTS: usize = 100;

/// Maximum length of a description of several parts: longer than the whole banner.
const MAX_DESCRIPTION: usize = 300;

/// One failed poll after a suspend or a restart does not prove that the state can no longer be confirmed.
const MISSES_TO_EXPIRE: u32 = 3;

/// The state of one monitor. Saved over restarts.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct MonitorState {
    /// A fingerprint of the definition: the state of one status page says nothing about another.
    #[serde(default)]
    pub definition: u64,
    /// The confirmed severity.
    pub severity: Severity,
    /// In the status page's words, from the last reading of that severity.
    pub description: String,
    /// A link to more information.
    pub link: Option<Link>,
    /// When the severity started: its first reading. `None` before the first reading.
    pub since: Option<Timestamp>,
    /// The last reading of any severity. `None` before the first one, and after the state has expired.
    pub read_at: Option<Timestamp>,
    /// Why the status page cannot be read now, since when, and how often in a row.
    pub unknown: Option<Unread>,
    /// A change that is not confirmed yet.
    pub candidate: Option<Candidate>,
    /// The parts that have a problem, each from its last reading. Missing in states saved by earlier
    /// versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<HeldPart>,
}

/// The last reading of a part that has a problem.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct HeldPart {
    /// See [`ReadingPart::id`].
    pub id: String,
    /// See [`ReadingPart::name`]; empty for the source as a whole.
    pub name: String,
    /// Worse than `none`.
    pub severity: Severity,
    pub description: String,
    /// A link to more information.
    pub link: Option<Link>,
    pub read_at: Timestamp,
}

/// The result of one observation.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Folded {
    /// The change of the confirmed severity, if any.
    pub transition: Option<Transition>,
    /// Whether the transition follows the very first reading: no earlier severity is known.
    pub first: bool,
    /// Descriptions of parts that no longer count, because they were not confirmed for too long.
    pub expired: Vec<String>,
}

/// A series of failed polls.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Unread {
    pub reason: Unknown,
    /// The first failed poll of the series.
    pub since: Timestamp,
    /// Failed polls in a row.
    pub times: u32,
}

/// Consecutive readings that are all worse, or all better, than the confirmed severity.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Candidate {
    /// Worse or better than the confirmed severity.
    pub worse: bool,
    pub count: u32,
    /// The first reading of the series.
    pub since: Timestamp,
}

/// A confirmed change of severity: one row of history.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Transition {
    pub monitor: String,
    /// When the new severity was first read.
    pub at: Timestamp,
    pub from: Severity,
    pub to: Severity,
    /// In the status page's words.
    pub description: String,
}

impl MonitorState {
    /// Applies one observation and returns what it changed.
    pub fn fold(&mut self, observation: &Observation, thresholds: Thresholds) -> Folded {
        match &observation.outcome {
            Err(reason) => self.miss(reason, observation, thresholds.hold_for),
            Ok(reading) => self.read(reading, observation, thresholds),
        }
    }

    /// Handles a poll without a reading: the known state is held until it is too old.
    fn miss(&mut self, reason: &Unknown, observation: &Observation, hold_for: Duration) -> Folded {
        let times = self.note_unknown(reason, observation.at);
        let (held, expired): (Vec<_>, Vec<_>) =
            self.known_parts().into_iter().partition(|part| !part.is_older_than(hold_for, observation.at));
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
            self.confirm(&observation.monitor, left, observation.at)
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

    /// The parts that have a problem. A source judged as a whole counts as one part, and so does a state
    /// saved by an earlier version.
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

    fn read(&mut self, reading: &Reading, observation: &Observation, thresholds: Thresholds) -> Folded {
        let at = observation.at;
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
        let mut verdict = PartReading {
            severity: reading.severity,
            description: reading.description.clone(),
            link: reading.link.clone(),
        };
        if let Some(worst) = PartReading::worst_of(&held) {
            // Held parts keep the confirmed severity up, but never raise it.
            let severity = worst.severity.min(self.severity);
            if severity > verdict.severity {
                verdict = PartReading { severity, ..worst };
            }
        }
        match reason.as_ref().or(reading.partial.as_ref().filter(|_| verdict.severity == Severity::None)) {
            Some(reason) => drop(self.note_unknown(reason, at)),
            None => self.unknown = None,
        }
        self.parts = held;
        self.parts.extend(reading.parts.iter().filter_map(|part| HeldPart::of(part, at)));
        self.parts.sort_by_key(|part| std::cmp::Reverse(part.severity));
        self.parts.truncate(MAX_PARTS);
        self.read_at = Some(at);
        let (transition, first) = self.count_reading(&observation.monitor, verdict, at, thresholds);
        Folded { transition, first, expired }
    }

    /// Counts a reading, and confirms it if its side has enough consecutive readings.
    fn count_reading(
        &mut self,
        monitor: &str,
        verdict: PartReading,
        at: Timestamp,
        thresholds: Thresholds,
    ) -> (Option<Transition>, bool) {
        let first_read = *self.since.get_or_insert(at);
        if verdict.severity == self.severity {
            self.candidate = None;
            (self.description, self.link) = (verdict.description, verdict.link);
            return (None, false);
        }
        let worse = verdict.severity > self.severity;
        let needed = if worse { thresholds.raise_after } else { thresholds.clear_after };
        let (count, since) = match &self.candidate {
            Some(c) if c.worse == worse => (c.count.saturating_add(1), c.since),
            _ => (1, at),
        };
        if count < needed {
            self.candidate = Some(Candidate { worse, count, since });
            return (None, false);
        }
        let transition = self.confirm(monitor, verdict, since);
        self.since = Some(since.max(first_read.min(at)));
        // All earlier readings were on the same side, including the first one.
        (Some(transition), since == first_read)
    }

    fn confirm(&mut self, monitor: &str, verdict: PartReading, since: Timestamp) -> Transition {
        let from = std::mem::replace(&mut self.severity, verdict.severity);
        self.candidate = None;
        self.since = Some(since);
        (self.description, self.link) = (verdict.description, verdict.link);
        Transition {
            monitor: monitor.to_owned(),
            at: since,
            from,
            to: self.severity,
            description: self.description.clone(),
        }
    }
}

/// The held parts about which a reading says nothing new.
struct Unconfirmed<'a> {
    reading: &'a Reading,
    ids: HashMap<&'a str, &'a ReadingPart>,
    names: HashMap<&'a str, &'a ReadingPart>,
}

impl<'a> Unconfirmed<'a> {
    fn by(reading: &'a Reading) -> Unconfirmed<'a> {
        let parts = || reading.parts.iter();
        let ids = parts().filter(|part| !part.id.is_empty()).map(|part| (part.id.as_str(), part)).collect();
        Unconfirmed { reading, ids, names: parts().map(|part| (part.name.as_str(), part)).collect() }
    }

    /// Why a part is unconfirmed; `None` if it was read, or if the reading covers the whole source.
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
    fn of(part: &ReadingPart, at: Timestamp) -> Option<HeldPart> {
        let verdict = part.outcome.as_ref().ok().filter(|verdict| verdict.severity > Severity::None)?;
        Some(HeldPart {
            id: part.id.clone(),
            name: part.name.clone(),
            severity: verdict.severity,
            description: verdict.description.clone(),
            link: verdict.link.clone(),
            read_at: at,
        })
    }

    /// A reading dated in the future, after the clock was set back, keeps its date.
    fn is_older_than(&self, hold_for: Duration, now: Timestamp) -> bool {
        let limit = SignedDuration::try_from(hold_for).unwrap_or(SignedDuration::MAX);
        now.duration_since(self.read_at).abs() > limit
    }
}

impl PartReading {
    /// The worst severity of the parts, with the descriptions of all parts of that severity.
    fn worst_of(parts: &[HeldPart]) -> Option<PartReading> {
        let severity = parts.iter().map(|part| part.severity).max()?;
        let worst: Vec<&HeldPart> = parts.iter().filter(|part| part.severity == severity).collect();
        let words: Vec<&str> = worst.iter().map(|part| part.description.as_str()).collect();
        let link = worst.first().and_then(|part| part.link.clone());
        let description = text::shorten(&words.join(", "), MAX_DESCRIPTION).into_owned();
        Some(PartReading { severity, description, link })
    }
}

/// One service with a confirmed problem.
#[derive(Debug, Clone, PartialEq)]
pub struct Issue {
    pub monitor: String,
    /// Tags of the monitor, by which tenants and channels select.
    pub tags: Vec<String>,
    /// Never `none`.
    pub severity: Severity,
    /// In the status page's words.
    pub description: String,
    /// A link to more information.
    pub link: Option<Link>,
    pub since: Timestamp,
}

impl Issue {
    /// The monitor's name as written in messages.
    pub fn spelled(&self) -> std::borrow::Cow<'_, str> {
        text::plain(&self.monitor)
    }
}

/// The confirmed state of all monitors together.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Assessment {
    /// Worst first; equal ones by duration, longest first; then by name.
    pub issues: Vec<Issue>,
}

impl Assessment {
    /// Collects the issues of all monitors, each with its name and tags.
    pub fn of<'a>(states: impl Iterator<Item = (&'a str, &'a [String], &'a MonitorState)>) -> Assessment {
        let issues = states
            .filter(|(_, _, state)| state.severity > Severity::None)
            .filter_map(|(name, tags, state)| {
                Some(Issue {
                    monitor: name.to_owned(),
                    tags: tags.to_vec(),
                    severity: state.severity,
                    description: state.description.clone(),
                    link: state.link.clone(),
                    since: state.since?,
                })
            })
            .collect();
        Assessment::sorted(issues)
    }

    /// An assessment of these issues.
    pub(super) fn sorted(mut issues: Vec<Issue>) -> Assessment {
        issues.sort_by(|a, b| {
            b.severity.cmp(&a.severity).then(a.since.cmp(&b.since)).then_with(|| a.monitor.cmp(&b.monitor))
        });
        Assessment { issues }
    }

    /// The worst severity; `none` without issues.
    pub fn worst(&self) -> Severity {
        self.issues.first().map_or(Severity::None, |issue| issue.severity)
    }
}

#[cfg(test)]
mod tests;
