//! Two daemons, one tenant: what the next one makes of the other's writes, before it hears of them and after.

use super::*;

/// Two daemons that take turns. What they keep is shared, unless the database is away.
struct Pair {
    world: World,
    /// The memory in the database.
    kept: Memory,
    /// Whether the present holder reaches it.
    reached: bool,
    /// What former holders could not keep.
    reports: Vec<Memory>,
    /// Writes that are still on their way.
    late: Vec<Banner>,
}

impl Pair {
    fn new() -> Pair {
        let (world, kept) = (World::borrow(), Memory::default());
        Pair { world, kept, reached: true, reports: vec![], late: vec![] }
    }

    fn keep(&mut self) {
        if self.reached {
            self.kept = self.world.memory.clone();
        }
    }

    /// The holder acts, and keeps what it may: what it is about to write before it writes.
    fn act(&mut self) {
        // The words of ours within the same second are ours, whoever wrote them.
        self.world.wait(1);
        for _ in 0..4 {
            let before = self.world.memory.clone();
            let step = self.world.step(true, true);
            self.keep();
            if let Action::Keep(_) = step {
                return;
            }
            assert!(before != self.world.memory || matches!(step, Action::Keep(_)));
        }
        panic!("does not settle: {:?}", self.world.writes);
    }

    /// The holder sends a write that does not arrive for the time being. Not one that hands a person's banner back:
    /// nobody could tell its late arrival from that person. And not one that nobody has heard of.
    fn act_late(&mut self) {
        let w = &mut self.world;
        let step = plan(w.now, &w.wish, w.slot.as_ref(), &mut w.memory, w.policy);
        if let Action::Write(banner, why) = step.action
            && why != Why::HandBack
            && self.reached
        {
            w.memory.sending(&banner, why, w.now);
            self.late.push(banner);
        }
        self.keep();
    }

    fn arrive(&mut self) {
        if !self.late.is_empty() {
            let banner = self.late.remove(0);
            self.world.put(banner);
        }
    }

    /// The other has the lease now, and knows what is kept; the former one has something to report, if it lost touch.
    fn take_over(&mut self) {
        let former = std::mem::replace(&mut self.world.memory, self.kept.clone());
        if former != self.kept {
            self.reports.push(former);
        }
        self.reached = true;
    }

    fn hear(&mut self) {
        for report in std::mem::take(&mut self.reports) {
            self.world.memory.learn(&report);
            let once = self.world.memory.clone();
            self.world.memory.learn(&report);
            assert_eq!(self.world.memory, once, "learned twice");
        }
        self.keep();
    }
}

/// A banner that the next holder borrowed as a person's, and that was the former's, is not handed back.
#[test]
fn gives_back_nothing_of_ours() {
    let mut pair = Pair::new();
    pair.act();
    pair.reached = false;
    pair.world.raise("A: down");
    pair.act();
    pair.take_over();
    pair.world.raise("A: down | B: down");
    pair.act();
    assert_eq!(pair.world.memory.borrowed.as_ref().map(|b| b.message.as_str()), Some("A: down"));
    pair.hear();
    assert_eq!(pair.world.memory.borrowed, None);
    pair.world.calm();
    pair.act();
    assert_eq!(pair.world.visible(), "");
}

/// Nor does it overrule anything; and the person's banner whose place the former holder took returns.
#[test]
fn learns_whose_place_was_taken() {
    let mut pair = Pair::new();
    pair.world.person_sets("Release party", 600);
    pair.act();
    pair.reached = false;
    pair.world.raise("A: down");
    pair.act();
    pair.take_over();
    pair.act();
    pair.hear();
    pair.world.calm();
    pair.act();
    assert_eq!(pair.world.visible(), "Release party");
}

/// So it is when one holder after the other could say nothing, and each took the banner of the one before it for a
/// person's; also when the first is heard last.
#[test]
fn looks_behind_banners_that_displaced_each_other() {
    for last_first in [false, true] {
        let mut pair = Pair::new();
        pair.world.person_sets("Release party", 600);
        pair.act();
        for number in 0..3 {
            pair.reached = false;
            pair.world.raise(&format!("A: outage {number}"));
            pair.act();
            pair.take_over();
            pair.act();
        }
        if last_first {
            pair.reports.reverse();
        }
        pair.hear();
        pair.world.calm();
        pair.act();
        assert_eq!(pair.world.visible(), "Release party", "last first: {last_first}");
    }
}

/// A write of the former holder that arrives late, over a banner that the next one took for a person's decision or had
/// just handed back, is put right.
#[test]
fn late_writes_displace_nobody() {
    let mut pair = Pair::new();
    pair.world.person_sets("Release party", 600);
    pair.world.raise("A: down");
    pair.act();
    pair.world.raise("A: down | B: down");
    pair.act_late();
    pair.take_over();
    pair.world.calm();
    pair.act();
    assert_eq!(pair.world.visible(), "Release party");
    pair.arrive();
    assert_eq!(pair.world.visible(), "A: down | B: down");
    pair.act();
    assert_eq!(pair.world.visible(), "Release party");
}

#[derive(Debug, Clone)]
enum Turn {
    Raise(u8),
    Calm,
    Act,
    ActLate,
    Arrive,
    LoseDatabase,
    TakeOver,
    Hear,
    Person(u8),
    Wait(i64),
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        2 => (0u8..3).prop_map(Turn::Raise),
        1 => Just(Turn::Calm),
        4 => Just(Turn::Act),
        1 => Just(Turn::ActLate),
        1 => Just(Turn::Arrive),
        2 => Just(Turn::LoseDatabase),
        2 => Just(Turn::TakeOver),
        2 => Just(Turn::Hear),
        1 => (0u8..3).prop_map(Turn::Person),
        1 => (1i64..20).prop_map(Turn::Wait),
    ]
}

proptest! {
    /// However daemons take turns, lose the database one after the other and send writes that arrive late: once all is reported and has
    /// arrived, a calm tenant shows nothing of ours, and the last banner that a person set.
    #[test]
    fn ends_well_for_people(turns in prop::collection::vec(turn(), 0..30)) {
        let mut pair = Pair::new();
        for turn in turns {
            match turn {
                Turn::Raise(n) => { pair.world.raise(&format!("A: outage {n}")); }
                Turn::Calm => { pair.world.calm(); }
                Turn::Act => pair.act(),
                Turn::ActLate => pair.act_late(),
                Turn::Arrive => pair.arrive(),
                Turn::LoseDatabase => pair.reached = false,
                // The next one looks at once.
                Turn::TakeOver => {
                    pair.take_over();
                    pair.act();
                }
                Turn::Hear => pair.hear(),
                // A holder has seen the tenant after a person before anything else happens; and where it cannot keep
                // what it saw, nothing is on its way any more.
                Turn::Person(n) => {
                    while !pair.reached && !pair.late.is_empty() {
                        pair.arrive();
                    }
                    pair.act();
                    pair.world.person_sets(&format!("party {n}"), 100_000);
                    pair.act();
                    pair.keep();
                }
                Turn::Wait(minutes) => { pair.world.wait(minutes); }
            }
        }
        while !pair.late.is_empty() {
            pair.arrive();
            pair.act();
        }
        pair.hear();
        pair.world.calm();
        pair.act();
        let person = pair.world.person.as_ref().map(|b| b.message.clone()).unwrap_or_default();
        prop_assert_eq!(pair.world.visible(), person);
    }
}
