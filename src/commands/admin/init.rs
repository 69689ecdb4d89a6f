//! `init`: writes the initial files of an installation. Existing files are not overwritten.

use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use crate::commands::CommandError;
use crate::definitions::monitor;

const ENV_EXAMPLE: &str = include_str!("../../../.env.example");
const CONNECTOR_EXAMPLE: &str = include_str!("../../../connectors/example.toml");

/// For `.env`, which will contain secrets.
const PRIVATE: u32 = 0o600;
const READABLE: u32 = 0o644;

#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  data-sources-monitor init               write into the working directory
  data-sources-monitor init /srv/monitor  write into another folder")]
pub struct InitArgs {
    /// Folder to write into; created if it does not exist
    #[arg(default_value = ".", value_hint = clap::ValueHint::DirPath)]
    pub dir: PathBuf,
}

pub(crate) fn init(args: &InitArgs) -> Result<ExitCode, CommandError> {
    let dir = &args.dir;
    create_folder(dir)?;
    write_new(&dir.join(".env"), ENV_EXAMPLE, PRIVATE)?;
    write_folder(&dir.join("monitors"), &monitor::BUILT_IN)?;
    write_folder(&dir.join("connectors"), &[("example.toml", CONNECTOR_EXAMPLE)])?;
    say!("");
    say!("Next steps:");
    let steps = [
        "set QLIK_TENANT_URL and QLIK_API_KEY in .env; without them the daemon runs in preview and writes no banner",
        "choose the status pages in monitors/, one file each",
        "data-sources-monitor validate    # reports every configuration error",
        "data-sources-monitor check       # polls every status page once",
        "data-sources-monitor             # runs the daemon; dashboard at http://127.0.0.1:8080",
    ];
    let here = dir.as_path() == Path::new(".");
    let enter = (!here).then(|| format!("cd {}", dir.display()));
    for (at, step) in enter.into_iter().chain(steps.map(str::to_owned)).enumerate() {
        say!("  {}. {step}", at + 1);
    }
    Ok(ExitCode::SUCCESS)
}

/// Fills a folder of definitions if it is empty. Otherwise files that were removed on purpose would come back.
fn write_folder(folder: &Path, files: &[(&str, &str)]) -> anyhow::Result<()> {
    if let Ok(mut entries) = std::fs::read_dir(folder)
        && entries.next().is_some()
    {
        say!("Skipped {}: it is not empty", folder.display());
        return Ok(());
    }
    create_folder(folder)?;
    files.iter().try_for_each(|(name, text)| write_new(&folder.join(name), text, READABLE))
}

fn create_folder(folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))
}

fn write_new(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let opened = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let place = path.display();
    match opened {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {
            say!("Skipped {place}: it already exists");
            Ok(())
        }
        opened => {
            let written = opened.and_then(|mut file| file.write_all(text.as_bytes()));
            written.with_context(|| format!("cannot write {place}"))?;
            say!("Wrote {place}");
            Ok(())
        }
    }
}
