//! Components and incidents: the parts of a page that matter to a monitor.

use data_sources_monitor::domain::observation::{Link, Unknown};
use serde_json::json;

use super::Onlooker;
use stand_ins::status_page::{Flavour, StatusPage};
use stand_ins::{Clock, Reply};

/// Two regions with the same services, and a website outside them.
fn regions(eu_query: &str, eu_storage: &str, us_query: &str, website: &str) -> StatusPage {
    let page = StatusPage::start();
    // The page as a whole says something else, which must never show through.
    page.set_indicator("critical", "Major Service Outage");
    let (eu, us) = (page.add_group("EU region"), page.add_group("US region"));
    page.add_to_group(&eu, "Query engine", eu_query);
    page.add_to_group(&eu, "Storage", eu_storage);
    page.add_to_group(&us, "Query engine", us_query);
    page.add_component("Website", website);
    page
}

const FINE: &str = "operational";

/// The state is the worst of the matching components, told worst first; groups count through their children.
#[tokio::test]
async fn judges_matching_components() {
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
        assert_eq!(Onlooker::of_components(&page, take, ignore).says().await, want, "{take:?} {ignore:?}");
    }
    assert_eq!(page.requests_on("GET /api/v2/components.json").len(), page.requests().len());
}

/// Each documented component state has its severity.
#[tokio::test]
async fn knows_component_states() {
    let page = StatusPage::start();
    let id = page.add_component("API", FINE);
    let mut onlooker = Onlooker::of_components(&page, &["API"], &[]);
    for (state, want) in [
        ("operational", "none: Operational"),
        ("degraded_performance", "minor: API: degraded performance"),
        ("partial_outage", "major: API: partial outage"),
        ("major_outage", "critical: API: major outage"),
        ("full_outage", "critical: API: full outage"),
        ("under_maintenance", "maintenance: API: under maintenance"),
        ("Operational", "none: Operational"),
        ("PARTIAL-OUTAGE", "major: API: PARTIAL-OUTAGE"),
        ("on_fire", "unknown: unknown indicator `API: on_fire`"),
        ("", "unknown: unknown indicator `API: `"),
    ] {
        page.set_component(&id, state);
        assert_eq!(onlooker.says().await, want);
    }
}

/// A pattern that matches nothing is unknown, never the whole page; a known problem beside it is still told.
#[tokio::test]
async fn misses_no_component_silently() {
    let page = regions(FINE, FINE, "partial_outage", FINE);
    let unknown = |take, ignore| {
        let mut onlooker = Onlooker::of_components(&page, take, ignore);
        async move { onlooker.unknown().await }
    };
    let nothing = |pattern: &str| Unknown::NoComponent(pattern.into());
    assert_eq!(unknown(&["Mail"], &[]).await, nothing("Mail"));
    assert_eq!(unknown(&["Website", "Mail"], &[]).await, nothing("Mail"));
    assert_eq!(unknown(&["Website"], &["Web*"]).await, nothing("Website"));
    assert_eq!(unknown(&[], &["*"]).await, nothing("*"));

    let reading = Onlooker::of_components(&page, &["US region", "Mail"], &["Fax"]).reading().await;
    assert_eq!(reading.description, "Query engine: partial outage".replace("Query", "US region - Query"));
    assert_eq!(reading.partial, Some(nothing("Mail")));
    assert_eq!(
        reading.notes,
        ["no component matches `Mail`", "no component matches `Fax`, which is ignored"]
    );
}

/// A state that we do not know is never taken for healthy, nor does it hide a problem that we know.
#[tokio::test]
async fn guesses_no_component_state() {
    let page = regions("on_fire", FINE, FINE, "degraded_performance");
    let mut onlooker = Onlooker::of_components(&page, &["EU*"], &[]);
    let odd = Unknown::UnknownIndicator("EU region - Query engine: on_fire".into());
    assert_eq!(onlooker.unknown().await, odd);
    let reading = Onlooker::of_components(&page, &["*"], &[]).reading().await;
    assert_eq!((reading.description.as_str(), reading.partial), ("Website: degraded performance", Some(odd)));
}

/// A page without components, or without that endpoint, gives no verdict on components.
#[tokio::test]
async fn needs_components_where_asked() {
    let page = StatusPage::start();
    let mut onlooker = Onlooker::of_components(&page, &["API"], &[]);
    assert_eq!(onlooker.unknown().await, Unknown::NoComponent("API".into()));
    assert_eq!(
        Onlooker::of_components(&page, &[], &["API"]).unknown().await,
        Unknown::NoComponent("*".into())
    );
    for body in [json!({}), json!({"components": null}), json!({"components": {"name": "API"}}), json!([])] {
        page.next(Reply::json(&body));
        assert_eq!(onlooker.unknown().await, Unknown::NoIndicator, "{body}");
    }
    page.set_flavour(Flavour::Bare);
    assert_eq!(onlooker.unknown().await, Unknown::HttpStatus(404));
}

