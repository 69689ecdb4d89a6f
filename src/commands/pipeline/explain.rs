//! `connector explain`: prints the requests, state, tables and columns of a run, from the first page of each table.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;

use crate::commands::CommandError;
use crate::commands::completions::connector_names;
use crate::commands::connectors;
use crate::destinations::{DestinationError, DestinationKind};
use crate::domain::syncing::cell::ColumnType;
use crate::domain::syncing::definition::config::{COMMON, variable};
use crate::domain::syncing::definition::connector::{Definition, Table};
use crate::domain::syncing::op::{State, TableShape, Write};
use crate::runtime::clock::Clock;
use crate::settings::{Settings, Vars};
use crate::source::{Account, RunPlan, TableProbe, probe, selected};

/// Number of partitions whose state is printed. A child table may have thousands.
const SHOWN_PARTITIONS: usize = 3;

#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Name of the connector
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    #[arg(add = connector_names())]
    pub name: Option<String>,
    /// Definition to use instead of a connector in CONNECTORS_DIR
    #[arg(long, value_name = "FILE.toml")]
    pub file: Option<PathBuf>,
    /// Flat JSON object of settings; they take precedence over variables
    #[arg(long, value_name = "FILE.json")]
    pub configuration: Option<PathBuf>,
    /// Only this table; may be repeated
    #[arg(long, value_name = "TABLE")]
    pub table: Vec<String>,
}

pub(crate) async fn explain(
    settings: &Settings,
    vars: &dyn Vars,
    args: ExplainArgs,
) -> Result<ExitCode, CommandError> {
    let definitions = connectors::definitions(settings)?;
    let definition = match (&args.file, &args.name) {
        (Some(file), _) => connectors::read_file(file, definitions).map_err(CommandError::configuration)?,
        (None, name) => connectors::find(definitions, name.as_deref().unwrap_or_default())?,
    };
    let name = definition.name.clone();
    let account = connectors::account(settings, vars, definition, args.configuration.as_deref())?;
    let tables = (!args.table.is_empty()).then(|| args.table.clone());
    selected(&account, tables.as_deref()).map_err(|e| CommandError::configuration([e]))?;
    let (state, shapes) = stored(settings, &name).await?;
    let target = match connectors::destination_kind(settings)? {
        DestinationKind::Sqlite(_) => format!("{name}.db"),
        DestinationKind::Postgres(_) => format!("schema {name}"),
    };
    print_head(&account, &state, &target);
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
    say!("Nothing was stored. Only the first page of each table was read; a run reads all pages.");
    Ok(if problems == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Reads the state and the tables that earlier runs stored.
async fn stored(
    settings: &Settings,
    name: &str,
) -> Result<(State, BTreeMap<String, TableShape>), CommandError> {
    let place = connectors::destination_kind(settings)?;
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

fn print_head(account: &Account, state: &State, target: &str) {
    let definition: &Definition = account.definition();
    let every = SignedDuration::try_from(account.every()).unwrap_or(SignedDuration::MAX);
    say!("{}: every {every:#}, into {target}", definition.name);
    let common = COMMON.map(str::to_owned);
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
        say!("  once for each row of {}; shown for the first one", parent.table);
    }
    if let Some(request) = &of.request {
        say!("  request  {request}");
    }
    match (&of.next, &of.problem) {
        (_, Some(problem)) => say!("  error    {problem}"),
        (Some(next), None) => say!("  then     {next}"),
        (None, None) => say!(
            "  then     nothing: this is the last page{}",
            if table.window.is_some() { " of its window" } else { "" }
        ),
    }
    print_state(plan, table);
    if of.problem.is_none() {
        say!("  rows     {} on this page", of.rows);
    }
    if let Some((count, reason)) = &of.rejected {
        say!("  rejected {count}; the first: {reason}");
    }
    if let Some(shape) = &of.shape {
        let key = if shape.key.is_empty() { "none".to_owned() } else { shape.key.join(", ") };
        let deletes = if table.snapshot.is_some() { ", missing rows are marked deleted" } else { "" };
        let write = match shape.write {
            Write::Upsert => "by its key",
            Write::Append => "appended",
            Write::Replace => "replaced as a whole",
        };
        let marks = match &shape.deleted_if {
            None => String::new(),
            // A field that is always missing is more likely an error in the definition than a source without deletions.
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

/// The type of a column as a person reads it.
pub(super) fn kind_of(kind: ColumnType) -> String {
    match kind {
        ColumnType::Unknown => "from the first value".to_owned(),
        kind => format!("{kind:?}").to_lowercase(),
    }
}
