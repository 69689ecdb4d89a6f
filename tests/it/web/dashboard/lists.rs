//! What the overview lists, and in which part: everything works with links alone.

use data_sources_monitor::testing::domain::monitoring::assess::Unread;
use data_sources_monitor::testing::domain::monitoring::banner::{Banner, BannerKind};
use data_sources_monitor::testing::domain::monitoring::observation::Unknown;
use data_sources_monitor::testing::domain::monitoring::severity::Severity;
use data_sources_monitor::testing::runtime::board::Board;

use jiff::SignedDuration;

use super::{TestServer, add, add_sync};

/// The names of the listed monitors, in order.
fn listed(page: &str) -> Vec<String> {
    let rows = page.split("<li class=\"monitor ").skip(1);
    rows.map(|row| row.split("href=\"/monitors/").nth(1).unwrap().split('"').next().unwrap().to_owned())
        .collect()
}

fn several(board: &mut Board) {
    let severities = [
        ("Delta", Severity::None),
        ("alpha", Severity::None),
        ("Beta", Severity::Minor),
        ("Gamma", Severity::Critical),
        ("Eta", Severity::None),
        ("Zeta", Severity::Maintenance),
    ];
    for (name, severity) in severities {
        add(board, name, severity, "words");
    }
    let unread = Unread { reason: Unknown::Timeout, since: board.started_at, times: 3 };
    board.monitors.get_mut("Eta").unwrap().state.unknown = Some(unread);
}

/// Rows do not move while nothing changes.
#[tokio::test]
async fn monitors_are_in_order_of_severity_then_name() {
    let served = TestServer::open(several).await;
    let page = served.page("/").await;
    assert_eq!(listed(&page), ["Gamma", "Beta", "Eta", "Zeta", "alpha", "Delta"]);
    assert!(
        page.contains("<h1>Gamma: critical · Beta: minor · Zeta: maintenance · 1 not readable</h1>"),
        "{page}"
    );
    for (query, want) in [
        ("/?state=problem", &["Gamma", "Beta"][..]),
        ("/?state=unreadable", &["Eta"]),
        ("/?state=maintenance", &["Zeta"]),
        ("/?state=operational", &["alpha", "Delta"]),
        ("/?state=nonsense&view=nonsense", &["Gamma", "Beta", "Eta", "Zeta", "alpha", "Delta"]),
        ("/?state=operational&q=DEL&view=compact", &["Delta"]),
        ("/?state=problem&q=zeta", &[]),
    ] {
        assert_eq!(listed(&served.page(query).await), want, "{query}");
    }
    let compact = served.page("/?view=compact&state=problem").await;
    assert!(compact.contains("class=\"monitors compact\"") && !compact.contains("class=\"strip\""));
    // Each link keeps the rest of the query.
    assert!(compact.contains("href=\"/?state=maintenance&amp;view=compact#monitors\""), "{compact}");
    assert!(compact.contains("<input type=\"hidden\" name=\"view\" value=\"compact\">"), "{compact}");
}

#[tokio::test]
async fn monitors_with_tags_are_grouped() {
    let served = TestServer::open(|board| {
        several(board);
        for (name, tags) in [("alpha", &["prod"][..]), ("Gamma", &["test", "prod"]), ("Delta", &["prod"])] {
            board.monitors.get_mut(name).unwrap().tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        }
    })
    .await;
    let page = served.page("/").await;
    assert_eq!(listed(&page), ["Gamma", "alpha", "Delta", "Beta", "Eta", "Zeta"]);
    let groups: Vec<&str> =
        page.split("<h3 class=\"group\">").skip(1).map(|part| part.split("</h3>").next().unwrap()).collect();
    assert!(
        groups[0].contains("test") && groups[1].contains("prod") && groups[2].contains("Without a tag"),
        "{groups:?}"
    );
    assert_eq!(listed(&served.page("/?tag=prod").await), ["Gamma", "alpha", "Delta"]);
}

/// The breadcrumbs name these paths.
#[tokio::test]
async fn the_lists_have_addresses_of_their_own() {
    let served = TestServer::open(several).await;
    for (path, to) in [
        ("/monitors", "/#monitors"),
        ("/monitors?state=problem", "/?state=problem#monitors"),
        ("/connectors", "/#connectors"),
    ] {
        let answer = served.get(path).await;
        assert_eq!((answer.status().as_u16(), answer.headers()["location"].to_str().unwrap()), (307, to));
    }
}

#[tokio::test]
async fn a_card_without_content_is_left_out_and_a_preview_names_the_next_steps() {
    let served = TestServer::open(several).await;
    let page = served.page("/").await;
    assert!(!page.contains("Incidents and maintenance") && !page.contains("Next steps"), "{page}");
    served.board.update(|board| board.live = false);
    let page = served.page("/").await;
    assert!(
        page.contains("Next steps") && page.contains("QLIK_TENANT_URL") && page.contains("connector list")
    );
    served.board.update(|board| add_sync(board, "shop"));
    assert!(!served.page("/").await.contains("Load data"));
}

/// A standby without the leader's report does not claim that there is no banner.
#[tokio::test]
async fn a_standby_shows_what_the_leader_saved_or_names_the_leader() {
    let served = TestServer::open(|board| {
        several(board);
        let (copied_at, lease) = (board.started_at, board.lease.get_or_insert_default());
        (lease.known, lease.copied_at) = (true, Some(copied_at));
        lease.holder = Some("host-a".to_owned());
    })
    .await;
    let page = served.page("/").await;
    assert!(page.contains("The leader host-a shows it") && !page.contains("No banner"), "{page}");
    assert!(!page.contains("Set by") && !page.contains("Pending write"), "{page}");
    let banner: serde_json::Value = served.get("/api/v1/banner").await.json().await.unwrap();
    assert_eq!((&banner["source"], &banner["shown"]), (&serde_json::Value::Null, &serde_json::Value::Null));
    assert!(!served.page("/metrics").await.contains("dsm_banner_owed{"));
    let manual = |message: &str| Banner {
        kind: BannerKind::Info,
        enabled: true,
        message: message.to_owned(),
        start_time: "2020-01-01T00:00:00Z".parse().unwrap(),
        end_time: "2120-01-01T00:00:00Z".parse().unwrap(),
        link_enabled: false,
        link_url: None,
        link_label: None,
    };
    served.board.update(|board| {
        let now = board.started_at;
        (
            board.banners.entry("default".into()).or_default().report.shown,
            board.banners.entry("default".into()).or_default().report.ours,
            board.banners.entry("default".into()).or_default().report.answered_at,
        ) = (Some(manual("Down")), true, Some(now));
        board.banners.entry("default".into()).or_default().report.displaced = Some(manual("Party at 5"));
    });
    let page = served.page("/").await;
    assert!(page.contains("Set by</dt><dd>this monitor") && page.contains("<q>Party at 5</q>"), "{page}");
    let banner: serde_json::Value = served.get("/api/v1/banner").await.json().await.unwrap();
    assert_eq!(
        (&banner["source"], &banner["displaced"]["message"]),
        (&"leader".into(), &"Party at 5".into())
    );
    assert!(served.page("/metrics").await.contains("dsm_banner_owed{tenant=\"default\"} 0"));
    // An old copy says nothing about now.
    served.board.update(|board| {
        board.lease.get_or_insert_default().copied_at = Some(board.started_at - SignedDuration::from_mins(6));
    });
    assert!(served.page("/").await.contains("The leader host-a shows it"));
}
