//! How an exchange can go: slowly, broken, elsewhere, or with nothing new.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use data_sources_monitor::domain::observation::Unknown;
use data_sources_monitor::http::{ClientOptions, Network, PageClient, Redirects};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::{Onlooker, SHORT};
use stand_ins::Reply;
use stand_ins::status_page::{Flavour, StatusPage, inactive};

/// A page that hangs, drips its headers or drips its body is given up at the deadline, not after it.
#[tokio::test]
async fn gives_up_at_the_deadline() {
    let page = StatusPage::start();
    let mut onlooker = Onlooker::of(&page).hasty();
    for reply in [
        Reply::hang(),
        Reply::usual().slow_headers(Duration::from_millis(20)),
        Reply::usual().drip(1, Duration::from_millis(20)),
        Reply::usual().late(Duration::from_secs(20)),
    ] {
        page.next(reply);
        let began = Instant::now();
        assert_eq!(onlooker.unknown().await, Unknown::Timeout);
        let took = began.elapsed();
        assert!(took >= SHORT && took < SHORT + Duration::from_secs(3), "{took:?}");
    }
    assert_eq!(onlooker.says().await, "none: All Systems Operational");
}

/// The deadline spans both endpoints of a look; a verdict that was reached before it stands.
#[tokio::test]
async fn one_deadline_for_two_endpoints() {
    let page = StatusPage::start();
    page.add_component("Storage", "major_outage");
    page.next_on("summary", Reply::hang());
    let mut onlooker = Onlooker::of_components(&page, &["Storage"], &[]).with_incidents();
    onlooker.timeout = Duration::from_secs(2);
    page.next_on("components", Reply::usual().late(Duration::from_secs(1)));
    let began = Instant::now();
    let reading = onlooker.reading().await;
    assert!(began.elapsed() < Duration::from_millis(2900), "{:?}", began.elapsed());
    assert_eq!(reading.description, "Storage: major outage");
    assert_eq!(reading.notes, ["incidents could not be read: no answer in time"]);
}

/// Broken connections have their own reasons, all of which our own network can cause.
#[tokio::test]
async fn tells_broken_connections() {
    let page = StatusPage::start();
    let mut onlooker = Onlooker::of(&page);
    page.next(Reply::dropped());
    assert_eq!(onlooker.unknown().await.reason(), "broken");
    page.next(Reply::usual().cut_off());
    assert_eq!(onlooker.unknown().await.reason(), "broken");

    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refused = Onlooker::at(&format!("http://{free}")).unknown().await;
    assert_eq!(refused.reason(), "connect");
    assert!(!refused.to_string().contains("api/v2"), "{refused}");

    let tls = Onlooker::at(&page.url().replace("http:", "https:")).unknown().await;
    assert_eq!(tls.reason(), "tls", "{tls:?}");
    assert!(refused.may_be_our_network() && tls.may_be_our_network());
}

/// A page that moved is followed and its new address told; where no status page answers there, that is told.
#[tokio::test]
async fn follows_a_move() {
    let (old, new) = (StatusPage::start(), StatusPage::start());
    new.set_indicator("minor", "Partially Degraded Service");
    let there = format!("{}/api/v2/status.json", new.url());
    for status in [301, 302, 307, 308] {
        old.next(Reply::redirect(status, &there));
        let look = Onlooker::of(&old).look().await;
        assert_eq!(look.outcome.unwrap().description, "Partially Degraded Service");
        assert_eq!(look.final_url.as_deref(), Some(there.as_str()));
    }
    let host = new.url().replace("http://", "");
    new.set_flavour(Flavour::CatchAll);
    old.next(Reply::redirect(301, &there));
    assert_eq!(Onlooker::of(&old).unknown().await, Unknown::Moved(host.clone()));
    new.set_flavour(Flavour::Statuspage);
    for path in ["/", "/api/v2/nowhere.json"] {
        old.next(Reply::redirect(301, &format!("{}{path}", new.url())));
        let look = Onlooker::of(&old).look().await;
        assert_eq!(look.outcome.unwrap_err(), Unknown::Moved(host.clone()), "{path}");
        assert!(look.final_url.unwrap().ends_with(path));
    }
}

/// Hosts that send every path to their home page, or to a notice that the page is inactive, are seen through.
#[tokio::test]
async fn sees_through_home_pages() {
    let page = StatusPage::start();
    let mut onlooker = Onlooker::of(&page);
    let host = page.url().replace("http://", "");
    for path in ["/", "/inactive"] {
        page.next(Reply::redirect(302, path));
        page.next(Reply::html());
        assert_eq!(onlooker.unknown().await, Unknown::Moved(format!("{host}{path}")));
    }
    page.next(Reply::redirect(302, "/inactive"));
    page.next(inactive());
    assert_eq!(onlooker.unknown().await, Unknown::HttpStatus(401));
}

/// A loop ends after a few steps; a redirect to nowhere is told by its status.
#[tokio::test]
async fn ends_redirect_loops() {
    let page = StatusPage::start();
    page.always_on("", Reply::redirect(302, "/api/v2/status.json"));
    assert_eq!(Onlooker::of(&page).unknown().await, Unknown::Redirect("more than 5 redirects".into()),);
    assert!(page.requests().len() <= 7, "{}", page.dump());
    page.as_usual();
    page.next(Reply::status(302));
    assert_eq!(Onlooker::of(&page).unknown().await, Unknown::HttpStatus(302));
}

