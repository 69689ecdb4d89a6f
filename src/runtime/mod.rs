//! The daemon at work: looks at pages when they are due, keeps the banner true, and stops cleanly.
//!
//! Only here are tasks spawned. [`watcher`] owns what is believed, [`publisher`] owns the banner, [`board`] is
//! what they show to everybody else. Start at [`run`].

pub mod board;
pub mod clock;
mod folder;
pub mod jobs;
pub mod publisher;
pub mod sync;
pub mod watcher;

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use board::BoardHandle;
use clock::Clock;
use publisher::Publisher;
use watcher::Watcher;

use crate::domain::plan::{Memory, Policy};
use crate::publish::Target;
use crate::store::{Closer, Kept, Store};

/// How long a stop may take before what still runs is given up.
pub const GRACE: Duration = Duration::from_secs(10);

/// Everything the daemon is made of; `commands::run` puts it together, tests put in fakes.
pub struct Daemon {
    /// Time.
    pub clock: Clock,
    /// What everybody shows.
    pub board: BoardHandle,
    /// Our own memory, the way to wait for it, and what was in it.
    pub store: (Store, Closer, Kept),
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
    let memory = daemon.tenant.as_ref().map_or(Memory::default(), |tenant| kept.memory_of(tenant));
    let tasks = TaskTracker::new();
    let (wanted, wishes) = watch::channel(None);
    // What a person decided about our banner refers to the incident that was believed then, too.
    daemon.board.update(|board| board.banner.patience = daemon.recheck * 2 + Duration::from_secs(60));
    let counts = memory.holding || memory.stands.is_some();
    let watcher = Watcher::new(daemon.watch, daemon.clock, daemon.board.clone(), store.clone(), wanted)
        .remembering(kept.states, counts);
    let publisher = Publisher {
        clock: daemon.clock,
        board: daemon.board.clone(),
        store,
        target: daemon.target,
        tenant: daemon.tenant,
        policy: daemon.policy,
        recheck: daemon.recheck,
        clear_on_stop: daemon.clear_on_stop,
        wishes,
        nudge: controls.nudge.clone(),
        stop: controls.stop.clone(),
        memory,
        unsaved: false,
    };
    let mut watching = tasks.spawn(watcher.run(controls.reload.clone(), controls.stop.clone()));
    let mut publishing = tasks.spawn(publisher.run());
    let web = daemon.web.map(|(listener, router)| tokio::spawn(serve(listener, router)));
    let jobs = daemon.jobs;
    tasks.spawn(jobs.run(daemon.clock, daemon.board.clone(), controls.recall.clone(), controls.stop.clone()));
    tasks.close();
    // One without the other would go on telling what nobody looks after any more.
    let lost = tokio::select! {
        biased;
        () = controls.stop.cancelled() => None,
        ended = &mut watching => Some(("watcher", ended)),
        ended = &mut publishing => Some(("publisher", ended)),
    };
    if let Some((which, ended)) = &lost {
        let why = ended.as_ref().err().map(ToString::to_string).unwrap_or_default();
        tracing::error!(target: "MainOrchestrator", "The {which} ended by itself ({why}); stopping. This is a fault of the program.");
        controls.stop.cancel();
    }
    let drained = tokio::time::timeout(GRACE, tasks.wait()).await.is_ok();
    if let Some(web) = web {
        // Nobody who reads slowly holds up the stop.
        web.abort();
    }
    if drained {
        // Its senders are gone, so the thread ends; a blocking wait of a moment is all that is left.
        closer.join();
    }
    drained && lost.is_none()
}

async fn serve(listener: TcpListener, router: axum::Router) {
    if let Err(e) = axum::serve(listener, router).await {
        tracing::error!(target: "WebServer", "The web server stopped: {e}");
    }
}
