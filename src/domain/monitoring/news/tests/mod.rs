use super::super::assess::{Assessment, Issue};
use super::super::audience::Audience;
use super::*;

mod histories;

const RULES: ChannelRules = ChannelRules {
    audience: Audience {
        monitors: Vec::new(),
        ignore: Vec::new(),
        remap: crate::domain::monitoring::monitor::Remap(Vec::new()),
        min_severity: Severity::None,
    },
    resolved: true,
    remind_after: None,
    in_place: true,
    spacing: Duration::ZERO,
};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_777_713_300 + seconds).unwrap()
}

fn issue(name: &str, severity: Severity, description: &str) -> Issue {
    Issue {
        monitor: name.to_owned(),
        tags: Vec::new(),
        severity,
        description: description.to_owned(),
        link: None,
        since: at(0),
    }
}

/// The state of a channel, and the assessment that it follows.
struct Scene {
    rules: ChannelRules,
    confirmed: Assessment,
    held: Assessment,
    coverage: Coverage,
    state: ChannelState,
    now: Timestamp,
}

impl Scene {
    fn new() -> Scene {
        Scene {
            rules: RULES,
            confirmed: Assessment::default(),
            held: Assessment::default(),
            coverage: Coverage::new(),
            state: ChannelState::default(),
            now: at(0),
        }
    }

    /// All monitors were read, and these have problems.
    fn reads(&mut self, issues: &[(&str, Severity, &str)]) {
        let issues = issues.iter().map(|(name, severity, words)| issue(name, *severity, words)).collect();
        self.confirmed = Assessment::sorted(issues);
        self.held = self.confirmed.clone();
        self.coverage = ["A", "B", "C"].map(|name| (name.to_owned(), Reach::Read)).into();
    }

    fn next(&mut self) -> NewsStep {
        let outlook = Outlook { confirmed: &self.confirmed, held: &self.held, coverage: &self.coverage };
        next(self.now, "ops", outlook, &self.rules, &mut self.state)
    }

    fn news(&mut self) -> News {
        match self.next() {
            NewsStep::Send(news) => *news,
            NewsStep::Wait(wait) => panic!("nothing to send: {wait:?}"),
        }
    }

    fn sends(&mut self) -> News {
        let news = self.news();
        self.state.intend(&news);
        self.state.confirm(Receipt("r".to_owned()), self.now);
        news
    }

    fn fails(&mut self, perhaps_sent: bool) -> News {
        let news = self.news();
        let earlier = self.state.intend(&news);
        self.state.fail(earlier || perhaps_sent, "no answer");
        news
    }

    fn is_quiet(&mut self) -> bool {
        matches!(self.next(), NewsStep::Wait(_))
    }
}

fn summary(news: &News) -> (NewsState, &str, bool) {
    (news.state, &news.title, news.is_worse())
}

#[test]
fn an_incident_is_raised_changed_and_resolved_under_one_key() {
    let mut scene = Scene::new();
    scene.reads(&[]);
    assert!(scene.is_quiet());
    scene.reads(&[("A", Severity::Minor, "slow")]);
    let raised = scene.sends();
    assert_eq!(summary(&raised), (NewsState::Raised, "A (minor)", false));
    assert!(scene.is_quiet());
    type Step<'s> = (&'s [(&'s str, Severity, &'s str)], NewsState, &'s str, bool);
    let steps: [Step<'_>; 4] = [
        (&[("A", Severity::Major, "down")], NewsState::Changed, "A (major)", true),
        (
            &[("A", Severity::Major, "down"), ("B", Severity::Minor, "slow")],
            NewsState::Changed,
            "2 services (worst: major)",
            true,
        ),
        (&[("B", Severity::Minor, "slow")], NewsState::Changed, "B (minor)", false),
        (&[], NewsState::Resolved, "Resolved: B", false),
    ];
    for (issues, state, title, worse) in steps {
        scene.reads(issues);
        let news = scene.sends();
        assert_eq!(summary(&news), (state, title, worse));
        assert_eq!((&news.key, news.since), (&raised.key, raised.since));
        assert!(scene.is_quiet());
    }
    scene.now = at(60);
    scene.reads(&[("A", Severity::Minor, "slow")]);
    assert_ne!(scene.sends().key, raised.key);
}

#[test]
fn ids_are_the_same_only_for_the_same_message() {
    let mut scene = Scene::new();
    scene.reads(&[("A", Severity::Minor, "slow")]);
    let first = scene.fails(false);
    assert_eq!(scene.fails(true).id, first.id);
    scene.reads(&[("A", Severity::Minor, "very slow")]);
    let second = scene.sends();
    assert_ne!(second.id, first.id);
    assert_eq!((second.state, &second.key), (NewsState::Raised, &first.key));
}

