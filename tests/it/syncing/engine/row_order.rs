//! The order of rows is proven, not assumed.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::rules::{bench, failure, now, things};
use stand_ins::Reply;
use stand_ins::made_up::serve;

const NEWEST_FIRST: &str = "page = { kind = \"page\", at_param = \"page\", size_param = \"n\", size = 2 }
cursor = { field = \"at\", order = \"desc\" }";

/// The moment `days` after the start of 2026.
fn day(days: i64) -> Timestamp {
    "2026-01-01T10:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_hours(24 * days)
}

/// Pages of two of a list that a closure makes of the run's number.
async fn two_runs(toml: &str, list: impl Fn(u32) -> Vec<Value> + Send + 'static) -> (usize, usize, usize) {
    let mut first_pages = 0;
    let acme = serve(move |request| {
        let page: usize = request.param("page").unwrap().parse().unwrap();
        first_pages += u32::from(page == 1);
        let rows: Vec<Value> = list(first_pages).into_iter().skip((page - 1) * 2).take(2).collect();
        Reply::json(&json!({ "data": rows }))
    });
    let mut bench = bench(toml, &acme);
    bench.complete(now()).await;
    let before = acme.requests().len();
    bench.complete(now()).await;
    (bench.column("things", "id").len(), before, acme.requests().len() - before)
}

/// Dates and versions: known forms stop the reading where they should, others never.
#[tokio::test]
async fn cursor_values_that_do_not_sort_as_text_hide_no_rows() {
    type Form = fn(i64) -> Value;
    let forms: [(Form, &str, bool); 5] = [
        (|n| json!(day(n).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()), "", true),
        (|n| json!(format!("/Date({})/", day(n).as_millisecond())), "", true),
        (|n| json!(format!("{n}.5")), "", true),
        (|n| json!(format!("v{n}")), "", false),
        (|n| json!(day(n).strftime("%d-%m-%Y").to_string()), "", false),
    ];
    for (form, more, stops) in forms {
        let list = move |run| {
            let newest = if run == 1 { 9 } else { 13 };
            (0..=newest).rev().map(|n| json!({ "id": n, "at": form(n) })).collect()
        };
        let (rows, first, second) = two_runs(&things(&format!("{NEWEST_FIRST}\n{more}")), list).await;
        assert_eq!(rows, 14, "{}", form(1));
        assert_eq!(second < first, stops, "{}: {first} requests, then {second}", form(1));
    }
}

#[tokio::test]
async fn pinned_rows_and_rows_from_the_future_hide_no_rows() {
    for odd in [-500, 5_000] {
        let list = move |run| {
            let newest = if run == 1 { 5 } else { 9 };
            let at = |n: i64| json!(day(n).to_string());
            let rows = (0..=newest).rev().map(|n| json!({ "id": n, "at": at(n) }));
            std::iter::once(json!({ "id": 99, "at": at(odd) })).chain(rows).collect()
        };
        let (rows, first, second) = two_runs(&things(NEWEST_FIRST), list).await;
        assert_eq!(rows, 11, "{odd}");
        assert!(second <= first, "{second} requests after {first}");
    }
}

/// Rows that should come oldest first and do not: when the run fails, the next one reads all of them.
#[tokio::test]
async fn a_broken_order_leaves_no_checkpoint() {
    for order in [
        [9, 8, 7, 6, 5, 4, 3, 2, 1],
        [9, 1, 2, 3, 4, 5, 6, 7, 8],
        [1, 2, 3, 4, 9, 5, 6, 7, 8],
        [1, 2, 3, 4, 5, 6, 7, 8, 9],
    ] {
        for broken in 2..6 {
            let acme = serve(move |request| {
                let since = request.param("since").unwrap_or_default().to_owned();
                let rows =
                    order.iter().map(|n| json!({ "id": n, "at": format!("2026-05-{n:02}T00:00:00Z") }));
                let rows = rows.filter(|row| row["at"].as_str().unwrap() >= since.as_str());
                let page: usize = request.param("page").unwrap().parse().unwrap();
                let rows: Vec<Value> = rows.skip((page - 1) * 2).take(2).collect();
                Reply::json(&json!({ "data": rows }))
            });
            let cursor = NEWEST_FIRST.replace("order = \"desc\"", "order = \"asc\", param = \"since\"");
            let mut bench = bench(&things(&cursor), &acme);
            for _ in 1..broken {
                acme.next_on("", Reply::usual());
            }
            acme.next_on("", Reply::status(410));
            failure(&bench.run(now()).await);
            bench.complete(now()).await;
            assert_eq!(bench.column("things", "id").len(), 9, "{order:?}, broken at page {broken}");
        }
    }
}

/// Rows with one value on two pages are all read.
#[tokio::test]
async fn keyset_pages_continue_from_the_sources_value() {
    let at = |n: u64| format!("2026-05-02T0{}:00:00.250+02:00", n / 2);
    for (page, want) in [(3, true), (2, false)] {
        let acme = serve(move |request| {
            let after = request.param("after").unwrap_or_default().to_owned();
            let rows = (0..9).map(|n| json!({ "id": n, "created": at(n) }));
            let rows = rows.filter(|row| row["created"].as_str().unwrap() > after.as_str());
            Reply::json(&json!({ "data": rows.take(page).collect::<Vec<_>>() }))
        });
        let toml = things(&format!(
            "page = {{ kind = \"keyset\", at_param = \"after\", field = \"created\", size_param = \"limit\", size = {page} }}
columns = {{ created = {{ type = \"timestamp\" }} }}"
        ));
        let mut bench = bench(&toml, &acme);
        if want {
            bench.complete(now()).await;
            assert_eq!(bench.column("things", "id").len(), 9, "{}", acme.dump());
        } else {
            assert!(failure(&bench.run(now()).await).contains("has the same created"));
        }
    }
}
