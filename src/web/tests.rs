//! The main parts of the pages, whole, from a board and records that never change.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use maud::Markup;

use super::connectors::Card;
use super::monitors::Rows;
use super::records::Unreadable;
use super::{banner, overview, timeline};
use crate::domain::assess::{Issue, Transition, Unread};
use crate::domain::banner::{Banner, Kind};
use crate::domain::history::{Day, days_before};
use crate::domain::ledger::{Entry, Run};
use crate::domain::observation::{Event, Link, Unknown};
use crate::domain::op::{End, Tally};
use crate::domain::severity::Severity;
use crate::runtime::board::{BoardHandle, LastRun, LeaseView, SyncView};

fn now() -> Timestamp {
    "2026-05-04T12:00:00Z".parse().unwrap()
}

fn ago(minutes: i64) -> Timestamp {
    now().checked_sub(jiff::SignedDuration::from_mins(minutes)).unwrap()
}

fn link(label: &str) -> Option<Link> {
    Link::checked("https://status.acme.test/i?a=1&b=2", label)
}

/// A line a tag, so that a change shows where it is.
fn lines(markup: &Markup) -> String {
    markup.0.replace("><", ">\n<")
}

fn board() -> BoardHandle {
    let board = BoardHandle::new(ago(600), true);
    board.update(|board| {
        let names = [
            ("Alpha", Severity::None),
            ("Beta/EU", Severity::Major),
            ("Gamma", Severity::Minor),
            ("New", Severity::None),
        ];
        for (name, severity) in names {
            let view = board.monitors.entry(name.to_owned()).or_default();
            if name == "New" {
                continue;
            }
            view.looks = 7;
            view.took = Duration::from_millis(84);
            view.state.severity = severity;
            view.state.description = format!("{name} says <so>");
            view.state.link = link("Status page");
            view.state.since = Some(ago(95));
            view.state.read_at = Some(ago(1));
        }
        let gamma = board.monitors.get_mut("Gamma").unwrap();
        gamma.state.unknown = Some(Unread { reason: Unknown::HttpStatus(503), since: ago(12), times: 12 });
        let event = |planned, title: &str| Event {
            planned,
            title: title.to_owned(),
            impact: Severity::Major,
            state: if planned { "scheduled".into() } else { "identified".into() },
            begins: Some(if planned { ago(-120) } else { ago(100) }),
            ends: planned.then(|| ago(-240)),
            link: link("Incident"),
            update: "A bad node is being replaced.".into(),
        };
        board.monitors.get_mut("Beta/EU").unwrap().open =
            Some(vec![event(true, "Upgrade"), event(false, "Slow queries")]);
        board.issues = vec![Issue {
            monitor: "Beta/EU".into(),
            severity: Severity::Major,
            description: "x".into(),
            link: None,
            since: ago(95),
        }];
        board.cycles.finished_at = Some(ago(0));
        board.cycles.patience = Duration::from_secs(60);
        board.banner.ours = true;
        board.banner.answered_at = Some(ago(3));
        board.banner.patience = Duration::from_secs(600);
        board.banner.owed_since = Some(ago(2));
        board.lease = Some(LeaseView {
            held: true,
            known: true,
            holder: Some("host-a".into()),
            since: Some(ago(600)),
            ..LeaseView::default()
        });
        board.banner.shown = Some(Banner {
            kind: Kind::Error,
            enabled: true,
            message: "Beta/EU: says <so>".into(),
            start_time: ago(95),
            end_time: ago(-145),
            link_enabled: true,
            link_url: link("").map(|link| link.url),
            link_label: Some("Incident".into()),
        });
    });
    board
}

/// The banner with everything around it, and the same in preview with nothing shown.
#[test]
fn the_banner() {
    let live = board().read(banner::Shown::of);
    insta::assert_snapshot!(lines(&live.section(now())));
    let preview = BoardHandle::new(now(), false).read(banner::Shown::of);
    insta::assert_snapshot!(lines(&preview.section(now())));
}

/// The list of monitors: worst first, what cannot be read before what is well, with days where they are known.
#[test]
fn the_monitors() {
    let today = crate::domain::history::date_of(now());
    let day = |at| Day { at };
    let days = vec![
        (days_before(today, 80), day([80_000_000, 0, 0, 6_400_000, 0])),
        (days_before(today, 2), day([86_400_000, 0, 0, 0, 0])),
        (days_before(today, 1), day([86_400_000, 0, 0, 0, 0])),
    ];
    let days = Ok(Arc::new([("Beta/EU".to_owned(), days)].into()));
    let rows = board().read(|board| Rows::of(board, "", 1, now()));
    insta::assert_snapshot!(lines(&rows.section(&days, now())));
}

/// The head, and what is open: incidents before what is planned.
#[test]
fn the_head_and_what_is_open() {
    let (head, events) = board().read(|board| overview::sections(board, now()));
    insta::assert_snapshot!(lines(&head));
    insta::assert_snapshot!(lines(&events));
}

/// Changes with how long each lasted.
#[test]
fn the_changes() {
    let change = |monitor: &str, minutes, from, to| Transition {
        monitor: monitor.into(),
        at: ago(minutes),
        from,
        to,
        description: format!("{to} <it> is"),
    };
    let changes = [
        change("A", 5, Severity::Major, Severity::None),
        change("B", 7, Severity::None, Severity::Maintenance),
        change("A", 65, Severity::None, Severity::Major),
    ];
    insta::assert_snapshot!(lines(&timeline::list(&changes, now(), true)));
}

/// A connector's card: after a run, after a restart (from the ledger alone), and when the ledger cannot be read.
#[test]
fn the_cards() {
    let run = |number, end, seen, waited_ms| Run {
        number,
        started: ago(15 * (40 - number)),
        ended: Some(ago(15 * (40 - number) - 1)),
        entry: Entry { end: Some(end), waited_ms, reason: Some("a reason".into()), ..Entry::default() },
        tables: [("t".to_owned(), Entry { tally: Tally { seen, ..Tally::default() }, ..Entry::default() })]
            .into(),
    };
    let runs = Arc::new(vec![run(38, End::Deferred, 10, 61_000), run(37, End::Complete, 1_200, 0)]);
    let view = SyncView {
        last_success: Some(ago(45)),
        next_at: Some(ago(-10)),
        last_run: Some(LastRun {
            ended_at: ago(29),
            end: "failed",
            reason: Some("HTTP 401".into()),
            took: Duration::from_millis(2_345),
            rows: [("t".to_owned(), 12_345)].into(),
            waited: Duration::ZERO,
        }),
        ..SyncView::default()
    };
    let card = |view, runs| lines(&Card { name: "shop".into(), view, runs }.article(now()));
    insta::assert_snapshot!(card(view.clone(), Ok(runs.clone())));
    insta::assert_snapshot!(card(SyncView::default(), Ok(runs)));
    insta::assert_snapshot!(card(view, Err(Unreadable("the file is damaged".into()))));
}

/// A part that takes too long is given up, and said so.
#[tokio::test(start_paused = true)]
async fn slow_records_are_given_up() {
    let never = std::future::pending::<Result<(), Unreadable>>();
    let given_up = super::history::in_time(never).await.unwrap_err();
    assert_eq!(given_up.to_string(), "cannot be read: no answer within 2 s");
}
