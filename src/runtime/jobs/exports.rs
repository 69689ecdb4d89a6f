//! Exports the tables of a connector after its runs. Its failure is logged and shown, and never fails the run.
//!
//! What is due is exported after the next run, and before it if the last export failed or was interrupted. Start at
//! [`Exports::after_run`].

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Job, Reports, view};
use crate::destinations::FollowUp;
use crate::domain::syncing::op::End;
use crate::domain::syncing::run_history;
use crate::domain::text::counted;
use crate::export::{self, ExportError, ExportOutcome, ExportProgress, ExportReport, ExportScope};
use crate::runtime::board::LastExport;

/// Longer than any export takes.
const LIMIT: Duration = Duration::from_secs(3600);

/// Exports of one job.
pub(super) struct Exports {
    /// An export may be due since before the next run: after the start, a failure or an interruption.
    behind: bool,
    /// The failure as last logged, without digits: equal ones are logged once.
    logged: Option<String>,
    /// Another export wrote to the folder at the last attempt.
    was_busy: bool,
}

impl Default for Exports {
    fn default() -> Exports {
        Exports { behind: true, logged: None, was_busy: false }
    }
}

impl Exports {
    /// Exports what an earlier export left, before a run changes the tables.
    pub(super) async fn catch_up(&mut self, job: &Job, reports: &Reports, stop: &CancellationToken) {
        if self.behind {
            self.export(job, reports, stop).await;
        }
    }

    /// Exports what is due after a run with this outcome.
    pub(super) async fn after_run(
        &mut self,
        job: &Job,
        end: End,
        reports: &Reports,
        stop: &CancellationToken,
    ) {
        let partial = job.export.as_ref().is_some_and(|options| options.partial);
        if end == End::Complete || end == End::Partial && partial {
            self.export(job, reports, stop).await;
        }
    }

    async fn export(&mut self, job: &Job, reports: &Reports, stop: &CancellationToken) {
        let Some(options) = &job.export else { return };
        let (name, started, began) = (job.name(), reports.clock.now(), Instant::now());
        self.behind = true;
        let progress = ExportProgress::default();
        let work = export::export(&job.place, name, options, &ExportScope::Due, &progress, stop);
        // A volume that hangs or a bug in the export must not end the connector's runs.
        let done = AssertUnwindSafe(tokio::time::timeout(LIMIT, work)).catch_unwind().await;
        let done = match done {
            Ok(Ok(done)) => done,
            Ok(Err(_)) => Err(ExportError::new(format!("it did not end within {LIMIT:?}"))),
            Err(_) => Err(ExportError::new("the export panicked")),
        };
        let took = began.elapsed();
        let was_busy = std::mem::replace(&mut self.was_busy, matches!(&done, Err(error) if error.is_busy()));
        let (report, failure) = match done {
            Ok(ExportOutcome::Done(report)) => {
                let failure = report.failure();
                (report, failure)
            }
            Ok(ExportOutcome::Skipped(_)) => {
                self.behind = false;
                return;
            }
            Ok(ExportOutcome::Stopped) => return,
            // An export by hand ends soon; one that does not keeps the files old.
            Err(error) if error.is_busy() && !was_busy => {
                tracing::info!(target: "SyncRunner", "{name}: not exported: {error}");
                return;
            }
            Err(error) => (ExportReport::default(), Some(error.to_string())),
        };
        self.behind = failure.is_some();
        self.log(name, &report, failure.as_deref(), took);
        let rows = report.rows();
        let ended = reports.clock.now();
        show(reports, name, &report, failure.clone(), ended, took);
        // An export with nothing to do has no line of its own.
        if report.run > 0 && (failure.is_some() || !report.files.is_empty()) {
            let (run, name_of_work) = (report.run, run_history::EXPORT.to_owned());
            let done = FollowUp { run, name: name_of_work, started, ended, failure, count: rows };
            if let Err(error) = job.place.record_follow_up(name, done).await {
                tracing::warn!(target: "SyncRunner", "{name}: the export is not in the run history: {error}");
            }
        }
    }

    fn log(&mut self, name: &str, report: &ExportReport, failure: Option<&str>, took: Duration) {
        for file in &report.files {
            let (path, rows) = (file.path.display(), counted(file.rows, "row"));
            tracing::info!(
                target: "SyncRunner",
                "{name}: exported {rows} of {} to {path} ({} bytes)", file.table, file.bytes
            );
        }
        let bare = failure.map(|why| why.replace(|c: char| c.is_ascii_digit(), ""));
        if let Some(why) = failure.filter(|_| bare != self.logged) {
            tracing::error!(
                target: "SyncRunner",
                "{name}: export failed after {:.1} s: {why}; the tables are complete, retrying at the next run",
                took.as_secs_f64()
            );
        } else if failure.is_none() && self.logged.is_some() {
            tracing::info!(target: "SyncRunner", "{name}: exports work again");
        }
        self.logged = bare;
    }
}

fn show(
    reports: &Reports,
    name: &str,
    report: &ExportReport,
    failure: Option<String>,
    at: Timestamp,
    took: Duration,
) {
    view(&reports.board, name, |view| {
        let exports = &mut view.exports;
        let end = if failure.is_some() { End::Failed } else { End::Complete };
        *exports.ends.entry(end.as_str()).or_default() += 1;
        exports.files += report.files.len() as u64;
        exports.rows += report.rows();
        exports.bytes += report.files.iter().map(|file| file.bytes).sum::<u64>();
        if failure.is_none() {
            exports.last_success = Some(at);
        }
        exports.last = Some(LastExport { at, failure, took, files: report.files.len() as u64 });
    });
}
