//! A day of random events: polls, failures, mutes, lost answers, crashes, restarts. In the end each incident has one message,
//! and its last edit is the truth. No service leaves an incident before it was read healthy or is muted.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const MONITORS: [&str; 4] = ["A", "B", "C", "D"];

#[derive(Debug, Clone)]
enum Event {
    /// A status page shows another severity.
    Turns(usize, Severity),
    /// A poll succeeds or fails.
    Polls(usize, bool),
    /// A page could not be read for so long that its last known state counts no longer.
    Expires(usize),
    /// A person mutes a monitor, or ends that.
    Mutes(usize),
    Passes(u32),
    Attempts(Outcome),
    Restarts,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Outcome {
    Confirmed,
    Refused,
    /// The receiver stored it, and its answer is lost.
    AnswerLost,
    /// The message is lost on its way; the sender cannot know.
    MessageLost,
    CrashBefore,
    CrashAfter,
}

fn event() -> impl Strategy<Value = Event> {
    let severity = prop::sample::select(vec![
        Severity::None,
        Severity::None,
        Severity::Minor,
        Severity::Major,
        Severity::Critical,
    ]);
    let outcome = prop::sample::select(vec![
        Outcome::Confirmed,
        Outcome::Confirmed,
        Outcome::Confirmed,
        Outcome::Refused,
        Outcome::AnswerLost,
        Outcome::MessageLost,
        Outcome::CrashBefore,
        Outcome::CrashAfter,
    ]);
    prop_oneof![
        4 => (0..MONITORS.len(), severity).prop_map(|(which, severity)| Event::Turns(which, severity)),
        8 => (0..MONITORS.len(), prop::bool::weighted(0.8)).prop_map(|(which, read)| Event::Polls(which, read)),
        2 => (0..MONITORS.len()).prop_map(Event::Expires),
        1 => (0..MONITORS.len()).prop_map(Event::Mutes),
        3 => (1u32..600).prop_map(Event::Passes),
        8 => outcome.prop_map(Event::Attempts),
        1 => Just(Event::Restarts),
    ]
}

struct World {
    truth: [Severity; 4],
    /// As last read, and whether since the start.
    read: [(Severity, Reach); 4],
    /// The last reading, however old.
    last: [Severity; 4],
    muted: [bool; 4],
    /// Incidents of muted services that were closed without a message.
    closed: BTreeSet<String>,
    state: ChannelState,
    /// The state as saved.
    saved: String,
    now: Timestamp,
    rules: ChannelRules,
    /// What the channel shows: each message as it was last edited.
    shown: Vec<News>,
    /// Messages whose receipt was lost.
    unclear: usize,
    /// Incidents as the polls show them.
    incidents: usize,
}

impl World {
    fn assessment(&self, held: bool) -> Assessment {
        let issues = MONITORS.iter().zip(&self.read).zip(self.muted);
        let issues = issues.filter(|((_, (severity, reach)), muted)| {
            *severity > Severity::None && !muted && (held || *reach == Reach::Read)
        });
        Assessment::sorted(
            issues.map(|((name, (severity, _)), _)| issue(name, *severity, severity.as_str())).collect(),
        )
    }

    fn coverage(&self) -> Coverage {
        let all = MONITORS.iter().zip(&self.read).zip(self.muted);
        all.map(|((name, (_, reach)), muted)| ((*name).to_owned(), if muted { Reach::Muted } else { *reach }))
            .collect()
    }

    fn next(&mut self) -> Option<News> {
        let (confirmed, held, coverage) = (self.assessment(false), self.assessment(true), self.coverage());
        let outlook = Outlook { confirmed: &confirmed, held: &held, coverage: &coverage };
        let before = self.state.open.clone();
        match next(self.now, "ops", outlook, &self.rules, &mut self.state) {
            NewsStep::Send(news) => {
                self.check(&news, before.iter().flat_map(OpenIncident::named).collect());
                Some(*news)
            }
            NewsStep::Wait(_) => {
                let closed = before.filter(|_| self.state.open.is_none());
                let muted = |news: &&News| news.services.iter().any(|one| self.is_muted(&one.name));
                if let Some(open) = closed.filter(|open| open.named().iter().any(muted)) {
                    self.closed.insert(open.key);
                }
                None
            }
        }
    }

    fn is_muted(&self, name: &str) -> bool {
        MONITORS.iter().zip(self.muted).any(|(monitor, muted)| *monitor == name && muted)
    }

    /// A service that a message does not show any more was read healthy, or is muted; a resolved one was read healthy.
    fn check(&self, news: &News, before: Vec<&News>) {
        let ended = news.state == NewsState::Resolved;
        let named = |news: &News, name: &str| news.services.iter().any(|one| one.name == name);
        for ((name, last), muted) in MONITORS.iter().zip(self.last).zip(self.muted) {
            let leaves = before.iter().any(|old| named(old, name)) && (ended || !named(news, name));
            let silent = muted && !named(news, name);
            assert!(
                !leaves || silent || last == Severity::None,
                "{name} was not read healthy: {news:#?} after {before:#?}"
            );
        }
    }

    fn save(&mut self) {
        self.saved = serde_json::to_string(&self.state).unwrap();
    }

    fn restart(&mut self) {
        self.state = serde_json::from_str(&self.saved).unwrap();
        for (_, reach) in &mut self.read {
            *reach = Reach::Unpolled;
        }
    }

