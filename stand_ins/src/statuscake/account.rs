//! The account: what is in it, and how it changes.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Account, LOCATIONS, List, Test};
use crate::draw::{below, pick};

impl Account {
    /// Adds a test with its child lists at the end of the list; returns its id.
    pub fn add_test(&mut self) -> String {
        let n = self.made;
        self.made += 1;
        let id = (6_700_001 + n).to_string();
        let now = self.clock.now();
        let lists = [self.history(n, now), self.periods(n, now), self.alerts(n, now)];
        self.tests.push(Test { id: id.clone(), row: self.detail(n, &id), lists });
        id
    }

    /// Changes a field of a test; one of null goes out as null.
    pub fn set(&mut self, id: &str, field: &str, value: Value) {
        if let Some(test) = self.test_mut(id) {
            test.row[field] = value;
        }
    }

    /// Adds a row of any shape as the newest of a child list.
    pub fn add_row(&mut self, id: &str, list: List, row: Value) {
        if let Some(test) = self.test_mut(id) {
            test.lists[list as usize].insert(0, row);
        }
    }

    /// Adds a result taken at the present moment.
    pub fn add_result(&mut self, id: &str) {
        let created_at = stamp(self.clock.now(), 0);
        let row =
            json!({"created_at": created_at, "location": "FRA2", "performance": 99, "status_code": 200});
        self.add_row(id, List::History, row);
    }

    fn test_mut(&mut self, id: &str) -> Option<&mut Test> {
        let test = self.tests.iter_mut().find(|test| test.id == id);
        debug_assert!(test.is_some(), "no test {id}");
        test
    }

    /// Adds the results that are due.
    pub(super) fn grow(&mut self, now: Timestamp) {
        let Some(every) = self.rules.result_every else { return };
        while self.newest_result + every <= now {
            self.newest_result += every;
            let at = self.newest_result;
            for (n, test) in self.tests.iter_mut().enumerate() {
                test.lists[List::History as usize].insert(0, result(self.seed, n as u64, at));
            }
        }
    }
}

/// The synthetic rows.
impl Account {
    fn detail(&self, n: u64, id: &str) -> Value {
        let seed = self.seed;
        let tags = ["prod", "web", "eu", "api"][..below(5, seed, "tags", n) as usize].to_vec();
        let rate = RATES[below(RATES.len() as u64, seed, "rate", n) as usize];
        json!({"id": id, "name": format!("Shop {n}"), "website_url": format!("https://shop-{n}.examplify.test"),
            "test_type": pick(&["HTTP", "TCP", "DNS", "PING"], seed, "type", n), "check_rate": rate,
            "contact_groups": [(41_822 + n % 3).to_string()], "paused": n % 11 == 5, "tags": tags,
            "status": pick(&["up", "up", "up", "down"], seed, "status", n),
            "uptime": 90.0 + below(1000, seed, "uptime", n) as f64 / 100.0,
            "confirmation": 2, "timeout": 15, "trigger_rate": 0, "dns_ips": [], "status_codes": ["500", "502"],
            "do_not_find": false, "enable_ssl_alert": true, "follow_redirects": true, "include_header": false,
            "processing": false, "use_jar": false, "custom_header": "{\"X-Env\":\"prod\"}", "port": null,
            "final_endpoint": null, "host": "ExampleHost", "processing_state": "complete", "user_agent": null,
            "last_tested_at": stamp(self.clock.now(), n), "servers": [{"description": "Frankfurt, Germany - 2",
                "ipv4": "192.0.2.10", "ipv6": null, "region": "Germany / Frankfurt",
                "region_code": "frankfurt", "status": "up"}]})
    }

    /// Newest first; now and then two places report in one second, and a place or a figure is missing.
    fn history(&self, n: u64, now: Timestamp) -> Vec<Value> {
        let mut at = now;
        let row = |k: u64| {
            let place = n * 1_000_000 + k;
            if k % 41 != 7 {
                at -= SignedDuration::from_secs(300);
            }
            let code = [200, 200, 200, 503, 0][below(5, self.seed, "code", place) as usize];
            let mut row = json!({"created_at": stamp(at, n), "status_code": code,
                "location": LOCATIONS[(k % 4) as usize],
                "performance": below(2000, self.seed, "performance", place)});
            if k % 17 == 3 {
                row["location"] = Value::Null;
            }
            if k % 23 == 4 {
                row.as_object_mut().and_then(|row| row.remove("performance"));
            }
            row
        };
        (0..self.sizes.history).map(row).collect()
    }

    fn periods(&self, n: u64, now: Timestamp) -> Vec<Value> {
        let mut ended: Option<Timestamp> = None;
        let row = |k: u64| {
            let seconds = 60 + below(80_000, self.seed, "period", n * 1_000_000 + k) as i64;
            let began = ended.unwrap_or(now) - SignedDuration::from_secs(seconds);
            let status = if k.is_multiple_of(2) { "up" } else { "down" };
            let mut row = json!({"created_at": stamp(began, n), "status": status, "ended_at": null});
            if let Some(ended) = ended {
                row["ended_at"] = json!(stamp(ended, n));
                row["duration"] = json!(seconds * 1000);
            }
            ended = Some(began);
            row
        };
        (0..self.sizes.periods).map(row).collect()
    }

    fn alerts(&self, n: u64, now: Timestamp) -> Vec<Value> {
        let mut at = now;
        let row = |k: u64| {
            at -= SignedDuration::from_secs(60 + below(9000, self.seed, "alert", n * 1_000_000 + k) as i64);
            let (status, code) = if k.is_multiple_of(2) { ("up", 200) } else { ("down", 503) };
            let id = (6_700_001 + n).to_string();
            json!({"id": id, "status": status, "status_code": code, "triggered_at": stamp(at, n)})
        };
        (0..self.sizes.alerts).map(row).collect()
    }
}

const RATES: [u64; 4] = [30, 60, 300, 900];
/// A result of the kind that most are: up, now and then slow.
fn result(seed: u64, n: u64, at: Timestamp) -> Value {
    let place = at.as_second().unsigned_abs();
    let slow = if below(20, seed, "slow", place + n) == 0 { 900 } else { 0 };
    let performance = 120 + 60 * (n % 8) + slow + below(80, seed, "took", place + n);
    json!({"created_at": stamp(at, n), "location": "FRA2", "performance": performance, "status_code": 200})
}

/// Whole seconds; every other test writes its zone as an offset.
pub(super) fn stamp(moment: Timestamp, n: u64) -> String {
    let text = format!("{moment:.0}");
    if n.is_multiple_of(2) { text.replace('Z', "+00:00") } else { text }
}
