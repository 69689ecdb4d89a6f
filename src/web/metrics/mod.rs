//! The board as OpenMetrics, encoded for each request, so that no state accumulates between scrapes.
//!
//! Labels are names of definitions and words from closed lists, so that external services cannot add series. Start at [`render`].

mod deliveries;
mod out;
mod process;

use std::fmt;

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::{Registry, Unit};

use super::view::channels::ChannelStatus;
use super::view::status::{MonitorStatus, banner_report};
use crate::domain::monitoring::news::NewsState;
use crate::domain::monitoring::plan::Why;
use crate::domain::monitoring::severity::Severity;
use crate::domain::syncing::op::End;
use crate::runtime::board::{Board, BoardReader, ChannelView, ExportsView, MonitorView, SyncView};
use out::{MetricWriter, seconds};
use process::ProcessCollector;

pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Lines that the log could not write since the start.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogLosses {
    /// The file could not be written.
    pub lost: u64,
    /// They came faster than an output could write them.
    pub dropped: u64,
}

/// # Errors
/// If the encoder fails, which it does not in practice.
pub fn render(board: &BoardReader, log: LogLosses, now: Timestamp) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    let ours = registry.sub_registry_with_prefix("dsm");
    ours.register_collector(Box::new(BoardCollector(board.clone(), now)));
    ours.register_collector(Box::new(log));
    registry.register_collector(Box::new(ProcessCollector));
    let mut text = String::new();
    text::encode(&mut text, &registry)?;
    Ok(text)
}

struct BoardCollector(BoardReader, Timestamp);

impl fmt::Debug for BoardCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BoardCollector")
    }
}

impl Collector for BoardCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut out = MetricWriter { encoder: &mut encoder };
        self.0.read(|board| {
            daemon(&mut out, board, self.1)?;
            monitors(&mut out, board, self.1)?;
            banners(&mut out, board, self.1)?;
            channels(&mut out, board)?;
            syncs(&mut out, board)
        })
    }
}

impl Collector for LogLosses {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut out = MetricWriter { encoder: &mut encoder };
        out.counter("log_lines_lost", "Log lines that could not be written to the log file", self.lost)?;
        let help = "Log lines dropped because they came faster than they could be written, over all outputs";
        out.counter("log_lines_dropped", help, self.dropped)
    }
}

fn daemon(out: &mut MetricWriter<'_, '_>, board: &Board, now: Timestamp) -> fmt::Result {
    out.info("build_info", "The running version", &[("version", env!("CARGO_PKG_VERSION"))])?;
    out.gauge("ready", "1 while the daemon is ready, as /readyz reports", flag(board.ready(now).is_empty()))?;
    out.gauge("live", "1 if banners are written to a tenant, 0 in preview", flag(board.live))?;
    let leader = "1 if this daemon is the leader, 0 if it is a standby";
    out.gauge("leader", leader, flag(board.leads()))?;
    out.seconds_at("started_timestamp", "When the daemon started", Some(board.started_at))?;
    out.counter("cycles_finished", "Cycles finished", board.cycles.finished)?;
    out.seconds_at("cycle_finished_timestamp", "End of the last cycle", board.cycles.finished_at)?;
    let max_age = &board.cycles.max_age;
    out.gauge_in(
        "cycle_patience",
        "If the last cycle is older than this, polling hangs",
        &Unit::Seconds,
        max_age.as_secs_f64(),
    )?;
    out.counter(
        "looks_missed",
        "Polls skipped because the previous one had not finished",
        board.cycles.missed,
    )?;
    out.gauge(
        "store_writable",
        "0 while the state database cannot be written",
        flag(board.store_trouble.is_none()),
    )?;
    out.gauge(
        "definitions_ok",
        "0 if the last reload found an error in the definitions",
        flag(board.invalid_definitions().next().is_none()),
    )?;
    out.seconds_at("definitions_read_timestamp", "Last reload of the definitions", Some(board.definitions.1))
}

