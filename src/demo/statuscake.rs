//! StatusCake's uptime API: a few checks with their results, periods and alerts, newest first, under a quota.

use std::collections::BTreeMap;
use std::io;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::Now;
use super::far_end::{FarEnd, Server, draw, travel};

/// The only key that is taken.
pub(super) const KEY: &str = "demo-key-of-nobody";
/// The checks of the account.
const CHECKS: [&str; 4] = ["Shop", "Shop: checkout", "Partner portal", "Public API"];
/// Seconds between two results of a check.
const EVERY: i64 = 30;
/// How far back results go: a page and a half of them.
const KEPT: SignedDuration = SignedDuration::from_mins(75);
/// Requests a second that an account may make.
const QUOTA: u64 = 5;

/// The account.
#[derive(Clone)]
pub(super) struct StatusCake(FarEnd<Account>);

struct Account {
    opened: Timestamp,
    used_up_until: Timestamp,
    /// The second that runs, and the requests in it.
    second: (i64, u64),
}

type Answer = Result<Json<Value>, (StatusCode, Json<Value>)>;

impl StatusCake {
    pub(super) async fn open(now: Now) -> io::Result<(StatusCake, Server)> {
        let opened = now();
        let account = Account { opened, used_up_until: opened, second: (0, 0) };
        let route = |account| {
            Router::new()
                .route("/v1/uptime", get(checks))
                .route("/v1/uptime/{id}/{list}", get(list))
                .with_state(account)
        };
        let (far_end, server) = FarEnd::open(now, account, route).await?;
        Ok((StatusCake(far_end), server))
    }

    pub(super) fn base_url(&self) -> String {
        format!("{}/v1", self.0.root())
    }

    /// Somebody else uses up the account's quota for so long.
    pub(super) fn use_up(&self, seconds: u32) {
        let until = self.0.now().checked_add(SignedDuration::from_secs(seconds.into()));
        self.0.with(|account| account.used_up_until = until.unwrap_or(account.used_up_until));
    }
}

type Params = Query<BTreeMap<String, String>>;

async fn checks(
    State(account): State<FarEnd<Account>>,
    headers: HeaderMap,
    Query(query): Params,
) -> Response {
    let uptime =
        |n: usize| 99.0 + f64::from(u32::try_from(draw("uptime", n as i64, 100)).unwrap_or(0)) / 100.0;
    let all: Vec<Value> = (CHECKS.iter().enumerate())
        .map(|(n, name)| {
            json!({"id": id(n), "name": name, "website_url": format!("https://check-{n}.example.com"),
                "test_type": "HTTP", "check_rate": EVERY, "contact_groups": ["41822"], "paused": false,
                "status": "up", "tags": ["demo", "web"], "uptime": uptime(n)})
        })
        .collect();
    guarded(&account, &headers, || {
        let (page, limit) = (number(&query, "page", 1)?, limit(&query)?);
        let start = usize::try_from(page.saturating_sub(1).saturating_mul(limit)).unwrap_or(usize::MAX);
        let count = usize::try_from(limit).unwrap_or(usize::MAX);
        let rows: Vec<&Value> = all.iter().skip(start).take(count).collect();
        Ok(Json(json!({"data": rows, "metadata": {"page": page, "per_page": limit,
            "page_count": all.len().div_ceil(count), "total_count": all.len()}})))
    })
    .await
}

async fn list(
    State(account): State<FarEnd<Account>>,
    Path((check, list)): Path<(String, String)>,
    headers: HeaderMap,
    Query(query): Params,
) -> Response {
    let (now, opened) = (account.now(), account.with(|account| account.opened));
    let here = format!("{}/v1/uptime/{check}/{list}", account.root());
    guarded(&account, &headers, || {
        let n = (0..CHECKS.len()).find(|n| id(*n) == check).ok_or_else(not_found)?;
        let rows = match list.as_str() {
            "history" => results(n, opened, now),
            "periods" => periods(n, opened),
            "alerts" => alerts(n, opened),
            _ => return Err(not_found()),
        };
        let (limit, before) = (limit(&query)?, number(&query, "before", i64::MAX)?);
        let mut rest = rows.into_iter().filter(|(at, _)| *at < before).peekable();
        let mut page = Vec::new();
        let mut last = 0;
        while let Some((at, row)) = rest.next_if(|_| (page.len() as i64) < limit) {
            last = at;
            page.push(row);
        }
        let mut links = json!({"self": format!("{here}?limit={limit}")});
        if rest.peek().is_some() {
            links["next"] = json!(format!("{here}?before={last}&limit={limit}"));
        }
        Ok(Json(json!({"data": page, "links": links, "metadata": {}})))
    })
    .await
}

