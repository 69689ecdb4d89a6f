//! `restore`: restores the databases of a backup. All files are copied and checked before the first one is replaced.

use std::fs::File;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow, ensure};
use clap::Args;
use indicatif::HumanBytes;
use rusqlite::{Connection, OpenFlags};

use super::{FORMAT, MANIFEST, Manifest, databases, refuse_server, sync};
use crate::commands::CommandError;
use crate::commands::setting_flags::SettingFlags;
use crate::destinations::sqlite::file::DatabaseFile;
use crate::domain::text::counted;
use crate::runtime::clock::Clock;
use crate::store::Store;

/// The state database of the daemon. All other databases belong to connectors.
const STATE: &str = "monitor.db";

/// Endings of the files that SQLite stores next to a database. A stale write-ahead log would corrupt the restored file.
const COMPANIONS: [&str; 2] = ["-wal", "-shm"];

#[derive(Debug, Args)]
#[command(after_long_help = "\
Stop the daemon first. With --force, replaced databases are moved to
DATA_DIR/replaced-TIME.

Examples:
  data-sources-monitor restore /backup/monitor-2026-11-29
  data-sources-monitor restore --force /backup/monitor-2026-11-29")]
pub struct RestoreArgs {
    /// Folder that `backup` wrote
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub dir: PathBuf,
    /// Replace databases that exist in DATA_DIR
    #[arg(long)]
    pub force: bool,
}

