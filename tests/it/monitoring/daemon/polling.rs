//! How status pages are polled: independently of each other, following the folder of definitions, within the limits
//! that pages set.

use std::os::unix::fs::symlink;
use std::time::Duration;

use data_sources_monitor::testing::store::Store;
use jiff::civil::Date;

use super::{Scenario, TestDaemon, define, folder_watching, wait_for_banner};
use stand_ins::Reply;
use stand_ins::status_page::StatusPage;
use stand_ins::tenant::Tenant;

const DOWN: &str = "Alpha: Partial System Outage";

/// Their polls never end within this test.
#[tokio::test]
async fn slow_pages_do_not_delay_the_others() {
    let tenant = Tenant::start();
    let (alpha, hanging, dripping) = (StatusPage::start(), StatusPage::start(), StatusPage::start());
    hanging.always_on("", Reply::hang());
    dripping.always_on("", Reply::usual().drip(1, Duration::from_secs(1)));
    let pages = [("Alpha", &alpha), ("Hanging", &hanging), ("Dripping", &dripping)];
    let scenario = Scenario { timeout: Duration::from_secs(3600), ..Scenario::default() };
    let rig = TestDaemon::start_in(folder_watching(&pages), &tenant, scenario);
    alpha.set_indicator("major", "Partial System Outage");
    wait_for_banner(&tenant, DOWN).await;
    alpha.recover();
    wait_for_banner(&tenant, "").await;
    rig.wait_until(|board| board.cycles.missed > 0).await;
    assert_eq!((hanging.most_in_flight(), dripping.most_in_flight()), (1, 1));
    rig.stop().await;
}

/// A broken file changes nothing.
#[tokio::test]
async fn added_changed_and_removed_monitors_take_effect_without_a_restart() {
    let tenant = Tenant::start();
    let (alpha, beta) = (StatusPage::start(), StatusPage::start());
    alpha.set_indicator("major", "Partial System Outage");
    beta.set_indicator("minor", "Slow");
    let rig = TestDaemon::start(&tenant, &[("Alpha", &alpha)]);
    wait_for_banner(&tenant, DOWN).await;
    define(rig.folder.path(), "Beta", &beta, "");
    wait_for_banner(&tenant, "Alpha: Partial System Outage | Beta: Slow").await;
    define(rig.folder.path(), "Beta", &beta, "intervall = 3");
    rig.wait_until(|board| !board.definitions.0).await;
    rig.cycles(3).await;
    assert_eq!(tenant.visible().unwrap().message, "Alpha: Partial System Outage | Beta: Slow");
    define(rig.folder.path(), "Beta", &beta, "severity = { minor = \"none\" }");
    wait_for_banner(&tenant, DOWN).await;
    std::fs::remove_file(rig.folder.path().join("monitors/Alpha.toml")).unwrap();
    wait_for_banner(&tenant, "").await;
    rig.stop().await;
}

/// Kubernetes mounts links to files in a folder of its own, and replaces that folder by another one.
#[tokio::test]
async fn a_mounted_config_map_takes_effect_when_it_is_replaced() {
    let (tenant, page) = (Tenant::start(), StatusPage::start());
    page.set_indicator("major", "Partial System Outage");
    let folder = folder_watching(&[]);
    let mounted = folder.path().join("monitors");
    for (version, name) in [("..1", "Alpha"), ("..2", "Beta (new)")] {
        std::fs::create_dir(mounted.join(version)).unwrap();
        let text = format!("name = \"{name}\"\nurl = \"{}\"\n", page.url());
        std::fs::write(mounted.join(version).join("page.toml"), text).unwrap();
    }
    symlink("..data/page.toml", mounted.join("page.toml")).unwrap();
    symlink("..1", mounted.join("..data")).unwrap();
    let rig = TestDaemon::start_in(folder, &tenant, Scenario::default());
    wait_for_banner(&tenant, DOWN).await;
    symlink("..2", mounted.join("..new")).unwrap();
    std::fs::rename(mounted.join("..new"), mounted.join("..data")).unwrap();
    wait_for_banner(&tenant, "Beta (new): Partial System Outage").await;
    rig.stop().await;
}

