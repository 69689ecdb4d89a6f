//! People.ai's activities: meetings, calls and mails of the last weeks, and a new one every so often.

use std::collections::BTreeMap;
use std::io;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::Now;
use super::far_end::{FarEnd, Server, draw, travel};

/// The API key.
pub(super) const KEY: &str = "demo-key-of-nobody";
/// Its secret.
pub(super) const SECRET: &str = "demo-secret-of-nobody";
const TOKEN: &str = "demo-token";
/// The life of the token in seconds.
const LIFE: u32 = 7200;
/// Activities from before the demo began, one every so often.
const PAST: i64 = 400;
const APART: SignedDuration = SignedDuration::from_hours(3);
/// Since it began there is one in so many seconds.
const FRESH: i64 = 7;
const SUBJECTS: [&str; 5] = ["Renewal plan", "Quarterly review", "Kick-off", "Pricing", "Next steps"];
const KINDS: [&str; 3] = ["EMAIL", "CALL", "MEETING"];

/// The organisation.
#[derive(Clone)]
pub(super) struct PeopleAi(FarEnd<Timestamp>);

impl PeopleAi {
    pub(super) async fn open(now: Now) -> io::Result<(PeopleAi, Server)> {
        let route = |opened| {
            Router::new()
                .route("/auth/v1/tokens", post(token))
                .route("/v0/public/activities", get(activities))
                .route("/v0/public/activities/participants", get(participants))
                .with_state(opened)
        };
        let (far_end, server) = FarEnd::open(now, now(), route).await?;
        Ok((PeopleAi(far_end), server))
    }

    pub(super) fn base_url(&self) -> String {
        self.0.root().to_owned()
    }

    pub(super) fn token_url(&self) -> String {
        format!("{}/auth/v1/tokens", self.0.root())
    }
}

type Params = Query<BTreeMap<String, String>>;

/// Asked again it is the same token.
async fn token(State(opened): State<FarEnd<Timestamp>>, body: String) -> Response {
    travel("people.ai token", 0, 50).await;
    let form: BTreeMap<_, _> = url::form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    let field = |name: &str| form.get(name).map(String::as_str);
    if field("grant_type") != Some("client_credentials") {
        return refusal(&opened, StatusCode::BAD_REQUEST, "grant_type is missing", "/auth/v1/tokens");
    }
    if field("client_id") != Some(KEY) || field("client_secret") != Some(SECRET) {
        return refusal(&opened, StatusCode::UNAUTHORIZED, "Invalid credentials", "/auth/v1/tokens");
    }
    Json(json!({"access_token": TOKEN, "token_type": "bearer", "expires_in": LIFE})).into_response()
}

async fn activities(State(opened): State<FarEnd<Timestamp>>, headers: HeaderMap, query: Params) -> Response {
    page(&opened, &headers, query, "/v0/public/activities", |n, at| vec![activity(n, at)]).await
}

async fn participants(
    State(opened): State<FarEnd<Timestamp>>,
    headers: HeaderMap,
    query: Params,
) -> Response {
    page(&opened, &headers, query, "/v0/public/activities/participants", people).await
}

async fn page(
    opened: &FarEnd<Timestamp>,
    headers: &HeaderMap,
    Query(query): Params,
    path: &str,
    rows: impl Fn(i64, Timestamp) -> Vec<Value>,
) -> Response {
    let given = headers.get(header::AUTHORIZATION).and_then(|given| given.to_str().ok());
    if given.and_then(|given| given.strip_prefix("Bearer ")) != Some(TOKEN) {
        return refusal(opened, StatusCode::UNAUTHORIZED, "Invalid or expired token", path);
    }
    travel(path, 0, 60).await;
    let number = |name: &str, default: usize| query.get(name).map_or(Some(default), |text| text.parse().ok());
    let (Some(limit @ 1..=100_000), Some(offset)) = (number("limit", 1000), number("offset", 0)) else {
        let words = "limit must be between 1 and 100000";
        return refusal(opened, StatusCode::BAD_REQUEST, words, path);
    };
    let happened = range(&query, "from", "to");
    let ingested = range(&query, "ingested-from", "ingested-to");
    let all: Vec<Value> = moments(opened)
        .filter(|(_, at)| happened.contains(at) && ingested.contains(&ingestion(*at)))
        .flat_map(|(n, at)| rows(n, at))
        .collect();
    let page: Vec<&Value> = all.iter().skip(offset).take(limit).collect();
    let meta = json!({"limit": limit, "offset": offset, "total": all.len(), "message": null});
    Json(json!({"data": page, "meta": meta})).into_response()
}

