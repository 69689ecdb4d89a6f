//! The banner rules, each by example, and then all of them against random histories of one tenant.

mod clocks;
mod ownership;

use super::*;
use crate::domain::monitoring::banner::style::BannerStyle;
use proptest::prelude::*;

const LEASE: Duration = Duration::from_secs(4 * 3600);

/// One tenant, its users and our daemon.
struct World {
    now: Timestamp,
    slot: Option<Shown>,
    state: BannerState,
    /// The record of another daemon with its own state.
    other: BannerState,
    policy: Policy,
    style: BannerStyle,
    wish: Wish,
    /// The same with issues of an earlier run; `None`: all monitors were read.
    held: Option<Wish>,
    coverage: Coverage,
    own_user: Option<String>,
    writes: Vec<Why>,
    /// The last banner that a person left enabled.
    person: Option<Banner>,
    /// No daemon may have it in its record any more.
    in_log_only: bool,
}

impl World {
    fn new(policy: Policy) -> World {
        let now = "2026-05-02T09:00:00Z".parse().unwrap();
        let coverage = ["A", "B", "C: 1"].map(|name| (name.to_owned(), Reach::Read)).into();
        World {
            now,
            slot: None,
            state: BannerState::default(),
            other: BannerState::default(),
            policy,
            style: BannerStyle::default(),
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

    fn plan(&mut self, slot: Option<&Shown>) -> PlanStep {
        let held = self.held.clone().unwrap_or_else(|| self.wish.clone());
        let desired = Desired { confirmed: self.wish.clone(), held, unpolled: false };
        let own_user = self.own_user.as_deref();
        let witnesses =
            Witnesses { coverage: &self.coverage, own_user, policy: self.policy, style: &self.style };
        plan(self.now, &desired, slot, &mut self.state, witnesses)
    }

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
        let link =
            crate::domain::monitoring::observation::Link::checked("https://status.acme.test/", "Status page");
        self.wish = Wish::Raise { kind: BannerKind::Error, message: message.into(), link, since };
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

    /// One reading and, if planned, one write, which may arrive and may get a response.
    fn step(&mut self, arrives: bool, answered: bool) -> Action {
        let slot = self.slot.clone();
        let theirs = self.shows_manual();
        let step = self.plan(slot.as_ref());
        if let Action::Write(banner, why) = &step.action {
            assert!(banner.enabled || !theirs, "a manual banner is never disabled");
            assert!(
                banner.end_time > banner.start_time && banner.start_time <= self.now || *why == Why::Restore
            );
            self.state.intend(banner, *why, self.now);
            self.state.sent(self.now);
            if arrives {
                self.writes.push(*why);
                self.put(banner.clone());
                if answered {
                    let answer = self.slot.clone().unwrap();
                    self.state.stored(*why, answer);
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

    /// The visible message; empty if no banner is visible.
    fn visible(&self) -> String {
        let visible = self.slot.as_ref().map(|s| &s.banner).filter(|b| b.visible(self.now));
        visible.map(|b| b.message.clone()).unwrap_or_default()
    }

    fn wrote(&mut self) -> Vec<Why> {
        std::mem::take(&mut self.writes)
    }
}

/// Rule 1. No write while nothing changes, also over a restart in between.
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

/// Rule 3. The start does not change with updates; the expiry is renewed once a quarter of it is left.
#[test]
fn keeps_the_start_and_renews_the_expiry() {
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

/// Rule 4. It is restored if its window has not ended.
#[test]
fn an_incident_displaces_and_restores_a_manual_banner() {
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

/// Rule 4. A change by hand during an incident stands until the assessment changes.
#[test]
fn a_person_s_choice_stands() {
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

/// Rule 4. With `respect` ours waits until the manual banner is gone.
#[test]
fn respects_a_manual_banner_if_configured() {
    let mut w = World::new(Policy { foreign: Foreign::Respect, ..World::displacing().policy });
    w.person_sets("Release party", 60).raise("A: down");
    assert_eq!(w.step(true, true), Action::Keep(Keep::Waiting));
    w.wait(61).settle();
    assert_eq!((w.visible(), w.wrote()), ("A: down".to_owned(), vec![Why::Raise]));
}

/// Rule 5.
#[test]
fn resolves_before_clearing() {
    let mut w = World::new(Policy { resolved_for: Duration::from_secs(600), ..World::displacing().policy });
    w.raise("A: down").settle().wait(5).calm().settle();
    assert_eq!((w.visible(), w.wrote()), ("Resolved: A: down".to_owned(), vec![Why::Raise, Why::Resolve]));
    w.wait(11).settle();
    assert_eq!((w.visible(), w.wrote()), (String::new(), vec![Why::Clear]));
}

/// A write that arrived without a response is recognised as ours at the next reading: it is neither repeated
/// nor taken for a manual banner.
#[test]
fn recognises_a_write_without_a_response() {
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

#[test]
fn a_disabled_manual_banner_is_not_restored() {
    let mut w = World::displacing();
    w.person_sets("Release party", 600).person_switches_off().raise("A: down").settle();
    w.calm().settle();
    assert_eq!(w.wrote(), [Why::Raise, Why::Clear]);
    assert!(w.state.displaced.is_none());
    // Nor is one that an earlier version recorded.
    w.person_sets("Release party", 600).raise("A: down").settle();
    if let Some(displaced) = &mut w.state.displaced {
        displaced.enabled = false;
    }
    w.calm().settle();
    assert_eq!((w.visible(), w.wrote()), (String::new(), vec![Why::Raise, Why::Clear]));
}

/// A response from a replica that lags behind our last write is not a change by hand.
#[test]
fn a_stale_response_is_ignored() {
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

/// A clock that was a year ahead at the write does not leave the banner up for a year.
#[test]
fn corrects_an_expiry_from_a_wrong_clock() {
    let mut w = World::displacing();
    w.wait(600_000).raise("A: down").settle();
    w.wait(-600_000);
    w.slot.as_mut().unwrap().updated_at = None;
    w.state.since = Some(w.now);
    w.settle();
    let end = w.slot.as_ref().unwrap().banner.end_time;
    assert!(end.duration_since(w.now) <= jiff::SignedDuration::from_hours(4), "{end}");
}

/// While only the message changes, writes are spaced; a change of type does not wait.
#[test]
fn spaces_changes_of_the_message() {
    let mut w = World::new(Policy { spacing: Duration::from_secs(120), ..World::displacing().policy });
    w.raise("A: down").settle().raise("A: down | B: down").settle();
    assert_eq!((w.visible(), w.step(true, true)), ("A: down".to_owned(), Action::Keep(Keep::Soon)));
    w.wait(2).settle();
    assert_eq!((w.visible(), w.wrote()), ("A: down | B: down".to_owned(), vec![Why::Raise, Why::Update]));
    w.wish = Wish::Raise { kind: BannerKind::Warning, message: "B: slow".into(), link: None, since: w.now };
    w.settle();
    assert_eq!(w.visible(), "B: slow");
}

/// `banner clear` during an incident counts as a person's choice, and a displaced banner is restored all the
/// same.
#[test]
fn clearing_by_hand_is_a_person_s_choice() {
    let mut w = World::displacing();
    w.person_sets("Release party", 600).raise("A: down").settle().wait(1);
    w.put(cleared(w.now));
    w.settle().wait(1).settle();
    assert_eq!((w.visible(), w.wrote()), (String::new(), vec![Why::Raise]));
    w.calm().settle();
    assert_eq!(w.visible(), "Release party");
}

/// The tenant may store its own times in whole seconds.
#[test]
fn tenant_times_may_be_whole_seconds() {
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
enum HistoryEvent {
    Raise(u8),
    Calm,
    Wait(i64),
    Person(u8, i64),
    SwitchOff,
    /// A person changes only the end, or only the link, of a banner of ours.
    EditEnd(i64),
    EditLink,
    /// A write that fails; the flag says whether it arrived all the same.
    Trouble(bool),
    /// The record is saved and loaded, as over a restart.
    Restart,
    /// The record is lost.
    Lose,
    /// Another daemon with its own record acts from now on.
    Other,
    Settle,
}

fn event() -> impl Strategy<Value = HistoryEvent> {
    prop_oneof![
        (0u8..3).prop_map(HistoryEvent::Raise),
        Just(HistoryEvent::Calm),
        (1i64..400).prop_map(HistoryEvent::Wait),
        ((0u8..3), (1i64..400)).prop_map(|(n, m)| HistoryEvent::Person(n, m)),
        Just(HistoryEvent::SwitchOff),
        (1i64..10_000).prop_map(HistoryEvent::EditEnd),
        Just(HistoryEvent::EditLink),
        any::<bool>().prop_map(HistoryEvent::Trouble),
        Just(HistoryEvent::Restart),
        Just(HistoryEvent::Lose),
        Just(HistoryEvent::Other),
        Just(HistoryEvent::Settle),
    ]
}

impl World {
    fn edit(&mut self, edit: impl FnOnce(&mut Banner, Timestamp)) {
        // A banner that is not visible is not edited; with another link it would be a manual one.
        let editable = self.slot.clone().filter(|shown| shown.banner.enabled && !self.shows_manual());
        if let Some(mut shown) = editable {
            edit(&mut shown.banner, self.now);
            self.put(shown.banner);
        }
    }

    fn happen(&mut self, event: HistoryEvent) {
        match event {
            HistoryEvent::Raise(n) => drop(self.raise(&format!("A: outage {n}"))),
            HistoryEvent::Calm => drop(self.calm()),
            HistoryEvent::Wait(minutes) => drop(self.wait(minutes)),
            // Both daemons have read the tenant before and after a person's change.
            HistoryEvent::Person(n, minutes) => {
                self.settle_all();
                self.person_sets(&format!("party {n} {minutes}"), minutes);
                self.settle_all();
            }
            HistoryEvent::SwitchOff => drop(self.settle_all().person_switches_off().settle_all()),
            HistoryEvent::EditEnd(minutes) => self.settle().edit(|banner, now| {
                banner.end_time = later(now, Duration::from_secs(60 * minutes.unsigned_abs()));
            }),
            HistoryEvent::EditLink => self.settle().edit(|banner, _| {
                (banner.link_enabled, banner.link_url) = (true, Some("https://acme.test/".into()));
            }),
            HistoryEvent::Trouble(arrives) => drop(self.step(arrives, false)),
            HistoryEvent::Restart => {
                let saved = serde_json::to_string(&self.state).unwrap();
                self.state = serde_json::from_str(&saved).unwrap();
            }
            HistoryEvent::Lose => {
                // The displaced banner is in the log, unless the other daemon saw it, too.
                self.in_log_only |= self.state.displaced.is_some() && !self.shows_manual();
                self.state = BannerState::default();
            }
            HistoryEvent::Other => std::mem::swap(&mut self.state, &mut self.other),
            HistoryEvent::Settle => drop(self.settle()),
        }
    }

    /// Both daemons have read the tenant and have nothing left to write.
    fn settle_all(&mut self) -> &mut World {
        for _ in 0..4 {
            let before = self.writes.len();
            self.settle();
            std::mem::swap(&mut self.state, &mut self.other);
            self.settle();
            std::mem::swap(&mut self.state, &mut self.other);
            if self.writes.len() == before {
                return self;
            }
        }
        panic!("two daemons do not settle: {:?}", self.writes);
    }
}

proptest! {
    /// In every history, including a lost record and a second daemon: writes end, a settled tenant gets no
    /// more writes, a tenant without an incident shows nothing of ours, and a manual banner whose window has
    /// not ended is visible after the incident.
    #[test]
    fn rules_hold_in_every_history(events in prop::collection::vec(event(), 0..30)) {
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
