//! The commands, one file each.

/// Prints one line to stdout. Exits if the pipe is closed, as with `| head`.
macro_rules! say {
    ($($words:tt)*) => {
        crate::commands::print_line(format_args!($($words)*))
    };
}

pub mod admin;
mod channels;
pub mod completions;
pub(crate) mod compose;
mod connectors;
mod data_dir;
mod data_rules;
pub(crate) mod monitoring;
pub mod pipeline;
mod preflight;
pub mod service;
pub mod setting_flags;
mod table;
mod tenants;

use std::io::Write;
use std::process::ExitCode;

use crate::store::OpenError;

/// Error of a command. [`CommandError::exit_code`] maps it to an exit code.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// Configuration errors, one per line.
    #[error("{}", .0.join("\n"))]
    Configuration(Vec<String>),
    #[error("{0:#}")]
    Failed(#[from] anyhow::Error),
}

impl CommandError {
    /// 78 is EX_CONFIG of sysexits.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            CommandError::Configuration(_) => ExitCode::from(78),
            CommandError::Failed(_) => ExitCode::from(1),
        }
    }

    fn into_lines(self) -> Vec<String> {
        match self {
            CommandError::Configuration(errors) => errors,
            failed @ CommandError::Failed(_) => vec![failed.to_string()],
        }
    }

    fn configuration<T: ToString>(errors: impl IntoIterator<Item = T>) -> CommandError {
        CommandError::Configuration(errors.into_iter().map(|error| error.to_string()).collect())
    }
}

impl From<OpenError> for CommandError {
    /// A configuration error is one that no restart can fix: settings, a read-only folder, state of a later version.
    fn from(error: OpenError) -> CommandError {
        match &error {
            OpenError::Unusable { .. } | OpenError::TooNew { .. } => CommandError::configuration([error]),
            OpenError::Database(e) if e.is_configuration() => CommandError::configuration([error]),
            _ => CommandError::Failed(error.into()),
        }
    }
}

fn print_line(line: std::fmt::Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{line}").is_err() {
        std::process::exit(1);
    }
}

/// Prints the error, if there is one, and returns the exit code.
pub fn exit(done: Result<ExitCode, CommandError>) -> ExitCode {
    done.unwrap_or_else(|error| {
        eprintln!("{error}");
        error.exit_code()
    })
}
