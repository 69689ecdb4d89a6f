//! `connector explain`: what a run would ask for, remember and store, from a look at the first page of each table.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;

use super::connector::kind_of;
use super::{CommandError, connectors};
use crate::connectors::{Account, RunPlan, TableProbe, probe, selected};
use crate::destinations::{DestinationError, Place};
use crate::domain::config::{BASE_URL, EVERY, TOKEN_URL, variable};
use crate::domain::connector::{Definition, Table};
use crate::domain::op::{State, TableShape, Write};
use crate::runtime::clock::Clock;
use crate::settings::Settings;

/// Partitions of a state that are shown; a table with children has thousands.
const SHOWN_PARTITIONS: usize = 3;

/// What can be asked of `connector explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The connector
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    pub name: Option<String>,
    /// The connector that this file defines
    #[arg(long, value_name = "FILE.toml")]
    pub file: Option<PathBuf>,
    /// Flat JSON object of settings, which win over variables
    #[arg(long, value_name = "FILE.json")]
    pub configuration: Option<PathBuf>,
    /// Only this table; may be repeated
    #[arg(long, value_name = "TABLE")]
    pub table: Vec<String>,
}

pub(super) async fn explain(settings: &Settings, args: ExplainArgs) -> Result<ExitCode, CommandError> {
    let definitions = connectors::definitions(settings)?;
    let definition = match (&args.file, &args.name) {
        (Some(file), _) => connectors::read_file(file, definitions).map_err(CommandError::configuration)?,
        (None, name) => connectors::find(definitions, name.as_deref().unwrap_or_default())?,
    };
    let name = definition.name.clone();
    let account = connectors::account(settings, definition, args.configuration.as_deref())?;
    let tables = (!args.table.is_empty()).then(|| args.table.clone());
    selected(&account, tables.as_deref()).map_err(|e| CommandError::configuration([e]))?;
    let (state, shapes) = stored(settings, &name).await?;
    let place = match connectors::place(settings)? {
        Place::Sqlite(_) => format!("{name}.db"),
        Place::Postgres(_) => format!("the schema {name}"),
    };
    print_head(&account, &state, &place);
    let plan = RunPlan {
        account,
        tables,
        full_refresh: false,
        state,
        shapes: shapes.into_values().collect(),
        now: Clock::system().now(),
        since: None,
    };
    let (probes, notes) =
        probe(&plan, CancellationToken::new()).await.map_err(|e| CommandError::configuration([e]))?;
    for of in &probes {
        if let Some(table) = plan.account.definition().table(&of.table) {
            print_table(&plan, table, of);
        }
    }
    for note in &notes {
        say!("note: {note}");
    }
    let problems = probes.iter().filter(|probe| probe.problem.is_some()).count();
    say!("Nothing was stored: this was the first page of each table, and a run reads them all.");
    Ok(if problems == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What earlier runs have stored, if there were any.
async fn stored(
    settings: &Settings,
    name: &str,
) -> Result<(State, BTreeMap<String, TableShape>), CommandError> {
    let place = connectors::place(settings)?;
    let read = async {
        let Some(destination) = place.find(name).await? else {
            return Ok((State::default(), BTreeMap::new()));
        };
        let found = (destination.state().await?, destination.shapes().await?);
        destination.close().await?;
        Ok(found)
    };
    let read: Result<_, DestinationError> = read.await;
    Ok(read.map_err(anyhow::Error::from)?)
}

fn print_head(account: &Account, state: &State, place: &str) {
    let definition: &Definition = account.definition();
    let every = SignedDuration::try_from(account.every()).unwrap_or(SignedDuration::MAX);
    say!("{}: every {every:#}, into {place}", definition.name);
    let common = [BASE_URL, TOKEN_URL, EVERY].map(str::to_owned);
    let secret: Vec<&str> = account.config().secrets().map(|(key, _)| key).collect();
    for key in definition.config.keys().chain(&common) {
        if let Some(value) = account.config().get(key) {
            let value = if secret.contains(&key.as_str()) { crate::secrets::MARK } else { value };
            say!("  {:<24} {value}", variable(&definition.name, key));
        }
    }
    if state.tables.is_empty() {
        say!("  no state: a run reads everything");
    }
    say!("");
}

fn print_table(plan: &RunPlan, table: &Table, of: &TableProbe) {
    say!("{}", of.table);
    if let Some(parent) = &table.parent {
        say!("  for each row of {}; here for the first one seen", parent.table);
    }
    if let Some(request) = &of.request {
        say!("  request  {request}");
    }
    match (&of.next, &of.problem) {
        (_, Some(problem)) => say!("  problem  {problem}"),
        (Some(next), None) => say!("  then     {next}"),
        (None, None) => say!(
            "  then     nothing: this page is the last{}",
            if table.window.is_some() { " of its window" } else { "" }
        ),
    }
    print_state(plan, table);
    if of.problem.is_none() {
        say!("  rows     {} on this page", of.rows);
    }
    if let Some((count, reason)) = &of.rejected {
        say!("  rejected {count}, the first because {reason}");
    }
    if let Some(shape) = &of.shape {
        let key = if shape.key.is_empty() { "none".to_owned() } else { shape.key.join(", ") };
        let deletes = if table.snapshot.is_some() { ", rows that are gone are marked deleted" } else { "" };
        let write = match shape.write {
            Write::Upsert => "by its key",
            Write::Append => "appended",
            Write::Replace => "replaced as a whole",
        };
        let marks = match &shape.deleted_if {
            None => String::new(),
            // A field that never comes is more likely a mistake than a source without deletions.
            Some(column) if of.telling == 0 && of.rows > 0 => {
                format!(", marked deleted where {column} is true: none of these rows has it")
            }
            Some(column) => format!(", marked deleted where {column} is true"),
        };
        say!("  table    {} (key: {key}), written {write}{deletes}{marks}", shape.table);
        for column in &shape.columns {
            say!("    {:<30} {}", column.name, kind_of(column.kind));
        }
    }
    say!("");
}

fn print_state(plan: &RunPlan, table: &Table) {
    let Some(known) = plan.state.tables.get(&table.name).filter(|known| !known.is_empty()) else { return };
    for (partition, value) in known.iter().take(SHOWN_PARTITIONS) {
        let of = if partition.is_empty() { String::new() } else { format!("{partition}: ") };
        say!("  state    {of}{}", plan.account.redactor().clean(&value.to_string()));
    }
    if known.len() > SHOWN_PARTITIONS {
        say!("  state    … and of {} more", known.len() - SHOWN_PARTITIONS);
    }
}
