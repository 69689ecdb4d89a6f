//! The meaning of responses, with and without rules of a definition; and the cost of one invalid byte.

use std::io::Write;

use data_sources_monitor::testing::domain::syncing::op::End;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::rules::{FAMILY, HEAD, bench, failure, ids, now, things, things_with};
use stand_ins::Reply;
use stand_ins::made_up::serve;

const BY_PAGE: &str = "page = { kind = \"page\", at_param = \"page\" }";

/// On the second response of a run.
#[tokio::test]
async fn each_meaning_of_a_rule_has_its_effect() {
    let odd = json!({ "code": "E7", "again_in_ms": 5, "data": [{ "id": 9 }], "done": true, "nothing": null });
    for (rule, status, body, end, rows, requests) in [
        ("status = 400, equals = { code = \"E7\" }, then = \"empty\"", 400, &odd, End::Complete, 2, 2),
        ("status = \"4xx\", then = \"end\"", 418, &odd, End::Complete, 2, 2),
        ("equals = { done = true }, then = \"end\"", 200, &odd, End::Complete, 3, 2),
        ("status = 400, has = \"code\", then = \"retry\"", 400, &odd, End::Complete, 4, 4),
        (
            "status = [400, 503], then = \"limited\", wait = { path = \"again_in_ms\", unit = \"ms\" }",
            400,
            &odd,
            End::Complete,
            4,
            4,
        ),
        ("null = \"nothing\", then = \"fail\"", 200, &odd, End::Failed, 2, 2),
        ("absent = \"other\", status = 200, has = \"code\", then = \"fail\"", 200, &odd, End::Failed, 2, 2),
        ("header = \"x-odd\", then = \"fail\"", 200, &odd, End::Failed, 2, 2),
        ("header = { X-Odd = \"YES\" }, then = \"retry\"", 200, &odd, End::Complete, 4, 4),
        ("header = { X-Odd = \"no\" }, then = \"fail\"", 200, &odd, End::Complete, 3, 3),
    ] {
        let reply = Reply::json(body).with_status(status).header("x-odd", "yes");
        let acme = serve(|request| {
            let page: u64 = request.param("page").unwrap().parse().unwrap();
            Reply::json(&json!({ "data": if page < 3 { ids(2 * page..2 * page + 2) } else { Vec::new() } }))
        });
        acme.next_on("", Reply::usual());
        acme.next_on("", reply);
        let toml = things_with(BY_PAGE, &format!("[http]\nrules = [{{ {rule} }}]\n"));
        let mut bench = bench(&toml, &acme);
        let outcome = bench.run(now()).await;
        let stored = bench.column("things", "id").len();
        let got = (outcome.run.end, stored, acme.requests().len());
        assert_eq!(got, (end, rows, requests), "{rule}: {outcome:?}");
        if end == End::Failed {
            assert!(outcome.run.reason.unwrap().contains(&status.to_string()), "{rule}");
        }
    }
}

/// A table's rules come before those of the connector.
#[tokio::test]
async fn a_rule_can_match_an_empty_body() {
    let acme = serve(|_| Reply::text("application/json", " "));
    let toml = things_with(
        "rules = [{ status = 200, empty_body = true, then = \"empty\" }]",
        "[http]\nrules = [{ empty_body = true, then = \"fail\" }]\n",
    );
    bench(&toml, &acme).complete(now()).await;
    assert_eq!(acme.requests().len(), 1);
}

