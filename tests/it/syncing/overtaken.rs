//! A sync during whose start another sync runs, between reading the file and locking it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use data_sources_monitor::testing::definitions::connector::read_one;
use data_sources_monitor::testing::destinations::{
    Destination, DestinationError, RejectedRow, Run, RunOutcome, RunReport, RunStart, TableFacts, sqlite,
};
use data_sources_monitor::testing::domain::syncing::definition::config::{ConfigStatus, ConfigValues};
use data_sources_monitor::testing::domain::syncing::op::{End, Op, State, TableShape};
use data_sources_monitor::testing::http::Network;
use data_sources_monitor::testing::runtime::clock::Clock;
use data_sources_monitor::testing::runtime::jobs::sync::{SyncOptions, execute};
use data_sources_monitor::testing::source::{Account, RunProgress};
use rusqlite::Connection;
use secrecy::SecretString;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use stand_ins::Reply;
use stand_ins::made_up::serve;

const LOG: &str = r#"
format = 1
[connector]
name = "acme"
base_url = "https://acme.test"
[config]
[auth]
kind = "none"
[[table]]
name = "log"
path = "/log"
records = ["."]
write = "append"
cursor = { field = "n", param = "above", format = "plain", order = "asc" }
page = { kind = "keyset", at_param = "above", field = "n" }
"#;

/// A file in which another whole run completes just before ours gets the lock.
struct OvertakenDestination {
    file: Box<dyn Destination>,
    path: PathBuf,
    account: Account,
}

#[async_trait]
impl Destination for OvertakenDestination {
    async fn state(&self) -> Result<State, DestinationError> {
        self.file.state().await
    }

    async fn shapes(&self) -> Result<BTreeMap<String, TableShape>, DestinationError> {
        self.file.shapes().await
    }

    async fn begin(&self, run: RunStart) -> Result<i64, DestinationError> {
        sync(&self.account, &sqlite::open(&self.path, "acme")?).await;
        self.file.begin(run).await
    }

    async fn write(&self, op: Op) -> Result<(), DestinationError> {
        self.file.write(op).await
    }

    async fn end(&self, outcome: RunOutcome) -> Result<RunReport, DestinationError> {
        self.file.end(outcome).await
    }

    async fn runs(&self, limit: usize) -> Result<Vec<Run>, DestinationError> {
        self.file.runs(limit).await
    }

    async fn tables(&self) -> Result<Vec<TableFacts>, DestinationError> {
        self.file.tables().await
    }

    async fn rejected(&self, limit: usize) -> Result<Vec<RejectedRow>, DestinationError> {
        self.file.rejected(limit).await
    }

    async fn close(&self) -> Result<(), DestinationError> {
        self.file.close().await
    }
}

async fn sync(account: &Account, destination: &dyn Destination) {
    let progress = RunProgress::new(account.definition());
    let stop = CancellationToken::new();
    let done =
        execute(account, destination, SyncOptions::default(), Clock::system(), progress, stop).await.unwrap();
    assert_eq!(done.run.end, End::Complete, "{done:?}");
    destination.close().await.unwrap();
}

fn entries(path: &Path) -> Vec<i64> {
    let db = Connection::open(path).unwrap();
    let mut query = db.prepare("SELECT n FROM log ORDER BY n").unwrap();
    query.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

/// So rows without a key are not stored twice.
#[tokio::test]
async fn a_run_resumes_where_the_other_run_ended() {
    let server = serve(|request| {
        let above: i64 = request.param("above").map_or(0, |above| above.parse().unwrap());
        Reply::json(&json!((above + 1..=5).map(|n| json!({ "n": n })).collect::<Vec<_>>()))
    });
    let definition = read_one("acme.toml", LOG, &BTreeMap::default()).unwrap();
    let given = BTreeMap::from([("base_url".to_owned(), SecretString::from(server.url()))]);
    let ConfigStatus::On(config) = ConfigValues::resolve(&definition, &given) else {
        panic!("not configured")
    };
    let account = Account::new(Arc::new(definition), config, Network::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("acme.db");
    let file = Box::new(sqlite::open(&path, "acme").unwrap());
    sync(&account, &OvertakenDestination { file, path: path.clone(), account: account.clone() }).await;
    assert_eq!(entries(&path), [1, 2, 3, 4, 5]);
}
