//! `migrate`: copies a folder of SQLite files to PostgreSQL and compares both sides.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use secrecy::SecretString;

use crate::commands::service::daemon;
use crate::commands::setting_flags::SettingFlags;
use crate::commands::{CommandError, compose, print_line};
use crate::database::Database;
use crate::migrate::LockedFolder;
use crate::settings::Settings;

#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  data-sources-monitor migrate            copy from DATA_DIR to DATABASE_URL
  data-sources-monitor migrate \\
      --from /srv/monitor/data --to postgres://dsm@db.example.com/acme

Put the password into DATABASE_PASSWORD_FILE: other users can see arguments.")]
pub struct MigrateArgs {
    /// Target database (default: DATABASE_URL)
    #[arg(long, value_name = "URL")]
    pub to: Option<String>,
    /// Folder to copy (default: DATA_DIR)
    #[arg(long, value_name = "FOLDER")]
    pub from: Option<PathBuf>,
}

pub(crate) async fn migrate(flags: &SettingFlags, args: MigrateArgs) -> Result<ExitCode, CommandError> {
    let settings = flags.settings()?;
    let folder = args.from.unwrap_or_else(|| settings.data_dir.clone());
    let database = database(&settings, args.to)?;
    let locked = LockedFolder::open(&folder).map_err(|e| match e.is_configuration {
        true => CommandError::configuration([e]),
        false => CommandError::Failed(e.into()),
    })?;
    say!("from {} to PostgreSQL at {}", folder.display(), database.name());
    let schema = daemon::schema(&settings);
    locked.copy_to(&database, schema, compose::holder(), print_line).await?;
    say!(
        "Migration complete. On each daemon set DATABASE_URL=postgres://USER@{} and DATABASE_PASSWORD (or the name of a \
         file in DATABASE_PASSWORD_FILE), then start it. {} was not changed.",
        database.name(),
        folder.display()
    );
    Ok(ExitCode::SUCCESS)
}

fn database(settings: &Settings, to: Option<String>) -> Result<Database, CommandError> {
    let Some(to) = to else {
        let missing = "no target database: set DATABASE_URL or --to";
        return compose::database(settings)?.ok_or_else(|| CommandError::configuration([missing]));
    };
    // DATABASE_PASSWORD belongs to DATABASE_URL.
    let to = SecretString::from(to);
    Database::new(&to, None, settings.extra_ca.as_deref())
        .map_err(|e| CommandError::configuration([e.to_string().replacen("DATABASE_URL", "--to", 1)]))
}
