//! Several daemons share the connectors: who runs what, what a killed daemon leaves behind, and that no two run one
//! connector at the same time. The daemons are in this process, each on a runtime that can be killed, or real
//! programs.

mod claims;
mod daemons;
mod programs;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use data_sources_monitor::testing::database::Database;
use data_sources_monitor::testing::definitions::connector::read_all;
use data_sources_monitor::testing::destinations::DestinationKind;
use data_sources_monitor::testing::domain::syncing::definition::config::{ConfigStatus, ConfigValues};
use data_sources_monitor::testing::http::Network;
use data_sources_monitor::testing::runtime::board::{Board, BoardReader, SyncView, channel};
use data_sources_monitor::testing::runtime::clock::Clock;
use data_sources_monitor::testing::runtime::jobs::claims::{ClaimPace, Claims};
use data_sources_monitor::testing::runtime::jobs::{ConnectorRoster, Job, LoadedConnectors};
use data_sources_monitor::testing::runtime::last_successes::LastSuccesses;
use data_sources_monitor::testing::source::Account;
use data_sources_monitor::testing::store::jobs::Jobs;
use jiff::ToSpan;
use jiff::civil::Date;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use stand_ins::{Reply, Request, Service, StandIn};

/// How far back the source goes, and how many of its days each run reads again.
const DAYS: i32 = 9;

/// A service with some rows a day, requested day by day: each day is a checkpoint.
pub(super) struct DailySource {
    first: Date,
    rows: BTreeMap<(Date, u64), u64>,
    late: Duration,
}

impl Service for DailySource {
    fn answer(&mut self, request: &Request) -> Reply {
        let day = |name: &str| request.param(name).unwrap().parse::<Date>().unwrap();
        let (from, to) = (day("from"), day("to"));
        let rows: Vec<Value> = self
            .rows
            .range((from, 0)..(to, 0))
            .map(|((day, n), v)| json!({ "id": format!("{day}/{n}"), "v": v }))
            .collect();
        Reply::json(&json!({ "data": rows })).late(self.late)
    }

    fn describe(&self) -> String {
        format!("{} rows since {}", self.rows.len(), self.first)
    }
}

impl DailySource {
    pub(super) fn start(late: Duration) -> StandIn<DailySource> {
        let first = today().checked_sub(DAYS.days()).unwrap();
        let days = (0..=DAYS).map(|day| first.checked_add(day.days()).unwrap());
        let rows = days.flat_map(|day| (0..3).map(move |n| ((day, n), 1))).collect();
        StandIn::serve(DailySource { first, rows, late }).unwrap().recording()
    }

    /// A row of one of the last days changes, and another is new.
    pub(super) fn turn(&mut self) {
        let (day, next) = (today().checked_sub(1.day()).unwrap(), self.rows.len() as u64);
        for v in self.rows.range_mut((day, 0)..).map(|(_, v)| v).take(1) {
            *v += 1;
        }
        self.rows.insert((day, next), 1);
    }

    pub(super) fn rows(&self) -> BTreeMap<String, u64> {
        self.rows.iter().map(|((day, n), v)| (format!("{day}/{n}"), *v)).collect()
    }
}

fn today() -> Date {
    Clock::system().now().to_zoned(jiff::tz::TimeZone::UTC).date()
}

