//! The banner under failures: lost responses, lost state, rejections, a wrong clock, and people who act between a
//! read and a write.

use std::time::{Duration, Instant};

use data_sources_monitor::testing::qlik::QlikCredentials;
use jiff::{SignedDuration, Timestamp};

use super::{Scenario, TestDaemon, banner_view, folder_watching, seen_now, wait_for_banner};
use stand_ins::Reply;
use stand_ins::status_page::StatusPage;
use stand_ins::tenant::{API_KEY, Banner, CLIENT_ID, CLIENT_SECRET, READ, TOKEN, Tenant, WRITE, refusal};

const DOWN: &str = "Alpha: Partial System Outage";

fn manual_banner() -> Banner {
    let now = Timestamp::now();
    Banner::of("info", "Party at 5", now, now + SignedDuration::from_hours(1))
}

fn down() -> (Tenant, StatusPage) {
    let (tenant, page) = (Tenant::start(), StatusPage::start());
    page.set_indicator("major", "Partial System Outage");
    (tenant, page)
}

/// The tenant stored the banner. The restarted daemon neither clears nor rewrites it, also while the page cannot be
/// read; the end of the incident clears it.
#[tokio::test]
async fn a_write_without_a_response_is_recognised_after_a_restart() {
    for readable in [true, false] {
        let (tenant, page) = down();
        tenant.next_on(WRITE, Reply::usual().late(Duration::from_secs(3600)));
        let rig = TestDaemon::start(&tenant, &[("Alpha", &page)]);
        wait_for_banner(&tenant, DOWN).await;
        // As after a crash: what the first run learns while it stops is lost.
        let crashed = tempfile::tempdir().unwrap();
        std::fs::create_dir(crashed.path().join("monitors")).unwrap();
        super::define(crashed.path(), "Alpha", &page, "");
        let data = crashed.path().join("data");
        std::fs::create_dir(&data).unwrap();
        for file in ["monitor.db", "monitor.db-wal"] {
            std::fs::copy(rig.folder.path().join("data").join(file), data.join(file)).unwrap();
        }
        rig.controls.stop.cancel();
        if !readable {
            page.always_on("", Reply::status(500));
        }
        let rig = TestDaemon::start_in(crashed.into(), &tenant, Scenario::default());
        rig.cycles(6).await;
        rig.wait_until(|board| banner_view(board).report.answered_at.is_some()).await;
        assert_eq!((seen_now(&tenant).as_str(), tenant.writes().len()), (DOWN, 1), "readable: {readable}");
        page.as_usual();
        page.recover();
        wait_for_banner(&tenant, "").await;
        rig.stop().await;
    }
}

/// No write while it is right; cleared at the end; never restored. The same with a second daemon that has state of
/// its own, as in a rolling update.
#[tokio::test]
async fn a_daemon_without_state_adopts_the_banner() {
    for both_run in [false, true] {
        let (tenant, page) = down();
        let old = TestDaemon::start(&tenant, &[("Alpha", &page)]);
        wait_for_banner(&tenant, DOWN).await;
        let old = if both_run {
            Some(old)
        } else {
            old.stop().await;
            None
        };
        let rig = TestDaemon::start(&tenant, &[("Alpha", &page)]);
        rig.cycles(8).await;
        assert_eq!(tenant.writes().len(), 1, "both run: {both_run}");
        page.set_indicator("critical", "Major Service Outage");
        wait_for_banner(&tenant, "Alpha: Major Service Outage").await;
        rig.cycles(5).await;
        page.recover();
        wait_for_banner(&tenant, "").await;
        rig.cycles(8).await;
        assert!(!tenant.banner().unwrap().enabled && tenant.writes().len() <= 6, "{:#?}", tenant.writes());
        rig.stop().await;
        if let Some(old) = old {
            old.stop().await;
        }
    }
}

/// The state is lost and the incident is over: the banner is ours by its text, and is cleared once the page was read.
#[tokio::test]
async fn a_leftover_banner_is_cleared_without_state() {
    let (tenant, page) = down();
    let rig = TestDaemon::start(&tenant, &[("Alpha", &page)]);
    wait_for_banner(&tenant, DOWN).await;
    rig.stop().await;
    page.recover();
    page.always_on("", Reply::status(500));
    let rig = TestDaemon::start(&tenant, &[("Alpha", &page)]);
    rig.cycles(5).await;
    assert_eq!((seen_now(&tenant).as_str(), tenant.writes().len()), (DOWN, 1));
    page.as_usual();
    wait_for_banner(&tenant, "").await;
    rig.stop().await;
}

