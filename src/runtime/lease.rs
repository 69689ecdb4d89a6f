//! The monitor's lease, where several daemons share one memory: gets it, keeps it, gives it back at the end.
//!
//! One task with a connection of its own asks the database; what it may believe is decided by
//! [`Tenure`]. Everybody else holds a `Right` and asks that before each write. Start
//! at [`Contest`].

use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use crate::database::{Connected, Database, DatabaseError};
use crate::domain::tenure::{Pace, Step, Tenure};
use crate::store::lease::{Holder, Lease, Taken};

/// A statement that takes longer is given up with its connection: the lease must not run out meanwhile.
const PATIENCE: Duration = Duration::from_secs(4);

/// What is contended for, and where.
pub struct Contest {
    /// The database.
    pub database: Database,
    /// The lease, and who we are.
    pub lease: Lease,
    /// Its times.
    pub pace: Pace,
}

/// How the contest stands.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    /// Ours, as far as we know. It may be over: see [`Right::left`].
    pub(super) hold: Option<Hold>,
    /// Who else has it, or had it last.
    pub(super) other: Option<Holder>,
    /// Whether the database has been asked at all.
    pub(super) known: bool,
    /// Why the database cannot be asked now.
    pub(super) trouble: Option<String>,
}

/// A lease of ours.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Hold {
    pub(super) token: i64,
    /// When it began, by our own clock.
    pub(super) since: Timestamp,
    until: Instant,
    /// The same by the wall clock: where the machine sleeps, the other stands still.
    until_wall: Timestamp,
}

impl Hold {
    fn left(&self, clock: Clock) -> Option<Duration> {
        let left = self.until.checked_duration_since(Instant::now())?;
        let by_wall = Duration::try_from(self.until_wall.duration_since(clock.now())).ok()?;
        let left = left.min(by_wall);
        (!left.is_zero()).then_some(left)
    }
}

impl Standing {
    /// The lease, if we hold it now.
    pub(super) fn held(&self, clock: Clock) -> Option<Hold> {
        self.hold.filter(|hold| hold.left(clock).is_some())
    }
}

/// The right to write, for one term.
#[derive(Clone)]
pub(super) struct Right(Option<(watch::Receiver<Standing>, i64, Clock)>);

impl Right {
    /// Of a daemon that shares its memory with nobody.
    pub(super) fn forever() -> Right {
        Right(None)
    }

    /// Under a lease.
    pub(super) fn under(standing: watch::Receiver<Standing>, token: i64, clock: Clock) -> Right {
        Right(Some((standing, token, clock)))
    }

    /// Whether it can end.
    pub(super) fn is_lease(&self) -> bool {
        self.0.is_some()
    }

    /// How long it certainly lasts; `None`: it is over. To be asked right before a write, which is to end by then.
    pub(super) fn left(&self) -> Option<Duration> {
        let Some((standing, token, clock)) = &self.0 else { return Some(Duration::MAX) };
        let hold = standing.borrow().hold.filter(|hold| hold.token == *token)?;
        hold.left(*clock)
    }

    /// Returns when it is over.
    pub(super) async fn over(&self) {
        let Some((standing, ..)) = &self.0 else { return std::future::pending().await };
        let mut standing = standing.clone();
        loop {
            standing.mark_unchanged();
            let Some(left) = self.left() else { return };
            tokio::select! {
                changed = standing.changed() => if changed.is_err() { return },
                () = sleep(left) => {}
            }
        }
    }
}

/// The task that contends.
pub(super) struct Keeper {
    contest: Contest,
    clock: Clock,
    begun: Instant,
    tenure: Tenure,
    connection: Option<Connected>,
    standing: watch::Sender<Standing>,
}

impl Keeper {
    pub(super) fn new(contest: Contest, clock: Clock) -> (Keeper, watch::Receiver<Standing>) {
        let (standing, seen) = watch::channel(Standing::default());
        let tenure = Tenure::new(contest.pace);
        let keeper = Keeper { contest, clock, begun: Instant::now(), tenure, connection: None, standing };
        (keeper, seen)
    }

