//! What one look at a monitor gave: a reading, or the reason why there is none.

use std::fmt;

use jiff::Timestamp;

use super::address;
use super::severity::Severity;

/// One look at one monitor.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// Name of the monitor.
    pub monitor: String,
    /// When the answer was complete (or given up).
    pub at: Timestamp,
    /// What it said.
    pub outcome: Result<Reading, Unknown>,
}

/// What a page says of its service. The texts are plain single lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// After the monitor's remaps.
    pub severity: Severity,
    /// The page's words, or an incident's title.
    pub description: String,
    /// Where people can read more.
    pub link: Option<Link>,
    /// Something the operator should know although the reading stands, such as a pattern that matched nothing.
    pub notes: Vec<String>,
    /// The parts that were judged one by one; empty where the source is judged as a whole.
    pub parts: Vec<Part>,
    /// Why a part of what counts could not be read: then the severity is the least it can be, and `none` is not certain.
    pub partial: Option<Unknown>,
    /// What is open on the page; `None` where the look did not read it.
    pub open: Option<Vec<Event>>,
}

/// A part of a source that is judged by itself, so that one that cannot be read does not hold up the others: a component,
/// the page's own indicator, its open incidents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// As the source identifies it; may be empty.
    pub id: String,
    /// For people. A part keeps its identity while its id or its name stays.
    pub name: String,
    /// What it says, or why it cannot be read.
    pub outcome: Result<PartReading, Unknown>,
}

/// What one part says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartReading {
    /// After the monitor's remaps.
    pub severity: Severity,
    /// For people, naming the part.
    pub description: String,
    /// Where people can read more.
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

    /// What it says by itself: `none` only if all that counts was read.
    ///
    /// # Errors
    /// Why a part could not be read, where no other part has a problem.
    pub fn verdict(&self) -> Result<&Reading, &Unknown> {
        match &self.partial {
            Some(reason) if self.severity == Severity::None => Err(reason),
            _ => Ok(self),
        }
    }
}

impl Observation {
    /// What the poll says by itself, see [`Reading::verdict`].
    ///
    /// # Errors
    /// Why nothing can be concluded from it.
    pub fn verdict(&self) -> Result<&Reading, &Unknown> {
        self.outcome.as_ref().and_then(Reading::verdict)
    }
}

/// An incident or a maintenance on a page. The texts are plain single lines, shortened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Planned work, not an incident.
    pub planned: bool,
    /// The page's headline.
    pub title: String,
    /// How bad the page calls it.
    pub impact: Severity,
    /// The page's word for how far it is (`investigating`, `in progress`), blanks for underscores.
    pub state: String,
    /// When it began or is to begin.
    pub begins: Option<Timestamp>,
    /// When planned work is to end.
    pub ends: Option<Timestamp>,
    /// Where people read more.
    pub link: Option<Link>,
    /// The latest update's text; may be empty.
    pub update: String,
}

/// A link under the banner.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Link {
    /// https, at most [`Link::MAX_URL`] characters.
    pub url: String,
    /// At most [`Link::MAX_LABEL`] characters.
    pub label: String,
}

impl Link {
    /// The tenant's own limit is not documented; this is what every browser takes.
    pub const MAX_URL: usize = 2048;
    /// The tenant's own limit is not documented; a label is a few words.
    pub const MAX_LABEL: usize = 50;

    /// A link that a page chose: as [`Link::checked`], and to a public host or to the page's own.
    pub fn from_page(url: &str, label: &str, page: &url::Url) -> Option<Link> {
        let parsed = url::Url::parse(url).ok()?;
        let fine = address::is_public_host(&parsed) || parsed.host() == page.host();
        fine.then(|| Link::checked(url, label)).flatten()
    }

    /// A link if the address may stand in front of everybody: http or https, no user info, not too long.
    pub fn checked(url: &str, label: &str) -> Option<Link> {
        let parsed = url::Url::parse(url).ok()?;
        let fine = matches!(parsed.scheme(), "https" | "http")
            && parsed.has_host()
            && parsed.username().is_empty()
            && parsed.password().is_none();
        let url = String::from(parsed);
        (fine && url.chars().count() <= Link::MAX_URL)
            .then(|| Link { url, label: super::text::shorten(label, Link::MAX_LABEL).into_owned() })
    }
}

