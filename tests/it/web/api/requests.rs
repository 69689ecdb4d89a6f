//! What holds for every request to the API: ETags, methods, names, refusals, access, sizes.

use data_sources_monitor::testing::domain::monitoring::severity::Severity;
use data_sources_monitor::testing::web::api::paths;
use data_sources_monitor::testing::web::server::security::AccessMode;
use reqwest::Method;

use super::document::name_for;
use super::{TestServer, with_everything};

/// Each response has a strong ETag that changes with its content.
#[tokio::test]
async fn unchanged_responses_are_not_sent_again() {
    let served = with_everything().await;
    for path in paths() {
        let name = name_for(path);
        let path = path.replace("{name}", name).replace("{file}", "Examplify.svg");
        let answer = served.get(&path).await;
        let tag = answer.headers()["etag"].to_str().unwrap().to_owned();
        assert!(tag.starts_with('"') && tag.len() == 34, "{path}: {tag}");
        let cache = answer.headers()["cache-control"].to_str().unwrap().to_owned();
        assert_eq!(cache, if path.starts_with("/badge") { "max-age=30" } else { "no-cache" }, "{path}");
        let whole = answer.bytes().await.unwrap();
        for (asked, status) in [(tag.clone(), 304), (format!("\"x\", W/{tag}"), 304), ("\"x\"".into(), 200)] {
            let again =
                served.request(Method::GET, &path).header("if-none-match", &asked).send().await.unwrap();
            assert_eq!(
                (again.status().as_u16(), again.headers()["etag"].to_str().unwrap()),
                (status, &*tag),
                "{path} {asked}"
            );
            let body = again.bytes().await.unwrap();
            assert_eq!(body.is_empty(), status == 304, "{path}");
        }
        let head = served.request(Method::HEAD, &path).send().await.unwrap();
        assert_eq!(
            (head.status().as_u16(), head.headers()["etag"].to_str().unwrap()),
            (200, &*tag),
            "HEAD {path}"
        );
        assert_eq!(
            head.headers()["content-length"].to_str().unwrap(),
            whole.len().to_string(),
            "HEAD {path}"
        );
    }
    let tag = |answer: reqwest::Response| answer.headers()["etag"].to_str().unwrap().to_owned();
    let before = tag(served.get("/api/v1/status").await);
    served.reads("Beta", Severity::Minor, "Slow");
    assert_ne!(tag(served.get("/api/v1/status").await), before);
}

/// The response to any other method names these two.
#[tokio::test]
async fn only_get_and_head_are_allowed() {
    let served = TestServer::start().await;
    for path in
        ["/api/v1/status", "/api/v1/monitors/x", "/api/v1/nothing", "/badge/all.svg", "/maintenances.ics"]
    {
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS] {
            let answer = served.request(method, path).body("{}").send().await.unwrap();
            assert_eq!(answer.status(), 405, "{path}");
            assert_eq!(answer.headers()["allow"].to_str().unwrap().replace(' ', ""), "GET,HEAD", "{path}");
            let problem: serde_json::Value = answer.json().await.unwrap();
            assert_eq!(problem["detail"], "only GET and HEAD are allowed; the API is read-only");
        }
    }
}

/// Slashes, quotes, blanks and any other characters; only the encoded form is accepted.
#[tokio::test]
async fn encoded_names_are_found() {
    let served = TestServer::start().await;
    let name = "a/b \"c\" <d>? é#%2F";
    served.reads(name, Severity::Minor, "Slow");
    let encoded = "a%2Fb%20%22c%22%20%3Cd%3E%3F%20%C3%A9%23%252F";
    assert_eq!(served.json(&format!("/api/v1/monitors/{encoded}")).await["name"], name);
    let badge = served.get(&format!("/badge/{encoded}.svg")).await;
    assert_eq!(
        (badge.status().as_u16(), badge.headers()["content-type"].to_str().unwrap()),
        (200, "image/svg+xml")
    );
    let badge = badge.text().await.unwrap();
    assert!(badge.contains("a/b &quot;c&quot; &lt;d&gt;? é#%2F: minor problem"), "{badge}");
    for (path, status) in [
        ("/api/v1/monitors/a/b", 404),
        ("/api/v1/monitors/nobody%0d%0aX: y", 404),
        ("/api/v1/monitors/%ff", 400),
        ("/api/v1/monitors/", 404),
        ("/api/v1/", 404),
        ("/api/v2/incidents.json", 404),
        ("/api/v1/runs?limit=0", 400),
        ("/api/v1/transitions?from=2026-05-03&to=2026-05-01", 400),
    ] {
        let (got, detail) = served.refused(path).await;
        assert_eq!(got, status, "{path}: {detail}");
        assert!(!detail.is_empty() && detail.len() < 300 && !detail.contains('\n'), "{path}: {detail}");
    }
    let long = format!("/api/v1/monitors/{}", "x".repeat(5_000));
    assert!(served.refused(&long).await.1.len() < 300);
}

