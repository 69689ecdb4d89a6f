//! A status page engine: which documents a page of this engine has, and what their fields mean.
//!
//! Values only. `definitions` reads them from `engines/*.toml`, `poll` interprets them. Start at [`Engine`].

mod path;
mod template;

pub use path::{Path, Step};
pub use template::{EngineTemplate, EngineTemplatePart};

use std::collections::BTreeMap;
use std::time::Duration;

use url::Url;
use wildmatch::WildMatch;

use super::severity::Severity;
use crate::domain::text;

/// The engine of monitors that name none.
pub const DEFAULT: &str = "statuspage";

/// A validated definition.
#[derive(Debug, Clone, PartialEq)]
pub struct Engine {
    pub name: String,
    /// Hosts that identify the engine without a request.
    pub hosts: Vec<String>,
    /// The page, if there is only one; monitors then need no `url`.
    pub root: Option<Url>,
    /// Whether a monitor's `url` is the document itself, not the root of a page.
    pub whole_url: bool,
    /// Options that a monitor must set, each with a description of its value.
    pub needs: BTreeMap<String, String>,
    /// Options that a monitor may set, each with a description of its value.
    pub options: BTreeMap<String, String>,
    /// Values of options that a monitor does not set.
    pub defaults: BTreeMap<String, String>,
    /// Shortest time between two requests for one document.
    pub spacing: Duration,
    /// In the order in which they are requested.
    pub reads: Vec<ReadRules>,
    pub overall: Overall,
    pub components: Option<ComponentRules>,
    pub incidents: Option<EventRules>,
    pub maintenances: Option<MaintenanceRules>,
    pub times: TimeRules,
}

/// One document of a page.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadRules {
    pub id: String,
    pub address: DocumentAddress,
    pub format: Format,
    /// Largest size, in bytes after decompression.
    pub max: usize,
    /// Without these the document is not that of this engine.
    pub require: Vec<Path>,
    /// Whether the request and `require` identify the engine.
    pub detect: bool,
    /// Whatever needs the document goes on without it if it cannot be read.
    pub optional: bool,
    pub fresh: Option<Fresh>,
    /// An empty list of incidents says nothing, instead of that all is well.
    pub empty_is_unknown: bool,
    /// An empty list of incidents says something only if these hold for the document.
    pub empty_if: Vec<EntryCondition>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum DocumentAddress {
    /// Below the root of the page; with a leading `/`, below its origin.
    Path(EngineTemplate),
    /// On a host that the definition names.
    Url(EngineTemplate),
    /// The monitor's own `url`.
    Whole,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Json,
    /// JSON as the argument of a function call.
    Jsonp,
    Xml,
    /// The whole body as one text.
    Text,
    /// The response itself, whatever its status: `status`, `text`.
    Http,
}

/// Proof that a document is up to date.
#[derive(Debug, Clone, PartialEq)]
pub struct Fresh {
    pub paths: Vec<Path>,
    pub within: Duration,
}

/// A path into one of the documents.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// Index in [`Engine::reads`].
    pub read: usize,
    pub path: Path,
}

/// Which part of a page decides the state of an unfiltered monitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RollUp {
    State,
    Components,
    Incidents,
}

/// The overall state.
#[derive(Debug, Clone, PartialEq)]
pub struct Overall {
    pub from: RollUp,
    pub state: Vec<Source>,
    pub text: Vec<Source>,
    pub map: WordMap,
    /// Open incidents count at least as much as they say, although there is an overall state.
    pub floor: bool,
    /// An overall state over components whose state is unknown without exception proves nothing.
    pub all_unknown: bool,
    /// The severity if no component is better than `major`.
    pub all_down: Option<Severity>,
}

/// Words of an engine and their severities. Any other word is unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WordMap(BTreeMap<String, Severity>);

impl WordMap {
    /// Returns false if the word is already mapped to another severity.
    pub fn insert(&mut self, word: &str, severity: Severity) -> bool {
        self.0.insert(text::folded(word), severity).is_none_or(|before| before == severity)
    }

    /// The words that mean a severity, folded.
    #[cfg(test)]
    pub fn words_of(&self, severity: Severity) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(_, means)| **means == severity).map(|(word, _)| word.as_str())
    }

    /// Ignores case, blanks, hyphens and underscores.
    pub fn get(&self, word: &str) -> Option<Severity> {
        self.0.get(&text::folded(word)).copied()
    }
}

/// Where the components are and what their states mean.
#[derive(Debug, Clone, PartialEq)]
pub struct ComponentRules {
    pub list: Vec<Source>,
    /// Nested components; only those without any are components, the others are groups.
    pub children: Option<Path>,
    pub id: Vec<Path>,
    /// Joined by ` - `.
    pub name: Vec<Path>,
    pub state: ComponentState,
    pub map: WordMap,
    pub parts: Option<Parts>,
    pub group: Option<Group>,
    /// Elements that are not components.
    pub skip: Vec<EntryCondition>,
    /// Only affected components are listed, so that one that is not there works.
    pub affected_only: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub enum ComponentState {
    /// The first that is present.
    Own(Vec<Path>),
    /// In another list or object, by the component's id.
    Join(Join),
    /// The worst open incident that names the component by id or name.
    Incidents,
}

/// States in a list of their own.
#[derive(Debug, Clone, PartialEq)]
pub struct Join {
    pub list: Source,
    /// The field of the list's elements that has the component's id; `None`: the list is an object by id.
    pub by: Option<Path>,
    /// Elements without these do not count.
    pub only: Vec<EntryCondition>,
    pub state: Path,
    /// The state of a component that is not there.
    pub absent: Option<String>,
}

/// Parts of a component, such as regions.
#[derive(Debug, Clone, PartialEq)]
pub struct Parts {
    pub list: Path,
    pub name: Vec<Path>,
    pub state: Vec<Path>,
}

/// Groups of components in a list of their own.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// The group's name or id in the component.
    pub field: Option<Path>,
    /// Absent: `field` is the name.
    pub list: Option<Source>,
    pub id: Path,
    pub name: Path,
    /// The ids of the group's components.
    pub children: Option<Path>,
}

