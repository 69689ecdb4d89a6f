//! The board in figures, as OpenMetrics. Made afresh for each request, so that nothing piles up between them.
//!
//! Labels are names of definitions and words from closed lists; upstream cannot add any.

mod out;
mod process;

use std::fmt;

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::{Registry, Unit};

use super::view::MonitorStatus;
use crate::domain::op::End;
use crate::domain::plan::Why;
use crate::domain::severity::Severity;
use crate::runtime::board::{Board, BoardHandle, MonitorView, SyncView};
use out::{Out, seconds};
use process::Process;

/// Of the answer.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The board as text.
///
/// # Errors
/// Never in practice; the encoder's own.
pub fn render(board: &BoardHandle, now: Timestamp) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.sub_registry_with_prefix("dsm").register_collector(Box::new(Figures(board.clone(), now)));
    registry.register_collector(Box::new(Process));
    let mut text = String::new();
    text::encode(&mut text, &registry)?;
    Ok(text)
}

struct Figures(BoardHandle, Timestamp);

impl fmt::Debug for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Figures")
    }
}

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut out = Out { encoder: &mut encoder };
        self.0.read(|board| {
            daemon(&mut out, board, self.1)?;
            monitors(&mut out, board, self.1)?;
            banner(&mut out, board)?;
            syncs(&mut out, board)
        })
    }
}

fn daemon(out: &mut Out<'_, '_>, board: &Board, now: Timestamp) -> fmt::Result {
    out.info("build_info", "The running version", &[("version", env!("CARGO_PKG_VERSION"))])?;
    out.gauge(
        "ready",
        "1 while the daemon does its work, as /readyz says",
        flag(board.ready(now).is_empty()),
    )?;
    out.gauge("live", "1 when the banner is really written, 0 in preview", flag(board.live))?;
    let leader = "1 when we watch and write, 0 when we stand by: another daemon has the lease";
    out.gauge("leader", leader, flag(board.leads()))?;
    out.seconds_at("started_timestamp", "When the daemon started", Some(board.started_at))?;
    out.counter("cycles_finished", "Cycles finished", board.cycles.finished)?;
    out.seconds_at("cycle_finished_timestamp", "End of the last cycle", board.cycles.finished_at)?;
    let patience = &board.cycles.patience;
    out.gauge_in(
        "cycle_patience",
        "A last cycle older than this means that something hangs",
        &Unit::Seconds,
        patience.as_secs_f64(),
    )?;
    out.counter("looks_missed", "Looks due while the one before had not ended", board.cycles.missed)?;
    out.gauge(
        "store_writable",
        "0 while our own memory cannot be written",
        flag(board.store_trouble.is_none()),
    )?;
    let (ok, at) = board.definitions;
    out.gauge(
        "definitions_ok",
        "0 when the last reading of the definitions found a mistake",
        flag(ok && board.connectors_ok),
    )?;
    out.seconds_at("definitions_read_timestamp", "Last reading of the definitions", Some(at))
}

