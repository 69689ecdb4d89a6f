//! An API that a closure answers for.

use super::{Fake, Reply, Request, Service};

pub(crate) struct MadeUp(Box<dyn FnMut(&Request) -> Reply + Send>);

impl Service for MadeUp {
    fn answer(&mut self, request: &Request) -> Reply {
        (self.0)(request)
    }

    fn describe(&self) -> String {
        "made up".into()
    }
}

pub(crate) fn serve(answer: impl FnMut(&Request) -> Reply + Send + 'static) -> Fake<MadeUp> {
    Fake::serve(MadeUp(Box::new(answer)))
}