    /// The receiver stores a message: an edit of the one with the receipt, or another one.
    fn store(&mut self, news: News) -> Receipt {
        let edited = self.state.receipt().map(|receipt| receipt.0.parse::<usize>().unwrap());
        let place = edited.unwrap_or_else(|| {
            self.shown.push(news.clone());
            self.shown.len() - 1
        });
        self.shown[place] = news;
        Receipt(place.to_string())
    }

    fn attempt(&mut self, outcome: Outcome) -> bool {
        let Some(news) = self.next() else {
            self.save();
            return false;
        };
        // An exchange takes time, so that no two incidents start in the same millisecond.
        self.now = later(self.now, Duration::from_millis(1));
        let first = self.state.receipt().is_none();
        let earlier = self.state.intend(&news);
        self.save();
        let lost = matches!(outcome, Outcome::AnswerLost | Outcome::CrashAfter);
        self.unclear += usize::from(lost && first);
        match outcome {
            Outcome::Confirmed => {
                let receipt = self.store(news);
                self.state.confirm(receipt, self.now);
            }
            Outcome::Refused => self.state.fail(earlier, "refused"),
            Outcome::AnswerLost => {
                self.store(news);
                self.state.fail(true, "no answer");
            }
            Outcome::MessageLost => self.state.fail(true, "no answer"),
            Outcome::CrashBefore => return self.crash(),
            Outcome::CrashAfter => {
                self.store(news);
                return self.crash();
            }
        }
        self.save();
        true
    }

    fn crash(&mut self) -> bool {
        self.restart();
        true
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Turns(which, severity) => self.truth[which] = severity,
            Event::Polls(which, true) => self.poll(which),
            Event::Polls(which, false) => {
                let reach = &mut self.read[which].1;
                if *reach == Reach::Unpolled {
                    *reach = Reach::Unread;
                }
            }
            Event::Expires(which) => {
                let (severity, reach) = &mut self.read[which];
                if *severity > Severity::None || *reach == Reach::Unread {
                    (*severity, *reach) = (Severity::None, Reach::Expired);
                }
                let _ = self.next();
            }
            Event::Mutes(which) => self.mute(which, !self.muted[which]),
            Event::Passes(seconds) => self.now = later(self.now, Duration::from_secs(seconds.into())),
            Event::Attempts(outcome) => drop(self.attempt(outcome)),
            Event::Restarts => self.restart(),
        }
    }

    fn poll(&mut self, which: usize) {
        let quiet = self.assessment(true).issues.is_empty();
        self.read[which] = (self.truth[which], Reach::Read);
        self.last[which] = self.truth[which];
        self.follow(quiet);
    }

    fn mute(&mut self, which: usize, muted: bool) {
        let quiet = self.assessment(true).issues.is_empty();
        self.muted[which] = muted;
        self.follow(quiet);
    }

    fn follow(&mut self, quiet: bool) {
        self.incidents += usize::from(quiet && !self.assessment(true).issues.is_empty());
        // The sender follows each change.
        let _ = self.next();
    }

    /// All pages can be read, and every message arrives.
    fn settle(&mut self) {
        for which in 0..MONITORS.len() {
            self.poll(which);
            self.mute(which, false);
        }
        self.now = later(self.now, Duration::from_secs(120));
        let mut rounds = 0;
        while self.attempt(Outcome::Confirmed) {
            self.now = later(self.now, Duration::from_secs(120));
            rounds += 1;
            assert!(rounds < 5, "the same is sent over and over: {:#?}", self.state);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn each_incident_has_one_message_and_its_last_edit_is_the_truth(
        events in prop::collection::vec(event(), 0..240),
        spacing in prop::sample::select(vec![0u64, 60]),
    ) {
        let mut world = World {
            truth: [Severity::None; 4],
            read: [(Severity::None, Reach::Unpolled); 4],
            last: [Severity::None; 4],
            muted: [false; 4],
            closed: BTreeSet::new(),
            state: ChannelState::default(),
            saved: String::new(),
            now: at(0),
            rules: ChannelRules { spacing: Duration::from_secs(spacing), ..RULES },
            shown: Vec::new(),
            unclear: 0,
            incidents: 0,
        };
        world.save();
        for event in events {
            world.apply(event);
        }
        world.settle();
        let mut by_key: BTreeMap<&str, Vec<&News>> = BTreeMap::new();
        for news in &world.shown {
            by_key.entry(&news.key).or_default().push(news);
        }
        let duplicates = world.shown.len() - by_key.len();
        prop_assert!(duplicates <= world.unclear, "{duplicates} duplicates, {} unclear", world.unclear);
        prop_assert!(by_key.len() <= world.incidents, "{by_key:#?} for {} incidents", world.incidents);
        let open = world.state.open.as_ref().map(|open| open.key.as_str());
        for (key, messages) in by_key {
            let last = messages[messages.len() - 1];
            let ended = last.state == NewsState::Resolved;
            // A crash may open an incident again that was closed without a message.
            let closed = open != Some(key) && world.closed.contains(key);
            prop_assert_eq!(ended || closed, open != Some(key), "{:#?}", last);
        }
        let truth = world.assessment(true);
        prop_assert_eq!(open.is_some(), !truth.issues.is_empty());
        if let Some(last) = world.shown.iter().rfind(|news| Some(news.key.as_str()) == open) {
            let shown: Vec<_> = last.services.iter().map(|one| (one.name.as_str(), one.severity)).collect();
            let real: Vec<_> = truth.issues.iter().map(|one| (one.monitor.as_str(), one.severity)).collect();
            prop_assert_eq!(shown, real);
        }
    }
}
