//! The command line: its definition, and which function of `commands` runs each command.

use std::process::ExitCode;

use anyhow::Context;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

use crate::commands::admin::backup;
use crate::commands::admin::backup::restore;
use crate::commands::admin::{banner, init, man, migrate, settings, validate};
use crate::commands::monitoring;
use crate::commands::pipeline::check;
use crate::commands::pipeline::{connector, export, runs, serve, sync, upload};
use crate::commands::service::{demo, healthcheck, run};
use crate::commands::setting_flags::SettingFlags;
use crate::commands::{CommandError, completions, compose};

/// Monitors the status pages of the services you depend on, keeps the banner of your Qlik Cloud tenant up to date, and
/// syncs data sources into tables.
///
/// Settings are environment variables or lines of `.env` in the working directory. `init` writes one that lists them all
/// (`.env.example`), `settings` prints them. Without any QLIK_ variable the daemon runs in preview and writes no banner.
#[derive(Debug, Parser)]
#[command(
    version = env!("VERSION_LINE"),
    max_term_width = 100,
    disable_help_subcommand = true,
    after_long_help = "\
Examples:
  data-sources-monitor                   run the daemon
  data-sources-monitor demo              two minutes of incidents, no setup
  data-sources-monitor init              write .env, monitors/ and connectors/
  data-sources-monitor validate          report every configuration error
  data-sources-monitor check             poll every status page once
  data-sources-monitor sync statuscake   run a connector now
  data-sources-monitor export statuscake write its tables as Parquet files
  data-sources-monitor runs              print the run history of the connectors
  data-sources-monitor banner preview    print the banner that would be set now
  tail -F monitor.log                    follow the daemon

Exit codes:
  0 success, 1 failed, 2 usage, 78 configuration; `check --help` has its own"
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub flags: SettingFlags,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon (default)
    Run,
    /// Write initial .env, monitors/ and connectors/; existing files are not overwritten
    Init(init::InitArgs),
    /// Poll every status page once and print its severity
    ///
    /// Exit: 0 no issue, 1 minor or maintenance, 2 major or critical, 3 a status page could not be read.
    Check(check::CheckArgs),
    /// Report every configuration error in the environment, .env and the definitions
    ///
    /// Sends no requests. The daemon reports the same errors when it refuses to start. Exit: 0 valid, 78 invalid.
    Validate {
        /// Print one JSON document instead of lines
        #[arg(long)]
        json: bool,
    },
    /// Print every setting, its value and its origin; secrets are redacted
    ///
    /// Exit: 0 valid, 78 configuration error.
    Settings(settings::SettingsArgs),
    /// Show, preview or clear the banners of the tenants
    #[command(subcommand)]
    Banner(banner::BannerCommand),
    /// List and check the tenants whose banners are written
    #[command(subcommand)]
    Tenant(monitoring::TenantCommand),
    /// List, find, add, explain and mute monitors
    #[command(subcommand)]
    Monitor(monitoring::MonitorCommand),
    /// List and check the kinds of status pages that can be read
    #[command(subcommand)]
    Engine(monitoring::EngineCommand),
    /// List and test the channels that messages about incidents are sent to
    #[command(subcommand)]
    Channel(monitoring::ChannelCommand),
    /// List, create, check, test and run connectors
    #[command(subcommand)]
    Connector(connector::Connector),
    /// Run connectors now and store the rows
    ///
    /// Exit: 0 complete, 1 failed, 4 partial, 75 deferred (the next run resumes), 78 configuration.
    Sync(sync::SyncArgs),
    /// Write the synced tables of a connector as Parquet or CSV files now
    ///
    /// After complete runs the daemon and `sync` do this by themselves if EXPORT_DIR is set. Exit: 0 all files written,
    /// 1 failed, 78 configuration.
    Export(export::ExportArgs),
    /// Bring the tables of a connector into a Qlik space, and reload apps
    ///
    /// Exit: 0 all files are in the space and all reloads succeeded, 1 failed, 78 configuration.
    Upload(upload::UploadArgs),
    /// Print the run history of the connectors: outcome and reason of the last runs
    Runs(runs::RunsArgs),
    /// Alias of `connector test`
    #[command(hide = true)]
    Test(connector::TestArgs),
    /// Alias of `connector schema`
    #[command(hide = true)]
    Schema(connector::SchemaArgs),
    /// Copy the tables and the state database of DATA_DIR to PostgreSQL, and compare both sides
    ///
    /// Safe to interrupt and run again: it resumes at the table it was copying. DATA_DIR is not changed. Exit: 0 complete,
    /// 1 failed, 78 configuration.
    Migrate(migrate::MigrateArgs),
    /// Copy all databases of DATA_DIR into a new folder; daemons and syncs may be running
    Backup(backup::BackupArgs),
    /// Restore the databases of a backup; the daemon must be stopped
    Restore(restore::RestoreArgs),
    /// Run a connector for another program, over stdin or gRPC
    #[command(subcommand)]
    Serve(serve::Serve),
    /// Run the daemon and its dashboard against simulated services for two minutes
    Demo(demo::DemoArgs),
    /// Check that the running daemon is ready (for containers)
    Healthcheck,
    /// Print a completion script for a shell
    ///
    /// The script also completes the names of the connectors and monitors defined in the working directory.
    #[command(after_long_help = "\
