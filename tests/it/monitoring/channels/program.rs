//! The real program: definitions, secrets in variables, the commands, a reload, and preview.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use stand_ins::Reply;
use stand_ins::channels::slack::{self, POST, Slack, refusal};
use stand_ins::channels::webhook::{PATH, Receiver};
use stand_ins::status_page::StatusPage;
use stand_ins::tenant::{API_KEY, Tenant};

use super::wait_for_title;
use crate::http_client::client;
use crate::monitoring::reload_errors;
use crate::processes::binary::{Running, output, watching};

fn define(folder: &Path, name: &str, more: &str) {
    fs::create_dir_all(folder.join("channels")).unwrap();
    let text = format!("name = \"{name}\"\n{more}\n");
    fs::write(folder.join(format!("channels/{name}.toml")), text).unwrap();
}

fn slack_definition(slack: &Slack) -> String {
    format!("kind = \"slack\"\nchannel = \"#ops\"\napi_url = \"{}\"", slack.api())
}

#[test]
fn a_test_message_is_sent_and_the_answer_printed() {
    let (slack, receiver, folder) = (Slack::start(), Receiver::start(), watching(&[]));
    define(folder.path(), "ops", &slack_definition(&slack));
    define(folder.path(), "flow", "kind = \"webhook\"\nenabled = false");
    let hook = receiver.hook();
    let vars = [("CHANNEL_OPS_TOKEN", slack::TOKEN), ("CHANNEL_FLOW_URL", hook.as_str())];
    let test = |name: &str| output(folder.path(), &["channel", "test", name], &vars);
    let (code, out, _) = test("ops");
    assert_eq!(out, "ops: sent \"Test message from data-sources-monitor\" (C0STANDIN/1777713300.000001)\n");
    assert_eq!(
        (code, slack.messages()[0].lines[0].as_str()),
        (0, "🔔 Test message from data-sources-monitor")
    );
    let (code, out, _) = test("flow");
    assert_eq!((code, out.contains("(accepted with HTTP 200)")), (0, true), "{out}");
    assert_eq!(receiver.deliveries()[0].body["test"], json!(true));
    slack.next_on(POST, refusal("not_in_channel"));
    let (code, _, said) = test("ops");
    assert!(code == 1 && said.contains("not_in_channel`: invite the bot to the channel"), "{said}");
    receiver.next(Reply::text("text/html", &format!("<h1>Not found</h1>{hook}")).with_status(404));
    let (code, _, said) = test("flow");
    assert!(code == 1 && said.contains("HTTP 404: Not found [redacted]; check CHANNEL_FLOW_URL"), "{said}");
    let (code, _, said) = test("other");
    assert!(code == 78 && said.contains("unknown channel \"other\"; known in channels: flow, ops"), "{said}");
}

