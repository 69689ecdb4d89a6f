use serde_json::{Value, json};

use super::propose::{Sample, propose};
use super::*;
use crate::definitions::connector::read_one;

fn proposed(path: &str, body: &Value) -> Proposal {
    propose(&Sample { path, body, link_header: false }).unwrap()
}

fn mark(guess: Option<&Guess>) -> String {
    guess.map_or("none".into(), |guess| format!("{}{}", if guess.sure { "" } else { "? " }, guess.is))
}

/// For answers of every form.
#[test]
fn finds_records_and_keys() {
    let cases = [
        ("/contacts", json!([{ "id": 1 }, { "id": 2 }]), ".", "id"),
        (
            "/contacts",
            json!({ "data": [{ "id": 1, "uid": "a" }, { "id": 2, "uid": "b" }], "errors": [] }),
            "data",
            "id",
        ),
        // A usual name wins over a longer list, a list with rows over an empty one.
        ("/x", json!({ "links": [{ "a": 1 }, { "a": 2 }], "results": [{ "uuid": "u" }] }), "results", "uuid"),
        ("/x", json!({ "results": [], "things": [{ "uuid": "u" }] }), "things", "uuid"),
        ("/x", json!({ "page": { "content": { "rows": [{ "id": 7 }] } } }), "page.content.rows", "id"),
        // Equal values, a null or a fraction: not a key.
        ("/x", json!([{ "id": 1, "code": "a" }, { "id": 1, "code": "b" }]), ".", "? code"),
        ("/x", json!([{ "id": 1, "n": 1.5 }, { "id": null, "n": 2.5 }]), ".", "none"),
        // The table's own id is the key; another table's id is a guess.
        (
            "/v1/orders",
            json!([{ "orderId": 1, "shop_id": 8 }, { "orderId": 2, "shop_id": 9 }]),
            ".",
            "orderId",
        ),
        ("/x", json!([{ "shop_id": 8 }, { "shop_id": 9 }]), ".", "? shop_id"),
        // One row proves only a name that is usual for keys.
        ("/orders", json!([{ "order_id": 1 }]), ".", "? order_id"),
        ("/me", json!({ "id": 1, "name": "x" }), ".", "id"),
        ("/x", json!({ "items": [] }), "items", "none"),
    ];
    for (path, body, records, key) in cases {
        let proposal = proposed(path, &body);
        let found = (proposal.records.is.as_str(), mark(proposal.key.as_ref()));
        assert_eq!(found, (records, key.to_owned()), "{body}");
    }
    let bare = propose(&Sample { path: "/x", body: &json!("no"), link_header: false }).unwrap_err();
    assert!(bare.contains("no records"), "{bare}");
}

