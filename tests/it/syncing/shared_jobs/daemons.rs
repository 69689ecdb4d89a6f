//! Daemons that share connectors, from start to kill.

use std::collections::BTreeMap;
use std::time::Duration;

use data_sources_monitor::testing::database::Database;
use data_sources_monitor::testing::destinations::DestinationKind;
use tokio_postgres::Client;

use super::{Common, DailySource, TestDaemon, assert_one_at_a_time, begun, steps, sync};
use crate::postgres::cluster::{self, Cluster};
use stand_ins::{Gate, Reply, StandIn};

const NAMES: [&str; 3] = ["alpha", "beta", "gamma"];

/// A database, and sources that daemons may read.
struct Setup {
    common: Common,
    shelves: Vec<StandIn<DailySource>>,
    session: Client,
    cluster: Cluster,
    name: String,
}

impl Setup {
    async fn start(lease: Duration, late: Duration) -> Option<Setup> {
        Setup::start_at(cluster::shared()?, lease, late).await
    }

    async fn start_at(cluster: Cluster, lease: Duration, late: Duration) -> Option<Setup> {
        let name = cluster.database().await;
        let database = Database::new(&cluster.url("postgres", &name).into(), None, None).unwrap();
        let place = DestinationKind::Postgres(database.clone());
        let shelves = NAMES.iter().map(|_| DailySource::start(late)).collect();
        let session = cluster.session(&name).await;
        Some(Setup { common: Common { database, place, lease }, shelves, session, cluster, name })
    }

    /// A daemon that can run the first so many connectors.
    fn daemon(&self, who: &str, every_ms: u64, first: usize) -> TestDaemon {
        let all = NAMES.iter().zip(&self.shelves).take(first);
        let all: Vec<(&str, Duration, String)> =
            all.map(|(name, shelf)| (*name, Duration::from_millis(every_ms), shelf.url())).collect();
        TestDaemon::start(who, &self.common, &all)
    }

    /// The tables equal the sources, and runs in the history do not overlap.
    async fn assert_true(&self) {
        for (name, shelf) in NAMES.iter().zip(&self.shelves) {
            let stored = self.stored(name).await;
            assert_eq!(stored, shelf.read(DailySource::rows), "{name}");
            assert_one_at_a_time(shelf);
            let destination = self.common.place.open(name).await.unwrap();
            let runs = destination.runs(10_000).await.unwrap();
            for pair in runs.windows(2) {
                let [later, earlier] = pair else { continue };
                assert!(earlier.ended.is_none_or(|ended| ended <= later.started), "{earlier:?} {later:?}");
            }
        }
    }

    async fn stored(&self, name: &str) -> BTreeMap<String, u64> {
        let sql = format!("SELECT id, v FROM {name}.item WHERE _deleted_at IS NULL");
        // The first one may have gone with its server.
        let rows = self.cluster.session(&self.name).await.query(&sql, &[]).await.unwrap();
        rows.iter().map(|row| (row.get(0), row.get::<_, i64>(1).unsigned_abs())).collect()
    }

    /// Waits until this many more runs started for every source.
    async fn runs(&self, more: usize) {
        for shelf in &self.shelves {
            let goal = begun(&steps(shelf)).values().sum::<usize>() + more;
            shelf.wait_until(|shelf| begun(&steps(shelf)).values().sum::<usize>() >= goal).await;
        }
    }
}

/// Each runs some, no two the same one at once; all show who runs what and how fresh the data are, whoever ran it.
#[tokio::test]
async fn daemons_share_the_connectors() {
    let Some(house) = Setup::start(Duration::from_secs(5), Duration::from_millis(15)).await else { return };
    let mates = ["a", "b", "c"].map(|who| house.daemon(who, 400, 3));
    house.runs(5).await;
    for mate in &mates {
        mate.wait_until(|board| NAMES.iter().all(|name| sync(board, name).last_success.is_some())).await;
        mate.wait_until(|board| board.syncs.values().any(|sync| sync.holder.is_some() && sync.running)).await;
        mate.wait_until(|board| board.syncs.values().all(|sync| sync.last_run.is_some())).await;
    }
    for mate in mates {
        mate.stop().await;
    }
    house.assert_true().await;
    let mut runs: BTreeMap<String, usize> = BTreeMap::new();
    for shelf in &house.shelves {
        for (who, count) in begun(&steps(shelf)) {
            *runs.entry(who).or_default() += count;
        }
    }
    let all: usize = runs.values().sum();
    assert!(runs.len() == 3 && runs.values().all(|count| *count * 10 >= all), "{runs:?}");
}

