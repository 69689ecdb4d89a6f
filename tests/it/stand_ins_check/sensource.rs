//! The SenSource API.

use std::collections::HashSet;

use jiff::civil::date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use stand_ins::Clock;
use stand_ins::sensource::{CLIENT_ID, CLIENT_SECRET, SenSource, TOKEN, error_in_200, without_results};

use crate::http_client::client;

fn start() -> (SenSource, Clock) {
    let clock = Clock::at("2026-05-03T15:30:00Z");
    (SenSource::start(7, 4, date(2026, 4, 30), &clock), clock)
}

fn credentials(secret: &str) -> Value {
    json!({"grant_type": "client_credentials", "client_id": CLIENT_ID, "client_secret": secret})
}

async fn mint(venue: &SenSource) -> String {
    let answer = client().post(venue.token_url()).json(&credentials(CLIENT_SECRET)).send().await.unwrap();
    let body: Value = answer.json().await.unwrap();
    body["access_token"].as_str().unwrap().to_string()
}

async fn get(venue: &SenSource, token: &str, path: &str) -> (u16, Value) {
    let answer = client().get(venue.base_url() + path).bearer_auth(token).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap_or_default())
}

fn traffic(start: &str, end: &str) -> String {
    format!(
        "/data/traffic?relativeDate=custom&startDate={start}&endDate={end}&dateGroupings=hour&entityType=zone&metrics=ins,outs"
    )
}

async fn rows(venue: &SenSource, token: &str, path: &str) -> Vec<Value> {
    let (status, body) = get(venue, token, path).await;
    assert_eq!((status, &body["error"]), (200, &Value::Null), "{path}: {body}");
    body["results"].as_array().unwrap().clone()
}

/// For JSON and forms; tokens expire, and requests for them are limited.
#[tokio::test]
async fn a_new_token_ends_the_former_one() {
    let (venue, clock) = start();
    let form = client().post(venue.token_url()).form(&credentials(CLIENT_SECRET));
    let body: Value = form.send().await.unwrap().json().await.unwrap();
    assert_eq!((&body["expires_in"], &body["token_type"]), (&json!(3600), &json!("Bearer")));
    let first = body["access_token"].as_str().unwrap().to_string();
    let second = mint(&venue).await;
    assert_eq!((get(&venue, &first, "/zone").await.0, get(&venue, &second, "/zone").await.0), (401, 200));
    venue.change(|venue| venue.rules.one_live_token = false);
    let third = mint(&venue).await;
    assert_eq!((get(&venue, &second, "/zone").await.0, get(&venue, &third, "/zone").await.0), (200, 200));
    clock.advance(SignedDuration::from_secs(3600));
    assert_eq!(get(&venue, &third, "/zone").await.0, 401);
    let fourth = mint(&venue).await;
    venue.invalidate_tokens();
    assert_eq!(get(&venue, &fourth, "/zone").await.0, 401);

    venue.change(|venue| venue.rules.token_spacing = SignedDuration::from_secs(30));
    let post = |body: Value| client().post(venue.token_url()).json(&body).send();
    assert_eq!(post(credentials(CLIENT_SECRET)).await.unwrap().status(), 429);
    assert_eq!(post(credentials("guess")).await.unwrap().status(), 401);
    assert_eq!(post(json!({})).await.unwrap().status(), 400);
    assert_eq!(client().post(venue.token_url()).send().await.unwrap().status(), 400);
    assert_eq!(venue.requests_on(TOKEN).len(), 8);
}

/// With unknown fields and null names; a removed zone still counts.
#[tokio::test]
async fn static_lists_are_bare_or_wrapped_arrays() {
    let (venue, _) = start();
    let token = mint(&venue).await;
    for entity in ["location", "site", "zone", "space", "sensor"] {
        let (_, bare) = get(&venue, &token, &format!("/{entity}")).await;
        assert_eq!(bare, json!(venue.source_rows(entity)), "{entity}");
    }
    assert_eq!(venue.source_rows("zone")[3]["name"], Value::Null);
    venue.change(|venue| venue.rules.wraps_lists = true);
    assert_eq!(get(&venue, &token, "/zone").await.1["results"].as_array().unwrap().len(), 4);
    let gone = venue.source_rows("zone")[0]["zoneId"].as_str().unwrap().to_string();
    venue.change(|venue| venue.remove("zone", &gone));
    assert_eq!(venue.source_rows("zone").len(), 3);
    let rows = rows(&venue, &token, &traffic("2026-05-01", "2026-05-02")).await;
    assert!(rows.iter().any(|row| row["zoneId"] == gone));
    assert_eq!(get(&venue, &token, "/nothing").await.0, 404);
}

