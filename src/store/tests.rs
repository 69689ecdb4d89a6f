//! What is kept comes back, and what cannot be used is refused clearly.

use super::*;
use crate::domain::history::Day;
use crate::domain::severity::Severity;
use rusqlite::Connection;

fn transition(at: &str) -> Transition {
    Transition {
        monitor: "A".into(),
        at: at.parse().unwrap(),
        from: Severity::None,
        to: Severity::Major,
        description: "down".into(),
    }
}

/// What is kept comes back after a restart, as it was.
#[tokio::test]
async fn remembers() {
    let folder = tempfile::tempdir().unwrap();
    let (store, closer, kept) = Store::open(folder.path()).unwrap();
    assert!(kept.states.is_empty());
    let state = MonitorState { severity: Severity::Major, description: "down".into(), ..Default::default() };
    let memory = Memory { holding: true, stands: Some("x".into()), ..Default::default() };
    let states = [("A".to_owned(), state.clone())].into();
    store.keep(Batch { states, ..Batch::default() }).await.unwrap();
    store.keep_memory("https://acme.test/", memory.clone()).await.unwrap();
    drop(store);
    closer.join();
    let (_store, _closer, kept) = Store::open(folder.path()).unwrap();
    assert_eq!(kept.memory_of("https://acme.test/"), memory);
    assert_eq!(kept.memory_of("https://other.test/"), Memory::default());
    assert_eq!(kept.states, [("A".to_owned(), state)]);
}

/// A second daemon on the same folder is told who is there; after the first has gone the folder is free.
#[tokio::test]
async fn one_daemon_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let (store, closer, _) = Store::open(folder.path()).unwrap();
    let refused = Store::open(folder.path()).err().unwrap().to_string();
    assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
    drop(store);
    closer.join();
    assert!(Store::open(folder.path()).is_ok());
}

fn day(name: &str, date: &str, ms: u32) -> ((String, Date), Day) {
    ((name.to_owned(), date.parse().unwrap()), Day { at: [ms, 0, 0, 1, 0] })
}

/// The days before one, with a row each.
fn days_until(date: &str, count: i64) -> Days {
    let date: Date = date.parse().unwrap();
    let days = (0..count).map(|nth| crate::domain::history::days_before(date, nth));
    days.map(|date| (("A".to_owned(), date), Day { at: [1, 0, 0, 0, 0] })).collect()
}

/// History older than 400 days goes, once there are 400 newer days; the rest stays.
#[tokio::test]
async fn prunes() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _closer, _) = Store::open(folder.path()).unwrap();
    let transitions = vec![transition("2025-01-01T00:00:00Z"), transition("2026-05-01T00:00:00Z")];
    let mut days = days_until("2026-05-01", 400);
    days.extend([day("A", "2025-01-01", 5)]);
    store.keep(Batch { transitions, days, ..Batch::default() }).await.unwrap();
    store.prune("2026-05-02T00:00:00Z".parse().unwrap()).await.unwrap();
    let left = store.reader().transitions(ever()).await.unwrap();
    assert_eq!(left, [transition("2026-05-01T00:00:00Z")]);
    let left = store.reader().days(None, Date::MIN).await.unwrap();
    assert_eq!(left.len(), 400);
}

#[tokio::test]
async fn a_clock_that_is_years_ahead_deletes_no_history() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _closer, _) = Store::open(folder.path()).unwrap();
    let transitions = vec![transition("2026-04-30T00:00:00Z")];
    store.keep(Batch { transitions, days: days_until("2026-05-01", 300), ..Batch::default() }).await.unwrap();
    // At the start, and a day later, when rows of the wrong year are there.
    store.prune("2029-01-01T00:00:00Z".parse().unwrap()).await.unwrap();
    store.keep(Batch { days: [day("A", "2029-01-01", 5)].into(), ..Batch::default() }).await.unwrap();
    store.prune("2029-01-02T00:00:00Z".parse().unwrap()).await.unwrap();
    assert_eq!(store.reader().days(None, Date::MIN).await.unwrap().len(), 301);
    assert_eq!(store.reader().transitions(ever()).await.unwrap().len(), 1);
}

