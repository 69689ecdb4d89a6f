//! SenSource's VEA API: one library with its doors, counted by the hour. A new token ends the one before.

use std::collections::BTreeMap;
use std::io;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::Now;
use super::far_end::{FarEnd, Server, draw, millis, travel};

/// The API client.
pub(super) const CLIENT: &str = "demo-client";
/// Its secret.
pub(super) const SECRET: &str = "demo-secret-of-nobody";
/// The life of a token in seconds.
const LIFE: i64 = 3600;
const HOUR: SignedDuration = SignedDuration::from_hours(1);
const LOCATION: &str = "0b0e7c0a-6f1d-4b53-9d2c-000000000000";
const SITE: &str = "99990000-0001-4a00-8000-000000000000";
const ZONES: [&str; 3] = ["North door", "South door", "Lift"];
const SPACES: [&str; 2] = ["Reading room", "Café"];

/// The library.
#[derive(Clone)]
pub(super) struct SenSource(FarEnd<Venue>);

struct Venue {
    token: Option<(String, Timestamp)>,
    minted: u64,
    broken: bool,
}

impl SenSource {
    pub(super) async fn open(now: Now) -> io::Result<(SenSource, Server)> {
        let route = |venue| {
            Router::new()
                .route("/oauth/token", post(token))
                .route("/api/{list}", get(list))
                .route("/api/data/{kind}", get(data))
                .with_state(venue)
        };
        let venue = Venue { token: None, minted: 0, broken: false };
        let (far_end, server) = FarEnd::open(now, venue, route).await?;
        Ok((SenSource(far_end), server))
    }

    pub(super) fn base_url(&self) -> String {
        format!("{}/api", self.0.root())
    }

    pub(super) fn token_url(&self) -> String {
        format!("{}/oauth/token", self.0.root())
    }

    /// Whether data come, or an error with 200 as this API sends it.
    pub(super) fn set_broken(&self, broken: bool) {
        self.0.with(|venue| venue.broken = broken);
    }
}

async fn token(State(venue): State<FarEnd<Venue>>, Json(asked): Json<Value>) -> Response {
    travel("sensource token", 0, 50).await;
    if asked["grant_type"] != "client_credentials" {
        return refused(StatusCode::BAD_REQUEST);
    }
    if asked["client_id"] != CLIENT || asked["client_secret"] != SECRET {
        return refused(StatusCode::UNAUTHORIZED);
    }
    let ends = venue.now().checked_add(SignedDuration::from_secs(LIFE)).unwrap_or(Timestamp::MAX);
    let token = venue.with(|venue| {
        venue.minted += 1;
        let token = format!("demo-token-{}", venue.minted);
        venue.token = Some((token.clone(), ends));
        token
    });
    Json(json!({"access_token": token, "expires_in": LIFE, "token_type": "Bearer"})).into_response()
}

async fn list(State(venue): State<FarEnd<Venue>>, Path(list): Path<String>, headers: HeaderMap) -> Response {
    if !signed_in(&venue, &headers) {
        return refused(StatusCode::UNAUTHORIZED);
    }
    travel(&list, 0, 40).await;
    let rows = match list.as_str() {
        "location" => vec![json!({"locationId": LOCATION, "name": "Central Library", "country": "US",
            "city": "Springfield", "latitude": 44.05, "longitude": -123.02,
            "createdAt": "2021-03-01T17:20:31.000Z", "updatedAt": "2025-11-12T08:01:02.000Z"})],
        "site" => vec![json!({"siteId": SITE, "locationId": LOCATION, "name": "Ground floor"})],
        "sensor" => each(
            &ZONES,
            |n, name| json!({"sensorId": id("sensor", n), "siteId": SITE, "name": format!("Camera, {name}")}),
        ),
        "zone" => each(
            &ZONES,
            |n, name| json!({"zoneId": id("zone", n), "sensorId": id("sensor", n), "name": name}),
        ),
        "space" => each(
            &SPACES,
            |n, name| json!({"spaceId": id("space", n), "locationId": LOCATION, "name": name, "maxCapacity": 180}),
        ),
        _ => return refused(StatusCode::NOT_FOUND),
    };
    Json(rows).into_response()
}

