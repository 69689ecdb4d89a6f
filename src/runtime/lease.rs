//! Leader election where several daemons share a state database: acquires the lease, renews it and releases it at the end.
//!
//! One task with its own connection talks to the database; [`Tenure`] decides whether the lease is still valid. All other
//! code holds a `Right` and checks it before each write. Start at [`Contest`].

use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::database::{Connected, Database, DatabaseError, DatabaseErrorKind};
use crate::domain::tenure::{LeasePace, Tenure, TenureStep};
use crate::runtime::clock::Clock;
use crate::store::lease::{Holder, Lease, Taken};

/// Timeout of a statement. Its connection is closed then, so that the lease does not expire while waiting.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(4);

/// A lease to acquire, and the database that holds it.
pub struct Contest {
    pub database: Database,
    pub lease: Lease,
    pub pace: LeasePace,
}

/// State of the leader election.
#[derive(Debug, Clone, Default)]
pub struct LeaseStatus {
    /// Our lease as last confirmed. It may have expired since: see [`Right::left`].
    pub(in crate::runtime) hold: Option<Hold>,
    /// Another daemon that is or was the leader.
    pub(in crate::runtime) other: Option<Holder>,
    /// Whether the database has answered at least once.
    pub(in crate::runtime) known: bool,
    /// Why the database cannot be reached now.
    pub(in crate::runtime) trouble: Option<String>,
}

/// A lease that this daemon acquired.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::runtime) struct Hold {
    /// Fencing token.
    pub(in crate::runtime) token: i64,
    /// When it was acquired, by the clock of this machine.
    pub(in crate::runtime) since: Timestamp,
    until: Instant,
    /// The same by the wall clock, because the monotonic clock stops while the machine sleeps.
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

impl LeaseStatus {
    /// The lease, if this daemon holds it now.
    pub(in crate::runtime) fn held(&self, clock: Clock) -> Option<Hold> {
        self.hold.filter(|hold| hold.left(clock).is_some())
    }
}

/// Permission to write during one term as leader. Once it has expired it never becomes valid again, even if the lease is
/// renewed; that starts a new term.
#[derive(Clone)]
pub(in crate::runtime) struct Right(Option<Under>);

#[derive(Clone)]
struct Under {
    standing: watch::Receiver<LeaseStatus>,
    token: i64,
    clock: Clock,
    over: CancellationToken,
}

impl Right {
    /// For a daemon that shares its state with no other.
    pub(in crate::runtime) fn forever() -> Right {
        Right(None)
    }

    /// Valid as long as the lease with this fencing token.
    pub(in crate::runtime) fn under(
        standing: watch::Receiver<LeaseStatus>,
        token: i64,
        clock: Clock,
    ) -> Right {
        Right(Some(Under { standing, token, clock, over: CancellationToken::new() }))
    }

    /// Whether it depends on a lease and can expire.
    pub(in crate::runtime) fn is_lease(&self) -> bool {
        self.0.is_some()
    }

    /// The time for which it is certainly valid; `None` once it has expired. Must be checked right before a write, which must
    /// end within that time.
    pub(in crate::runtime) fn left(&self) -> Option<Duration> {
        let Some(under) = &self.0 else { return Some(Duration::MAX) };
        let hold = under.standing.borrow().hold.filter(|hold| hold.token == under.token);
        let left = hold.and_then(|hold| hold.left(under.clock)).filter(|_| !under.over.is_cancelled());
        if left.is_none() {
            under.over.cancel();
        }
        left
    }

