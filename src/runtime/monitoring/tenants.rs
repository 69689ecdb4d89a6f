//! The publishers and deliveries of all tenants, one task each, so that a slow or revoked tenant delays no other.
//!
//! Definitions are reloaded like those of monitors. The publisher of a changed tenant is restarted with its state; that of a
//! removed tenant clears its banner first. Start at [`Publishing::run`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::connection::ConnectedTenant;
use super::deliveries::{Deliveries, KeptDeliveries, UploadSource};
use super::publisher::{Published, Publisher, PublisherControls};
use super::watcher::DesiredBanner;
use crate::domain::monitoring::audience::tenant::DEFAULT;
use crate::runtime::MonitoringContext;
use crate::runtime::board::BannerView;
use crate::runtime::folder::WatchedFolder;
use crate::runtime::lease::Right;
use crate::store::{SavedBanner, StoredState};

/// Interval of a timer that has nothing to check.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Result of reading the folder of tenants.
pub type LoadedTenants = Result<Vec<ConnectedTenant>, Vec<String>>;

/// The tenants at the start, and how they are read again.
pub struct TenantRoster {
    pub tenants: Vec<ConnectedTenant>,
    /// `None`: nothing is read again.
    pub again: Option<TenantFolder>,
    /// Where the data comes from that tenants get; `None` in preview.
    pub data: Option<UploadSource>,
}

/// The folder of definitions.
#[derive(Clone)]
pub struct TenantFolder {
    pub path: PathBuf,
    /// Interval at which it is checked for changes.
    pub every: Duration,
    pub read: Arc<dyn Fn(&Path) -> LoadedTenants + Send + Sync>,
}

/// The state of all publishers, by the key of their tenant.
pub(in crate::runtime) type SavedBanners = BTreeMap<String, Published>;

/// Runs the publishers of one term.
pub(in crate::runtime) struct Publishing {
    context: MonitoringContext,
    roster: TenantRoster,
    wishes: watch::Receiver<Option<DesiredBanner>>,
    right: Right,
    saved: SavedBanners,
    publishers: JoinSet<(String, Published)>,
    /// By the key of the tenant, so that one that moves to another address does not wait for the old one.
    running: BTreeMap<String, RunningPublisher>,
    deliveries: Deliveries,
}

struct RunningPublisher {
    tenant: ConnectedTenant,
    controls: PublisherControls,
    /// Continues with its state when this one has ended.
    next: Option<ConnectedTenant>,
}

impl RunningPublisher {
    /// The definition that is in use, or will be.
    fn planned(&self) -> Option<&ConnectedTenant> {
        self.next.as_ref().or((!self.controls.is_ending()).then_some(&self.tenant))
    }
}

/// What a term leaves for the next one.
pub(in crate::runtime) struct PublishingRemains {
    pub(in crate::runtime) roster: TenantRoster,
    pub(in crate::runtime) saved: SavedBanners,
    pub(in crate::runtime) deliveries: KeptDeliveries,
}

/// The saved state by tenant, as publishers start with it.
pub(in crate::runtime) fn saved_banners(stored: &StoredState) -> SavedBanners {
    let published =
        |saved: &SavedBanner| Published { banner_state: saved.state.clone(), ..Published::default() };
    stored.banners.iter().map(|(key, saved)| (key.clone(), published(saved))).collect()
}

impl Publishing {
    pub(in crate::runtime) fn new(
        context: MonitoringContext,
        roster: TenantRoster,
        wishes: watch::Receiver<Option<DesiredBanner>>,
        right: Right,
        saved: SavedBanners,
        deliveries: Deliveries,
    ) -> Publishing {
        let (publishers, running) = (JoinSet::new(), BTreeMap::new());
        Publishing { context, roster, wishes, right, saved, publishers, running, deliveries }
    }

    /// Whether a banner of an earlier run may be up in a tenant. Its issues are shown before they are confirmed then.
    pub(in crate::runtime) fn banner_may_be_up(&self) -> bool {
        let tenants = self.roster.tenants.iter();
        tenants.filter_map(|tenant| self.saved.get(tenant.key())).any(|saved| {
            let state = &saved.banner_state;
            state.holding || state.stands.is_some() || state.perhaps_up()
        })
    }

