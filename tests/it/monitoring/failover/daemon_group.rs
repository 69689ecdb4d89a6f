//! Several daemons on one database, between a tenant and a status page, with short intervals: each has connections to
//! the database and to the tenant that a test can cut.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use data_sources_monitor::testing::domain::monitoring::plan::{Foreign, Policy};
use data_sources_monitor::testing::domain::tenure::LeasePace;
use data_sources_monitor::testing::http::{ClientOptions, Network, PageClient};
use data_sources_monitor::testing::publish::{Qlik, Target};
use data_sources_monitor::testing::qlik::{QlikCredentials, TenantClient};
use data_sources_monitor::testing::runtime::board::{Board, BoardReader, channel};
use data_sources_monitor::testing::runtime::clock::Clock;
use data_sources_monitor::testing::runtime::jobs::{ConnectorRoster, LoadedConnectors};
use data_sources_monitor::testing::runtime::lease::Contest;
use data_sources_monitor::testing::runtime::monitoring::messenger::ChannelRoster;
use data_sources_monitor::testing::runtime::monitoring::watcher;
use data_sources_monitor::testing::runtime::{Controls, Daemon, MonitoringContext, run};
use data_sources_monitor::testing::store::{Store, StoredState};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::{at, database, lease};
use crate::monitoring::channels;
use crate::monitoring::daemon::{banner_view, only_tenant};
use crate::postgres::cluster::Cluster;
use stand_ins::chaos::{Chaos, Mode};
use stand_ins::status_page::StatusPage;
use stand_ins::tenant::{API_KEY, Tenant};

/// About a tenth of the usual times, with room for a loaded machine.
pub(super) const PACE: LeasePace = LeasePace {
    ttl: Duration::from_millis(2500),
    renew: Duration::from_millis(500),
    retry: Duration::from_millis(100),
    grace: Duration::from_millis(1200),
    margin: Duration::from_millis(500),
};

/// The poll interval in these tests.
const INTERVAL: Duration = Duration::from_millis(100);

/// The parts of one daemon.
#[derive(Clone)]
pub(super) struct Setup {
    pub(super) name: String,
    pub(super) database: String,
    pub(super) tenant: String,
    /// The tenant's address, whichever connection leads to it.
    pub(super) tenant_name: String,
    pub(super) monitors: PathBuf,
}

/// Builds a daemon.
pub(super) async fn assemble(setup: Setup) -> (Daemon, BoardReader) {
    let options = ClientOptions { network: Network::default(), keep_alive: false };
    let clock = Clock::system();
    let lease = lease(&setup.name, PACE.ttl);
    let (store, closer) = Store::connect(at(&setup.database), lease.clone()).await.unwrap();
    // The key shows in the tenant's record who wrote.
    let credentials = QlikCredentials::ApiKey(format!("{API_KEY}-{}", setup.name).into());
    let loaded = LoadedConnectors { jobs: Vec::new(), off: Vec::new() };
    let (board, reader) = channel(clock.now(), true);
    let client = TenantClient::new(options.build().unwrap(), setup.tenant.parse().unwrap(), credentials);
    let target = Arc::new(Qlik::new(Arc::new(client)));
    let policy = Policy {
        lease: Duration::from_secs(4 * 3600),
        resolved_for: Duration::ZERO,
        foreign: Foreign::Borrow,
        spacing: Duration::ZERO,
    };
    let daemon = Daemon {
        context: MonitoringContext {
            clock,
            board,
            store,
            live: true,
            recheck: Duration::from_secs(5),
            clear_on_stop: false,
        },
        closer,
        kept: StoredState::default(),
        contest: Some(Contest { database: at(&setup.database), lease, pace: PACE }),
        watch: watcher::Options {
            folder: setup.monitors,
            engines: "no such folder".into(),
            interval: INTERVAL,
            timeout: Duration::from_secs(5),
            hold_for: Duration::from_secs(6 * 3600),
            log_every_cycle: false,
            client: PageClient::new(&options).unwrap(),
            on_tick: Box::new(|_| {}),
        },
        tenants: only_tenant(setup.tenant_name.parse().unwrap(), target, policy),
        jobs: ConnectorRoster { first: loaded, ..ConnectorRoster::default() },
        channels: ChannelRoster::default(),
        web: None,
    };
    (daemon, reader)
}

/// The tenant, the page and the database that all daemons of a test share.
pub(super) struct DaemonGroup {
    pub(super) cluster: Cluster,
    /// A direct connection to the database.
    pub(super) url: String,
    pub(super) tenant: Tenant,
    pub(super) page: StatusPage,
    /// The API of a workspace that the daemons send messages to.
    pub(super) slack: Option<String>,
    folder: TempDir,
}

