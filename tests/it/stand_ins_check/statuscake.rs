//! The StatusCake API.

use std::collections::HashSet;

use jiff::SignedDuration;
use reqwest::Response;
use serde_json::{Value, json};

use stand_ins::limiter::Limiter;
use stand_ins::statuscake::{API_KEY, List, Metadata, NextLink, Sizes, StatusCake, throttled};
use stand_ins::{Clock, Reply};

use crate::http_client::client;

const SMALL: Sizes = Sizes { tests: 61, history: 260, periods: 12, alerts: 30 };

fn start() -> (StatusCake, Clock) {
    let clock = Clock::at("2026-05-02T09:10:00Z");
    (StatusCake::start(7, SMALL, &clock), clock)
}

async fn ask(url: &str) -> Response {
    client().get(url).bearer_auth(API_KEY).send().await.unwrap()
}

async fn get(cake: &StatusCake, path: &str) -> Value {
    ask(&(cake.base_url() + path)).await.json().await.unwrap()
}

async fn status(cake: &StatusCake, path: &str) -> u16 {
    ask(&(cake.base_url() + path)).await.status().as_u16()
}

/// Follows the links of a child list to its end, and checks that a page never exceeds the limit.
async fn walk(cake: &StatusCake, path: &str, limit: usize) -> Vec<Value> {
    let mut url = format!("{}{path}?limit={limit}", cake.base_url());
    let mut rows = Vec::new();
    loop {
        let body: Value = ask(&url).await.json().await.unwrap();
        let page = body["data"].as_array().unwrap();
        assert!(page.len() <= limit);
        rows.extend(page.iter().cloned());
        match body["links"]["next"].as_str() {
            Some(next) => url = next.to_string(),
            None => return rows,
        }
    }
}

/// With their count; invalid pages and limits are rejected.
#[tokio::test]
async fn tests_are_listed_in_numbered_pages() {
    let (cake, _) = start();
    let mut ids = Vec::new();
    for page in 1..=3 {
        let body = get(&cake, &format!("/uptime?page={page}")).await;
        assert_eq!(
            body["metadata"],
            json!({"page": page, "per_page": 25, "page_count": 3, "total_count": 61})
        );
        ids.extend(
            body["data"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_string()),
        );
    }
    assert_eq!(ids, cake.test_ids());
    assert_eq!(get(&cake, "/uptime?limit=100").await["data"], json!(cake.source_rows("uptime_test")));
    assert_eq!(get(&cake, "/uptime?page=4").await["data"], json!([]));
    for path in ["/uptime?limit=0", "/uptime?limit=101", "/uptime?page=0", "/uptime/6700001/history?before=x"]
    {
        assert_eq!(status(&cake, path).await, 400, "{path}");
    }
    assert_eq!(get(&cake, "/uptime/1").await["message"], "No uptime test found");
    let detail = get(&cake, "/uptime/6700001").await;
    assert_eq!(detail["data"], cake.source_rows("uptime_test_detail")[0]);
    assert_eq!(client().get(cake.base_url() + "/uptime").send().await.unwrap().status(), 401);
}

/// Whatever the limit, also where two rows share a second.
#[tokio::test]
async fn links_lead_to_every_child_row_once() {
    let (cake, _) = start();
    let id = &cake.test_ids()[4];
    for (name, table) in [
        ("history", "uptime_test_history"),
        ("periods", "uptime_test_period"),
        ("alerts", "uptime_test_alert"),
    ] {
        let all = cake.source_rows(table).into_iter().filter(|row| row["test_id"] == **id);
        let mut expected: Vec<Value> = all.collect();
        expected.iter_mut().for_each(|row| drop(row.as_object_mut().unwrap().remove("test_id")));
        for limit in [8, 25, 100] {
            assert_eq!(
                walk(&cake, &format!("/uptime/{id}/{name}"), limit).await,
                expected,
                "{name} by {limit}"
            );
        }
    }
    let history = walk(&cake, &format!("/uptime/{id}/history"), 100).await;
    let seconds: HashSet<&str> = history.iter().map(|row| row["created_at"].as_str().unwrap()).collect();
    assert!(seconds.len() < history.len() && history.iter().any(|row| row["location"].is_null()));

    cake.change(|account| account.rules.bounds_inclusive = true);
    assert!(walk(&cake, &format!("/uptime/{id}/history"), 25).await.len() > history.len());
    cake.change(|account| account.rules.page_cap = 10);
    assert_eq!(
        get(&cake, &format!("/uptime/{id}/history?limit=100")).await["data"].as_array().unwrap().len(),
        10
    );
}