pub(crate) fn restore(flags: &SettingFlags, args: &RestoreArgs) -> Result<ExitCode, CommandError> {
    let settings = flags.settings()?;
    refuse_server(&settings, "pg_restore --clean --if-exists --dbname=DATABASE FILE")?;
    let manifest = read_manifest(&args.dir)?;
    let folder = &settings.data_dir;
    let _locks = lock(folder, &manifest)?;
    let existing = databases(folder)?;
    let is_restored = |name: &String| manifest.files.iter().any(|file| file.name == *name);
    let (replaced, left): (Vec<String>, Vec<String>) = existing.into_iter().partition(is_restored);
    if !replaced.is_empty() && !args.force {
        let (folder, names) = (folder.display(), replaced.join(", "));
        return Err(anyhow!("{folder} already contains {names}; use --force to replace them").into());
    }
    let staging = Staging::create(folder)?;
    for file in &manifest.files {
        let (from, to) = (args.dir.join(&file.name), staging.0.join(&file.name));
        std::fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    check_databases(&staging.0, &manifest)?;
    let owner = Owner::of(folder)?;
    for file in &manifest.files {
        owner.give(&staging.0.join(&file.name))?;
    }
    let aside = Swap::new(folder).run(&staging.0, &manifest)?;
    let locks = manifest.files.iter().map(|file| folder.join(format!("{}.lock", file.name)));
    for path in locks.chain([folder.join("monitor.lock")]).chain(aside.clone()) {
        owner.give(&path)?;
    }
    for file in &manifest.files {
        say!("{:<32} {}", file.name, HumanBytes(file.bytes));
    }
    say!(
        "Restored {} of {:.0} into {}",
        counted(manifest.files.len() as u64, "database"),
        manifest.created_at,
        folder.display()
    );
    if let Some(aside) = aside {
        say!("The replaced databases are in {}; delete it when you no longer need them", aside.display());
    }
    if !left.is_empty() {
        say!("Not in the backup and not changed: {}", left.join(", "));
    }
    Ok(ExitCode::SUCCESS)
}

fn read_manifest(dir: &Path) -> anyhow::Result<Manifest> {
    let list = dir.join(MANIFEST);
    let place = list.display();
    let text = std::fs::read_to_string(&list)
        .with_context(|| format!("{} is not a backup: cannot read {MANIFEST}", dir.display()))?;
    let manifest: Manifest = serde_json::from_str(&text).with_context(|| format!("cannot read {place}"))?;
    let (found, version) = (manifest.format, &manifest.version);
    ensure!(found <= FORMAT, "{place}: written by a later version ({version}); update the program");
    ensure!(!manifest.files.is_empty(), "{place}: lists no files");
    for file in &manifest.files {
        let plain = Path::new(&file.name).file_name().is_some_and(|name| name == file.name.as_str());
        ensure!(
            plain && file.name.ends_with(".db"),
            "{place}: {:?} is not the name of a database file",
            file.name
        );
        let path = dir.join(&file.name);
        let about = std::fs::metadata(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let (is, was) = (about.len(), file.bytes);
        ensure!(is == was, "{}: {is} bytes instead of {was}; the backup is damaged", path.display());
    }
    Ok(manifest)
}

/// Takes the locks of the daemon and of every sync.
fn lock(folder: &Path, manifest: &Manifest) -> Result<Vec<File>, CommandError> {
    let mut locks = vec![Store::lock(folder)?];
    let mut names = databases(folder)?;
    names.extend(manifest.files.iter().map(|file| file.name.clone()));
    names.retain(|name| name != STATE);
    names.sort();
    names.dedup();
    for name in names {
        locks.push(DatabaseFile::new(&folder.join(name)).lock().map_err(anyhow::Error::from)?);
    }
    Ok(locks)
}

/// Checks the integrity of each copy and opens it as the daemon would, which migrates its schema or rejects it.
fn check_databases(staging: &Path, manifest: &Manifest) -> anyhow::Result<()> {
    for file in &manifest.files {
        let path = staging.join(&file.name);
        let of_backup = || format!("cannot use {} of the backup", file.name);
        read_whole(&path).with_context(of_backup)?;
        if file.name == STATE {
            let (store, closer, _) = Store::open_undamaged(staging).with_context(of_backup)?;
            drop(store);
            closer.join();
        } else {
            // Closing moves everything from the write-ahead log into the file.
            drop(DatabaseFile::new(&path).open().with_context(of_backup)?);
        }
        sync(&path)?;
    }
    Ok(())
}

fn read_whole(path: &Path) -> anyhow::Result<()> {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let found: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    ensure!(found == "ok", "{found}");
    Ok(())
}

/// Owner of DATA_DIR. Files that root restores must be writable by the service's user.
struct Owner(Option<(u32, u32)>);

impl Owner {
    fn of(folder: &Path) -> anyhow::Result<Owner> {
        let about = std::fs::metadata(folder).with_context(|| format!("cannot read {}", folder.display()))?;
        let is_other = rustix::process::geteuid().is_root() && about.uid() != 0;
        Ok(Owner(is_other.then(|| (about.uid(), about.gid()))))
    }

    fn give(&self, path: &Path) -> anyhow::Result<()> {
        let Some((user, group)) = self.0.filter(|_| path.exists()) else { return Ok(()) };
        chown(path, Some(user), Some(group))
            .with_context(|| format!("cannot give {} to user {user}", path.display()))
    }
}

/// A folder in DATA_DIR, because a rename is atomic only within one file system.
struct Staging(PathBuf);

impl Staging {
    fn create(folder: &Path) -> anyhow::Result<Staging> {
        let path = folder.join("restore.partial");
        // An interrupted restore may have left files here.
        let _ = std::fs::remove_dir_all(&path);
        let created = std::fs::DirBuilder::new().mode(0o700).create(&path);
        created.with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Staging(path))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Moves files, and moves all of them back if one cannot be moved.
struct Swap<'a> {
    folder: &'a Path,
    aside: PathBuf,
    moved: Vec<(PathBuf, PathBuf)>,
}

impl<'a> Swap<'a> {
    fn new(folder: &'a Path) -> Swap<'a> {
        let time = Clock::system().now().strftime("%Y%m%dT%H%M%SZ").to_string();
        Swap { folder, aside: folder.join(format!("replaced-{time}")), moved: Vec::new() }
    }

    /// Moves the replaced files aside and the new files into place. Returns the folder of the replaced files, if there are any.
    fn run(mut self, staging: &Path, manifest: &Manifest) -> anyhow::Result<Option<PathBuf>> {
        match self.move_all(staging, manifest) {
            Ok(()) => {
                sync(self.folder)?;
                Ok(Some(self.aside).filter(|aside| aside.exists()))
            }
            Err(error) => {
                for (from, to) in self.moved.iter().rev() {
                    std::fs::rename(to, from)
                        .with_context(|| format!("{error:#}; cannot undo: {} stays", to.display()))?;
                }
                let _ = std::fs::remove_dir(&self.aside);
                Err(error.context("nothing was restored"))
            }
        }
    }

    fn move_all(&mut self, staging: &Path, manifest: &Manifest) -> anyhow::Result<()> {
        for file in &manifest.files {
            let names = [&file.name].into_iter().cloned();
            let names = names.chain(COMPANIONS.map(|ending| format!("{}{ending}", file.name)));
            for name in names {
                let from = self.folder.join(&name);
                if from.exists() {
                    std::fs::create_dir_all(&self.aside)
                        .with_context(|| format!("cannot create {}", self.aside.display()))?;
                    self.rename(from, self.aside.join(&name))?;
                }
            }
            self.rename(staging.join(&file.name), self.folder.join(&file.name))?;
        }
        Ok(())
    }

    fn rename(&mut self, from: PathBuf, to: PathBuf) -> anyhow::Result<()> {
        std::fs::rename(&from, &to).with_context(|| format!("cannot move {}", from.display()))?;
        self.moved.push((from, to));
        Ok(())
    }
}