#[test]
fn changes_that_cannot_be_kept_are_bounded_and_merged_per_monitor() {
    let mut batch = Batch::default();
    let start: Timestamp = "2026-05-01T00:00:00Z".parse().unwrap();
    let severities = [Severity::None, Severity::Minor, Severity::Major];
    let change = |nth: usize| Transition {
        monitor: format!("M{}", nth % 7),
        at: start + SignedDuration::from_secs(nth as i64),
        from: severities[(nth / 7) % 3],
        to: severities[(nth / 7 + 1) % 3],
        description: "x".into(),
    };
    for nth in 0..3 * MAX_WAITING {
        batch.add(change(nth));
        assert!(batch.transitions.len() <= MAX_WAITING);
    }
    // Each monitor's chain is whole, and ends as it did.
    for monitor in 0..7 {
        let name = format!("M{monitor}");
        let chain: Vec<_> = batch.transitions.iter().filter(|change| change.monitor == name).collect();
        assert!(chain.windows(2).all(|pair| pair[0].to == pair[1].from && pair[0].at < pair[1].at));
        let last = (0..3 * MAX_WAITING).rev().find(|nth| nth % 7 == monitor).unwrap();
        assert_eq!(*chain[chain.len() - 1], change(last));
    }
}

fn ever() -> Span {
    Span { monitor: None, from: Timestamp::MIN, to: Timestamp::MAX, limit: 100 }
}

/// Time watched adds up over batches; days are given by monitor and date.
#[tokio::test]
async fn adds_days_up() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _closer, _) = Store::open(folder.path()).unwrap();
    for ms in [5, 7] {
        let days = [day("B", "2026-05-01", ms), day("A", "2026-05-02", 1), day("A", "2026-04-30", 1)].into();
        store.keep(Batch { days, ..Batch::default() }).await.unwrap();
    }
    let days = store.reader().days(None, "2026-05-01".parse().unwrap()).await.unwrap();
    let shown: Vec<String> =
        days.iter().map(|(name, date, day)| format!("{name} {date} {:?}", day.at)).collect();
    assert_eq!(shown, ["A 2026-05-02 [2, 0, 0, 2, 0]", "B 2026-05-01 [12, 0, 0, 2, 0]"]);
}

/// Transitions are found by time and monitor, the newest first, no more than asked for.
#[tokio::test]
async fn finds_transitions() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _closer, _) = Store::open(folder.path()).unwrap();
    let of = |monitor: &str, hour: i64| {
        let at = Timestamp::from_second(1_700_000_000 + hour * 3600).unwrap();
        Transition { monitor: monitor.into(), at, ..transition("2026-05-01T00:00:00Z") }
    };
    let transitions = vec![of("A", 1), of("B", 2), of("A", 3), of("A", 4)];
    store.keep(Batch { transitions, ..Batch::default() }).await.unwrap();
    let ask = |monitor: Option<&str>, from: i64, to: i64, limit| {
        let span = Span { monitor: monitor.map(Into::into), from: of("", from).at, to: of("", to).at, limit };
        let store = store.clone();
        async move { store.reader().transitions(span).await.unwrap() }
    };
    assert_eq!(ask(None, 2, 4, 9).await, [of("A", 3), of("B", 2)]);
    assert_eq!(ask(Some("A"), 0, 9, 2).await, [of("A", 4), of("A", 3)]);
    assert_eq!(ask(Some("B"), 3, 9, 2).await, []);
}

/// A batch that could not be kept goes back whole: newer states stand, older transitions come first, time adds up.
#[test]
fn nothing_is_lost_when_put_back() {
    let state = |description: &str| MonitorState { description: description.into(), ..Default::default() };
    let earlier = Batch {
        states: [("A".into(), state("old")), ("B".into(), state("old"))].into(),
        transitions: vec![transition("2026-05-01T00:00:00Z")],
        days: [day("A", "2026-05-01", 5)].into(),
    };
    let mut batch = Batch {
        states: [("A".into(), state("new"))].into(),
        transitions: vec![transition("2026-05-02T00:00:00Z")],
        days: [day("A", "2026-05-01", 7)].into(),
    };
    batch.put_back(earlier);
    assert_eq!(batch.states, [("A".into(), state("new")), ("B".into(), state("old"))].into());
    let order = [transition("2026-05-01T00:00:00Z"), transition("2026-05-02T00:00:00Z")];
    assert_eq!(batch.transitions, order);
    assert_eq!(batch.days.values().map(|day| day.at[0]).sum::<u32>(), 12);
}

