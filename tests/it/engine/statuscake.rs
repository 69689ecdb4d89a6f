//! StatusCake as its definition reads it.

use data_sources_monitor::domain::connector::Definition;
use data_sources_monitor::domain::op::End;
use jiff::SignedDuration;
use serde_json::json;

use super::{Bench, built_in};
use stand_ins::limiter::Limiter;
use stand_ins::statuscake::{API_KEY, List, Metadata, NextLink, Sizes, StatusCake, throttled};
use stand_ins::{Clock, Reply};

const SIZES: Sizes = Sizes { tests: 61, history: 260, periods: 12, alerts: 30 };
const SMALL: Sizes = Sizes { tests: 5, history: 260, periods: 4, alerts: 6 };

fn start(sizes: Sizes) -> (StatusCake, Clock, Bench) {
    start_with(sizes, |_| {})
}

fn start_with(sizes: Sizes, change: impl FnOnce(&mut Definition)) -> (StatusCake, Clock, Bench) {
    start_at(Clock::at("2026-05-02T09:10:00Z"), sizes, change)
}

fn start_at(clock: Clock, sizes: Sizes, change: impl FnOnce(&mut Definition)) -> (StatusCake, Clock, Bench) {
    let cake = StatusCake::start(7, sizes, &clock);
    let bench =
        Bench::new(built_in("statuscake", change), &[("api_key", API_KEY), ("base_url", &cake.base_url())]);
    (cake, clock, bench)
}

fn assert_all_there(cake: &StatusCake, bench: &Bench) {
    bench.assert_holds("uptime_test", &cake.source_rows("uptime_test"), &["id"], &[]);
    let history = cake.source_rows("uptime_test_history");
    bench.assert_holds("uptime_test_history", &history, &["test_id", "created_at", "location"], &[]);
    let periods = cake.source_rows("uptime_test_period");
    bench.assert_holds("uptime_test_period", &periods, &["test_id", "created_at"], &[]);
    let alerts = cake.source_rows("uptime_test_alert");
    bench.assert_holds("uptime_test_alert", &alerts, &["test_id", "triggered_at", "status"], &[]);
}

/// A first run stores every row of every page of every list, whatever the lists say about their pages.
#[tokio::test]
async fn reads_everything() {
    for (metadata, next) in [
        (Metadata::Full, NextLink::Sound),
        (Metadata::ZeroPages, NextLink::NullAtEnd),
        (Metadata::Missing, NextLink::Sound),
    ] {
        let (cake, clock, mut bench) = start(SIZES);
        cake.change(|account| {
            (account.rules.metadata, account.rules.next) = (metadata, next);
            account.rules.page_cap = 25;
        });
        bench.complete(clock.now()).await;
        assert_all_there(&cake, &bench);
        assert_eq!(bench.rejected, Vec::<String>::new());
    }
}

/// A second run reads the lists only back to what is stored, finds what is new, and the period that closed meanwhile.
#[tokio::test]
async fn later_runs_read_only_what_is_new() {
    let (cake, clock, mut bench) = start(SMALL);
    bench.complete(clock.now()).await;
    let first = cake.requests().len();
    clock.advance(SignedDuration::from_mins(15));
    let ids = cake.test_ids();
    cake.change(|account| {
        account.turn(&ids[1]);
        account.add_result(&ids[2]);
    });
    bench.complete(clock.now()).await;
    assert_all_there(&cake, &bench);
    let second = cake.requests().len() - first;
    // Behind something new, one page more of the three lists that have it.
    assert!((16..=19).contains(&second), "{second} requests: one page of each list is enough");
    assert!(first > second);
}

/// The same run twice leaves the same tables.
#[tokio::test]
async fn a_second_run_changes_nothing() {
    let (_cake, clock, mut bench) = start(SMALL);
    bench.complete(clock.now()).await;
    let before = bench.tables.clone();
    bench.complete(clock.now()).await;
    assert_eq!(before, bench.tables);
}

