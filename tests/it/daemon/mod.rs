//! The daemon in this process, between a stand-in tenant and stand-in pages, at a quick pace.

mod pages;
mod rules;
mod trouble;
mod watching;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use data_sources_monitor::domain::plan::{Foreign, Policy};
use data_sources_monitor::http::{ClientOptions, Network, PageClient, Redirects};
use data_sources_monitor::publish::{Qlik, QlikCredentials};
use data_sources_monitor::runtime::board::BoardHandle;
use data_sources_monitor::runtime::clock::Clock;
use data_sources_monitor::runtime::jobs::Roster;
use data_sources_monitor::runtime::{Controls, Daemon, run, watcher};
use data_sources_monitor::store::Store;
use tempfile::TempDir;

use stand_ins::status_page::StatusPage;
use stand_ins::tenant::{API_KEY, Tenant};

/// The time between two looks in these stories.
const PACE: Duration = Duration::from_millis(60);

/// What a story can set.
pub(crate) struct Story {
    pub(crate) policy: Policy,
    pub(crate) clock: Clock,
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    pub(crate) hold_for: Duration,
    pub(crate) clear_on_stop: bool,
    pub(crate) credentials: QlikCredentials,
}

impl Default for Story {
    fn default() -> Self {
        Story {
            policy: Policy {
                lease: Duration::from_secs(4 * 3600),
                resolved_for: Duration::ZERO,
                foreign: Foreign::Borrow,
                spacing: Duration::ZERO,
            },
            clock: Clock::system(),
            interval: PACE,
            timeout: Duration::from_secs(5),
            hold_for: Duration::from_secs(6 * 3600),
            clear_on_stop: false,
            credentials: QlikCredentials::ApiKey(API_KEY.to_owned().into()),
        }
    }
}

/// A running daemon and its folder, which outlives it.
pub(crate) struct Rig {
    pub(crate) folder: Arc<TempDir>,
    pub(crate) controls: Controls,
    pub(crate) board: BoardHandle,
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

impl Rig {
    pub(crate) fn start(tenant: &Tenant, pages: &[(&str, &StatusPage)]) -> Rig {
        Rig::start_in(folder_watching(pages), tenant, Story::default())
    }

    pub(crate) fn start_in(folder: Arc<TempDir>, tenant: &Tenant, story: Story) -> Rig {
        let options =
            ClientOptions { network: Network::default(), redirects: Redirects::Refuse, keep_alive: false };
        let clock = story.clock;
        let board = BoardHandle::new(clock.now(), true);
        let url = tenant.url().parse().unwrap();
        let daemon = Daemon {
            clock,
            board: board.clone(),
            store: Store::open(&folder.path().join("data")).unwrap(),
            contest: None,
            tenant: Some(tenant.url()),
            target: Arc::new(Qlik::new(options.build().unwrap(), url, story.credentials)),
            policy: story.policy,
            recheck: Duration::from_millis(100),
            clear_on_stop: story.clear_on_stop,
            watch: watcher::Options {
                folder: folder.path().join("monitors"),
                interval: story.interval,
                timeout: story.timeout,
                hold_for: story.hold_for,
                client: PageClient::new(&options).unwrap(),
                on_tick: Box::new(|_| {}),
            },
            jobs: Roster::default(),
            web: None,
        };
        let controls = Controls::default();
        let running = tokio::spawn(run(daemon, controls.clone()));
        Rig { folder, controls, board, running }
    }

    /// Stops it as a signal would; returns its folder for a restart.
    pub(crate) async fn stop(self) -> Arc<TempDir> {
        self.controls.stop.cancel();
        assert!(self.running.await.unwrap(), "stopped with work unfinished");
        self.folder
    }

    /// Returns once the board shows what is asked for.
    pub(crate) async fn wait_until(
        &self,
        condition: impl Fn(&data_sources_monitor::runtime::board::Board) -> bool,
    ) {
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

/// What users of the tenant see now; empty for nothing.
pub(crate) fn seen_now(tenant: &Tenant) -> String {
    tenant.visible().map(|banner| banner.message).unwrap_or_default()
}

pub(crate) async fn wait_for_banner(tenant: &Tenant, message: &str) {
    tenant.wait_until(|tenant| seen_now(tenant) == message).await;
}
