//! One daemon's view of the shared lease, and its next request to the database.
//!
//! The database's clock decides when a lease expires. The leader uses its own clock, measured from *before*
//! its request, minus a margin: it stops before any other daemon can take over, however long the response
//! took. Times are on a monotonic clock of the daemon. Start at [`Tenure::step`].

use std::time::Duration;

/// The durations of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeasePace {
    /// The lease's duration after each renewal.
    pub ttl: Duration,
    /// Time between two renewals.
    pub renew: Duration,
    /// Time between two attempts to acquire it, or to reach the database again.
    pub retry: Duration,
    /// How long a standby must have been connected before it takes a lease that expired without being
    /// released: after an outage of the database, the former leader, whose state is current, renews first.
    pub grace: Duration,
    /// A leader stops this long before its lease expires: for writes on their way to the tenant, and for
    /// differences between clocks.
    pub margin: Duration,
}

impl LeasePace {
    /// After a crash the next leader takes over within `ttl` plus `retry`; `grace` is well above `retry`.
    pub const USUAL: LeasePace = LeasePace {
        ttl: Duration::from_secs(15),
        renew: Duration::from_secs(5),
        retry: Duration::from_secs(1),
        grace: Duration::from_secs(10),
        margin: Duration::from_secs(2),
    };
}

/// The next request to the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TenureStep {
    /// Renew the lease, under this token.
    Renew(i64),
    /// Acquire the lease.
    Take {
        /// Also if it expired without being released.
        expired_too: bool,
    },
}

/// One daemon's view of the lease.
#[derive(Debug, Clone)]
pub struct Tenure {
    pace: LeasePace,
    /// The fencing token under which we hold the lease, or held it and no other leader is known.
    token: Option<i64>,
    /// We hold the lease until then.
    until: Duration,
    /// Since when the database has been reachable without interruption.
    connected: Option<Duration>,
}

impl Tenure {
    /// The view of a daemon that has just started.
    pub fn new(pace: LeasePace) -> Tenure {
        Tenure { pace, token: None, until: Duration::ZERO, connected: None }
    }

    /// The database is reachable.
    pub fn connected(&mut self, now: Duration) {
        self.connected.get_or_insert(now);
    }

    /// The database is unreachable. The lease stays valid until it expires.
    pub fn cut_off(&mut self) {
        self.connected = None;
    }

    pub fn step(&self, now: Duration) -> TenureStep {
        match self.token {
            Some(token) => TenureStep::Renew(token),
            None => {
                let connected = self.connected.map(|since| now.saturating_sub(since));
                TenureStep::Take { expired_too: connected.is_some_and(|time| time >= self.pace.grace) }
            }
        }
    }

    /// The lease was acquired or renewed by a request made at `sent`.
    pub fn holds_since(&mut self, token: i64, sent: Duration) {
        self.token = Some(token);
        self.until = sent + self.pace.ttl.saturating_sub(self.pace.margin);
    }

    /// Another daemon holds the lease.
    pub fn lost(&mut self) {
        (self.token, self.until) = (None, Duration::ZERO);
    }

    /// The fencing token and the moment at which we must stop, unless another daemon is known to hold the
    /// lease.
    pub fn held(&self) -> Option<(i64, Duration)> {
        self.token.map(|token| (token, self.until))
    }

