//! The result of one poll of a monitor: a reading, or the reason why there is none.

use std::fmt;

use jiff::Timestamp;

use super::severity::Severity;
use crate::domain::address;

/// One poll of one monitor.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    pub monitor: String,
    /// When the response was complete, or the poll failed.
    pub at: Timestamp,
    pub outcome: Result<Reading, Unknown>,
}

/// What a status page says about its service. The texts are plain single lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// After the monitor's remaps.
    pub severity: Severity,
    /// The status page's words, or an incident's title.
    pub description: String,
    /// A link to more information.
    pub link: Option<Link>,
    /// A warning for the operator, such as a pattern that matched nothing. The reading is valid all the same.
    pub notes: Vec<String>,
    /// The parts that were judged separately; empty if the source is judged as a whole.
    pub parts: Vec<ReadingPart>,
    /// Why a relevant part could not be read. The severity is then a lower bound, and `none` is not certain.
    pub partial: Option<Unknown>,
    /// Open incidents and maintenance on the status page; `None` if the poll did not read them.
    pub open: Option<Vec<Event>>,
}

/// A part of a source that is judged separately, so that an unreadable part does not block the others: a
/// component, the status page's own indicator, its open incidents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadingPart {
    /// The source's identifier; may be empty.
    pub id: String,
    /// The displayed name. A part is the same if its id or its name is the same.
    pub name: String,
    /// The part's reading, or why it cannot be read.
    pub outcome: Result<PartReading, Unknown>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartReading {
    /// After the monitor's remaps.
    pub severity: Severity,
    /// For people; contains the part's name.
    pub description: String,
    /// A link to more information.
    pub link: Option<Link>,
}

impl Reading {
    /// A reading of a source that is judged as a whole.
    pub fn whole(severity: Severity, description: String, link: Option<Link>) -> Reading {
        Reading {
            severity,
            description,
            link,
            notes: Vec::new(),
            parts: Vec::new(),
            partial: None,
            open: None,
        }
    }

    /// The reading by itself: `none` is certain only if every relevant part was read.
    ///
    /// # Errors
    /// Why a part could not be read, if no other part has a problem.
    pub fn verdict(&self) -> Result<&Reading, &Unknown> {
        match &self.partial {
            Some(reason) if self.severity == Severity::None => Err(reason),
            _ => Ok(self),
        }
    }
}

impl Observation {
    /// The poll by itself, see [`Reading::verdict`].
    ///
    /// # Errors
    /// Why the poll proves nothing.
    pub fn verdict(&self) -> Result<&Reading, &Unknown> {
        self.outcome.as_ref().and_then(Reading::verdict)
    }
}

/// An incident or maintenance on a status page. The texts are plain single lines, shortened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Maintenance, not an incident.
    pub planned: bool,
    pub title: String,
    /// The impact that the status page states.
    pub impact: Severity,
    /// The status page's word for the progress (`investigating`, `in progress`), with blanks instead of
    /// underscores.
    pub state: String,
    /// The actual or planned start.
    pub begins: Option<Timestamp>,
    /// The planned end of maintenance.
    pub ends: Option<Timestamp>,
    /// A link to more information.
    pub link: Option<Link>,
    /// The text of the latest update; may be empty.
    pub update: String,
}

/// A link in the banner.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Link {
    /// https, at most [`Link::MAX_URL`] characters.
    pub url: String,
    /// At most [`Link::MAX_LABEL`] characters.
    pub label: String,
}

impl Link {
    /// The tenant's limit is not documented; every browser accepts this length.
    pub const MAX_URL: usize = 2048;
    /// The tenant's limit is not documented; a label is a few words.
    pub const MAX_LABEL: usize = 50;

    /// A link from a status page: as [`Link::checked`], and only to a public host or the status page's own
    /// host.
    pub fn from_page(url: &str, label: &str, page: &url::Url) -> Option<Link> {
        let parsed = url::Url::parse(url).ok()?;
        let fine = address::is_public_host(&parsed) || parsed.host() == page.host();
        fine.then(|| Link::checked(url, label)).flatten()
    }

