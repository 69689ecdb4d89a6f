//! Standby, between terms: waits for the lease, shows a copy of the saved state, and saves what an ended term could not.
//!
//! A standby polls nothing and writes nothing to the tenant. Start at [`Standby::wait`].

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep_until};

use super::context::{Begin, Contended, TermContext, kept_channels};
use crate::domain::monitoring::assess::{Assessment, MonitorState};
use crate::domain::monitoring::banner::report::BannerReport;
use crate::runtime::lease::{Hold, LeaseStatus, Right};
use crate::runtime::monitoring::connection::ConnectedTenant;
use crate::runtime::monitoring::deliveries::{KeptDeliveries, kept_deliveries};
use crate::runtime::monitoring::messenger::KeptChannels;
use crate::runtime::monitoring::tenants::{SavedBanners, saved_banners};
use crate::runtime::monitoring::watcher::Options;
use crate::store::{Batch, KeepError};

/// Interval at which the leader's saved state is copied.
const COPY_EVERY: Duration = Duration::from_secs(10);

/// Delay after a failed access to the state database.
const RETRY: Duration = Duration::from_secs(1);

/// Unfinished work of an ended term.
pub(in crate::runtime) struct Left {
    /// Fencing token of its lease.
    pub(in crate::runtime) token: i64,
    pub(in crate::runtime) states: Vec<(String, MonitorState)>,
    pub(in crate::runtime) batch: Batch,
    pub(in crate::runtime) banners: SavedBanners,
    pub(in crate::runtime) channels: KeptChannels,
    pub(in crate::runtime) deliveries: KeptDeliveries,
}

pub(in crate::runtime) struct Standby<'m> {
    monitor: &'m TermContext,
    contended: &'m Contended,
    /// Whose banners are shown.
    tenants: Vec<ConnectedTenant>,
    left: Option<Left>,
    /// Since when the daemon holds the lease but cannot start its term.
    blocked_since: Option<Timestamp>,
    logged: String,
}

