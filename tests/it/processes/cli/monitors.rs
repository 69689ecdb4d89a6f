//! `monitor add|search|explain|mute|unmute|list` and `engine list|show|check`.

use std::fs;

use stand_ins::status_page::{Flavour, StatusPage};

use crate::processes::binary::{output, watching};

/// Without the variables of a proxy and with short waits.
const VARS: [(&str, &str); 1] = [("POLL_TIMEOUT", "3s")];

#[test]
fn the_engine_of_an_address_is_detected_and_a_monitor_written() {
    let page = StatusPage::start();
    page.add_component("Storage", "partial_outage");
    page.add_component("API", "operational");
    let folder = tempfile::tempdir().unwrap();
    let url = format!("{}/history", page.url());
    let (code, out, err) =
        output(folder.path(), &["monitor", "add", &url, "--name", "Acme", "--tag", "crm"], &VARS);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.contains("is read as statuspage"), "{out}");
    assert!(out.contains("Acme: none: All Systems Operational"), "{out}");
    assert!(out.contains("The built-in monitors are no longer used"), "{out}");
    let text = fs::read_to_string(folder.path().join("monitors/acme.toml")).unwrap();
    let want = format!(
        "name = \"Acme\"\nurl = \"{}/\"\nengine = \"statuspage\"\nincidents = true\ntags = [\"crm\"]\n",
        page.url()
    );
    assert!(text.ends_with(&want), "{text}");

    let (code, out, _) = output(folder.path(), &["monitor", "list"], &VARS);
    assert!(code == 0 && out.contains("Acme     statuspage  60s       -"), "{out}");
    let (code, _, err) = output(folder.path(), &["monitor", "add", &url, "--name", "Acme"], &VARS);
    assert!(code == 78 && err.contains("acme.toml already exists"), "{err}");
    assert_eq!(fs::read_to_string(folder.path().join("monitors/acme.toml")).unwrap(), text);
    let more = ["monitor", "add", &url, "--name", "Acme storage", "--component", "Stor*", "--dry-run"];
    let (code, out, _) = output(folder.path(), &more, &VARS);
    assert!(code == 0 && out.contains("Acme storage: major: Storage: partial outage"), "{out}");
    assert!(out.contains("components = [\"Stor*\"]"), "{out}");
    assert!(!folder.path().join("monitors/acme-storage.toml").exists());
}

#[test]
fn an_address_that_is_no_status_page_is_refused_with_reasons() {
    let page = StatusPage::start();
    page.set_flavour(Flavour::CatchAll);
    let folder = tempfile::tempdir().unwrap();
    let (code, _, err) = output(folder.path(), &["monitor", "add", &page.url()], &VARS);
    assert!(code == 1 && err.contains("no engine reads") && err.contains("statuspage: not JSON"), "{err}");
    assert!(!folder.path().join("monitors").exists());
    let (code, _, err) = output(folder.path(), &["monitor", "add", "http://127.0.0.1:1/"], &VARS);
    assert!(code == 1 && err.contains("cannot reach") && err.contains("connection refused"), "{err}");
    for (target, want) in [
        ("snowflak", "did you mean `snowflake`?"),
        ("nothing-like-it", "monitor search WORD"),
        ("ftp://status.example.com", "must begin with https:// or http://"),
    ] {
        let (code, _, err) = output(folder.path(), &["monitor", "add", target], &VARS);
        assert!(code == 78 && err.contains(want), "{target}: {err}");
    }
}

#[test]
fn services_are_found_by_a_word() {
    let folder = tempfile::tempdir().unwrap();
    let (code, out, _) = output(folder.path(), &["monitor", "search", "snowflake"], &[]);
    assert!(code == 0 && out.contains("https://status.snowflake.com/"), "{out}");
    let (code, out, _) = output(folder.path(), &["monitor", "search", "no-such-word"], &[]);
    assert!(code == 1 && out.contains("monitor add https://"), "{out}");
}

#[test]
fn a_poll_is_explained() {
    let page = StatusPage::start();
    page.set_indicator("minor", "Partially Degraded Service");
    page.open_incident("Slow queries", "minor", &[]);
    let folder = watching(&[("Alpha", &page)]);
    let (code, out, _) = output(folder.path(), &["monitor", "explain", "alpha"], &VARS);
    assert_eq!(code, 0, "{out}");
    for want in [
        "Alpha (http://127.0.0.1:",
        "engine statuspage)",
        "/api/v2/status.json (HTTP 200, ",
        "Overall state: minor (Partially Degraded Service)",
        "Result: minor: Partially Degraded Service",
    ] {
        assert!(out.contains(want), "{want}: {out}");
    }
    let (code, out, _) = output(folder.path(), &["monitor", "explain", &page.url()], &VARS);
    assert!(code == 0 && out.contains("incident: Slow queries (minor, "), "{out}");
    page.set_flavour(Flavour::CatchAll);
    let (code, out, _) = output(folder.path(), &["monitor", "explain", "Alpha"], &VARS);
    assert!(code == 3 && out.contains("Result: unknown: not JSON (an HTML page)"), "{out}");
    assert!(out.contains("No engine reads the page at this address"), "{out}");
}