    /// Runs until stopped, or until a publisher ends by itself.
    ///
    /// # Errors
    /// If a publisher or a delivery panicked.
    pub(in crate::runtime) async fn run(
        mut self,
        nudge: Arc<Notify>,
        stop: CancellationToken,
    ) -> Result<PublishingRemains, JoinError> {
        let again = self.roster.again.clone();
        let every = again.as_ref().map_or(DAY, |folder| folder.every);
        let mut folder = again.map(|folder| WatchedFolder::new(folder.path, None, folder.read));
        self.report_undefined();
        for tenant in self.roster.tenants.clone() {
            self.start(tenant);
        }
        self.deliveries.apply(&self.roster.tenants);
        // Definitions may have changed while this daemon was a standby.
        let mut forced = true;
        let mut scan_at = Instant::now();
        loop {
            let found = async {
                match &mut folder {
                    Some(folder) => folder.found().await,
                    None => None,
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(ended) = self.publishers.join_next() => {
                    let (key, published) = ended?;
                    if !self.ended(key, published) {
                        break;
                    }
                }
                ended = self.deliveries.supervise() => ended?,
                () = nudge.notified() => {
                    self.running.values().for_each(|running| running.controls.nudge.notify_one());
                    self.deliveries.nudge();
                    (forced, scan_at) = (true, Instant::now());
                }
                Some(found) = found => self.reload(found.read),
                () = sleep_until(scan_at) => {
                    scan_at = Instant::now() + every;
                    if let Some(folder) = &mut folder {
                        folder.scan(std::mem::take(&mut forced));
                    }
                }
            }
        }
        self.running.values().for_each(|running| running.controls.stop.cancel());
        // Deliveries cut their requests, so a publisher that waits for the tenant does not delay them.
        let deliveries = self.deliveries.stop().await?;
        while let Some(ended) = self.publishers.join_next().await {
            let (key, published) = ended?;
            self.saved.insert(key, published);
        }
        Ok(PublishingRemains { roster: self.roster, saved: self.saved, deliveries })
    }

    /// Logs banners of tenants that no definition names any more. There are no credentials to clear them.
    fn report_undefined(&self) {
        let now = self.context.clock.now();
        for (key, saved) in &self.saved {
            let known = self.roster.tenants.iter().any(|tenant| tenant.key() == key);
            let up = saved.banner_state.ours.last().filter(|ours| ours.sent.visible(now));
            if let (false, Some(ours)) = (known, up) {
                let end = ours.sent.end_time;
                tracing::warn!(target: "QlikClient", "No definition names tenant {key}; a banner of this daemon may be up there until {end:.0}.");
            }
        }
    }

    fn start(&mut self, tenant: ConnectedTenant) {
        let (context, key) = (self.context.clone(), tenant.key().to_owned());
        let name = &tenant.rules.name;
        let max_age = context.recheck * 2 + Duration::from_secs(60);
        context.board.update(|board| {
            let view = board.banners.entry(name.clone()).or_default();
            if view.url != key {
                // What was known of another address says nothing of this one.
                *view = BannerView { url: key.clone(), ..BannerView::default() };
            }
            view.max_age = max_age;
        });
        let controls = PublisherControls::default();
        // The only tenant is known by its address.
        let label = if *name == DEFAULT { &key } else { name };
        let label = context.live.then_some(label.as_str());
        let span = tracing::error_span!(target: "QlikClient", "publish", tenant = label);
        let saved = self.saved.remove(&key).unwrap_or_default();
        let (wishes, right) = (self.wishes.clone(), self.right.clone());
        let publisher = Publisher::new(context, tenant.clone(), wishes, controls.clone(), right, saved);
        let ended = key.clone();
        self.publishers.spawn(async move { (ended, publisher.run().instrument(span).await) });
        self.running.insert(key, RunningPublisher { tenant, controls, next: None });
    }

    /// Handles the end of a publisher. Returns `false` if no one asked it to end.
    fn ended(&mut self, key: String, published: Published) -> bool {
        let Some(RunningPublisher { tenant, controls, next }) = self.running.remove(&key) else {
            return true;
        };
        let renamed = next.as_ref().is_none_or(|next| next.rules.name != tenant.rules.name);
        if renamed {
            let of_this = |view: &BannerView| view.url == key;
            self.context.board.update(|board| {
                if board.banners.get(&tenant.rules.name).is_some_and(of_this) {
                    board.banners.remove(&tenant.rules.name);
                }
            });
        }
        match next {
            Some(next) => {
                self.saved.insert(key, published);
                self.start(next);
            }
            None if published.removed && self.context.live => self.forget(key),
            None => drop(self.saved.insert(key, published)),
        }
        controls.is_ending()
    }

    /// Deletes the state of a removed tenant. If that fails, the state is only unused.
    fn forget(&self, key: String) {
        let store = self.context.store.clone();
        tokio::spawn(async move {
            if let Err(e) = store.forget_banner_state(&key).await {
                tracing::warn!(target: "MainOrchestrator", "Cannot delete the state of the removed tenant {key}: {e}");
            }
        });
    }

    /// Applies loaded definitions, or logs every error and keeps the last valid ones.
    fn reload(&mut self, read: LoadedTenants) {
        self.context.board.update(|board| board.tenants_ok = read.is_ok());
        let loaded = match read {
            Ok(loaded) => loaded,
            Err(errors) => {
                for error in &errors {
                    tracing::error!(target: "MainOrchestrator", "{error}");
                }
                tracing::error!(target: "MainOrchestrator", "The tenant definitions were not reloaded; the last valid set stays in use.");
                return;
            }
        };
        let mut changes = Vec::new();
        for tenant in &loaded {
            let name = &tenant.rules.name;
            match self.running.get_mut(tenant.key()) {
                Some(running) if running.planned().is_some_and(|planned| planned.is_same(tenant)) => {}
                Some(running) => {
                    changes.push(format!("changed {name}"));
                    running.next = Some(tenant.clone());
                    running.controls.replace();
                }
                None => {
                    let known = self.running.values().any(|running| running.tenant.rules.name == *name);
                    changes.push(format!("{} {name}", if known { "moved" } else { "added" }));
                    self.start(tenant.clone());
                }
            }
        }
        for (key, running) in &mut self.running {
            if loaded.iter().any(|tenant| tenant.key() == key) {
                continue;
            }
            running.next = None;
            if !running.controls.retire.is_cancelled() {
                let name = &running.tenant.rules.name;
                if !loaded.iter().any(|tenant| tenant.rules.name == *name) {
                    changes.push(format!("removed {name}"));
                }
                running.controls.retire.cancel();
            }
        }
        changes.sort_unstable();
        self.deliveries.apply(&loaded);
        self.roster.tenants = loaded;
        if !changes.is_empty() {
            tracing::info!(target: "MainOrchestrator", "Tenant definitions reloaded: {}.", changes.join(", "));
        }
    }
}
