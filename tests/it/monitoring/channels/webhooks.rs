//! The formats of webhooks, and receivers that misbehave.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use data_sources_monitor::testing::channels::Webhook;
use data_sources_monitor::testing::domain::monitoring::news::channel::{ChannelPlace, WebhookFormat};
use data_sources_monitor::testing::runtime::board::Board;
use jiff::Timestamp;
use ring::hmac;
use serde_json::json;
use stand_ins::Reply;
use stand_ins::channels::webhook::{Delivery, PATH, Receiver};

use super::{SIGNING, Stage, client, configured, hook, hook_at};

/// Verifies the signature as docs/channels.md says; returns the id.
fn verified(delivery: &Delivery) -> String {
    let [id, timestamp, signature] = delivery.headers.clone().map(Option::unwrap);
    let age = Timestamp::now().as_second() - timestamp.parse::<i64>().unwrap();
    assert!((0..60).contains(&age), "{age}");
    let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", &delivery.raw].concat();
    let tag = BASE64_STANDARD.decode(signature.strip_prefix("v1,").unwrap()).unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, SIGNING.as_bytes());
    hmac::verify(&key, &signed, &tag).unwrap();
    id
}

#[tokio::test]
async fn our_format_is_signed_and_says_all_there_is() {
    let receiver = Receiver::start();
    let stage = Stage::start(vec![hook("flow", WebhookFormat::Json, &receiver)]);
    stage.page.set_indicator("minor", "Partially Degraded Service");
    receiver.wait_until(|receiver| receiver.announced().len() == 1).await;
    stage.page.set_indicator("critical", "Major Service Outage");
    receiver.wait_until(|receiver| receiver.announced().len() == 2).await;
    stage.page.recover();
    receiver.wait_until(|receiver| receiver.announced().len() == 3).await;
    assert_eq!(
        receiver.announced(),
        ["raised Alpha (minor)", "changed Alpha (critical)", "resolved Resolved: Alpha"]
    );
    let deliveries = receiver.deliveries();
    for delivery in &deliveries {
        assert_eq!(delivery.body["id"], json!(verified(delivery)));
        assert_eq!(delivery.body["key"], deliveries[0].body["key"]);
        assert!(!String::from_utf8_lossy(&delivery.raw).contains("null"));
    }
    let service = &deliveries[1].body["services"][0];
    assert_eq!((&service["name"], &service["worse"]), (&json!("Alpha"), &json!(true)));
    assert_eq!(service["link"], json!(format!("{}/", stage.page.url())));
    stage.daemon.stop().await;
}

/// With a key in every format; without one only our own format has headers, for its id.
#[tokio::test]
async fn a_signature_comes_with_all_that_verifies_it() {
    for format in WebhookFormat::ALL {
        let (signed, plain) = (Receiver::start(), Receiver::start());
        let unsigned = Webhook::new(client(), "plain", format, &plain.hook().into(), None).unwrap();
        let unsigned = configured("plain", &ChannelPlace::Webhook(format), Arc::new(unsigned));
        let stage = Stage::start(vec![hook("signed", format, &signed), unsigned]);
        stage.page.set_indicator("minor", "Partially Degraded Service");
        signed.wait_until(|receiver| receiver.deliveries().len() == 1).await;
        verified(&signed.deliveries()[0]);
        plain.wait_until(|receiver| receiver.deliveries().len() == 1).await;
        let there = plain.deliveries()[0].headers.clone().map(|header| header.is_some());
        let own = format == WebhookFormat::Json;
        assert_eq!(there, [own, own, false], "{format:?}");
        stage.daemon.stop().await;
    }
}

#[tokio::test]
async fn teams_gets_a_card_that_shows_texts_as_they_are() {
    let receiver = Receiver::start();
    receiver.always_on("POST", Reply::usual().with_status(202));
    let stage = Stage::start(vec![hook("team", WebhookFormat::Teams, &receiver)]);
    stage.page.set_indicator("critical", "**bold** [x](https://evil.test) <at>all</at> @team");
    receiver.wait_until(|receiver| receiver.cards().len() == 1).await;
    let card = receiver.cards().remove(0);
    assert_eq!(
        card[..2],
        ["🔴 Alpha (critical)", "Alpha: **bold** [x](https://evil.test) <at>all</at> @team"]
    );
    stage.page.recover();
    receiver.wait_until(|receiver| receiver.cards().len() == 2).await;
    assert_eq!(receiver.cards()[1][0], "✅ Resolved: Alpha");
    stage.daemon.stop().await;
}

