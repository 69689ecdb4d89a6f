//! Logging: one line an event, to the console (stderr; stdout for Fivetran) and to `monitor.log`, as text or as JSON.
//!
//! Call sites say `tracing::info!(target: "QlikClient", …)` or leave the target to the module they stand in.
//! No event waits for a disk or a terminal: both outputs are written by threads of their own behind bounded
//! queues, and what did not fit is counted and told in the next line. Secrets are kept out of logs by their
//! types; the [`Redactor`] is the belt to those braces.
//!
//! It does not decide what is worth logging, and reads no settings of its own. Start reading at [`init`].

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
use sink::{Dropped, Sink};

/// What the log is to be.
#[derive(Debug, Clone)]
pub struct LogSettings {
    /// Whether lines go to the console as well.
    pub console: bool,
    /// The log file; none for the console alone.
    pub file: Option<PathBuf>,
    /// How a line looks.
    pub format: Format,
    /// `error`, `warn`, `info`, `debug`, `trace` or `off` for this program, and after commas what differs:
    /// `info,reqwest=debug`, `info,QlikClient=debug`. Other people's crates are heard from `warn` on.
    pub level: String,
    /// Bytes at which the file is put aside; 0 for never.
    pub rotate_size: u64,
    /// Age at which the file is put aside; zero for never.
    pub rotate_age: SignedDuration,
    /// How many old files stay; at least 1.
    pub keep: usize,
}

impl From<&settings::Log> for LogSettings {
    fn from(log: &settings::Log) -> Self {
        Self {
            console: true,
            file: log.file.clone(),
            format: if log.json { Format::Json } else { Format::Text },
            level: log.level.clone(),
            rotate_size: log.rotate_size,
            rotate_age: SignedDuration::try_from(log.rotate_age).unwrap_or(SignedDuration::MAX),
            keep: log.keep,
        }
    }
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `2025-12-18 12:05:03 - QlikClient - INFO - message key=value`, in local time.
    Text,
    /// One JSON object a line: `timestamp` (UTC), `level`, `logger`, `message`, then the fields.
    Json,
    /// One JSON object a line as Fivetran reads them, on stdout: `level` (INFO, WARNING, SEVERE), `message`,
    /// `message-origin`.
    Fivetran,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The level is not one.
    #[error(transparent)]
    Level(#[from] LevelError),
    /// The file cannot be opened.
    #[error(transparent)]
    File(#[from] LogFileError),
    /// Somebody else has installed a subscriber in this process.
    #[error("logging is already set up in this process")]
    AlreadySet,
}

/// Keeps the log going, and writes out what is queued when it is dropped: hold it until the end of `main`.
#[derive(Debug)]
#[must_use = "dropping the guard ends the log"]
pub struct Guard {
    log: Log,
    _workers: Vec<WorkerGuard>,
}

impl Guard {
    /// What others may hold of the log.
    pub fn log(&self) -> Log {
        self.log.clone()
    }
}

/// The running log, as others may hold it: to reopen the file, to count what was lost, to hide secrets.
#[derive(Debug, Clone)]
pub struct Log {
    file: Option<LogFileHandle>,
    dropped: Vec<Dropped>,
    redactor: Redactor,
}

impl Log {
    /// Asks for the log file to be opened anew by its name before the next line (SIGHUP).
    pub fn reopen(&self) {
        if let Some(file) = &self.file {
            file.reopen();
        }
    }

    /// Lines that could not be written to the file since the start, for want of space for example.
    pub fn lost_lines(&self) -> u64 {
        self.file.as_ref().map_or(0, LogFileHandle::lost_lines)
    }

    /// Lines that found a full queue since the start, over both outputs.
    pub fn dropped_lines(&self) -> u64 {
        self.dropped.iter().map(Dropped::count).sum()
    }

    /// Where secrets are registered that must not appear in any line from then on.
    pub fn redactor(&self) -> &Redactor {
        &self.redactor
    }
}

/// Sets up logging for the process. Once.
pub fn init(settings: &LogSettings) -> Result<Guard, TelemetryError> {
    let (subscriber, guard) = subscriber(settings)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| TelemetryError::AlreadySet)?;
    Ok(guard)
}

/// What [`init`] installs, for whoever wants it for one thread only.
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
        Format::Fivetran => Style::Fivetran,
        format if is_journal() => Style::Journal { json: format == Format::Json },
        format => style(format, &zone, io::stderr().is_terminal()),
    };
    match settings.format {
        _ if !settings.console => {}
        Format::Fivetran => add(console.clone(), Sink::spawn(io::stdout(), "log-console", console)),
        Format::Text | Format::Json => {
            add(console.clone(), Sink::spawn(io::stderr(), "log-console", console))
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
        add(style.clone(), Sink::spawn(rotating, "log-file", style));
    }

    let layer = LineLayer::new(outputs, redactor.clone());
    let subscriber = Registry::default().with(filter).with(layer);
    Ok((subscriber, Guard { log: Log { file, dropped, redactor }, _workers: workers }))
}

/// Whether stderr is the stream to systemd's journal that `JOURNAL_STREAM` names by device and inode. A program that
/// redirects stderr inherits the variable all the same.
fn is_journal() -> bool {
    let Ok(named) = std::env::var("JOURNAL_STREAM") else { return false };
    rustix::fs::fstat(io::stderr()).is_ok_and(|about| named == format!("{}:{}", about.st_dev, about.st_ino))
}

fn style(format: Format, zone: &TimeZone, colour: bool) -> Style {
    match format {
        Format::Text => Style::Text { zone: zone.clone(), colour },
        Format::Json => Style::Json,
        Format::Fivetran => Style::Fivetran,
    }
}
