//! The program and its system: disks, users, signals, the journal.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use crate::postgres::cluster;
use crate::postgres::cluster::skipped;
use crate::processes::binary::{Running, output, program, watching};
use stand_ins::status_page::StatusPage;

/// A user without rights, as in the image.
const UNPRIVILEGED: u32 = 65532;

/// Whether these tests run as root, which is needed to change the user.
fn is_root() -> bool {
    let root = fs::metadata("/proc/self").unwrap().uid() == 0;
    if !root {
        skipped("REQUIRE_ROOT", "tests of other users' files need root");
    }
    root
}

/// By a daemon that starts.
#[test]
fn a_locked_state_database_is_retried() {
    let page = StatusPage::start();
    let folder = watching(&[("Alpha", &page)]);
    fs::create_dir(folder.path().join("data")).unwrap();
    let db = rusqlite::Connection::open(folder.path().join("data/monitor.db")).unwrap();
    db.execute_batch("BEGIN EXCLUSIVE; CREATE TABLE x (y)").unwrap();
    let mut daemon = Running::start(folder.path(), &[]);
    let line = daemon.until("retrying for");
    assert!(line.contains("WARNING - DATA_DIR") && line.contains("locked"), "{line}");
    drop(db);
    daemon.until("All services operational.");
}

/// The server may not be set up yet.
#[tokio::test]
async fn a_missing_role_is_retried() {
    let Some(cluster) = cluster::own() else { return };
    let page = StatusPage::start();
    let folder = watching(&[("Alpha", &page)]);
    let url = cluster.url("latecomer", "postgres");
    let mut daemon = Running::start(folder.path(), &[("DATABASE_URL", &url)]);
    daemon.until("retrying for");
    let session = cluster.session("postgres").await;
    session.batch_execute("CREATE ROLE latecomer SUPERUSER LOGIN").await.unwrap();
    daemon.until("All services operational.");
}

/// It is kept under another name.
#[test]
fn a_damaged_state_database_does_not_stop_monitoring() {
    let page = StatusPage::start();
    let folder = watching(&[("Alpha", &page)]);
    fs::create_dir(folder.path().join("data")).unwrap();
    fs::write(folder.path().join("data/monitor.db"), "no database at all, and long enough").unwrap();
    let mut daemon = Running::start(folder.path(), &[]);
    let line = daemon.until("is damaged");
    let aside = line.split("Moved it to ").nth(1).unwrap().split(' ').next().unwrap();
    assert!(line.contains("WARNING") && folder.path().join(aside).exists(), "{line}");
    daemon.until("All services operational.");
}

#[test]
fn a_removed_data_dir_is_logged_and_made_again() {
    let page = StatusPage::start();
    let folder = watching(&[("Alpha", &page)]);
    let mut daemon = Running::start(folder.path(), &[]);
    daemon.until("All services operational.");
    fs::remove_dir_all(folder.path().join("data")).unwrap();
    page.set_indicator("major", "Partial System Outage");
    let line = daemon.until("was removed while the daemon runs");
    assert!(line.contains("ERROR"), "{line}");
    daemon.until("Wrote the state to a new");
    assert!(folder.path().join("data/monitor.db").exists());
}

/// It is an error of the write that exceeds it.
#[test]
fn a_file_size_limit_does_not_stop_the_daemon() {
    let page = StatusPage::start();
    let folder = watching(&[("Alpha", &page)]);
    let mut daemon = Running::start(folder.path(), &[("LOG_LEVEL", "debug")]);
    daemon.until("All services operational.");
    let pid = daemon.id().to_string();
    assert!(Command::new("prlimit").args(["--pid", &pid, "--fsize=10"]).status().unwrap().success());
    page.set_indicator("major", "Partial System Outage");
    daemon.until("Issues detected");
    page.recover();
    daemon.until("All services operational.");
    daemon.signal("-TERM");
    daemon.until("Stopped");
    // Nothing could be saved, but no signal ended it.
    assert!(daemon.ended() >= 0);
}

/// The journal adds the time; the variable for another stream changes nothing.
#[test]
fn journal_lines_carry_a_priority() {
    let page = StatusPage::start();
    page.set_indicator("major", "Partial System Outage");
    let folder = watching(&[("Alpha", &page)]);
    let (console, writer) = std::io::pipe().unwrap();
    let about = fs::metadata(format!("/proc/self/fd/{}", writer.as_raw_fd())).unwrap();
    let journal = format!("{}:{}", about.dev(), about.ino());
    let vars = [("JOURNAL_STREAM", journal.as_str()), ("LISTEN", "off"), ("POLL_INTERVAL", "1s")];
    let mut daemon = program(folder.path(), &[], &vars).stderr(writer).spawn().unwrap();
    let issue =
        BufReader::new(console).lines().map(Result::unwrap).find(|line| line.contains("Issues detected"));
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    assert!(issue.unwrap().starts_with("<4>MainOrchestrator - WARNING - Issues detected: "));
    let file = fs::read_to_string(folder.path().join("monitor.log")).unwrap();
    assert!(file.lines().all(|line| line.starts_with("20")), "{file}");
    let mut other = Running::start(folder.path(), &[("JOURNAL_STREAM", "1:1")]);
    assert!(other.until("Issues detected").starts_with("20"));
}

