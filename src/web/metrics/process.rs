//! The process itself, under the names that every exporter uses, so that ready-made dashboards and rules find it.
//!
//! From `/proc`; on systems without it there is nothing.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::Unit;
use rustix::time::ClockId;

use super::Out;

/// Ticks of a second in `/proc/self/stat`: fixed for programs, whatever the kernel counts in.
const TICKS: f64 = 100.0;

/// Reads at each request.
#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(figures) = Figures::read() else { return Ok(()) };
        let mut out = Out { encoder: &mut encoder };
        out.counter_in("process_cpu", "Processor time used", &Unit::Seconds, figures.cpu_seconds)?;
        out.gauge_in("process_resident_memory", "Resident memory", &Unit::Bytes, figures.resident_bytes)?;
        out.gauge_in("process_virtual_memory", "Virtual memory", &Unit::Bytes, figures.virtual_bytes)?;
        out.gauge("process_threads", "Threads", figures.threads)?;
        out.gauge("process_open_fds", "Open files", figures.open_files)?;
        if let Some(most) = figures.most_files {
            out.gauge("process_max_fds", "Files that may be open", most)?;
        }
        let at = figures.started_seconds;
        out.gauge_in("process_start_time", "When the process began, since 1970", &Unit::Seconds, at)
    }
}

struct Figures {
    cpu_seconds: f64,
    resident_bytes: f64,
    virtual_bytes: f64,
    threads: f64,
    open_files: f64,
    most_files: Option<f64>,
    started_seconds: f64,
}

impl Figures {
    fn read() -> Option<Figures> {
        let read = |name: &str| std::fs::read_to_string(name).ok();
        let stat = Stat::parse(&read("/proc/self/stat")?)?;
        let word = |text: &str, line: &str, nth: usize| {
            let rest = text.lines().find_map(|l| l.strip_prefix(line))?;
            rest.split_whitespace().nth(nth)?.parse::<f64>().ok()
        };
        Some(Figures {
            cpu_seconds: stat.cpu / TICKS,
            resident_bytes: word(&read("/proc/self/status")?, "VmRSS:", 0)? * 1024.0,
            virtual_bytes: stat.virtual_bytes,
            threads: stat.threads,
            open_files: std::fs::read_dir("/proc/self/fd").ok()?.count() as f64,
            // `unlimited` is no number.
            most_files: read("/proc/self/limits").and_then(|text| word(&text, "Max open files", 0)),
            started_seconds: booted_seconds() + stat.started / TICKS,
        })
    }
}

/// When the machine started, since 1970. A sandbox may hide `/proc/stat`, which says the same.
fn booted_seconds() -> f64 {
    let seconds = |clock| {
        let time = rustix::time::clock_gettime(clock);
        time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
    };
    seconds(ClockId::Realtime) - seconds(ClockId::Boottime)
}

/// What is needed of `/proc/self/stat`; times in ticks. Threads that have ended count in it too, so that its processor
/// time never goes back.
#[derive(Debug, PartialEq)]
struct Stat {
    cpu: f64,
    threads: f64,
    started: f64,
    virtual_bytes: f64,
}

impl Stat {
    /// The program's name, in parentheses, may hold anything, parentheses too: what counts comes after the last.
    fn parse(text: &str) -> Option<Stat> {
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        // The manual counts from 1 and begins two fields earlier.
        let field = |number: usize| fields.get(number.checked_sub(3)?)?.parse::<f64>().ok();
        Some(Stat {
            cpu: field(14)? + field(15)?,
            threads: field(20)?,
            started: field(22)?,
            virtual_bytes: field(23)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel's line is read by its numbered fields, whatever the program is called.
    #[test]
    fn reads_the_kernels_line() {
        let tail =
            "S 1 7 7 0 -1 4194560 900 0 3 0 250 50 0 0 20 0 9 0 123456 4096000 800 18446744073709551615";
        let want = Stat { cpu: 300.0, threads: 9.0, started: 123_456.0, virtual_bytes: 4_096_000.0 };
        for name in ["data-sources-mo", "a) R 1 (b", ""] {
            assert_eq!(Stat::parse(&format!("42 ({name}) {tail}")).as_ref(), Some(&want), "{name}");
        }
        assert_eq!(Stat::parse(""), None);
        assert_eq!(Stat::parse("42 (x) S 1"), None);
    }

    /// On this system there are figures, and they are of this process: it began in the past and holds files open.
    #[cfg(target_os = "linux")]
    #[test]
    fn figures_are_of_this_process() {
        let figures = Figures::read().unwrap();
        let now = jiff::Timestamp::now().as_second() as f64;
        let started = figures.started_seconds;
        assert!(started <= now + 1.0 && started > now - 24.0 * 3600.0, "{started} {now}");
        assert!(figures.resident_bytes > 1e6 && figures.virtual_bytes >= figures.resident_bytes);
        assert!(figures.threads >= 1.0 && figures.open_files >= 1.0);
        assert!(figures.most_files.is_none_or(|most| most >= figures.open_files));
    }
}
