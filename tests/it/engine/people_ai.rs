//! People.ai as its definition reads it.

use data_sources_monitor::domain::connector::Definition;
use data_sources_monitor::domain::op::End;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Bench, built_in};
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

/// What the table should hold: a key of its own where there is no e-mail, and the true value beside it.
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

/// Everything since the start date is read, not only the last 30 days; nothing but reading is attempted.
#[tokio::test]
async fn reads_everything() {
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

/// A later run asks, over the whole range, for what was ingested since the last complete run.
#[tokio::test]
async fn later_runs_read_what_changed() {
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
    // But for the days that the run before did not reach.
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

/// A meeting further ahead than is asked for, entered before the last run, is read when its day comes into reach, though
/// nothing of it changes any more.
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

/// A start further back than the API bears in one range is read in several; a token that lives for a second is renewed in
/// time, again and again.
#[tokio::test]
async fn long_ranges_and_short_tokens() {
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

/// A server that caps pages below what was asked loses nothing.
#[tokio::test]
async fn capped_pages_lose_nothing() {
    let (people, clock, mut bench) = start(120, small_pages);
    people.change(|org| org.rules.page_cap = 7);
    bench.complete(clock.now()).await;
    assert_all_there(&people, &bench);
}

/// Rows that move while pages are read: those taken out push others up, those put in front push others down.
#[tokio::test]
async fn rows_that_move_are_found() {
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

/// A token that dies in mid-run is renewed once for all; one that is always refused fails the run.
#[tokio::test]
async fn tokens_are_renewed_once() {
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

/// Five retries, no more; then the run fails and the cursor stays where it was.
#[tokio::test]
async fn five_retries_then_failure() {
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

/// An activity deleted at the source is read, and told by `deleted`, only where that is asked for; otherwise what was
/// stored of it stays, and nothing claims that it is gone.
#[tokio::test]
async fn deleted_activities_are_told_where_asked_for() {
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

/// A permanent refusal and an answer without a list fail the run at once; they never end it green and empty.
#[tokio::test]
async fn permanent_errors_fail() {
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

/// 429 without any header is waited out by doubling, however many come in a burst.
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

/// A row without its key is kept aside with its reason, and a notice of the service is passed on.
#[tokio::test]
async fn rows_without_key_are_kept_aside() {
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
