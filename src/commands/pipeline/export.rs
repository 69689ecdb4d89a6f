//! `export`: writes tables of a connector as files by hand, with progress; also the export after a `sync` by hand.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use indicatif::ProgressBar;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::stopping::Stopping;
use crate::commands::CommandError;
use crate::commands::completions::connector_names;
use crate::commands::connectors;
use crate::commands::data_dir;
use crate::commands::setting_flags::SettingFlags;
use crate::destinations::{DestinationKind, FollowUp};
use crate::domain::syncing::definition::config::{EXPORT, NO_EXPORT, variable};
use crate::domain::syncing::op::End;
use crate::domain::syncing::run_history;
use crate::domain::text::counted;
use crate::export::{self, ExportOptions, ExportOutcome, ExportProgress, ExportReport, ExportScope};
use crate::runtime::clock::Clock;
use crate::settings::lookup;

/// Refresh interval of the progress bar.
const TICK: Duration = Duration::from_millis(120);
/// Interval of lines where stderr is not a terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  data-sources-monitor export statuscake --to /srv/lake
  data-sources-monitor export sensource --table traffic --table zone
  data-sources-monitor export people_ai --to . --format csv")]
pub struct ExportArgs {
    /// Name of the connector
    #[arg(add = connector_names())]
    pub name: String,
    /// Export only this table; may be repeated
    #[arg(long, value_name = "TABLE")]
    pub table: Vec<String>,
    /// Folder for the files, instead of EXPORT_DIR; they are in a subfolder with the connector's name
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,
    /// Format of the files, instead of NAME_EXPORT
    #[arg(long, value_parser = ["parquet", "csv"])]
    pub format: Option<String>,
}

pub(crate) async fn export(flags: &SettingFlags, args: ExportArgs) -> Result<ExitCode, CommandError> {
    let mut settings = flags.settings()?;
    let vars = flags.vars()?;
    let typed = std::env::args().collect::<Vec<_>>().join(" ");
    data_dir::refuse_root_of_another(&settings, &typed)?;
    let definition = connectors::find(connectors::definitions(&settings)?, &args.name)?;
    let set = lookup(&vars, &variable(&definition.name, EXPORT))
        .map_err(|problem| CommandError::configuration([problem]))?;
    let format = args.format.or(set.filter(|format| format.trim() != NO_EXPORT));
    settings.export.dir = args.to.or(settings.export.dir);
    if settings.export.dir.is_none() {
        return Err(CommandError::configuration([
            "no folder for the files: set EXPORT_DIR, or use --to DIR",
        ]));
    }
    let Some(options) = connectors::export_options(&settings, format.as_deref().map(str::trim)) else {
        let words = format.unwrap_or_default();
        return Err(CommandError::configuration([format!("{words:?} is not a format: parquet, csv")]));
    };
    let scope = if args.table.is_empty() { ExportScope::All } else { ExportScope::Tables(args.table) };
    let place = connectors::destination_kind(&settings)?;
    let name = &definition.name;
    let mut stopping = Stopping::listen().context("cannot listen to signals")?;
    let done = run(&place, name, &options, &scope, &mut stopping).await.map_err(anyhow::Error::from)?;
    Ok(match done {
        ExportOutcome::Done(report) => {
            print(name, &report);
            if let Some(end) = report.end.filter(|end| *end != End::Complete) {
                say!("note: the last run (#{}) ended {}: rows may be missing", report.run, end.as_str());
            } else if report.end.is_none() {
                say!("note: run #{} is not finished: rows may be missing", report.run);
            }
            if report.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        ExportOutcome::Skipped(why) => return Err(anyhow::anyhow!("nothing to export: {why}").into()),
        ExportOutcome::Stopped => return Err(anyhow::anyhow!("stopped before all files were written").into()),
    })
}

/// Exports what is due after a sync by hand. A failure is reported, and does not fail the sync.
pub(super) async fn after_sync(
    place: &DestinationKind,
    name: &str,
    options: &ExportOptions,
    end: End,
    stopping: &mut Stopping,
) {
    if !(end == End::Complete || end == End::Partial && options.partial) {
        return;
    }
    let clock = Clock::system();
    let started = clock.now();
    let report = match run(place, name, options, &ExportScope::Due, stopping).await {
        Ok(ExportOutcome::Done(report)) => report,
        Ok(ExportOutcome::Skipped(why)) => return say!("{name}: not exported: {why}"),
        Ok(ExportOutcome::Stopped) => return say!("{name}: export stopped; the next run exports the rest"),
        Err(error) => return eprintln!("{name}: export failed: {error}"),
    };
    print(name, &report);
    let (failure, rows) = (report.failure(), report.rows());
    if failure.is_some() || !report.files.is_empty() {
        let (run, ended) = (report.run, clock.now());
        let done =
            FollowUp { run, name: run_history::EXPORT.to_owned(), started, ended, failure, count: rows };
        if let Err(error) = place.record_follow_up(name, done).await {
            eprintln!("{name}: the export is not in the run history: {error}");
        }
    }
}

pub(super) async fn run(
    place: &DestinationKind,
    name: &str,
    options: &ExportOptions,
    scope: &ExportScope,
    stopping: &mut Stopping,
) -> Result<ExportOutcome, export::ExportError> {
    let (progress, stop) = (ExportProgress::default(), CancellationToken::new());
    let bar = std::io::stderr().is_terminal().then(ProgressBar::new_spinner);
    let work = export::export(place, name, options, scope, &progress, &stop);
    let mut work = std::pin::pin!(work);
    let mut ticks = tokio::time::interval(TICK);
    let mut printed = Instant::now();
    let done = loop {
        tokio::select! {
            done = &mut work => break done,
            // The second signal does not wait for the next safe place.
            () = stopping.requested() => {
                if stop.is_cancelled() {
                    break Ok(ExportOutcome::Stopped);
                }
                eprintln!("{name}: stopping after the current rows (repeat to stop immediately)");
                stop.cancel();
            }
            _ = ticks.tick() => {
                let rows = counted(progress.rows.load(Ordering::Relaxed), "row");
                let text = format!("{name}: exporting {}, {rows}", progress.table());
                match &bar {
                    Some(bar) => {
                        bar.set_message(text);
                        bar.tick();
                    }
                    None if printed.elapsed() >= LINE_EVERY => {
                        printed = Instant::now();
                        eprintln!("{text}");
                    }
                    None => {}
                }
            }
        }
    };
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    done
}

fn print(name: &str, report: &ExportReport) {
    for file in &report.files {
        let (rows, path) = (counted(file.rows, "row"), file.path.display());
        say!("{name}: exported {rows} of {} to {path} ({} bytes)", file.table, file.bytes);
    }
    for (table, reason) in &report.failures {
        let of = if table.is_empty() { String::new() } else { format!(" of {table}") };
        eprintln!("{name}: export{of} failed: {reason}");
    }
    if !report.unchanged.is_empty() {
        say!("{name}: {} unchanged", counted(report.unchanged.len() as u64, "file"));
    }
}
