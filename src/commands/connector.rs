//! `connector`, `test` and `schema`: what connectors there are, whether one works, and what its tables look like. Making
//! one is in `author`, looking at one in `explain`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{CommandError, author, compose, connectors, explain};
use crate::connectors as engine;
use crate::destinations::{DestinationError, Place};
use crate::domain::cell::ColumnType;
use crate::domain::config::{ConfigValues, Standing};
use crate::domain::op::TableShape;
use crate::runtime::clock::Clock;

/// The connectors there are.
#[derive(Debug, Subcommand)]
pub enum Connector {
    /// List them, and which are on
    List,
    /// Print the definition of one
    Show {
        /// The connector
        name: String,
    },
    /// Write the first definition of a connector, to be completed by you
    New(author::NewArgs),
    /// Find every mistake in definitions, with line and column
    ///
    /// Exit: 0 fine, 78 mistakes.
    Check(author::CheckArgs),
    /// Print what a run would ask for, remember and store; writes nothing
    ///
    /// Reads the first page of each table, and of a child table that of the first parent seen.
    Explain(explain::ExplainArgs),
}

/// What can be asked of `test`.
#[derive(Debug, Args)]
pub struct TestArgs {
    /// The connector
    pub name: String,
    /// Flat JSON object of settings, which win over variables
    #[arg(long, value_name = "FILE.json")]
    pub configuration: Option<PathBuf>,
}

/// What can be asked of `schema`.
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// The connector
    pub name: String,
    /// One JSON document instead of text
    #[arg(long)]
    pub json: bool,
}

pub(super) fn connector(what: Connector) -> Result<ExitCode, CommandError> {
    let settings = compose::settings()?;
    match what {
        Connector::New(args) => return compose::block_on_until_signal(author::new(&settings, args)),
        Connector::Check(args) => return author::check(&settings, &args),
        Connector::Explain(args) => return compose::block_on_until_signal(explain::explain(&settings, args)),
        Connector::Show { name } => {
            say!("{}", connectors::find(connectors::definitions(&settings)?, &name)?.source.trim_end());
        }
        Connector::List => {
            for (definition, standing) in connectors::all(&settings, &compose::vars()?)? {
                let stands = match standing {
                    Standing::On(_) => "on".to_owned(),
                    Standing::Off => format!("off: set {}", ConfigValues::required(&definition).join(", ")),
                    Standing::Broken(errors) => {
                        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
                        format!("misconfigured: {}", errors.join("; "))
                    }
                };
                say!("{:<20} {:>2} tables, {stands}", definition.name, definition.tables.len());
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn test(args: TestArgs) -> Result<ExitCode, CommandError> {
    let settings = compose::settings()?;
    let definition = connectors::find(connectors::definitions(&settings)?, &args.name)?;
    let account = connectors::account(&settings, definition, args.configuration.as_deref())?;
    match engine::test(&account, Clock::system().now()).await {
        Ok(reached) => {
            say!("{}: fine, {reached}", args.name);
            Ok(ExitCode::SUCCESS)
        }
        Err(reason) => Err(anyhow::anyhow!("{}: {reason}", args.name).into()),
    }
}

pub(super) async fn schema(args: SchemaArgs) -> Result<ExitCode, CommandError> {
    let settings = compose::settings()?;
    let definition = connectors::find(connectors::definitions(&settings)?, &args.name)?;
    // What was stored knows more columns than what is declared.
    let stored = stored(&connectors::place(&settings)?, &args.name).await.map_err(anyhow::Error::from)?;
    let shape = |table: &crate::domain::connector::Table| {
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

async fn stored(place: &Place, name: &str) -> Result<BTreeMap<String, TableShape>, DestinationError> {
    let Some(destination) = place.find(name).await? else { return Ok(BTreeMap::new()) };
    let shapes = destination.shapes().await?;
    destination.close().await?;
    Ok(shapes)
}

pub(super) fn kind_of(kind: ColumnType) -> String {
    match kind {
        ColumnType::Unknown => "from the first value".to_owned(),
        kind => format!("{kind:?}").to_lowercase(),
    }
}

fn print_shape(shape: &TableShape, stored: bool) {
    let known = if stored { "" } else { ", not synced yet: only what the definition declares" };
    say!("{} (key: {}{known})", shape.table, shape.key.join(", "));
    for column in &shape.columns {
        let marks = if shape.deleted_if.as_ref() == Some(&column.name) {
            ", marks rows that are deleted"
        } else {
            ""
        };
        say!("  {:<32} {}{marks}", column.name, kind_of(column.kind));
    }
}