/// A result each half minute; now and then one is slow.
fn results(check: usize, opened: Timestamp, now: Timestamp) -> Vec<(i64, Value)> {
    let first = opened.as_second() - KEPT.as_secs();
    let newest = now.as_second() / EVERY * EVERY;
    let moments = (0..).map(|back| newest - back * EVERY).take_while(|at| *at >= first);
    let result = |at: i64| {
        let slow = if draw("slow", at + check as i64, 20) == 0 { 900 } else { 0 };
        let took = 120 + 60 * check as u64 + slow + draw("took", at + check as i64, 80);
        let row =
            json!({"created_at": moment(at), "location": "FRA2", "performance": took, "status_code": 200});
        (at, row)
    };
    moments.map(result).collect()
}

/// Up, after an outage of some minutes an hour ago.
fn periods(check: usize, opened: Timestamp) -> Vec<(i64, Value)> {
    let (up, down, before) = outage(check, opened);
    let closed = |from: i64, to: i64, status: &str| {
        let row = json!({"created_at": moment(from), "status": status, "ended_at": moment(to),
            "duration": (to - from) * 1000});
        (from, row)
    };
    let open = json!({"created_at": moment(up), "status": "up", "ended_at": null});
    vec![(up, open), closed(down, up, "down"), closed(before, down, "up")]
}

fn alerts(check: usize, opened: Timestamp) -> Vec<(i64, Value)> {
    let (up, down, _) = outage(check, opened);
    let alert = |at: i64, status: &str, code: u16| {
        (at, json!({"id": id(check), "status": status, "status_code": code, "triggered_at": moment(at)}))
    };
    vec![alert(up + 28, "up", 200), alert(down + 28, "down", 503)]
}

/// When it was up again, when it went down, when it had come up before that.
fn outage(check: usize, opened: Timestamp) -> (i64, i64, i64) {
    let up = opened.as_second() - 3600 - draw("up", check as i64, 1800) as i64;
    let down = up - 120 - draw("down", check as i64, 600) as i64;
    (up, down, down - 6 * 3600)
}

/// Answers whoever has the key, as far as the quota goes.
async fn guarded(account: &FarEnd<Account>, headers: &HeaderMap, work: impl FnOnce() -> Answer) -> Response {
    let given = headers.get(header::AUTHORIZATION).and_then(|given| given.to_str().ok());
    if given.and_then(|given| given.strip_prefix("Bearer ")) != Some(KEY) {
        return (StatusCode::UNAUTHORIZED, "Unauthorised").into_response();
    }
    let now = account.now();
    let (allowed, left, reset) = account.with(|account| account.admit(now));
    // A wait longer than a second means that the budget of the minute is spent, which the first number then says.
    let in_force = if reset > 1 { 60 } else { QUOTA };
    let quota = [
        ("x-ratelimit-limit", format!("{in_force}, 60;w=60, 5;w=1")),
        ("x-ratelimit-remaining", left.to_string()),
        ("x-ratelimit-reset", reset.to_string()),
    ];
    if !allowed {
        let words = Json(json!({"message": "Too many requests", "errors": {}}));
        return (StatusCode::TOO_MANY_REQUESTS, quota, words).into_response();
    }
    travel("statuscake", left, 60).await;
    (quota, work()).into_response()
}

impl Account {
    /// Whether one more request may pass, how many more then may, and the seconds until there are more.
    fn admit(&mut self, now: Timestamp) -> (bool, u64, i64) {
        if now < self.used_up_until {
            let wait = self.used_up_until.duration_since(now);
            return (false, 0, wait.as_secs() + 1);
        }
        if self.second.0 != now.as_second() {
            self.second = (now.as_second(), 0);
        }
        self.second.1 += 1;
        (self.second.1 <= QUOTA, QUOTA.saturating_sub(self.second.1), 1)
    }
}

fn id(check: usize) -> String {
    (6_700_001 + check).to_string()
}

fn moment(second: i64) -> String {
    Timestamp::from_second(second).map_or_else(|_| String::new(), |at| format!("{at:.0}"))
}

fn limit(query: &BTreeMap<String, String>) -> Result<i64, (StatusCode, Json<Value>)> {
    match number(query, "limit", 25)? {
        limit @ 1..=100 => Ok(limit),
        _ => Err(bad("limit", "limit must be between 1 and 100")),
    }
}

fn number(
    query: &BTreeMap<String, String>,
    name: &str,
    default: i64,
) -> Result<i64, (StatusCode, Json<Value>)> {
    let Some(text) = query.get(name) else { return Ok(default) };
    text.parse().ok().filter(|number| *number >= 0).ok_or_else(|| bad(name, "must be a whole number"))
}

fn bad(name: &str, words: &str) -> (StatusCode, Json<Value>) {
    let body = json!({"message": "The provided parameters are invalid", "errors": {name: [words]}});
    (StatusCode::BAD_REQUEST, Json(body))
}

fn not_found() -> (StatusCode, Json<Value>) {
    (StatusCode::NOT_FOUND, Json(json!({"message": "No uptime test found", "errors": {}})))
}
