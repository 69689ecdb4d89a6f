//! Answers that prove nothing, for every engine: a page is healthy only if it says so.

use std::time::Duration;

use serde_json::json;
use stand_ins::Reply;
use stand_ins::engines::EnginePage;

use super::Bench;

/// Bodies with 200 that no engine takes for health.
fn bodies() -> Vec<(&'static str, Reply)> {
    let json = |value: serde_json::Value| Reply::json(&value);
    let text = |body: &str| Reply::text("application/json", body);
    let utf16 = |body: &str| {
        let bytes = [0xfe, 0xff].into_iter().chain(body.encode_utf16().flat_map(u16::to_be_bytes)).collect();
        Reply::bytes("application/json", bytes)
    };
    let deep = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
    vec![
        ("html", Reply::html()),
        ("empty", text("")),
        ("null", json(json!(null))),
        ("number", json(json!(5))),
        ("text", json(json!("operational"))),
        ("object", json(json!({}))),
        ("error", json(json!({ "message": "Forbidden" }))),
        ("lists of nulls", json(json!([null, null]))),
        ("list of lists", json(json!([[], [[]]]))),
        ("list of words", json(json!(["operational", "up", "ok"]))),
        ("list of empty objects", json(json!([{}, {}]))),
        ("truncated", Reply::usual().half()),
        ("cut off", Reply::usual().cut_off()),
        ("deep", text(&deep)),
        ("utf-16 html", utf16("<!doctype html><title>x</title>")),
        ("utf-16 object", utf16("{}")),
        ("xml", Reply::text("application/xml", "<rss><channel><title>x</title></channel></rss>")),
        ("xml bomb", Reply::text("application/xml", "<!DOCTYPE a [<!ENTITY x \"xx\">]><rss>&x;</rss>")),
        (
            "other words",
            json(
                json!({ "status": "sunspots", "indicator": "sunspots", "largestatus": "sunspots", "key": "EU45" }),
            ),
        ),
        (
            "wrong types",
            json(json!({ "status": { "indicator": 7, "health": [] }, "page": { "status": {}, "state": [] },
            "page_url": 1, "ongoing_incidents": "none", "data": 5, "components": "fine", "result": [], "summary": null })),
        ),
    ]
}

#[tokio::test]
async fn bodies_that_prove_nothing_are_unknown() {
    for engine in EnginePage::engines() {
        let bench = Bench::of(engine);
        for (what, reply) in bodies() {
            // A probe is content with any answer.
            if engine == "http" && what != "cut off" {
                continue;
            }
            bench.page.as_usual();
            bench.page.always_on("GET ", reply);
            let says = bench.says().await;
            assert!(says.starts_with("unknown"), "{engine} {what}: {says}");
        }
    }
}

#[tokio::test]
async fn refusals_are_unknown() {
    for engine in EnginePage::engines() {
        let bench = Bench::of(engine);
        for status in [400, 401, 403, 404, 410, 429, 500, 503] {
            bench.page.as_usual();
            bench.page.always_on("GET ", Reply::html().with_status(status));
            let want = if engine == "http" { "minor" } else { "unknown" };
            assert_eq!(bench.severity().await, want, "{engine} {status}");
        }
        bench.page.as_usual();
        bench.page.always_on("GET ", Reply::dropped());
        assert_eq!(bench.severity().await, "unknown", "{engine} dropped");
    }
}

#[tokio::test]
async fn a_redirect_to_the_root_is_unknown() {
    for engine in EnginePage::engines().filter(|engine| *engine != "http") {
        let bench = Bench::of(engine);
        bench.page.always_on("GET ", Reply::redirect(301, "/"));
        bench.page.always_on("GET / ", Reply::html());
        let says = bench.says().await;
        assert!(says.starts_with("unknown") && says.contains("127.0.0.1"), "{engine}: {says}");
    }
}

#[tokio::test]
async fn an_oversize_body_is_unknown() {
    for engine in EnginePage::engines().filter(|engine| *engine != "http") {
        let bench = Bench::of(engine);
        bench.page.always_on("GET ", Reply::text("application/json", &" ".repeat(9 << 20)));
        let says = bench.says().await;
        assert!(says.starts_with("unknown"), "{engine}: {says}");
    }
}

/// Also in UTF-16, and with a byte order mark.
#[tokio::test]
async fn a_byte_order_mark_changes_nothing() {
    for engine in EnginePage::engines().filter(|engine| *engine != "aws") {
        let bench = Bench::of(engine);
        bench.page.change(|server| server.honour_etags(false));
        bench.page.always_on("GET ", Reply::usual().bom());
        assert_eq!(bench.severity().await, "none", "{engine}: {}", bench.says().await);
    }
}

/// A second poll that is answered with 304 says the same.
#[tokio::test]
async fn an_unchanged_document_is_not_sent_twice() {
    use data_sources_monitor::testing::domain::monitoring::monitor::Remap;
    use data_sources_monitor::testing::poll::{PageDocuments, look};
    // These documents state the time, and so are never the same.
    let changing = [
        "azure-devops",
        "feed",
        "gatus",
        "google",
        "incidentio-proxy",
        "microsoft",
        "oci",
        "rootly",
        "slack",
        "statusio",
        "uptime-kuma",
    ];
    for engine in EnginePage::engines().filter(|engine| !changing.contains(engine) && *engine != "http") {
        let bench = Bench::of(engine);
        let mut monitor = bench.monitor.clone();
        let mut definition = (*monitor.engine).clone();
        definition.spacing = Duration::ZERO;
        monitor.engine = definition.into();
        let documents = PageDocuments::of(&monitor);
        for nth in 0..2 {
            let result = look(
                &super::CLIENT,
                &documents,
                &monitor,
                &Remap::default(),
                super::TIMEOUT,
                tokio::time::Instant::now(),
            )
            .await;
            assert_eq!(result.not_modified, nth == 1, "{engine}");
            assert_eq!(result.outcome.unwrap().severity.as_str(), "none", "{engine}");
        }
    }
}

/// Lists that are empty: only those of incidents say that nothing is wrong.
#[tokio::test]
async fn a_page_without_components_is_only_healthy_by_another_word() {
    let by_components = [
        "cachet",
        "freshstatus",
        "gatus",
        "heroku",
        "incidentio-proxy",
        "microsoft",
        "upptime",
        "uptime-kuma",
    ];
    for engine in EnginePage::engines() {
        let bench = Bench::of(engine);
        // Consumer services of Microsoft are a list; the other posts are not.
        let bench = if engine == "microsoft" { bench.option("feed", "m365Consumer") } else { bench };
        bench.page(|model| model.components.clear());
        let want = if by_components.contains(&engine) { "unknown" } else { "none" };
        assert_eq!(bench.severity().await, want, "{engine}");
        let affected_only = ["aws", "feed", "slack"].contains(&engine);
        let filtered = bench.components(&["Query engine"]);
        assert_eq!(filtered.severity().await, if affected_only { "none" } else { "unknown" }, "{engine}");
    }
}
