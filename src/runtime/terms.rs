//! The monitor's terms: watcher and publisher run while we have the right to write, and not a moment longer.
//!
//! A daemon that is alone has one term, which lasts until the stop. Where several share a memory each term is a lease;
//! between terms the daemon stands by (`standby`). Start at [`Monitor::run`].

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use tokio::sync::watch;
use tokio::task::JoinError;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use super::Controls;
use super::board::BoardHandle;
use super::clock::Clock;
use super::lease::{Right, Standing};
use super::publisher::{Published, Publisher};
use super::standby::{Left, Standby};
use super::watcher::{Ended, Options, Roster, Watcher};
use crate::domain::assess::MonitorState;
use crate::domain::plan::{Memory, Policy};
use crate::publish::Target;
use crate::store::{Batch, Kept, Store};

/// What all terms have in common.
pub(super) struct Monitor {
    pub(super) clock: Clock,
    pub(super) board: BoardHandle,
    pub(super) store: Store,
    pub(super) target: Arc<dyn Target>,
    pub(super) tenant: Option<String>,
    pub(super) policy: Policy,
    pub(super) recheck: Duration,
    pub(super) clear_on_stop: bool,
    pub(super) controls: Controls,
}

/// What the monitor contends for.
pub(super) struct Contended {
    pub(super) standing: watch::Receiver<Standing>,
    /// Who we are.
    pub(super) name: String,
    /// How often the standing is shown.
    pub(super) every: Duration,
}

/// What a term begins with.
pub(super) struct Begin {
    pub(super) right: Right,
    pub(super) store: Store,
    pub(super) states: Vec<(String, MonitorState)>,
    pub(super) memory: Memory,
    /// Whether the memory is newer than what is kept.
    pub(super) unsaved: bool,
    /// What an earlier term under the same lease could not keep.
    pub(super) unkept: Batch,
}

/// The watcher or the publisher ended by itself, which is a fault of the program.
pub(super) struct Fault(pub(super) String);

impl Monitor {
    /// Runs one term after another until the stop.
    pub(super) async fn run(
        self,
        mut options: Options,
        kept: Kept,
        contended: Option<Contended>,
    ) -> Result<(), Fault> {
        let Some(contended) = contended else {
            self.tell_no_state(&kept);
            let memory = self.tenant.as_ref().map_or(Memory::default(), |tenant| kept.memory_of(tenant));
            let begin = Begin {
                right: Right::forever(),
                store: self.store.clone(),
                states: kept.states,
                memory,
                unsaved: false,
                unkept: Batch::default(),
            };
            return self.term(begin, options, None, None).await.map(|_| ());
        };
        let mut standby = Standby::new(&self, &contended);
        let mut roster = Roster::read(&options).await;
        while let Some((token, begin)) = standby.wait(&options).await {
            let (watched, published) = self.term(begin, options, roster.take(), Some(&contended)).await?;
            (options, roster) = (watched.options, watched.roster);
            standby.ended(Left { token, states: watched.states, batch: watched.unkept, published });
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
        roster: Option<Roster>,
        contended: Option<&Contended>,
    ) -> Result<(Ended, Published), Fault> {
        let stop = self.controls.stop.child_token();
        let (wanted, wishes) = watch::channel(None);
        // What a person decided about our banner refers to the incident that was believed then, too; and a banner whose
        // write was not answered may be up.
        let memory = &begin.memory;
        let counts = memory.holding || memory.stands.is_some() || memory.perhaps_up();
        let right = begin.right.clone();
        let watcher = Watcher::new(options, self.clock, self.board.clone(), begin.store.clone(), wanted)
            .remembering(begin.states, counts)
            .under(right.clone(), roster, begin.unkept);
        let publisher = Publisher {
            clock: self.clock,
            board: self.board.clone(),
            store: begin.store,
            target: self.target.clone(),
            tenant: self.tenant.clone(),
            policy: self.policy,
            recheck: self.recheck,
            clear_on_stop: self.clear_on_stop,
            wishes,
            nudge: self.controls.nudge.clone(),
            stop: stop.clone(),
            memory: begin.memory,
            unsaved: begin.unsaved,
            right: right.clone(),
            own_user: None,
            skew: SignedDuration::ZERO,
        };
        let mut watching = tokio::spawn(watcher.run(self.controls.reload.clone(), stop.clone()));
        let mut publishing = tokio::spawn(publisher.run());
        let (mut watched, mut published) = (None, None);
        // One without the other would go on telling what nobody looks after any more.
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = right.over() => {}
            ended = &mut watching => watched = Some(ended),
            ended = &mut publishing => published = Some(ended),
            () = self.show_standing(contended, &stop) => {}
        }
        let early = [("watcher", watched.is_some()), ("publisher", published.is_some())];
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
        let fault = |which: &str, error: Option<&JoinError>| {
            let why = error.map(ToString::to_string).unwrap_or_default();
            Fault(format!("The {which} ended by itself ({why})"))
        };
        match (watched, published, early) {
            (Ok(watched), Ok(published), None) => Ok((watched, published)),
            (Err(e), _, _) => Err(fault("watcher", Some(&e))),
            (_, Err(e), _) => Err(fault("publisher", Some(&e))),
            (Ok(_), Ok(_), Some((which, _))) => Err(fault(which, None)),
        }
    }

    /// Without a state a banner of ours can only be told from a manual one by its content, and a manual banner that
    /// ours displaced is in an old log only.
    pub(super) fn tell_no_state(&self, kept: &Kept) {
        if self.tenant.is_some() && kept.states.is_empty() && kept.banner.is_none() {
            tracing::warn!(
                target: "MainOrchestrator",
                "No saved state: this is a first start, or the state of earlier runs was lost (keep DATA_DIR on a volume, or set DATABASE_URL). A banner of ours is recognised by its content."
            );
        }
    }

    /// Shows how the lease stands.
    async fn show_standing(&self, contended: Option<&Contended>, stop: &CancellationToken) {
        let Some(contended) = contended else { return stop.cancelled().await };
        let mut often = interval(contended.every);
        loop {
            often.tick().await;
            contended.show(&self.board);
        }
    }
}

impl Contended {
    /// Puts the standing on the board.
    pub(super) fn show(&self, board: &BoardHandle) {
        let standing = self.standing.borrow().clone();
        board.update(|board| {
            let view = board.lease.get_or_insert_default();
            view.trouble.clone_from(&standing.trouble);
            view.known = standing.known;
            match (&standing.hold, &standing.other) {
                (Some(hold), _) => (view.holder, view.since) = (Some(self.name.clone()), Some(hold.since)),
                (None, Some(other)) => {
                    (view.holder, view.since) = (Some(other.name.clone()), Some(other.since));
                }
                (None, None) => (view.holder, view.since) = (None, None),
            }
        });
    }
}
