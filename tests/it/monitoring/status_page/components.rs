//! Components and incidents of a status page.

use data_sources_monitor::testing::domain::monitoring::observation::{Link, Unknown};
use serde_json::json;

use super::Poller;
use stand_ins::status_page::{Flavour, StatusPage};
use stand_ins::{Clock, Reply};

/// Two regions with the same services, and a website outside them.
fn regions(eu_query: &str, eu_storage: &str, us_query: &str, website: &str) -> StatusPage {
    let page = StatusPage::start();
    // The indicator of the page differs and must never appear.
    page.set_indicator("critical", "Major Service Outage");
    let (eu, us) = (page.add_group("EU region"), page.add_group("US region"));
    page.add_to_group(&eu, "Query engine", eu_query);
    page.add_to_group(&eu, "Storage", eu_storage);
    page.add_to_group(&us, "Query engine", us_query);
    page.add_component("Website", website);
    page
}

const FINE: &str = "operational";

/// Worst first; groups count through their components.
#[tokio::test]
async fn the_severity_is_that_of_the_worst_matching_component() {
    let page = regions("degraded_performance", "major_outage", "partial_outage", "under_maintenance");
    for (take, ignore, want) in [
        (&["Website"][..], &[][..], "maintenance: Website: under maintenance"),
        (&["storage"], &[], "critical: Storage: major outage"),
        (&["EU region - Q*"], &[], "minor: EU region - Query engine: degraded performance"),
        (
            &["EU region"],
            &[],
            "critical: Storage: major outage, EU region - Query engine: degraded performance",
        ),
        (&["EU region"], &["Storage"], "minor: EU region - Query engine: degraded performance"),
        (
            &["US*", "Website"],
            &[],
            "major: US region - Query engine: partial outage, Website: under maintenance",
        ),
        (&[], &["* region"], "maintenance: Website: under maintenance"),
    ] {
        assert_eq!(Poller::of_components(&page, take, ignore).says().await, want, "{take:?} {ignore:?}");
    }
    assert_eq!(page.requests_on("GET /api/v2/components.json").len(), page.requests().len());
}

#[tokio::test]
async fn each_component_state_has_its_severity() {
    let page = StatusPage::start();
    let id = page.add_component("API", FINE);
    let mut poller = Poller::of_components(&page, &["API"], &[]);
    for (state, want) in [
        ("operational", "none: Operational"),
        ("degraded_performance", "minor: API: degraded performance"),
        ("partial_outage", "major: API: partial outage"),
        ("major_outage", "critical: API: major outage"),
        ("full_outage", "critical: API: full outage"),
        ("under_maintenance", "maintenance: API: under maintenance"),
        ("Operational", "none: Operational"),
        ("PARTIAL-OUTAGE", "major: API: partial outage"),
        ("on_fire", "unknown: unknown indicator `API: on_fire`"),
        ("", "unknown: unknown indicator `API: `"),
    ] {
        page.set_component(&id, state);
        assert_eq!(poller.says().await, want);
    }
}

/// Never the severity of the whole page; a known problem beside it is still reported.
#[tokio::test]
async fn a_pattern_without_a_match_is_unknown() {
    let page = regions(FINE, FINE, "partial_outage", FINE);
    let unknown = |take, ignore| {
        let mut poller = Poller::of_components(&page, take, ignore);
        async move { poller.unknown().await }
    };
    let nothing = |pattern: &str| Unknown::NoComponent(pattern.into());
    assert_eq!(unknown(&["Mail"], &[]).await, nothing("Mail"));
    assert_eq!(unknown(&["Website", "Mail"], &[]).await, nothing("Mail"));
    assert_eq!(unknown(&["Website"], &["Web*"]).await, nothing("Website"));
    assert_eq!(unknown(&[], &["*"]).await, nothing("*"));

    let reading = Poller::of_components(&page, &["US region", "Mail"], &["Fax"]).reading().await;
    assert_eq!(reading.description, "Query engine: partial outage".replace("Query", "US region - Query"));
    assert_eq!(reading.partial, Some(nothing("Mail")));
    assert_eq!(reading.notes, ["no component matches `Mail`", "no component matches `Fax` in `ignore`"]);
}