    /// Contends until `stop`; then gives back what it has. To be stopped only after everybody who writes has ended.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let began = Instant::now();
            self.contend().await;
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep_until(began + self.tenure.wait()) => {}
            }
        }
        if let Some((token, _)) = self.tenure.held() {
            let released = timeout(PATIENCE, self.release(token)).await;
            if let Err(e) = released.unwrap_or_else(|_| Err("no answer in time".into())) {
                let ttl = self.contest.pace.ttl.as_secs();
                tracing::warn!(target: "MainOrchestrator", "The lease could not be given back ({e}); it is free in {ttl} s.");
            }
        }
    }

    async fn contend(&mut self) {
        let sent = self.begun.elapsed();
        let limit = PATIENCE.min(self.contest.pace.ttl);
        let asked = timeout(limit, self.ask()).await.unwrap_or_else(|_| {
            let reason = format!("no answer within {} s", limit.as_secs());
            self.connection = None;
            Err(DatabaseError::Lost { place: self.contest.database.name().to_owned(), reason })
        });
        match asked {
            Ok(Taken::Ours(token)) => self.hold(token, sent),
            Ok(Taken::Theirs(other)) => self.stand_by(other),
            Err(error) => {
                // A lock that somebody holds a little long is no outage.
                if !matches!(error, DatabaseError::Slow { .. } | DatabaseError::Conflict { .. }) {
                    self.connection = None;
                    self.tenure.cut_off();
                }
                self.tell_trouble(&error);
            }
        }
    }

    async fn ask(&mut self) -> Result<Taken, DatabaseError> {
        if self.connection.as_ref().is_none_or(|db| db.client.is_closed()) {
            self.tenure.cut_off();
            self.connection = Some(self.contest.database.connect().await?);
        }
        self.tenure.connected(self.begun.elapsed());
        let Some(db) = &self.connection else { return Ok(Taken::Theirs(None)) };
        let judge = |e| db.judge("asking for the monitor's lease", &e);
        let lease = &self.contest.lease;
        if let Step::Renew(token) = self.tenure.step(self.begun.elapsed()) {
            if lease.renew(&db.client, token).await.map_err(judge)? {
                return Ok(Taken::Ours(token));
            }
            self.tenure.lost();
        }
        let expired_too = self.tenure.step(self.begun.elapsed()) == Step::Take { expired_too: true };
        match lease.take(&db.client, expired_too).await.map_err(judge)? {
            // We took it before, and the answer was lost.
            Taken::Theirs(Some(holder)) if holder.name == lease.holder => {
                let renewed = lease.renew(&db.client, holder.token).await.map_err(judge)?;
                Ok(if renewed { Taken::Ours(holder.token) } else { Taken::Theirs(None) })
            }
            taken => Ok(taken),
        }
    }

    fn hold(&mut self, token: i64, sent: Duration) {
        self.tenure.holds_since(token, sent);
        let Some((_, until)) = self.tenure.held() else { return };
        let until = self.begun + until;
        let left = until.saturating_duration_since(Instant::now());
        let now = self.clock.now();
        let until_wall = now.checked_add(left).unwrap_or(Timestamp::MAX);
        self.standing.send_modify(|standing| {
            let before = standing.hold.filter(|hold| hold.token == token);
            let since = before.map_or(now, |hold| hold.since);
            standing.hold = Some(Hold { token, since, until, until_wall });
            (standing.other, standing.trouble, standing.known) = (None, None, true);
        });
    }

    fn stand_by(&mut self, other: Option<Holder>) {
        self.tenure.lost();
        let same =
            |standing: &Standing| standing.known && standing.hold.is_none() && standing.trouble.is_none();
        self.standing.send_if_modified(|standing| {
            let news = !same(standing) || (other.is_some() && standing.other != other);
            (standing.hold, standing.trouble, standing.known) = (None, None, true);
            if other.is_some() {
                standing.other = other;
            }
            news
        });
    }

    fn tell_trouble(&mut self, error: &DatabaseError) {
        let trouble = Some(error.to_string());
        self.standing.send_if_modified(|standing| {
            let news = standing.trouble != trouble;
            standing.trouble = trouble;
            news
        });
    }

    async fn release(&mut self, token: i64) -> Result<(), String> {
        // Whoever is asked about it from now on must not find it held.
        self.standing.send_modify(|standing| standing.hold = None);
        if self.connection.as_ref().is_none_or(|db| db.client.is_closed()) {
            self.connection = Some(self.contest.database.connect().await.map_err(|e| e.to_string())?);
        }
        let Some(db) = &self.connection else { return Ok(()) };
        self.contest.lease.release(&db.client, token).await.map_err(|e| e.to_string())
    }
}
