//! An API that a closure answers for.

#![expect(clippy::unwrap_used, reason = "a test that goes wrong must stop")]

use crate::{Reply, Request, Service, StandIn};

pub struct MadeUp(Box<dyn FnMut(&Request) -> Reply + Send>);

impl Service for MadeUp {
    fn answer(&mut self, request: &Request) -> Reply {
        (self.0)(request)
    }

    fn describe(&self) -> String {
        "made up".into()
    }
}

pub fn serve(answer: impl FnMut(&Request) -> Reply + Send + 'static) -> StandIn<MadeUp> {
    StandIn::serve(MadeUp(Box::new(answer))).unwrap().recording()
}
