//! The task of one tenant and connector: exports what a run changed, and carries out one step after the other.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use jiff::Timestamp;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::{DeliveryContext, DeliveryOrder, KeptDelivery, RunningDelivery};
use crate::destinations::FollowUp;
use crate::domain::data_rule::DataRule;
use crate::domain::file_format::FileFormat;
use crate::domain::monitoring::schedule::backoff;
use crate::domain::syncing::delivery::{
    DeliveryPace, DeliveryPhase, DeliveryReport, DeliveryStep, FailureKind, ReloadOutcome, RunExport,
    StepFailure, StepResult,
};
use crate::domain::syncing::run_history;
use crate::domain::text::counted;
use crate::export::{self, ExportOptions, ExportOutcome, ExportProgress, ExportScope};
use crate::runtime::board::DeliveryView;
use crate::runtime::last_successes::Successes;
use crate::store::DeliveryKey;
use crate::upload::files_of;

/// Interval at which saving failed state is retried.
const SAVE_RETRY: Duration = Duration::from_secs(3);
/// Longer than any export takes.
const LONGEST_EXPORT: Duration = Duration::from_secs(3600);
/// Runs that are searched for the last one that changed rows.
const HISTORY_DEPTH: usize = 200;
const IDLE: Duration = Duration::from_secs(86_400);

pub(super) struct DeliveryWorker {
    key: DeliveryKey,
    context: DeliveryContext,
    order: DeliveryOrder,
    stop: CancellationToken,
    nudge: Arc<Notify>,
    successes: watch::Receiver<Successes>,
    pace: DeliveryPace,
    kept: KeptDelivery,
    /// The rule with the format that the tenant accepts, once that is known.
    rule: Option<DataRule>,
    /// The start of the last complete run that was offered.
    offered: Option<Timestamp>,
    /// That run.
    run: Option<OfferedRun>,
    work: DeliveredWork,
    /// Failures before there is something to deliver.
    failures: PrepareFailures,
    logged: LoggedDelivery,
}

/// What the run history says of a delivery.
struct OfferedRun {
    number: i64,
    at: Timestamp,
}

/// What was done for the offered run.
#[derive(Default, PartialEq)]
struct DeliveredWork {
    files: u64,
    /// An app may be reloaded twice: a reload that began before the files were there is awaited first.
    apps: BTreeSet<String>,
}

impl DeliveredWork {
    fn words(&self, report: &DeliveryReport) -> String {
        let files = report.space.as_ref().filter(|_| self.files > 0);
        let files = files.map(|space| format!("{} uploaded to space {space}", counted(self.files, "file")));
        let apps = self.apps.len() as u64;
        let reloads = (apps > 0).then(|| format!("{} reloaded", counted(apps, "app")));
        files.into_iter().chain(reloads).collect::<Vec<_>>().join(", ")
    }
}

#[derive(Default)]
struct PrepareFailures {
    count: u32,
    trouble: Option<String>,
    again: Option<Instant>,
}

#[derive(Default)]
struct LoggedDelivery {
    /// The trouble as last logged, without digits: equal ones are logged once.
    trouble: Option<String>,
    /// Whether the last offered run is done.
    done: Option<i64>,
}

/// Why there is nothing to deliver.
enum NotReady {
    /// The tables are being changed, or their last run is not complete: another run will follow.
    Later,
    Failed(StepFailure),
}

impl DeliveryWorker {
    pub(super) fn new(
        key: DeliveryKey,
        context: DeliveryContext,
        running: &RunningDelivery,
        kept: KeptDelivery,
    ) -> DeliveryWorker {
        let successes = context.successes.subscribe();
        DeliveryWorker {
            key,
            context,
            order: running.order.clone(),
            stop: running.stop.clone(),
            nudge: Arc::clone(&running.nudge),
            successes,
            pace: DeliveryPace::default(),
            kept,
            rule: None,
            offered: None,
            run: None,
            work: DeliveredWork::default(),
            failures: PrepareFailures::default(),
            logged: LoggedDelivery::default(),
        }
    }

