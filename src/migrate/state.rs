//! The daemon's own state: monitors, their history, and the banner record.
//!
//! It is written as a daemon writes it, under the monitor's lease, and only what is missing, so that it can be repeated.
//! State that a daemon has written there is left alone. Start at [`StateSource::open`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{bail, ensure};
use jiff::Timestamp;
use jiff::civil::Date;

use super::Print;
use crate::database::Database;
use crate::domain::assess::Transition;
use crate::domain::history::{Day, Days, Span};
use crate::domain::tenure::Pace;
use crate::store::lease::{Lease, Taken};
use crate::store::schema::Schema;
use crate::store::{Batch, Closer, Kept, OpenError, Store};

/// Rows stored in one transaction, which must end within seconds.
const AT_ONCE: usize = 2_000;

/// The state in a folder, which no daemon can open meanwhile.
pub(super) struct StateSource {
    store: Store,
    _closer: Closer,
    kept: Kept,
}

struct WholeState {
    kept: Kept,
    transitions: Vec<Transition>,
    days: Days,
}

/// What identifies a transition.
type TransitionKey = (Timestamp, String, &'static str, &'static str);

impl StateSource {
    /// Opens the state of a folder, if there is any.
    pub(super) fn open(folder: &Path) -> Result<Option<StateSource>, OpenError> {
        if !folder.join(format!("{}.db", super::STATE_FILE)).exists() {
            return Ok(None);
        }
        let (store, closer, kept) = Store::open_undamaged(folder)?;
        Ok(Some(StateSource { store, _closer: closer, kept }))
    }

    /// Copies what is missing to the schema where daemons will look for it.
    pub(super) async fn copy(
        self,
        database: &Database,
        configured: Schema,
        holder: String,
        print: Print,
    ) -> anyhow::Result<()> {
        // Only a daemon that writes banners has a banner record, whatever is configured here.
        let schema = if self.kept.banner.is_some() { Schema::SHARED } else { configured };
        let from = read(&self.store, self.kept).await?;
        let lease = Lease { schema, name: "monitor".to_owned(), holder, ttl: Pace::USUAL.ttl };
        let (to, _closer) = Store::connect(database.clone(), lease.clone()).await?;
        let connected = database.connect().await?;
        let judge = |e| connected.judge("taking the monitor's lease", &e);
        let token = match lease.take(&connected.client, true).await.map_err(judge)? {
            Taken::Ours(token) => token,
            Taken::Theirs(holder) => {
                let who = holder.map_or_else(|| "another daemon".to_owned(), |holder| holder.name);
                bail!("{who} is using it: stop all daemons that use {}", database.name())
            }
        };
        let copied = copy(&from, &to.under(token)).await;
        // If this fails, the lease expires.
        let _ = lease.release(&connected.client, token).await;
        let how = copied?;
        let (monitors, transitions, days) = (from.kept.states.len(), from.transitions.len(), from.days.len());
        print(format_args!(
            "state: {monitors} monitors, {transitions} transitions, {days} days in schema {}, {how}",
            schema.name()
        ));
        if schema == Schema::PREVIEW {
            print(format_args!(
                "No QLIK_ variable is set, so this is the state of daemons in preview mode. For daemons that write the banner, \
                 set QLIK_TENANT_URL and its key as they have them, and run this again."
            ));
        }
        Ok(())
    }
}

async fn copy(from: &WholeState, to: &Store) -> anyhow::Result<&'static str> {
    let there = read(to, to.recall().await?).await?;
    if from.within(&there) {
        return Ok("was there");
    }
    ensure!(
        there.within(from),
        "the schema already holds the state of another daemon; to replace it, stop all daemons, drop the schema, and run this \
         again"
    );
    let known: BTreeSet<TransitionKey> = there.transitions.iter().map(key).collect();
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
    // Last, because they make the state look complete.
    let states: BTreeMap<_, _> = from.kept.states.iter().cloned().collect();
    to.keep(Batch { states, ..Batch::default() }).await?;
    if let Some((tenant, memory)) = &from.kept.banner {
        to.keep_memory(tenant, memory.clone()).await?;
    }
    let now = read(to, to.recall().await?).await?;
    ensure!(
        from.within(&now) && now.within(from),
        "the stored state differs from what was sent: the server or its disk changed it; run this again"
    );
    Ok("copied")
}

async fn read(store: &Store, kept: Kept) -> anyhow::Result<WholeState> {
    let span = Span { monitor: None, from: Timestamp::MIN, to: Timestamp::MAX, limit: usize::MAX };
    let reader = store.reader();
    let transitions = reader.transitions(span).await?;
    let days = reader
        .days(None, Date::MIN)
        .await?
        .into_iter()
        .map(|(monitor, date, day)| ((monitor, date), day))
        .collect();
    Ok(WholeState { kept, transitions, days })
}

impl WholeState {
    /// Whether the other state contains this one.
    fn within(&self, other: &WholeState) -> bool {
        let states: BTreeMap<_, _> = other.kept.states.iter().map(|(name, state)| (name, state)).collect();
        let known: BTreeSet<TransitionKey> = other.transitions.iter().map(key).collect();
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

/// Equal as stored.
fn same(one: &impl serde::Serialize, other: &impl serde::Serialize) -> bool {
    match (serde_json::to_value(one), serde_json::to_value(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

fn key(t: &Transition) -> TransitionKey {
    (t.at, t.monitor.clone(), t.from.as_str(), t.to.as_str())
}

/// The seconds of a day that another lacks.
fn less(day: &Day, other: Option<&Day>) -> Day {
    let mut rest = *day;
    for (mine, theirs) in rest.at.iter_mut().zip(other.map_or([0; 5], |other| other.at)) {
        *mine = mine.saturating_sub(theirs);
    }
    rest
}