fn monitors(out: &mut MetricWriter<'_, '_>, board: &Board, now: Timestamp) -> fmt::Result {
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
        "1 while polling is paused because the status page sent Retry-After",
        None,
        paused,
    )?;
    let read_at = |m: &MonitorView| m.state.read_at.map(seconds);
    out.gauges("monitor_read_timestamp", "Last successful reading", Some(&Unit::Seconds), each(read_at))?;
    let ages = board.monitors.iter().filter_map(|(name, m)| {
        Some(([("monitor", name.as_str())], (seconds(now) - seconds(m.state.read_at?)).max(0.0)))
    });
    out.gauges("monitor_poll_age", "Time since the last successful reading", Some(&Unit::Seconds), ages)?;
    let took = |m: &MonitorView| (m.polls > 0).then_some(m.took.as_secs_f64());
    out.gauges("monitor_poll_duration", "Duration of the last poll", Some(&Unit::Seconds), each(took))?;
    let count = |value: fn(&MonitorView) -> u64| {
        board.monitors.iter().map(move |(name, m)| ([("monitor", name.as_str())], value(m)))
    };
    out.counters("monitor_polls", "Polls", count(|m| m.polls))?;
    out.counters("monitor_not_modified", "Polls answered with 304", count(|m| m.not_modified))?;
    let failures = board.monitors.iter().flat_map(|(name, m)| {
        m.failures.iter().map(move |(reason, n)| ([("monitor", name.as_str()), ("reason", *reason)], *n))
    });
    out.counters("monitor_failures", "Failed polls, by reason", failures)
}

fn banners(out: &mut MetricWriter<'_, '_>, board: &Board, now: Timestamp) -> fmt::Result {
    let each = || board.banners.iter().map(|(name, view)| (("tenant", name.as_str()), view));
    let reports: Vec<_> = each().map(|(label, view)| ([label], banner_report(board, view, now))).collect();
    // Zero counts included, so that the first event of each kind is seen as an increase.
    let writes = each().flat_map(|(label, view)| {
        Why::ALL.map(|why| {
            let word = why.as_str();
            ([label, ("why", word)], view.writes.get(word).copied().unwrap_or(0))
        })
    });
    out.counters("banner_writes", "Writes the tenant accepted, by reason", writes)?;
    let avoided = each().map(|(label, view)| ([label], view.avoided));
    out.counters("banner_writes_avoided", "Reads of the tenant that found nothing to write", avoided)?;
    let failures = each().map(|(label, view)| ([label], view.failures));
    out.counters("banner_failures", "Failed requests to the tenant", failures)?;
    let pending =
        "1 while a banner write is pending; on a standby as the leader saved it, absent if it did not";
    let owed = reports.iter().filter_map(|(label, report)| {
        let known = board.leads() || report.is_known() || report.pending_since.is_some();
        known.then(|| (*label, flag(report.pending_since.is_some())))
    });
    out.gauges("banner_owed", pending, None, owed)?;
    let unit = Some(&Unit::Seconds);
    let since = reports.iter().filter_map(|(label, report)| Some((*label, seconds(report.pending_since?))));
    out.gauges("banner_owed_since_timestamp", "Since when a banner write is pending", unit, since)?;
    let kept = each().map(|(label, view)| ([label], flag(view.state_error.is_none())));
    out.gauges("banner_memory_kept", "0 while the banner state cannot be saved", None, kept)?;
    let skew = each().filter_map(|(label, view)| Some(([label], view.clock_skew?.as_secs_f64())));
    let help = "How far the tenant's clock is ahead of this machine's; absent until first measured";
    out.gauges("tenant_clock_skew", help, unit, skew)?;
    let answered = reports.iter().filter_map(|(label, report)| Some((*label, seconds(report.answered_at?))));
    out.gauges("tenant_answered_timestamp", "Last successful response of the tenant", unit, answered)?;
    let lag = each().map(|(label, view)| ([label], &view.lag));
    let help = "From reading a change on a status page to the accepted banner write";
    out.histograms("banner_lag", help, lag)
}

