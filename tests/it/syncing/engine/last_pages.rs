//! The end of pagination: services with unusual totals, links, offsets and last pages.

use data_sources_monitor::testing::domain::syncing::op::End;
use serde_json::{Value, json};

use super::rules::{FAMILY, HEAD, bench, failure, ids, now, things};
use stand_ins::made_up::serve;
use stand_ins::{Reply, Request};

fn number(request: &Request, name: &str) -> Option<u64> {
    request.param(name)?.parse().ok()
}

const OFFSET: &str = "page = { kind = \"offset\", at_param = \"offset\", size_param = \"limit\", size = 10 }";
const PAGES: &str =
    "page = { kind = \"page\", at_param = \"page\", size_param = \"limit\", size = 10, total = \"total\" }";

/// Also where the next page was already requested.
#[tokio::test]
async fn rejected_offsets_are_replaced_by_whole_pages() {
    let acme = serve(|request| {
        let (at, limit) = (number(request, "offset").unwrap(), number(request, "limit").unwrap());
        if at % limit != 0 {
            return Reply::json(&json!({ "error": "offset must be a multiple of limit" })).with_status(400);
        }
        Reply::json(&json!({ "data": ids(at.min(47)..(at + limit).min(47)), "total": 47 }))
    });
    for page in [OFFSET.to_owned(), OFFSET.replace(" }", ", total = \"total\" }")] {
        let before = acme.requests().len();
        let mut bench = bench(&things(&page), &acme);
        bench.complete(now()).await;
        assert_eq!(bench.column("things", "id").len(), 47, "{}", acme.dump());
        assert!(acme.requests().len() - before <= 8, "{}", acme.dump());
    }
}

/// If the total says more, the run reports it.
#[tokio::test]
async fn a_404_after_the_last_page_is_an_end() {
    for (total, end) in [(40, End::Complete), (41, End::Partial)] {
        let acme = serve(move |request| {
            let page = number(request, "page").unwrap();
            if page > 4 {
                return Reply::json(&json!({ "message": "Invalid page." })).with_status(404);
            }
            Reply::json(&json!({ "data": ids((page - 1) * 10..page * 10), "total": total }))
        });
        let mut bench = bench(&things(&format!("{PAGES}\ndeletes = \"snapshot\"")), &acme);
        let outcome = bench.run(now()).await;
        assert_eq!((outcome.run.end, bench.column("things", "id").len()), (end, 40), "{outcome:?}");
        assert_eq!(bench.finished.contains_key("things"), end == End::Complete);
        assert!(end == End::Complete || outcome.run.reason.unwrap().contains("a total of 41 rows, and 40"));
    }
}

/// If its first page is gone too, its parent was deleted meanwhile; otherwise the run fails.
#[tokio::test]
async fn a_404_for_a_later_page_of_a_child_is_checked() {
    for deleted in [true, false] {
        let mut asked = 0;
        let acme = serve(move |request| {
            if request.path == "/groups" {
                return Reply::json(&json!({ "data": ids(0..2) }));
            }
            asked += u32::from(request.path == "/groups/1/members");
            match request.param("after") {
                Some(_) if request.path == "/groups/1/members" => Reply::status(404),
                None if deleted && asked > 1 => Reply::status(404),
                None => Reply::json(&json!({ "data": ids(0..2), "next": "x" })),
                Some(_) => Reply::json(&json!({ "data": ids(2..4) })),
            }
        });
        let page =
            "page = { kind = \"cursor\", at_param = \"after\", next = \"next\" }\ndeletes = \"snapshot\"";
        let mut bench = bench(&format!("{HEAD}[http]\nconcurrency = 1\n{FAMILY}\n{page}"), &acme);
        let outcome = bench.run(now()).await;
        if deleted {
            assert_eq!((outcome.run.end, bench.finished["members"]), (End::Complete, false), "{outcome:?}");
        } else {
            assert!(failure(&outcome).contains("although the first one was"));
        }
    }
}

/// Nothing is deleted then.
#[tokio::test]
async fn signs_of_more_make_a_run_partial() {
    for (more, words) in [
        (json!({ "next": "/things?page=2" }), "kind = \"link\", next = \"next\""),
        (json!({ "meta": { "next_token": "x" } }), "next = \"meta.next_token\""),
        (json!({ "has_more": true }), "has_more"),
        (json!({ "total": 100 }), "100 rows"),
        (json!({ "pagination": { "total_pages": 3 } }), "3 pages"),
    ] {
        let mut body = more;
        body["data"] = json!(ids(0..60));
        let acme = serve(move |_| Reply::json(&body));
        let mut bench = bench(&things("deletes = \"snapshot\""), &acme);
        let outcome = bench.run(now()).await;
        let reason = outcome.run.reason.unwrap_or_default();
        assert!(outcome.run.end == End::Partial && reason.contains(words), "{words}: {reason}");
        assert!(!bench.finished.contains_key("things"));
    }
    let acme = serve(|_| Reply::json(&json!({ "data": ids(0..6), "total": 100 })));
    let mut silenced = bench(&things("page = { kind = \"none\", ignore = [\"total\"] }"), &acme);
    silenced.complete(now()).await;
    let linked = serve(|_| Reply::json(&json!({ "data": ids(0..6) })).header("link", "</b>; rel=next"));
    let outcome = bench(&things(""), &linked).run(now()).await;
    assert!(outcome.run.reason.unwrap().contains("header = \"link\""));
}

/// A GET cannot carry it, which the run reports.
#[tokio::test]
async fn a_page_token_can_be_an_object_in_a_post() {
    for method in ["GET", "POST"] {
        let acme = serve(|request| {
            let after = request.json().and_then(|body| body["after"]["id"].as_u64());
            let from = after.unwrap_or(0);
            let mut body = json!({ "data": ids(from..(from + 2).min(5)) });
            if from < 3 {
                body["next"] = json!({ "id": from + 2 });
            }
            Reply::json(&body)
        });
        let page = "page = { kind = \"cursor\", at_param = \"after\", next = \"next\" }";
        let mut bench = bench(&things(&format!("method = \"{method}\"\n{page}")), &acme);
        let outcome = bench.run(now()).await;
        let want = if method == "GET" { (End::Partial, 2) } else { (End::Complete, 5) };
        assert_eq!((outcome.run.end, bench.column("things", "id").len()), want, "{outcome:?}");
        assert!(method == "POST" || outcome.run.reason.unwrap().contains("an object"));
    }
}

/// The same row at once, one that changes a little later.
#[tokio::test]
async fn one_row_repeated_with_new_tokens_ends_soon() {
    // One request more than is needed: the next page is requested ahead.
    for (changing, most) in [(false, 9), (true, 1_004)] {
        let mut asked = 0;
        let acme = serve(move |_| {
            asked += 1;
            let seen: Value = if changing { json!(asked) } else { json!(0) };
            Reply::json(&json!({ "data": [{ "id": 1, "seen": seen }], "next": format!("t{asked}") }))
        });
        let page = "page = { kind = \"cursor\", at_param = \"after\", next = \"next\" }";
        let mut bench = bench(&things(page), &acme);
        assert!(failure(&bench.run(now()).await).contains("brought no new row"));
        assert!(acme.requests().len() <= most, "{}", acme.requests().len());
    }
}