/// For a service that reports an expired token within a 200.
#[tokio::test]
async fn a_rule_can_renew_the_token() {
    let mut minted = 0;
    let acme = serve(move |request| match request.path.as_str() {
        "/token" => {
            minted += 1;
            Reply::json(&json!({ "access_token": format!("t{minted}"), "expires_in": 3600 }))
        }
        _ if request.header("authorization") == Some("Bearer t1") => {
            Reply::json(&json!({ "error": { "code": "TOKEN_EXPIRED" } }))
        }
        _ => Reply::json(&json!({ "data": ids(0..2) })),
    });
    let auth = "[auth]\nkind = \"oauth2\"\ntoken_url = \"https://acme.test/token\"\nclient_id = \"me\"\nclient_secret = \"s3cret-words\"\nmint_gap = \"0s\"\n";
    let rule = "[http]\nrules = [{ equals = { \"error.code\" = \"TOKEN_EXPIRED\" }, then = \"renew\" }]\n";
    let toml = things_with("", &format!("{auth}{rule}"));
    let (url, token_url) = (acme.url(), format!("{}/token", acme.url()));
    let config = [("base_url", url.as_str()), ("token_url", token_url.as_str())];
    let mut bench = super::Bench::new(super::custom(&toml, |_| {}), &config);
    bench.complete(now()).await;
    assert_eq!((bench.column("things", "id").len(), acme.requests_on("/token").len()), (2, 2));
}

/// Or with an exhausted quota; a plain one is permanent.
#[tokio::test]
async fn a_rejection_with_retry_after_is_a_rate_limit() {
    let quota = "[http]\nquota = { remaining = \"x-left\", reset = \"x-reset\" }\nretry = { budget = \"30s\", base = \"1ms\" }\n";
    for (status, headers, before, end) in [
        (403, &[("x-left", "0"), ("x-reset", "1")][..], quota, End::Complete),
        (403, &[("x-left", "0"), ("x-reset", "3600")], quota, End::Deferred),
        (403, &[("x-left", "5"), ("x-reset", "3600")], quota, End::Failed),
        (403, &[("retry-after", "0.2")], "", End::Complete),
        (420, &[("retry-after", "0")], "", End::Complete),
        (400, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1")], "", End::Complete),
        (429, &[("retry-after", "0.2"), ("x-left", "5"), ("x-reset", "3600")], quota, End::Complete),
        (429, &[("x-reset", "3600")], quota, End::Deferred),
        (403, &[], quota, End::Failed),
    ] {
        let acme = serve(|_| Reply::json(&json!({ "data": ids(0..2) })));
        let reply =
            headers.iter().fold(Reply::status(status), |reply, (name, value)| reply.header(name, value));
        acme.next_on("", reply);
        let outcome = bench(&things_with("", before), &acme).run(now()).await;
        assert_eq!(outcome.run.end, end, "{status} {headers:?}: {outcome:?}");
    }
}

/// Unless the response or the definition says otherwise.
#[tokio::test]
async fn null_in_place_of_the_list_means_no_rows() {
    for (body, more, words) in [
        (json!({ "data": null }), "", ""),
        (json!({ "data": null, "total": 0 }), "", ""),
        (json!({ "data": null, "rows": [{ "id": 1 }] }), "records = [\"data\", \"rows\"]", ""),
        (json!({ "data": null, "total": 3 }), "", "\"total\" states 3 rows"),
        (json!({ "data": null, "error": "overloaded" }), "", "the answer has \"error\""),
        (json!({ "data": null, "total": 3 }), "null_is_empty = true", ""),
        (json!({ "data": null }), "null_is_empty = false", "null at \"data\""),
        (json!({ "error": "x" }), "", "no records at data"),
    ] {
        let reply = Reply::json(&body);
        let acme = serve(move |_| reply.clone());
        let toml = match more.strip_prefix("records") {
            Some(rest) => things("").replace("records = [\"data\"]", &format!("records{rest}")),
            None => things(more),
        };
        let mut bench = bench(&toml, &acme);
        let outcome = bench.run(now()).await;
        match words {
            "" => assert_eq!(outcome.run.end, End::Complete, "{body} {more}: {outcome:?}"),
            words => {
                let reason = failure(&outcome);
                assert!(reason.contains(words), "{body} {more}: {reason}");
            }
        }
    }
    let acme = serve(|request| match request.path.as_str() {
        "/groups" => Reply::json(&json!({ "data": ids(1..4) })),
        "/groups/2/members" => Reply::json(&json!({ "data": null })),
        _ => Reply::json(&json!({ "data": [{ "id": 1 }] })),
    });
    let mut bench = bench(&format!("{HEAD}{FAMILY}"), &acme);
    bench.complete(now()).await;
    assert_eq!(bench.column("members", "group"), ["1", "3"]);
}

/// 204 and 205 without a body.
#[tokio::test]
async fn no_content_is_an_empty_page() {
    for status in [204, 205] {
        let acme = serve(|_| Reply::json(&json!({ "data": ids(0..2) })));
        acme.next_on("", Reply::usual());
        acme.next_on("", Reply::status(status));
        let mut bench = bench(&things(BY_PAGE), &acme);
        bench.complete(now()).await;
        assert_eq!((bench.column("things", "id").len(), acme.requests().len()), (2, 2));
    }
}

fn gzip(text: &str) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::fast());
    out.write_all(text.as_bytes()).unwrap();
    out.finish().unwrap()
}

