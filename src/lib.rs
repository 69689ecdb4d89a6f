//! Monitors the status pages of the services that a data team depends on, keeps the banner of a Qlik Cloud tenant up to
//! date, and syncs data sources into tables.
//!
//! ```text
//!                  domain  (values and decisions: no I/O, no clock, no async)
//!
//! monitors/*.toml ─► definitions ─► poll ─► Observation ─► assess ─► Assessment ─► plan ─► publish ─► Qlik Cloud
//!                                                            └─► board ─► web: metrics, health; log
//!
//! connectors/*.toml ─► definitions ─► source ─► Op, Op, Checkpoint, Op … ─► destinations (SQLite, PostgreSQL)
//!                                                                      │      └─► export (Parquet, CSV)
//!                                                                      └─► protocol (stdin, Fivetran)
//! ```

mod channels;
mod cli;
mod commands;
mod database;
mod definitions;
mod demo;
mod destinations;
mod domain;
mod export;
mod http;
mod log_file;
mod migrate;
mod poll;
mod protocol;
mod publish;
mod qlik;
mod resolver;
mod runtime;
mod secrets;
mod settings;
mod source;
mod store;
mod telemetry;
pub mod testing;
mod upload;
mod web;

use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use cli::Cli;
use commands::pipeline::serve::{SOURCE_NAME, fivetran_source};

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let started_as = std::env::args_os().next().unwrap_or_default();
    if Path::new(&started_as).file_name().is_some_and(|name| name == SOURCE_NAME) {
        return serve_fivetran(None);
    }
    commands::completions::answer_shell(Cli::command);
    let cli = Cli::parse();
    http::install_tls_provider();
    commands::exit(cli::run(cli))
}

/// Runs the program that Fivetran starts: `--port N`. `selection` is the text of a `connector.toml` that selects the
/// connector; without it the environment does.
pub fn serve_fivetran(selection: Option<&str>) -> ExitCode {
    http::install_tls_provider();
    commands::exit(fivetran_source(selection))
}
