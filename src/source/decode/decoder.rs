//! The thread that decodes the pages of a run.
//!
//! A run has one thread instead of a pool: rows are many small allocations, and each thread of a pool would keep a heap
//! as large as its peak. Start at [`Decoder::run`].

use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, PoisonError, mpsc};

use tokio::sync::oneshot;

type Work = Box<dyn FnOnce() + Send>;

/// The thread starts with the first work and stops when this is dropped.
#[derive(Default)]
pub(in crate::source) struct Decoder(Mutex<Option<mpsc::Sender<Work>>>);

impl Decoder {
    /// Runs work on the thread, after all earlier work. It may block.
    ///
    /// # Errors
    /// When the thread cannot be started, or the work panicked.
    pub(in crate::source) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, String> {
        let (reply, done) = oneshot::channel();
        let work: Work = Box::new(move || {
            let result = std::panic::catch_unwind(AssertUnwindSafe(work));
            // The receiver may have been dropped.
            let _ = reply.send(result.map_err(|_| "the work panicked".to_owned()));
        });
        self.enqueue(work).map_err(|e| format!("cannot start its thread: {e}"))?;
        done.await.unwrap_or_else(|_| Err("its thread has stopped".to_owned()))
    }

    fn enqueue(&self, work: Work) -> std::io::Result<()> {
        let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = match queue.take() {
            Some(sender) => sender,
            None => {
                let (sender, inbox) = mpsc::channel::<Work>();
                let thread = std::thread::Builder::new().name("decoder".into());
                thread.spawn(move || inbox.into_iter().for_each(|work| work()))?;
                sender
            }
        };
        // The thread stops only with `self`; otherwise the reply would report it.
        let _ = sender.send(work);
        *queue = Some(sender);
        Ok(())
    }
}
