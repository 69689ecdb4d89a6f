//! StatusCake's uptime API over a synthetic account.
//!
//! Start at [`StatusCake::open`]. The account changes through `cake.change(|account| account.add_test())`, or between
//! two requests through [`StandIn::after`].

use std::io;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::limiter::Limiter;
use crate::{Clock, Reply, Request, Service, StandIn};

mod account;
mod lists;
#[cfg(feature = "testing")]
mod testing;

use lists::MAX_LIMIT;

/// The account's key.
pub const API_KEY: &str = "stand-in-statuscake-key";
const LOCATIONS: [&str; 4] = ["FRA2", "LDN4", "NYC1", "SGP3"];
const NOT_FOUND: &str = "No uptime test found";

/// A running API.
pub type StatusCake = StandIn<Account>;

/// How large the synthetic account is: tests, and rows of each child list per test.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Uptime tests.
    pub tests: u64,
    /// Rows of history per test.
    pub history: u64,
    /// Periods per test; the newest is open.
    pub periods: u64,
    /// Alerts per test.
    pub alerts: u64,
}

/// The metadata of the list of tests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Metadata {
    /// Everything.
    Full,
    /// `page_count` is 0.
    ZeroPages,
    /// There is no `metadata`.
    Missing,
}

/// The value of `links.next`.
#[derive(Debug, Clone, PartialEq)]
pub enum NextLink {
    /// The next page; absent on the last.
    Sound,
    /// The same, but null on the last.
    NullAtEnd,
    /// The same page again.
    Itself,
    /// The next page on this scheme, host and port.
    On(String),
}

/// Undocumented behaviour and failures that a test can choose.
pub struct Rules {
    /// What the list says about its pages.
    pub metadata: Metadata,
    /// What child lists link to.
    pub next: NextLink,
    /// The most rows on a page, whatever was requested.
    pub page_cap: usize,
    /// Whether `before` and `after` include their second.
    pub bounds_inclusive: bool,
    /// Whether rows of the list have an `uptime`.
    pub uptime: bool,
    /// Whether an alert has an id of its own in place of its test's.
    pub own_alert_ids: bool,
    /// Limits that are enforced, the one in force first. None at the start.
    pub limits: Vec<Limiter>,
    /// Until then another program uses the account's whole quota, and every request gets 429.
    pub used_up_until: Timestamp,
    /// How often each test gets a new result. Never at the start.
    pub result_every: Option<SignedDuration>,
}

/// The state of the account.
pub struct Account {
    /// See [`Rules`].
    pub rules: Rules,
    clock: Clock,
    seed: u64,
    sizes: Sizes,
    root: String,
    made: u64,
    newest_result: Timestamp,
    tests: Vec<Test>,
}

struct Test {
    id: String,
    row: Value,
    lists: [Vec<Value>; 3],
}

/// A child list of a test.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum List {
    /// `/history`
    History,
    /// `/periods`
    Periods,
    /// `/alerts`
    Alerts,
}

impl StatusCake {
    /// An account made from a seed, as of the clock's present moment.
    ///
    /// # Errors
    /// When no port is free.
    pub fn open(seed: u64, sizes: Sizes, clock: &Clock) -> io::Result<StatusCake> {
        let rules = Rules {
            metadata: Metadata::Full,
            next: NextLink::Sound,
            page_cap: MAX_LIMIT,
            bounds_inclusive: false,
            uptime: true,
            own_alert_ids: false,
            limits: Vec::new(),
            used_up_until: Timestamp::MIN,
            result_every: None,
        };
        let (root, tests, newest_result) = (String::new(), Vec::new(), clock.now());
        let clock = clock.clone();
        let mut account = Account { rules, clock, seed, sizes, root, made: 0, newest_result, tests };
        for _ in 0..sizes.tests {
            account.add_test();
        }
        let server = StandIn::serve(account)?;
        let root = server.url();
        server.change(|account| account.root = root);
        Ok(server)
    }

    /// What to configure as the API's base.
    pub fn base_url(&self) -> String {
        self.url() + "/v1"
    }

    /// The ids of all tests, in the list's order.
    pub fn test_ids(&self) -> Vec<String> {
        self.read(|account| account.tests.iter().map(|test| test.id.clone()).collect())
    }
}

impl Service for Account {
    fn answer(&mut self, request: &Request) -> Reply {
        if request.bearer() != Some(API_KEY) {
            return Reply::text("text/plain", "Unauthorised").with_status(401);
        }
        let now = self.clock.now();
        self.grow(now);
        if now < self.rules.used_up_until {
            return throttled(self.rules.used_up_until.duration_since(now).as_secs() + 1);
        }
        let mut left = 4;
        for (index, limiter) in self.rules.limits.iter_mut().enumerate() {
            match limiter.admit(now) {
                Ok(remaining) if index == 0 => left = remaining,
                Ok(_) => {}
                Err(wait) => return throttled(wait),
            }
        }
        let reply = self.route(request).unwrap_or_else(|refusal| refusal);
        with_quota(reply, "5", left, 1)
    }

    fn describe(&self) -> String {
        format!("{} tests, {} made, {:?}", self.tests.len(), self.made, self.sizes)
    }
}

impl Account {
    fn route(&self, request: &Request) -> Result<Reply, Reply> {
        let path: Vec<&str> = request.path.split('/').skip(1).collect();
        let find = |id: &str| {
            let found = self.tests.iter().find(|test| test.id == id);
            found.ok_or_else(|| failure(404, NOT_FOUND, &json!({})))
        };
        match (request.method.as_str(), path.as_slice()) {
            ("GET", ["v1", "uptime"]) => self.overviews(request),
            ("GET", ["v1", "uptime", id]) => Ok(Reply::json(&json!({"data": find(id)?.row}))),
            ("GET", ["v1", "uptime", id, "history"]) => self.children(request, find(id)?, List::History),
            ("GET", ["v1", "uptime", id, "periods"]) => self.children(request, find(id)?, List::Periods),
            ("GET", ["v1", "uptime", id, "alerts"]) => self.children(request, find(id)?, List::Alerts),
            _ => Err(failure(404, "Not found", &json!({}))),
        }
    }
}

fn bad_parameter(name: &str, text: &str) -> Reply {
    failure(400, "The provided parameters are invalid", &json!({name: [text]}))
}

/// An error in the API's shape.
fn failure(status: u16, message: &str, errors: &Value) -> Reply {
    Reply::json(&json!({"message": message, "errors": errors})).with_status(status)
}

/// The API's 429, with its quota headers; `Reply::too_many(None)` is the one without.
pub fn throttled(reset_seconds: i64) -> Reply {
    // A wait longer than a second means that the minute's budget is spent, which the first number then says.
    let in_force = if reset_seconds > 1 { "60" } else { "5" };
    with_quota(failure(429, "Too many requests", &json!({})), in_force, 0, reset_seconds)
}

fn with_quota(reply: Reply, in_force: &str, remaining: usize, reset_seconds: i64) -> Reply {
    reply
        .header("x-ratelimit-limit", &format!("{in_force}, 60;w=60, 5;w=1"))
        .header("x-ratelimit-remaining", &remaining.to_string())
        .header("x-ratelimit-reset", &reset_seconds.to_string())
}
