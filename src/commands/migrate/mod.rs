//! `migrate`: a folder of SQLite files moved to PostgreSQL, and compared afterwards.
//!
//! Locks keep daemons and syncs away from both ends meanwhile. A table comes whole or not at all, and is noted, so that
//! this may be cut off and run again. The folder stays as it is. Start at `migrate`; the daemon's own memory is in
//! `memory`.

mod memory;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use secrecy::SecretString;
use tokio::sync::mpsc;

use super::{CommandError, compose};
use crate::database::Database;
use crate::destinations::DestinationError;
use crate::destinations::moved::Sum;
use crate::destinations::postgres::{Copied, Import};
use crate::destinations::sqlite::Export;
use crate::domain::op::TableShape;
use crate::settings::Settings;

/// Chunks between the reader and the writer: each is at most a thousand rows or some megabytes.
const CHANNEL: usize = 2;

/// The file of the daemon's own memory, which is no connector's.
const MEMORY: &str = "monitor";

/// What can be asked of `migrate`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  data-sources-monitor migrate                     from DATA_DIR to DATABASE_URL
  data-sources-monitor migrate --to postgres://dsm@db.example.com/acme --from /var/lib/data-sources-monitor
  (the password best comes from DATABASE_PASSWORD_FILE beside DATABASE_URL: arguments are seen by everybody)")]
pub struct MigrateArgs {
    /// Where to; DATABASE_URL where it is not given
    #[arg(long, value_name = "URL")]
    pub to: Option<String>,
    /// The folder to read; DATA_DIR where it is not given
    #[arg(long, value_name = "FOLDER")]
    pub from: Option<PathBuf>,
}

pub(super) async fn migrate(args: MigrateArgs) -> Result<ExitCode, CommandError> {
    let settings = compose::settings()?;
    let folder = args.from.unwrap_or_else(|| settings.data_dir.clone());
    let database = database(&settings, args.to)?;
    let names = connectors(&folder).map_err(|e| CommandError::configuration([format!("{e:#}")]))?;
    // Every lock before the first row: half a move that then meets a daemon helps nobody.
    let memory = memory::Source::open(&folder)?;
    let mut exports = Vec::new();
    for name in names {
        let path = folder.join(format!("{name}.db"));
        exports.push((name.clone(), Export::open(&path, &name).map_err(anyhow::Error::from)?));
    }
    say!("from {} to PostgreSQL at {}", folder.display(), database.name());
    for (name, export) in exports {
        connector(&database, &name, export).await.with_context(|| name.clone())?;
    }
    if let Some(memory) = memory {
        memory.copy(&database, super::daemon::schema(&settings)).await.context("the daemon's own memory")?;
    }
    say!(
        "Everything is there. For each daemon set DATABASE_URL=postgres://USER@{} (and DATABASE_PASSWORD, or the name of a file \
         in DATABASE_PASSWORD_FILE), and start it. {} was left as it is.",
        database.name(),
        folder.display()
    );
    Ok(ExitCode::SUCCESS)
}

fn database(settings: &Settings, to: Option<String>) -> Result<Database, CommandError> {
    let Some(to) = to else {
        let missing = "where to? Set DATABASE_URL, or name the server with --to";
        return compose::database(settings)?.ok_or_else(|| CommandError::configuration([missing]));
    };
    // What is set beside DATABASE_URL belongs to that.
    let to = SecretString::from(to);
    Database::new(&to, None, settings.extra_ca.as_deref())
        .map_err(|e| CommandError::configuration([e.to_string().replacen("DATABASE_URL", "--to", 1)]))
}

/// The connectors that have a file in a folder.
fn connectors(folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry.with_context(|| format!("cannot read {}", folder.display()))?.path();
        if path.extension().is_some_and(|ending| ending == "db")
            && let Some(name) = path.file_stem().and_then(|name| name.to_str())
            && name != MEMORY
        {
            names.push(name.to_owned());
        }
    }
    let nothing = names.is_empty() && !folder.join(format!("{MEMORY}.db")).exists();
    ensure!(!nothing, "{}: there is nothing to move in it", folder.display());
    names.sort();
    Ok(names)
}