/// A condition on an element.
#[derive(Debug, Clone, PartialEq)]
pub struct EntryCondition {
    /// The first that is present counts.
    pub paths: Vec<Path>,
    pub test: Test,
    /// Whether it also holds without a value, or with one that cannot be read as a time.
    pub if_present: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    /// One of the values is one of these words.
    Is(Vec<EngineTemplate>),
    /// No value is one of these words.
    Not(Vec<EngineTemplate>),
    Present,
    Absent,
    /// The time is before now plus this many seconds.
    Before(i64),
    /// The time is after now plus this many seconds.
    After(i64),
    /// One of the values matches one of the patterns. A pattern with an option that is not set matches everything.
    Matches(Vec<Glob>),
    /// No value matches a pattern.
    Lacks(Vec<Glob>),
    /// As `Is`, or there is no value; passes if an option in the words is not set.
    Allows(Vec<EngineTemplate>),
}

/// A pattern with `*` and `?`, ignoring case.
#[derive(Debug, Clone, PartialEq)]
pub enum Glob {
    Fixed(WildMatch),
    /// With an option of the monitor in it.
    Filled(EngineTemplate),
}

impl Glob {
    pub fn new(template: EngineTemplate) -> Glob {
        match template.parts() {
            [EngineTemplatePart::Text(text)] => Glob::Fixed(WildMatch::new_case_insensitive(text)),
            _ => Glob::Filled(template),
        }
    }

    /// Whether the pattern matches a text. `fill` gives the text of a template.
    pub fn matches(&self, text: &str, fill: impl FnOnce(&EngineTemplate) -> Option<String>) -> bool {
        match self {
            Glob::Fixed(pattern) => pattern.matches(text),
            Glob::Filled(template) => {
                fill(template).is_none_or(|pattern| WildMatch::new_case_insensitive(&pattern).matches(text))
            }
        }
    }
}

/// Where incidents are and what they say.
#[derive(Debug, Clone, PartialEq)]
pub struct EventRules {
    pub list: Vec<Source>,
    /// All must hold for an open event.
    pub open: Vec<EntryCondition>,
    pub fields: EventFieldRules,
}

/// Where maintenance is and what it says.
#[derive(Debug, Clone, PartialEq)]
pub struct MaintenanceRules {
    pub running: Vec<Source>,
    pub running_if: Vec<EntryCondition>,
    pub upcoming: Vec<Source>,
    pub upcoming_if: Vec<EntryCondition>,
    pub fields: EventFieldRules,
}

/// The fields of an incident or a maintenance.
#[derive(Debug, Clone, PartialEq)]
pub struct EventFieldRules {
    pub id: Vec<Path>,
    pub title: Vec<Path>,
    pub impact: Option<Impact>,
    pub state: Vec<Path>,
    /// Words that replace the page's own, by the folded form of these.
    pub state_words: BTreeMap<String, String>,
    pub begins: Vec<Path>,
    pub ends: Vec<Path>,
    pub update: Vec<Path>,
    pub link: Option<EngineTemplate>,
    /// Ids or names of the affected components.
    pub touches: Vec<Path>,
    /// Names of the affected parts of these components; without any, all of their parts are affected.
    pub touches_parts: Vec<Path>,
    pub fold: Option<Fold>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Impact {
    pub paths: Vec<Path>,
    pub pick: Pick,
    pub map: WordMap,
    /// The impact if there is no word or an unknown one; without it, that is unknown.
    pub otherwise: Option<Severity>,
    /// The impact is never worse.
    pub at_most: Severity,
}

/// Which of several words counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pick {
    Worst,
    First,
    Last,
}

/// Several entries of one list that report the same event: only the newest counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Fold {
    pub by: Vec<Path>,
    pub newest: Vec<Path>,
}

/// How the engine writes times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeRules {
    pub formats: Vec<TimeFormat>,
    /// For times without a zone.
    pub zone: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeFormat {
    Rfc3339,
    Rfc2822,
    /// Seconds since 1970.
    Epoch,
    EpochMs,
    /// Seconds or milliseconds, by size.
    EpochAuto,
    /// `Tue Aug 04 2026 12:00:00 GMT+0000`.
    Js,
    /// A date and time without a zone.
    Naive,
}

impl Engine {
    /// Whether the overall state, or incidents and components without one, need the incidents.
    pub fn judges_incidents(&self) -> bool {
        self.overall.floor || self.overall.from == RollUp::Incidents
    }

    /// Whether only incidents state the components' states.
    pub fn components_from_incidents(&self) -> bool {
        self.components.as_ref().is_some_and(|rules| rules.state == ComponentState::Incidents)
    }

    /// Whether the incidents alone say the state of the page or of its components.
    pub fn judges_by_incidents(&self) -> bool {
        self.overall.from == RollUp::Incidents || self.components_from_incidents()
    }
}