/// A manual change of only its link or end stands until the assessment changes; nothing of the old incident comes
/// back.
#[tokio::test]
async fn an_edited_banner_of_ours_is_never_restored() {
    let edits: [fn(Banner) -> Banner; 2] = [
        |banner| Banner { end: banner.end + SignedDuration::from_hours(100), ..banner },
        |banner| Banner {
            link: (true, Some("https://acme.test/wiki".into()), Some("Wiki".into())),
            ..banner
        },
    ];
    for edit in edits {
        let (tenant, page) = down();
        let beta = StatusPage::start();
        let rig = TestDaemon::start(&tenant, &[("Alpha", &page), ("Beta", &beta)]);
        wait_for_banner(&tenant, DOWN).await;
        let stored = tenant.banner().unwrap();
        tenant.change(|state| state.rules.ahead = SignedDuration::from_millis(1500));
        tenant.person_sets(edit(stored));
        rig.cycles(6).await;
        assert_eq!(tenant.writes().len(), 1);
        beta.set_indicator("minor", "Slow");
        wait_for_banner(&tenant, &format!("{DOWN} | Beta: Slow")).await;
        page.recover();
        beta.recover();
        wait_for_banner(&tenant, "").await;
        rig.cycles(6).await;
        assert!(!tenant.banner().unwrap().enabled);
        rig.stop().await;
    }
}

/// The tenant is read right before each write, so only a change between these two requests can be missed.
#[tokio::test]
async fn a_manual_banner_set_before_a_write_is_displaced_and_restored() {
    let mut restored = 0;
    for nth in 1..=6 {
        let (tenant, page) = (Tenant::start(), StatusPage::start());
        let rig = TestDaemon::start(&tenant, &[("Alpha", &page)]);
        rig.wait_until(|board| banner_view(board).report.answered_at.is_some()).await;
        let before = tenant.requests_on(READ).len();
        tenant.after(nth, READ, |state| state.set_by_person(manual_banner()));
        page.set_indicator("major", "Partial System Outage");
        tenant.wait_until(|tenant| tenant.banner().is_some_and(|banner| banner.message == DOWN)).await;
        tenant.wait_until(|tenant| tenant.requests_on(READ).len() > 12).await;
        let requests = tenant.requests();
        let mut readings = requests.iter().enumerate().filter(|(_, request)| request.is(READ));
        let last = readings.nth(before + nth - 1).map_or(0, |(index, _)| index);
        if !requests[last + 1].is(WRITE) {
            page.recover();
            wait_for_banner(&tenant, "Party at 5").await;
            restored += 1;
        }
        rig.stop().await;
    }
    assert!(restored >= 3, "{restored} of 6 runs tell something");
}

/// For writes and reads; with an OAuth client by a new token.
#[tokio::test]
async fn one_rejection_is_retried_soon() {
    for (call, status) in [(WRITE, 401), (WRITE, 403), (WRITE, 404), (READ, 403)] {
        let (tenant, page) = down();
        tenant.next_on(call, refusal(status, "No", "Try again."));
        let credentials = QlikCredentials::OAuth {
            client_id: CLIENT_ID.into(),
            client_secret: CLIENT_SECRET.to_owned().into(),
        };
        let scenario = Scenario { credentials, ..Scenario::default() };
        let rig = TestDaemon::start_in(folder_watching(&[("Alpha", &page)]), &tenant, scenario);
        let begun = Instant::now();
        wait_for_banner(&tenant, DOWN).await;
        assert!(begun.elapsed() < Duration::from_secs(15), "{call} {status}: {:?}", begun.elapsed());
        assert_eq!(tenant.requests_on(TOKEN).len(), if status == 404 { 1 } else { 2 }, "{call} {status}");
        rig.stop().await;
    }
}

