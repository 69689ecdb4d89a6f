//! The sources: both services on one port of a thread of their own. Rows are made before anything is measured, so that
//! a page costs little more than copying it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use anyhow::Context;
use axum::Router;
use axum::extract::{Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use crate::activity;

/// Results in a page of StatusCake: its maximum.
pub(crate) const CAKE_PAGE: usize = 100;
/// Days of activities: nearly the two years that are read by default.
const DAYS: i64 = 690;

/// Rows in order of their time, as text.
#[derive(Default)]
pub(crate) struct Listing {
    text: String,
    /// Where each row ends; a comma follows.
    ends: Vec<usize>,
    times: Vec<u64>,
}

impl Listing {
    fn push(&mut self, number: u64, time: u64, ingested: u64) {
        activity::write(&mut self.text, number, time, ingested);
        self.ends.push(self.text.len());
        self.text.push(',');
        self.times.push(time);
    }

    /// The page of rows from `offset` on of those between two moments, with its frame.
    fn page(&self, (from, to): (u64, u64), offset: usize, limit: usize) -> String {
        let begin = self.times.partition_point(|time| *time < from);
        let end = self.times.partition_point(|time| *time < to);
        let total = end - begin;
        let first = (begin + offset).min(end);
        let last = (first + limit).min(end);
        let start = if first == 0 { 0 } else { self.ends[first - 1] + 1 };
        let rows = if first == last { "" } else { &self.text[start..self.ends[last - 1]] };
        let mut out = String::with_capacity(rows.len() + 128);
        out.push_str("{\"data\":[");
        out.push_str(rows);
        let _ = write!(
            out,
            "],\"meta\":{{\"limit\":{limit},\"offset\":{offset},\"total\":{total},\"message\":null}}}}"
        );
        out
    }

    /// The pages in which it would be read whole.
    pub(crate) fn pages(&self, limit: usize) -> impl Iterator<Item = String> + '_ {
        (0..self.times.len()).step_by(limit).map(move |offset| self.page((0, u64::MAX), offset, limit))
    }
}

/// What is served.
pub(crate) struct Source {
    pub(crate) activities: Listing,
    /// What was ingested since the first sync.
    pub(crate) changed: RwLock<Listing>,
    tests: usize,
    /// Pages of results; all tests have the same.
    pub(crate) results: Vec<String>,
    requests: AtomicU64,
}

impl Source {
    /// A source of so many activities, and of so many tests with so many results each.
    pub(crate) fn new(activities: u64, tests: usize, results: usize) -> Source {
        let mut listing = Listing::default();
        listing.text.reserve(760 * activities as usize);
        for number in 0..activities {
            let time = moment(number, activities);
            listing.push(number, time, time + 65);
        }
        Source {
            activities: listing,
            changed: RwLock::default(),
            tests,
            results: (0..results.div_ceil(CAKE_PAGE)).map(|page| result_page(page, results)).collect(),
            requests: AtomicU64::new(0),
        }
    }

    /// One activity in so many changes.
    pub(crate) fn change(&self, every: u64) -> u64 {
        let total = self.activities.times.len() as u64;
        let now = Timestamp::now().as_millisecond().unsigned_abs();
        let mut changed = Listing::default();
        for number in (0..total).step_by(every.max(1) as usize) {
            changed.push(number, moment(number, total), now);
        }
        let rows = changed.times.len() as u64;
        *self.changed.write().unwrap() = changed;
        rows
    }

    /// Requests since the last call.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.swap(0, Ordering::Relaxed)
    }

    /// Serves until the process ends; returns its root.
    pub(crate) fn serve(self: Arc<Source>) -> anyhow::Result<String> {
        let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen")?;
        listener.set_nonblocking(true)?;
        let url = format!("http://{}", listener.local_addr()?);
        let routes = Router::new()
            .route("/auth/v1/tokens", post(token))
            .route("/v0/public/activities", get(activities))
            .route("/v1/uptime", get(tests))
            .route("/v1/uptime/{test}/history", get(history))
            .with_state(self);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::spawn(move || {
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                axum::serve(listener, routes).await
            })
        });
        Ok(url)
    }
}

