//! A monitor: one thing that is watched, as its definition says.

use std::time::Duration;

use url::Url;
use wildmatch::WildMatch;

use super::severity::Severity;
use super::text;

/// A validated definition.
#[derive(Debug, Clone, PartialEq)]
pub struct Monitor {
    /// As shown to people; unique.
    pub name: String,
    /// What is looked at.
    pub source: Source,
    /// Own interval, else the program's.
    pub interval: Option<Duration>,
    /// Own total time limit of one poll, else the program's.
    pub timeout: Option<Duration>,
    /// When a change is believed.
    pub thresholds: Thresholds,
    /// Own time for which what cannot be confirmed is held, else the program's.
    pub hold_for: Option<Duration>,
    /// What the source's severities mean to us.
    pub remap: Remap,
}

/// What a monitor looks at.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// A Statuspage.
    Page(Page),
    /// The age of a connector's data.
    Sync(Freshness),
}

/// A Statuspage and the part of it that matters.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// The page's root, ending in `/`; endpoints are below `api/v2/`.
    pub root: Url,
    /// Only components that match one of these; empty means the page as a whole.
    pub components: Vec<Pattern>,
    /// Not these.
    pub ignore: Vec<Pattern>,
    /// Whether an incident's title stands for the page's description.
    pub incidents: bool,
}

impl Page {
    /// Whether components rather than the page's own indicator decide.
    pub fn by_component(&self) -> bool {
        !self.components.is_empty() || !self.ignore.is_empty()
    }
}

/// Late data as an observation.
#[derive(Debug, Clone, PartialEq)]
pub struct Freshness {
    /// The connector.
    pub connector: String,
    /// Older data than this is late.
    pub stale_after: Duration,
    /// What late data is worth.
    pub severity: Severity,
}

/// A glob over names, `*` and `?`, without regard to case.
#[derive(Debug, Clone, PartialEq)]
pub struct Pattern {
    text: String,
    matcher: WildMatch,
}

impl Pattern {
    /// Every text is a pattern. It is compared as people read it, and so are names (see [`text::readable`]).
    pub fn new(text: &str) -> Pattern {
        let matcher = WildMatch::new_case_insensitive(&text::readable(text));
        Pattern { text: text.to_owned(), matcher }
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the whole name matches.
    pub fn matches(&self, name: &str) -> bool {
        self.matcher.matches(name)
    }
}

/// How many readings in a row make a change, each at least 1, and how long what was read counts without another reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// Readings worse than what is shown.
    pub raise_after: u32,
    /// Readings better than what is shown.
    pub clear_after: u32,
    /// What was not read again for longer than this is unknown only.
    pub hold_for: Duration,
}

impl Default for Thresholds {
    fn default() -> Self {
        Thresholds { raise_after: 1, clear_after: 1, hold_for: Duration::from_secs(6 * 3600) }
    }
}

/// A table from the source's severity to ours; what is not named stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remap(pub Vec<(Severity, Severity)>);

impl Remap {
    /// Ours for theirs. Not applied twice: `{ minor = "maintenance", maintenance = "none" }` leaves minor at maintenance.
    pub fn apply(&self, severity: Severity) -> Severity {
        self.0.iter().find(|(from, _)| *from == severity).map_or(severity, |(_, to)| *to)
    }
}
