//! Brings the exported files of a connector into a Qlik space and reloads the apps that read them: what to do next.
//!
//! All files of a run are first sent to the tenant's temporary contents, which takes long and can be resumed; then they are
//! committed one after another, which takes seconds; then each app is reloaded once. So a reload reads files of one run. The
//! caller saves the state before each step that writes and after each result: a step whose result is unknown is looked up before it is
//! repeated. Nothing here sends a request. Start at [`DeliveryState::next_step`].

mod files;
mod reloads;
mod report;
mod step;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::domain::data_rule::DataRule;
use crate::domain::file_format::FileFormat;
use crate::domain::monitoring::schedule::backoff;

use files::PendingFile;
pub use files::UPLOAD_TTL;
use reloads::{AppReload, StepMoment};
pub use report::{AppReport, DeliveryPhase, DeliveryReport};
pub use step::{
    DeliveryStep, FailureKind, ReloadOutcome, ReloadView, SpaceLimits, StepFailure, StepResult, StoredFile,
};

/// A finished run of a connector and its exported files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunExport {
    pub connector: String,
    /// Its number in the run history.
    pub run: i64,
    /// Start of the run: its data is at least as new.
    pub checkpoint_at: Timestamp,
    /// The present files of all tables, also of those that the run did not change. Empty if apps are only reloaded.
    pub files: Vec<FileForUpload>,
    /// The newest run that changed rows, for rules that only reload; `None` if none is known.
    #[serde(default)]
    pub changed_by: Option<i64>,
}

/// An exported file. A table may have one in each format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileForUpload {
    pub table: String,
    pub path: PathBuf,
    pub bytes: u64,
    /// The time of its last change. With the size it tells whether the file was replaced.
    pub modified: Timestamp,
    pub format: FileFormat,
}

impl FileForUpload {
    /// Its name in the space. Names of tables have no `-`, so two files of two connectors never have one name.
    pub fn name_in_space(&self, connector: &str) -> String {
        format!("{connector}-{}.{}", self.table, self.format.as_str())
    }

    fn version(&self) -> FileVersion {
        FileVersion { bytes: self.bytes, modified: self.modified }
    }
}

/// Which content a file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct FileVersion {
    bytes: u64,
    modified: Timestamp,
}

/// Times between attempts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DeliveryPace {
    /// Longest interval at which a reload is read until it ends.
    pub poll: Duration,
    /// First delay after a transient failure; it doubles up to the second one.
    pub retry: (Duration, Duration),
    /// Delay after a rejection, which a person must fix.
    pub rejected: Duration,
    /// Delay after the tenant's quota for the frequency of reloads.
    pub frequency: Duration,
}

impl Default for DeliveryPace {
    fn default() -> DeliveryPace {
        DeliveryPace {
            poll: Duration::from_secs(10),
            retry: (Duration::from_secs(2), Duration::from_secs(300)),
            rejected: Duration::from_secs(900),
            frequency: Duration::from_secs(300),
        }
    }
}

/// The state of one rule. Saved.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeliveryState {
    /// The space, tables and format that the rest is about.
    content: Option<DeliveryContent>,
    awaited_since: Option<Timestamp>,
    /// What is being delivered.
    current: Option<CurrentDelivery>,
    /// Follows it. A newer run replaces it.
    next: Option<RunExport>,
    /// The last run that was offered, without its files, and their number.
    offered: Option<(i64, Timestamp, usize)>,
    /// The newest run that changed rows, of those that apps were reloaded after.
    changed_by: Option<i64>,
    /// What the space has, by name of the file.
    committed: BTreeMap<String, FileVersion>,
    /// Counts deliveries that changed what apps read.
    generation: u64,
    /// The tenant's time of the last change: a reload that started before it may have read older data.
    changed_at: Option<Timestamp>,
    apps: BTreeMap<String, AppReload>,
    /// The start of the last run whose files are all in the space.
    committed_as_of: Option<Timestamp>,
    /// The failure that the next attempt waits for.
    trouble: Option<String>,
}

/// Space, tables and format.
type DeliveryContent = (Option<String>, Vec<String>, FileFormat);