    /// A link if its address may be shown to all users: http or https, no user info, not too long.
    pub fn checked(url: &str, label: &str) -> Option<Link> {
        let parsed = url::Url::parse(url).ok()?;
        let fine = matches!(parsed.scheme(), "https" | "http")
            && parsed.has_host()
            && parsed.username().is_empty()
            && parsed.password().is_none();
        let url = String::from(parsed);
        (fine && url.chars().count() <= Link::MAX_URL)
            .then(|| Link { url, label: crate::domain::text::shorten(label, Link::MAX_LABEL).into_owned() })
    }
}

/// Why a poll gave no reading. It neither raises nor clears an issue; its text never reaches the banner.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(tag = "kind", content = "detail", rename_all = "snake_case")]
pub enum Unknown {
    /// No complete response within the poll's timeout.
    Timeout,
    /// The host name does not resolve.
    Dns,
    /// An invalid certificate, or a failed handshake.
    Tls(String),
    /// Connection refused, or no network.
    Connect(String),
    /// The connection broke during the response.
    Broken(String),
    /// A redirect that is not followed: too many, or to plain http.
    Redirect(String),
    /// The status page redirects to another place, where there is no status page.
    Moved(String),
    /// A redirect to a sign-in page.
    SignIn(String),
    /// A challenge that only browsers pass, with its HTTP status.
    BotChallenge(u16),
    /// An HTTP status other than 2xx and 304.
    HttpStatus(u16),
    /// 429 Too Many Requests, with the stated wait in seconds.
    RateLimited(u64),
    /// Larger than the limit, in bytes.
    TooLarge(usize),
    /// Not JSON: most often an HTML page.
    NotJson(String),
    /// Not XML: most often an HTML page.
    NotXml(String),
    /// A document without the fields that state the status, or without components if they are needed.
    NoIndicator,
    /// A list that proves nothing while it is empty.
    EmptyList,
    /// The document is not kept up to date; its age in seconds.
    Outdated(u64),
    /// An unknown indicator or component state. It is reported, not interpreted.
    UnknownIndicator(String),
    /// A component pattern that matches nothing on the status page.
    NoComponent(String),
    /// The age of synced data before the first complete run.
    NoRun,
    /// A bug of ours: the poll itself crashed.
    Internal(String),
}