/// Refusals are in the API's own form.
#[tokio::test]
async fn the_api_requires_the_token_and_a_known_host() {
    let served = TestServer::behind(AccessMode::Token("correct horse battery".into())).await;
    for path in ["/api/v1/status", "/api/v2/status.json", "/badge/all.svg", "/maintenances.ics"] {
        let answer = served.get(path).await;
        assert_eq!(
            (answer.status().as_u16(), answer.headers()["www-authenticate"].to_str().unwrap()),
            (401, "Bearer"),
            "{path}"
        );
        assert_eq!(answer.headers()["content-type"], "application/problem+json", "{path}");
        let signed_in = served.request(Method::GET, path).bearer_auth("correct horse battery");
        assert_eq!(signed_in.send().await.unwrap().status(), 200, "{path}");
    }
    let elsewhere = served.request(Method::GET, "/api/v1/status").header("host", "evil.test");
    assert_eq!(elsewhere.send().await.unwrap().status(), 421);
    assert_eq!(TestServer::behind(AccessMode::Closed).await.refused("/api/v1/status").await.0, 403);
}

#[tokio::test]
async fn responses_that_needed_a_token_are_not_cacheable() {
    let served = TestServer::behind(AccessMode::Token("correct horse battery".into())).await;
    for path in ["/api/v1/status", "/badge/all.svg", "/maintenances.ics"] {
        let answer =
            served.request(Method::GET, path).bearer_auth("correct horse battery").send().await.unwrap();
        let kept = answer.headers()["cache-control"].to_str().unwrap();
        assert!(kept.starts_with("private, "), "{path}: {kept}");
        assert_eq!(answer.headers()["vary"], "authorization, cookie", "{path}");
    }
}

/// Whatever the path looks like; host names are checked as usual.
#[tokio::test]
async fn only_badges_and_status_page_can_be_public() {
    for mode in [AccessMode::Token("correct horse battery".into()), AccessMode::Closed] {
        let served = TestServer::with(mode, true).await;
        for path in ["/badge/all.svg", "/api/v2/status.json", "/api/v2/summary.json"] {
            assert_eq!(served.get(path).await.status(), 200, "{path}");
        }
        let closed = ["/", "/events", "/api/v1/status", "/maintenances.ics", "/api/v2", "/badge"];
        for path in closed.into_iter().chain(["/badge/..%2fapi%2fv1%2fstatus", "/api/v2/..%2fv1%2fstatus"]) {
            assert!([401, 403, 404].contains(&served.get(path).await.status().as_u16()), "{path}");
        }
        let elsewhere = served.request(Method::GET, "/badge/all.svg").header("host", "evil.test");
        assert_eq!(elsewhere.send().await.unwrap().status(), 421);
    }
}

#[tokio::test]
async fn thousands_of_monitors_are_one_fast_response() {
    let served = TestServer::start().await;
    for number in 0..5_000 {
        served.reads(&format!("Service {number:04}"), Severity::None, "All Systems Operational");
    }
    let began = std::time::Instant::now();
    let all = served.json("/api/v1/monitors").await;
    let summary = served.json("/api/v2/summary.json").await;
    assert_eq!(all["monitors"].as_array().unwrap().len(), 5_000);
    assert_eq!(summary["components"].as_array().unwrap().len(), 5_000);
    assert!(all.to_string().len() < 4_000_000 && began.elapsed() < std::time::Duration::from_secs(20));
    assert_eq!(served.json("/api/v1/status").await["monitors"]["by_state"]["none"], 5_000);
}
