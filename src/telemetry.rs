//! Logging: one line per event, to the console (stderr; stdout for Fivetran) and to `monitor.log`, as text or
//! JSON.
//!
//! Call sites write `tracing::info!(target: "QlikClient", …)` or use their module's target. No event waits
//! for a disk or a terminal: each output has its own thread behind a bounded queue. Lines that do not fit are
//! counted, and the next line reports the number. Secret types keep secrets out of logs; the [`Redactor`] is
//! a second safeguard.
//!
//! This module does not decide what is logged, and reads no settings itself. Start reading at [`init`].

mod filter;
mod line;
mod sink;

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use jiff::SignedDuration;
use jiff::tz::TimeZone;
use tracing::Subscriber;
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::Registry;

use crate::log_file::{LogFileError, LogFileHandle, RotatingFile, Rotation};
use crate::secrets::Redactor;
use crate::settings;

pub use filter::{LevelError, check_level};

use line::{LineLayer, Output, Style};
use sink::{Dropped, LogSink};

#[derive(Debug, Clone)]
pub struct LogSettings {
    /// Whether lines go to the console as well.
    pub console: bool,
    /// The log file; `None`: console only.
    pub file: Option<PathBuf>,
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug`, `trace` or `off` for this program, followed by exceptions:
    /// `info,reqwest=debug`, `info,QlikClient=debug`. Other crates log from `warn` on.
    pub level: String,
    /// Rotation size in bytes; 0: never.
    pub rotate_size: u64,
    /// Rotation age; zero: never.
    pub rotate_age: SignedDuration,
    /// How many old files are kept; at least 1.
    pub keep: usize,
}

impl From<&settings::LogOptions> for LogSettings {
    fn from(log: &settings::LogOptions) -> Self {
        Self {
            console: true,
            file: log.file.clone(),
            format: if log.json { LogFormat::Json } else { LogFormat::Text },
            level: log.level.clone(),
            rotate_size: log.rotate_size,
            rotate_age: SignedDuration::try_from(log.rotate_age).unwrap_or(SignedDuration::MAX),
            keep: log.keep,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// `2025-12-18 12:05:03 - QlikClient - INFO - message key=value`, in local time.
    Text,
    /// One JSON object per line: `timestamp` (UTC), `level`, `logger`, `message`, then the fields, including
    /// those of surrounding spans that name a monitor, tenant, connector, run or attempt.
    Json,
    /// One JSON object per line on stdout as Fivetran expects it: `level` (INFO, WARNING, SEVERE), `message`,
    /// `message-origin`.
    Fivetran,
}

#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error(transparent)]
    Level(#[from] LevelError),
    #[error(transparent)]
    File(#[from] LogFileError),
    /// A subscriber is already installed in this process.
    #[error("logging is already set up in this process")]
    AlreadySet,
}

/// Keeps the log running, and writes queued lines when it is dropped: hold it until the end of `main`.
#[derive(Debug)]
#[must_use = "dropping the guard stops the log"]
pub struct Guard {
    log: Log,
    _workers: Vec<WorkerGuard>,
}

impl Guard {
    pub fn log(&self) -> Log {
        self.log.clone()
    }
}

/// A handle to the running log: to reopen the file, to count lost lines, to register secrets. The default
/// handle has no log behind it.
#[derive(Debug, Clone, Default)]
pub struct Log {
    file: Option<LogFileHandle>,
    dropped: Vec<Dropped>,
    redactor: Redactor,
}

impl Log {
    /// Requests that the log file is opened again by its name before the next line (SIGHUP).
    pub fn reopen(&self) {
        if let Some(file) = &self.file {
            file.reopen();
        }
    }

    /// Lines that could not be written to the file since the start, for example because the disk was full.
    pub fn lost_lines(&self) -> u64 {
        self.file.as_ref().map_or(0, LogFileHandle::lost_lines)
    }

    /// Lines discarded because a queue was full since the start, over both outputs.
    pub fn dropped_lines(&self) -> u64 {
        self.dropped.iter().map(Dropped::count).sum()
    }

    /// The redactor for all log lines.
    pub fn redactor(&self) -> &Redactor {
        &self.redactor
    }
}

/// Sets up logging for the process. Can be called once.
pub fn init(settings: &LogSettings) -> Result<Guard, TelemetryError> {
    let (subscriber, guard) = subscriber(settings)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| TelemetryError::AlreadySet)?;
    Ok(guard)
}

/// The subscriber that [`init`] installs; tests install it for one thread only.
pub fn subscriber(
    settings: &LogSettings,
) -> Result<(impl Subscriber + Send + Sync + use<>, Guard), TelemetryError> {
    let filter = filter::parse(&settings.level)?;
    let zone = TimeZone::system();
    let redactor = Redactor::default();
    let mut workers = Vec::new();
    let mut outputs = Vec::new();
    let mut dropped = Vec::new();
    let mut add = |style: Style, (writer, count, worker)| {
        outputs.push(Output { style, writer });
        dropped.push(count);
        workers.push(worker);
    };

    let console = match settings.format {
        LogFormat::Fivetran => Style::Fivetran,
        format if is_journal() => Style::Journal { json: format == LogFormat::Json },
        format => style(format, &zone, io::stderr().is_terminal()),
    };
    match settings.format {
        _ if !settings.console => {}
        LogFormat::Fivetran => add(console.clone(), LogSink::spawn(io::stdout(), "log-console", console)),
        LogFormat::Text | LogFormat::Json => {
            add(console.clone(), LogSink::spawn(io::stderr(), "log-console", console))
        }
    }
    let mut file = None;
    if let Some(path) = &settings.file {
        let rotation = Rotation { size: settings.rotate_size, age: settings.rotate_age, keep: settings.keep };
        let style = style(settings.format, &zone, false);
        let announce = style.clone();
        let rotating =
            RotatingFile::open(path, rotation, move |notice| sink::file_notice(&announce, notice))?;
        file = Some(rotating.handle());
        add(style.clone(), LogSink::spawn(rotating, "log-file", style));
    }

    let layer = LineLayer::new(outputs, redactor.clone());
    let subscriber = Registry::default().with(filter).with(layer);
    Ok((subscriber, Guard { log: Log { file, dropped, redactor }, _workers: workers }))
}

/// Whether stderr is connected to systemd's journal, as `JOURNAL_STREAM` says by device and inode. A program
/// that redirects stderr inherits the variable too, so the variable alone proves nothing.
fn is_journal() -> bool {
    #[expect(clippy::disallowed_methods, reason = "systemd sets it; it is not a setting of ours")]
    let Ok(named) = std::env::var("JOURNAL_STREAM") else { return false };
    rustix::fs::fstat(io::stderr()).is_ok_and(|about| named == format!("{}:{}", about.st_dev, about.st_ino))
}

fn style(format: LogFormat, zone: &TimeZone, colour: bool) -> Style {
    match format {
        LogFormat::Text => Style::Text { zone: zone.clone(), colour },
        LogFormat::Json => Style::Json,
        LogFormat::Fivetran => Style::Fivetran,
    }
}
