//! `engine list`, `engine show` and `engine check`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use serde_json::json;

use crate::commands::CommandError;
use crate::commands::setting_flags::SettingFlags;
use crate::commands::table::print_table;
use crate::definitions::engine::{self, BUILT_IN, read_one};
use crate::domain::monitoring::monitor::StatusPage;
use crate::domain::monitoring::observation::Reading;
use crate::poll::judge_sample;
use crate::runtime::clock::Clock;

#[derive(Debug, Args)]
pub struct EngineListArgs {
    /// Print one JSON document instead of a table
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Name of a built-in engine
    pub name: String,
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  data-sources-monitor engine check engines/acme.toml
  data-sources-monitor engine check engines/acme.toml --sample status.json")]
pub struct CheckEngineArgs {
    /// Definition to check
    #[arg(value_name = "FILE.toml", value_hint = clap::ValueHint::FilePath)]
    pub file: PathBuf,
    /// A saved document of a page: prints what the definition reads from it
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub sample: Option<PathBuf>,
    /// The document in the definition that the sample is, by its id; default: the first
    #[arg(long, value_name = "ID", requires = "sample")]
    pub document: Option<String>,
}

pub(super) fn list(flags: &SettingFlags, args: &EngineListArgs) -> Result<ExitCode, CommandError> {
    let settings = flags.settings()?;
    let engines = engine::load(&settings.engines_dir).map_err(CommandError::configuration)?;
    let hints = |options: &BTreeMap<String, String>| {
        options.iter().map(|(name, hint)| format!("{name} ({hint})")).collect::<Vec<_>>()
    };
    if args.json {
        let documents = engines.values().map(|engine| {
            json!({
                "name": engine.name, "hosts": engine.hosts, "needs": engine.needs, "options": engine.options,
                "built_in": BUILT_IN.iter().any(|(name, _)| *name == engine.name),
            })
        });
        say!("{:#}", json!({ "engines": documents.collect::<Vec<_>>() }));
        return Ok(ExitCode::SUCCESS);
    }
    let row = |engine: &Arc<crate::domain::monitoring::engine::Engine>| {
        let detected = engine.needs.is_empty() && engine.reads.iter().any(|read| read.detect)
            || !engine.hosts.is_empty();
        let detected = if detected { "detected" } else { "" };
        let needs = hints(&engine.needs).join(", ");
        let optional = hints(&engine.options).into_iter().map(|hint| format!("[{hint}]"));
        let options = std::iter::once(needs).filter(|text| !text.is_empty()).chain(optional);
        vec![engine.name.clone(), detected.to_owned(), options.collect::<Vec<_>>().join(", ")]
    };
    print_table(&["ENGINE", "BY ADDRESS", "OPTIONS"], &[], engines.values().map(row).collect());
    Ok(ExitCode::SUCCESS)
}

pub(super) fn show(args: &ShowArgs) -> Result<ExitCode, CommandError> {
    match BUILT_IN.iter().find(|(name, _)| *name == args.name) {
        Some((_, text)) => {
            say!("{}", text.trim_end());
            Ok(ExitCode::SUCCESS)
        }
        None => {
            let known = BUILT_IN.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
            Err(CommandError::configuration([format!("no built-in engine `{}`; known: {known}", args.name)]))
        }
    }
}

pub(super) fn check(args: &CheckEngineArgs) -> Result<ExitCode, CommandError> {
    let place = args.file.display().to_string();
    let text = std::fs::read_to_string(&args.file).with_context(|| format!("cannot read {place}"))?;
    let engine = read_one(&place, &text).map_err(CommandError::configuration)?;
    let Some(sample) = &args.sample else {
        say!("{place}: engine {} is valid.", engine.name);
        return Ok(ExitCode::SUCCESS);
    };
    let body = std::fs::read(sample).with_context(|| format!("cannot read {}", sample.display()))?;
    let read = match &args.document {
        None => 0,
        Some(id) => engine.reads.iter().position(|read| read.id == *id).ok_or_else(|| {
            let known = engine.reads.iter().map(|read| read.id.as_str()).collect::<Vec<_>>().join(", ");
            CommandError::configuration([format!(
                "--document: no [[read]] has the id `{id}`; known: {known}"
            )])
        })?,
    };
    let root = engine.root.clone().map_or_else(|| "https://status.example.com/".parse(), Ok);
    let page = StatusPage {
        root: root.context("cannot use the address of the engine")?,
        options: BTreeMap::new(),
        components: Vec::new(),
        ignore: Vec::new(),
        incidents: engine.incidents.is_some(),
        announce: None,
        engine: Arc::new(engine),
    };
    let explanation = judge_sample(&page, read, &body, Clock::system().now());
    super::explain::print(&explanation, true);
    match explanation.outcome.as_ref().and_then(Reading::verdict) {
        Ok(reading) => {
            say!("Result: {}: {}", reading.severity, reading.description);
            Ok(ExitCode::SUCCESS)
        }
        Err(why) => {
            say!("Result: unknown: {why}");
            Ok(ExitCode::from(3))
        }
    }
}