/// Certain if the answer or the request shows it, otherwise a guess.
#[test]
fn finds_paging() {
    let three = json!([{ "id": 1 }, { "id": 2 }, { "id": 3 }]);
    let page = |path: &str, beside: Value| {
        let mut body = beside;
        body["data"] = three.clone();
        mark(proposed(path, &body).page.as_ref())
    };
    let cases = [
        ("/x", json!({}), "none"),
        (
            "/x",
            json!({ "links": { "next": "https://a.test/x?page=2" } }),
            r#"{ kind = "link", next = "links.next" }"#,
        ),
        (
            "/x?limit=3",
            json!({ "next": "/x?c=1" }),
            r#"{ kind = "link", next = "next", size_param = "limit", size = 3 }"#,
        ),
        (
            "/x",
            json!({ "_links": { "next": { "href": "/x?p=2" } } }),
            r#"{ kind = "link", next = "_links.next.href" }"#,
        ),
        ("/x", json!({ "_links": { "self": { "href": "/x" } } }), "none"),
        ("/x", json!({ "next": null }), r#"? { kind = "link", next = "next" }"#),
        (
            "/x",
            json!({ "nextPageToken": "abc" }),
            r#"? { kind = "cursor", at_param = "pageToken", next = "nextPageToken" }"#,
        ),
        (
            "/x?cursor=abc",
            json!({ "meta": { "next_cursor": "def" } }),
            r#"{ kind = "cursor", at_param = "cursor", next = "meta.next_cursor" }"#,
        ),
        (
            "/x",
            json!({ "meta": { "next_cursor": null } }),
            r#"? { kind = "cursor", at_param = "cursor", next = "meta.next_cursor" }"#,
        ),
        (
            "/x",
            json!({ "meta": { "totalPages": 9 } }),
            r#"? { kind = "page", at_param = "page", pages = "meta.totalPages" }"#,
        ),
        (
            "/x?page=0&per_page=3",
            json!({ "total_pages": 9 }),
            r#"{ kind = "page", at_param = "page", first = 0, size_param = "per_page", size = 3, pages = "total_pages" }"#,
        ),
        (
            "/x?offset=0&limit=3",
            json!({ "total": 10 }),
            r#"{ kind = "offset", at_param = "offset", size_param = "limit", size = 3, total = "total" }"#,
        ),
        ("/x", json!({ "total": 10 }), r#"? { kind = "offset", at_param = "offset", total = "total" }"#),
        // A number equal to the rows on this page may count only this page, and would end the reading here.
        ("/x?page=1", json!({ "count": 3 }), r#"{ kind = "page", at_param = "page" }"#),
        (
            "/x",
            json!({ "has_more": true }),
            r#"? { kind = "keyset", at_param = "starting_after", field = "id" }"#,
        ),
        ("/x", json!({ "has_more": false }), "none"),
        // A name with a dot cannot be written as a path.
        ("/x", json!({ "@odata.nextLink": "https://a.test/x?s=1" }), "none"),
    ];
    for (path, beside, want) in cases {
        assert_eq!(page(path, beside.clone()), want, "{path} {beside}");
    }
    let header = propose(&Sample { path: "/x", body: &three, link_header: true }).unwrap();
    assert_eq!(mark(header.page.as_ref()), r#"{ kind = "link", header = "link" }"#);
}

/// Paging parameters are removed from the query.
#[test]
fn keeps_the_query() {
    let proposal = proposed("/v1/x?sort=a%20b&page=2&per_page=5", &json!([{ "id": 1 }]));
    assert_eq!(
        (proposal.path.as_str(), proposal.params),
        ("/v1/x", vec![("sort".to_owned(), "a b".to_owned())])
    );
    let alone = proposed("/x?limit=5", &json!([{ "id": 1 }]));
    assert_eq!(
        alone.params,
        [("limit".to_owned(), "5".to_owned())],
        "without paging it belongs to the request"
    );
}

/// A column gets a rule if its values are not enough, and a guess if they may mean more.
#[test]
fn finds_columns() {
    let rows = json!([
        { "id": 1, "at": "2026-01-01T00:00:00Z", "day": "2026-01-01", "naive": "2026-01-01T10:00:00", "price": "1.50",
          "zip": "01067", "made_at": 1_767_225_600, "seen_time": 1_767_225_600_123_i64, "n": 1, "on": true, "big": 18_446_744_073_709_551_615_u64,
          "deep": { "er": null, "est": [1] }, "user-data": 1, "user.data": 2, "updatedAt": "2026-01-01T00:00:00+01:00" },
        { "id": 2, "n": 1.5, "on": null, "price": "2", "at": null },
    ]);
    let proposal = proposed("/x", &rows);
    let line = |field: &propose::ProposedField| {
        format!("{}: {} | {}", field.source, field.seen, mark(field.rule.as_ref()))
    };
    insta::assert_snapshot!(proposal.columns.iter().map(line).collect::<Vec<_>>().join("\n"), @r#"
    at: text, some null | { type = "timestamp" }
    big: decimal | none
    day: text | { type = "date" }
    deep.er: only nulls | none
    deep.est: json | none
    id: bigint | none
    made_at: bigint | ? { type = "epoch" }
    n: double | none
    naive: text | ? { type = "timestamp" }
    on: boolean, some null | none
    price: text | ? { type = "decimal" }
    seen_time: bigint | ? { type = "epoch_ms" }
    updatedAt: text | { type = "timestamp" }
    user-data: bigint | none
    user.data: bigint | { name = "user_data_2" }
    zip: text | none
    "#);
    assert_eq!(mark(proposal.deleted_if.as_ref()), "none");
    let deletions = json!([{ "id": 1, "deleted": 0, "isDeleted": false }, { "id": 2, "isDeleted": null }]);
    assert_eq!(mark(proposed("/x", &deletions).deleted_if.as_ref()), r#"? "isDeleted""#);
    insta::assert_snapshot!(mark(proposal.cursor.as_ref()), @r#"? { field = "updatedAt", param = "updated_since", lookback = "1h", order = "unknown" }"#);
}

/// Whatever names the API uses.
#[test]
fn the_generated_definition_is_valid() {
    let awkward = json!({ "da\"ta": [{ "i\nd": 1, "{x}": "2026-01-01", "": 1, "é": [], "_fivetran_x": 1 }, { "i\nd": 2 }] });
    let plain = json!({ "data": [{ "id": 1, "at": "2026-01-01T00:00:00Z" }, { "id": 2 }], "links": { "next": "/x?{a}" } });
    for login in [
        Login::Bearer,
        Login::Header("X-Api-\"Key\"".into()),
        Login::Query("token".into()),
        Login::Basic,
        Login::None,
    ] {
        let seen =
            [("/x/{y}?a={b}", &awkward), ("/v1/items?page=1", &plain), ("/", &plain), ("/2/3", &awkward)];
        let proposals = seen.map(|(path, body)| Some(proposed(path, body)));
        for proposal in proposals.iter().map(Option::as_ref).chain([None]) {
            let text = text("acme", "https://api.acme.test/{v}", &login, proposal);
            let read = read_one("acme.toml", &text, &Default::default());
            let definition = read.unwrap_or_else(|errors| panic!("{errors:#?}\n{text}"));
            assert_eq!(definition.base_url.to_string(), "https://api.acme.test/{v}", "{text}");
            assert_eq!(definition.tables.len(), 1);
        }
    }
}

/// Other fields are renamed, and no name is used twice.
#[test]
fn the_key_keeps_its_name() {
    let renamed = |rows: Value| -> Vec<String> {
        let proposal = proposed("/x", &rows);
        assert_eq!(mark(proposal.key.as_ref()), "id");
        let rules = proposal.columns.iter().filter(|field| field.rule.is_some());
        rules.map(|field| format!("{} {}", field.source, mark(field.rule.as_ref()))).collect()
    };
    for rows in [
        json!([{ "id": 1, "ID": 3 }, { "id": 2, "ID": 3 }]),
        json!([{ "ID": 3, "id": 1 }, { "ID": 3, "id": 2 }]),
    ] {
        assert_eq!(renamed(rows), [r#"ID { name = "id_2" }"#]);
    }
    assert_eq!(
        renamed(json!([{ "id": 1, "user_id": 1, "userId": 2, "userID": 3, "user_id_2": 4 }])),
        [r#"userId { name = "user_id_3" }"#, r#"user_id { name = "user_id_4" }"#]
    );
}

/// A paging rule is an active line if the answer says that there are more rows.
#[test]
fn a_paging_rule_is_written_if_there_are_more_rows() {
    let three = json!([{ "id": 1 }, { "id": 2 }, { "id": 3 }]);
    let cursor =
        |next: &str| format!("page    = {{ kind = \"cursor\", at_param = \"page\", next = {next:?} }}");
    for (path, beside, more, line) in [
        (
            "/x",
            json!({ "meta": { "total": 123, "next_page": 2 } }),
            "meta.total is 123, and this page has 3",
            cursor("meta.next_page"),
        ),
        ("/x?page=1", json!({ "next_page": 2 }), "next_page is 2", cursor("next_page")),
        (
            "/x",
            json!({ "total": 10 }),
            "total is 10, and this page has 3",
            "page    = { kind = \"offset\"".into(),
        ),
        ("/x", json!({ "has_more": true }), "has_more is true", "page    = { kind = \"keyset\"".into()),
        ("/x", json!({ "total": 3, "next": null }), "", "# page    = { kind = \"link\"".into()),
    ] {
        let mut body = beside;
        body["data"] = three.clone();
        let proposal = proposed(path, &body);
        assert_eq!(proposal.more.clone().unwrap_or_default(), more);
        let text = text("acme", "https://api.acme.test", &Login::None, Some(&proposal));
        assert!(text.lines().any(|written| written.starts_with(&line)), "{line}:\n{text}");
    }
}

#[test]
fn parses_authentication_methods() {
    let read = |text: &str| text.parse::<Login>();
    assert_eq!(read("header:X-Key"), Ok(Login::Header("X-Key".into())));
    assert_eq!(read("query:token"), Ok(Login::Query("token".into())));
    assert_eq!(read("none"), Ok(Login::None));
    for wrong in ["", "header", "header:", "oauth", "none:x"] {
        assert!(read(wrong).unwrap_err().contains("bearer, header:NAME"), "{wrong}");
    }
}
