//! `sync`: runs connectors by hand, prints progress and returns the outcome as an exit code.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{ArgGroup, Args};
use tokio_util::sync::CancellationToken;

use super::export;
use super::stopping::Stopping;
use super::sync_view::{self, ProgressView};
use crate::commands::CommandError;
use crate::commands::completions::connector_names;
use crate::commands::connectors;
use crate::commands::data_dir;
use crate::commands::setting_flags::SettingFlags;
use crate::destinations::dry_run::CountingDestination;
use crate::destinations::{Destination, DestinationError, DestinationKind};
use crate::domain::syncing::definition::config::EXPORT;
use crate::domain::syncing::op::{End, State};
use crate::domain::text::counted;
use crate::runtime::clock::Clock;
use crate::runtime::jobs::sync::{SyncOptions, SyncReport, execute};
use crate::settings::Settings;
use crate::source::{Account, RunProgress, selected};

#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  data-sources-monitor sync statuscake
  data-sources-monitor sync sensource --table traffic --table zone
  data-sources-monitor sync sensource --configuration configuration.json
  data-sources-monitor sync --all
  data-sources-monitor sync people_ai --dry-run")]
#[command(group(ArgGroup::new("which").args(["name", "all"]).required(true)))]
pub struct SyncArgs {
    /// Name of the connector
    #[arg(add = connector_names())]
    pub name: Option<String>,
    /// Run every configured connector
    #[arg(long, conflicts_with_all = ["name", "configuration", "table"])]
    pub all: bool,
    /// Flat JSON object of settings; they take precedence over variables
    #[arg(long, value_name = "FILE.json")]
    pub configuration: Option<PathBuf>,
    /// Ignore the checkpoint and read everything again
    #[arg(long)]
    pub full_refresh: bool,
    /// Sync only this table; may be repeated
    #[arg(long, value_name = "TABLE")]
    pub table: Vec<String>,
    /// Read and count rows, but store nothing
    #[arg(long)]
    pub dry_run: bool,
}

pub(crate) async fn sync(flags: &SettingFlags, args: SyncArgs) -> Result<ExitCode, CommandError> {
    let settings = flags.settings()?;
    let vars = flags.vars()?;
    if !args.dry_run {
        let typed = std::env::args().collect::<Vec<_>>().join(" ");
        data_dir::refuse_root_of_another(&settings, &typed)?;
    }
    let accounts = match &args.name {
        Some(name) => {
            let definition = connectors::find(connectors::definitions(&settings)?, name)?;
            vec![connectors::account(&settings, &vars, definition, args.configuration.as_deref())?]
        }
        None => {
            let (accounts, off) = connectors::accounts_on(&settings, &vars)?;
            if accounts.is_empty() {
                let message = format!("no connector is configured; known connectors: {}", off.join(", "));
                return Err(CommandError::configuration([message]));
            }
            accounts
        }
    };
    let cancel = CancellationToken::new();
    let mut stopping = Stopping::listen().context("cannot listen to signals")?;
    let mut worst = End::Complete;
    for account in &accounts {
        if cancel.is_cancelled() {
            break;
        }
        let end = match sync_one(&settings, account, &args, &cancel, &mut stopping).await {
            Ok(end) => end,
            // An error of one connector must not prevent the others from running.
            Err(error) if accounts.len() > 1 && !cancel.is_cancelled() => {
                eprintln!("{}: failed: {error}", account.definition().name);
                End::Failed
            }
            Err(error) => return Err(error),
        };
        worst = worse(worst, end);
    }
    Ok(exit_code(worst))
}

async fn sync_one(
    settings: &Settings,
    account: &Account,
    args: &SyncArgs,
    cancel: &CancellationToken,
    stopping: &mut Stopping,
) -> Result<End, CommandError> {
    let name = account.definition().name.clone();
    let tables = (!args.table.is_empty()).then(|| args.table.clone());
    selected(account, tables.as_deref()).map_err(|e| CommandError::configuration([e]))?;
    let destination = destination(&connectors::destination_kind(settings)?, &name, args.dry_run)
        .await
        .map_err(anyhow::Error::from)?;
    let progress = RunProgress::new(account.definition());
    let options = SyncOptions { tables, full_refresh: args.full_refresh };
    let work = execute(account, &*destination, options, Clock::system(), progress.clone(), cancel.clone());
    let mut view = ProgressView::new(&name, progress);
    let done = {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => break done,
                () = view.tick() => {}
                () = stopping.requested() => {
                    if cancel.is_cancelled() {
                        return Err(anyhow::anyhow!("stopped before the next checkpoint").into());
                    }
                    view.say(&format!("{name}: stopping at the next checkpoint (repeat to stop immediately)"));
                    cancel.cancel();
                }
            }
        }
    };
    view.end();
    let closed = destination.close().await;
    let end = match done {
        Ok(done) => {
            say!("{}", summary(&name, &done, args.dry_run).trim_end());
            done.run.end
        }
        Err(error) => {
            eprintln!("{name}: failed: {error}");
            End::Failed
        }
    };
    closed.map_err(anyhow::Error::from)?;
    let options = connectors::export_options(settings, account.config().get(EXPORT));
    if let Some(options) = options.filter(|_| !args.dry_run && !cancel.is_cancelled()) {
        export::after_sync(&connectors::destination_kind(settings)?, &name, &options, end, stopping).await;
    }
    Ok(end)
}

async fn destination(
    place: &DestinationKind,
    name: &str,
    dry_run: bool,
) -> Result<Box<dyn Destination>, DestinationError> {
    if !dry_run {
        return place.open(name).await;
    }
    // A dry run resumes from the real checkpoint, and must not create a destination.
    let Some(real) = place.find(name).await? else {
        return Ok(Box::new(CountingDestination::new(State::default(), BTreeMap::new())));
    };
    let dry = CountingDestination::new(real.state().await?, real.shapes().await?);
    real.close().await?;
    Ok(Box::new(dry))
}

fn summary(name: &str, done: &SyncReport, dry_run: bool) -> String {
    let mut out = sync_view::tallies(&done.tallies, dry_run);
    let why = match (&done.run.reason, &done.run.place) {
        (Some(reason), Some(place)) => format!(": {reason} (at {place})"),
        (Some(reason), None) => format!(": {reason}"),
        _ => String::new(),
    };
    for note in &done.notes {
        out.push_str(&format!("note: {note}\n"));
    }
    out.push_str(&format!(
        "{name}: {} after {:.1} s, {} ({}, {:.1} s waited){why}\n",
        done.run.end.as_str(),
        done.took.as_secs_f64(),
        counted(done.run.requests, "request"),
        sync_view::retries_text(done.run.retries),
        std::time::Duration::from_millis(done.run.waited_ms).as_secs_f64(),
    ));
    out
}

/// Order, worst first: failed, partial, deferred, complete.
fn worse(a: End, b: End) -> End {
    let rank = |end: &End| match end {
        End::Complete => 0,
        End::Deferred => 1,
        End::Partial => 2,
        End::Failed => 3,
    };
    if rank(&b) > rank(&a) { b } else { a }
}

/// 75 is EX_TEMPFAIL of sysexits: retry later.
pub(crate) fn exit_code(end: End) -> ExitCode {
    match end {
        End::Complete => ExitCode::SUCCESS,
        End::Failed => ExitCode::from(1),
        End::Partial => ExitCode::from(4),
        End::Deferred => ExitCode::from(75),
    }
}
