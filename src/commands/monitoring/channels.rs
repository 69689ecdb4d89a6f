//! `channel list` and `channel test`.

use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::json;

use super::list::states;
use crate::commands::completions::channel_names;
use crate::commands::setting_flags::SettingFlags;
use crate::commands::table::print_table;
use crate::commands::{CommandError, channels, compose};
use crate::domain::monitoring::news::News;
use crate::domain::monitoring::news::channel::{ChannelDefinition, ChannelPlace};
use crate::runtime::clock::Clock;

#[derive(Debug, Subcommand)]
pub enum ChannelCommand {
    /// List channels, what each one gets, and its state if a daemon runs
    List(ChannelListArgs),
    /// Send a test message to a channel and print what the receiver answered
    ///
    /// Exit: 0 accepted, 1 failed, 78 configuration.
    Test(ChannelTestArgs),
}

#[derive(Debug, Args)]
pub struct ChannelListArgs {
    /// Print one JSON document instead of a table
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct ChannelTestArgs {
    /// Name of the channel
    #[arg(add = channel_names())]
    pub name: String,
}

pub(crate) fn channel(flags: &SettingFlags, what: ChannelCommand) -> Result<ExitCode, CommandError> {
    match what {
        ChannelCommand::List(args) => compose::block_on_until_signal(list(flags, args.json)),
        ChannelCommand::Test(args) => compose::block_on_until_signal(test(flags, args.name)),
    }
}

async fn list(flags: &SettingFlags, as_json: bool) -> Result<ExitCode, CommandError> {
    let settings = flags.settings()?;
    let definitions = channels::definitions(&settings)?;
    let states = states(&settings, "channels").await;
    let rows: Vec<[String; 4]> = definitions
        .iter()
        .map(|definition| {
            let state = states.as_ref().and_then(|states| states.get(&definition.name).cloned());
            let state =
                if definition.enabled { state.unwrap_or_else(|| "-".to_owned()) } else { "off".to_owned() };
            [definition.name.clone(), place(definition), state, definition.rules.audience.to_string()]
        })
        .collect();
    if as_json {
        let documents = rows.iter().zip(&definitions).map(|([name, _, state, filter], definition)| {
            let kind = definition.place.kind();
            json!({ "name": name, "kind": kind, "state": state, "filter": filter, "enabled": definition.enabled })
        });
        say!("{:#}", json!({ "channels": documents.collect::<Vec<_>>() }));
        return Ok(ExitCode::SUCCESS);
    }
    if rows.is_empty() {
        say!("No channel is defined in {}.", settings.channels_dir.display());
        return Ok(ExitCode::SUCCESS);
    }
    let headings = ["CHANNEL", "KIND", "STATE", "GETS"];
    print_table(&headings, &[], rows.into_iter().map(|row| row.to_vec()).collect());
    Ok(ExitCode::SUCCESS)
}

/// `slack #ops`, `webhook (teams)`.
fn place(definition: &ChannelDefinition) -> String {
    match &definition.place {
        ChannelPlace::Slack { channel, .. } => format!("slack {channel}"),
        ChannelPlace::Webhook(format) => format!("webhook ({})", format.as_str()),
    }
}

async fn test(flags: &SettingFlags, name: String) -> Result<ExitCode, CommandError> {
    let vars = flags.process_vars();
    let settings = flags.settings()?;
    let configured = channels::find(&settings, &vars, &name)?;
    let news = News::test(&name, Clock::system().now());
    let sent = configured.channel.send(&news, None).await;
    let receipt = sent.with_context(|| format!("channel {name}: the test message failed"))?;
    say!("{name}: sent \"{}\" ({})", news.title, receipt.0);
    Ok(ExitCode::SUCCESS)
}
