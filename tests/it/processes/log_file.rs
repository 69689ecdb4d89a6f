//! `monitor.log` as `tail -F` and logrotate see it, and on a full disk.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use data_sources_monitor::testing::log_file::{Notice, RotatingFile, Rotation};
use data_sources_monitor::testing::telemetry::{self, LogFormat, LogSettings, TelemetryError};
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use tempfile::TempDir;

/// Long enough on a loaded machine for `tail`, which may fall back to polling every few seconds.
const TIMEOUT: Duration = Duration::from_secs(60);

const NEVER: Rotation = Rotation { size: 0, age: SignedDuration::ZERO, keep: 3 };

fn open(path: &Path, rotation: Rotation) -> RotatingFile {
    RotatingFile::open(path, rotation, |notice| format!("{notice:?}\n")).unwrap()
}

fn log_in_a_folder() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("monitor.log");
    (dir, path)
}

fn write(log: &mut RotatingFile, line: &str) {
    log.write_all(format!("{line}\n").as_bytes()).unwrap();
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap()
}

/// Every file of the folder with its content, by name.
fn folder(dir: &Path) -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), read(entry.path())))
        .collect();
    files.sort();
    files
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, content)| ((*name).to_owned(), (*content).to_owned())).collect()
}

/// GNU tail, following a name.
struct Tail {
    child: Child,
    lines: Receiver<String>,
}

