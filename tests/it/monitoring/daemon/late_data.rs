//! Data of a connector that is late and gets later.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use data_sources_monitor::testing::definitions::connector::read_all;
use data_sources_monitor::testing::destinations::{
    Destination, DestinationKind, Ending, RunOutcome, RunStart, sqlite,
};
use data_sources_monitor::testing::domain::monitoring::plan::Policy;
use data_sources_monitor::testing::domain::syncing::definition::config::{ConfigStatus, ConfigValues};
use data_sources_monitor::testing::domain::syncing::op::End;
use data_sources_monitor::testing::http::Network;
use data_sources_monitor::testing::runtime::clock::Clock;
use data_sources_monitor::testing::runtime::jobs::{ConnectorRoster, Job, LoadedConnectors};
use data_sources_monitor::testing::source::Account;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::{Scenario, TestDaemon, banner_view, folder_watching};
use stand_ins::tenant::Tenant;

const SHOP: &str = "format = 1
[connector]
name = \"shop\"
base_url = \"http://127.0.0.1:1\"
every = \"15m\"
[config]
api_key = { type = \"secret\", description = \"API key\" }
[auth]
kind = \"header\"
name = \"authorization\"
value = \"Bearer ${config.api_key}\"
[http]
retry = { tries = 1 }
[[table]]
name = \"item\"
path = \"/item\"
records = [\"data\"]
key = [\"id\"]
";

/// A connector whose service cannot be reached.
fn unreachable_shop(data: &Path) -> ConnectorRoster {
    let definitions = read_all(&[("shop.toml".to_owned(), SHOP.to_owned())]).unwrap();
    let definition = definitions.into_iter().find(|definition| definition.name == "shop").unwrap();
    let given = [("api_key".to_owned(), "a-secret-key".into())].into();
    let ConfigStatus::On(config) = ConfigValues::resolve(&definition, &given) else {
        panic!("not configured")
    };
    let account = Account::new(Arc::new(definition), config, Network::default()).unwrap();
    let job = Job { account, place: DestinationKind::Sqlite(data.to_owned()), export: None };
    let first = LoadedConnectors { jobs: vec![job], off: Vec::new() };
    ConnectorRoster { first, ..ConnectorRoster::default() }
}

/// One complete run.
async fn complete_run(data: &Path, started: Timestamp) {
    std::fs::create_dir_all(data).unwrap();
    let tables = sqlite::open(&data.join("shop.db"), "shop").unwrap();
    let begin = RunStart { started, full_refresh: Vec::new(), sweeping: BTreeSet::default() };
    tables.begin(begin).await.unwrap();
    let run = Ending { end: End::Complete, reason: None, place: None, requests: 1, retries: 0, waited_ms: 0 };
    tables.end(RunOutcome { ended: started, run, tables: BTreeMap::new() }).await.unwrap();
    tables.close().await.unwrap();
}

/// The message says since when and what was expected, so it stays the same: one write, over hours, midnight and restarts.
#[tokio::test]
async fn late_data_causes_one_write_however_late_it_gets() {
    static AHEAD: AtomicI64 = AtomicI64::new(0);
    let time = stand_ins::Clock::system();
    let tenant = Tenant::start_at(&time);
    let mut folder = folder_watching(&[]);
    let monitor = "name = \"Shop\"\nkind = \"sync\"\nconnector = \"shop\"\nstale_after = \"2h\"\nseverity = \"minor\"\n";
    std::fs::write(folder.path().join("monitors/shop.toml"), monitor).unwrap();
    let success = Timestamp::now() - SignedDuration::from_hours(3);
    complete_run(&folder.path().join("data"), success).await;
    let since = TimeZone::UTC.to_datetime(success).strftime("%Y-%m-%d %H:%M UTC");
    let message = format!("Shop: no new data since {since}, expected every 15 min");
    for later in [0, 1, 3, 20] {
        AHEAD.fetch_add(later * 3600, Ordering::Relaxed);
        time.advance(SignedDuration::from_hours(later));
        let policy = Policy { lease: Duration::from_secs(200 * 3600), ..Scenario::default().policy };
        let scenario = Scenario {
            policy,
            clock: Clock::system().ahead_by(&AHEAD),
            jobs: unreachable_shop(&folder.path().join("data")),
            ..Scenario::default()
        };
        let rig = TestDaemon::start_in(folder, &tenant, scenario);
        rig.wait_until(|board| board.issues.len() == 1 && banner_view(board).report.answered_at.is_some())
            .await;
        rig.wait_until(|board| banner_view(board).report.ours).await;
        tenant.wait_until(|tenant| tenant.banner().is_some_and(|banner| banner.message == message)).await;
        rig.cycles(3).await;
        folder = rig.stop().await;
    }
    assert_eq!(tenant.writes().len(), 1, "{:#?}", tenant.writes());
}