/// Several gzip members are read to their end; an encoding that was not requested fails without retries.
#[tokio::test]
async fn gzip_is_decoded_and_other_encodings_are_named() {
    let (one, two) = (gzip("{\"data\":["), gzip("{\"id\":1}]}"));
    let whole = gzip("{\"data\":[{\"id\":1}]}");
    for (encoding, body, words) in [
        ("gzip", [one.clone(), two.clone()].concat(), ""),
        ("gzip", [gzip(""), one, two].concat(), ""),
        ("x-gzip", whole.clone(), ""),
        ("br", whole.clone(), "encoded as \"br\", which was not requested"),
        ("gzip", b"{\"data\":[]}".to_vec(), "is not gzip"),
    ] {
        let reply = Reply::bytes("application/json", body).header("content-encoding", encoding);
        let acme = serve(move |_| reply.clone());
        let mut bench = bench(&things(""), &acme);
        let outcome = bench.run(now()).await;
        match words {
            "" => assert_eq!(bench.column("things", "id"), ["1"], "{encoding}: {outcome:?}"),
            words => {
                let reason = failure(&outcome);
                assert!(reason.contains(words), "{reason}");
                assert_eq!(acme.requests().len(), 1, "{words}");
            }
        }
    }
}

/// An invalid byte costs a character and is reported.
#[tokio::test]
async fn a_body_in_another_charset_is_read() {
    for (kind, body, want, notes) in [
        ("application/json; charset=iso-8859-1", &b"{\"data\":[{\"id\":\"caf\xe9\"}]}"[..], "café", 0),
        ("application/json; charset=utf-16le", b"[\0{\0\"\0i\0d\0\"\0:\0\"\0a\0\"\0}\0]\0", "a", 0),
        ("application/json", b"{\"data\":[{\"id\":\"caf\xe9\"}]}", "caf\u{fffd}", 1),
        ("application/json", br#"{"data":[{"id":"a\ud83d","\ud83dx":1}],"\ud83d":2}"#, "a\u{fffd}", 1),
    ] {
        let reply = Reply::bytes(kind, body.to_vec());
        let acme = serve(move |_| reply.clone());
        let toml = things("").replace("records = [\"data\"]", "records = [\"data\", \".\"]");
        let mut bench = bench(&toml, &acme);
        let outcome = bench.complete(now()).await;
        assert_eq!(bench.column("things", "id"), [want], "{kind}");
        assert_eq!(outcome.notes.len(), notes, "{:?}", outcome.notes);
    }
}

/// `NaN` and the like reject the row that holds them; a document that is invalid in another way fails without
/// retries.
#[tokio::test]
async fn invalid_json_costs_a_row_where_possible() {
    let body = r#"{"data":[{"id":1,"x":NaN},{"id":2,"x":1.5},{"id":3,"y":{"z":[-Infinity]}},{"id":4,"x":"NaN"}],"n":NaN}"#;
    let acme = serve(move |_| Reply::text("application/json", body));
    let mut bench_ = bench(&things("columns = { y = { type = \"json\" } }"), &acme);
    bench_.complete(now()).await;
    assert_eq!(bench_.column("things", "id"), ["2", "4"]);
    assert_eq!(
        bench_.rejected,
        ["x has NaN, which is not a number in JSON", "y has -Infinity, which is not a number in JSON"]
    );
    let acme = serve(|_| Reply::text("application/json", r#"{"data":[{"id":1},{"id":2,}]}"#));
    let reason = failure(&bench(&things(""), &acme).run(now()).await);
    assert!(reason.contains("not JSON") && acme.requests().len() == 1, "{reason}");
}

/// Signs of numbers keep columns apart; empty texts in typed columns are NULL and widen nothing.
#[tokio::test]
async fn signs_in_names_and_empty_texts_keep_their_columns() {
    let rows: Value = json!([
        { "id": 1, "reactions": { "+1": 3, "-1": 4 }, "at": "2026-05-02T09:00:00Z", "n": "7" },
        { "id": 2, "reactions": {}, "at": "", "n": "" },
        { "id": 3, "at": "0000-00-00 00:00:00" },
    ]);
    let acme = serve(move |_| Reply::json(&json!({ "data": rows })));
    let toml = things("columns = { at = { type = \"timestamp\" }, n = { type = \"bigint\" } }");
    let mut bench = bench(&toml, &acme);
    bench.complete(now()).await;
    assert_eq!(bench.column("things", "reactions_plus_1"), ["", "", "3"]);
    assert_eq!(bench.column("things", "reactions_minus_1"), ["", "", "4"]);
    assert_eq!(bench.column("things", "at"), ["", "", "2026-05-02 09:00:00"]);
    let kinds: Vec<String> =
        bench.shapes["things"].columns.iter().map(|c| format!("{} {:?}", c.name, c.kind)).collect();
    assert!(
        kinds.contains(&"at Timestamp".to_owned()) && kinds.contains(&"n Bigint".to_owned()),
        "{kinds:?}"
    );
}

#[tokio::test]
async fn an_empty_notice_is_not_reported() {
    for (value, notes) in [
        (json!([]), 0),
        (json!(null), 0),
        (json!({}), 0),
        (json!(0), 0),
        (json!(""), 0),
        (json!(false), 0),
        (json!("v1 ends"), 1),
    ] {
        let reply = Reply::json(&json!({ "data": [], "notice": value }));
        let acme = serve(move |_| reply.clone());
        let outcome =
            bench(&things_with("", "[http]\nnotices = [\"notice\"]\n"), &acme).complete(now()).await;
        assert_eq!(outcome.notes.len(), notes, "{:?}", outcome.notes);
    }
}

#[tokio::test]
async fn the_documented_rules_work() {
    let page = include_str!("../../../../docs/connectors.md");
    let toml = page.split("## What a response means").nth(1).unwrap();
    let toml = toml.split("```toml").nth(1).unwrap().split("```").next().unwrap();
    let toml = toml.replace("name     = \"tickets\"", "name = \"acme\"");
    let range = json!({ "reason": "page_out_of_range" });
    for (odd, end, rows) in [
        (Reply::json(&json!({ "error": { "code": "BUSY", "retry_ms": 3 } })), End::Complete, 4),
        (Reply::json(&json!({ "error": { "code": "E1" } })), End::Failed, 2),
        (Reply::status(404).header("x-gateway-error", "restarting"), End::Complete, 4),
        // Without the header it is the response after the last numbered page.
        (Reply::status(404), End::Complete, 2),
        (Reply::json(&range).with_status(400), End::Complete, 2),
        (Reply::status(200), End::Complete, 2),
    ] {
        let acme = serve(|request| {
            let page: u64 = request.param("page").unwrap().parse().unwrap();
            Reply::json(
                &json!({ "tickets": if page < 3 { ids(2 * page..2 * page + 2) } else { Vec::new() } }),
            )
        });
        acme.next_on("", Reply::usual());
        acme.next_on("", odd);
        let mut bench = bench(&toml, &acme);
        let outcome = bench.run(now()).await;
        assert_eq!((outcome.run.end, bench.column("tickets", "id").len()), (end, rows), "{outcome:?}");
    }
}
