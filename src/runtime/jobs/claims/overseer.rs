//! Offers the connectors that this daemon can run, reads the shared job table and shows it on the board.
//!
//! The outcome of runs is read from the run history, whichever daemon executed them: the leader that judges the age of data
//! may be another daemon.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{Common, ObservedJob};
use crate::runtime::board::BoardWriter;
use crate::runtime::jobs::Reports;
use crate::store::OpenError;

/// Interval at which offers are repeated and run histories are read again, since manual runs are not in the job table.
const REPEAT: Duration = Duration::from_secs(60);

pub(in crate::runtime) struct Overseer {
    common: Arc<Common>,
    repeated_at: Option<Instant>,
    /// Whether the last access to the job table failed.
    trouble: bool,
}

impl Overseer {
    pub(super) fn new(common: Arc<Common>) -> Overseer {
        Overseer { common, repeated_at: None, trouble: false }
    }

    /// Reads the job table periodically until `stop`.
    pub(in crate::runtime) async fn run(mut self, reports: Reports, stop: CancellationToken) {
        let (common, seen) = (Arc::clone(&self.common), self.common.seen.subscribe());
        let histories = read_run_histories(&common, seen, &reports);
        let reads = async {
            let mut ticks = interval(common.pace.look);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    () = common.offered.notified() => {}
                    _ = ticks.tick() => {}
                }
                let done = self.read_jobs(&reports).await;
                self.report(done.err(), &reports.board);
            }
        };
        tokio::select! {
            () = reads => {}
            () = histories => {}
        }
    }

    async fn read_jobs(&mut self, reports: &Reports) -> Result<(), OpenError> {
        self.offer().await?;
        let sent_at = Instant::now();
        let jobs = self.common.jobs.look().await?;
        let offered: Vec<String> = self.common.offers.lock().await.keys().cloned().collect();
        let seen: BTreeMap<String, ObservedJob> = jobs
            .into_iter()
            .map(|job| (job.connector.clone(), ObservedJob { free_at: sent_at + job.free_in, job }))
            .collect();
        let now = reports.clock.now();
        let is_there = |name: &str| seen.contains_key(name) || offered.iter().any(|offered| offered == name);
        reports.successes.retain(is_there);
        for (name, ObservedJob { job, .. }) in &seen {
            reports.successes.expect(name, job.every);
        }
        reports.board.update(|board| {
            board.syncs.retain(|name, _| is_there(name));
            for (name, ObservedJob { job, .. }) in &seen {
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
        for (name, (offer, stored)) in &mut offers {
            if !*stored {
                self.common.jobs.offer(name, *offer).await?;
                let mut offers = self.common.offers.lock().await;
                // The offer may have been changed or withdrawn in the meantime.
                if let Some((now, stored)) = offers.get_mut(name).filter(|(now, _)| now == offer) {
                    (*now, *stored) = (*offer, true);
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

    /// Logs once when the job table becomes unreachable and once when it is reachable again.
    fn report(&mut self, trouble: Option<OpenError>, board: &BoardWriter) {
        if trouble.is_some() {
            // What other daemons are running is now unknown.
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

/// Reads the run history of every connector at the start, after each of its runs, and periodically. Never returns.
async fn read_run_histories(
    common: &Common,
    mut seen: watch::Receiver<BTreeMap<String, ObservedJob>>,
    reports: &Reports,
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
            if !fresh && reports.remember(&common.place, &name, true).await {
                read.insert(name, (ended, Instant::now()));
            }
        }
    }
}