/// Odd entries of the list are left out, without a name or id they still count, and twins are told once.
#[tokio::test]
async fn bears_odd_components() {
    let page = StatusPage::start();
    let out = "partial_outage";
    page.next(Reply::json(&json!({"components": [null, 5, "API", ["API"], {"group": true, "name": "Empty"},
        {"status": out}, {"name": "Twin", "status": out, "group": null}, {"name": "Twin", "status": out},
        {"name": "Lost", "status": out, "group_id": "gone"}, {"name": 5, "status": "operational"}]})));
    assert_eq!(
        Onlooker::of_components(&page, &["*"], &[]).says().await,
        "major: Unnamed component: partial outage, Twin: partial outage, Lost: partial outage"
    );
    let many = vec![json!({"name": "API", "status": "operational"}); 5000];
    page.next(Reply::json(&json!({"components": many})));
    let told = Onlooker::of_components(&page, &["*"], &[]).unknown().await.to_string();
    assert!(told.starts_with("not JSON (a list of more than"), "{told}");
}

/// Each component is remapped by itself: what does not matter neither hides nor joins what does.
#[tokio::test]
async fn remaps_each_component() {
    let page = regions(FINE, "degraded_performance", FINE, "under_maintenance");
    let all = || Onlooker::of_components(&page, &["*"], &[]);
    assert_eq!(all().remapping("maintenance", "none").says().await, "minor: Storage: degraded performance");
    assert_eq!(all().remapping("minor", "none").says().await, "maintenance: Website: under maintenance");
    assert_eq!(
        all().remapping("minor", "none").remapping("maintenance", "none").says().await,
        "none: Storage: degraded performance, Website: under maintenance"
    );
}

/// With incidents, the title of the worst, then newest open one stands for the description, and its link too.
#[tokio::test]
async fn tells_the_worst_incident() {
    let clock = Clock::at("2026-05-02T09:00:00Z");
    let page = StatusPage::start_at(&clock);
    page.set_indicator("minor", "Partially Degraded Service");
    let mut onlooker = Onlooker::of(&page).with_incidents();
    assert_eq!(onlooker.says().await, "minor: Partially Degraded Service");
    page.add_maintenance("Announced only", "scheduled");
    assert_eq!(onlooker.says().await, "minor: Partially Degraded Service");
    page.add_maintenance("Storage upgrade", "in_progress");
    assert_eq!(onlooker.says().await, "minor: Partially Degraded Service");
    page.open_incident("For your information", "none", &[]);
    assert_eq!(onlooker.says().await, "minor: Partially Degraded Service");
    let slow = page.open_incident("Slow queries in EU", "minor", &[]);
    assert_eq!(onlooker.says().await, "minor: Slow queries in EU");
    let outage = page.open_incident("No sign-in", "major", &[]);
    clock.advance(jiff::SignedDuration::from_mins(1));
    page.open_incident("Late mails", "minor", &[]);
    let reading = onlooker.reading().await;
    assert_eq!((reading.severity.as_str(), reading.description.as_str()), ("major", "No sign-in"));
    let link = Link { url: format!("https://stspg.test/{outage}"), label: "Incident".into() };
    assert_eq!(reading.link, Some(link));
    page.update_incident(&outage, "resolved", "Over.");
    assert_eq!(onlooker.says().await, "minor: Late mails");
    page.update_incident(&slow, "monitoring", "Better.");
    assert_eq!(onlooker.says().await, "minor: Late mails");
    assert_eq!(page.requests_on("GET /api/v2/summary.json").len(), page.requests().len());
}

/// Planned work is told where the severity is maintenance, and it hides no incident that is open beside it.
#[tokio::test]
async fn tells_maintenance_as_such() {
    let page = StatusPage::start();
    page.set_indicator("maintenance", "Service Under Maintenance");
    let upgrade = page.add_maintenance("Storage upgrade", "verifying");
    let reading = Onlooker::of(&page).with_incidents().reading().await;
    assert_eq!((reading.severity.as_str(), reading.description.as_str()), ("maintenance", "Storage upgrade"));
    let link = Link { url: format!("https://stspg.test/{upgrade}"), label: "Maintenance".into() };
    assert_eq!(reading.link, Some(link));

    page.set_indicator("minor", "Service Under Maintenance");
    assert_eq!(Onlooker::of(&page).with_incidents().says().await, "minor: Service Under Maintenance");
    let mut remapped = Onlooker::of(&page).with_incidents().remapping("minor", "maintenance");
    assert_eq!(remapped.says().await, "maintenance: Storage upgrade");

    page.set_indicator("maintenance", "Service Under Maintenance");
    let slow = page.open_incident("Slow queries", "critical", &[]);
    assert_eq!(Onlooker::of(&page).with_incidents().says().await, "critical: Slow queries");
    let mut remapped = Onlooker::of(&page).with_incidents().remapping("maintenance", "none");
    assert_eq!(remapped.says().await, "critical: Slow queries");
    page.recover();
    assert_eq!(Onlooker::of(&page).with_incidents().says().await, "critical: Slow queries");
    page.update_incident(&slow, "resolved", "Over.");
    assert_eq!(Onlooker::of(&page).with_incidents().says().await, "none: All Systems Operational");
}

