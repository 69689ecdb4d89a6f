//! The program: the release binary as a child process in a folder of its own, with its figures in `/proc` and in its
//! own metrics.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::pages::Plan;

/// How long it may take to listen.
const START: Duration = Duration::from_secs(20);

/// Running until dropped.
pub(crate) struct Program {
    child: Child,
    folder: TempDir,
}

/// Processor time used, by thread.
pub(crate) struct Cpu(BTreeMap<String, Duration>);

impl Program {
    /// Starts it in a fresh folder that `define` fills with definitions, also of the tenants if there is no only one.
    pub(crate) fn start(
        plan: Plan,
        tenant: Option<SocketAddr>,
        define: impl FnOnce(&Path) -> anyhow::Result<()>,
    ) -> anyhow::Result<Program> {
        let folder = tempfile::tempdir().context("cannot make a folder")?;
        define(folder.path())?;
        // Another binary may be measured in its place, such as the one that ships.
        let binary =
            std::env::var_os("PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_data-sources-monitor").into());
        let child = Command::new(binary)
            .current_dir(folder.path())
            .env_clear()
            .envs(tenant.map(|tenant| ("QLIK_TENANT_URL", format!("http://{tenant}"))))
            .env("QLIK_API_KEY", "stand-in-api-key")
            .env("POLL_INTERVAL", format!("{}s", plan.interval.as_secs()))
            .env("POLL_TIMEOUT", format!("{}ms", plan.timeout.as_millis()))
            // Changes of the text alone wait for this on purpose; this bench measures the latency without that wait.
            .env("BANNER_SPACING", "0s")
            .env("LISTEN", "127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start the program")?;
        Ok(Program { child, folder })
    }

    /// Waits until it listens; returns where.
    pub(crate) async fn listens_at(&self) -> anyhow::Result<SocketAddr> {
        let log = self.folder.path().join("monitor.log");
        let told = async {
            loop {
                let text = fs::read_to_string(&log).unwrap_or_default();
                let rest = text.split_once("Listening on http://").map(|(_, rest)| rest);
                if let Some((address, _)) = rest.and_then(|rest| rest.split_once(' ')) {
                    return address.parse().context("it listens at no address");
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(START, told).await.with_context(|| {
            let text = fs::read_to_string(&log).unwrap_or_default();
            format!("it does not listen after {START:?}; its log:\n{text}")
        })?
    }

    /// Processor time of its threads so far. Finer than the ticks of `/proc/PID/stat`; all of its threads live
    /// as long as it does.
    pub(crate) fn cpu(&self) -> anyhow::Result<Cpu> {
        let mut threads = BTreeMap::new();
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let task = task?;
            let text = fs::read_to_string(task.path().join("schedstat")).context("no schedstat")?;
            let nanos = text.split_whitespace().next().and_then(|first| first.parse().ok());
            let nanos = nanos.context("schedstat is not as expected")?;
            threads.insert(task.file_name().to_string_lossy().into_owned(), Duration::from_nanos(nanos));
        }
        Ok(Cpu(threads))
    }

    /// The most memory it ever had resident, in bytes.
    pub(crate) fn peak_memory(&self) -> anyhow::Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        Ok(kilobytes.context("no VmHWM; has the program ended?")? * 1024)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Its folder goes with it, so there is nothing to finish; one that has ended is no error.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Cpu {
    /// What was used since.
    pub(crate) fn since(&self, before: &Cpu) -> Duration {
        let used = |(thread, now): (&String, &Duration)| {
            now.saturating_sub(before.0.get(thread).copied().unwrap_or_default())
        };
        self.0.iter().map(used).sum()
    }
}

/// Its metrics.
pub(crate) struct Scrape(String);

impl Scrape {
    pub(crate) async fn of(web: SocketAddr) -> anyhow::Result<Scrape> {
        let mut stream = TcpStream::connect(web).await.context("cannot ask for its figures")?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok(Scrape(String::from_utf8_lossy(&answer).into_owned()))
    }

    /// One figure, or its sum over all labels.
    pub(crate) fn sum(&self, name: &str) -> u64 {
        let values = self.0.lines().filter_map(|line| {
            let value = line.strip_prefix(name)?;
            let value = if value.starts_with('{') { value.split_once('}')?.1 } else { value };
            value.strip_prefix(' ')?.trim().parse::<f64>().ok()
        });
        values.sum::<f64>() as u64
    }
}
