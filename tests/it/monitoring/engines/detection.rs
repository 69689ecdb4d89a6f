//! The engine of a page is found by its answers.

use data_sources_monitor::testing::definitions::engine::{built_in, detection_order};
use data_sources_monitor::testing::poll::detect;
use stand_ins::Reply;
use stand_ins::engines::{EnginePage, Level};
use stand_ins::status_page::StatusPage;

use super::{Bench, CLIENT, TIMEOUT};

/// The engine that answers at an address, and the root of the page.
async fn found(url: &str) -> Option<(String, String)> {
    let found = detect(&CLIENT, &url.parse().unwrap(), &detection_order(built_in()), TIMEOUT).await.ok()?;
    Some((found.engine.name.clone(), found.root.into()))
}

/// Engines with a host of their own, or with options, are not found by their answers.
#[tokio::test]
async fn every_page_is_detected_as_itself_and_as_nothing_else() {
    for engine in EnginePage::engines() {
        let bench = Bench::of(engine);
        let detectable = bench.monitor.engine.reads.iter().any(|read| read.detect);
        let root = format!("{}/", bench.page.url());
        // Oracle imitates Statuspage, and incident.io's two definitions read one page.
        let want = match engine {
            "oci" => Some("statuspage"),
            "incidentio-proxy" => Some("incidentio"),
            _ => detectable.then_some(engine),
        };
        let want = want.map(|engine| (engine.to_owned(), root.clone()));
        assert_eq!(found(&root).await, want, "{engine}");
        bench.page(|model| {
            model.break_component(11, Level::Outage);
            model.quirk("catch_all");
        });
        assert_eq!(found(&root).await, want, "{engine} with HTML for every other path");
    }
}

#[tokio::test]
async fn statuspage_is_detected_also_without_its_components() {
    let page = StatusPage::start();
    let root = format!("{}/", page.url());
    assert_eq!(found(&root).await, Some(("statuspage".to_owned(), root.clone())));
    page.always_on("summary.json", Reply::status(404));
    assert_eq!(found(&root).await, Some(("statuspage".to_owned(), root)));
}

/// A page below a path is asked first, then its origin.
#[tokio::test]
async fn the_origin_is_asked_after_the_path() {
    let bench = Bench::of("betterstack");
    let url = format!("{}/overview/", bench.page.url());
    let root = format!("{}/", bench.page.url());
    assert_eq!(found(&url).await, Some(("betterstack".to_owned(), root)));
    assert!(bench.page.requests().iter().any(|request| request.path == "/overview/index.json"));
}
