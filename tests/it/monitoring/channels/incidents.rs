//! Incidents as people see them in Slack: one message each, changed in place, and replies in its thread.

use std::time::Duration;

use data_sources_monitor::testing::runtime::board::Board;
use data_sources_monitor::testing::runtime::monitoring::messenger::ConfiguredChannel;
use stand_ins::Reply;
use stand_ins::channels::slack::{self, Slack, UPDATE, refusal};
use stand_ins::status_page::StatusPage;
use stand_ins::tenant::Tenant;

use super::super::daemon::{Scenario, TestDaemon, define, folder_watching, wait_for_banner};
use super::{Stage, scenario, slack_at, title, wait_for_title};

/// Raise, worsen, a service joins, improve, resolve.
#[tokio::test]
async fn an_incident_is_one_message_that_follows_the_truth() {
    let (slack, tenant) = (Slack::start(), Tenant::start());
    let (alpha, beta) = (StatusPage::start(), StatusPage::start());
    let folder = folder_watching(&[("Alpha", &alpha), ("Beta", &beta)]);
    let daemon = TestDaemon::start_in(folder, &tenant, scenario(vec![slack_at("ops", &slack.api())]));
    daemon.cycles(3).await;
    assert_eq!(slack.messages(), []);
    alpha.set_indicator("minor", "Partially Degraded Service");
    wait_for_title(&slack, "🟡 Alpha (minor)").await;
    let message = slack.messages().remove(0);
    assert_eq!(message.lines[1], "Alpha: Partially Degraded Service");
    assert!(message.lines[2].starts_with("since 2") && message.lines[2].ends_with(" · Status page"));
    assert_eq!(message.text, "🟡 Alpha (minor)");
    alpha.set_indicator("critical", "Major Service Outage");
    wait_for_title(&slack, "🔴 Alpha (critical)").await;
    beta.set_indicator("major", "Partial System Outage");
    wait_for_title(&slack, "🔴 2 services (worst: critical)").await;
    alpha.recover();
    wait_for_title(&slack, "🔴 Beta (major)").await;
    beta.recover();
    wait_for_title(&slack, "✅ Resolved: Beta").await;
    slack.wait_until(|slack| slack.replies().len() == 3).await;
    daemon.cycles(5).await;
    assert_eq!(
        slack.replies(),
        [
            "🔴 Alpha (critical) | Alpha: Major Service Outage",
            "🔴 2 services (worst: critical) | Beta: Partial System Outage",
            "✅ Resolved: Beta",
        ]
    );
    assert_eq!(slack.messages()[0].edits, 4);
    alpha.set_indicator("minor", "Partially Degraded Service");
    slack.wait_until(|slack| slack.messages().len() == 2).await;
    slack.assert_well_behaved();
    daemon.stop().await;
}

#[tokio::test]
async fn an_open_incident_is_continued_after_a_restart() {
    let slack = Slack::start();
    let stage = Stage::start(vec![slack_at("ops", &slack.api())]);
    stage.page.set_indicator("major", "Partial System Outage");
    wait_for_title(&slack, "🔴 Alpha (major)").await;
    let stage = stage.restart(vec![slack_at("ops", &slack.api())]).await;
    stage.daemon.cycles(5).await;
    assert_eq!((slack.messages().len(), slack.messages()[0].edits), (1, 0));
    stage.page.recover();
    wait_for_title(&slack, "✅ Resolved: Alpha").await;
    stage.daemon.stop().await;
}

/// A scenario in which tenants show that an incident is over, and problems are held for a second.
fn resolving(channels: Vec<ConfiguredChannel>) -> Scenario {
    let mut scenario = Scenario { hold_for: Duration::from_secs(1), ..scenario(channels) };
    scenario.policy.resolved_for = Duration::from_secs(600);
    scenario
}

fn expired(board: &Board) -> bool {
    let state = &board.monitors["Alpha"].state;
    state.read_at.is_none() && state.unknown.is_some()
}