/// It does not hide a known problem either.
#[tokio::test]
async fn an_undocumented_component_state_is_unknown() {
    let page = regions("on_fire", FINE, FINE, "degraded_performance");
    let mut poller = Poller::of_components(&page, &["EU*"], &[]);
    let odd = Unknown::UnknownIndicator("EU region - Query engine: on_fire".into());
    assert_eq!(poller.unknown().await, odd);
    let reading = Poller::of_components(&page, &["*"], &[]).reading().await;
    assert_eq!((reading.description.as_str(), reading.partial), ("Website: degraded performance", Some(odd)));
}

#[tokio::test]
async fn a_page_without_components_is_unknown_to_a_component_monitor() {
    let page = StatusPage::start();
    let mut poller = Poller::of_components(&page, &["API"], &[]);
    assert_eq!(poller.unknown().await, Unknown::NoComponent("API".into()));
    assert_eq!(Poller::of_components(&page, &[], &["API"]).unknown().await, Unknown::NoComponent("*".into()));
    for body in [json!({}), json!({"components": null}), json!({"components": {"name": "API"}}), json!([])] {
        page.next(Reply::json(&body));
        assert_eq!(poller.unknown().await, Unknown::NoIndicator, "{body}");
    }
    page.set_flavour(Flavour::Bare);
    assert_eq!(poller.unknown().await, Unknown::HttpStatus(404));
}

/// Without a name or id they still count; duplicates are reported once.
#[tokio::test]
async fn malformed_components_are_skipped() {
    let page = StatusPage::start();
    let out = "partial_outage";
    page.next(Reply::json(&json!({"components": [null, 5, "API", ["API"], {"group": true, "name": "Empty"},
        {"status": out}, {"name": "Twin", "status": out, "group": null}, {"name": "Twin", "status": out},
        {"name": "Lost", "status": out, "group_id": "gone"}, {"name": 5, "status": "operational"}]})));
    assert_eq!(
        Poller::of_components(&page, &["*"], &[]).says().await,
        "major: Unnamed component: partial outage, Twin: partial outage, Lost: partial outage"
    );
    let many = vec![json!({"name": "API", "status": "operational"}); 20_001];
    page.next(Reply::json(&json!({"components": many})));
    let told = Poller::of_components(&page, &["*"], &[]).unknown().await.to_string();
    assert!(told.starts_with("not JSON (lists of more than"), "{told}");
}

/// A component that does not count neither hides nor joins one that does.
#[tokio::test]
async fn each_component_is_remapped_separately() {
    let page = regions(FINE, "degraded_performance", FINE, "under_maintenance");
    let all = || Poller::of_components(&page, &["*"], &[]);
    assert_eq!(all().remapping("maintenance", "none").says().await, "minor: Storage: degraded performance");
    assert_eq!(all().remapping("minor", "none").says().await, "maintenance: Website: under maintenance");
    assert_eq!(
        all().remapping("minor", "none").remapping("maintenance", "none").says().await,
        "none: Storage: degraded performance, Website: under maintenance"
    );
}

/// Of equal ones the newest; its link is used too.
#[tokio::test]
async fn the_worst_open_incident_is_the_description() {
    let clock = Clock::at("2026-05-02T09:00:00Z");
    let page = StatusPage::start_at(&clock);
    page.set_indicator("minor", "Partially Degraded Service");
    let mut poller = Poller::of(&page).with_incidents();
    assert_eq!(poller.says().await, "minor: Partially Degraded Service");
    page.add_maintenance("Announced only", "scheduled");
    assert_eq!(poller.says().await, "minor: Partially Degraded Service");
    page.add_maintenance("Storage upgrade", "in_progress");
    assert_eq!(poller.says().await, "minor: Partially Degraded Service");
    page.open_incident("For your information", "none", &[]);
    assert_eq!(poller.says().await, "minor: Partially Degraded Service");
    let slow = page.open_incident("Slow queries in EU", "minor", &[]);
    assert_eq!(poller.says().await, "minor: Slow queries in EU");
    let outage = page.open_incident("No sign-in", "major", &[]);
    clock.advance(jiff::SignedDuration::from_mins(1));
    page.open_incident("Late mails", "minor", &[]);
    let reading = poller.reading().await;
    assert_eq!((reading.severity.as_str(), reading.description.as_str()), ("major", "No sign-in"));
    let link = Link { url: format!("https://stspg.test/{outage}"), label: "Incident".into() };
    assert_eq!(reading.link, Some(link));
    page.update_incident(&outage, "resolved", "Over.");
    assert_eq!(poller.says().await, "minor: Late mails");
    page.update_incident(&slow, "monitoring", "Better.");
    assert_eq!(poller.says().await, "minor: Late mails");
    assert_eq!(page.requests_on("GET /api/v2/summary.json").len(), page.requests().len());
}

