//! Loads the definitions and the secrets of channels, for several commands.

use std::collections::BTreeMap;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

use super::{CommandError, compose};
use crate::channels::{Channel, PreviewChannel, SlackBot, Webhook};
use crate::definitions::channel;
use crate::domain::monitoring::news::channel::{ChannelDefinition, ChannelPlace, ChannelSecret, variable};
use crate::http::ClientOptions;
use crate::runtime::monitoring::messenger::ConfiguredChannel;
use crate::secrets::SHORT;
use crate::settings::{Settings, Vars, lookup};

pub(super) fn definitions(settings: &Settings) -> Result<Vec<ChannelDefinition>, CommandError> {
    channel::load(&settings.channels_dir).map_err(CommandError::configuration)
}

/// The variables that a channel reads.
pub(super) fn variables(definition: &ChannelDefinition) -> impl Iterator<Item = String> {
    definition.place.secrets().iter().map(|(secret, _)| variable(&definition.name, *secret))
}

/// Returns every enabled channel, ready to send.
///
/// # Errors
/// Every configuration error: in the definitions, and each secret that is missing or unusable.
pub(super) fn configured(
    settings: &Settings,
    vars: &dyn Vars,
) -> Result<Vec<ConfiguredChannel>, CommandError> {
    let (mut channels, mut errors) = (Vec::new(), Vec::new());
    for definition in definitions(settings)?.into_iter().filter(|definition| definition.enabled) {
        match build(settings, vars, definition) {
            Ok(channel) => channels.push(channel),
            Err(error) => errors.extend(error.into_lines()),
        }
    }
    if errors.is_empty() { Ok(channels) } else { Err(CommandError::Configuration(errors)) }
}

/// Returns one channel, also a disabled one.
///
/// # Errors
/// If it is not defined or not configured.
pub(super) fn find(
    settings: &Settings,
    vars: &dyn Vars,
    name: &str,
) -> Result<ConfiguredChannel, CommandError> {
    let all = definitions(settings)?;
    let known: Vec<String> = all.iter().map(|definition| definition.name.clone()).collect();
    let found = all.into_iter().find(|definition| definition.name == name).ok_or_else(|| {
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        let folder = settings.channels_dir.display();
        CommandError::configuration([format!("unknown channel {name:?}; known in {folder}: {known}")])
    })?;
    build(settings, vars, found)
}

/// The channels of a daemon: in preview they only log.
pub(super) fn of_daemon(
    settings: &Settings,
    vars: &dyn Vars,
) -> Result<Vec<ConfiguredChannel>, CommandError> {
    let mut channels = configured(settings, vars)?;
    if !settings.live {
        for configured in &mut channels {
            configured.channel = Arc::new(PreviewChannel::default());
        }
    }
    Ok(channels)
}

fn build(
    settings: &Settings,
    vars: &dyn Vars,
    definition: ChannelDefinition,
) -> Result<ConfiguredChannel, CommandError> {
    let ChannelDefinition { name, place, rules, .. } = definition;
    let invalid = |what: String| CommandError::configuration([format!("channel {name}: {what}")]);
    let mut secrets: BTreeMap<&'static str, SecretString> = BTreeMap::new();
    for (secret, required) in place.secrets() {
        let variable = variable(&name, *secret);
        match lookup(vars, &variable).map_err(|problem| CommandError::configuration([problem]))? {
            Some(value) if value.trim().chars().count() < SHORT => {
                let detail = format!(
                    "{variable} has fewer than {SHORT} characters: too short to be redacted from logs"
                );
                return Err(invalid(detail));
            }
            Some(value) => drop(secrets.insert(secret.suffix(), SecretString::from(value.trim()))),
            None if *required => {
                return Err(invalid(format!("{variable} is missing; set it, or set `enabled = false`")));
            }
            None => {}
        }
    }
    let mut secret = |which: ChannelSecret| secrets.remove(which.suffix());
    let options = ClientOptions { network: compose::network(settings), keep_alive: false };
    let client = options.build().map_err(|e| CommandError::configuration([e]))?;
    let missing = SecretString::default;
    let channel: Result<Arc<dyn Channel>, String> = match &place {
        ChannelPlace::Slack { channel, api_url } => {
            let (token, variable) =
                (secret(ChannelSecret::Token).unwrap_or_else(missing), variable(&name, ChannelSecret::Token));
            SlackBot::new(client, api_url.as_deref(), channel, variable, &token)
                .map(|bot| Arc::new(bot) as Arc<dyn Channel>)
        }
        ChannelPlace::Webhook(format) => {
            let (url, signing) =
                (secret(ChannelSecret::Url).unwrap_or_else(missing), secret(ChannelSecret::Signing));
            let signing = signing.as_ref().filter(|signing| !signing.expose_secret().is_empty());
            Webhook::new(client, &name, *format, &url, signing).map(|hook| Arc::new(hook) as Arc<dyn Channel>)
        }
    };
    let channel = channel.map_err(invalid)?;
    Ok(ConfiguredChannel { kind: place.kind(), rules, channel, name })
}
