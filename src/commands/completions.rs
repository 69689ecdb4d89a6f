//! Shell completion: the script to install, and the candidates that this program returns to it.
//!
//! The script calls the program at each completion, so the names of connectors, monitors and channels are always current.

use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::Command;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use clap_complete::{CompleteEnv, Shell, env::Shells};

use crate::commands::CommandError;
use crate::commands::setting_flags::SettingFlags;
use crate::definitions::{channel, connector, monitor};
use crate::settings::Settings;

/// The script requests completions with this variable. The default name, `COMPLETE`, may be set for another purpose.
const REQUEST_VARIABLE: &str = "DATA_SOURCES_MONITOR_COMPLETE";

pub const PROGRAM: &str = "data-sources-monitor";

/// zsh loads the script from a folder at the first completion, so the script must complete that one itself.
const ZSH_FIRST_CALL: &str = r#"
if [[ "${funcstack[1]}" == _data-sources-monitor ]]; then
    _clap_dynamic_completer_data_sources_monitor "$@"
fi"#;

/// If a shell requests completions, prints them and exits. Must be called before anything is printed.
pub fn answer_shell(command: fn() -> Command) {
    CompleteEnv::with_factory(command).var(REQUEST_VARIABLE).complete();
}

pub(crate) fn completions(shell: Shell) -> Result<ExitCode, CommandError> {
    let shells = Shells::builtins();
    let completer =
        shells.completer(&shell.to_string()).ok_or_else(|| anyhow!("no completion for {shell}"))?;
    let mut script = Vec::new();
    completer
        .write_registration(REQUEST_VARIABLE, PROGRAM, PROGRAM, PROGRAM, &mut script)
        .context("cannot write")?;
    say!("{}", String::from_utf8_lossy(&script).trim_end());
    if shell == Shell::Zsh {
        say!("{ZSH_FIRST_CALL}");
    }
    Ok(ExitCode::SUCCESS)
}

pub fn connector_names() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let definitions = connector::load(&settings().connectors_dir).unwrap_or_default();
        definitions.into_iter().map(|definition| CompletionCandidate::new(definition.name)).collect()
    })
}

pub fn channel_names() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let definitions = channel::load(&settings().channels_dir).unwrap_or_default();
        definitions.into_iter().map(|definition| CompletionCandidate::new(definition.name)).collect()
    })
}

pub fn monitor_names() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let settings = settings();
        let loaded = monitor::load(&settings.monitors_dir, &settings.engines_dir);
        let monitors = loaded.map(|loaded| loaded.0).unwrap_or_default();
        monitors.into_iter().map(|monitor| CompletionCandidate::new(monitor.name)).collect()
    })
}

/// Ignores configuration errors: they must not be printed while a person types.
fn settings() -> Settings {
    Settings::read(&SettingFlags::default().process_vars()).0
}
