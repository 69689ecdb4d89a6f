//! The rules of the banner, each by example, and then all of them against random histories of one tenant.

mod ownership;

use super::*;
use proptest::prelude::*;

const LEASE: Duration = Duration::from_secs(4 * 3600);

/// One tenant with people in it, and us.
struct World {
    now: Timestamp,
    slot: Option<Shown>,
    memory: Memory,
    /// Of another daemon with a state of its own.
    other: Memory,
    policy: Policy,
    wish: Wish,
    /// The same with issues of an earlier run; `None`: all was read.
    held: Option<Wish>,
    coverage: Coverage,
    own_user: Option<String>,
    writes: Vec<Why>,
    /// The last banner that a person left enabled.
    person: Option<Banner>,
    /// It may be remembered by no daemon any more.
    in_log_only: bool,
}

impl World {
    fn new(policy: Policy) -> World {
        let now = "2026-05-02T09:00:00Z".parse().unwrap();
        let coverage = ["A", "B", "C: 1"].map(|name| (name.to_owned(), Reach::Read)).into();
        World {
            now,
            slot: None,
            memory: Memory::default(),
            other: Memory::default(),
            policy,
            wish: Wish::Quiet,
            held: None,
            coverage,
            own_user: None,
            writes: vec![],
            person: None,
            in_log_only: false,
        }
    }

    fn displacing() -> World {
        World::new(Policy {
            lease: LEASE,
            resolved_for: Duration::ZERO,
            foreign: Foreign::Borrow,
            spacing: Duration::ZERO,
        })
    }

    fn plan(&mut self, slot: Option<&Shown>) -> Step {
        let held = self.held.clone().unwrap_or_else(|| self.wish.clone());
        let desired = Desired { confirmed: self.wish.clone(), held, unpolled: false };
        let own_user = self.own_user.as_deref();
        let witnesses = Witnesses { coverage: &self.coverage, own_user, policy: self.policy };
        plan(self.now, &desired, slot, &mut self.memory, witnesses)
    }

    /// Whether a person wrote what is in the slot.
    fn shows_manual(&self) -> bool {
        let words = |banner: &Banner| {
            ["A: ", "B: ", "Resolved: "].iter().any(|form| banner.message.starts_with(form))
        };
        self.slot.as_ref().is_some_and(|shown| shown.banner.enabled && !words(&shown.banner))
    }

    fn wait(&mut self, minutes: i64) -> &mut World {
        self.now = self.now.checked_add(jiff::SignedDuration::from_mins(minutes)).unwrap();
        self
    }

    fn raise(&mut self, message: &str) -> &mut World {
        let since = self.now;
        let link = crate::domain::observation::Link::checked("https://status.acme.test/", "Status page");
        self.wish = Wish::Raise { kind: Kind::Error, message: message.into(), link, since };
        self
    }

    fn calm(&mut self) -> &mut World {
        self.wish = Wish::Quiet;
        self
    }

    fn put(&mut self, banner: Banner) {
        self.now = self.now.checked_add(jiff::SignedDuration::from_millis(5)).unwrap();
        self.slot = Some(Shown { banner, updated_at: Some(self.now), updated_by: None });
    }

    fn person_sets(&mut self, message: &str, minutes: i64) -> &mut World {
        let end_time = self.now.checked_add(jiff::SignedDuration::from_mins(minutes)).unwrap();
        let banner = Banner {
            enabled: true,
            message: message.into(),
            start_time: self.now,
            end_time,
            ..cleared(self.now)
        };
        (self.person, self.in_log_only) = (Some(banner.clone()), false);
        self.put(banner);
        self
    }

    fn person_switches_off(&mut self) -> &mut World {
        if let Some(shown) = self.slot.clone() {
            if self.person.as_ref() == Some(&shown.banner) {
                self.person = None;
            }
            self.put(Banner { enabled: false, ..shown.banner });
        }
        self
    }

    /// One look and, if called for, one write, which arrives and is answered or not.
    fn step(&mut self, arrives: bool, answered: bool) -> Action {
        let slot = self.slot.clone();
        let theirs = self.shows_manual();
        let step = self.plan(slot.as_ref());
        if let Action::Write(banner, why) = &step.action {
            assert!(banner.enabled || !theirs, "a manual banner is never disabled");
            assert!(
                banner.end_time > banner.start_time && banner.start_time <= self.now || *why == Why::Restore
            );
            self.memory.intend(banner, *why, self.now);
            self.memory.sent(self.now);
            if arrives {
                self.writes.push(*why);
                self.put(banner.clone());
                if answered {
                    let answer = self.slot.clone().unwrap();
                    self.memory.stored(*why, answer);
                }
            }
        }
        step.action
    }

