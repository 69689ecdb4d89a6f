//! The roster: the connectors that run. It is reloaded when their folder changed or on request. A reload with an error
//! changes nothing.
//!
//! Each connector keeps its task for the lifetime of the daemon and receives its job over a channel, so that two runs of one
//! connector never overlap, however often its definition changes. Start at [`ConnectorRoster::run`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::super::clock::Clock;
use super::super::folder::{FolderScan, WatchedFolder};
use super::{Job, Reports};
use crate::runtime::board::BoardWriter;
use crate::runtime::jobs::claims::Claims;
use crate::runtime::last_successes::LastSuccesses;

/// Loads the connectors from the folder of definitions. May block.
pub type Load = Arc<dyn Fn(&Path) -> Result<LoadedConnectors, Vec<String>> + Send + Sync>;

#[derive(Default)]
pub struct LoadedConnectors {
    /// Those that are on.
    pub jobs: Vec<Job>,
    /// Names of the connectors that are not configured.
    pub off: Vec<String>,
}

/// The connectors that are on, and how they are reloaded. By default there are none.
#[derive(Default)]
pub struct ConnectorRoster {
    /// The connectors at the start.
    pub first: LoadedConnectors,
    /// Folder of definitions, interval of its scans, and the function that loads it.
    pub again: Option<(PathBuf, Duration, Load)>,
    pub claims: Claims,
}

type Orders = BTreeMap<String, watch::Sender<Option<Job>>>;

impl ConnectorRoster {
    /// Runs the connectors until `stop`; returns when all of them have stopped.
    pub async fn run(
        self,
        clock: Clock,
        board: BoardWriter,
        successes: LastSuccesses,
        reload: Arc<Notify>,
        stop: CancellationToken,
    ) {
        let reports = Reports { clock, board, successes };
        let LoadedConnectors { jobs, off } = self.first;
        let (orders, tasks) = (Orders::new(), JoinSet::new());
        let claims = self.claims;
        let mut crew =
            Crew { orders, off, tasks, claims: claims.clone(), reports: reports.clone(), stop: stop.clone() };
        if let Some(overseer) = claims.overseer() {
            crew.tasks.spawn(overseer.run(reports, stop.clone()));
        }
        crew.apply(jobs);
        if let Some((path, every, load)) = self.again {
            let mut folder = WatchedFolder::new(path, None, load);
            // The first tick is immediate and detects changes since the start of the program.
            let mut ticks = interval(every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => break,
                    () = reload.notified() => folder.scan(true),
                    Some(found) = folder.found() => crew.reload(found),
                    _ = ticks.tick() => folder.scan(false),
                }
            }
        }
        // No more orders are sent; each task ends at `stop`.
        while crew.tasks.join_next().await.is_some() {}
    }
}

/// The tasks of all connectors.
struct Crew {
    orders: Orders,
    /// Connectors that are off, as last logged.
    off: Vec<String>,
    tasks: JoinSet<()>,
    claims: Claims,
    reports: Reports,
    stop: CancellationToken,
}

impl Crew {
    fn reload(&mut self, found: FolderScan<Result<LoadedConnectors, Vec<String>>>) {
        self.reports.board.update(|board| board.connectors_ok = found.read.is_ok());
        match found.read {
            Ok(LoadedConnectors { jobs, off }) => {
                let mut changes = self.apply(jobs);
                if off != self.off {
                    changes.push(format!("off (not configured): {}", listed(&off)));
                    self.off = off;
                }
                if !changes.is_empty() {
                    tracing::info!(target: "MainOrchestrator", "Connector definitions reloaded: {}.", changes.join(", "));
                }
            }
            Err(errors) => {
                for error in errors {
                    tracing::error!(target: "MainOrchestrator", "{error}");
                }
                tracing::error!(target: "MainOrchestrator", "The connector definitions were not reloaded; the last valid set stays in use.");
            }
        }
    }

    /// Sends each connector its new job. Returns the changes.
    fn apply(&mut self, jobs: Vec<Job>) -> Vec<String> {
        let mut changes = Vec::new();
        let mut jobs: BTreeMap<String, Job> =
            jobs.into_iter().map(|job| (job.name().to_owned(), job)).collect();
        for (name, order) in &self.orders {
            let job = jobs.remove(name);
            order.send_if_modified(|ordered| {
                let change = match (&*ordered, &job) {
                    (None, None) => return false,
                    // The old account keeps its access token and rate limits.
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
        for (name, job) in jobs {
            changes.push(format!("added {name}"));
            let (order, orders) = watch::channel(Some(job));
            let (claims, reports, stop) = (self.claims.clone(), self.reports.clone(), self.stop.clone());
            let span = tracing::error_span!(target: "SyncRunner", "job", connector = name);
            self.tasks.spawn(work(name.clone(), orders, claims, reports, stop).instrument(span));
            self.orders.insert(name, order);
        }
        changes
    }
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// Executes the orders of one connector until `stop`.
async fn work(
    name: String,
    mut orders: watch::Receiver<Option<Job>>,
    claims: Claims,
    reports: Reports,
    stop: CancellationToken,
) {
    let board = &reports.board;
    let mut remembered = false;
    while !stop.is_cancelled() {
        let ordered = orders.borrow_and_update().clone();
        if let Some(job) = ordered {
            reports.successes.expect(&name, job.account.every());
            if !std::mem::replace(&mut remembered, true) {
                super::view(board, &name, |_| {});
                reports.remember(&job.place, &name, false).await;
            }
            job.repeat(&claims, &mut orders, &reports, &stop).await;
            continue;
        }
        claims.withdraw(&name).await;
        remembered = false;
        reports.successes.retain(|connector| connector != name);
        board.update(|board| drop(board.syncs.remove(&name)));
        tokio::select! {
            () = stop.cancelled() => {}
            _ = orders.changed() => {}
        }
    }
}
