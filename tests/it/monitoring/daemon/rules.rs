//! The rules of the banner, checked by what users of a stand-in tenant saw.

use std::time::Duration;

use data_sources_monitor::testing::domain::monitoring::plan::{Foreign, Policy};
use data_sources_monitor::testing::qlik::QlikCredentials;
use jiff::{SignedDuration, Timestamp};

use super::{Scenario, TestDaemon, banner_view, folder_watching, seen_now, wait_for_banner};
use stand_ins::Reply;
use stand_ins::status_page::StatusPage;
use stand_ins::tenant::{Banner, CLIENT_ID, CLIENT_SECRET, READ, Tenant, WRITE, rate_limited, refusal};

const DOWN: &str = "Alpha: Partial System Outage";

fn manual_banner(message: &str, minutes: i64) -> Banner {
    let now = Timestamp::now();
    Banner::of("info", message, now, now + SignedDuration::from_mins(minutes))
}

/// Rules 1 and 5: one write when the incident starts, one when it ends, and none in between however often page and
/// tenant are read.
#[tokio::test]
async fn an_incident_causes_two_writes() {
    let (tenant, page) = (Tenant::start(), StatusPage::start());
    let rig = TestDaemon::start(&tenant, &[("Alpha", &page)]);
    rig.cycles(3).await;
    assert_eq!(tenant.writes().len(), 0);
    page.set_indicator("major", "Partial System Outage");
    wait_for_banner(&tenant, DOWN).await;
    rig.cycles(10).await;
    let raised = tenant.banner().unwrap();
    assert_eq!((raised.kind.as_str(), tenant.writes().len()), ("error", 1));
    assert_eq!(raised.link, (true, Some(page.url() + "/"), Some("Status page".into())));
    page.recover();
    wait_for_banner(&tenant, "").await;
    rig.cycles(10).await;
    assert_eq!((tenant.writes().len(), tenant.appearances()), (2, 1));
    assert!(!tenant.banner().unwrap().enabled);
    tenant.assert_well_behaved();
    rig.stop().await;
}

/// Rule 2: worst first; the type follows the worst severity; when one recovers, the others stay.
#[tokio::test]
async fn several_services_share_one_banner() {
    let tenant = Tenant::start();
    let (alpha, beta) = (StatusPage::start(), StatusPage::start());
    let rig = TestDaemon::start(&tenant, &[("Alpha", &alpha), ("Beta", &beta)]);
    beta.set_indicator("minor", "Partially Degraded\nService");
    wait_for_banner(&tenant, "Beta: Partially Degraded Service").await;
    assert_eq!(tenant.banner().unwrap().kind, "warning");
    alpha.set_indicator("critical", "Major Service Outage");
    wait_for_banner(&tenant, "Alpha: Major Service Outage | Beta: Partially Degraded Service").await;
    assert_eq!(tenant.banner().unwrap().kind, "error");
    let start = tenant.writes()[0].banner.start;
    alpha.set_indicator("maintenance", "Service Under Maintenance");
    beta.recover();
    wait_for_banner(&tenant, "Alpha: Service Under Maintenance").await;
    let last = tenant.banner().unwrap();
    assert_eq!((last.kind.as_str(), last.start), ("info", start));
    rig.stop().await;
}

/// Rule 3: renewed when a quarter of it is left. The banner of a daemon that dies ends by itself.
#[tokio::test]
async fn the_expiry_is_renewed_with_the_same_start() {
    let (tenant, page) = (Tenant::start(), StatusPage::start());
    page.set_indicator("major", "Partial System Outage");
    let policy = Policy { lease: Duration::from_secs(2), ..Scenario::default().policy };
    let scenario = Scenario { policy, ..Scenario::default() };
    let rig = TestDaemon::start_in(folder_watching(&[("Alpha", &page)]), &tenant, scenario);
    tenant.wait_until(|tenant| tenant.writes().len() >= 3).await;
    let writes = tenant.writes();
    assert!(
        writes
            .iter()
            .all(|write| write.banner.message == DOWN && write.banner.start == writes[0].banner.start)
    );
    let gaps = writes.windows(2).map(|pair| pair[1].at.duration_since(pair[0].at));
    assert!(gaps.into_iter().all(|gap| gap >= SignedDuration::from_millis(900)), "{:?}", tenant.seen().len());
    assert_eq!(seen_now(&tenant), DOWN);
    rig.stop().await;
}

