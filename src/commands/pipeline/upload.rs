//! `upload`: brings the tables of a connector into a Qlik space and reloads apps, once and by hand.
//!
//! Nothing is saved between two calls: a command that is interrupted is called again, and sends every file again.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::export;
use super::stopping::Stopping;
use crate::commands::completions::connector_names;
use crate::commands::setting_flags::SettingFlags;
use crate::commands::tenants::{TenantConnector, WhichTenants, configured, upload_source};
use crate::commands::{CommandError, connectors, data_dir};
use crate::domain::data_rule::DataRule;
use crate::domain::file_format::FileFormat;
use crate::domain::syncing::delivery::{
    DeliveryPace, DeliveryPhase, DeliveryState, DeliveryStep, ReloadOutcome, RunExport,
};
use crate::export::{ExportOptions, ExportOutcome, ExportScope};
use crate::runtime::clock::Clock;
use crate::runtime::monitoring::deliveries::UploadSource;
use crate::secrets::Redactor;
use crate::upload::{DataClient, files_of};

/// Retries end after this time without progress. The tenant's quota for the frequency of reloads waits for five minutes, and a
/// file that a reload reads is locked until that reload has ended.
const PATIENCE: SignedDuration = SignedDuration::from_mins(30);

/// Interval of lines about long steps.
const LINE_EVERY: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
#[command(after_long_help = "\
The tables are written as files first, to EXPORT_DIR/.upload or DATA_DIR/upload.
The credentials are those of the tenant; its user must be a member of the space
(Can edit). A daemon uploads by itself: see docs/qlik-data.md.

Examples:
  data-sources-monitor upload statuscake --space 'Sales data'
  data-sources-monitor upload statuscake --space 'Sales data' --reload APP-ID
  data-sources-monitor upload people_ai --reload APP-ID --tenant prod")]
pub struct UploadArgs {
    /// Name of the connector
    #[arg(add = connector_names())]
    name: String,
    /// Name or id of the space; without it, apps are only reloaded
    #[arg(long, required_unless_present = "reload")]
    space: Option<String>,
    /// Upload only this table; may be repeated
    #[arg(long, value_name = "TABLE", requires = "space")]
    table: Vec<String>,
    /// Id of an app that is reloaded afterwards; may be repeated
    #[arg(long, value_name = "APP")]
    reload: Vec<String>,
    /// Format of the files
    #[arg(long, value_parser = ["parquet", "csv"], default_value = "parquet")]
    format: String,
    /// Name of the tenant in TENANTS_DIR; needed where there are several
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
}

pub(crate) async fn upload(flags: &SettingFlags, args: UploadArgs) -> Result<ExitCode, CommandError> {
    let settings = flags.settings()?;
    let vars = flags.vars()?;
    let typed = std::env::args().collect::<Vec<_>>().join(" ");
    data_dir::refuse_root_of_another(&settings, &typed)?;
    let tenants = configured(&settings, &vars).map_err(CommandError::Configuration)?;
    let chosen = WhichTenants::named(args.tenant.clone()).of(&tenants)?;
    if chosen.is_empty() {
        let reason = "no tenant is configured: set QLIK_TENANT_URL and QLIK_API_KEY";
        return Err(CommandError::configuration([reason]));
    }
    let [tenant] = chosen.as_slice() else {
        let names: Vec<&str> = chosen.iter().map(|tenant| tenant.rules.name.as_str()).collect();
        return Err(anyhow::anyhow!("name a tenant with --tenant ({})", names.join(", ")).into());
    };
    let definition = connectors::find(connectors::definitions(&settings)?, &args.name)?;
    let format = if args.format == "csv" { FileFormat::Csv } else { FileFormat::Parquet };
    let rule = DataRule {
        connector: definition.name,
        space: args.space,
        tables: args.table,
        reload: args.reload,
        format,
    };
    let mut stopping = Stopping::listen().context("cannot listen to signals")?;
    let (files, _lock) = if rule.space.is_some() {
        let source = upload_source(&settings)?;
        // Two uploads at once could leave files of both in the space.
        let lock = lock(&source.folder, &rule.connector)?;
        (export(&source, &rule, &mut stopping).await?, Some(lock))
    } else {
        let checkpoint_at = Clock::system().now();
        let nothing = Vec::new();
        let (connector, changed_by) = (rule.connector.clone(), None);
        (RunExport { connector, run: 0, checkpoint_at, files: nothing, changed_by }, None)
    };
    let client = TenantConnector::new(&settings, &Redactor::default())?.client(tenant);
    deliver(&DataClient::new(Arc::new(client)), &rule, &files, &mut stopping).await
}

/// Keeps other uploads of the connector out until it is dropped.
fn lock(folder: &Path, connector: &str) -> Result<File, CommandError> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let path = folder.join(format!("{connector}.lock"));
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.with_context(|| format!("cannot create {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(anyhow::anyhow!("another upload of {connector} is running: wait until it is done").into())
        }
        Err(TryLockError::Error(e)) => Err(anyhow::anyhow!("cannot lock {}: {e}", path.display()).into()),
    }
}