/// The error names the command to use; a dry run stores nothing and is allowed.
#[test]
fn root_cannot_sync_into_the_folder_of_a_service() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    chown(&data, Some(UNPRIVILEGED), Some(UNPRIVILEGED)).unwrap();
    let vars = [("STATUSCAKE_API_KEY", "a-long-key"), ("STATUSCAKE_BASE_URL", "http://127.0.0.1:1")];
    let (code, _, said) = output(folder.path(), &["sync", "statuscake"], &vars);
    assert!(
        code == 1 && said.contains("setpriv --reuid=65532 --regid=65532 --clear-groups "),
        "{code} {said}"
    );
    assert!(said.trim_end().ends_with(" sync statuscake"), "{said}");
    assert_eq!(fs::read_dir(&data).unwrap().count(), 0);
}

/// By `validate` and the daemon, with the user and the remedy.
#[test]
fn an_unwritable_data_dir_is_named() {
    if !is_root() {
        return;
    }
    let page = StatusPage::start();
    let folder = watching(&[("Alpha", &page)]);
    chown(folder.path(), Some(UNPRIVILEGED), Some(UNPRIVILEGED)).unwrap();
    fs::create_dir(folder.path().join("data")).unwrap();
    for args in [["validate"], ["run"]] {
        let mut command = program(folder.path(), &args, &[("LISTEN", "off"), ("LOG_FILE", "off")]);
        let done = command.uid(UNPRIVILEGED).gid(UNPRIVILEGED).output().unwrap();
        let said = String::from_utf8(done.stderr).unwrap();
        assert_eq!(done.status.code(), Some(78), "{said}");
        assert!(
            said.contains("DATA_DIR data: permission denied for user 65532 (its owner is user 0)"),
            "{said}"
        );
        assert!(said.contains("`chown -R 65532:65532 data`"), "{said}");
    }
}

/// As does a missing one.
#[test]
fn an_empty_folder_means_the_built_in_monitors() {
    let folder = watching(&[]);
    let (code, said, _) = output(folder.path(), &["validate"], &[]);
    assert!(code == 0 && said.contains("warning: MONITORS_DIR monitors contains no .toml file"), "{said}");
    assert!(said.contains("monitors (built in): Epic Games, GitHub, MongoDB, Snowflake"), "{said}");
}

/// It uses the current one, and LISTEN sets the address of its dashboard.
#[test]
fn the_demo_runs_without_a_temporary_folder() {
    let folder = tempfile::tempdir().unwrap();
    let vars = [("TMPDIR", "/nowhere"), ("LISTEN", "0.0.0.0:0")];
    let mut demo = program(folder.path(), &["demo"], &vars).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines().map(Result::unwrap);
    let dashboard = lines.find(|line| line.starts_with("Dashboard: ")).unwrap();
    assert!(dashboard.contains("http://0.0.0.0:"), "{dashboard}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    assert!(Command::new("kill").args(["-TERM", &demo.id().to_string()]).status().unwrap().success());
    assert!(lines.any(|line| line == "Removed the temporary folder."));
    assert!(demo.wait().unwrap().success());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// As the first process of a container, where signals are ignored unless they are handled.
#[test]
fn commands_stop_on_a_signal_as_process_1() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", env!("CARGO_BIN_EXE_data-sources-monitor")]);
    command
        .args(["serve", "stdin", "statuscake"])
        .env_clear()
        .env("LOG_LEVEL", "debug")
        .current_dir(folder.path());
    let mut outer =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let children = format!("/proc/{0}/task/{0}/children", outer.id());
    let inner = loop {
        let child = fs::read_to_string(&children).unwrap().trim().to_owned();
        // Bit 14 of the mask is SIGTERM, once it is handled.
        let status = fs::read_to_string(format!("/proc/{child}/status")).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        if caught
            .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
            .is_some_and(|mask| mask & (1 << 14) != 0)
        {
            break child;
        }
        std::thread::yield_now();
    };
    assert!(Command::new("kill").args(["-TERM", &inner]).status().unwrap().success());
    let mut said = String::new();
    outer.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(outer.wait().unwrap().code(), Some(1));
    assert!(said.contains("stopped before the end of stdin"), "{said}");
}

#[test]
fn a_health_check_without_a_port_says_what_to_set() {
    let folder = tempfile::tempdir().unwrap();
    let (code, _, said) = output(folder.path(), &["healthcheck"], &[("LISTEN", "off")]);
    assert!(code == 78 && said.contains("LISTEN=off") && said.contains("--no-healthcheck"), "{said}");
}
