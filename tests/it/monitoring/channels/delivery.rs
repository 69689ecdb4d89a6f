//! Rate limits, lost answers, crashes: what is repeated, and what is not.

use std::time::Duration;

use stand_ins::channels::slack::{POST, Slack, UPDATE, rate_limited, refusal};
use stand_ins::{Gate, Reply};

use data_sources_monitor::testing::domain::monitoring::news::channel::WebhookFormat;
use stand_ins::channels::webhook::Receiver;

use super::super::daemon::wait_for_banner;
use super::{Stage, hook, slack_at, title, wait_for_title};

#[tokio::test]
async fn a_rate_limit_is_waited_for_and_the_newest_content_is_sent() {
    let slack = Slack::start();
    slack.next_on(POST, rate_limited(2));
    let stage = Stage::start(vec![slack_at("ops", &slack.api())]);
    stage.page.set_indicator("minor", "Partially Degraded Service");
    slack.wait_for_requests(1).await;
    stage.page.set_indicator("critical", "Major Service Outage");
    wait_for_title(&slack, "🔴 Alpha (critical)").await;
    let requests = slack.requests();
    assert_eq!(requests.len(), 2);
    assert!(requests[1].at - requests[0].at >= Duration::from_millis(1900));
    assert_eq!(slack.replies(), [""; 0]);
    stage.daemon.stop().await;
}

/// `chat.postMessage` has three words for it, and answers 200.
#[tokio::test]
async fn every_word_for_a_rate_limit_is_waited_for() {
    for word in ["ratelimited", "rate_limited", "message_limit_exceeded"] {
        let slack = Slack::start();
        slack.next_on(POST, refusal(word).header("retry-after", "1"));
        let stage = Stage::start(vec![slack_at("ops", &slack.api())]);
        stage.page.set_indicator("minor", "Partially Degraded Service");
        wait_for_title(&slack, "🟡 Alpha (minor)").await;
        let requests = slack.requests();
        assert!(requests[1].at - requests[0].at >= Duration::from_millis(900), "{word}");
        stage.daemon.stop().await;
    }
}

#[tokio::test]
async fn what_slack_cannot_do_for_a_while_is_retried_soon() {
    for word in ["service_unavailable", "request_timeout", "team_added_to_org"] {
        let slack = Slack::start();
        slack.next_on(POST, refusal(word));
        let stage = Stage::start(vec![slack_at("ops", &slack.api())]);
        stage.page.set_indicator("minor", "Partially Degraded Service");
        wait_for_title(&slack, "🟡 Alpha (minor)").await;
        stage.daemon.stop().await;
    }
}

/// A limit that hits right after the update: people are told once, and the message is not changed twice.
#[tokio::test]
async fn a_reply_that_was_limited_is_sent_later() {
    let slack = Slack::start();
    let stage = Stage::start(vec![slack_at("ops", &slack.api())]);
    stage.page.set_indicator("minor", "Partially Degraded Service");
    wait_for_title(&slack, "🟡 Alpha (minor)").await;
    slack.next_on(POST, refusal("rate_limited").header("retry-after", "1"));
    stage.page.set_indicator("critical", "Major Service Outage");
    slack.wait_until(|slack| slack.replies() == ["🔴 Alpha (critical) | Alpha: Major Service Outage"]).await;
    stage.daemon.wait_until(|board| board.channels["ops"].report.pending_since.is_none()).await;
    assert_eq!(slack.messages()[0].edits, 1);
    stage.daemon.stop().await;
}

/// The message shows the worsening already, so it must be changed back.
#[tokio::test]
async fn a_worsening_that_ends_before_its_limited_reply_is_taken_back() {
    let slack = Slack::start();
    let stage = Stage::start(vec![slack_at("ops", &slack.api())]);
    stage.page.set_indicator("minor", "Partially Degraded Service");
    wait_for_title(&slack, "🟡 Alpha (minor)").await;
    slack.next_on(POST, rate_limited(2));
    stage.page.set_indicator("critical", "Major Service Outage");
    stage.daemon.wait_until(|board| board.channels["ops"].failures == 1).await;
    assert_eq!(title(&slack), "🔴 Alpha (critical)");
    stage.page.set_indicator("minor", "Partially Degraded Service");
    wait_for_title(&slack, "🟡 Alpha (minor)").await;
    stage.daemon.wait_until(|board| board.channels["ops"].report.pending_since.is_none()).await;
    assert_eq!(slack.replies(), [""; 0]);
    stage.daemon.stop().await;
}