    fn settle(&mut self) -> &mut World {
        for _ in 0..4 {
            if let Action::Keep(_) = self.step(true, true) {
                return self;
            }
        }
        panic!("does not settle: {:?}", self.writes);
    }

    /// What people see; empty for nothing.
    fn visible(&self) -> String {
        let visible = self.slot.as_ref().map(|s| &s.banner).filter(|b| b.visible(self.now));
        visible.map(|b| b.message.clone()).unwrap_or_default()
    }

    fn wrote(&mut self) -> Vec<Why> {
        std::mem::take(&mut self.writes)
    }
}

/// Rule 1: one write per difference, none while nothing changes, also over a restart in between.
#[test]
fn writes_only_on_a_difference() {
    let mut w = World::displacing();
    w.settle();
    assert_eq!(w.wrote(), []);
    w.raise("A: down").settle();
    assert_eq!((w.visible(), w.writes.clone()), ("A: down".to_owned(), vec![Why::Raise]));
    for _ in 0..30 {
        w.wait(1).settle();
    }
    assert_eq!(w.wrote(), [Why::Raise]);
    w.raise("A: down | B: slow").settle();
    assert_eq!(w.wrote(), [Why::Update]);
    w.calm().settle();
    assert_eq!((w.visible(), w.wrote()), (String::new(), vec![Why::Clear]));
    w.wait(600).settle();
    assert_eq!(w.wrote(), []);
}

/// Rule 3: the start stays through updates; the expiry is renewed once a quarter of it is left, and not before.
#[test]
fn keeps_the_start_and_renews_the_lease() {
    let mut w = World::displacing();
    let began = w.now;
    w.raise("A: down").settle();
    w.wait(179).settle();
    assert_eq!(w.wrote(), [Why::Raise]);
    w.wait(2).settle();
    assert_eq!(w.wrote(), [Why::Renew]);
    w.raise("A: worse").settle();
    assert_eq!(w.slot.as_ref().unwrap().banner.start_time, began);
    w.wait(300).settle();
    assert_eq!((w.visible(), w.wrote()), ("A: worse".to_owned(), vec![Why::Update, Why::Renew]));
}

/// Rule 4: an incident displaces a manual banner and restores it while its window still runs.
#[test]
fn displaces_and_restores() {
    let mut w = World::displacing();
    w.person_sets("Release party", 600).wait(1).raise("A: down").settle();
    assert_eq!(w.visible(), "A: down");
    w.wait(30).calm().settle();
    assert_eq!((w.visible(), w.wrote()), ("Release party".to_owned(), vec![Why::Raise, Why::Restore]));
    w.wait(1).settle();
    assert_eq!(w.wrote(), []);

    w.person_sets("Short notice", 10).raise("A: down").settle().wait(30).calm().settle();
    assert_eq!((w.visible(), w.wrote()), (String::new(), vec![Why::Raise, Why::Clear]));
}

/// Rule 4: what a person does to the slot during an incident stands until the assessment changes.
#[test]
fn a_persons_choice_stands() {
    let mut w = World::displacing();
    w.raise("A: down").settle().wait(1).person_switches_off().settle().wait(200).settle();
    assert_eq!((w.visible(), w.wrote()), (String::new(), vec![Why::Raise]));
    w.raise("A: worse").settle();
    assert_eq!((w.visible(), w.wrote()), ("A: worse".to_owned(), vec![Why::Raise]));
    w.person_sets("We know, relax", 60).settle().wait(5).settle();
    assert_eq!((w.visible(), w.wrote()), ("We know, relax".to_owned(), vec![]));
    w.calm().settle();
    assert_eq!((w.visible(), w.wrote()), ("We know, relax".to_owned(), vec![]));
}

/// Rule 4: with `respect` ours waits until the person's banner is gone.
#[test]
fn respects_if_told_to() {
    let mut w = World::new(Policy { foreign: Foreign::Respect, ..World::displacing().policy });
    w.person_sets("Release party", 60).raise("A: down");
    assert_eq!(w.step(true, true), Action::Keep(Keep::Waiting));
    w.wait(61).settle();
    assert_eq!((w.visible(), w.wrote()), ("A: down".to_owned(), vec![Why::Raise]));
}

