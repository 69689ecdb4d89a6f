//! Waits: rate limits that span runs, invalid headers, bodies that never end, slow tokens, and stops during each.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use data_sources_monitor::testing::domain::syncing::definition::connector::Definition;
use data_sources_monitor::testing::domain::syncing::op::End;
use data_sources_monitor::testing::source::{ReadOutcome, RunProgress};
use futures_util::future::join_all;
use serde_json::json;

use super::rules::{bench, failure, ids, now, things, things_with};
use super::{Bench, custom};
use stand_ins::made_up::{MadeUp, serve};
use stand_ins::{Reply, StandIn};

fn page() -> Reply {
    Reply::json(&json!({ "data": ids(0..2) }))
}

/// Without a request, until the wait is short enough.
#[tokio::test]
async fn a_long_wait_defers_the_next_run_too() {
    let acme = serve(|_| page());
    let mut bench = bench(&things(""), &acme);
    acme.next(Reply::too_many(Some(3600)));
    assert_eq!(bench.run(now()).await.run.end, End::Deferred);
    let began = Instant::now();
    let outcome = bench.run(now()).await;
    assert_eq!((outcome.run.end, outcome.run.requests), (End::Deferred, 0), "{outcome:?}");
    assert!(outcome.run.reason.unwrap().contains("rate limit asks to wait"));
    assert!(began.elapsed() < Duration::from_secs(10));
}

/// Complete, or deferred where the wait is long.
#[tokio::test]
async fn invalid_rate_limit_headers_end_the_run_soon() {
    const QUOTA: &str =
        "[http]\nquota = { remaining = \"x-left\", reset = \"x-reset\" }\nretry = { base = \"1ms\" }\n";
    let one = async |(retry_after, reset, end): (&str, &str, End)| {
        let acme = serve(|_| page());
        for status in [429, 503] {
            let refusal = Reply::status(status).header("retry-after", retry_after);
            acme.next(refusal.header("x-left", "0").header("x-reset", reset));
        }
        // With a successful response as well.
        acme.next(Reply::usual().header("x-left", "-9223372036854775809").header("x-reset", reset));
        let mut bench = bench(&things_with("", QUOTA), &acme);
        let outcome = tokio::time::timeout(Duration::from_secs(20), bench.run(now())).await;
        assert_eq!(outcome.unwrap().run.end, end, "{retry_after:?} {reset:?}");
    };
    let cases = [
        ("soon", "later", End::Complete),
        ("-5", "-3", End::Complete),
        ("1e99", "NaN", End::Complete),
        ("", "inf", End::Complete),
        ("99999999999999999999", "1e300", End::Complete),
        ("0", "0.001", End::Complete),
        ("Thu, 01 Jan 1970 00:00:00 GMT", "", End::Complete),
        ("18446744073709551615", "0", End::Complete),
        ("Sun, 01 Jan 2090 00:00:00 GMT", "0", End::Deferred),
        ("0", "1777800000000", End::Deferred),
    ];
    join_all(cases.map(one)).await;
}

/// Headers or body; retried like any broken connection.
#[tokio::test]
async fn a_response_that_drips_times_out() {
    let pause = Duration::from_millis(40);
    for trickle in [page().padded_to(4096).drip(1, pause), page().slow_headers(pause)] {
        let acme = serve(move |_| trickle.clone());
        let http = "[http]\ntimeout = \"200ms\"\nretry = { tries = 2, base = \"1ms\" }\n";
        let mut bench = bench(&things_with("", http), &acme);
        let ended = tokio::time::timeout(Duration::from_secs(20), bench.run(now())).await;
        assert_eq!(failure(&ended.unwrap()), "no answer within 200ms, the `timeout` (tried 2 times)");
        assert_eq!(acme.requests().len(), 2);
    }
}

const OAUTH: &str = "[config]\nkey = { type = \"secret\" }\n[auth]\nkind = \"oauth2\"
token_url = \"https://acme.test/token\"\nclient_id = \"me\"\nclient_secret = \"${config.key}\"\n";

fn with_tokens(acme: &StandIn<MadeUp>, gap: &str, http: &str) -> Bench {
    with_tokens_and(acme, gap, http, |_| {})
}

fn with_tokens_and(
    acme: &StandIn<MadeUp>,
    gap: &str,
    http: &str,
    change: impl FnOnce(&mut Definition),
) -> Bench {
    let toml = things_with("", &format!("{OAUTH}mint_gap = \"{gap}\"\n{http}"));
    let (url, token_url) = (acme.url(), format!("{}/token", acme.url()));
    let config = [("base_url", url.as_str()), ("key", "s3cret"), ("token_url", token_url.as_str())];
    Bench::new(custom(&toml, change), &config)
}

fn token(expires_in: serde_json::Value) -> Reply {
    Reply::json(&json!({ "access_token": "t0ken-text", "expires_in": expires_in }))
}

fn minting() -> StandIn<MadeUp> {
    serve(|request| if request.path == "/token" { token(json!(3600)) } else { page() })
}

