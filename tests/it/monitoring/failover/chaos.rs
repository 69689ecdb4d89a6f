//! Three daemons in processes of their own, killed, stopped, paused and cut off at random while the status page
//! changes.
//!
//! A log in the database records who had the lease when; the tenant records who wrote. `HA_STORY_SECONDS` makes the
//! test longer, `HA_STORY_SEED` repeats it.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use data_sources_monitor::testing::runtime::{Controls, run};
use jiff::Timestamp;

use super::at;
use super::daemon_group::{DaemonGroup, Setup, assemble, shown};
use stand_ins::chaos::{Chaos, Mode};
use stand_ins::tenant::{API_KEY, WRITE};

const MESSAGES: [&str; 2] = ["Alpha: Partial System Outage", "Alpha: Slow"];

/// What a daemon needs after a cut or a pause to save what it could not save meanwhile. What one that dies before
/// this has not saved is lost, which this test does not cover.
const TO_RECOVER: Duration = Duration::from_secs(4);

/// Not a test of its own: a daemon, in a process that [`one_writer_at_a_time`] starts from this program.
#[test]
#[ignore = "started by the story"]
fn daemon_under_test() {
    let Ok(name) = std::env::var("HA_NAME") else { return };
    let var = |name: &str| std::env::var(name).unwrap();
    let setup = Setup {
        name,
        database: var("HA_DATABASE"),
        tenant: var("HA_TENANT"),
        tenant_name: var("HA_TENANT"),
        monitors: var("HA_MONITORS").into(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let (daemon, _) = assemble(setup).await;
        let controls = Controls::default();
        let stop = controls.stop.clone();
        let mut terminate =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
        tokio::spawn(async move {
            terminate.recv().await;
            stop.cancel();
        });
        run(daemon, controls).await;
    });
}

struct Process {
    child: Child,
    name: String,
    line: Chaos,
    /// Until when it is paused, and until when it is cut off.
    paused: Option<Instant>,
    cut: Option<Instant>,
    well_since: Instant,
    was_paused: bool,
}

/// Small, and the same for the same seed everywhere.
struct TestRandom(u64);

impl TestRandom {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn ms(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from))
    }
}