/// A test deleted between the list and its children is skipped; the next complete pass marks it deleted.
#[tokio::test]
async fn deleted_tests_are_skipped_and_swept() {
    let (cake, clock, mut bench) = start(SMALL);
    let ids = cake.test_ids();
    let gone = ids[3].clone();
    cake.after(1, "GET /v1/uptime ", move |account| account.delete_test(&gone));
    let outcome = bench.complete(clock.now()).await;
    assert_eq!(bench.column("uptime_test", "id").len(), 5);
    assert!(outcome.notes.iter().any(|note| note.contains("1 parents were deleted")), "{:?}", outcome.notes);
    bench.complete(clock.now()).await;
    assert_eq!(bench.column("uptime_test", "id").len(), 4);
    assert!(bench.finished["uptime_test"]);
    assert!(!bench.state.tables["uptime_test_history"].contains_key(&ids[3]), "its state is forgotten");
}

/// A test that moves to the front of the list while it is read pushes others over the seams of pages: none is missed, and
/// none is taken for gone.
#[tokio::test]
async fn tests_that_move_between_pages_are_found() {
    let sizes = Sizes { tests: 61, history: 1, periods: 1, alerts: 1 };
    let (cake, clock, mut bench) = start(sizes);
    cake.change(|account| account.rules.page_cap = 25);
    for _ in 0..2 {
        let last = cake.test_ids().pop().unwrap();
        cake.after(1, "GET /v1/uptime ", move |account| account.move_to_front(&last));
        bench.complete(clock.now()).await;
        assert_all_there(&cake, &bench);
    }
}

/// What is not known of the API may turn either way: bounds that include their second or not, alerts with an id of their
/// own or their test's.
#[tokio::test]
async fn unknowns_may_turn_either_way() {
    for either in [false, true] {
        let (cake, clock, mut bench) = start(SMALL);
        let id = cake.test_ids()[0].clone();
        cake.change(|account| {
            (account.rules.bounds_inclusive, account.rules.own_alert_ids) = (either, either);
        });
        for _ in 0..3 {
            bench.complete(clock.now()).await;
            assert_all_there(&cake, &bench);
            clock.advance(SignedDuration::from_mins(15));
            cake.change(|account| account.turn(&id));
        }
        bench.complete(clock.now()).await;
        assert_all_there(&cake, &bench);
    }
}

/// 429 is waited out by the reset header, is no failed attempt, and nothing is missing afterwards.
#[tokio::test]
async fn rate_limits_are_waited_out() {
    let (cake, clock, mut bench) = start(SMALL);
    cake.next_on("/history", throttled(1));
    cake.next_on("/uptime ", Reply::too_many(None));
    let outcome = bench.complete(clock.now()).await;
    assert!(outcome.run.waited_ms >= 1000 && outcome.run.retries >= 2, "{outcome:?}");
    assert_all_there(&cake, &bench);
}

/// Nothing is ever refused for the account's limit, because it is kept beforehand.
#[tokio::test]
async fn the_limit_is_kept() {
    let sizes = Sizes { tests: 2, history: 5, periods: 2, alerts: 2 };
    let (cake, clock, mut bench) = start_at(Clock::system(), sizes, |definition| {
        // Well below the limit: a busy machine may hold requests back and send them on together.
        definition.http.rates.push((2, std::time::Duration::from_secs(1)));
    });
    cake.change(|account| account.rules.limits = vec![Limiter::new(5, 1)]);
    bench.complete(clock.now()).await;
    assert_eq!(cake.answered(429), 0, "{}", cake.dump());
    assert_all_there(&cake, &bench);
}

/// A wait that the run may not make ends it as deferred, and the next run goes on with what is left.
#[tokio::test]
async fn a_long_wait_defers_the_run() {
    let (cake, clock, mut bench) = start(SMALL);
    cake.next_on("/periods", throttled(60));
    let account = || {
        let definition = built_in("statuscake", |definition| {
            definition.http.retry.budget = std::time::Duration::from_secs(30);
        });
        Bench::new(definition, &[("api_key", API_KEY), ("base_url", &cake.base_url())]).account
    };
    bench.account = account();
    let outcome = bench.run(clock.now()).await;
    assert_eq!(outcome.run.end, End::Deferred);
    assert!(outcome.run.reason.unwrap().contains("rate limit"));
    assert_eq!(bench.state.tables["uptime_test_history"].len(), 5, "what was read is remembered");
    let before = cake.requests_on("/history").len();
    // The same account would wait for the minute to be over.
    bench.account = account();
    bench.complete(clock.now()).await;
    assert_all_there(&cake, &bench);
    assert_eq!(cake.requests_on("/history").len() - before, 5, "and not read again");
}

