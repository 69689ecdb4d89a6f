//! HTTP exchanges that are slow, broken, redirected, or without news.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use data_sources_monitor::testing::domain::monitoring::observation::Unknown;
use data_sources_monitor::testing::http::{ClientOptions, Network, PageClient};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::{Poller, SHORT};
use stand_ins::Reply;
use stand_ins::status_page::{Flavour, StatusPage, inactive};

#[tokio::test]
async fn a_page_that_hangs_or_drips_is_given_up_at_the_deadline() {
    let page = StatusPage::start();
    let mut poller = Poller::of(&page).with_short_timeout();
    for reply in [
        Reply::hang(),
        Reply::usual().slow_headers(Duration::from_millis(20)),
        Reply::usual().drip(1, Duration::from_millis(20)),
        Reply::usual().late(Duration::from_secs(20)),
    ] {
        page.next(reply);
        let began = Instant::now();
        assert_eq!(poller.unknown().await, Unknown::Timeout);
        let took = began.elapsed();
        assert!(took >= SHORT && took < SHORT + Duration::from_secs(3), "{took:?}");
    }
    assert_eq!(poller.says().await, "none: All Systems Operational");
}

/// A result that was reached before it stands.
#[tokio::test]
async fn one_deadline_covers_both_endpoints_of_a_poll() {
    let page = StatusPage::start();
    page.add_component("Storage", "major_outage");
    page.next_on("summary", Reply::hang());
    let mut poller = Poller::of_components(&page, &["Storage"], &[]).with_incidents();
    poller.timeout = Duration::from_secs(2);
    page.next_on("components", Reply::usual().late(Duration::from_secs(1)));
    let began = Instant::now();
    let reading = poller.reading().await;
    assert!(began.elapsed() < Duration::from_millis(2900), "{:?}", began.elapsed());
    assert_eq!(reading.description, "Storage: major outage");
    assert_eq!(reading.notes, ["incidents could not be read: no answer in time"]);
}

/// Our own network can cause all of them.
#[tokio::test]
async fn each_kind_of_broken_connection_has_its_reason() {
    let page = StatusPage::start();
    let mut poller = Poller::of(&page);
    page.next(Reply::dropped());
    assert_eq!(poller.unknown().await.reason(), "broken");
    page.next(Reply::usual().cut_off());
    assert_eq!(poller.unknown().await.reason(), "broken");

    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refused = Poller::at(&format!("http://{free}")).unknown().await;
    assert_eq!(refused.reason(), "connect");
    assert!(!refused.to_string().contains("api/v2"), "{refused}");

    let tls = Poller::at(&page.url().replace("http:", "https:")).unknown().await;
    assert_eq!(tls.reason(), "tls", "{tls:?}");
    assert!(refused.may_be_our_network() && tls.may_be_our_network());
}

/// Also if no status page answers there.
#[tokio::test]
async fn a_moved_page_is_followed_and_its_new_address_reported() {
    let (old, new) = (StatusPage::start(), StatusPage::start());
    new.set_indicator("minor", "Partially Degraded Service");
    let there = format!("{}/api/v2/status.json", new.url());
    for status in [301, 302, 307, 308] {
        old.next(Reply::redirect(status, &there));
        let look = Poller::of(&old).look().await;
        assert_eq!(look.outcome.unwrap().description, "Partially Degraded Service");
        assert_eq!(look.final_url.as_deref(), Some(there.as_str()));
    }
    let host = new.url().replace("http://", "");
    new.set_flavour(Flavour::CatchAll);
    old.next(Reply::redirect(301, &there));
    assert_eq!(Poller::of(&old).unknown().await, Unknown::Moved(host.clone()));
    new.set_flavour(Flavour::Statuspage);
    for path in ["/", "/api/v2/nowhere.json"] {
        old.next(Reply::redirect(301, &format!("{}{path}", new.url())));
        let look = Poller::of(&old).look().await;
        assert_eq!(look.outcome.unwrap_err(), Unknown::Moved(host.clone()), "{path}");
        assert!(look.final_url.unwrap().ends_with(path));
    }
}

