//! Whose a banner is, and what is concluded before the monitors were read.

use super::*;

fn banner(kind: Kind, message: &str, minutes: u64, label: Option<&str>) -> Banner {
    let start_time: Timestamp = "2026-05-02T08:00:00Z".parse().unwrap();
    Banner {
        kind,
        enabled: true,
        message: message.into(),
        start_time,
        end_time: later(start_time, Duration::from_secs(60 * minutes)),
        link_enabled: label.is_some(),
        link_url: label.map(|_| "https://status.acme.test/".into()),
        link_label: label.map(Into::into),
    }
}

/// Without any memory, as in a container without a volume: what is ours and what is a manual banner.
#[test]
fn tells_ours_without_memory() {
    let mut w = World::displacing();
    w.own_user = Some("bot".into());
    w.raise("A: down");
    let at = "2026-05-02T08:00:00Z".parse().unwrap();
    for (number, (banner, by, ours)) in [
        // What we would write now, whatever its window.
        (banner(Kind::Error, "A: down", 7, None), "ann", true),
        // Our form and our expiry, our own user, or a link label of ours.
        (banner(Kind::Error, "A: gone", 240, None), "ann", true),
        (banner(Kind::Error, "A: gone", 7, None), "bot", true),
        (banner(Kind::Error, "A: gone", 7, Some("Incident")), "ann", true),
        (banner(Kind::Info, "C: 1: slow | A: gone", 240, None), "ann", true),
        (banner(Kind::Warning, "B: slow… | +2 more", 240, None), "ann", true),
        (banner(Kind::Resolved, "Resolved: B: slow", 240, None), "ann", true),
        // Neither the form alone, nor its support alone.
        (banner(Kind::Error, "A: gone", 7, None), "ann", false),
        (banner(Kind::Info, "Release party", 240, Some("Incident")), "bot", false),
        (banner(Kind::Info, "Party: A: gone", 240, None), "bot", false),
        (banner(Kind::Other("party".into()), "A: gone", 240, None), "bot", false),
        (banner(Kind::Resolved, "A: gone", 240, None), "bot", false),
    ]
    .into_iter()
    .enumerate()
    {
        let shown = Shown { banner, updated_at: Some(at), updated_by: Some(by.to_owned()) };
        let witnesses =
            Witnesses { coverage: &w.coverage, own_user: w.own_user.as_deref(), policy: w.policy };
        let slot = super::super::ownership::slot(Some(&shown), &w.memory, &[&w.wish], witnesses);
        assert_eq!(matches!(slot, Slot::Ours { .. }), ours, "case {number}: {slot:?}");
        assert_eq!(matches!(slot, Slot::Manual(_)), !ours, "case {number}: {slot:?}");
    }
}

/// A lost memory, or a daemon with another one: the banner is adopted without a write and cleared at the end.
#[test]
fn adopts_what_says_the_right_thing() {
    let mut w = World::displacing();
    w.raise("A: down").settle().wait(1);
    w.memory = Memory::default();
    w.settle();
    assert_eq!(w.wrote(), [Why::Raise]);
    w.raise("A: down | B: slow").settle();
    assert_eq!(w.wrote(), [Why::Update]);
    w.calm().settle();
    assert_eq!((w.visible(), w.wrote()), (String::new(), vec![Why::Clear]));
}

/// When the incident ended while nothing was remembered: cleared, and a manual banner is left alone.
#[test]
fn clears_what_it_forgot() {
    let mut w = World::displacing();
    w.raise("A: down").settle().wait(1).calm();
    w.memory = Memory::default();
    w.settle();
    assert_eq!((w.visible(), w.wrote()), (String::new(), vec![Why::Raise, Why::Clear]));
    w.person_sets("A: we know, see the wiki", 600).wait(1).settle();
    assert_eq!(w.visible(), "A: we know, see the wiki");
}

/// A person who changes only the end or the link overrules us until the assessment changes; our words are never
/// restored, and they go with the incident.
#[test]
fn an_edit_of_ours_stands_and_is_never_restored() {
    let week = Duration::from_secs(7 * 24 * 3600);
    for link in [false, true] {
        let mut w = World::displacing();
        w.raise("A: down").settle().wait(2);
        w.edit(|banner, now| match link {
            true => (banner.link_enabled, banner.link_url) = (true, Some("https://acme.test/".into())),
            false => banner.end_time = later(now, week),
        });
        w.settle().wait(500).settle();
        assert_eq!(w.wrote(), [Why::Raise]);
        w.wait(-490).raise("A: down | B: slow").settle();
        assert_eq!((w.visible(), w.wrote()), ("A: down | B: slow".to_owned(), vec![Why::Update]));
        w.calm().settle().wait(1).settle();
        assert_eq!((w.visible(), w.wrote()), (String::new(), vec![Why::Clear]), "link: {link}");
    }
    let mut w = World::displacing();
    w.raise("A: down").settle().wait(2);
    w.edit(|banner, now| banner.end_time = later(now, week));
    w.settle().calm().settle();
    assert_eq!((w.visible(), w.wrote()), (String::new(), vec![Why::Raise, Why::Clear]));
}

