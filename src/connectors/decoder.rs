//! The thread that decodes for a run.
//!
//! One, and for as long as the run: rows are small pieces of memory, and pieces from ever other threads of a pool would
//! each leave a heap behind that is as large as it ever was. Start at [`Decoder::run`].

use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, PoisonError, mpsc};

use tokio::sync::oneshot;

type Work = Box<dyn FnOnce() + Send>;

/// Begun with the first piece of work; it ends when this is dropped.
#[derive(Default)]
pub(super) struct Decoder(Mutex<Option<mpsc::Sender<Work>>>);

impl Decoder {
    /// Has a piece of work done, after those that were asked for before. It may block.
    ///
    /// # Errors
    /// When there is no thread to be had, or when the work panicked.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, String> {
        let (reply, done) = oneshot::channel();
        let work: Work = Box::new(move || {
            let result = std::panic::catch_unwind(AssertUnwindSafe(work));
            // Whoever asked may have gone.
            let _ = reply.send(result.map_err(|_| "it panicked".to_owned()));
        });
        self.hand_over(work).map_err(|e| format!("no thread for it: {e}"))?;
        done.await.unwrap_or_else(|_| Err("its thread is gone".to_owned()))
    }

    fn hand_over(&self, work: Work) -> std::io::Result<()> {
        let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = match queue.take() {
            Some(sender) => sender,
            None => {
                let (sender, asked) = mpsc::channel::<Work>();
                let thread = std::thread::Builder::new().name("decoder".into());
                thread.spawn(move || asked.into_iter().for_each(|work| work()))?;
                sender
            }
        };
        // It ends only with us; were it gone, the answer would say so.
        let _ = sender.send(work);
        *queue = Some(sender);
        Ok(())
    }
}
