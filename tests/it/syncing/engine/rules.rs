//! Rules of the engine that no built-in connector shows, with a made-up API.

use std::time::Duration;

use data_sources_monitor::testing::domain::syncing::op::End;
use data_sources_monitor::testing::source;
use data_sources_monitor::testing::source::ReadOutcome;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Bench, custom};
use stand_ins::made_up::{MadeUp, serve};
use stand_ins::{Reply, StandIn};

pub(super) fn now() -> Timestamp {
    "2026-05-02T09:10:00Z".parse().unwrap()
}

pub(super) const HEAD: &str = "format = 1\n[connector]\nname = \"acme\"\nbase_url = \"https://acme.test\"\n";

/// A definition of one table `things` with these further lines.
pub(super) fn things(more: &str) -> String {
    format!(
        "{HEAD}[[table]]\nname = \"things\"\npath = \"/things\"\nrecords = [\"data\"]\nkey = [\"id\"]\n{more}\n"
    )
}

/// The same with more before the table.
pub(super) fn things_with(more: &str, before: &str) -> String {
    things(more).replace("[[table]]", &format!("{before}[[table]]"))
}

pub(super) fn bench(toml: &str, acme: &StandIn<MadeUp>) -> Bench {
    Bench::new(custom(toml, |_| {}), &[("base_url", &acme.url())])
}

pub(super) fn ids(range: std::ops::Range<u64>) -> Vec<Value> {
    range.map(|id| json!({ "id": id })).collect()
}

pub(super) fn failure(outcome: &ReadOutcome) -> String {
    assert_eq!(outcome.run.end, End::Failed, "{outcome:#?}");
    outcome.run.reason.clone().unwrap()
}

/// By a token in the body or a header, a link in the body or the `Link` header (relative, beside another), and the
/// last row's key.
#[tokio::test]
async fn every_kind_of_pagination_reads_all_rows() {
    let size = "size_param = \"limit\", size = 2";
    for page in [
        "{ kind = \"cursor\", at_param = \"after\", next = \"meta.next\" }",
        "{ kind = \"cursor\", at_param = \"after\", header = \"X-Next\" }",
        "{ kind = \"link\", next = \"links.next\" }",
        "{ kind = \"link\", header = \"link\" }",
        &format!("{{ kind = \"keyset\", at_param = \"after\", field = \"id\", {size} }}"),
        &format!("{{ kind = \"offset\", at_param = \"offset\", {size} }}"),
        "{ kind = \"page\", at_param = \"page\", first = 0 }",
    ] {
        let acme = serve(|request| {
            let number = |name: &str| request.param(name).and_then(|text| text.parse::<u64>().ok());
            let from = number("after").or(number("offset")).unwrap_or(number("page").unwrap_or(0) * 2).min(5);
            let to = (from + 2).min(5);
            let rows: Vec<Value> = (from + 1..=to).map(|id| json!({ "id": id })).collect();
            if to == 5 {
                return Reply::json(&json!({ "data": rows, "links": {}, "meta": { "next": null } }));
            }
            let link = format!("/things?after={to}");
            let body = json!({ "data": rows, "links": { "next": link }, "meta": { "next": to } });
            let header = format!("</other,x>; rel=\"prev\", <{link}>; rel=\"next last\"");
            Reply::json(&body).header("x-next", &to.to_string()).header("link", &header)
        });
        let mut bench = bench(&things(&format!("page = {page}")), &acme);
        bench.complete(now()).await;
        assert_eq!(bench.column("things", "id"), ["1", "2", "3", "4", "5"], "{page}: {}", acme.dump());
    }
}

/// Numbers as numbers.
#[tokio::test]
async fn a_post_carries_pagination_in_its_body() {
    let acme = serve(|request| {
        let at = request.json().unwrap()["offset"].as_u64().unwrap();
        Reply::json(&json!({ "data": ids(at..(at + 2).min(5)), "total": 5 }))
    });
    let toml = things(
        "method = \"POST\"\nbody = { query = \"all\" }\npage = { kind = \"offset\", at_param = \"offset\", total = \"total\" }",
    );
    let mut bench = bench(&toml, &acme);
    bench.complete(now()).await;
    assert_eq!(bench.column("things", "id").len(), 5);
    assert_eq!(acme.requests()[0].json().unwrap(), json!({ "query": "all", "offset": 0 }));
}

