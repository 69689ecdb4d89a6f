//! Copies the daemon's own state: monitors, their history, the banner record, what channels were sent, and what tenants have of the data.
//!
//! Writes as a daemon does, under the monitor's lease, and only what is missing, so that it can be repeated. It does not
//! overwrite the state of another daemon. Start at [`StateSource::open`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{bail, ensure};
use jiff::Timestamp;
use jiff::civil::Date;

use super::Print;
use crate::database::Database;
use crate::domain::monitoring::assess::Transition;
use crate::domain::monitoring::history::{Day, DayTotals, Span};
use crate::domain::monitoring::responses::{ResponseDay, ResponseTotals};
use crate::domain::tenure::LeasePace;
use crate::domain::text::counted;
use crate::store::lease::{Lease, Taken};
use crate::store::schema::Schema;
use crate::store::{Batch, Closer, OpenError, Store, StoredState};

/// Rows in one transaction, which must end within seconds.
const AT_ONCE: usize = 2_000;

/// The locked state of a folder.
pub(super) struct StateSource {
    store: Store,
    _closer: Closer,
    stored: StoredState,
}

struct WholeState {
    stored: StoredState,
    transitions: Vec<Transition>,
    days: DayTotals,
    responses: ResponseTotals,
}

/// What identifies a transition.
type TransitionKey = (Timestamp, String, &'static str, &'static str);

impl StateSource {
    /// Opens the state of a folder, if there is any.
    pub(super) fn open(folder: &Path) -> Result<Option<StateSource>, OpenError> {
        if !folder.join(format!("{}.db", super::STATE_FILE)).exists() {
            return Ok(None);
        }
        let (store, closer, stored) = Store::open_undamaged(folder)?;
        Ok(Some(StateSource { store, _closer: closer, stored }))
    }

    /// Copies what is missing to the schema that the daemons will use.
    pub(super) async fn copy(
        self,
        database: &Database,
        configured: Schema,
        holder: String,
        print: Print,
    ) -> anyhow::Result<()> {
        // Only a daemon that writes banners has a banner record, whatever is configured now.
        let schema = if self.stored.banners.is_empty() { configured } else { Schema::SHARED };
        let from = read(&self.store, self.stored).await?;
        let lease = Lease { schema, name: "monitor".to_owned(), holder, ttl: LeasePace::USUAL.ttl };
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
        let (monitors, transitions, days) =
            (from.stored.states.len(), from.transitions.len(), from.days.len());
        print(format_args!(
            "state: {}, {}, {} in schema {}, {how}",
            counted(monitors as u64, "monitor"),
            counted(transitions as u64, "transition"),
            counted(days as u64, "day"),
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
    let responses: Vec<((String, Date), ResponseDay)> = from
        .responses
        .iter()
        .map(|(key, day)| (key.clone(), lacking(day, there.responses.get(key))))
        .collect();
    for responses in responses.chunks(AT_ONCE) {
        let responses = responses.iter().cloned().collect();
        to.keep(Batch { responses, ..Batch::default() }).await?;
    }
    // Last, because the states mark the copy as complete.
    let states: BTreeMap<_, _> = from.stored.states.iter().cloned().collect();
    to.keep(Batch { states, ..Batch::default() }).await?;
    for (tenant, saved) in &from.stored.banners {
        to.keep_banner_state(tenant, saved.state.clone(), None).await?;
    }
    for (name, state) in &from.stored.channels {
        to.keep_channel_state(name, Some(state.clone())).await?;
    }
    for (key, state) in &from.stored.deliveries {
        to.keep_delivery_state(key, Some(state.clone())).await?;
    }
    let now = read(to, to.recall().await?).await?;
    ensure!(
        from.within(&now) && now.within(from),
        "the stored state differs from what was sent: the server or its disk changed it; run this again"
    );
    Ok("copied")
}

async fn read(store: &Store, stored: StoredState) -> anyhow::Result<WholeState> {
    let span = Span { monitor: None, from: Timestamp::MIN, to: Timestamp::MAX, limit: usize::MAX };
    let reader = store.reader();
    let transitions = reader.transitions(span).await?;
    let days = reader
        .days(None, Date::MIN)
        .await?
        .into_iter()
        .map(|(monitor, date, day)| ((monitor, date), day))
        .collect();
    let responses = reader.responses(None, Date::MIN).await?.into_iter();
    let responses = responses.map(|(monitor, date, day)| ((monitor, date), day)).collect();
    Ok(WholeState { stored, transitions, days, responses })
}

impl WholeState {
    /// Whether the other state contains this one.
    fn within(&self, other: &WholeState) -> bool {
        let states: BTreeMap<_, _> = other.stored.states.iter().map(|(name, state)| (name, state)).collect();
        let known: BTreeSet<TransitionKey> = other.transitions.iter().map(key).collect();
        self.stored
            .states
            .iter()
            .all(|(name, state)| states.get(name).is_some_and(|other| same(state, other)))
            && self.stored.banners.iter().all(|(tenant, saved)| {
                let other = other.stored.banners.get(tenant);
                other.is_some_and(|other| same(&saved.state, &other.state))
            })
            && self
                .stored
                .channels
                .iter()
                .all(|(name, state)| other.stored.channels.get(name).is_some_and(|other| same(state, other)))
            && self
                .stored
                .deliveries
                .iter()
                .all(|(key, state)| other.stored.deliveries.get(key).is_some_and(|other| same(state, other)))
            && self.transitions.iter().all(|t| known.contains(&key(t)))
            && self.days.iter().all(|(key, day)| less(day, other.days.get(key)) == Day::default())
            && self
                .responses
                .iter()
                .all(|(key, day)| lacking(day, other.responses.get(key)) == ResponseDay::default())
    }
}

/// The response times that the other day lacks.
fn lacking(day: &ResponseDay, other: Option<&ResponseDay>) -> ResponseDay {
    other.map_or_else(|| day.clone(), |other| day.without(other))
}

/// Whether two values are equal when serialized.
fn same(one: &impl serde::Serialize, other: &impl serde::Serialize) -> bool {
    match (serde_json::to_value(one), serde_json::to_value(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

fn key(t: &Transition) -> TransitionKey {
    (t.at, t.monitor.clone(), t.from.as_str(), t.to.as_str())
}

/// The part of a day's totals that the other one lacks.
fn less(day: &Day, other: Option<&Day>) -> Day {
    let mut rest = *day;
    for (mine, theirs) in rest.at.iter_mut().zip(other.map_or([0; 5], |other| other.at)) {
        *mine = mine.saturating_sub(theirs);
    }
    rest
}
