//! The banner, and the banner that an assessment requires.
//!
//! Start at [`Wish::from`]. Whether and when it is written is decided in [`plan`](super::plan).

pub mod report;
pub mod style;

use std::borrow::Cow;
use std::fmt;

use jiff::{SignedDuration, Timestamp, Unit};

use super::assess::{Assessment, Issue};
use super::observation::Link;
use super::severity::Severity;
use crate::domain::text;
use style::BannerStyle;

/// The longest message that the tenant's own editor accepts, in characters.
pub const MAX_MESSAGE: usize = 255;

/// Separates two services in the message.
pub(in crate::domain) const SEPARATOR: &str = " | ";

/// The prefix of the message of an incident that is over.
pub(in crate::domain) const RESOLVED: &str = "Resolved: ";

/// Maximum number of parts considered; more never fit.
const MAX_PARTS: usize = 64;

/// The banner's type.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(from = "String", into = "String")]
pub enum BannerKind {
    /// Blue.
    Info,
    /// Yellow.
    Warning,
    /// Red.
    Error,
    /// Green.
    Resolved,
    /// A type that a later version of the tenant may introduce. It is kept, so that a manual banner can be
    /// restored completely.
    Other(String),
}

impl BannerKind {
    /// The tenant's name of the type.
    pub fn as_str(&self) -> &str {
        match self {
            BannerKind::Info => "info",
            BannerKind::Warning => "warning",
            BannerKind::Error => "error",
            BannerKind::Resolved => "resolved",
            BannerKind::Other(word) => word,
        }
    }
}

impl From<String> for BannerKind {
    fn from(word: String) -> BannerKind {
        match word.as_str() {
            "info" => BannerKind::Info,
            "warning" => BannerKind::Warning,
            "error" => BannerKind::Error,
            "resolved" => BannerKind::Resolved,
            _ => BannerKind::Other(word),
        }
    }
}

impl From<BannerKind> for String {
    fn from(kind: BannerKind) -> String {
        kind.as_str().to_owned()
    }
}

impl From<Severity> for BannerKind {
    fn from(severity: Severity) -> BannerKind {
        match severity {
            Severity::Critical | Severity::Major => BannerKind::Error,
            Severity::Minor => BannerKind::Warning,
            Severity::Maintenance | Severity::None => BannerKind::Info,
        }
    }
}

impl fmt::Display for BannerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A banner as stored by the tenant: everything that a person can set.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Banner {
    #[serde(rename = "type")]
    pub kind: BannerKind,
    /// `false`: not shown.
    pub enabled: bool,
    pub message: String,
    /// Start of the display window, in whole milliseconds.
    #[serde(with = "instant")]
    pub start_time: Timestamp,
    /// End of the display window, in whole milliseconds.
    #[serde(with = "instant")]
    pub end_time: Timestamp,
    pub link_enabled: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_url: Option<String>,
    /// The link's text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_label: Option<String>,
}

impl Banner {
    /// Whether users see it at `now`.
    pub fn visible(&self, now: Timestamp) -> bool {
        self.enabled && self.start_time <= now && now < self.end_time
    }

    /// Whether its window has not ended at `now`.
    pub fn has_time_left(&self, now: Timestamp) -> bool {
        now < self.end_time
    }

    /// Whether both look the same to users, ignoring the window.
    pub fn same_content(&self, other: &Banner) -> bool {
        let link = |banner: &Banner| {
            banner.link_enabled.then(|| (banner.link_url.clone(), banner.link_label.clone()))
        };
        self.kind == other.kind && self.message == other.message && link(self) == link(other)
    }

    /// With both times in whole milliseconds, as tenants store them.
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
    //! Times in the tenant's format: `2026-05-02T09:15:00.000Z`. Any offset is accepted.

    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(in crate::domain) fn serialize<S: Serializer>(
        at: &Timestamp,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{at:.3}"))
    }

    pub(in crate::domain) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The desired content of the banner, without its window.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Wish {
    /// No banner.
    #[default]
    Quiet,
    /// An incident.
    Raise {
        /// From the worst severity.
        kind: BannerKind,
        /// At most [`MAX_MESSAGE`] characters.
        message: String,
        /// The link of the worst service.
        link: Option<Link>,
        since: Timestamp,
    },
}

impl Wish {
    /// The content for an assessment, with a message of at most `max` characters.
    pub fn from(assessment: &Assessment, style: &BannerStyle, max: usize) -> Wish {
        let Some(since) = assessment.issues.iter().map(|issue| issue.since).min() else { return Wish::Quiet };
        let room = max.saturating_sub(style.prefix().chars().count());
        Wish::Raise {
            kind: assessment.worst().into(),
            message: style.prefix().to_owned() + &message(&assessment.issues, room),
            link: style.link_for(assessment),
            since,
        }
    }

    /// The same without a link that the tenant rejected.
    #[must_use]
    pub fn without(mut self, refused: Option<&str>) -> Wish {
        if let Wish::Raise { link, .. } = &mut self {
            link.take_if(|link| Some(link.url.as_str()) == refused);
        }
        self
    }

    /// The same with its start moved to a clock that is `ahead` of ours.
    #[must_use]
    pub fn moved(mut self, ahead: SignedDuration) -> Wish {
        if let Wish::Raise { since, .. } = &mut self {
            *since = since.checked_add(ahead).unwrap_or(*since);
        }
        self
    }

    /// Whether a banner has the wished type and message, with any link and window.
    pub(in crate::domain) fn has_words(&self, banner: &Banner) -> bool {
        match self {
            Wish::Quiet => false,
            Wish::Raise { kind, message, .. } => *kind == banner.kind && *message == banner.message,
        }
    }

    /// Identifies the wish that a person's choice refers to: the choice stands while the key stays the same.
    pub fn key(&self) -> String {
        match self {
            Wish::Quiet => String::new(),
            Wish::Raise { kind, message, .. } => format!("{kind}: {message}"),
        }
    }
}

/// A link that may be sent. Links saved by earlier versions are checked again.
pub(super) fn usable(link: &Link) -> Option<Link> {
    Link::checked(&link.url, &link.label)
}

/// `Service: description | Service: description`, worst first, whole words, ending in `…` or `+2 more` if
/// shortened.
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
    format!("{}: {}", issue.spelled(), description(issue))
}

/// In the status page's words on one line, or in ours if it has none.
pub(super) fn description(issue: &Issue) -> Cow<'_, str> {
    let words = text::plain(&issue.description);
    let fallback = match issue.severity {
        Severity::Critical => "Major outage",
        Severity::Major => "Partial outage",
        Severity::Minor => "Degraded service",
        Severity::Maintenance => "Under maintenance",
        Severity::None => "Operational",
    };
    if words.is_empty() { Cow::Borrowed(fallback) } else { words }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn issue(name: &str, severity: Severity, description: &str) -> Issue {
        Issue {
            monitor: name.into(),
            tags: Vec::new(),
            severity,
            description: description.into(),
            link: None,
            since: Timestamp::UNIX_EPOCH,
        }
    }

    /// Parts that do not fit are counted, and a single long text is cut between words.
    #[test]
    fn messages_have_the_seed_s_format() {
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

    #[test]
    fn the_wire_format_is_the_tenant_s() {
        let banner = Banner {
            kind: BannerKind::Error,
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
        /// For any upstream text, the message is within the limit, on one plain line, and names the worst
        /// service.
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