/// Kills at random moments while the source changes: another resumes when the lease expires, no two run one connector
/// at once, and at the end the tables equal the source. `SHARING_ROUNDS` makes the test longer.
#[tokio::test]
async fn runs_of_killed_daemons_are_resumed() {
    let lease = Duration::from_millis(800);
    let Some(house) = Setup::start(lease, Duration::from_millis(15)).await else { return };
    let rounds: usize = std::env::var("SHARING_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    let mut mates: Vec<(String, TestDaemon)> =
        (0..3).map(|i| (format!("0-{i}"), house.daemon(&format!("0-{i}"), 300, 3))).collect();
    for round in 1..=rounds {
        let shelf = &house.shelves[round % 3];
        let seen = steps(shelf).len();
        // In the middle of the next run, a little later each time.
        shelf.wait_until(|shelf| shelf.requests().len() > seen + round % 4).await;
        let victim = steps(shelf).last().unwrap().who.clone();
        let at = mates.iter().position(|(who, _)| *who == victim).unwrap_or(round % 3);
        mates.remove(at).1.kill();
        for shelf in &house.shelves {
            shelf.change(DailySource::turn);
        }
        let who = format!("{round}-{}", round % 3);
        mates.push((who.clone(), house.daemon(&who, 300, 3)));
    }
    house.runs(3).await;
    for (_, mate) in mates {
        mate.stop().await;
    }
    house.assert_true().await;
}

/// Another resumes it at once from the checkpoint, not when the lease expires.
#[tokio::test]
async fn a_stopped_daemon_releases_its_run() {
    let Some(house) = Setup::start(Duration::from_secs(600), Duration::from_millis(20)).await else {
        return;
    };
    let shelf = &house.shelves[0];
    let gate = Gate::new();
    let first = house.daemon("first", 3_600_000, 1);
    first.wait_until(|board| sync(board, "alpha").next_at.is_some()).await;
    house.session.batch_execute("UPDATE data_sources_monitor.job SET next_at = now()").await.unwrap();
    // Beyond the days that each run reads again.
    shelf.wait_until(|shelf| shelf.requests().len() >= 7).await;
    shelf.always_on("/item", Reply::usual().held_by(&gate));
    let second = house.daemon("second", 3_600_000, 1);
    shelf.wait_until(|shelf| shelf.in_flight() > 0).await;
    second.wait_until(|board| sync(board, "alpha").holder.as_deref() == Some("first")).await;
    let stopping = tokio::spawn(first.stop());
    gate.open();
    stopping.await.unwrap();
    shelf.as_usual();
    second.wait_until(|board| sync(board, "alpha").last_success.is_some()).await;
    assert_one_at_a_time(shelf);
    let steps = steps(shelf);
    let taken = steps.iter().position(|step| step.who == "second").unwrap();
    assert!(steps[taken].from > steps[0].from, "from its checkpoint: {steps:?}");
    second.stop().await;
    house.assert_held_by(None).await;
}

impl Setup {
    async fn assert_held_by(&self, who: Option<&str>) {
        let row = self.session.query_one("SELECT holder FROM data_sources_monitor.job", &[]).await.unwrap();
        assert_eq!(row.get::<_, Option<&str>>(0), who);
    }
}

/// At its next safe point; its result changes nothing.
#[tokio::test]
async fn a_run_ends_when_its_claim_was_lost() {
    let Some(house) = Setup::start(Duration::from_millis(600), Duration::ZERO).await else { return };
    let shelf = &house.shelves[0];
    shelf.always_on("/item", Reply::usual().late(Duration::from_millis(300)));
    let mate = house.daemon("first", 1000, 1);
    mate.wait_until(|board| sync(board, "alpha").running).await;
    let steal = "UPDATE data_sources_monitor.job SET holder = 'thief', token = token + 1, lease_until = now() + interval '1 h'";
    house.session.batch_execute(steal).await.unwrap();
    mate.wait_until(|board| sync(board, "alpha").ends.contains_key("deferred")).await;
    mate.wait_until(|board| sync(board, "alpha").holder.as_deref() == Some("thief")).await;
    mate.stop().await;
    assert!(steps(shelf).len() < 9, "{}", shelf.dump());
    house.assert_held_by(Some("thief")).await;
}

/// A daemon without it still knows how fresh its data are.
#[tokio::test]
async fn a_connector_runs_where_it_is_defined() {
    let Some(house) = Setup::start(Duration::from_secs(5), Duration::ZERO).await else { return };
    let less = house.daemon("less", 500, 2);
    let more = house.daemon("more", 500, 3);
    house.runs(3).await;
    less.wait_until(|board| sync(board, "gamma").last_success.is_some()).await;
    less.stop().await;
    more.stop().await;
    let askers = begun(&steps(&house.shelves[2]));
    assert!(askers.keys().eq(["more"]), "{askers:?}");
    house.assert_true().await;
}

/// None starts before.
#[tokio::test]
async fn runs_start_again_when_the_database_is_back() {
    let Some(cluster) = cluster::own() else { return };
    let late = Duration::from_millis(5);
    let Some(house) = Setup::start_at(cluster, Duration::from_millis(800), late).await else { return };
    let mates = ["a", "b"].map(|who| house.daemon(who, 300, 3));
    house.runs(2).await;
    house.cluster.crash();
    // Runs that were under way have ended, or were ended when their lease expired.
    for mate in &mates {
        mate.wait_until(|board| board.syncs.values().all(|sync| !sync.running)).await;
    }
    for shelf in &house.shelves {
        let seen = shelf.requests().len();
        let more = shelf.wait_until(|shelf| shelf.requests().len() > seen);
        assert!(tokio::time::timeout(Duration::from_millis(500), more).await.is_err(), "{}", shelf.dump());
    }
    house.cluster.restart();
    house.runs(2).await;
    for mate in mates {
        mate.stop().await;
    }
    house.assert_true().await;
}
