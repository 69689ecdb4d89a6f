//! The banner itself, and the banner an assessment calls for.
//!
//! Start at [`Wish::from`]. Whether and when it is written is decided in [`plan`](super::plan).

use std::fmt;

use jiff::{SignedDuration, Timestamp, Unit};

use super::assess::{Assessment, Issue};
use super::observation::Link;
use super::severity::Severity;
use super::text;

/// The longest message the tenant's own editor takes, in characters.
pub const MAX_MESSAGE: usize = 255;

/// Between two services in the message.
pub(super) const SEPARATOR: &str = " | ";

/// Before the message of an incident that is over.
pub(super) const RESOLVED: &str = "Resolved: ";

/// More parts than this never fit, whatever they say.
const MAX_PARTS: usize = 64;

/// How a banner looks.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Kind {
    /// Blue.
    Info,
    /// Yellow.
    Warning,
    /// Red.
    Error,
    /// Green.
    Resolved,
    /// Something a later tenant knows: kept as it is, so that a person's banner can be handed back whole.
    Other(String),
}

impl Kind {
    /// The tenant's word.
    pub fn as_str(&self) -> &str {
        match self {
            Kind::Info => "info",
            Kind::Warning => "warning",
            Kind::Error => "error",
            Kind::Resolved => "resolved",
            Kind::Other(word) => word,
        }
    }
}

impl From<String> for Kind {
    fn from(word: String) -> Kind {
        match word.as_str() {
            "info" => Kind::Info,
            "warning" => Kind::Warning,
            "error" => Kind::Error,
            "resolved" => Kind::Resolved,
            _ => Kind::Other(word),
        }
    }
}

impl From<Kind> for String {
    fn from(kind: Kind) -> String {
        kind.as_str().to_owned()
    }
}