Examples:
  data-sources-monitor completions bash \\
      > /etc/bash_completion.d/data-sources-monitor
  data-sources-monitor completions zsh \\
      > /usr/local/share/zsh/site-functions/_data-sources-monitor
  data-sources-monitor completions fish \\
      > ~/.config/fish/completions/data-sources-monitor.fish")]
    Completions {
        /// Shell to generate the script for
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write one for each command
    Man(man::ManArgs),
    /// Print this message or the help of a command
    Help {
        #[arg(value_name = "COMMAND")]
        command: Vec<String>,
    },
}

/// Runs a command.
///
/// # Errors
/// If the command fails. The caller prints the error.
pub fn run(cli: Cli) -> Result<ExitCode, CommandError> {
    let flags = &cli.flags;
    match cli.command.unwrap_or(Command::Run) {
        Command::Run => run::run(flags),
        Command::Check(args) => compose::block_on_until_signal(check::check(flags, args)),
        Command::Init(args) => init::init(&args),
        Command::Settings(args) => settings::settings(flags, &args),
        Command::Validate { json } => validate::validate(flags, json),
        Command::Banner(what) => compose::block_on_until_signal(banner::banner(flags, what)),
        Command::Sync(args) => compose::block_on(sync::sync(flags, args))?,
        Command::Export(args) => compose::block_on(export::export(flags, args))?,
        Command::Upload(args) => compose::block_on(upload::upload(flags, args))?,
        Command::Test(args) => compose::block_on_until_signal(connector::test(flags, args)),
        Command::Schema(args) => compose::block_on_until_signal(connector::schema(flags, args)),
        Command::Tenant(what) => monitoring::tenant(flags, what),
        Command::Monitor(what) => monitoring::monitor(flags, what),
        Command::Engine(what) => monitoring::engine(flags, what),
        Command::Channel(what) => monitoring::channel(flags, what),
        Command::Connector(what) => connector::connector(flags, what),
        Command::Runs(args) => compose::block_on_until_signal(runs::runs(flags, args)),
        Command::Migrate(args) => compose::block_on_until_signal(migrate::migrate(flags, args)),
        Command::Backup(args) => backup::backup(flags, &args),
        Command::Restore(args) => restore::restore(flags, &args),
        Command::Serve(what) => serve::serve(flags, what),
        Command::Demo(args) => demo::demo(flags, &args),
        Command::Healthcheck => compose::block_on_until_signal(healthcheck::healthcheck(flags)),
        Command::Completions { shell } => completions::completions(shell),
        Command::Man(args) => man::man(Cli::command(), &args),
        Command::Help { command } => help(&command),
    }
}

/// Replaces clap's `help`, which rejects `help --help`.
fn help(path: &[String]) -> Result<ExitCode, CommandError> {
    let mut cli = Cli::command();
    cli.build();
    let mut command = &mut cli;
    for name in path {
        let Some(found) = command.find_subcommand_mut(name) else {
            let message = format!("unknown command `{}`", path.join(" "));
            Cli::command().error(ErrorKind::InvalidSubcommand, message).exit()
        };
        command = found;
    }
    command.print_long_help().context("cannot print")?;
    Ok(ExitCode::SUCCESS)
}