impl<'m> Standby<'m> {
    pub(in crate::runtime) fn new(
        monitor: &'m TermContext,
        contended: &'m Contended,
        tenants: Vec<ConnectedTenant>,
    ) -> Standby<'m> {
        Standby { monitor, contended, tenants, left: None, blocked_since: None, logged: String::new() }
    }

    /// Waits until the daemon holds the lease and has read the state that its term starts with; `None` at a stop.
    pub(in crate::runtime) async fn wait(&mut self, options: &Options) -> Option<(i64, Begin)> {
        let mut standings = self.contended.standing.clone();
        let stop = self.monitor.controls.stop.clone();
        self.stand_down();
        let (mut tick_at, mut copy_at) = (Instant::now(), Instant::now());
        loop {
            let standing = standings.borrow_and_update().clone();
            self.report(&standing);
            self.contended.show(&self.monitor.context.board);
            if Instant::now() >= tick_at {
                (options.on_tick)("standby");
                tick_at = Instant::now() + options.interval;
            }
            let mut done = true;
            if let Some(hold) = standing.held(self.monitor.context.clock) {
                match self.begin(hold).await {
                    Ok(begin) => return Some((hold.token, begin)),
                    Err(why) => self.report_blocked(&why),
                }
                done = false;
            } else if standing.hold.is_none() && standing.trouble.is_none() && standing.known {
                self.blocked_since = None;
                self.monitor.context.board.update(|board| board.store_trouble = None);
                if Instant::now() >= copy_at && self.copy().await {
                    copy_at = Instant::now() + options.interval.min(COPY_EVERY);
                }
                done = self.settle().await && Instant::now() < copy_at;
            }
            let again_at = if done { tick_at.min(copy_at) } else { tick_at.min(Instant::now() + RETRY) };
            tokio::select! {
                () = stop.cancelled() => return None,
                changed = standings.changed() => if changed.is_err() { return None },
                () = sleep_until(again_at) => {}
            }
        }
    }

    /// Takes the unfinished work of a term. The next term continues with it, unless another daemon held the lease in between.
    pub(in crate::runtime) fn ended(&mut self, left: Left, tenants: Vec<ConnectedTenant>) {
        (self.left, self.tenants) = (Some(left), tenants);
    }

    async fn begin(&mut self, hold: Hold) -> Result<Begin, String> {
        let monitor = self.monitor;
        let store = monitor.context.store.under(hold.token);
        let right = Right::under(self.contended.standing.clone(), hold.token, monitor.context.clock);
        if let Some(left) = self.left.take_if(|left| left.token == hold.token) {
            self.log_once(false, "The lease is still held; monitoring continues.".into());
            let Left { states, batch: unsaved_changes, banners, channels, deliveries, .. } = left;
            self.lead();
            return Ok(Begin { right, store, states, banners, channels, deliveries, unsaved_changes });
        }
        // Must happen before the state is read, since the new term overwrites it.
        self.deliver().await?;
        let unread = |e: KeepError| format!("cannot read the saved state: {e}");
        let saved = store.recall().await.map_err(unread)?;
        self.log_once(false, format!("This daemon is now the leader (token {}).", hold.token));
        monitor.warn_without_state(&saved);
        self.lead();
        let (banners, channels) = (saved_banners(&saved), kept_channels(&saved));
        let deliveries = kept_deliveries(&saved);
        let unsaved_changes = Batch::default();
        Ok(Begin { right, store, states: saved.states, banners, channels, deliveries, unsaved_changes })
    }

    /// Saves what the last term could not. It is valid although another daemon holds the lease now. Returns whether nothing
    /// is left.
    pub(in crate::runtime) async fn settle(&mut self) -> bool {
        let delivered = self.deliver().await;
        if let Err(why) = &delivered {
            self.log_once(true, format!("Lost the lease, and {why}"));
        }
        delivered.is_ok()
    }

    async fn deliver(&mut self) -> Result<(), String> {
        let Some(left) = &mut self.left else { return Ok(()) };
        let store = self.monitor.context.store.under(left.token);
        let count = left.batch.transitions.len();
        store
            .keep_late(left.batch.clone())
            .await
            .map_err(|e| format!("the changes of an earlier term ({count}) are not saved yet: {e}"))?;
        self.left = None;
        Ok(())
    }

    /// Shows a copy of the saved state. Returns whether it could be read.
    async fn copy(&mut self) -> bool {
        let Ok(saved) = self.monitor.context.store.recall().await else { return false };
        let now = self.monitor.context.clock.now();
        let report = |key: &str| saved.banners.get(key).and_then(|saved| saved.report.clone());
        self.monitor.context.board.update(|board| {
            board.monitors.retain(|name, _| saved.states.iter().any(|(monitor, _)| monitor == name));
            for (name, state) in &saved.states {
                board.monitors.entry(name.clone()).or_default().state = state.clone();
            }
            board.issues =
                Assessment::of(saved.states.iter().map(|(name, state)| (name.as_str(), &[][..], state)))
                    .issues;
            board.lease.get_or_insert_default().copied_at = Some(now);
            for tenant in &self.tenants {
                let view = board.banners.entry(tenant.rules.name.clone()).or_default();
                view.url = tenant.key().to_owned();
                view.report = report(tenant.key()).unwrap_or_default();
                for rule in &tenant.rules.data {
                    let connector = rule.connector.clone();
                    let state = saved.deliveries.get(&(tenant.key().to_owned(), connector.clone()));
                    let view = board.deliveries.entry((tenant.rules.name.clone(), connector)).or_default();
                    view.report = state.map(|state| state.report(rule)).unwrap_or_default();
                }
            }
            for (name, state) in &saved.channels {
                board.channels.entry(name.clone()).or_default().report = state.report.clone();
            }
        });
        true
    }

    fn lead(&mut self) {
        self.blocked_since = None;
        self.contended.show(&self.monitor.context.board);
        self.monitor.context.board.update(|board| {
            let view = board.lease.get_or_insert_default();
            (view.held, view.copied_at) = (true, None);
            board.cycles.finished_at = None;
            board.store_trouble = None;
            board.banners.clear();
            board.deliveries.clear();
        });
    }

    /// Clears from the board what only a leader knows.
    fn stand_down(&mut self) {
        self.blocked_since = None;
        self.monitor.context.board.update(|board| {
            board.lease.get_or_insert_default().held = false;
            board.store_trouble = None;
            board.banners.values_mut().for_each(|view| {
                view.report = BannerReport::default();
                view.state_error = None;
            });
            board.channels.clear();
            board.deliveries.clear();
        });
    }

    /// Logs and shows that no daemon monitors, because this one holds the lease but cannot start its term.
    fn report_blocked(&mut self, why: &str) {
        self.log_once(true, format!("This daemon holds the lease but cannot start monitoring: {why}"));
        let since = *self.blocked_since.get_or_insert_with(|| self.monitor.context.clock.now());
        self.monitor.context.board.update(|board| board.store_trouble = Some((since, why.to_owned())));
    }

    fn report(&mut self, standing: &LeaseStatus) {
        if let Some(trouble) = &standing.trouble {
            self.log_once(true, format!("Nothing is written while the database is unreachable: {trouble}"));
        } else if let (None, Some(other)) = (&standing.hold, &standing.other) {
            let line =
                format!("Standby: {} holds the monitoring lease since {:.0}.", other.name, other.since);
            self.log_once(false, line);
        }
    }

    /// Logs a line unless it repeats the previous one.
    fn log_once(&mut self, warn: bool, line: String) {
        if line == self.logged {
            return;
        }
        if warn {
            tracing::warn!(target: "MainOrchestrator", "{line}");
        } else {
            tracing::info!(target: "MainOrchestrator", "{line}");
        }
        self.logged = line;
    }
}
