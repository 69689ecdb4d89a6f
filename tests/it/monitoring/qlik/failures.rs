//! Every way in which a tenant can reject a request or fail.

use std::time::Duration;

use data_sources_monitor::testing::domain::monitoring::banner::{Banner, BannerKind};
use data_sources_monitor::testing::publish::{Target, TargetError};
use data_sources_monitor::testing::qlik::REQUEST_TIMEOUT;
use serde_json::json;

use super::{at, banner, with_key};
use stand_ins::Reply;
use stand_ins::tenant::{API_KEY, READ, Tenant, WRITE, rate_limited, refusal};

/// The same request is not worth a retry.
#[tokio::test]
async fn a_validation_error_keeps_the_tenants_text() {
    let tenant = Tenant::start();
    let qlik = with_key(&tenant);
    for (banner, word) in [
        (Banner { kind: BannerKind::Other("critical".into()), ..banner() }, "type must be one of"),
        (Banner { message: "é".repeat(256), ..banner() }, "message must not be longer"),
        (Banner { end_time: at("2026-05-02T09:15:00Z"), ..banner() }, "endTime must be after"),
        (Banner { link_url: Some("status page".into()), ..banner() }, "linkUrl must be a URI"),
    ] {
        let error = qlik.write(&banner).await.unwrap_err();
        assert_eq!((error.reason(), error.is_permanent()), ("refused", true));
        let told = error.to_string();
        assert!(
            told.starts_with("the tenant rejected the request: HTTP 400: Bad Request: ")
                && told.contains(word),
            "{told}"
        );
        assert!(told.contains(" (trace "), "{told}");
    }
    assert_eq!(tenant.writes().len(), 0);
}

/// For reads and writes alike, whether the body explains it or not.
#[tokio::test]
async fn every_status_has_its_meaning() {
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

#[tokio::test]
async fn errors_say_what_to_do() {
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
    the request to the tenant failed: HTTP 500
    the request to the tenant failed: HTTP 302: a redirect, which is not followed; check QLIK_TENANT_URL
    ");
}

/// The same write succeeds after it.
#[tokio::test]
async fn retry_after_is_reported_up_to_15_minutes() {
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

#[tokio::test]
async fn a_tenant_that_hangs_or_drips_is_given_up_after_the_timeout() {
    let tenant = Tenant::start();
    // Without a banner the answer is 404, which needs no body.
    with_key(&tenant).write(&banner()).await.unwrap();
    let hour = Duration::from_secs(3600);
    for (call, reply) in [(READ, Reply::hang()), (WRITE, Reply::hang()), (READ, Reply::usual().drip(1, hour))]
    {
        // A new client each time: hyper may retry on a kept connection.
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

/// The read after it shows the banner.
#[tokio::test]
async fn a_write_without_a_response_is_an_error_although_stored() {
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

/// Credentials go to no other address.
#[tokio::test]
async fn no_redirect_is_followed() {
    let (tenant, elsewhere) = (Tenant::start(), Tenant::start());
    let qlik = with_key(&tenant);
    for status in [301, 302, 303, 307, 308] {
        tenant.next(Reply::redirect(status, &format!("{}/api/v1/banners", elsewhere.url())));
        let told = qlik.write(&banner()).await.unwrap_err().to_string();
        assert!(told.contains("check QLIK_TENANT_URL"), "{told}");
    }
    assert_eq!(elsewhere.requests().len(), 0);
}

#[tokio::test]
async fn upstream_texts_are_plain_short_and_redacted() {
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
