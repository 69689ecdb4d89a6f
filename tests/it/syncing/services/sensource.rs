//! The definition of SenSource.

use std::time::Duration;

use data_sources_monitor::testing::domain::syncing::definition::config::{ConfigStatus, ConfigValues};
use data_sources_monitor::testing::domain::syncing::definition::connector::{Auth, Definition};
use data_sources_monitor::testing::domain::syncing::op::End;
use jiff::{SignedDuration, civil::date};
use secrecy::SecretString;
use serde_json::json;

use crate::syncing::engine::{Bench, built_in};
use stand_ins::sensource::{CLIENT_ID, CLIENT_SECRET, SenSource, TOKEN, error_in_200, without_results};
use stand_ins::{Clock, Reply};

const ALL_LISTS: &str = "location,site,zone,space,sensor";

fn start(change: impl FnOnce(&mut Definition)) -> (SenSource, Clock, Bench) {
    let clock = Clock::at("2026-05-02T09:10:00Z");
    let vea = SenSource::start(5, 3, date(2026, 1, 10), &clock);
    let bench = bench(&vea, "2026-01-01", change);
    (vea, clock, bench)
}

fn bench(vea: &SenSource, start_date: &str, change: impl FnOnce(&mut Definition)) -> Bench {
    let definition = built_in("sensource", |definition| {
        if let Auth::OAuth2(oauth) = &mut definition.auth {
            oauth.mint_gap = Duration::ZERO;
            oauth.retry_same_after = Some(Duration::from_millis(1));
        }
        change(definition);
    });
    let config = [
        ("client_id", CLIENT_ID),
        ("client_secret", CLIENT_SECRET),
        ("base_url", &vea.base_url()),
        ("token_url", &vea.token_url()),
        ("start_date", start_date),
        ("static_endpoints", ALL_LISTS),
    ];
    Bench::new(definition, &config)
}

fn assert_all_there(vea: &SenSource, bench: &Bench) {
    for (table, id) in [("traffic", "zoneId"), ("occupancy", "spaceId")] {
        bench.assert_holds(table, &vea.source_rows(table), &[id, "recordDate_hour_1"], &[]);
    }
    for table in ALL_LISTS.split(',') {
        bench.assert_holds(table, &vea.source_rows(table), &[&format!("{table}Id")], &[]);
    }
}

/// Averages are numbers; one token serves all requests.
#[tokio::test]
async fn every_hour_and_every_list_is_read() {
    for odd in [false, true] {
        let (vea, clock, mut bench) = start(|_| {});
        vea.change(|venue| {
            (venue.rules.wraps_lists, venue.rules.doubles_seam, venue.rules.counts_as_text) = (odd, odd, odd);
        });
        bench.complete(clock.now()).await;
        assert_all_there(&vea, &bench);
        assert_eq!(vea.requests_on(TOKEN).len(), 1);
        let kinds = |table: &str, column: &str| {
            bench.shapes[table]
                .columns
                .iter()
                .find(|c| c.name == column)
                .map(|c| format!("{:?}", c.kind))
                .unwrap()
        };
        assert_eq!(kinds("occupancy", "avgoccupancy"), "Double");
        assert_eq!(kinds("traffic", "record_date_hour_1"), "Timestamp");
    }
}

/// 30 days with an exclusive end, a checkpoint after each; the next run starts two days before the last.
#[tokio::test]
async fn windows_follow_each_other_without_a_gap() {
    let (vea, clock, mut bench) = start(|_| {});
    bench.complete(clock.now()).await;
    let windows = |from: usize| {
        let asked = vea.requests_on("/data/traffic").split_off(from);
        let bound = |r: &stand_ins::Request, name: &str| r.param(name).unwrap().to_owned();
        asked.iter().map(|r| (bound(r, "startDate"), bound(r, "endDate"))).collect::<Vec<_>>()
    };
    let first = windows(0);
    assert_eq!(first[0], ("2026-01-01".to_owned(), "2026-01-31".to_owned()));
    assert!(first.windows(2).all(|pair| pair[0].1 == pair[1].0), "{first:?}");
    assert_eq!(first.last().unwrap().1, "2026-05-03");
    assert_eq!(bench.state.tables["traffic"][""]["last_sync_date"], "2026-05-02");
    let zone = vea.source_rows("zone")[0]["zoneId"].as_str().unwrap().to_owned();
    clock.advance(SignedDuration::from_hours(3));
    vea.change(|venue| venue.correct(&zone, "2026-05-01T15:00:00Z".parse().unwrap(), [900, 901]));
    bench.complete(clock.now()).await;
    assert_all_there(&vea, &bench);
    let mut second = windows(first.len());
    // The token had expired, so the first request was repeated.
    second.dedup();
    assert_eq!(second, [("2026-04-30".to_owned(), "2026-05-03".to_owned())]);
}

