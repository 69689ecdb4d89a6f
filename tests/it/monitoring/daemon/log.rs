//! What the log says about many cycles: changes at once, what stays the same hourly.

use std::time::Duration;

use data_sources_monitor::testing::runtime::clock::Clock;
use tracing::level_filters::LevelFilter;

use super::{Scenario, TestDaemon, folder_watching};
use crate::monitoring::captured_log::CapturedLog;
use stand_ins::Reply;
use stand_ins::status_page::StatusPage;
use stand_ins::tenant::Tenant;

/// Cycles within which a line comes.
const MOST_CYCLES: u32 = 1_000;

/// Lets some cycles pass. Returns what the log says about monitors meanwhile.
async fn log_of(cycles: u64, daemon: &TestDaemon, log: &CapturedLog) -> Vec<String> {
    let from = log.lines().len();
    let goal = daemon.board.read(|board| board.cycles.finished) + cycles;
    daemon.board.subscribe().wait_for(|board| board.cycles.finished >= goal).await.unwrap();
    since(from, log)
}

fn since(from: usize, log: &CapturedLog) -> Vec<String> {
    let lines = log.lines().split_off(from);
    let told = lines.iter().filter_map(|line| {
        let of = |target: &str| line.split_once(target).map(|(_, told)| told.to_owned());
        of(" MainOrchestrator: ").or_else(|| of(" StatusClient: "))
    });
    told.collect()
}

/// On a busy machine a page is read some cycles later.
async fn until_logged(words: &str, daemon: &TestDaemon, log: &CapturedLog) {
    logged_since(0, words, daemon, log).await;
}

async fn logged_since(from: usize, words: &str, daemon: &TestDaemon, log: &CapturedLog) {
    for _ in 0..MOST_CYCLES {
        if log.lines()[from..].iter().any(|line| line.contains(words)) {
            return;
        }
        daemon.cycles(1).await;
    }
    panic!("never logged {words:?}: {:#?}", &log.lines()[from..]);
}

fn start(page: &StatusPage, scenario: Scenario) -> (TestDaemon, Tenant) {
    let tenant = Tenant::start();
    (TestDaemon::start_in(folder_watching(&[("Alpha", page)]), &tenant, scenario), tenant)
}

#[tokio::test]
async fn an_issue_is_logged_when_it_changes() {
    let (log, _capturing) = CapturedLog::begin(LevelFilter::INFO);
    let page = StatusPage::start();
    let (daemon, _tenant) =
        start(&page, Scenario { timeout: Duration::from_secs(60), ..Scenario::default() });
    until_logged("All services operational.", &daemon, &log).await;
    page.set_indicator("major", "Partial System Outage");
    let issue = "Issues detected: Alpha: Partial System Outage (Severity: major)";
    let from = log.lines().len();
    logged_since(from, "Issues detected", &daemon, &log).await;
    daemon.cycles(20).await;
    let told = since(from, &log);
    assert_eq!(told, ["Alpha: none -> major: Partial System Outage", issue]);
    let from = log.lines().len();
    page.recover();
    logged_since(from, "All services operational.", &daemon, &log).await;
    daemon.cycles(20).await;
    let told = since(from, &log);
    assert_eq!(told, ["Alpha: major -> none: All Systems Operational", "All services operational."]);
    daemon.stop().await;
}

#[tokio::test]
async fn log_every_cycle_logs_what_is_unchanged() {
    let (log, _capturing) = CapturedLog::begin(LevelFilter::INFO);
    let page = StatusPage::start();
    let (daemon, _tenant) = start(&page, Scenario { log_every_cycle: true, ..Scenario::default() });
    until_logged("All services operational.", &daemon, &log).await;
    let told = log_of(10, &daemon, &log).await;
    let count = |words: &str| told.iter().filter(|line| *line == words).count();
    let counts = (count("Checking services status..."), count("All services operational."));
    assert!(counts.0 >= 9 && counts.1 >= 9, "{told:?}");
    daemon.stop().await;
}

/// A monitor without network, so that time can pass by itself.
#[tokio::test(start_paused = true)]
async fn an_unchanged_state_is_logged_hourly() {
    let (log, _capturing) = CapturedLog::begin(LevelFilter::INFO);
    let (tenant, folder) = (Tenant::start(), folder_watching(&[]));
    let rule = "kind = \"sync\"\nname = \"Alpha\"\nconnector = \"statuscake\"\nstale_after = \"1h\"\n";
    std::fs::write(folder.path().join("monitors/alpha.toml"), rule).unwrap();
    let clock = Clock::starting_at("2026-11-29T08:00:30Z".parse().unwrap());
    let scenario = Scenario { clock, interval: Duration::from_secs(60), ..Scenario::default() };
    let daemon = TestDaemon::start_in(folder, &tenant, scenario);
    log_of(2, &daemon, &log).await;
    let told = log_of(600, &daemon, &log).await;
    let unread = "No issues detected; not readable: Alpha";
    let count = |words: &str| told.iter().filter(|line| *line == words).count();
    let counts = (count("Checking services status..."), count(unread));
    assert!((9..=10).contains(&counts.0) && counts.0.abs_diff(counts.1) <= 1, "{told:?}");
    tokio::time::resume();
    daemon.stop().await;
}

#[tokio::test]
async fn each_new_reason_of_a_failed_poll_is_logged_at_once() {
    let (log, _capturing) = CapturedLog::begin(LevelFilter::INFO);
    let page = StatusPage::start();
    page.honour_etags(false);
    let (daemon, _tenant) = start(&page, Scenario::default());
    until_logged("All services operational.", &daemon, &log).await;
    for (reply, reason) in [
        (Reply::status(500), "cannot be read: HTTP 500."),
        (Reply::html(), "cannot be read: not JSON"),
        (Reply::usual().cut_off(), "cannot be read: the connection broke"),
        (Reply::redirect(302, "http://elsewhere.test/"), "cannot be read: the host name does not resolve"),
        (Reply::status(500), "cannot be read: HTTP 500"),
    ] {
        let from = log.lines().len();
        page.always_on("", reply);
        logged_since(from, reason, &daemon, &log).await;
    }
    daemon.stop().await;
}
