//! The fields of the log as JSON, the same lines as text, and the count of lost lines: the real program between
//! stand-in servers.

use std::os::unix::fs::symlink;

use serde_json::Value;

use crate::processes::binary::{Running, watching};
use stand_ins::status_page::StatusPage;
use stand_ins::statuscake::{self, Sizes, StatusCake};
use stand_ins::tenant::{API_KEY, Tenant};
use stand_ins::{Clock, Reply};

/// The fields that identify the subject of a line.
const CONTEXT: [&str; 5] = ["monitor", "tenant", "connector", "run", "attempt"];

/// The context fields of the line that contains this text.
fn context(daemon: &mut Running, words: &str) -> Value {
    let line: Value = serde_json::from_str(&daemon.until(words)).unwrap();
    let found = CONTEXT.iter().filter_map(|key| Some(((*key).to_owned(), line.get(key)?.clone())));
    Value::Object(found.collect())
}

/// At every level; summaries of all monitors carry none.
#[test]
fn a_failed_poll_carries_its_monitor() {
    let (page, broken) = (StatusPage::start(), StatusPage::start());
    broken.always_on("", Reply::status(503));
    let folder = watching(&[("Alpha", &page), ("Beta", &broken)]);
    for level in ["debug", "warn"] {
        let vars = [("LOG_FORMAT", "json"), ("LOG_LEVEL", level)];
        let mut daemon = Running::start(folder.path(), &vars);
        assert_eq!(context(&mut daemon, "Beta cannot be read"), serde_json::json!({"monitor": "Beta"}));
        assert_eq!(context(&mut daemon, "No issues detected; not readable"), serde_json::json!({}));
    }
}

/// With its monitor, result, HTTP status and duration.
#[test]
fn each_poll_is_a_line_at_debug() {
    let (page, broken) = (StatusPage::start(), StatusPage::start());
    page.set_indicator("minor", "Minor Service Outage");
    broken.always_on("", Reply::status(503));
    let folder = watching(&[("Alpha", &page), ("Beta", &broken)]);
    let polled = |format: &str, name: &str| {
        let vars = [("LOG_FORMAT", format), ("LOG_LEVEL", "debug")];
        Running::start(folder.path(), &vars).until(&format!("Polled {name}"))
    };
    for (name, status, http_status) in [("Alpha", "minor", 200), ("Beta", "http_status", 503)] {
        let line: Value = serde_json::from_str(&polled("json", name)).unwrap();
        assert_eq!((&line["monitor"], &line["status"]), (&name.into(), &status.into()));
        assert_eq!(line["http_status"], http_status);
        assert!(line["duration_ms"].is_u64() && line["logger"] == "StatusClient" && line["level"] == "DEBUG");
    }
    let line = polled("text", "Alpha");
    let told = line.split_once(" - ").unwrap().1;
    let (told, ms) = told.rsplit_once('=').unwrap();
    assert_eq!(told, "StatusClient - DEBUG - Polled Alpha status=minor http_status=200 duration_ms");
    assert!(ms.parse::<u64>().is_ok(), "{line}");
}

#[test]
fn an_unchanged_issue_is_logged_once() {
    let page = StatusPage::start();
    page.set_indicator("minor", "Minor Service Outage");
    let folder = watching(&[("Alpha", &page)]);
    let vars = [("LOG_LEVEL", "debug"), ("LOG_EVERY_CYCLE", "")];
    let mut daemon = Running::start(folder.path(), &vars);
    for _ in 0..3 {
        daemon.until("Polled Alpha status=minor http_status=304 ");
    }
    let counts = ["Checking services status...", "Issues detected: Alpha"].map(|words| daemon.count(words));
    assert_eq!(counts, [1, 1]);
}

/// Consecutive failures increase the attempt.
#[test]
fn the_end_of_a_run_carries_connector_run_and_attempt() {
    let cake = StatusCake::start(7, Sizes { tests: 2, history: 3, periods: 1, alerts: 1 }, &Clock::system());
    let (page, url) = (StatusPage::start(), cake.base_url());
    let folder = watching(&[("Alpha", &page)]);
    let vars = |format| {
        [
            ("LOG_FORMAT", format),
            ("STATUSCAKE_API_KEY", statuscake::API_KEY),
            ("STATUSCAKE_BASE_URL", url.as_str()),
            ("STATUSCAKE_EVERY", "1s"),
        ]
    };
    let mut daemon = Running::start(folder.path(), &vars("json"));
    for run in [1, 2] {
        let want = serde_json::json!({"connector": "statuscake", "run": run, "attempt": 1});
        assert_eq!(context(&mut daemon, "statuscake: complete after"), want);
    }
    cake.always_on("", Reply::status(403));
    let failed = context(&mut daemon, "statuscake: failed after");
    let again = context(&mut daemon, "statuscake: failed after");
    assert_eq!((&failed["attempt"], &again["attempt"]), (&1.into(), &2.into()));
    assert_eq!(again["run"].as_i64(), failed["run"].as_i64().map(|run| run + 1));
    drop(daemon);
    let mut daemon = Running::start(folder.path(), &vars("text"));
    let line = daemon.until("statuscake: failed after");
    assert!(CONTEXT.iter().all(|key| !line.contains(&format!("{key}="))), "{line}");
}

/// The text of the same lines is the known one.
#[test]
fn a_write_carries_its_tenant_and_attempt() {
    let page = StatusPage::start();
    page.set_indicator("major", "Partial System Outage");
    let start = |format| {
        let (tenant, folder) = (Tenant::start(), watching(&[("Alpha", &page)]));
        let url = tenant.url();
        let vars = [("LOG_FORMAT", format), ("QLIK_TENANT_URL", url.as_str()), ("QLIK_API_KEY", API_KEY)];
        (Running::start(folder.path(), &vars), tenant, folder)
    };
    let (mut daemon, tenant, _folder) = start("json");
    let written = context(&mut daemon, "Banner updated successfully.");
    assert_eq!(written["attempt"], 1);
    assert_eq!(written["tenant"].as_str().unwrap().trim_end_matches('/'), tenant.url());
    let (mut daemon, _tenant, _folder) = start("text");
    // "Issues detected" comes again in each cycle.
    let lines = ["Checking services status...", "Banner updated successfully.", "Issues detected: "];
    let lines = lines.map(|words| daemon.until(words).split_once(" - ").unwrap().1.to_owned());
    insta::assert_snapshot!(lines.join("\n"), @r"
    MainOrchestrator - INFO - Checking services status...
    QlikClient - INFO - Banner updated successfully.
    MainOrchestrator - WARNING - Issues detected: Alpha: Partial System Outage (Severity: major)
    ");
}

#[tokio::test]
async fn lost_lines_are_counted_in_the_metrics() {
    let page = StatusPage::start();
    let folder = watching(&[("Alpha", &page)]);
    symlink("/dev/full", folder.path().join("full.log")).unwrap();
    let mut daemon = Running::start(folder.path(), &[("LOG_FILE", "full.log")]);
    let address = daemon.address();
    // The file's own thread may be some lines behind the console.
    loop {
        let answer = crate::http_client::client().get(format!("{address}/metrics")).send().await.unwrap();
        let text = answer.text().await.unwrap();
        let count =
            |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        assert_eq!(count("dsm_log_lines_dropped_total{}"), Some(0), "{text}");
        if count("dsm_log_lines_lost_total{}").unwrap() > 0 {
            return;
        }
        daemon.until("Checking services status...");
    }
}