impl Process {
    fn start(group: &DaemonGroup, name: String) -> Process {
        let line = group.cuttable_database();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "monitoring::failover::chaos::daemon_under_test", "--ignored", "--nocapture"])
            .envs([
                ("HA_NAME", name.clone()),
                ("HA_DATABASE", group.url_by(&line)),
                ("HA_TENANT", group.tenant.url()),
            ])
            .env("HA_MONITORS", group.monitors())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let (paused, cut, well_since, was_paused) = (None, None, Instant::now(), false);
        Process { child, name, line, paused, cut, well_since, was_paused }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success(), "{} is gone", self.name);
    }

    fn is_well(&self) -> bool {
        self.paused.is_none() && self.cut.is_none() && self.well_since.elapsed() > TO_RECOVER
    }

    /// Ends pauses and cuts that are over.
    fn heal(&mut self, now: Instant) {
        if self.paused.take_if(|until| *until <= now).is_some() {
            self.signal("-CONT");
            self.well_since = now;
        }
        if self.cut.take_if(|until| *until <= now).is_some() {
            self.line.set(Mode::Pass);
            self.well_since = now;
        }
    }

    fn end(&mut self, signal: &str) {
        self.signal(signal);
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One random event; returns its name.
fn disturb(
    group: &DaemonGroup,
    crowd: &mut [Process],
    leader: &str,
    number: usize,
    dice: &mut TestRandom,
) -> String {
    let now = Instant::now();
    // Most events hit the leader.
    let leads = crowd.iter().position(|one| one.name == leader);
    let which = leads.filter(|_| dice.below(3) > 0).unwrap_or(dice.below(3) as usize);
    let (choice, long) = (dice.below(12), dice.ms(300, 6000));
    let one = &mut crowd[which];
    match choice {
        0..4 => {
            let (indicator, words) =
                [("none", "All Systems Operational"), ("minor", "Slow"), ("major", "Partial System Outage")]
                    [dice.below(3) as usize];
            group.page.set_indicator(indicator, words);
            format!("page {indicator}")
        }
        4..7 if one.is_well() => {
            let signal = if choice < 6 { "-KILL" } else { "-TERM" };
            one.end(signal);
            let told = format!("{signal} {}", one.name);
            let name = format!("{}{number}", ["ann", "bob", "cem"][which]);
            *one = Process::start(group, name);
            told
        }
        7 | 8 if one.paused.is_none() => {
            one.signal("-STOP");
            (one.paused, one.was_paused) = (Some(now + long), true);
            format!("pause {} {long:?}", one.name)
        }
        9 | 10 => {
            one.line.set(if dice.below(2) == 0 { Mode::Refuse } else { Mode::Stall });
            one.cut = Some(now + long);
            format!("cut {} {long:?}", one.name)
        }
        11 => {
            for one in crowd.iter_mut() {
                one.line.set(Mode::Refuse);
                one.cut = Some(now + long);
            }
            format!("cut all {long:?}")
        }
        _ => String::new(),
    }
}

const LOG: &str = "CREATE TABLE public.lease_log (at timestamptz, holder text, token bigint);
    CREATE FUNCTION public.log_lease() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO public.lease_log VALUES (clock_timestamp(), NEW.holder, NEW.token); RETURN NEW; END $$;
    CREATE TRIGGER log_lease AFTER INSERT OR UPDATE ON data_sources_monitor.lease
        FOR EACH ROW EXECUTE FUNCTION public.log_lease();";

/// Each write to the tenant comes from the daemon that had the lease then, except one that was under way when its
/// writer was paused; the banner shows only what the page said; when all is quiet it is right and displaces no
/// banner.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_writer_at_a_time() {
    let Some(group) = DaemonGroup::set_up().await else { return };
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let length = Duration::from_secs(number("HA_STORY_SECONDS").unwrap_or(15));
    let seed = number("HA_STORY_SEED").unwrap_or_else(|| Timestamp::now().as_nanosecond() as u64 | 1);
    println!("HA_STORY_SEED={seed}");
    let mut dice = TestRandom(seed);
    // The first makes the schema; then everything is logged.
    let mut db = at(&group.url).connect().await.unwrap();
    data_sources_monitor::testing::store::schema::Schema::SHARED.prepare(&mut db).await.unwrap();
    db.client.batch_execute(LOG).await.unwrap();
    let mut crowd: Vec<Process> =
        ["ann", "bob", "cem"].map(|name| Process::start(&group, format!("{name}0"))).into();
    let (begun, mut paused, mut told) = (Instant::now(), Vec::new(), Vec::new());
    for number in 1.. {
        tokio::time::sleep(dice.ms(100, 900)).await;
        let now = Instant::now();
        crowd.iter_mut().for_each(|one| one.heal(now));
        if begun.elapsed() > length {
            break;
        }
        let rows = db.client.query("SELECT holder FROM data_sources_monitor.lease", &[]).await.unwrap();
        let leader: String = rows.first().map(|row| row.get(0)).unwrap_or_default();
        let event = disturb(&group, &mut crowd, &leader, number, &mut dice);
        told.push(format!("{:.1} {event}", begun.elapsed().as_secs_f64()));
        paused.extend(crowd.iter().filter(|one| one.was_paused).map(|one| one.name.clone()));
    }
    let far = Instant::now() + Duration::from_secs(3600);
    crowd.iter_mut().for_each(|one| one.heal(far));
    println!("{}", told.join("\n"));
    group.page.set_indicator("major", "Partial System Outage");
    group.wait_for_banner(MESSAGES[0]).await;
    // By then former leaders have saved what they had to.
    tokio::time::sleep(TO_RECOVER).await;
    group.page.recover();
    group.wait_for_banner("").await;
    let at_rest = group.tenant.writes().len();
    tokio::time::sleep(TO_RECOVER).await;
    assert_eq!((group.tenant.writes().len(), shown(&group.tenant).as_str()), (at_rest, ""));
    let borrowed =
        "SELECT count(*) FROM data_sources_monitor.banner WHERE (memory->'borrowed')::text <> 'null'";
    assert_eq!(group.count(borrowed).await, 0);
    crowd.iter_mut().for_each(|one| one.end("-TERM"));
    judge(&group, &db.client, &paused).await;
}

async fn judge(group: &DaemonGroup, db: &tokio_postgres::Client, paused: &[String]) {
    let (instant, wall) = (Instant::now(), Timestamp::now());
    let (mut late, mut writers) = (0, Vec::new());
    let writes = group.tenant.requests_on(WRITE);
    for write in &writes {
        let body = write.json().unwrap();
        let message = body["message"].as_str().unwrap().to_owned();
        assert!(!body["enabled"].as_bool().unwrap() || MESSAGES.contains(&message.as_str()), "{message}");
        let writer = write.bearer().unwrap().strip_prefix(&format!("{API_KEY}-")).unwrap().to_owned();
        let at = wall.checked_sub(instant.duration_since(write.at)).unwrap();
        let holder = "SELECT holder FROM public.lease_log WHERE at <= $1 ORDER BY at DESC LIMIT 1";
        let rows = db.query(holder, &[&at]).await.unwrap();
        let holder: String = rows[0].get(0);
        if holder != writer {
            assert!(paused.contains(&writer), "{writer} wrote at {at} while {holder} had the lease");
            late += 1;
        }
        if writers.last() != Some(&writer) {
            writers.push(writer);
        }
    }
    let terms: i64 = db.query("SELECT max(token) FROM public.lease_log", &[]).await.unwrap()[0].get(0);
    println!("{} writes by {}, {late} late, {terms} terms", writes.len(), writers.join(" "));
    assert!(late <= 1, "{late} late writes are no accident");
}
