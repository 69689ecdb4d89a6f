//! One connector as the program that Fivetran starts: `fivetran_source --port N`. `connector.toml` selects the connector.

use std::process::ExitCode;

fn main() -> ExitCode {
    data_sources_monitor::serve_fivetran(Some(include_str!("../connector.toml")))
}
