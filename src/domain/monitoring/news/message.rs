//! One message about an incident: what every format shows of it.

use jiff::Timestamp;

use super::super::assess::Issue;
use super::super::banner;
use super::super::severity::Severity;
use crate::domain::text;

/// Services that a message lists. The state of a channel contains its last messages.
pub(super) const MAX_SERVICES: usize = 100;

/// Longest description, in characters.
const MAX_DESCRIPTION: usize = 300;

/// What the message of `channel test` says.
const TEST_TITLE: &str = "Test message from data-sources-monitor";

/// A message about an incident. All its texts are plain and on one line.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct News {
    /// Identifies the message: the same when it is sent again after a failure.
    pub id: String,
    /// Identifies the incident: the same in all its messages.
    pub key: String,
    pub state: NewsState,
    /// The worst severity; `none` once it is resolved.
    pub severity: Severity,
    pub title: String,
    /// Worst first. Of a resolved incident, those of the last message.
    pub services: Vec<AffectedService>,
    /// Affected services that are not listed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more: usize,
    /// More about the worst service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// The start of the incident.
    pub since: Timestamp,
    /// Nothing changed; the incident is still open.
    #[serde(default, skip_serializing_if = "is_false")]
    pub reminder: bool,
    /// A message of `channel test`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub test: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NewsState {
    Raised,
    Changed,
    Resolved,
}

/// One service of an incident.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct AffectedService {
    pub name: String,
    pub severity: Severity,
    /// In the status page's words.
    pub description: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    pub since: Timestamp,
    /// It joined the incident or became worse since the last message.
    #[serde(default, skip_serializing_if = "is_false")]
    pub worse: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
fn is_false(flag: &bool) -> bool {
    !flag
}

impl NewsState {
    pub const ALL: [NewsState; 3] = [NewsState::Raised, NewsState::Changed, NewsState::Resolved];

    pub fn as_str(self) -> &'static str {
        match self {
            NewsState::Raised => "raised",
            NewsState::Changed => "changed",
            NewsState::Resolved => "resolved",
        }
    }
}

impl AffectedService {
    fn of(issue: &Issue) -> AffectedService {
        let link = issue.link.as_ref().and_then(banner::usable).map(|link| link.url);
        AffectedService {
            name: issue.spelled().into_owned(),
            severity: issue.severity,
            description: text::shorten(&banner::description(issue), MAX_DESCRIPTION).into_owned(),
            link,
            since: issue.since,
            worse: false,
        }
    }

    /// `Service: description`.
    pub fn line(&self) -> String {
        format!("{}: {}", self.name, self.description)
    }

    /// Whether a receiver that cannot change a message needs another one.
    fn ranks_as(&self, other: &AffectedService) -> bool {
        self.name == other.name && self.severity == other.severity
    }

    fn reads_as(&self, other: &AffectedService) -> bool {
        self.ranks_as(other) && self.description == other.description && self.link == other.link
    }
}

/// The affected services as a message shows them.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Content {
    pub(super) services: Vec<AffectedService>,
    pub(super) more: usize,
}

impl Content {
    /// The services with issues, and those that could not be read.
    pub(super) fn of(issues: &[Issue], unread: Vec<AffectedService>) -> Content {
        let count = issues.len() + unread.len();
        let mut services = unread;
        services.extend(issues.iter().take(MAX_SERVICES).map(AffectedService::of));
        services.sort_by(|a, b| {
            b.severity.cmp(&a.severity).then(a.since.cmp(&b.since)).then_with(|| a.name.cmp(&b.name))
        });
        services.truncate(MAX_SERVICES);
        Content { more: count - services.len(), services }
    }

    pub(super) fn worst(&self) -> Severity {
        self.services.iter().map(|service| service.severity).max().unwrap_or_default()
    }

    /// Whether a receiver that has the message needs no other one.
    pub(super) fn is_shown_by(&self, message: &News, in_place: bool) -> bool {
        let same = |(a, b): (&AffectedService, &AffectedService)| {
            if in_place { a.reads_as(b) } else { a.ranks_as(b) }
        };
        let ordered = |services: &[AffectedService]| {
            let mut services: Vec<AffectedService> = services.to_vec();
            if !in_place {
                services.sort_by(|a, b| a.name.cmp(&b.name));
            }
            services
        };
        let (mine, theirs) = (ordered(&self.services), ordered(&message.services));
        message.state != NewsState::Resolved
            && self.more == message.more
            && mine.len() == theirs.len()
            && mine.iter().zip(&theirs).all(same)
    }

    /// Marks what is worse than in the last message; in a first message nothing is.
    pub(super) fn marked(mut self, last: Option<&News>) -> Content {
        let before = |name: &str| match last.map(|last| (last.state, last)) {
            None => Severity::Critical,
            Some((NewsState::Resolved, _)) => Severity::None,
            Some((NewsState::Raised | NewsState::Changed, last)) => {
                let listed = last.services.iter().find(|service| service.name == name);
                // A service that is not listed may have been there.
                let hidden = if last.more > 0 { Severity::Critical } else { Severity::None };
                listed.map_or(hidden, |service| service.severity)
            }
        };
        for service in &mut self.services {
            service.worse = service.severity > before(&service.name);
        }
        self
    }

    /// `Snowflake (critical)`, `3 services (worst: critical)`.
    pub(super) fn title(&self, state: NewsState, reminder: bool) -> String {
        let count = self.services.len() + self.more;
        let who = match self.services.as_slice() {
            [one] if count == 1 => one.name.clone(),
            _ => text::counted(count as u64, "service"),
        };
        let worst = self.worst();
        match (state, count) {
            (NewsState::Resolved, _) => format!("Resolved: {who}"),
            (_, 1) if reminder => format!("Still open: {who} ({worst})"),
            (_, _) if reminder => format!("Still open: {who} (worst: {worst})"),
            (_, 1) => format!("{who} ({worst})"),
            (_, _) => format!("{who} (worst: {worst})"),
        }
    }
}

impl News {
    /// The message of `channel test`.
    pub fn test(channel: &str, now: Timestamp) -> News {
        let key = format!("{channel}-test-{}", now.as_millisecond());
        News {
            id: format!("{key}-1"),
            key,
            state: NewsState::Raised,
            severity: Severity::None,
            title: TEST_TITLE.to_owned(),
            services: vec![],
            more: 0,
            link: None,
            since: now,
            reminder: false,
            test: true,
        }
    }

    /// Whether people should notice it although it only changes an earlier message.
    pub fn is_worse(&self) -> bool {
        self.services.iter().any(|service| service.worse)
    }

    /// One line for each service as far as `lines` and `bytes` allow, then `+2 more`. At least one service is listed.
    pub fn lines(&self, lines: usize, bytes: usize) -> Vec<String> {
        let (mut shown, mut length) = (Vec::new(), 0);
        for service in self.services.iter().take(lines) {
            let line = service.line();
            length += line.len() + 1;
            if length > bytes && !shown.is_empty() {
                break;
            }
            shown.push(line);
        }
        let rest = self.services.len() - shown.len() + self.more;
        if rest > 0 {
            shown.push(format!("+{rest} more"));
        }
        shown
    }

    /// `since 2026-05-02 09:15 UTC`.
    pub fn start(&self) -> String {
        format!("since {}", self.since.strftime("%Y-%m-%d %H:%M UTC"))
    }
}