/// Rule 5: with a time for it, `resolved` shows first and then the banner is off.
#[test]
fn resolves_before_clearing() {
    let mut w = World::new(Policy { resolved_for: Duration::from_secs(600), ..World::displacing().policy });
    w.raise("A: down").settle().wait(5).calm().settle();
    assert_eq!((w.visible(), w.wrote()), ("Resolved: A: down".to_owned(), vec![Why::Raise, Why::Resolve]));
    w.wait(11).settle();
    assert_eq!((w.visible(), w.wrote()), (String::new(), vec![Why::Clear]));
}

/// A write that arrived but was not answered is recognised as ours at the next look: it is neither repeated
/// nor taken for a person's.
#[test]
fn knows_a_write_without_an_answer() {
    let mut w = World::displacing();
    w.raise("A: down");
    w.step(true, false);
    w.settle();
    assert_eq!(w.wrote(), [Why::Raise]);
    w.calm();
    w.step(true, false);
    w.settle();
    assert_eq!((w.visible(), w.wrote()), (String::new(), vec![Why::Clear]));
}

/// A manual banner that a person switched off is not written back after an incident: no one misses it.
#[test]
fn a_disabled_manual_banner_is_not_restored() {
    let mut w = World::displacing();
    w.person_sets("Release party", 600).person_switches_off().raise("A: down").settle();
    w.calm().settle();
    assert_eq!(w.wrote(), [Why::Raise, Why::Clear]);
    assert!(w.memory.displaced.is_none());
    // Nor is one that an earlier version remembered.
    w.person_sets("Release party", 600).raise("A: down").settle();
    if let Some(displaced) = &mut w.memory.displaced {
        displaced.enabled = false;
    }
    w.calm().settle();
    assert_eq!((w.visible(), w.wrote()), (String::new(), vec![Why::Raise, Why::Clear]));
}

/// An answer from a copy that lags behind our last write is no person's work: nothing is written upon it.
#[test]
fn a_stale_answer_is_waited_out() {
    let mut w = World::displacing();
    w.person_sets("Release party", 600).raise("A: down");
    let before = w.slot.clone();
    w.step(true, true);
    let after = std::mem::replace(&mut w.slot, before);
    assert_eq!(w.step(true, true), Action::Keep(Keep::Stale));
    w.slot = after;
    assert_eq!(w.step(true, true), Action::Keep(Keep::Right));
    assert_eq!(w.wrote(), [Why::Raise]);
}

/// A clock that was a year ahead when the lease was written does not leave the banner up for a year.
#[test]
fn mends_a_lease_from_a_wrong_clock() {
    let mut w = World::displacing();
    w.wait(600_000).raise("A: down").settle();
    w.wait(-600_000);
    w.slot.as_mut().unwrap().updated_at = None;
    w.memory.since = Some(w.now);
    w.settle();
    let end = w.slot.as_ref().unwrap().banner.end_time;
    assert!(end.duration_since(w.now) <= jiff::SignedDuration::from_hours(4), "{end}");
}

/// While only the words change, writes keep their distance; a change of the kind does not wait.
#[test]
fn spaces_changes_of_words() {
    let mut w = World::new(Policy { spacing: Duration::from_secs(120), ..World::displacing().policy });
    w.raise("A: down").settle().raise("A: down | B: down").settle();
    assert_eq!((w.visible(), w.step(true, true)), ("A: down".to_owned(), Action::Keep(Keep::Soon)));
    w.wait(2).settle();
    assert_eq!((w.visible(), w.wrote()), ("A: down | B: down".to_owned(), vec![Why::Raise, Why::Update]));
    w.wish = Wish::Raise { kind: Kind::Warning, message: "B: slow".into(), link: None, since: w.now };
    w.settle();
    assert_eq!(w.visible(), "B: slow");
}

/// `banner clear` by hand during an incident is a person's choice, and a displaced banner still returns.
#[test]
fn cleared_by_hand() {
    let mut w = World::displacing();
    w.person_sets("Release party", 600).raise("A: down").settle().wait(1);
    w.put(cleared(w.now));
    w.settle().wait(1).settle();
    assert_eq!((w.visible(), w.wrote()), (String::new(), vec![Why::Raise]));
    w.calm().settle();
    assert_eq!(w.visible(), "Release party");
}

