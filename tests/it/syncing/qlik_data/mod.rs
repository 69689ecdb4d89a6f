//! Exported files on their way into a Qlik space, and the reloads of apps, against the stand-in tenant.

mod command;
mod daemon;
mod failures;
mod kills;
mod uploads;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use data_sources_monitor::testing::domain::data_rule::DataRule;
use data_sources_monitor::testing::domain::file_format::FileFormat;
use data_sources_monitor::testing::domain::syncing::delivery::{
    DeliveryPace, DeliveryReport, DeliveryState, DeliveryStep, FileForUpload, RunExport,
};
use data_sources_monitor::testing::http::{ClientOptions, Network};
use data_sources_monitor::testing::qlik::{QlikCredentials, TenantClient};
use data_sources_monitor::testing::upload::DataClient;
use jiff::{SignedDuration, Timestamp};
use stand_ins::tenant::{API_KEY, CLIENT_ID, CLIENT_SECRET, Tenant};
use tempfile::TempDir;

const APP: &str = "app-1";
const SPACE: &str = "Sales data";

/// Waits of milliseconds, so that tests take no longer than their requests.
const PACE: DeliveryPace = DeliveryPace {
    poll: Duration::from_millis(5),
    retry: (Duration::from_millis(2), Duration::from_millis(20)),
    rejected: Duration::from_millis(30),
    frequency: Duration::from_millis(10),
};

/// One rule, its exported files, and the tenant.
struct Delivery {
    tenant: Tenant,
    client: DataClient,
    rule: DataRule,
    state: DeliveryState,
    folder: TempDir,
    run: i64,
    seed: u64,
}

impl Delivery {
    fn start() -> Delivery {
        let tenant = Tenant::start();
        tenant.change(|state| {
            state.data.add_space(SPACE);
            state.data.add_app(APP);
            state.data.rules.direct = 1_000;
        });
        let rule = DataRule {
            connector: "shop".into(),
            space: Some(SPACE.into()),
            tables: Vec::new(),
            reload: vec![APP.into()],
            format: FileFormat::Parquet,
        };
        let (client, state) = (client(&tenant), DeliveryState::default());
        Delivery { tenant, client, rule, state, folder: tempfile::tempdir().unwrap(), run: 0, seed: 7 }
    }

    /// The connector runs and exports these tables, all of them in the same generation.
    fn export(&mut self, tables: &[(&str, usize)]) -> RunExport {
        self.export_as(tables, FileFormat::Parquet)
    }

    fn export_as(&mut self, tables: &[(&str, usize)], format: FileFormat) -> RunExport {
        self.run += 1;
        let write = |(table, bytes): &(&str, usize)| {
            let path = self.folder.path().join(format!("{table}.{}", format.as_str()));
            let draft = path.with_extension("part");
            let marks = (0..bytes / 2).map(|index| u8::try_from(index % 251).unwrap());
            let content =
                [vec![u8::try_from(self.run).unwrap(); bytes - bytes / 2], marks.collect()].concat();
            std::fs::write(&draft, content).unwrap();
            std::fs::rename(&draft, &path).unwrap();
            let found = std::fs::metadata(&path).unwrap();
            let (bytes, modified) = (found.len(), found.modified().unwrap().try_into().unwrap());
            FileForUpload { table: (*table).to_owned(), path, bytes, modified, format }
        };
        let files = tables.iter().map(write).collect();
        RunExport { connector: "shop".into(), run: self.run, checkpoint_at: now(), files, changed_by: None }
    }

    fn offer(&mut self, export: &RunExport) {
        self.state.offer(&self.rule, export, now());
    }

    /// Carries out the next step if one is due. Returns until when to wait.
    async fn step(&mut self) -> Option<Option<Timestamp>> {
        let step = self.state.next_step(&self.rule, now());
        if let DeliveryStep::Wait(until) = step {
            return Some(until);
        }
        self.state.intend(&step);
        let result = self.client.perform(&self.rule, &step).await;
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        self.state.apply(&self.rule, &step, result, now(), &PACE, self.seed);
        None
    }

    /// Continues until nothing is left to do, or until `done`.
    async fn until(&mut self, done: impl Fn(&DeliveryReport) -> bool) -> DeliveryReport {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        loop {
            let report = self.state.report(&self.rule);
            if done(&report) {
                return report;
            }
            assert!(tokio::time::Instant::now() < deadline, "{report:#?}\n{}", self.tenant.dump());
            match self.step().await {
                Some(None) => return self.state.report(&self.rule),
                Some(Some(until)) => wait_until(until).await,
                None => {}
            }
        }
    }

    async fn finish(&mut self) -> DeliveryReport {
        self.until(|_| false).await
    }

    /// The first byte of each file is its generation.
    fn generations(&self) -> BTreeMap<String, u8> {
        let contents = self.tenant.read(|state| state.data.contents());
        contents.into_iter().map(|(name, content)| (name, content[0])).collect()
    }

    /// Panics if an app read files of two generations in one of the reloads.
    fn assert_reloads_are_whole(&self) {
        for reload in self.tenant.reloads() {
            let mut generations: Vec<u8> =
                reload.read.iter().flat_map(|read| read.values().map(|content| content[0])).collect();
            generations.dedup();
            assert!(generations.len() <= 1, "{} read {generations:?}\n{}", reload.id, self.tenant.dump());
        }
    }
}

/// Waits as the daemon does between two steps.
async fn wait_until(until: Timestamp) {
    let left = until.duration_since(now()).max(SignedDuration::ZERO);
    tokio::time::sleep(Duration::try_from(left).unwrap().min(Duration::from_millis(50))).await;
}

fn client(tenant: &Tenant) -> DataClient {
    with_credentials(tenant, QlikCredentials::ApiKey(API_KEY.to_owned().into()))
}

fn oauth() -> QlikCredentials {
    QlikCredentials::OAuth { client_id: CLIENT_ID.into(), client_secret: CLIENT_SECRET.to_owned().into() }
}

fn with_credentials(tenant: &Tenant, credentials: QlikCredentials) -> DataClient {
    let options = ClientOptions { network: Network::default(), keep_alive: true };
    let url = tenant.url().parse().unwrap();
    DataClient::new(Arc::new(TenantClient::new(options.build().unwrap(), url, credentials)))
}

#[expect(clippy::disallowed_methods, reason = "the stand-in tenant follows the machine's clock, too")]
fn now() -> Timestamp {
    Timestamp::now()
}
