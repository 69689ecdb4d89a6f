//! Sends the messages of all channels: one task for each channel, so that one that hangs or limits requests delays no other.
//!
//! [`next`](crate::domain::monitoring::news::next) decides what is sent; `worker` saves, sends and retries. This task keeps the
//! set of channels: it is reloaded when their folder changed or on request, and a reload with an error changes nothing. Start
//! at [`Messenger::run`].

mod worker;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::watcher::DesiredBanner;
use crate::channels::Channel;
use crate::domain::monitoring::news::ChannelState;
use crate::domain::monitoring::news::channel::ChannelRules;
use crate::runtime::MonitoringContext;
use crate::runtime::folder::{FolderScan, WatchedFolder};
use crate::runtime::lease::Right;
use worker::ChannelWorker;

/// Interval of scans of no folder.
const IDLE: Duration = Duration::from_secs(86_400);

/// A channel with its secrets.
#[derive(Clone)]
pub struct ConfiguredChannel {
    pub name: String,
    pub kind: &'static str,
    pub rules: ChannelRules,
    pub channel: Arc<dyn Channel>,
}

/// Loads the channels from the folder of definitions. May block.
pub type LoadChannels = Arc<dyn Fn(&Path) -> LoadedChannels + Send + Sync>;

/// The channels, or every configuration error.
pub type LoadedChannels = Result<Vec<ConfiguredChannel>, Vec<String>>;

/// The channels, and how they are reloaded. By default there are none.
#[derive(Default)]
pub struct ChannelRoster {
    /// As last loaded.
    pub channels: Vec<ConfiguredChannel>,
    /// Folder of definitions, interval of its scans, and the function that loads it.
    pub again: Option<(PathBuf, Duration, LoadChannels)>,
    /// `false` in preview: nothing is sent, so nothing is saved.
    pub live: bool,
}

/// The state of a channel, and whether it has unsaved changes.
#[derive(Debug, Clone, Default)]
pub(in crate::runtime) struct KeptChannel {
    pub(in crate::runtime) state: ChannelState,
    pub(in crate::runtime) unsaved: bool,
}

/// By channel.
pub(in crate::runtime) type KeptChannels = BTreeMap<String, KeptChannel>;

/// The task that owns the channels during one term.
pub(in crate::runtime) struct Messenger {
    pub(in crate::runtime) context: MonitoringContext,
    pub(in crate::runtime) roster: ChannelRoster,
    pub(in crate::runtime) wishes: watch::Receiver<Option<DesiredBanner>>,
    pub(in crate::runtime) reload: Arc<Notify>,
    pub(in crate::runtime) stop: CancellationToken,
    pub(in crate::runtime) right: Right,
    /// Those without a running task.
    pub(in crate::runtime) kept: KeptChannels,
}

/// State of a messenger that stopped, for the next term.
pub(in crate::runtime) struct MessengerRemains {
    pub(in crate::runtime) roster: ChannelRoster,
    pub(in crate::runtime) kept: KeptChannels,
}

/// The tasks of the channels.
#[derive(Default)]
struct Workers {
    orders: BTreeMap<String, ChannelOrders>,
    tasks: JoinSet<(String, KeptChannel)>,
}

/// Controls the task of one channel.
struct ChannelOrders {
    configured: watch::Sender<ConfiguredChannel>,
    stop: CancellationToken,
}

