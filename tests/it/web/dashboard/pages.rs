//! The content of the pages, whatever is on the board.

use data_sources_monitor::testing::domain::monitoring::banner::{Banner, BannerKind};
use data_sources_monitor::testing::domain::monitoring::observation::{Event, Link, Unknown};
use data_sources_monitor::testing::domain::monitoring::severity::Severity;

use super::{StoredRecords, TestServer, add, add_sync};
use data_sources_monitor::testing::web::server::security::AccessMode;

/// Markup, control characters and scripts in one text.
const HOSTILE: &str =
    "</title><script>alert(1)</script>\" onload='x' \u{202e}gnp\u{2066} <img src=x onerror=alert(2)>";

/// The path under which a page links a monitor.
fn link_to(page: &str, folder: &str) -> Vec<String> {
    let start = format!("href=\"/{folder}/");
    page.match_indices(&start).map(|(at, _)| page[at + 6..].split('"').next().unwrap().to_owned()).collect()
}

fn assert_harmless(page: &str, what: &str) {
    for bad in ["<script>alert", "<img", "\" onload", "javascript:", "\u{202e}", "\u{2066}", "style=\""] {
        assert!(!page.contains(bad), "{what} has {bad:?}");
    }
    // The only script is our own file.
    assert_eq!(page.matches("<script").count(), 1, "{what}");
}

/// Links that are not http are left out; names with slashes, quotes and tags have pages of their own.
#[tokio::test]
async fn hostile_texts_are_escaped_and_shortened() {
    let long = format!("{HOSTILE}{}", "x".repeat(100_000));
    let archive = StoredRecords { raw: long.clone(), ..StoredRecords::default() };
    let served = TestServer::with(archive, AccessMode::Open, |board| {
        for name in ["a/b", "..%2f", "\"quoted\" 'name'", HOSTILE, "ünïcode 🦀", "plus+and space?#"] {
            add(board, name, Severity::Major, &long);
            let view = board.monitors.get_mut(name).unwrap();
            let unsafe_link = || Link { url: "javascript:alert(1)".into(), label: HOSTILE.into() };
            view.state.link = Some(unsafe_link());
            view.open = Some(vec![Event {
                planned: false,
                title: long.clone(),
                impact: Severity::Critical,
                state: HOSTILE.into(),
                begins: None,
                ends: None,
                link: Some(unsafe_link()),
                update: long.clone(),
            }]);
        }
        board.banners.entry("default".into()).or_default().report.shown = Some(Banner {
            kind: BannerKind::Other(HOSTILE.into()),
            enabled: true,
            message: long.clone(),
            start_time: "2020-01-01T00:00:00Z".parse().unwrap(),
            end_time: "2120-01-01T00:00:00Z".parse().unwrap(),
            link_enabled: true,
            link_url: Some("javascript:alert(1)".into()),
            link_label: Some(HOSTILE.into()),
        });
        board.banners.entry("default".into()).or_default().report.trouble = Some(long.clone());
        add_sync(board, "shop");
    })
    .await;
    let overview = served.page("/").await;
    assert_harmless(&overview, "the overview");
    assert!(overview.len() < 200_000, "{} bytes", overview.len());
    let mut links = link_to(&overview, "monitors");
    links.sort();
    links.dedup();
    // Six, and the one that changed.
    assert_eq!(links.len(), 7, "{links:?}");
    for link in links.iter().filter(|link| *link != "/monitors/A") {
        assert_harmless(&served.page(link).await, link);
    }
    assert_harmless(&served.page("/connectors/shop").await, "the connector");
    assert_harmless(&served.page(&format!("/?q={}", "%3Cscript%3Ealert(1)%3C/script%3E")).await, "a search");
    let missing = served.get("/monitors/%3Cscript%3Ealert(1)").await;
    assert_eq!(missing.status(), 404);
    assert_harmless(&missing.text().await.unwrap(), "a missing page");
}

/// The rest is found by search and paging; numbers that make no sense lead to a page too.
#[tokio::test]
async fn thousands_of_monitors_fit_a_small_page_worst_first() {
    let served = TestServer::open(|board| {
        for i in 0..5_000 {
            let severity = if i == 4_321 { Severity::Critical } else { Severity::None };
            add(board, &format!("service {i:04}"), severity, "All Systems Operational");
        }
    })
    .await;
    let page = served.page("/").await;
    assert!(page.len() < 450_000, "{} bytes", page.len());
    assert_eq!(link_to(&page, "monitors")[0], "/monitors/service%204321");
    assert!(page.contains("1–200 of 5,000") && page.contains("href=\"/?page=2#monitors\""));
    let found = served.page("/?q=SERVICE+012").await;
    assert!(
        found.contains("10 of 5000") && found.contains("service 0123") && !found.contains("service 0200")
    );
    assert!(served.page("/?q=critical").await.contains("service 4321"));
    assert!(served.page("/?page=25").await.contains("4801–5000 of 5,000"));
    for odd in [
        "/?page=99999999999999999999",
        "/?page=-1",
        "/?page=",
        "/?page=x&q=",
        "/?page=26",
        "/?q=a&q=b",
        "/?q=%ff",
    ] {
        served.page(odd).await;
    }
    assert!(served.page("/?q=nowhere").await.contains("No monitor matches “nowhere”"));
}