/// Rule 4.
#[tokio::test]
async fn a_manual_banner_is_restored_after_the_incident() {
    let (tenant, page) = (Tenant::start(), StatusPage::start());
    let party = Banner {
        link: (true, Some("https://acme.test/".into()), Some("More".into())),
        ..manual_banner("Party at 5", 60)
    };
    tenant.person_sets(party.clone());
    let rig = TestDaemon::start(&tenant, &[("Alpha", &page)]);
    rig.cycles(3).await;
    assert_eq!(tenant.writes().len(), 0);
    page.set_indicator("major", "Partial System Outage");
    wait_for_banner(&tenant, DOWN).await;
    let folder = rig.stop().await;
    // Also over a restart.
    let rig = TestDaemon::start_in(folder, &tenant, Scenario::default());
    page.recover();
    wait_for_banner(&tenant, "Party at 5").await;
    rig.cycles(5).await;
    let back = tenant.banner().unwrap();
    assert_eq!(
        (back.kind, back.end.as_millisecond(), back.link),
        (party.kind, party.end.as_millisecond(), party.link)
    );
    assert_eq!(tenant.writes().len(), 2);
    rig.stop().await;
}

/// Rule 4.
#[tokio::test]
async fn a_manual_change_stands_until_the_assessment_changes() {
    let (tenant, page) = (Tenant::start(), StatusPage::start());
    page.set_indicator("major", "Partial System Outage");
    let rig = TestDaemon::start(&tenant, &[("Alpha", &page)]);
    wait_for_banner(&tenant, DOWN).await;
    tenant.person_disables();
    rig.cycles(10).await;
    assert_eq!((seen_now(&tenant).as_str(), tenant.writes().len()), ("", 1));
    page.set_indicator("critical", "Major Service Outage");
    wait_for_banner(&tenant, "Alpha: Major Service Outage").await;
    tenant.person_sets(manual_banner("We know", 60));
    rig.cycles(10).await;
    page.recover();
    rig.wait_until(|board| board.issues.is_empty()).await;
    rig.cycles(10).await;
    assert_eq!((seen_now(&tenant).as_str(), tenant.writes().len()), ("We know", 2));
    rig.stop().await;
}

/// Rule 4 with `respect`.
#[tokio::test]
async fn respect_waits_until_the_manual_banner_is_gone() {
    let (tenant, page) = (Tenant::start(), StatusPage::start());
    tenant.person_sets(manual_banner("Party at 5", 60));
    page.set_indicator("major", "Partial System Outage");
    let policy = Policy { foreign: Foreign::Respect, ..Scenario::default().policy };
    let rig = TestDaemon::start_in(
        folder_watching(&[("Alpha", &page)]),
        &tenant,
        Scenario { policy, ..Scenario::default() },
    );
    rig.wait_until(|board| banner_view(board).report.pending_since.is_some()).await;
    rig.cycles(5).await;
    assert_eq!(tenant.writes().len(), 0);
    tenant.person_disables();
    wait_for_banner(&tenant, DOWN).await;
    rig.stop().await;
}

/// Rule 5.
#[tokio::test]
async fn resolved_is_shown_before_the_banner_is_cleared() {
    let (tenant, page) = (Tenant::start(), StatusPage::start());
    page.set_indicator("major", "Partial System Outage");
    let policy = Policy { resolved_for: Duration::from_millis(1500), ..Scenario::default().policy };
    let rig = TestDaemon::start_in(
        folder_watching(&[("Alpha", &page)]),
        &tenant,
        Scenario { policy, ..Scenario::default() },
    );
    wait_for_banner(&tenant, DOWN).await;
    page.recover();
    wait_for_banner(&tenant, "Resolved: Alpha: Partial System Outage").await;
    assert_eq!(tenant.banner().unwrap().kind, "resolved");
    tenant.wait_until(|tenant| tenant.banner().is_some_and(|banner| !banner.enabled)).await;
    assert_eq!(tenant.writes().len(), 3);
    rig.stop().await;
}

/// Rule 6. No error text reaches the banner either.
#[tokio::test]
async fn an_unreadable_page_neither_raises_nor_clears() {
    let tenant = Tenant::start();
    let (alpha, beta) = (StatusPage::start(), StatusPage::start());
    let rig = TestDaemon::start(&tenant, &[("Alpha", &alpha), ("Beta", &beta)]);
    alpha.set_indicator("major", "Partial System Outage");
    wait_for_banner(&tenant, DOWN).await;
    for reply in [Reply::html(), Reply::status(503), Reply::dropped(), Reply::usual().half()] {
        alpha.always_on("", reply.clone());
        beta.always_on("", reply);
        rig.cycles(3).await;
        assert_eq!((seen_now(&tenant).as_str(), tenant.writes().len()), (DOWN, 1));
        alpha.as_usual();
        beta.as_usual();
    }
    alpha.recover();
    wait_for_banner(&tenant, "").await;
    rig.stop().await;
}

