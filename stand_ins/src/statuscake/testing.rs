//! What tests check and change in the account.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that goes wrong must stop")]

use jiff::Timestamp;
use serde_json::{Value, json};

use super::account::stamp;
use super::{Account, List, Sizes, StatusCake};
use crate::Clock;

impl StatusCake {
    /// Like [`StatusCake::open`], with a record of requests.
    pub fn start(seed: u64, sizes: Sizes, clock: &Clock) -> StatusCake {
        StatusCake::open(seed, sizes, clock).unwrap().recording()
    }

    /// The rows a complete sync must find: `uptime_test`, `uptime_test_detail`, `uptime_test_history`,
    /// `uptime_test_period`, `uptime_test_alert`, as the API spells them; those of child lists with `test_id`.
    pub fn source_rows(&self, table: &str) -> Vec<Value> {
        self.read(|account| account.source_rows(table))
    }
}

impl Account {
    /// Moves a test to the front of the list, so that others move down a row.
    pub fn move_to_front(&mut self, id: &str) {
        let index = self.index(id);
        self.tests[..=index].rotate_right(1);
    }

    /// Removes a test with its child rows from the account.
    pub fn delete_test(&mut self, id: &str) {
        let index = self.index(id);
        self.tests.remove(index);
    }

    /// Ends the open period of a test now, and starts another.
    pub fn turn(&mut self, id: &str) {
        let now = self.clock.now();
        let index = self.index(id);
        let open = &mut self.tests[index].lists[List::Periods as usize][0];
        let began: Timestamp = open["created_at"].as_str().unwrap().parse().unwrap();
        open["ended_at"] = json!(stamp(now, 0));
        open["duration"] = json!(now.duration_since(began).as_millis() as i64);
        let status = if open["status"] == "up" { "down" } else { "up" };
        self.add_row(
            id,
            List::Periods,
            json!({"created_at": stamp(now, 0), "status": status, "ended_at": null}),
        );
    }

    fn index(&self, id: &str) -> usize {
        self.tests.iter().position(|test| test.id == id).unwrap()
    }

    fn source_rows(&self, table: &str) -> Vec<Value> {
        let list = match table {
            "uptime_test" => return self.tests.iter().map(|test| self.overview(test, false)).collect(),
            "uptime_test_detail" => return self.tests.iter().map(|test| test.row.clone()).collect(),
            "uptime_test_history" => List::History,
            "uptime_test_period" => List::Periods,
            "uptime_test_alert" => List::Alerts,
            other => panic!("StatusCake has no table {other}"),
        };
        let mut rows = Vec::new();
        for test in &self.tests {
            for row in self.list_rows(test, list) {
                let mut row = row.clone();
                row["test_id"] = json!(test.id);
                rows.push(row);
            }
        }
        rows
    }
}
