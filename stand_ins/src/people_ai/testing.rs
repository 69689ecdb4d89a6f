//! What tests check and change in the organisation.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that goes wrong must stop")]

use serde_json::Value;

use super::{Organisation, PeopleAi, TOKEN};
use crate::Clock;

/// The parameters that the API knows.
const KNOWN: [&str; 13] = [
    "limit",
    "offset",
    "from",
    "to",
    "last-n-days",
    "time-zone",
    "ingested-from",
    "ingested-to",
    "account-id",
    "opportunity-id",
    "internal-external",
    "include-deleted",
    "uid",
];

impl PeopleAi {
    /// Like [`PeopleAi::open`], with a record of requests.
    pub fn start(seed: u64, activities: u64, days: i64, clock: &Clock) -> PeopleAi {
        PeopleAi::open(seed, activities, days, clock).unwrap().recording()
    }

    /// The rows a complete sync must find in `activity` or `participants`, as the API spells them. Deleted
    /// activities are not among them.
    pub fn source_rows(&self, table: &str) -> Vec<Value> {
        self.read(|org| {
            let live = org.activities.iter().filter(|one| !one.deleted);
            match table {
                "activity" => live.map(|one| org.activity(one)).collect(),
                "participants" => live.flat_map(|one| org.participants(one)).collect(),
                other => panic!("People.ai has no table {other}"),
            }
        })
    }

    /// The current token stops working before its time.
    pub fn invalidate_tokens(&self) {
        self.change(|org| org.tokens.clear());
    }

    /// Panics if a request was not a read, or a query had a parameter that the API would ignore without an error.
    pub fn assert_well_behaved(&self) {
        for request in self.requests() {
            let call = format!("{} {}", request.method, request.path);
            assert!(call == TOKEN || request.method == "GET", "not a read: {request}\n{}", self.dump());
            let unknown = request.query.iter().find(|(name, _)| !KNOWN.contains(&name.as_str()));
            assert!(unknown.is_none(), "the API ignores {unknown:?}: {request}");
        }
    }
}

impl Organisation {
    /// Adds an activity of the current time before all others, so that they move down a row.
    pub fn add_in_front(&mut self) -> u64 {
        let n = self.add(self.clock.now());
        self.activities.rotate_right(1);
        n
    }

    /// Changes an activity: it is ingested again at the current time, and moves to the end.
    pub fn touch(&mut self, n: u64) {
        let index = self.index(n);
        let mut activity = self.activities.remove(index);
        activity.version += 1;
        activity.ingested = self.clock.now();
        self.activities.push(activity);
    }

    /// Sets a field of an activity to any value, or removes it; other fields and its position stay.
    pub fn set(&mut self, n: u64, field: &str, value: Option<Value>) {
        self.edits.entry(n).or_default().push((field.into(), value));
    }

    /// Marks an activity deleted at the current time, or restores it. A deleted one is listed only with
    /// `include-deleted`.
    pub fn mark(&mut self, n: u64, deleted: bool) {
        self.touch(n);
        let index = self.index(n);
        self.activities[index].deleted = deleted;
    }

    /// Removes an activity, so that those behind it move up a row.
    pub fn purge(&mut self, n: u64) {
        let index = self.index(n);
        self.activities.remove(index);
    }

    fn index(&self, n: u64) -> usize {
        self.activities.iter().position(|one| one.n == n).unwrap()
    }
}
