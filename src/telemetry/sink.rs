//! Where lines end: a bounded queue, a thread that empties it, and the line that admits what did not fit.

use std::io::{self, Write};
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use tracing::Level;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};

use super::line::{Line, Style};
use crate::log_file::Notice;

/// Lines that may wait for the disk or the terminal: some seconds of a bad day, and about 1 MB.
const QUEUE_LINES: usize = 4096;

/// The logger that lines about the log itself come from.
const OWN_LOGGER: &str = "MainOrchestrator";

/// How many lines found the queue of one output full.
#[derive(Debug, Clone, Default)]
pub(super) struct Dropped(Arc<OnceLock<ErrorCounter>>);

impl Dropped {
    pub(super) fn count(&self) -> u64 {
        self.0.get().map_or(0, |counter| counter.dropped_lines() as u64)
    }
}

/// The writing end of a queue.
pub(super) struct Sink<W> {
    writer: W,
    style: Style,
    dropped: Dropped,
    told: u64,
}

impl<W: Write + Send + 'static> Sink<W> {
    pub(super) fn spawn(writer: W, thread: &str, style: Style) -> (NonBlocking, Dropped, WorkerGuard) {
        Self::spawn_bounded(writer, thread, style, QUEUE_LINES)
    }

    fn spawn_bounded(
        writer: W,
        thread: &str,
        style: Style,
        lines: usize,
    ) -> (NonBlocking, Dropped, WorkerGuard) {
        let dropped = Dropped::default();
        let sink = Self { writer, style, dropped: dropped.clone(), told: 0 };
        let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(lines);
        let (queue, worker) = builder.thread_name(thread).finish(sink);
        // The cell was made two lines up and nobody else has it: it is empty.
        let _ = dropped.0.set(queue.error_counter());
        (queue, dropped, worker)
    }
}

impl<W: Write> Sink<W> {
    fn admit_dropped(&mut self) -> io::Result<()> {
        let count = self.dropped.count();
        if count > self.told {
            let missing = count - self.told;
            let message =
                format!("log lines dropped: {missing}; they came faster than they could be written");
            self.writer.write_all(own_line(&self.style, message).as_bytes())?;
            self.told = count;
        }
        Ok(())
    }
}

impl<W: Write> Write for Sink<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.admit_dropped()?;
        self.writer.write_all(line)?;
        Ok(line.len())
    }

    /// Called whenever the queue is empty, so what was dropped at its end is told too.
    fn flush(&mut self) -> io::Result<()> {
        self.admit_dropped()?;
        self.writer.flush()
    }
}

/// What the log file says about itself, as a line of the log.
pub(super) fn file_notice(style: &Style, notice: &Notice) -> String {
    let message = match notice {
        Notice::Lost { lines, error } => {
            format!("log lines lost: {lines}; the log file could not be written: {error}")
        }
        Notice::NotRotated { error } => {
            format!("the log file is due for rotation but could not be renamed: {error}")
        }
    };
    own_line(style, message)
}

fn own_line(style: &Style, message: String) -> String {
    let line =
        Line { at: Timestamp::now(), level: Level::WARN, logger: OWN_LOGGER, message, fields: Vec::new() };
    style.render(&line)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use jiff::tz::TimeZone;

    use super::*;

    /// A terminal that shows a line only when somebody looks.
    struct Slow(SyncSender<String>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(String::from_utf8_lossy(bytes).into_owned()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn slow() -> (Slow, Receiver<String>) {
        let (shown, seen) = sync_channel(0);
        (Slow(shown), seen)
    }

    /// A stuck output never blocks the program; when it moves again, a line says how many are missing.
    #[test]
    fn a_stuck_output_drops_lines_and_says_so() {
        let (terminal, seen) = slow();
        let style = Style::Text { zone: TimeZone::UTC, colour: false };
        let (mut queue, dropped, worker) = Sink::spawn_bounded(terminal, "log-test", style, 2);
        for number in 0..100 {
            queue.write_all(format!("{number}\n").as_bytes()).unwrap();
        }
        let lost = dropped.count();
        assert!(lost >= 97, "two lines wait, one is being written, the rest is dropped: {lost}");

        let ending = std::thread::spawn(move || drop(worker));
        let shown: Vec<String> = seen.iter().collect();
        ending.join().unwrap();
        let notices: Vec<&String> = shown.iter().filter(|line| line.contains("lines dropped")).collect();
        assert_eq!(shown.len() as u64, 100 - lost + notices.len() as u64, "{shown:?}");
        assert!(notices[0].contains(" - MainOrchestrator - WARNING - "), "{notices:?}");
        let told: u64 = notices
            .iter()
            .map(|line| line.split_once("dropped: ").and_then(|(_, rest)| rest.split_once(';')).unwrap().0)
            .map(|count| count.parse::<u64>().unwrap())
            .sum();
        assert_eq!(told, lost, "{notices:?}");
    }
}