/// n8n repeats the id of the path, others a value of the query.
#[tokio::test]
async fn no_part_of_an_address_is_shown_when_the_receiver_repeats_it_alone() {
    let (id, key) = ("2a3de057-1c1f-4f4e-9d6b-0c8a7f3b1d55", "Zm9v+YmFyL2Jheg");
    let url = |receiver: &Receiver| {
        let port = receiver.url().rsplit(':').next().unwrap().to_owned();
        format!(
            "http://alice:pass-of-alice@127.0.0.1:{port}/webhook/{id}/ops-team?wait=true&sig=Zm9v%2BYmFyL2Jheg"
        )
    };
    let receiver = Receiver::start();
    let words = format!(
        "The requested webhook \"POST {id}\" ({key}, wait=true) is not registered: ops-team, pass-of-alice"
    );
    receiver.next(Reply::text("text/plain", &words).with_status(404));
    let stage = Stage::start(vec![hook_at("flow", WebhookFormat::Json, &url(&receiver))]);
    stage.page.set_indicator("minor", "Partially Degraded Service");
    let failed = stage
        .daemon
        .wait_until(|board| board.channels.get("flow").is_some_and(|flow| flow.report.trouble.is_some()));
    failed.await;
    assert_eq!(
        stage.daemon.board.read(|board| board.channels["flow"].report.trouble.clone()).unwrap(),
        "HTTP 404: The requested webhook \"POST [redacted]\" ([redacted], wait=true) is not registered: [redacted], \
         [redacted]; check CHANNEL_FLOW_URL"
    );
    stage.daemon.stop().await;
}

/// 410 stops a channel until the next reload; nothing of the address is shown.
#[tokio::test]
async fn a_receiver_that_is_gone_gets_no_further_requests() {
    let receiver = Receiver::start();
    receiver.next(Reply::text("text/plain", &format!("gone: {PATH}")).with_status(410));
    let stage = Stage::start(vec![hook("flow", WebhookFormat::Json, &receiver)]);
    stage.page.set_indicator("minor", "Partially Degraded Service");
    stage.daemon.wait_until(|board| board.channels.get("flow").is_some_and(|flow| flow.report.stopped)).await;
    let trouble = stage.daemon.board.read(|board| board.channels["flow"].report.trouble.clone()).unwrap();
    assert_eq!(
        trouble,
        "HTTP 410: gone: [redacted]: the address no longer exists; set another CHANNEL_FLOW_URL"
    );
    stage.page.set_indicator("major", "Partial System Outage");
    stage.daemon.cycles(10).await;
    assert_eq!(receiver.requests().len(), 1);
    stage.daemon.controls.reload();
    receiver.wait_until(|receiver| receiver.announced() == ["raised Alpha (major)"]).await;
    stage.daemon.wait_until(|board| !board.channels["flow"].report.stopped).await;
    stage.daemon.stop().await;
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (receiver, other) = (Receiver::start(), Receiver::start());
    receiver.next(Reply::redirect(307, &other.hook()));
    let stage = Stage::start(vec![hook("flow", WebhookFormat::Json, &receiver)]);
    stage.page.set_indicator("minor", "Partially Degraded Service");
    stage
        .daemon
        .wait_until(|board| board.channels.get("flow").is_some_and(|flow| flow.report.trouble.is_some()))
        .await;
    let trouble = stage.daemon.board.read(|board| board.channels["flow"].report.trouble.clone()).unwrap();
    assert_eq!(trouble, "HTTP 307: a redirect, which is not followed; check CHANNEL_FLOW_URL");
    assert_eq!(other.requests().len(), 0);
    stage.daemon.stop().await;
}

#[tokio::test]
async fn an_error_in_a_successful_answer_is_a_failure() {
    let receiver = Receiver::start();
    receiver.next(Reply::json(&json!({ "ok": false, "error": "no_service" })));
    let stage = Stage::start(vec![hook("flow", WebhookFormat::Slack, &receiver)]);
    stage.page.set_indicator("minor", "Partially Degraded Service");
    receiver.wait_until(|receiver| receiver.deliveries().len() == 1).await;
    stage.daemon.wait_until(|board| board.channels["flow"].report.pending_since.is_none()).await;
    assert_eq!(stage.daemon.board.read(|board| board.channels["flow"].failures), 1);
    let text = receiver.deliveries()[0].body["text"].as_str().unwrap().to_owned();
    assert!(text.starts_with("🟡 Alpha (minor)\nAlpha: Partially Degraded Service\nsince "), "{text}");
    stage.daemon.stop().await;
}