async fn connector(database: &Database, name: &str, export: Export) -> anyhow::Result<()> {
    let mut import = Import::open(database, name).await?;
    if import.has_gone_on() {
        say!("{name}: came before, and syncs have gone on there since: left as it is");
        return Ok(());
    }
    let (mut export, tables) = reading(export, |export| export.tables()).await?;
    for shape in tables? {
        export = table(&mut import, name, export, shape).await?;
    }
    let (_export, state) = reading(export, |export| export.state()).await?;
    import.finish(state?).await?;
    Ok(())
}

/// Does something with the file on a thread that may block.
async fn reading<T: Send + 'static>(
    export: Export,
    work: impl FnOnce(&Export) -> T + Send + 'static,
) -> anyhow::Result<(Export, T)> {
    let done = tokio::task::spawn_blocking(move || {
        let done = work(&export);
        (export, done)
    });
    done.await.context("reading was cut off")
}

async fn table(
    import: &mut Import,
    connector: &str,
    export: Export,
    shape: TableShape,
) -> anyhow::Result<Export> {
    let name = format!("{connector}.{}", shape.table);
    let (mut export, counted) = {
        let shape = shape.clone();
        reading(export, move |export| {
            Ok::<_, DestinationError>((export.count(&shape.table)?, export.strange(&shape)?))
        })
        .await?
    };
    let (count, strange) = counted?;
    if !strange.is_empty() {
        say!("{name}: columns that were added by hand stay behind: {}", strange.join(", "));
    }
    let bar = bar(&name, count);
    let mut there = None;
    if let Some(copied) = import.copied(&shape.table) {
        let (back, now) = sum(export, &shape).await?;
        export = back;
        // Somebody may have gone on with either.
        there = (now? == copied.came && import.sum(&shape).await? == copied.sum).then_some(copied);
    }
    let (copied, how) = match there {
        Some(copied) => (copied, "was there"),
        None => {
            let (back, copied) = copy(import, export, &shape, &bar).await?;
            export = back;
            compare(&shape, copied.sum, import.sum(&shape).await?)?;
            (copied, "copied")
        }
    };
    bar.finish_and_clear();
    let rejected = match copied.rejected {
        0 => String::new(),
        rejected => {
            format!("; {rejected} rows hold what PostgreSQL cannot, and are in _rejected with the reason")
        }
    };
    say!("{name}: {} rows, checksum {:016x}, {how}{rejected}", copied.sum.rows, copied.sum.checksum);
    Ok(export)
}

fn compare(shape: &TableShape, sent: Sum, found: Sum) -> anyhow::Result<()> {
    ensure!(
        found == sent,
        "table {}: {} rows with checksum {:016x} were sent, and {} with {:016x} are there: the server or the disk changed them; run this again",
        shape.table,
        sent.rows,
        sent.checksum,
        found.rows,
        found.checksum
    );
    Ok(())
}

async fn sum(export: Export, shape: &TableShape) -> anyhow::Result<(Export, Result<Sum, DestinationError>)> {
    let shape = shape.clone();
    reading(export, move |export| {
        let kinds: Vec<_> = shape.columns.iter().map(|column| column.kind).collect();
        let mut sum = Sum::default();
        export.read(&shape, |rows| {
            rows.iter().for_each(|row| sum.add(row, &kinds));
            true
        })?;
        Ok(sum)
    })
    .await
}

async fn copy(
    import: &mut Import,
    export: Export,
    shape: &TableShape,
    bar: &ProgressBar,
) -> anyhow::Result<(Export, Copied)> {
    let (send, mut rows) = mpsc::channel(CHANNEL);
    let from = shape.clone();
    let reader = reading(export, move |export| {
        let read = export.read(&from, |rows| send.blocking_send(Ok(rows)).is_ok());
        // Nobody hears it who has failed.
        let _ = send.blocking_send(read.map(|()| Vec::new()));
    });
    let writer = async {
        let copied = import.table(shape, &mut rows, |count| bar.inc(count as u64)).await;
        // Whoever reads for one who has failed ends.
        drop(rows);
        copied
    };
    let (read, copied) = tokio::join!(reader, writer);
    let (export, ()) = read?;
    Ok((export, copied?))
}

fn bar(name: &str, rows: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(rows).with_prefix(name.to_owned());
    match ProgressStyle::with_template("{prefix:<32} {bar:24} {human_pos}/{human_len} rows, {eta} left") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
