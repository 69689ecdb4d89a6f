//! The daemon at work: looks at pages when they are due, keeps the banner true, and stops cleanly.
//!
//! Only here are tasks spawned. [`watcher`] owns what is believed, [`publisher`] owns the banner, [`board`] is
//! what they show to everybody else. Where several daemons share a memory, one at a time has the `lease` under which
//! they run (`terms`), while the others stand by. Start at [`run`].

pub mod board;
pub mod claims;
pub mod clock;
pub mod connections;
mod folder;
pub mod jobs;
pub mod lease;
pub mod publisher;
mod standby;
pub mod sync;
mod terms;
pub mod watcher;

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use board::BoardHandle;
use clock::Clock;
use lease::{Contest, Keeper};
use terms::{Contended, Fault, Monitor};

use crate::domain::plan::Policy;
use crate::publish::Target;
use crate::store::{Closer, Kept, Store};

/// How long a stop may take before what still runs is given up.
pub const GRACE: Duration = Duration::from_secs(10);

/// Everything the daemon is made of; `commands::run` puts it together, tests put in stand-ins.
pub struct Daemon {
    /// Time.
    pub clock: Clock,
    /// What everybody shows.
    pub board: BoardHandle,
    /// Our own memory, the way to wait for it, and what was in it.
    pub store: (Store, Closer, Kept),
    /// Who may watch and write, where several daemons share the memory; `None`: we do, alone.
    pub contest: Option<Contest>,
    /// Where the banner is.
    pub target: Arc<dyn Target>,
    /// Whose banner it is: what is remembered belongs to this tenant. `None` in preview: nothing is remembered.
    pub tenant: Option<String>,
    /// What the operator wants of it.
    pub policy: Policy,
    /// How often the tenant is read although nothing changed.
    pub recheck: Duration,
    /// Whether a stop clears the banner.
    pub clear_on_stop: bool,
    /// How pages are watched.
    pub watch: watcher::Options,
    /// The connectors that are on, and how that is found out again.
    pub jobs: jobs::Roster,
    /// Serves the board, if wanted.
    pub web: Option<(TcpListener, axum::Router)>,
}

/// How others reach a running daemon.
#[derive(Clone, Default)]
pub struct Controls {
    /// Ends it: what runs is finished within [`GRACE`].
    pub stop: CancellationToken,
    /// Re-reads the definitions and tries again whatever is owed.
    pub reload: Arc<Notify>,
    /// The same, heard by the publisher and by the jobs.
    nudge: Arc<Notify>,
    recall: Arc<Notify>,
}

impl Controls {
    /// Re-reads the definitions and tries again whatever is owed.
    pub fn reload(&self) {
        self.reload.notify_one();
        self.nudge.notify_one();
        self.recall.notify_one();
    }
}

/// Runs until told to stop. Returns whether everything ended within the grace period.
pub async fn run(daemon: Daemon, controls: Controls) -> bool {
    let (store, closer, kept) = daemon.store;
    let tasks = TaskTracker::new();
    daemon.board.update(|board| board.banner.patience = daemon.recheck * 2 + Duration::from_secs(60));
    let release = CancellationToken::new();
    let (mut keeping, mut contended) = (None, None);
    if let Some(contest) = daemon.contest {
        let (name, every) = (contest.lease.holder.clone(), contest.pace.renew);
        let (keeper, standing) = Keeper::new(contest, daemon.clock);
        keeping = Some(tokio::spawn(keeper.run(release.clone())));
        contended = Some(Contended { standing, name, every });
    }
    let monitor = Monitor {
        clock: daemon.clock,
        board: daemon.board.clone(),
        store,
        target: daemon.target,
        tenant: daemon.tenant,
        policy: daemon.policy,
        recheck: daemon.recheck,
        clear_on_stop: daemon.clear_on_stop,
        controls: controls.clone(),
    };
    let mut watching = tasks.spawn(monitor.run(daemon.watch, kept, contended));
    let web = daemon.web.map(|(listener, router)| tokio::spawn(connections::serve(listener, router)));
    let jobs = daemon.jobs;
    tasks.spawn(jobs.run(daemon.clock, daemon.board.clone(), controls.recall.clone(), controls.stop.clone()));
    tasks.close();
    let fault = tokio::select! {
        biased;
        () = controls.stop.cancelled() => None,
        ended = &mut watching => Some(match ended {
            Ok(Err(Fault(fault))) => fault,
            Ok(Ok(())) => "The monitor ended by itself".to_owned(),
            Err(e) => format!("The monitor ended by itself ({e})"),
        }),
    };
    if let Some(fault) = &fault {
        tracing::error!(target: "MainOrchestrator", "{fault}; stopping. This is a fault of the program.");
        controls.stop.cancel();
    }
    let drained = tokio::time::timeout(GRACE, tasks.wait()).await.is_ok();
    if let Some(web) = web {
        // Nobody who reads slowly holds up the stop.
        web.abort();
    }
    if let (true, Some(keeping)) = (drained, keeping) {
        // Only now nobody writes any more. What still hangs loses its right when the lease runs out.
        release.cancel();
        let _ = tokio::time::timeout(GRACE, keeping).await;
    }
    if drained {
        // Its senders are gone, so the thread ends; a blocking wait of a moment is all that is left.
        closer.join();
    }
    drained && fault.is_none()
}
