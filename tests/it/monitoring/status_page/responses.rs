//! Responses of status pages, and responses of something else.

use data_sources_monitor::testing::definitions::engine::{built_in, detection_order};
use data_sources_monitor::testing::domain::monitoring::observation::{Link, Unknown};
use data_sources_monitor::testing::poll::detect;

/// The largest document of the engine.
const MAX_BODY: usize = 1 << 20;
use serde_json::json;

use super::Poller;
use stand_ins::Reply;
use stand_ins::status_page::{Flavour, INDICATORS, StatusPage, inactive};

/// In the page's words, with a link to the page, by one request each.
#[tokio::test]
async fn each_indicator_has_its_severity() {
    let page = StatusPage::start();
    let mut poller = Poller::of(&page);
    for (indicator, description) in INDICATORS {
        page.set_indicator(indicator, description);
        let look = poller.look().await;
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

/// In any spelling; one that is no text counts as absent.
#[tokio::test]
async fn an_undocumented_indicator_is_unknown() {
    let page = StatusPage::start();
    let mut poller = Poller::of(&page);
    for word in ["MAJOR", "Major", " major\n", "ma-jor", "ma_jor"] {
        page.set_indicator(word, "Something");
        assert_eq!(poller.says().await, "major: Something", "{word:?}");
    }
    for word in ["", "operational", "partial", "majorr"] {
        page.set_indicator(word, "Something");
        assert_eq!(poller.unknown().await, Unknown::UnknownIndicator(word.trim().into()), "{word:?}");
    }
    for value in [json!(1), json!(true)] {
        page.set_indicator_value(value.clone(), "Something");
        assert_eq!(poller.unknown().await, Unknown::UnknownIndicator(value.to_string()));
    }
    for value in [json!(null), json!(["none"]), json!({"none": "none"})] {
        page.set_indicator_value(value.clone(), "Something");
        assert_eq!(poller.unknown().await, Unknown::NoIndicator, "{value}");
    }
}

/// Or null, or of another type, as on compatible servers.
#[tokio::test]
async fn everything_but_the_indicator_may_be_missing() {
    let page = StatusPage::start();
    page.set_indicator("minor", "Partially Degraded Service");
    let mut poller = Poller::of(&page);
    for flavour in [Flavour::Bare, Flavour::IncidentIo, Flavour::Statuspage] {
        page.set_flavour(flavour);
        assert_eq!(poller.says().await, "minor: Partially Degraded Service", "{flavour:?}");
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
            assert_eq!(poller.says().await, "minor: Partially Degraded Service", "{body}");
        }
    }
}

#[tokio::test]
async fn a_response_that_is_no_status_page_is_unknown_with_a_reason() {
    let page = StatusPage::start();
    let mut poller = Poller::of(&page);
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
        (text("{\"status\":{\"indicator\":\"none\",\"indicator\":\"major\"}}"), "no status in the answer"),
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
        let told = poller.unknown().await.to_string();
        assert!(told.starts_with(want), "{told:?} instead of {want:?}");
    }
    page.set_flavour(Flavour::CatchAll);
    assert_eq!(poller.says().await, "unknown: not JSON (an HTML page)");
}

#[tokio::test]
async fn byte_order_mark_content_type_and_2xx_status_do_not_matter() {
    let page = StatusPage::start();
    page.honour_etags(false);
    page.set_indicator("major", "Partial System Outage");
    let mut poller = Poller::of(&page);
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
        assert_eq!(poller.says().await, "major: Partial System Outage");
    }
}

/// Whether its length is announced or not.
#[tokio::test]
async fn a_body_above_the_limit_is_not_read_to_its_end() {
    let page = StatusPage::start();
    let mut poller = Poller::of(&page);
    page.next(Reply::usual().padded_to(MAX_BODY + 1));
    assert_eq!(poller.unknown().await, Unknown::TooLarge(MAX_BODY));
    page.next(Reply::usual().padded_to(5 << 20));
    assert_eq!(poller.unknown().await, Unknown::TooLarge(MAX_BODY));
    page.next(Reply::usual().padded_to(5 << 20).drip(1 << 16, std::time::Duration::from_micros(1)));
    assert_eq!(poller.unknown().await, Unknown::TooLarge(MAX_BODY));
}

