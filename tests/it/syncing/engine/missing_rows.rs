//! Rows that could be missed between pages, parents, windows and runs.

use data_sources_monitor::testing::domain::syncing::op::End;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::rules::{FAMILY, HEAD, bench, failure, ids, now, things};
use stand_ins::Reply;
use stand_ins::made_up::serve;

const BY_OFFSET: &str =
    "page = { kind = \"offset\", at_param = \"offset\", size_param = \"limit\", size = 10 }
cursor = { field = \"at\", param = \"since\", start = \"2026-01-01\", order = \"asc\" }
columns = { at = { type = \"timestamp\" } }";

/// A row with a moment that grows with its number.
fn at_minute(id: u64) -> Value {
    let at =
        "2026-03-01T00:00:00Z".parse::<Timestamp>().unwrap() + jiff::SignedDuration::from_mins(id as i64);
    json!({ "id": id, "at": at.to_string() })
}

/// A row that moved between two pages is not covered by the checkpoint of the later page if the run fails before it
/// was found.
#[tokio::test]
async fn a_shifted_row_is_read_by_the_next_run() {
    let mut asked = 0;
    let acme = serve(move |request| {
        asked += 1;
        let since: Timestamp = request.param("since").unwrap().parse().unwrap();
        let offset: usize = request.param("offset").unwrap().parse().unwrap();
        // After the first page two rows of it are gone.
        let from = if asked == 1 { 1 } else { 3 };
        let rows = (from..40).map(at_minute);
        let newer = rows.filter(|row| row["at"].as_str().unwrap().parse::<Timestamp>().unwrap() >= since);
        let page: Vec<Value> = newer.skip(offset).take(10).collect();
        Reply::json(&json!({ "data": page }))
    });
    let mut bench = bench(&things(BY_OFFSET), &acme);
    acme.next_on("", Reply::usual());
    acme.next_on("", Reply::usual());
    acme.next_on("", Reply::status(400));
    failure(&bench.run(now()).await);
    bench.complete(now()).await;
    let stored = bench.column("things", "id");
    for id in 3..40 {
        assert!(stored.contains(&id.to_string()), "{id} is missing: {}", acme.dump());
    }
}

#[tokio::test]
async fn a_total_that_is_too_small_is_read_past() {
    let acme = serve(|request| {
        let at: u64 = request.param("offset").unwrap().parse().unwrap();
        Reply::json(&json!({ "data": ids(at..(at + 10).min(47)), "total": 20 }))
    });
    let page = "page = { kind = \"offset\", at_param = \"offset\", size_param = \"limit\", size = 10, total = \"total\" }";
    let mut bench = bench(&things(page), &acme);
    bench.complete(now()).await;
    assert_eq!(bench.column("things", "id").len(), 47, "{}", acme.dump());
}

/// A row from far ahead, or without a time, is stored like any other; later rows are still read.
#[tokio::test]
async fn an_odd_cursor_value_is_no_checkpoint() {
    for odd in ["2099-01-01T00:00:00Z", "n/a", ""] {
        let acme = serve(move |_| {
            Reply::json(&json!({ "data": [at_minute(1), { "id": 2, "at": odd }, at_minute(3)] }))
        });
        let cursor = BY_OFFSET.split_once('\n').unwrap().1;
        let mut bench = bench(&things(cursor), &acme);
        bench.complete(now()).await;
        assert_eq!(bench.column("things", "id").len(), 3);
        bench.complete(now()).await;
        let since = acme.requests()[1].param("since").unwrap().to_owned();
        assert_eq!(since, "2026-03-01T00:03:00Z", "after {odd:?}");
    }
}

/// The run fails; a source that fails for every parent is not asked for each of them.
#[tokio::test]
async fn one_broken_child_does_not_stop_the_others() {
    for (broken, read) in [(2..3, 11), (0..12, 0)] {
        let is_broken = broken.clone();
        let acme = serve(move |request| match request.path.split('/').nth(2) {
            None => Reply::json(&json!({ "data": ids(0..12) })),
            Some(id) if is_broken.contains(&id.parse::<u64>().unwrap()) => Reply::status(400),
            Some(_) => Reply::json(&json!({ "data": ids(0..1) })),
        });
        let toml = format!("{HEAD}[http]\nconcurrency = 2\n{FAMILY}");
        let mut bench = bench(&toml, &acme);
        let said = failure(&bench.run(now()).await);
        assert!(said.contains("answered 400"), "{said}");
        assert_eq!(bench.rows_of("members").len(), read);
        assert!(!bench.finished.contains_key("members"));
        assert!(read > 0 || acme.requests_on("/members").len() < 8, "{}", acme.dump());
    }
}

#[tokio::test]
async fn children_are_deleted_only_if_all_parents_were_read() {
    let mut runs = 0;
    let acme = serve(move |request| match request.path.as_str() {
        "/groups" => {
            runs += 1;
            let second = if runs == 2 { Value::Null } else { json!(2) };
            Reply::json(&json!({ "data": [{ "id": 1 }, { "id": second }, { "id": 3 }] }))
        }
        _ => Reply::json(&json!({ "data": ids(0..2) })),
    });
    let mut bench = bench(&format!("{HEAD}{FAMILY}\ndeletes = \"snapshot\""), &acme);
    for (rejected, swept) in [(0, true), (1, false), (1, true)] {
        bench.run(now()).await;
        assert_eq!((bench.rejected.len(), bench.finished["members"]), (rejected, swept));
        assert_eq!(bench.rows_of("members").len(), 6);
    }
}

/// A page token that only looks like a number.
#[tokio::test]
async fn tokens_in_a_body_keep_their_zeros() {
    let acme = serve(|request| match request.json().unwrap()["after"].as_str() {
        None => Reply::json(&json!({ "data": ids(0..2), "next": "007" })),
        Some("007") => Reply::json(&json!({ "data": ids(2..4) })),
        Some(_) => Reply::status(400),
    });
    let page = "method = \"POST\"\npage = { kind = \"cursor\", at_param = \"after\", next = \"next\" }";
    let mut bench = bench(&things(page), &acme);
    bench.complete(now()).await;
    assert_eq!(bench.column("things", "id").len(), 4, "{}", acme.dump());
}

#[tokio::test]
async fn a_table_with_a_broken_page_deletes_nothing() {
    let acme = serve(|request| {
        let at: u64 = request.param("after").map_or(0, |at| at.parse().unwrap());
        Reply::json(&json!({ "data": ids(at..at + 2), "next": at + 2 }))
    });
    let toml =
        things("page = { kind = \"cursor\", at_param = \"after\", next = \"next\" }\ndeletes = \"snapshot\"");
    let mut bench = bench(&toml, &acme);
    acme.next_on("", Reply::usual());
    acme.next_on("", Reply::status(410));
    let outcome = bench.run(now()).await;
    assert_eq!((outcome.run.end, outcome.tables["things"].end), (End::Failed, End::Failed));
    assert!(!bench.finished.contains_key("things"));
}
