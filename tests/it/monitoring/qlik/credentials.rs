//! API keys and access tokens: requested when needed, shared, renewed in time and after a rejection, never shown.

use std::time::Duration;

use data_sources_monitor::testing::publish::Target;
use data_sources_monitor::testing::qlik::QlikCredentials;
use serde_json::json;

use super::{banner, qlik, with_key, with_oauth, with_secret};
use stand_ins::tenant::{API_KEY, CLIENT_ID, CLIENT_SECRET, READ, TOKEN, Tenant, rate_limited, refusal};
use stand_ins::{Gate, Reply};

/// Advances the program's clock, without waiting.
async fn pass(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

/// A key that cannot be sent is reported without a request.
#[tokio::test]
async fn a_rejected_key_is_not_retried() {
    let tenant = Tenant::start();
    let wrong = qlik(&tenant, QlikCredentials::ApiKey("other".to_owned().into()));
    assert_eq!(wrong.read().await.unwrap_err().reason(), "unauthorised");
    assert_eq!(wrong.write(&banner()).await.unwrap_err().reason(), "unauthorised");
    assert_eq!(tenant.requests().len(), 2);
    let broken = qlik(&tenant, QlikCredentials::ApiKey("two\nlines".to_owned().into()));
    let error = broken.read().await.unwrap_err();
    assert!(
        error.to_string().contains("characters that cannot be sent") && !error.to_string().contains("two")
    );
    assert_eq!(tenant.requests().len(), 2);
}

/// Its request is the documented one.
#[tokio::test]
async fn one_token_serves_all_requests() {
    let tenant = Tenant::start();
    let qlik = with_oauth(&tenant);
    assert_eq!(qlik.read().await, Ok(None));
    qlik.write(&banner()).await.unwrap();
    qlik.read().await.unwrap();
    assert_eq!(tenant.tokens_made(), 1);
    let asked = tenant.requests_on(TOKEN)[0].json().unwrap();
    let want =
        json!({"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "grant_type": "client_credentials"});
    assert_eq!(asked, want);
    assert_eq!(tenant.requests_on(READ)[0].bearer(), Some("stand-in-token-1"));
    tenant.assert_well_behaved();
}

#[tokio::test]
async fn concurrent_requests_share_one_token_request() {
    let tenant = Tenant::start();
    let qlik = with_oauth(&tenant);
    let gate = Gate::new();
    tenant.next_on(TOKEN, Reply::usual().held_by(&gate));
    let opening = async {
        tenant.wait_for_requests(1).await;
        gate.open();
    };
    let (a, b, c, ()) = tokio::join!(qlik.read(), qlik.read(), qlik.read(), opening);
    assert_eq!((a, b, c), (Ok(None), Ok(None), Ok(None)));
    assert_eq!(tenant.tokens_made(), 1);

    tenant.invalidate_tokens();
    let (a, b, c) = tokio::join!(qlik.read(), qlik.read(), qlik.read());
    assert_eq!((a, b, c), (Ok(None), Ok(None), Ok(None)));
    assert_eq!(tenant.tokens_made(), 2, "{}", tenant.dump());
}

#[tokio::test]
async fn a_token_is_renewed_after_85_percent_of_its_lifetime() {
    let tenant = Tenant::start();
    let qlik = with_oauth(&tenant);
    qlik.read().await.unwrap();
    pass(21_600 * 84 / 100).await;
    qlik.read().await.unwrap();
    assert_eq!(tenant.tokens_made(), 1);
    pass(21_600 * 2 / 100).await;
    qlik.read().await.unwrap();
    assert_eq!(tenant.tokens_made(), 2);
    assert_eq!(tenant.answered(401), 0);
}

/// A second rejection is reported.
#[tokio::test]
async fn a_rejected_token_is_renewed_once() {
    let tenant = Tenant::start();
    let qlik = with_oauth(&tenant);
    qlik.read().await.unwrap();
    tenant.invalidate_tokens();
    qlik.write(&banner()).await.unwrap();
    assert_eq!((tenant.tokens_made(), tenant.answered(401), tenant.writes().len()), (2, 1, 1));

    tenant.always_on("banners", refusal(401, "Unauthorized", "No."));
    let before = tenant.requests().len();
    assert_eq!(qlik.read().await.unwrap_err().reason(), "unauthorised");
    assert_eq!((tenant.tokens_made(), tenant.requests().len() - before), (3, 3));
    tenant.as_usual();
    qlik.read().await.unwrap();
    tenant.assert_well_behaved();
}

#[tokio::test]
async fn a_failed_renewal_is_ignored_until_the_token_expires() {
    let tenant = Tenant::start();
    let qlik = with_oauth(&tenant);
    qlik.read().await.unwrap();
    tenant.always_on(TOKEN, Reply::status(503));
    pass(21_600 * 9 / 10).await;
    assert_eq!(qlik.read().await, Ok(None));
    pass(21_600 / 10 + 1).await;
    assert_eq!(qlik.read().await.unwrap_err().reason(), "trouble");
    tenant.as_usual();
    assert_eq!(qlik.read().await, Ok(None));
}

/// A rejection needs an operator, other failures pass; nothing is sent without a token.
#[tokio::test]
async fn token_errors_are_permanent_or_transient() {
    let tenant = Tenant::start();
    let qlik = with_oauth(&tenant);
    for (reply, reason, wait) in [
        (refusal(400, "Bad Request", "x"), "unauthorised", None),
        (refusal(401, "Unauthorized", "x"), "unauthorised", None),
        (Reply::html().with_status(403), "unauthorised", None),
        (Reply::status(404), "not_found", None),
        (rate_limited(13), "rate_limited", Some(13)),
        (Reply::status(500), "trouble", None),
        (Reply::html(), "trouble", None),
        (Reply::dropped(), "trouble", None),
        (Reply::redirect(302, "/elsewhere"), "trouble", None),
        (Reply::json(&json!({"expires_in": 5})), "trouble", None),
        (Reply::json(&json!({"access_token": "", "expires_in": 5})), "trouble", None),
    ] {
        tenant.next_on(TOKEN, reply);
        let error = qlik.read().await.unwrap_err();
        assert_eq!((error.reason(), error.retry_after().map(|w| w.as_secs())), (reason, wait), "{error}");
    }
    assert_eq!(tenant.requests_on("banners").len(), 0);
    let wrong = with_secret(&tenant, "other-secret").write(&banner()).await.unwrap_err();
    assert_eq!(
        wrong.to_string().split(" (trace").next().unwrap(),
        "the tenant rejected our credentials (check that the key or client is valid and not expired): no access token: \
         HTTP 401: Unauthorized: Unknown client or wrong secret."
    );
}

/// A token with a short one is used once and renewed.
#[tokio::test]
async fn an_odd_token_lifetime_is_accepted() {
    for (life, tokens) in [
        (json!(21600), 1),
        (json!("21600"), 1),
        (json!(21600.5), 1),
        (json!(null), 1),
        (json!(1e300), 1),
        (json!(["x"]), 1),
        (json!(30), 2),
        (json!(0), 2),
        (json!(-5), 2),
    ] {
        let tenant = Tenant::start();
        let qlik = with_oauth(&tenant);
        let answer = json!({"access_token": API_KEY, "token_type": "Bearer", "expires_in": life});
        tenant.always_on(TOKEN, Reply::json(&answer));
        assert_eq!(qlik.read().await, Ok(None), "{life}");
        assert_eq!(qlik.read().await, Ok(None), "{life}");
        assert_eq!(tenant.requests_on(TOKEN).len(), tokens, "{life}");
    }
}

#[tokio::test]
async fn no_secret_appears_in_debug_output_or_errors() {
    let tenant = Tenant::start();
    let (key, oauth) = (with_key(&tenant), with_oauth(&tenant));
    oauth.read().await.unwrap();
    let shown = format!("{key:?} {oauth:?} {key:#?} {oauth:#?}");
    for secret in [API_KEY, CLIENT_SECRET, "stand-in-token-1"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    tenant.next_on(READ, refusal(403, "Forbidden", "Token stand-in-token-1 lacks a role."));
    assert!(!oauth.read().await.unwrap_err().to_string().contains("stand-in-token"));
    let other = with_oauth(&tenant);
    tenant.next_on(TOKEN, refusal(400, "Bad Request", &format!("client_secret {CLIENT_SECRET} is old")));
    let error = format!("{0} {0:?}", other.read().await.unwrap_err());
    assert!(error.contains("client_secret [redacted] is old") && !error.contains(CLIENT_SECRET), "{error}");
}