/// Nor is a notice that the page is inactive.
#[tokio::test]
async fn a_home_page_for_every_path_is_no_status_page() {
    let page = StatusPage::start();
    let mut poller = Poller::of(&page);
    let host = page.url().replace("http://", "");
    for path in ["/", "/inactive"] {
        page.next(Reply::redirect(302, path));
        page.next(Reply::html());
        assert_eq!(poller.unknown().await, Unknown::Moved(format!("{host}{path}")));
    }
    page.next(Reply::redirect(302, "/inactive"));
    page.next(inactive());
    assert_eq!(poller.unknown().await, Unknown::HttpStatus(401));
}

/// A redirect without a target is reported by its status.
#[tokio::test]
async fn a_redirect_loop_ends_after_a_few_steps() {
    let page = StatusPage::start();
    page.always_on("", Reply::redirect(302, "/api/v2/status.json"));
    assert_eq!(Poller::of(&page).unknown().await, Unknown::Redirect("more than 5 redirects".into()),);
    assert!(page.requests().len() <= 7, "{}", page.dump());
    page.as_usual();
    page.next(Reply::status(302));
    assert_eq!(Poller::of(&page).unknown().await, Unknown::HttpStatus(302));
}

/// A resolver that knows only these names.
struct Names(&'static [(&'static str, &'static str)]);

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let known = self.0.iter().filter(|(host, _)| *host == name.as_str());
        let found: Vec<SocketAddr> = known.map(|(_, ip)| SocketAddr::new(ip.parse().unwrap(), 0)).collect();
        Box::pin(async move { Ok(Box::new(found.into_iter()) as Addrs) })
    }
}

/// Neither by address nor by a name that resolves to one. The host that the definition names is exempt.
#[tokio::test]
async fn no_redirect_leads_into_a_private_network() {
    let (page, inside) = (StatusPage::start(), StatusPage::start());
    inside.set_indicator("critical", "password=hunter2");
    let port = |url: String| url.rsplit(':').next().unwrap().to_owned();
    let names = Names(&[
        ("status.acme.test", "127.0.0.1"),
        ("rebound.acme.test", "127.0.0.1"),
        ("mapped.acme.test", "::ffff:127.0.0.1"),
    ]);
    let options = ClientOptions { network: Network::default(), keep_alive: false };
    let mut poller = Poller::at(&format!("http://status.acme.test:{}", port(page.url())));
    poller.client = PageClient::resolving(&options, Arc::new(names)).unwrap();
    assert_eq!(poller.says().await, "none: All Systems Operational");
    for host in [
        "127.0.0.1",
        "user:pw@127.0.0.1",
        "2130706433",
        "[::ffff:127.0.0.1]",
        "[::1]",
        "localhost",
        "0.0.0.0",
        "rebound.acme.test",
        "mapped.acme.test",
    ] {
        let there = format!("http://{host}:{}/api/v2/status.json", port(inside.url()));
        for to in [there.clone(), there.replace("http:", "")] {
            page.next(Reply::redirect(302, &to));
            assert_eq!(
                poller.unknown().await,
                Unknown::Redirect("redirected to a private address".into()),
                "{to}"
            );
        }
    }
    assert_eq!(inside.requests().len(), 0);
    // The page's own host may move within itself.
    page.next(Reply::redirect(302, "/api/v2/status.json?again"));
    assert_eq!(poller.says().await, "none: All Systems Operational");
}