/// The definition of a connector that reads the source.
pub(super) fn toml(name: &str, every: &str) -> String {
    format!(
        "format = 1
[connector]
name = \"{name}\"
base_url = \"https://shelf.test\"
every = \"{every}\"
[config]
api_key = {{ type = \"secret\", description = \"who asks\" }}
start = {{ type = \"date\", default = \"-{DAYS}d\" }}
[auth]
kind = \"header\"
name = \"authorization\"
value = \"Bearer ${{config.api_key}}\"
[http]
concurrency = 1
retry = {{ tries = 2, base = \"10ms\" }}
[[table]]
name = \"item\"
path = \"/item\"
records = [\"data\"]
key = [\"id\"]
window = {{ from = \"from\", to = \"to\", format = \"%Y-%m-%d\", start = \"${{config.start}}\", step = \"1d\", end = \"exclusive\", lookback = \"4d\" }}
"
    )
}

/// What the daemons share.
pub(super) struct Common {
    pub(super) database: Database,
    pub(super) place: DestinationKind,
    pub(super) lease: Duration,
}

/// A daemon's jobs, on a runtime that dies with them.
pub(super) struct TestDaemon {
    runtime: Option<Runtime>,
    stop: CancellationToken,
    pub(super) board: BoardReader,
    running: tokio::task::JoinHandle<()>,
}

impl TestDaemon {
    /// A daemon that signs its requests with its name, and can run these connectors.
    pub(super) fn start(who: &str, common: &Common, shelves: &[(&str, Duration, String)]) -> TestDaemon {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let clock = Clock::system();
        let (writer, board) = channel(clock.now(), true);
        let jobs = Jobs::new(common.database.clone(), who.to_owned(), common.lease);
        let pace = ClaimPace { look: Duration::from_millis(40), hold_back: Duration::from_millis(25) };
        let first = LoadedConnectors {
            jobs: shelves
                .iter()
                .map(|(name, every, url)| job(name, *every, url, who, &common.place))
                .collect(),
            off: Vec::new(),
        };
        let claims = Claims::shared(jobs, common.place.clone(), pace);
        let roster = ConnectorRoster { first, again: None, claims };
        let stop = CancellationToken::new();
        let running =
            runtime.spawn(roster.run(clock, writer, LastSuccesses::default(), Arc::default(), stop.clone()));
        TestDaemon { runtime: Some(runtime), stop, board, running }
    }

    /// Ends it as a signal would.
    pub(super) async fn stop(mut self) {
        self.stop.cancel();
        (&mut self.running).await.unwrap();
    }

    /// Ends it in the middle of whatever it does.
    pub(super) fn kill(self) {
        drop(self);
    }

    pub(super) async fn wait_until(&self, condition: impl Fn(&Board) -> bool) {
        let mut changes = self.board.subscribe();
        let waiting = changes.wait_for(|board| condition(board));
        let in_time = tokio::time::timeout(Duration::from_secs(30), waiting).await;
        assert!(in_time.is_ok(), "waited in vain: {}", self.board.read(|board| format!("{board:#?}")));
    }
}

impl Drop for TestDaemon {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The board's view of a connector, if it has one.
pub(super) fn sync(board: &Board, name: &str) -> SyncView {
    board.syncs.get(name).cloned().unwrap_or_default()
}

fn job(name: &str, every: Duration, url: &str, who: &str, place: &DestinationKind) -> Job {
    let all = read_all(&[(format!("{name}.toml"), toml(name, "1h"))]).unwrap();
    let mut definition = all.into_iter().find(|definition| definition.name == name).unwrap();
    definition.every = every;
    let given = [("api_key", who), ("base_url", url)]
        .map(|(key, value)| (key.to_owned(), SecretString::from(value)))
        .into();
    let ConfigStatus::On(config) = ConfigValues::resolve(&definition, &given) else {
        panic!("not configured")
    };
    let account = Account::new(Arc::new(definition), config, Network::default()).unwrap();
    Job { account, place: place.clone(), export: None }
}

/// One request of a run.
#[derive(Debug, Clone)]
pub(super) struct DayRequest {
    pub(super) who: String,
    pub(super) from: Date,
}

pub(super) fn steps(shelf: &StandIn<DailySource>) -> Vec<DayRequest> {
    let step = |request: &Request| DayRequest {
        who: request.bearer().unwrap().to_owned(),
        from: request.param("from").unwrap().parse().unwrap(),
    };
    shelf.requests().iter().map(step).collect()
}

/// No daemon continues a run after another started one: when the requester changes, the former one never requests
/// its next day but starts over, if it ever returns. A connector requests one day after the other.
pub(super) fn assert_one_at_a_time(shelf: &StandIn<DailySource>) {
    assert!(shelf.most_in_flight() <= 1, "{}", shelf.dump());
    let steps = steps(shelf);
    for (i, pair) in steps.windows(2).enumerate() {
        if pair[0].who != pair[1].who
            && let Some(next) = steps[i + 2..].iter().find(|step| step.who == pair[0].who)
        {
            let again = today().checked_sub(4.days()).unwrap();
            assert!(next.from <= again, "{:?} goes on after {:?}: {next:?}", pair[0], pair[1]);
        }
    }
}

/// The number of runs that each daemon started.
pub(super) fn begun(steps: &[DayRequest]) -> BTreeMap<String, usize> {
    let mut runs = BTreeMap::new();
    let mut last: Option<&DayRequest> = None;
    for step in steps {
        if last.is_none_or(|last| last.who != step.who || step.from <= last.from) {
            *runs.entry(step.who.clone()).or_default() += 1;
        }
        last = Some(step);
    }
    runs
}
