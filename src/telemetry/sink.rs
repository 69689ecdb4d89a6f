//! Outputs of the log: a bounded queue, a thread that writes its lines, and a notice about discarded lines.

use std::io::{self, Write};
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use tracing::Level;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};

use super::line::{Line, Style};
use crate::log_file::Notice;

/// Lines that may wait for the disk or the terminal: several seconds of heavy logging, about 1 MB.
const QUEUE_LINES: usize = 4096;

/// The logger of lines about the log itself.
const OWN_LOGGER: &str = "MainOrchestrator";

/// How many lines were discarded because the queue of one output was full.
#[derive(Debug, Clone, Default)]
pub(super) struct Dropped(Arc<OnceLock<ErrorCounter>>);

impl Dropped {
    pub(super) fn count(&self) -> u64 {
        self.0.get().map_or(0, |counter| counter.dropped_lines() as u64)
    }
}

pub(super) struct LogSink<W> {
    writer: W,
    style: Style,
    dropped: Dropped,
    reported: u64,
}

impl<W: Write + Send + 'static> LogSink<W> {
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
        let sink = Self { writer, style, dropped: dropped.clone(), reported: 0 };
        let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(lines);
        let (queue, worker) = builder.thread_name(thread).finish(sink);
        // The cell was created above and has not been shared, so it is empty.
        let _ = dropped.0.set(queue.error_counter());
        (queue, dropped, worker)
    }
}

impl<W: Write> LogSink<W> {
    fn report_dropped(&mut self) -> io::Result<()> {
        let count = self.dropped.count();
        if count > self.reported {
            let missing = count - self.reported;
            let message =
                format!("log lines dropped: {missing}; they came faster than they could be written");
            self.writer.write_all(own_line(&self.style, message).as_bytes())?;
            self.reported = count;
        }
        Ok(())
    }
}

impl<W: Write> Write for LogSink<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.report_dropped()?;
        self.writer.write_all(line)?;
        Ok(line.len())
    }

    /// Called whenever the queue is empty, so lines discarded last are reported, too.
    fn flush(&mut self) -> io::Result<()> {
        self.report_dropped()?;
        self.writer.flush()
    }
}

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
    #[expect(clippy::disallowed_methods, reason = "a log line has the time at which it is written")]
    let at = Timestamp::now();
    let (context, fields) = (Vec::new(), Vec::new());
    let line = Line { at, level: Level::WARN, logger: OWN_LOGGER, message, context, fields };
    style.render(&line)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use jiff::tz::TimeZone;

    use super::*;

    /// A terminal that shows a line only when it is read.
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

    /// When the output works again, a line reports the number of missing lines.
    #[test]
    fn a_stuck_output_drops_lines_and_reports_them() {
        let (terminal, seen) = slow();
        let style = Style::Text { zone: TimeZone::UTC, colour: false };
        let (mut queue, dropped, worker) = LogSink::spawn_bounded(terminal, "log-test", style, 2);
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
        let reported: u64 = notices
            .iter()
            .map(|line| line.split_once("dropped: ").and_then(|(_, rest)| rest.split_once(';')).unwrap().0)
            .map(|count| count.parse::<u64>().unwrap())
            .sum();
        assert_eq!(reported, lost, "{notices:?}");
    }
}
