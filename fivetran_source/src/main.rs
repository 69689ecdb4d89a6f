//! One connector as the program that Fivetran starts: `fivetran_source --port N`. Which, says `connector.toml`.

use std::process::ExitCode;

use data_sources_monitor::{commands, http};

fn main() -> ExitCode {
    http::install_tls_provider();
    commands::exit(commands::serve::fivetran_source(Some(include_str!("../connector.toml"))))
}