    /// Waits until it has expired.
    pub(in crate::runtime) async fn over(&self) {
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

/// The task that acquires and renews the lease.
pub(in crate::runtime) struct Keeper {
    contest: Contest,
    clock: Clock,
    started: Instant,
    tenure: Tenure,
    connection: Option<Connected>,
    standing: watch::Sender<LeaseStatus>,
}

/// When a statement was sent, by both clocks: the machine may sleep before the answer is read.
#[derive(Clone, Copy)]
struct Sent {
    /// Since the start of the task.
    at: Duration,
    by_wall: Timestamp,
}

impl Keeper {
    pub(in crate::runtime) fn new(contest: Contest, clock: Clock) -> (Keeper, watch::Receiver<LeaseStatus>) {
        let (standing, seen) = watch::channel(LeaseStatus::default());
        let tenure = Tenure::new(contest.pace);
        let keeper = Keeper { contest, clock, started: Instant::now(), tenure, connection: None, standing };
        (keeper, seen)
    }

    /// Acquires and renews the lease until `stop`, then releases it. Must be stopped only after all writers have stopped.
    pub(in crate::runtime) async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let round_started = Instant::now();
            self.contend().await;
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep_until(round_started + self.tenure.wait()) => {}
            }
        }
        if let Some((token, _)) = self.tenure.held() {
            let released = timeout(STATEMENT_TIMEOUT, self.release(token)).await;
            if let Err(e) = released.unwrap_or_else(|_| Err("no answer in time".into())) {
                let ttl = self.contest.pace.ttl.as_secs();
                tracing::warn!(target: "MainOrchestrator", "Cannot release the lease: {e}; it expires within {ttl} s.");
            }
        }
    }

    async fn contend(&mut self) {
        let sent = Sent { at: self.started.elapsed(), by_wall: self.clock.now() };
        let limit = STATEMENT_TIMEOUT.min(self.contest.pace.ttl);
        let answer = timeout(limit, self.acquire()).await.unwrap_or_else(|_| {
            let reason = format!("no answer within {} s", limit.as_secs());
            self.connection = None;
            Err(DatabaseError::lost(self.contest.database.name(), reason))
        });
        match answer {
            Ok(Taken::Ours(token)) => self.hold(token, sent),
            Ok(Taken::Theirs(other)) => self.stand_by(other),
            Err(error) => {
                // A lock that is held a little longer is not an outage.
                if !matches!(error.kind(), DatabaseErrorKind::Timeout | DatabaseErrorKind::Conflict) {
                    self.connection = None;
                    self.tenure.cut_off();
                }
                self.report_trouble(&error);
            }
        }
    }

    async fn acquire(&mut self) -> Result<Taken, DatabaseError> {
        if self.connection.as_ref().is_none_or(|db| db.client.is_closed()) {
            self.tenure.cut_off();
            self.connection = Some(self.contest.database.connect().await?);
        }
        self.tenure.connected(self.started.elapsed());
        let Some(db) = &self.connection else { return Ok(Taken::Theirs(None)) };
        let judge = |e| db.judge("requesting the monitoring lease", &e);
        let lease = &self.contest.lease;
        if let TenureStep::Renew(token) = self.tenure.step(self.started.elapsed()) {
            if lease.renew(&db.client, token).await.map_err(judge)? {
                return Ok(Taken::Ours(token));
            }
            self.tenure.lost();
        }
        let expired_too = self.tenure.step(self.started.elapsed()) == TenureStep::Take { expired_too: true };
        match lease.take(&db.client, expired_too).await.map_err(judge)? {
            // An earlier attempt succeeded, but its answer was lost.
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
        let until = self.started + until;
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
            |standing: &LeaseStatus| standing.known && standing.hold.is_none() && standing.trouble.is_none();
        self.standing.send_if_modified(|standing| {
            let news = !same(standing) || (other.is_some() && standing.other != other);
            (standing.hold, standing.trouble, standing.known) = (None, None, true);
            if other.is_some() {
                standing.other = other;
            }
            news
        });
    }

    fn report_trouble(&mut self, error: &DatabaseError) {
        let trouble = Some(error.to_string());
        self.standing.send_if_modified(|standing| {
            let news = standing.trouble != trouble;
            standing.trouble = trouble;
            news
        });
    }

    async fn release(&mut self, token: i64) -> Result<(), String> {
        // From now on readers must not see the lease as held.
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

    fn keeper(clock: Clock) -> (Keeper, watch::Receiver<LeaseStatus>) {
        let url = "postgres://dsm@db.example.com/acme?sslmode=disable".into();
        let database = Database::new(&url, None, None).unwrap();
        let (name, holder) = ("monitor".to_owned(), "ann".to_owned());
        let lease = Lease { schema: Schema::SHARED, name, holder, ttl: LeasePace::USUAL.ttl };
        Keeper::new(Contest { database, lease, pace: LeasePace::USUAL }, clock)
    }

    #[tokio::test(start_paused = true)]
    async fn sleep_before_the_answer_does_not_extend_the_lease() {
        let sent_at: Timestamp = "2026-05-01T12:00:00Z".parse().unwrap();
        for (slept, holds) in [(0, true), (12, true), (13, false), (60, false)] {
            let woken = Clock::starting_at(sent_at + jiff::SignedDuration::from_secs(slept));
            let (mut keeper, standing) = keeper(woken);
            keeper.hold(1, Sent { at: Duration::ZERO, by_wall: sent_at });
            assert_eq!(standing.borrow().held(woken).is_some(), holds, "slept {slept} s");
        }
    }

    /// This holds for all clones, also if the lease is renewed too late. A new right is valid.
    #[tokio::test(start_paused = true)]
    async fn an_expired_right_stays_expired() {
        let clock = Clock::starting_at("2026-05-01T12:00:00Z".parse().unwrap());
        let (mut keeper, standing) = keeper(clock);
        let renew = |keeper: &mut Keeper| {
            let at = keeper.started.elapsed();
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
