//! Saved state is read back, and an unusable folder or file is refused with a clear reason.

use super::batch::MAX_PENDING;
use super::*;
use crate::domain::monitoring::history::{Day, DayTotals};
use crate::domain::monitoring::responses::{ResponseDay, ResponseHour};
use crate::domain::monitoring::severity::Severity;
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

#[tokio::test]
async fn saved_state_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (store, closer, stored) = Store::open(folder.path()).unwrap();
    assert!(stored.states.is_empty());
    let state = MonitorState { severity: Severity::Major, description: "down".into(), ..Default::default() };
    let memory = BannerState { holding: true, stands: Some("x".into()), ..Default::default() };
    let states = [("A".to_owned(), state.clone())].into();
    store.keep(Batch { states, ..Batch::default() }).await.unwrap();
    store.keep_banner_state("https://acme.test/", memory.clone(), None).await.unwrap();
    drop(store);
    closer.join();
    let (_store, _closer, stored) = Store::open(folder.path()).unwrap();
    assert_eq!(stored.banner_state_of("https://acme.test/"), memory);
    assert_eq!(stored.banner_state_of("https://other.test/"), BannerState::default());
    assert_eq!(stored.states, [("A".to_owned(), state)]);
}

/// Written by a version that knew one tenant only.
#[tokio::test]
async fn the_banner_record_of_the_only_tenant_is_migrated() {
    let folder = tempfile::tempdir().unwrap();
    let db = Connection::open(folder.path().join("monitor.db")).unwrap();
    for step in ["1", "2", "3"] {
        let path = format!("{}/src/store/migrations/{step}.sql", env!("CARGO_MANIFEST_DIR"));
        db.execute_batch(&std::fs::read_to_string(path).unwrap()).unwrap();
    }
    let state = BannerState { holding: true, stands: Some("x".into()), ..Default::default() };
    let record = serde_json::json!({ "tenant": "https://acme.test/", "memory": state });
    db.execute("INSERT INTO banner (id, memory) VALUES (1, ?1)", [record.to_string()]).unwrap();
    db.pragma_update(None, "user_version", 3).unwrap();
    drop(db);
    let (store, closer, stored) = Store::open(folder.path()).unwrap();
    assert_eq!(stored.banner_state_of("https://acme.test/"), state);
    store.keep_banner_state("https://other.test/", BannerState::default(), None).await.unwrap();
    store.forget_banner_state("https://acme.test/").await.unwrap();
    drop(store);
    closer.join();
    let (_store, _closer, stored) = Store::open(folder.path()).unwrap();
    assert_eq!(stored.banners.into_keys().collect::<Vec<_>>(), ["https://other.test/"]);
}

/// The error of the second daemon names the first; afterwards the folder is free.
#[tokio::test]
async fn a_folder_has_one_daemon_at_a_time() {
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

/// `count` days up to a date, with a row each.
fn days_until(date: &str, count: i64) -> DayTotals {
    let date: Date = date.parse().unwrap();
    let days = (0..count).map(|nth| crate::domain::monitoring::history::days_before(date, nth));
    days.map(|date| (("A".to_owned(), date), Day { at: [1, 0, 0, 0, 0] })).collect()
}

#[tokio::test]
async fn history_older_than_400_days_is_deleted_once_there_are_400_newer_days() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _closer, _) = Store::open(folder.path()).unwrap();
    let transitions = vec![transition("2025-01-01T00:00:00Z"), transition("2026-05-01T00:00:00Z")];
    let mut days = days_until("2026-05-01", 400);
    days.extend([day("A", "2025-01-01", 5)]);
    store.keep(Batch { transitions, days, ..Batch::default() }).await.unwrap();
    store.prune("2026-05-02T00:00:00Z".parse().unwrap()).await.unwrap();
    let left = store.reader().transitions(all_time()).await.unwrap();
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
    // At the start, and a day later, when there are rows of the wrong year.
    store.prune("2029-01-01T00:00:00Z".parse().unwrap()).await.unwrap();
    store.keep(Batch { days: [day("A", "2029-01-01", 5)].into(), ..Batch::default() }).await.unwrap();
    store.prune("2029-01-02T00:00:00Z".parse().unwrap()).await.unwrap();
    assert_eq!(store.reader().days(None, Date::MIN).await.unwrap().len(), 301);
    assert_eq!(store.reader().transitions(all_time()).await.unwrap().len(), 1);
}

#[test]
fn pending_transitions_are_bounded_and_merged_per_monitor() {
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
    for nth in 0..3 * MAX_PENDING {
        batch.add(change(nth));
        assert!(batch.transitions.len() <= MAX_PENDING);
    }
    // Each monitor's chain has no gap and ends with its last transition.
    for monitor in 0..7 {
        let name = format!("M{monitor}");
        let chain: Vec<_> = batch.transitions.iter().filter(|change| change.monitor == name).collect();
        assert!(chain.windows(2).all(|pair| pair[0].to == pair[1].from && pair[0].at < pair[1].at));
        let last = (0..3 * MAX_PENDING).rev().find(|nth| nth % 7 == monitor).unwrap();
        assert_eq!(*chain[chain.len() - 1], change(last));
    }
}