/// A tenant that keeps whole seconds of its own times is still read.
#[test]
fn coarse_tenant_clocks() {
    let mut w = World::displacing();
    w.wait(0).raise("A: down");
    w.now = "2026-05-02T09:00:00.567Z".parse().unwrap();
    w.step(true, true);
    w.slot.as_mut().unwrap().updated_at = Some("2026-05-02T09:00:00Z".parse().unwrap());
    assert_eq!(w.step(true, true), Action::Keep(Keep::Right));
    w.calm().settle();
    assert_eq!(w.visible(), "");
}

#[derive(Debug, Clone)]
enum Event {
    Raise(u8),
    Calm,
    Wait(i64),
    Person(u8, i64),
    SwitchOff,
    /// A person changes only the end, or only the link, of a banner of ours.
    EditEnd(i64),
    EditLink,
    /// A write that fails: whether it arrived all the same.
    Trouble(bool),
    /// The memory goes through the store, as over a restart.
    Restart,
    /// The memory is lost.
    Lose,
    /// Another daemon with a memory of its own acts from now on.
    Other,
    Settle,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0u8..3).prop_map(Event::Raise),
        Just(Event::Calm),
        (1i64..400).prop_map(Event::Wait),
        ((0u8..3), (1i64..400)).prop_map(|(n, m)| Event::Person(n, m)),
        Just(Event::SwitchOff),
        (1i64..10_000).prop_map(Event::EditEnd),
        Just(Event::EditLink),
        any::<bool>().prop_map(Event::Trouble),
        Just(Event::Restart),
        Just(Event::Lose),
        Just(Event::Other),
        Just(Event::Settle),
    ]
}

impl World {
    fn edit(&mut self, edit: impl FnOnce(&mut Banner, Timestamp)) {
        if let Some(mut shown) = self.slot.clone().filter(|_| !self.shows_manual()) {
            edit(&mut shown.banner, self.now);
            self.put(shown.banner);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Raise(n) => drop(self.raise(&format!("A: outage {n}"))),
            Event::Calm => drop(self.calm()),
            Event::Wait(minutes) => drop(self.wait(minutes)),
            // Both daemons have read the tenant before and after a person changes something.
            Event::Person(n, minutes) => {
                self.settle_all();
                self.person_sets(&format!("party {n} {minutes}"), minutes);
                self.settle_all();
            }
            Event::SwitchOff => drop(self.settle_all().person_switches_off().settle_all()),
            Event::EditEnd(minutes) => self.settle().edit(|banner, now| {
                banner.end_time = later(now, Duration::from_secs(60 * minutes.unsigned_abs()));
            }),
            Event::EditLink => self.settle().edit(|banner, _| {
                (banner.link_enabled, banner.link_url) = (true, Some("https://acme.test/".into()));
            }),
            Event::Trouble(arrives) => drop(self.step(arrives, false)),
            Event::Restart => {
                let kept = serde_json::to_string(&self.memory).unwrap();
                self.memory = serde_json::from_str(&kept).unwrap();
            }
            Event::Lose => {
                // What it displaced is in its log, unless the other daemon saw it, too.
                self.in_log_only |= self.memory.displaced.is_some() && !self.shows_manual();
                self.memory = Memory::default();
            }
            Event::Other => std::mem::swap(&mut self.memory, &mut self.other),
            Event::Settle => drop(self.settle()),
        }
    }

    /// Both daemons have seen the tenant and have nothing to write any more.
    fn settle_all(&mut self) -> &mut World {
        for _ in 0..4 {
            let before = self.writes.len();
            self.settle();
            std::mem::swap(&mut self.memory, &mut self.other);
            self.settle();
            std::mem::swap(&mut self.memory, &mut self.other);
            if self.writes.len() == before {
                return self;
            }
        }
        panic!("two daemons do not settle: {:?}", self.writes);
    }
}

proptest! {
    /// Whatever happens, a lost memory and a second daemon included: it settles, a settled tenant is left alone, a calm
    /// tenant shows nothing of ours, and a manual banner that would still run without us runs after the incident.
    #[test]
    fn holds_in_every_history(events in prop::collection::vec(event(), 0..30)) {
        let mut w = World::displacing();
        for event in events {
            w.happen(event);
        }
        w.settle_all();
        w.wrote();
        w.settle_all();
        prop_assert_eq!(w.wrote(), []);
        w.calm().settle_all();
        let running = w.person.as_ref().filter(|b| b.visible(w.now)).map(|b| b.message.clone()).unwrap_or_default();
        let visible = w.visible();
        // Another daemon may know only an earlier one.
        prop_assert!(
            visible == running || (w.in_log_only && !visible.starts_with("A: ")),
            "{visible} instead of {running}"
        );
    }
}
