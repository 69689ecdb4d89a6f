//! A monitor, as its definition describes it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use url::Url;
use wildmatch::WildMatch;

use super::engine::{self, Engine};
use super::severity::Severity;
use crate::domain::text;

/// A validated definition.
#[derive(Debug, Clone, PartialEq)]
pub struct Monitor {
    /// The displayed name; unique.
    pub name: String,
    pub source: MonitorSource,
    /// Its own interval, otherwise the global one.
    pub interval: Option<Duration>,
    /// Its own total timeout of one poll, otherwise the global one.
    pub timeout: Option<Duration>,
    /// When a change of severity is confirmed.
    pub thresholds: Thresholds,
    /// Its own time for which an unconfirmed state is held, otherwise the global one.
    pub hold_for: Option<Duration>,
    /// How the source's severities map to ours.
    pub remap: Remap,
    /// Tenants, channels and the dashboard select by them.
    pub tags: Vec<String>,
    /// Until then the monitor is polled and recorded, but left out of banners.
    pub muted_until: Option<Timestamp>,
}

/// What a monitor reads.
#[derive(Debug, Clone, PartialEq)]
pub enum MonitorSource {
    /// A status page in the Statuspage format.
    Page(StatusPage),
    /// The age of a connector's data.
    Sync(Freshness),
}

/// A status page and the part of it that matters.
#[derive(Clone, PartialEq)]
pub struct StatusPage {
    /// The root, ending in `/`, or the document itself for engines whose pages are one document.
    pub root: Url,
    /// How the page is read.
    pub engine: Arc<Engine>,
    /// What the engine needs to know about the page.
    pub options: BTreeMap<String, String>,
    /// Only components that match one of these; empty: the status page as a whole.
    pub components: Vec<Pattern>,
    /// Components that are ignored.
    pub ignore: Vec<Pattern>,
    /// Whether an incident's title replaces the status page's description.
    pub incidents: bool,
    /// How long before its start maintenance is announced.
    pub announce: Option<Duration>,
}

/// Saved states belong to the definition that this prints, see the watcher's roster; for pages of the default engine it is the
/// same as before there were others.
impl fmt::Debug for StatusPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("StatusPage");
        out.field("root", &self.root);
        if self.engine.name != engine::DEFAULT || !self.options.is_empty() {
            out.field("engine", &self.engine.name).field("options", &self.options);
        }
        out.field("components", &self.components).field("ignore", &self.ignore);
        out.field("incidents", &self.incidents);
        if let Some(announce) = &self.announce {
            out.field("announce", announce);
        }
        out.finish()
    }
}

impl StatusPage {
    /// Whether the components decide instead of the status page's own indicator.
    pub fn by_component(&self) -> bool {
        !self.components.is_empty() || !self.ignore.is_empty()
    }
}

/// Where the age of data is measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DataStage {
    /// In the tables.
    #[default]
    Synced,
    /// In the apps or spaces of all tenants that get the data.
    Qlik,
}

/// A limit on the age of a connector's data.
#[derive(Debug, Clone, PartialEq)]
pub struct Freshness {
    pub connector: String,
    pub stage: DataStage,
    /// Older data is late.
    pub stale_after: Duration,
    /// The severity of late data.
    pub severity: Severity,
}

/// A glob with `*` and `?` for names, ignoring case.
#[derive(Debug, Clone, PartialEq)]
pub struct Pattern {
    text: String,
    matcher: WildMatch,
}

impl Monitor {
    /// Whether it is left out of banners at this time.
    pub fn is_muted(&self, now: Timestamp) -> bool {
        self.muted_until.is_some_and(|until| now < until)
    }
}

impl Pattern {
    /// Accepts every text. Patterns and names are compared in their displayed form (see [`text::readable`]).
    pub fn new(text: &str) -> Pattern {
        let matcher = WildMatch::new_case_insensitive(&text::readable(text));
        Pattern { text: text.to_owned(), matcher }
    }

    /// The original text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it has no wildcards.
    pub fn is_literal(&self) -> bool {
        !self.text.contains(['*', '?'])
    }

    /// Whether the whole name matches.
    pub fn matches(&self, name: &str) -> bool {
        self.matcher.matches(name)
    }
}

/// How many consecutive readings confirm a change, each at least 1, and how long a reading stays valid
/// without another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// Readings worse than the confirmed severity.
    pub raise_after: u32,
    /// Readings better than the confirmed severity.
    pub clear_after: u32,
    /// What is not read again for longer than this becomes unknown.
    pub hold_for: Duration,
}

impl Default for Thresholds {
    fn default() -> Self {
        Thresholds { raise_after: 1, clear_after: 1, hold_for: Duration::from_secs(6 * 3600) }
    }
}

/// Maps the source's severities to ours; severities that are not listed stay the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remap(pub Vec<(Severity, Severity)>);

impl Remap {
    /// Maps one severity. Applied once only: `{ minor = "maintenance", maintenance = "none" }` maps minor to
    /// maintenance.
    pub fn apply(&self, severity: Severity) -> Severity {
        self.0.iter().find(|(from, _)| *from == severity).map_or(severity, |(_, to)| *to)
    }
}
