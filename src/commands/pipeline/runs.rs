//! `runs`: prints the run history of connectors as a table or as JSON.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Args;
use clap::builder::RangedU64ValueParser;
use serde_json::{Value, json};

use crate::commands::completions::connector_names;
use crate::commands::connectors;
use crate::commands::setting_flags::SettingFlags;
use crate::commands::table::print_table;
use crate::commands::{CommandError, compose};
use crate::database::Database;
use crate::destinations::{DestinationKind, Entry, Run};
use crate::domain::syncing::op::{End, Tally};
use crate::store::OpenError;
use crate::store::jobs::{self, Jobs};

#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  data-sources-monitor runs
  data-sources-monitor runs statuscake --tables
  data-sources-monitor runs --json \\
      | jq '.runs[] | select(.end != \"complete\")'")]
pub struct RunsArgs {
    /// Name of the connector (default: all that ever ran)
    #[arg(add = connector_names())]
    pub name: Option<String>,
    /// Number of runs per connector
    #[arg(long, default_value_t = 10, value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    pub limit: usize,
    /// Print one line per table of each run
    #[arg(long)]
    pub tables: bool,
    /// Print one JSON document with all tables, in the format of /api/v1/runs
    #[arg(long)]
    pub json: bool,
}

/// A run of a connector, and the daemon that is executing it.
struct ListedRun {
    connector: String,
    run: Run,
    holder: Option<String>,
}

