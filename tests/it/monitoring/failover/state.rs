//! The state in PostgreSQL: stored only under the lease, read back as it was, and nothing twice.

use std::time::Duration;

use data_sources_monitor::testing::domain::monitoring::assess::{MonitorState, Transition};
use data_sources_monitor::testing::domain::monitoring::history::Day;
use data_sources_monitor::testing::domain::monitoring::history::Span;
use data_sources_monitor::testing::domain::monitoring::plan::BannerState;
use data_sources_monitor::testing::domain::monitoring::severity::Severity;
use data_sources_monitor::testing::store::lease::Taken;
use data_sources_monitor::testing::store::schema::Schema;
use data_sources_monitor::testing::store::{Batch, Store};
use jiff::Timestamp;
use jiff::civil::Date;

use super::{Route, at, database, lease, routes};
use crate::postgres::cluster::Cluster;
use stand_ins::chaos::{Chaos, Mode};

const ACME: &str = "https://acme.test/";

async fn open(url: &str) -> Store {
    Store::connect(at(url), lease("ann", Duration::ZERO)).await.unwrap().0
}

/// The store of a daemon that takes the lease now, whoever had it.
async fn leader(url: &str) -> Store {
    let store = open(url).await;
    let db = at(url).connect().await.unwrap();
    match lease("ann", Duration::ZERO).take(&db.client, true).await.unwrap() {
        Taken::Ours(token) => store.under(token),
        Taken::Theirs(leader) => panic!("not free: {leader:?}"),
    }
}

fn change(at: &str) -> Transition {
    Transition {
        monitor: "A".into(),
        at: at.parse().unwrap(),
        from: Severity::None,
        to: Severity::Major,
        description: "down \0 with a NUL".into(),
    }
}

fn day(ms: u32) -> ((String, Date), Day) {
    (("A".to_owned(), "2026-05-01".parse().unwrap()), Day { at: [ms, 0, 0, 1, 0] })
}

fn polled() -> Batch {
    let mut batch = Batch::default();
    batch.add_poll("A", "2026-05-01T10:00:00Z".parse().unwrap(), Duration::from_millis(84), true);
    batch
}

fn believed(description: &str) -> (String, MonitorState) {
    let definition = u64::MAX;
    let description = description.to_owned();
    ("A".into(), MonitorState { severity: Severity::Major, description, definition, ..Default::default() })
}

async fn history(store: &Store) -> String {
    let span = Span { monitor: None, from: Timestamp::MIN, to: Timestamp::MAX, limit: 9 };
    let changes = store.reader().transitions(span).await.unwrap().len();
    let days: Vec<[u32; 5]> =
        store.reader().days(None, Date::MIN).await.unwrap().into_iter().map(|day| day.2.at).collect();
    format!("{changes} changes, days {days:?}")
}

/// By any daemon; observed time adds up, also over leaders.
#[tokio::test]
async fn stored_state_is_read_back() {
    for Route { url, .. } in &routes().await {
        let store = leader(url).await;
        let memory = BannerState { holding: true, stands: Some("\0".into()), ..Default::default() };
        let transitions = vec![change("2026-05-01T00:00:00Z"), change("2026-05-01T00:00:01Z")];
        let states = [believed("down \0")].into();
        store.keep(Batch { states, transitions, days: [day(5)].into(), ..polled() }).await.unwrap();
        store.keep(Batch { days: [day(7)].into(), ..polled() }).await.unwrap();
        store.keep_banner_state(ACME, memory.clone(), None).await.unwrap();
        let next = leader(url).await;
        next.keep(Batch { days: [day(100)].into(), ..polled() }).await.unwrap();
        let kept = next.recall().await.unwrap();
        assert_eq!(kept.banner_state_of(ACME), memory);
        assert_eq!(kept.states, [believed("down \0")]);
        assert_eq!(Store::peek_at(&at(url), Schema::SHARED, ACME).await.unwrap(), memory);
        assert_eq!(history(&next).await, "2 changes, days [[112, 0, 0, 3, 0]]");
        let span = Span {
            monitor: Some("A".into()),
            from: "2026-05-01T00:00:01Z".parse().unwrap(),
            to: Timestamp::MAX,
            limit: 9,
        };
        let found = next.reader().transitions(span).await.unwrap();
        assert_eq!(found[0].description, "down \u{fffd} with a NUL");
        assert_eq!(found.len(), 1);
        next.forget(vec!["A".into()]).await.unwrap();
        next.prune("2027-12-31T00:00:00Z".parse().unwrap()).await.unwrap();
        assert!(next.recall().await.unwrap().states.is_empty());
        let responses = next.reader().responses(Some("A".into()), Date::MIN).await.unwrap();
        let polls: Vec<u32> =
            responses.iter().flat_map(|day| day.2.0.values()).map(|hour| hour.succeeded()).collect();
        assert_eq!((responses.len(), polls), (1, vec![3]));
        // The newest days that have history stay, however far ahead the clock is.
        assert_eq!(history(&next).await, "2 changes, days [[112, 0, 0, 3, 0]]");
    }
}