/// As does a missing list; the next run reads that window again.
#[tokio::test]
async fn an_error_in_a_200_fails_the_window() {
    for (reply, said) in [(error_in_200(), "Query timed out"), (without_results(), "no records at results")] {
        let (vea, clock, mut bench) = start(|definition| definition.http.retry.tries = 1);
        vea.next_on("/data/traffic", Reply::usual());
        vea.next_on("/data/traffic", Reply::usual());
        vea.next_on("/data/traffic", reply);
        let outcome = bench.run(clock.now()).await;
        assert_eq!(outcome.run.end, End::Failed);
        assert!(outcome.run.reason.clone().unwrap().contains(said), "{outcome:?}");
        assert_eq!(bench.state.tables["traffic"][""]["last_sync_date"], "2026-03-01");
        assert!(!bench.finished.contains_key("traffic") && bench.finished.contains_key("occupancy"));
        bench.complete(clock.now()).await;
        assert_all_there(&vea, &bench);
    }
}

#[tokio::test]
async fn rejected_windows_are_halved() {
    let (vea, clock, mut bench) = start(|_| {});
    vea.change(|venue| venue.rules.max_days = Some(8));
    bench.complete(clock.now()).await;
    assert_all_there(&vea, &bench);
}

/// After a 401 the same token once more, then another.
#[tokio::test]
async fn tokens_are_renewed_after_expiry_and_loss() {
    let (vea, clock, mut bench) = start(|_| {});
    vea.next_on("/data/traffic", Reply::status(401));
    bench.complete(clock.now()).await;
    assert_eq!(vea.requests_on(TOKEN).len(), 1, "the same token was good");
    vea.invalidate_tokens();
    clock.advance(SignedDuration::from_hours(1));
    bench.complete(clock.now()).await;
    assert_eq!(vea.requests_on(TOKEN).len(), 2, "and the account keeps it from run to run");
    assert_all_there(&vea, &bench);
    vea.always_on("/data/traffic", Reply::status(401));
    let outcome = bench.run(clock.now()).await;
    assert_eq!(outcome.run.end, End::Failed);
    assert!(outcome.run.reason.unwrap().contains("SENSOURCE_CLIENT_SECRET"));
}

#[tokio::test]
async fn concurrent_requests_share_one_token_request() {
    let (vea, clock, mut bench) = start(|definition| definition.http.concurrency = 8);
    vea.change(|venue| venue.rules.token_life = SignedDuration::from_secs(1));
    bench.complete(clock.now()).await;
    let minted = vea.requests_on(TOKEN).len();
    assert!((1..=8).contains(&minted), "{minted}");
}

/// 30 s as it ships; a shorter one here.
#[tokio::test]
async fn token_requests_keep_a_minimum_interval() {
    let shipped = built_in("sensource", |_| {});
    let Auth::OAuth2(oauth) = &shipped.auth else { panic!("{:?}", shipped.auth) };
    assert_eq!(oauth.mint_gap, Duration::from_secs(30));
    let gap = Duration::from_millis(700);
    let (vea, clock, mut bench) = start(|definition| {
        if let Auth::OAuth2(oauth) = &mut definition.auth {
            oauth.mint_gap = gap;
        }
    });
    // Each token dies soon after it was made.
    for nth in [2, 5] {
        vea.after(nth, "/api/", |venue| venue.drop_tokens());
    }
    bench.complete(clock.now()).await;
    let minted: Vec<_> = vea.requests_on(TOKEN).iter().map(|request| request.at).collect();
    assert_eq!(minted.len(), 3, "{}", vea.dump());
    for pair in minted.windows(2) {
        assert!(pair[1] - pair[0] >= gap, "{:?} apart", pair[1] - pair[0]);
    }
    assert_all_there(&vea, &bench);
}

/// Without a retry.
#[tokio::test]
async fn wrong_credentials_name_their_variables() {
    let (vea, clock, _) = start(|_| {});
    let config = [
        ("client_id", CLIENT_ID),
        ("client_secret", "wrong-secret"),
        ("base_url", &vea.base_url()),
        ("token_url", &vea.token_url()),
    ];
    let bench = Bench::new(built_in("sensource", |_| {}), &config);
    let said = data_sources_monitor::testing::source::test(&bench.account, clock.now()).await.unwrap_err();
    assert!(said.contains("SENSOURCE_CLIENT_ID and SENSOURCE_CLIENT_SECRET"), "{said}");
    assert!(!said.contains("wrong-secret"));
    assert_eq!(vea.requests().len(), 1);
}

