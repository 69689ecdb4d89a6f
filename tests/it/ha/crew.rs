//! Several daemons on one database, between a tenant and a page, at a quick pace: each with lines of its own to the
//! database and to the tenant, which a story can cut.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use data_sources_monitor::domain::plan::{Foreign, Policy};
use data_sources_monitor::domain::tenure::Pace;
use data_sources_monitor::http::{ClientOptions, Network, PageClient, Redirects};
use data_sources_monitor::publish::{Qlik, QlikCredentials, Target};
use data_sources_monitor::runtime::board::{Board, BoardHandle};
use data_sources_monitor::runtime::clock::Clock;
use data_sources_monitor::runtime::jobs::{Loaded, Roster};
use data_sources_monitor::runtime::lease::Contest;
use data_sources_monitor::runtime::{Controls, Daemon, run, watcher};
use data_sources_monitor::store::{Kept, Store};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::{at, database, lease};
use crate::cluster::Cluster;
use stand_ins::chaos::{Chaos, Mode};
use stand_ins::status_page::StatusPage;
use stand_ins::tenant::{API_KEY, Tenant};

/// A tenth of the usual times, or so: with what a loaded machine needs between them.
pub(super) const PACE: Pace = Pace {
    ttl: Duration::from_millis(2500),
    renew: Duration::from_millis(500),
    retry: Duration::from_millis(100),
    grace: Duration::from_millis(1200),
    margin: Duration::from_millis(500),
};

/// The time between two looks in these stories.
const INTERVAL: Duration = Duration::from_millis(100);

/// What one daemon is made of.
#[derive(Clone)]
pub(super) struct Setup {
    pub(super) name: String,
    pub(super) database: String,
    pub(super) tenant: String,
    /// Whose banner it is, by whatever line it is reached.
    pub(super) tenant_name: String,
    pub(super) monitors: PathBuf,
}

/// Puts a daemon together.
pub(super) async fn assemble(setup: Setup) -> Daemon {
    let options =
        ClientOptions { network: Network::default(), redirects: Redirects::Refuse, keep_alive: false };
    let clock = Clock::system();
    let lease = lease(&setup.name, PACE.ttl);
    let (store, closer) = Store::connect(at(&setup.database), lease.clone()).await.unwrap();
    // The key tells the tenant's record who wrote.
    let credentials = QlikCredentials::ApiKey(format!("{API_KEY}-{}", setup.name).into());
    let loaded = Loaded { jobs: Vec::new(), off: Vec::new() };
    Daemon {
        clock,
        board: BoardHandle::new(clock.now(), true),
        store: (store, closer, Kept::default()),
        contest: Some(Contest { database: at(&setup.database), lease, pace: PACE }),
        tenant: Some(setup.tenant_name),
        target: Arc::new(Qlik::new(options.build().unwrap(), setup.tenant.parse().unwrap(), credentials)),
        policy: Policy {
            lease: Duration::from_secs(4 * 3600),
            resolved_for: Duration::ZERO,
            foreign: Foreign::Borrow,
            spacing: Duration::ZERO,
        },
        recheck: Duration::from_secs(5),
        clear_on_stop: false,
        watch: watcher::Options {
            folder: setup.monitors,
            interval: INTERVAL,
            timeout: Duration::from_secs(5),
            hold_for: Duration::from_secs(6 * 3600),
            client: PageClient::new(&options).unwrap(),
            on_tick: Box::new(|_| {}),
        },
        jobs: Roster { first: loaded, ..Roster::default() },
        web: None,
    }
}

/// What all daemons of a story share.
pub(super) struct Crew {
    pub(super) cluster: Cluster,
    /// The database, reached directly.
    pub(super) url: String,
    pub(super) tenant: Tenant,
    pub(super) page: StatusPage,
    folder: TempDir,
}

/// One daemon in this process, on a runtime of its own so that it can be killed.
pub(super) struct Member {
    pub(super) name: String,
    pub(super) controls: Controls,
    pub(super) board: BoardHandle,
    pub(super) to_database: Chaos,
    _to_tenant: Chaos,
    runtime: Option<Runtime>,
    running: Option<tokio::task::JoinHandle<bool>>,
}

impl Crew {
    /// Everything but daemons, or `None` where the machine has no server.
    pub(super) async fn gather() -> Option<Crew> {
        let (cluster, url) = database().await?;
        let (tenant, page) = (Tenant::start(), StatusPage::start());
        let folder = tempfile::tempdir().unwrap();
        let text = format!("name = \"Alpha\"\nurl = \"{}\"\n", page.url());
        std::fs::write(folder.path().join("alpha.toml"), text).unwrap();
        Some(Crew { cluster, url, tenant, page, folder })
    }

    pub(super) fn monitors(&self) -> &Path {
        self.folder.path()
    }

    /// The database's address by another line.
    pub(super) fn url_by(&self, line: &Chaos) -> String {
        self.url.replace(self.server().as_str(), line.url().strip_prefix("http://").unwrap())
    }

    /// A line to the database that can be cut.
    pub(super) fn line_to_database(&self) -> Chaos {
        Chaos::before(&format!("http://{}", self.server()))
    }

    fn server(&self) -> String {
        format!("127.0.0.1:{}", self.cluster.port)
    }

    /// Starts a daemon of this name.
    pub(super) fn start(&self, name: &str) -> Member {
        self.start_with(name, |target| target)
    }

    /// Starts a daemon that reaches the tenant by other ways.
    pub(super) fn start_with(
        &self,
        name: &str,
        by: impl FnOnce(Arc<dyn Target>) -> Arc<dyn Target>,
    ) -> Member {
        let (to_database, to_tenant) = (self.line_to_database(), Chaos::before(&self.tenant.url()));
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
        let mut daemon = daemon.recv().unwrap();
        daemon.target = by(daemon.target);
        let (board, controls) = (daemon.board.clone(), Controls::default());
        let running = Some(runtime.spawn(run(daemon, controls.clone())));
        let name = name.to_owned();
        Member { name, controls, board, to_database, _to_tenant: to_tenant, runtime: Some(runtime), running }
    }

    /// Starts a daemon and waits until it leads and has looked around.
    pub(super) async fn start_leader(&self, name: &str) -> Member {
        let member = self.start(name);
        member.wait_until("leads", |board| board.leads() && board.banner.answered_at.is_some()).await;
        member
    }

    /// Waits until people see this; empty for nothing.
    pub(super) async fn wait_for_banner(&self, message: &str) {
        self.tenant.wait_until(|tenant| shown(tenant) == message).await;
    }

    /// Changes something in the database.
    pub(super) async fn change(&self, sql: &str) {
        let connected = at(&self.url).connect().await.unwrap();
        connected.client.batch_execute(sql).await.unwrap();
    }

    /// A number from the database.
    pub(super) async fn count(&self, select: &str) -> i64 {
        let connected = at(&self.url).connect().await.unwrap();
        connected.client.query_typed(select, &[]).await.unwrap()[0].get(0)
    }
}

/// What people see now.
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

    /// Ends it at once, without a goodbye to anybody.
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