impl Unknown {
    /// One word for metrics, from a closed set.
    pub fn reason(&self) -> &'static str {
        match self {
            Unknown::Timeout => "timeout",
            Unknown::Dns => "dns",
            Unknown::Tls(_) => "tls",
            Unknown::Connect(_) => "connect",
            Unknown::Broken(_) => "broken",
            Unknown::Redirect(_) => "redirect",
            Unknown::Moved(_) => "moved",
            Unknown::SignIn(_) => "sign_in",
            Unknown::BotChallenge(_) => "bot_challenge",
            Unknown::HttpStatus(_) => "http_status",
            Unknown::RateLimited(_) => "rate_limited",
            Unknown::TooLarge(_) => "too_large",
            Unknown::NotJson(_) => "not_json",
            Unknown::NotXml(_) => "not_xml",
            Unknown::NoIndicator => "no_indicator",
            Unknown::EmptyList => "empty_list",
            Unknown::Outdated(_) => "outdated",
            Unknown::UnknownIndicator(_) => "unknown_indicator",
            Unknown::NoComponent(_) => "no_component",
            Unknown::NoRun => "no_run",
            Unknown::Internal(_) => "internal",
        }
    }

    /// Whether our own network is a likely cause if every poll fails this way at once.
    pub fn may_be_our_network(&self) -> bool {
        matches!(
            self,
            Unknown::Timeout | Unknown::Dns | Unknown::Tls(_) | Unknown::Connect(_) | Unknown::Broken(_)
        )
    }

    /// Whether the source itself seems to be gone, so that the operator should check its address.
    pub fn looks_permanent(&self) -> bool {
        match self {
            Unknown::HttpStatus(status) => (400..500).contains(status) && !matches!(status, 408 | 425),
            Unknown::Moved(_)
            | Unknown::SignIn(_)
            | Unknown::BotChallenge(_)
            | Unknown::NotJson(_)
            | Unknown::NotXml(_)
            | Unknown::NoIndicator
            | Unknown::NoComponent(_) => true,
            _ => false,
        }
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unknown::Timeout => f.write_str("no answer in time"),
            Unknown::Dns => f.write_str("the host name does not resolve"),
            Unknown::Tls(why) => write!(f, "TLS: {why}"),
            Unknown::Connect(why) => write!(f, "cannot connect: {why}"),
            Unknown::Broken(why) => write!(f, "the connection broke: {why}"),
            Unknown::Redirect(why) => f.write_str(why),
            Unknown::Moved(to) => write!(f, "moved to {to}, where no status page answers"),
            Unknown::SignIn(to) => write!(f, "redirects to a sign-in page, {to}"),
            Unknown::BotChallenge(status) => {
                write!(f, "HTTP {status}: a challenge for bots; the page refuses automated readers")
            }
            Unknown::HttpStatus(401) => {
                f.write_str("HTTP 401: sign-in required, or the page was deactivated")
            }
            Unknown::HttpStatus(403) => {
                f.write_str("HTTP 403: refused; the page is private, or rejects this network or client")
            }
            Unknown::HttpStatus(status) => write!(f, "HTTP {status}"),
            Unknown::RateLimited(0) => f.write_str("HTTP 429: rate limited"),
            Unknown::RateLimited(wait) => write!(f, "HTTP 429: rate limited for {wait} s"),
            Unknown::TooLarge(cap) => write!(f, "answer larger than {cap} bytes"),
            Unknown::NotJson(what) => write!(f, "not JSON ({what})"),
            Unknown::NotXml(what) => write!(f, "not XML ({what})"),
            Unknown::NoIndicator => {
                f.write_str("no status in the answer: not the expected kind of status page")
            }
            Unknown::EmptyList => f.write_str("an empty list, which proves nothing"),
            Unknown::Outdated(age) => write!(f, "not kept up to date: its own time differs by {age} s"),
            Unknown::UnknownIndicator(what) => write!(f, "unknown indicator `{what}`"),
            Unknown::NoComponent(pattern) => write!(f, "no component matches `{pattern}`"),
            Unknown::NoRun => f.write_str("no complete run yet"),
            Unknown::Internal(what) => write!(f, "the poll itself failed: {what}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_safe_addresses_become_links() {
        for (url, fine) in [
            ("https://stspg.io/abc", true),
            ("http://127.0.0.1:9/x", true),
            ("javascript:alert(1)", false),
            ("https://user:pw@status.acme.test/", false),
            ("data:text/html,x", false),
            ("not a url", false),
        ] {
            assert_eq!(Link::checked(url, "Status page").is_some(), fine, "{url}");
        }
        assert!(Link::checked(&format!("https://a.test/{}", "x".repeat(3000)), "l").is_none());
    }

    #[test]
    fn a_link_from_a_page_leads_to_a_public_host_or_to_the_status_page() {
        for (url, page, fine) in [
            ("https://stspg.io/abc", "https://status.acme.test/", true),
            ("http://10.0.0.8/admin", "https://status.acme.test/", false),
            ("http://wiki.internal/x", "https://status.acme.test/", false),
            ("http://10.0.0.8/incidents/1", "http://10.0.0.8/", true),
            ("http://10.0.0.9/incidents/1", "http://10.0.0.8/", false),
            ("javascript:alert(1)", "https://status.acme.test/", false),
        ] {
            let link = Link::from_page(url, "Incident", &page.parse().unwrap());
            assert_eq!(link.is_some(), fine, "{url} on {page}");
        }
    }
}
