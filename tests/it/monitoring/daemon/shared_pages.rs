//! Monitors that share a page, are muted, or announce maintenance.

use std::fs;
use std::time::Duration;

use super::{Scenario, TestDaemon, seen_now, wait_for_banner};
use stand_ins::status_page::StatusPage;
use stand_ins::tenant::Tenant;

const HOUR: Duration = Duration::from_secs(3600);

fn folder(definitions: &[(&str, String)]) -> std::sync::Arc<tempfile::TempDir> {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("monitors")).unwrap();
    for (name, text) in definitions {
        fs::write(folder.path().join(format!("monitors/{name}.toml")), text).unwrap();
    }
    std::sync::Arc::new(folder)
}

#[tokio::test]
async fn monitors_of_one_page_share_its_documents() {
    let (tenant, page) = (Tenant::start(), StatusPage::start());
    let monitors: Vec<(String, String)> = (0..6)
        .map(|nth| {
            page.add_component(&format!("C{nth}"), if nth == 3 { "major_outage" } else { "operational" });
            let name = format!("M{nth}");
            let url = page.url();
            (
                name.clone(),
                format!("name = \"{name}\"\nurl = \"{url}\"\ncomponents = [\"C{nth}\"]\nincidents = true\n"),
            )
        })
        .collect();
    let monitors: Vec<(&str, String)> =
        monitors.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
    let scenario = Scenario { interval: HOUR, ..Scenario::default() };
    let rig = TestDaemon::start_in(folder(&monitors), &tenant, scenario);
    rig.wait_until(|board| board.monitors.len() == 6 && board.monitors.values().all(|m| m.polls == 1)).await;
    wait_for_banner(&tenant, "M3: C3: major outage").await;
    assert_eq!(page.requests_on("GET /api/v2/components.json").len(), 1);
    assert_eq!(page.requests_on("GET /api/v2/summary.json").len(), 1);
    rig.stop().await;
}

#[tokio::test]
async fn a_muted_monitor_is_polled_but_not_in_the_banner() {
    let (tenant, page) = (Tenant::start(), StatusPage::start());
    page.set_indicator("major", "Partial System Outage");
    let text = format!("name = \"Alpha\"\nurl = \"{}\"\n", page.url());
    let muted = format!("{text}muted_until = 2999-01-01T00:00:00Z\n");
    let folder = folder(&[("a", muted.clone())]);
    let rig = TestDaemon::start_in(folder.clone(), &tenant, Scenario::default());
    rig.wait_until(|board| board.monitors.get("Alpha").is_some_and(|m| m.state.since.is_some())).await;
    rig.cycles(3).await;
    assert_eq!(seen_now(&tenant), "");
    assert!(rig.board.read(|board| board.monitors["Alpha"].muted_until.is_some()));
    fs::write(folder.path().join("monitors/a.toml"), &text).unwrap();
    wait_for_banner(&tenant, "Alpha: Partial System Outage").await;
    fs::write(folder.path().join("monitors/a.toml"), &muted).unwrap();
    wait_for_banner(&tenant, "").await;
    rig.stop().await;
}

#[tokio::test]
async fn maintenance_is_announced_before_it_starts() {
    let (tenant, page) = (Tenant::start(), StatusPage::start());
    page.add_maintenance("Database upgrade", "scheduled");
    let text = format!("name = \"Alpha\"\nurl = \"{}\"\n", page.url());
    let announcing = format!("{text}announce = \"30d\"\n");
    let folder = folder(&[("a", text)]);
    let rig = TestDaemon::start_in(folder.clone(), &tenant, Scenario::default());
    rig.wait_until(|board| board.cycles.finished_at.is_some()).await;
    rig.cycles(2).await;
    assert_eq!(seen_now(&tenant), "");
    fs::write(folder.path().join("monitors/a.toml"), announcing).unwrap();
    tenant.wait_until(|tenant| seen_now(tenant).starts_with("Alpha: Database upgrade (planned for ")).await;
    assert!(seen_now(&tenant).ends_with(" UTC)"), "{}", seen_now(&tenant));
    rig.cycles(3).await;
    assert_eq!(tenant.writes().len(), 1);
    page.set_indicator("major", "Partial System Outage");
    wait_for_banner(&tenant, "Alpha: Partial System Outage").await;
    rig.stop().await;
}
