//! What a reload does not apply.

use std::fs;

use crate::processes::binary::{Running, watching};
use stand_ins::status_page::StatusPage;

/// Without their values.
#[test]
fn a_reload_names_the_settings_that_need_a_restart() {
    let page = StatusPage::start();
    let folder = watching(&[("Alpha", &page)]);
    let file = folder.path().join(".env");
    fs::write(&file, "POLL_TIMEOUT=5s\nSTATUSCAKE_EVERY=1h\n").unwrap();
    let mut daemon = Running::start(folder.path(), &[]);
    daemon.until("All services operational.");
    daemon.signal("-HUP");
    daemon.until("SIGHUP: log reopened");
    fs::write(&file, "POLL_TIMEOUT=6s\nWEB_TOKEN=hush-hush-hush-hush\nSTATUSCAKE_EVERY=2h\n").unwrap();
    daemon.signal("-HUP");
    let line = daemon.until("restart the daemon");
    assert!(line.contains("WARNING - SIGHUP: POLL_TIMEOUT, WEB_TOKEN changed; restart the daemon"), "{line}");
    fs::write(&file, "POLL_TIMEOUT=5s\nnonsense\n").unwrap();
    daemon.signal("-HUP");
    // The connectors may read the file in the same moment, and report it in words of their own.
    daemon.until("SIGHUP: .env:2: is not NAME=value");
    // A setting with its value from the start needs no restart.
    daemon.signal("-TERM");
    daemon.until("Stopped.");
}
