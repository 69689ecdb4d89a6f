//! The traps of pages that teams run themselves, and lists of any size.

use serde_json::{Value, json};
use stand_ins::Reply;
use stand_ins::engines::{Component, EnginePage, Level};

use super::{Bench, broken};

#[tokio::test]
async fn a_check_without_results_is_unknown() {
    assert!(Bench::of("gatus").quirk("no_results").says().await.starts_with("unknown"));
    assert!(Bench::of("uptime-kuma").quirk("bare_numbers").says().await.starts_with("unknown"));
}

#[tokio::test]
async fn everything_down_is_critical() {
    for engine in ["gatus", "upptime", "uptime-kuma"] {
        let bench = Bench::of(engine);
        bench.page(|model| model.components.iter_mut().for_each(|one| one.level = Level::Outage));
        assert_eq!(bench.severity().await, "critical", "{engine}");
    }
}

#[tokio::test]
async fn both_versions_of_uptime_kuma_are_read() {
    for quirk in ["", "first_version"] {
        let bench = broken("uptime-kuma", Level::Partial).quirk(quirk).with_incidents();
        assert_eq!(bench.says().await, "major: Query engine: partial outage", "{quirk}");
        let open = bench.outcome().await.unwrap().open.unwrap();
        assert_eq!(open[0].title, "Trouble 11", "{quirk}");
        assert_eq!(
            Bench::of("uptime-kuma").quirk(quirk).with_incidents().severity().await,
            "none",
            "{quirk}"
        );
    }
}

#[tokio::test]
async fn groups_are_selectable() {
    for engine in ["cachet", "gatus", "uptime-kuma"] {
        let sick = broken(engine, Level::Outage).components(&["EU region"]);
        assert_ne!(sick.severity().await, "none", "{engine}");
        assert_eq!(
            broken(engine, Level::Outage).components(&["US region"]).severity().await,
            "none",
            "{engine}"
        );
    }
}

/// A broken element makes itself unknown, not the page; one that counts is not healthy.
#[tokio::test]
async fn broken_elements_do_not_hide_the_others() {
    let elements = |extra: Value| {
        let well =
            json!({ "key": "a", "name": "Query engine", "group": "EU", "results": [{ "success": true }] });
        Reply::json(&json!([well, extra]))
    };
    for extra in [
        json!(null),
        json!(7),
        json!([]),
        json!({ "key": "b", "name": null, "results": 7 }),
        json!({ "key": "b", "name": "Storage" }),
    ] {
        let bench = Bench::of("gatus").components(&["Query engine"]);
        bench.page.always_on("GET ", elements(extra.clone()));
        assert_eq!(bench.severity().await, "none", "{extra}");
        let whole = Bench::of("gatus");
        whole.page.always_on("GET ", elements(extra.clone()));
        assert_eq!(whole.severity().await, "unknown", "{extra}");
    }
}

/// Of pages that are judged by their incidents, a broken entry may be one.
#[tokio::test]
async fn broken_incidents_are_not_health() {
    for engine in ["aws", "google"] {
        for extra in [json!(null), json!(7), json!({ "begin": "x" }), json!({ "status": [] })] {
            let bench = Bench::of(engine);
            let over =
                json!({ "begin": "2026-01-01T00:00:00Z", "end": "2026-01-01T00:00:00Z", "status": "0" });
            bench.page.always_on("GET ", Reply::json(&json!([over, extra])));
            assert_eq!(bench.severity().await, "unknown", "{engine} {extra}");
        }
    }
}

#[tokio::test]
async fn five_thousand_components_with_one_name_are_read() {
    let many = |last: bool| -> Value {
        let one = |nth: u32| json!({ "key": format!("k{nth}"), "name": "API", "group": format!("G{nth}"), "results": [{ "success": nth != 4_999 || last }] });
        (0..5_000).map(one).collect()
    };
    let bench = Bench::of("gatus").components(&["API"]);
    bench.page.always_on("GET ", Reply::json(&many(true)));
    assert_eq!(bench.says().await, "none: Operational");
    bench.page.always_on("GET ", Reply::json(&many(false)));
    assert_eq!(bench.says().await, "major: G4999 - API: partial outage");
}

#[tokio::test]
async fn five_thousand_components_of_every_engine_are_read() {
    let without = ["http", "hyperping", "microsoft", "oci", "openstatus", "rootly", "salesforce"];
    for engine in EnginePage::engines().filter(|engine| !without.contains(engine)) {
        let bench = Bench::of(engine).components(&[if engine == "aws" { "api-*" } else { "API" }]);
        bench.page(|model| {
            let one = model.components[0].clone();
            let named = |id| Component { id, name: "API".into(), ..one.clone() };
            model.components = (5_000..10_000).map(named).collect();
        });
        assert_eq!(bench.severity().await, "none", "{engine}: {}", bench.says().await);
        bench.page(|model| model.break_component(9_999, Level::Outage));
        let severity = bench.severity().await;
        assert!(["minor", "major", "critical"].contains(&severity.as_str()), "{engine}: {severity}");
    }
}
