//! The traps of the large clouds' pages.

use stand_ins::Reply;
use stand_ins::engines::Level;

use super::{Bench, SICK, broken};

/// `end` may be absent, null or empty; names may begin with a blank; broad outages have another service name.
#[tokio::test]
async fn google_incidents_without_an_end_are_open() {
    for quirk in ["", "end_is_null", "end_is_empty", "blank_names", "many_products"] {
        let says = broken("google", Level::Outage).quirk(quirk).components(&["Query engine"]).says().await;
        assert_eq!(says, "critical: Trouble 11", "{quirk}");
    }
    let information = broken("google", Level::Fine);
    assert_eq!(information.severity().await, "none");
}

#[tokio::test]
async fn google_names_are_exact() {
    let bench = Bench::of("google");
    bench.page(|model| {
        model.components[1].name = "Query engine for Firebase".into();
        model.break_component(12, Level::Outage);
    });
    assert_eq!(bench.components(&["Query engine"]).severity().await, "none");
}

#[tokio::test]
async fn google_incidents_are_selected_by_region() {
    for (region, quirk, want) in [
        ("eu-west-1", "", "critical"),
        ("us-east-1", "", "none"),
        // An incident that names no location counts everywhere.
        ("us-east-1", "no_location", "critical"),
    ] {
        let bench = broken("google", Level::Outage).quirk(quirk).option("region", region);
        assert_eq!(bench.severity().await, want, "{region} {quirk}");
        assert_eq!(bench.components(&["Query engine"]).severity().await, want, "{region} {quirk}");
    }
}

#[tokio::test]
async fn an_empty_archive_of_google_proves_nothing() {
    let bench = Bench::of("google").quirk("no_archive");
    assert!(bench.says().await.starts_with("unknown"));
}

#[tokio::test]
async fn aws_events_are_read_in_every_encoding() {
    for quirk in ["", "little_endian", "utf8", "numbers"] {
        let says =
            broken("aws", Level::Partial).quirk(quirk).components(&["query-engine-eu-west-1"]).says().await;
        assert_eq!(says, "major: Trouble 11", "{quirk}");
    }
}

/// A resolved event stays for a while.
#[tokio::test]
async fn aws_events_with_state_0_are_over() {
    let bench = broken("aws", Level::Outage).quirk("lingering");
    bench.page(stand_ins::engines::Model::resolve);
    assert_eq!(bench.severity().await, "none");
}

#[tokio::test]
async fn aws_events_touch_services_indirectly() {
    let bench = broken("aws", Level::Outage).quirk("through_impacted");
    assert_eq!(bench.components(&["query-engine-*"]).severity().await, "critical");
    let region = broken("aws", Level::Outage).components(&["*-eu-west-1"]);
    assert_eq!(region.severity().await, "critical");
    let global = broken("aws", Level::Outage).quirk("global");
    assert_eq!(global.severity().await, "critical");
}

#[tokio::test]
async fn microsoft_posts_must_be_fresh_and_of_a_known_feed() {
    assert!(Bench::of("microsoft").quirk("frozen").says().await.starts_with("unknown"));
    assert!(Bench::of("microsoft").quirk("shell").says().await.starts_with("unknown"));
    assert_eq!(broken("microsoft", Level::Degraded).quirk("with_blanks").severity().await, "minor");
    let bench = Bench::of("microsoft").option("feed", "nonsense");
    bench.page.always_on("nonsense", Reply::status(400));
    assert_eq!(bench.says().await, "unknown: HTTP 400");
    assert_eq!(Bench::of("microsoft").says().await, "none: Operational");
    assert_eq!(broken("microsoft", Level::Degraded).says().await, "minor: Status: ServiceDegradation");
}

#[tokio::test]
async fn consumer_services_of_microsoft_are_components() {
    let consumer = || broken("microsoft", Level::Degraded).option("feed", "m365Consumer");
    assert_eq!(consumer().says().await, "minor: Query engine: ServiceDegradation");
    assert_eq!(consumer().components(&["Query engine"]).severity().await, "minor");
    assert_eq!(consumer().components(&["Storage"]).severity().await, "none");
}

#[tokio::test]
async fn azure_devops_has_a_state_for_each_geography() {
    let europe = broken("azure-devops", Level::Outage).components(&["Query engine - Europe"]);
    assert_eq!(europe.severity().await, "critical");
    let states = broken("azure-devops", Level::Outage).components(&["* - United States"]);
    assert_eq!(states.severity().await, "none");
}

/// The words for services are not known but one.
#[tokio::test]
async fn oracle_services_are_healthy_or_unknown() {
    let bench = Bench::of("oci").components(&["EU region - Query engine"]);
    assert_eq!(bench.severity().await, "none");
    bench.page(|model| model.break_component(SICK, Level::Outage));
    assert_eq!(bench.severity().await, "unknown");
}
