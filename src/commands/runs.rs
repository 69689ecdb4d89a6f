//! `runs`: the ledger, read out of the connectors' files.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Args;
use clap::builder::RangedU64ValueParser;

use super::{CommandError, compose, connectors};
use crate::database::Database;
use crate::destinations::{Entry, Place, Run};
use crate::domain::op::End;
use crate::store::OpenError;
use crate::store::jobs::{self, Jobs};

/// What can be asked of `runs`.
#[derive(Debug, Args)]
pub struct RunsArgs {
    /// The connector; without one: all that ever ran
    pub name: Option<String>,
    /// How many runs of each
    #[arg(long, default_value_t = 10, value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    pub limit: usize,
}

pub(super) async fn runs(args: RunsArgs) -> Result<ExitCode, CommandError> {
    let settings = compose::settings()?;
    let definitions = connectors::definitions(&settings)?;
    let names: Vec<String> = match args.name {
        Some(name) => vec![connectors::find(definitions, &name)?.name],
        None => definitions.into_iter().map(|definition| definition.name).collect(),
    };
    let place = connectors::place(&settings)?;
    let holders = match compose::database(&settings)? {
        Some(database) => holders(database).await.map_err(anyhow::Error::from)?,
        None => BTreeMap::new(),
    };
    let (mut any, mut unreadable) = (false, false);
    for name in &names {
        let mut holder = holders.get(name).map(String::as_str);
        let runs = match ledger(&place, name, args.limit).await {
            Ok(runs) => runs,
            // The others may well be readable.
            Err(error) => {
                eprintln!("{name}: {error:#}");
                unreadable = true;
                continue;
            }
        };
        for run in runs {
            any = true;
            // Only the newest can be the one that goes on.
            print_run(name, &run, holder.take());
        }
    }
    if !any && !unreadable {
        say!("no run yet");
    }
    Ok(if unreadable { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Which daemon runs which connector now.
async fn holders(database: Database) -> Result<BTreeMap<String, String>, OpenError> {
    let jobs = Jobs::new(database, compose::holder(), jobs::LEASE).peek().await?;
    Ok(jobs.into_iter().filter_map(|job| Some((job.connector, job.holder?))).collect())
}

/// The last runs of a connector, newest first.
pub(super) async fn ledger(place: &Place, name: &str, limit: usize) -> anyhow::Result<Vec<Run>> {
    let Some(destination) = place.find(name).await? else { return Ok(Vec::new()) };
    let runs = destination.runs(limit).await?;
    destination.close().await?;
    Ok(runs)
}

fn print_run(name: &str, run: &Run, holder: Option<&str>) {
    let took = run.ended.map(|ended| ended.duration_since(run.started));
    let took = match (took, holder) {
        (Some(took), _) => format!("{:.1} s", took.as_secs_f64()),
        (None, Some(holder)) if run.entry.end.is_none() => format!("running, by {holder}"),
        (None, _) => "still running, or cut off".to_owned(),
    };
    say!("{name} #{} {:.0} {} ({took}){}", run.number, run.started, end(&run.entry), why(&run.entry));
    for (table, entry) in &run.tables {
        let t = &entry.tally;
        say!(
            "  {table}: {}, {} seen = {} inserted + {} updated + {} unchanged + {} duplicate + {} rejected; {} deleted; {} requests{}",
            end(entry),
            t.seen,
            t.inserted,
            t.updated,
            t.unchanged,
            t.duplicate,
            t.rejected,
            t.deleted,
            entry.requests,
            why(entry),
        );
    }
}

fn end(entry: &Entry) -> &'static str {
    entry.end.map_or("unfinished", End::as_str)
}

fn why(entry: &Entry) -> String {
    match (&entry.reason, &entry.place) {
        (Some(reason), Some(place)) => format!(": {reason} (at {place})"),
        (Some(reason), None) => format!(": {reason}"),
        _ => String::new(),
    }
}
