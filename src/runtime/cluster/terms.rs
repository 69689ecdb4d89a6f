//! Terms of monitoring: watcher, publishers and messenger run only while the daemon has the right to write.
//!
//! A daemon that is alone has one term, which lasts until the stop. Where several share a state database, each term is one
//! lease; between terms the daemon is on standby (`standby`). Start at [`TermContext::run`].

use tokio::sync::watch;
use tokio::task::JoinError;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use super::context::{Begin, Contended, TermContext, kept_channels};
use super::standby::{Left, Standby};
use crate::runtime::MonitoringContext;
use crate::runtime::lease::Right;
use crate::runtime::monitoring::deliveries::{Deliveries, kept_deliveries};
use crate::runtime::monitoring::messenger::{ChannelRoster, Messenger, MessengerRemains};
use crate::runtime::monitoring::tenants::{Publishing, PublishingRemains, TenantRoster, saved_banners};
use crate::runtime::monitoring::watcher::{MonitorRoster, Options, Watcher, WatcherRemains};
use crate::store::{Batch, StoredState};

/// The watcher, the publisher or the messenger stopped unexpectedly, which is a bug.
pub(in crate::runtime) struct Fault(pub(in crate::runtime) String);

/// What a term leaves for the next one.
struct TermRemains {
    watched: WatcherRemains,
    published: PublishingRemains,
    messenger: MessengerRemains,
}

impl TermContext {
    /// Runs one term after another until the stop.
    pub(in crate::runtime) async fn run(
        self,
        mut options: Options,
        mut tenants: TenantRoster,
        mut channels: ChannelRoster,
        saved: StoredState,
        contended: Option<Contended>,
    ) -> Result<(), Fault> {
        let Some(contended) = contended else {
            self.warn_without_state(&saved);
            let begin = Begin {
                right: Right::forever(),
                store: self.context.store.clone(),
                banners: saved_banners(&saved),
                channels: kept_channels(&saved),
                deliveries: kept_deliveries(&saved),
                states: saved.states,
                unsaved_changes: Batch::default(),
            };
            return self.term(begin, options, tenants, channels, None, None).await.map(|_| ());
        };
        let mut standby = Standby::new(&self, &contended, tenants.tenants.clone());
        let mut roster = MonitorRoster::read(&options).await;
        while let Some((token, begin)) = standby.wait(&options).await {
            let ended = self.term(begin, options, tenants, channels, roster.take(), Some(&contended)).await?;
            let TermRemains { watched, published, messenger } = ended;
            (options, roster) = (watched.options, watched.roster);
            (tenants, channels) = (published.roster, messenger.roster);
            let (states, batch) = (watched.states, watched.unsaved_changes);
            let PublishingRemains { saved: banners, deliveries, .. } = published;
            let left = Left { token, states, batch, banners, channels: messenger.kept, deliveries };
            standby.ended(left, tenants.tenants.clone());
            if self.controls.stop.is_cancelled() {
                break;
            }
        }
        standby.settle().await;
        Ok(())
    }

    async fn term(
        &self,
        begin: Begin,
        options: Options,
        tenants: TenantRoster,
        channels: ChannelRoster,
        roster: Option<MonitorRoster>,
        contended: Option<&Contended>,
    ) -> Result<TermRemains, Fault> {
        let stop = self.controls.stop.child_token();
        let (wanted, wishes) = watch::channel(None);
        let right = begin.right.clone();
        let context = MonitoringContext { store: begin.store, ..self.context.clone() };
        let (successes, kept) = (self.successes.clone(), begin.deliveries);
        let deliveries =
            Deliveries::new(context.clone(), tenants.data.clone(), successes, right.clone(), kept);
        let publishing = Publishing::new(
            context.clone(),
            tenants,
            wishes.clone(),
            right.clone(),
            begin.banners,
            deliveries,
        );
        // A person's change to the banner refers to the saved assessment, too. A banner whose write was not confirmed may be up.
        let watcher = Watcher::new(options, &context, self.successes.subscribe(), wanted)
            .remembering(begin.states, publishing.banner_may_be_up())
            .under(right.clone(), roster, begin.unsaved_changes);
        let messenger = Messenger {
            context,
            roster: channels,
            wishes,
            reload: self.controls.reload_channels.clone(),
            stop: stop.clone(),
            right: right.clone(),
            kept: begin.channels,
        };
        let nudge = self.controls.reload_publisher.clone();
        let mut watching = tokio::spawn(watcher.run(self.controls.reload.clone(), stop.clone()));
        let mut publishing = tokio::spawn(publishing.run(nudge, stop.clone()));
        let mut messaging = tokio::spawn(messenger.run());
        let (mut watched, mut published, mut messages) = (None, None, None);
        // If one of them stops, the other must stop too: it would work with stale data.
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = right.over() => {}
            ended = &mut watching => watched = Some(ended),
            ended = &mut publishing => published = Some(ended),
            ended = &mut messaging => messages = Some(ended),
            () = self.show_standing(contended, &stop) => {}
        }
        let early = [
            ("watcher", watched.is_some()),
            ("publisher", published.is_some()),
            ("messenger", messages.is_some()),
        ];
        let early = early.into_iter().find(|(_, ended)| *ended && !stop.is_cancelled());
        stop.cancel();
        let watched = match watched {
            Some(ended) => ended,
            None => watching.await,
        };
        let published = match published {
            Some(ended) => ended,
            None => publishing.await,
        };
        let messages = match messages {
            Some(ended) => ended,
            None => messaging.await,
        };
        let fault = |which: &str, error: Option<&JoinError>| {
            let why = error.map(ToString::to_string).unwrap_or_default();
            Fault(format!("The {which} stopped unexpectedly ({why})"))
        };
        match (watched, published.flatten(), messages, early) {
            (Ok(watched), Ok(published), Ok(messenger), None) => {
                Ok(TermRemains { watched, published, messenger })
            }
            (Err(e), _, _, _) => Err(fault("watcher", Some(&e))),
            (_, Err(e), _, _) => Err(fault("publisher", Some(&e))),
            (_, _, Err(e), _) => Err(fault("messenger", Some(&e))),
            (Ok(_), Ok(_), Ok(_), Some((which, _))) => Err(fault(which, None)),
        }
    }

    /// Shows the status of the lease periodically.
    async fn show_standing(&self, contended: Option<&Contended>, stop: &CancellationToken) {
        let Some(contended) = contended else { return stop.cancelled().await };
        let mut often = interval(contended.every);
        loop {
            often.tick().await;
            contended.show(&self.context.board);
        }
    }
}
