//! A folder migrated to PostgreSQL: the real program, killed midway and run again; its tables are compared with those
//! of a sync that wrote to PostgreSQL from the start.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use data_sources_monitor::testing::domain::monitoring::assess::{MonitorState, Transition};
use data_sources_monitor::testing::domain::monitoring::history::{Day, DayTotals};
use data_sources_monitor::testing::domain::monitoring::news::ChannelState;
use data_sources_monitor::testing::domain::monitoring::plan::BannerState;
use data_sources_monitor::testing::domain::monitoring::severity::Severity;
use data_sources_monitor::testing::store::{Batch, Store};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::postgres::cluster::{self, Cluster};
use crate::processes::binary::{output, program};
use stand_ins::statuscake::{self, Sizes, StatusCake};
use stand_ins::{Clock, Reply, Request, Service, StandIn};

/// A service whose rows are easily damaged by a copy.
struct OddRows(Vec<Value>);

impl Service for OddRows {
    fn answer(&mut self, _: &Request) -> Reply {
        Reply::json(&json!({ "data": self.0 }))
    }

    fn describe(&self) -> String {
        format!("{} rows", self.0.len())
    }
}

const TOML: &str = "format = 1
[connector]
name = \"nasty\"
base_url = \"https://nasty.test\"
[config]
api_key = { type = \"secret\", description = \"any\" }
[[table]]
name = \"things\"
path = \"/things\"
records = [\"data\"]
key = [\"id\"]
deletes = \"snapshot\"
max_share = 0.9
columns = { far = { type = \"timestamp\" }, fine = { type = \"timestamp\" }, day = { type = \"date\" }, price = { type = \"decimal\" }, doc = { type = \"json\" } }
[[table]]
name = \"loose\"
path = \"/loose\"
records = [\"data\"]
write = \"replace\"
";

fn rows() -> Vec<Value> {
    let raw = r#"[
      {"id": 9007199254740993, "text": "\u05e9\u05dc\u05d5\u05dd \ud83d\ude80 \"'\\ \n\t", "double": 0.10000000000000002,
       "far": "0001-01-01T00:00:00Z", "fine": "2026-01-01T00:00:00.123456Z", "day": "0004-02-29", "flag": true,
       "price": 123456789012345678901234567890.50, "doc": {"b": [1, 2.50, null], "a": "\u2028"}},
      {"id": -9223372036854775808, "text": "", "double": -1.7976931348623157e308, "far": "9999-12-30T22:00:00.999999Z",
       "fine": "2026-01-01T00:00:00.123456789Z", "day": "9999-12-31", "flag": false, "price": 1e40, "doc": [[[]]]},
      {"id": 3, "text": "a\u0000b", "double": 5e-324, "far": null, "fine": null, "day": null, "flag": null},
      {"id": 4, "text": null, "double": null, "price": -0.00, "doc": "plain"},
      {"id": 5, "text": "gone soon"}
    ]"#;
    serde_json::from_str(raw).unwrap()
}

struct Setup {
    folder: TempDir,
    nasty: StandIn<OddRows>,
    cake: StatusCake,
    cluster: Cluster,
}

impl Setup {
    fn start() -> Option<Setup> {
        let cluster = cluster::shared()?;
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("connectors")).unwrap();
        std::fs::write(folder.path().join("connectors/nasty.toml"), TOML).unwrap();
        let sizes = Sizes { tests: 3, history: 150, periods: 3, alerts: 4 };
        let cake = StatusCake::start(7, sizes, &Clock::system());
        Some(Setup { folder, nasty: StandIn::serve(OddRows(rows())).unwrap().recording(), cake, cluster })
    }

    fn vars(&self, more: &[(&'static str, String)]) -> Vec<(&'static str, String)> {
        let mut vars = vec![
            ("NASTY_API_KEY", "any".to_owned()),
            ("NASTY_BASE_URL", self.nasty.url()),
            ("STATUSCAKE_API_KEY", statuscake::API_KEY.to_owned()),
            ("STATUSCAKE_BASE_URL", self.cake.base_url()),
        ];
        vars.extend(more.iter().cloned());
        vars
    }

    fn run(&self, args: &[&str], more: &[(&'static str, String)]) -> (i32, String) {
        let vars = self.vars(more);
        let vars: Vec<(&str, &str)> = vars.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let (code, out, err) = output(self.folder.path(), args, &vars);
        (code, out + &err)
    }

    fn at(&self, database: &str) -> [(&'static str, String); 1] {
        [("DATABASE_URL", self.cluster.url("postgres", database))]
    }
}

/// Every row of a table of the server, as text, without `_synced_at`.
async fn table(session: &Client, name: &str, which: &str) -> Vec<String> {
    let sql = format!("SELECT (to_jsonb(t) - '_synced_at')::text FROM {name} t {which} ORDER BY 1");
    texts(session, &sql).await
}

async fn texts(session: &Client, sql: &str) -> Vec<String> {
    let rows = session.simple_query(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    rows.iter()
        .filter_map(|row| match row {
            SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("NULL").to_owned()),
            _ => None,
        })
        .collect()
}

fn polled() -> Batch {
    let mut batch = Batch::default();
    batch.add_poll(
        "Snöwflake",
        "2026-11-20T10:00:00Z".parse().unwrap(),
        std::time::Duration::from_millis(84),
        true,
    );
    batch
}

/// Fills the state of a folder as a daemon would.
async fn fill_state(folder: &Path) {
    let (store, closer, _) = Store::open(folder).unwrap();
    let at = |text: &str| text.parse().unwrap();
    let transition = |when: &str, to| Transition {
        monitor: "Snöwflake".into(),
        at: at(when),
        from: Severity::None,
        to,
        description: "it's \"down\" 🚧".into(),
    };
    let mut days = DayTotals::new();
    days.insert(("Snöwflake".into(), "2026-11-20".parse().unwrap()), Day { at: [1, 2, 3, 4, 86_399_990] });
    let batch = Batch {
        states: [("Snöwflake".to_owned(), MonitorState::default())].into(),
        transitions: vec![
            transition("2026-11-20T10:00:00.001Z", Severity::Major),
            transition("2026-11-20T11:00:00.999Z", Severity::Minor),
        ],
        days,
        ..polled()
    };
    store.keep(batch).await.unwrap();
    store.keep_banner_state("https://acme.test/", BannerState::default(), None).await.unwrap();
    store.keep_channel_state("ops", Some(ChannelState::default())).await.unwrap();
    drop(store);
    closer.join();
}

/// Tables, state, run history and the daemon's state arrive unchanged; the tables equal those of a sync into
/// PostgreSQL, and a sync resumes from the state.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_migration_is_repeated_and_loses_nothing() {
    let Some(house) = Setup::start() else { return };
    let (moved, fresh) = (house.cluster.database().await, house.cluster.database().await);
    for connector in ["nasty", "statuscake"] {
        let (code, told) = house.run(&["sync", connector], &[]);
        assert_eq!(code, 0, "{told}");
    }
    house.nasty.change(|nasty| drop(nasty.0.pop()));
    assert_eq!(house.run(&["sync", "nasty"], &[]).0, 0);
    fill_state(&house.folder.path().join("data")).await;

    // Killed when the first tables are there.
    let vars = house.vars(&house.at(&moved));
    let vars: Vec<(&str, &str)> = vars.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut command = program(house.folder.path(), &["migrate"], &vars);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let is_equal_on_both_sides = |line: &String| line.contains("copied") && !line.contains("cannot store");
    let first = lines.by_ref().map(Result::unwrap).find(is_equal_on_both_sides).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();

    let (code, told) = house.run(&["migrate"], &house.at(&moved));
    assert_eq!(code, 0, "{told}");
    assert!(told.contains(&first.replace("copied", "was there")), "{first}: {told}");
    assert!(
        told.contains("nasty.things: 4 rows")
            && told.contains("1 row with values that PostgreSQL cannot store"),
        "{told}"
    );
    assert!(
        told.contains("state: 1 monitor, 2 transitions, 1 day in schema data_sources_monitor, copied"),
        "{told}"
    );
    let (code, again) = house.run(&["migrate"], &house.at(&moved));
    let lines = told.lines().filter(|line| line.contains("copied") || line.contains("was there")).count();
    // Tables with rows that PostgreSQL cannot hold are never equal on both sides, so they are copied again.
    let copied_again = again.lines().filter(|line| line.contains("cannot store")).count();
    assert_eq!((code, again.matches("was there").count()), (0, lines - copied_again), "{again}");
    assert_eq!(copied_again, 2, "{again}");

    for connector in ["nasty", "statuscake"] {
        assert!([0, 4].contains(&house.run(&["sync", connector], &house.at(&fresh)).0));
    }
    let (moved_at, fresh_at) = (house.cluster.session(&moved).await, house.cluster.session(&fresh).await);
    let live = "WHERE _deleted_at IS NULL";
    for name in ["nasty.things", "nasty.loose", "statuscake.uptime_test", "statuscake.uptime_test_history"] {
        assert_eq!(table(&moved_at, name, live).await, table(&fresh_at, name, live).await, "{name}");
    }
    let deleted = texts(&moved_at, "SELECT text FROM nasty.things WHERE _deleted_at IS NOT NULL").await;
    assert_eq!(deleted, ["gone soon"]);
    let marks = "SELECT count(DISTINCT _synced_at) FROM nasty.things";
    assert_eq!(texts(&moved_at, marks).await, ["2"], "rows kept the run that wrote them");
    let state = "SELECT table_name || partition || cursor FROM statuscake._state ORDER BY 1";
    assert_eq!(texts(&moved_at, state).await.len(), texts(&fresh_at, state).await.len());
    assert_eq!(
        texts(&moved_at, "SELECT run FROM nasty._runs WHERE table_name = '' ORDER BY 1").await,
        ["1", "2"]
    );
    assert_eq!(texts(&moved_at, "SELECT name FROM data_sources_monitor.channel").await, ["ops"]);
    let words = "SELECT monitor || to_ || description FROM data_sources_monitor.transition ORDER BY at DESC";
    assert_eq!(texts(&moved_at, words).await[0], "Snöwflakeminorit's \"down\" 🚧");

    let requests = house.cake.requests().len();
    let (code, told) = house.run(&["sync", "statuscake"], &house.at(&moved));
    assert_eq!(code, 0, "{told}");
    assert!(house.cake.requests().len() - requests < requests / 2, "the state is of no use");
    let (code, told) = house.run(&["migrate"], &house.at(&moved));
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("statuscake: already moved, and synced there since: skipped"), "{told}");
}

/// State with a banner goes to the daemons that write it, also where the tenant is not set for `migrate`; state
/// without one goes to daemons in preview, which is reported.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_goes_to_the_schema_that_its_daemons_use() {
    let Some(house) = Setup::start() else { return };
    let data = house.folder.path().join("data");
    let (store, closer, _) = Store::open(&data).unwrap();
    let states = [("Alpha".to_owned(), MonitorState::default())].into();
    store.keep(Batch { states, ..Batch::default() }).await.unwrap();
    drop(store);
    closer.join();
    let database = house.cluster.database().await;
    let (code, told) = house.run(&["migrate"], &house.at(&database));
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("in schema data_sources_monitor_preview, copied"), "{told}");
    assert!(told.contains("No QLIK_ variable is set"), "{told}");
    let tenant = [("QLIK_TENANT_URL", "https://acme.test".to_owned()), ("QLIK_API_KEY", "any".to_owned())];
    let vars: Vec<_> = house.at(&database).into_iter().chain(tenant).collect();
    let (code, told) = house.run(&["migrate"], &vars);
    assert!(code == 0 && told.contains("in schema data_sources_monitor, copied"), "{told}");
    assert!(!told.contains("No QLIK_"), "{told}");
    fill_state(&data).await;
    let database = house.cluster.database().await;
    let (code, told) = house.run(&["migrate"], &house.at(&database));
    assert!(code == 0 && told.contains("in schema data_sources_monitor, copied"), "{told}");
}

/// By a daemon, or changed by a sync; also without a source or a destination. The password is never shown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_is_refused_while_either_side_is_in_use() {
    let Some(house) = Setup::start() else { return };
    let (code, told) = house.run(&["migrate"], &[]);
    assert_eq!((code, told.contains("DATABASE_URL")), (78, true), "{told}");
    let database = house.cluster.database().await;
    let (code, told) = house.run(&["migrate"], &house.at(&database));
    assert_eq!(code, 78, "{told}");
    assert_eq!(house.run(&["sync", "nasty"], &[]).0, 0);
    let to = "postgres://dsm:s3cret-pa55@127.0.0.1:1/x";
    let (code, told) = house.run(&["migrate", "--to", to], &[]);
    assert!(code == 1 && told.contains("127.0.0.1:1") && !told.contains("pa55"), "{told}");

    let data = house.folder.path().join("data");
    let (store, closer, _) = Store::open(&data).unwrap();
    let (code, told) = house.run(&["migrate"], &house.at(&database));
    assert!(code == 1 && told.contains("in use"), "{told}");
    drop(store);
    closer.join();
    let lock = std::fs::File::create(data.join("nasty.db.lock")).unwrap();
    lock.lock().unwrap();
    let (code, told) = house.run(&["migrate"], &house.at(&database));
    assert!(code == 1 && told.contains("in use"), "{told}");
    drop(lock);

    assert!([0, 4].contains(&house.run(&["sync", "nasty"], &house.at(&database)).0));
    let (code, told) = house.run(&["migrate"], &house.at(&database));
    assert!(code == 1 && told.contains("a sync has already written to it"), "{told}");
}
