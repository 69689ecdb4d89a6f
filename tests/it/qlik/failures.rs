//! Each way a tenant can refuse or fail, and what is told of it.

use std::time::Duration;

use data_sources_monitor::domain::banner::{Banner, Kind};
use data_sources_monitor::publish::{REQUEST_TIMEOUT, Target, TargetError};
use serde_json::json;

use super::{at, banner, with_key};
use stand_ins::Reply;
use stand_ins::tenant::{API_KEY, READ, Tenant, WRITE, rate_limited, refusal};

/// The tenant's own validation comes back in its words, and the same request is not worth repeating.
#[tokio::test]
async fn tells_what_is_refused() {
    let tenant = Tenant::start();
    let qlik = with_key(&tenant);
    for (banner, word) in [
        (Banner { kind: Kind::Other("critical".into()), ..banner() }, "type must be one of"),
        (Banner { message: "é".repeat(256), ..banner() }, "message must not be longer"),
        (Banner { end_time: at("2026-05-02T09:15:00Z"), ..banner() }, "endTime must be after"),
        (Banner { link_url: Some("status page".into()), ..banner() }, "linkUrl must be a URI"),
    ] {
        let error = qlik.write(&banner).await.unwrap_err();
        assert_eq!((error.reason(), error.is_permanent()), ("refused", true));
        let told = error.to_string();
        assert!(
            told.starts_with("the tenant refused the request: HTTP 400: Bad Request: ")
                && told.contains(word),
            "{told}"
        );
        assert!(told.contains(" (trace "), "{told}");
    }
    assert_eq!(tenant.writes().len(), 0);
}

/// Every status has its meaning, for reads and writes alike, whether the body explains it or not.
#[tokio::test]
async fn sorts_statuses() {
    let tenant = Tenant::start();
    let qlik = with_key(&tenant);
    for (status, reason, permanent) in [
        (301, "trouble", false),
        (302, "trouble", false),
        (304, "trouble", false),
        (400, "refused", true),
        (401, "unauthorised", true),
        (403, "forbidden", true),
        (404, "not_found", true),
        (405, "refused", true),
        (408, "trouble", false),
        (413, "refused", true),
        (422, "refused", true),
        (425, "trouble", false),
        (429, "rate_limited", false),
        (500, "trouble", false),
        (502, "trouble", false),
        (503, "trouble", false),
        (504, "trouble", false),
    ] {
        for reply in [
            refusal(status, "Title", "Detail."),
            Reply::status(status),
            Reply::html().with_status(status),
            Reply::json(&json!(["odd"])).with_status(status),
            Reply::json(&json!({"errors": [null, 5, {"title": 7}], "traceId": 8})).with_status(status),
        ] {
            tenant.next(reply.clone());
            let error = qlik.write(&banner()).await.unwrap_err();
            assert_eq!((error.reason(), error.is_permanent()), (reason, permanent), "{status}");
            assert_eq!(error.retry_after(), None);
            assert!(error.to_string().contains(&format!("HTTP {status}")), "{error}");
            assert!(!error.to_string().contains('<'), "{error}");
            if status != 404 {
                tenant.next(reply);
                assert_eq!(qlik.read().await.unwrap_err(), error);
            }
        }
    }
    tenant.assert_well_behaved();
}