fn channels(out: &mut MetricWriter<'_, '_>, board: &Board) -> fmt::Result {
    // Zero counts included, so that the first event of each kind is seen as an increase.
    let messages = board.channels.iter().flat_map(|(name, view)| {
        let labels = move |state: NewsState| [("channel", name.as_str()), ("state", state.as_str())];
        NewsState::ALL.map(|state| (labels(state), view.sent.get(&state).copied().unwrap_or(0)))
    });
    let help = "Messages that the receiver confirmed, by the state of the incident";
    out.counters("channel_messages", help, messages)?;
    let failures = board.channels.iter().map(|(name, view)| ([("channel", name.as_str())], view.failures));
    out.counters("channel_failures", "Failed attempts to send a message", failures)?;
    let each = |value: fn(&ChannelView) -> Option<f64>| {
        board
            .channels
            .iter()
            .filter_map(move |(name, view)| Some(([("channel", name.as_str())], value(view)?)))
    };
    let pending = each(|view| Some(flag(view.report.pending_since.is_some())));
    out.gauges("channel_pending", "1 while a message is not confirmed", None, pending)?;
    let stopped = each(|view| Some(flag(ChannelStatus::of(view) == ChannelStatus::Stopped)));
    out.gauges("channel_stopped", "1 if the receiver is gone and nothing more is sent", None, stopped)?;
    let unit = Some(&Unit::Seconds);
    let since = each(|view| view.report.pending_since.map(seconds));
    out.gauges("channel_pending_since_timestamp", "Since when a message is pending", unit, since)?;
    let delivered = each(|view| view.report.delivered_at.map(seconds));
    out.gauges("channel_delivered_timestamp", "Last confirmed message", unit, delivered)
}

fn syncs(out: &mut MetricWriter<'_, '_>, board: &Board) -> fmt::Result {
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
    out.gauges("sync_last_run_timestamp", "End of the last run, with any outcome", unit, ended)?;
    let took = each(|s| s.last_run.as_ref().map(|run| run.took.as_secs_f64()));
    out.gauges("sync_duration", "Duration of the last run", unit, took)?;
    let rows = board.syncs.iter().flat_map(|(name, s)| {
        let tables = s.last_run.iter().flat_map(|run| run.rows.iter());
        tables.map(move |(table, n)| ([("connector", name.as_str()), ("table", table.as_str())], *n as f64))
    });
    out.gauges("sync_rows", "Rows the source sent in the last run", None, rows)?;
    out.gauges("sync_running", "1 while a run is in progress", None, each(|s| Some(flag(s.running))))?;
    if board.syncs.values().any(|s| s.holder.is_some()) {
        let held = board.syncs.iter().filter_map(|(name, s)| {
            Some(([("connector", name.as_str()), ("holder", s.holder.as_deref()?)], 1.0))
        });
        out.gauges("sync_held", "1 for the daemon that runs it", None, held)?;
    }
    let last = board.syncs.iter().filter_map(|(name, s)| Some((name.as_str(), s.last_run.as_ref()?.end)));
    let last = last.flat_map(|(name, end)| {
        let one = move |word| ([("connector", name), ("end", word)], flag(word == end));
        End::ALL.map(End::as_str).map(one)
    });
    out.gauges("sync_last_run_end", "1 for the outcome of the last run", None, last)?;
    // Zero counts included, so that the first event of each kind is seen as an increase.
    let ends = board.syncs.iter().flat_map(|(name, s)| {
        let one =
            |word| ([("connector", name.as_str()), ("end", word)], s.ends.get(word).copied().unwrap_or(0));
        End::ALL.map(End::as_str).map(one)
    });
    out.counters("sync_runs", "Runs by outcome", ends)?;
    exports(out, board)?;
    deliveries::write(out, board)
}