impl Tail {
    fn follow(path: &Path) -> Self {
        let mut child = Command::new("tail")
            .args(["-F", "-n", "+1", "--sleep-interval=0.2"])
            .arg(path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (found, lines) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| found.send(line))
        });
        Self { child, lines }
    }

    fn expect(&self, line: &str) {
        let deadline = Instant::now() + TIMEOUT;
        let seen = self.lines.recv_timeout(deadline - Instant::now());
        assert_eq!(seen.as_deref(), Ok(line));
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// In order, through our rotations and a manual `mv`.
#[test]
fn tail_sees_every_line_through_rotations() {
    let (dir, path) = log_in_a_folder();
    let mut log = open(&path, Rotation { size: 64, ..NEVER });
    let mut number = 0;
    let mut write_and_see = |tail: &Tail, lines: usize| {
        for _ in 0..lines {
            number += 1;
            let line = format!("line {number:010}");
            write(&mut log, &line);
            tail.expect(&line);
        }
    };
    let tail = Tail::follow(&path);
    // Four lines fill a file, so this is four rotations.
    write_and_see(&tail, 20);
    assert!(path.with_extension("log.3").exists());
    fs::rename(&path, dir.path().join("taken-away")).unwrap();
    write_and_see(&tail, 6);
    assert_eq!(folder(dir.path()).len(), 5, "three old files, the current one, the one taken away");
}

#[test]
fn a_file_rotates_by_size_and_old_ones_are_deleted() {
    let (dir, path) = log_in_a_folder();
    let mut log = open(&path, Rotation { size: 14, keep: 2, ..NEVER });
    for number in 1..=7 {
        write(&mut log, &format!("line {number}"));
    }
    let expected = [
        ("monitor.log", "line 7\n"),
        ("monitor.log.1", "line 5\nline 6\n"),
        ("monitor.log.2", "line 3\nline 4\n"),
    ];
    assert_eq!(folder(dir.path()), pairs(&expected));
    write(&mut log, "a line longer than a file may be");
    assert_eq!(read(&path), "a line longer than a file may be\n");
}

/// With the next line, also a file of an earlier run; a clock that was set back or forth costs no line.
#[test]
fn a_file_rotates_by_age() {
    let (dir, path) = log_in_a_folder();
    let offset = Arc::new(AtomicI64::new(0));
    let clock = {
        let offset = Arc::clone(&offset);
        move || Timestamp::now() + SignedDuration::from_hours(offset.load(Ordering::Relaxed))
    };
    let daily = Rotation { age: SignedDuration::from_hours(24), ..NEVER };
    let mut log = open(&path, daily).with_clock(clock.clone());
    write(&mut log, "today");
    offset.store(23, Ordering::Relaxed);
    write(&mut log, "late");
    drop(log);

    let mut log = open(&path, daily).with_clock(clock);
    offset.store(25, Ordering::Relaxed);
    write(&mut log, "tomorrow");
    assert_eq!(
        folder(dir.path()),
        pairs(&[("monitor.log", "tomorrow\n"), ("monitor.log.1", "today\nlate\n")])
    );
    offset.store(-24 * 400, Ordering::Relaxed);
    write(&mut log, "back");
    offset.store(-24 * 398, Ordering::Relaxed);
    write(&mut log, "two days on");
    assert_eq!(read(&path), "two days on\n");
    assert_eq!(read(path.with_extension("log.1")), "tomorrow\nback\n");
}

#[test]
fn an_empty_file_is_not_rotated() {
    let (dir, path) = log_in_a_folder();
    File::create(&path).unwrap();
    let later = || Timestamp::now() + SignedDuration::from_hours(48);
    let mut log = open(&path, Rotation { age: SignedDuration::from_hours(24), ..NEVER }).with_clock(later);
    write(&mut log, "first");
    write(&mut log, "second");
    assert_eq!(folder(dir.path()), pairs(&[("monitor.log", "first\nsecond\n")]));
}

/// Once a minute; the file grows.
#[test]
fn a_failed_rotation_is_logged_and_loses_nothing() {
    let (dir, path) = log_in_a_folder();
    let in_the_way = dir.path().join("monitor.log.1");
    fs::create_dir(&in_the_way).unwrap();
    let minutes = Arc::new(AtomicI64::new(0));
    let clock = {
        let (start, minutes) = (Timestamp::now(), Arc::clone(&minutes));
        move || start + SignedDuration::from_mins(minutes.load(Ordering::Relaxed))
    };
    let mut log = open(&path, Rotation { size: 5, keep: 1, ..NEVER }).with_clock(clock);
    write(&mut log, "one");
    write(&mut log, "two");
    write(&mut log, "three");
    minutes.store(1, Ordering::Relaxed);
    write(&mut log, "four");
    let told = Notice::NotRotated { error: "Is a directory (os error 21)".into() };
    assert_eq!(read(&path), format!("one\n{told:?}\ntwo\nthree\n{told:?}\nfour\n"));
    fs::remove_dir(&in_the_way).unwrap();
    minutes.store(2, Ordering::Relaxed);
    write(&mut log, "five");
    assert_eq!((read(&path).as_str(), in_the_way.is_file()), ("five\n", true));
}

/// A request to reopen does no harm.
#[test]
fn a_moved_or_deleted_file_is_opened_again() {
    let (dir, path) = log_in_a_folder();
    let mut log = open(&path, NEVER);
    write(&mut log, "one");
    fs::rename(&path, dir.path().join("moved")).unwrap();
    write(&mut log, "two");
    fs::remove_file(&path).unwrap();
    write(&mut log, "three");
    fs::write(dir.path().join("new"), "by another\n").unwrap();
    fs::rename(dir.path().join("new"), &path).unwrap();
    write(&mut log, "four");
    log.handle().reopen();
    write(&mut log, "five");
    assert_eq!(folder(dir.path()), pairs(&[("monitor.log", "by another\nfour\nfive\n"), ("moved", "one\n")]));
    assert_eq!(log.handle().lost_lines(), 0);
}

/// Half a line of a crash is ended first.
#[test]
fn an_existing_file_is_appended_to() {
    let (_dir, path) = log_in_a_folder();
    fs::write(&path, "old\nhalf a li").unwrap();
    write(&mut open(&path, NEVER), "new");
    write(&mut open(&path, NEVER), "newer");
    assert_eq!(read(&path), "old\nhalf a li\nnew\nnewer\n");
}

#[test]
fn lines_lost_to_a_full_disk_are_counted_in_the_file() {
    let (dir, path) = log_in_a_folder();
    symlink("/dev/full", &path).unwrap();
    let mut log = open(&path, NEVER);
    for _ in 0..3 {
        write(&mut log, "lost");
    }
    assert_eq!(log.handle().lost_lines(), 3);
    assert!(log.trouble().unwrap().contains("No space left"), "{:?}", log.trouble());
    fs::remove_file(&path).unwrap();
    write(&mut log, "after");
    write(&mut log, "later");
    let told = Notice::Lost { lines: 3, error: "No space left on device (os error 28)".into() };
    assert_eq!(folder(dir.path()), pairs(&[("monitor.log", &format!("{told:?}\nafter\nlater\n"))]));
    assert_eq!((log.trouble(), log.handle().lost_lines()), (None, 3));
}

/// A folder that was moved still gets them.
#[test]
fn lines_lost_to_a_deleted_folder_are_counted_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let logs = dir.path().join("logs");
    fs::create_dir(&logs).unwrap();
    let mut log = open(&logs.join("monitor.log"), NEVER);
    write(&mut log, "one");
    fs::rename(&logs, dir.path().join("moved")).unwrap();
    write(&mut log, "two");
    assert_eq!(read(dir.path().join("moved/monitor.log")), "one\ntwo\n");
    fs::remove_dir_all(dir.path().join("moved")).unwrap();
    write(&mut log, "lost");
    fs::create_dir(&logs).unwrap();
    write(&mut log, "back");
    let told = Notice::Lost { lines: 1, error: "No such file or directory (os error 2)".into() };
    assert_eq!(read(logs.join("monitor.log")), format!("{told:?}\nback\n"));
}

