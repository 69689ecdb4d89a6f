//! Metrics of the process under the conventional names, so that generic dashboards and rules work.
//!
//! Read from `/proc`; systems without it have none of them.

use std::fmt;

use procfs::process::{LimitValue, Process};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::Unit;
use rustix::time::ClockId;

use super::out::MetricWriter;

/// Reads at each scrape.
#[derive(Debug)]
pub(super) struct ProcessCollector;

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(figures) = ProcessFigures::read() else { return Ok(()) };
        let mut out = MetricWriter { encoder: &mut encoder };
        out.counter_in("process_cpu", "Processor time used", &Unit::Seconds, figures.cpu_seconds)?;
        out.gauge_in("process_resident_memory", "Resident memory", &Unit::Bytes, figures.resident_bytes)?;
        out.gauge_in("process_virtual_memory", "Virtual memory", &Unit::Bytes, figures.virtual_bytes)?;
        out.gauge("process_threads", "Threads", figures.threads)?;
        out.gauge("process_open_fds", "Open files", figures.open_files)?;
        if let Some(most) = figures.most_files {
            out.gauge("process_max_fds", "Files that may be open", most)?;
        }
        let at = figures.started_seconds;
        out.gauge_in("process_start_time", "Start time of the process, since 1970", &Unit::Seconds, at)
    }
}

struct ProcessFigures {
    cpu_seconds: f64,
    resident_bytes: f64,
    virtual_bytes: f64,
    threads: f64,
    open_files: f64,
    most_files: Option<f64>,
    started_seconds: f64,
}

impl ProcessFigures {
    fn read() -> Option<ProcessFigures> {
        let process = Process::myself().ok()?;
        let stat = process.stat().ok()?;
        let ticks = procfs::ticks_per_second() as f64;
        let most_files = process.limits().ok().map(|limits| limits.max_open_files.soft_limit);
        Some(ProcessFigures {
            // Includes ended threads, so that it never decreases.
            cpu_seconds: (stat.utime + stat.stime) as f64 / ticks,
            resident_bytes: (stat.rss * procfs::page_size()) as f64,
            virtual_bytes: stat.vsize as f64,
            threads: stat.num_threads as f64,
            open_files: process.fd_count().ok()? as f64,
            most_files: most_files.and_then(|most| match most {
                LimitValue::Value(most) => Some(most as f64),
                LimitValue::Unlimited => None,
            }),
            started_seconds: booted_seconds() + stat.starttime as f64 / ticks,
        })
    }
}

/// Boot time in seconds since 1970. Not from `/proc/stat`, which a sandbox may hide.
fn booted_seconds() -> f64 {
    let seconds = |clock| {
        let time = rustix::time::clock_gettime(clock);
        time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
    };
    seconds(ClockId::Realtime) - seconds(ClockId::Boottime)
}

#[cfg(test)]
mod tests {
    use procfs::FromRead;
    use procfs::process::Stat;

    use super::*;

    #[test]
    fn stat_is_parsed_for_any_program_name() {
        let tail = "S 1 7 7 0 -1 4194560 900 0 3 0 250 50 0 0 20 0 9 0 123456 4096000 800 18446744073709551615 1 1 0 0 0 0 0 4096 0 0 0 0 17 1 0 0";
        for name in ["data-sources-mo", "a) R 1 (b", ""] {
            let stat = Stat::from_read(format!("42 ({name}) {tail}\n").as_bytes()).unwrap();
            let figures = (stat.utime, stat.stime, stat.num_threads, stat.starttime, stat.vsize, stat.rss);
            assert_eq!(figures, (250, 50, 9, 123_456, 4_096_000, 800), "{name}");
        }
        assert!(Stat::from_read("42 (x) S 1".as_bytes()).is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    #[expect(clippy::disallowed_methods, reason = "compared with the kernel's clock")]
    fn figures_are_of_this_process() {
        let figures = ProcessFigures::read().unwrap();
        let now = jiff::Timestamp::now().as_second() as f64;
        let started = figures.started_seconds;
        assert!(started <= now + 1.0 && started > now - 24.0 * 3600.0, "{started} {now}");
        assert!(figures.resident_bytes > 1e6 && figures.virtual_bytes >= figures.resident_bytes);
        assert!(figures.threads >= 1.0 && figures.open_files >= 1.0);
        assert!(figures.most_files.is_none_or(|most| most >= figures.open_files));
    }
}