#[test]
fn a_mute_is_written_into_the_definition_and_removed_again() {
    let page = StatusPage::start();
    let folder = watching(&[("Alpha", &page)]);
    let file = folder.path().join("monitors/Alpha.toml");
    let before = format!("# Ours.\n{}", fs::read_to_string(&file).unwrap());
    fs::write(&file, &before).unwrap();
    let args = ["monitor", "mute", "alpha", "--for", "2h", "--why", "our own test"];
    let (code, out, err) = output(folder.path(), &args, &VARS);
    assert!(code == 0 && out.contains("left out of the banner until 20"), "{out}{err}");
    let muted = fs::read_to_string(&file).unwrap();
    assert!(muted.starts_with(&before) && muted.contains("muted_until = 20"), "{muted}");
    assert!(muted.ends_with("Z # our own test\n"), "{muted}");
    let (_, out, _) = output(folder.path(), &["monitor", "list"], &VARS);
    assert!(out.contains("muted until 20"), "{out}");
    assert_eq!(output(folder.path(), &["monitor", "unmute", "Alpha"], &VARS).0, 0);
    assert_eq!(fs::read_to_string(&file).unwrap(), before);
    for (args, want) in [
        (&["monitor", "mute", "Beta", "--for", "2h"][..], "no monitor \"Beta\""),
        (&["monitor", "mute", "Alpha", "--for", "soon"], "not a duration"),
        (&["monitor", "mute", "Alpha"], "--for <DURATION>"),
    ] {
        let (code, _, err) = output(folder.path(), args, &VARS);
        assert!(code != 0 && err.contains(want), "{args:?}: {err}");
    }
}

#[test]
fn an_engine_of_ones_own_is_checked_used_and_reported_with_all_errors() {
    let folder = tempfile::tempdir().unwrap();
    let (code, out, _) = output(folder.path(), &["engine", "show", "statuspage"], &[]);
    assert_eq!(code, 0);
    let own = out.replace("name = \"statuspage\"", "name = \"acme\"").replace("api/v2/", "health/");
    fs::create_dir(folder.path().join("engines")).unwrap();
    fs::write(folder.path().join("engines/acme.toml"), &own).unwrap();
    let sample = r#"{"status":{"indicator":"major","description":"Half is down"}}"#;
    fs::write(folder.path().join("sample.json"), sample).unwrap();
    let args = ["engine", "check", "engines/acme.toml", "--sample", "sample.json"];
    let (code, out, err) = output(folder.path(), &args, &[]);
    assert!(code == 0 && out.contains("Result: major: Half is down"), "{out}{err}");
    let (_, out, _) = output(folder.path(), &["engine", "list"], &[]);
    assert!(out.contains("acme") && out.contains("statuspage"), "{out}");

    fs::create_dir(folder.path().join("monitors")).unwrap();
    let monitor = "name = \"A\"\nurl = \"https://a.test\"\nengine = \"acme\"\n";
    fs::write(folder.path().join("monitors/a.toml"), monitor).unwrap();
    assert_eq!(output(folder.path(), &["validate"], &[]).0, 0);

    let wrong = own
        .replace("map = \"states\"", "map = \"stats\"")
        .replace("path = \"health/summary.json\"", "pth = 1");
    fs::write(folder.path().join("engines/acme.toml"), wrong).unwrap();
    for args in [&["engine", "check", "engines/acme.toml"][..], &["validate"]] {
        let (code, out, err) = output(folder.path(), args, &[]);
        let said = out + &err;
        assert_eq!(code, 78, "{said}");
        for want in
            ["there is no table [map.stats]", "[[read]] needs `path`", "unknown key `pth`", "acme.toml:"]
        {
            assert!(said.contains(want), "{want}: {said}");
        }
    }
}

/// The engine and its sample in docs/monitors.md, as a reader would copy them.
#[test]
fn the_engine_in_the_documentation_works() {
    let text = include_str!("../../../../docs/monitors.md");
    let own = &text[text.find("### An engine of your own").unwrap()..];
    let block = |kind: &str| {
        let from = own.find(&format!("```{kind}\n")).unwrap() + kind.len() + 4;
        own[from..from + own[from..].find("```").unwrap()].to_owned()
    };
    let folder = tempfile::tempdir().unwrap();
    let sample = block("json").replace("2026-11-29T10:00:00Z", &jiff::Timestamp::now().to_string());
    fs::write(folder.path().join("health.json"), sample).unwrap();
    fs::write(folder.path().join("acme.toml"), block("toml")).unwrap();
    let (code, out, err) =
        output(folder.path(), &["engine", "check", "acme.toml", "--sample", "health.json"], &[]);
    assert_eq!(code, 0, "{out}{err}");
    for want in [
        "Overall state: minor",
        "minor: Warehouse (degraded performance)",
        "none: API (operational)",
        "incident: Slow loads (minor, on dwh)",
        "Result: minor: Slow loads",
    ] {
        assert!(out.contains(want), "{want}: {out}");
    }
}