/// An unreadable summary costs the words, not the severity; a network that is away is not asked twice.
#[tokio::test]
async fn a_severity_stands_without_the_summary() {
    let page = StatusPage::start();
    page.set_indicator("major", "Partial System Outage");
    let mut onlooker = Onlooker::of(&page).with_incidents();
    for status in [404, 500, 502] {
        page.next_on("summary", Reply::status(status));
        let reading = onlooker.reading().await;
        assert_eq!(
            (reading.severity.as_str(), reading.description.as_str()),
            ("major", "Partial System Outage")
        );
        assert_eq!(reading.notes, [format!("incidents could not be read: HTTP {status}")]);
    }
    page.next_on("summary", Reply::too_many(Some(9)));
    page.next_on("summary", Reply::dropped());
    let before = page.requests_on("status.json").len();
    assert_eq!(onlooker.unknown().await, Unknown::RateLimited(9));
    assert_eq!(onlooker.unknown().await.reason(), "broken");
    assert_eq!(page.requests_on("status.json").len(), before);
    page.always_on("summary", Reply::status(500));
    page.always_on("status", Reply::status(503));
    assert_eq!(onlooker.unknown().await, Unknown::HttpStatus(500));
}

/// What is open or planned comes along with its state, times, link and latest words; what is over does not.
#[tokio::test]
async fn brings_what_is_open() {
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
    let open = Onlooker::of(&page).with_incidents().reading().await.open.unwrap();
    let told: Vec<_> = open.iter().map(|e| (e.title.as_str(), e.state.as_str(), e.planned)).collect();
    assert_eq!(told, [("Slow queries", "identified", false), ("Upgrade", "scheduled", true)]);
    assert!(open[0].update.starts_with("A bad node.") && open[0].update.chars().count() <= 300);
    assert_eq!(open[0].link.as_ref().unwrap().label, "Incident");
    assert!(open[1].ends > open[1].begins && open[1].begins.is_some());
    assert_eq!(Onlooker::of(&page).reading().await.open, None);
}

/// Compatible servers leave `incidents` out or fill it oddly; a dangerous link is not passed on.
#[tokio::test]
async fn bears_odd_incidents() {
    let page = StatusPage::start();
    page.set_indicator("minor", "Partially Degraded Service");
    page.set_flavour(Flavour::IncidentIo);
    let mut onlooker = Onlooker::of(&page).with_incidents();
    assert_eq!(onlooker.says().await, "minor: Partially Degraded Service");
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
        let reading = onlooker.reading().await;
        assert_eq!(reading.description, want, "{body}");
        assert_eq!(reading.link.unwrap().url, format!("{}/", page.url()));
    }
}

/// Where components count, only incidents that touch one of them are told, and they count as well.
#[tokio::test]
async fn tells_incidents_of_its_components() {
    let page = StatusPage::start();
    let storage = page.add_component("Storage", FINE);
    let mail = page.add_component("Mail", "major_outage");
    page.open_incident("Mail is lost", "critical", &[&mail]);
    page.open_incident("Everything is odd", "critical", &[]);
    let mut onlooker = Onlooker::of_components(&page, &["Storage"], &[]).with_incidents();
    assert_eq!(onlooker.says().await, "none: Operational");
    page.set_component(&storage, "degraded_performance");
    assert_eq!(onlooker.says().await, "minor: Storage: degraded performance");
    let slow = page.open_incident("Disks are slow", "minor", &[&storage, &mail]);
    assert_eq!(onlooker.says().await, "minor: Disks are slow");
    page.set_component(&storage, "partial_outage");
    assert_eq!(onlooker.says().await, "major: Storage: partial outage");
    page.set_component(&storage, "under_maintenance");
    let mut remapped = Onlooker::of_components(&page, &["Storage"], &[]).with_incidents();
    assert_eq!(remapped.says().await, "minor: Disks are slow");
    page.update_incident(&slow, "resolved", "Over.");
    onlooker.reading().await;
    let before = page.answered(304);
    assert!(onlooker.look().await.not_modified);
    assert_eq!(page.answered(304), before + 2);
}

/// A verdict on components stands when the incidents cannot be read; that, and a wait asked for, is told.
#[tokio::test]
async fn stands_without_incidents() {
    let page = StatusPage::start();
    page.add_component("Storage", "partial_outage");
    page.next_on("summary", Reply::too_many(Some(30)));
    let look = Onlooker::of_components(&page, &["Storage"], &[]).with_incidents().look().await;
    let reading = look.outcome.unwrap();
    assert_eq!(reading.description, "Storage: partial outage");
    assert_eq!(reading.notes, ["incidents could not be read: HTTP 429: asked to wait 30 s"]);
    assert_eq!(look.retry_after.map(|wait| wait.as_secs()), Some(30));
}