#[test]
fn channels_are_listed_and_validated() {
    let folder = watching(&[]);
    define(
        folder.path(),
        "ops",
        "kind = \"slack\"\nchannel = \"#ops\"\nmonitors = [\"Alpha*\", \"tag:nothing\", \"Betta\"]\n\
         ignore_monitors = [\"*sandbx*\"]\nmin_severity = \"major\"",
    );
    define(folder.path(), "team", "kind = \"webhook\"\nformat = \"teams\"\nenabled = false");
    fs::write(folder.path().join("monitors/a.toml"), "name = \"Alpha\"\nurl = \"https://status.alpha.test\"")
        .unwrap();
    let (code, out, _) = output(folder.path(), &["channel", "list"], &[]);
    insta::assert_snapshot!(out, @"
    CHANNEL  KIND             STATE  GETS
    ops      slack #ops       -      Alpha*, tag:nothing, Betta, not *sandbx*, major and worse
    team     webhook (teams)  off    all monitors
    ");
    assert_eq!(code, 0);
    let (code, out, said) = output(folder.path(), &["validate"], &[]);
    assert!(code == 78 && said.contains("channel ops: CHANNEL_OPS_TOKEN is missing"), "{said}");
    for selector in ["tag:nothing", "Betta", "*sandbx*"] {
        let warning = format!("warning: channel ops: `{selector}` matches no monitor\n");
        assert!(out.contains(&warning), "{out}");
    }
    let token = [("CHANNEL_OPS_TOKEN", "xoxb-1234567890")];
    let (code, out, said) = output(folder.path(), &["validate"], &token);
    assert!(code == 0 && out.contains("channels: ops\n"), "{out}{said}");
    // A variable of a channel is known, also of a disabled one; one of another channel or kind is not.
    fs::write(
        folder.path().join(".env"),
        "CHANNEL_OPS_TOKEN=xoxb-1234567890\nCHANNEL_TEAM_URL=https://a.test/b\n",
    )
    .unwrap();
    assert_eq!(output(folder.path(), &["validate"], &[]).0, 0);
    fs::write(
        folder.path().join(".env"),
        "CHANNEL_OPS_TOKEN=xoxb-1234567890\nCHANNEL_OPS_URL=https://a.test/b\n",
    )
    .unwrap();
    let (code, _, said) = output(folder.path(), &["validate"], &[]);
    assert!(code == 78 && said.contains(".env:2: CHANNEL_OPS_URL is not a setting"), "{said}");
}

/// A channel that is added while the daemon runs learns of the open incident; an error changes nothing.
#[tokio::test]
async fn definitions_are_reloaded_and_the_address_of_a_webhook_is_never_shown() {
    let (tenant, page, slack, receiver) =
        (Tenant::start(), StatusPage::start(), Slack::start(), Receiver::start());
    let folder = watching(&[("Alpha", &page)]);
    define(folder.path(), "ops", &slack_definition(&slack));
    receiver.next(Reply::text("text/plain", &receiver.hook()).with_status(500));
    let (url, hook) = (tenant.url(), receiver.hook());
    let vars = [
        ("QLIK_TENANT_URL", url.as_str()),
        ("QLIK_API_KEY", API_KEY),
        ("CHANNEL_OPS_TOKEN", slack::TOKEN),
        ("CHANNEL_FLOW_URL", hook.as_str()),
    ];
    let mut daemon = Running::start(folder.path(), &vars);
    let address = daemon.address();
    page.set_indicator("major", "Partial System Outage");
    wait_for_title(&slack, "🔴 Alpha (major)").await;
    daemon.until("Channel ops: sent (raised): Alpha (major)");
    define(folder.path(), "flow", "kind = \"webhook\"");
    let failed = daemon.until("Channel flow: the message was not sent");
    assert!(failed.contains("HTTP 500: [redacted]") && !failed.contains(PATH), "{failed}");
    receiver.wait_until(|receiver| receiver.announced() == ["raised Alpha (major)"]).await;
    define(folder.path(), "bad", "kind = \"mail\"");
    daemon.until("The channel definitions were not reloaded");
    assert_eq!(reload_errors(&address).await, ["channel"]);
    // A sent message is shown as sent after its state is saved, so perhaps a cycle later.
    let mut channels = Value::Null;
    for _ in 0..20 {
        let answer = client().get(format!("{address}/api/v1/channels")).send().await.unwrap();
        channels = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        if channels["channels"].as_array().unwrap().iter().all(|one| one["state"] == "ok") {
            break;
        }
        daemon.until("Checking services status...");
    }
    let states: Vec<_> =
        channels["channels"].as_array().unwrap().iter().map(|one| one["state"].clone()).collect();
    assert_eq!(states, ["ok", "ok"], "{channels:#}");
    assert_eq!(channels["channels"][0]["failed_attempts"], 1);
    fs::remove_file(folder.path().join("channels/bad.toml")).unwrap();
    fs::remove_file(folder.path().join("channels/ops.toml")).unwrap();
    daemon.until("Channel definitions reloaded: flow.");
    assert_eq!(reload_errors(&address).await, [""; 0]);
    page.recover();
    receiver.wait_until(|receiver| receiver.announced().len() == 2).await;
    assert_eq!(slack.messages()[0].lines[0], "🔴 Alpha (major)");
    define(folder.path(), "ops", &slack_definition(&slack));
    // Its open message is closed when it is defined again.
    wait_for_title(&slack, "✅ Resolved: Alpha").await;
    daemon.signal("-TERM");
    assert_eq!(daemon.ended(), 0);
    let log = fs::read_to_string(folder.path().join("monitor.log")).unwrap();
    assert!(!log.contains(PATH) && !log.contains(slack::TOKEN), "{log}");
}

#[tokio::test]
async fn in_preview_nothing_is_sent() {
    let (page, slack) = (StatusPage::start(), Slack::start());
    let folder = watching(&[("Alpha", &page)]);
    define(folder.path(), "ops", &slack_definition(&slack));
    page.set_indicator("major", "Partial System Outage");
    let mut daemon = Running::start(folder.path(), &[("CHANNEL_OPS_TOKEN", slack::TOKEN)]);
    daemon.until("Preview: would send (raised): Alpha (major): Alpha: Partial System Outage");
    page.recover();
    daemon.until("Preview: would send (resolved): Resolved: Alpha");
    daemon.signal("-TERM");
    assert_eq!(daemon.ended(), 0);
    assert_eq!(daemon.count("Preview: would send (raised)"), 1);
    assert_eq!(slack.requests().len(), 0);
}
