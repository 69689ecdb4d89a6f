//! The program: the release binary, run once per sync, and its figures in `/proc`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// The interval of samples of memory and time; what the process used after the last one is missed.
const SAMPLE: Duration = Duration::from_millis(10);
/// Clock ticks a second in `/proc`, the same on every Linux.
const TICKS: f64 = 100.0;

/// What one sync took.
pub(crate) struct Sync {
    pub(crate) took: Duration,
    /// Processor seconds of all its threads.
    pub(crate) cpu: f64,
    /// The most memory it ever had resident, in bytes.
    pub(crate) peak: u64,
}

/// The binary that is measured: `PROGRAM`, or the one that was built with the bench.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("PROGRAM")
        .map_or_else(|| env!("CARGO_BIN_EXE_data-sources-monitor").into(), PathBuf::from)
}

/// The definitions that ship, but for the rate: what is measured is the program, not the services' limits.
pub(crate) fn unlimited(folder: &Path) -> anyhow::Result<()> {
    let shipped = [
        ("people_ai.toml", include_str!("../../connectors/people_ai.toml")),
        ("statuscake.toml", include_str!("../../connectors/statuscake.toml")),
    ];
    let connectors = folder.join("connectors");
    fs::create_dir_all(&connectors)?;
    for (name, text) in shipped {
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("rate ")).collect();
        fs::write(connectors.join(name), lines.join("\n"))?;
    }
    Ok(())
}

/// Runs `sync` once.
pub(crate) fn sync(folder: &Path, args: &[&str], vars: &[(&str, String)]) -> anyhow::Result<Sync> {
    let said = folder.join("said.txt");
    let out = fs::File::create(&said)?;
    let begun = Instant::now();
    let mut child = Command::new(binary())
        .arg("sync")
        .args(args)
        .current_dir(folder)
        .env_clear()
        .envs(vars.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(out)
        .spawn()
        .context("cannot start the program")?;
    let (mut cpu, mut peak) = (0.0_f64, 0);
    let status = loop {
        // A process that has ended has no status; then the last sample counts.
        cpu = cpu.max(cpu_of(child.id()).unwrap_or_default());
        peak = peak.max(peak_of(child.id()).unwrap_or_default());
        if let Some(status) = child.try_wait()? {
            break status;
        }
        std::thread::sleep(SAMPLE);
    };
    let took = begun.elapsed();
    if !status.success() {
        bail!("`sync {}` ended with {status}:\n{}", args.join(" "), fs::read_to_string(said)?);
    }
    Ok(Sync { took, cpu, peak })
}

fn peak_of(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? * 1024)
}

fn cpu_of(pid: u32) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / TICKS)
}