/// One daemon in this process, on a runtime of its own so that it can be killed.
pub(super) struct Member {
    pub(super) name: String,
    pub(super) controls: Controls,
    pub(super) board: BoardReader,
    pub(super) to_database: Chaos,
    _to_tenant: Chaos,
    runtime: Option<Runtime>,
    running: Option<tokio::task::JoinHandle<bool>>,
}

impl DaemonGroup {
    /// Everything but the daemons, or `None` where the machine has no server.
    pub(super) async fn set_up() -> Option<DaemonGroup> {
        let (cluster, url) = database().await?;
        let (tenant, page) = (Tenant::start(), StatusPage::start());
        let folder = tempfile::tempdir().unwrap();
        let text = format!("name = \"Alpha\"\nurl = \"{}\"\n", page.url());
        std::fs::write(folder.path().join("alpha.toml"), text).unwrap();
        Some(DaemonGroup { cluster, url, tenant, page, slack: None, folder })
    }

    pub(super) fn monitors(&self) -> &Path {
        self.folder.path()
    }

    /// The database's address by another connection.
    pub(super) fn url_by(&self, line: &Chaos) -> String {
        self.url.replace(self.server().as_str(), line.url().strip_prefix("http://").unwrap())
    }

    /// A connection to the database that can be cut.
    pub(super) fn cuttable_database(&self) -> Chaos {
        Chaos::before(&format!("http://{}", self.server()))
    }

    fn server(&self) -> String {
        format!("127.0.0.1:{}", self.cluster.port)
    }

    /// Starts a daemon of this name.
    pub(super) fn start(&self, name: &str) -> Member {
        self.start_with(name, |target| target)
    }

    /// Starts a daemon that reaches the tenant in another way.
    pub(super) fn start_with(
        &self,
        name: &str,
        by: impl FnOnce(Arc<dyn Target>) -> Arc<dyn Target>,
    ) -> Member {
        let (to_database, to_tenant) = (self.cuttable_database(), Chaos::before(&self.tenant.url()));
        let setup = Setup {
            name: name.to_owned(),
            database: self.url_by(&to_database),
            tenant: to_tenant.url(),
            tenant_name: self.tenant.url(),
            monitors: self.monitors().to_owned(),
        };
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (built, daemon) = std::sync::mpsc::channel();
        runtime.spawn(async move { built.send(assemble(setup).await) });
        let (mut daemon, board) = daemon.recv().unwrap();
        let tenant = &mut daemon.tenants.tenants[0];
        tenant.target = by(Arc::clone(&tenant.target));
        if let Some(api) = &self.slack {
            daemon.channels = channels::roster(vec![channels::slack_at("ops", api)]);
        }
        let controls = Controls::default();
        let running = Some(runtime.spawn(run(daemon, controls.clone())));
        let name = name.to_owned();
        Member { name, controls, board, to_database, _to_tenant: to_tenant, runtime: Some(runtime), running }
    }

    /// Starts a daemon and waits until it leads and has polled once.
    pub(super) async fn start_leader(&self, name: &str) -> Member {
        let member = self.start(name);
        member
            .wait_until("leads", |board| board.leads() && banner_view(board).report.answered_at.is_some())
            .await;
        member
    }

    /// Waits until users see this message; empty for none.
    pub(super) async fn wait_for_banner(&self, message: &str) {
        self.tenant.wait_until(|tenant| shown(tenant) == message).await;
    }

    /// Runs a statement in the database.
    pub(super) async fn change(&self, sql: &str) {
        let connected = at(&self.url).connect().await.unwrap();
        connected.client.batch_execute(sql).await.unwrap();
    }

    /// The number that a query returns.
    pub(super) async fn count(&self, select: &str) -> i64 {
        let connected = at(&self.url).connect().await.unwrap();
        connected.client.query_typed(select, &[]).await.unwrap()[0].get(0)
    }
}

/// What users see now.
pub(super) fn shown(tenant: &Tenant) -> String {
    tenant.visible().map(|banner| banner.message).unwrap_or_default()
}

impl Member {
    pub(super) async fn wait_until(&self, what: &str, condition: impl Fn(&Board) -> bool) {
        let mut changes = self.board.subscribe();
        let waiting = changes.wait_for(|board| condition(board));
        let in_time = tokio::time::timeout(Duration::from_secs(20), waiting).await;
        let board = || self.board.read(|board| format!("{board:#?}"));
        assert!(in_time.is_ok(), "{} waited in vain until it {what}: {}", self.name, board());
    }

    /// Ends it at once, without closing anything.
    pub(super) fn kill(mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// Stops it as a signal would.
    pub(super) async fn stop(mut self) {
        self.controls.stop.cancel();
        let running = self.running.take().unwrap();
        assert!(running.await.unwrap(), "{} stopped with work unfinished", self.name);
    }

    pub(super) fn cut_database(&self, mode: Mode) {
        self.to_database.set(mode);
    }

    pub(super) fn leads(&self) -> bool {
        self.board.read(Board::leads)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