fn content(rule: &DataRule) -> DeliveryContent {
    (rule.space.clone(), rule.tables.clone(), rule.format)
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct CurrentDelivery {
    export: RunExport,
    offered_at: Timestamp,
    stage: DeliveryStage,
    limits: Option<SpaceLimits>,
    /// Those that the space does not have yet or that were just committed, by name; `None` until the tenant's limits are known.
    files: Option<BTreeMap<String, PendingFile>>,
    /// A file was replaced by a later export, which will be offered: nothing is committed before.
    outdated: bool,
    failures: u32,
    not_before: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum DeliveryStage {
    Uploading,
    Committing,
    Reloading,
}

impl DeliveryState {
    /// Continues with the rule, unless it names another space or other files: what is there says nothing of those.
    #[must_use]
    pub fn continued_as(self, rule: &DataRule, now: Timestamp) -> DeliveryState {
        let content = content(rule);
        if self.content.as_ref() == Some(&content) {
            return self;
        }
        DeliveryState { content: Some(content), awaited_since: Some(now), ..DeliveryState::default() }
    }

    /// The format that files of the rule were sent in before; apps read files of that name.
    pub fn format_before(&self, rule: &DataRule) -> Option<FileFormat> {
        let before = self.content.as_ref()?;
        let (space, tables, _) = content(rule);
        (before.0 == space && before.1 == tables && rule.format == FileFormat::Parquet).then_some(before.2)
    }

    /// Notes that data is awaited, from when its age counts until there is some. Returns whether that is new.
    pub fn await_data(&mut self, now: Timestamp) -> bool {
        let is_new = self.awaited_since.is_none();
        self.awaited_since.get_or_insert(now);
        is_new
    }

    /// Whether files are being sent without trouble, which go on before those of a later run.
    pub fn is_sending(&self) -> bool {
        let stage = self.current.as_ref().map(|current| current.stage);
        let sending = matches!(stage, Some(DeliveryStage::Uploading | DeliveryStage::Committing));
        sending && self.trouble.is_none()
    }

    /// Whether an exported file is gone or was replaced: the files of its run must be offered again.
    pub fn is_outdated(&self) -> bool {
        self.current.as_ref().is_some_and(|current| current.outdated) && self.next.is_none()
    }

    /// Takes a finished run. It replaces one whose files are still being uploaded, and follows one that is being committed or reloaded.
    pub fn offer(&mut self, rule: &DataRule, export: &RunExport, now: Timestamp) {
        let mark = (export.run, export.checkpoint_at, export.files.len());
        if self.offered == Some(mark) && !self.is_outdated()
            || rule.space.is_some() && export.files.is_empty()
        {
            return;
        }
        self.offered = Some(mark);
        match &self.current {
            Some(current) if current.stage != DeliveryStage::Uploading => self.next = Some(export.clone()),
            _ => self.start(rule, export.clone(), now),
        }
    }

    /// Ends all waits, because a person asked for it. Reloads that run are still read at their interval.
    pub fn retry_now(&mut self) {
        if let Some(current) = &mut self.current {
            current.not_before = None;
        }
        self.apps.values_mut().for_each(AppReload::retry_now);
    }

    /// Decides what to do at `now`.
    pub fn next_step(&mut self, rule: &DataRule, now: Timestamp) -> DeliveryStep {
        self.apps.retain(|app, _| rule.reload.contains(app));
        loop {
            let Some(current) = &mut self.current else {
                match self.next.take() {
                    Some(export) => self.start(rule, export, now),
                    None => return DeliveryStep::Wait(None),
                }
                continue;
            };
            if current.stage == DeliveryStage::Reloading {
                match self.next_reload(now) {
                    Some(step) => return step,
                    None => self.finish(),
                }
                continue;
            }
            if current.outdated {
                match self.next.take() {
                    Some(export) => self.start(rule, export, now),
                    None => return DeliveryStep::Wait(None),
                }
                continue;
            }
            if let Some(until) = current.not_before.filter(|until| is_ahead(*until, now)) {
                return DeliveryStep::Wait(Some(until));
            }
            let (Some(limits), Some(files)) = (&current.limits, &mut current.files) else {
                return DeliveryStep::Prepare;
            };
            if let Some(step) = files::next_upload(files, limits, now) {
                return step;
            }
            let changes = files.values().any(|file| !file.is_committed());
            if changes && current.stage == DeliveryStage::Uploading {
                current.stage = DeliveryStage::Committing;
                self.generation += 1;
            }
            if let Some(step) = files::next_commit(files, limits) {
                return step;
            }
            self.committed_as_of = Some(current.export.checkpoint_at);
            self.start_reloads(rule);
        }
    }

    /// Notes that a step is about to be sent. Returns whether the state changed: then it must be saved first.
    pub fn intend(&mut self, step: &DeliveryStep) -> bool {
        match step {
            DeliveryStep::CommitFile { name, .. } => self.file(name).is_some_and(PendingFile::intend_commit),
            DeliveryStep::AskReload { app } => self.apps.get_mut(app).is_some_and(AppReload::intend),
            _ => false,
        }
    }

    /// Takes the result of a step. `seed` is random.
    pub fn apply(
        &mut self,
        rule: &DataRule,
        step: &DeliveryStep,
        result: StepResult,
        now: Timestamp,
        pace: &DeliveryPace,
        seed: u64,
    ) {
        let failure = match (step.app(), result) {
            (Some(app), result) => {
                let changed_at = &mut self.changed_at;
                let Some(reload) = self.apps.get_mut(app) else { return };
                reload.apply(step, result, changed_at, self.generation, &StepMoment { now, pace, seed });
                if let Some(current) = &self.current {
                    reload.note_data(current.export.checkpoint_at, self.generation);
                }
                return;
            }
            (None, StepResult::Failed(failure)) => failure,
            (None, result) => match self.progress(rule, step, result, now) {
                Ok(()) => return self.note_success(step),
                Err(failure) => failure,
            },
        };
        self.fail(step, &failure, now, pace, seed);
        let committing = self.current.as_ref().is_some_and(|one| one.stage == DeliveryStage::Committing);
        if let Some(export) = self.next.take_if(|_| committing) {
            // The files of the later run replace what could not be committed.
            self.start(rule, export, now);
        }
    }

    fn note_success(&mut self, step: &DeliveryStep) {
        if let Some(current) = &mut self.current {
            current.not_before = None;
            // What only reads says nothing of the request that failed.
            if !step.only_reads() {
                current.failures = 0;
                self.trouble = None;
            }
        }
    }

    fn progress(
        &mut self,
        rule: &DataRule,
        step: &DeliveryStep,
        result: StepResult,
        now: Timestamp,
    ) -> Result<(), StepFailure> {
        match (step.file(), result) {
            (None, StepResult::Prepared(limits)) => self.prepare(rule, limits),
            (Some(name), result) => {
                let Some(file) = self.file(name) else { return Ok(()) };
                let committed = file.progress(result, now)?;
                let version = file.file.version();
                if let Some(at) = committed {
                    self.committed.insert(name.to_owned(), version);
                    // The tenant may have a coarse clock, so the latest time counts.
                    self.changed_at = self.changed_at.max(at);
                }
                Ok(())
            }
            (None, _) => Ok(()),
        }
    }

    fn prepare(&mut self, rule: &DataRule, limits: SpaceLimits) -> Result<(), StepFailure> {
        let Some(current) = &mut self.current else { return Ok(()) };
        if current.files.is_none() {
            let chosen = files::choose(rule, &current.export, &limits).map_err(StepFailure::rejected)?;
            let missing =
                |(name, file): &(String, FileForUpload)| self.committed.get(name) != Some(&file.version());
            let pending = chosen.into_iter().filter(missing);
            current.files = Some(pending.map(|(name, file)| (name, PendingFile::new(file))).collect());
        }
        current.limits = Some(limits);
        Ok(())
    }

    fn fail(
        &mut self,
        step: &DeliveryStep,
        failure: &StepFailure,
        now: Timestamp,
        pace: &DeliveryPace,
        seed: u64,
    ) {
        let mut outdated = false;
        if let Some(file) = step.file().and_then(|name| self.file(name)) {
            outdated = file.fail(step, failure);
        }
        self.trouble = Some(failure.detail.clone());
        let Some(current) = &mut self.current else { return };
        current.outdated |= outdated;
        let random = backoff(current.failures, pace.retry.0, pace.retry.1, seed);
        current.failures = current.failures.saturating_add(1);
        let wait = match failure.kind {
            FailureKind::Rejected => {
                // The space may be another one when a person has fixed it.
                current.limits = None;
                pace.rejected
            }
            FailureKind::Transient | FailureKind::Unclear => failure.wait.unwrap_or_default().max(random),
            _ => random,
        };
        current.not_before = Some(later(now, wait));
    }

    /// Starts to deliver a run. What was uploaded of the same content stays uploaded.
    fn start(&mut self, rule: &DataRule, export: RunExport, now: Timestamp) {
        let before = self.current.take();
        let offered_at = before.as_ref().map_or(now, |before| before.offered_at);
        let stage = DeliveryStage::Uploading;
        let mut current = CurrentDelivery {
            export,
            offered_at,
            stage,
            limits: None,
            files: None,
            outdated: false,
            failures: 0,
            not_before: None,
        };
        if let Some(CurrentDelivery { limits: Some(limits), files: Some(uploaded), .. }) = before
            && let Ok(chosen) = files::choose(rule, &current.export, &limits)
        {
            let files = chosen
                .into_iter()
                .filter(|(name, file)| self.committed.get(name) != Some(&file.version()))
                .map(|(name, file)| {
                    let same = uploaded.get(&name).filter(|old| old.can_continue_as(&file));
                    let pending = same.cloned().unwrap_or_else(|| PendingFile::new(file));
                    (name, pending)
                });
            current.files = Some(files.collect());
            current.limits = Some(limits);
        }
        let changed_by = current.export.changed_by;
        self.current = Some(current);
        if rule.space.is_none() {
            // The run itself is the change. The tenant's time is read with the first request.
            let is_change = match changed_by {
                Some(_) => changed_by != self.changed_by,
                None => self.changed_by.is_none(),
            };
            if is_change {
                (self.generation, self.changed_at) = (self.generation + 1, None);
                self.changed_by = changed_by.or(Some(0));
            }
            self.start_reloads(rule);
        }
    }

    fn start_reloads(&mut self, rule: &DataRule) {
        if let Some(current) = &mut self.current {
            current.stage = DeliveryStage::Reloading;
        }
        for app in &rule.reload {
            self.apps.entry(app.clone()).or_default().start(self.generation);
        }
        self.trouble = None;
    }

    /// The next step of the reloads; `None` when all have ended, or another run comes first.
    fn next_reload(&self, now: Timestamp) -> Option<DeliveryStep> {
        if self.next.is_some() && !self.apps.values().any(AppReload::is_in_flight) {
            return None;
        }
        let mut soonest: Option<Timestamp> = None;
        for (app, reload) in &self.apps {
            match reload.next_step(app, now) {
                Some(DeliveryStep::Wait(Some(until))) => {
                    soonest = Some(soonest.map_or(until, |soonest| soonest.min(until)));
                }
                // It is reloaded after the next run's files are there.
                Some(_) if self.next.is_some() && !reload.is_in_flight() => {}
                Some(step) => return Some(step),
                None => {}
            }
        }
        soonest.map(|until| DeliveryStep::Wait(Some(until)))
    }

    fn finish(&mut self) {
        let Some(current) = self.current.take() else { return };
        let generation = self.generation;
        self.apps.values_mut().for_each(|app| app.note_data(current.export.checkpoint_at, generation));
    }

    fn file(&mut self, name: &str) -> Option<&mut PendingFile> {
        self.current.as_mut()?.files.as_mut()?.get_mut(name)
    }
}

/// Whether a wait until then is not over. A clock that was set back must not prolong it.
fn is_ahead(until: Timestamp, now: Timestamp) -> bool {
    until > now && until.duration_since(now) <= LONGEST_WAIT
}

/// Longer than each wait.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_mins(30);

fn later(now: Timestamp, wait: Duration) -> Timestamp {
    let wait = SignedDuration::try_from(wait).unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT);
    now.checked_add(wait).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