/// Whatever the body says; 401 and 403 say what they mean.
#[tokio::test]
async fn every_status_but_2xx_is_unknown() {
    let page = StatusPage::start();
    let mut poller = Poller::of(&page);
    for status in [302, 304, 400, 403, 404, 410, 418, 500, 502, 503, 504, 599] {
        page.next(Reply::usual().with_status(status));
        assert_eq!(poller.unknown().await, Unknown::HttpStatus(status));
    }
    page.next(inactive());
    assert_eq!(poller.says().await, "unknown: HTTP 401: sign-in required, or the page was deactivated");
    page.next(Reply::usual().with_status(403));
    assert_eq!(
        poller.says().await,
        "unknown: HTTP 403: refused; the page is private, or rejects this network or client"
    );
}

/// Otherwise it could be taken for an engine whose documents are requested later.
#[tokio::test]
async fn a_page_that_limits_requests_is_not_detected() {
    let page = StatusPage::start();
    page.always_on("summary", Reply::too_many(Some(60)));
    let poller = Poller::of(&page);
    let order = detection_order(built_in());
    let found = detect(&poller.client, &poller.page.root, &order, poller.timeout).await;
    assert!(matches!(found.unwrap_err().as_slice(), [(_, Unknown::RateLimited(60))]));
}

#[tokio::test]
async fn a_challenge_for_bots_is_named() {
    let page = StatusPage::start();
    let mut poller = Poller::of(&page);
    for (header, value) in [("cf-mitigated", "challenge"), ("x-amzn-waf-action", "captcha")] {
        for status in [202, 403, 405] {
            page.next(Reply::html().with_status(status).header(header, value));
            assert_eq!(poller.unknown().await, Unknown::BotChallenge(status), "{header}");
        }
    }
    page.next(Reply::html().with_status(403).header("cf-mitigated", "x"));
    assert_eq!(poller.unknown().await, Unknown::HttpStatus(403));
    assert!(Unknown::BotChallenge(403).to_string().contains("refuses automated readers"));
}

/// By its address after a redirect, or by its title.
#[tokio::test]
async fn a_sign_in_page_is_named() {
    let page = StatusPage::start();
    let mut poller = Poller::of(&page);
    for there in ["/login", "/oauth2/authorize?state=secret", "/users/sign_in"] {
        page.next(Reply::redirect(302, &format!("{}{there}", page.url())));
        page.next_on(there.split('?').next().unwrap(), Reply::html());
        let reason = poller.unknown().await;
        assert!(matches!(&reason, Unknown::SignIn(_)), "{there}: {reason:?}");
        assert!(!reason.to_string().contains("secret"), "{reason}");
    }
    for (title, want) in [
        ("Sign in · Acme", "an HTML page that asks to sign in"),
        ("Just a moment...", "an HTML page that checks for bots"),
        ("Acme", "an HTML page"),
    ] {
        let html = format!("<!DOCTYPE html><html><head><title>{title}</title></head></html>");
        page.next(Reply::text("text/html", &html));
        assert_eq!(poller.unknown().await, Unknown::NotJson(want.into()));
    }
}

#[tokio::test]
async fn descriptions_become_one_plain_line_of_limited_length() {
    let page = StatusPage::start();
    let mut poller = Poller::of(&page);
    page.set_indicator("minor", " Two\r\nlines,\ttabs\u{0}, \u{202e}turned\u{202c} and\u{200b} hidden ⚠️ ");
    assert_eq!(poller.reading().await.description, "Two lines, tabs , turned and hidden ⚠️");
    page.set_indicator("minor", &"lorem ipsum ".repeat(900));
    let description = poller.reading().await.description;
    assert!(description.chars().count() <= 300 && description.ends_with('…'), "{description}");
    page.set_indicator(&"x".repeat(10_000), "");
    let told = poller.unknown().await.to_string();
    assert!(told.chars().count() < 100, "{told}");
}

#[tokio::test]
async fn entities_and_tags_are_decoded_once() {
    let page = StatusPage::start();
    let mut poller = Poller::of(&page).with_incidents();
    page.set_indicator("minor", "Search &#39;slow&#39;");
    assert_eq!(poller.says().await, "minor: Search 'slow'");
    page.open_incident("<b>Search</b> &amp;  export: p95 &gt; 5 s", "minor", &[]);
    assert_eq!(poller.says().await, "minor: Search & export: p95 > 5 s");
    page.add_component("Billing &amp;  Usage", "degraded_performance");
    for pattern in ["Billing & Usage", "Billing &amp; Usage", "billing  & *"] {
        let mut poller = Poller::of_components(&page, &[pattern], &[]);
        assert_eq!(poller.says().await, "minor: Billing & Usage: degraded performance", "{pattern}");
    }
}
