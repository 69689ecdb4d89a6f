//! `connector new` and `connector check`: for whoever writes a definition.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde_json::Value;

use super::{CommandError, connectors};
use crate::connectors as engine;
use crate::definitions::connector::{self, read_all};
use crate::definitions::starter::propose::{Proposal, Sample, propose};
use crate::definitions::starter::{Login, text};
use crate::domain::urls::check_url;
use crate::runtime::clock::Clock;
use crate::settings::Settings;

/// What can be asked of `connector new`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  data-sources-monitor connector new acme --base-url https://api.acme.example.com/v1
  ACME_API_KEY=… data-sources-monitor connector new acme --base-url https://api.acme.example.com/v1 \\
      --sample '/contacts?page=1&per_page=50'
  data-sources-monitor connector new acme --base-url https://api.acme.example.com --auth header:X-Api-Key")]
pub struct NewArgs {
    /// Its name: a-z, 0-9 and _; also the prefix of its variables and the name of its file
    pub name: String,
    /// Where the API is
    #[arg(long, value_name = "URL")]
    pub base_url: String,
    /// Read this path once, with the credentials of the variables or --configuration, and propose a table
    #[arg(long, value_name = "PATH")]
    pub sample: Option<String>,
    /// How requests prove who asks: bearer, header:NAME, query:NAME, basic or none
    #[arg(long, default_value = "bearer")]
    pub auth: Login,
    /// Flat JSON object of settings for --sample, which win over variables
    #[arg(long, value_name = "FILE.json")]
    pub configuration: Option<PathBuf>,
}

/// What can be asked of `connector check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The definitions
    #[arg(required = true, value_name = "FILE.toml")]
    pub files: Vec<PathBuf>,
}

pub(super) async fn new(settings: &Settings, args: NewArgs) -> Result<ExitCode, CommandError> {
    let NewArgs { name, base_url, sample, auth, configuration } = args;
    check_url(&base_url, auth == Login::None)
        .map_err(|reason| CommandError::configuration([format!("--base-url: {reason}")]))?;
    let base_url = base_url.trim_end_matches('/');
    if connectors::definitions(settings)?.iter().any(|other| other.name == name) {
        let message = format!("there is a connector {name} already: `connector show {name}` prints it");
        return Err(CommandError::configuration([message]));
    }
    let file = settings.connectors_dir.join(format!("{name}.toml"));
    if file.exists() {
        return Err(taken(&file));
    }
    let mut written = text(&name, base_url, &auth, None);
    let definition = parsed(&name, &written)?;
    let mut proposal = None;
    if let Some(path) = &sample {
        let account = connectors::account(settings, definition, configuration.as_deref())?;
        let (place, proposed) = look(&account, path).await?;
        written = text(&name, base_url, &auth, Some(&proposed));
        // What the API calls its things must not break the file.
        parsed(&name, &written)?;
        proposal = Some((place, proposed));
    }
    write(&file, &written)?;
    report(&file, &name, proposal);
    Ok(ExitCode::SUCCESS)
}

/// The definition that a text is; its mistakes are those of what was typed.
fn parsed(name: &str, text: &str) -> Result<crate::domain::connector::Definition, CommandError> {
    connector::read_one(&format!("{name}.toml"), text, &Default::default()).map_err(|mistakes| {
        CommandError::configuration(
            mistakes.into_iter().map(|mistake| format!("{name}: {}", mistake.message)),
        )
    })
}

async fn look(account: &engine::Account, path: &str) -> Result<(String, Proposal), CommandError> {
    let kept = "nothing was written; without --sample the file is written with examples";
    let page = engine::page(account, path, Clock::system().now())
        .await
        .map_err(|reason| anyhow::anyhow!("the sample cannot be read: {reason}; {kept}"))?;
    let body: Value = serde_json::from_slice(&page.body)
        .with_context(|| format!("{} did not answer with JSON; {kept}", page.place))?;
    let sample = Sample { path, body: &body, link_header: page.link_header };
    let proposal = propose(&sample).map_err(|reason| anyhow::anyhow!("{}: {reason}; {kept}", page.place))?;
    Ok((page.place, proposal))
}

fn write(file: &Path, text: &str) -> Result<(), CommandError> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let opened = std::fs::OpenOptions::new().write(true).create_new(true).open(file);
    let mut opened = match opened {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => return Err(taken(file)),
        opened => opened.with_context(|| format!("cannot write {}", file.display()))?,
    };
    opened.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(())
}

fn taken(file: &Path) -> CommandError {
    CommandError::configuration([format!("{} exists and is left as it is", file.display())])
}

fn report(file: &Path, name: &str, proposal: Option<(String, Proposal)>) {
    let file = file.display();
    match proposal {
        None => say!("{file} is written, with an example for a table: put in the API's own."),
        Some((place, proposal)) => {
            let key = match &proposal.key {
                Some(key) if key.sure => key.is.clone(),
                Some(key) => format!("perhaps {}", key.is),
                None => "none seen".to_owned(),
            };
            let page = match &proposal.page {
                Some(page) if page.sure => page.is.clone(),
                Some(page) => format!("perhaps {}", page.is),
                None => "none seen".to_owned(),
            };
            say!("{file} is written, after one page of {place}. Confirm its lines:");
            say!("  table    {} ({} records seen)", proposal.table, proposal.seen);
            say!("  records  {}", proposal.records.is);
            say!("  key      {key}");
            say!("  paging   {page}");
            let sure = proposal.page.as_ref().is_some_and(|page| page.sure);
            if let Some(more) = proposal.more.as_ref().filter(|_| !sure) {
                say!("  more     {more}: a sync reads it only where `page` is right");
            }
            say!("  columns  {}", proposal.columns.len());
        }
    }
    say!(
        "Then: data-sources-monitor connector check {file} && data-sources-monitor connector explain {name}"
    );
}

pub(super) fn check(settings: &Settings, args: &CheckArgs) -> Result<ExitCode, CommandError> {
    // What is wrong with other files is theirs to say; only `extends` needs them.
    let others = || connector::load(&settings.connectors_dir).or_else(|_| read_all(&[])).unwrap_or_default();
    let mut mistakes = Vec::new();
    for file in &args.files {
        match connectors::read_file(file, others()) {
            Ok(definition) => {
                let tables: Vec<&str> = definition.tables.iter().map(|table| table.name.as_str()).collect();
                say!("{}: fine: connector {}, tables {}", file.display(), definition.name, tables.join(", "));
            }
            Err(found) => mistakes.extend(found),
        }
    }
    if mistakes.is_empty() { Ok(ExitCode::SUCCESS) } else { Err(CommandError::configuration(mistakes)) }
}
