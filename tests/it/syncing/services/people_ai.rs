//! The definition of People.ai.

use data_sources_monitor::testing::domain::syncing::definition::connector::Definition;
use data_sources_monitor::testing::domain::syncing::op::End;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::syncing::engine::{Bench, built_in};
use stand_ins::people_ai::{API_KEY, API_SECRET, LISTS, PeopleAi, TOKEN, failure};
use stand_ins::{Clock, Reply, Request};

const RENAMED: [(&str, &str); 1] = [("subject", "api_subject")];

fn start(activities: u64, change: impl FnOnce(&mut Definition)) -> (PeopleAi, Clock, Bench) {
    let clock = Clock::at("2026-05-02T09:10:00Z");
    let people = PeopleAi::start(3, activities, 700, &clock);
    let config = [
        ("api_key", API_KEY),
        ("api_secret", API_SECRET),
        ("base_url", &people.base_url()),
        ("token_url", &people.token_url()),
    ];
    let bench = Bench::new(built_in("people_ai", change), &config);
    (people, clock, bench)
}

/// Pages of ten, so that few rows make many pages.
fn small_pages(definition: &mut Definition) {
    for table in &mut definition.tables {
        if let Some((_, size)) = &mut table.page.size {
            *size = 10;
        }
    }
}

fn assert_all_there(people: &PeopleAi, bench: &Bench) {
    bench.assert_holds("activity", &people.source_rows("activity"), &["uid"], &RENAMED);
    let want: Vec<Value> = people.source_rows("participants").into_iter().map(with_key).collect();
    let rename = [RENAMED[0], ("true_email", "api_email")];
    bench.assert_holds("participants", &want, &["uid", "email"], &rename);
}

/// The expected table: a generated key where there is no e-mail, and the original value beside it.
pub(crate) fn with_key(mut row: Value) -> Value {
    row["true_email"] = row["email"].clone();
    if row["uid"].is_null() {
        row["uid"] = row["activity_uid"].clone();
    }
    if row["email"].is_null() {
        row["email"] = match row["phone_number"].as_str() {
            Some(phone) => json!(format!("phone:{phone}")),
            None => json!(format!("id:{}", row["id"])),
        };
    }
    row
}

/// Not only the last 30 days; only read requests are sent.
#[tokio::test]
async fn everything_since_the_start_date_is_read() {
    for odd in [false, true] {
        let (people, clock, mut bench) = start(120, small_pages);
        people.change(|org| {
            (org.rules.bare_array, org.rules.stage_as_text, org.rules.hides_uid) = (odd, odd, odd);
            org.rules.to_inclusive = !odd;
        });
        bench.complete(clock.now()).await;
        assert_all_there(&people, &bench);
        people.assert_well_behaved();
        assert_eq!(people.requests_on(TOKEN).len(), 1);
    }
}

/// Over the whole range.
#[tokio::test]
async fn later_runs_read_what_was_ingested_since() {
    let (people, clock, mut bench) = start(120, small_pages);
    bench.complete(clock.now()).await;
    let before = people.requests_on(LISTS).len();
    clock.advance(SignedDuration::from_hours(50));
    let old: Timestamp = "2024-09-01T10:00:00Z".parse().unwrap();
    people.change(|org| {
        org.touch(3);
        org.add_in_front();
        let late = org.add(old);
        org.touch(late);
    });
    bench.complete(clock.now()).await;
    assert_all_there(&people, &bench);
    let asked = people.requests_on(LISTS).split_off(before);
    // Except for the days that the former run did not reach.
    let whole = |request: &&Request| request.param("from") == Some("2027-05-03");
    assert_eq!(asked.iter().filter(whole).count(), 2, "{}", people.dump());
    assert!(
        asked.iter().all(|one| whole(&one) || one.param("ingested-from") == Some("2026-05-01")),
        "{}",
        people.dump()
    );
    assert!(asked.len() < before / 2, "{} requests after {before}", asked.len());
    people.assert_well_behaved();
}

/// A meeting beyond the requested range is read when its day comes into range, although it has not changed.
#[tokio::test]
async fn meetings_far_ahead_are_read_in_time() {
    let (people, clock, mut bench) = start(20, small_pages);
    let far = clock.now() + SignedDuration::from_hours(24 * 380);
    people.change(|org| {
        let n = org.add(far);
        org.touch(n);
    });
    bench.complete(clock.now()).await;
    assert_eq!(bench.rows_of("activity").len(), 20);
    for _ in 0..3 {
        clock.advance(SignedDuration::from_hours(24 * 7));
        bench.complete(clock.now()).await;
    }
    assert_all_there(&people, &bench);
    people.assert_well_behaved();
}

/// The API limits the range of one request; a token of one second is renewed in time, repeatedly.
#[tokio::test]
async fn long_ranges_are_split_and_short_tokens_renewed() {
    let clock = Clock::at("2026-05-02T09:10:00Z");
    let people = PeopleAi::start(3, 60, 2_500, &clock);
    people.change(|org| org.rules.token_life = SignedDuration::from_secs(1));
    let config = [
        ("api_key", API_KEY),
        ("api_secret", API_SECRET),
        ("base_url", &people.base_url()),
        ("token_url", &people.token_url()),
        ("start_date", "2019-01-01"),
    ];
    let mut bench = Bench::new(built_in("people_ai", small_pages), &config);
    for _ in 0..2 {
        bench.complete(clock.now()).await;
        clock.advance(SignedDuration::from_mins(15));
    }
    assert_all_there(&people, &bench);
    people.assert_well_behaved();
}

