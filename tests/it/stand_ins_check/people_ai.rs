//! The People.ai API.

use jiff::SignedDuration;
use reqwest::Response;
use serde_json::{Value, json};

use stand_ins::Clock;
use stand_ins::limiter::Limiter;
use stand_ins::people_ai::{API_KEY, API_SECRET, LISTS, PeopleAi, TOKEN, failure};

use crate::http_client::client;

const EVERYTHING: &str = "from=2025-01-01&to=2026-05-02";

fn start() -> (PeopleAi, Clock) {
    let clock = Clock::at("2026-05-02T12:00:00Z");
    (PeopleAi::start(7, 120, 365, &clock), clock)
}

async fn ask_token(people: &PeopleAi, secret: &str) -> Response {
    let form = [("grant_type", "client_credentials"), ("client_id", API_KEY), ("client_secret", secret)];
    client().post(people.token_url()).form(&form).send().await.unwrap()
}

async fn mint(people: &PeopleAi) -> String {
    let body: Value = ask_token(people, API_SECRET).await.json().await.unwrap();
    body["access_token"].as_str().unwrap().to_string()
}

async fn get(people: &PeopleAi, token: &str, tail: &str) -> (u16, Value) {
    let url = format!("{}/v0/public/activities{tail}", people.base_url());
    let answer = client().get(url).bearer_auth(token).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn total(people: &PeopleAi, token: &str, query: &str) -> usize {
    let (status, body) = get(people, token, &format!("?limit=100000&{query}")).await;
    assert_eq!(status, 200, "{query}: {body}");
    let rows = body["data"].as_array().unwrap().len();
    assert_eq!(body["meta"]["total"], rows);
    rows
}

/// With its remaining lifetime; for forms and the right secret only.
#[tokio::test]
async fn a_token_is_the_same_until_it_expires() {
    let (people, clock) = start();
    let first: Value = ask_token(&people, API_SECRET).await.json().await.unwrap();
    assert_eq!(
        (&first["expires_in"], &first["expires_at"]),
        (&json!(7200), &json!("2026-05-02T14:00:00.000000"))
    );
    clock.advance(SignedDuration::from_secs(7199));
    let again: Value = ask_token(&people, API_SECRET).await.json().await.unwrap();
    assert_eq!((&again["access_token"], &again["expires_in"]), (&first["access_token"], &json!(1)));
    clock.advance(SignedDuration::from_secs(1));
    let (status, body) = get(&people, first["access_token"].as_str().unwrap(), "").await;
    assert_eq!(
        (status, &body["code"], &body["timestamp"]),
        (401, &json!(401), &json!("02-05-2026 14:00:00"))
    );
    let token = mint(&people).await;
    assert_eq!(get(&people, &token, "").await.0, 200);
    people.invalidate_tokens();
    assert_eq!(get(&people, &token, "").await.0, 401);
    assert_eq!(ask_token(&people, "guess").await.status(), 401);
    let sent_as_json = client().post(people.token_url()).json(&json!({"grant_type": "client_credentials"}));
    assert_eq!(sent_as_json.send().await.unwrap().status(), 400);
    assert_eq!(people.requests_on(TOKEN).len(), 5);
}

/// Without a range the last thirty days; by either date; a range that is too long is rejected.
#[tokio::test]
async fn ranges_filter_rows_by_date() {
    let (people, clock) = start();
    let token = mint(&people).await;
    assert_eq!(total(&people, &token, EVERYTHING).await, 120);
    let default = total(&people, &token, "").await;
    assert!((8..=10).contains(&default), "{default} of the last thirty days");
    assert_eq!(total(&people, &token, "last-n-days=30").await, default);
    assert!(total(&people, &token, "last-n-days=60").await > default);
    assert_eq!(total(&people, &token, "ingested_from=2025-01-01").await, default, "a typo is ignored");
    let ingested = "ingested-from=2025-01-01&ingested-to=2026-05-02";
    assert_eq!(total(&people, &token, ingested).await, default);
    people.change(|org| org.rules.ingested_lifts_default = true);
    assert_eq!(total(&people, &token, ingested).await, 120);

    clock.advance(SignedDuration::from_hours(48));
    people.invalidate_tokens();
    let token = mint(&people).await;
    people.change(|org| org.touch(3));
    assert_eq!(total(&people, &token, &format!("{EVERYTHING}&ingested-from=2026-05-04")).await, 1);
    let inclusive = total(&people, &token, "from=2025-06-01&to=2025-06-29").await;
    people.change(|org| org.rules.to_inclusive = false);
    assert_eq!(total(&people, &token, "from=2025-06-01&to=2025-06-30").await, inclusive);
    let wrong = [
        "from=2024-01-01&to=2026-01-02",
        "from=soon",
        "limit=0",
        "limit=100001",
        "offset=-1",
        "from=2026-02-01&to=2026-01-01",
    ];
    for query in wrong {
        assert_eq!(get(&people, &token, &format!("?{query}")).await.0, 400, "{query}");
    }
    assert_eq!(
        total(&people, &token, "from=2024-01-02&to=2026-01-02").await,
        total(&people, &token, "from=2025-01-01&to=2026-01-02").await
    );
}

/// Of both tables, by offset; past the end there is an empty page, and page sizes may be capped.
#[tokio::test]
async fn pages_contain_every_row_once() {
    let (people, _) = start();
    let token = mint(&people).await;
    for (tail, table) in [("", "activity"), ("/participants", "participants")] {
        let mut rows = Vec::new();
        loop {
            let (_, body) =
                get(&people, &token, &format!("{tail}?{EVERYTHING}&limit=50&offset={}", rows.len())).await;
            let page = body["data"].as_array().unwrap();
            if page.is_empty() {
                break;
            }
            rows.extend(page.iter().cloned());
        }
        assert_eq!(rows, people.source_rows(table));
    }
    people.change(|org| org.rules.page_cap = 7);
    let (_, body) = get(&people, &token, &format!("?{EVERYTHING}&limit=50")).await;
    assert_eq!((body["data"].as_array().unwrap().len(), &body["meta"]["limit"]), (7, &json!(7)));
    let participants = people.source_rows("participants");
    assert!(
        participants
            .iter()
            .any(|row| row.get("email") == Some(&Value::Null) && row["phone_number"].is_string())
    );
    assert!(participants.iter().any(|row| row.get("email").is_none()));
    assert!(people.source_rows("activity")[0]["user_id"].as_i64() > Some(1 << 53));
    people.assert_well_behaved();
}

/// Types have their own lists, and a uid overrides everything.
#[tokio::test]
async fn each_filter_selects_rows() {
    let (people, _) = start();
    let token = mint(&people).await;
    let rows = people.source_rows("activity");
    let count = |field: &str, value: Value| rows.iter().filter(|row| row[field] == value).count();
    for (query, field, value) in [
        (format!("account-id={}", rows[0]["account_id"]), "account_id", rows[0]["account_id"].clone()),
        ("opportunity-id=99003".to_string(), "opportunity_id", json!(99_003)),
        ("internal-external=internal".to_string(), "external", json!(false)),
        ("internal-external=external".to_string(), "external", json!(true)),
    ] {
        assert_eq!(
            total(&people, &token, &format!("{EVERYTHING}&{query}")).await,
            count(field, value),
            "{query}"
        );
    }
    for kind in ["email", "call", "meeting"] {
        let (_, body) = get(&people, &token, &format!("/{kind}?{EVERYTHING}")).await;
        assert_eq!(body["meta"]["total"], count("activity_type", json!(kind.to_uppercase())));
    }
    let uid = rows[5]["uid"].as_str().unwrap();
    assert_eq!(total(&people, &token, &format!("uid={uid}")).await, 1);
    assert_eq!(total(&people, &token, &format!("{EVERYTHING}&time-zone=UTC")).await, 120);
}

/// The organisation changes while it is read: rows move up and down, and the total with them.
#[tokio::test]
async fn rows_move_between_pages() {
    let (people, _) = start();
    let token = mint(&people).await;
    let page = async |offset: usize| {
        let (_, body) = get(&people, &token, &format!("?{EVERYTHING}&limit=10&offset={offset}")).await;
        (body["data"][0]["uid"].clone(), body["meta"]["total"].as_i64().unwrap())
    };
    let uid = |index: usize| people.source_rows("activity")[index]["uid"].clone();
    let (nine, eleven) = (uid(9), uid(11));
    people.after(1, LISTS, |org| {
        org.add_in_front();
    });
    people.after(2, LISTS, |org| {
        org.purge(0);
        org.purge(1);
    });
    assert_eq!(page(0).await.1, 120);
    assert_eq!(page(10).await, (nine, 121));
    assert_eq!(page(10).await, (eleven, 119));
    people.change(|org| {
        org.mark(5, true);
        org.set(6, "opportunity_stage_id", Some(json!("late")));
        org.set(7, "uid", None);
    });
    assert_eq!(total(&people, &token, EVERYTHING).await, 118);
    assert_eq!(total(&people, &token, &format!("{EVERYTHING}&include-deleted=true")).await, 119);
    let rows = people.source_rows("activity");
    assert!(rows.iter().any(|row| row["opportunity_stage_id"] == "late"));
    assert_eq!(rows.iter().filter(|row| row.get("uid").is_none()).count(), 1);
}

/// Anything but a read is reported.
#[tokio::test]
async fn responses_follow_the_rules() {
    let (people, clock) = start();
    let token = mint(&people).await;
    people.change(|org| {
        (org.rules.bare_array, org.rules.stage_as_text, org.rules.hides_uid) = (true, true, true);
    });
    let (_, bare) = get(&people, &token, &format!("?{EVERYTHING}")).await;
    assert!(bare[0]["opportunity_stage_id"].is_string());
    let (_, bare) = get(&people, &token, &format!("/participants?{EVERYTHING}")).await;
    assert!(bare[0].get("uid").is_none() && bare[0]["activity_uid"].is_string());
    people.change(|org| {
        org.rules.bare_array = false;
        org.rules.notice = Some("v0 goes away".into());
        org.rules.limiter = Some(Limiter::new(5, 1));
        org.rules.token_life = SignedDuration::from_secs(5);
    });
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(get(&people, &token, "").await.0);
    }
    assert_eq!(statuses, [200, 200, 200, 200, 200, 429]);
    clock.advance(SignedDuration::from_secs(1));
    assert_eq!(get(&people, &token, "").await.1["meta"]["message"], "v0 goes away");
    people.next_on(LISTS, failure(422, "No", "/v0/public/activities", clock.now()));
    assert_eq!(get(&people, &token, "").await.0, 422);

    people.assert_well_behaved();
    let put = client().put(people.base_url() + "/v0/public/activities/email").bearer_auth(&token);
    assert_eq!(put.send().await.unwrap().status(), 404);
    let judged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| people.assert_well_behaved()));
    assert!(judged.is_err());
}