/// A refused key fails the run at once, says which variable to look at, and never shows the key.
#[tokio::test]
async fn a_wrong_key_is_told() {
    let (cake, clock, _) = start(SMALL);
    let config = [("api_key", "secret-but-wrong"), ("base_url", &cake.base_url())];
    let mut bench = Bench::new(built_in("statuscake", |_| {}), &config);
    let outcome = bench.run(clock.now()).await;
    assert_eq!(outcome.run.end, End::Failed);
    let reason = outcome.run.reason.clone().unwrap();
    assert!(reason.contains("STATUSCAKE_API_KEY"), "{reason}");
    assert!(!format!("{outcome:?}").contains("secret-but-wrong"));
    assert_eq!(cake.requests().len(), 1, "no retry");
    let said = data_sources_monitor::connectors::test(&bench.account, clock.now()).await.unwrap_err();
    assert!(said.contains("STATUSCAKE_API_KEY") && !said.contains("secret-but-wrong"), "{said}");
}

/// Links that lead to another host or to their own page fail the run; the key goes nowhere else.
#[tokio::test]
async fn wrong_links_are_refused() {
    let elsewhere = StatusCake::start(8, SMALL, &Clock::at("2026-05-02T09:10:00Z"));
    for (next, what) in [(NextLink::Itself, "loop"), (NextLink::On(elsewhere.url()), "refused")] {
        let (cake, clock, mut bench) = start(SMALL);
        cake.change(|account| account.rules.next = next);
        let outcome = bench.run(clock.now()).await;
        assert_eq!(outcome.run.end, End::Failed);
        assert!(outcome.run.reason.clone().unwrap().contains(what), "{outcome:?}");
    }
    assert_eq!(elsewhere.requests().len(), 0);
}

/// A redirect to another origin is not followed; one within the origin is.
#[tokio::test]
async fn redirects_stay_at_home() {
    let elsewhere = StatusCake::start(8, SMALL, &Clock::at("2026-05-02T09:10:00Z"));
    let (cake, clock, mut bench) = start(SMALL);
    cake.next_on("/uptime ", Reply::redirect(301, &elsewhere.base_url()));
    let outcome = bench.run(clock.now()).await;
    assert_eq!((outcome.run.end, elsewhere.requests().len()), (End::Failed, 0));
    assert!(outcome.run.reason.unwrap().contains("set base_url"));
    cake.next_on("/uptime ", Reply::redirect(302, "/v1/uptime?page=1&limit=100"));
    bench.complete(clock.now()).await;
    assert_all_there(&cake, &bench);
}

/// Rows with what real rows lack: a place, a figure, an uptime.
#[tokio::test]
async fn absent_fields_are_null_or_empty_keys() {
    let (cake, clock, mut bench) = start(SMALL);
    let id = cake.test_ids()[0].clone();
    cake.change(|account| {
        account.rules.uptime = false;
        account.add_row(&id, List::History, json!({"created_at": "2026-05-02T09:09:59Z", "location": null}));
    });
    let outcome = bench.complete(clock.now()).await;
    assert!(bench.column("uptime_test_history", "location").contains(&String::new()));
    let without = |row: &&serde_json::Value| row["location"].is_null();
    let without = cake.source_rows("uptime_test_history").iter().filter(without).count();
    let said = format!("uptime_test_history: {without} rows with a part of their key absent at the source");
    assert!(outcome.notes.contains(&said), "{said}: {:?}", outcome.notes);
    assert_eq!(bench.rejected, Vec::<String>::new());
}

/// Server errors, a proxy's page and a broken page are tried again; too many of them fail the run, and say so.
#[tokio::test]
async fn transient_troubles_are_tried_again() {
    let (cake, clock, mut bench) = start(SMALL);
    cake.next_on("/uptime ", Reply::status(500));
    cake.next_on("/history", Reply::html());
    cake.next_on("/periods", Reply::usual().half());
    cake.next_on("/alerts", Reply::dropped());
    let outcome = bench.complete(clock.now()).await;
    assert_eq!(outcome.run.retries, 4);
    assert_all_there(&cake, &bench);
    cake.always_on("/alerts", Reply::status(502));
    let outcome = bench.run(clock.now()).await;
    assert_eq!(outcome.run.end, End::Failed);
    insta::assert_snapshot!(outcome.run.reason.unwrap(), @"the source answered 502 (tried 4 times)");
}
