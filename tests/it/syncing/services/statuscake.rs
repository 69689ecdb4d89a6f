//! The definition of StatusCake.

use data_sources_monitor::testing::domain::syncing::definition::connector::Definition;
use data_sources_monitor::testing::domain::syncing::op::End;
use jiff::SignedDuration;
use serde_json::json;

use crate::syncing::engine::{Bench, built_in};
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

/// Whatever the lists say about their pages.
#[tokio::test]
async fn every_row_of_every_list_is_read() {
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

/// Lists only back to what is stored, and the period that closed meanwhile.
#[tokio::test]
async fn later_runs_read_only_new_rows() {
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
    // After a new row, one page more of the three lists that have one.
    assert!((16..=19).contains(&second), "{second} requests: one page of each list is enough");
    assert!(first > second);
}

#[tokio::test]
async fn a_second_run_changes_nothing() {
    let (_cake, clock, mut bench) = start(SMALL);
    bench.complete(clock.now()).await;
    let before = bench.tables.clone();
    bench.complete(clock.now()).await;
    assert_eq!(before, bench.tables);
}

/// By the next complete pass.
#[tokio::test]
async fn deleted_tests_are_skipped_and_then_soft_deleted() {
    let (cake, clock, mut bench) = start(SMALL);
    let ids = cake.test_ids();
    let gone = ids[3].clone();
    cake.after(1, "GET /v1/uptime ", move |account| account.delete_test(&gone));
    let outcome = bench.complete(clock.now()).await;
    assert_eq!(bench.column("uptime_test", "id").len(), 5);
    assert!(outcome.notes.iter().any(|note| note.contains("1 parent deleted")), "{:?}", outcome.notes);
    bench.complete(clock.now()).await;
    assert_eq!(bench.column("uptime_test", "id").len(), 4);
    assert!(bench.finished["uptime_test"]);
    assert!(!bench.state.tables["uptime_test_history"].contains_key(&ids[3]), "its state is forgotten");
}

/// None is missed, and none counts as deleted.
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

/// Inclusive or exclusive bounds, alerts with ids of their own or of their test.
#[tokio::test]
async fn undocumented_behaviour_may_be_either_way() {
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

/// By the reset header; no failed attempt, and nothing is missing.
#[tokio::test]
async fn rate_limits_are_waited_out() {
    let (cake, clock, mut bench) = start(SMALL);
    cake.next_on("/history", throttled(1));
    cake.next_on("/uptime ", Reply::too_many(None));
    let outcome = bench.complete(clock.now()).await;
    assert!(outcome.run.waited_ms >= 1000 && outcome.run.retries >= 2, "{outcome:?}");
    assert_all_there(&cake, &bench);
}

#[tokio::test]
async fn the_rate_limit_is_never_exceeded() {
    let sizes = Sizes { tests: 2, history: 5, periods: 2, alerts: 2 };
    let (cake, clock, mut bench) = start_at(Clock::system(), sizes, |definition| {
        // Well below the limit: a busy machine may delay requests and send them together.
        definition.http.rates.push((2, std::time::Duration::from_secs(1)));
    });
    cake.change(|account| account.rules.limits = vec![Limiter::new(5, 1)]);
    bench.complete(clock.now()).await;
    assert_eq!(cake.answered(429), 0, "{}", cake.dump());
    assert_all_there(&cake, &bench);
}

/// The next run continues with the rest.
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
    // The same account would wait until the minute is over.
    bench.account = account();
    bench.complete(clock.now()).await;
    assert_all_there(&cake, &bench);
    assert_eq!(cake.requests_on("/history").len() - before, 5, "and not read again");
}

/// The key is never shown.
#[tokio::test]
async fn a_rejected_key_fails_the_run_and_names_its_variable() {
    let (cake, clock, _) = start(SMALL);
    let config = [("api_key", "secret-but-wrong"), ("base_url", &cake.base_url())];
    let mut bench = Bench::new(built_in("statuscake", |_| {}), &config);
    let outcome = bench.run(clock.now()).await;
    assert_eq!(outcome.run.end, End::Failed);
    let reason = outcome.run.reason.clone().unwrap();
    assert!(reason.contains("STATUSCAKE_API_KEY"), "{reason}");
    assert!(!format!("{outcome:?}").contains("secret-but-wrong"));
    assert_eq!(cake.requests().len(), 1, "no retry");
    let said = data_sources_monitor::testing::source::test(&bench.account, clock.now()).await.unwrap_err();
    assert!(said.contains("STATUSCAKE_API_KEY") && !said.contains("secret-but-wrong"), "{said}");
}

/// The key is sent nowhere else.
#[tokio::test]
async fn links_to_another_host_or_the_same_page_fail_the_run() {
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

#[tokio::test]
async fn redirects_are_followed_within_the_origin_only() {
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

/// Server errors, a proxy's page, a broken page.
#[tokio::test]
async fn transient_errors_are_retried_and_then_fail_the_run() {
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
