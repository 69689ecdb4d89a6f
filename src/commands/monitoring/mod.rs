//! Commands for monitors, the catalogue of services, status page engines and channels.

mod add;
mod channels;
mod engines;
mod explain;
mod files;
mod list;
mod mute;
mod tenants;

use std::process::ExitCode;

use clap::Subcommand;

pub(crate) use channels::{ChannelCommand, channel};
pub(crate) use tenants::{TenantCommand, tenant};

use crate::commands::pipeline::check;
use crate::commands::setting_flags::SettingFlags;
use crate::commands::{CommandError, compose};

#[derive(Debug, Subcommand)]
pub enum MonitorCommand {
    /// List monitors, what each one polls, and its state if a daemon runs
    List(list::ListArgs),
    /// Poll every status page once, or those of the named monitors; same as `check`
    ///
    /// Exit: 0 no issue, 1 minor or maintenance, 2 major or critical, 3 a status page could not be read.
    Check(check::CheckArgs),
    /// Find services in the catalogue
    Search(list::SearchArgs),
    /// Write a monitor for a service of the catalogue, or for a status page whose engine is detected
    ///
    /// Reads the page once and prints what it says. Existing files are not overwritten. Exit: 0 written, 1 failed, 78
    /// configuration.
    Add(add::AddArgs),
    /// Poll a monitor or a page once and print each document, what was found in it, and the judgement
    ///
    /// Exit: 0 readable, 3 the status page could not be read.
    Explain(explain::ExplainMonitorArgs),
    /// Leave a monitor out of the banner for a time; it is still polled and recorded
    Mute(mute::MuteArgs),
    /// End the mute of a monitor
    Unmute(mute::UnmuteArgs),
}

#[derive(Debug, Subcommand)]
pub enum EngineCommand {
    /// List the engines: the kinds of status pages that can be read
    List(engines::EngineListArgs),
    /// Print the definition of a built-in engine, as a start for one of your own
    Show(engines::ShowArgs),
    /// Check an engine's definition, and what it reads from a saved document
    Check(engines::CheckEngineArgs),
}

pub(crate) fn monitor(flags: &SettingFlags, what: MonitorCommand) -> Result<ExitCode, CommandError> {
    match what {
        MonitorCommand::List(args) => compose::block_on_until_signal(list::list(flags, &args)),
        MonitorCommand::Check(args) => compose::block_on_until_signal(check::check(flags, args)),
        MonitorCommand::Search(args) => list::search(&args),
        MonitorCommand::Add(args) => compose::block_on_until_signal(add::add(flags, args)),
        MonitorCommand::Explain(args) => compose::block_on_until_signal(explain::explain(flags, args)),
        MonitorCommand::Mute(args) => mute::mute(flags, &args),
        MonitorCommand::Unmute(args) => mute::unmute(flags, &args),
    }
}

pub(crate) fn engine(flags: &SettingFlags, what: EngineCommand) -> Result<ExitCode, CommandError> {
    match what {
        EngineCommand::List(args) => engines::list(flags, &args),
        EngineCommand::Show(args) => engines::show(&args),
        EngineCommand::Check(args) => engines::check(&args),
    }
}
