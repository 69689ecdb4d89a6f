//! What goes back to a source has the type and spelling of the definition and of the source, and is sent once.

use data_sources_monitor::testing::domain::syncing::cell::Cell;
use serde_json::{Value, json};

use super::rules::{HEAD, bench, failure, now, things, things_with};
use stand_ins::made_up::serve;
use stand_ins::{Reply, Request, StandIn};

fn bodies(requests: &[Request]) -> Vec<Value> {
    requests.iter().map(|request| serde_json::from_slice(&request.body).unwrap()).collect()
}

#[tokio::test]
async fn members_of_a_body_keep_their_types() {
    let config =
        "[config]\nmin = { type = \"integer\", default = 3 }\non = { type = \"boolean\", default = false }
of = { type = \"list\", default = [\"a\", \"b\"] }\nname = { type = \"string\", default = \"7\" }\n";
    for (body, want) in [
        ("{ closed = false, min = 3, ratio = 1.5 }", json!({ "closed": false, "min": 3, "ratio": 1.5 })),
        (
            "{ min = \"${config.min}\", on = \"${config.on}\", of = \"${config.of}\", name = \"${config.name}\" }",
            json!({ "min": 3, "on": false, "of": ["a", "b"], "name": "7" }),
        ),
        ("{ min = \"at least ${config.min}\" }", json!({ "min": "at least 3" })),
        (
            "{ fields = [\"a\", 1], filter = { state = \"open\", day = 2026-05-02 } }",
            json!({ "fields": ["a", 1], "filter": { "state": "open", "day": "2026-05-02" } }),
        ),
    ] {
        let acme = serve(|_| Reply::json(&json!({ "data": [{ "id": 1 }] })));
        let toml = things_with(&format!("method = \"POST\"\nbody = {body}"), config);
        bench(&toml, &acme).complete(now()).await;
        assert_eq!(bodies(&acme.requests()), [want]);
    }
}

/// A text of digits stays a text, a number a number, an object an object.
#[tokio::test]
async fn tokens_in_a_body_keep_their_types() {
    for token in [json!("123"), json!(123), json!("007")] {
        let given = token.clone();
        let acme = serve(move |request| {
            let first = request.json().unwrap().get("after").is_none();
            let next = if first { given.clone() } else { Value::Null };
            Reply::json(&json!({ "data": [{ "id": i32::from(first) }], "next": next }))
        });
        let page = "page = { kind = \"cursor\", at_param = \"after\", next = \"next\", size_param = \"n\", size = 5 }";
        bench(&things(&format!("method = \"POST\"\n{page}")), &acme).complete(now()).await;
        assert_eq!(bodies(&acme.requests())[1], json!({ "after": token, "n": 5 }));
    }
}

/// And their spelling.
#[tokio::test]
async fn cursors_in_a_body_keep_their_types() {
    for (value, format) in [
        (json!("0042"), "plain"),
        (json!(42), "plain"),
        (json!("2026-05-02T01:00:00+02:00"), "plain"),
        (json!(1_777_676_400), "epoch"),
    ] {
        let row = value.clone();
        let acme = serve(move |_| Reply::json(&json!({ "data": [{ "id": 1, "changed": row }] })));
        let cursor = format!("cursor = {{ field = \"changed\", param = \"since\", format = \"{format}\" }}");
        let mut bench = bench(&things(&format!("method = \"POST\"\n{cursor}")), &acme);
        bench.complete(now()).await;
        bench.complete(now()).await;
        assert_eq!(bodies(&acme.requests())[1], json!({ "since": value }), "{format}");
    }
}

fn requests_of(acme: &StandIn<stand_ins::made_up::MadeUp>) -> Vec<String> {
    let shown = |request: &Request| {
        let query: Vec<String> =
            request.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let body = String::from_utf8_lossy(&request.body).into_owned();
        format!("{} {}?{} {body}", request.method, request.path, query.join("&"))
    };
    acme.requests().iter().map(shown).collect()
}

/// Method, body and the other parameters, each once.
#[tokio::test]
async fn links_and_redirects_keep_the_rest_of_the_request() {
    for (status, more, page, want) in [
        (
            307,
            "method = \"POST\"\nparams = { v = \"2\" }\nbody = { state = \"open\" }",
            "next = \"next\"",
            [
                "POST /things?v=2 {\"state\":\"open\"}",
                "POST /moved?v=2 {\"state\":\"open\"}",
                "POST /things?skip=1&v=2 {\"state\":\"open\"}",
                "POST /moved?skip=1&v=2 {\"state\":\"open\"}",
            ],
        ),
        (
            308,
            "params = { v = \"2\", sort = \"a b\" }",
            "header = \"link\"",
            [
                "GET /things?sort=a b&v=2 ",
                "GET /moved?sort=a b&v=2 ",
                "GET /things?skip=1&sort=a b&v=2 ",
                "GET /moved?skip=1&sort=a b&v=2 ",
            ],
        ),
    ] {
        let acme = serve(move |request| match (request.path.as_str(), request.param("skip")) {
            ("/things", None) => Reply::redirect(status, "/moved"),
            ("/things", Some(_)) => Reply::redirect(status, "/moved?skip=1"),
            (_, None) => Reply::json(&json!({ "data": [{ "id": 1 }], "next": "/things?skip=1" }))
                .header("link", "</things?skip=1>; rel=\"next\""),
            _ => Reply::json(&json!({ "data": [{ "id": 2 }] })),
        });
        let mut bench = bench(&things(&format!("{more}\npage = {{ kind = \"link\", {page} }}")), &acme);
        bench.complete(now()).await;
        assert_eq!(bench.column("things", "id"), ["1", "2"]);
        assert_eq!(requests_of(&acme), want);
    }
}

/// At the cost of one request in total, not one for each page.
#[tokio::test]
async fn a_link_that_rejects_added_parameters_is_followed_unchanged() {
    let acme = serve(|request| {
        let page: u32 = request.param("page_info").and_then(|page| page.parse().ok()).unwrap_or(1);
        if page > 1 && request.query.len() > 1 {
            return Reply::json(&json!({ "error": "only page_info" })).with_status(400);
        }
        let reply = Reply::json(&json!({ "data": [{ "id": page }] }));
        if page < 4 {
            reply.header("link", &format!("</things?page_info={}>; rel=\"next\"", page + 1))
        } else {
            reply
        }
    });
    let toml = things("params = { status = \"any\" }\npage = { kind = \"link\", header = \"link\" }");
    let mut bench = bench(&toml, &acme);
    bench.complete(now()).await;
    assert_eq!((bench.column("things", "id").len(), acme.requests().len()), (4, 5));
}

/// A 302 after a POST fails the run.
#[tokio::test]
async fn a_redirect_that_loses_the_body_is_refused() {
    let acme = serve(|_| Reply::redirect(302, "/v2/things"));
    let reason = failure(&bench(&things("method = \"POST\""), &acme).run(now()).await);
    assert!(reason.contains("302") && reason.contains("/v2/things"), "{reason}");
}

/// The definition's headers replace ours, pagination parameters those of the table, credentials those that a link
/// repeats.
#[tokio::test]
async fn each_parameter_and_header_is_sent_once() {
    let acme = serve(|request| {
        let first = request.param("page").is_none();
        let next = if first { json!("/things?page=2&key=s3cret-key&limit=5") } else { Value::Null };
        Reply::json(&json!({ "data": [{ "id": i32::from(first) }], "next": next }))
    });
    let before = "[auth]\nkind = \"query\"\nname = \"key\"\nvalue = \"s3cret-key\"\n[http]
headers = { Accept = \"application/vnd.acme+json\", User-Agent = \"acme\", Content-Type = \"application/vnd.acme+json\" }\n";
    for method in ["GET", "POST"] {
        let more = format!(
            "method = \"{method}\"\nparams = {{ limit = \"9\" }}\npage = {{ kind = \"link\", next = \"next\", size_param = \"limit\", size = 5 }}"
        );
        let seen = acme.requests().len();
        bench(&things_with(&more, before), &acme).complete(now()).await;
        let requests = acme.requests().split_off(seen);
        assert_eq!(requests.len(), 2);
        for request in requests {
            for name in ["key", "limit"] {
                let count = request.query.iter().filter(|(other, _)| other == name).count();
                assert_eq!(count, 1, "{name} in {request}");
            }
            for (name, value) in [("accept", "application/vnd.acme+json"), ("user-agent", "acme")] {
                assert_eq!(request.header(name), Some(value), "{request}");
            }
            let kind = request.header("content-type");
            assert!(method == "GET" || kind == Some("application/vnd.acme+json"), "{kind:?}");
        }
    }
}

type Form = fn(u32) -> Value;

/// Not that of the stored cell.
#[tokio::test]
async fn keyset_bounds_have_the_sources_spelling() {
    let forms: [(&str, Form); 3] = [
        ("{ type = \"timestamp\" }", |id| json!(format!("2026-05-02T0{id}:00:00.250+02:00"))),
        ("{ type = \"epoch\" }", |id| json!(1_777_705_200 + id)),
        ("{ type = \"text\" }", |id| json!(f64::from(id) + 0.5)),
    ];
    for (kind, form) in forms {
        let acme = serve(move |request| {
            let asked = request.param("after").map(str::to_owned);
            let rows = (1..8).map(|id| json!({ "id": id, "created": form(id) }));
            let text = |row: &Value| {
                row["created"].as_str().map_or_else(|| row["created"].to_string(), str::to_owned)
            };
            let left = rows.filter(|row| asked.as_ref().is_none_or(|after| text(row) > *after));
            Reply::json(&json!({ "data": left.take(2).collect::<Vec<_>>() }))
        });
        let page = "page = { kind = \"keyset\", at_param = \"after\", field = \"created\", size_param = \"limit\", size = 2 }";
        let mut bench = bench(&things(&format!("{page}\ncolumns = {{ created = {kind} }}")), &acme);
        bench.complete(now()).await;
        assert_eq!(bench.column("things", "id").len(), 7, "{kind}: {}", acme.dump());
    }
}

const FAMILY: &str = "[[table]]\nname = \"groups\"\npath = \"/groups\"\nrecords = [\"data\"]\nkey = [\"id\"]
columns = { at = { type = \"timestamp\" } }
[[table]]\nname = \"members\"\npath = \"/groups/{at}/members\"\nmethod = \"POST\"\nbody = { of = \"{group}\", text = \"{at}\" }
records = [\"data\"]\nkey = [\"group\", \"id\"]\nparent = { table = \"groups\", as = { group = \"id\", at = \"at\" } }
[[table]]\nname = \"notes\"\npath = \"/members/{at}/{id}/notes\"\nrecords = [\"data\"]\nkey = [\"at\", \"id\", \"n\"]
parent = { table = \"members\", as = { at = \"at\", id = \"id\" } }";

/// In paths, and with their types in bodies, also for children of children; the stored values are cells.
#[tokio::test]
async fn child_requests_use_the_sources_spelling() {
    let acme = serve(|request| {
        Reply::json(&match request.path.as_str() {
            "/groups" => json!({ "data": [{ "id": 7, "at": "2026-05-02T01:00:00+02:00" }] }),
            path if path.ends_with("/notes") => json!({ "data": [{ "n": 1 }] }),
            _ => json!({ "data": [{ "id": "a" }] }),
        })
    });
    let mut bench = bench(&format!("{HEAD}{FAMILY}"), &acme);
    bench.complete(now()).await;
    let requests = acme.requests();
    let paths: Vec<&str> = requests.iter().map(|request| request.path.as_str()).collect();
    let at = "2026-05-02T01%3A00%3A00%2B02%3A00";
    assert_eq!(paths, ["/groups", &format!("/groups/{at}/members"), &format!("/members/{at}/a/notes")]);
    assert_eq!(bodies(&requests[1..2]), [json!({ "of": 7, "text": "2026-05-02T01:00:00+02:00" })]);
    let stored = Cell::Timestamp("2026-05-01T23:00:00Z".parse().unwrap());
    assert_eq!(bench.rows_of("notes")[0]["at"], stored);
}
