//! The daemon in this process, between a stand-in tenant and stand-in status pages, with short intervals.

mod failures;
mod late_data;
mod log;
mod pages;
mod polling;
mod rules;
mod shared_pages;

use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use data_sources_monitor::testing::domain::monitoring::audience::Audience;
use data_sources_monitor::testing::domain::monitoring::audience::tenant::TenantRules;
use data_sources_monitor::testing::domain::monitoring::banner::Banner;
use data_sources_monitor::testing::domain::monitoring::banner::style::BannerStyle;
use data_sources_monitor::testing::domain::monitoring::plan::{Foreign, Policy, Shown};
use data_sources_monitor::testing::http::{ClientOptions, Network, PageClient};
use data_sources_monitor::testing::publish::{Qlik, Target, TargetError};
use data_sources_monitor::testing::qlik::{QlikCredentials, TenantClient};
use data_sources_monitor::testing::runtime::board::{BannerView, Board, BoardReader, channel};
use data_sources_monitor::testing::runtime::clock::Clock;
use data_sources_monitor::testing::runtime::jobs::ConnectorRoster;
use data_sources_monitor::testing::runtime::monitoring::connection::ConnectedTenant;
use data_sources_monitor::testing::runtime::monitoring::messenger::ChannelRoster;
use data_sources_monitor::testing::runtime::monitoring::tenants::TenantRoster;
use data_sources_monitor::testing::runtime::monitoring::watcher;
use data_sources_monitor::testing::runtime::{Controls, Daemon, MonitoringContext, run};
use data_sources_monitor::testing::store::Store;
use tempfile::TempDir;
use url::Url;

use stand_ins::status_page::StatusPage;
use stand_ins::tenant::{API_KEY, Tenant};

/// The poll interval in these tests.
const INTERVAL: Duration = Duration::from_millis(60);

/// Settings of the daemon under test.
pub(crate) struct Scenario {
    pub(crate) policy: Policy,
    pub(crate) clock: Clock,
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    pub(crate) hold_for: Duration,
    pub(crate) log_every_cycle: bool,
    pub(crate) clear_on_stop: bool,
    pub(crate) credentials: QlikCredentials,
    pub(crate) jobs: ConnectorRoster,
    pub(crate) channels: ChannelRoster,
}

impl Default for Scenario {
    fn default() -> Self {
        Scenario {
            policy: Policy {
                lease: Duration::from_secs(4 * 3600),
                resolved_for: Duration::ZERO,
                foreign: Foreign::Borrow,
                spacing: Duration::ZERO,
            },
            clock: Clock::system(),
            interval: INTERVAL,
            timeout: Duration::from_secs(5),
            hold_for: Duration::from_secs(6 * 3600),
            log_every_cycle: false,
            clear_on_stop: false,
            credentials: QlikCredentials::ApiKey(API_KEY.to_owned().into()),
            jobs: ConnectorRoster::default(),
            channels: ChannelRoster::default(),
        }
    }
}

/// A running daemon and its folder, which outlives it.
pub(crate) struct TestDaemon {
    pub(crate) folder: Arc<TempDir>,
    pub(crate) controls: Controls,
    pub(crate) board: BoardReader,
    running: tokio::task::JoinHandle<bool>,
}

pub(crate) fn folder_watching(pages: &[(&str, &StatusPage)]) -> Arc<TempDir> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("monitors")).unwrap();
    for (name, page) in pages {
        define(folder.path(), name, page, "");
    }
    Arc::new(folder)
}

pub(crate) fn define(folder: &Path, name: &str, page: &StatusPage, more: &str) {
    let text = format!("name = \"{name}\"\nurl = \"{}\"\n{more}\n", page.url());
    std::fs::write(folder.join("monitors").join(format!("{name}.toml")), text).unwrap();
}

impl TestDaemon {
    pub(crate) fn start(tenant: &Tenant, pages: &[(&str, &StatusPage)]) -> TestDaemon {
        TestDaemon::start_in(folder_watching(pages), tenant, Scenario::default())
    }

