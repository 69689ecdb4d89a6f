//! What a status page says, whatever its engine: overall state, components, incidents and maintenance.
//!
//! Texts are cleaned and shortened, so that nothing large or odd is stored. Nothing is assessed here.

use jiff::Timestamp;

use crate::domain::monitoring::severity::Severity;
use crate::domain::text;

/// Longest text that is stored; longer than a whole banner.
pub(super) const MAX_TEXT: usize = 300;

/// Longest unknown indicator or state that is stored.
pub(super) const MAX_WORD: usize = 60;

/// The overall state.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Status {
    /// The severity, or an unknown word.
    pub(super) indicator: Result<Severity, String>,
    /// The status page's own text; may be empty.
    pub(super) description: String,
}

/// Incidents and maintenance.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Events {
    /// Open incidents.
    pub(super) incidents: Vec<PageEvent>,
    /// Maintenance in progress.
    pub(super) maintenances: Vec<PageEvent>,
    /// Scheduled maintenance.
    pub(super) announced: Vec<PageEvent>,
    /// Number of entries that cannot be read.
    pub(super) broken: usize,
    /// Some of them may be open incidents, of a page that is judged by its incidents.
    pub(super) unread: bool,
}

/// An incident or a maintenance.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PageEvent {
    pub(super) title: String,
    /// The severity, or an unknown word.
    pub(super) impact: Result<Severity, String>,
    /// The status page's own word for the progress, with spaces for underscores.
    pub(super) state: String,
    /// Actual or scheduled start.
    pub(super) begins: Option<Timestamp>,
    /// Scheduled end.
    pub(super) ends: Option<Timestamp>,
    /// Text of the latest update.
    pub(super) update: String,
    pub(super) link: String,
    /// Ids or names of the affected components.
    pub(super) touches: Vec<String>,
    /// Names of the affected parts of these components; empty: all of them.
    pub(super) touches_parts: Vec<String>,
}

impl PageEvent {
    /// An unknown impact counts as none.
    pub(super) fn severity(&self) -> Severity {
        self.impact.as_ref().copied().unwrap_or_default()
    }
}

/// The components of a status page, without groups.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Components {
    pub(super) all: Vec<Component>,
    /// Number of entries that cannot be read.
    pub(super) broken: usize,
    /// Only affected components are listed.
    pub(super) affected_only: bool,
}

/// One component that is not a group.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Component {
    pub(super) id: String,
    pub(super) name: String,
    /// For a part of a component, such as a region: the id of that component.
    pub(super) part_of: Option<String>,
    /// Name of its group.
    pub(super) group: Option<String>,
    /// The severity, or an unknown state.
    pub(super) severity: Result<Severity, String>,
    /// For display.
    pub(super) state: String,
    /// Display name. Includes the group if several components have the same name.
    pub(super) label: String,
}

/// Cleans and shortens a text for display.
pub(super) fn shortened(text: &str, max: usize) -> String {
    text::shorten(&text::readable(text), max).into_owned()
}

/// A word of the page for display. Codes and words in capitals are replaced by the usual words.
pub(super) fn displayed(word: &str, severity: Option<Severity>) -> String {
    match severity {
        Some(severity) if !word.chars().any(char::is_lowercase) => usual_state(severity).to_owned(),
        Some(severity) if matches!(word, "true" | "false") => usual_state(severity).to_owned(),
        _ => shortened(&word.replace('_', " "), MAX_WORD),
    }
}

fn usual_state(severity: Severity) -> &'static str {
    match severity {
        Severity::None => "operational",
        Severity::Maintenance => "under maintenance",
        Severity::Minor => "degraded performance",
        Severity::Major => "partial outage",
        Severity::Critical => "major outage",
    }
}