/// The ETag is sent back unchanged, until the page changes.
#[tokio::test]
async fn a_304_repeats_the_last_response() {
    let page = StatusPage::start();
    page.set_indicator("minor", "Partially Degraded Service");
    let mut poller = Poller::of(&page);
    let first = poller.look().await;
    let again = poller.look().await;
    assert_eq!((first.not_modified, again.not_modified), (false, true));
    assert_eq!(first.outcome, again.outcome);
    page.set_indicator("none", "All Systems Operational");
    let changed = poller.look().await;
    assert_eq!((changed.not_modified, changed.outcome.unwrap().severity.as_str()), (false, "none"));
    assert_eq!((page.answered(200), page.answered(304)), (2, 1));
    let asked: Vec<_> =
        page.requests().iter().map(|r| r.header("if-none-match").map(str::to_owned)).collect();
    assert_eq!(asked[0], None);
    assert!(asked[1].as_deref().is_some_and(|etag| etag.starts_with("W/\"") && etag.ends_with('"')));
    assert_eq!(asked[1], asked[2]);
}

#[tokio::test]
async fn a_changed_definition_applies_to_a_304() {
    let page = StatusPage::start();
    page.set_indicator("minor", "Service Under Maintenance");
    let mut poller = Poller::of(&page);
    assert_eq!(poller.says().await, "minor: Service Under Maintenance");
    let mut poller = poller.remapping("minor", "maintenance");
    assert_eq!(poller.says().await, "maintenance: Service Under Maintenance");
    assert_eq!(page.answered(304), 1);
}

/// A response without an ETag ends it too.
#[tokio::test]
async fn the_cached_response_survives_failures_but_no_new_address() {
    let (page, other) = (StatusPage::start(), StatusPage::start());
    let mut poller = Poller::of(&page);
    poller.reading().await;
    for reply in [Reply::status(503), Reply::html(), Reply::dropped()] {
        page.next(reply);
        poller.unknown().await;
    }
    assert!(poller.look().await.not_modified);

    page.next(Reply::json(&serde_json::json!({"status": {"indicator": "major"}})));
    assert_eq!(poller.says().await, "major: Partial System Outage");
    poller.reading().await;
    assert_eq!(page.requests().last().unwrap().header("if-none-match"), None);

    poller.page.root = format!("{}/", other.url()).parse().unwrap();
    poller.reading().await;
    assert_eq!(other.requests()[0].header("if-none-match"), None);
}

#[tokio::test]
async fn a_304_without_a_sent_etag_is_unknown() {
    let page = StatusPage::start();
    page.next(Reply::status(304));
    let look = Poller::of(&page).look().await;
    assert_eq!((look.outcome, look.not_modified), (Err(Unknown::HttpStatus(304)), false));
}

/// For 429 and other statuses.
#[tokio::test]
async fn retry_after_is_reported_up_to_a_limit() {
    let page = StatusPage::start();
    let mut poller = Poller::of(&page);
    let asking = |status: u16, wait: &str| Reply::status(status).header("retry-after", wait);
    for (reply, want, wait) in [
        (Reply::too_many(Some(13)), Unknown::RateLimited(13), Some(13)),
        (Reply::too_many(None), Unknown::RateLimited(0), None),
        (Reply::too_many(Some(86_400)), Unknown::RateLimited(3600), Some(3600)),
        (asking(429, "Wed, 21 Oct 2015 07:28:00 GMT"), Unknown::RateLimited(0), Some(0)),
        (asking(429, "later"), Unknown::RateLimited(0), None),
        (asking(503, "120"), Unknown::HttpStatus(503), Some(120)),
    ] {
        page.next(reply);
        let look = poller.look().await;
        assert_eq!(look.outcome, Err(want));
        assert_eq!(look.retry_after.map(|wait| wait.as_secs()), wait);
    }
}

/// Nothing that could identify more than the program.
#[tokio::test]
async fn requests_carry_only_the_necessary_headers() {
    let page = StatusPage::start();
    Poller::of(&page).reading().await;
    let request = &page.requests()[0];
    assert!(request.header("user-agent").unwrap().starts_with("data-sources-monitor/"));
    assert_eq!(request.header("accept"), Some("application/json"));
    let mut names: Vec<&str> = request.headers.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["accept", "accept-encoding", "host", "user-agent"]);
}