fn each(names: &[&str], row: impl Fn(usize, &str) -> Value) -> Vec<Value> {
    names.iter().enumerate().map(|(n, name)| row(n, name)).collect()
}

async fn data(
    State(venue): State<FarEnd<Venue>>,
    Path(kind): Path<String>,
    headers: HeaderMap,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    if !signed_in(&venue, &headers) {
        return refused(StatusCode::UNAUTHORIZED);
    }
    travel(&kind, 1, 80).await;
    if venue.with(|venue| venue.broken) {
        let error = "The sensors' database is not available";
        return Json(json!({"messages": [], "results": [], "error": error})).into_response();
    }
    let day = |name: &str| query.get(name).and_then(|text| text.parse::<Date>().ok());
    let hourly = query.get("dateGroupings").map(String::as_str) == Some("hour");
    let (Some(start), Some(end), true) = (day("startDate"), day("endDate"), hourly) else {
        return refused(StatusCode::INTERNAL_SERVER_ERROR);
    };
    let now = venue.now();
    let hours = hours(start, end, now);
    let rows: Vec<Value> = match kind.as_str() {
        "traffic" => hours.flat_map(|hour| each(&ZONES, |n, name| traffic(n, name, hour, now))).collect(),
        "occupancy" => hours.flat_map(|hour| each(&SPACES, |n, name| occupancy(n, name, hour))).collect(),
        _ => return refused(StatusCode::NOT_FOUND),
    };
    Json(json!({"messages": [], "results": rows, "error": null})).into_response()
}

/// The hours of the days from `start` until before `end`, as far as they have begun.
fn hours(start: Date, end: Date, now: Timestamp) -> impl Iterator<Item = Timestamp> {
    let midnight = |day: Date| day.to_zoned(TimeZone::UTC).map_or(Timestamp::MAX, |zoned| zoned.timestamp());
    let end = midnight(end).min(now);
    std::iter::successors(Some(midnight(start)), |hour| hour.checked_add(HOUR).ok())
        .take_while(move |hour| *hour < end)
}

/// The hour that runs holds what was counted so far.
fn traffic(zone: usize, name: &str, hour: Timestamp, now: Timestamp) -> Value {
    let whole = visitors("zone", zone, hour);
    let seconds = now.duration_since(hour).as_secs().clamp(0, 3600);
    let ins = whole * seconds / 3600;
    let outs = ins - ins.min(i64::try_from(draw("outs", hour.as_second(), 5)).unwrap_or(0));
    json!({"recordDate_hour_1": millis(hour), "zoneId": id("zone", zone), "name": name, "sumins": ins,
        "sumouts": outs})
}

fn occupancy(space: usize, name: &str, hour: Timestamp) -> Value {
    let most = visitors("space", space, hour);
    let least = most / 3;
    // The API sends the mean, and only it, as a decimal in a string.
    let mean = format!("{}.5000", (most + least) / 2);
    json!({"recordDate_hour_1": millis(hour), "spaceId": id("space", space), "name": name,
        "maxoccupancy": most, "minoccupancy": least, "avgoccupancy": mean})
}

/// Nobody by night, most in the afternoon.
fn visitors(what: &str, number: usize, hour: Timestamp) -> i64 {
    let of_day = hour.as_second() / 3600 % 24;
    let tide = match of_day {
        0..=6 => 0,
        7..=14 => of_day - 6,
        _ => 23 - of_day,
    };
    let drawn = draw(what, hour.as_second() + i64::try_from(number).unwrap_or(0), 12);
    tide * i64::try_from(10 + drawn).unwrap_or(10)
}

fn id(what: &str, number: usize) -> String {
    let head = crate::domain::schedule::hash(what) >> 32;
    format!("{head:08x}-0001-4a00-8000-{number:012}")
}

fn signed_in(venue: &FarEnd<Venue>, headers: &HeaderMap) -> bool {
    let given = headers.get(header::AUTHORIZATION).and_then(|given| given.to_str().ok());
    let given = given.and_then(|given| given.strip_prefix("Bearer "));
    let now = venue.now();
    venue.with(|venue| venue.token.as_ref().is_some_and(|(token, ends)| given == Some(token) && now < *ends))
}

fn refused(status: StatusCode) -> Response {
    (status, Html("<h1>Something went wrong</h1>")).into_response()
}
