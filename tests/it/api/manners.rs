//! How the API behaves whatever is asked: tags, methods, names, refusals, doors, sizes.

use data_sources_monitor::domain::severity::Severity;
use data_sources_monitor::web::api::paths;
use data_sources_monitor::web::security::Door;
use reqwest::Method;

use super::{Served, with_everything};

/// An answer has a strong tag and is not sent again while it stays the same; a change makes another.
#[tokio::test]
async fn unchanged_answers_are_not_sent_again() {
    let served = with_everything().await;
    for path in paths() {
        let name = if path.contains("connectors") { "statuscake" } else { "Examplify" };
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

/// Nothing can be changed: every other method is refused, and the answer says which there are.
#[tokio::test]
async fn only_get_and_head() {
    let served = Served::start().await;
    for path in
        ["/api/v1/status", "/api/v1/monitors/x", "/api/v1/nothing", "/badge/all.svg", "/maintenances.ics"]
    {
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS] {
            let answer = served.request(method, path).body("{}").send().await.unwrap();
            assert_eq!(answer.status(), 405, "{path}");
            assert_eq!(answer.headers()["allow"].to_str().unwrap().replace(' ', ""), "GET,HEAD", "{path}");
            let problem: serde_json::Value = answer.json().await.unwrap();
            assert_eq!(problem["detail"], "only GET and HEAD: nothing can be changed here");
        }
    }
}

/// Names with slashes, quotes, blanks and signs from anywhere are found by their encoded form and by nothing else.
#[tokio::test]
async fn names_are_found_encoded() {
    let served = Served::start().await;
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

/// Behind a token the API asks for it, in its own form; a name of another site is refused.
#[tokio::test]
async fn the_door_is_kept() {
    let served = Served::behind(Door::Token("correct horse battery".into())).await;
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
    assert_eq!(Served::behind(Door::Shut).await.refused("/api/v1/status").await.0, 403);
}

/// What is shown for a token is for no cache in between.
#[tokio::test]
async fn private_answers_stay_private() {
    let served = Served::behind(Door::Token("correct horse battery".into())).await;
    for path in ["/api/v1/status", "/badge/all.svg", "/maintenances.ics"] {
        let answer =
            served.request(Method::GET, path).bearer_auth("correct horse battery").send().await.unwrap();
        let kept = answer.headers()["cache-control"].to_str().unwrap();
        assert!(kept.starts_with("private, "), "{path}: {kept}");
        assert_eq!(answer.headers()["vary"], "authorization, cookie", "{path}");
    }
}

/// Badges and the status page can be opened beside a token, or where nothing else is shown; nothing else opens with
/// them, whatever the path looks like, and names are checked as ever.
#[tokio::test]
async fn the_status_alone_can_be_open() {
    for door in [Door::Token("correct horse battery".into()), Door::Shut] {
        let served = Served::with(door, true).await;
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

/// Thousands of monitors are one answer of a few megabytes, at once.
#[tokio::test]
async fn thousands_of_monitors() {
    let served = Served::start().await;
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
