//! Clocks of the tenant that go back or disagree.

use super::*;

/// The tenant's clock went back after a write: its times on both sides of that do not compare.
#[test]
fn a_clock_that_went_back_makes_no_answer_stale() {
    // The write arrives unanswered, and the assessment changes right after it.
    let mut w = World::displacing();
    w.raise("A: down").settle().wait(-20).raise("A: worse");
    w.step(true, false);
    w.raise("A: down | B: slow").settle();
    assert_eq!(w.visible(), "A: down | B: slow");
    // The write does not arrive, and a person acts.
    let mut w = World::displacing();
    w.raise("A: down").settle().wait(-20).raise("A: worse");
    w.step(false, false);
    w.person_sets("We know, relax", 60).raise("A: down");
    assert_eq!(w.step(true, true), Action::Keep(Keep::PersonDecided));
    // The clock comes to the time of our write again.
    let mut w = World::displacing();
    w.raise("A: down").settle().wait(-20).person_switches_off().settle().wait(20).raise("A: worse");
    w.step(false, false);
    w.settle();
    assert_eq!(w.visible(), "A: worse");
    // The write restores a manual banner.
    let mut w = World::displacing();
    w.person_sets("Release party", 600).wait(30).raise("A: down").settle().wait(-20).calm();
    w.step(true, false);
    assert_eq!((w.visible(), w.step(true, true)), ("Release party".to_owned(), Action::Keep(Keep::Manual)));
}

/// Two servers of the tenant disagree by seconds about the time: what shows our last write does not lag behind it.
#[test]
fn an_unanswered_write_that_shows_is_not_stale() {
    let mut w = World::displacing();
    w.raise("A: down").settle();
    let ahead = Some(later(w.now, Duration::from_secs(3)));
    w.state.written_at = ahead;
    w.slot.as_mut().unwrap().updated_at = ahead;
    w.raise("A: worse");
    w.step(true, false);
    assert_eq!(w.step(true, true), Action::Keep(Keep::Right));
    w.person_switches_off();
    assert_eq!(w.step(true, true), Action::Keep(Keep::PersonDecided));
    assert_eq!((w.visible(), w.wrote()), (String::new(), vec![Why::Raise, Why::Update]));
}

proptest! {
    /// A daemon that keeps its state settles and holds the rules, whenever the clock goes back.
    #[test]
    fn a_clock_that_goes_back_breaks_no_rule(
        events in prop::collection::vec((prop::option::weighted(0.2, 1i64..400), event()), 0..30)
    ) {
        let mut w = World::displacing();
        for (back, event) in events {
            if let Some(minutes) = back {
                // A manual banner that is over is not missed when its time comes again.
                w.person.take_if(|banner| !banner.has_time_left(w.now));
                w.wait(-minutes);
            }
            match event {
                HistoryEvent::Lose | HistoryEvent::Other => {}
                HistoryEvent::Person(n, minutes) => {
                    w.settle().person_sets(&format!("party {n} {minutes}"), minutes).settle();
                }
                HistoryEvent::SwitchOff => {
                    w.settle().person_switches_off().settle();
                }
                event => w.happen(event),
            }
        }
        w.settle().wrote();
        w.settle();
        prop_assert_eq!(w.wrote(), []);
        w.calm().settle();
        let (visible, person) = (w.visible(), w.person.as_ref().filter(|banner| banner.visible(w.now)));
        match person {
            Some(banner) => prop_assert_eq!(visible, banner.message.clone()),
            None => prop_assert!(!visible.starts_with("A: "), "{}", visible),
        }
    }
}
