//! The daemon's own memory moved: what is believed, its history, and what is remembered of the banner.
//!
//! It is written as a daemon writes it, under the monitor's lease, and only what is missing: so it may be cut off and
//! run again. A memory that somebody else has written is left alone. Start at [`Source::open`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{bail, ensure};
use jiff::Timestamp;
use jiff::civil::Date;

use super::super::CommandError;
use super::super::compose;
use crate::database::Database;
use crate::domain::assess::Transition;
use crate::domain::history::{Day, Days, Span};
use crate::domain::tenure::Pace;
use crate::store::lease::{Lease, Taken};
use crate::store::schema::Schema;
use crate::store::{Batch, Closer, Kept, Store};

/// Rows kept in one transaction, which must be through within seconds.
const AT_ONCE: usize = 2_000;

/// A memory in a folder, which no daemon can open meanwhile.
pub(super) struct Source {
    store: Store,
    _closer: Closer,
    kept: Kept,
}

/// All of a memory.
struct All {
    kept: Kept,
    transitions: Vec<Transition>,
    days: Days,
}

/// What tells a transition.
type Key = (Timestamp, String, &'static str, &'static str);

impl Source {
    /// Opens the memory of a folder, if there is one.
    pub(super) fn open(folder: &Path) -> Result<Option<Source>, CommandError> {
        if !folder.join(format!("{}.db", super::MEMORY)).exists() {
            return Ok(None);
        }
        let (store, closer, kept) = Store::open_undamaged(folder)?;
        Ok(Some(Source { store, _closer: closer, kept }))
    }

    /// Copies what is not there yet, to where the daemons look for it that have this memory.
    pub(super) async fn copy(self, database: &Database, set: Schema) -> anyhow::Result<()> {
        // Only a daemon that writes banners remembers one, whatever is set for who moves it.
        let schema = if self.kept.banner.is_some() { Schema::SHARED } else { set };
        let from = read(&self.store, self.kept).await?;
        let (name, holder) = ("monitor".to_owned(), compose::holder());
        let lease = Lease { schema, name, holder, ttl: Pace::USUAL.ttl };
        let (to, _closer) = Store::connect(database.clone(), lease.clone()).await?;
        let connected = database.connect().await?;
        let judge = |e| connected.judge("taking the monitor's lease", &e);
        let token = match lease.take(&connected.client, true).await.map_err(judge)? {
            Taken::Ours(token) => token,
            Taken::Theirs(holder) => {
                let who = holder.map_or_else(|| "another daemon".to_owned(), |holder| holder.name);
                bail!("{who} works with it: stop all daemons that use {}", database.name())
            }
        };
        let copied = copy(&from, &to.under(token)).await;
        // Otherwise it ends by itself.
        let _ = lease.release(&connected.client, token).await;
        let how = copied?;
        let (monitors, changes, days) = (from.kept.states.len(), from.transitions.len(), from.days.len());
        say!(
            "memory: {monitors} monitors, {changes} changes, {days} days in schema {}, {how}",
            schema.name()
        );
        if schema == Schema::PREVIEW {
            say!(
                "No QLIK_ variable is set, so that is the memory of daemons in preview. For those that write the banner set \
                 QLIK_TENANT_URL and its key, as they have them, and run this again"
            );
        }
        Ok(())
    }
}

async fn copy(from: &All, to: &Store) -> anyhow::Result<&'static str> {
    let there = read(to, to.recall().await?).await?;
    if from.within(&there) {
        return Ok("was there");
    }
    ensure!(
        there.within(from),
        "there is a memory already that did not come from here: a daemon has worked with it. To have the old one instead, \
         stop all daemons, drop the schema, and run this again"
    );
    let known: BTreeSet<Key> = there.transitions.iter().map(key).collect();
    let missing: Vec<&Transition> = from.transitions.iter().filter(|t| !known.contains(&key(t))).collect();
    for changes in missing.chunks(AT_ONCE) {
        let transitions = changes.iter().map(|t| (*t).clone()).collect();
        to.keep(Batch { transitions, ..Batch::default() }).await?;
    }
    let days: Vec<((String, Date), Day)> = from.days.iter().map(|(key, day)| (key.clone(), *day)).collect();
    for days in days.chunks(AT_ONCE) {
        let rest = |(key, day): &((String, Date), Day)| (key.clone(), less(day, there.days.get(key)));
        to.keep(Batch { days: days.iter().map(rest).collect(), ..Batch::default() }).await?;
    }
    // As the last things, since they make a memory look whole.
    let states: BTreeMap<_, _> = from.kept.states.iter().cloned().collect();
    to.keep(Batch { states, ..Batch::default() }).await?;
    if let Some((tenant, memory)) = &from.kept.banner {
        to.keep_memory(tenant, memory.clone()).await?;
    }
    let now = read(to, to.recall().await?).await?;
    ensure!(
        from.within(&now) && now.within(from),
        "what was read back is not what was sent: the server or the disk changed it; run this again"
    );
    Ok("copied")
}

async fn read(store: &Store, kept: Kept) -> anyhow::Result<All> {
    let span = Span { monitor: None, from: Timestamp::MIN, to: Timestamp::MAX, limit: usize::MAX };
    let reader = store.reader();
    let transitions = reader.transitions(span).await?;
    let days = reader
        .days(None, Date::MIN)
        .await?
        .into_iter()
        .map(|(monitor, date, day)| ((monitor, date), day))
        .collect();
    Ok(All { kept, transitions, days })
}

impl All {
    /// Whether the other one has all of this one.
    fn within(&self, other: &All) -> bool {
        let states: BTreeMap<_, _> = other.kept.states.iter().map(|(name, state)| (name, state)).collect();
        let known: BTreeSet<Key> = other.transitions.iter().map(key).collect();
        self.kept.states.iter().all(|(name, state)| states.get(name).is_some_and(|other| same(state, other)))
            && self.kept.banner.as_ref().is_none_or(|banner| {
                other
                    .kept
                    .banner
                    .as_ref()
                    .is_some_and(|other| other.0 == banner.0 && same(&banner.1, &other.1))
            })
            && self.transitions.iter().all(|t| known.contains(&key(t)))
            && self.days.iter().all(|(key, day)| less(day, other.days.get(key)) == Day::default())
    }
}

/// Equal as they are kept.
fn same(one: &impl serde::Serialize, other: &impl serde::Serialize) -> bool {
    match (serde_json::to_value(one), serde_json::to_value(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

fn key(t: &Transition) -> Key {
    (t.at, t.monitor.clone(), t.from.as_str(), t.to.as_str())
}

/// What a day has more than another.
fn less(day: &Day, other: Option<&Day>) -> Day {
    let mut rest = *day;
    for (mine, theirs) in rest.at.iter_mut().zip(other.map_or([0; 5], |other| other.at)) {
        *mine = mine.saturating_sub(theirs);
    }
    rest
}