/// Files rotate beside its target.
#[test]
fn a_symbolic_link_stays_a_link() {
    let (dir, path) = log_in_a_folder();
    let volume = tempfile::tempdir().unwrap();
    symlink(volume.path().join("real.log"), &path).unwrap();
    let mut log = open(&path, Rotation { size: 5, ..NEVER });
    write(&mut log, "one");
    write(&mut log, "two");
    assert_eq!(folder(volume.path()), pairs(&[("real.log", "two\n"), ("real.log.1", "one\n")]));
    assert!(path.is_symlink() && folder(dir.path()).len() == 1);
}

/// One rotates, the other follows; no line is lost.
#[test]
fn two_programs_can_write_to_one_file() {
    let (dir, path) = log_in_a_folder();
    let rotation = Rotation { size: 1000, keep: 100, ..NEVER };
    let writers = ["a", "b"].map(|name| {
        let mut log = open(&path, rotation);
        std::thread::spawn(move || {
            (0..1000).for_each(|number| write(&mut log, &format!("{name} {number:04}")))
        })
    });
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    let mut lines: Vec<String> =
        folder(dir.path()).iter().flat_map(|(_, content)| content.lines()).map(str::to_owned).collect();
    lines.sort();
    let expected =
        ["a", "b"].iter().flat_map(|name| (0..1000).map(move |number| format!("{name} {number:04}")));
    assert_eq!(lines, expected.collect::<Vec<String>>());
}

/// It names the file and what to do.
#[test]
fn a_missing_folder_is_an_error_at_the_start() {
    let open =
        |path: &str| RotatingFile::open(Path::new(path), NEVER, |_| String::new()).map(drop).unwrap_err();
    insta::assert_snapshot!(open("/nowhere/at/all/monitor.log"), @"cannot open the log file /nowhere/at/all/monitor.log: No such file or directory (os error 2); create its directory, or name another file");
    insta::assert_snapshot!(open("/dev"), @"cannot open the log file /dev: Is a directory (os error 21); name a file, not a directory");
}

fn settings(file: &Path, format: LogFormat) -> LogSettings {
    LogSettings {
        console: true,
        file: Some(file.to_path_buf()),
        format,
        level: "info".into(),
        rotate_size: 0,
        rotate_age: SignedDuration::ZERO,
        keep: 5,
    }
}

