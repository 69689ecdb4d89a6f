//! Formats for other sites: the daemon as a status page for another monitor, badges_show_the_severity, the calendar.

use std::time::Duration;

use data_sources_monitor::testing::domain::monitoring::monitor::{Pattern, Remap, StatusPage};
use data_sources_monitor::testing::domain::monitoring::observation::Reading;
use data_sources_monitor::testing::domain::monitoring::severity::Severity;
use data_sources_monitor::testing::http::{ClientOptions, Network, PageClient};
use data_sources_monitor::testing::poll::{PageDocuments, look};

use super::{TestServer, event, with_everything};
use crate::monitoring::status_page::status_page;

/// What our own poll of a status page reads from it: the indicator, the texts of incidents, or components.
async fn read(served: &TestServer, incidents: bool, components: &[&str]) -> String {
    let options = ClientOptions { network: Network::default(), keep_alive: false };
    let components = components.iter().map(|text| Pattern::new(text)).collect();
    let root = format!("{}/", served.url).parse().unwrap();
    let page = StatusPage { components, incidents, ..status_page(root) };
    let client = PageClient::new(&options).unwrap();
    let documents = PageDocuments::of(&page);
    let timeout = Duration::from_secs(10);
    let seen =
        look(&client, &documents, &page, &Remap::default(), timeout, tokio::time::Instant::now()).await;
    match seen.outcome.as_ref().and_then(Reading::verdict) {
        Ok(reading) => format!("{}: {}", reading.severity, reading.description),
        Err(unknown) => format!("unknown: {unknown}"),
    }
}

/// What is unknown here is unknown there: it neither raises nor clears.
#[tokio::test]
async fn another_daemon_reads_the_same_severities() {
    let served = TestServer::start().await;
    assert_eq!(read(&served, false, &[]).await, "unknown: unknown indicator `unknown`");
    served.reads("Alpha", Severity::None, "All Systems Operational");
    served.reads("Beta", Severity::None, "All Systems Operational");
    assert_eq!(read(&served, false, &[]).await, "none: All Systems Operational");
    assert_eq!(read(&served, true, &["Alpha"]).await, "none: Operational");

    served.reads("Alpha", Severity::Major, "Partial System Outage");
    assert_eq!(read(&served, false, &[]).await, "major: Partial System Outage");
    assert_eq!(read(&served, true, &[]).await, "major: Alpha: Partial System Outage");
    assert_eq!(read(&served, false, &["Alpha"]).await, "major: Alpha: partial outage");
    assert_eq!(read(&served, false, &["Beta"]).await, "none: Operational");

    served.loses("Beta");
    assert_eq!(read(&served, true, &[]).await, "major: Alpha: Partial System Outage");
    assert_eq!(read(&served, false, &["Beta"]).await, "unknown: unknown indicator `Beta: unknown`");
    served.loses("Alpha");
    assert_eq!(read(&served, false, &["Alpha"]).await, "major: Alpha: partial outage");

    served.reads("Alpha", Severity::None, "All Systems Operational");
    assert_eq!(read(&served, false, &[]).await, "unknown: unknown indicator `unknown`");
    served.reads("Alpha", Severity::Maintenance, "Service Under Maintenance");
    assert_eq!(read(&served, false, &[]).await, "unknown: unknown indicator `unknown`");
    served.reads("Beta", Severity::None, "All Systems Operational");
    assert_eq!(read(&served, true, &[]).await, "maintenance: Alpha: Service Under Maintenance");

    served.board.update(|board| board.cycles.finished_at = Some(super::ago(2)));
    assert_eq!(read(&served, false, &[]).await, "unknown: unknown indicator `unknown`");
}