#[test]
fn an_incident_that_ends_before_anything_left_is_not_mentioned() {
    let mut scene = Scene::new();
    scene.reads(&[("A", Severity::Critical, "down")]);
    scene.fails(false);
    scene.reads(&[]);
    assert!(scene.is_quiet());
    assert_eq!(scene.state, ChannelState::default());
}

#[test]
fn an_incident_that_was_perhaps_announced_is_resolved_by_a_message() {
    let mut scene = Scene::new();
    scene.reads(&[("A", Severity::Critical, "down")]);
    scene.fails(true);
    scene.fails(false);
    scene.reads(&[]);
    assert_eq!(summary(&scene.sends()), (NewsState::Resolved, "Resolved: A", false));
}

#[test]
fn an_unclear_change_is_sent_again_even_if_it_is_undone() {
    let mut scene = Scene::new();
    scene.reads(&[("A", Severity::Minor, "slow")]);
    scene.sends();
    scene.reads(&[("A", Severity::Critical, "down")]);
    scene.fails(true);
    scene.reads(&[("A", Severity::Minor, "slow")]);
    assert_eq!(summary(&scene.sends()), (NewsState::Changed, "A (minor)", false));
    scene.reads(&[("A", Severity::Critical, "down")]);
    scene.fails(false);
    scene.reads(&[("A", Severity::Minor, "slow")]);
    assert!(scene.is_quiet());
}

#[test]
fn a_new_issue_before_the_end_was_announced_continues_the_incident() {
    let mut scene = Scene::new();
    scene.reads(&[("A", Severity::Minor, "slow")]);
    let raised = scene.sends();
    scene.reads(&[]);
    scene.fails(true);
    scene.reads(&[("A", Severity::Minor, "slow")]);
    let again = scene.sends();
    assert_eq!(summary(&again), (NewsState::Changed, "A (minor)", true));
    assert_eq!(again.key, raised.key);
}

#[test]
fn without_resolved_an_incident_is_closed_quietly() {
    let mut scene = Scene::new();
    scene.rules.resolved = false;
    scene.reads(&[("A", Severity::Minor, "slow")]);
    scene.sends();
    scene.reads(&[]);
    assert!(scene.is_quiet());
    assert_eq!(scene.state.open, None);
}

#[test]
fn an_open_incident_is_announced_again_after_the_set_time_without_a_change() {
    let mut scene = Scene::new();
    scene.rules.remind_after = Some(Duration::from_secs(3600));
    scene.reads(&[("A", Severity::Minor, "slow")]);
    scene.sends();
    assert_eq!(scene.next(), NewsStep::Wait(NewsWait::Until(Some(at(3600)))));
    scene.now = at(3600);
    let lost = scene.fails(true);
    let reminder = scene.sends();
    assert_eq!(
        (summary(&reminder), reminder.reminder),
        ((NewsState::Changed, "Still open: A (minor)", false), true)
    );
    assert_eq!(lost.id, reminder.id);
    assert_eq!(scene.next(), NewsStep::Wait(NewsWait::Until(Some(at(7200)))));
}

#[test]
fn where_nothing_changes_in_place_only_severities_and_services_are_news() {
    let mut scene = Scene::new();
    scene.rules.in_place = false;
    scene.reads(&[("A", Severity::Minor, "slow"), ("B", Severity::Minor, "slow")]);
    scene.sends();
    scene.reads(&[("B", Severity::Minor, "slow"), ("A", Severity::Minor, "p95 4.1 s")]);
    assert!(scene.is_quiet());
    scene.reads(&[("A", Severity::Minor, "slow")]);
    assert_eq!(summary(&scene.sends()), (NewsState::Changed, "A (minor)", false));
}

#[test]
fn changes_are_spaced_unless_the_worst_severity_rises_or_the_incident_ends() {
    let mut scene = Scene::new();
    scene.rules.spacing = Duration::from_secs(60);
    scene.reads(&[("A", Severity::Minor, "slow")]);
    scene.sends();
    scene.now = at(10);
    scene.reads(&[("A", Severity::Minor, "slow"), ("B", Severity::Minor, "slow")]);
    assert_eq!(scene.next(), NewsStep::Wait(NewsWait::Until(Some(at(60)))));
    scene.reads(&[("A", Severity::Minor, "slow"), ("B", Severity::Critical, "down")]);
    scene.sends();
    scene.now = at(-3600);
    scene.reads(&[("A", Severity::Minor, "slow")]);
    scene.sends();
    scene.reads(&[]);
    assert_eq!(scene.sends().state, NewsState::Resolved);
}

