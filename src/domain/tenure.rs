//! What a daemon may believe of a lease that it shares with others, and what it asks the database next.
//!
//! The database's clock says when a lease is over; a holder goes by its own, counted from *before* it asked, less a
//! margin: so it stops before anybody else may begin, however long the answer took. Moments are times on a clock of the
//! daemon's own that never goes back. Start at [`Tenure::step`].

use std::time::Duration;

/// The times of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// How long it lasts after each renewal.
    pub ttl: Duration,
    /// Time between two renewals.
    pub renew: Duration,
    /// Time between two attempts to get it, or to reach the database again.
    pub retry: Duration,
    /// How long one who wants it must have been connected before it takes a lease that nobody gave back: after an outage
    /// of the database the holder, who remembers all that happened meanwhile, comes first.
    pub grace: Duration,
    /// A holder stops this long before its lease is over: for what is on its way to the tenant, and for clocks that do
    /// not run alike.
    pub margin: Duration,
}

impl Pace {
    /// After a crash the next holder is there within `ttl` and `retry`; `grace` is well above `retry`.
    pub const USUAL: Pace = Pace {
        ttl: Duration::from_secs(15),
        renew: Duration::from_secs(5),
        retry: Duration::from_secs(1),
        grace: Duration::from_secs(10),
        margin: Duration::from_secs(2),
    };
}

/// What to ask the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// To hold on, under this token.
    Renew(i64),
    /// To have it.
    Take {
        /// Also if it was not given back but ran out.
        expired_too: bool,
    },
}

/// One daemon's share in a lease.
#[derive(Debug, Clone)]
pub struct Tenure {
    pace: Pace,
    /// The token under which we hold it, or held it and heard of no other holder.
    token: Option<i64>,
    /// We hold it before this.
    until: Duration,
    /// Since when the database has answered without a break.
    connected: Option<Duration>,
}

impl Tenure {
    /// One who has nothing yet.
    pub fn new(pace: Pace) -> Tenure {
        Tenure { pace, token: None, until: Duration::ZERO, connected: None }
    }

    /// The database answers.
    pub fn connected(&mut self, now: Duration) {
        self.connected.get_or_insert(now);
    }

    /// The database does not answer. The lease goes on as long as it lasts.
    pub fn cut_off(&mut self) {
        self.connected = None;
    }

    /// What to ask now.
    pub fn step(&self, now: Duration) -> Step {
        match self.token {
            Some(token) => Step::Renew(token),
            None => {
                let connected = self.connected.map(|since| now.saturating_sub(since));
                Step::Take { expired_too: connected.is_some_and(|time| time >= self.pace.grace) }
            }
        }
    }

    /// We were given the lease, or hold it for another while, by an answer to what was asked at `sent`.
    pub fn holds_since(&mut self, token: i64, sent: Duration) {
        self.token = Some(token);
        self.until = sent + self.pace.ttl.saturating_sub(self.pace.margin);
    }

    /// Somebody else has it.
    pub fn lost(&mut self) {
        (self.token, self.until) = (None, Duration::ZERO);
    }

    /// The token, and the moment at which we must stop, unless somebody else is known to have the lease.
    pub fn held(&self) -> Option<(i64, Duration)> {
        self.token.map(|token| (token, self.until))
    }

    /// When to ask again.
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
    struct Lease {
        token: i64,
        expires: Duration,
        released: bool,
        holder: usize,
    }

    /// Some daemons and a database between which messages are late or lost.
    struct World {
        now: Duration,
        lease: Lease,
        daemons: Vec<Tenure>,
        /// Of each daemon: the number of the question it waits for, and when it was asked.
        asked: Vec<Option<(usize, Duration)>>,
        /// On their way, by number; what is late arrives although nobody waits for it any more.
        asking: Vec<(usize, usize, Step)>,
        answers: Vec<(usize, usize, Option<i64>)>,
        questions: usize,
    }

    #[derive(Debug, Clone)]
    enum Event {
        Pass(u64),
        Ask(usize),
        Arrive(usize),
        Answer(usize),
        GiveUp(usize),
        Release(usize),
    }

    impl World {
        fn new() -> World {
            let daemons = vec![Tenure::new(Pace::USUAL); 3];
            World {
                now: SECOND,
                lease: Lease::default(),
                daemons,
                asked: vec![None; 3],
                asking: vec![],
                answers: vec![],
                questions: 0,
            }
        }

        /// The server's clock is another than the daemons'.
        fn server(&self) -> Duration {
            self.now + Duration::from_secs(1_000_000)
        }

