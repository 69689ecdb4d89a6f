//! `sync`: a connector run by hand, with a view of what it does and an exit code for how it ended.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::sync_view::{self, View};
use super::{CommandError, compose, connectors, data_dir};
use crate::connectors::{Account, Progress, selected};
use crate::destinations::dry_run::DryRun;
use crate::destinations::{Destination, DestinationError, Place};
use crate::domain::op::{End, State};
use crate::runtime::clock::Clock;
use crate::runtime::sync::{Done, Wanted, execute};
use crate::settings::Settings;

/// What can be asked of `sync`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  data-sources-monitor sync statuscake
  data-sources-monitor sync sensource --configuration configuration.json --table traffic --table zone
  data-sources-monitor sync --all
  data-sources-monitor sync people_ai --dry-run")]
pub struct SyncArgs {
    /// The connector
    #[arg(required_unless_present = "all")]
    pub name: Option<String>,
    /// Every connector that is configured
    #[arg(long, conflicts_with_all = ["name", "configuration", "table"])]
    pub all: bool,
    /// Flat JSON object of settings, which win over variables
    #[arg(long, value_name = "FILE.json")]
    pub configuration: Option<PathBuf>,
    /// Read everything from the start again
    #[arg(long)]
    pub full_refresh: bool,
    /// Only this table; may be repeated
    #[arg(long, value_name = "TABLE")]
    pub table: Vec<String>,
    /// Read, count and store nothing
    #[arg(long)]
    pub dry_run: bool,
}

pub(super) async fn sync(args: SyncArgs) -> Result<ExitCode, CommandError> {
    let settings = compose::settings()?;
    if !args.dry_run {
        let typed = std::env::args().collect::<Vec<_>>().join(" ");
        data_dir::refuse_root_of_another(&settings, &typed)?;
    }
    let accounts = match &args.name {
        Some(name) => {
            let definition = connectors::find(connectors::definitions(&settings)?, name)?;
            vec![connectors::account(&settings, definition, args.configuration.as_deref())?]
        }
        None => {
            let (accounts, off) = connectors::accounts_on(&settings, &compose::vars()?)?;
            if accounts.is_empty() {
                let message = format!("no connector is configured; there are {}", off.join(", "));
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
        let end = match one(&settings, account, &args, &cancel, &mut stopping).await {
            Ok(end) => end,
            // What is wrong with the tables of one is no reason not to read the others.
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

async fn one(
    settings: &Settings,
    account: &Account,
    args: &SyncArgs,
    cancel: &CancellationToken,
    stopping: &mut Stopping,
) -> Result<End, CommandError> {
    let name = account.definition().name.clone();
    let tables = (!args.table.is_empty()).then(|| args.table.clone());
    selected(account, tables.as_deref()).map_err(|e| CommandError::configuration([e]))?;
    let destination =
        destination(&connectors::place(settings)?, &name, args.dry_run).await.map_err(anyhow::Error::from)?;
    let progress = Progress::new(account.definition());
    let wanted = Wanted { tables, full_refresh: args.full_refresh };
    let work = execute(account, &*destination, wanted, Clock::system(), progress.clone(), cancel.clone());
    let mut view = View::new(&name, progress);
    let done = {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => break done,
                () = view.tick() => {}
                () = stopping.asked() => {
                    if cancel.is_cancelled() {
                        return Err(anyhow::anyhow!("stopped without waiting for a safe point").into());
                    }
                    view.say(&format!("{name}: stopping at the next safe point (again to stop at once)"));
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
    Ok(end)
}

async fn destination(
    place: &Place,
    name: &str,
    dry_run: bool,
) -> Result<Box<dyn Destination>, DestinationError> {
    if !dry_run {
        return place.open(name).await;
    }
    // A dry run goes on where the real one would, and must make nothing.
    let Some(real) = place.find(name).await? else {
        return Ok(Box::new(DryRun::new(State::default(), BTreeMap::new())));
    };
    let dry = DryRun::new(real.state().await?, real.shapes().await?);
    real.close().await?;
    Ok(Box::new(dry))
}

fn summary(name: &str, done: &Done, dry_run: bool) -> String {
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
        "{name}: {} after {:.1} s, {} requests ({} made again, {:.1} s waited){why}\n",
        done.run.end.as_str(),
        done.took.as_secs_f64(),
        done.run.requests,
        done.run.retries,
        std::time::Duration::from_millis(done.run.waited_ms).as_secs_f64(),
    ));
    out
}

/// Failed before partial before deferred before complete.
fn worse(a: End, b: End) -> End {
    let rank = |end: &End| match end {
        End::Complete => 0,
        End::Deferred => 1,
        End::Partial => 2,
        End::Failed => 3,
    };
    if rank(&b) > rank(&a) { b } else { a }
}

/// 75 is sysexits' EX_TEMPFAIL: try again later.
pub(super) fn exit_code(end: End) -> ExitCode {
    match end {
        End::Complete => ExitCode::SUCCESS,
        End::Failed => ExitCode::from(1),
        End::Partial => ExitCode::from(4),
        End::Deferred => ExitCode::from(75),
    }
}

/// SIGINT and SIGTERM.
struct Stopping {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Stopping {
    fn listen() -> std::io::Result<Stopping> {
        Ok(Stopping {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
