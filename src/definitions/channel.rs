//! `channels/*.toml` → channels.
//!
//! Start at [`load`]. Secrets are variables and not part of a definition.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use toml::de::DeTable;

use super::audience::audience;
use super::keys::{File, Keys};
use super::{DefinitionError, misnamed, toml_files};
use crate::domain::monitoring::news::channel::{
    ChannelDefinition, ChannelPlace, ChannelRules, ChannelSecret, WebhookFormat, variable,
};
use crate::domain::monitoring::severity::Severity;
use crate::domain::text;
use crate::domain::urls::check_url;

/// Longer names would make unreadable variables.
const MAX_NAME: usize = 40;

/// More frequent reminders would be ignored.
const MIN_REMINDER: Duration = Duration::from_secs(60);

/// Reads the folder. There are no channels if it does not exist. Returns all channels, sorted by name.
///
/// # Errors
/// Every configuration error of every file, and names that are used twice.
pub fn load(folder: &Path) -> Result<Vec<ChannelDefinition>, Vec<DefinitionError>> {
    let files = match toml_files(folder) {
        Ok(files) => files,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => {
            let message = format!("cannot be read: {e}");
            return Err(vec![DefinitionError { file: folder.display().to_string(), at: None, message }]);
        }
    };
    let mut errors = misnamed(folder);
    let mut channels: BTreeMap<String, (ChannelDefinition, String)> = BTreeMap::new();
    for path in files {
        let file = path.display().to_string();
        let whole = |message: String| vec![DefinitionError { file: file.clone(), at: None, message }];
        let text = std::fs::read_to_string(&path).map_err(|e| whole(format!("cannot be read: {e}")));
        match text.and_then(|text| read_one(&file, &text)) {
            Err(more) => errors.extend(more),
            Ok(channel) => {
                let name = channel.name.clone();
                let one = variable(&name, ChannelSecret::Url);
                if let Some((other, place)) = channels.insert(one.clone(), (channel, file.clone())) {
                    let message = if other.name == name {
                        format!("the name `{name}` is already used by {place}; names must be unique")
                    } else {
                        let other = other.name;
                        format!(
                            "`{name}` and `{other}` of {place} would share the variable {one}; rename one"
                        )
                    };
                    errors.extend(whole(message));
                }
            }
        }
    }
    if errors.is_empty() {
        Ok(channels.into_values().map(|(channel, _)| channel).collect())
    } else {
        Err(errors)
    }
}

fn read_one(file: &str, text: &str) -> Result<ChannelDefinition, Vec<DefinitionError>> {
    let mut file = File::new(file, text.trim_start_matches('\u{feff}'));
    let read = file.parse().map(|table| read_table(&mut file, table));
    match read.flatten() {
        Some(read) if file.errors.is_empty() => Ok(read),
        _ => {
            file.errors.sort_by_key(|error| error.at);
            Err(file.errors)
        }
    }
}

fn read_table<'a>(file: &mut File<'a>, table: DeTable<'a>) -> Option<ChannelDefinition> {
    let mut keys = Keys::of(file, table);
    let name = name(&mut keys);
    let enabled = keys.flag("enabled").unwrap_or(true);
    let mut audience = audience(&mut keys);
    if !keys.flag("maintenance").unwrap_or(true) {
        audience.min_severity = audience.min_severity.max(Severity::Minor);
    }
    let resolved = keys.flag("resolved").unwrap_or(true);
    let remind_after = keys.duration("remind_after", MIN_REMINDER);
    let place = match keys.text("kind") {
        Some((kind, _)) if kind == "slack" => slack(&mut keys),
        Some((kind, _)) if kind == "webhook" => webhook(&mut keys).map(ChannelPlace::Webhook),
        Some((other, at)) => {
            keys.wrong(at, format!("unknown kind `{other}`; known: slack, webhook"));
            return None;
        }
        None => {
            keys.missing("`kind` is missing; known: slack, webhook");
            return None;
        }
    };
    keys.finish();
    let (name, place) = (name?, place?);
    let (in_place, spacing) = (place.in_place(), place.spacing());
    let rules = ChannelRules { audience, resolved, remind_after, in_place, spacing };
    Some(ChannelDefinition { name, enabled, place, rules })
}

fn name(keys: &mut Keys<'_, '_>) -> Option<String> {
    let Some((name, at)) = keys.text("name") else {
        keys.missing("`name` is missing (example: name = \"ops\")");
        return None;
    };
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic());
    if !starts || !name.chars().all(letter) || name.len() > MAX_NAME {
        let message = format!(
            "`name` must be a letter followed by letters, digits, - and _, at most {MAX_NAME} characters; it names the variables of the secrets"
        );
        keys.wrong(at, message);
        return None;
    }
    Some(name)
}

fn slack(keys: &mut Keys<'_, '_>) -> Option<ChannelPlace> {
    if let Some(at) = keys.place("format") {
        let _ = keys.value("format");
        keys.wrong(at, "`format` is of kind webhook; a Slack bot has one format");
    }
    let channel = match keys.text("channel") {
        Some((channel, _)) if !channel.trim().is_empty() && text::plain(&channel) == channel => Some(channel),
        Some((_, at)) => {
            keys.wrong(at, "`channel` must be the id or the name of a channel (example: \"#data-status\")");
            None
        }
        None => {
            keys.missing("`channel` is missing (example: channel = \"#data-status\")");
            None
        }
    };
    let mut api_url = None;
    if let Some((url, at)) = keys.text("api_url") {
        match check_url(&url, false) {
            Ok(()) => api_url = Some(url),
            Err(why) => keys.wrong(at, format!("`api_url`: {why}")),
        }
    }
    Some(ChannelPlace::Slack { channel: channel?, api_url })
}

