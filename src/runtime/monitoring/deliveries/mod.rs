//! Brings the data of connectors into the Qlik spaces of tenants and reloads apps: one task for each tenant and connector, so
//! that one that is slow or has no right to a space delays no other.
//!
//! [`delivery`](crate::domain::syncing::delivery) decides what is sent; `worker` exports, saves, sends and retries. This part
//! keeps the set of tasks and what is saved of them. Start at [`Deliveries::apply`].

mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{Notify, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::connection::ConnectedTenant;
use crate::destinations::DestinationKind;
use crate::domain::data_rule::DataRule;
use crate::domain::syncing::delivery::DeliveryState;
use crate::export;
use crate::runtime::MonitoringContext;
use crate::runtime::board::DeliveryName;
use crate::runtime::last_successes::LastSuccesses;
use crate::runtime::lease::Right;
use crate::store::{DeliveryKey, StoredState};
use crate::upload::DataClient;
use worker::DeliveryWorker;

/// Exports at the same time, each of which needs up to 64 MiB.
const EXPORTS: usize = 1;

/// Parts of files that are sent at the same time, each of which is in memory.
const PARTS: usize = 8;

/// Where the data comes from.
#[derive(Debug, Clone)]
pub struct UploadSource {
    pub place: DestinationKind,
    /// For the files that are uploaded.
    pub folder: PathBuf,
    /// Whether rows that are marked deleted are included.
    pub deleted: bool,
}

/// The state of a delivery, and whether it has unsaved changes.
#[derive(Debug, Clone, Default)]
pub(in crate::runtime) struct KeptDelivery {
    pub(in crate::runtime) state: DeliveryState,
    pub(in crate::runtime) unsaved: bool,
}

pub(in crate::runtime) type KeptDeliveries = BTreeMap<DeliveryKey, KeptDelivery>;

/// The saved states, as a term starts with them.
pub(in crate::runtime) fn kept_deliveries(saved: &StoredState) -> KeptDeliveries {
    let kept = |state: &DeliveryState| KeptDelivery { state: state.clone(), unsaved: false };
    saved.deliveries.iter().map(|(key, state)| (key.clone(), kept(state))).collect()
}

/// What all tasks share.
#[derive(Clone)]
struct DeliveryContext {
    monitoring: MonitoringContext,
    source: Arc<UploadSource>,
    successes: LastSuccesses,
    right: Right,
    exports: Arc<Semaphore>,
    parts: Arc<Semaphore>,
}

/// What one task does.
#[derive(Clone)]
struct DeliveryOrder {
    /// Name of the tenant.
    tenant: String,
    rule: DataRule,
    client: Arc<DataClient>,
}

impl DeliveryOrder {
    fn is_same(&self, other: &DeliveryOrder) -> bool {
        self.tenant == other.tenant && self.rule == other.rule && Arc::ptr_eq(&self.client, &other.client)
    }

    /// What it is shown by.
    fn view(&self) -> DeliveryName {
        (self.tenant.clone(), self.rule.connector.clone())
    }
}

struct RunningDelivery {
    order: DeliveryOrder,
    stop: CancellationToken,
    /// Makes it retry at once.
    nudge: Arc<Notify>,
}

/// The tasks of one term.
pub(in crate::runtime) struct Deliveries {
    /// `None` in preview.
    context: Option<DeliveryContext>,
    /// Of those that do not run.
    kept: KeptDeliveries,
    /// What is wanted.
    orders: BTreeMap<DeliveryKey, DeliveryOrder>,
    running: BTreeMap<DeliveryKey, RunningDelivery>,
    tasks: JoinSet<(DeliveryKey, KeptDelivery)>,
}

impl Deliveries {
    pub(in crate::runtime) fn new(
        monitoring: MonitoringContext,
        source: Option<UploadSource>,
        successes: LastSuccesses,
        right: Right,
        kept: KeptDeliveries,
    ) -> Deliveries {
        let (exports, parts) = (Arc::new(Semaphore::new(EXPORTS)), Arc::new(Semaphore::new(PARTS)));
        let context = source.map(|source| {
            let source = Arc::new(source);
            DeliveryContext { monitoring, source, successes, right, exports, parts }
        });
        let (orders, running) = (BTreeMap::new(), BTreeMap::new());
        Deliveries { context, kept, orders, running, tasks: JoinSet::new() }
    }

    /// Starts and stops tasks, so that each rule of these tenants has one.
    pub(super) fn apply(&mut self, tenants: &[ConnectedTenant]) {
        let Some(context) = self.context.clone() else { return };
        let orders = tenants.iter().filter_map(|tenant| Some((tenant, tenant.data.as_ref()?)));
        let orders = orders.flat_map(|(tenant, client)| {
            tenant.rules.data.iter().map(|rule| {
                let (tenant_name, client) = (tenant.rules.name.clone(), Arc::clone(client));
                let key = (tenant.key().to_owned(), rule.connector.clone());
                (key, DeliveryOrder { tenant: tenant_name, rule: rule.clone(), client })
            })
        });
        let orders: BTreeMap<_, _> = orders.collect();
        self.orders = orders;
        for (key, running) in &self.running {
            if !self.orders.get(key).is_some_and(|wanted| wanted.is_same(&running.order)) {
                running.stop.cancel();
            }
        }
        self.start_missing(&context);
        let views: BTreeSet<_> = self.orders.values().map(DeliveryOrder::view).collect();
        context.monitoring.board.update(|board| board.deliveries.retain(|key, _| views.contains(key)));
        self.forget_unused(&context);
    }

    fn start_missing(&mut self, context: &DeliveryContext) {
        for (key, order) in &self.orders {
            if self.running.contains_key(key) {
                // It starts again with its new order when it has ended.
                continue;
            }
            let (stop, nudge) = (CancellationToken::new(), Arc::new(Notify::new()));
            let running = RunningDelivery { order: order.clone(), stop, nudge };
            let kept = self.kept.remove(key).unwrap_or_default();
            let worker = DeliveryWorker::new(key.clone(), context.clone(), &running, kept);
            let span = tracing::error_span!(target: "QlikClient", "deliver", tenant = order.tenant, connector = key.1);
            self.tasks.spawn(worker.run().instrument(span));
            self.running.insert(key.clone(), running);
        }
    }

    /// Deletes what is saved of deliveries that no definition names. If that fails, it is only unused.
    fn forget_unused(&mut self, context: &DeliveryContext) {
        let unused = |key: &DeliveryKey| !self.orders.contains_key(key);
        let forgotten: Vec<DeliveryKey> = self.kept.keys().filter(|key| unused(key)).cloned().collect();
        for key in forgotten {
            self.kept.remove(&key);
            let store = context.monitoring.store.clone();
            tokio::spawn(async move {
                if let Err(e) = store.keep_delivery_state(&key, None).await {
                    let (tenant, connector) = key;
                    tracing::warn!(target: "MainOrchestrator", "Cannot delete the state of {connector} in {tenant}: {e}");
                }
            });
        }
    }

    /// Retries at once what waits.
    pub(super) fn nudge(&self) {
        self.running.values().for_each(|running| running.nudge.notify_one());
    }

    /// Waits until a task ends, and starts it again if its rule changed. Never returns while no task ends.
    ///
    /// # Errors
    /// If a task panicked.
    pub(super) async fn supervise(&mut self) -> Result<(), JoinError> {
        loop {
            let Some(ended) = self.tasks.join_next().await else { return std::future::pending().await };
            let (key, kept) = ended?;
            let ended = self.running.remove(&key);
            self.kept.insert(key, kept);
            if let (Some(context), Some(ended)) = (self.context.clone(), ended) {
                if !self.orders.values().any(|order| order.view() == ended.order.view()) {
                    discard(&context, &ended.order);
                }
                self.start_missing(&context);
                self.forget_unused(&context);
            }
        }
    }

    /// Stops all tasks. Requests that are being sent are cut and looked up later.
    ///
    /// # Errors
    /// If a task panicked.
    pub(super) async fn stop(mut self) -> Result<KeptDeliveries, JoinError> {
        self.running.values().for_each(|running| running.stop.cancel());
        while let Some(ended) = self.tasks.join_next().await {
            let (key, kept) = ended?;
            self.kept.insert(key, kept);
        }
        if let Some(context) = &self.context {
            // The next term must not judge the age by what this one knew.
            let orders = self.running.values().map(|running| &running.order);
            orders.for_each(|order| context.successes.end_delivery(&order.rule.connector, &order.tenant));
        }
        Ok(self.kept)
    }
}

/// Removes what is shown and known of a tenant that gets the data no more, and its files.
fn discard(context: &DeliveryContext, order: &DeliveryOrder) {
    let (tenant, connector) = order.view();
    context.successes.end_delivery(&connector, &tenant);
    context.monitoring.board.update(|board| drop(board.deliveries.remove(&order.view())));
    let dir = context.source.folder.join(&tenant);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = export::remove(&dir, &connector) {
            let place = dir.display();
            tracing::warn!(target: "QlikClient", "Cannot remove the files of {connector} in {place}: {error}");
        }
    });
}
