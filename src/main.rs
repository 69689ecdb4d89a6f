//! The program: one command, and an exit code for how it ended. Everything it does is in the library.

use std::process::ExitCode;

use clap::Parser;
use data_sources_monitor::{cli::Cli, commands, http};

fn main() -> ExitCode {
    let cli = Cli::parse();
    http::install_tls_provider();
    match commands::dispatch(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            error.exit_code()
        }
    }
}