fn webhook(keys: &mut Keys<'_, '_>) -> Option<WebhookFormat> {
    if let Some(at) = keys.place("url") {
        let _ = keys.value("url");
        // Who knows the address may send messages.
        keys.wrong(
            at,
            "the address of a webhook is a secret: remove `url`, and set the variable CHANNEL_<NAME>_URL",
        );
    }
    let Some((word, at)) = keys.text("format") else { return Some(WebhookFormat::Json) };
    let format = WebhookFormat::ALL.into_iter().find(|format| format.as_str() == word);
    if format.is_none() {
        let known = WebhookFormat::ALL.map(WebhookFormat::as_str).join(", ");
        keys.wrong(at, format!("unknown format `{word}`; known: {known}"));
    }
    format
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str) -> String {
        let errors = read_one("c.toml", text).unwrap_err();
        errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn reads_all_keys() {
        let text = r##"
            name = "data-ops"
            kind = "slack"
            channel = "#data-status"
            monitors = ["snowflake*", "tag:warehouse"]
            ignore_monitors = ["*sandbox*"]
            severity = { minor = "major" }
            maintenance = false
            resolved = false
            remind_after = "4h"
        "##;
        let channel = read_one("c.toml", text).unwrap();
        assert!(channel.enabled);
        assert_eq!(channel.place, ChannelPlace::Slack { channel: "#data-status".to_owned(), api_url: None });
        let ChannelRules { audience, resolved, remind_after, in_place, .. } = channel.rules;
        assert_eq!((audience.min_severity, resolved, in_place), (Severity::Minor, false, true));
        assert_eq!((audience.monitors.len(), audience.ignore.len()), (2, 1));
        assert_eq!(remind_after, Some(Duration::from_secs(4 * 3600)));
        let hook = read_one("c.toml", "name = \"h\"\nkind = \"webhook\"\nformat = \"teams\"").unwrap();
        assert_eq!((hook.place, hook.rules.in_place), (ChannelPlace::Webhook(WebhookFormat::Teams), false));
    }

    #[test]
    fn reports_all_errors_with_their_positions() {
        let text = "name = \"1 x\"\nkind = \"slack\"\nformat = \"json\"\nresolved = 1\nremind_after = \"1s\"\napi_url = \"http://a.test\"\nmonitors = []\nicon = \"x\"\n";
        insta::assert_snapshot!(errors(text), @r##"
        c.toml: `channel` is missing (example: channel = "#data-status")
        c.toml:1:8: `name` must be a letter followed by letters, digits, - and _, at most 40 characters; it names the variables of the secrets
        c.toml:3:10: `format` is of kind webhook; a Slack bot has one format
        c.toml:4:12: `resolved` must be true or false
        c.toml:5:16: `remind_after` must be a duration in quotes of at least 60s (examples: "90s", "2h")
        c.toml:6:11: `api_url`: credentials are only sent over https (plain http only to this machine)
        c.toml:7:12: `monitors` must not be empty; leave it out instead
        c.toml:8:1: unknown key `icon`; known here: name, enabled, monitors, ignore_monitors, severity, min_severity, maintenance, resolved, remind_after, kind, format, channel, api_url
        "##);
        insta::assert_snapshot!(errors("name = \"h\"\nkind = \"webhook\"\nformat = \"xml\"\nurl = \"https://a.test\"\nchannel = \"x\"\n"), @r#"
        c.toml:3:10: unknown format `xml`; known: json, slack, teams, apprise
        c.toml:4:7: the address of a webhook is a secret: remove `url`, and set the variable CHANNEL_<NAME>_URL
        c.toml:5:1: unknown key `channel`; known here: name, enabled, monitors, ignore_monitors, severity, min_severity, maintenance, resolved, remind_after, kind, url, format
        "#);
        assert!(errors("kind = \"mail\"").contains("unknown kind `mail`; known: slack, webhook"));
        assert!(errors("name = \"x\"").contains("`kind` is missing"));
    }

    #[test]
    fn names_and_their_variables_are_unique() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(load(&folder.path().join("none")).unwrap(), []);
        let write = |file: &str, name: &str, more: &str| {
            let text = format!("name = \"{name}\"\nkind = \"webhook\"\n{more}");
            std::fs::write(folder.path().join(file), text).unwrap();
        };
        write("a.toml", "data-ops", "");
        write("b.toml", "other", "");
        assert_eq!(load(folder.path()).unwrap().len(), 2);
        write("b.toml", "Data_Ops", "");
        let error = load(folder.path()).unwrap_err().remove(0).to_string();
        assert!(error.contains("would share the variable CHANNEL_DATA_OPS_URL"), "{error}");
        write("b.toml", "data-ops", "");
        let error = load(folder.path()).unwrap_err().remove(0).to_string();
        assert!(error.contains("is already used by"), "{error}");
    }
}
