//! What outsiders take from the daemon: another monitor that watches it, badges, the calendar.

use std::time::Duration;

use data_sources_monitor::domain::monitor::{Page, Pattern, Remap};
use data_sources_monitor::domain::observation::Reading;
use data_sources_monitor::domain::severity::Severity;
use data_sources_monitor::http::{ClientOptions, Network, PageClient, Redirects};
use data_sources_monitor::poll::{Memo, look};

use super::{Served, event, with_everything};

/// What our own reader of status pages makes of it: by its roll-up, in the words of what is open, or by component.
async fn read(served: &Served, incidents: bool, components: &[&str]) -> String {
    let options =
        ClientOptions { network: Network::default(), redirects: Redirects::Refuse, keep_alive: false };
    let components = components.iter().map(|text| Pattern::new(text)).collect();
    let root = format!("{}/", served.url).parse().unwrap();
    let page = Page { root, components, ignore: vec![], incidents };
    let client = PageClient::new(&options).unwrap();
    let seen = look(&client, &page, &Remap::default(), Duration::from_secs(10), &mut Memo::default()).await;
    match seen.outcome.as_ref().and_then(Reading::verdict) {
        Ok(reading) => format!("{}: {}", reading.severity, reading.description),
        Err(unknown) => format!("unknown: {unknown}"),
    }
}

/// Another monitor sees what this one believes. What this one does not know, the other does not either: it neither
/// raises nor clears.
#[tokio::test]
async fn one_monitor_watches_another() {
    let served = Served::start().await;
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

/// The incidents of the pages are told in their own words, with the service before them; planned work that has not
/// begun is announced and troubles nobody.
#[tokio::test]
async fn incidents_are_passed_on() {
    let served = Served::start().await;
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

/// Badges tell the severity; unknown is grey and says for how long; nobody's name is a picture with 404; another label
/// is escaped. They may stand on other sites.
#[tokio::test]
async fn badges() {
    let served = Served::start().await;
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

/// The calendar has what the pages announce, under names that stay, and text that stays text.
#[tokio::test]
async fn the_calendar() {
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