const BY_CURSOR: &str = "page = { kind = \"cursor\", at_param = \"page\", next = \"next\" }
cursor = { field = \"at\", param = \"since\", start = \"2026-01-01\", lookback = \"1h\", order = \"ORDER\" }
columns = { at = { type = \"timestamp\" } }";

/// Oldest first it moves page by page, up to the last complete value, so that a failed run resumes there, with an
/// overlap of an hour and every digit; in unknown order it moves at the end.
#[tokio::test]
async fn a_cursor_covers_only_stored_rows() {
    for (order, kept) in [("asc", Some("2026-03-01T00:00:00.123456Z")), ("unknown", None)] {
        let acme = serve(|request| {
            let page: u64 = request.param("page").and_then(|page| page.parse().ok()).unwrap_or(1);
            let row = |n: u64| json!({ "id": n, "at": format!("2026-03-{n:02}T00:00:00.123456Z") });
            Reply::json(
                &json!({ "data": [row(page)], "next": if page < 3 { json!(page + 1) } else { json!(null) } }),
            )
        });
        let mut bench = bench(&things(&BY_CURSOR.replace("ORDER", order)), &acme);
        acme.next_on("", Reply::usual());
        acme.next_on("", Reply::usual());
        acme.next_on("", Reply::status(400));
        failure(&bench.run(now()).await);
        let state = bench.state.tables.get("things").map(|partitions| partitions[""]["at"]["time"].clone());
        assert_eq!(state, kept.map(|text| json!(text)), "{order}");
        assert_eq!(acme.requests()[0].param("since"), Some("2026-01-01T00:00:00Z"));
        let before = acme.requests().len();
        bench.complete(now()).await;
        let since = acme.requests()[before].param("since").unwrap().to_owned();
        let want = if order == "asc" { "2026-02-28T23:00:00.123456Z" } else { "2026-01-01T00:00:00Z" };
        assert_eq!(since, want, "{order}");
        assert_eq!(bench.state.tables["things"][""]["at"]["time"], "2026-03-03T00:00:00.123456Z");
    }
}

/// Until all rows were read.
#[tokio::test]
async fn a_wrong_order_stops_the_cursor() {
    let acme = serve(|request| {
        let page: u64 = request.param("page").and_then(|page| page.parse().ok()).unwrap_or(1);
        let row = json!({ "id": page, "at": format!("2026-03-{:02}T00:00:00Z", 10 - page) });
        Reply::json(&json!({ "data": [row], "next": page + 1 }))
    });
    acme.next_on("", Reply::usual());
    acme.next_on("", Reply::usual());
    acme.next_on("", Reply::status(400));
    let mut bench = bench(&things(&BY_CURSOR.replace("ORDER", "asc")), &acme);
    failure(&bench.run(now()).await);
    assert_eq!(bench.checkpoints, 0, "one row proves no order, and the second breaks it");
}

/// After as many attempts as for a broken connection.
#[tokio::test]
async fn a_body_that_is_no_page_fails_the_run_with_a_reason() {
    for (reply, words, tries) in [
        (Reply::html(), "HTML", 6),
        (Reply::text("application/json", "{\"data\": [{\"id\": 1}, {\"id\""), "cut off", 6),
        (Reply::text("application/json", ""), "empty", 6),
        (Reply::json(&json!({ "items": [] })), "no records at data", 1),
        (Reply::json(&json!({ "data": "none" })), "should be", 1),
        (Reply::json(&json!({ "data": [{ "id": 1, "userData": 1, "user.data": 2 }] })), "both become", 1),
        (Reply::json(&json!({ "data": [] })).padded_to(3 << 20), "max_body_mb", 1),
    ] {
        let acme = serve(move |_| reply.clone());
        let toml = things("").replace("[[table]]", "[http]\nmax_body_mb = 1\n[[table]]");
        let mut bench = bench(&toml, &acme);
        let reason = failure(&bench.run(now()).await);
        assert!(reason.contains(words), "{words}: {reason}");
        assert_eq!(acme.requests().len(), tries, "{words}");
        assert!(!bench.finished.contains_key("things"));
    }
}

/// Without control characters, on the terminal and in the run history.
#[tokio::test]
async fn texts_of_a_source_stay_on_one_line() {
    let nasty = "a\u{1b}[31m\r\nb";
    for body in [
        json!({ "data": [{ "id": 1 }], "said": nasty }),
        json!({ "data": [{ "id": 1, nasty: 1, nasty.replace('\r', "\t"): 2 }] }),
        json!({ nasty: [] }),
        json!({ "data": [{ "id": 1 }], "next": format!("http://{nasty}/") }),
    ] {
        let reply = Reply::json(&body);
        let acme = serve(move |_| reply.clone());
        let toml =
            things_with("page = { kind = \"link\", next = \"next\" }", "[http]\nnotices = [\"said\"]\n");
        let outcome = bench(&toml, &acme).run(now()).await;
        let said: Vec<String> = outcome.run.reason.into_iter().chain(outcome.notes).collect();
        assert_eq!(said.len(), 1, "{body}: {said:?}");
        assert!(!said[0].contains(char::is_control), "{said:?}");
    }
}

/// As seconds and as a date; a wait beyond the budget defers the run.
#[tokio::test]
async fn retry_after_sets_the_wait() {
    let acme = serve(|_| Reply::json(&json!({ "data": ids(0..2) })));
    let mut bench = bench(&things(""), &acme);
    acme.next(Reply::too_many(Some(1)));
    let soon = now() + jiff::SignedDuration::from_secs(2);
    let date = soon.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    acme.next(Reply::status(503).header("retry-after", &date));
    let outcome = bench.complete(now()).await;
    assert!((1_000..4_000).contains(&outcome.run.waited_ms), "{outcome:?}");
    acme.next(Reply::too_many(Some(3600)));
    let outcome = bench.run(now()).await;
    assert_eq!(outcome.run.end, End::Deferred);
    assert!(outcome.run.reason.unwrap().contains("3600 s"));
}

/// A header, a query parameter, HTTP basic, and a token requested with a form, HTTP basic or JSON.
#[tokio::test]
async fn every_authentication_method_works() {
    let oauth = |send: &str| {
        format!(
            "kind = \"oauth2\"\ntoken_url = \"https://acme.test/token\"\nclient_id = \"me\"\nclient_secret = \"${{config.key}}\"\nscope = \"all\"\nsend = \"{send}\""
        )
    };
    let basic = "Basic bWU6czNjcmV0"; // me:s3cret
    let form = "grant_type=client_credentials";
    for (auth, things, token) in [
        ("kind = \"none\"".to_owned(), "", ""),
        ("kind = \"header\"\nname = \"X-Key\"\nvalue = \"${config.key}\"".to_owned(), "x-key=s3cret", ""),
        ("kind = \"query\"\nname = \"k\"\nvalue = \"${config.key}\"".to_owned(), "?k=s3cret", ""),
        ("kind = \"basic\"\nuser = \"me\"\npassword = \"${config.key}\"".to_owned(), basic, ""),
        (oauth("form"), "Bearer t0ken", "client_secret=s3cret"),
        (oauth("basic"), "Bearer t0ken", basic),
        (oauth("json"), "Bearer t0ken", "\"client_secret\":\"s3cret\""),
    ] {
        let acme = serve(|request| match request.path.as_str() {
            "/token" => Reply::json(&json!({ "access_token": "t0ken", "expires_in": 3600 })),
            _ => Reply::json(&json!({ "data": ids(0..2) })),
        });
        let toml = things_with("", &format!("[config]\nkey = {{ type = \"secret\" }}\n[auth]\n{auth}\n"));
        let (url, token_url) = (acme.url(), format!("{}/token", acme.url()));
        let mut config = vec![("base_url", url.as_str()), ("key", "s3cret")];
        config.extend((!token.is_empty()).then_some(("token_url", token_url.as_str())));
        let mut bench = Bench::new(custom(&toml, |_| {}), &config);
        bench.complete(now()).await;
        let said = |path: &str| {
            let of = acme.requests_on(path).pop()?;
            let header =
                |name: &str| of.header(name).map(|value| format!("{name}={value} ")).unwrap_or_default();
            let query: String = of.query.iter().map(|(name, value)| format!("?{name}={value} ")).collect();
            let body = String::from_utf8_lossy(&of.body).into_owned();
            Some(format!("{}{}{query}{body}", header("authorization"), header("x-key")))
        };
        let got = said("/things").unwrap();
        assert!(got.contains(things) && (!things.is_empty() || got.is_empty()), "{auth}: {got}");
        let asked = said("/token").unwrap_or_default();
        assert!(asked.contains(token) && asked.is_empty() == token.is_empty(), "{auth}: {asked}");
        assert!(token.is_empty() || asked.contains(form) || asked.contains("\"grant_type\""), "{asked}");
    }
}

/// In errors, addresses and notes.
#[tokio::test]
async fn credentials_in_the_query_are_redacted() {
    let acme = serve(|request| {
        assert_eq!(request.param("token"), Some("s3cret/value"));
        Reply::json(&json!({ "message": "bad s3cret/value" })).with_status(422)
    });
    let toml = things("").replace(
        "[[table]]",
        "[config]\nkey = { type = \"secret\" }\n[auth]\nkind = \"query\"\nname = \"token\"\nvalue = \"${config.key}\"\n[[table]]",
    );
    let config = [("base_url", acme.url()), ("key", "s3cret/value".to_owned())];
    let config: Vec<(&str, &str)> = config.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let mut bench = Bench::new(custom(&toml, |_| {}), &config);
    let outcome = bench.run(now()).await;
    let shown = format!("{outcome:?} {:?}", source::test(&bench.account, now()).await);
    assert!(!shown.contains("s3cret") && shown.contains("[redacted]"), "{shown}");
}

pub(super) const FAMILY: &str = "[[table]]\nname = \"groups\"\npath = \"/groups\"\nrecords = [\"data\"]\nkey = [\"id\"]
[[table]]\nname = \"members\"\npath = \"/groups/{group}/members\"\nrecords = [\"data\"]\nkey = [\"group\", \"id\"]
parent = { table = \"groups\", as = { group = \"id\" } }";

/// Their values lead nowhere else however they are spelled; as many at once as allowed; a parent that is not selected
/// is read and not stored.
#[tokio::test]
async fn children_are_read_for_every_parent() {
    let acme = serve(|request| {
        if request.path == "/groups" {
            let ids = ["a/b", "x y", "..", "?q=1", "é", "a/b"];
            let rows: Vec<Value> = ids.iter().map(|id| json!({ "id": id })).collect();
            return Reply::json(&json!({ "data": rows }));
        }
        Reply::json(&json!({ "data": [{ "id": request.path.clone() }] })).late(Duration::from_millis(30))
    });
    let toml = format!("{HEAD}[http]\nconcurrency = 2\n{FAMILY}");
    let mut bench = bench(&toml, &acme);
    bench.only = Some(vec!["members".into()]);
    let outcome = bench.complete(now()).await;
    assert_eq!(
        bench.column("members", "id"),
        [
            "/groups/%3Fq%3D1/members",
            "/groups/%C3%A9/members",
            "/groups/a%2Fb/members",
            "/groups/x%20y/members"
        ]
    );
    assert_eq!(bench.column("members", "group"), ["?q=1", "a/b", "x y", "é"]);
    assert!(!bench.tables.contains_key("groups") && !bench.shapes.contains_key("groups"));
    assert_eq!(acme.most_in_flight(), 2);
    assert!(outcome.notes.iter().any(|note| note.contains("no value to ask by")), "{:?}", outcome.notes);
}

/// The run fails.
#[tokio::test]
async fn a_404_for_every_child_is_a_wrong_path() {
    let acme = serve(|request| match request.path.as_str() {
        "/groups" => Reply::json(&json!({ "data": ids(1..4) })),
        _ => Reply::status(404),
    });
    let mut bench = bench(&format!("{HEAD}{FAMILY}"), &acme);
    assert!(failure(&bench.run(now()).await).contains("check the path"));
}

#[tokio::test]
async fn a_failed_table_stops_only_its_children() {
    let acme = serve(|request| match request.path.as_str() {
        "/groups" => Reply::status(400),
        _ => Reply::json(&json!({ "data": ids(0..3) })),
    });
    let other = "[[table]]\nname = \"things\"\npath = \"/things\"\nrecords = [\"data\"]\nkey = [\"id\"]\n";
    let mut bench = bench(&format!("{HEAD}{FAMILY}\n{other}"), &acme);
    let outcome = bench.run(now()).await;
    failure(&outcome);
    assert_eq!(bench.column("things", "id").len(), 3);
    let end = |table: &str| outcome.tables[table].end;
    assert_eq!((end("groups"), end("members"), end("things")), (End::Failed, End::Failed, End::Complete));
}

#[tokio::test]
async fn a_stop_defers_the_run_and_keeps_what_was_read() {
    let acme = serve(|_| Reply::hang());
    let mut bench = bench(&things(""), &acme);
    let cancel = bench.cancel.clone();
    let stop = async {
        acme.wait_for_requests(1).await;
        cancel.cancel();
    };
    let (outcome, ()) = tokio::join!(bench.run(now()), stop);
    assert_eq!(outcome.run.end, End::Deferred);
}

#[tokio::test]
async fn rows_that_move_in_every_reading_leave_the_run_partial() {
    let mut head = 1_000_u64;
    let acme = serve(move |request| {
        head -= 1;
        let at: u64 = request.param("offset").unwrap().parse().unwrap();
        Reply::json(&json!({ "data": ids(head + at..(head + at + 10).min(1_050)) }))
    });
    let toml = things(
        "page = { kind = \"offset\", at_param = \"offset\", size_param = \"limit\", size = 10 }\ndeletes = \"snapshot\"",
    );
    let mut bench = bench(&toml, &acme);
    let outcome = bench.run(now()).await;
    assert_eq!(outcome.run.end, End::Partial, "{outcome:?}");
    assert!(outcome.run.reason.unwrap().contains("rows shifted"));
    assert!(!bench.finished.contains_key("things"), "nothing is swept");
}

/// Where rows have no key, the run fails soon.
#[tokio::test]
async fn an_ignored_page_parameter_is_named() {
    let acme = serve(|_| Reply::json(&json!({ "data": ids(0..10) })));
    let toml = things("write = \"append\"\npage = { kind = \"page\", at_param = \"pgae\" }")
        .replace("key = [\"id\"]\n", "");
    let reason = failure(&bench(&toml, &acme).run(now()).await);
    assert!(reason.contains("the service ignores pgae"), "{reason}");
    assert_eq!(acme.requests().len(), 8);
}

#[tokio::test]
async fn a_full_refresh_ignores_the_state() {
    let acme =
        serve(|_| Reply::json(&json!({ "data": [{ "id": 1, "at": "2026-04-01T00:00:00Z" }], "next": null })));
    let mut bench = bench(&things(&BY_CURSOR.replace("ORDER", "asc")), &acme);
    bench.complete(now()).await;
    bench.full_refresh = true;
    bench.complete(now()).await;
    let since: Vec<_> = acme.requests().iter().map(|r| r.param("since").unwrap().to_owned()).collect();
    assert_eq!(since, ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"]);
}

/// Beyond 2^53 and with 17 digits.
#[tokio::test]
async fn large_numbers_keep_all_digits() {
    let body = r#"{"data": [{"id": 9007199254740993, "x": 0.12345678901234567, "y": 123456789012345678901234567890}]}"#;
    let acme = serve(move |_| Reply::text("application/json", body));
    let mut bench = bench(&things(""), &acme);
    bench.complete(now()).await;
    let row = bench.rows_of("things")[0];
    let text = |column: &str| row[column].to_text().unwrap().into_owned();
    assert_eq!(text("id"), "9007199254740993");
    assert_eq!(text("x").parse::<f64>(), "0.12345678901234567".parse());
    assert_eq!(text("y"), "123456789012345678901234567890");
}