/// Its batch and its deletions are rejected as a whole; changes that it observed while it led may still be added,
/// once.
#[tokio::test]
async fn a_former_leader_stores_no_state() {
    for Route { url, .. } in &routes().await {
        let former = leader(url).await;
        former.keep(Batch { days: [day(5)].into(), ..Batch::default() }).await.unwrap();
        let present = leader(url).await;
        present.keep(Batch { states: [believed("new")].into(), ..Batch::default() }).await.unwrap();
        let late = Batch {
            states: [believed("old")].into(),
            transitions: vec![change("2026-05-01T00:00:00Z")],
            days: [day(7)].into(),
            ..Batch::default()
        };
        let refused = former.keep(late.clone()).await.unwrap_err().to_string();
        assert_eq!(refused, "schema data_sources_monitor: another daemon holds the lease now");
        assert!(former.keep_banner_state(ACME, BannerState::default(), None).await.is_err());
        assert!(former.forget(vec!["A".into()]).await.is_err());
        assert!(former.prune(Timestamp::MAX).await.is_err());
        assert_eq!(history(&present).await, "0 changes, days [[5, 0, 0, 1, 0]]");
        former.keep_late(late).await.unwrap();
        let again = Batch { transitions: vec![change("2026-05-01T00:00:00Z")], ..Batch::default() };
        former.keep_late(again).await.unwrap();
        assert_eq!(history(&present).await, "1 changes, days [[12, 0, 0, 2, 0]]");
        assert_eq!(present.recall().await.unwrap().states, [believed("new")]);
        let nobody = open(url).await;
        assert!(nobody.keep(Batch::default()).await.is_err(), "kept without any lease");
    }
}

/// A former leader saves late what its successor saw start as well: the history has the incident once, without a gap.
/// Saving it again changes nothing.
#[tokio::test]
async fn late_changes_are_stored_once() {
    let step = |at: &str, from, to| Transition { at: at.parse().unwrap(), from, to, ..change(at) };
    for Route { url, .. } in &routes().await {
        let former = leader(url).await;
        let present = leader(url).await;
        let seen = |transitions| Batch { transitions, ..Batch::default() };
        let again = step("2026-05-01T00:00:23Z", Severity::None, Severity::Critical);
        let over = step("2026-05-01T00:09:00Z", Severity::Critical, Severity::None);
        present.keep(seen(vec![again.clone(), over])).await.unwrap();
        let first = step("2026-05-01T00:00:17Z", Severity::None, Severity::Critical);
        for _ in 0..2 {
            former.keep_late(seen(vec![first.clone()])).await.unwrap();
            assert_eq!(course(&present).await, "00:00:17 none -> critical, 00:09:00 critical -> none");
        }
        // Another course of the same incident is joined.
        let worse = step("2026-05-01T01:00:00Z", Severity::None, Severity::Major);
        let milder = step("2026-05-01T01:00:09Z", Severity::None, Severity::Minor);
        present.keep(seen(vec![milder])).await.unwrap();
        for _ in 0..2 {
            former.keep_late(seen(vec![worse.clone()])).await.unwrap();
            let course = course(&present).await;
            assert!(course.ends_with("01:00:00 none -> major, 01:00:09 major -> minor"), "{course}");
        }
    }
}

async fn course(store: &Store) -> String {
    let span = Span { monitor: None, from: Timestamp::MIN, to: Timestamp::MAX, limit: 9 };
    let mut changes = store.reader().transitions(span).await.unwrap();
    changes.reverse();
    let told = |t: &Transition| format!("{} {} -> {}", t.at.strftime("%H:%M:%S"), t.from, t.to);
    changes.iter().map(told).collect::<Vec<_>>().join(", ")
}

/// However often it is sent. A server that hangs or is down delays no one for long, and the store works again when it
/// is back.
#[tokio::test]
async fn a_batch_is_stored_once_although_its_confirmation_was_lost() {
    let Some((_cluster, url)) = database().await else { return };
    let port = url.split(['@', '/']).nth(3).unwrap();
    let network = Chaos::before(&format!("http://{port}"));
    let through = url.replace(port, network.url().strip_prefix("http://").unwrap());
    let store = leader(&through).await;
    let batch = Batch {
        transitions: vec![change("2026-05-01T00:00:00Z")],
        days: [day(5)].into(),
        ..Batch::default()
    };
    for mode in [Mode::CutAfter(0), Mode::Refuse, Mode::Stall] {
        reachable(&store).await;
        network.set(mode);
        let begun = std::time::Instant::now();
        assert!(store.keep(batch.clone()).await.is_err(), "{mode:?}");
        assert!(begun.elapsed() < Duration::from_secs(7), "{mode:?}: {:?}", begun.elapsed());
        network.set(Mode::Pass);
    }
    reachable(&store).await;
    store.keep(batch).await.unwrap();
    assert_eq!(history(&store).await, "1 changes, days [[5, 0, 0, 1, 0]]");
}

async fn reachable(store: &Store) {
    while store.recall().await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn layout(cluster: &Cluster, url: &str, change: &str) {
    let name = url.rsplit('/').next().unwrap().split('?').next().unwrap();
    cluster.session(name).await.batch_execute(change).await.unwrap();
}

/// A schema of a later version is rejected and named.
#[tokio::test]
async fn daemons_that_start_together_create_one_schema() {
    let Some((cluster, url)) = database().await else { return };
    let starts = (0..8).map(|_| {
        let url = url.clone();
        tokio::spawn(async move { drop(open(&url).await) })
    });
    for start in starts.collect::<Vec<_>>() {
        start.await.unwrap();
    }
    layout(&cluster, &url, "INSERT INTO data_sources_monitor.layout VALUES (99)").await;
    let refused = Store::connect(at(&url), lease("late", Duration::ZERO)).await.err().unwrap().to_string();
    assert!(refused.contains("a later version (layout 99"), "{refused}");
}