    /// Runs until stopped.
    pub(super) async fn run(mut self) -> (DeliveryKey, KeptDelivery) {
        let stop = self.stop.clone();
        self.kept.unsaved |= self.kept.state.await_data(self.context.monitoring.clock.now());
        self.show();
        while !stop.is_cancelled() {
            self.successes.mark_unchanged();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = self.collect() => {}
            }
            let step = match &self.rule {
                Some(rule) => self.kept.state.next_step(rule, self.context.monitoring.clock.now()),
                None => DeliveryStep::Wait(None),
            };
            self.note();
            if let DeliveryStep::Wait(until) = step {
                self.wait(until).await;
            } else {
                self.carry_out(&step).await;
            }
        }
        if self.context.right.left().is_some() {
            self.save().await;
        }
        (self.key, self.kept)
    }

    async fn wait(&mut self, until: Option<Timestamp>) {
        if self.kept.unsaved {
            self.save().await;
        }
        let now = self.context.monitoring.clock.now();
        let wait =
            until.map_or(IDLE, |until| Duration::try_from(until.duration_since(now)).unwrap_or_default());
        let again = self.failures.again.unwrap_or_else(|| Instant::now() + IDLE);
        let stop = self.stop.clone();
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            changed = self.successes.changed() => if changed.is_err() {
                // The daemon is stopping.
                stop.cancelled().await;
            },
            () = self.nudge.notified() => {
                self.failures.again = None;
                self.kept.state.retry_now();
            }
            () = sleep_until(again) => {}
            () = sleep(wait) => {}
            () = sleep(SAVE_RETRY), if self.kept.unsaved => {}
        }
    }

    /// Offers the last complete run if it is new. Files that are being sent go on first, unless they cannot be delivered.
    async fn collect(&mut self) {
        if self.failures.again.is_some_and(|again| again > Instant::now()) {
            return;
        }
        self.failures.again = None;
        let Some(rule) = self.accepted_rule().await else { return };
        let success = self.successes.borrow().get(&rule.connector).and_then(|data| data.success);
        let Some(success) = success else { return };
        let is_outdated = self.kept.state.is_outdated();
        if !is_outdated && (self.offered == Some(success) || self.kept.state.is_sending()) {
            return;
        }
        let found = match rule.space {
            Some(_) => self.export(&rule, success).await,
            None => self.run_without_files(success).await,
        };
        match found {
            Ok(export) => {
                let now = self.context.monitoring.clock.now();
                self.run = Some(OfferedRun { number: export.run, at: now });
                let before = self.kept.state.clone();
                self.kept.state.offer(&rule, &export, now);
                self.kept.unsaved |= self.kept.state != before;
                self.offered = Some(success);
                self.failures = PrepareFailures::default();
            }
            Err(NotReady::Later) => {
                self.offered = Some(success);
                self.failures = PrepareFailures::default();
            }
            Err(NotReady::Failed(failure)) => self.fail(&failure),
        }
    }

    fn fail(&mut self, failure: &StepFailure) {
        let seed = self.seed();
        let random = backoff(self.failures.count, self.pace.retry.0, self.pace.retry.1, seed);
        let wait = match failure.kind {
            FailureKind::Rejected => self.pace.rejected,
            _ => failure.wait.unwrap_or_default().max(random),
        };
        self.failures.count = self.failures.count.saturating_add(1);
        self.failures.trouble = Some(failure.detail.clone());
        self.failures.again = Some(Instant::now() + wait);
    }

    /// The rule in a format that the tenant accepts. What was saved of it goes on then.
    async fn accepted_rule(&mut self) -> Option<DataRule> {
        if let Some(rule) = &self.rule {
            return Some(rule.clone());
        }
        let mut rule = self.order.rule.clone();
        let before = self.kept.state.format_before(&rule);
        if let Some(before) = before {
            rule.format = before;
        } else if rule.space.is_some() {
            let limits = match self.order.client.perform(&rule, &DeliveryStep::Prepare).await {
                StepResult::Prepared(limits) => limits,
                StepResult::Failed(failure) => {
                    self.fail(&failure);
                    return None;
                }
                // Other steps have other results.
                _ => return None,
            };
            let refused = FileFormat::Parquet;
            if rule.format == refused && !limits.accepts(refused) && limits.accepts(FileFormat::Csv) {
                rule.format = FileFormat::Csv;
                let (tenant, connector) = (&self.order.tenant, &rule.connector);
                tracing::warn!(target: "QlikClient", "{connector}: {tenant} accepts no .parquet files; CSV files are uploaded instead.");
            }
        }
        self.failures = PrepareFailures::default();
        let now = self.context.monitoring.clock.now();
        self.kept.state = std::mem::take(&mut self.kept.state).continued_as(&rule, now);
        self.rule = Some(rule.clone());
        Some(rule)
    }

    /// A run whose rows the app reads from a database.
    async fn run_without_files(&self, success: Timestamp) -> Result<RunExport, NotReady> {
        let (place, connector) = (&self.context.source.place, &self.order.rule.connector);
        let read = async {
            let Some(destination) = place.find(connector).await? else { return Ok(Vec::new()) };
            let runs = destination.runs(HISTORY_DEPTH).await;
            destination.close().await?;
            runs
        };
        let runs = read.await.map_err(|e| unready(format!("cannot read the run history: {e}")))?;
        let Some(newest) = runs.first() else { return Err(NotReady::Later) };
        Ok(RunExport {
            connector: connector.clone(),
            run: newest.number,
            checkpoint_at: success,
            files: Vec::new(),
            changed_by: run_history::newest_change(&runs),
        })
    }

    async fn export(&self, rule: &DataRule, success: Timestamp) -> Result<RunExport, NotReady> {
        let Ok(_slot) = self.context.exports.acquire().await else { return Err(NotReady::Later) };
        let (source, connector) = (&self.context.source, &rule.connector);
        let dir = source.folder.join(&self.order.tenant);
        let options = ExportOptions { dir, format: rule.format, partial: false, deleted: source.deleted };
        let (scope, progress) = (ExportScope::DueOf(rule.tables.clone()), ExportProgress::default());
        let work = export::export(&source.place, connector, &options, &scope, &progress, &self.stop);
        // A volume that hangs or a bug in the export must not end the task.
        let done = AssertUnwindSafe(timeout(LONGEST_EXPORT, work)).catch_unwind().await;
        let report = match done {
            Ok(Ok(Ok(ExportOutcome::Done(report)))) => report,
            Ok(Ok(Ok(ExportOutcome::Skipped(_) | ExportOutcome::Stopped))) => return Err(NotReady::Later),
            Ok(Ok(Err(error))) => return Err(unready(format!("export failed: {error}"))),
            Ok(Err(_)) => return Err(unready(format!("the export did not end within {LONGEST_EXPORT:?}"))),
            Err(_) => return Err(unready("the export panicked".to_owned())),
        };
        if let Some(reason) = report.failure() {
            return Err(unready(format!("export failed: {reason}")));
        }
        let run = report.run;
        let found = tokio::task::spawn_blocking(move || files_of(&report)).await;
        let found = found.unwrap_or_else(|e| Err(std::io::Error::other(e)));
        let files = found.map_err(|e| unready(format!("cannot read the exported files: {e}")))?;
        if files.is_empty() {
            return Err(NotReady::Later);
        }
        let connector = connector.clone();
        Ok(RunExport { connector, run, checkpoint_at: success, files, changed_by: None })
    }

    /// Carries out one step. What changes something is saved before; where another daemon may take over, only then is it sent.
    async fn carry_out(&mut self, step: &DeliveryStep) {
        let Some(rule) = self.rule.clone() else { return };
        if self.kept.state.intend(step) {
            self.kept.unsaved = true;
            if !self.save().await && self.context.right.is_lease() {
                let stop = self.stop.clone();
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = sleep(SAVE_RETRY) => {}
                }
                return;
            }
        }
        let carries = matches!(step, DeliveryStep::StoreFile { .. } | DeliveryStep::SendPart { .. });
        let stop = self.stop.clone();
        let sending = async {
            let _slot = if carries { self.context.parts.acquire().await.ok() } else { None };
            self.order.client.perform(&rule, step).await
        };
        let result = tokio::select! {
            biased;
            // What was sent without an answer is looked up when the delivery goes on.
            () = stop.cancelled() => return,
            () = self.context.right.over() => return stop.cancelled().await,
            result = sending => result,
        };
        self.count(&rule, step, &result);
        let (now, seed, before) = (self.context.monitoring.clock.now(), self.seed(), self.kept.state.clone());
        self.kept.state.apply(&rule, step, result, now, &self.pace, seed);
        self.kept.unsaved |= self.kept.state != before;
        self.save().await;
    }

    /// Saves the state if it changed. Returns whether it is saved.
    async fn save(&mut self) -> bool {
        if !self.kept.unsaved {
            return true;
        }
        let store = &self.context.monitoring.store;
        let saved = store.keep_delivery_state(&self.key, Some(self.kept.state.clone())).await;
        self.kept.unsaved = saved.is_err();
        if let Err(error) = &saved {
            tracing::debug!(target: "QlikClient", "The state of the upload is not saved: {error}");
        }
        saved.is_ok()
    }

    fn seed(&self) -> u64 {
        u64::from(self.context.monitoring.clock.since_epoch().subsec_nanos())
    }

    fn report(&self) -> DeliveryReport {
        let rule = self.rule.as_ref().unwrap_or(&self.order.rule);
        let mut report = self.kept.state.report(rule);
        if let Some(trouble) = &self.failures.trouble {
            report.trouble = Some(trouble.clone());
        }
        report
    }

    fn view(&self, change: impl FnOnce(&mut DeliveryView)) {
        let key = self.order.view();
        self.context.monitoring.board.update(|board| change(board.deliveries.entry(key).or_default()));
    }

    fn show(&self) -> DeliveryReport {
        let report = self.report();
        let (connector, tenant) = (&self.order.rule.connector, &self.order.tenant);
        self.context.successes.deliver(connector, tenant, report.age_from);
        self.view(|view| view.report = report.clone());
        report
    }

    fn count(&mut self, rule: &DataRule, step: &DeliveryStep, result: &StepResult) {
        let mut ended = None;
        match (step, result) {
            (DeliveryStep::CommitFile { .. }, StepResult::Committed(_)) => self.work.files += 1,
            (DeliveryStep::FollowReload { app, .. }, StepResult::ReloadIs(reload))
                if rule.reload.contains(app) =>
            {
                ended = reload.outcome;
                if ended == Some(ReloadOutcome::Succeeded) {
                    self.work.apps.insert(app.clone());
                }
            }
            _ => {}
        }
        self.view(|view| {
            match result {
                StepResult::Failed(_) => view.failures += 1,
                StepResult::Committed(file) => {
                    view.files += 1;
                    view.bytes += file.size;
                }
                _ => {}
            }
            if let Some(outcome) = ended {
                *view.reloads.entry(outcome.as_str()).or_default() += 1;
            }
        });
    }

    /// Shows the state, logs what is new about it, and adds it to the run history.
    fn note(&mut self) {
        let report = self.show();
        let name = &self.order.rule.connector;
        let bare = report.trouble.as_ref().map(|why| why.replace(|c: char| c.is_ascii_digit(), ""));
        let is_new = bare != self.logged.trouble;
        let Some(run) = &self.run else {
            if let Some(why) = report.trouble.as_ref().filter(|_| is_new) {
                tracing::warn!(target: "QlikClient", "{name}: nothing is uploaded: {why}; this is retried");
            }
            self.logged.trouble = bare;
            return;
        };
        let is_done = report.phase == DeliveryPhase::Idle && self.logged.done != Some(run.number);
        match &report.trouble {
            Some(why) if is_new => {
                // A reload that failed was carried out: only new data is a reason for another one.
                let next = if is_done { "the next run reloads again" } else { "this is retried" };
                tracing::warn!(target: "QlikClient", "{name}: the data in Qlik is not up to date: {why}; {next}");
                if self.failures.trouble.is_none() {
                    self.record(run, Some(why.clone()));
                }
            }
            None if is_done && self.work != DeliveredWork::default() => {
                tracing::info!(target: "QlikClient", "{name}: run #{}: {}", run.number, self.work.words(&report));
                self.record(run, None);
            }
            None if is_new => tracing::info!(target: "QlikClient", "{name}: uploads and reloads work again"),
            _ => {}
        }
        if is_done {
            self.logged.done = Some(run.number);
            self.work = DeliveredWork::default();
        }
        self.logged.trouble = bare;
    }

    /// Adds the outcome to the run history, in the background: a destination that is busy must delay nothing.
    fn record(&self, run: &OfferedRun, failure: Option<String>) {
        let (place, connector) = (self.context.source.place.clone(), self.order.rule.connector.clone());
        let name = run_history::upload_to(&self.order.tenant);
        let ended = self.context.monitoring.clock.now();
        let done =
            FollowUp { run: run.number, name, started: run.at, ended, failure, count: self.work.files };
        tokio::spawn(async move {
            if let Err(error) = place.record_follow_up(&connector, done).await {
                tracing::warn!(target: "QlikClient", "{connector}: the upload is not in the run history: {error}");
            }
        });
    }
}

fn unready(detail: String) -> NotReady {
    NotReady::Failed(StepFailure::new(FailureKind::Transient, detail))
}
