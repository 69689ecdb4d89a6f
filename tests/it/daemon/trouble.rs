//! The banner under trouble: lost answers, lost state, refusals, a wrong clock, people who are quicker than we are.

use std::time::{Duration, Instant};

use data_sources_monitor::publish::QlikCredentials;
use jiff::{SignedDuration, Timestamp};

use super::{Rig, Story, folder_watching, seen_now, wait_for_banner};
use stand_ins::Reply;
use stand_ins::status_page::StatusPage;
use stand_ins::tenant::{API_KEY, Banner, CLIENT_ID, CLIENT_SECRET, READ, TOKEN, Tenant, WRITE, refusal};

const DOWN: &str = "Alpha: Partial System Outage";

fn party() -> Banner {
    let now = Timestamp::now();
    Banner::of("info", "Party at 5", now, now + SignedDuration::from_hours(1))
}

fn down() -> (Tenant, StatusPage) {
    let (tenant, page) = (Tenant::start(), StatusPage::start());
    page.set_indicator("major", "Partial System Outage");
    (tenant, page)
}

/// A raise that was stored and never answered is up: a restart clears nothing and writes nothing, also where the page
/// cannot be read; the end of the incident clears it.
#[tokio::test]
async fn an_unanswered_raise_is_kept_over_a_restart() {
    for readable in [true, false] {
        let (tenant, page) = down();
        tenant.next_on(WRITE, Reply::usual().late(Duration::from_secs(3600)));
        let rig = Rig::start(&tenant, &[("Alpha", &page)]);
        wait_for_banner(&tenant, DOWN).await;
        // As a crash would leave it: what the first run learns at its end is lost.
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
        let rig = Rig::start_in(crashed.into(), &tenant, Story::default());
        rig.cycles(6).await;
        rig.wait_until(|board| board.banner.answered_at.is_some()).await;
        assert_eq!((seen_now(&tenant).as_str(), tenant.writes().len()), (DOWN, 1), "readable: {readable}");
        page.as_usual();
        page.recover();
        wait_for_banner(&tenant, "").await;
        rig.stop().await;
    }
}