impl From<Severity> for Kind {
    fn from(severity: Severity) -> Kind {
        match severity {
            Severity::Critical | Severity::Major => Kind::Error,
            Severity::Minor => Kind::Warning,
            Severity::Maintenance | Severity::None => Kind::Info,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A banner as a tenant holds it: everything a person can set.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Banner {
    /// How it looks.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// `false`: not shown.
    pub enabled: bool,
    /// Plain text.
    pub message: String,
    /// Shown from here, milliseconds.
    #[serde(with = "instant")]
    pub start_time: Timestamp,
    /// Shown until here, milliseconds.
    #[serde(with = "instant")]
    pub end_time: Timestamp,
    /// Whether the link is shown.
    pub link_enabled: bool,
    /// The link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_url: Option<String>,
    /// Its words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_label: Option<String>,
}

impl Banner {
    /// Whether people see it at `now`.
    pub fn visible(&self, now: Timestamp) -> bool {
        self.enabled && self.start_time <= now && now < self.end_time
    }

    /// Whether its window runs at `now` or is still to come.
    pub fn has_time_left(&self, now: Timestamp) -> bool {
        now < self.end_time
    }

    /// Whether both would look the same to people, leaving the window aside.
    pub fn same_content(&self, other: &Banner) -> bool {
        let link = |banner: &Banner| {
            banner.link_enabled.then(|| (banner.link_url.clone(), banner.link_label.clone()))
        };
        self.kind == other.kind && self.message == other.message && link(self) == link(other)
    }

    /// With both times on whole milliseconds, as tenants keep them.
    #[must_use]
    pub fn rounded(mut self) -> Banner {
        self.start_time = to_millisecond(self.start_time);
        self.end_time = to_millisecond(self.end_time);
        self
    }
}

fn to_millisecond(at: Timestamp) -> Timestamp {
    at.round(jiff::TimestampRound::new().smallest(Unit::Millisecond).mode(jiff::RoundMode::Trunc))
        .unwrap_or(at)
}

mod instant {
    //! Times as tenants write them: `2026-05-02T09:15:00.000Z`. Any offset is read.

    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{at:.3}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What the banner should say, without its window.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Wish {
    /// Nothing: all is well.
    #[default]
    Quiet,
    /// An incident.
    Raise {
        /// From the worst severity.
        kind: Kind,
        /// At most [`MAX_MESSAGE`] characters.
        message: String,
        /// To the worst service.
        link: Option<Link>,
        /// The incident's start.
        since: Timestamp,
    },
}

impl Wish {
    /// What an assessment calls for, with a message of at most `max` characters.
    pub fn from(assessment: &Assessment, max: usize) -> Wish {
        let Some(since) = assessment.issues.iter().map(|issue| issue.since).min() else { return Wish::Quiet };
        Wish::Raise {
            kind: assessment.worst().into(),
            message: message(&assessment.issues, max),
            link: assessment.issues.iter().find_map(|issue| issue.link.as_ref().and_then(usable)),
            since,
        }
    }

    /// The same without a link that the tenant refused.
    #[must_use]
    pub fn without(mut self, refused: Option<&str>) -> Wish {
        if let Wish::Raise { link, .. } = &mut self {
            link.take_if(|link| Some(link.url.as_str()) == refused);
        }
        self
    }

    /// The same with its start on a clock that is ahead of ours by so much.
    #[must_use]
    pub fn moved(mut self, ahead: SignedDuration) -> Wish {
        if let Wish::Raise { since, .. } = &mut self {
            *since = since.checked_add(ahead).unwrap_or(*since);
        }
        self
    }

    /// Whether a banner says what is wished for, whatever its link and its window.
    pub(super) fn has_words(&self, banner: &Banner) -> bool {
        match self {
            Wish::Quiet => false,
            Wish::Raise { kind, message, .. } => *kind == banner.kind && *message == banner.message,
        }
    }

    /// What a person's choice refers to: as long as it stays the same, the choice stands.
    pub fn key(&self) -> String {
        match self {
            Wish::Quiet => String::new(),
            Wish::Raise { kind, message, .. } => format!("{kind}: {message}"),
        }
    }
}

/// A link that may be sent: what an earlier version saved is checked again.
fn usable(link: &Link) -> Option<Link> {
    Link::checked(&link.url, &link.label)
}

/// `Service: description | Service: description`, worst first, whole words, ended by `…` or `+2 more`.
pub fn message(issues: &[Issue], max: usize) -> String {
    let parts: Vec<String> = issues.iter().take(MAX_PARTS).map(part).collect();
    for shown in (1..=parts.len()).rev() {
        let line = parts[..shown].join(SEPARATOR) + &more(issues.len() - shown);
        if line.chars().count() <= max {
            return line;
        }
    }
    let rest = more(issues.len().saturating_sub(1));
    let room = max.saturating_sub(rest.chars().count());
    parts.first().map_or(String::new(), |first| text::shorten(first, room).into_owned() + &rest)
}

fn more(count: usize) -> String {
    if count == 0 { String::new() } else { format!("{SEPARATOR}+{count} more") }
}

fn part(issue: &Issue) -> String {
    let words = text::plain(&issue.description);
    let fallback = match issue.severity {
        Severity::Critical => "Major outage",
        Severity::Major => "Partial outage",
        Severity::Minor => "Degraded service",
        Severity::Maintenance => "Under maintenance",
        Severity::None => "Operational",
    };
    format!("{}: {}", issue.spelled(), if words.is_empty() { fallback } else { &words })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn issue(name: &str, severity: Severity, description: &str) -> Issue {
        Issue {
            monitor: name.into(),
            severity,
            description: description.into(),
            link: None,
            since: Timestamp::UNIX_EPOCH,
        }
    }

    /// The seed's format; what does not fit is counted, and a single long text is cut between words.
    #[test]
    fn builds_messages() {
        let two = [
            issue("Examplify", Severity::Major, "Partial System Outage"),
            issue("Acme", Severity::Minor, "Partially\nDegraded Service"),
        ];
        assert_eq!(message(&two, 255), "Examplify: Partial System Outage | Acme: Partially Degraded Service");
        assert_eq!(message(&two, 50), "Examplify: Partial System Outage | +1 more");
        assert_eq!(message(&two, 30), "Examplify: Partial… | +1 more");
        let long = [issue("Acme", Severity::Minor, &"word ".repeat(2000))];
        let cut = message(&long, 255);
        assert!(cut.ends_with("word…") && cut.chars().count() <= 255, "{cut}");
        assert_eq!(message(&[issue("Acme", Severity::Minor, "\u{202e}\n")], 255), "Acme: Degraded service");
        assert_eq!(message(&[], 255), "");
    }

    /// The wire form of a banner, as the tenant documents it.
    #[test]
    fn wire_form() {
        let banner = Banner {
            kind: Kind::Error,
            enabled: true,
            message: "Examplify: Partial System Outage".into(),
            start_time: "2026-05-02T09:15:00Z".parse().unwrap(),
            end_time: "2026-05-02T13:15:00.5Z".parse().unwrap(),
            link_enabled: true,
            link_url: Some("https://status.examplify.test/".into()),
            link_label: Some("Status page".into()),
        };
        insta::assert_snapshot!(serde_json::to_string_pretty(&banner).unwrap(), @r#"
        {
          "type": "error",
          "enabled": true,
          "message": "Examplify: Partial System Outage",
          "startTime": "2026-05-02T09:15:00.000Z",
          "endTime": "2026-05-02T13:15:00.500Z",
          "linkEnabled": true,
          "linkUrl": "https://status.examplify.test/",
          "linkLabel": "Status page"
        }
        "#);
    }

    proptest! {
        /// Whatever upstream says: never above the limit, always one plain line, always naming the worst.
        #[test]
        fn messages_fit(texts in prop::collection::vec("[a-z |…é😀\n]{0,300}", 1..90), max in 40usize..300) {
            let issues: Vec<Issue> = texts.iter().enumerate()
                .map(|(i, t)| issue(&format!("S{i}"), Severity::Major, t)).collect();
            let line = message(&issues, max);
            prop_assert!(line.chars().count() <= max);
            prop_assert!(!line.chars().any(char::is_control));
            prop_assert!(line.starts_with("S0: "));
        }
    }
}