fn monitors(out: &mut Out<'_, '_>, board: &Board, now: Timestamp) -> fmt::Result {
    let each = |value: fn(&MonitorView) -> Option<f64>| {
        board.monitors.iter().filter_map(move |(name, m)| Some(([("monitor", name.as_str())], value(m)?)))
    };
    let severity = |m: &MonitorView| m.state.read_at.map(|_| f64::from(rank(m.state.severity)));
    out.gauges(
        "monitor_severity",
        "0 none, 1 maintenance, 2 minor, 3 major, 4 critical; held while unreadable",
        None,
        each(severity),
    )?;
    let unknown = board.monitors.iter().map(|(name, m)| {
        let known = MonitorStatus::of(m, board, now).known();
        ([("monitor", name.as_str())], flag(known.is_none()))
    });
    out.gauges("monitor_unknown", "1 while the status page cannot be read or is not polled", None, unknown)?;
    let paused = board.monitors.iter().map(|(name, m)| {
        ([("monitor", name.as_str())], flag(m.paused_until.is_some_and(|until| until > now)))
    });
    out.gauges(
        "monitor_paused",
        "1 while the page is not polled because it asked for a pause",
        None,
        paused,
    )?;
    let read_at = |m: &MonitorView| m.state.read_at.map(seconds);
    out.gauges("monitor_read_timestamp", "Last successful reading", Some(&Unit::Seconds), each(read_at))?;
    let ages = board.monitors.iter().filter_map(|(name, m)| {
        Some(([("monitor", name.as_str())], (seconds(now) - seconds(m.state.read_at?)).max(0.0)))
    });
    out.gauges("monitor_poll_age", "Time since the last successful reading", Some(&Unit::Seconds), ages)?;
    let took = |m: &MonitorView| (m.looks > 0).then_some(m.took.as_secs_f64());
    out.gauges("monitor_poll_duration", "Duration of the last look", Some(&Unit::Seconds), each(took))?;
    let count = |value: fn(&MonitorView) -> u64| {
        board.monitors.iter().map(move |(name, m)| ([("monitor", name.as_str())], value(m)))
    };
    out.counters("monitor_polls", "Looks", count(|m| m.looks))?;
    out.counters("monitor_not_modified", "Looks answered by 304", count(|m| m.not_modified))?;
    let failures = board.monitors.iter().flat_map(|(name, m)| {
        m.failures.iter().map(move |(reason, n)| ([("monitor", name.as_str()), ("reason", *reason)], *n))
    });
    out.counters("monitor_failures", "Looks without a reading, by reason", failures)
}

fn banner(out: &mut Out<'_, '_>, board: &Board) -> fmt::Result {
    let banner = &board.banner;
    // From zero on, so that the first of each kind is seen as an increase.
    let writes = Why::ALL.map(|why| {
        let word = why.as_str();
        ([("why", word)], banner.writes.get(word).copied().unwrap_or(0))
    });
    out.counters("banner_writes", "Writes the tenant accepted, by reason", writes.into_iter())?;
    out.counter("banner_writes_avoided", "Looks at the tenant that found nothing to write", banner.avoided)?;
    out.counter("banner_failures", "Failed exchanges with the tenant", banner.failures)?;
    out.gauge(
        "banner_owed",
        "1 while the tenant does not show what it should",
        flag(banner.owed_since.is_some()),
    )?;
    out.seconds_at("banner_owed_since_timestamp", "Since when it is owed", banner.owed_since)?;
    out.gauge(
        "banner_memory_kept",
        "0 while the memory of the banner cannot be written",
        flag(banner.memory_trouble.is_none()),
    )?;
    out.gauges(
        "tenant_clock_skew",
        "How far the tenant's clock is ahead of this machine's, once an answer told it",
        Some(&Unit::Seconds),
        banner.clock_skew.iter().map(|skew| ([("", ""); 0], skew.as_secs_f64())),
    )?;
    out.seconds_at("tenant_answered_timestamp", "Last good answer of the tenant", banner.answered_at)?;
    out.histogram("banner_lag", "From the change seen on a page to the banner accepted", &banner.lag)
}

