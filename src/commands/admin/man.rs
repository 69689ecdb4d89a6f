//! `man`: prints or writes manual pages for man(1).

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Command};
use clap_mangen::{Man, generate_to};

use crate::commands::CommandError;

#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  data-sources-monitor man | man -l -
  data-sources-monitor man --dir /usr/local/share/man/man1")]
pub struct ManArgs {
    /// Write one manual page per command into this folder instead of printing the main one
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub dir: Option<PathBuf>,
}

pub(crate) fn man(command: Command, args: &ManArgs) -> Result<ExitCode, CommandError> {
    if let Some(dir) = &args.dir {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        generate_to(command, dir).with_context(|| format!("cannot write into {}", dir.display()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut page = Vec::new();
    Man::new(command).render(&mut page).context("cannot print")?;
    std::io::stdout().lock().write_all(&page).context("cannot print")?;
    Ok(ExitCode::SUCCESS)
}
