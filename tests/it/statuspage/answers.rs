//! What a page says, and what is no status page.

use data_sources_monitor::domain::observation::{Link, Unknown};
use data_sources_monitor::poll::MAX_BODY;
use serde_json::json;

use super::Onlooker;
use stand_ins::Reply;
use stand_ins::status_page::{Flavour, INDICATORS, StatusPage, inactive};

/// Each documented indicator is a severity, in the page's words, with a link to the page; one request each.
#[tokio::test]
async fn reads_each_indicator() {
    let page = StatusPage::start();
    let mut onlooker = Onlooker::of(&page);
    for (indicator, description) in INDICATORS {
        page.set_indicator(indicator, description);
        let look = onlooker.look().await;
        let reading = look.outcome.unwrap();
        assert_eq!(reading.severity.as_str(), indicator);
        assert_eq!(reading.description, description);
        let link = Link { url: format!("{}/", page.url()), label: "Status page".into() };
        assert_eq!(reading.link, Some(link));
        assert_eq!((reading.notes, reading.partial), (vec![], None));
        assert_eq!((look.not_modified, look.retry_after, look.final_url), (false, None, None));
    }
    assert_eq!(page.requests_on("GET /api/v2/status.json").len(), page.requests().len());
    assert_eq!(page.requests().len(), INDICATORS.len());
}

/// An indicator that is none of the five words, in whatever spelling, is unknown; one that is no text is absent.
#[tokio::test]
async fn guesses_no_indicator() {
    let page = StatusPage::start();
    let mut onlooker = Onlooker::of(&page);
    for word in ["MAJOR", "Major", " major\n", "ma-jor", "ma_jor"] {
        page.set_indicator(word, "Something");
        assert_eq!(onlooker.says().await, "major: Something", "{word:?}");
    }
    for word in ["", "operational", "partial", "majorr"] {
        page.set_indicator(word, "Something");
        assert_eq!(onlooker.unknown().await, Unknown::UnknownIndicator(word.trim().into()), "{word:?}");
    }
    for value in [json!(null), json!(1), json!(true), json!(["none"]), json!({"none": "none"})] {
        page.set_indicator_value(value.clone(), "Something");
        assert_eq!(onlooker.unknown().await, Unknown::NoIndicator, "{value}");
    }
}

/// Everything but the indicator may be missing, null or of another kind, as on compatible servers.
#[tokio::test]
async fn needs_nothing_but_the_indicator() {
    let page = StatusPage::start();
    page.set_indicator("minor", "Partially Degraded Service");
    let mut onlooker = Onlooker::of(&page);
    for flavour in [Flavour::Bare, Flavour::IncidentIo, Flavour::Statuspage] {
        page.set_flavour(flavour);
        assert_eq!(onlooker.says().await, "minor: Partially Degraded Service", "{flavour:?}");
    }
    for status in [
        json!({"indicator": "minor"}),
        json!({"indicator": "minor", "description": null}),
        json!({"indicator": "minor", "description": ["x"]}),
        json!({"indicator": "minor", "description": "  \n "}),
    ] {
        for around in [json!({}), json!({"page": null}), json!({"page": "x", "components": 5})] {
            let mut body = around;
            body["status"] = status.clone();
            page.next(Reply::json(&body));
            assert_eq!(onlooker.says().await, "minor: Partially Degraded Service", "{body}");
        }
    }
}

/// What is no status page is never healthy; each kind has its reason.
#[tokio::test]
async fn names_what_is_no_status_page() {
    let page = StatusPage::start();
    let mut onlooker = Onlooker::of(&page);
    let text = |body: &str| Reply::text("application/json", body);
    for (reply, want) in [
        (Reply::html(), "not JSON (an HTML page)"),
        (Reply::text("application/json", "\n <html>"), "not JSON (an HTML page)"),
        (Reply::text("text/html", "down for maintenance"), "not JSON (an HTML page)"),
        (text(""), "not JSON (empty answer)"),
        (Reply::status(204), "not JSON (empty answer)"),
        (text(" \n"), "not JSON (empty answer)"),
        (Reply::usual().half(), "not JSON (EOF while parsing"),
        (text("{\"status\":{\"indicator\":\"none\"}} {}"), "not JSON (trailing characters"),
        (text("{\"status\":{\"indicator\":\"none\",\"indicator\":\"major\"}}"), "not JSON (duplicate field"),
        (text("[{\"status\":{\"indicator\":\"none\"}}]"), "no status in the answer"),
        (text("\"none\""), "no status in the answer"),
        (text("null"), "no status in the answer"),
        (text("{}"), "no status in the answer"),
        (text("{\"status\":\"none\"}"), "no status in the answer"),
        (text("{\"status\":[\"none\",\"All Systems Operational\"]}"), "no status in the answer"),
        (text("{\"indicator\":\"none\"}"), "no status in the answer"),
        (text(&"[".repeat(100_000)), "not JSON ("),
        (text(&format!("{{\"status\":{}", "{\"a\":".repeat(50_000))), "not JSON ("),
    ] {
        page.next(reply);
        let told = onlooker.unknown().await.to_string();
        assert!(told.starts_with(want), "{told:?} instead of {want:?}");
    }
    page.set_flavour(Flavour::CatchAll);
    assert_eq!(onlooker.says().await, "unknown: not JSON (an HTML page)");
}

