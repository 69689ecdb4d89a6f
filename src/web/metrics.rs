//! The board in figures, as OpenMetrics. Made afresh for each request, so that nothing piles up between them.
//!
//! Labels are names of definitions and words from closed lists; upstream cannot add any.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use crate::domain::severity::Severity;
use crate::runtime::board::{Board, BoardHandle, Histogram, MonitorView};

/// Of the answer.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The board as text.
///
/// # Errors
/// Never in practice; the encoder's own.
pub fn render(board: &BoardHandle, now: Timestamp) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("dsm");
    registry.register_collector(Box::new(Figures(board.clone(), now)));
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
            daemon(&mut out, board)?;
            monitors(&mut out, board, self.1)?;
            banner(&mut out, board)?;
            syncs(&mut out, board)
        })?;
        process(&mut out)
    }
}

fn daemon(out: &mut Out<'_, '_>, board: &Board) -> fmt::Result {
    out.info("build", "The running version", &[("version", env!("CARGO_PKG_VERSION"))])?;
    out.gauge("live", "1 when the banner is really written, 0 in preview", flag(board.live))?;
    let leader = "1 when we watch and write, 0 when we stand by: another daemon has the lease";
    out.gauge("leader", leader, flag(board.leads()))?;
    out.seconds_at("started_timestamp", "When the daemon started", Some(board.started_at))?;
    out.counter("cycles_finished", "Cycles finished", board.cycles.finished)?;
    out.seconds_at("cycle_finished_timestamp", "End of the last cycle", board.cycles.finished_at)?;
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
    let unknown = |m: &MonitorView| Some(flag(m.state.unknown.is_some()));
    out.gauges("monitor_unknown", "1 while the page cannot be read", None, each(unknown))?;
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
    out.counters("banner_writes", "Writes the tenant accepted", by_word("why", &banner.writes))?;
    out.counter("banner_writes_avoided", "Looks at the tenant that found nothing to write", banner.avoided)?;
    out.counter("banner_failures", "Failed exchanges with the tenant", banner.failures)?;
    out.gauge(
        "banner_owed",
        "1 while the tenant does not show what it should",
        flag(banner.owed_since.is_some()),
    )?;
    out.seconds_at("banner_owed_since_timestamp", "Since when it is owed", banner.owed_since)?;
    out.seconds_at("tenant_answered_timestamp", "Last good answer of the tenant", banner.answered_at)?;
    out.histogram("banner_lag", "From the change seen on a page to the banner accepted", &banner.lag)
}

fn syncs(out: &mut Out<'_, '_>, board: &Board) -> fmt::Result {
    let success = board
        .syncs
        .iter()
        .filter_map(|(name, s)| Some(([("connector", name.as_str())], seconds(s.last_success?))));
    out.gauges(
        "sync_last_success_timestamp",
        "Start of the last complete run",
        Some(&Unit::Seconds),
        success,
    )?;
    let took = board.syncs.iter().filter_map(|(name, s)| {
        Some(([("connector", name.as_str())], s.last_run.as_ref()?.took.as_secs_f64()))
    });
    out.gauges("sync_duration", "Duration of the last run", Some(&Unit::Seconds), took)?;
    let rows = board.syncs.iter().flat_map(|(name, s)| {
        let tables = s.last_run.iter().flat_map(|run| run.rows.iter());
        tables.map(move |(table, n)| ([("connector", name.as_str()), ("table", table.as_str())], *n as f64))
    });
    out.gauges("sync_rows", "Rows the source sent in the last run", None, rows)?;
    let running = board.syncs.iter().map(|(name, s)| ([("connector", name.as_str())], flag(s.running)));
    out.gauges("sync_running", "1 while a run is going on", None, running)?;
    let ends = board.syncs.iter().flat_map(|(name, s)| {
        s.ends.iter().map(move |(end, n)| ([("connector", name.as_str()), ("end", *end)], *n))
    });
    out.counters("sync_runs", "Runs by how they ended", ends)
}

fn process(out: &mut Out<'_, '_>) -> fmt::Result {
    let Some(figures) = ProcessFigures::read() else { return Ok(()) };
    out.gauge_in("process_cpu", "Processor time used", &Unit::Seconds, figures.cpu_seconds)?;
    out.gauge_in("process_resident_memory", "Resident memory", &Unit::Bytes, figures.resident_bytes)?;
    out.gauge("process_threads", "Threads", figures.threads)?;
    out.gauge("process_open_fds", "Open files", figures.open_files)
}

