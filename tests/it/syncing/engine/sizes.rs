//! Page sizes that grow up to `size_max` while the service keeps up, and shrink where it does not. Every list must be whole.

use std::time::Duration;

use serde_json::json;

use super::rules::{bench, failure, ids, now, things_with};
use stand_ins::made_up::{MadeUp, serve};
use stand_ins::{Reply, Request, StandIn};

const ROWS: u64 = 1_000;

fn definition(most: u64) -> String {
    let page = format!(
        "page = {{ kind = \"offset\", at_param = \"skip\", size_param = \"limit\", size = 10, size_max = {most} }}"
    );
    things_with(&page, "[http]\ntimeout = \"1s\"\nmax_body_mb = 1\nretry = { tries = 2, base = \"1ms\" }\n")
}

fn number(request: &Request, name: &str) -> u64 {
    request.param(name).unwrap().parse().unwrap()
}

/// A service of [`ROWS`] rows that answers a request for so many rows with the reply that `special` makes of it, if any.
fn service(special: impl Fn(u64) -> Option<Reply> + Send + 'static) -> StandIn<MadeUp> {
    serve(move |request| {
        let (skip, limit) = (number(request, "skip"), number(request, "limit"));
        let page =
            |limit: u64| Reply::json(&json!({ "data": ids(skip.min(ROWS)..(skip + limit).min(ROWS)) }));
        special(limit).unwrap_or_else(|| page(limit))
    })
}

fn limits(acme: &StandIn<MadeUp>, from: usize) -> Vec<u64> {
    acme.requests()[from..].iter().map(|request| number(request, "limit")).collect()
}

#[tokio::test]
async fn a_page_size_doubles_up_to_its_maximum_and_is_stored() {
    let acme = service(|_| None);
    let mut bench = bench(&definition(100), &acme);
    bench.complete(now()).await;
    assert_eq!(bench.column("things", "id").len(), ROWS as usize);
    let asked = limits(&acme, 0);
    assert_eq!(asked[..7], [10, 10, 10, 20, 40, 80, 80], "{asked:?}");
    assert!(asked.len() < 25, "{asked:?}");
    bench.complete(now()).await;
    assert_eq!(limits(&acme, asked.len())[..5], [10, 10, 10, 80, 80]);
}

/// A rejected size is never requested again; one that was too slow or too large, once in each run.
#[tokio::test]
async fn a_rejected_or_slow_or_too_large_page_size_is_halved() {
    let special: [(fn() -> Reply, usize); 5] = [
        (|| Reply::status(400), 0),
        (|| Reply::status(413), 0),
        (|| Reply::status(504), 1),
        (Reply::hang, 1),
        (|| Reply::json(&json!({ "data": [] })).padded_to(2 << 20), 1),
    ];
    for (too_much, again) in special {
        let acme = service(move |limit| (limit > 40).then(too_much));
        let mut bench = bench(&definition(100), &acme);
        let outcome = bench.complete(now()).await;
        assert_eq!(bench.column("things", "id").len(), ROWS as usize);
        let asked = limits(&acme, 0);
        assert_eq!(asked[..8], [10, 10, 10, 20, 40, 80, 40, 40], "{asked:?} {outcome:?}");
        assert!(!asked[8..].contains(&80), "{asked:?}");
        bench.complete(now()).await;
        let asked = limits(&acme, asked.len());
        assert_eq!(asked.iter().filter(|limit| **limit == 80).count(), again, "{asked:?}");
    }
}

/// Some services return fewer rows, one or none for a size they do not accept: such a page is no end.
#[tokio::test]
async fn a_service_that_falls_back_to_a_smaller_page_hides_no_rows() {
    for fallback in [0, 1, 5] {
        let acme = serve(move |request| {
            let (skip, limit) = (number(request, "skip"), number(request, "limit"));
            let limit = if limit > 40 { fallback } else { limit };
            Reply::json(&json!({ "data": ids(skip.min(ROWS)..(skip + limit).min(ROWS)) }))
        });
        let mut bench = bench(&definition(100), &acme);
        bench.complete(now()).await;
        assert_eq!(bench.column("things", "id").len(), ROWS as usize, "{fallback}");
        let asked = limits(&acme, 0);
        assert_eq!(asked.iter().filter(|limit| **limit > 40).count(), 1, "{asked:?}");
        assert!(asked.iter().filter(|limit| **limit == 40).count() > 15, "{asked:?}");
    }
}

/// An error at this size is reported as usual.
#[tokio::test]
async fn the_definitions_own_page_size_is_not_halved() {
    let acme = service(|_| Some(Reply::json(&json!({ "data": [] })).padded_to(2 << 20)));
    let reason = failure(&bench(&definition(100), &acme).run(now()).await);
    assert!(reason.contains("max_body_mb"), "{reason}");
    assert_eq!(limits(&acme, 0), [10]);
}

/// 80 rows in this test.
#[tokio::test]
async fn a_page_size_does_not_grow_beyond_four_megabytes() {
    let acme = serve(|request| {
        let (skip, limit) = (number(request, "skip"), number(request, "limit"));
        let page = json!({ "data": ids(skip.min(ROWS)..(skip + limit).min(ROWS)) });
        Reply::json(&page).padded_to(60_000 * limit as usize)
    });
    let toml = definition(1_000).replace("max_body_mb = 1", "max_body_mb = 50").replace("\"1s\"", "\"30s\"");
    bench(&toml, &acme).complete(now()).await;
    let asked = limits(&acme, 0);
    assert_eq!(asked.iter().max(), Some(&80), "{asked:?}");
}

/// Newest first may stop after any page.
#[tokio::test]
async fn no_page_is_prefetched_that_may_not_be_needed() {
    let acme = serve(|request| {
        let page: u64 = request.param("page").and_then(|page| page.parse().ok()).unwrap_or(0);
        let row = |n: u64| json!({ "id": n, "at": format!("2026-04-{:02}T00:00:00Z", 30 - n) });
        let rows: Vec<_> = (page * 5..page * 5 + 5).map(row).collect();
        let next = (page < 4).then(|| format!("/things?page={}", page + 1));
        Reply::json(&json!({ "data": rows, "next": next })).late(Duration::from_millis(5))
    });
    let more = "page = { kind = \"link\", next = \"next\" }
cursor = { field = \"at\", order = \"desc\", lookback = \"1h\" }
columns = { at = { type = \"timestamp\" } }";
    let mut bench = bench(&super::rules::things(more), &acme);
    bench.complete(now()).await;
    assert_eq!((bench.column("things", "id").len(), acme.requests().len()), (25, 5));
    bench.complete(now()).await;
    assert_eq!(acme.requests().len(), 6);
}

/// The next link is known before the rows of a page are decoded; if it is refused, the run still has them.
#[tokio::test]
async fn the_rows_before_a_refused_link_are_stored() {
    let acme =
        serve(|_| Reply::json(&json!({ "data": ids(0..2), "next": "https://other.test/things?page=2" })));
    let mut bench = bench(&super::rules::things("page = { kind = \"link\", next = \"next\" }"), &acme);
    let reason = failure(&bench.run(now()).await);
    assert!(reason.contains("another origin"), "{reason}");
    assert_eq!(bench.column("things", "id"), ["0", "1"]);
}
