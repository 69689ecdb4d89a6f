//! The roster: which connectors run. Read again when their folder changed or somebody asks; a reading with a mistake in
//! it changes nothing.
//!
//! Each connector keeps its task for as long as the daemon runs; what the task does is ordered over a channel, so that
//! two runs of one connector never meet, however often its definition changes. Start at [`Roster::run`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::super::board::{BoardHandle, SyncView};
use super::super::claims::Claims;
use super::super::clock::Clock;
use super::super::folder::{Folder, Found};
use super::Job;

/// Finds out which connectors there are; given is the folder of definitions. May block.
pub type Load = Arc<dyn Fn(&Path) -> Result<Loaded, Vec<String>> + Send + Sync>;

/// Which connectors there are.
#[derive(Default)]
pub struct Loaded {
    /// Those that are on.
    pub jobs: Vec<Job>,
    /// The names of those that nobody has configured.
    pub off: Vec<String>,
}

/// The connectors that are on, and how that is found out again. By default there are none.
#[derive(Default)]
pub struct Roster {
    /// Those at the start.
    pub first: Loaded,
    /// The folder of definitions, how often it is looked at, and how it is read.
    pub again: Option<(PathBuf, Duration, Load)>,
    /// With whom they are shared.
    pub claims: Claims,
}

type Orders = BTreeMap<String, watch::Sender<Option<Job>>>;

impl Roster {
    /// Runs the connectors until `stop`; returns when all of them have ended.
    pub async fn run(self, clock: Clock, board: BoardHandle, reload: Arc<Notify>, stop: CancellationToken) {
        let Loaded { jobs, off } = self.first;
        let (orders, tasks) = (Orders::new(), JoinSet::new());
        let claims = self.claims;
        let mut crew = Crew {
            orders,
            off,
            tasks,
            claims: claims.clone(),
            clock,
            board: board.clone(),
            stop: stop.clone(),
        };
        if let Some(overseer) = claims.overseer() {
            crew.tasks.spawn(overseer.run(clock, board, stop.clone()));
        }
        crew.take_over(jobs);
        if let Some((path, every, load)) = self.again {
            let mut folder = Folder::new(path, load);
            // The first tick is at once: what was changed since the start of the program is found then.
            let mut ticks = interval(every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => break,
                    () = reload.notified() => folder.look(true),
                    Some(found) = folder.found() => crew.read_again(found),
                    _ = ticks.tick() => folder.look(false),
                }
            }
        }
        // Without anybody left to give orders each goes on as it is, and ends by itself when told to stop.
        while crew.tasks.join_next().await.is_some() {}
    }
}

/// Those who work.
struct Crew {
    orders: Orders,
    /// Connectors without an order, as told last.
    off: Vec<String>,
    tasks: JoinSet<()>,
    claims: Claims,
    clock: Clock,
    board: BoardHandle,
    stop: CancellationToken,
}

impl Crew {
    fn read_again(&mut self, found: Found<Result<Loaded, Vec<String>>>) {
        self.board.update(|board| board.connectors_ok = found.read.is_ok());
        match found.read {
            Ok(Loaded { jobs, off }) => {
                let mut changes = self.take_over(jobs);
                if off != self.off {
                    changes.push(format!("off (not configured) are {}", listed(&off)));
                    self.off = off;
                }
                if !changes.is_empty() {
                    tracing::info!(target: "MainOrchestrator", "Connector definitions reloaded: {}.", changes.join(", "));
                }
            }
            Err(mistakes) => {
                for mistake in mistakes {
                    tracing::error!(target: "MainOrchestrator", "{mistake}");
                }
                tracing::error!(target: "MainOrchestrator", "The connector definitions were not reloaded; the last valid set stays in use.");
            }
        }
    }

    /// Orders what is to run from now on. Says what changed.
    fn take_over(&mut self, jobs: Vec<Job>) -> Vec<String> {
        let mut changes = Vec::new();
        let mut wanted: BTreeMap<String, Job> =
            jobs.into_iter().map(|job| (job.name().to_owned(), job)).collect();
        for (name, order) in &self.orders {
            let job = wanted.remove(name);
            order.send_if_modified(|ordered| {
                let change = match (&*ordered, &job) {
                    (None, None) => return false,
                    // The account is kept: its token and its limits go on.
                    (Some(old), Some(new)) if old.same(new) => return false,
                    (Some(_), Some(_)) => "changed",
                    (None, Some(_)) => "added",
                    (Some(_), None) => "removed",
                };
                changes.push(format!("{change} {name}"));
                *ordered = job;
                true
            });
        }
        for (name, job) in wanted {
            changes.push(format!("added {name}"));
            let (order, orders) = watch::channel(Some(job));
            let (claims, clock) = (self.claims.clone(), self.clock);
            let (board, stop) = (self.board.clone(), self.stop.clone());
            self.tasks.spawn(work(name.clone(), orders, claims, clock, board, stop));
            self.orders.insert(name, order);
        }
        changes
    }
}

/// Names in a line.
fn listed(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// Does what is ordered for one connector, until `stop`.
async fn work(
    name: String,
    mut orders: watch::Receiver<Option<Job>>,
    claims: Claims,
    clock: Clock,
    board: BoardHandle,
    stop: CancellationToken,
) {
    while !stop.is_cancelled() {
        let ordered = orders.borrow_and_update().clone();
        if let Some(job) = ordered {
            if board.read(|board| !board.syncs.contains_key(&name)) {
                board.update(|board| drop(board.syncs.insert(name.clone(), SyncView::default())));
                super::remember(&job.place, &board, &name, false).await;
            }
            job.repeat(&claims, &mut orders, clock, &board, &stop).await;
            continue;
        }
        claims.withdraw(&name).await;
        board.update(|board| drop(board.syncs.remove(&name)));
        tokio::select! {
            () = stop.cancelled() => {}
            _ = orders.changed() => {}
        }
    }
}