/// A byte-order mark, a wrong content type and any 2xx do no harm to a sound body.
#[tokio::test]
async fn reads_sound_bodies_in_odd_clothes() {
    let page = StatusPage::start();
    page.honour_etags(false);
    page.set_indicator("major", "Partial System Outage");
    let mut onlooker = Onlooker::of(&page);
    let text = |body: &str| Reply::text("application/json", body);
    for reply in [
        Reply::usual().bom(),
        Reply::usual().header("content-type", "text/html"),
        Reply::usual().header("content-type", "application/octet-stream"),
        Reply::usual().with_status(203),
        Reply::usual().padded_to(MAX_BODY),
        text(r#"{"\ud83d":1,"status":{"indicator":"major","description":"Partial System Outage"}}"#),
    ] {
        page.next(reply);
        assert_eq!(onlooker.says().await, "major: Partial System Outage");
    }
}

/// A body above the cap is not read to its end, whether it announces its length or not.
#[tokio::test]
async fn caps_bodies() {
    let page = StatusPage::start();
    let mut onlooker = Onlooker::of(&page);
    page.next(Reply::usual().padded_to(MAX_BODY + 1));
    assert_eq!(onlooker.unknown().await, Unknown::TooLarge(MAX_BODY));
    page.next(Reply::usual().padded_to(5 << 20));
    assert_eq!(onlooker.unknown().await, Unknown::TooLarge(MAX_BODY));
    page.next(Reply::usual().padded_to(5 << 20).drip(1 << 16, std::time::Duration::from_micros(1)));
    assert_eq!(onlooker.unknown().await, Unknown::TooLarge(MAX_BODY));
}

/// Every status but 2xx is unknown, whatever its body says; 401 and 403 are told as an inactive page.
#[tokio::test]
async fn tells_http_statuses() {
    let page = StatusPage::start();
    let mut onlooker = Onlooker::of(&page);
    for status in [302, 304, 400, 403, 404, 410, 418, 500, 502, 503, 504, 599] {
        page.next(Reply::usual().with_status(status));
        assert_eq!(onlooker.unknown().await, Unknown::HttpStatus(status));
    }
    page.next(inactive());
    assert_eq!(onlooker.says().await, "unknown: HTTP 401: private or inactive page");
}

/// Whatever a page writes, what is shown is one plain line of bounded length.
#[tokio::test]
async fn makes_descriptions_plain() {
    let page = StatusPage::start();
    let mut onlooker = Onlooker::of(&page);
    page.set_indicator("minor", " Two\r\nlines,\ttabs\u{0}, \u{202e}turned\u{202c} and\u{200b} hidden ⚠️ ");
    assert_eq!(onlooker.reading().await.description, "Two lines, tabs , turned and hidden ⚠️");
    page.set_indicator("minor", &"lorem ipsum ".repeat(900));
    let description = onlooker.reading().await.description;
    assert!(description.chars().count() <= 300 && description.ends_with('…'), "{description}");
    page.set_indicator(&"x".repeat(10_000), "");
    let told = onlooker.unknown().await.to_string();
    assert!(told.chars().count() < 100, "{told}");
}

/// What people read, whatever a page's editor wrote it with.
#[tokio::test]
async fn entities_and_tags_are_decoded_once() {
    let page = StatusPage::start();
    let mut onlooker = Onlooker::of(&page).with_incidents();
    page.set_indicator("minor", "Search &#39;slow&#39;");
    assert_eq!(onlooker.says().await, "minor: Search 'slow'");
    page.open_incident("<b>Search</b> &amp;  export: p95 &gt; 5 s", "minor", &[]);
    assert_eq!(onlooker.says().await, "minor: Search & export: p95 > 5 s");
    page.add_component("Billing &amp;  Usage", "degraded_performance");
    for pattern in ["Billing & Usage", "Billing &amp; Usage", "billing  & *"] {
        let mut onlooker = Onlooker::of_components(&page, &[pattern], &[]);
        assert_eq!(onlooker.says().await, "minor: Billing & Usage: degraded performance", "{pattern}");
    }
}
