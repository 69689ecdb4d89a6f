//! One file per command: each puts together what it needs, does it, and says how it ended.

/// Prints one line for the person at the terminal. Whoever closes the pipe early (`| head`) has read enough.
macro_rules! say {
    ($($words:tt)*) => {
        crate::commands::print_line(format_args!($($words)*))
    };
}

pub mod author;
mod banner;
mod check;
mod compose;
pub mod connector;
mod connectors;
mod daemon;
mod data_dir;
pub mod demo;
pub mod explain;
mod healthcheck;
pub mod migrate;
mod preflight;
mod records;
mod run;
pub mod runs;
pub mod serve;
pub mod sync;
mod sync_view;
mod validate;

use std::io::Write;
use std::process::ExitCode;

use clap::CommandFactory;

use crate::cli::{Cli, Command};
use crate::store::OpenError;

/// Why a command did not do what it should. One place maps it to an exit code: [`CommandError::exit_code`].
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The configuration has mistakes, one a line.
    #[error("{}", .0.join("\n"))]
    Configuration(Vec<String>),
    /// It went wrong.
    #[error("{0:#}")]
    Failed(#[from] anyhow::Error),
}

impl CommandError {
    /// 78 as in sysexits' EX_CONFIG, else 1.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            CommandError::Configuration(_) => ExitCode::from(78),
            CommandError::Failed(_) => ExitCode::from(1),
        }
    }

    /// What it says, a line each.
    fn into_lines(self) -> Vec<String> {
        match self {
            CommandError::Configuration(mistakes) => mistakes,
            failed @ CommandError::Failed(_) => vec![failed.to_string()],
        }
    }

    fn configuration<T: ToString>(mistakes: impl IntoIterator<Item = T>) -> CommandError {
        CommandError::Configuration(mistakes.into_iter().map(|mistake| mistake.to_string()).collect())
    }
}

impl From<OpenError> for CommandError {
    /// Configuration is what no restart can mend: settings, an unwritable folder, the state of a later version.
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

/// Tells a person what went wrong, and the system how it ended.
pub fn exit(done: Result<ExitCode, CommandError>) -> ExitCode {
    done.unwrap_or_else(|error| {
        eprintln!("{error}");
        error.exit_code()
    })
}

/// Does what was typed.
///
/// # Errors
/// When the command fails; the caller prints it.
pub fn dispatch(cli: Cli) -> Result<ExitCode, CommandError> {
    match cli.command.unwrap_or(Command::Run) {
        Command::Run => run::run(),
        Command::Check { json } => compose::block_on_until_signal(check::check(json)),
        Command::Validate { json } => validate::validate(json),
        Command::Banner(what) => compose::block_on_until_signal(banner::banner(what)),
        Command::Sync(args) => compose::block_on(sync::sync(args))?,
        Command::Test(args) => compose::block_on_until_signal(connector::test(args)),
        Command::Schema(args) => compose::block_on_until_signal(connector::schema(args)),
        Command::Connector(what) => connector::connector(what),
        Command::Runs(args) => compose::block_on_until_signal(runs::runs(args)),
        Command::Migrate(args) => compose::block_on_until_signal(migrate::migrate(args)),
        Command::Serve(what) => serve::serve(what),
        Command::Demo(args) => demo::demo(&args),
        Command::Healthcheck => compose::block_on_until_signal(healthcheck::healthcheck()),
        Command::Completions { shell } => {
            let mut command = Cli::command();
            clap_complete::generate(shell, &mut command, "data-sources-monitor", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
    }
}