    /// The time until the next request.
    pub fn wait(&self) -> Duration {
        let renewing = self.token.is_some() && self.connected.is_some();
        if renewing { self.pace.renew } else { self.pace.retry }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// The row, by the server's clock.
    #[derive(Default)]
    struct ModelLease {
        token: i64,
        expires: Duration,
        released: bool,
        leader: usize,
    }

    /// Some daemons and a database between which messages are late or lost.
    struct TenureWorld {
        now: Duration,
        lease: ModelLease,
        daemons: Vec<Tenure>,
        /// By daemon: the number of the request it waits for, and when it was made.
        pending: Vec<Option<(usize, Duration)>>,
        /// Messages by number; late ones arrive although no daemon waits for them any more.
        asking: Vec<(usize, usize, TenureStep)>,
        answers: Vec<(usize, usize, Option<i64>)>,
        questions: usize,
    }

    #[derive(Debug, Clone)]
    enum TenureEvent {
        Pass(u64),
        Ask(usize),
        Arrive(usize),
        Answer(usize),
        GiveUp(usize),
        Release(usize),
    }

    impl TenureWorld {
        fn new() -> TenureWorld {
            let daemons = vec![Tenure::new(LeasePace::USUAL); 3];
            TenureWorld {
                now: SECOND,
                lease: ModelLease::default(),
                daemons,
                pending: vec![None; 3],
                asking: vec![],
                answers: vec![],
                questions: 0,
            }
        }

        /// The server's clock differs from the daemons' clocks.
        fn server(&self) -> Duration {
            self.now + Duration::from_secs(1_000_000)
        }

        fn apply(&mut self, by: usize, step: TenureStep) -> Option<i64> {
            let (now, lease) = (self.server(), &mut self.lease);
            let given = match step {
                TenureStep::Renew(token) => lease.token == token && !lease.released,
                TenureStep::Take { expired_too } => {
                    let free = lease.token == 0 || lease.released || (expired_too && lease.expires < now);
                    if free {
                        (lease.token, lease.released, lease.leader) = (lease.token + 1, false, by);
                    }
                    free
                }
            };
            if given {
                lease.expires = now + LeasePace::USUAL.ttl;
            }
            given.then_some(lease.token)
        }

        fn happen(&mut self, event: &TenureEvent) {
            match *event {
                TenureEvent::Pass(ms) => self.now += Duration::from_millis(ms),
                TenureEvent::Ask(daemon) => {
                    if self.pending[daemon].is_none() {
                        self.daemons[daemon].connected(self.now);
                        let step = self.daemons[daemon].step(self.now);
                        self.questions += 1;
                        self.pending[daemon] = Some((self.questions, self.now));
                        self.asking.push((daemon, self.questions, step));
                    }
                }
                TenureEvent::Arrive(which) if !self.asking.is_empty() => {
                    let (daemon, question, step) = self.asking.remove(which % self.asking.len());
                    let given = self.apply(daemon, step);
                    self.answers.push((daemon, question, given));
                }
                TenureEvent::Answer(which) if !self.answers.is_empty() => {
                    let (daemon, question, given) = self.answers.remove(which % self.answers.len());
                    // A response that no daemon waits for belongs to a closed connection.
                    if let Some((_, sent)) = self.pending[daemon].take_if(|(pending, _)| *pending == question)
                    {
                        match given {
                            Some(token) => self.daemons[daemon].holds_since(token, sent),
                            None => self.daemons[daemon].lost(),
                        }
                    }
                }
                TenureEvent::GiveUp(daemon) => {
                    self.pending[daemon] = None;
                    self.daemons[daemon].cut_off();
                }
                // Only a daemon that has stopped writing releases the lease.
                TenureEvent::Release(daemon) => {
                    if let Some((token, _)) = self.daemons[daemon].held() {
                        self.pending[daemon] = None;
                        self.daemons[daemon].lost();
                        self.lease.released |= self.lease.token == token;
                    }
                }
                TenureEvent::Arrive(_) | TenureEvent::Answer(_) => {}
            }
        }

        fn leaders(&self) -> Vec<usize> {
            let holds =
                |daemon: &usize| self.daemons[*daemon].held().is_some_and(|(_, until)| self.now < until);
            (0..self.daemons.len()).filter(holds).collect()
        }
    }

    fn events() -> impl Strategy<Value = Vec<TenureEvent>> {
        let event = prop_oneof![
            4 => (0u64..6_000).prop_map(TenureEvent::Pass),
            1 => (6_000u64..30_000).prop_map(TenureEvent::Pass),
            6 => (0usize..3).prop_map(TenureEvent::Ask),
            6 => (0usize..4).prop_map(TenureEvent::Arrive),
            6 => (0usize..4).prop_map(TenureEvent::Answer),
            1 => (0usize..3).prop_map(TenureEvent::GiveUp),
            1 => (0usize..3).prop_map(TenureEvent::Release),
        ];
        proptest::collection::vec(event, 1..200)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

        /// However messages are delayed and lost and daemons paused, no two daemons hold the lease at once by
        /// their own view, and the one that does has the latest token.
        #[test]
        fn there_is_one_leader_at_a_time(events in events()) {
            let mut world = TenureWorld::new();
            for event in &events {
                world.happen(event);
                let leaders = world.leaders();
                prop_assert!(leaders.len() <= 1, "{leaders:?} after {event:?}");
                for daemon in leaders {
                    prop_assert_eq!(world.lease.leader, daemon);
                    prop_assert_eq!(world.daemons[daemon].held().map(|(token, _)| token), Some(world.lease.token));
                }
            }
        }
    }

    /// After an outage the former leader renews its lease; standbys wait for `grace` before they acquire it.
    #[test]
    fn the_former_leader_renews_first() {
        let mut leader = Tenure::new(LeasePace::USUAL);
        leader.holds_since(7, SECOND);
        assert_eq!(leader.held(), Some((7, SECOND * 14)));
        leader.cut_off();
        assert_eq!(leader.step(SECOND * 900), TenureStep::Renew(7));
        let mut other = Tenure::new(LeasePace::USUAL);
        for (connected, now, expired_too) in [(900, 900, false), (0, 909, false), (0, 910, true)] {
            if connected > 0 {
                other.connected(SECOND * connected);
            }
            assert_eq!(other.step(SECOND * now), TenureStep::Take { expired_too });
        }
        other.cut_off();
        assert_eq!(other.step(SECOND * 950), TenureStep::Take { expired_too: false });
    }
}
