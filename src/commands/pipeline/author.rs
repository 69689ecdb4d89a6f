//! `connector new` and `connector check`, the commands for writing definitions.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde_json::Value;

use crate::commands::CommandError;
use crate::commands::connectors;
use crate::definitions::connector::{self, read_all};
use crate::definitions::starter::propose::{Proposal, Sample, propose};
use crate::definitions::starter::{Login, text};
use crate::domain::text::counted;
use crate::domain::urls::check_url;
use crate::runtime::clock::Clock;
use crate::settings::{Settings, Vars};
use crate::source as engine;

#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  data-sources-monitor connector new acme --base-url https://api.example.com/v1
  ACME_API_KEY=… data-sources-monitor connector new acme \\
      --base-url https://api.example.com/v1 --sample '/contacts?page=1'
  data-sources-monitor connector new acme \\
      --base-url https://api.example.com --auth header:X-Api-Key")]
pub struct NewArgs {
    /// Name of the connector (a-z, 0-9 and _), its file and the prefix of its variables
    pub name: String,
    /// Base URL of the API
    #[arg(long, value_name = "URL")]
    pub base_url: String,
    /// Request this path once, with credentials from variables or --configuration, and propose a table
    #[arg(long, value_name = "PATH")]
    pub sample: Option<String>,
    /// Authentication method: bearer, header:NAME, query:NAME, basic or none
    #[arg(long, default_value = "bearer")]
    pub auth: Login,
    /// Flat JSON object of settings for --sample; they take precedence over variables
    #[arg(long, value_name = "FILE.json")]
    pub configuration: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct CheckConnectorArgs {
    /// Definitions to check
    #[arg(required = true, value_name = "FILE.toml")]
    pub files: Vec<PathBuf>,
}

pub(crate) async fn new(
    settings: &Settings,
    vars: &dyn Vars,
    args: NewArgs,
) -> Result<ExitCode, CommandError> {
    let NewArgs { name, base_url, sample, auth, configuration } = args;
    check_url(&base_url, auth == Login::None)
        .map_err(|reason| CommandError::configuration([format!("--base-url: {reason}")]))?;
    let base_url = base_url.trim_end_matches('/');
    if connectors::definitions(settings)?.iter().any(|other| other.name == name) {
        let message = format!("connector {name} already exists; `connector show {name}` prints it");
        return Err(CommandError::configuration([message]));
    }
    let file = settings.connectors_dir.join(format!("{name}.toml"));
    if file.exists() {
        return Err(already_exists(&file));
    }
    let mut written = text(&name, base_url, &auth, None);
    let definition = parsed(&name, &written)?;
    let mut proposal = None;
    if let Some(path) = &sample {
        let account = connectors::account(settings, vars, definition, configuration.as_deref())?;
        let (place, proposed) = propose_table(&account, path).await?;
        written = text(&name, base_url, &auth, Some(&proposed));
        // Names that the API chose must not make the file invalid.
        parsed(&name, &written)?;
        proposal = Some((place, proposed));
    }
    write(&file, &written)?;
    report(&file, &name, proposal);
    Ok(ExitCode::SUCCESS)
}

/// Parses the text of a definition. Its errors come from the arguments, so they name no file.
fn parsed(
    name: &str,
    text: &str,
) -> Result<crate::domain::syncing::definition::connector::Definition, CommandError> {
    connector::read_one(&format!("{name}.toml"), text, &Default::default()).map_err(|errors| {
        CommandError::configuration(errors.into_iter().map(|error| format!("{name}: {}", error.message)))
    })
}

async fn propose_table(account: &engine::Account, path: &str) -> Result<(String, Proposal), CommandError> {
    let hint = "nothing was written; without --sample the file is written with an example table";
    let page = engine::page(account, path, Clock::system().now())
        .await
        .map_err(|reason| anyhow::anyhow!("cannot read the sample: {reason}; {hint}"))?;
    let body: Value = serde_json::from_slice(&page.body)
        .with_context(|| format!("{}: the response is not JSON; {hint}", page.place))?;
    let sample = Sample { path, body: &body, link_header: page.link_header };
    let proposal = propose(&sample).map_err(|reason| anyhow::anyhow!("{}: {reason}; {hint}", page.place))?;
    Ok((page.place, proposal))
}

fn write(file: &Path, text: &str) -> Result<(), CommandError> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let opened = std::fs::OpenOptions::new().write(true).create_new(true).open(file);
    let mut opened = match opened {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => return Err(already_exists(file)),
        opened => opened.with_context(|| format!("cannot write {}", file.display()))?,
    };
    opened.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(())
}

fn already_exists(file: &Path) -> CommandError {
    CommandError::configuration([format!("{} already exists and was not changed", file.display())])
}

fn report(file: &Path, name: &str, proposal: Option<(String, Proposal)>) {
    let file = file.display();
    match proposal {
        None => say!("Wrote {file} with an example table; replace it with tables of the API."),
        Some((place, proposal)) => {
            let key = match &proposal.key {
                Some(key) if key.sure => key.is.clone(),
                Some(key) => format!("possibly {}", key.is),
                None => "none found".to_owned(),
            };
            let paging = match &proposal.page {
                Some(page) if page.sure => page.is.clone(),
                Some(page) => format!("possibly {}", page.is),
                None => "none found".to_owned(),
            };
            say!("Wrote {file} from one page of {place}. Verify:");
            say!("  table    {} ({} read)", proposal.table, counted(proposal.seen as u64, "record"));
            say!("  records  {}", proposal.records.is);
            say!("  key      {key}");
            say!("  paging   {paging}");
            let sure = proposal.page.as_ref().is_some_and(|page| page.sure);
            if let Some(more) = proposal.more.as_ref().filter(|_| !sure) {
                say!("  more     {more}: a sync reads further pages only if `page` is correct");
            }
            say!("  columns  {}", proposal.columns.len());
        }
    }
    say!(
        "Next: data-sources-monitor connector check {file} && data-sources-monitor connector explain {name}"
    );
}

pub(crate) fn check(settings: &Settings, args: &CheckConnectorArgs) -> Result<ExitCode, CommandError> {
    // Other files are needed only for `extends`; their errors are not reported here.
    let others = || connector::load(&settings.connectors_dir).or_else(|_| read_all(&[])).unwrap_or_default();
    let mut errors = Vec::new();
    for file in &args.files {
        match connectors::read_file(file, others()) {
            Ok(definition) => {
                let tables: Vec<&str> = definition.tables.iter().map(|table| table.name.as_str()).collect();
                say!(
                    "{}: valid: connector {}, tables {}",
                    file.display(),
                    definition.name,
                    tables.join(", ")
                );
            }
            Err(found) => errors.extend(found),
        }
    }
    if errors.is_empty() { Ok(ExitCode::SUCCESS) } else { Err(CommandError::configuration(errors)) }
}