    pub(crate) fn start_in(folder: Arc<TempDir>, tenant: &Tenant, scenario: Scenario) -> TestDaemon {
        let options = ClientOptions { network: Network::default(), keep_alive: false };
        let clock = scenario.clock;
        let (writer, board) = channel(clock.now(), true);
        let url: Url = tenant.url().parse().unwrap();
        let client = TenantClient::new(options.build().unwrap(), url.clone(), scenario.credentials);
        let target = Arc::new(Qlik::new(Arc::new(client)));
        let (store, closer, kept) = Store::open(&folder.path().join("data")).unwrap();
        let daemon = Daemon {
            context: MonitoringContext {
                clock,
                board: writer,
                store,
                live: true,
                recheck: Duration::from_millis(100),
                clear_on_stop: scenario.clear_on_stop,
            },
            closer,
            kept,
            contest: None,
            watch: watcher::Options {
                folder: folder.path().join("monitors"),
                engines: "no such folder".into(),
                interval: scenario.interval,
                timeout: scenario.timeout,
                hold_for: scenario.hold_for,
                log_every_cycle: scenario.log_every_cycle,
                client: PageClient::new(&options).unwrap(),
                on_tick: Box::new(|_| {}),
            },
            tenants: beside_a_broken_one(only_tenant(url, target, scenario.policy)),
            jobs: scenario.jobs,
            channels: scenario.channels,
            web: None,
        };
        let controls = Controls::default();
        let running = tokio::spawn(run(daemon, controls.clone()));
        TestDaemon { folder, controls, board, running }
    }

    /// Stops as on a signal; returns the folder for a restart.
    pub(crate) async fn stop(self) -> Arc<TempDir> {
        self.controls.stop.cancel();
        assert!(self.running.await.unwrap(), "stopped with work unfinished");
        self.folder
    }

    /// Returns once the board meets the condition.
    pub(crate) async fn wait_until(&self, condition: impl Fn(&Board) -> bool) {
        let mut changes = self.board.subscribe();
        let waiting = changes.wait_for(|board| condition(board));
        let in_time = tokio::time::timeout(Duration::from_secs(20), waiting).await;
        assert!(in_time.is_ok(), "waited in vain: {}", self.board.read(|board| format!("{board:#?}")));
    }

    /// Returns after this many further cycles.
    pub(crate) async fn cycles(&self, count: u64) {
        let goal = self.board.read(|board| board.cycles.finished) + count;
        self.wait_until(|board| board.cycles.finished >= goal).await;
    }
}

/// One tenant that sees everything.
pub(crate) fn only_tenant(url: Url, target: Arc<dyn Target>, policy: Policy) -> TenantRoster {
    let (audience, style) = (Audience::default(), BannerStyle::default());
    let rules = TenantRules { name: "default".into(), url, audience, policy, style, data: Vec::new() };
    TenantRoster { tenants: vec![ConnectedTenant { rules, target, data: None }], again: None, data: None }
}

/// A tenant that fails at every request: it must not change anything for the other one.
struct BrokenTarget;

#[async_trait]
impl Target for BrokenTarget {
    async fn read(&self) -> Result<Option<Shown>, TargetError> {
        Err(TargetError::Trouble { wait: None, detail: "broken".into() })
    }

    async fn write(&self, _banner: &Banner) -> Result<Option<Shown>, TargetError> {
        panic!("a tenant that was not read is not written")
    }
}

fn beside_a_broken_one(mut roster: TenantRoster) -> TenantRoster {
    let mut broken = roster.tenants[0].clone();
    (broken.rules.name, broken.target) = ("broken".into(), Arc::new(BrokenTarget));
    broken.rules.url = "https://broken.test/".parse().unwrap();
    roster.tenants.push(broken);
    roster
}

/// What the board shows of the only tenant.
pub(crate) fn banner_view(board: &Board) -> &BannerView {
    static NONE: LazyLock<BannerView> = LazyLock::new(BannerView::default);
    board.banners.get("default").unwrap_or(&NONE)
}

/// The message that users of the tenant see now; empty without a banner.
pub(crate) fn seen_now(tenant: &Tenant) -> String {
    tenant.visible().map(|banner| banner.message).unwrap_or_default()
}

pub(crate) async fn wait_for_banner(tenant: &Tenant, message: &str) {
    tenant.wait_until(|tenant| seen_now(tenant) == message).await;
}