/// It hides no incident that is open beside it.
#[tokio::test]
async fn maintenance_describes_only_the_severity_maintenance() {
    let page = StatusPage::start();
    page.set_indicator("maintenance", "Service Under Maintenance");
    let upgrade = page.add_maintenance("Storage upgrade", "verifying");
    let reading = Poller::of(&page).with_incidents().reading().await;
    assert_eq!((reading.severity.as_str(), reading.description.as_str()), ("maintenance", "Storage upgrade"));
    let link = Link { url: format!("https://stspg.test/{upgrade}"), label: "Maintenance".into() };
    assert_eq!(reading.link, Some(link));

    page.set_indicator("minor", "Service Under Maintenance");
    assert_eq!(Poller::of(&page).with_incidents().says().await, "minor: Service Under Maintenance");
    let mut remapped = Poller::of(&page).with_incidents().remapping("minor", "maintenance");
    assert_eq!(remapped.says().await, "maintenance: Storage upgrade");

    page.set_indicator("maintenance", "Service Under Maintenance");
    let slow = page.open_incident("Slow queries", "critical", &[]);
    assert_eq!(Poller::of(&page).with_incidents().says().await, "critical: Slow queries");
    let mut remapped = Poller::of(&page).with_incidents().remapping("maintenance", "none");
    assert_eq!(remapped.says().await, "critical: Slow queries");
    page.recover();
    assert_eq!(Poller::of(&page).with_incidents().says().await, "critical: Slow queries");
    page.update_incident(&slow, "resolved", "Over.");
    assert_eq!(Poller::of(&page).with_incidents().says().await, "none: All Systems Operational");
}

/// An unreadable summary costs the texts only; when the network fails there is no second request.
#[tokio::test]
async fn a_severity_stands_without_the_summary() {
    let page = StatusPage::start();
    page.set_indicator("major", "Partial System Outage");
    let mut poller = Poller::of(&page).with_incidents();
    for status in [404, 500, 502] {
        page.next_on("summary", Reply::status(status));
        let reading = poller.reading().await;
        assert_eq!(
            (reading.severity.as_str(), reading.description.as_str()),
            ("major", "Partial System Outage")
        );
        assert_eq!(reading.notes, [format!("incidents could not be read: HTTP {status}")]);
    }
    page.next_on("summary", Reply::too_many(Some(9)));
    page.next_on("summary", Reply::dropped());
    let before = page.requests_on("status.json").len();
    assert_eq!(poller.unknown().await, Unknown::RateLimited(9));
    assert_eq!(poller.unknown().await.reason(), "broken");
    assert_eq!(page.requests_on("status.json").len(), before);
    page.always_on("summary", Reply::status(500));
    page.always_on("status", Reply::status(503));
    assert_eq!(poller.unknown().await, Unknown::HttpStatus(500));
}

/// With state, times, link and latest update; resolved ones are not.
#[tokio::test]
async fn open_and_planned_incidents_are_returned() {
    let page = StatusPage::start();
    let over = page.open_incident("Over", "major", &[]);
    page.update_incident(&over, "resolved", "Done.");
    let slow = page.open_incident("Slow queries", "minor", &[]);
    page.update_incident(
        &slow,
        "identified",
        &format!("A <b>bad</b> node\u{202e}.\n{}", "x".repeat(100_000)),
    );
    page.add_maintenance("Upgrade", "scheduled");
    page.add_maintenance("Old upgrade", "completed");
    let open = Poller::of(&page).with_incidents().reading().await.open.unwrap();
    let told: Vec<_> = open.iter().map(|e| (e.title.as_str(), e.state.as_str(), e.planned)).collect();
    assert_eq!(told, [("Slow queries", "identified", false), ("Upgrade", "scheduled", true)]);
    assert!(open[0].update.starts_with("A bad node.") && open[0].update.chars().count() <= 300);
    assert_eq!(open[0].link.as_ref().unwrap().label, "Incident");
    assert!(open[1].ends > open[1].begins && open[1].begins.is_some());
    assert_eq!(Poller::of(&page).reading().await.open, None);
}

