//! Whose banner it is, and what is decided before the monitors were read.

use super::*;
use crate::domain::monitoring::banner::style::BannerLink;
use crate::domain::monitoring::observation::Link;

fn banner(kind: BannerKind, message: &str, minutes: u64, label: Option<&str>) -> Banner {
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

/// As in a container without a volume.
#[test]
fn recognises_our_banner_without_a_record() {
    let mut w = World::displacing();
    w.own_user = Some("bot".into());
    w.raise("A: down");
    let at = "2026-05-02T08:00:00Z".parse().unwrap();
    for (number, (banner, by, ours)) in [
        // What we would write now, with any window.
        (banner(BannerKind::Error, "A: down", 7, None), "ann", true),
        // Our form and our expiry, our own user, or a link label of ours.
        (banner(BannerKind::Error, "A: gone", 240, None), "ann", true),
        (banner(BannerKind::Error, "A: gone", 7, None), "bot", true),
        (banner(BannerKind::Error, "A: gone", 7, Some("Incident")), "ann", true),
        (banner(BannerKind::Info, "C: 1: slow | A: gone", 240, None), "ann", true),
        (banner(BannerKind::Warning, "B: slow… | +2 more", 240, None), "ann", true),
        (banner(BannerKind::Resolved, "Resolved: B: slow", 240, None), "ann", true),
        // Neither the form alone, nor a further sign alone.
        (banner(BannerKind::Error, "A: gone", 7, None), "ann", false),
        (banner(BannerKind::Info, "Release party", 240, Some("Incident")), "bot", false),
        (banner(BannerKind::Info, "Party: A: gone", 240, None), "bot", false),
        (banner(BannerKind::Other("party".into()), "A: gone", 240, None), "bot", false),
        (banner(BannerKind::Resolved, "A: gone", 240, None), "bot", false),
    ]
    .into_iter()
    .enumerate()
    {
        let shown = Shown { banner, updated_at: Some(at), updated_by: Some(by.to_owned()) };
        let own_user = w.own_user.as_deref();
        let witnesses = Witnesses { coverage: &w.coverage, own_user, policy: w.policy, style: &w.style };
        let slot = super::super::ownership::slot(Some(&shown), &w.state, &[&w.wish], witnesses);
        assert_eq!(matches!(slot, Slot::Ours { .. }), ours, "case {number}: {slot:?}");
        assert_eq!(matches!(slot, Slot::Manual(_)), !ours, "case {number}: {slot:?}");
    }
}

/// A tenant's prefix and fixed link are part of our form; a banner without the prefix may be of an earlier definition.
#[test]
fn recognises_our_banner_with_a_prefix_and_a_link_of_the_tenant() {
    let mut w = World::displacing();
    let link = Link::checked("https://monitor.example.com/", "Dashboard").unwrap();
    w.style = BannerStyle::new("[External]", BannerLink::Fixed(link.clone()));
    let linked = |enabled: bool, url: &str, label: &str| Banner {
        link_enabled: enabled,
        link_url: Some(url.to_owned()),
        ..banner(BannerKind::Error, "[External] A: gone", 7, Some(label))
    };
    let at = "2026-05-02T08:00:00Z".parse().unwrap();
    for (banner, ours) in [
        (banner(BannerKind::Error, "[External] A: gone", 240, None), true),
        (linked(true, &link.url, "Dashboard"), true),
        (banner(BannerKind::Resolved, "[External] Resolved: A: gone", 240, None), true),
        (banner(BannerKind::Error, "A: gone", 240, None), true),
        (banner(BannerKind::Error, "[External] Party", 240, None), false),
        (banner(BannerKind::Error, "[Internal] A: gone", 240, None), false),
        // A person may choose the same label or the same address.
        (linked(true, "https://intranet.acme.test/", "Dashboard"), false),
        (linked(true, &link.url, "More"), false),
        (linked(false, &link.url, "Dashboard"), false),
        (linked(false, &link.url, "Incident"), false),
    ] {
        let shown = Shown { banner, updated_at: Some(at), updated_by: None };
        let witnesses =
            Witnesses { coverage: &w.coverage, own_user: None, policy: w.policy, style: &w.style };
        assert_eq!(is_ours(&shown, &w.state, witnesses), ours, "{:?}", shown.banner);
    }
}

#[test]
fn the_prefix_stays_in_front_when_an_incident_is_over() {
    let mut w = World::displacing();
    w.policy.resolved_for = Duration::from_secs(600);
    w.style = BannerStyle::new("[External]", BannerLink::StatusPage);
    w.raise("[External] A: down").settle().wait(1);
    w.calm().settle();
    assert_eq!(w.slot.as_ref().unwrap().banner.message, "[External] Resolved: A: down");
}

/// With a lost record, or another daemon's: the banner is adopted without a write and cleared at the end.
#[test]
fn adopts_a_banner_with_the_desired_content() {
    let mut w = World::displacing();
    w.raise("A: down").settle().wait(1);
    w.state = BannerState::default();
    w.settle();
    assert_eq!(w.wrote(), [Why::Raise]);
    w.raise("A: down | B: slow").settle();
    assert_eq!(w.wrote(), [Why::Update]);
    w.calm().settle();
    assert_eq!((w.visible(), w.wrote()), (String::new(), vec![Why::Clear]));
}

/// The incident ended while there was no record; a manual banner stays.
#[test]
fn clears_our_banner_without_a_record() {
    let mut w = World::displacing();
    w.raise("A: down").settle().wait(1).calm();
    w.state = BannerState::default();
    w.settle();
    assert_eq!((w.visible(), w.wrote()), (String::new(), vec![Why::Raise, Why::Clear]));
    w.person_sets("A: we know, see the wiki", 600).wait(1).settle();
    assert_eq!(w.visible(), "A: we know, see the wiki");
}

/// A person who changes only the end or the link overrules us until the assessment changes. Our message is
/// never restored, and it is cleared after the incident.
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

/// A restored manual banner carries our own user, and its message may look like ours.
#[test]
fn a_restored_banner_is_manual() {
    let mut w = World::displacing();
    w.own_user = Some("bot".into());
    w.person_sets("A: we move it on Sunday", 600).wait(1).raise("A: down").settle().wait(1).calm().settle();
    w.slot.as_mut().unwrap().updated_by = Some("bot".into());
    w.wait(1).settle();
    assert_eq!((w.visible(), w.wrote()), ("A: we move it on Sunday".into(), vec![Why::Raise, Why::Restore]));
}

/// A manual banner that is no longer visible is replaced, and named for the log.
#[test]
fn names_the_banner_it_replaces() {
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

/// With a record and without.
#[test]
fn clears_only_after_the_named_monitors_were_read() {
    for forgets in [false, true] {
        let mut w = World::displacing();
        w.raise("A: down").settle().wait(1).calm();
        if forgets {
            w.state = BannerState::default();
        }
        let reach = |w: &mut World, reach| {
            w.coverage.insert("A".into(), reach);
        };
        for unread in [Reach::Unpolled, Reach::Unread] {
            reach(&mut w, unread);
            assert_eq!(w.step(true, true), Action::Keep(Keep::Unread));
        }
        // An issue of another service waits only for the first poll of an unreadable monitor.
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

#[test]
fn a_banner_of_unread_or_muted_monitors_is_cleared_and_not_resolved() {
    for (reach, last) in
        [(Reach::Read, Why::Resolve), (Reach::Expired, Why::Clear), (Reach::Muted, Why::Clear)]
    {
        let mut w = World::displacing();
        w.policy.resolved_for = Duration::from_secs(600);
        w.raise("B: slow | A: down").settle().wait(1);
        w.coverage.insert("A".into(), reach);
        w.calm().settle();
        assert_eq!(w.wrote(), [Why::Raise, last], "{reach:?}");
    }
}

/// As at the end of a tenant.
#[test]
fn a_resolved_banner_is_cleared_once_it_is_not_wanted() {
    let mut w = World::displacing();
    w.policy.resolved_for = Duration::from_secs(600);
    w.raise("A: down").settle().wait(1).calm().settle();
    w.policy.resolved_for = Duration::ZERO;
    w.wait(1).settle();
    assert_eq!((w.visible(), w.wrote()), (String::new(), vec![Why::Raise, Why::Resolve, Why::Clear]));
}

#[test]
fn held_issues_keep_a_banner_but_raise_none() {
    let mut w = World::displacing();
    w.raise("A: down").settle().wait(1);
    w.held = Some(w.wish.clone());
    w.calm().settle();
    assert_eq!((w.visible(), w.wrote()), ("A: down".to_owned(), vec![Why::Raise]));
    // It expired because no daemon renewed it: only a reading raises again; until then it is pending.
    w.wait(500);
    assert_eq!(w.step(true, true), Action::Keep(Keep::Pending));
    assert!(!Keep::Pending.settled());
    w.held = None;
    w.raise("A: down").settle();
    assert_eq!((w.visible(), w.wrote()), ("A: down".to_owned(), vec![Why::Renew]));
}

/// A stored write without a response is up: nothing is written after the next start.
#[test]
fn a_write_without_a_response_may_be_up() {
    let mut w = World::displacing();
    w.raise("A: down");
    w.step(true, false);
    assert!(w.state.perhaps_up());
    w.held = Some(w.wish.clone());
    w.calm().settle();
    assert_eq!((w.visible(), w.wrote()), ("A: down".to_owned(), vec![Why::Raise]));
}

/// Failed writes do not displace the record of the banner that is up. Rejected writes are removed from it.
#[test]
fn the_record_keeps_the_banner_that_is_up() {
    let mut w = World::displacing();
    w.raise("A: down").settle();
    for number in 0..20 {
        w.wait(1).raise(&format!("A: worse {number}"));
        w.step(false, false);
    }
    assert!(w.state.ours.iter().any(|ours| ours.sent.message == "A: down"));
    let sent = w.state.ours.last().unwrap().sent.clone();
    w.state.refused(&sent);
    assert!(w.state.ours.iter().all(|ours| ours.sent != sent));
}