/// Neither the channel nor the banner says that it is over: the status page said nothing of the kind.
#[tokio::test]
async fn an_incident_is_not_resolved_while_its_status_page_cannot_be_read() {
    let (slack, tenant, page) = (Slack::start(), Tenant::start(), StatusPage::start());
    let folder = folder_watching(&[("Alpha", &page)]);
    let daemon = TestDaemon::start_in(folder, &tenant, resolving(vec![slack_at("ops", &slack.api())]));
    page.set_indicator("critical", "Major Service Outage");
    for _ in 0..2 {
        wait_for_title(&slack, "🔴 Alpha (critical)").await;
        wait_for_banner(&tenant, "Alpha: Major Service Outage").await;
        page.always_on("", Reply::status(503));
        daemon.wait_until(expired).await;
        wait_for_banner(&tenant, "").await;
        daemon.cycles(10).await;
        assert_eq!(title(&slack), "🔴 Alpha (critical)");
        page.as_usual();
    }
    page.always_on("", Reply::status(503));
    daemon.wait_until(expired).await;
    page.recover();
    page.as_usual();
    wait_for_title(&slack, "✅ Resolved: Alpha").await;
    assert_eq!((slack.messages().len(), slack.messages()[0].edits), (1, 1));
    daemon.stop().await;
}

/// Also after a restart, and while a problem takes several readings to be raised.
#[tokio::test]
async fn an_incident_that_lasts_is_continued_when_its_status_page_can_be_read_again() {
    let (slack, tenant, page) = (Slack::start(), Tenant::start(), StatusPage::start());
    let folder = folder_watching(&[]);
    define(folder.path(), "Alpha", &page, "raise_after = 8");
    let start =
        |folder| TestDaemon::start_in(folder, &tenant, resolving(vec![slack_at("ops", &slack.api())]));
    let daemon = start(folder);
    page.set_indicator("critical", "Major Service Outage");
    wait_for_title(&slack, "🔴 Alpha (critical)").await;
    page.always_on("", Reply::status(503));
    daemon.wait_until(expired).await;
    let folder = daemon.stop().await;
    page.as_usual();
    let daemon = start(folder);
    wait_for_banner(&tenant, "Alpha: Major Service Outage").await;
    daemon.cycles(5).await;
    assert_eq!((title(&slack).as_str(), slack.messages()[0].edits), ("🔴 Alpha (critical)", 0));
    daemon.stop().await;
}