/// What a person reads when something has to be done.
#[tokio::test]
async fn says_what_to_do() {
    let tenant = Tenant::start();
    let qlik = with_key(&tenant);
    let mut told = Vec::new();
    for reply in [
        refusal(401, "Unauthorized", "Authentication required."),
        refusal(403, "Forbidden", "Missing role TenantAdmin."),
        Reply::html().with_status(404),
        rate_limited(13),
        Reply::status(500),
        Reply::redirect(302, "https://login.example.com/"),
    ] {
        tenant.next_on(WRITE, reply);
        told.push(qlik.write(&banner()).await.unwrap_err().to_string());
    }
    insta::assert_snapshot!(told.join("\n"), @r"
    the tenant rejected our credentials (check that the key or client is valid and not expired): HTTP 401: Unauthorized: Authentication required. (trace d8462a8c6be65a909e38f0b8fea3c9ee)
    not allowed to set the banner (a user needs the role TenantAdmin, an OAuth client the scope admin_classic and consent Trusted): HTTP 403: Forbidden: Missing role TenantAdmin. (trace 11e8a68f4a1e323aa4df693cf6ca6256)
    the banner API was not found (check QLIK_TENANT_URL): HTTP 404
    rate limited by the tenant: HTTP 429: API rate limit reached: You need to wait 13 seconds until limit is lifted.
    trouble with the tenant: HTTP 500
    trouble with the tenant: HTTP 302: a redirect, which is not followed; check QLIK_TENANT_URL
    ");
}

/// A wait that the tenant asks for is passed on, up to a quarter of an hour; after it the same write goes through.
#[tokio::test]
async fn passes_on_how_long_to_wait() {
    let tenant = Tenant::start();
    let qlik = with_key(&tenant);
    let asking = |status: u16, wait: &str| Reply::status(status).header("retry-after", wait);
    for (reply, wait) in [
        (rate_limited(13), Some(13)),
        (asking(429, "86400"), Some(900)),
        (asking(429, "0"), Some(0)),
        (asking(429, "soon"), None),
        (asking(503, "7"), Some(7)),
        (asking(400, "7"), None),
    ] {
        tenant.next(reply);
        let error = qlik.write(&banner()).await.unwrap_err();
        assert_eq!(error.retry_after(), wait.map(Duration::from_secs), "{error}");
    }
    assert!(qlik.write(&banner()).await.is_ok());
}

/// A tenant that hangs or drips is given up after the limit, before or in the middle of its answer.
#[tokio::test]
async fn gives_up_in_time() {
    let tenant = Tenant::start();
    // Without a banner the answer is 404, which needs no body.
    with_key(&tenant).write(&banner()).await.unwrap();
    let hour = Duration::from_secs(3600);
    for (call, reply) in [(READ, Reply::hang()), (WRITE, Reply::hang()), (READ, Reply::usual().drip(1, hour))]
    {
        // A client of its own each time: a kept connection may be tried again on its own account.
        let qlik = with_key(&tenant);
        tenant.next(reply);
        let count = tenant.requests().len() + 1;
        let passing = async {
            tenant.wait_for_requests(count).await;
            tokio::time::pause();
            tokio::time::advance(REQUEST_TIMEOUT).await;
        };
        let calling = async {
            match call {
                READ => qlik.read().await.map(drop),
                _ => qlik.write(&banner()).await.map(drop),
            }
        };
        let ((), outcome) = tokio::join!(passing, calling);
        tokio::time::resume();
        let error = outcome.unwrap_err();
        assert!(error.to_string().contains("no answer in time"), "{error}");
        assert!(!error.is_permanent());
    }
}

/// A write whose answer is lost is trouble although it was stored: the read after it tells.
#[tokio::test]
async fn loses_an_answer() {
    let tenant = Tenant::start();
    let qlik = with_key(&tenant);
    tenant.next_on(WRITE, Reply::usual().reset());
    let error = qlik.write(&banner()).await.unwrap_err();
    assert_eq!((error.reason(), error.is_permanent()), ("trouble", false));
    assert_eq!(qlik.read().await.unwrap().unwrap().banner, banner());
    tenant.next_on(WRITE, Reply::dropped());
    assert_eq!(qlik.write(&banner()).await.unwrap_err().reason(), "trouble");
    assert_eq!(tenant.writes().len(), 1);
}

/// A redirect is not followed, so that credentials go nowhere else.
#[tokio::test]
async fn follows_no_redirect() {
    let (tenant, elsewhere) = (Tenant::start(), Tenant::start());
    let qlik = with_key(&tenant);
    for status in [301, 302, 303, 307, 308] {
        tenant.next(Reply::redirect(status, &format!("{}/api/v1/banners", elsewhere.url())));
        let told = qlik.write(&banner()).await.unwrap_err().to_string();
        assert!(told.contains("check QLIK_TENANT_URL"), "{told}");
    }
    assert_eq!(elsewhere.requests().len(), 0);
}

/// What the tenant writes into an error is told plain and short, and without a secret that it repeats.
#[tokio::test]
async fn tells_foreign_words_with_care() {
    let tenant = Tenant::start();
    let qlik = with_key(&tenant);
    let detail = format!("bad\r\nkey {API_KEY}\u{202e}\u{0}! {}{API_KEY}", "blah ".repeat(2000));
    tenant.next(refusal(403, &format!("No {API_KEY}"), &detail));
    let TargetError::Forbidden { detail } = qlik.write(&banner()).await.unwrap_err() else { panic!() };
    assert!(detail.starts_with("HTTP 403: No [redacted]: bad key [redacted] ! blah"), "{detail}");
    assert!(!detail.contains(API_KEY) && !detail.chars().any(char::is_control), "{detail}");
    assert!(detail.chars().count() < 400 && detail.ends_with(')'), "{detail}");
    // A secret that would be cut in half by the shortening.
    for padding in 250..310 {
        tenant.next(refusal(403, "x", &format!("{} {API_KEY} y y y", "z".repeat(padding))));
        let told = qlik.write(&banner()).await.unwrap_err().to_string();
        assert!(!told.contains(&API_KEY[..5]), "{told}");
    }
}
