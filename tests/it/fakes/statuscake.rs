//! StatusCake's uptime API over a synthetic account.
//!
//! Start at [`StatusCake::start`]. The account changes through `cake.change(|account| account.add_test())`, or
//! between two requests through [`Fake::after`]. What a table should hold is [`StatusCake::source_rows`].

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::draw::{below, pick};
use super::limiter::Limiter;
use super::{Clock, Fake, Reply, Request, Service};

/// The account's key.
pub(crate) const API_KEY: &str = "fake-statuscake-key";
const DEFAULT_LIMIT: usize = 25;
const MAX_LIMIT: usize = 100;
const LOCATIONS: [&str; 4] = ["FRA2", "LDN4", "NYC1", "SGP3"];
const NOT_FOUND: &str = "No uptime test found";

/// A running API.
pub(crate) type StatusCake = Fake<Account>;

/// How large the synthetic account is: tests, and rows of each child list per test.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    /// Uptime tests.
    pub(crate) tests: u64,
    /// Rows of history per test.
    pub(crate) history: u64,
    /// Periods per test; the newest is open.
    pub(crate) periods: u64,
    /// Alerts per test.
    pub(crate) alerts: u64,
}

/// What the list of tests says about its pages.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Metadata {
    /// Everything.
    Full,
    /// `page_count` is 0.
    ZeroPages,
    /// There is no `metadata`.
    Missing,
}

/// What `links.next` says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum NextLink {
    /// The next page; absent on the last.
    Sound,
    /// The same, but null on the last.
    NullAtEnd,
    /// The page it stands on.
    Itself,
    /// The next page on this scheme, host and port.
    On(String),
}

/// What is unknown or may go wrong, and a test may therefore turn either way.
pub(crate) struct Rules {
    /// What the list says about its pages.
    pub(crate) metadata: Metadata,
    /// What child lists link to.
    pub(crate) next: NextLink,
    /// Rows a page has at most, whatever was asked.
    pub(crate) page_cap: usize,
    /// Whether `before` and `after` include their second.
    pub(crate) bounds_inclusive: bool,
    /// Whether rows of the list have an `uptime`.
    pub(crate) uptime: bool,
    /// Whether an alert has an id of its own in place of its test's.
    pub(crate) own_alert_ids: bool,
    /// Limits that are enforced, the one in force first. None at the start.
    pub(crate) limits: Vec<Limiter>,
}

/// The state of the account.
pub(crate) struct Account {
    /// See [`Rules`].
    pub(crate) rules: Rules,
    clock: Clock,
    seed: u64,
    sizes: Sizes,
    root: String,
    made: u64,
    tests: Vec<Test>,
}

struct Test {
    id: String,
    row: Value,
    lists: [Vec<Value>; 3],
}

/// A child list of a test.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum List {
    /// `/history`
    History,
    /// `/periods`
    Periods,
    /// `/alerts`
    Alerts,
}

impl StatusCake {
    /// An account made from a seed, as of the clock's present moment.
    pub(crate) fn start(seed: u64, sizes: Sizes, clock: &Clock) -> StatusCake {
        let rules = Rules {
            metadata: Metadata::Full,
            next: NextLink::Sound,
            page_cap: MAX_LIMIT,
            bounds_inclusive: false,
            uptime: true,
            own_alert_ids: false,
            limits: Vec::new(),
        };
        let (root, tests) = (String::new(), Vec::new());
        let mut account = Account { rules, clock: clock.clone(), seed, sizes, root, made: 0, tests };
        for _ in 0..sizes.tests {
            account.add_test();
        }
        let fake = Fake::serve(account);
        let root = fake.url();
        fake.change(|account| account.root = root);
        fake
    }

    /// What to configure as the API's base.
    pub(crate) fn base_url(&self) -> String {
        self.url() + "/v1"
    }

    /// The rows a complete sync must find: `uptime_test`, `uptime_test_detail`, `uptime_test_history`,
    /// `uptime_test_period`, `uptime_test_alert`, as the API spells them; those of child lists with `test_id`.
    pub(crate) fn source_rows(&self, table: &str) -> Vec<Value> {
        self.look(|account| account.source_rows(table))
    }

