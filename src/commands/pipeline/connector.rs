//! `connector`, `test` and `schema`: lists connectors, tests one and prints its tables. `author` creates and checks
//! definitions, `explain` describes a run.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{author, explain, runs, sync};
use crate::commands::completions::connector_names;
use crate::commands::connectors;
use crate::commands::setting_flags::SettingFlags;
use crate::commands::table::print_table;
use crate::commands::{CommandError, compose};
use crate::destinations::{DestinationError, DestinationKind};
use crate::domain::syncing::definition::config::{ConfigStatus, ConfigValues};
use crate::domain::syncing::op::TableShape;
use crate::runtime::clock::Clock;
use crate::source as engine;

#[derive(Debug, Subcommand)]
pub enum Connector {
    /// List connectors and their status
    List(ListConnectorArgs),
    /// Print the definition of a connector
    Show {
        /// Name of the connector
        #[arg(add = connector_names())]
        name: String,
    },
    /// Create the definition of a new connector, to be completed by hand
    New(author::NewArgs),
    /// Report every error in definitions, with line and column
    ///
    /// Exit: 0 valid, 78 invalid.
    Check(author::CheckConnectorArgs),
    /// Print the requests, state, tables and columns of a run; stores nothing
    ///
    /// Requests the first page of each table. For a child table, that is the first page of the first parent.
    Explain(explain::ExplainArgs),
    /// Send one request to check the URL and the credentials
    Test(TestArgs),
    /// Print tables, keys and columns
    Schema(SchemaArgs),
    /// Run a connector now and store the rows; same as `sync`
    ///
    /// Exit: 0 complete, 1 failed, 4 partial, 75 deferred (the next run resumes), 78 configuration.
    Sync(sync::SyncArgs),
    /// Print the run history; same as `runs`
    Runs(runs::RunsArgs),
}

#[derive(Debug, Args)]
pub struct ListConnectorArgs {
    /// Print one JSON document instead of a table
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct TestArgs {
    /// Name of the connector
    #[arg(add = connector_names())]
    pub name: String,
    /// Flat JSON object of settings; they take precedence over variables
    #[arg(long, value_name = "FILE.json")]
    pub configuration: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// Name of the connector
    #[arg(add = connector_names())]
    pub name: String,
    /// Print one JSON document instead of text
    #[arg(long)]
    pub json: bool,
}

pub(crate) fn connector(flags: &SettingFlags, what: Connector) -> Result<ExitCode, CommandError> {
    match what {
        Connector::List(args) => list(flags, &args),
        Connector::Show { name } => show(flags, &name),
        Connector::New(args) => {
            let (settings, vars) = (flags.settings()?, flags.vars()?);
            compose::block_on_until_signal(author::new(&settings, &vars, args))
        }
        Connector::Check(args) => author::check(&flags.settings()?, &args),
        Connector::Explain(args) => {
            let (settings, vars) = (flags.settings()?, flags.vars()?);
            compose::block_on_until_signal(explain::explain(&settings, &vars, args))
        }
        Connector::Test(args) => compose::block_on_until_signal(test(flags, args)),
        Connector::Schema(args) => compose::block_on_until_signal(schema(flags, args)),
        Connector::Sync(args) => compose::block_on(sync::sync(flags, args))?,
        Connector::Runs(args) => compose::block_on_until_signal(runs::runs(flags, args)),
    }
}

fn list(flags: &SettingFlags, args: &ListConnectorArgs) -> Result<ExitCode, CommandError> {
    let mut rows = Vec::new();
    for (definition, status) in connectors::all(&flags.settings()?, &flags.vars()?)? {
        let (status, detail) = match status {
            ConfigStatus::On(_) => ("on", String::new()),
            ConfigStatus::Off => ("off", format!("set {}", ConfigValues::required(&definition).join(", "))),
            ConfigStatus::Broken(errors) => {
                let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
                ("misconfigured", errors.join("; "))
            }
        };
        rows.push((definition.name.clone(), definition.tables.len(), status, detail));
    }
    if args.json {
        let documents = rows.into_iter().map(|(name, tables, status, detail)| {
            json!({ "name": name, "tables": tables, "status": status, "detail": detail })
        });
        say!("{:#}", json!({ "connectors": documents.collect::<Vec<_>>() }));
    } else {
        let rows = rows
            .into_iter()
            .map(|(name, tables, status, detail)| vec![name, tables.to_string(), status.to_owned(), detail]);
        print_table(&["CONNECTOR", "TABLES", "STATUS", ""], &[1], rows.collect());
    }
    Ok(ExitCode::SUCCESS)
}

fn show(flags: &SettingFlags, name: &str) -> Result<ExitCode, CommandError> {
    let definitions = connectors::definitions(&flags.settings()?)?;
    say!("{}", connectors::find(definitions, name)?.source.trim_end());
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn test(flags: &SettingFlags, args: TestArgs) -> Result<ExitCode, CommandError> {
    let settings = flags.settings()?;
    let definition = connectors::find(connectors::definitions(&settings)?, &args.name)?;
    let account = connectors::account(&settings, &flags.vars()?, definition, args.configuration.as_deref())?;
    match engine::test(&account, Clock::system().now()).await {
        Ok(reached) => {
            say!("{}: OK, {reached}", args.name);
            Ok(ExitCode::SUCCESS)
        }
        Err(reason) => Err(anyhow::anyhow!("{}: {reason}", args.name).into()),
    }
}

pub(crate) async fn schema(flags: &SettingFlags, args: SchemaArgs) -> Result<ExitCode, CommandError> {
    let settings = flags.settings()?;
    let definition = connectors::find(connectors::definitions(&settings)?, &args.name)?;
    // A stored table may have more columns than the definition declares.
    let stored =
        stored(&connectors::destination_kind(&settings)?, &args.name).await.map_err(anyhow::Error::from)?;
    let shape = |table: &crate::domain::syncing::definition::connector::Table| {
        stored.get(&table.name).cloned().unwrap_or_else(|| table.declared_shape())
    };
    let shapes: Vec<TableShape> = definition.tables.iter().map(shape).collect();
    if args.json {
        say!("{:#}", json!({ "connector": args.name, "tables": shapes }));
    } else {
        for shape in &shapes {
            print_shape(shape, stored.contains_key(&shape.table));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn stored(
    place: &DestinationKind,
    name: &str,
) -> Result<BTreeMap<String, TableShape>, DestinationError> {
    let Some(destination) = place.find(name).await? else { return Ok(BTreeMap::new()) };
    let shapes = destination.shapes().await?;
    destination.close().await?;
    Ok(shapes)
}

fn print_shape(shape: &TableShape, stored: bool) {
    let note = if stored { "" } else { ", not synced yet: declared columns only" };
    say!("{} (key: {}{note})", shape.table, shape.key.join(", "));
    for column in &shape.columns {
        let deletion =
            if shape.deleted_if.as_ref() == Some(&column.name) { ", marks deleted rows" } else { "" };
        say!("  {:<32} {}{deletion}", column.name, explain::kind_of(column.kind));
    }
}