/// Names that a made-up resolver knows.
struct Names(&'static [(&'static str, &'static str)]);

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let known = self.0.iter().filter(|(host, _)| *host == name.as_str());
        let found: Vec<SocketAddr> = known.map(|(_, ip)| SocketAddr::new(ip.parse().unwrap(), 0)).collect();
        Box::pin(async move { Ok(Box::new(found.into_iter()) as Addrs) })
    }
}

/// A public page leads nobody inward, neither by address nor by a name that resolves to one; its own host may be anywhere.
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
    let options =
        ClientOptions { network: Network::default(), redirects: Redirects::Refuse, keep_alive: false };
    let mut onlooker = Onlooker::at(&format!("http://status.acme.test:{}", port(page.url())));
    onlooker.client = PageClient::resolving(&options, Arc::new(names)).unwrap();
    assert_eq!(onlooker.says().await, "none: All Systems Operational");
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
                onlooker.unknown().await,
                Unknown::Redirect("redirected to a private address".into()),
                "{to}"
            );
        }
    }
    assert_eq!(inside.requests().len(), 0);
    // The page's own host may move within itself.
    page.next(Reply::redirect(302, "/api/v2/status.json?again"));
    assert_eq!(onlooker.says().await, "none: All Systems Operational");
}

/// The etag is sent back to the letter, and a 304 is served from the last answer until the page changes.
#[tokio::test]
async fn serves_304_from_memory() {
    let page = StatusPage::start();
    page.set_indicator("minor", "Partially Degraded Service");
    let mut onlooker = Onlooker::of(&page);
    let first = onlooker.look().await;
    let again = onlooker.look().await;
    assert_eq!((first.not_modified, again.not_modified), (false, true));
    assert_eq!(first.outcome, again.outcome);
    page.set_indicator("none", "All Systems Operational");
    let changed = onlooker.look().await;
    assert_eq!((changed.not_modified, changed.outcome.unwrap().severity.as_str()), (false, "none"));
    assert_eq!((page.answered(200), page.answered(304)), (2, 1));
    let asked: Vec<_> =
        page.requests().iter().map(|r| r.header("if-none-match").map(str::to_owned)).collect();
    assert_eq!(asked[0], None);
    assert!(asked[1].as_deref().is_some_and(|etag| etag.starts_with("W/\"") && etag.ends_with('"')));
    assert_eq!(asked[1], asked[2]);
}

/// What an indicator means is decided at each look, so a changed definition also changes what a 304 is worth.
#[tokio::test]
async fn remaps_remembered_answers() {
    let page = StatusPage::start();
    page.set_indicator("minor", "Service Under Maintenance");
    let mut onlooker = Onlooker::of(&page);
    assert_eq!(onlooker.says().await, "minor: Service Under Maintenance");
    let mut onlooker = onlooker.remapping("minor", "maintenance");
    assert_eq!(onlooker.says().await, "maintenance: Service Under Maintenance");
    assert_eq!(page.answered(304), 1);
}

/// Failures in between leave the memory; another address, or an answer without an etag, ends it.
#[tokio::test]
async fn forgets_when_it_must() {
    let (page, other) = (StatusPage::start(), StatusPage::start());
    let mut onlooker = Onlooker::of(&page);
    onlooker.reading().await;
    for reply in [Reply::status(503), Reply::html(), Reply::dropped()] {
        page.next(reply);
        onlooker.unknown().await;
    }
    assert!(onlooker.look().await.not_modified);

    page.next(Reply::json(&serde_json::json!({"status": {"indicator": "major"}})));
    assert_eq!(onlooker.says().await, "major: Partial System Outage");
    onlooker.reading().await;
    assert_eq!(page.requests().last().unwrap().header("if-none-match"), None);

    onlooker.page.root = format!("{}/", other.url()).parse().unwrap();
    onlooker.reading().await;
    assert_eq!(other.requests()[0].header("if-none-match"), None);
}

/// A 304 to a question that named no etag says nothing.
#[tokio::test]
async fn trusts_no_304_without_memory() {
    let page = StatusPage::start();
    page.next(Reply::status(304));
    let look = Onlooker::of(&page).look().await;
    assert_eq!((look.outcome, look.not_modified), (Err(Unknown::HttpStatus(304)), false));
}

/// 429 and its wait are passed on; the wait has a limit, and other statuses may ask for one too.
#[tokio::test]
async fn passes_on_how_long_to_wait() {
    let page = StatusPage::start();
    let mut onlooker = Onlooker::of(&page);
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
        let look = onlooker.look().await;
        assert_eq!(look.outcome, Err(want));
        assert_eq!(look.retry_after.map(|wait| wait.as_secs()), wait);
    }
}

/// A request says who asks and for what, and carries nothing that could identify more.
#[tokio::test]
async fn sends_few_headers() {
    let page = StatusPage::start();
    Onlooker::of(&page).reading().await;
    let request = &page.requests()[0];
    assert!(request.header("user-agent").unwrap().starts_with("data-sources-monitor/"));
    assert_eq!(request.header("accept"), Some("application/json"));
    let mut names: Vec<&str> = request.headers.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["accept", "accept-encoding", "host", "user-agent"]);
}
