//! `backup` copies the databases of DATA_DIR while daemons and syncs may be running; `restore` puts them back while none is.
//!
//! A backup is a folder with one file per database and `backup.json`, which lists them. Databases on a PostgreSQL server
//! are backed up with the server's own tools.

pub mod restore;

use std::fs::File;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use indicatif::HumanBytes;
use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags};
use serde::{Deserialize, Serialize};

use crate::commands::setting_flags::SettingFlags;
use crate::commands::{CommandError, compose};
use crate::domain::text::counted;
use crate::runtime::clock::Clock;
use crate::settings::Settings;

/// Lists the files of a backup.
const MANIFEST: &str = "backup.json";

/// Increased when older versions of the program can no longer restore a backup.
const FORMAT: u32 = 1;

/// A writer may hold a lock briefly when the database is opened; the snapshot itself waits for no lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  data-sources-monitor backup /backup/monitor-$(date +%F)
  data-sources-monitor backup --data-dir /srv/monitor/data /backup/monitor")]
pub struct BackupArgs {
    /// Folder to create; it must not exist
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub dir: PathBuf,
}

#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    format: u32,
    /// Version of the program that wrote the backup, for the error of a version that cannot read it.
    version: String,
    created_at: Timestamp,
    files: Vec<ManifestFile>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ManifestFile {
    name: String,
    bytes: u64,
}

pub(crate) fn backup(flags: &SettingFlags, args: &BackupArgs) -> Result<ExitCode, CommandError> {
    let settings = flags.settings()?;
    refuse_server(&settings, "pg_dump --format=custom --file=FILE DATABASE")?;
    let names = databases(&settings.data_dir)?;
    let from = settings.data_dir.display();
    if names.is_empty() {
        return Err(anyhow::anyhow!("nothing to back up: no database in {from}").into());
    }
    let partial = PartialFolder::create(&args.dir)?;
    let mut files = Vec::new();
    for name in names {
        let to = partial.path.join(&name);
        snapshot(&settings.data_dir.join(&name), &to)?;
        let bytes = File::open(&to).and_then(|file| file.metadata()).context("cannot read the copy")?.len();
        say!("{name:<32} {}", HumanBytes(bytes));
        files.push(ManifestFile { name, bytes });
    }
    let (count, total) = (files.len(), files.iter().map(|file| file.bytes).sum());
    let version = env!("VERSION_LINE").to_owned();
    let manifest = Manifest { format: FORMAT, version, created_at: Clock::system().now(), files };
    let text = serde_json::to_string_pretty(&manifest).context("cannot write the list of files")?;
    let list = partial.path.join(MANIFEST);
    std::fs::write(&list, text + "\n").with_context(|| format!("cannot write {}", list.display()))?;
    partial.finish(&args.dir)?;
    say!(
        "Backed up {} of {from} to {}, {}",
        counted(count as u64, "database"),
        args.dir.display(),
        HumanBytes(total)
    );
    Ok(ExitCode::SUCCESS)
}

/// Fails if the data is on a server, and names the tool to use instead.
fn refuse_server(settings: &Settings, instead: &str) -> Result<(), CommandError> {
    let Some(database) = compose::database(settings)? else { return Ok(()) };
    let name = database.name();
    Err(CommandError::configuration([format!(
        "DATABASE_URL: state and tables are in PostgreSQL at {name}; use its own tools (`{instead}`)"
    )]))
}

/// Returns the sorted names of a folder's database files: `monitor.db` and one per connector.
fn databases(folder: &Path) -> anyhow::Result<Vec<String>> {
    let entries = match std::fs::read_dir(folder) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("cannot read {}", folder.display()))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.with_context(|| format!("cannot read {}", folder.display()))?.file_name();
        names.extend(name.into_string().ok().filter(|name| name.ends_with(".db")));
    }
    names.sort();
    Ok(names)
}

/// Copies a consistent snapshot of a database, without its free pages. Writers are not blocked.
fn snapshot(from: &Path, to: &Path) -> anyhow::Result<()> {
    let place = from.display();
    let copy = || {
        let db = Connection::open_with_flags(from, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        db.busy_timeout(BUSY_TIMEOUT)?;
        db.execute("VACUUM INTO ?1", [to.to_string_lossy()])
    };
    copy().with_context(|| format!("cannot copy {place}"))?;
    sync(to)
}

/// Flushes a file or folder to disk.
fn sync(path: &Path) -> anyhow::Result<()> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.with_context(|| format!("cannot write {}", path.display()))
}

/// A folder next to the requested one. It is renamed when the backup is complete, and removed otherwise.
struct PartialFolder {
    path: PathBuf,
}

impl PartialFolder {
    fn create(dir: &Path) -> anyhow::Result<PartialFolder> {
        ensure!(
            std::fs::symlink_metadata(dir).is_err(),
            "{} already exists; choose another name",
            dir.display()
        );
        let mut name = dir.file_name().context("the backup needs a name")?.to_owned();
        // The process id keeps the folder apart from those of other backups.
        name.push(format!(".partial-{}", std::process::id()));
        let path = dir.with_file_name(name);
        if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            std::fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
        }
        let created = std::fs::DirBuilder::new().mode(0o700).create(&path);
        created.with_context(|| format!("cannot create {}", path.display()))?;
        Ok(PartialFolder { path })
    }

    fn finish(self, dir: &Path) -> anyhow::Result<()> {
        sync(&self.path)?;
        std::fs::rename(&self.path, dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
        sync(parent.unwrap_or(Path::new(".")))
    }
}

impl Drop for PartialFolder {
    fn drop(&mut self) {
        // A complete backup was renamed, so this removes nothing then.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