fn syncs(out: &mut Out<'_, '_>, board: &Board) -> fmt::Result {
    let unit = Some(&Unit::Seconds);
    let each = |value: fn(&SyncView) -> Option<f64>| {
        board.syncs.iter().filter_map(move |(name, s)| Some(([("connector", name.as_str())], value(s)?)))
    };
    out.gauges("sync_every", "Time from one run to the next, as configured", unit, {
        each(|s| (!s.every.is_zero()).then_some(s.every.as_secs_f64()))
    })?;
    let success = each(|s| s.last_success.map(seconds));
    out.gauges("sync_last_success_timestamp", "Start of the last complete run", unit, success)?;
    let ended = each(|s| s.last_run.as_ref().map(|run| seconds(run.ended_at)));
    out.gauges("sync_last_run_timestamp", "End of the last run, however it ended", unit, ended)?;
    let took = each(|s| s.last_run.as_ref().map(|run| run.took.as_secs_f64()));
    out.gauges("sync_duration", "Duration of the last run", unit, took)?;
    let rows = board.syncs.iter().flat_map(|(name, s)| {
        let tables = s.last_run.iter().flat_map(|run| run.rows.iter());
        tables.map(move |(table, n)| ([("connector", name.as_str()), ("table", table.as_str())], *n as f64))
    });
    out.gauges("sync_rows", "Rows the source sent in the last run", None, rows)?;
    out.gauges("sync_running", "1 while a run is going on", None, each(|s| Some(flag(s.running))))?;
    if board.syncs.values().any(|s| s.holder.is_some()) {
        let held = board.syncs.iter().filter_map(|(name, s)| {
            Some(([("connector", name.as_str()), ("holder", s.holder.as_deref()?)], 1.0))
        });
        out.gauges("sync_held", "1 for the daemon that runs it now", None, held)?;
    }
    let last = board.syncs.iter().filter_map(|(name, s)| Some((name.as_str(), s.last_run.as_ref()?.end)));
    let last = last.flat_map(|(name, end)| {
        let one = move |word| ([("connector", name), ("end", word)], flag(word == end));
        End::ALL.map(End::as_str).map(one)
    });
    out.gauges("sync_last_run_end", "1 for the word that says how the last run ended", None, last)?;
    // From zero on, so that the first of each kind is seen as an increase.
    let ends = board.syncs.iter().flat_map(|(name, s)| {
        let one =
            |word| ([("connector", name.as_str()), ("end", word)], s.ends.get(word).copied().unwrap_or(0));
        End::ALL.map(End::as_str).map(one)
    });
    out.counters("sync_runs", "Runs by how they ended", ends)
}

fn rank(severity: Severity) -> u8 {
    severity as u8
}

fn flag(on: bool) -> f64 {
    f64::from(u8::from(on))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::observation::{Observation, Unknown};
    use crate::runtime::board::LastRun;
    use std::time::Duration;

    /// What a scraper sees, whole: names, help, units and labels are a promise to dashboards. The figures of the
    /// process itself are left out.
    #[test]
    fn what_a_scraper_sees() {
        let now: Timestamp = "2026-05-02T09:00:00Z".parse().unwrap();
        let board = BoardHandle::new(now, true);
        board.update(|board| {
            let monitor = board.monitors.entry("Epic \"Games\"".into()).or_default();
            let seen = |outcome| Observation { monitor: "Epic \"Games\"".into(), at: now, outcome };
            let rule = crate::domain::monitor::Freshness {
                connector: "shop".into(),
                stale_after: Duration::from_secs(60),
                severity: Severity::Minor,
            };
            let fresh = crate::domain::freshness::read(&rule, Some(now), now);
            monitor.looked(Duration::from_millis(120), true, &seen(fresh));
            monitor.looked(Duration::from_millis(80), false, &seen(Err(Unknown::Timeout)));
            monitor.state.read_at = Some(now);
            monitor.state.severity = Severity::Major;
            board.banner.wrote(Why::Raise, Some(Duration::from_millis(70)));
            let sync = board.syncs.entry("statuscake".into()).or_default();
            (sync.every, sync.last_success) = (Duration::from_secs(900), Some(now));
            sync.ends.insert("partial", 2);
            sync.last_run = Some(LastRun {
                ended_at: now,
                end: "partial",
                reason: Some("rows were rejected".into()),
                took: Duration::from_millis(1500),
                rows: [("uptime_test".to_owned(), 7)].into(),
                waited: Duration::ZERO,
            });
        });
        let text = render(&board, now.checked_add(jiff::SignedDuration::from_secs(30)).unwrap()).unwrap();
        let ours: Vec<&str> = text
            .lines()
            .filter(|l| !l.contains("process_") && !l.starts_with("# HELP") && !l.contains("dsm_build_info"))
            .collect();
        insta::assert_snapshot!(ours.join("\n"));
    }
}
