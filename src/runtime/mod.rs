//! Runs the daemon: polls status pages, keeps the banner up to date, runs the jobs, and shuts down cleanly.
//!
//! [`monitoring::watcher`] owns the assessment, a [`monitoring::publisher`] for each tenant owns its banner,
//! [`monitoring::messenger`] owns the channels, and [`board`] shows them to the web. Where several
//! daemons share a state database, one is the leader and holds the `lease`; watcher and publisher run for one term of it
//! (`terms`), while the other daemons are on standby. Start at [`run`].

pub mod board;
pub mod clock;
pub mod cluster;
mod folder;
pub mod jobs;
pub mod last_successes;
pub mod lease;
pub mod monitoring;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use board::BoardWriter;
use clock::Clock;
use cluster::context::{Contended, TermContext};
use cluster::terms::Fault;
use last_successes::LastSuccesses;
use lease::{Contest, Keeper};
use monitoring::tenants::TenantRoster;

use crate::store::{Closer, Store, StoredState};

/// How long a stop waits for running work.
pub const GRACE: Duration = Duration::from_secs(10);

/// What watcher, publisher and messenger share. In each term, `store` writes under the lease of that term.
#[derive(Clone)]
pub struct MonitoringContext {
    pub clock: Clock,
    pub board: BoardWriter,
    pub store: Store,
    /// `false` in preview: the state of banners is not saved.
    pub live: bool,
    /// Interval at which a banner is read even if nothing changed.
    pub recheck: Duration,
    /// Whether a stop clears the banners.
    pub clear_on_stop: bool,
}

/// All parts of the daemon. `commands::daemon` assembles them; tests use stand-ins.
pub struct Daemon {
    pub context: MonitoringContext,
    /// Waits until the state database is closed.
    pub closer: Closer,
    /// The state that earlier runs saved.
    pub kept: StoredState,
    /// The leader election where several daemons share the state; `None` if this daemon is alone.
    pub contest: Option<Contest>,
    pub watch: monitoring::watcher::Options,
    pub tenants: TenantRoster,
    pub jobs: jobs::ConnectorRoster,
    pub channels: monitoring::messenger::ChannelRoster,
    /// The web server, if `LISTEN` is set. It runs until dropped.
    pub web: Option<BoxFuture<'static, ()>>,
}

/// Controls a running daemon.
#[derive(Clone, Default)]
pub struct Controls {
    /// Stops the daemon; running work has [`GRACE`] to finish.
    pub stop: CancellationToken,
    /// Makes the watcher reload its definitions and poll all monitors.
    pub reload: Arc<Notify>,
    /// The same for the publisher and the channels, which retry pending writes, and for the jobs.
    reload_publisher: Arc<Notify>,
    reload_jobs: Arc<Notify>,
    reload_channels: Arc<Notify>,
}

impl Controls {
    /// Reloads the definitions and retries pending writes.
    pub fn reload(&self) {
        self.reload.notify_one();
        self.reload_publisher.notify_one();
        self.reload_jobs.notify_one();
        self.reload_channels.notify_one();
    }
}

/// Runs the daemon until it is stopped. Returns whether all work finished within the grace period.
pub async fn run(daemon: Daemon, controls: Controls) -> bool {
    let Daemon { context, closer, kept, .. } = daemon;
    let (clock, board, tasks) = (context.clock, context.board.clone(), TaskTracker::new());
    let release = CancellationToken::new();
    let (mut lease_task, mut contended) = (None, None);
    if let Some(contest) = daemon.contest {
        let (name, every) = (contest.lease.holder.clone(), contest.pace.renew);
        let (keeper, standing) = Keeper::new(contest, clock);
        lease_task = Some(tokio::spawn(keeper.run(release.clone())));
        contended = Some(Contended { standing, name, every });
    }
    let successes = LastSuccesses::default();
    let monitor = TermContext { context, successes: successes.clone(), controls: controls.clone() };
    let (tenants, channels) = (daemon.tenants, daemon.channels);
    let mut watching = tasks.spawn(monitor.run(daemon.watch, tenants, channels, kept, contended));
    let web = daemon.web.map(tokio::spawn);
    let jobs = daemon.jobs;
    tasks.spawn(jobs.run(clock, board, successes, controls.reload_jobs.clone(), controls.stop.clone()));
    tasks.close();
    let fault = tokio::select! {
        biased;
        () = controls.stop.cancelled() => None,
        ended = &mut watching => Some(match ended {
            Ok(Err(Fault(fault))) => fault,
            Ok(Ok(())) => "Monitoring stopped unexpectedly".to_owned(),
            Err(e) => format!("Monitoring stopped unexpectedly ({e})"),
        }),
    };
    if let Some(fault) = &fault {
        tracing::error!(target: "MainOrchestrator", "{fault}; stopping. This is a bug in the program.");
        controls.stop.cancel();
    }
    let drained = tokio::time::timeout(GRACE, tasks.wait()).await.is_ok();
    if let Some(web) = web {
        // Slow clients must not delay the stop.
        web.abort();
    }
    if let (true, Some(lease_task)) = (drained, lease_task) {
        // All writers have stopped. If they have not, the lease is not released and expires.
        release.cancel();
        let _ = tokio::time::timeout(GRACE, lease_task).await;
    }
    if drained {
        // All senders are dropped, so the thread ends soon; this blocks only briefly.
        closer.join();
    }
    drained && fault.is_none()
}