/// Under their loggers' names, with the fields of their spans except those that the sentence has; hostile text stays
/// on its line, registered secrets are redacted, other crates are quiet.
#[test]
fn events_are_written_in_the_known_format() {
    let (_dir, path) = log_in_a_folder();
    let (subscriber, guard) = telemetry::subscriber(&settings(&path, LogFormat::Text)).unwrap();
    guard.log().redactor().register("key", &SecretString::from("example-key-1"));
    tracing::subscriber::with_default(subscriber, || {
        tracing::info!(target: "MainOrchestrator", "Starting Qlik Cloud Data Sources Monitor...");
        tracing::warn!(target: "data_sources_monitor::poll", reason = %"not json\n2025 - forged", "No answer");
        tracing::info!(target: "hyper_util::client", "too much detail");
        tracing::debug!(target: "QlikClient", "too much detail");
        let span = tracing::info_span!(target: "SyncRunner", "sync", connector = "example", rows = tracing::field::Empty);
        span.in_scope(|| {
            span.record("rows", 7);
            tracing::error!(target: "SyncRunner", key = "sent example-key-1", ok = false, "refused example-key-1");
        });
    });
    drop(guard);
    let lines: Vec<String> = read(&path).lines().map(without_time).collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    - MainOrchestrator - INFO - Starting Qlik Cloud Data Sources Monitor...
    - StatusClient - WARNING - No answer reason="not json\n2025 - forged"
    - SyncRunner - ERROR - refused [redacted] rows=7 key="sent [redacted]" ok=false
    "#);
}

fn without_time(line: &str) -> String {
    let (time, rest) = line.split_at(19);
    jiff::civil::DateTime::strptime("%Y-%m-%d %H:%M:%S", time).unwrap();
    rest.to_owned()
}

/// A UTC time, the same names, and typed fields.
#[test]
fn events_are_written_as_json() {
    let (_dir, path) = log_in_a_folder();
    let (subscriber, guard) = telemetry::subscriber(&settings(&path, LogFormat::Json)).unwrap();
    tracing::subscriber::with_default(subscriber, || {
        let span = tracing::error_span!(target: "QlikClient", "publish", tenant = "acme", attempt = 1);
        span.in_scope(|| {
            tracing::error_span!("write", attempt = 2).in_scope(|| {
                tracing::warn!(target: "QlikClient", tries = 3, enabled = true, share = 0.5, "Banner\nowed");
            });
        });
    });
    drop(guard);
    let mut line: serde_json::Value = serde_json::from_str(&read(&path)).unwrap();
    let at: Timestamp = line["timestamp"].as_str().unwrap().parse().unwrap();
    assert!(at.duration_until(Timestamp::now()) < SignedDuration::from_mins(5));
    line["timestamp"] = "2025-12-18T12:05:03.040Z".into();
    insta::assert_snapshot!(line, @r#"{"attempt":2,"enabled":true,"level":"WARNING","logger":"QlikClient","message":"Banner\nowed","share":0.5,"tenant":"acme","timestamp":"2025-12-18T12:05:03.040Z","tries":3}"#);
}

#[test]
fn an_unknown_level_or_unusable_file_is_an_error() {
    let (dir, path) = log_in_a_folder();
    let bad_level = LogSettings { level: "inof".into(), ..settings(&path, LogFormat::Text) };
    assert!(matches!(telemetry::subscriber(&bad_level).map(drop), Err(TelemetryError::Level(_))));
    let bad_file = settings(&dir.path().join("nowhere/monitor.log"), LogFormat::Text);
    assert!(matches!(telemetry::subscriber(&bad_file).map(drop), Err(TelemetryError::File(_))));
    assert!(!path.exists(), "a refused start leaves no file");
}

/// In the format of the log.
#[test]
fn the_log_says_how_many_lines_a_full_disk_cost() {
    let (_dir, path) = log_in_a_folder();
    symlink("/dev/full", &path).unwrap();
    let (subscriber, guard) = telemetry::subscriber(&settings(&path, LogFormat::Text)).unwrap();
    let log = guard.log();
    tracing::subscriber::with_default(subscriber, || {
        tracing::info!(target: "MainOrchestrator", "lost");
        let deadline = Instant::now() + TIMEOUT;
        while log.lost_lines() == 0 {
            assert!(Instant::now() < deadline, "the line is neither written nor counted");
            std::thread::yield_now();
        }
        fs::remove_file(&path).unwrap();
        tracing::info!(target: "MainOrchestrator", "written");
    });
    drop(guard);
    let lines: Vec<String> = read(&path).lines().map(without_time).collect();
    insta::assert_snapshot!(lines.join("\n"), @"
    - MainOrchestrator - WARNING - log lines lost: 1; the log file could not be written: No space left on device (os error 28)
    - MainOrchestrator - INFO - written
    ");
}