        fn apply(&mut self, by: usize, step: Step) -> Option<i64> {
            let (now, lease) = (self.server(), &mut self.lease);
            let given = match step {
                Step::Renew(token) => lease.token == token && !lease.released,
                Step::Take { expired_too } => {
                    let free = lease.token == 0 || lease.released || (expired_too && lease.expires < now);
                    if free {
                        (lease.token, lease.released, lease.holder) = (lease.token + 1, false, by);
                    }
                    free
                }
            };
            if given {
                lease.expires = now + Pace::USUAL.ttl;
            }
            given.then_some(lease.token)
        }

        fn happen(&mut self, event: &Event) {
            match *event {
                Event::Pass(ms) => self.now += Duration::from_millis(ms),
                Event::Ask(who) => {
                    if self.asked[who].is_none() {
                        self.daemons[who].connected(self.now);
                        let step = self.daemons[who].step(self.now);
                        self.questions += 1;
                        self.asked[who] = Some((self.questions, self.now));
                        self.asking.push((who, self.questions, step));
                    }
                }
                Event::Arrive(which) if !self.asking.is_empty() => {
                    let (who, question, step) = self.asking.remove(which % self.asking.len());
                    let given = self.apply(who, step);
                    self.answers.push((who, question, given));
                }
                Event::Answer(which) if !self.answers.is_empty() => {
                    let (who, question, given) = self.answers.remove(which % self.answers.len());
                    // An answer that nobody waits for any more went to a connection that is gone.
                    if let Some((_, sent)) = self.asked[who].take_if(|(asked, _)| *asked == question) {
                        match given {
                            Some(token) => self.daemons[who].holds_since(token, sent),
                            None => self.daemons[who].lost(),
                        }
                    }
                }
                Event::GiveUp(who) => {
                    self.asked[who] = None;
                    self.daemons[who].cut_off();
                }
                // Only who has stopped writing gives it back.
                Event::Release(who) => {
                    if let Some((token, _)) = self.daemons[who].held() {
                        self.asked[who] = None;
                        self.daemons[who].lost();
                        self.lease.released |= self.lease.token == token;
                    }
                }
                Event::Arrive(_) | Event::Answer(_) => {}
            }
        }

        fn holders(&self) -> Vec<usize> {
            let holds = |who: &usize| self.daemons[*who].held().is_some_and(|(_, until)| self.now < until);
            (0..self.daemons.len()).filter(holds).collect()
        }
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let event = prop_oneof![
            4 => (0u64..6_000).prop_map(Event::Pass),
            1 => (6_000u64..30_000).prop_map(Event::Pass),
            6 => (0usize..3).prop_map(Event::Ask),
            6 => (0usize..4).prop_map(Event::Arrive),
            6 => (0usize..4).prop_map(Event::Answer),
            1 => (0usize..3).prop_map(Event::GiveUp),
            1 => (0usize..3).prop_map(Event::Release),
        ];
        proptest::collection::vec(event, 1..200)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

        /// However messages are delayed and lost and daemons paused, no two believe at once that they hold the lease,
        /// and who does has the last token.
        #[test]
        fn one_holder_at_a_time(events in events()) {
            let mut world = World::new();
            for event in &events {
                world.happen(event);
                let holders = world.holders();
                prop_assert!(holders.len() <= 1, "{holders:?} after {event:?}");
                for who in holders {
                    prop_assert_eq!(world.lease.holder, who);
                    prop_assert_eq!(world.daemons[who].held().map(|(token, _)| token), Some(world.lease.token));
                }
            }
        }
    }

    /// After an outage who held the lease is asked to renew it, and others wait for the grace before they take it.
    #[test]
    fn the_holder_comes_first() {
        let mut holder = Tenure::new(Pace::USUAL);
        holder.holds_since(7, SECOND);
        assert_eq!(holder.held(), Some((7, SECOND * 14)));
        holder.cut_off();
        assert_eq!(holder.step(SECOND * 900), Step::Renew(7));
        let mut other = Tenure::new(Pace::USUAL);
        for (connected, now, expired_too) in [(900, 900, false), (0, 909, false), (0, 910, true)] {
            if connected > 0 {
                other.connected(SECOND * connected);
            }
            assert_eq!(other.step(SECOND * now), Step::Take { expired_too });
        }
        other.cut_off();
        assert_eq!(other.step(SECOND * 950), Step::Take { expired_too: false });
    }
}
