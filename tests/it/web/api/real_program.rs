//! The API of the real program, with a status page, a connector and a state database.

use std::fs;

use crate::processes::binary::{Running, watching};
use stand_ins::status_page::StatusPage;
use stand_ins::statuscake::{self, Sizes, StatusCake};
use stand_ins::{self, Clock};

use super::document::Checker;

const SIZES: Sizes = Sizes { tests: 3, history: 12, periods: 3, alerts: 4 };

/// The transition of the page and the run with its tables and rows; all responses match the description.
#[tokio::test]
async fn the_api_of_the_real_program_matches_what_happened() {
    let (page, cake) = (StatusPage::start(), StatusCake::start(7, SIZES, &Clock::system()));
    let folder = watching(&[]);
    let alpha = format!("name = \"Alpha / 1\"\nurl = \"{}\"\n", page.url());
    fs::write(folder.path().join("monitors/alpha.toml"), alpha).unwrap();
    fs::write(
        folder.path().join("monitors/cake.toml"),
        "name = \"Data\"\nkind = \"sync\"\nconnector = \"statuscake\"\nstale_after = \"2h\"\nseverity = \"minor\"\n",
    )
    .unwrap();
    let base = cake.base_url();
    let vars = [
        ("STATUSCAKE_API_KEY", statuscake::API_KEY),
        ("STATUSCAKE_BASE_URL", &*base),
        ("STATUSCAKE_EVERY", "1h"),
    ];
    let mut daemon = Running::start(folder.path(), &vars);
    let url = daemon.address();
    daemon.until("statuscake: complete");
    page.set_indicator("major", "Partial System Outage");
    daemon.until("Issues detected");

    let (client, mut checker) = (crate::http_client::client(), Checker::new());
    let mut ask = async |described: &str, asked: &str| -> serde_json::Value {
        let answer = client.get(format!("{url}{asked}")).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{asked}");
        let body = answer.text().await.unwrap();
        checker.answer(described, "application/json", &body);
        serde_json::from_str(&body).unwrap()
    };
    let status = ask("/api/v1/status", "/api/v1/status").await;
    assert_eq!((&status["mode"], &status["severity"]), (&"preview".into(), &"major".into()));
    assert_eq!(status["issues"][0]["description"], "Partial System Outage");
    ask("/api/v1/banner", "/api/v1/banner").await;
    ask("/api/v1/monitors", "/api/v1/monitors").await;
    ask("/api/v1/connectors", "/api/v1/connectors").await;
    let summary = ask("/api/v2/summary.json", "/api/v2/summary.json").await;
    assert_eq!(summary["status"]["indicator"], "major");
    let alpha = ask("/api/v1/monitors/{name}", "/api/v1/monitors/Alpha%20%2F%201").await;
    assert_eq!((&alpha["kind"], &alpha["severity"]), (&"page".into(), &"major".into()));
    let data = ask("/api/v1/monitors/{name}", "/api/v1/monitors/Data").await;
    assert_eq!((&data["kind"], &data["connector"]), (&"sync".into(), &"statuscake".into()));
    let transitions = ask("/api/v1/transitions", "/api/v1/transitions?monitor=Alpha+/+1").await;
    assert_eq!(
        (&transitions["transitions"][0]["from"], &transitions["transitions"][0]["to"]),
        (&"none".into(), &"major".into())
    );
    let connector = ask("/api/v1/connectors/{name}", "/api/v1/connectors/statuscake").await;
    let table = connector["tables"].as_array().unwrap().iter().find(|t| t["name"] == "uptime_test").unwrap();
    assert_eq!(table["rows"], cake.source_rows("uptime_test").len());
    assert_eq!(connector["every_seconds"], 3600);
    let runs = ask("/api/v1/runs", "/api/v1/runs?connector=statuscake").await;
    assert_eq!((&runs["runs"][0]["end"], &runs["runs"][0]["number"]), (&"complete".into(), &1.into()));
    let seen: u64 = runs["runs"][0]["tables"]["uptime_test"]["rows"]["seen"].as_u64().unwrap();
    assert_eq!(Some(seen), connector["last_run"]["rows_seen"]["uptime_test"].as_u64());
    daemon.signal("-TERM");
    assert_eq!(daemon.ended(), 0);
}