#[tokio::test]
async fn an_incident_of_a_muted_monitor_is_closed_without_a_message() {
    let (slack, tenant, page) = (Slack::start(), Tenant::start(), StatusPage::start());
    let folder = folder_watching(&[("Alpha", &page)]);
    let path = folder.path().to_owned();
    let daemon = TestDaemon::start_in(folder, &tenant, resolving(vec![slack_at("ops", &slack.api())]));
    page.set_indicator("critical", "Major Service Outage");
    wait_for_title(&slack, "🔴 Alpha (critical)").await;
    wait_for_banner(&tenant, "Alpha: Major Service Outage").await;
    define(&path, "Alpha", &page, "muted_until = 2999-01-01T00:00:00Z");
    daemon.wait_until(|board| board.monitors["Alpha"].muted_until.is_some()).await;
    wait_for_banner(&tenant, "").await;
    daemon.cycles(10).await;
    assert_eq!(title(&slack), "🔴 Alpha (critical)");
    define(&path, "Alpha", &page, "");
    slack.wait_until(|slack| slack.messages().len() == 2).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_message_that_a_person_deleted_is_posted_again() {
    let slack = Slack::start();
    let stage = Stage::start(vec![slack_at("ops", &slack.api())]);
    stage.page.set_indicator("minor", "Partially Degraded Service");
    wait_for_title(&slack, "🟡 Alpha (minor)").await;
    slack.delete(&slack.messages()[0].ts);
    stage.page.set_indicator("major", "Partial System Outage");
    wait_for_title(&slack, "🔴 Alpha (major)").await;
    slack.next_on(UPDATE, refusal("edit_window_closed"));
    stage.page.recover();
    slack.wait_until(|slack| slack.messages().len() == 2).await;
    assert_eq!(slack.messages()[1].lines[0], "✅ Resolved: Alpha");
    assert_eq!(slack.replies(), [""; 0]);
    stage.daemon.stop().await;
}

/// The trouble is shown, and a reload retries at once after a person fixed it.
#[tokio::test]
async fn a_channel_archived_in_mid_incident_is_reported_and_continued() {
    let slack = Slack::start();
    let stage = Stage::start(vec![slack_at("ops", &slack.api())]);
    stage.page.set_indicator("minor", "Partially Degraded Service");
    wait_for_title(&slack, "🟡 Alpha (minor)").await;
    slack.change(|workspace| workspace.archived = true);
    stage.page.set_indicator("major", "Partial System Outage");
    let archived = |trouble: &Option<String>| {
        trouble.as_ref().is_some_and(|words| words.contains("channel #ops is archived; unarchive it"))
    };
    let waiting = stage.daemon.wait_until(|board| archived(&board.channels["ops"].report.trouble));
    waiting.await;
    let asked = slack.requests().len();
    stage.daemon.cycles(10).await;
    assert_eq!(slack.requests().len(), asked, "a rejected message is not repeated every second");
    slack.change(|workspace| workspace.archived = false);
    stage.daemon.controls.reload();
    wait_for_title(&slack, "🔴 Alpha (major)").await;
    stage.daemon.stop().await;
}

#[tokio::test]
async fn hostile_texts_ping_no_one_and_break_nothing() {
    let slack = Slack::start();
    let stage = Stage::start(vec![slack_at("ops", &slack.api())]);
    let text = "<!channel> @channel & `rm` *bold* \u{202e}desrever <https://evil.test|click>";
    stage.page.set_indicator("critical", text);
    wait_for_title(&slack, "🔴 Alpha (critical)").await;
    slack.assert_well_behaved();
    let line = slack.messages()[0].lines[1].clone();
    assert_eq!(line, "Alpha: <!channel> @channel & `rm` *bold* desrever <https://evil.test|click>");
    stage.daemon.stop().await;
}

/// Forty services at once: within all limits, with what does not fit counted.
#[tokio::test]
async fn forty_services_are_one_message() {
    let (slack, tenant) = (Slack::start(), Tenant::start());
    let page = StatusPage::start();
    let folder = folder_watching(&[]);
    for n in 0..60 {
        define(folder.path(), &format!("Service {n:02}"), &page, "");
    }
    page.set_indicator("major", &"long words ".repeat(60));
    let daemon = TestDaemon::start_in(folder, &tenant, scenario(vec![slack_at("ops", &slack.api())]));
    wait_for_title(&slack, "🔴 60 services (worst: major)").await;
    let lines = slack.messages()[0].lines.clone();
    assert_eq!(lines.iter().filter(|line| line.starts_with("Service ")).count(), 50);
    assert!(lines.contains(&"+10 more".to_owned()));
    slack.assert_well_behaved();
    daemon.stop().await;
}

#[tokio::test]
async fn a_rejected_token_names_its_variable_and_is_not_shown() {
    let slack = Slack::start();
    slack.always_on("chat", refusal("invalid_auth"));
    let stage = Stage::start(vec![slack_at("ops", &slack.api())]);
    stage.page.set_indicator("critical", "Major Service Outage");
    stage
        .daemon
        .wait_until(|board| board.channels.get("ops").is_some_and(|ops| ops.report.trouble.is_some()))
        .await;
    let trouble = stage.daemon.board.read(|board| board.channels["ops"].report.trouble.clone()).unwrap();
    assert_eq!(trouble, "Slack answered `invalid_auth`: check CHANNEL_OPS_TOKEN");
    assert!(!stage.daemon.board.read(|board| format!("{board:?}")).contains(slack::TOKEN));
    stage.daemon.stop().await;
}
