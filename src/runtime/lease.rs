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
use crate::database::{Connected, Database, DatabaseError, DatabaseErrorKind};
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

/// The right to write, for one term. Once it is over it does not come back, though the lease may go on: that is for
/// the next term.
#[derive(Clone)]
pub(super) struct Right(Option<Under>);

/// A lease as the ground of a right.
#[derive(Clone)]
struct Under {
    standing: watch::Receiver<Standing>,
    token: i64,
    clock: Clock,
    over: CancellationToken,
}

impl Right {
    /// Of a daemon that shares its memory with nobody.
    pub(super) fn forever() -> Right {
        Right(None)
    }

    /// Under a lease.
    pub(super) fn under(standing: watch::Receiver<Standing>, token: i64, clock: Clock) -> Right {
        Right(Some(Under { standing, token, clock, over: CancellationToken::new() }))
    }

    /// Whether it can end.
    pub(super) fn is_lease(&self) -> bool {
        self.0.is_some()
    }

    /// How long it certainly lasts; `None`: it is over. To be asked right before a write, which is to end by then.
    pub(super) fn left(&self) -> Option<Duration> {
        let Some(under) = &self.0 else { return Some(Duration::MAX) };
        let hold = under.standing.borrow().hold.filter(|hold| hold.token == under.token);
        let left = hold.and_then(|hold| hold.left(under.clock)).filter(|_| !under.over.is_cancelled());
        if left.is_none() {
            under.over.cancel();
        }
        left
    }

    /// Returns when it is over.
    pub(super) async fn over(&self) {
        let Some(under) = &self.0 else { return std::future::pending().await };
        let mut standing = under.standing.clone();
        loop {
            standing.mark_unchanged();
            let Some(left) = self.left() else { return };
            tokio::select! {
                changed = standing.changed() => if changed.is_err() { return },
                () = under.over.cancelled() => return,
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

/// When something was asked, by both clocks: the machine may sleep before the answer is read.
#[derive(Clone, Copy)]
struct Sent {
    /// Since the beginning.
    at: Duration,
    by_wall: Timestamp,
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
        let sent = Sent { at: self.begun.elapsed(), by_wall: self.clock.now() };
        let limit = PATIENCE.min(self.contest.pace.ttl);
        let asked = timeout(limit, self.ask()).await.unwrap_or_else(|_| {
            let reason = format!("no answer within {} s", limit.as_secs());
            self.connection = None;
            Err(DatabaseError::lost(self.contest.database.name(), reason))
        });
        match asked {
            Ok(Taken::Ours(token)) => self.hold(token, sent),
            Ok(Taken::Theirs(other)) => self.stand_by(other),
            Err(error) => {
                // A lock that somebody holds a little long is no outage.
                if !matches!(error.kind(), DatabaseErrorKind::Timeout | DatabaseErrorKind::Conflict) {
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

    fn hold(&mut self, token: i64, sent: Sent) {
        self.tenure.holds_since(token, sent.at);
        let Some((_, until)) = self.tenure.held() else { return };
        let lasts = until.saturating_sub(sent.at);
        let until = self.begun + until;
        let until_wall = sent.by_wall.checked_add(lasts).unwrap_or(Timestamp::MAX);
        self.standing.send_modify(|standing| {
            let before = standing.hold.filter(|hold| hold.token == token);
            let since = before.map_or(sent.by_wall, |hold| hold.since);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::schema::Schema;

    fn keeper(clock: Clock) -> (Keeper, watch::Receiver<Standing>) {
        let url = "postgres://dsm@db.example.com/acme?sslmode=disable".into();
        let database = Database::new(&url, None, None).unwrap();
        let (name, holder) = ("monitor".to_owned(), "ann".to_owned());
        let lease = Lease { schema: Schema::SHARED, name, holder, ttl: Pace::USUAL.ttl };
        Keeper::new(Contest { database, lease, pace: Pace::USUAL }, clock)
    }

    /// A machine that slept while the answer was on its way holds a lease no longer than one that was awake.
    #[tokio::test(start_paused = true)]
    async fn sleep_before_the_answer_counts() {
        let asked: Timestamp = "2026-05-01T12:00:00Z".parse().unwrap();
        for (slept, holds) in [(0, true), (12, true), (13, false), (60, false)] {
            let woken = Clock::starting_at(asked + jiff::SignedDuration::from_secs(slept));
            let (mut keeper, standing) = keeper(woken);
            keeper.hold(1, Sent { at: Duration::ZERO, by_wall: asked });
            assert_eq!(standing.borrow().held(woken).is_some(), holds, "slept {slept} s");
        }
    }

    /// A right that is over stays so for everybody who has it, even when the lease is renewed too late; who asks anew
    /// has a right of its own.
    #[tokio::test(start_paused = true)]
    async fn a_right_does_not_come_back() {
        let clock = Clock::starting_at("2026-05-01T12:00:00Z".parse().unwrap());
        let (mut keeper, standing) = keeper(clock);
        let renew = |keeper: &mut Keeper| {
            let at = keeper.begun.elapsed();
            keeper.hold(1, Sent { at, by_wall: clock.now() });
        };
        renew(&mut keeper);
        let right = Right::under(standing.clone(), 1, clock);
        tokio::time::advance(Duration::from_secs(12)).await;
        renew(&mut keeper);
        tokio::time::advance(Duration::from_secs(12)).await;
        assert_eq!(right.left(), Some(Duration::from_secs(1)));
        right.over().await;
        renew(&mut keeper);
        assert_eq!((right.left(), right.clone().left()), (None, None));
        right.over().await;
        assert_eq!(Right::under(standing, 1, clock).left(), Some(Duration::from_secs(13)));
    }
}