/// Writes the files of the tables as they are now, if the last run is complete.
async fn export(
    source: &UploadSource,
    rule: &DataRule,
    stopping: &mut Stopping,
) -> Result<RunExport, CommandError> {
    let (dir, format) = (source.folder.clone(), rule.format);
    let options = ExportOptions { dir, format, partial: false, deleted: source.deleted };
    let scope = ExportScope::DueOf(rule.tables.clone());
    let started = Clock::system().now();
    let done = export::run(&source.place, &rule.connector, &options, &scope, stopping).await;
    let report = match done.map_err(anyhow::Error::from)? {
        ExportOutcome::Done(report) => report,
        ExportOutcome::Skipped(why) => {
            let advice = "rows may be missing, so nothing is uploaded; sync again";
            return Err(anyhow::anyhow!("{}: {why}: {advice}", rule.connector).into());
        }
        ExportOutcome::Stopped => return Err(stopped()),
    };
    if let Some(reason) = report.failure() {
        return Err(anyhow::anyhow!("export failed: {reason}").into());
    }
    let files = files_of(&report).context("cannot read the exported files")?;
    if files.is_empty() {
        return Err(anyhow::anyhow!("{} has no tables yet", rule.connector).into());
    }
    let (connector, run) = (rule.connector.clone(), report.run);
    Ok(RunExport { connector, run, checkpoint_at: started, files, changed_by: None })
}

/// Carries out one step after the other, until all is done, a failure needs a person, or retries last too long.
async fn deliver(
    client: &DataClient,
    rule: &DataRule,
    files: &RunExport,
    stopping: &mut Stopping,
) -> Result<ExitCode, CommandError> {
    let clock = Clock::system();
    let pace = DeliveryPace::default();
    let (mut state, mut lines) = (DeliveryState::default(), ProgressLines::default());
    state.offer(rule, files, clock.now());
    loop {
        let step = state.next_step(rule, clock.now());
        if let DeliveryStep::Wait(until) = step {
            let Some(until) = until else { break };
            let wait = until.duration_since(clock.now());
            let report = state.report(rule);
            if let Some(trouble) = lines.trouble(report.trouble.as_ref(), wait, clock.now()) {
                let replaced = match report.phase {
                    DeliveryPhase::Committing => {
                        "; some files in the space are new and some old: run this command again before the app reloads"
                    }
                    _ => "",
                };
                return Err(anyhow::anyhow!("{trouble}{replaced}").into());
            }
            wait_until(until, &clock, stopping).await?;
            continue;
        }
        state.intend(&step);
        lines.announce(rule, &step);
        let seed = u64::from(clock.since_epoch().subsec_nanos());
        let result = tokio::select! {
            result = client.perform(rule, &step) => result,
            () = stopping.requested() => return Err(stopped()),
        };
        state.apply(rule, &step, result, clock.now(), &pace, seed);
    }
    let report = state.report(rule);
    for (app, found) in &report.apps {
        let outcome = found.outcome.map_or("was not reloaded", ReloadOutcome::as_str);
        say!("app {app}: {outcome}");
    }
    if let Some(trouble) = report.trouble {
        return Err(anyhow::anyhow!("{trouble}").into());
    }
    let all_reloaded = report.apps.values().all(|app| app.outcome == Some(ReloadOutcome::Succeeded));
    Ok(if all_reloaded { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn wait_until(until: Timestamp, clock: &Clock, stopping: &mut Stopping) -> Result<(), CommandError> {
    let wait = Duration::try_from(until.duration_since(clock.now())).unwrap_or_default();
    tokio::select! {
        () = tokio::time::sleep(wait) => Ok(()),
        () = stopping.requested() => Err(stopped()),
    }
}

fn stopped() -> CommandError {
    anyhow::anyhow!("stopped; the next call starts from the beginning").into()
}

/// What the command prints.
#[derive(Default)]
struct ProgressLines {
    /// The failure that is being retried, and since when.
    retrying: Option<(String, Timestamp)>,
    printed: Option<Instant>,
}

impl ProgressLines {
    /// Prints a failure that is new. Returns it if a retry does not help.
    fn trouble(&mut self, trouble: Option<&String>, wait: SignedDuration, now: Timestamp) -> Option<String> {
        let Some(trouble) = trouble else {
            self.retrying = None;
            return None;
        };
        let rejected =
            SignedDuration::try_from(DeliveryPace::default().rejected).unwrap_or(SignedDuration::MAX);
        let since = self.retrying.as_ref().map_or(now, |(_, since)| *since);
        // A wait that ends a moment later than it was asked for is still the one after a rejection.
        if wait + SignedDuration::from_secs(5) >= rejected || now.duration_since(since) >= PATIENCE {
            return Some(trouble.clone());
        }
        if self.retrying.as_ref().is_none_or(|(last, _)| last != trouble) {
            eprintln!("{trouble}; retrying in {} s", wait.as_secs().max(1));
        }
        self.retrying = Some((trouble.clone(), since));
        None
    }

    fn announce(&mut self, rule: &DataRule, step: &DeliveryStep) {
        let name = &rule.connector;
        match step {
            DeliveryStep::StoreFile { name: file, .. } | DeliveryStep::CreateUpload { name: file, .. } => {
                say!("{name}: uploading {file}");
            }
            DeliveryStep::CommitFile { name: file, .. } => say!("{name}: committing {file}"),
            DeliveryStep::AskReload { app } => say!("{name}: reloading app {app}"),
            DeliveryStep::SendPart { name: file, file: of, offset, .. } if self.is_due() => {
                say!("{name}: uploading {file}, {offset} of {} bytes", of.bytes);
            }
            DeliveryStep::FollowReload { app, .. } if self.is_due() => {
                say!("{name}: app {app} is reloading");
            }
            DeliveryStep::Wait(_)
            | DeliveryStep::Prepare
            | DeliveryStep::LocateUpload { .. }
            | DeliveryStep::SendPart { .. }
            | DeliveryStep::FindFile { .. }
            | DeliveryStep::FindReloads { .. }
            | DeliveryStep::FollowReload { .. } => {}
        }
    }

    /// Whether a line about a long step is due.
    fn is_due(&mut self) -> bool {
        let due = self.printed.is_none_or(|at| at.elapsed() >= LINE_EVERY);
        if due {
            self.printed = Some(Instant::now());
        }
        due
    }
}