/// For a response, a body, a token, the interval between two tokens, a rate limit, the next attempt.
#[tokio::test]
async fn a_stop_ends_every_wait() {
    let pause = Duration::from_millis(50);
    for (what, reply, requests) in [
        ("/things", Reply::hang(), 2),
        ("/things", page().padded_to(4096).drip(1, pause), 2),
        ("/things", Reply::too_many(Some(600)), 2),
        ("/things", Reply::status(500), 2),
        ("/things", Reply::status(401), 2),
        ("/token", Reply::hang(), 1),
        ("/token", Reply::too_many(Some(600)), 1),
        ("/token", Reply::status(500), 1),
    ] {
        let acme = minting();
        acme.always_on(what, reply);
        let mut bench = with_tokens_and(&acme, "1h", "", |definition| {
            definition.http.retry.delays = vec![Duration::from_secs(3600)];
            definition.http.retry.budget = Duration::from_secs(7200);
        });
        let cancel = bench.cancel.clone();
        let stop = async {
            acme.wait_for_requests(requests).await;
            cancel.cancel();
        };
        let both = async { tokio::join!(bench.run(now()), stop).0 };
        let outcome: ReadOutcome = tokio::time::timeout(Duration::from_secs(10), both).await.unwrap();
        assert_eq!(outcome.run.end, End::Deferred, "{what}: {outcome:?}");
        assert!(bench.state.tables.is_empty() && !bench.finished.contains_key("things"));
    }
}

/// Nor is the request that would have followed.
#[tokio::test]
async fn an_interrupted_wait_is_not_reported_as_finished() {
    let acme = minting();
    acme.always_on("/things", Reply::too_many(Some(600)));
    let mut bench = with_tokens_and(&acme, "1h", "", |_| {});
    let progress = RunProgress::new(bench.account.definition());
    bench.progress = Some(progress.clone());
    let cancel = bench.cancel.clone();
    let stop = async {
        while !progress.tables()["things"].limited.load(Ordering::Relaxed) {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    };
    let outcome = tokio::join!(bench.run(now()), stop).0;
    assert_eq!((outcome.run.end, outcome.run.retries), (End::Deferred, 0), "{outcome:?}");
    assert!(outcome.run.waited_ms < 600_000, "{outcome:?}");
}

/// Only what an operator must fix says so.
#[tokio::test]
async fn token_errors_are_transient_or_permanent() {
    for (reply, times, end, mend, words) in [
        (Reply::too_many(None), 2, End::Complete, false, ""),
        (Reply::too_many(Some(1)), 1, End::Complete, false, ""),
        (Reply::status(503), 2, End::Complete, false, ""),
        (Reply::dropped(), 2, End::Complete, false, ""),
        (Reply::too_many(Some(7200)), 1, End::Deferred, false, "the token endpoint's rate limit"),
        (Reply::status(503), 9, End::Failed, false, "the token endpoint answered 503"),
        (Reply::status(400), 1, End::Failed, true, "check ACME_KEY"),
        (Reply::status(404), 1, End::Failed, true, "is token_url right?"),
        (Reply::html(), 1, End::Failed, true, "no access_token"),
        (Reply::json(&json!({ "access_token": "" })), 1, End::Failed, true, "no access_token"),
    ] {
        let acme = minting();
        for _ in 0..times {
            acme.next_on("/token", reply.clone());
        }
        let mut bench = with_tokens(&acme, "0s", "[http]\nretry = { tries = 3, base = \"1ms\" }\n");
        let outcome = bench.run(now()).await;
        assert_eq!((outcome.run.end, outcome.mend), (end, mend), "{words}: {outcome:?}");
        assert!(outcome.run.reason.clone().unwrap_or_default().contains(words), "{words}: {outcome:?}");
        assert!(!format!("{outcome:?}").contains("s3cret"));
    }
}

/// Or be beyond the calendar.
#[tokio::test]
async fn a_token_lifetime_may_have_any_form() {
    for life in
        [json!(i64::MAX), json!(1e300), json!(u64::MAX), json!(-1), json!("3600"), json!("soon"), json!(null)]
    {
        let shown = life.to_string();
        let acme = serve(move |request| if request.path == "/token" { token(life.clone()) } else { page() });
        let mut bench = with_tokens(&acme, "0s", "");
        bench.complete(now()).await;
        bench.complete(now()).await;
        assert_eq!(acme.requests_on("/token").len(), 1, "{shown}");
    }
}

/// In errors, addresses and notes.
#[tokio::test]
async fn echoed_tokens_are_redacted() {
    for status in [422, 403, 500, 200] {
        let acme = serve(move |request| {
            if request.path == "/token" {
                return token(json!(3600));
            }
            let message = format!("not allowed: {}", request.header("authorization").unwrap());
            Reply::json(&json!({ "message": message, "data": [] })).with_status(status)
        });
        let http = "[http]\nnotices = [\"message\"]\nretry = { tries = 1 }\n";
        let mut bench = with_tokens(&acme, "0s", http);
        let outcome = format!("{:?}", bench.run(now()).await);
        assert!(outcome.contains("not allowed: Bearer [redacted]"), "{outcome}");
        assert!(!outcome.contains("t0ken-text"), "{outcome}");
    }
}