/// By date they end before their last day, by instant they include their end; together they hold every hour of the
/// source until the present one.
#[tokio::test]
async fn windows_contain_every_hour() {
    let (venue, clock) = start();
    let token = mint(&venue).await;
    let day = rows(&venue, &token, &traffic("2026-05-01", "2026-05-02")).await;
    assert_eq!(day.len(), 24 * 4);
    assert_eq!(day, rows(&venue, &token, &traffic("05-01-2026", "05-02-2026")).await);
    let instants = traffic("2026-05-01T00:00:00.000Z", "2026-05-02T00:00:00.000Z");
    assert_eq!(rows(&venue, &token, &instants).await.len(), 25 * 4);
    assert_eq!(
        rows(&venue, &token, &traffic("2026-01-01", "2026-05-05")).await,
        venue.source_rows("traffic")
    );
    let occupancy = "/data/occupancy?relativeDate=custom&startDate=2026-04-01&endDate=2026-05-04&dateGroupings=hour\
                     &entityType=space&metrics=occupancy(max),occupancy(min),occupancy(avg)";
    assert_eq!(rows(&venue, &token, occupancy).await, venue.source_rows("occupancy"));
    assert!(venue.source_rows("occupancy")[20]["avgoccupancy"].as_str().unwrap().contains('.'));

    let today = "/data/traffic?relativeDate=today&dateGroupings=hour&entityType=zone&metrics=ins";
    let before = rows(&venue, &token, today).await;
    assert_eq!((before.len(), before[0].get("sumouts")), (16 * 4, None));
    clock.advance(SignedDuration::from_mins(29));
    let after = rows(&venue, &token, today).await;
    let sum = |rows: &[Value]| rows.iter().map(|row| row["sumins"].as_i64().unwrap()).sum::<i64>();
    assert!(sum(&before) < sum(&after));
}

/// Bad windows fail with 500, filters are ignored, overlaps duplicate, empty hours are missing, and zones shift days.
#[tokio::test]
async fn windows_follow_the_rules() {
    let (venue, _) = start();
    let token = mint(&venue).await;
    let window = traffic("2026-04-30", "2026-05-03");
    for bad in
        [traffic("2026-05-02", "2026-05-01"), traffic("2027-05-02", "2027-05-03"), traffic("soon", "later")]
    {
        assert_eq!(get(&venue, &token, &bad).await.0, 500, "{bad}");
    }
    venue.change(|venue| venue.rules.max_days = Some(2));
    assert_eq!(get(&venue, &token, &window).await.0, 500);
    venue.change(|venue| venue.rules.max_days = Some(3));
    let filtered = format!("{window}&entityIds={}", venue.source_rows("zone")[1]["zoneId"].as_str().unwrap());
    assert_eq!(rows(&venue, &token, &filtered).await.len(), 3 * 24 * 4);
    venue.change(|venue| venue.rules.honours_filters = true);
    assert_eq!(rows(&venue, &token, &filtered).await.len(), 3 * 24);
    venue.change(|venue| venue.rules.doubles_seam = true);
    assert_eq!(rows(&venue, &token, &window).await.len(), (3 * 24 + 1) * 4);
    venue.change(|venue| {
        (venue.rules.doubles_seam, venue.rules.leaves_out_empty, venue.rules.counts_as_text) =
            (false, true, true);
    });
    let busy = rows(&venue, &token, &window).await;
    assert!(busy.len() <= 3 * 18 * 4 && busy[0]["sumins"].is_string(), "{} rows", busy.len());
    venue.change(|venue| {
        venue.rules.leaves_out_empty = false;
        venue.rules.zone = TimeZone::posix("MST7MDT,M3.2.0,M11.1.0").unwrap();
    });
    let local = rows(&venue, &token, &traffic("2026-05-01", "2026-05-02")).await;
    assert_eq!(local[0]["recordDate_hour_1"], "2026-05-01T06:00:00.000Z");
    venue.next_on("data", error_in_200());
    assert!(get(&venue, &token, &window).await.1["error"].is_string());
    venue.next_on("data", without_results());
    assert_eq!(get(&venue, &token, &window).await.1.get("results"), None);
}

#[tokio::test]
async fn a_late_upload_changes_one_past_hour() {
    let (venue, _) = start();
    let token = mint(&venue).await;
    let window = traffic("2026-05-01", "2026-05-02");
    let before: HashSet<String> = rows(&venue, &token, &window).await.iter().map(Value::to_string).collect();
    let hour: Timestamp = "2026-05-01T15:00:00Z".parse().unwrap();
    let id = venue.source_rows("zone")[0]["zoneId"].as_str().unwrap().to_string();
    venue.change(|venue| venue.correct(&id, hour, [1001, 999]));
    let after = rows(&venue, &token, &window).await;
    let changed: Vec<&Value> = after.iter().filter(|row| !before.contains(&row.to_string())).collect();
    assert_eq!((changed.len(), &changed[0]["sumins"]), (1, &json!(1001)));
}
