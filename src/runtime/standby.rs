//! Between terms: waits for the lease, shows a copy of what is kept, and delivers what an ended term could not keep.
//!
//! Nothing is looked at and nothing is written to the tenant from here. Start at [`Standby::wait`].

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::lease::{Hold, Right, Standing};
use super::publisher::Published;
use super::terms::{Begin, Contended, Monitor};
use super::watcher::Options;
use crate::domain::assess::{Assessment, MonitorState};
use crate::domain::plan::Memory;
use crate::store::{Batch, KeepError};

/// What the store refused or did not answer is tried again after this.
const AGAIN: Duration = Duration::from_secs(1);

/// What a term left behind.
pub(super) struct Left {
    /// The lease it was under.
    pub(super) token: i64,
    pub(super) states: Vec<(String, MonitorState)>,
    pub(super) batch: Batch,
    pub(super) published: Published,
}

/// One that waits.
pub(super) struct Standby<'m> {
    monitor: &'m Monitor,
    contended: &'m Contended,
    left: Option<Left>,
    said: String,
}

impl<'m> Standby<'m> {
    pub(super) fn new(monitor: &'m Monitor, contended: &'m Contended) -> Standby<'m> {
        Standby { monitor, contended, left: None, said: String::new() }
    }

    /// Returns when the lease is ours and all is known that a term begins with; `None` at a stop.
    pub(super) async fn wait(&mut self, options: &Options) -> Option<(i64, Begin)> {
        let mut standings = self.contended.standing.clone();
        let stop = self.monitor.controls.stop.clone();
        self.stand_down();
        let (mut tick_at, mut copied) = (Instant::now(), false);
        loop {
            let standing = standings.borrow_and_update().clone();
            self.tell(&standing);
            self.contended.show(&self.monitor.board);
            if Instant::now() >= tick_at {
                (options.on_tick)("standing by");
                (tick_at, copied) = (Instant::now() + options.interval, false);
            }
            let mut done = true;
            if let Some(hold) = standing.held(self.monitor.clock) {
                match self.begin(hold).await {
                    Ok(begin) => return Some((hold.token, begin)),
                    Err(why) => self.tell_waiting(&why),
                }
                done = false;
            } else if standing.hold.is_none() && standing.trouble.is_none() && standing.known {
                self.monitor.board.update(|board| board.store_trouble = None);
                copied = copied || self.copy().await;
                done = self.settle().await && copied;
            }
            let again_at = if done { tick_at } else { tick_at.min(Instant::now() + AGAIN) };
            tokio::select! {
                () = stop.cancelled() => return None,
                changed = standings.changed() => if changed.is_err() { return None },
                () = sleep_until(again_at) => {}
            }
        }
    }

    /// Takes what a term left: the next term goes on with it, unless somebody had the lease in between.
    pub(super) fn ended(&mut self, left: Left) {
        self.left = Some(left);
    }

    async fn begin(&mut self, hold: Hold) -> Result<Begin, String> {
        let monitor = self.monitor;
        let store = monitor.store.under(hold.token);
        let right = Right::under(self.contended.standing.clone(), hold.token, monitor.clock);
        if let Some(left) = self.left.take_if(|left| left.token == hold.token) {
            self.say(false, "The lease goes on; so does the watching.".into());
            let Left { states, batch: unkept, published: Published { memory, unsaved }, .. } = left;
            self.lead();
            return Ok(Begin { right, store, states, memory, unsaved, unkept });
        }
        // Before it is read: after this term it would be gone.
        self.deliver().await?;
        let unread = |e: KeepError| format!("what is kept cannot be read: {e}");
        let kept = store.recall().await.map_err(unread)?;
        let mut memory = Memory::default();
        if let Some(tenant) = &monitor.tenant {
            memory = kept.memory_of(tenant);
            if let Some((other, _)) = kept.banner.as_ref().filter(|(other, _)| other != tenant) {
                self.say(true, format!("The memory in the database was of {other}: all daemons of one database must have the same tenant"));
            }
        }
        self.say(false, format!("We hold the lease of the monitor (token {}).", hold.token));
        monitor.tell_no_state(&kept);
        self.lead();
        Ok(Begin { right, store, states: kept.states, memory, unsaved: false, unkept: Batch::default() })
    }

    /// Delivers what the last term could not save: others have the lease, but what we saw while we had it is true.
    /// Returns whether nothing is left to do.
    pub(super) async fn settle(&mut self) -> bool {
        let delivered = self.deliver().await;
        if let Err(why) = &delivered {
            self.say(true, format!("The lease was lost, and {why}"));
        }
        delivered.is_ok()
    }

    async fn deliver(&mut self) -> Result<(), String> {
        let Some(left) = &mut self.left else { return Ok(()) };
        let store = self.monitor.store.under(left.token);
        let count = left.batch.transitions.len();
        store
            .keep_late(left.batch.clone())
            .await
            .map_err(|e| format!("{count} changes that we saw while we held it are not kept yet: {e}"))?;
        self.left = None;
        Ok(())
    }

    /// Shows what is kept, as a copy. Returns whether it could be read.
    async fn copy(&mut self) -> bool {
        let Ok(kept) = self.monitor.store.recall().await else { return false };
        let now = self.monitor.clock.now();
        self.monitor.board.update(|board| {
            board.monitors.retain(|name, _| kept.states.iter().any(|(kept, _)| kept == name));
            for (name, state) in &kept.states {
                board.monitors.entry(name.clone()).or_default().state = state.clone();
            }
            board.issues =
                Assessment::of(kept.states.iter().map(|(name, state)| (name.as_str(), state))).issues;
            board.lease.get_or_insert_default().copied_at = Some(now);
        });
        true
    }

    fn lead(&self) {
        self.contended.show(&self.monitor.board);
        self.monitor.board.update(|board| {
            let view = board.lease.get_or_insert_default();
            (view.held, view.copied_at) = (true, None);
            board.cycles.finished_at = None;
            board.store_trouble = None;
        });
    }

    /// What the last term showed of the tenant and of its own troubles is over.
    fn stand_down(&self) {
        self.monitor.board.update(|board| {
            board.lease.get_or_insert_default().held = false;
            board.store_trouble = None;
            let banner = &mut board.banner;
            (banner.shown, banner.ours, banner.owed_since) = (None, false, None);
            (banner.answered_at, banner.trouble, banner.memory_trouble) = (None, None, None);
        });
    }

    /// Nobody watches while we hold the lease and cannot begin: that must be seen.
    fn tell_waiting(&mut self, why: &str) {
        self.say(true, format!("We hold the lease, but cannot begin: {why}"));
        let now = self.monitor.clock.now();
        self.monitor.board.update(|board| {
            let since = board.store_trouble.take().map_or(now, |(since, _)| since);
            board.store_trouble = Some((since, why.to_owned()));
        });
    }

    fn tell(&mut self, standing: &Standing) {
        if let Some(trouble) = &standing.trouble {
            self.say(true, format!("Nothing is written while the database does not answer: {trouble}"));
        } else if let (None, Some(other)) = (&standing.hold, &standing.other) {
            let line =
                format!("Standing by: {} has the lease of the monitor since {:.0}.", other.name, other.since);
            self.say(false, line);
        }
    }

    /// What is said again and again is said once.
    fn say(&mut self, warn: bool, line: String) {
        if line == self.said {
            return;
        }
        if warn {
            tracing::warn!(target: "MainOrchestrator", "{line}");
        } else {
            tracing::info!(target: "MainOrchestrator", "{line}");
        }
        self.said = line;
    }
}