/// In their own words after the name of the service; planned maintenance that has not started is announced without
/// affecting anyone.
#[tokio::test]
async fn incidents_of_the_pages_are_published() {
    let served = TestServer::start().await;
    served.reads("Alpha", Severity::Major, "Slow queries");
    served.board.update(|board| {
        let open =
            vec![event(false, "Slow queries", "identified"), event(true, "Storage upgrade", "scheduled")];
        board.monitors.get_mut("Alpha").unwrap().open = Some(open);
    });
    assert_eq!(read(&served, true, &[]).await, "major: Alpha: Slow queries");
    let summary = served.json("/api/v2/summary.json").await;
    let (incident, work) = (&summary["incidents"][0], &summary["scheduled_maintenances"][0]);
    assert_eq!(
        (&incident["name"], &incident["status"]),
        (&"Alpha: Slow queries".into(), &"identified".into())
    );
    assert_eq!(incident["incident_updates"][0]["body"], "We are looking.");
    assert_eq!(incident["components"][0]["id"], summary["components"][0]["id"]);
    assert!(incident["scheduled_for"].is_null() && work["scheduled_until"].is_string());
    assert_eq!((&work["name"], &work["status"]), (&"Alpha: Storage upgrade".into(), &"scheduled".into()));
    assert_eq!(summary["incidents"].as_array().unwrap().len(), 1);
    let again = served.json("/api/v2/summary.json").await;
    assert_eq!(summary, again, "ids and times stay");
    served.reads("Alpha", Severity::None, "All Systems Operational");
    assert_eq!(served.json("/api/v2/summary.json").await["incidents"], serde_json::json!([]));
}

/// Unknown is grey and says since when; an unknown name is a picture with 404; another label is escaped. Other sites
/// may embed them.
#[tokio::test]
async fn badges_show_the_severity() {
    let served = TestServer::start().await;
    served.reads("Alpha", Severity::Major, "Partial System Outage");
    served.reads("Beta", Severity::None, "All Systems Operational");
    let badge = async |path: &str| {
        let answer = served.get(path).await;
        assert_eq!(answer.headers()["content-type"], "image/svg+xml", "{path}");
        assert_eq!(answer.headers()["cross-origin-resource-policy"], "cross-origin");
        let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
        let title = text.split("<title>").nth(1).unwrap().split("</title>").next().unwrap();
        format!("{status} {title}{}", if text.contains("#5f6670") { " (grey)" } else { "" })
    };
    assert_eq!(badge("/badge/Alpha.svg").await, "200 Alpha: major problem");
    assert_eq!(badge("/badge/all.svg").await, "200 services: major problem");
    assert_eq!(
        badge("/badge/Beta.svg?label=%3Cb%3E%22us%22").await,
        "200 &lt;b&gt;&quot;us&quot;: operational"
    );
    served.loses("Beta");
    assert_eq!(badge("/badge/Beta.svg").await, "200 Beta: unknown for 1 h (grey)");
    assert_eq!(badge("/badge/all.svg").await, "200 services: major problem, 1 unknown");
    for path in ["/badge/nobody.svg", "/badge/nobody"] {
        assert_eq!(badge(path).await, "404 nobody: no such monitor (grey)");
    }
    assert_eq!(badge("/badge/all").await, "404 all: no such monitor (grey)");
}

/// Under stable ids, with texts escaped.
#[tokio::test]
async fn the_calendar_lists_announced_maintenance() {
    let served = with_everything().await;
    let first = served.get("/maintenances.ics").await;
    assert_eq!(first.headers()["content-type"], "text/calendar; charset=utf-8");
    let first = first.text().await.unwrap();
    assert!(first.contains("SUMMARY:Examplify: Storage upgrade\r\n"), "{first}");
    assert_eq!(first.matches("BEGIN:VEVENT").count(), 1, "{first}");
    let uid = |text: &str| text.split("UID:").nth(1).unwrap().split("\r\n").next().unwrap().to_owned();
    served.board.update(|board| {
        let open = board.monitors.get_mut("Examplify").unwrap().open.as_mut().unwrap();
        open[1].ends = None;
        open[1].update = "a\r\nEND:VEVENT\r\nBEGIN:VALARM\nb".into();
    });
    let second = served.get("/maintenances.ics").await.text().await.unwrap();
    assert_eq!(uid(&first), uid(&second));
    assert!(!second.contains("\r\nBEGIN:VALARM") && !second.contains("DTEND"), "{second}");
    served.reads("Examplify", Severity::Maintenance, "Under, maintenance");
    served.board.update(|board| board.monitors.get_mut("Examplify").unwrap().open = None);
    let third = served.get("/maintenances.ics").await.text().await.unwrap();
    assert!(third.contains("SUMMARY:Examplify: Under\\, maintenance\r\n"), "{third}");
}