/// Some gateways limit requests with 403.
#[tokio::test]
async fn a_rejection_that_names_a_wait_is_a_rate_limit() {
    let receiver = Receiver::start();
    receiver.next(Reply::status(403).header("retry-after", "1"));
    let stage = Stage::start(vec![hook("flow", WebhookFormat::Json, &receiver)]);
    stage.page.set_indicator("minor", "Partially Degraded Service");
    receiver.wait_until(|receiver| receiver.announced() == ["raised Alpha (minor)"]).await;
    stage.daemon.stop().await;
}

/// The body of a success may report a failure after some of the work was done.
#[tokio::test]
async fn an_incident_whose_message_failed_in_a_successful_answer_is_resolved() {
    let receiver = Receiver::start();
    receiver.always_on("POST", Reply::json(&json!({ "success": false })));
    let stage = Stage::start(vec![hook("flow", WebhookFormat::Json, &receiver)]);
    stage.page.set_indicator("minor", "Partially Degraded Service");
    stage.daemon.wait_until(|board| board.channels.get("flow").is_some_and(|flow| flow.failures > 0)).await;
    stage.page.recover();
    let resolved = |receiver: &Receiver| {
        receiver
            .requests()
            .last()
            .and_then(|last| last.json())
            .is_some_and(|body| body["state"] == "resolved")
    };
    receiver.wait_until(resolved).await;
    stage.daemon.stop().await;
}

/// A repeated message would reach the targets that work again; they also get the end of the incident.
#[tokio::test]
async fn what_apprise_delivers_in_part_is_reported_and_not_repeated() {
    let receiver = Receiver::start();
    let part = "One or more notification could not be sent.";
    receiver.next(Reply::text("text/plain", part).with_status(424));
    let stage = Stage::start(vec![hook("mail", WebhookFormat::Apprise, &receiver)]);
    stage.page.set_indicator("minor", "Partially Degraded Service");
    receiver.wait_for_requests(1).await;
    let confirmed = |board: &Board| {
        let report = board.channels.get("mail").map(|mail| &mail.report);
        report.is_some_and(|report| report.delivered_at.is_some() && report.pending_since.is_none())
    };
    stage.daemon.wait_until(confirmed).await;
    stage.daemon.cycles(5).await;
    let trouble = |board: &Board| board.channels["mail"].report.trouble.clone();
    assert_eq!(
        stage.daemon.board.read(trouble).unwrap(),
        format!("not all targets got the message, and it is not repeated: HTTP 424: {part}")
    );
    assert_eq!(receiver.requests().len(), 1);
    stage.page.recover();
    receiver.wait_until(|receiver| receiver.deliveries().len() == 1).await;
    assert_eq!(receiver.deliveries()[0].body["type"], "success");
    stage.daemon.wait_until(|board| trouble(board).is_none()).await;
    stage.daemon.stop().await;
}

/// Apprise answers 204 if no target belongs to the key.
#[tokio::test]
async fn apprise_without_targets_is_an_error() {
    let receiver = Receiver::start();
    receiver.next(Reply::status(204));
    let stage = Stage::start(vec![hook("mail", WebhookFormat::Apprise, &receiver)]);
    stage.page.set_indicator("minor", "Partially Degraded Service");
    let failed = stage
        .daemon
        .wait_until(|board| board.channels.get("mail").is_some_and(|mail| mail.report.trouble.is_some()));
    failed.await;
    assert_eq!(
        stage.daemon.board.read(|board| board.channels["mail"].report.trouble.clone()).unwrap(),
        "HTTP 204: no target belongs to the address; check CHANNEL_MAIL_URL"
    );
    stage.daemon.stop().await;
}

/// A name that does not resolve, and a port that is closed: errors without the address.
#[tokio::test]
async fn an_unreachable_address_is_not_shown() {
    let path = "/services/T000/B000/secret-of-the-hook";
    let channels = vec![
        hook_at("nowhere", WebhookFormat::Json, &format!("https://no-such-host.test{path}")),
        hook_at("closed", WebhookFormat::Json, &format!("http://127.0.0.1:1{path}")),
    ];
    let stage = Stage::start(channels);
    stage.page.set_indicator("minor", "Partially Degraded Service");
    let failed = |board: &Board, name: &str| {
        board.channels.get(name).is_some_and(|view| view.report.trouble.is_some())
    };
    stage.daemon.wait_until(|board| failed(board, "nowhere") && failed(board, "closed")).await;
    let board = stage.daemon.board.read(|board| format!("{:?}", board.channels));
    assert!(!board.contains("secret-of-the-hook") && !board.contains("no-such-host"), "{board}");
    stage.daemon.stop().await;
}