/// Of connectors that export.
fn exports(out: &mut MetricWriter<'_, '_>, board: &Board) -> fmt::Result {
    let all =
        || board.syncs.iter().filter(|(_, s)| s.exports.on).map(|(name, s)| (name.as_str(), &s.exports));
    if all().next().is_none() {
        return Ok(());
    }
    // Zero counts included, so that the first event of each kind is seen as an increase.
    let ends = all().flat_map(|(name, of)| {
        let one = |word| ([("connector", name), ("end", word)], of.ends.get(word).copied().unwrap_or(0));
        [End::Complete, End::Failed].map(End::as_str).map(one)
    });
    out.counters("export_runs", "Exports by outcome", ends)?;
    let count =
        |of: fn(&ExportsView) -> u64| all().map(move |(name, view)| ([("connector", name)], of(view)));
    out.counters("export_files", "Files written; unchanged tables keep theirs", count(|of| of.files))?;
    out.counters("export_rows", "Rows written into files", count(|of| of.rows))?;
    out.counters("export_bytes", "Bytes written into files", count(|of| of.bytes))?;
    let took =
        all().filter_map(|(name, of)| Some(([("connector", name)], of.last.as_ref()?.took.as_secs_f64())));
    out.gauges("export_duration", "Duration of the last export", Some(&Unit::Seconds), took)?;
    let success = all().filter_map(|(name, of)| Some(([("connector", name)], seconds(of.last_success?))));
    let meaning = "End of the last export that did not fail";
    out.gauges("export_last_success_timestamp", meaning, Some(&Unit::Seconds), success)
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
    use crate::domain::monitoring::observation::{Observation, Unknown};
    use crate::runtime::board::{LastExport, LastRun, channel};
    use std::time::Duration;

    /// Names, units and labels are a contract with dashboards. Metrics of the process are left out because they vary.
    #[test]
    fn what_a_scraper_sees() {
        let now: Timestamp = "2026-05-02T09:00:00Z".parse().unwrap();
        let (writer, board) = channel(now, true);
        writer.update(|board| {
            let monitor = board.monitors.entry("Epic \"Games\"".into()).or_default();
            let seen = |outcome| Observation { monitor: "Epic \"Games\"".into(), at: now, outcome };
            let rule = crate::domain::monitoring::monitor::Freshness {
                connector: "shop".into(),
                stage: Default::default(),
                stale_after: Duration::from_secs(60),
                severity: Severity::Minor,
            };
            let fresh = crate::domain::monitoring::freshness::read(&rule, Some(now), None, now);
            monitor.looked(Duration::from_millis(120), true, &seen(fresh));
            monitor.looked(Duration::from_millis(80), false, &seen(Err(Unknown::Timeout)));
            monitor.state.read_at = Some(now);
            monitor.state.severity = Severity::Major;
            let banner = board.banners.entry("prod".into()).or_default();
            banner.wrote(Why::Raise, Some(Duration::from_millis(70)));
            let channel = board.channels.entry("ops".into()).or_default();
            channel.sent.insert(NewsState::Raised, 2);
            channel.report.pending_since = Some(now);
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
            sync.exports.on = true;
            sync.exports.ends.insert("failed", 1);
            (sync.exports.files, sync.exports.rows, sync.exports.bytes) = (2, 70, 4_096);
            sync.exports.last_success = Some(now);
            let (failure, took) = (Some("no space left".into()), Duration::from_millis(250));
            sync.exports.last = Some(LastExport { at: now, failure, took, files: 0 });
            let data = board.deliveries.entry(("prod".into(), "statuscake".into())).or_default();
            (data.files, data.bytes, data.failures) = (4, 8_192, 1);
            data.reloads.insert("succeeded", 2);
            (data.report.as_of, data.report.pending_since) = (Some(now), Some(now));
        });
        let log = LogLosses { lost: 3, dropped: 5 };
        let text =
            render(&board, log, now.checked_add(jiff::SignedDuration::from_secs(30)).unwrap()).unwrap();
        let ours: Vec<&str> = text
            .lines()
            .filter(|l| !l.contains("process_") && !l.starts_with("# HELP") && !l.contains("dsm_build_info"))
            .collect();
        insta::assert_snapshot!(ours.join("\n"));
    }
}