/// Compatible servers leave `incidents` out or fill it oddly; a dangerous link is not passed on.
#[tokio::test]
async fn malformed_incidents_are_skipped() {
    let page = StatusPage::start();
    page.set_indicator("minor", "Partially Degraded Service");
    page.set_flavour(Flavour::IncidentIo);
    let mut poller = Poller::of(&page).with_incidents();
    assert_eq!(poller.says().await, "minor: Partially Degraded Service");
    for (incidents, want) in [
        (json!(null), "Partially Degraded Service"),
        (json!({"name": "x"}), "Partially Degraded Service"),
        (
            json!([null, "x", {}, {"name": ""}, {"name": "Over", "resolved_at": "2026-01-01T00:00:00Z"}]),
            "Partially Degraded Service",
        ),
        (
            json!([{"name": "Odd\ntitle", "impact": " MINOR", "started_at": "yesterday", "components": 7}]),
            "Odd title",
        ),
        (json!([{"name": "Unheard of", "impact": "huge"}]), "Partially Degraded Service"),
        (
            json!([{"name": "Old", "impact": "minor", "started_at": "2026-05-02T02:00:00-07:00"},
            {"name": "New", "impact": "minor", "created_at": "2026-05-02T09:00:01Z"}]),
            "New",
        ),
        (json!([{"name": "Inward", "impact": "minor", "shortlink": "http://192.168.0.1/"}]), "Inward"),
        (json!([{"name": "Trap", "impact": "minor", "shortlink": "javascript:alert(1)"}]), "Trap"),
    ] {
        let body = json!({"status": {"indicator": "minor", "description": "Partially Degraded Service"},
            "incidents": incidents});
        page.next(Reply::json(&body));
        let reading = poller.reading().await;
        assert_eq!(reading.description, want, "{body}");
        assert_eq!(reading.link.unwrap().url, format!("{}/", page.url()));
    }
}

#[tokio::test]
async fn only_incidents_of_matching_components_count() {
    let page = StatusPage::start();
    let storage = page.add_component("Storage", FINE);
    let mail = page.add_component("Mail", "major_outage");
    page.open_incident("Mail is lost", "critical", &[&mail]);
    page.open_incident("Everything is odd", "critical", &[]);
    let mut poller = Poller::of_components(&page, &["Storage"], &[]).with_incidents();
    assert_eq!(poller.says().await, "none: Operational");
    page.set_component(&storage, "degraded_performance");
    assert_eq!(poller.says().await, "minor: Storage: degraded performance");
    let slow = page.open_incident("Disks are slow", "minor", &[&storage, &mail]);
    assert_eq!(poller.says().await, "minor: Disks are slow");
    page.set_component(&storage, "partial_outage");
    assert_eq!(poller.says().await, "major: Storage: partial outage");
    page.set_component(&storage, "under_maintenance");
    let mut remapped = Poller::of_components(&page, &["Storage"], &[]).with_incidents();
    assert_eq!(remapped.says().await, "minor: Disks are slow");
    page.update_incident(&slow, "resolved", "Over.");
    poller.reading().await;
    let before = page.answered(304);
    assert!(poller.look().await.not_modified);
    assert_eq!(page.answered(304), before + 2);
}

/// That they could not be read is reported, as is a requested wait.
#[tokio::test]
async fn a_component_severity_stands_without_incidents() {
    let page = StatusPage::start();
    page.add_component("Storage", "partial_outage");
    page.next_on("summary", Reply::too_many(Some(30)));
    let look = Poller::of_components(&page, &["Storage"], &[]).with_incidents().look().await;
    let reading = look.outcome.unwrap();
    assert_eq!(reading.description, "Storage: partial outage");
    assert_eq!(reading.notes, ["incidents could not be read: HTTP 429: rate limited for 30 s"]);
    assert_eq!(look.retry_after.map(|wait| wait.as_secs()), Some(30));
}
