//! Snapshots of the parts of the pages, from a fixed board and fixed records.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use maud::Markup;

use super::connector_cards::ConnectorCard;
use super::monitor_list::{MonitorListQuery, MonitorRows};
use super::{overview, tenant_banner, timeline};
use crate::domain::monitoring::assess::{Issue, Transition, Unread};
use crate::domain::monitoring::banner::{Banner, BannerKind};
use crate::domain::monitoring::history::{Day, days_before};
use crate::domain::monitoring::news::ChannelReport;
use crate::domain::monitoring::observation::{Event, Link, Unknown};
use crate::domain::monitoring::severity::Severity;
use crate::domain::syncing::op::{End, Tally};
use crate::domain::syncing::run_history::{Entry, Run};
use crate::runtime::board::{BoardReader, LastRun, LeaseView, SyncView, channel};
use crate::web::view::records::RecordError;

fn now() -> Timestamp {
    "2026-05-04T12:00:00Z".parse().unwrap()
}

fn ago(minutes: i64) -> Timestamp {
    now().checked_sub(jiff::SignedDuration::from_mins(minutes)).unwrap()
}

fn link(label: &str) -> Option<Link> {
    Link::checked("https://status.acme.test/i?a=1&b=2", label)
}

/// One tag per line, for readable diffs.
fn lines(markup: &Markup) -> String {
    markup.0.replace("><", ">\n<")
}

fn board() -> BoardReader {
    let (writer, board) = channel(ago(600), true);
    writer.update(|board| {
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
            view.polls = 7;
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
            tags: Vec::new(),
            severity: Severity::Major,
            description: "x".into(),
            link: None,
            since: ago(95),
        }];
        board.cycles.finished_at = Some(ago(0));
        board.cycles.max_age = Duration::from_secs(60);
        board.banners.entry("default".into()).or_default().report.ours = true;
        board.banners.entry("default".into()).or_default().report.answered_at = Some(ago(3));
        board.banners.entry("default".into()).or_default().max_age = Duration::from_secs(600);
        board.banners.entry("default".into()).or_default().report.pending_since = Some(ago(2));
        board.lease = Some(LeaseView {
            held: true,
            known: true,
            holder: Some("host-a".into()),
            since: Some(ago(600)),
            ..LeaseView::default()
        });
        board.banners.entry("default".into()).or_default().report.shown = Some(Banner {
            kind: BannerKind::Error,
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

/// Live, and in preview without a banner.
#[test]
fn the_banner() {
    let live = board().read(|board| tenant_banner::BannerSection::of(board, now()));
    insta::assert_snapshot!(lines(&live.section(now())));
    let preview = channel(now(), false).1.read(|board| tenant_banner::BannerSection::of(board, now()));
    insta::assert_snapshot!(lines(&preview.section(now())));
}

#[test]
fn the_monitors() {
    let today = crate::domain::monitoring::history::date_of(now());
    let day = |at| Day { at };
    let days = vec![
        (days_before(today, 80), day([80_000_000, 0, 0, 6_400_000, 0])),
        (days_before(today, 2), day([86_400_000, 0, 0, 0, 0])),
        (days_before(today, 1), day([86_400_000, 0, 0, 0, 0])),
    ];
    let days = Ok(Arc::new([("Beta/EU".to_owned(), days)].into()));
    let rows = board().read(|board| MonitorRows::of(board, MonitorListQuery::default(), now()));
    insta::assert_snapshot!(lines(&rows.section(&days, now())));
}

#[test]
fn the_head_and_what_is_open() {
    let (head, events) = board().read(|board| overview::sections(board, now()));
    insta::assert_snapshot!(lines(&head));
    insta::assert_snapshot!(lines(&events));
}

#[test]
fn the_channels() {
    let (writer, board) = channel(now(), true);
    assert_eq!(board.read(|board| overview::channel_card(board, now())).into_string(), "");
    writer.update(|board| {
        for (name, delivered, pending, trouble, stopped) in [
            ("flow", None, Some(ago(9)), Some("HTTP 410: <gone>"), true),
            ("mail", Some(ago(45)), None, Some("not all targets got the message"), false),
            ("ops", Some(ago(30)), None, None, false),
            ("team", Some(ago(60)), Some(ago(2)), Some("rate limited: HTTP 429"), false),
        ] {
            board.channels.entry(name.into()).or_default().report = ChannelReport {
                kind: "webhook".into(),
                delivered_at: delivered,
                pending_since: pending,
                trouble: trouble.map(str::to_owned),
                stopped,
            };
        }
    });
    insta::assert_snapshot!(lines(&board.read(|board| overview::channel_card(board, now()))));
}

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
    insta::assert_snapshot!(lines(&timeline::list(&changes, changes.len(), now(), true)));
}

/// After a run, after a restart (from run history alone), and when run history cannot be read.
#[test]
fn the_cards() {
    let run = |number, end, seen, waited_ms| Run {
        number,
        started: ago(15 * (40 - number)),
        ended: Some(ago(15 * (40 - number) - 1)),
        entry: Entry { end: Some(end), waited_ms, reason: Some("a reason".into()), ..Entry::default() },
        tables: [("t".to_owned(), Entry { tally: Tally { seen, ..Tally::default() }, ..Entry::default() })]
            .into(),
        follow_ups: [].into(),
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
    let card = |view, runs| {
        lines(&ConnectorCard { name: "shop".into(), view, runs, delivered: Vec::new() }.article(now()))
    };
    insta::assert_snapshot!(card(view.clone(), Ok(runs.clone())));
    insta::assert_snapshot!(card(SyncView::default(), Ok(runs)));
    insta::assert_snapshot!(card(view, Err(RecordError("the file is damaged".into()))));
}

#[tokio::test(start_paused = true)]
async fn reading_records_times_out() {
    let never = std::future::pending::<Result<(), RecordError>>();
    let given_up = crate::web::view::history::in_time(never).await.unwrap_err();
    assert_eq!(given_up.to_string(), "cannot be read: no answer within 2 s");
}