    /// The ids of all tests, in the list's order.
    pub(crate) fn test_ids(&self) -> Vec<String> {
        self.look(|account| account.tests.iter().map(|test| test.id.clone()).collect())
    }
}

impl Account {
    /// Adds a test with its child lists at the end of the list; returns its id.
    pub(crate) fn add_test(&mut self) -> String {
        let n = self.made;
        self.made += 1;
        let id = (6_700_001 + n).to_string();
        let now = self.clock.now();
        let lists = [self.history(n, now), self.periods(n, now), self.alerts(n, now)];
        self.tests.push(Test { id: id.clone(), row: self.detail(n, &id), lists });
        id
    }

    /// Moves a test to the front of the list, so that others move down a row.
    pub(crate) fn move_to_front(&mut self, id: &str) {
        let index = self.index(id);
        self.tests[..=index].rotate_right(1);
    }

    /// Takes a test and everything below it out of the account.
    pub(crate) fn delete_test(&mut self, id: &str) {
        let index = self.index(id);
        self.tests.remove(index);
    }

    /// Changes a field of a test; one of null goes out as null.
    pub(crate) fn set(&mut self, id: &str, field: &str, value: Value) {
        let index = self.index(id);
        self.tests[index].row[field] = value;
    }

    /// Adds a row of any shape as the newest of a child list.
    pub(crate) fn add_row(&mut self, id: &str, list: List, row: Value) {
        let index = self.index(id);
        self.tests[index].lists[list as usize].insert(0, row);
    }

    /// Adds a result taken at the present moment.
    pub(crate) fn add_result(&mut self, id: &str) {
        let created_at = stamp(self.clock.now(), 0);
        let row =
            json!({"created_at": created_at, "location": "FRA2", "performance": 99, "status_code": 200});
        self.add_row(id, List::History, row);
    }