/// Users see the banner appear once.
#[tokio::test]
async fn a_failed_write_stays_pending_until_it_succeeds() {
    for (name, reply) in [
        ("rate limit", rate_limited(1)),
        ("500", refusal(500, "Trouble", "")),
        ("html 502", Reply::html().with_status(502)),
        ("reset before", Reply::dropped()),
        ("reset after", Reply::usual().reset()),
    ] {
        let (tenant, page) = (Tenant::start(), StatusPage::start());
        page.set_indicator("major", "Partial System Outage");
        tenant.next_on(WRITE, reply);
        let rig = TestDaemon::start(&tenant, &[("Alpha", &page)]);
        wait_for_banner(&tenant, DOWN).await;
        rig.wait_until(|board| {
            banner_view(board).report.pending_since.is_none()
                && banner_view(board).report.answered_at.is_some()
        })
        .await;
        rig.cycles(3).await;
        assert_eq!((tenant.appearances(), tenant.writes().len()), (1, 1), "{name}");
        rig.stop().await;
    }
}

/// A tenant that cannot be read gets no writes until it can.
#[tokio::test]
async fn a_pending_write_survives_a_restart() {
    let (tenant, page) = (Tenant::start(), StatusPage::start());
    page.set_indicator("major", "Partial System Outage");
    tenant.always_on(WRITE, refusal(503, "Trouble", ""));
    let rig = TestDaemon::start(&tenant, &[("Alpha", &page)]);
    rig.wait_until(|board| {
        banner_view(board).report.pending_since.is_some() && banner_view(board).failures > 0
    })
    .await;
    let folder = rig.stop().await;
    tenant.as_usual();
    tenant.next_on(READ, Reply::html());
    let rig = TestDaemon::start_in(folder, &tenant, Scenario::default());
    wait_for_banner(&tenant, DOWN).await;
    rig.stop().await;
}

/// The end of the incident after the restart clears the banner.
#[tokio::test]
async fn a_restart_during_an_incident_writes_nothing() {
    let (tenant, page) = (Tenant::start(), StatusPage::start());
    page.set_indicator("major", "Partial System Outage");
    let rig = TestDaemon::start(&tenant, &[("Alpha", &page)]);
    wait_for_banner(&tenant, DOWN).await;
    let folder = rig.stop().await;
    let rig = TestDaemon::start_in(folder, &tenant, Scenario::default());
    rig.cycles(5).await;
    assert_eq!(tenant.writes().len(), 1);
    page.recover();
    wait_for_banner(&tenant, "").await;
    assert_eq!((tenant.writes().len(), tenant.appearances()), (2, 1));
    rig.stop().await;
}

/// After a restart an old incident stays pending while its page cannot be read: only a poll result raises.
#[tokio::test]
async fn stored_state_alone_raises_nothing() {
    let (tenant, page) = (Tenant::start(), StatusPage::start());
    page.set_indicator("major", "Partial System Outage");
    tenant.always_on(WRITE, refusal(503, "Trouble", ""));
    let rig = TestDaemon::start(&tenant, &[("Alpha", &page)]);
    rig.wait_until(|board| banner_view(board).failures > 0).await;
    let folder = rig.stop().await;
    tenant.as_usual();
    page.always_on("", Reply::status(500));
    let rig = TestDaemon::start_in(folder, &tenant, Scenario::default());
    rig.cycles(5).await;
    rig.wait_until(|board| {
        banner_view(board).report.pending_since.is_some() && banner_view(board).report.answered_at.is_some()
    })
    .await;
    assert_eq!(tenant.writes().len(), 0);
    page.as_usual();
    wait_for_banner(&tenant, DOWN).await;
    rig.stop().await;
}

/// With an OAuth client: one token at first, and one more when the tenant rejects it.
#[tokio::test]
async fn a_rejected_token_is_renewed_once() {
    let (tenant, page) = (Tenant::start(), StatusPage::start());
    let credentials = QlikCredentials::OAuth {
        client_id: CLIENT_ID.into(),
        client_secret: CLIENT_SECRET.to_owned().into(),
    };
    let rig = TestDaemon::start_in(
        folder_watching(&[("Alpha", &page)]),
        &tenant,
        Scenario { credentials, ..Scenario::default() },
    );
    rig.cycles(5).await;
    assert_eq!(tenant.tokens_made(), 1);
    tenant.invalidate_tokens();
    page.set_indicator("major", "Partial System Outage");
    wait_for_banner(&tenant, DOWN).await;
    assert_eq!(tenant.tokens_made(), 2);
    rig.stop().await;
}

