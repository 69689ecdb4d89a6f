//! `monitor mute` and `monitor unmute`: edit a definition and keep its comments.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use jiff::{SignedDuration, Timestamp};
use toml_edit::{DocumentMut, value};

use super::files;
use crate::commands::CommandError;
use crate::commands::completions::monitor_names;
use crate::commands::setting_flags::SettingFlags;
use crate::domain::monitoring::schedule::parse_duration;
use crate::domain::text;
use crate::runtime::clock::Clock;

const KEY: &str = "muted_until";

#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  data-sources-monitor monitor mute Snowflake --for 2h --why 'our own test'")]
pub struct MuteArgs {
    /// Name of the monitor
    #[arg(add = monitor_names())]
    pub name: String,
    /// For how long, such as 30m, 2h or 3d
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub duration: Duration,
    /// The reason, written as a comment into the definition
    #[arg(long, value_name = "TEXT")]
    pub why: Option<String>,
}

#[derive(Debug, Args)]
pub struct UnmuteArgs {
    /// Name of the monitor
    #[arg(add = monitor_names())]
    pub name: String,
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text)
        .filter(|d| !d.is_zero())
        .ok_or_else(|| "not a duration; examples: 30m, 2h, 3d".to_owned())
}

pub(super) fn mute(flags: &SettingFlags, args: &MuteArgs) -> Result<ExitCode, CommandError> {
    let now = Clock::system().now();
    let until = SignedDuration::try_from(args.duration).ok().and_then(|wait| now.checked_add(wait).ok());
    let until = until.ok_or_else(|| CommandError::configuration(["--for: the end is out of range"]))?;
    let until = Timestamp::from_second(until.as_second()).context("the end is out of range")?;
    let time: toml_edit::Datetime = until.to_string().parse().context("cannot write the time")?;
    edit(flags, &args.name, |document| {
        let mut time = value(time);
        if let (Some(why), Some(written)) = (&args.why, time.as_value_mut()) {
            written.decor_mut().set_suffix(format!(" # {}", text::plain(why)));
        }
        document.insert(KEY, time);
    })?;
    say!("{} is left out of the banner until {}.", args.name, until.strftime("%Y-%m-%d %H:%M UTC"));
    Ok(ExitCode::SUCCESS)
}

pub(super) fn unmute(flags: &SettingFlags, args: &UnmuteArgs) -> Result<ExitCode, CommandError> {
    let mut was_muted = false;
    edit(flags, &args.name, |document| {
        was_muted = document.remove(KEY).is_some();
    })?;
    say!("{} {}.", args.name, if was_muted { "is no longer muted" } else { "was not muted" });
    Ok(ExitCode::SUCCESS)
}

fn edit(flags: &SettingFlags, name: &str, change: impl FnOnce(&mut DocumentMut)) -> Result<(), CommandError> {
    let settings = flags.settings()?;
    let (file, text) = files::of_monitor(&settings, name)?;
    let text = edited(&text, change).with_context(|| format!("cannot edit {}", file.display()))?;
    files::check(&settings, &file, &text)?;
    files::replace(&file, &text)
}

/// Comments, order and line breaks stay.
fn edited(text: &str, change: impl FnOnce(&mut DocumentMut)) -> anyhow::Result<String> {
    let unmarked = text.trim_start_matches('\u{feff}');
    let mut document: DocumentMut = unmarked.parse()?;
    change(&mut document);
    let mut written = document.to_string();
    // The writer turns all line breaks into `\n`.
    if text.contains("\r\n") {
        written = written.replace("\r\n", "\n").replace('\n', "\r\n");
    }
    Ok(format!("{}{written}", &text[..text.len() - unmarked.len()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_order_are_kept() {
        let time = || value("2026-12-01T08:00:00Z".parse::<toml_edit::Datetime>().unwrap());
        let mute = |document: &mut DocumentMut| drop(document.insert(KEY, time()));
        let unmute = |document: &mut DocumentMut| drop(document.remove(KEY));
        let keys = "# Ours.\nname = \"A\" # the name\n\nurl = \"https://a.test\"\n";
        let tables = "\n# Remapped.\n[severity]\nminor = \"none\" # enough\n# The end.\n";
        for (mark, line_break) in [("", "\n"), ("", "\r\n"), ("\u{feff}", "\r\n")] {
            let text = |text: String| format!("{mark}{}", text.replace('\n', line_break));
            let before = text(format!("{keys}{tables}"));
            let muted = text(format!("{keys}muted_until = 2026-12-01T08:00:00Z\n{tables}"));
            assert_eq!(edited(&before, mute).unwrap(), muted);
            assert_eq!(edited(&muted, unmute).unwrap(), before);
        }
    }
}