    /// The open period of a test ends at the present moment, and another begins.
    pub(crate) fn turn(&mut self, id: &str) {
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

    fn list_rows(&self, test: &Test, list: List) -> Vec<Value> {
        let mut rows = test.lists[list as usize].clone();
        if list == List::Alerts && self.rules.own_alert_ids {
            for row in &mut rows {
                row["id"] =
                    json!(format!("{}-{}", test.id, row["triggered_at"].as_str().unwrap_or_default()));
            }
        }
        rows
    }
}

/// The synthetic account.
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
                row.as_object_mut().unwrap().remove("performance");
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
/// The fields of a test that only its detail has are all but these.
const OVERVIEW: [&str; 10] = [
    "id",
    "name",
    "website_url",
    "test_type",
    "check_rate",
    "contact_groups",
    "paused",
    "status",
    "tags",
    "uptime",
];

/// Whole seconds; every other test writes its zone as an offset.
fn stamp(moment: Timestamp, n: u64) -> String {
    let text = format!("{moment:.0}");
    if n.is_multiple_of(2) { text.replace('Z', "+00:00") } else { text }
}

impl Service for Account {
    fn answer(&mut self, request: &Request) -> Reply {
        if request.bearer() != Some(API_KEY) {
            return Reply::text("text/plain", "Unauthorised").with_status(401);
        }
        let now = self.clock.now();
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

    fn overview(&self, test: &Test, nouptime: bool) -> Value {
        let keep =
            |name: &str| OVERVIEW.contains(&name) && (name != "uptime" || (self.rules.uptime && !nouptime));
        let fields = test.row.as_object().unwrap().iter().filter(|(name, _)| keep(name));
        fields.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    fn overviews(&self, request: &Request) -> Result<Reply, Reply> {
        let page = number(request, "page", 1, 1..=usize::MAX)?;
        let limit = self.limit(request)?;
        let fits = |test: &&Test| request.param("status").is_none_or(|status| test.row["status"] == status);
        let all: Vec<&Test> = self.tests.iter().filter(fits).collect();
        let nouptime = request.param("nouptime").is_some();
        let rows = all.iter().skip((page - 1).saturating_mul(limit)).take(limit);
        let rows: Vec<Value> = rows.map(|test| self.overview(test, nouptime)).collect();
        let pages = match self.rules.metadata {
            Metadata::Full => all.len().div_ceil(limit),
            Metadata::ZeroPages => 0,
            Metadata::Missing => return Ok(Reply::json(&json!({"data": rows}))),
        };
        Ok(Reply::json(&json!({"data": rows, "metadata":
            {"page": page, "per_page": limit, "page_count": pages, "total_count": all.len()}})))
    }

    fn limit(&self, request: &Request) -> Result<usize, Reply> {
        Ok(number(request, "limit", DEFAULT_LIMIT, 1..=MAX_LIMIT)?.min(self.rules.page_cap))
    }

    fn children(&self, request: &Request, test: &Test, list: List) -> Result<Reply, Reply> {
        let limit = self.limit(request)?;
        let (before, after) = (bound(request, "before")?, bound(request, "after")?);
        let slack = i64::from(self.rules.bounds_inclusive);
        let within = |row: &Value| {
            let second = second_of(row);
            before.is_none_or(|before| second < before + slack)
                && after.is_none_or(|after| second > after - slack)
        };
        let rows: Vec<Value> = self.list_rows(test, list).into_iter().filter(within).collect();
        let page = &rows[..page_end(&rows, limit)];
        let here = format!("{}{}", self.root, request.path);
        let mut links = json!({"self": format!("{here}?limit={limit}")});
        let last = page.last().map(second_of);
        match (&self.rules.next, last.filter(|_| page.len() < rows.len())) {
            (NextLink::NullAtEnd, None) => links["next"] = Value::Null,
            (_, None) => {}
            (NextLink::Itself, Some(_)) => {
                let before = before.map(|before| format!("&before={before}")).unwrap_or_default();
                links["next"] = json!(format!("{here}?limit={limit}{before}"));
            }
            (NextLink::On(origin), Some(last)) => {
                links["next"] = json!(format!("{origin}{}?before={last}&limit={limit}", request.path));
            }
            (_, Some(last)) => links["next"] = json!(format!("{here}?before={last}&limit={limit}")),
        }
        Ok(Reply::json(&json!({"data": page, "links": links, "metadata": {}})))
    }
}

/// Where a page ends: before rows of one second that would not all fit, because a link by the second could not
/// reach the rest. Such a page is shorter than asked and yet not the last.
fn page_end(rows: &[Value], limit: usize) -> usize {
    if rows.len() <= limit {
        return rows.len();
    }
    let split = second_of(&rows[limit]);
    let whole = rows[..limit].iter().rposition(|row| second_of(row) != split);
    whole.map_or(limit, |last| last + 1)
}

fn second_of(row: &Value) -> i64 {
    let text = row.get("created_at").or_else(|| row.get("triggered_at")).and_then(Value::as_str);
    text.map_or(0, |text| text.parse::<Timestamp>().unwrap().as_second())
}

fn bound(request: &Request, name: &str) -> Result<Option<i64>, Reply> {
    let wrong = || bad_parameter(name, &format!("{name} must be a UNIX timestamp"));
    let read = |text: &str| text.parse::<u32>().map(i64::from).map_err(|_| wrong());
    request.param(name).map(read).transpose()
}

fn number(
    request: &Request,
    name: &str,
    default: usize,
    range: std::ops::RangeInclusive<usize>,
) -> Result<usize, Reply> {
    let Some(text) = request.param(name) else { return Ok(default) };
    let known = text.parse().ok().filter(|number| range.contains(number));
    known.ok_or_else(|| {
        bad_parameter(name, &format!("{name} must be between {} and {}", range.start(), range.end()))
    })
}

fn bad_parameter(name: &str, text: &str) -> Reply {
    failure(400, "The provided parameters are invalid", &json!({name: [text]}))
}

/// An error in the API's shape.
fn failure(status: u16, message: &str, errors: &Value) -> Reply {
    Reply::json(&json!({"message": message, "errors": errors})).with_status(status)
}

/// The API's 429, with its quota headers; `Reply::too_many(None)` is the one without.
pub(crate) fn throttled(reset_seconds: i64) -> Reply {
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
