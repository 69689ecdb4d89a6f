//! `check`: looks at every page once and says what they say, as a table or as JSON.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use futures_util::{StreamExt, stream};

use super::runs::ledger;
use super::{CommandError, compose, connectors};
use crate::domain::assess::{Assessment, MonitorState};
use crate::domain::freshness;
use crate::domain::ledger::last_whole;
use crate::domain::monitor::{Monitor, Source};
use crate::domain::observation::{Observation, Reading, Unknown};
use crate::domain::severity::Severity;
use crate::http::PageClient;
use crate::poll::{Memo, look};
use crate::runtime::clock::Clock;
use crate::settings::Settings;

/// Looks at once: a person waits, and pages are many hosts.
const CONCURRENT: usize = 64;

/// What one page said.
pub(super) struct Row {
    pub(super) monitor: Monitor,
    pub(super) outcome: Result<Reading, Unknown>,
    pub(super) took: Duration,
}

impl Row {
    fn verdict(&self) -> Result<&Reading, &Unknown> {
        self.outcome.as_ref().and_then(Reading::verdict)
    }
}

pub(super) async fn check(json: bool) -> Result<ExitCode, CommandError> {
    let settings = compose::settings()?;
    let rows = look_at_all(&settings).await?;
    let mut out = std::io::stdout().lock();
    let shown = if json { print_json(&mut out, &rows) } else { print_table(&mut out, &rows, colours()) };
    shown.context("cannot print")?;
    Ok(ExitCode::from(exit_code(&rows)))
}

/// One look at each monitor, in the order of their names.
pub(super) async fn look_at_all(settings: &Settings) -> Result<Vec<Row>, CommandError> {
    let monitors = compose::monitors(settings)?;
    let client = compose::page_client(settings)?;
    let rows = stream::iter(monitors).map(|monitor| look_at(&client, settings, monitor));
    Ok(rows.buffered(CONCURRENT).collect().await)
}

async fn look_at(client: &PageClient, settings: &Settings, monitor: Monitor) -> Row {
    let began = tokio::time::Instant::now();
    let outcome = match &monitor.source {
        Source::Page(page) => {
            let timeout = monitor.timeout.unwrap_or(settings.poll_timeout);
            look(client, page, &monitor.remap, timeout, &mut Memo::default()).await.outcome
        }
        Source::Sync(rule) => {
            // What cannot be read is told as late data.
            let runs = match connectors::place(settings) {
                Ok(place) => ledger(&place, &rule.connector, usize::MAX).await.unwrap_or_default(),
                Err(_) => Vec::new(),
            };
            freshness::read(rule, last_whole(&runs), Clock::system().now())
        }
    };
    Row { monitor, outcome, took: began.elapsed() }
}

/// What these rows call for, each counting at once.
pub(super) fn assessment(rows: &[Row]) -> Assessment {
    let now = Clock::system().now();
    let states: Vec<(String, MonitorState)> = rows
        .iter()
        .map(|row| {
            let mut state = MonitorState::default();
            let (monitor, outcome) = (row.monitor.name.clone(), row.outcome.clone());
            state.fold(&Observation { monitor, at: now, outcome }, Default::default());
            (row.monitor.name.clone(), state)
        })
        .collect();
    Assessment::of(states.iter().map(|(name, state)| (name.as_str(), state)))
}

/// As monitoring plugins do: a known problem wins over what cannot be read.
fn exit_code(rows: &[Row]) -> u8 {
    let worst = rows.iter().filter_map(|row| row.verdict().ok()).map(|reading| reading.severity).max();
    match worst.unwrap_or(Severity::None) {
        Severity::Critical | Severity::Major => 2,
        Severity::Minor | Severity::Maintenance => 1,
        Severity::None if rows.iter().any(|row| row.verdict().is_err()) => 3,
        Severity::None => 0,
    }
}

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
