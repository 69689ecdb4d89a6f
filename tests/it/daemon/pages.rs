//! Pages that pause, vanish in part or as a whole, and clocks that jump, told by what the tenant's users saw.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use data_sources_monitor::runtime::board::MonitorView;
use data_sources_monitor::runtime::clock::Clock;

use super::{Rig, Story, define, folder_watching, seen_now, wait_for_banner};
use stand_ins::Reply;
use stand_ins::status_page::StatusPage;
use stand_ins::tenant::Tenant;

const HOUR: Duration = Duration::from_secs(3600);

fn busy() -> Reply {
    Reply::status(503).header("retry-after", "3600")
}

/// One answer of an overloaded page does not blind the daemon for an hour.
#[tokio::test]
async fn a_pause_that_a_page_asks_for_is_capped_and_shown() {
    let (tenant, page) = (Tenant::start(), StatusPage::start());
    page.next(busy());
    let rig = Rig::start(&tenant, &[("Alpha", &page)]);
    let paused = |m: &MonitorView| m.paused_until.is_some();
    rig.wait_until(|board| board.monitors.get("Alpha").is_some_and(paused)).await;
    page.set_indicator("major", "Partial System Outage");
    wait_for_banner(&tenant, "Alpha: Partial System Outage").await;
    rig.wait_until(|board| board.monitors["Alpha"].paused_until.is_none()).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_reload_polls_every_page_at_once() {
    let (tenant, alpha, beta) = (Tenant::start(), StatusPage::start(), StatusPage::start());
    alpha.next(busy());
    let story = Story { interval: HOUR, ..Story::default() };
    let rig = Rig::start_in(folder_watching(&[("Alpha", &alpha), ("Beta", &beta)]), &tenant, story);
    rig.wait_until(|board| board.monitors.len() == 2 && board.monitors.values().all(|m| m.looks == 1)).await;
    alpha.set_indicator("major", "Partial System Outage");
    rig.controls.reload();
    rig.wait_until(|board| board.monitors.values().all(|m| m.looks == 2)).await;
    wait_for_banner(&tenant, "Alpha: Partial System Outage").await;
    rig.stop().await;
}

/// Before each monitor answered or failed once, nobody is told that the daemon does its work.
#[tokio::test]
async fn a_daemon_is_ready_once_each_monitor_was_polled() {
    let (tenant, alpha, beta) = (Tenant::start(), StatusPage::start(), StatusPage::start());
    beta.next(Reply::hang());
    let story = Story { timeout: Duration::from_millis(700), ..Story::default() };
    let rig = Rig::start_in(folder_watching(&[("Alpha", &alpha), ("Beta", &beta)]), &tenant, story);
    rig.wait_until(|board| board.cycles.finished > 2).await;
    assert!(rig.board.read(|board| board.cycles.finished_at.is_none() || board.monitors["Beta"].looks > 0));
    rig.wait_until(|board| board.cycles.finished_at.is_some()).await;
    assert!(rig.board.read(|board| board.monitors.values().all(|monitor| monitor.looks > 0)));
    rig.stop().await;
}

/// A machine that slept has missed its polls, though its timers say that they are not due yet.
#[tokio::test]
async fn every_page_is_polled_after_a_jump_of_the_clock() {
    let (tenant, alpha, beta) = (Tenant::start(), StatusPage::start(), StatusPage::start());
    let ahead: &'static AtomicI64 = Box::leak(Box::default());
    let folder = folder_watching(&[("Alpha", &alpha)]);
    // Its polls wake the daemon, so that the story need not last until the clocks are compared anyway.
    define(folder.path(), "Beta", &beta, "interval = \"1s\"");
    let story = Story { interval: 8 * HOUR, clock: Clock::system().ahead_by(ahead), ..Story::default() };
    let rig = Rig::start_in(folder, &tenant, story);
    rig.wait_until(|board| board.monitors.get("Alpha").is_some_and(|alpha| alpha.looks == 1)).await;
    for (jump, looks) in [(3600, 2), (-7200, 3)] {
        ahead.fetch_add(jump, Ordering::Relaxed);
        rig.wait_until(|board| board.monitors["Alpha"].looks >= looks).await;
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_renamed_neighbour_does_not_keep_the_banner_up() {
    let (tenant, page) = (Tenant::start(), StatusPage::start());
    let api = page.add_component("API", "major_outage");
    let hooks = page.add_component("Webhooks", "operational");
    let folder = folder_watching(&[]);
    define(folder.path(), "Alpha", &page, "components = [\"API\", \"Webhooks\"]");
    let rig = Rig::start_in(folder, &tenant, Story::default());
    wait_for_banner(&tenant, "Alpha: API: major outage").await;
    page.change(|page| page.remove_component(&hooks));
    page.add_component("Outbound webhooks", "operational");
    page.set_component(&api, "operational");
    wait_for_banner(&tenant, "").await;
    assert!(rig.board.read(|board| board.monitors["Alpha"].state.unknown.is_some()));
    rig.stop().await;
}

#[tokio::test]
async fn a_problem_that_nobody_confirms_leaves_the_banner_after_hold_for() {
    let (tenant, page) = (Tenant::start(), StatusPage::start());
    page.set_indicator("major", "Partial System Outage");
    let story = Story { hold_for: Duration::from_secs(2), ..Story::default() };
    let rig = Rig::start_in(folder_watching(&[("Alpha", &page)]), &tenant, story);
    wait_for_banner(&tenant, "Alpha: Partial System Outage").await;
    page.always_on("", Reply::status(503));
    rig.wait_until(|board| board.monitors["Alpha"].state.unknown.as_ref().is_some_and(|u| u.times > 5)).await;
    assert_eq!(seen_now(&tenant), "Alpha: Partial System Outage");
    wait_for_banner(&tenant, "").await;
    let state = rig.board.read(|board| board.monitors["Alpha"].state.clone());
    assert_eq!((state.read_at, state.unknown.is_some()), (None, true));
    page.as_usual();
    wait_for_banner(&tenant, "Alpha: Partial System Outage").await;
    rig.stop().await;
}
