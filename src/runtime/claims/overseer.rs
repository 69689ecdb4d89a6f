//! One daemon's eye on the jobs that several share: offers what it can run, sees what is due and who runs what, and
//! shows it on the board. What a run brought is read from the ledger, whoever ran it: late data is judged by one
//! daemon, and that may be another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::super::board::BoardHandle;
use super::super::clock::Clock;
use super::super::jobs;
use super::{Common, Seen};
use crate::store::OpenError;

/// Offers are repeated this often, and ledgers read again, since a run by hand is not in the table of jobs.
const REPEAT: Duration = Duration::from_secs(60);

/// See the module.
pub(in super::super) struct Overseer {
    common: Arc<Common>,
    repeated_at: Option<Instant>,
    /// Whether the table could not be used last.
    trouble: bool,
}

impl Overseer {
    pub(super) fn new(common: Arc<Common>) -> Overseer {
        Overseer { common, repeated_at: None, trouble: false }
    }

    /// Looks again and again, until `stop`.
    pub(in super::super) async fn run(mut self, clock: Clock, board: BoardHandle, stop: CancellationToken) {
        let (common, seen) = (Arc::clone(&self.common), self.common.seen.subscribe());
        let ledgers = read_ledgers(&common, seen, &board);
        let looks = async {
            let mut ticks = interval(common.pace.look);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    () = common.offered.notified() => {}
                    _ = ticks.tick() => {}
                }
                let looked = self.look(clock, &board).await;
                self.tell(looked.err(), &board);
            }
        };
        tokio::select! {
            () = looks => {}
            () = ledgers => {}
        }
    }

    async fn look(&mut self, clock: Clock, board: &BoardHandle) -> Result<(), OpenError> {
        self.offer().await?;
        let asked = Instant::now();
        let jobs = self.common.jobs.look().await?;
        let offered: Vec<String> = self.common.offers.lock().await.keys().cloned().collect();
        let seen: BTreeMap<String, Seen> = jobs
            .into_iter()
            .map(|job| (job.connector.clone(), Seen { free_at: asked + job.free_in, job }))
            .collect();
        let now = clock.now();
        board.update(|board| {
            board.syncs.retain(|name, _| seen.contains_key(name) || offered.contains(name));
            for (name, Seen { job, .. }) in &seen {
                let view = board.syncs.entry(name.clone()).or_default();
                view.holder.clone_from(&job.holder);
                view.running = job.holder.is_some();
                view.next_at = if view.running { None } else { later(now, job.free_in) };
            }
        });
        self.common.seen.send_replace(seen);
        Ok(())
    }

    async fn offer(&mut self) -> Result<(), OpenError> {
        let mut offers = self.common.offers.lock().await.clone();
        for (name, (offer, told)) in &mut offers {
            if !*told {
                self.common.jobs.offer(name, *offer).await?;
                let mut offers = self.common.offers.lock().await;
                // What was changed or taken back meanwhile is not told yet.
                if let Some((now, told)) = offers.get_mut(name).filter(|(now, _)| now == offer) {
                    (*now, *told) = (*offer, true);
                }
            }
        }
        if self.repeated_at.is_none_or(|at| at.elapsed() >= REPEAT) {
            for (name, (offer, _)) in &offers {
                self.common.jobs.still_offer(name, *offer).await?;
            }
            self.repeated_at = Some(Instant::now());
        }
        Ok(())
    }

    /// Says when the table cannot be read and when it can again, once each.
    fn tell(&mut self, trouble: Option<OpenError>, board: &BoardHandle) {
        if trouble.is_some() {
            // What others do cannot be known now.
            let us = Some(self.common.jobs.holder());
            board.update(|board| {
                for view in board.syncs.values_mut().filter(|view| view.holder.as_deref() != us) {
                    (view.holder, view.running, view.next_at) = (None, false, None);
                }
            });
        }
        match (self.trouble, &trouble) {
            (false, Some(error)) => {
                tracing::warn!(target: "SyncRunner", "No syncs will start until the job table is reachable: {error}");
            }
            (true, None) => tracing::info!(target: "SyncRunner", "The job table is reachable again."),
            _ => {}
        }
        self.trouble = trouble.is_some();
    }
}

fn later(now: Timestamp, wait: Duration) -> Option<Timestamp> {
    now.checked_add(SignedDuration::try_from(wait).ok()?).ok()
}

/// Reads the ledger of every connector at first, whenever a run of it ended, and now and then. Never returns.
async fn read_ledgers(
    common: &Common,
    mut seen: watch::Receiver<BTreeMap<String, Seen>>,
    board: &BoardHandle,
) {
    let mut read: BTreeMap<String, (Option<f64>, Instant)> = BTreeMap::new();
    while seen.changed().await.is_ok() {
        let jobs: Vec<(String, Option<f64>)> = seen
            .borrow_and_update()
            .values()
            .map(|seen| (seen.job.connector.clone(), seen.job.ended))
            .collect();
        read.retain(|name, _| jobs.iter().any(|(job, _)| job == name));
        for (name, ended) in jobs {
            let fresh = read.get(&name).is_some_and(|(of, at)| *of == ended && at.elapsed() < REPEAT);
            if !fresh && jobs::remember(&common.place, board, &name, true).await {
                read.insert(name, (ended, Instant::now()));
            }
        }
    }
}
