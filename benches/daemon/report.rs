//! The printed report: the machine, a row for each measurement, and the targets beside the results.

use std::fmt;
use std::fs;
use std::time::Duration;

use crate::ledger::Measurement;
use crate::pages::Plan;

/// The program opens up to 512 pages at once, and the other ends of them are here.
const FILES: u64 = 700;

/// One measurement.
pub(crate) struct Row {
    pub(crate) plan: Plan,
    pub(crate) cpu: Duration,
    pub(crate) wall: Duration,
    /// Bytes.
    pub(crate) peak: u64,
    /// The same, after its metrics were requested.
    pub(crate) peak_scraped: u64,
    /// Since the start.
    pub(crate) missed: u64,
    pub(crate) seen: Measurement,
}

impl Row {
    /// Above the rows.
    pub(crate) const HEAD: &str = "\
        monitors  every   polls  CPU/poll  of a core  peak memory  with /metrics  missed  latest look  changes  lost  banner p50     p99     max\n\
        --------  -----  ------  --------  ---------  -----------  -------------  ------  -----------  -------  ----  ----------  ------  ------";

    fn core_percent(&self) -> f64 {
        100.0 * self.cpu.as_secs_f64() / self.wall.as_secs_f64()
    }

    /// The quantile of the time from a change to the banner.
    fn lag(&self, part: f64) -> f64 {
        let lags = &self.seen.lags;
        let place = (part * lags.len() as f64).ceil() as usize;
        lags.get(place.saturating_sub(1)).map_or(f64::NAN, |lag| millis(*lag))
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per_poll = self.cpu.as_secs_f64() * 1e6 / self.seen.polls.max(1) as f64;
        write!(
            f,
            "{:>8}  {:>3} s  {:>6}  {:>5.0} µs  {:>7.2} %  {:>8.1} MB  {:>10.1} MB  {:>6}  {:>8.0} ms  {:>7}  {:>4}  {:>7.1} ms  {:>6.1}  {:>6.1}",
            self.plan.count,
            self.plan.interval.as_secs(),
            self.seen.polls,
            per_poll,
            self.core_percent(),
            megabytes(self.peak),
            megabytes(self.peak_scraped),
            self.missed,
            millis(self.seen.latest),
            self.seen.lags.len(),
            self.seen.lost,
            self.lag(0.5),
            self.lag(0.99),
            self.lag(1.0),
        )
    }
}

/// The targets that apply to these rows.
pub(crate) fn targets(rows: &[Row]) -> String {
    let mut lines = Vec::new();
    let mut line = |met: bool, aim: &str, got: String| {
        lines.push(format!("{:<6}  {aim}: {got}", if met { "met" } else { "MISSED" }));
    };
    for row in rows {
        let (memory, core) = (megabytes(row.peak_scraped), row.core_percent());
        match row.plan.count {
            4 => line(memory < 15.0, "4 monitors under 15 MB resident", format!("{memory:.1} MB")),
            1_000 => {
                line(memory < 40.0, "1,000 monitors under 40 MB resident", format!("{memory:.1} MB"));
                line(core < 2.0, "1,000 monitors at 60 s under 2 % of a core", format!("{core:.2} %"));
            }
            10_000 => line(row.missed == 0, "10,000 monitors without a missed tick", row.missed.to_string()),
            _ => {}
        }
    }
    for row in rows {
        let (p99, lost) = (row.lag(0.99), row.seen.lost);
        let got = format!("{p99:.1} ms with {} monitors, {lost} lost", row.plan.count);
        line(p99 < 100.0 && lost == 0, "change to banner under 100 ms at p99", got);
    }
    lines.join("\n")
}

/// The machine of the measurement.
pub(crate) fn machine() -> String {
    let field = |path: &str, name: &str| {
        let text = fs::read_to_string(path).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned))?;
        Some(line.trim_matches([' ', '\t', ':']).to_owned())
    };
    let cpu = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".into());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = field("/proc/meminfo", "MemTotal").unwrap_or_default();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().next().unwrap_or_default();
    format!("{cores} cores of {cpu}, memory {memory}, Linux {}, load {load} before", kernel.trim())
}

/// A warning if the limit of open files would distort the result.
pub(crate) fn too_few_files() -> Option<String> {
    let text = fs::read_to_string("/proc/self/limits").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let limit: u64 = line.split_whitespace().next()?.parse().ok()?;
    (limit < FILES).then(|| {
        format!("The limit of open files is {limit}; 10,000 monitors need {FILES} (`ulimit -n {FILES}`).")
    })
}

pub(crate) fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn millis(of: Duration) -> f64 {
    of.as_secs_f64() * 1e3
}