#[tokio::test]
async fn a_new_assessment_or_a_reload_ends_the_backoff() {
    let (tenant, page) = down();
    tenant.always_on(WRITE, refusal(403, "No", "Not you."));
    let rig = TestDaemon::start(&tenant, &[("Alpha", &page)]);
    rig.wait_until(|board| banner_view(board).failures >= 3).await;
    tenant.as_usual();
    page.set_indicator("critical", "Major Service Outage");
    wait_for_banner(&tenant, "Alpha: Major Service Outage").await;
    tenant.always_on(WRITE, refusal(403, "No", "Not you."));
    page.recover();
    let failures = rig.board.read(|board| banner_view(board).failures);
    rig.wait_until(|board| banner_view(board).failures >= failures + 3).await;
    tenant.as_usual();
    rig.controls.reload();
    wait_for_banner(&tenant, "").await;
    rig.stop().await;
}

/// No word of the message and no service is lost.
#[tokio::test]
async fn only_the_link_is_left_out_if_it_is_rejected() {
    let (tenant, page) = down();
    let beta = StatusPage::start();
    beta.set_indicator("minor", "Slow");
    tenant.change(|state| state.rules.refuses_link = |link| link.starts_with("http://"));
    let rig = TestDaemon::start(&tenant, &[("Alpha", &page), ("Beta", &beta)]);
    wait_for_banner(&tenant, &format!("{DOWN} | Beta: Slow")).await;
    rig.cycles(5).await;
    assert!(!tenant.banner().unwrap().link.0);
    let refused = tenant.answered(400);
    rig.cycles(5).await;
    assert_eq!(tenant.answered(400), refused, "the same link is sent again and again");
    page.recover();
    beta.recover();
    wait_for_banner(&tenant, "").await;
    rig.stop().await;
}

/// For `0`, a date in the past and a fraction.
#[tokio::test]
async fn retry_after_is_at_least_one_second() {
    for asked in ["0", "Sat, 02 May 2020 09:02:00 GMT", "0.2"] {
        let (tenant, page) = down();
        tenant.always_on(WRITE, Reply::status(503).header("retry-after", asked));
        let rig = TestDaemon::start(&tenant, &[("Alpha", &page)]);
        tenant.wait_until(|tenant| tenant.requests_on(WRITE).len() >= 3).await;
        let times: Vec<Instant> = tenant.requests_on(WRITE).iter().map(|request| request.at).collect();
        assert!(times[2] - times[0] >= Duration::from_millis(1900), "{asked}: {times:?}");
        rig.stop().await;
    }
}

/// Start and end follow the tenant's clock.
#[tokio::test]
async fn the_banner_is_visible_although_our_clock_is_wrong() {
    for hours in [-6, 6, 24 * 400] {
        let (tenant, page) = down();
        let ahead = SignedDuration::from_hours(hours);
        tenant.change(|state| state.rules.ahead = ahead);
        let rig = TestDaemon::start(&tenant, &[("Alpha", &page)]);
        wait_for_banner(&tenant, DOWN).await;
        rig.cycles(8).await;
        assert_eq!(tenant.writes().len(), 1, "{hours} h");
        let skew = rig.board.read(|board| banner_view(board).clock_skew).unwrap();
        assert!((skew - ahead).abs() < SignedDuration::from_secs(3), "{skew}");
        page.recover();
        wait_for_banner(&tenant, "").await;
        rig.stop().await;
    }
}

/// Also after our own user restored it; with an API key the daemon does not request its user.
#[tokio::test]
async fn a_manual_banner_that_looks_like_ours_stays_manual() {
    let (tenant, page) = (Tenant::start(), StatusPage::start());
    tenant.person_sets(Banner { message: "Alpha: we move it on Sunday".into(), ..manual_banner() });
    let mut folder = folder_watching(&[("Alpha", &page)]);
    for credentials in [
        QlikCredentials::ApiKey(API_KEY.to_owned().into()),
        QlikCredentials::OAuth {
            client_id: CLIENT_ID.into(),
            client_secret: CLIENT_SECRET.to_owned().into(),
        },
    ] {
        let scenario = Scenario { credentials, ..Scenario::default() };
        let rig = TestDaemon::start_in(folder, &tenant, scenario);
        rig.cycles(5).await;
        page.set_indicator("major", "Partial System Outage");
        wait_for_banner(&tenant, DOWN).await;
        page.recover();
        wait_for_banner(&tenant, "Alpha: we move it on Sunday").await;
        rig.cycles(5).await;
        assert_eq!(seen_now(&tenant), "Alpha: we move it on Sunday");
        folder = rig.stop().await;
    }
    assert_eq!(tenant.requests_on("/users/me").len(), 1);
    tenant.assert_well_behaved();
}