/// A manual banner that we restored carries our own user, and its words may look like ours: it stays a manual one.
#[test]
fn what_was_restored_is_manual() {
    let mut w = World::displacing();
    w.own_user = Some("bot".into());
    w.person_sets("A: we move it on Sunday", 600).wait(1).raise("A: down").settle().wait(1).calm().settle();
    w.slot.as_mut().unwrap().updated_by = Some("bot".into());
    w.wait(1).settle();
    assert_eq!((w.visible(), w.wrote()), ("A: we move it on Sunday".into(), vec![Why::Raise, Why::Restore]));
}

/// A manual banner that nobody sees any more is replaced, and named so that the log can tell it.
#[test]
fn names_what_it_replaces() {
    for (switched_off, minutes) in [(true, 600), (false, 1)] {
        let mut w = World::displacing();
        w.person_sets("Release party", minutes).wait(5);
        if switched_off {
            w.person_switches_off();
        }
        w.raise("A: down");
        let slot = w.slot.clone();
        let replaces = w.plan(slot.as_ref()).replaces.map(|banner| banner.message);
        assert_eq!(replaces.as_deref(), Some("Release party"));
    }
}

/// A start clears nothing of ours before each monitor that the banner names was read, with a memory and without.
#[test]
fn waits_for_the_monitors_it_names() {
    for forgets in [false, true] {
        let mut w = World::displacing();
        w.raise("A: down").settle().wait(1).calm();
        if forgets {
            w.memory = Memory::default();
        }
        let reach = |w: &mut World, reach| {
            w.coverage.insert("A".into(), reach);
        };
        for unread in [Reach::Unpolled, Reach::Unread] {
            reach(&mut w, unread);
            assert_eq!(w.step(true, true), Action::Keep(Keep::Unread));
        }
        // Another service does not wait for one that cannot be read, but for its first poll.
        w.raise("B: slow");
        reach(&mut w, Reach::Unpolled);
        assert_eq!(w.step(true, true), Action::Keep(Keep::Unread));
        reach(&mut w, Reach::Unread);
        w.settle();
        assert_eq!(w.visible(), "B: slow");
        w.calm().settle();
        assert_eq!(w.visible(), "");
    }
}

/// An issue of an earlier run that was not read again keeps the banner up and raises none.
#[test]
fn held_issues_keep_and_do_not_raise() {
    let mut w = World::displacing();
    w.raise("A: down").settle().wait(1);
    w.held = Some(w.wish.clone());
    w.calm().settle();
    assert_eq!((w.visible(), w.wrote()), ("A: down".to_owned(), vec![Why::Raise]));
    // It ran out while nobody renewed it: only a reading raises again, until then it is pending.
    w.wait(500);
    assert_eq!(w.step(true, true), Action::Keep(Keep::Pending));
    assert!(!Keep::Pending.settled());
    w.held = None;
    w.raise("A: down").settle();
    assert_eq!((w.visible(), w.wrote()), ("A: down".to_owned(), vec![Why::Renew]));
}

/// A raise that was stored and not answered is up: the next start writes nothing.
#[test]
fn an_unanswered_raise_is_perhaps_up() {
    let mut w = World::displacing();
    w.raise("A: down");
    w.step(true, false);
    assert!(w.memory.perhaps_up());
    w.held = Some(w.wish.clone());
    w.calm().settle();
    assert_eq!((w.visible(), w.wrote()), ("A: down".to_owned(), vec![Why::Raise]));
}

/// Writes that fail crowd out nothing: the banner that is up stays known as ours. What was refused is forgotten.
#[test]
fn remembers_what_is_up() {
    let mut w = World::displacing();
    w.raise("A: down").settle();
    for number in 0..20 {
        w.wait(1).raise(&format!("A: worse {number}"));
        w.step(false, false);
    }
    assert!(w.memory.ours.iter().any(|ours| ours.sent.message == "A: down"));
    let sent = w.memory.ours.last().unwrap().sent.clone();
    w.memory.refused(&sent);
    assert!(w.memory.ours.iter().all(|ours| ours.sent != sent));
}
