//! `backup` and `restore`: a round trip beside a running daemon and sync, and every way to lose data refused.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Stdio;

use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;

use crate::postgres::cluster::skipped;
use crate::processes::binary::{Running, output, program, watching};
use stand_ins::status_page::StatusPage;
use stand_ins::statuscake::{self, Sizes, StatusCake};
use stand_ins::{Clock, Gate, Reply};

/// A user without rights, as in the image.
const UNPRIVILEGED: u32 = 65532;

const SIZES: Sizes = Sizes { tests: 3, history: 120, periods: 3, alerts: 4 };

fn vars(cake: &StatusCake) -> Vec<(&'static str, String)> {
    vec![("STATUSCAKE_API_KEY", statuscake::API_KEY.to_owned()), ("STATUSCAKE_BASE_URL", cake.base_url())]
}

fn texts<'a>(vars: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    vars.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

fn count(file: &Path, table: &str) -> i64 {
    let db = Connection::open(file).unwrap();
    db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

/// A folder with a database of a connector that was synced once.
fn synced() -> (StatusCake, TempDir) {
    let (cake, folder) = (StatusCake::start(7, SIZES, &Clock::system()), watching(&[]));
    let vars = vars(&cake);
    let (code, out, err) = output(folder.path(), &["sync", "statuscake"], &texts(&vars));
    assert_eq!(code, 0, "{out}{err}");
    (cake, folder)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_backup_beside_a_daemon_and_a_sync_restores_to_the_same_data() {
    let (cake, page, folder) =
        (StatusCake::start(7, SIZES, &Clock::system()), StatusPage::start(), tempfile::tempdir().unwrap());
    let at = folder.path();
    fs::create_dir(at.join("monitors")).unwrap();
    fs::write(at.join("monitors/a.toml"), format!("name = \"Alpha\"\nurl = \"{}\"\n", page.url())).unwrap();
    page.set_indicator("major", "Partial System Outage");
    let vars = vars(&cake);
    let mut daemon = Running::start(at, &[]);
    daemon.until("Issues detected");
    // The first pages are stored, the next ones never arrive.
    let gate = Gate::new();
    cake.always_on("/alerts", Reply::usual().held_by(&gate));
    let mut sync = program(at, &["sync", "statuscake"], &texts(&vars));
    let mut sync = sync.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while cake.requests_on("/alerts").is_empty() {
        std::thread::yield_now();
    }
    let (code, out, err) = output(at, &["backup", "safe/first"], &[]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("Backed up 2 databases of data to safe/first"), "{out}");
    assert!(sync.try_wait().unwrap().is_none(), "the sync was still at work");
    gate.open();
    assert!(sync.wait().unwrap().success());
    assert_eq!(names(&at.join("safe/first")), ["backup.json", "monitor.db", "statuscake.db"]);
    assert_eq!(fs::metadata(at.join("safe/first")).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(names(&at.join("safe")), ["first"]);

    let (code, out, err) = output(at, &["restore", "safe/first", "--data-dir", "other"], &[]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("Restored 2 databases"), "{out}");
    // What the sync had stored by then is whole: the next one completes it, and both end with the same rows.
    let args = ["sync", "statuscake", "--data-dir", "other"];
    let (code, out, err) = output(at, &args, &texts(&vars));
    assert_eq!(code, 0, "{out}{err}");
    for table in ["uptime_test", "uptime_test_history", "uptime_test_period", "uptime_test_alert"] {
        let [here, there] =
            ["data", "other"].map(|folder| count(&at.join(folder).join("statuscake.db"), table));
        assert!(here == there && here > 0, "{table}: {here} {there}");
    }
    daemon.signal("-TERM");
    assert_eq!(daemon.ended(), 0);
    // The daemon goes on with the state of the backup: the issue is known, not new.
    let mut second = Running::start(at, &[("DATA_DIR", "other")]);
    second.until("Issues detected");
    assert_eq!(count(&at.join("other/monitor.db"), "transition"), 1);
}

#[test]
fn a_backup_overwrites_nothing() {
    let (_cake, folder) = synced();
    let at = folder.path();
    fs::create_dir(at.join("safe")).unwrap();
    let (code, _, said) = output(at, &["backup", "safe"], &[]);
    assert!(code == 1 && said.contains("safe already exists"), "{said}");
    assert!(names(&at.join("safe")).is_empty());
    let (code, _, said) = output(at, &["backup", "new", "--data-dir", "empty"], &[]);
    assert!(code == 1 && said.contains("nothing to back up"), "{said}");
    fs::write(at.join("data/people_ai.db"), "no database, and longer than a header ".repeat(9)).unwrap();
    let (code, _, said) = output(at, &["backup", "new"], &[]);
    assert!(code == 1 && said.contains("cannot copy data/people_ai.db"), "{said}");
    assert_eq!(names(at), ["data", "monitors", "safe"], "no part of a backup is left");
}

#[test]
fn a_restore_needs_a_stopped_daemon_and_replaces_only_with_force() {
    let (cake, folder) = synced();
    let at = folder.path();
    assert_eq!(output(at, &["backup", "safe"], &[]).0, 0);
    let page = StatusPage::start();
    fs::write(at.join("monitors/a.toml"), format!("name = \"Alpha\"\nurl = \"{}\"\n", page.url())).unwrap();
    let mut daemon = Running::start(at, &[]);
    daemon.until("All services operational.");
    let (code, _, said) = output(at, &["restore", "--force", "safe"], &[]);
    assert!(code == 1 && said.contains("in use by another data-sources-monitor"), "{said}");
    daemon.signal("-TERM");
    daemon.ended();
    let (code, _, said) = output(at, &["restore", "safe"], &[]);
    assert!(code == 1 && said.contains("data already contains statuscake.db; use --force"), "{said}");

    // Damaged, with a log that belongs to no other file.
    let file = at.join("data/statuscake.db");
    fs::write(&file, "damaged").unwrap();
    fs::write(at.join("data/statuscake.db-wal"), "of the damaged one").unwrap();
    let (code, out, err) = output(at, &["restore", "--force", "safe"], &[]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("Not in the backup and not changed: monitor.db"), "{out}");
    let aside = names(&at.join("data")).into_iter().find(|name| name.starts_with("replaced-")).unwrap();
    assert!(out.contains(&format!("data/{aside}")), "{out}");
    let moved = names(&at.join("data").join(aside));
    assert!(
        ["statuscake.db", "statuscake.db-wal"].iter().all(|name| moved.iter().any(|moved| moved == name)),
        "{moved:?}"
    );
    assert_eq!(count(&file, "uptime_test"), 3);
    let vars = vars(&cake);
    assert_eq!(output(at, &["sync", "statuscake"], &texts(&vars)).0, 0);
}

/// What root restores for a service belongs to the service's user.
#[test]
fn a_restore_by_root_leaves_everything_to_the_owner_of_the_folder() {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        skipped("REQUIRE_ROOT", "tests of other users' files need root");
        return;
    }
    let (_cake, folder) = synced();
    let at = folder.path();
    assert_eq!(output(at, &["backup", "safe"], &[]).0, 0);
    for path in fs::read_dir(at.join("data")).unwrap().map(|entry| entry.unwrap().path()) {
        chown(path, Some(UNPRIVILEGED), Some(UNPRIVILEGED)).unwrap();
    }
    chown(at.join("data"), Some(UNPRIVILEGED), Some(UNPRIVILEGED)).unwrap();
    assert_eq!(output(at, &["backup", "again"], &[]).0, 0);
    let (code, out, err) = output(at, &["restore", "--force", "safe"], &[]);
    assert_eq!(code, 0, "{out}{err}");
    for entry in fs::read_dir(at.join("data")).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(fs::metadata(&path).unwrap().uid(), UNPRIVILEGED, "{}", path.display());
    }
}

#[test]
fn a_backup_that_cannot_be_used_changes_nothing() {
    let (_cake, folder) = synced();
    let at = folder.path();
    assert_eq!(output(at, &["backup", "safe"], &[]).0, 0);
    let before = fs::read(at.join("data/statuscake.db")).unwrap();
    let refused = |words: &str| {
        let (code, _, said) = output(at, &["restore", "--force", "safe"], &[]);
        assert!(code == 1 && said.contains(words), "{words}: {code} {said}");
        assert_eq!(fs::read(at.join("data/statuscake.db")).unwrap(), before);
        assert!(names(&at.join("data")).iter().all(|name| !name.contains("partial")));
    };
    let copy = fs::read(at.join("safe/statuscake.db")).unwrap();
    fs::write(at.join("safe/statuscake.db"), &copy[..copy.len() - 4096]).unwrap();
    refused("the backup is damaged");
    let mut broken = copy.clone();
    broken[4096..8192].fill(0xff);
    fs::write(at.join("safe/statuscake.db"), &broken).unwrap();
    refused("cannot use statuscake.db of the backup");
    fs::write(at.join("safe/statuscake.db"), &copy).unwrap();
    let db = Connection::open(at.join("safe/statuscake.db")).unwrap();
    db.pragma_update(None, "user_version", 99).unwrap();
    drop(db);
    refused("newer version");
    fs::write(at.join("safe/statuscake.db"), &copy).unwrap();
    let list = fs::read_to_string(at.join("safe/backup.json")).unwrap();
    let mut later: Value = serde_json::from_str(&list).unwrap();
    later["format"] = 2.into();
    fs::write(at.join("safe/backup.json"), later.to_string()).unwrap();
    refused("written by a later version");
    fs::write(at.join("safe/backup.json"), list.replace("statuscake.db", "../data/statuscake.db")).unwrap();
    refused("is not the name of a database file");
    fs::remove_file(at.join("safe/backup.json")).unwrap();
    refused("is not a backup");
}

#[test]
fn backup_and_restore_name_the_tools_of_postgresql() {
    let folder = tempfile::tempdir().unwrap();
    let vars = [("DATABASE_URL", "postgres://dsm@db.test/dsm")];
    for (args, tool) in [(["backup", "x"], "pg_dump"), (["restore", "x"], "pg_restore")] {
        let (code, _, said) = output(folder.path(), &args, &vars);
        assert!(code == 78 && said.contains(tool) && said.contains("db.test"), "{said}");
    }
}