/// Links may be wrong, metadata and columns missing, and ids of alerts of either kind.
#[tokio::test]
async fn responses_follow_the_rules() {
    let (cake, _) = start();
    let path = "/uptime/6700001/history";
    for next in [NextLink::NullAtEnd, NextLink::Itself, NextLink::On("http://elsewhere.test".into())] {
        cake.change(|account| account.rules.next = next.clone());
        let body = get(&cake, path).await;
        let link = body["links"]["next"].as_str().unwrap();
        match next {
            NextLink::Itself => assert_eq!(link, format!("{}{path}?limit=25", cake.base_url())),
            NextLink::On(origin) => assert!(link.starts_with(&origin), "{link}"),
            _ => assert_eq!(get(&cake, "/uptime/6700001/periods").await["links"]["next"], Value::Null),
        }
    }
    cake.change(|account| account.rules.metadata = Metadata::Missing);
    assert_eq!(get(&cake, "/uptime").await.get("metadata"), None);
    cake.change(|account| account.rules.metadata = Metadata::ZeroPages);
    assert_eq!(get(&cake, "/uptime").await["metadata"]["page_count"], 0);
    cake.change(|account| account.rules.uptime = false);
    assert_eq!(get(&cake, "/uptime").await["data"][0].get("uptime"), None);
    let alerts = get(&cake, "/uptime/6700001/alerts").await;
    assert_eq!((&alerts["data"][0]["id"], &alerts["data"][1]["id"]), (&json!("6700001"), &json!("6700001")));
    cake.change(|account| account.rules.own_alert_ids = true);
    let alerts = get(&cake, "/uptime/6700001/alerts").await;
    assert_ne!(alerts["data"][0]["id"], alerts["data"][1]["id"]);
}

/// And between syncs.
#[tokio::test]
async fn the_account_can_change_between_requests() {
    let (cake, clock) = start();
    let ids = cake.test_ids();
    let (gone, last) = (ids[0].clone(), ids[60].clone());
    cake.after(1, "GET /v1/uptime ", move |account| account.delete_test(&gone));
    cake.after(1, "GET /v1/uptime/", move |account| account.move_to_front(&last));
    assert_eq!(get(&cake, "/uptime").await["data"][0]["id"], json!(ids[0]));
    assert_eq!(status(&cake, &format!("/uptime/{}", ids[0])).await, 404);
    assert_eq!(get(&cake, "/uptime").await["data"][0]["id"], json!(ids[60]));

    clock.advance(SignedDuration::from_mins(5));
    let open = get(&cake, "/uptime/6700002/periods").await["data"][0].clone();
    assert_eq!(open["ended_at"], Value::Null);
    let added = cake.change(|account| {
        account.turn("6700002");
        account.set("6700002", "name", json!("New name"));
        account.add_result("6700002");
        account.add_row(
            "6700002",
            List::Alerts,
            json!({"id": "6700002", "status": "up", "status_code": 200}),
        );
        account.add_test()
    });
    let periods = get(&cake, "/uptime/6700002/periods").await;
    assert_eq!(periods["data"][1]["ended_at"], periods["data"][0]["created_at"]);
    assert!(periods["data"][1]["duration"].as_i64() > Some(0));
    assert_eq!(get(&cake, "/uptime/6700002").await["data"]["name"], "New name");
    let history = get(&cake, "/uptime/6700002/history?after=1777713060").await;
    assert_eq!(history["data"].as_array().unwrap().len(), 1);
    assert_eq!(cake.source_rows("uptime_test_history").len(), 61 * 260 + 1);
    assert_eq!(cake.test_ids().last(), Some(&added));
}

/// Rejections say in their headers when to retry.
#[tokio::test]
async fn rate_limits_follow_the_accounts_clock() {
    let (cake, clock) = start();
    cake.change(|account| account.rules.limits = vec![Limiter::new(5, 1), Limiter::new(8, 60)]);
    let mut statuses = Vec::new();
    for step in 0..12 {
        statuses.push(status(&cake, "/uptime").await);
        if step == 5 {
            clock.advance(SignedDuration::from_secs(1));
        }
    }
    assert_eq!(statuses, [200, 200, 200, 200, 200, 429, 200, 200, 200, 429, 429, 429]);
    let refused = ask(&(cake.base_url() + "/uptime")).await;
    assert_eq!(refused.headers()["x-ratelimit-reset"], "1");
    cake.change(|account| account.rules.limits.clear());
    cake.next(throttled(2));
    let refused = ask(&(cake.base_url() + "/uptime")).await;
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["x-ratelimit-reset"]),
        (429, &"2".parse().unwrap())
    );
    cake.next(Reply::too_many(None));
    assert!(!ask(&(cake.base_url() + "/uptime")).await.headers().contains_key("x-ratelimit-reset"));
}
