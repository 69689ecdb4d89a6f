//! The banner when daemons and their connections to the database come and go, in this process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use data_sources_monitor::testing::domain::monitoring::banner::Banner;
use data_sources_monitor::testing::domain::monitoring::plan::Shown;
use data_sources_monitor::testing::domain::tenure::LeasePace;
use data_sources_monitor::testing::publish::{Target, TargetError};
use data_sources_monitor::testing::runtime::board::Board;
use data_sources_monitor::testing::runtime::{Controls, run};
use tokio::sync::Notify;

use super::daemon_group::{DaemonGroup, Member, PACE, Setup, assemble, shown};
use crate::monitoring::daemon::banner_view;
use stand_ins::Reply;
use stand_ins::chaos::Mode;
use stand_ins::tenant::{API_KEY, WRITE};

const MAJOR: &str = "Alpha: Partial System Outage";
const MINOR: &str = "Alpha: Slow";

/// Holds a write to the tenant until the gate opens, whether its sender still waits or not.
struct DelayedTarget {
    target: Arc<dyn Target>,
    opened: Arc<Notify>,
    holds: Arc<Notify>,
}

#[async_trait::async_trait]
impl Target for DelayedTarget {
    async fn read(&self) -> Result<Option<Shown>, TargetError> {
        self.target.read().await
    }

    async fn write(&self, banner: &Banner) -> Result<Option<Shown>, TargetError> {
        let (target, opened, banner) = (self.target.clone(), self.opened.clone(), banner.clone());
        let late = tokio::spawn(async move {
            opened.notified().await;
            target.write(&banner).await
        });
        self.holds.notify_one();
        late.await.unwrap()
    }
}

fn ready(member: &Member) -> Vec<String> {
    member.board.read(|board| board.ready(jiff::Timestamp::now()))
}

fn role(member: &Member) -> String {
    member.board.read(|board| board.lease.as_ref().unwrap().role())
}