fn all_time() -> Span {
    Span { monitor: None, from: Timestamp::MIN, to: Timestamp::MAX, limit: 100 }
}

#[tokio::test]
async fn monitored_time_adds_up_over_batches() {
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

#[tokio::test]
async fn transitions_are_found_by_time_and_monitor_up_to_a_limit() {
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

/// Newer states win, older transitions come first, and time adds up.
#[test]
fn a_batch_that_could_not_be_saved_is_merged_without_loss() {
    let state = |description: &str| MonitorState { description: description.into(), ..Default::default() };
    let earlier = Batch {
        states: [("A".into(), state("old")), ("B".into(), state("old"))].into(),
        transitions: vec![transition("2026-05-01T00:00:00Z")],
        days: [day("A", "2026-05-01", 5)].into(),
        ..polled("A", "2026-05-01T10:00:00Z")
    };
    let mut batch = Batch {
        states: [("A".into(), state("new"))].into(),
        transitions: vec![transition("2026-05-02T00:00:00Z")],
        days: [day("A", "2026-05-01", 7)].into(),
        ..polled("A", "2026-05-01T10:59:00Z")
    };
    batch.put_back(earlier);
    assert_eq!(batch.states, [("A".into(), state("new")), ("B".into(), state("old"))].into());
    let order = [transition("2026-05-01T00:00:00Z"), transition("2026-05-02T00:00:00Z")];
    assert_eq!(batch.transitions, order);
    assert_eq!(batch.days.values().map(|day| day.at[0]).sum::<u32>(), 12);
    let polls: Vec<u32> =
        batch.responses.values().flat_map(|day| day.0.values()).map(ResponseHour::succeeded).collect();
    assert_eq!(polls, [2]);
}

fn polled(monitor: &str, at: &str) -> Batch {
    let mut batch = Batch::default();
    batch.add_poll(monitor, at.parse().unwrap(), Duration::from_millis(84), true);
    batch
}

#[tokio::test]
async fn response_times_add_up_over_batches_and_are_kept_for_31_days() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _closer, _) = Store::open(folder.path()).unwrap();
    for at in ["2026-05-01T10:00:00Z", "2026-05-01T10:01:00Z", "2026-05-01T23:59:59Z", "2026-05-02T00:00:00Z"]
    {
        store.keep(polled("A", at)).await.unwrap();
    }
    store.keep(polled("B", "2026-05-01T10:00:00Z")).await.unwrap();
    let read = async |of: Option<&str>| {
        let days = store.reader().responses(of.map(str::to_owned), Date::MIN).await.unwrap();
        let hours = |day: &ResponseDay| {
            let hours = day.0.iter().map(|(hour, polls)| format!(" {hour}h:{}", polls.succeeded()));
            hours.collect::<String>()
        };
        days.iter().map(|(name, date, day)| format!("{name} {date}{}", hours(day))).collect::<Vec<_>>()
    };
    let want = ["A 2026-05-01 10h:2 23h:1", "A 2026-05-02 0h:1", "B 2026-05-01 10h:1"];
    assert_eq!(
        (read(None).await, read(Some("B")).await),
        (want.map(str::to_owned).to_vec(), vec![want[2].to_owned()])
    );
    for nth in 3..=40_i64 {
        let at = "2026-05-01T08:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_hours(24 * nth);
        store.keep(polled("A", &at.to_string())).await.unwrap();
    }
    store.prune("2031-01-01T00:00:00Z".parse().unwrap()).await.unwrap();
    let left = read(None).await;
    assert_eq!((left.len(), left[0].as_str()), (31, "A 2026-05-11 8h:1"));
}

#[test]
fn a_locked_file_is_transient_and_an_unusable_folder_or_newer_file_is_not() {
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

/// The saved state, read by opening and closing the store.
fn stored(folder: &Path) -> StoredState {
    let (store, closer, stored) = Store::open(folder).unwrap();
    drop(store);
    closer.join();
    stored
}

fn files(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// The same for a database whose content was not written by this program.
#[tokio::test]
async fn a_damaged_database_is_moved_aside() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("monitor.db");
    std::fs::write(&path, "not a database, but long enough to be checked").unwrap();
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
    assert_eq!(stored(folder.path()).states.len(), 1);
    let db = Connection::open(&path).unwrap();
    db.execute("UPDATE monitor SET state = 'x'", []).unwrap();
    drop(db);
    let aside: Vec<String> =
        files(folder.path()).into_iter().filter(|name| name.starts_with("monitor.db.damaged-")).collect();
    assert_eq!(aside.len(), 1, "{aside:?}");
    std::fs::rename(folder.path().join(&aside[0]), folder.path().join("first")).unwrap();
    assert!(stored(folder.path()).states.is_empty());
    let again =
        files(folder.path()).into_iter().filter(|name| name.starts_with("monitor.db.damaged-")).count();
    assert!(again >= 1);
}

/// A file that replaced the database is not touched.
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
    let names: Vec<String> = stored(&folder).states.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["A", "B", "C"]);
}