/// Every activity so far: its number and when it happened.
fn moments(opened: &FarEnd<Timestamp>) -> impl Iterator<Item = (i64, Timestamp)> {
    let (began, now) = (opened.with(|began| *began), opened.now());
    let fresh = now.duration_since(began).as_secs().max(0) / FRESH;
    let past = (0..PAST).filter_map(move |n| {
        let age = APART.as_secs() * (PAST - n);
        Some((n, began.checked_sub(SignedDuration::from_secs(age)).ok()?))
    });
    let since = (0..fresh).filter_map(move |n| {
        Some((PAST + n, began.checked_add(SignedDuration::from_secs((n + 1) * FRESH)).ok()?))
    });
    past.chain(since)
}

fn ingestion(happened: Timestamp) -> Timestamp {
    happened.checked_add(SignedDuration::from_secs(1)).unwrap_or(happened)
}

/// A range of whole days, both included; everything where it is not given.
fn range(query: &BTreeMap<String, String>, from: &str, to: &str) -> std::ops::Range<Timestamp> {
    let day = |name: &str| query.get(name).and_then(|text| text.parse::<Date>().ok());
    let midnight = |day: Date| Some(day.to_zoned(TimeZone::UTC).ok()?.timestamp());
    let start = day(from).and_then(midnight).unwrap_or(Timestamp::MIN);
    let end = day(to).and_then(|day| midnight(day.tomorrow().ok()?)).unwrap_or(Timestamp::MAX);
    start..end
}

fn activity(n: i64, at: Timestamp) -> Value {
    let happened = at.as_millisecond();
    json!({"uid": uid(n), "crm_id": format!("00U{n:015}"), "activity_type": one_of(&KINDS, "kind", n),
        "sub_type": null, "subject": one_of(&SUBJECTS, "subject", n), "activity_timestamp": happened,
        "created_at": happened, "ingested_at": ingestion(at).as_millisecond(),
        "modified_at": ingestion(at).as_millisecond(), "direction": "OUTBOUND",
        "duration": draw("duration", n, 60), "external": n % 3 != 0, "is_blast": false, "is_cold": false,
        "matched_to": "opportunity", "number_of_participants": 2, "account_id": 81_000 + n % 40,
        "opportunity_id": 99_000 + n % 7, "opportunity_ids": [99_000 + n % 7],
        "opportunity_stage_id": draw("stage", n, 9), "user_id": 4400 + n % 12, "deleted": false})
}

/// Two people an activity.
fn people(n: i64, at: Timestamp) -> Vec<Value> {
    let person = |k: i64| {
        let number = draw("person", n * 2 + k, 300);
        json!({"id": n * 10 + k, "activity_uid": uid(n), "uid": uid(n),
            "name": format!("Person {number}"), "email": format!("person.{number}@example.com"),
            "phone_number": null, "job_title": "Analyst", "subject": one_of(&SUBJECTS, "subject", n),
            "status": "MATCHED", "external": k == 1, "original": true, "is_originator": k == 0,
            "deleted": false, "account_id": 81_000 + n % 40, "activity_timestamp": at.as_millisecond(),
            "ingested_at": ingestion(at).as_millisecond(), "duration": 0})
    };
    vec![person(0), person(1)]
}

fn one_of<'a>(from: &[&'a str], what: &str, n: i64) -> &'a str {
    let place = usize::try_from(draw(what, n, from.len() as u64)).unwrap_or(0);
    from.get(place).copied().unwrap_or_default()
}

fn uid(n: i64) -> String {
    format!("{:032x}", u128::from(crate::domain::schedule::hash(&n.to_string())))
}

fn refusal(opened: &FarEnd<Timestamp>, status: StatusCode, message: &str, path: &str) -> Response {
    let timestamp = opened.now().strftime("%d-%m-%Y %H:%M:%S").to_string();
    let body =
        json!({"code": status.as_u16(), "id": "0", "message": message, "path": path, "timestamp": timestamp});
    (status, Json(body)).into_response()
}