/// The rest of the page stands.
#[tokio::test]
async fn unreadable_history_is_reported_in_its_place() {
    let archive = StoredRecords { broken: true, ..StoredRecords::default() };
    let served = TestServer::with(archive, AccessMode::Open, |board| {
        add(board, "Alpha", Severity::Minor, "slow");
        add_sync(board, "shop");
    })
    .await;
    for (path, times, rest) in
        [("/", 3, "slow"), ("/monitors/Alpha", 2, "slow"), ("/connectors/shop", 4, "shop")]
    {
        let page = served.page(path).await;
        assert_eq!(page.matches("cannot be read: the &lt;disk&gt; is gone").count(), times, "{path}");
        assert!(page.contains(rest), "{path}");
    }
}

#[tokio::test]
async fn concurrent_requests_share_one_read_of_the_history() {
    let served = TestServer::open(|board| add(board, "A", Severity::None, "fine")).await;
    let pages = (0..20).map(|_| served.page("/"));
    futures_util::future::join_all(pages).await;
    // Days and changes.
    assert_eq!(served.archive.loads.load(std::sync::atomic::Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_monitor_page_shows_poll_times_and_reasons() {
    let served = TestServer::open(|board| {
        let at = board.started_at;
        add(board, "Alpha", Severity::None, "fine");
        let view = board.monitors.get_mut("Alpha").unwrap();
        for reason in [Unknown::Timeout, Unknown::Timeout, Unknown::HttpStatus(503)] {
            let seen = data_sources_monitor::testing::domain::monitoring::observation::Observation {
                monitor: "Alpha".into(),
                at,
                outcome: Err(reason),
            };
            view.looked(std::time::Duration::from_millis(250), false, &seen);
        }
    })
    .await;
    let page = served.page("/monitors/Alpha").await;
    assert!(page.contains("no answer in time") && page.contains("HTTP 503"), "{page}");
    assert!(page.contains("http_status 1, timeout 2"), "{page}");
    assert!(page.contains("Response times of the last 3 polls: up to 0 ms; 3 failed"), "{page}");
}

#[tokio::test]
async fn assets_are_local_and_cached_forever() {
    let served = TestServer::open(|board| add(board, "A", Severity::None, "fine")).await;
    let page = served.page("/").await;
    let mut files = 0;
    for attribute in ["src=\"", "rel=\"stylesheet\" href=\"", "type=\"image/svg+xml\" href=\""] {
        for (at, _) in page.match_indices(attribute) {
            let path = page[at + attribute.len()..].split('"').next().unwrap();
            let file = served.get(path).await;
            assert_eq!(file.status(), 200, "{path}");
            assert!(file.headers()["cache-control"].to_str().unwrap().contains("immutable"));
            let text = file.text().await.unwrap();
            assert!(
                !text.contains("//cdn") && !text.contains("@import") && !text.contains("url(http"),
                "{path}"
            );
            files += 1;
        }
    }
    assert_eq!(files, 3);
    assert_eq!(served.get("/assets/style.0000000000000000.css").await.status(), 404);
}

/// In every format.
#[tokio::test]
async fn a_daemon_that_does_not_poll_shows_no_monitor_as_operational() {
    let served = TestServer::open(|board| {
        add(board, "Alpha", Severity::None, "All Systems Operational");
        add(board, "Beta", Severity::Major, "Partial System Outage");
    })
    .await;
    assert!(served.page("/monitors/Alpha").await.contains("class=\"badge none\""));
    served.board.update(|board| {
        let long_ago = board.started_at - jiff::SignedDuration::from_hours(1);
        board.cycles.finished_at = Some(long_ago);
    });
    for path in ["/", "/monitors/Alpha"] {
        let page = served.page(path).await;
        assert!(page.contains("Not polled") && !page.contains("class=\"badge none\""), "{path}: {page}");
    }
    assert!(served.page("/").await.contains("class=\"badge major\""), "a known problem is held");
    let api: serde_json::Value = served.get("/api/v1/monitors/Alpha").await.json().await.unwrap();
    assert_eq!(api["state"], "unknown");
    let summary: serde_json::Value = served.get("/api/v2/summary.json").await.json().await.unwrap();
    assert_eq!(
        (&summary["components"][0]["status"], &summary["components"][1]["status"]),
        (&"unknown".into(), &"partial_outage".into())
    );
    assert!(served.page("/badge/Alpha.svg").await.contains("unknown for 1 h"));
    let metrics = served.page("/metrics").await;
    assert!(metrics.contains("dsm_monitor_unknown{monitor=\"Alpha\"} 1"), "{metrics}");
}