type Params = Query<HashMap<String, String>>;

fn json(body: String) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], body)
}

fn number(params: &Params, name: &str, default: usize) -> usize {
    params.get(name).and_then(|text| text.parse().ok()).unwrap_or(default)
}

async fn token() -> impl IntoResponse {
    json("{\"access_token\":\"bench\",\"token_type\":\"bearer\",\"expires_in\":7200}".to_owned())
}

async fn activities(State(source): State<Arc<Source>>, params: Params) -> impl IntoResponse {
    source.requests.fetch_add(1, Ordering::Relaxed);
    let day = |name: &str| -> u64 {
        let day = params.get(name).and_then(|text| text.parse::<Date>().ok());
        let start = day.and_then(|day| day.to_zoned(TimeZone::UTC).ok());
        start.map_or(0, |start| start.timestamp().as_millisecond().unsigned_abs())
    };
    let range = (day("from"), day("to"));
    let (offset, limit) = (number(&params, "offset", 0), number(&params, "limit", 1_000));
    json(if params.contains_key("ingested-from") {
        source.changed.read().unwrap().page(range, offset, limit)
    } else {
        source.activities.page(range, offset, limit)
    })
}

async fn tests(State(source): State<Arc<Source>>, params: Params) -> impl IntoResponse {
    source.requests.fetch_add(1, Ordering::Relaxed);
    let page = number(&params, "page", 1);
    let ids = (page.max(1) - 1) * CAKE_PAGE..(page * CAKE_PAGE).min(source.tests);
    let rows: Vec<String> = ids
        .map(|id| format!("{{\"id\":\"{}\",\"name\":\"Test {id}\",\"website_url\":\"https://www.example.com/{id}\",\"test_type\":\"HTTP\",\"check_rate\":300,\"status\":\"up\",\"paused\":false,\"tags\":[],\"uptime\":99.9}}", 1_000_000 + id))
        .collect();
    let pages = source.tests.div_ceil(CAKE_PAGE);
    json(format!(
        "{{\"data\":[{}],\"metadata\":{{\"page\":{page},\"per_page\":{CAKE_PAGE},\"page_count\":{pages},\"total_count\":{}}}}}",
        rows.join(","),
        source.tests
    ))
}

async fn history(State(source): State<Arc<Source>>, params: Params) -> impl IntoResponse {
    source.requests.fetch_add(1, Ordering::Relaxed);
    let page = source.results.get(number(&params, "at", 0)).cloned();
    json(page.unwrap_or_else(|| "{\"data\":[],\"links\":{}}".to_owned()))
}

/// Results of a test, the newest first.
fn result_page(page: usize, results: usize) -> String {
    let newest = Timestamp::UNIX_EPOCH + 490_000.hours();
    let rows: Vec<String> = (page * CAKE_PAGE..((page + 1) * CAKE_PAGE).min(results))
        .map(|at| {
            let when = newest - (5 * at as i64).minutes();
            format!(
                "{{\"created_at\":\"{when:.0}\",\"location\":\"PL{}\",\"performance\":{},\"status_code\":200}}",
                at % 7,
                200 + at % 900
            )
        })
        .collect();
    let last = (page + 1) * CAKE_PAGE >= results;
    let next = if last { "null".to_owned() } else { format!("\"?limit={CAKE_PAGE}&at={}\"", page + 1) };
    format!(
        "{{\"data\":[{}],\"links\":{{\"self\":\"?at={page}\",\"next\":{next}}},\"metadata\":{{\"page_count\":0}}}}",
        rows.join(",")
    )
}

/// When an activity happened: evenly spread, the oldest first.
fn moment(number: u64, of: u64) -> u64 {
    let span = DAYS * 86_400_000;
    let oldest = Timestamp::now().as_millisecond() - span - 5 * 86_400_000;
    // Whole minutes, so that an activity that changes keeps its moment.
    let oldest = oldest.unsigned_abs() / 86_400_000 * 86_400_000;
    oldest + span.unsigned_abs() / of.max(1) * number
}