struct ProcessFigures {
    cpu_seconds: f64,
    resident_bytes: f64,
    threads: f64,
    open_files: f64,
}

impl ProcessFigures {
    /// From `/proc`; nothing on systems without it.
    fn read() -> Option<ProcessFigures> {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim_start_matches(':').split_whitespace().next()?.parse::<f64>().ok()
        };
        // Nanoseconds on a processor, first field; unlike /proc/self/stat it needs no clock rate.
        let schedstat = std::fs::read_dir("/proc/self/task").ok()?.filter_map(|task| {
            let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<f64>().ok()
        });
        Some(ProcessFigures {
            cpu_seconds: schedstat.sum::<f64>() / 1e9,
            resident_bytes: field("VmRSS")? * 1024.0,
            threads: field("Threads")?,
            open_files: std::fs::read_dir("/proc/self/fd").ok()?.count() as f64,
        })
    }
}

fn rank(severity: Severity) -> u8 {
    severity as u8
}

fn flag(on: bool) -> f64 {
    f64::from(u8::from(on))
}

fn seconds(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1000.0
}

fn by_word(
    label: &'static str,
    counts: &BTreeMap<&'static str, u64>,
) -> impl Iterator<Item = ([(&'static str, &'static str); 1], u64)> {
    counts.iter().map(move |(word, count)| ([(label, *word)], *count))
}

/// The encoder with our few kinds of figures.
struct Out<'o, 'e> {
    encoder: &'o mut DescriptorEncoder<'e>,
}

impl Out<'_, '_> {
    fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        self.gauges(name, help, None, std::iter::once(([], value)))
    }

    fn gauge_in(&mut self, name: &str, help: &str, unit: &Unit, value: f64) -> fmt::Result {
        self.gauges(name, help, Some(unit), std::iter::once(([], value)))
    }

    fn seconds_at(&mut self, name: &str, help: &str, at: Option<Timestamp>) -> fmt::Result {
        self.gauges(name, help, Some(&Unit::Seconds), at.into_iter().map(|at| ([], seconds(at))))
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.counters(name, help, std::iter::once(([], value)))
    }

    fn gauges<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        series: impl Iterator<Item = ([(&'l str, &'l str); N], f64)>,
    ) -> fmt::Result {
        let gauge = ConstGauge::new(0.0_f64);
        let mut family = self.encoder.encode_descriptor(name, help, unit, gauge.metric_type())?;
        for (labels, value) in series {
            ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn counters<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        series: impl Iterator<Item = ([(&'l str, &'l str); N], u64)>,
    ) -> fmt::Result {
        let counter = ConstCounter::new(0_u64);
        let mut family = self.encoder.encode_descriptor(name, help, None, counter.metric_type())?;
        for (labels, value) in series {
            ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn info(&mut self, name: &str, help: &str, labels: &[(&str, &str); 1]) -> fmt::Result {
        self.gauges(name, help, None, std::iter::once((*labels, 1.0)))
    }

    fn histogram(&mut self, name: &str, help: &str, of: &Histogram) -> fmt::Result {
        let kind = prometheus_client::metrics::MetricType::Histogram;
        let mut encoder = self.encoder.encode_descriptor(name, help, Some(&Unit::Seconds), kind)?;
        let bounds = Histogram::BOUNDS.into_iter().chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(of.counts).collect();
        let count = of.counts.iter().sum();
        encoder.encode_histogram::<[(&str, &str); 0]>(of.sum, count, &buckets, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::observation::{Observation, Unknown};
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
            board.banner.wrote(crate::domain::plan::Why::Raise, Some(Duration::from_millis(70)));
        });
        let text = render(&board, now.checked_add(jiff::SignedDuration::from_secs(30)).unwrap()).unwrap();
        let ours: Vec<&str> = text
            .lines()
            .filter(|l| !l.contains("process_") && !l.starts_with("# HELP") && !l.contains("dsm_build"))
            .collect();
        insta::assert_snapshot!(ours.join("\n"));
    }
}
