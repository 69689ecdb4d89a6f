//! Waiting, and not waiting: limits that span runs, headers full of rubbish, bodies that never end, tokens that are slow to
//! come, and stops in the midst of each.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use data_sources_monitor::connectors::{Outcome, Progress};
use data_sources_monitor::domain::connector::Definition;
use data_sources_monitor::domain::op::End;
use futures_util::future::join_all;
use serde_json::json;

use super::rules::{bench, failure, ids, now, things, things_with};
use super::{Bench, custom};
use stand_ins::made_up::{MadeUp, serve};
use stand_ins::{Reply, StandIn};

fn page() -> Reply {
    Reply::json(&json!({ "data": ids(0..2) }))
}

/// A wait beyond the budget is not waited for by the next run either: it ends as deferred, without a request, until the
/// wait is short enough.
#[tokio::test]
async fn a_long_wait_outlives_its_run() {
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

/// Whatever stands in the headers that tell a limit, the run ends soon: complete, or deferred where the wait is long.
#[tokio::test]
async fn rubbish_in_limit_headers() {
    const QUOTA: &str =
        "[http]\nquota = { remaining = \"x-left\", reset = \"x-reset\" }\nretry = { base = \"1ms\" }\n";
    let one = async |(retry_after, reset, end): (&str, &str, End)| {
        let acme = serve(|_| page());
        for status in [429, 503] {
            let refusal = Reply::status(status).header("retry-after", retry_after);
            acme.next(refusal.header("x-left", "0").header("x-reset", reset));
        }
        // Beside a good answer as well.
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

/// An answer that comes byte by byte for ever is given up after the time limit, headers or body, and tried again as often
/// as any broken connection.
#[tokio::test]
async fn a_trickle_is_given_up() {
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

/// A stop is heeded at once wherever a run waits: for an answer, a body, a token, the gap between two tokens, a limit, the
/// next attempt.
#[tokio::test]
async fn stops_are_heeded_wherever_a_run_waits() {
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
        let outcome: Outcome = tokio::time::timeout(Duration::from_secs(10), both).await.unwrap();
        assert_eq!(outcome.run.end, End::Deferred, "{what}: {outcome:?}");
        assert!(bench.state.tables.is_empty() && !bench.finished.contains_key("things"));
    }
}

/// What was cut short is not told as done: neither the wait for a limit nor the request that would have followed it.
#[tokio::test]
async fn a_wait_that_was_cut_short_is_not_told_whole() {
    let acme = minting();
    acme.always_on("/things", Reply::too_many(Some(600)));
    let mut bench = with_tokens_and(&acme, "1h", "", |_| {});
    let progress = Progress::new(bench.account.definition());
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

/// How the token's endpoint can refuse: for a moment, for long, for good. Only what a person has to mend says so.
#[tokio::test]
async fn tokens_that_do_not_come() {
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

/// A token's life may be written in any way, or be beyond any calendar.
#[tokio::test]
async fn lives_of_tokens() {
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

/// A source that repeats the token it was sent, in an error or a notice, does not bring it into an error, a place or a note.
#[tokio::test]
async fn tokens_stay_hidden() {
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
