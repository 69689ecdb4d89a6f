//! Status pages that ask for a pause, disappear in part or entirely, and clocks that jump; checked by what users of
//! the tenant saw.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use data_sources_monitor::testing::runtime::board::MonitorView;
use data_sources_monitor::testing::runtime::clock::Clock;

use super::{Scenario, TestDaemon, define, folder_watching, seen_now, wait_for_banner};
use stand_ins::engines::EnginePage;
use stand_ins::status_page::StatusPage;
use stand_ins::tenant::Tenant;
use stand_ins::{Clock as StandInClock, Reply};

const HOUR: Duration = Duration::from_secs(3600);

fn overloaded() -> Reply {
    Reply::status(503).header("retry-after", "3600")
}

/// One response of an overloaded page must not stop polling for an hour.
#[tokio::test]
async fn a_long_retry_after_is_capped_and_shown() {
    let (tenant, page) = (Tenant::start(), StatusPage::start());
    page.next(overloaded());
    let rig = TestDaemon::start(&tenant, &[("Alpha", &page)]);
    let paused = |m: &MonitorView| m.paused_until.is_some();
    rig.wait_until(|board| board.monitors.get("Alpha").is_some_and(paused)).await;
    page.set_indicator("major", "Partial System Outage");
    wait_for_banner(&tenant, "Alpha: Partial System Outage").await;
    rig.wait_until(|board| board.monitors["Alpha"].paused_until.is_none()).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_reload_polls_every_page_immediately() {
    let (tenant, alpha, beta) = (Tenant::start(), StatusPage::start(), StatusPage::start());
    alpha.next(overloaded());
    let scenario = Scenario { interval: HOUR, ..Scenario::default() };
    let rig = TestDaemon::start_in(folder_watching(&[("Alpha", &alpha), ("Beta", &beta)]), &tenant, scenario);
    rig.wait_until(|board| board.monitors.len() == 2 && board.monitors.values().all(|m| m.polls == 1)).await;
    alpha.set_indicator("major", "Partial System Outage");
    rig.controls.reload();
    rig.wait_until(|board| board.monitors.values().all(|m| m.polls == 2)).await;
    wait_for_banner(&tenant, "Alpha: Partial System Outage").await;
    rig.stop().await;
}

#[tokio::test]
async fn the_daemon_is_ready_after_each_monitor_was_polled_once() {
    let (tenant, alpha, beta) = (Tenant::start(), StatusPage::start(), StatusPage::start());
    beta.next(Reply::hang());
    let scenario = Scenario { timeout: Duration::from_millis(700), ..Scenario::default() };
    let rig = TestDaemon::start_in(folder_watching(&[("Alpha", &alpha), ("Beta", &beta)]), &tenant, scenario);
    rig.wait_until(|board| board.cycles.finished > 2).await;
    assert!(rig.board.read(|board| board.cycles.finished_at.is_none() || board.monitors["Beta"].polls > 0));
    rig.wait_until(|board| board.cycles.finished_at.is_some()).await;
    assert!(rig.board.read(|board| board.monitors.values().all(|monitor| monitor.polls > 0)));
    rig.stop().await;
}

/// A machine that was suspended has missed polls although its timers are not due yet.
#[tokio::test]
async fn a_clock_jump_polls_every_page() {
    let (tenant, alpha, beta) = (Tenant::start(), StatusPage::start(), StatusPage::start());
    let ahead: &'static AtomicI64 = Box::leak(Box::default());
    let folder = folder_watching(&[("Alpha", &alpha)]);
    // Its polls wake the daemon, so that the test need not wait for the periodic clock comparison.
    define(folder.path(), "Beta", &beta, "interval = \"1s\"");
    let scenario =
        Scenario { interval: 8 * HOUR, clock: Clock::system().ahead_by(ahead), ..Scenario::default() };
    let rig = TestDaemon::start_in(folder, &tenant, scenario);
    rig.wait_until(|board| board.monitors.get("Alpha").is_some_and(|alpha| alpha.polls == 1)).await;
    for (jump, polls) in [(3600, 2), (-7200, 3)] {
        ahead.fetch_add(jump, Ordering::Relaxed);
        rig.wait_until(|board| board.monitors["Alpha"].polls >= polls).await;
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_renamed_monitor_does_not_keep_the_banner_up() {
    let (tenant, page) = (Tenant::start(), StatusPage::start());
    let api = page.add_component("API", "major_outage");
    let hooks = page.add_component("Webhooks", "operational");
    let folder = folder_watching(&[]);
    define(folder.path(), "Alpha", &page, "components = [\"API\", \"Webhooks\"]");
    let rig = TestDaemon::start_in(folder, &tenant, Scenario::default());
    wait_for_banner(&tenant, "Alpha: API: major outage").await;
    page.change(|page| page.remove_component(&hooks));
    page.add_component("Outbound webhooks", "operational");
    page.set_component(&api, "operational");
    wait_for_banner(&tenant, "").await;
    assert!(rig.board.read(|board| board.monitors["Alpha"].state.unknown.is_some()));
    rig.stop().await;
}

#[tokio::test]
async fn an_unconfirmed_problem_leaves_the_banner_after_hold_for() {
    let (tenant, page) = (Tenant::start(), StatusPage::start());
    page.set_indicator("major", "Partial System Outage");
    let scenario = Scenario { hold_for: Duration::from_secs(2), ..Scenario::default() };
    let rig = TestDaemon::start_in(folder_watching(&[("Alpha", &page)]), &tenant, scenario);
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

/// A vendor moved its page to another provider: the daemon finds out once which engine reads it, and says so until the
/// page can be read.
#[tokio::test]
async fn a_page_that_another_engine_reads_is_named_on_the_dashboard() {
    let tenant = Tenant::start();
    let page = EnginePage::open("betterstack", &StandInClock::system()).unwrap().recording();
    let folder = folder_watching(&[]);
    let file = folder.path().join("monitors/Alpha.toml");
    std::fs::write(&file, format!("name = \"Alpha\"\nurl = \"{}\"\n", page.url())).unwrap();
    let rig = TestDaemon::start_in(folder, &tenant, Scenario::default());
    rig.wait_until(|board| board.monitors.get("Alpha").is_some_and(|alpha| alpha.advice.is_some())).await;
    let advice = rig.board.read(|board| board.monitors["Alpha"].advice.clone()).unwrap();
    assert_eq!(
        advice,
        "its status page now answers as betterstack; set engine = \"betterstack\" in its definition"
    );
    rig.cycles(5).await;
    assert_eq!(page.requests_on("/index.json").len(), 1);
    let ready = "{\"page\":{\"id\":\"x\"},\"status\":{\"indicator\":\"none\",\"description\":\"Fine\"}}";
    page.always_on("/api/v2/status.json", Reply::text("application/json", ready));
    rig.wait_until(|board| board.monitors["Alpha"].advice.is_none()).await;
    rig.stop().await;
}

/// An outage of the page's server is no change of its engine.
#[tokio::test]
async fn no_engine_is_searched_while_the_server_of_a_page_fails() {
    let (tenant, page) = (Tenant::start(), StatusPage::start());
    page.always_on("", Reply::status(503));
    let rig = TestDaemon::start(&tenant, &[("Alpha", &page)]);
    rig.wait_until(|board| board.monitors.get("Alpha").is_some_and(|alpha| alpha.polls > 6)).await;
    assert!(page.requests().iter().all(|request| request.path == "/api/v2/status.json"), "{}", page.dump());
    rig.stop().await;
}