/// Polls that failed do not count.
#[tokio::test]
async fn a_change_counts_after_the_configured_number_of_polls() {
    let (tenant, page) = (Tenant::start(), StatusPage::start());
    let folder = folder_watching(&[]);
    define(folder.path(), "Alpha", &page, "raise_after = 3");
    let rig = TestDaemon::start_in(folder, &tenant, Scenario::default());
    rig.cycles(2).await;
    let changed = page.requests().len();
    page.set_indicator("major", "Partial System Outage");
    wait_for_banner(&tenant, DOWN).await;
    let readings = page.requests().len() - changed;
    assert!(readings >= 3, "raised after {readings} readings");
    rig.stop().await;
}

#[tokio::test]
async fn unchanged_pages_are_requested_conditionally() {
    let (tenant, page) = (Tenant::start(), StatusPage::start());
    page.set_indicator("major", "Partial System Outage");
    let rig = TestDaemon::start(&tenant, &[("Alpha", &page)]);
    rig.wait_until(|board| board.monitors.get("Alpha").is_some_and(|alpha| alpha.not_modified >= 3)).await;
    wait_for_banner(&tenant, DOWN).await;
    assert!(page.answered(304) >= 3);
    assert!(page.requests().iter().all(|r| r.path == "/api/v2/status.json" && r.bearer().is_none()));
    rig.stop().await;
}

#[tokio::test]
async fn retry_after_pauses_one_page_only() {
    let tenant = Tenant::start();
    let (busy, other) = (StatusPage::start(), StatusPage::start());
    busy.next(Reply::too_many(Some(600)));
    let rig = TestDaemon::start(&tenant, &[("Busy", &busy), ("Other", &other)]);
    other.wait_for_requests(10).await;
    assert_eq!(busy.requests().len(), 1);
    rig.cycles(3).await;
    let reason = rig.board.read(|board| board.monitors["Busy"].failures.keys().copied().collect::<Vec<_>>());
    assert_eq!(reason, ["rate_limited"]);
    rig.stop().await;
}

/// Single polls are not.
#[tokio::test]
async fn every_change_and_its_duration_is_stored() {
    let (tenant, page) = (Tenant::start(), StatusPage::start());
    let rig = TestDaemon::start(&tenant, &[("Alpha", &page)]);
    rig.cycles(3).await;
    page.set_indicator("major", "Partial System Outage");
    wait_for_banner(&tenant, DOWN).await;
    page.recover();
    wait_for_banner(&tenant, "").await;
    let folder = rig.stop().await;
    let db = rusqlite::Connection::open(folder.path().join("data/monitor.db")).unwrap();
    let mut select = db.prepare("SELECT from_ || ' ' || to_ FROM transition ORDER BY id").unwrap();
    let rows: Vec<String> = select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert_eq!(rows, ["none major", "major none"]);
    let watched = "SELECT sum(none) > 0, sum(major) > 0, sum(minor + critical + maintenance) FROM day";
    let days: (bool, bool, i64) =
        db.query_row(watched, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    assert_eq!(days, (true, true, 0));
}

/// Each poll of both runs is stored once.
#[tokio::test]
async fn response_times_are_kept_over_a_restart() {
    let (tenant, page) = (Tenant::start(), StatusPage::start());
    let mut folder = folder_watching(&[("Alpha", &page)]);
    let mut before = 0;
    for _ in 0..2 {
        before = page.requests().len();
        let rig = TestDaemon::start_in(folder, &tenant, Scenario::default());
        rig.wait_until(|board| board.monitors.get("Alpha").is_some_and(|view| view.polls >= 3)).await;
        folder = rig.stop().await;
    }
    let (store, _closer, _) = Store::open(&folder.path().join("data")).unwrap();
    let days = store.reader().responses(Some("Alpha".into()), Date::MIN).await.unwrap();
    let polls: u32 = days.iter().flat_map(|(.., day)| day.0.values()).map(|hour| hour.succeeded()).sum();
    let [before, all] = [before, page.requests().len()].map(|count| u32::try_from(count).unwrap());
    // A poll in progress at a stop is not counted.
    assert!(polls > before && (all - 2..=all).contains(&polls), "{polls} of {before} and {all}");
}