/// After a start, what was not read again keeps an incident open but raises none.
#[test]
fn unread_monitors_prove_nothing() {
    let down = [("A", Severity::Major, "down")];
    let mut scene = Scene::new();
    let held = |scene: &mut Scene, reach| {
        scene.reads(&down);
        scene.confirmed = Assessment::default();
        scene.coverage.insert("A".to_owned(), reach);
    };
    held(&mut scene, Reach::Unread);
    assert!(scene.is_quiet());
    scene.reads(&down);
    scene.sends();
    for reach in [Reach::Unpolled, Reach::Unread] {
        held(&mut scene, reach);
        assert!(scene.is_quiet());
        scene.held = Assessment::default();
        assert!(scene.is_quiet());
    }
    scene.coverage.remove("A");
    assert_eq!(scene.sends().state, NewsState::Resolved);
}

#[test]
fn a_service_stays_in_its_incident_until_its_page_is_read_again() {
    let mut scene = Scene::new();
    scene.rules.remind_after = Some(Duration::from_secs(3600));
    let both = [("A", Severity::Critical, "down"), ("B", Severity::Minor, "slow")];
    for recovers in [false, true] {
        scene.reads(&both);
        scene.sends();
        scene.reads(&both[1..]);
        scene.coverage.insert("A".to_owned(), Reach::Expired);
        assert!(scene.is_quiet());
        scene.reads(&[]);
        scene.coverage.insert("A".to_owned(), Reach::Expired);
        assert_eq!(summary(&scene.sends()), (NewsState::Changed, "A (critical)", false));
        scene.now = later(scene.now, Duration::from_secs(7200));
        assert!(scene.is_quiet(), "whether it is still open is not known");
        if !recovers {
            scene.reads(&both[..1]);
            assert!(scene.sends().reminder);
        }
        scene.reads(&[]);
        assert_eq!(summary(&scene.sends()), (NewsState::Resolved, "Resolved: A", false));
    }
}

#[test]
fn a_muted_service_leaves_its_incident_and_is_not_called_resolved() {
    for other in [true, false] {
        let mut scene = Scene::new();
        let both = [("A", Severity::Critical, "down"), ("B", Severity::Minor, "slow")];
        scene.reads(if other { &both } else { &both[..1] });
        scene.sends();
        scene.reads(if other { &both[1..] } else { &[] });
        scene.coverage.insert("A".to_owned(), Reach::Muted);
        if other {
            assert_eq!(summary(&scene.sends()), (NewsState::Changed, "B (minor)", false));
            scene.reads(&[]);
            assert_eq!(summary(&scene.sends()), (NewsState::Resolved, "Resolved: B", false));
        } else {
            assert!(scene.is_quiet());
        }
        assert_eq!(scene.state.open, None);
    }
}

#[test]
fn after_a_start_one_message_waits_for_all_first_polls() {
    let mut scene = Scene::new();
    scene.reads(&[("A", Severity::Major, "down"), ("B", Severity::Major, "down")]);
    scene.confirmed = Assessment::sorted(vec![issue("A", Severity::Major, "down")]);
    scene.coverage.insert("B".to_owned(), Reach::Unpolled);
    assert_eq!(scene.next(), NewsStep::Wait(NewsWait::Unread));
    scene.coverage.insert("B".to_owned(), Reach::Unread);
    assert_eq!(scene.sends().services.len(), 2);
}

#[test]
fn texts_are_plain_and_long_lists_are_counted() {
    let mut scene = Scene::new();
    let names: Vec<String> = (0..140).map(|n| format!("Service {n:03}")).collect();
    let issues: Vec<(&str, Severity, &str)> =
        names.iter().map(|name| (name.as_str(), Severity::Minor, "\u{202e}bad\n\u{0} text")).collect();
    scene.reads(&issues);
    let news = scene.sends();
    assert_eq!((news.services.len(), news.more), (100, 40));
    assert_eq!(news.title, "140 services (worst: minor)");
    assert_eq!(news.lines(2, 10_000), ["Service 000: bad text", "Service 001: bad text", "+138 more"]);
    assert_eq!(news.lines(50, 30), ["Service 000: bad text", "+139 more"]);
    assert!(scene.is_quiet());
}