/// Standbys are ready and have a copy of the state. After a crash one takes over when the lease expires, after a
/// clean stop at once; neither changes a banner that is right.
#[tokio::test]
async fn a_standby_takes_over_after_a_crash_or_a_stop() {
    let Some(group) = DaemonGroup::set_up().await else { return };
    group.page.set_indicator("major", "Partial System Outage");
    let ann = group.start_leader("ann").await;
    group.wait_for_banner(MAJOR).await;
    let (bob, cem) = (group.start("bob"), group.start("cem"));
    for standby in [&bob, &cem] {
        standby.wait_until("shows the copy", |board| board.issues.len() == 1 && !board.leads()).await;
        assert_eq!(ready(standby), [""; 0]);
        assert!(role(standby).starts_with("standby: ann holds the lease since "), "{}", role(standby));
    }
    let begun = Instant::now();
    ann.kill();
    while !bob.leads() && !cem.leads() {
        assert!(begun.elapsed() < PACE.ttl * 3, "nobody took over");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = begun.elapsed();
    assert!(took < PACE.ttl + PACE.grace, "took over after {took:?}");
    let (leader, other) = if bob.leads() { (bob, cem) } else { (cem, bob) };
    leader
        .wait_until("reads the banner of the tenant", |board| banner_view(board).report.answered_at.is_some())
        .await;
    let begun = Instant::now();
    leader.stop().await;
    other.wait_until("leads", Board::leads).await;
    assert!(begun.elapsed() < PACE.ttl / 2, "took over after {:?}", begun.elapsed());
    other.wait_until("has looked", |board| board.cycles.finished > 2).await;
    assert_eq!(group.tenant.writes().len(), 1, "{:#?}", group.tenant.writes());
    group.page.recover();
    group.wait_for_banner("").await;
    other.stop().await;
    let changes = "SELECT count(*) FROM data_sources_monitor.transition";
    assert_eq!(group.count(changes).await, 2);
    group.tenant.assert_well_behaved();
}

/// A write that could not be recorded first does not happen. When the database is back the former leader continues
/// with all it observed: the banner is right, and every change is stored.
#[tokio::test]
async fn no_one_writes_while_the_database_is_down() {
    let Some(group) = DaemonGroup::set_up().await else { return };
    let ann = group.start_leader("ann").await;
    let bob = group.start("bob");
    bob.wait_until("stands by", |board| board.lease.as_ref().is_some_and(|l| l.known && !l.held)).await;
    for member in [&ann, &bob] {
        member.cut_database(Mode::Refuse);
    }
    group.page.set_indicator("major", "Partial System Outage");
    ann.wait_until("cannot save", |board| banner_view(board).state_error.is_some()).await;
    assert!(!ready(&ann).is_empty(), "ready without its database");
    ann.wait_until("stands down", |board| !board.leads()).await;
    assert!(ready(&ann)[0].starts_with("the database is unreachable: "), "{:?}", ready(&ann));
    group.page.set_indicator("minor", "Slow");
    let polls = group.page.requests().len();
    tokio::time::sleep(PACE.ttl).await;
    assert_eq!((shown(&group.tenant).as_str(), group.tenant.writes().len()), ("", 0));
    assert!(group.page.requests().len() <= polls + 1, "somebody polls without a lease");
    for member in [&bob, &ann] {
        member.cut_database(Mode::Pass);
    }
    group.wait_for_banner(MINOR).await;
    assert!(ann.leads() && !bob.leads());
    assert_eq!(group.count("SELECT token FROM data_sources_monitor.lease").await, 1);
    group.page.recover();
    group.wait_for_banner("").await;
    ann.stop().await;
    bob.stop().await;
    let steps = "SELECT count(*) FROM data_sources_monitor.transition a JOIN data_sources_monitor.transition b
        ON b.id > a.id AND b.from_ = a.to_ AND b.at > a.at AND (a.to_, b.to_) IN (('major', 'minor'), ('minor', 'none'))";
    assert_eq!(group.count("SELECT count(*) FROM data_sources_monitor.transition").await, 3);
    assert_eq!(group.count(steps).await, 2);
}

/// When only the leader loses the database, another acts within the lease. Both saw the incident start; it is stored
/// once.
#[tokio::test]
async fn a_leader_without_its_database_writes_nothing() {
    let Some(group) = DaemonGroup::set_up().await else { return };
    let ann = group.start_leader("ann").await;
    let bob = group.start("bob");
    bob.wait_until("stands by", |board| board.lease.as_ref().is_some_and(|l| l.known && !l.held)).await;
    ann.cut_database(Mode::Refuse);
    group.page.set_indicator("major", "Partial System Outage");
    group.wait_for_banner(MAJOR).await;
    assert!(bob.leads());
    let writers: Vec<String> =
        group.tenant.requests_on(WRITE).iter().map(|write| write.bearer().unwrap().to_owned()).collect();
    assert_eq!(writers, [format!("{API_KEY}-bob")]);
    ann.cut_database(Mode::Pass);
    ann.wait_until("stands by", |board| {
        board.lease.as_ref().is_some_and(|lease| lease.holder.as_deref() == Some("bob") && !lease.held)
    })
    .await;
    ann.stop().await;
    group.page.recover();
    group.wait_for_banner("").await;
    bob.stop().await;
    assert_eq!(group.count("SELECT count(*) FROM data_sources_monitor.transition").await, 2);
    assert_eq!(group.tenant.writes().len(), 2, "{:#?}", group.tenant.writes());
}

/// It clears nothing, also while the page cannot be read, and writes nothing where the banner says the same.
#[tokio::test]
async fn a_write_without_a_response_is_recognised_by_the_next_leader() {
    let Some(group) = DaemonGroup::set_up().await else { return };
    for readable in [true, false] {
        let ann = group.start_leader("ann").await;
        group.tenant.next_on(WRITE, Reply::usual().late(Duration::from_secs(3600)));
        let before = group.tenant.writes().len();
        group.page.set_indicator("major", "Partial System Outage");
        group.wait_for_banner(MAJOR).await;
        ann.kill();
        if !readable {
            group.page.always_on("", Reply::status(500));
        }
        let bob = group.start("bob");
        bob.wait_until("leads", |board| board.leads() && board.cycles.finished > 3).await;
        bob.wait_until("reads the tenant", |board| banner_view(board).report.answered_at.is_some()).await;
        assert_eq!((shown(&group.tenant).as_str(), group.tenant.writes().len()), (MAJOR, before + 1));
        group.page.as_usual();
        group.page.recover();
        group.wait_for_banner("").await;
        bob.stop().await;
    }
}

/// The tenant knows no fencing tokens, so a write that was under way may arrive late. The next leader recognises it
/// as ours, corrects it at its next read and restores it for no one.
#[tokio::test]
async fn a_late_write_of_a_former_leader_is_corrected() {
    let Some(group) = DaemonGroup::set_up().await else { return };
    let (gate, held) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (opened, holds) = (gate.clone(), held.clone());
    let ann = group.start_with("ann", |target| Arc::new(DelayedTarget { target, opened, holds }));
    ann.wait_until("leads", |board| board.leads() && banner_view(board).report.answered_at.is_some()).await;
    let bob = group.start("bob");
    group.page.set_indicator("major", "Partial System Outage");
    held.notified().await;
    ann.cut_database(Mode::Refuse);
    group.wait_for_banner(MAJOR).await;
    assert!(bob.leads() && !ann.leads());
    group.page.recover();
    group.wait_for_banner("").await;
    gate.notify_one();
    group.wait_for_banner(MAJOR).await;
    group.wait_for_banner("").await;
    assert!(!group.tenant.banner().unwrap().enabled);
    let kinds: Vec<bool> = group.tenant.writes().iter().map(|write| write.banner.enabled).collect();
    assert_eq!(kinds, [true, false, true, false], "{:#?}", group.tenant.writes());
    ann.cut_database(Mode::Pass);
    ann.stop().await;
    bob.stop().await;
}

/// Each write is recorded first. If the lease is over when the recording ends, nothing is written: the next leader
/// has done so.
#[tokio::test]
async fn a_hanging_database_delays_no_write_past_the_lease() {
    let Some(group) = DaemonGroup::set_up().await else { return };
    let ann = group.start_leader("ann").await;
    let bob = group.start("bob");
    bob.wait_until("stands by", |board| board.lease.as_ref().is_some_and(|l| l.known && !l.held)).await;
    ann.cut_database(Mode::Stall);
    group.page.set_indicator("major", "Partial System Outage");
    group.wait_for_banner(MAJOR).await;
    ann.wait_until("stands down", |board| !board.leads()).await;
    let writers: Vec<String> =
        group.tenant.requests_on(WRITE).iter().map(|write| write.bearer().unwrap().to_owned()).collect();
    assert_eq!(writers, [format!("{API_KEY}-bob")]);
    ann.cut_database(Mode::Pass);
    ann.stop().await;
    bob.stop().await;
}

/// A daemon that learns that another leads writes nothing, though its own clock says the lease lasts: a server's
/// clock may jump.
#[tokio::test]
async fn the_databases_answer_about_the_lease_counts() {
    let Some(group) = DaemonGroup::set_up().await else { return };
    let (mut daemon, reader) = assemble(Setup {
        name: "ann".into(),
        database: group.url.clone(),
        tenant: group.tenant.url(),
        tenant_name: group.tenant.url(),
        monitors: group.monitors().to_owned(),
    })
    .await;
    let minute = Duration::from_secs(60);
    daemon.contest.as_mut().unwrap().pace = LeasePace { ttl: minute, renew: minute, ..PACE };
    let (mut board, controls) = (reader.subscribe(), Controls::default());
    let running = tokio::spawn(run(daemon, controls.clone()));
    board.wait_for(|board| board.leads() && banner_view(board).report.answered_at.is_some()).await.unwrap();
    let given = "UPDATE data_sources_monitor.lease SET holder = 'bob', token = token + 1";
    group.change(given).await;
    group.page.set_indicator("major", "Partial System Outage");
    board
        .wait_for(|board| banner_view(board).failures > 0 || banner_view(board).report.shown.is_some())
        .await
        .unwrap();
    assert_eq!(group.tenant.writes().len(), 0, "{:#?}", group.tenant.writes());
    let trouble = banner_view(&board.borrow()).report.trouble.clone();
    assert!(trouble.clone().is_some_and(|why| why.contains("the state cannot be saved")), "{trouble:?}");
    controls.stop.cancel();
    assert!(running.await.unwrap());
}

#[tokio::test]
async fn a_returning_leader_saves_first_and_is_not_ready_until_then() {
    let Some(group) = DaemonGroup::set_up().await else { return };
    let ann = group.start_leader("ann").await;
    ann.cut_database(Mode::Refuse);
    group.page.set_indicator("major", "Partial System Outage");
    ann.wait_until("stands down", |board| !board.leads()).await;
    group
        .change(
            "UPDATE data_sources_monitor.lease SET holder = 'bob', token = token + 1, released = true;
         ALTER TABLE data_sources_monitor.transition RENAME TO away",
        )
        .await;
    ann.cut_database(Mode::Pass);
    ann.wait_until("says what it waits for", |board| board.store_trouble.is_some()).await;
    assert!(!ann.leads());
    assert!(ready(&ann)[0].contains("the changes of an earlier term (1)"), "{:?}", ready(&ann));
    group.change("ALTER TABLE data_sources_monitor.away RENAME TO transition").await;
    ann.wait_until("leads", |board| board.leads() && board.ready(jiff::Timestamp::now()).is_empty()).await;
    group.wait_for_banner(MAJOR).await;
    group.page.recover();
    group.wait_for_banner("").await;
    assert!(!group.tenant.banner().unwrap().enabled);
    ann.stop().await;
}
