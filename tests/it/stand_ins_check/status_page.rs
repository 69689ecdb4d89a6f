//! The status page.

use jiff::SignedDuration;
use serde_json::{Value, json};

use stand_ins::status_page::{Flavour, INDICATORS, StatusPage, inactive};
use stand_ins::{Clock, Reply};

use crate::http_client::client;

async fn read(page: &StatusPage, path: &str) -> Value {
    let answer = client().get(page.url() + "/api/v2" + path).send().await.unwrap();
    answer.json().await.unwrap()
}

async fn status_of(page: &StatusPage, path: &str) -> u16 {
    client().get(page.url() + "/api/v2" + path).send().await.unwrap().status().as_u16()
}

/// Undocumented ones too.
#[tokio::test]
async fn each_indicator_has_the_documented_shape() {
    let clock = Clock::at("2026-05-02T08:14:33.482Z");
    let page = StatusPage::start_at(&clock);
    clock.advance(SignedDuration::from_hours(1));
    page.set_name("Snowflake");
    for (indicator, description) in INDICATORS.into_iter().chain([("purple", "Unheard of")]) {
        page.set_indicator(indicator, description);
        let body = read(&page, "/status.json").await;
        assert_eq!(body["status"], json!({"indicator": indicator, "description": description}));
        assert_eq!(
            (&body["page"]["name"], body["page"]["url"].as_str()),
            (&json!("Snowflake"), Some(&*page.url()))
        );
        assert_eq!(body["page"]["updated_at"], "2026-05-02T09:14:33.482Z");
    }
    page.set_indicator_value(Value::Null, "");
    assert_eq!(read(&page, "/status.json").await["status"]["indicator"], Value::Null);
    page.set_offset_hours(-7);
    page.recover();
    let body = read(&page, "/status.json").await;
    assert_eq!(body["page"]["updated_at"], "2026-05-02T02:14:33.482-07:00");
}

/// A changed one does not, nor one without ETags.
#[tokio::test]
async fn an_unchanged_page_answers_304_to_its_etag() {
    let page = StatusPage::start();
    let url = page.url() + "/api/v2/status.json";
    let first = client().get(&url).send().await.unwrap();
    let etag = first.headers()["etag"].to_str().unwrap().to_string();
    assert!(etag.starts_with("W/\"") && etag.len() == 36, "{etag}");
    let ask = async || client().get(&url).header("if-none-match", &etag).send().await.unwrap();
    assert_eq!(ask().await.status(), 304);
    page.set_indicator("major", "Partial System Outage");
    assert_eq!(ask().await.status(), 200);
    page.honour_etags(false);
    assert!(!ask().await.headers().contains_key("etag"));
    assert_eq!(page.answered(304), 1);
}

/// In the summary and alone, as documented.
#[tokio::test]
async fn components_incidents_and_maintenances_are_listed() {
    let page = StatusPage::start();
    let region = page.add_group("EU region");
    let engine = page.add_to_group(&region, "Query engine", "operational");
    page.set_component(&engine, "degraded_performance");
    let gone = page.add_component("Old", "operational");
    page.change(|page| page.remove_component(&gone));
    let slow = page.open_incident("Slow queries", "minor", &[&engine]);
    let over = page.open_incident("Login failed", "major", &[]);
    page.update_incident(&over, "monitoring", "Better.");
    page.update_incident(&over, "resolved", "Done.");
    let work = page.add_maintenance("Storage upgrade", "scheduled");
    page.add_maintenance("Network upgrade", "in_progress");

    let summary = read(&page, "/summary.json").await;
    assert_eq!(summary["components"][0]["components"], json!([engine]));
    assert_eq!(summary["components"][1]["group_id"], json!(region));
    assert_eq!(summary["components"][1]["status"], "degraded_performance");
    assert_eq!(summary["incidents"][0]["id"], json!(slow));
    assert_eq!(summary["incidents"][0]["components"][0]["name"], "Query engine");
    assert_eq!(summary["incidents"].as_array().unwrap().len(), 1);
    assert_eq!(summary["scheduled_maintenances"].as_array().unwrap().len(), 2);
    assert_eq!(read(&page, "/components.json").await["components"], summary["components"]);
    assert_eq!(read(&page, "/incidents/unresolved.json").await["incidents"], summary["incidents"]);
    let all = read(&page, "/incidents.json").await;
    assert_eq!(all["incidents"][0]["incident_updates"].as_array().unwrap().len(), 3);
    assert_ne!(all["incidents"][0]["resolved_at"], Value::Null);
    let upcoming = read(&page, "/scheduled-maintenances/upcoming.json").await;
    assert_eq!(upcoming["scheduled_maintenances"][0]["id"], json!(work));
    let active = read(&page, "/scheduled-maintenances/active.json").await;
    assert_eq!(active["scheduled_maintenances"][0]["name"], "Network upgrade");
    page.update_incident(&work, "completed", "Done.");
    let every = read(&page, "/scheduled-maintenances.json").await;
    assert_eq!(every["scheduled_maintenances"][1]["status"], "completed");
}

/// Compatible servers leave out what theirs do, and servers that are no status page answer as those do.
#[tokio::test]
async fn other_flavours_differ_as_observed() {
    let page = StatusPage::start();
    assert_eq!(status_of(&page, "/definitely-not-here.json").await, 404);
    page.set_flavour(Flavour::IncidentIo);
    let summary = read(&page, "/summary.json").await;
    assert_eq!((summary.get("incidents"), summary["page"].get("time_zone")), (None, None));
    assert_eq!(summary["page"]["id"].as_str().unwrap().len(), 26);
    assert_eq!(status_of(&page, "/incidents/unresolved.json").await, 404);
    page.open_incident("Slow", "minor", &[]);
    assert_eq!(read(&page, "/summary.json").await["incidents"].as_array().unwrap().len(), 1);
    page.set_flavour(Flavour::Bare);
    let bare = read(&page, "/status.json").await;
    assert_eq!(bare["page"].as_object().unwrap().len(), 1);
    assert_eq!(status_of(&page, "/components.json").await, 404);
    page.set_flavour(Flavour::CatchAll);
    assert_eq!(status_of(&page, "/definitely-not-here.json").await, 200);
    page.next(inactive());
    assert_eq!(status_of(&page, "/status.json").await, 401);
    page.next(Reply::redirect(301, "https://elsewhere.test/"));
    assert_eq!(status_of(&page, "/status.json").await, 301);
}