/// The first is an empty range, the second reads what was never read.
#[tokio::test]
async fn a_start_date_can_be_in_the_future_or_move_back() {
    let (vea, clock, _) = start(|_| {});
    let mut ahead = bench(&vea, "2026-06-01", |_| {});
    ahead.complete(clock.now()).await;
    assert_eq!(ahead.rows_of("traffic").len(), 0);
    let mut late = bench(&vea, "2026-04-01", |_| {});
    late.complete(clock.now()).await;
    let mut earlier = bench(&vea, "2026-01-01", |_| {});
    std::mem::swap(&mut earlier.state, &mut late.state);
    std::mem::swap(&mut earlier.tables, &mut late.tables);
    std::mem::swap(&mut earlier.shapes, &mut late.shapes);
    earlier.complete(clock.now()).await;
    assert_all_there(&vea, &earlier);
}

/// Sensors are read only when named.
#[tokio::test]
async fn start_year_applies_without_start_date() {
    let (vea, clock, _) = start(|_| {});
    let config = [
        ("client_id", CLIENT_ID),
        ("client_secret", CLIENT_SECRET),
        ("base_url", &vea.base_url()),
        ("token_url", &vea.token_url()),
        ("start_year", "2026"),
    ];
    let mut bench = Bench::new(built_in("sensource", |_| {}), &config);
    bench.complete(clock.now()).await;
    let first = vea.requests_on("/data/traffic")[0].clone();
    assert_eq!(first.param("startDate"), Some("2026-01-01"));
    assert!(bench.tables.contains_key("space") && !bench.tables.contains_key("sensor"));
    // An invalid date is reported before any request.
    let given = [("client_id", "a"), ("client_secret", "b"), ("start_year", "99999")];
    let given = given.map(|(key, value)| (key.to_owned(), SecretString::from(value))).into();
    match ConfigValues::resolve(&built_in("sensource", |_| {}), &given) {
        ConfigStatus::Broken(errors) => assert_eq!(errors.len(), 1, "{errors:?}"),
        other => panic!("{other:?}"),
    }
}

/// Nested ones too.
#[tokio::test]
async fn new_fields_and_null_names_in_lists_are_accepted() {
    let (vea, clock, mut bench) = start(|_| {});
    let row = json!({"zoneId": "z-new", "sensorId": "s-1", "name": null, "extra": {"floor": 2}, "tags": ["a", "b"]});
    vea.change(|venue| venue.add("zone", row));
    bench.complete(clock.now()).await;
    let stored = bench.rows_of("zone");
    let new = stored.iter().find(|row| row["zone_id"].to_text().as_deref() == Some("z-new")).unwrap();
    assert_eq!(new["extra_floor"].to_text().as_deref(), Some("2"));
    assert_eq!(new["tags"].to_text().as_deref(), Some("[\"a\",\"b\"]"));
}

/// As often as any failed request; a 429 is waited for.
#[tokio::test]
async fn the_narrowest_window_is_retried() {
    let (vea, clock, mut bench) = start(|_| {});
    bench.complete(clock.now()).await;
    clock.advance(SignedDuration::from_mins(15));
    // Three days, one day, and that again.
    for _ in 0..3 {
        vea.next_on("/data/traffic", Reply::status(500));
    }
    vea.next_on("/data/occupancy", Reply::too_many(None));
    let outcome = bench.complete(clock.now()).await;
    assert_eq!(outcome.run.retries, 3, "{outcome:?}");
    assert_all_there(&vea, &bench);
    vea.always_on("/data/traffic", Reply::status(500));
    let outcome = bench.run(clock.now()).await;
    assert_eq!(outcome.run.end, End::Failed);
    assert_eq!(outcome.run.reason.as_deref(), Some("the source answered 500 (tried 3 times)"));
}

/// Metrics may be configured with blanks between them.
#[tokio::test]
async fn a_zone_missing_from_the_list_still_counts() {
    let (vea, clock, _) = start(|_| {});
    let gone = vea.source_rows("zone")[1]["zoneId"].as_str().unwrap().to_owned();
    vea.change(|venue| venue.remove("zone", &gone));
    let config = [
        ("client_id", CLIENT_ID),
        ("client_secret", CLIENT_SECRET),
        ("base_url", &vea.base_url()),
        ("token_url", &vea.token_url()),
        ("start_date", "2026-04-01"),
        ("traffic_metrics", "ins, outs"),
    ];
    let mut bench = Bench::new(built_in("sensource", |_| {}), &config);
    bench.complete(clock.now()).await;
    assert!(bench.column("traffic", "zone_id").contains(&gone));
    assert_eq!(bench.rows_of("zone").len(), 2);
    assert!(bench.rows_of("traffic").iter().all(|row| row["sumouts"].to_text().is_some()));
}
