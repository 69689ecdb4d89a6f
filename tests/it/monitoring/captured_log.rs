//! The log lines of one thread.
//!
//! One subscriber serves all tests of the process: of subscribers that come and go while other threads log, one can miss a
//! line.

use std::cell::RefCell;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, Once};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::dynamic_filter_fn;
use tracing_subscriber::layer::SubscriberExt;

thread_local! {
    static CAPTURED: RefCell<Option<(CapturedLog, LevelFilter)>> = const { RefCell::new(None) };
}

/// Collects the lines of this thread.
#[derive(Clone, Default)]
pub(crate) struct CapturedLog(Arc<Mutex<Vec<u8>>>);

/// Ends the collection when it is dropped.
pub(crate) struct Capturing(());

impl Drop for Capturing {
    fn drop(&mut self) {
        CAPTURED.with_borrow_mut(|captured| *captured = None);
    }
}

impl CapturedLog {
    pub(crate) fn begin(level: LevelFilter) -> (CapturedLog, Capturing) {
        static INSTALLED: Once = Once::new();
        INSTALLED.call_once(|| {
            let is_captured = |level| {
                CAPTURED.with_borrow(|captured| captured.as_ref().is_some_and(|(_, most)| level <= *most))
            };
            let lines = tracing_subscriber::fmt::layer()
                .with_ansi(false)
                .without_time()
                .with_writer(|| {
                    CAPTURED
                        .with_borrow(|captured| captured.clone())
                        .map_or_else(CapturedLog::default, |(log, _)| log)
                })
                .with_filter(dynamic_filter_fn(move |metadata, _| is_captured(*metadata.level())));
            let subscriber = tracing_subscriber::registry().with(lines);
            tracing::subscriber::set_global_default(subscriber).unwrap();
        });
        let log = CapturedLog::default();
        CAPTURED.with_borrow_mut(|captured| *captured = Some((log.clone(), level)));
        (log, Capturing(()))
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        let bytes = self.0.lock().unwrap();
        String::from_utf8_lossy(&bytes).lines().map(|line| line.trim().to_owned()).collect()
    }
}

impl Write for CapturedLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