/// A daemon whose state is gone adopts the banner of the one before it: no write while it is right, cleared at the end,
/// never restored. The same with a second daemon that has a state of its own, as in a rolling update.
#[tokio::test]
async fn a_lost_state_is_not_seen() {
    for both_run in [false, true] {
        let (tenant, page) = down();
        let old = Rig::start(&tenant, &[("Alpha", &page)]);
        wait_for_banner(&tenant, DOWN).await;
        let old = if both_run {
            Some(old)
        } else {
            old.stop().await;
            None
        };
        let rig = Rig::start(&tenant, &[("Alpha", &page)]);
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

/// State lost and incident over meanwhile: the banner that was left is ours by its words, and goes once its page is read.
#[tokio::test]
async fn what_was_left_is_cleared_without_state() {
    let (tenant, page) = down();
    let rig = Rig::start(&tenant, &[("Alpha", &page)]);
    wait_for_banner(&tenant, DOWN).await;
    rig.stop().await;
    page.recover();
    page.always_on("", Reply::status(500));
    let rig = Rig::start(&tenant, &[("Alpha", &page)]);
    rig.cycles(5).await;
    assert_eq!((seen_now(&tenant).as_str(), tenant.writes().len()), (DOWN, 1));
    page.as_usual();
    wait_for_banner(&tenant, "").await;
    rig.stop().await;
}

/// A person who changes only the link or the end of ours is heard until the assessment changes; afterwards nothing of the
/// old incident comes back.
#[tokio::test]
async fn an_edit_of_ours_is_never_restored() {
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
        let rig = Rig::start(&tenant, &[("Alpha", &page), ("Beta", &beta)]);
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

/// Whenever a person sets a banner while an incident is raised, it is displaced and restored, unless they are quicker than
/// the way from the last reading to the write: the tenant is read right before each write.
#[tokio::test]
async fn a_quick_person_loses_nothing() {
    let mut restored = 0;
    for nth in 1..=6 {
        let (tenant, page) = (Tenant::start(), StatusPage::start());
        let rig = Rig::start(&tenant, &[("Alpha", &page)]);
        rig.wait_until(|board| board.banner.answered_at.is_some()).await;
        let before = tenant.requests_on(READ).len();
        tenant.after(nth, READ, |state| state.set_by_person(party()));
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

/// A single refusal, of a write or of a reading, is retried soon; with an OAuth client by a fresh token.
#[tokio::test]
async fn one_refusal_is_not_the_end() {
    for (call, status) in [(WRITE, 401), (WRITE, 403), (WRITE, 404), (READ, 403)] {
        let (tenant, page) = down();
        tenant.next_on(call, refusal(status, "No", "Try again."));
        let credentials = QlikCredentials::OAuth {
            client_id: CLIENT_ID.into(),
            client_secret: CLIENT_SECRET.to_owned().into(),
        };
        let story = Story { credentials, ..Story::default() };
        let rig = Rig::start_in(folder_watching(&[("Alpha", &page)]), &tenant, story);
        let begun = Instant::now();
        wait_for_banner(&tenant, DOWN).await;
        assert!(begun.elapsed() < Duration::from_secs(15), "{call} {status}: {:?}", begun.elapsed());
        assert_eq!(tenant.requests_on(TOKEN).len(), if status == 404 { 1 } else { 2 }, "{call} {status}");
        rig.stop().await;
    }
}

/// After further refusals a new situation is tried at once, and so is whatever is pending on SIGHUP.
#[tokio::test]
async fn patience_ends_with_news() {
    let (tenant, page) = down();
    tenant.always_on(WRITE, refusal(403, "No", "Not you."));
    let rig = Rig::start(&tenant, &[("Alpha", &page)]);
    rig.wait_until(|board| board.banner.failures >= 3).await;
    tenant.as_usual();
    page.set_indicator("critical", "Major Service Outage");
    wait_for_banner(&tenant, "Alpha: Major Service Outage").await;
    tenant.always_on(WRITE, refusal(403, "No", "Not you."));
    page.recover();
    let failures = rig.board.read(|board| board.banner.failures);
    rig.wait_until(|board| board.banner.failures >= failures + 3).await;
    tenant.as_usual();
    rig.controls.reload();
    wait_for_banner(&tenant, "").await;
    rig.stop().await;
}

/// A link that the tenant refuses is left out, and nothing else: no word of the message, no service.
#[tokio::test]
async fn a_refused_link_is_left_out() {
    let (tenant, page) = down();
    let beta = StatusPage::start();
    beta.set_indicator("minor", "Slow");
    tenant.change(|state| state.rules.refuses_link = |link| link.starts_with("http://"));
    let rig = Rig::start(&tenant, &[("Alpha", &page), ("Beta", &beta)]);
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

/// `Retry-After: 0`, a date in the past and a fraction are waited for a second at least.
#[tokio::test]
async fn no_wait_is_without_a_floor() {
    for asked in ["0", "Sat, 02 May 2020 09:02:00 GMT", "0.2"] {
        let (tenant, page) = down();
        tenant.always_on(WRITE, Reply::status(503).header("retry-after", asked));
        let rig = Rig::start(&tenant, &[("Alpha", &page)]);
        tenant.wait_until(|tenant| tenant.requests_on(WRITE).len() >= 3).await;
        let times: Vec<Instant> = tenant.requests_on(WRITE).iter().map(|request| request.at).collect();
        assert!(times[2] - times[0] >= Duration::from_millis(1900), "{asked}: {times:?}");
        rig.stop().await;
    }
}

/// Where our clock is wrong the banner is visible all the same: start and end follow the tenant's clock.
#[tokio::test]
async fn a_wrong_clock_hides_no_banner() {
    for hours in [-6, 6, 24 * 400] {
        let (tenant, page) = down();
        let ahead = SignedDuration::from_hours(hours);
        tenant.change(|state| state.rules.ahead = ahead);
        let rig = Rig::start(&tenant, &[("Alpha", &page)]);
        wait_for_banner(&tenant, DOWN).await;
        rig.cycles(8).await;
        assert_eq!(tenant.writes().len(), 1, "{hours} h");
        let skew = rig.board.read(|board| board.banner.clock_skew).unwrap();
        assert!((skew - ahead).abs() < SignedDuration::from_secs(3), "{skew}");
        page.recover();
        wait_for_banner(&tenant, "").await;
        rig.stop().await;
    }
}

/// A manual banner whose words look like ours stays one, also after our own user restored it; with a key nobody asks who
/// we are.
#[tokio::test]
async fn asks_who_it_is() {
    let (tenant, page) = (Tenant::start(), StatusPage::start());
    tenant.person_sets(Banner { message: "Alpha: we move it on Sunday".into(), ..party() });
    let mut folder = folder_watching(&[("Alpha", &page)]);
    for credentials in [
        QlikCredentials::ApiKey(API_KEY.to_owned().into()),
        QlikCredentials::OAuth {
            client_id: CLIENT_ID.into(),
            client_secret: CLIENT_SECRET.to_owned().into(),
        },
    ] {
        let story = Story { credentials, ..Story::default() };
        let rig = Rig::start_in(folder, &tenant, story);
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
