//! Flags that every command accepts: the file of settings, and the two settings that change most often.

use std::path::{Path, PathBuf};

use clap::Args;

use super::CommandError;
use super::preflight::names_and_folders;
use crate::settings::{FlagValue, ProcessVars, Settings, Vars};

const ENV_FILE: &str = ".env";

#[derive(Debug, Clone, Default, Args)]
pub struct SettingFlags {
    /// Read settings from this file instead of `.env` in the working directory
    #[arg(long, global = true, value_name = "FILE", help_heading = "Settings", value_hint = clap::ValueHint::FilePath)]
    env_file: Option<PathBuf>,
    /// Folder of the state database and the synced tables; overrides DATA_DIR
    #[arg(long, global = true, value_name = "DIR", help_heading = "Settings", value_hint = clap::ValueHint::DirPath)]
    data_dir: Option<String>,
    /// Log level: error, warn, info, debug, trace, or filter directives; overrides LOG_LEVEL
    #[arg(long, global = true, value_name = "LEVEL", help_heading = "Settings")]
    log_level: Option<String>,
}

impl SettingFlags {
    /// Reads the variables, with the problems of those that cannot be read.
    pub(super) fn process_vars(&self) -> ProcessVars {
        let vars = match &self.env_file {
            Some(path) => ProcessVars::load_named(path),
            None => ProcessVars::load(Path::new(ENV_FILE)),
        };
        vars.with_flags(self.values())
    }

    /// Reads the variables.
    ///
    /// # Errors
    /// If one of them cannot be read.
    pub(super) fn vars(&self) -> Result<ProcessVars, CommandError> {
        let vars = self.process_vars();
        if vars.problems().is_empty() { Ok(vars) } else { Err(CommandError::configuration(vars.problems())) }
    }

    /// Reads the settings.
    ///
    /// # Errors
    /// If a setting is invalid or unknown.
    pub(super) fn settings(&self) -> Result<Settings, CommandError> {
        let vars = self.process_vars();
        let (settings, problems) = Settings::read(&vars);
        let mut errors: Vec<String> = problems.iter().map(ToString::to_string).collect();
        errors.extend(names_and_folders(&settings, &vars));
        if errors.is_empty() { Ok(settings) } else { Err(CommandError::Configuration(errors)) }
    }

    pub(super) fn data_dir(&self) -> Option<&Path> {
        self.data_dir.as_deref().map(Path::new)
    }

    pub(super) fn log_level(&self) -> Option<&str> {
        self.log_level.as_deref()
    }

    fn values(&self) -> Vec<FlagValue> {
        let flags =
            [("DATA_DIR", "--data-dir", &self.data_dir), ("LOG_LEVEL", "--log-level", &self.log_level)];
        let set = flags
            .into_iter()
            .filter_map(|(variable, flag, value)| Some(FlagValue { variable, flag, value: value.clone()? }));
        set.collect()
    }
}
