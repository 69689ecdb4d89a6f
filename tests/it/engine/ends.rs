//! What proves the end of a reading: services whose totals, links, offsets and last pages have habits of their own.

use data_sources_monitor::domain::op::End;
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

/// A service that refuses offsets within a page is read by whole pages, also where the next page was asked for ahead.
#[tokio::test]
async fn offsets_that_are_refused_are_asked_otherwise() {
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

/// "Not found" behind the last page is an end; where the total says more, the run says so.
#[tokio::test]
async fn not_found_behind_the_last_page() {
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

/// A child that is gone at its next page: its parent was deleted meanwhile if the first page is gone, too, and otherwise
/// the run fails.
#[tokio::test]
async fn a_child_that_is_gone_behind_its_first_page() {
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
            assert!(failure(&outcome).contains("though the first one is"));
        }
    }
}

/// Whatever says that there are more pages than the definition reads makes the run partial, and sweeps nothing.
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

/// A token that is an object cannot be a parameter of a GET, which the run says; a POST carries it.
#[tokio::test]
async fn tokens_of_any_form() {
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

/// One row for ever, with a new token each time, ends soon: the very same row at once, one that changes a little later.
#[tokio::test]
async fn tokens_without_an_end_end() {
    for (changing, most) in [(false, 8), (true, 1_003)] {
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
