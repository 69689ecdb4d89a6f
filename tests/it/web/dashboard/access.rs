//! Access to the dashboard: tokens, host names, methods.

use data_sources_monitor::testing::web::server::security::AccessMode;

use super::{StoredRecords, TestServer, add};
use data_sources_monitor::testing::domain::monitoring::severity::Severity;

const TOKEN: &str = "a long token; with ü and \"quotes\"";

async fn with_token() -> TestServer {
    let mode = AccessMode::Token(TOKEN.to_owned().into());
    TestServer::with(StoredRecords::default(), mode, |board| add(board, "Alpha", Severity::Minor, "slow"))
        .await
}

#[tokio::test]
async fn methods_other_than_get_and_head_are_refused() {
    let served = TestServer::open(|_| {}).await;
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"] {
        for path in ["/", "/monitors/x", "/events", "/nowhere"] {
            let answer = served.ask(method, path).send().await.unwrap();
            assert_eq!(answer.status(), 405, "{method} {path}");
            assert_eq!(answer.headers()["allow"], "GET, HEAD");
        }
    }
    let head = served.ask("HEAD", "/").send().await.unwrap();
    assert_eq!((head.status().as_u16(), head.text().await.unwrap().len()), (200, 0));
}

/// So that no one can point a name of theirs at us; `/metrics` accepts any.
#[tokio::test]
async fn unknown_host_names_are_refused() {
    let served = TestServer::open(|_| {}).await;
    for (name, status) in [
        ("localhost", 200),
        ("monitor.acme.test", 200),
        ("192.0.2.1:8080", 200),
        ("evil.test", 421),
        ("127.0.0.1.evil.test", 421),
    ] {
        for path in ["/", "/events", "/monitors/x"] {
            let answer = served.ask("GET", path).header("host", name).send().await.unwrap();
            let want = if path == "/monitors/x" && status == 200 { 404 } else { status };
            assert_eq!(answer.status(), want, "{name} {path}");
        }
        for path in ["/healthz", "/metrics"] {
            assert_eq!(served.ask("GET", path).header("host", name).send().await.unwrap().status(), 200);
        }
    }
}

/// Refusals too.
#[tokio::test]
async fn every_response_has_security_headers() {
    let served = TestServer::open(|_| {}).await;
    for (path, host) in [
        ("/", "localhost"),
        ("/", "evil.test"),
        ("/nowhere", "localhost"),
        ("/metrics", "x"),
        ("/readyz", "x"),
    ] {
        let answer = served.ask("GET", path).header("host", host).send().await.unwrap();
        let headers = answer.headers();
        let policy = headers["content-security-policy"].to_str().unwrap();
        for part in ["default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"]
        {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"));
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["referrer-policy"], "no-referrer");
    }
}

/// Without it nothing is shown. It is given once in the address or in each request; the cookie is for no script and
/// no other site; health stays open.
#[tokio::test]
async fn the_token_gives_access() {
    let served = with_token().await;
    for path in ["/", "/monitors/Alpha", "/events", "/nowhere"] {
        let answer = served.get(path).await;
        assert_eq!(answer.status(), 401, "{path}");
        assert!(!answer.text().await.unwrap().contains("slow"), "{path}");
    }
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_ne!(served.get(path).await.status(), 401, "{path}");
    }
    let bearer =
        |token: &str| served.ask("GET", "/").header("authorization", format!("Bearer {token}")).send();
    assert_eq!(bearer("wrong").await.unwrap().status(), 401);
    assert_eq!(
        served.ask("GET", "/").bearer_auth(TOKEN.replace('ü', "u")).send().await.unwrap().status(),
        401
    );

    let wrong = served.ask("GET", "/").query(&[("token", "wrong")]).send().await.unwrap();
    assert!(wrong.status() == 401 && !wrong.headers().contains_key("set-cookie"));
    let right = served.ask("GET", "//evil.test/x").query(&[("token", TOKEN)]).send().await.unwrap();
    assert_eq!(right.status(), 200);
    let cookie = right.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.contains("; HttpOnly; SameSite=Strict;") && !cookie.contains("Secure"), "{cookie}");
    let onward = right.text().await.unwrap();
    assert!(onward.contains("url=/evil.test/x\"") && !onward.contains("long token"), "{onward}");
    let pair = cookie.split(';').next().unwrap().to_owned();
    let page = served.ask("GET", "/").header("cookie", format!("a=b; {pair}")).send().await.unwrap();
    assert!(page.text().await.unwrap().contains("slow"));
    let forged = served.ask("GET", "/").header("cookie", format!("{pair}x")).send().await.unwrap();
    assert_eq!(forged.status(), 401);
}

/// It says what to set.
#[tokio::test]
async fn a_public_port_without_a_token_shows_nothing() {
    let served = TestServer::with(StoredRecords::default(), AccessMode::Closed, |board| {
        add(board, "Alpha", Severity::Minor, "slow");
    })
    .await;
    let answer = served.get("/").await;
    assert_eq!(answer.status(), 403);
    let page = answer.text().await.unwrap();
    assert!(page.contains("WEB_TOKEN") && page.contains("WEB_OPEN=true") && !page.contains("slow"));
    assert_eq!(served.get("/healthz").await.status(), 200);
}