pub(crate) async fn runs(flags: &SettingFlags, args: RunsArgs) -> Result<ExitCode, CommandError> {
    let settings = flags.settings()?;
    let definitions = connectors::definitions(&settings)?;
    let names: Vec<String> = match args.name {
        Some(name) => vec![connectors::find(definitions, &name)?.name],
        None => definitions.into_iter().map(|definition| definition.name).collect(),
    };
    let place = connectors::destination_kind(&settings)?;
    let mut holders = match compose::database(&settings)? {
        Some(database) => holders(database).await.map_err(anyhow::Error::from)?,
        None => BTreeMap::new(),
    };
    let (mut listed, mut unreadable) = (Vec::new(), false);
    for name in names {
        match run_history(&place, &name, args.limit).await {
            // Only the newest run can still be running.
            Ok(runs) => listed.extend(runs.into_iter().map(|run| ListedRun {
                connector: name.clone(),
                holder: holders.remove(&name),
                run,
            })),
            // The history of the other connectors may be readable.
            Err(error) => {
                eprintln!("{name}: {error:#}");
                unreadable = true;
            }
        }
    }
    if args.json {
        say!("{:#}", json!({ "runs": listed.iter().map(document).collect::<Vec<_>>() }));
    } else if args.tables && !listed.is_empty() {
        print_tables(&listed);
    } else if !listed.is_empty() {
        print_runs(&listed);
    } else if !unreadable {
        say!("no runs yet");
    }
    Ok(if unreadable { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Returns the daemon that is executing each running connector.
async fn holders(database: Database) -> Result<BTreeMap<String, String>, OpenError> {
    let jobs = Jobs::new(database, compose::holder(), jobs::LEASE).peek().await?;
    Ok(jobs.into_iter().filter_map(|job| Some((job.connector, job.holder?))).collect())
}

/// Returns the last runs of a connector, newest first.
pub(crate) async fn run_history(
    place: &DestinationKind,
    name: &str,
    limit: usize,
) -> anyhow::Result<Vec<Run>> {
    let Some(destination) = place.find(name).await? else { return Ok(Vec::new()) };
    let runs = destination.runs(limit).await?;
    destination.close().await?;
    Ok(runs)
}

fn print_runs(listed: &[ListedRun]) {
    let heads =
        ["CONNECTOR", "RUN", "STARTED", "TOOK", "OUTCOME", "SEEN", "INSERTED", "UPDATED", "REJECTED", "WHY"];
    let rows = listed.iter().map(|listed| {
        let ListedRun { connector, run, .. } = listed;
        let total = |of: fn(&Tally) -> u64| {
            run.tables.values().map(|entry| of(&entry.tally)).sum::<u64>().to_string()
        };
        let took = run.ended.map(|ended| format!("{:.1} s", ended.duration_since(run.started).as_secs_f64()));
        let counts = [total(|t| t.seen), total(|t| t.inserted), total(|t| t.updated), total(|t| t.rejected)];
        let head = [connector.clone(), format!("#{}", run.number), format!("{:.0}", run.started)];
        let mut row: Vec<String> = head.into_iter().chain([took.unwrap_or_default()]).collect();
        row.push(outcome(&run.entry, listed.holder.as_deref()).to_owned());
        row.extend(counts);
        row.push(why(listed));
        row
    });
    print_table(&heads, &[1, 3, 5, 6, 7, 8], rows.collect());
}

fn print_tables(listed: &[ListedRun]) {
    let heads = [
        "CONNECTOR",
        "RUN",
        "TABLE",
        "OUTCOME",
        "SEEN",
        "INSERTED",
        "UPDATED",
        "UNCHANGED",
        "DUPLICATE",
        "REJECTED",
        "DELETED",
        "REQUESTS",
        "WHY",
    ];
    let of_run = |listed: &ListedRun| {
        let (connector, number) = (listed.connector.clone(), format!("#{}", listed.run.number));
        let row = move |(table, entry): (&String, &Entry)| {
            let t = &entry.tally;
            let counts = [
                t.seen,
                t.inserted,
                t.updated,
                t.unchanged,
                t.duplicate,
                t.rejected,
                t.deleted,
                entry.requests,
            ];
            let mut row =
                vec![connector.clone(), number.clone(), table.clone(), outcome(entry, None).to_owned()];
            row.extend(counts.map(|count| count.to_string()));
            row.push(reason(entry));
            row
        };
        let follow_ups = listed.run.follow_ups.iter();
        let follow_ups: Vec<_> = follow_ups.map(|(name, entry)| (format!("({name})"), entry)).collect();
        let follow_ups = follow_ups.iter().map(|(name, entry)| (name, *entry));
        listed.run.tables.iter().chain(follow_ups).map(row).collect::<Vec<_>>()
    };
    print_table(&heads, &[1, 4, 5, 6, 7, 8, 9, 10, 11], listed.iter().flat_map(of_run).collect());
}

fn outcome(entry: &Entry, holder: Option<&str>) -> &'static str {
    match (entry.end, holder) {
        (Some(end), _) => end.as_str(),
        (None, Some(_)) => "running",
        (None, None) => "unfinished",
    }
}

fn why(listed: &ListedRun) -> String {
    match (&listed.holder, listed.run.entry.end) {
        (Some(holder), None) => format!("by {holder}"),
        (None, None) => "still running, or interrupted".to_owned(),
        (_, Some(_)) => {
            let of_run = Some(reason(&listed.run.entry)).filter(|why| !why.is_empty());
            let failed = |(name, entry): (&String, &Entry)| {
                entry.reason.as_ref().map(|why| format!("{name} failed: {why}"))
            };
            let follow_ups = listed.run.follow_ups.iter().filter_map(failed);
            of_run.into_iter().chain(follow_ups).collect::<Vec<_>>().join("; ")
        }
    }
}

fn reason(entry: &Entry) -> String {
    match (&entry.reason, &entry.place) {
        (Some(reason), Some(place)) => format!("{reason} (at {place})"),
        (Some(reason), None) => reason.clone(),
        _ => String::new(),
    }
}

/// The format of `/api/v1/runs`, plus `holder`, which is known only with a shared database.
fn document(listed: &ListedRun) -> Value {
    let run = &listed.run;
    let mut document = account(&run.entry);
    document["connector"] = json!(listed.connector);
    document["number"] = json!(run.number);
    document["started_at"] = json!(format!("{:.3}", run.started));
    document["ended_at"] = json!(run.ended.map(|ended| format!("{ended:.3}")));
    document["holder"] = json!(listed.holder.as_ref().filter(|_| run.entry.end.is_none()));
    let tables = run.tables.iter().map(|(table, entry)| (table.clone(), account(entry)));
    document["tables"] = Value::Object(tables.collect());
    let follow_ups = run.follow_ups.iter().map(|(name, entry)| (name.clone(), account(entry)));
    document["follow_ups"] = Value::Object(follow_ups.collect());
    document
}

fn account(entry: &Entry) -> Value {
    json!({
        "end": entry.end.map(End::as_str),
        "reason": entry.reason,
        "place": entry.place,
        "requests": entry.requests,
        "retries": entry.retries,
        "waited_ms": entry.waited_ms,
        "rows": entry.tally,
    })
}
