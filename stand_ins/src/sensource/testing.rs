//! What tests check and change in the venue.

#![expect(clippy::unwrap_used, reason = "a test that goes wrong must stop")]

use jiff::civil::Date;
use serde_json::{Value, json};

use super::data::Kind;
use super::{SenSource, Venue, id_field};
use crate::{Clock, Reply};

impl SenSource {
    /// Like [`SenSource::open`], with a record of requests.
    pub fn start(seed: u64, zones: u64, opened: Date, clock: &Clock) -> SenSource {
        SenSource::open(seed, zones, opened, clock).unwrap().recording()
    }

    /// The rows a complete sync must find in `traffic`, `occupancy`, `location`, `site`, `zone`, `space` or
    /// `sensor`, as the API spells them with all metrics.
    pub fn source_rows(&self, table: &str) -> Vec<Value> {
        self.read(|venue| venue.source_rows(table))
    }

    /// Every token made so far stops working.
    pub fn invalidate_tokens(&self) {
        self.change(Venue::drop_tokens);
    }
}

impl Kind {
    fn metrics(self) -> &'static [&'static str] {
        match self {
            Kind::Traffic => &["ins", "outs"],
            Kind::Occupancy => &["occupancy(max)", "occupancy(min)", "occupancy(avg)"],
        }
    }
}

impl Venue {
    /// Every token made so far stops working.
    pub fn drop_tokens(&mut self) {
        self.tokens.clear();
    }

    /// Removes a row from a static list; its figures stay and continue.
    pub fn remove(&mut self, entity: &str, id: &str) {
        self.lists.get_mut(entity).unwrap().retain(|row| row[id_field(entity)] != id);
    }

    fn source_rows(&self, table: &str) -> Vec<Value> {
        let Some(kind) = Kind::named(table) else {
            return self.lists[table].clone();
        };
        self.rows(kind, self.opened, self.clock.now(), &kind.metrics().join(","), None)
    }
}

/// A 200 without any `results`.
pub fn without_results() -> Reply {
    Reply::json(&json!({"messages": [], "error": null}))
}
