//! The command line: what can be typed, and nothing of what it does.

use clap::{Parser, Subcommand};

use crate::commands::{connector, demo, migrate, runs, serve, sync};

/// Watches the status pages of the services you depend on, keeps the banner of your Qlik Cloud tenant true, and
/// syncs data sources into tables.
///
/// Everything is set by environment variables or a file `.env` in the working directory; `.env.example` lists
/// them all. Without any QLIK_ variable the daemon runs in preview: it does everything but write the banner.
#[derive(Debug, Parser)]
#[command(
    version,
    max_term_width = 100,
    after_long_help = "\
Examples:
  data-sources-monitor                       run the daemon (in preview without a tenant)
  data-sources-monitor demo                  see it at work, without any configuration
  data-sources-monitor check                 look at every page once and print a table
  data-sources-monitor validate              find every mistake in .env and the definitions
  data-sources-monitor sync statuscake       run a connector now
  data-sources-monitor runs                  see how the connectors' runs ended
  data-sources-monitor banner preview        print the banner that would be set now
  tail -F monitor.log                        follow what the daemon does

Exit codes:
  0 fine, 1 failed, 2 usage, 78 configuration; check has its own, see `check --help`"
)]
pub struct Cli {
    /// What to do; without any: run.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon (what happens without any command)
    Run,
    /// Look at every page once and print what they say
    ///
    /// Exit: 0 nothing wrong, 1 minor or maintenance, 2 major or critical, 3 something cannot be read.
    #[command(after_long_help = "\
Examples:
  data-sources-monitor check
  data-sources-monitor check --json | jq '.monitors[] | select(.severity != \"none\")'")]
    Check {
        /// One JSON document instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Find every mistake in the environment, .env and the definitions, all at once
    ///
    /// Sends no request. The daemon refuses to start with the same mistakes, in the same words. Exit: 0 valid, 78 not.
    Validate {
        /// One JSON document instead of lines
        #[arg(long)]
        json: bool,
    },
    /// The tenant's banner
    #[command(subcommand)]
    Banner(Banner),
    /// Run connectors now and store what they bring
    ///
    /// Exit: 0 complete, 1 failed, 4 partial, 75 deferred (the next run goes on), 78 configuration.
    Sync(sync::SyncArgs),
    /// Try a connector's credentials and address with one request
    Test(connector::TestArgs),
    /// Print a connector's tables, keys and columns
    Schema(connector::SchemaArgs),
    /// The connectors there are
    #[command(subcommand)]
    Connector(connector::Connector),
    /// Print the ledger: how the last runs of the connectors ended, and why
    Runs(runs::RunsArgs),
    /// Move the tables and the memory of DATA_DIR to PostgreSQL, and compare them
    ///
    /// May be cut off and run again: it goes on at the table where it was. Nothing is changed in the folder. Exit: 0
    /// everything is there, 1 failed, 78 configuration.
    Migrate(migrate::MigrateArgs),
    /// Run a connector for somebody else's pipeline
    #[command(subcommand)]
    Serve(serve::Serve),
    /// See the whole program at work for two minutes: the daemon between invented services, and its dashboard
    Demo(demo::DemoArgs),
    /// Ask the running daemon whether it does its work (for containers)
    Healthcheck,
    /// Print a completion script for a shell
    #[command(after_long_help = "\
Example:
  data-sources-monitor completions bash > /etc/bash_completion.d/data-sources-monitor")]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// The tenant's banner.
#[derive(Debug, Subcommand)]
pub enum Banner {
    /// Print the banner that the tenant holds, and whose it is
    Show,
    /// Look at every page once and print the banner that they call for; writes nothing
    Preview,
    /// Switch the banner off if it is ours; a person's is left alone
    Clear,
}