/// A folder that cannot be made and a file from the future need a person; a locked file does not.
#[test]
fn refuses_clearly() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let unusable = Store::open(&folder.path().join("file/data")).err().unwrap();
    assert!(unusable.to_string().starts_with("DATA_DIR ") && !unusable.is_transient(), "{unusable}");
    let (store, closer, _) = Store::open(folder.path()).unwrap();
    drop(store);
    closer.join();
    let db = Connection::open(folder.path().join("monitor.db")).unwrap();
    db.pragma_update(None, "locking_mode", "EXCLUSIVE").unwrap();
    db.pragma_update(None, "user_version", 99).unwrap();
    let locked = Store::open(folder.path()).err().unwrap();
    assert!(locked.to_string().contains("locked") && locked.is_transient(), "{locked}");
    drop(db);
    let newer = Store::open(folder.path()).err().unwrap();
    assert!(newer.to_string().contains("a later version") && !newer.is_transient(), "{newer}");
}

/// What is kept, from a start that ends at once.
fn kept(folder: &Path) -> Kept {
    let (store, closer, kept) = Store::open(folder).unwrap();
    drop(store);
    closer.join();
    kept
}

fn files(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// A damaged file, and one whose content was not written by this program, is kept under another name.
#[tokio::test]
async fn a_damaged_database_is_moved_aside() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("monitor.db");
    std::fs::write(&path, "this is no database, and long enough to tell").unwrap();
    let refused = Store::open_undamaged(folder.path()).err().unwrap();
    assert!(!refused.is_transient() && files(folder.path()) == ["monitor.db", "monitor.lock"], "{refused}");
    let (store, closer, first) = Store::open(folder.path()).unwrap();
    assert!(first.states.is_empty());
    store
        .keep(Batch { states: [("A".into(), MonitorState::default())].into(), ..Batch::default() })
        .await
        .unwrap();
    drop(store);
    closer.join();
    assert_eq!(kept(folder.path()).states.len(), 1);
    let db = Connection::open(&path).unwrap();
    db.execute("UPDATE monitor SET state = 'x'", []).unwrap();
    drop(db);
    let aside: Vec<String> =
        files(folder.path()).into_iter().filter(|name| name.starts_with("monitor.db.damaged-")).collect();
    assert_eq!(aside.len(), 1, "{aside:?}");
    std::fs::rename(folder.path().join(&aside[0]), folder.path().join("first")).unwrap();
    assert!(kept(folder.path()).states.is_empty());
    let again =
        files(folder.path()).into_iter().filter(|name| name.starts_with("monitor.db.damaged-")).count();
    assert!(again >= 1);
}

/// A folder that is removed while the daemon runs is written again with all that was in it; a file that took its
/// place is left alone.
#[tokio::test]
async fn a_removed_folder_is_written_again() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("data");
    let (store, closer, _) = Store::open(&folder).unwrap();
    let states = |name: &str| Batch {
        states: [(name.to_owned(), MonitorState::default())].into(),
        ..Batch::default()
    };
    store.keep(states("A")).await.unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    store.keep(states("B")).await.unwrap();
    assert!(
        Store::open(&folder).err().unwrap().to_string().contains("is in use"),
        "the new folder is locked"
    );
    std::fs::rename(&folder, root.path().join("away")).unwrap();
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("monitor.db"), "").unwrap();
    let refused = store.keep(states("C")).await.unwrap_err();
    assert!(refused.reason.contains("another file"), "{refused}");
    std::fs::remove_dir_all(&folder).unwrap();
    std::fs::write(&folder, "").unwrap();
    assert!(store.keep(states("C")).await.is_err());
    std::fs::remove_file(&folder).unwrap();
    store.keep(states("C")).await.unwrap();
    drop(store);
    closer.join();
    let names: Vec<String> = kept(&folder).states.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["A", "B", "C"]);
}
