//! `check`: polls every status page once and prints the results as a table or as JSON.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use futures_util::{StreamExt, stream};

use crate::commands::completions::monitor_names;
use crate::commands::connectors;
use crate::commands::pipeline::runs::run_history;
use crate::commands::setting_flags::SettingFlags;
use crate::commands::{CommandError, compose};
use crate::domain::monitoring::assess::{Assessment, MonitorState};
use crate::domain::monitoring::freshness;
use crate::domain::monitoring::monitor::{Monitor, MonitorSource};
use crate::domain::monitoring::observation::{Observation, Reading, Unknown};
use crate::domain::monitoring::severity::Severity;
use crate::domain::syncing::run_history::last_whole;
use crate::http::PageClient;
use crate::poll::{PageCache, look};
use crate::runtime::clock::Clock;
use crate::settings::Settings;

/// Number of concurrent polls. A person waits for the result, and the status pages are on different hosts.
const CONCURRENT: usize = 64;

pub(in crate::commands) struct Row {
    pub(in crate::commands) monitor: Monitor,
    pub(in crate::commands) outcome: Result<Reading, Unknown>,
    pub(in crate::commands) took: Duration,
}

impl Row {
    fn verdict(&self) -> Result<&Reading, &Unknown> {
        self.outcome.as_ref().and_then(Reading::verdict)
    }
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  data-sources-monitor check
  data-sources-monitor check Snowflake GitHub
  data-sources-monitor check --json \\
      | jq '.monitors[] | select(.severity != \"none\")'")]
pub struct CheckArgs {
    /// Monitors to poll (default: all)
    #[arg(value_name = "NAME", add = monitor_names())]
    pub names: Vec<String>,
    /// Print one JSON document instead of a table
    #[arg(long)]
    pub json: bool,
}

pub(crate) async fn check(flags: &SettingFlags, args: CheckArgs) -> Result<ExitCode, CommandError> {
    let settings = flags.settings()?;
    let monitors = named(compose::monitors(&settings)?, &args.names)?;
    let rows = poll_once(&settings, monitors).await?;
    let json = args.json;
    let mut out = std::io::stdout().lock();
    let shown = if json { print_json(&mut out, &rows) } else { print_table(&mut out, &rows, colours()) };
    shown.context("cannot print")?;
    Ok(ExitCode::from(exit_code(&rows)))
}

/// Polls each monitor once, in the order of their names.
pub(in crate::commands) async fn poll_all(settings: &Settings) -> Result<Vec<Row>, CommandError> {
    poll_once(settings, compose::monitors(settings)?).await
}

/// Selects monitors by name; all of them if no name is given.
fn named(monitors: Vec<Monitor>, names: &[String]) -> Result<Vec<Monitor>, CommandError> {
    let is = |monitor: &Monitor, name: &str| monitor.name.to_lowercase() == name.to_lowercase();
    let unknown = names.iter().find(|name| !monitors.iter().any(|monitor| is(monitor, name)));
    if let Some(name) = unknown {
        let known: Vec<&str> = monitors.iter().map(|monitor| monitor.name.as_str()).collect();
        let known = known.join(", ");
        return Err(CommandError::configuration([format!(
            "unknown monitor {name:?}; known monitors: {known}"
        )]));
    }
    let wanted = |monitor: &Monitor| names.is_empty() || names.iter().any(|name| is(monitor, name));
    Ok(monitors.into_iter().filter(wanted).collect())
}

async fn poll_once(settings: &Settings, monitors: Vec<Monitor>) -> Result<Vec<Row>, CommandError> {
    let client = compose::page_client(settings)?;
    let pages = PageCache::default();
    let started_at = tokio::time::Instant::now();
    let rows =
        stream::iter(monitors).map(|monitor| poll_monitor(&client, &pages, started_at, settings, monitor));
    Ok(rows.buffered(CONCURRENT).collect().await)
}

async fn poll_monitor(
    client: &PageClient,
    pages: &PageCache,
    started_at: tokio::time::Instant,
    settings: &Settings,
    monitor: Monitor,
) -> Row {
    let started = tokio::time::Instant::now();
    let outcome = match &monitor.source {
        MonitorSource::Page(page) => {
            let timeout = monitor.timeout.unwrap_or(settings.poll_timeout);
            look(client, &pages.page(page), page, &monitor.remap, timeout, started_at).await.outcome
        }
        MonitorSource::Sync(rule) => {
            // A run history that cannot be read counts as stale data.
            let runs = match connectors::destination_kind(settings) {
                Ok(place) => run_history(&place, &rule.connector, usize::MAX).await.unwrap_or_default(),
                Err(_) => Vec::new(),
            };
            freshness::read(rule, last_whole(&runs), None, Clock::system().now())
        }
    };
    Row { monitor, outcome, took: started.elapsed() }
}

/// Assesses poll results. Each one counts immediately, without the delay of HOLD_FOR.
pub(in crate::commands) fn assessment(rows: &[Row]) -> Assessment {
    let now = Clock::system().now();
    let states: Vec<(&Monitor, MonitorState)> = rows
        .iter()
        .map(|row| {
            let mut state = MonitorState::default();
            let (monitor, outcome) = (row.monitor.name.clone(), row.outcome.clone());
            state.fold(&Observation { monitor, at: now, outcome }, Default::default());
            (&row.monitor, state)
        })
        .collect();
    Assessment::of(states.iter().map(|(monitor, state)| (monitor.name.as_str(), &*monitor.tags, state)))
}

/// Exit codes of monitoring plugins: a known problem takes precedence over a status page that cannot be read.
fn exit_code(rows: &[Row]) -> u8 {
    let worst = rows.iter().filter_map(|row| row.verdict().ok()).map(|reading| reading.severity).max();
    match worst.unwrap_or(Severity::None) {
        Severity::Critical | Severity::Major => 2,
        Severity::Minor | Severity::Maintenance => 1,
        Severity::None if rows.iter().any(|row| row.verdict().is_err()) => 3,
        Severity::None => 0,
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "NO_COLOR is a convention of terminals, not a setting of this program"
)]
fn colours() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

fn print_table(out: &mut impl Write, rows: &[Row], colours: bool) -> std::io::Result<()> {
    let width = rows.iter().map(|row| row.monitor.name.chars().count()).max().unwrap_or(0).max(7);
    writeln!(out, "{:width$}  {:11}  {:>7}  DESCRIPTION", "MONITOR", "SEVERITY", "TIME")?;
    for row in rows {
        let (word, colour, words) = match row.verdict() {
            Ok(reading) => (reading.severity.as_str(), colour(reading.severity), reading.description.clone()),
            Err(reason) => ("unknown", "35", reason.to_string()),
        };
        let severity = if colours { format!("\x1b[{colour}m{word:11}\x1b[0m") } else { format!("{word:11}") };
        let took = row.took.as_millis();
        writeln!(out, "{:width$}  {severity}  {took:>4} ms  {words}", row.monitor.name)?;
        for note in row.outcome.iter().flat_map(|reading| &reading.notes) {
            writeln!(out, "{:width$}  note: {note}", "")?;
        }
    }
    Ok(())
}

fn colour(severity: Severity) -> &'static str {
    match severity {
        Severity::None => "32",
        Severity::Maintenance => "36",
        Severity::Minor => "33",
        Severity::Major | Severity::Critical => "31",
    }
}

fn print_json(out: &mut impl Write, rows: &[Row]) -> std::io::Result<()> {
    let monitors: Vec<_> = rows
        .iter()
        .map(|row| {
            let took_ms = u64::try_from(row.took.as_millis()).unwrap_or(u64::MAX);
            match row.verdict() {
                Ok(reading) => serde_json::json!({
                    "name": row.monitor.name, "severity": reading.severity, "description": reading.description,
                    "link": reading.link.as_ref().map(|link| &link.url), "notes": reading.notes, "took_ms": took_ms,
                }),
                Err(reason) => serde_json::json!({
                    "name": row.monitor.name, "severity": "unknown", "description": reason.to_string(),
                    "reason": reason.reason(), "took_ms": took_ms,
                }),
            }
        })
        .collect();
    let document = serde_json::json!({ "monitors": monitors, "exit": exit_code(rows) });
    writeln!(out, "{document:#}")
}