impl Messenger {
    /// Runs until stopped; messages that are being sent are finished.
    pub(in crate::runtime) async fn run(mut self) -> MessengerRemains {
        let mut workers = Workers::default();
        if !self.roster.live {
            // What a daemon with a tenant saved is not changed.
            self.kept.clear();
        }
        self.apply(&mut workers).await;
        let again = self.roster.again.clone();
        let every = again.as_ref().map_or(IDLE, |(_, every, _)| *every);
        let mut folder = again.map(|(path, _, load)| WatchedFolder::new(path, None, load));
        // The first tick is immediate and detects changes since the start of the program.
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (stop, reload) = (self.stop.clone(), Arc::clone(&self.reload));
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(ended) = workers.tasks.join_next() => {
                    if !self.take_back(ended, &mut workers) {
                        break;
                    }
                    self.apply(&mut workers).await;
                }
                () = reload.notified() => {
                    workers.retry_all();
                    if let Some(folder) = &mut folder {
                        folder.scan(true);
                    }
                }
                found = found(&mut folder) => if self.reload(found) {
                    self.apply(&mut workers).await;
                },
                _ = ticks.tick() => if let Some(folder) = &mut folder {
                    folder.scan(false);
                },
            }
        }
        workers.orders.values().for_each(|orders| orders.stop.cancel());
        while let Some(ended) = workers.tasks.join_next().await {
            self.take_back(ended, &mut workers);
        }
        MessengerRemains { roster: self.roster, kept: self.kept }
    }

    /// Takes the state of a task that ended. Returns `false` if it ended unexpectedly.
    fn take_back(&mut self, ended: Result<(String, KeptChannel), JoinError>, workers: &mut Workers) -> bool {
        match ended {
            Ok((name, kept)) => {
                let stopped = workers.orders.remove(&name).is_some_and(|orders| orders.stop.is_cancelled());
                self.kept.insert(name, kept);
                stopped
            }
            Err(error) => {
                tracing::error!(target: "Messenger", "The task of a channel stopped unexpectedly: {error}");
                false
            }
        }
    }

    /// Takes loaded definitions, or logs every error and keeps the last valid ones. Returns whether they were taken.
    fn reload(&mut self, found: FolderScan<LoadedChannels>) -> bool {
        let missing = !found.there && !self.roster.channels.is_empty();
        self.context.board.update(|board| board.channels_ok = !missing && found.read.is_ok());
        if missing {
            tracing::error!(target: "Messenger", "CHANNELS_DIR is missing; the last valid set of channels stays in use.");
            return false;
        }
        match found.read {
            Ok(channels) => {
                let names = |channels: &[ConfiguredChannel]| {
                    channels.iter().map(|one| one.name.clone()).collect::<Vec<_>>()
                };
                let (before, now) = (names(&self.roster.channels), names(&channels));
                self.roster.channels = channels;
                if before != now {
                    let now = if now.is_empty() { "none".to_owned() } else { now.join(", ") };
                    tracing::info!(target: "Messenger", "Channel definitions reloaded: {now}.");
                }
                true
            }
            Err(errors) => {
                for error in errors {
                    tracing::error!(target: "Messenger", "{error}");
                }
                tracing::error!(target: "Messenger", "The channel definitions were not reloaded; the last valid set stays in use.");
                false
            }
        }
    }

    /// Starts, informs and stops tasks, so that each channel has one.
    async fn apply(&mut self, workers: &mut Workers) {
        let channels = self.roster.channels.clone();
        for (name, orders) in &workers.orders {
            if !channels.iter().any(|one| one.name == *name) {
                orders.stop.cancel();
            }
        }
        for configured in &channels {
            match workers.orders.get(&configured.name) {
                // If it was stopped, it starts again when its task has ended.
                Some(orders) => drop(orders.configured.send_replace(configured.clone())),
                None => self.start(configured.clone(), workers),
            }
        }
        self.context.board.update(|board| {
            board.channels.retain(|name, _| channels.iter().any(|one| one.name == *name));
        });
        self.forget_unused(&channels).await;
    }

    fn start(&mut self, configured: ConfiguredChannel, workers: &mut Workers) {
        let name = configured.name.clone();
        let stop = self.stop.child_token();
        let (sender, receiver) = watch::channel(configured);
        let KeptChannel { state, unsaved } = self.kept.remove(&name).unwrap_or_default();
        let worker = ChannelWorker {
            name: name.clone(),
            context: self.context.clone(),
            orders: receiver,
            wishes: self.wishes.clone(),
            right: self.right.clone(),
            stop: stop.clone(),
            saves: self.roster.live,
            state,
            unsaved,
            save_failed: false,
        };
        let span = tracing::error_span!(target: "Messenger", "channel", channel = name);
        workers.tasks.spawn(worker.run().instrument(span));
        workers.orders.insert(name, ChannelOrders { configured: sender, stop });
    }

    /// Deletes the states of channels that are no longer defined, but for those with an open message: if the channel is
    /// defined again, that message is changed.
    async fn forget_unused(&mut self, channels: &[ConfiguredChannel]) {
        let unused = |name: &String, kept: &KeptChannel| {
            kept.state.open.is_none() && !channels.iter().any(|one| one.name == *name)
        };
        let names: Vec<String> = self
            .kept
            .iter()
            .filter(|(name, kept)| unused(name, kept))
            .map(|(name, _)| name.clone())
            .collect();
        for name in names {
            self.kept.remove(&name);
            if self.roster.live {
                // A state that stays is harmless.
                let _ = self.context.store.keep_channel_state(&name, None).await;
            }
        }
    }
}

/// The result of the next scan of the folder.
async fn found(folder: &mut Option<WatchedFolder<LoadedChannels>>) -> FolderScan<LoadedChannels> {
    if let Some(folder) = folder
        && let Some(found) = folder.found().await
    {
        return found;
    }
    std::future::pending().await
}

impl Workers {
    /// Makes every channel retry a pending message now.
    fn retry_all(&self) {
        self.orders.values().for_each(|orders| orders.configured.send_modify(|_| {}));
    }
}
