//! `monitor explain`: one poll with its reasons.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use url::Url;

use super::files::quoted;
use crate::commands::completions::monitor_names;
use crate::commands::setting_flags::SettingFlags;
use crate::commands::{CommandError, compose};
use crate::definitions::engine::{self, detection_order};
use crate::definitions::monitor::read_one;
use crate::domain::monitoring::monitor::{Monitor, MonitorSource, StatusPage};
use crate::domain::monitoring::observation::{Reading, Unknown};
use crate::domain::text;
use crate::http::PageClient;
use crate::poll::{Explanation, detect};
use crate::settings::Settings;

/// Lines of one list that are printed; `--all` prints the rest.
const SHOWN: usize = 30;

#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  data-sources-monitor monitor explain Snowflake
  data-sources-monitor monitor explain https://status.example.com")]
pub struct ExplainMonitorArgs {
    /// Name of a monitor, or the address of a status page
    #[arg(value_name = "NAME|URL", add = monitor_names())]
    pub target: String,
    /// Print every component and incident
    #[arg(long)]
    pub all: bool,
}

pub(super) async fn explain(
    flags: &SettingFlags,
    args: ExplainMonitorArgs,
) -> Result<ExitCode, CommandError> {
    let settings = flags.settings()?;
    let client = compose::page_client(&settings)?;
    let monitor = if args.target.contains("://") {
        of_address(&client, &settings, &args.target).await?
    } else {
        named(&settings, &args.target)?
    };
    let MonitorSource::Page(page) = &monitor.source else {
        let message = format!("{} reads a connector, not a status page; `runs` explains it", monitor.name);
        return Err(CommandError::configuration([message]));
    };
    let timeout = monitor.timeout.unwrap_or(settings.poll_timeout);
    say!("{} ({}, engine {})", monitor.name, page.root, page.engine.name);
    let explanation = crate::poll::explain(&client, page, &monitor.remap, timeout).await;
    print(&explanation, args.all);
    let outcome = explanation.outcome.as_ref().and_then(Reading::verdict);
    match outcome {
        Ok(reading) => say!("Result: {}: {}", reading.severity, reading.description),
        Err(why) => {
            say!("Result: unknown: {why}");
            if why.looks_permanent() {
                advise(&client, &settings, page).await?;
            }
        }
    }
    Ok(if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(3) })
}

fn named(settings: &Settings, name: &str) -> Result<Monitor, CommandError> {
    let monitors = compose::monitors(settings)?;
    let known = monitors.iter().map(|monitor| monitor.name.clone()).collect::<Vec<_>>().join(", ");
    let is = |monitor: &Monitor| monitor.name.to_lowercase() == name.to_lowercase();
    monitors.into_iter().find(is).ok_or_else(|| {
        CommandError::configuration([format!("unknown monitor {name:?}; known monitors: {known}")])
    })
}

async fn of_address(client: &PageClient, settings: &Settings, url: &str) -> Result<Monitor, CommandError> {
    let engines = engine::load(&settings.engines_dir).map_err(CommandError::configuration)?;
    let root = super::add::root(url)?;
    let found = detect(client, &root, &detection_order(&engines), settings.poll_timeout * 3).await;
    let found = found.map_err(|tried| super::add::not_detected(&root, &tried))?;
    let text = format!(
        "name = {}\nurl = {}\nengine = {}\nincidents = true\n",
        quoted(&text::plain(url)),
        quoted(found.root.as_str()),
        quoted(&found.engine.name)
    );
    let (monitor, _) = read_one("the address", &text, &engines).map_err(CommandError::configuration)?;
    Ok(monitor)
}

pub(super) fn print(explanation: &Explanation, all: bool) {
    for document in &explanation.documents {
        let status =
            document.status.map_or_else(|| "no answer".to_owned(), |status| format!("HTTP {status}"));
        let size =
            if document.problem.is_none() { format!(", {} bytes", document.size) } else { String::new() };
        say!("{}: {} ({status}{size}, {} ms)", document.id, document.url, document.took.as_millis());
        if let Some(problem) = &document.problem {
            say!("  {problem}");
        }
    }
    if let Some(overall) = &explanation.overall {
        say!("Overall state: {overall}");
    }
    section("Components", explanation.components.as_ref(), all);
    section("Incidents and maintenance", explanation.events.as_ref(), all);
    for note in explanation.outcome.iter().flat_map(|reading| &reading.notes) {
        say!("Note: {note}");
    }
}

fn section(title: &str, list: Option<&Result<Vec<String>, Unknown>>, all: bool) {
    match list {
        None => {}
        Some(Err(why)) => say!("{title}: {why}"),
        Some(Ok(lines)) if lines.is_empty() => say!("{title}: none"),
        Some(Ok(lines)) => {
            say!("{title}: {}", lines.len());
            let shown = if all { lines.len() } else { SHOWN };
            for line in lines.iter().take(shown) {
                say!("  {line}");
            }
            if lines.len() > shown {
                say!("  … and {} more (--all prints them)", lines.len() - shown);
            }
        }
    }
}

/// Says what the page is now, if another engine reads it.
async fn advise(client: &PageClient, settings: &Settings, page: &StatusPage) -> Result<(), CommandError> {
    let engines = engine::load(&settings.engines_dir).map_err(CommandError::configuration)?;
    let timeout: Duration = settings.poll_timeout * 3;
    let root: &Url = &page.root;
    match detect(client, root, &detection_order(&engines), timeout).await {
        Ok(found) if found.engine.name != page.engine.name => {
            say!(
                "The page now answers as {}: set engine = \"{}\" and url = \"{}\" in its definition.",
                found.engine.name,
                found.engine.name,
                found.root
            );
        }
        Ok(_) => {}
        Err(_) => say!("No engine reads the page at this address; look for its new address."),
    }
    Ok(())
}