#[tokio::test]
async fn a_capped_page_size_loses_no_rows() {
    let (people, clock, mut bench) = start(120, small_pages);
    people.change(|org| org.rules.page_cap = 7);
    bench.complete(clock.now()).await;
    assert_all_there(&people, &bench);
}

/// Removed rows move others up, added ones move others down.
#[tokio::test]
async fn rows_that_move_between_pages_are_found() {
    let (people, clock, mut bench) = start(200, small_pages);
    people.after(3, "/v0/public/activities ", |org| org.purge(0));
    people.after(6, "/v0/public/activities ", |org| {
        org.add_in_front();
    });
    people.after(5, "/participants", |org| org.purge(1));
    let outcome = bench.complete(clock.now()).await;
    let stored = bench.column("activity", "uid");
    for row in people.source_rows("activity") {
        assert!(stored.contains(&row["uid"].as_str().unwrap().to_owned()), "{outcome:?} lacks {row}");
    }
}

/// One that is always rejected fails the run.
#[tokio::test]
async fn a_rejected_token_is_renewed_once() {
    let (people, clock, mut bench) = start(60, small_pages);
    people.after(4, LISTS, |org| org.rules.token_life = SignedDuration::from_secs(3600));
    people.next_on("/participants", Reply::status(401));
    bench.complete(clock.now()).await;
    assert_all_there(&people, &bench);
    people.invalidate_tokens();
    clock.advance(SignedDuration::from_mins(15));
    bench.complete(clock.now()).await;
    assert!(people.requests_on(TOKEN).len() <= 3);
    people.always_on(LISTS, Reply::status(401));
    let outcome = bench.run(clock.now()).await;
    assert_eq!(outcome.run.end, End::Failed);
    assert!(outcome.run.reason.unwrap().contains("PEOPLE_AI_API_KEY and PEOPLE_AI_API_SECRET"));
}

/// The cursor stays where it was.
#[tokio::test]
async fn a_request_fails_after_five_retries() {
    let (people, clock, mut bench) = start(30, small_pages);
    for _ in 0..5 {
        people.next_on(LISTS, failure(500, "Internal error", "/v0/public/activities", clock.now()));
    }
    let outcome = bench.complete(clock.now()).await;
    assert_eq!(outcome.run.retries, 5);
    people.always_on("/participants", failure(503, "Unavailable", "/v0/public/activities", clock.now()));
    let state = bench.state.clone();
    let outcome = bench.run(clock.now()).await;
    assert_eq!(outcome.run.end, End::Failed);
    let reason = outcome.run.reason.unwrap();
    assert!(reason.starts_with("the source answered 503: \"Unavailable\" (its id "), "{reason}");
    assert!(reason.ends_with(") (tried 6 times)"), "{reason}");
    assert_eq!(state.tables["participants"], bench.state.tables["participants"]);
}

/// Otherwise what is stored stays live.
#[tokio::test]
async fn deleted_activities_are_read_if_configured() {
    for asked in ["false", "true"] {
        let clock = Clock::at("2026-05-02T09:10:00Z");
        let people = PeopleAi::start(3, 20, 700, &clock);
        let config = [
            ("api_key", API_KEY),
            ("api_secret", API_SECRET),
            ("base_url", &people.base_url()),
            ("token_url", &people.token_url()),
            ("include_deleted", asked),
        ];
        let mut bench = Bench::new(built_in("people_ai", |_| {}), &config);
        bench.complete(clock.now()).await;
        clock.advance(SignedDuration::from_mins(15));
        people.change(|org| org.mark(7, true));
        bench.complete(clock.now()).await;
        let deleted = bench.column("activity", "deleted");
        assert_eq!(deleted.len(), 20);
        let told = deleted.iter().filter(|text| *text == "true").count();
        assert_eq!(told, usize::from(asked == "true"), "{asked}");
        people.assert_well_behaved();
    }
}

/// As does a response without a list.
#[tokio::test]
async fn a_permanent_rejection_fails_the_run_at_once() {
    let (people, clock, mut bench) = start(30, small_pages);
    people.always_on(LISTS, failure(422, "Bad range", "/v0/public/activities", clock.now()));
    let outcome = bench.run(clock.now()).await;
    assert_eq!((outcome.run.end, outcome.run.retries), (End::Failed, 0));
    people.as_usual();
    people.always_on(LISTS, Reply::json(&json!({"meta": {"total": 0}})));
    let outcome = bench.run(clock.now()).await;
    assert_eq!(outcome.run.end, End::Failed);
    assert!(outcome.run.reason.clone().unwrap().contains("meta"), "{outcome:?}");
    people.as_usual();
    bench.complete(clock.now()).await;
    assert_all_there(&people, &bench);
}

/// With doubling waits, since there is no header.
#[tokio::test]
async fn bursts_of_429_are_waited_out() {
    let (people, clock, mut bench) = start(30, small_pages);
    for _ in 0..6 {
        people.next_on(LISTS, Reply::too_many(None));
    }
    let outcome = bench.complete(clock.now()).await;
    assert_eq!(outcome.run.retries, 6);
    assert_all_there(&people, &bench);
}

/// A notice of the service is reported.
#[tokio::test]
async fn rows_without_a_key_are_rejected_with_a_reason() {
    let (people, clock, mut bench) = start(30, small_pages);
    people.change(|org| {
        org.set(4, "uid", None);
        org.rules.notice = Some("this endpoint goes away".into());
    });
    bench.only = Some(vec!["activity".into()]);
    let outcome = bench.run(clock.now()).await;
    assert_eq!(bench.rejected.len(), 1, "{outcome:?}");
    assert_eq!(bench.rows_of("activity").len(), 29);
    assert!(outcome.notes.iter().any(|note| note.contains("this endpoint goes away")), "{:?}", outcome.notes);
}
