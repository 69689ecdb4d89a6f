//! The rules of the banner, told by what a stand-in tenant's users saw.

use std::time::Duration;

use data_sources_monitor::domain::plan::{Foreign, Policy};
use data_sources_monitor::publish::QlikCredentials;
use jiff::{SignedDuration, Timestamp};

use super::{Rig, Story, folder_watching, seen_now, wait_for_banner};
use stand_ins::Reply;
use stand_ins::status_page::StatusPage;
use stand_ins::tenant::{Banner, CLIENT_ID, CLIENT_SECRET, READ, Tenant, WRITE, rate_limited, refusal};

const DOWN: &str = "Alpha: Partial System Outage";

fn by_a_person(message: &str, minutes: i64) -> Banner {
    let now = Timestamp::now();
    Banner::of("info", message, now, now + SignedDuration::from_mins(minutes))
}

/// Rule 1 and 5: an incident is one write, its end another, and in between nothing is written however often
/// pages and tenant are looked at.
#[tokio::test]
async fn an_incident_is_two_writes() {
    let (tenant, page) = (Tenant::start(), StatusPage::start());
    let rig = Rig::start(&tenant, &[("Alpha", &page)]);
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

/// Rule 2: several services, worst first; the type follows the worst; a milder one leaves the rest standing.
#[tokio::test]
async fn several_services_share_the_banner() {
    let tenant = Tenant::start();
    let (alpha, beta) = (StatusPage::start(), StatusPage::start());
    let rig = Rig::start(&tenant, &[("Alpha", &alpha), ("Beta", &beta)]);
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

/// Rule 3: the expiry is renewed when a quarter of it is left, with the same start, and a daemon that dies leaves a
/// banner that ends by itself.
#[tokio::test]
async fn the_lease_is_renewed() {
    let (tenant, page) = (Tenant::start(), StatusPage::start());
    page.set_indicator("major", "Partial System Outage");
    let policy = Policy { lease: Duration::from_secs(2), ..Story::default().policy };
    let story = Story { policy, ..Story::default() };
    let rig = Rig::start_in(folder_watching(&[("Alpha", &page)]), &tenant, story);
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

/// Rule 4: an incident displaces a manual banner and restores it as it was.
#[tokio::test]
async fn a_persons_banner_is_handed_back() {
    let (tenant, page) = (Tenant::start(), StatusPage::start());
    let party = Banner {
        link: (true, Some("https://acme.test/".into()), Some("More".into())),
        ..by_a_person("Party at 5", 60)
    };
    tenant.person_sets(party.clone());
    let rig = Rig::start(&tenant, &[("Alpha", &page)]);
    rig.cycles(3).await;
    assert_eq!(tenant.writes().len(), 0);
    page.set_indicator("major", "Partial System Outage");
    wait_for_banner(&tenant, DOWN).await;
    let folder = rig.stop().await;
    // Also over a restart.
    let rig = Rig::start_in(folder, &tenant, Story::default());
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

/// Rule 4: what a person does to the banner during an incident stands until the assessment changes.
#[tokio::test]
async fn a_persons_choice_stands() {
    let (tenant, page) = (Tenant::start(), StatusPage::start());
    page.set_indicator("major", "Partial System Outage");
    let rig = Rig::start(&tenant, &[("Alpha", &page)]);
    wait_for_banner(&tenant, DOWN).await;
    tenant.person_disables();
    rig.cycles(10).await;
    assert_eq!((seen_now(&tenant).as_str(), tenant.writes().len()), ("", 1));
    page.set_indicator("critical", "Major Service Outage");
    wait_for_banner(&tenant, "Alpha: Major Service Outage").await;
    tenant.person_sets(by_a_person("We know", 60));
    rig.cycles(10).await;
    page.recover();
    rig.wait_until(|board| board.issues.is_empty()).await;
    rig.cycles(10).await;
    assert_eq!((seen_now(&tenant).as_str(), tenant.writes().len()), ("We know", 2));
    rig.stop().await;
}

/// Rule 4, `respect`: ours waits until the person's banner is gone.
#[tokio::test]
async fn a_persons_banner_is_respected() {
    let (tenant, page) = (Tenant::start(), StatusPage::start());
    tenant.person_sets(by_a_person("Party at 5", 60));
    page.set_indicator("major", "Partial System Outage");
    let policy = Policy { foreign: Foreign::Respect, ..Story::default().policy };
    let rig =
        Rig::start_in(folder_watching(&[("Alpha", &page)]), &tenant, Story { policy, ..Story::default() });
    rig.wait_until(|board| board.banner.owed_since.is_some()).await;
    rig.cycles(5).await;
    assert_eq!(tenant.writes().len(), 0);
    tenant.person_disables();
    wait_for_banner(&tenant, DOWN).await;
    rig.stop().await;
}

/// Rule 5: `resolved` for a set time, then off.
#[tokio::test]
async fn resolved_comes_before_off() {
    let (tenant, page) = (Tenant::start(), StatusPage::start());
    page.set_indicator("major", "Partial System Outage");
    let policy = Policy { resolved_for: Duration::from_millis(1500), ..Story::default().policy };
    let rig =
        Rig::start_in(folder_watching(&[("Alpha", &page)]), &tenant, Story { policy, ..Story::default() });
    wait_for_banner(&tenant, DOWN).await;
    page.recover();
    wait_for_banner(&tenant, "Resolved: Alpha: Partial System Outage").await;
    assert_eq!(tenant.banner().unwrap().kind, "resolved");
    tenant.wait_until(|tenant| tenant.banner().is_some_and(|banner| !banner.enabled)).await;
    assert_eq!(tenant.writes().len(), 3);
    rig.stop().await;
}

/// Rule 6: a page that cannot be read neither raises nor clears, and no error text reaches the banner.
#[tokio::test]
async fn unreadable_pages_hold() {
    let tenant = Tenant::start();
    let (alpha, beta) = (StatusPage::start(), StatusPage::start());
    let rig = Rig::start(&tenant, &[("Alpha", &alpha), ("Beta", &beta)]);
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

/// A write that fails in any way stays owed and is on the banner as soon as the tenant lets it; users see it
/// come up once.
#[tokio::test]
async fn failed_writes_stay_owed() {
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
        let rig = Rig::start(&tenant, &[("Alpha", &page)]);
        wait_for_banner(&tenant, DOWN).await;
        rig.wait_until(|board| board.banner.owed_since.is_none() && board.banner.answered_at.is_some()).await;
        rig.cycles(3).await;
        assert_eq!((tenant.appearances(), tenant.writes().len()), (1, 1), "{name}");
        rig.stop().await;
    }
}

/// A failed write is still owed after a restart, and a tenant that cannot be read is left alone until it can.
#[tokio::test]
async fn owed_over_a_restart() {
    let (tenant, page) = (Tenant::start(), StatusPage::start());
    page.set_indicator("major", "Partial System Outage");
    tenant.always_on(WRITE, refusal(503, "Trouble", ""));
    let rig = Rig::start(&tenant, &[("Alpha", &page)]);
    rig.wait_until(|board| board.banner.owed_since.is_some() && board.banner.failures > 0).await;
    let folder = rig.stop().await;
    tenant.as_usual();
    tenant.next_on(READ, Reply::html());
    let rig = Rig::start_in(folder, &tenant, Story::default());
    wait_for_banner(&tenant, DOWN).await;
    rig.stop().await;
}

/// A restart in the middle of an incident writes nothing, and the incident's end after it clears the banner.
#[tokio::test]
async fn a_restart_is_not_seen() {
    let (tenant, page) = (Tenant::start(), StatusPage::start());
    page.set_indicator("major", "Partial System Outage");
    let rig = Rig::start(&tenant, &[("Alpha", &page)]);
    wait_for_banner(&tenant, DOWN).await;
    let folder = rig.stop().await;
    let rig = Rig::start_in(folder, &tenant, Story::default());
    rig.cycles(5).await;
    assert_eq!(tenant.writes().len(), 1);
    page.recover();
    wait_for_banner(&tenant, "").await;
    assert_eq!((tenant.writes().len(), tenant.appearances()), (2, 1));
    rig.stop().await;
}

/// After a restart an incident that may be over long ago is not raised while its page cannot be read: only a reading
/// raises. Until then it stays pending.
#[tokio::test]
async fn memory_alone_raises_nothing() {
    let (tenant, page) = (Tenant::start(), StatusPage::start());
    page.set_indicator("major", "Partial System Outage");
    tenant.always_on(WRITE, refusal(503, "Trouble", ""));
    let rig = Rig::start(&tenant, &[("Alpha", &page)]);
    rig.wait_until(|board| board.banner.failures > 0).await;
    let folder = rig.stop().await;
    tenant.as_usual();
    page.always_on("", Reply::status(500));
    let rig = Rig::start_in(folder, &tenant, Story::default());
    rig.cycles(5).await;
    rig.wait_until(|board| board.banner.owed_since.is_some() && board.banner.answered_at.is_some()).await;
    assert_eq!(tenant.writes().len(), 0);
    page.as_usual();
    wait_for_banner(&tenant, DOWN).await;
    rig.stop().await;
}

/// Signing in with a client: the token is made once, and once more when the tenant stops taking it.
#[tokio::test]
async fn tokens_are_renewed_once() {
    let (tenant, page) = (Tenant::start(), StatusPage::start());
    let credentials = QlikCredentials::OAuth {
        client_id: CLIENT_ID.into(),
        client_secret: CLIENT_SECRET.to_owned().into(),
    };
    let rig = Rig::start_in(
        folder_watching(&[("Alpha", &page)]),
        &tenant,
        Story { credentials, ..Story::default() },
    );
    rig.cycles(5).await;
    assert_eq!(tenant.tokens_made(), 1);
    tenant.invalidate_tokens();
    page.set_indicator("major", "Partial System Outage");
    wait_for_banner(&tenant, DOWN).await;
    assert_eq!(tenant.tokens_made(), 2);
    rig.stop().await;
}

/// A banner that the tenant refuses is sent without its link, and if that was not the reason, with a shorter message.
#[tokio::test]
async fn a_refused_message_is_shortened() {
    let (tenant, page) = (Tenant::start(), StatusPage::start());
    page.set_indicator("major", &"very long story ".repeat(30));
    for _ in 0..2 {
        tenant.next_on(WRITE, refusal(400, "Bad request", "message too long"));
    }
    let rig = Rig::start(&tenant, &[("Alpha", &page)]);
    tenant.wait_until(|tenant| !seen_now(tenant).is_empty()).await;
    let message = seen_now(&tenant);
    assert!(message.chars().count() <= 120 && message.starts_with("Alpha: very long story"), "{message}");
    assert!(tenant.banner().unwrap().link.0, "the link is gone although the message was the reason");
    rig.cycles(3).await;
    assert_eq!(tenant.writes().len(), 1);
    rig.stop().await;
}

/// A stop leaves the banner to its lease, or clears it if told to.
#[tokio::test]
async fn stopping_keeps_or_clears() {
    for clear_on_stop in [false, true] {
        let (tenant, page) = (Tenant::start(), StatusPage::start());
        page.set_indicator("major", "Partial System Outage");
        let story = Story { clear_on_stop, ..Story::default() };
        let rig = Rig::start_in(folder_watching(&[("Alpha", &page)]), &tenant, story);
        wait_for_banner(&tenant, DOWN).await;
        rig.stop().await;
        assert_eq!(tenant.visible().is_none(), clear_on_stop);
    }
}

/// A tenant that normalises what it is sent, and one whose reads lag behind its writes, are nobody's doing: no
/// second write, and the banner is still known as ours when it is to go.
#[tokio::test]
async fn tenants_with_habits() {
    let habits: [fn(&mut stand_ins::tenant::Rules); 3] = [
        |rules| rules.normalises = |banner| banner.message = format!("{} ", banner.message),
        |rules| rules.whole_seconds = true,
        |rules| rules.stale_reads = 2,
    ];
    for (number, habit) in habits.into_iter().enumerate() {
        let (tenant, page) = (Tenant::start(), StatusPage::start());
        tenant.change(|state| habit(&mut state.rules));
        page.set_indicator("major", "Partial System Outage");
        let rig = Rig::start(&tenant, &[("Alpha", &page)]);
        tenant.wait_until(|tenant| tenant.visible().is_some()).await;
        rig.cycles(20).await;
        assert_eq!(tenant.writes().len(), 1, "habit {number}");
        page.recover();
        tenant.wait_until(|tenant| tenant.visible().is_none()).await;
        rig.wait_until(|board| board.banner.owed_since.is_none()).await;
        assert_eq!(tenant.writes().len(), 2, "habit {number}");
        rig.stop().await;
    }
}

/// What a person decided stands over a restart as well.
#[tokio::test]
async fn a_choice_stands_over_a_restart() {
    let (tenant, page) = (Tenant::start(), StatusPage::start());
    page.set_indicator("major", "Partial System Outage");
    let rig = Rig::start(&tenant, &[("Alpha", &page)]);
    wait_for_banner(&tenant, DOWN).await;
    tenant.person_disables();
    let reads = tenant.requests_on(READ).len();
    tenant.wait_until(|tenant| tenant.requests_on(READ).len() >= reads + 2).await;
    let folder = rig.stop().await;
    let rig = Rig::start_in(folder, &tenant, Story::default());
    rig.cycles(20).await;
    assert_eq!((seen_now(&tenant).as_str(), tenant.writes().len()), ("", 1));
    rig.stop().await;
}

/// What is remembered of one tenant's banner says nothing of another's.
#[tokio::test]
async fn memory_belongs_to_its_tenant() {
    let (first, second, page) = (Tenant::start(), Tenant::start(), StatusPage::start());
    page.set_indicator("major", "Partial System Outage");
    second.person_sets(Banner { enabled: false, ..by_a_person("Old", 1) });
    let rig = Rig::start(&first, &[("Alpha", &page)]);
    wait_for_banner(&first, DOWN).await;
    let folder = rig.stop().await;
    let rig = Rig::start_in(folder, &second, Story::default());
    wait_for_banner(&second, DOWN).await;
    rig.stop().await;
}

/// A stop does not wait for a tenant that hangs.
#[tokio::test]
async fn a_hanging_tenant_does_not_hold_up_a_stop() {
    let (tenant, page) = (Tenant::start(), StatusPage::start());
    tenant.always_on(READ, Reply::hang());
    let rig = Rig::start(&tenant, &[("Alpha", &page)]);
    tenant.wait_for_requests(1).await;
    let began = std::time::Instant::now();
    rig.stop().await;
    assert!(began.elapsed() < data_sources_monitor::runtime::GRACE, "{:?}", began.elapsed());
}
