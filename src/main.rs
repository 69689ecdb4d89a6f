//! The program: one command, and an exit code for how it ended. Everything it does is in the library.

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use data_sources_monitor::{cli::Cli, commands, http};

fn main() -> ExitCode {
    let started_as = std::env::args_os().next().unwrap_or_default();
    let as_source =
        Path::new(&started_as).file_name().is_some_and(|name| name == commands::serve::SOURCE_NAME);
    let cli = (!as_source).then(Cli::parse);
    http::install_tls_provider();
    let done = match cli {
        Some(cli) => commands::dispatch(cli),
        None => commands::serve::fivetran_source(None),
    };
    commands::exit(done)
}
