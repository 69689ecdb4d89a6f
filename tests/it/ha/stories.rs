//! What becomes of the banner when daemons and their lines to the database come and go: stories in this process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use data_sources_monitor::domain::banner::Banner;
use data_sources_monitor::domain::plan::Shown;
use data_sources_monitor::domain::tenure::Pace;
use data_sources_monitor::publish::{Target, TargetError};
use data_sources_monitor::runtime::board::Board;
use data_sources_monitor::runtime::{Controls, run};
use tokio::sync::Notify;

use super::crew::{Crew, Member, PACE, Setup, assemble, shown};
use stand_ins::Reply;
use stand_ins::chaos::Mode;
use stand_ins::tenant::{API_KEY, WRITE};

const MAJOR: &str = "Alpha: Partial System Outage";
const MINOR: &str = "Alpha: Slow";

/// A way to the tenant on which a write is held until the gate is opened, whether its sender still waits or not.
struct Detour {
    target: Arc<dyn Target>,
    opened: Arc<Notify>,
    holds: Arc<Notify>,
}

#[async_trait::async_trait]
impl Target for Detour {
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

/// One daemon leads and the others stand by, ready and with a copy of what it knows. After a crash another is there
/// when the lease has run out, after a clean stop at once, and neither touches a banner that is right.
#[tokio::test]
async fn others_take_over() {
    let Some(crew) = Crew::gather().await else { return };
    crew.page.set_indicator("major", "Partial System Outage");
    let ann = crew.start_leader("ann").await;
    crew.wait_for_banner(MAJOR).await;
    let (bob, cem) = (crew.start("bob"), crew.start("cem"));
    for standby in [&bob, &cem] {
        standby.wait_until("shows the copy", |board| board.issues.len() == 1 && !board.leads()).await;
        assert_eq!(ready(standby), [""; 0]);
        assert!(role(standby).starts_with("standing by: ann has the lease since "), "{}", role(standby));
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
    leader.wait_until("looks at the tenant", |board| board.banner.answered_at.is_some()).await;
    let begun = Instant::now();
    leader.stop().await;
    other.wait_until("leads", Board::leads).await;
    assert!(begun.elapsed() < PACE.ttl / 2, "took over after {:?}", begun.elapsed());
    other.wait_until("has looked", |board| board.cycles.finished > 2).await;
    assert_eq!(crew.tenant.writes().len(), 1, "{:#?}", crew.tenant.writes());
    crew.page.recover();
    crew.wait_for_banner("").await;
    other.stop().await;
    let changes = "SELECT count(*) FROM data_sources_monitor.transition";
    assert_eq!(crew.count(changes).await, 2);
    crew.tenant.assert_well_behaved();
}

/// While the database is away nobody writes: a write that could not be recorded first does not happen. When it is back
/// the former leader goes on first, with all it saw: the banner is right, and every change that was seen is saved.
#[tokio::test]
async fn the_database_goes_away() {
    let Some(crew) = Crew::gather().await else { return };
    let ann = crew.start_leader("ann").await;
    let bob = crew.start("bob");
    bob.wait_until("stands by", |board| board.lease.as_ref().is_some_and(|l| l.known && !l.held)).await;
    for member in [&ann, &bob] {
        member.cut_database(Mode::Refuse);
    }
    crew.page.set_indicator("major", "Partial System Outage");
    ann.wait_until("cannot save", |board| board.banner.memory_trouble.is_some()).await;
    assert!(!ready(&ann).is_empty(), "ready without its database");
    ann.wait_until("stands down", |board| !board.leads()).await;
    assert!(ready(&ann)[0].starts_with("the database does not answer: "), "{:?}", ready(&ann));
    crew.page.set_indicator("minor", "Slow");
    let looks = crew.page.requests().len();
    tokio::time::sleep(PACE.ttl).await;
    assert_eq!((shown(&crew.tenant).as_str(), crew.tenant.writes().len()), ("", 0));
    assert!(crew.page.requests().len() <= looks + 1, "somebody polls without a lease");
    for member in [&bob, &ann] {
        member.cut_database(Mode::Pass);
    }
    crew.wait_for_banner(MINOR).await;
    assert!(ann.leads() && !bob.leads());
    assert_eq!(crew.count("SELECT token FROM data_sources_monitor.lease").await, 1);
    crew.page.recover();
    crew.wait_for_banner("").await;
    ann.stop().await;
    bob.stop().await;
    let steps = "SELECT count(*) FROM data_sources_monitor.transition a JOIN data_sources_monitor.transition b
        ON b.id > a.id AND b.from_ = a.to_ AND b.at > a.at AND (a.to_, b.to_) IN (('major', 'minor'), ('minor', 'none'))";
    assert_eq!(crew.count("SELECT count(*) FROM data_sources_monitor.transition").await, 3);
    assert_eq!(crew.count(steps).await, 2);
}

/// A leader that loses the database alone writes nothing more; the next one acts within the lease. What the former one
/// saw is told once, although both saw the incident begin.
#[tokio::test]
async fn a_leader_without_its_database_writes_nothing() {
    let Some(crew) = Crew::gather().await else { return };
    let ann = crew.start_leader("ann").await;
    let bob = crew.start("bob");
    bob.wait_until("stands by", |board| board.lease.as_ref().is_some_and(|l| l.known && !l.held)).await;
    ann.cut_database(Mode::Refuse);
    crew.page.set_indicator("major", "Partial System Outage");
    crew.wait_for_banner(MAJOR).await;
    assert!(bob.leads());
    let writers: Vec<String> =
        crew.tenant.requests_on(WRITE).iter().map(|write| write.bearer().unwrap().to_owned()).collect();
    assert_eq!(writers, [format!("{API_KEY}-bob")]);
    ann.cut_database(Mode::Pass);
    ann.wait_until("stands by", |board| {
        board.lease.as_ref().is_some_and(|lease| lease.holder.as_deref() == Some("bob") && !lease.held)
    })
    .await;
    ann.stop().await;
    crew.page.recover();
    crew.wait_for_banner("").await;
    bob.stop().await;
    assert_eq!(crew.count("SELECT count(*) FROM data_sources_monitor.transition").await, 2);
    assert_eq!(crew.tenant.writes().len(), 2, "{:#?}", crew.tenant.writes());
}

/// A raise whose answer was lost with its writer is perhaps up: the next leader clears nothing, also where the page
/// cannot be read, and writes nothing where it says the same.
#[tokio::test]
async fn an_unanswered_raise_outlives_its_writer() {
    let Some(crew) = Crew::gather().await else { return };
    for readable in [true, false] {
        let ann = crew.start_leader("ann").await;
        crew.tenant.next_on(WRITE, Reply::usual().late(Duration::from_secs(3600)));
        let before = crew.tenant.writes().len();
        crew.page.set_indicator("major", "Partial System Outage");
        crew.wait_for_banner(MAJOR).await;
        ann.kill();
        if !readable {
            crew.page.always_on("", Reply::status(500));
        }
        let bob = crew.start("bob");
        bob.wait_until("leads", |board| board.leads() && board.cycles.finished > 3).await;
        bob.wait_until("reads the tenant", |board| board.banner.answered_at.is_some()).await;
        assert_eq!((shown(&crew.tenant).as_str(), crew.tenant.writes().len()), (MAJOR, before + 1));
        crew.page.as_usual();
        crew.page.recover();
        crew.wait_for_banner("").await;
        bob.stop().await;
    }
}

/// No tenant knows our tokens: a write that was on its way when its writer lost the lease may arrive late. The next
/// holder knows it for ours, puts it right at its next look, and hands it back to nobody.
#[tokio::test]
async fn late_writes_are_put_right() {
    let Some(crew) = Crew::gather().await else { return };
    let (gate, held) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (opened, holds) = (gate.clone(), held.clone());
    let ann = crew.start_with("ann", |target| Arc::new(Detour { target, opened, holds }));
    ann.wait_until("leads", |board| board.leads() && board.banner.answered_at.is_some()).await;
    let bob = crew.start("bob");
    crew.page.set_indicator("major", "Partial System Outage");
    held.notified().await;
    ann.cut_database(Mode::Refuse);
    crew.wait_for_banner(MAJOR).await;
    assert!(bob.leads() && !ann.leads());
    crew.page.recover();
    crew.wait_for_banner("").await;
    gate.notify_one();
    crew.wait_for_banner(MAJOR).await;
    crew.wait_for_banner("").await;
    assert!(!crew.tenant.banner().unwrap().enabled);
    let kinds: Vec<bool> = crew.tenant.writes().iter().map(|write| write.banner.enabled).collect();
    assert_eq!(kinds, [true, false, true, false], "{:#?}", crew.tenant.writes());
    ann.cut_database(Mode::Pass);
    ann.stop().await;
    bob.stop().await;
}

/// A database that falls silent holds up the note that comes before each write. When the lease is over by the time that
/// ends, nothing is written any more: the next holder has done so.
#[tokio::test]
async fn a_silent_database_delays_no_write_past_the_lease() {
    let Some(crew) = Crew::gather().await else { return };
    let ann = crew.start_leader("ann").await;
    let bob = crew.start("bob");
    bob.wait_until("stands by", |board| board.lease.as_ref().is_some_and(|l| l.known && !l.held)).await;
    ann.cut_database(Mode::Stall);
    crew.page.set_indicator("major", "Partial System Outage");
    crew.wait_for_banner(MAJOR).await;
    ann.wait_until("stands down", |board| !board.leads()).await;
    let writers: Vec<String> =
        crew.tenant.requests_on(WRITE).iter().map(|write| write.bearer().unwrap().to_owned()).collect();
    assert_eq!(writers, [format!("{API_KEY}-bob")]);
    ann.cut_database(Mode::Pass);
    ann.stop().await;
    bob.stop().await;
}

/// Who hears from the database that somebody else has the lease writes nothing, though by its own clock it lasts: a
/// server's clock may jump.
#[tokio::test]
async fn the_word_of_the_database_counts() {
    let Some(crew) = Crew::gather().await else { return };
    let mut daemon = assemble(Setup {
        name: "ann".into(),
        database: crew.url.clone(),
        tenant: crew.tenant.url(),
        tenant_name: crew.tenant.url(),
        monitors: crew.monitors().to_owned(),
    })
    .await;
    let minute = Duration::from_secs(60);
    daemon.contest.as_mut().unwrap().pace = Pace { ttl: minute, renew: minute, ..PACE };
    let (mut board, controls) = (daemon.board.subscribe(), Controls::default());
    let running = tokio::spawn(run(daemon, controls.clone()));
    board.wait_for(|board| board.leads() && board.banner.answered_at.is_some()).await.unwrap();
    let given = "UPDATE data_sources_monitor.lease SET holder = 'bob', token = token + 1";
    crew.change(given).await;
    crew.page.set_indicator("major", "Partial System Outage");
    board.wait_for(|board| board.banner.failures > 0 || board.banner.shown.is_some()).await.unwrap();
    assert_eq!(crew.tenant.writes().len(), 0, "{:#?}", crew.tenant.writes());
    let trouble = board.borrow().banner.trouble.clone();
    assert!(trouble.clone().is_some_and(|why| why.contains("the state cannot be saved")), "{trouble:?}");
    controls.stop.cancel();
    assert!(running.await.unwrap());
}

/// A former leader that gets the lease again delivers what it left before it goes on. While that cannot be, it is not
/// ready, for nobody polls.
#[tokio::test]
async fn what_was_left_comes_first() {
    let Some(crew) = Crew::gather().await else { return };
    let ann = crew.start_leader("ann").await;
    ann.cut_database(Mode::Refuse);
    crew.page.set_indicator("major", "Partial System Outage");
    ann.wait_until("stands down", |board| !board.leads()).await;
    crew.change(
        "UPDATE data_sources_monitor.lease SET holder = 'bob', token = token + 1, released = true;
         ALTER TABLE data_sources_monitor.transition RENAME TO away",
    )
    .await;
    ann.cut_database(Mode::Pass);
    ann.wait_until("says what it waits for", |board| board.store_trouble.is_some()).await;
    assert!(!ann.leads());
    assert!(ready(&ann)[0].contains("1 changes that we saw while we held it"), "{:?}", ready(&ann));
    crew.change("ALTER TABLE data_sources_monitor.away RENAME TO transition").await;
    ann.wait_until("leads", |board| board.leads() && board.ready(jiff::Timestamp::now()).is_empty()).await;
    crew.wait_for_banner(MAJOR).await;
    crew.page.recover();
    crew.wait_for_banner("").await;
    assert!(!crew.tenant.banner().unwrap().enabled);
    ann.stop().await;
}