/// Why a look gave no reading. Never raises or clears anything; its text never reaches the banner.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(tag = "kind", content = "detail", rename_all = "snake_case")]
pub enum Unknown {
    /// No complete answer within the poll's time limit.
    Timeout,
    /// The host name does not resolve.
    Dns,
    /// Certificate or handshake.
    Tls(String),
    /// Nobody listens, or no network.
    Connect(String),
    /// The connection broke in the middle of the answer.
    Broken(String),
    /// A redirect that is not followed: too many, or down to plain http.
    Redirect(String),
    /// The page answers from somewhere else, and what is there is no status page.
    Moved(String),
    /// An HTTP status other than 2xx (or 304).
    HttpStatus(u16),
    /// 429: the page asks us to come less often; seconds it asked us to wait.
    RateLimited(u64),
    /// Larger than the cap, in bytes.
    TooLarge(usize),
    /// Not JSON: most often an HTML page.
    NotJson(String),
    /// JSON without a string `status.indicator`, or without components where they are asked for.
    NoIndicator,
    /// An indicator or component state we do not know: kept, never guessed.
    UnknownIndicator(String),
    /// A component pattern that matches nothing on the page.
    NoComponent(String),
    /// A monitor of our own data, before the first run ended.
    NoRun,
    /// Our own fault: the poll itself crashed.
    Internal(String),
}

impl Unknown {
    /// One word for metrics: bounded, whatever upstream does.
    pub fn reason(&self) -> &'static str {
        match self {
            Unknown::Timeout => "timeout",
            Unknown::Dns => "dns",
            Unknown::Tls(_) => "tls",
            Unknown::Connect(_) => "connect",
            Unknown::Broken(_) => "broken",
            Unknown::Redirect(_) => "redirect",
            Unknown::Moved(_) => "moved",
            Unknown::HttpStatus(_) => "http_status",
            Unknown::RateLimited(_) => "rate_limited",
            Unknown::TooLarge(_) => "too_large",
            Unknown::NotJson(_) => "not_json",
            Unknown::NoIndicator => "no_indicator",
            Unknown::UnknownIndicator(_) => "unknown_indicator",
            Unknown::NoComponent(_) => "no_component",
            Unknown::NoRun => "no_run",
            Unknown::Internal(_) => "internal",
        }
    }

    /// Whether our own network is a likely cause when every page fails this way at once.
    pub fn may_be_our_network(&self) -> bool {
        matches!(
            self,
            Unknown::Timeout | Unknown::Dns | Unknown::Tls(_) | Unknown::Connect(_) | Unknown::Broken(_)
        )
    }

    /// Whether the source itself looks gone, so that a person should look at its address.
    pub fn looks_permanent(&self) -> bool {
        match self {
            Unknown::HttpStatus(status) => (400..500).contains(status) && !matches!(status, 408 | 425),
            Unknown::Moved(_) | Unknown::NotJson(_) | Unknown::NoIndicator | Unknown::NoComponent(_) => true,
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
            Unknown::HttpStatus(status @ (401 | 403)) => write!(f, "HTTP {status}: private or inactive page"),
            Unknown::HttpStatus(status) => write!(f, "HTTP {status}"),
            Unknown::RateLimited(0) => f.write_str("HTTP 429: rate limited"),
            Unknown::RateLimited(wait) => write!(f, "HTTP 429: asked to wait {wait} s"),
            Unknown::TooLarge(cap) => write!(f, "answer larger than {cap} bytes"),
            Unknown::NotJson(what) => write!(f, "not JSON ({what})"),
            Unknown::NoIndicator => f.write_str("no status in the answer: not a Statuspage"),
            Unknown::UnknownIndicator(what) => write!(f, "unknown indicator `{what}`"),
            Unknown::NoComponent(pattern) => write!(f, "no component matches `{pattern}`"),
            Unknown::NoRun => f.write_str("no run was complete yet"),
            Unknown::Internal(what) => write!(f, "the poll itself failed: {what}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only addresses that are safe in front of everybody become links.
    #[test]
    fn checks_links() {
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
    fn a_link_from_a_page_leads_to_a_public_host_or_to_the_page() {
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
