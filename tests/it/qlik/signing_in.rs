//! Keys and tokens: fetched when needed, shared, renewed in time and after a refusal, and never told.

use std::time::Duration;

use data_sources_monitor::publish::{QlikCredentials, Target};
use serde_json::json;

use super::{banner, qlik, with_key, with_oauth, with_secret};
use stand_ins::tenant::{API_KEY, CLIENT_ID, CLIENT_SECRET, READ, TOKEN, Tenant, rate_limited, refusal};
use stand_ins::{Gate, Reply};

/// Lets this much time pass for the program, and none for the machine.
async fn pass(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

/// A wrong key is refused once, not tried again; a key that cannot be sent is told without a request.
#[tokio::test]
async fn a_wrong_key() {
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

/// One token serves all requests; its request is the documented one.
#[tokio::test]
async fn fetches_one_token() {
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

/// Requests that need a token at the same time wait for one and the same.
#[tokio::test]
async fn fetches_a_token_once_for_all() {
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

/// A token is renewed when 85 % of its life is over, before it can be refused.
#[tokio::test]
async fn renews_before_the_end() {
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

/// A token that is refused before its time is dropped and renewed once; a second refusal is told.
#[tokio::test]
async fn renews_once_after_a_refusal() {
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

/// While a token is due but alive, trouble with renewing it stops nothing; after its end it does.
#[tokio::test]
async fn bears_a_failed_renewal() {
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

/// What the token endpoint can answer: refusals need a person, the rest passes; nothing is sent without a token.
#[tokio::test]
async fn sorts_refusals_of_tokens() {
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
        "the tenant rejected our credentials (check that the key or client is valid and not expired): no token: \
         HTTP 401: Unauthorized: Unknown client or wrong secret."
    );
}

/// A life of odd form does not keep a sound token from being used; a short one is used once and renewed.
#[tokio::test]
async fn reads_odd_lives() {
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

/// No secret shows in what programmers print, nor in an error that repeats what was sent.
#[tokio::test]
async fn shows_no_secret() {
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