#[tokio::test]
async fn a_rejected_banner_is_sent_without_link_and_then_shortened() {
    let (tenant, page) = (Tenant::start(), StatusPage::start());
    page.set_indicator("major", &"very long story ".repeat(30));
    for _ in 0..2 {
        tenant.next_on(WRITE, refusal(400, "Bad request", "message too long"));
    }
    let rig = TestDaemon::start(&tenant, &[("Alpha", &page)]);
    tenant.wait_until(|tenant| !seen_now(tenant).is_empty()).await;
    let message = seen_now(&tenant);
    assert!(message.chars().count() <= 120 && message.starts_with("Alpha: very long story"), "{message}");
    assert!(tenant.banner().unwrap().link.0, "the link is gone although the message was the reason");
    rig.cycles(3).await;
    assert_eq!(tenant.writes().len(), 1);
    rig.stop().await;
}

#[tokio::test]
async fn a_stop_keeps_the_banner_or_clears_it_if_configured() {
    for clear_on_stop in [false, true] {
        let (tenant, page) = (Tenant::start(), StatusPage::start());
        page.set_indicator("major", "Partial System Outage");
        let scenario = Scenario { clear_on_stop, ..Scenario::default() };
        let rig = TestDaemon::start_in(folder_watching(&[("Alpha", &page)]), &tenant, scenario);
        wait_for_banner(&tenant, DOWN).await;
        rig.stop().await;
        assert_eq!(tenant.visible().is_none(), clear_on_stop);
    }
}

/// The banner is still recognised as ours when it is cleared.
#[tokio::test]
async fn normalised_or_stale_reads_cause_no_second_write() {
    let habits: [fn(&mut stand_ins::tenant::Rules); 3] = [
        |rules| rules.normalises = |banner| banner.message = format!("{} ", banner.message),
        |rules| rules.whole_seconds = true,
        |rules| rules.stale_reads = 2,
    ];
    for (number, habit) in habits.into_iter().enumerate() {
        let (tenant, page) = (Tenant::start(), StatusPage::start());
        tenant.change(|state| habit(&mut state.rules));
        page.set_indicator("major", "Partial System Outage");
        let rig = TestDaemon::start(&tenant, &[("Alpha", &page)]);
        tenant.wait_until(|tenant| tenant.visible().is_some()).await;
        rig.cycles(20).await;
        assert_eq!(tenant.writes().len(), 1, "habit {number}");
        page.recover();
        tenant.wait_until(|tenant| tenant.visible().is_none()).await;
        rig.wait_until(|board| banner_view(board).report.pending_since.is_none()).await;
        assert_eq!(tenant.writes().len(), 2, "habit {number}");
        rig.stop().await;
    }
}

#[tokio::test]
async fn a_manual_change_stands_over_a_restart() {
    let (tenant, page) = (Tenant::start(), StatusPage::start());
    page.set_indicator("major", "Partial System Outage");
    let rig = TestDaemon::start(&tenant, &[("Alpha", &page)]);
    wait_for_banner(&tenant, DOWN).await;
    tenant.person_disables();
    let reads = tenant.requests_on(READ).len();
    tenant.wait_until(|tenant| tenant.requests_on(READ).len() >= reads + 2).await;
    let folder = rig.stop().await;
    let rig = TestDaemon::start_in(folder, &tenant, Scenario::default());
    rig.cycles(20).await;
    assert_eq!((seen_now(&tenant).as_str(), tenant.writes().len()), ("", 1));
    rig.stop().await;
}

#[tokio::test]
async fn state_of_one_tenant_does_not_apply_to_another() {
    let (first, second, page) = (Tenant::start(), Tenant::start(), StatusPage::start());
    page.set_indicator("major", "Partial System Outage");
    second.person_sets(Banner { enabled: false, ..manual_banner("Old", 1) });
    let rig = TestDaemon::start(&first, &[("Alpha", &page)]);
    wait_for_banner(&first, DOWN).await;
    let folder = rig.stop().await;
    let rig = TestDaemon::start_in(folder, &second, Scenario::default());
    wait_for_banner(&second, DOWN).await;
    rig.stop().await;
}

#[tokio::test]
async fn a_hanging_tenant_does_not_delay_a_stop() {
    let (tenant, page) = (Tenant::start(), StatusPage::start());
    tenant.always_on(READ, Reply::hang());
    let rig = TestDaemon::start(&tenant, &[("Alpha", &page)]);
    tenant.wait_for_requests(1).await;
    let began = std::time::Instant::now();
    rig.stop().await;
    assert!(began.elapsed() < data_sources_monitor::testing::runtime::GRACE, "{:?}", began.elapsed());
}