#[tokio::test]
async fn an_incident_that_ends_before_its_message_left_is_not_mentioned() {
    let slack = Slack::start();
    slack.next_on(POST, rate_limited(2));
    let stage = Stage::start(vec![slack_at("ops", &slack.api())]);
    stage.page.set_indicator("minor", "Partially Degraded Service");
    slack.wait_for_requests(1).await;
    stage.page.recover();
    let closed = stage.daemon.wait_until(|board| {
        let ops = &board.channels["ops"];
        ops.failures == 1 && ops.report.pending_since.is_none()
    });
    closed.await;
    stage.page.set_indicator("major", "Partial System Outage");
    wait_for_title(&slack, "🔴 Alpha (major)").await;
    assert_eq!((slack.requests().len(), slack.messages().len()), (2, 1));
    stage.daemon.stop().await;
}

/// At least once: a lost answer may repeat one message, and the last one is the truth.
#[tokio::test]
async fn a_lost_answer_repeats_at_most_one_message() {
    let slack = Slack::start();
    slack.next_on(POST, Reply::usual().reset());
    let stage = Stage::start(vec![slack_at("ops", &slack.api())]);
    stage.page.set_indicator("minor", "Partially Degraded Service");
    slack.wait_until(|slack| slack.messages().len() == 2).await;
    slack.next_on(UPDATE, Reply::usual().cut_off());
    stage.page.recover();
    slack.wait_until(|slack| slack.messages()[1].lines[0] == "✅ Resolved: Alpha").await;
    slack.wait_until(|slack| slack.replies() == ["✅ Resolved: Alpha"]).await;
    stage.daemon.wait_until(|board| board.channels["ops"].report.pending_since.is_none()).await;
    stage.daemon.cycles(5).await;
    assert_eq!((slack.messages().len(), slack.replies().len()), (2, 1));
    stage.daemon.stop().await;
}

/// A failed message is sent after a restart, under its id, although its incident has changed nothing since.
#[tokio::test]
async fn a_pending_message_survives_a_restart() {
    let receiver = Receiver::start();
    receiver.next(Reply::status(503));
    let stage = Stage::start(vec![hook("flow", WebhookFormat::Json, &receiver)]);
    stage.page.set_indicator("major", "Partial System Outage");
    stage.daemon.wait_until(|board| board.channels.get("flow").is_some_and(|flow| flow.failures == 1)).await;
    let stage = stage.restart(vec![hook("flow", WebhookFormat::Json, &receiver)]).await;
    receiver.wait_until(|receiver| !receiver.deliveries().is_empty()).await;
    let requests = receiver.requests();
    assert_eq!(requests[0].header("webhook-id"), requests[1].header("webhook-id"));
    assert_eq!(receiver.announced(), ["raised Alpha (major)"]);
    stage.daemon.stop().await;
}

/// One channel hangs; the others and the banner do not wait for it.
#[tokio::test]
async fn a_channel_that_hangs_delays_no_other() {
    let (slack, stuck) = (Slack::start(), Receiver::start());
    let gate = Gate::new();
    stuck.always_on("POST", Reply::usual().held_by(&gate));
    let channels = vec![hook("stuck", WebhookFormat::Json, &stuck), slack_at("ops", &slack.api())];
    let stage = Stage::start(channels);
    stage.page.set_indicator("major", "Partial System Outage");
    stuck.wait_until(|stuck| stuck.in_flight() == 1).await;
    wait_for_title(&slack, "🔴 Alpha (major)").await;
    wait_for_banner(&stage.tenant, "Alpha: Partial System Outage").await;
    stage.page.recover();
    wait_for_title(&slack, "✅ Resolved: Alpha").await;
    assert_eq!(stuck.in_flight(), 1);
    gate.open();
    stuck.wait_until(|stuck| stuck.announced().len() == 2).await;
    assert_eq!(stuck.announced(), ["raised Alpha (major)", "resolved Resolved: Alpha"]);
    assert_eq!(title(&slack), "✅ Resolved: Alpha");
    stage.daemon.stop().await;
}
