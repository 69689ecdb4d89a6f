//! How pages are watched: nobody waits for the slow, definitions follow the folder, politeness is kept.

use std::time::Duration;

use super::{Rig, Story, define, folder_watching, wait_for_banner};
use stand_ins::Reply;
use stand_ins::status_page::StatusPage;
use stand_ins::tenant::Tenant;

const DOWN: &str = "Alpha: Partial System Outage";

/// Pages that hang or drip do not delay the verdict on the others, though their looks never end in this story.
#[tokio::test]
async fn the_slow_delay_nobody() {
    let tenant = Tenant::start();
    let (alpha, hanging, dripping) = (StatusPage::start(), StatusPage::start(), StatusPage::start());
    hanging.always_on("", Reply::hang());
    dripping.always_on("", Reply::usual().drip(1, Duration::from_secs(1)));
    let pages = [("Alpha", &alpha), ("Hanging", &hanging), ("Dripping", &dripping)];
    let story = Story { timeout: Duration::from_secs(3600), ..Story::default() };
    let rig = Rig::start_in(folder_watching(&pages), &tenant, story);
    alpha.set_indicator("major", "Partial System Outage");
    wait_for_banner(&tenant, DOWN).await;
    alpha.recover();
    wait_for_banner(&tenant, "").await;
    rig.wait_until(|board| board.cycles.missed > 0).await;
    assert_eq!((hanging.most_in_flight(), dripping.most_in_flight()), (1, 1));
    rig.stop().await;
}

/// A monitor that is added, changed or removed takes effect without a restart; a broken file changes nothing.
#[tokio::test]
async fn definitions_follow_the_folder() {
    let tenant = Tenant::start();
    let (alpha, beta) = (StatusPage::start(), StatusPage::start());
    alpha.set_indicator("major", "Partial System Outage");
    beta.set_indicator("minor", "Slow");
    let rig = Rig::start(&tenant, &[("Alpha", &alpha)]);
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

/// A change is believed after as many readings as the definition says, and unreadable looks do not count.
#[tokio::test]
async fn thresholds_hold_back() {
    let (tenant, page) = (Tenant::start(), StatusPage::start());
    let folder = folder_watching(&[]);
    define(folder.path(), "Alpha", &page, "raise_after = 3");
    let rig = Rig::start_in(folder, &tenant, Story::default());
    rig.cycles(2).await;
    let changed = page.requests().len();
    page.set_indicator("major", "Partial System Outage");
    wait_for_banner(&tenant, DOWN).await;
    let readings = page.requests().len() - changed;
    assert!(readings >= 3, "raised after {readings} readings");
    rig.stop().await;
}

/// Pages are asked for changes only: an unchanged page answers 304 and is still known.
#[tokio::test]
async fn unchanged_pages_answer_304() {
    let (tenant, page) = (Tenant::start(), StatusPage::start());
    page.set_indicator("major", "Partial System Outage");
    let rig = Rig::start(&tenant, &[("Alpha", &page)]);
    rig.wait_until(|board| board.monitors.get("Alpha").is_some_and(|alpha| alpha.not_modified >= 3)).await;
    wait_for_banner(&tenant, DOWN).await;
    assert!(page.answered(304) >= 3);
    assert!(page.requests().iter().all(|r| r.path == "/api/v2/status.json" && r.bearer().is_none()));
    rig.stop().await;
}

/// A page that asks to be left alone is left alone for that long, and the others are not.
#[tokio::test]
async fn retry_after_is_kept() {
    let tenant = Tenant::start();
    let (busy, other) = (StatusPage::start(), StatusPage::start());
    busy.next(Reply::too_many(Some(600)));
    let rig = Rig::start(&tenant, &[("Busy", &busy), ("Other", &other)]);
    other.wait_for_requests(10).await;
    assert_eq!(busy.requests().len(), 1);
    rig.cycles(3).await;
    let reason = rig.board.read(|board| board.monitors["Busy"].failures.keys().copied().collect::<Vec<_>>());
    assert_eq!(reason, ["rate_limited"]);
    rig.stop().await;
}

/// Every change of what is believed is in the database, and how long it was believed; nothing for single looks.
#[tokio::test]
async fn history_is_kept() {
    let (tenant, page) = (Tenant::start(), StatusPage::start());
    let rig = Rig::start(&tenant, &[("Alpha", &page)]);
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
