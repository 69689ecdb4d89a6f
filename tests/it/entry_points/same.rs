//! The same cases through `sync` into SQLite, the stdin protocol and gRPC: the same tables, at first and when
//! resuming. A new rule of the engine or of an entry point is a case here.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use data_sources_monitor::testing::definitions::connector::read_one;
use data_sources_monitor::testing::domain::syncing::definition::connector::Definition;
use jiff::ToSpan;
use serde_json::{Value, json};

use super::tables::{EntryPoints, Tables};
use crate::postgres::cluster;
use crate::processes::binary::output;
use crate::syncing::contract::server_rows;
use crate::syncing::engine::{built_in, model, quick};
use stand_ins::library::{self, Library};
use stand_ins::made_up::{MadeUp, serve};
use stand_ins::people_ai::{self, PeopleAi};
use stand_ins::sensource::{self, SenSource};
use stand_ins::statuscake::{self, Sizes, StatusCake};
use stand_ins::{Clock, Reply, StandIn};

/// The worked example of docs/connectors.md, as its readers copy it.
fn worked_example() -> Definition {
    let page = include_str!("../../../docs/connectors.md");
    let toml = page.split("## A worked example").nth(1).unwrap();
    let toml = toml.split("```toml").nth(1).unwrap().split("```").next().unwrap();
    quick(read_one("docs/connectors.md", toml, &Default::default()).unwrap(), |_| {})
}

fn count(tables: &Tables, table: &str) -> usize {
    tables.get(table).map_or(0, |rows| rows.len())
}

/// It reads everything as the document says, and then what is new, changed and gone.
#[tokio::test]
async fn the_worked_example_is_the_same_everywhere() {
    let library = Library::open();
    let config = [("api_key", library::API_KEY.to_owned()), ("base_url", format!("{}/v1", library.url()))];
    let mut fronts = EntryPoints::of(worked_example(), &config).await;
    let tables = fronts.round().await;
    let counts = ["branches", "loans", "books", "visits"].map(|table| count(&tables, table));
    assert_eq!(counts, [5, 35, 8, 19], "{}", library.dump());
    assert_eq!(
        format!("{:?}", tables["branches"]["2"]),
        r#"{"address_street": "Main Street", "address_zip": "1002", "id": "2", "name": "Branch \"2\"", "opened": "2002-04-01", "tags": "a,b"}"#
    );
    assert_eq!(
        format!("{:?}", tables["books"]["9780000000000000003"]),
        r#"{"author": "{\"born\":1902,\"name\":\"A. N. Other\"}", "changed": "2026-03-03T00:00:00Z", "isbn": "9780000000000000003", "pages": "102", "topic": "Topic 2"}"#
    );
    let first = library.requests().len();
    library.change(|library| {
        library.branches.remove(4);
        library.branches[0]["name"] = json!("Renamed");
        library.loans.push((2, library::loan(20)));
        library.books.push(library::book(20));
    });
    let tables = fronts.round().await;
    let counts = ["branches", "loans", "books", "visits"].map(|table| count(&tables, table));
    assert_eq!((counts, &tables["branches"]["1"]["name"]), ([4, 36, 9, 19], &"Renamed".to_owned()));
    let second = library.requests().len() - first;
    assert!(second < first * 2 / 3, "{second} requests after {first}: it read all again");
}

/// Parents, children, missing rows.
#[tokio::test]
async fn statuscake_is_the_same_everywhere() {
    let sizes = Sizes { tests: 12, history: 130, periods: 6, alerts: 9 };
    let cake = StatusCake::start(7, sizes, &Clock::system());
    let config = [("api_key", statuscake::API_KEY.to_owned()), ("base_url", cake.base_url())];
    let mut fronts = EntryPoints::of(built_in("statuscake", |_| {}), &config).await;
    let tables = fronts.round().await;
    for table in ["uptime_test", "uptime_test_history", "uptime_test_period", "uptime_test_alert"] {
        assert_eq!(count(&tables, table), cake.source_rows(table).len(), "{table}");
    }
    let ids = cake.test_ids();
    cake.change(|account| {
        account.delete_test(&ids[1]);
        account.add_test();
        account.add_result(&ids[0]);
        account.set(&ids[2], "name", json!("renamed"));
    });
    let tables = fronts.round().await;
    assert_eq!(count(&tables, "uptime_test"), 12);
}

/// Windows of days, and figures that are corrected later.
#[tokio::test]
async fn sensource_is_the_same_everywhere() {
    let clock = Clock::system();
    // Figures of today grow with the hour, so each entry point would see others.
    clock.set(clock.now());
    let today = clock.now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let opened = today.saturating_sub(40.days());
    let vea = SenSource::start(7, 2, opened, &clock);
    let config = [
        ("client_id", sensource::CLIENT_ID.to_owned()),
        ("client_secret", sensource::CLIENT_SECRET.to_owned()),
        ("base_url", vea.base_url()),
        ("token_url", vea.token_url()),
        ("start_date", opened.to_string()),
        ("static_endpoints", "location,site,zone,space,sensor".to_owned()),
    ];
    let mut fronts = EntryPoints::of(built_in("sensource", |_| {}), &config).await;
    let tables = fronts.round().await;
    assert_eq!(count(&tables, "zone"), vea.source_rows("zone").len());
    assert!(count(&tables, "traffic") > 500);
    fronts.round().await;
}

/// Offset pages, keys with a fallback, and only what was ingested since.
#[tokio::test]
async fn people_ai_is_the_same_everywhere() {
    let clock = Clock::system();
    let people = PeopleAi::start(7, 150, 60, &clock);
    let config = [
        ("api_key", people_ai::API_KEY.to_owned()),
        ("api_secret", people_ai::API_SECRET.to_owned()),
        ("base_url", people.base_url()),
        ("token_url", people.token_url()),
    ];
    let mut fronts = EntryPoints::of(built_in("people_ai", |_| {}), &config).await;
    let tables = fronts.round().await;
    assert_eq!(count(&tables, "activity"), people.source_rows("activity").len());
    assert_eq!(count(&tables, "participants"), people.source_rows("participants").len());
    people.change(|account| {
        account.add(clock.now());
        account.touch(3);
    });
    let again = fronts.round().await;
    assert_eq!(count(&again, "activity"), count(&tables, "activity") + 1);
}

/// Soft-deleted in the file, deletions in the protocols, restored when the source says so.
#[tokio::test]
async fn people_ai_deletions_are_the_same_everywhere() {
    let clock = Clock::system();
    let people = PeopleAi::start(7, 40, 60, &clock);
    people.change(|account| {
        account.rules.lists_deleted_people = true;
        account.mark(9, true);
    });
    let config = [
        ("api_key", people_ai::API_KEY.to_owned()),
        ("api_secret", people_ai::API_SECRET.to_owned()),
        ("base_url", people.base_url()),
        ("token_url", people.token_url()),
        ("include_deleted", "true".to_owned()),
    ];
    let mut fronts = EntryPoints::of(built_in("people_ai", |_| {}), &config).await;
    for change in [None, Some((3, true)), Some((9, false)), Some((3, false))] {
        people.change(|account| change.into_iter().for_each(|(n, deleted)| account.mark(n, deleted)));
        let tables = fronts.round().await;
        for table in ["activity", "participants"] {
            assert_eq!(count(&tables, table), people.source_rows(table).len(), "{table} after {change:?}");
        }
    }
}

/// With the quirks of made-up services.
#[tokio::test]
async fn every_kind_of_pagination_is_the_same_everywhere() {
    for api in model::examples() {
        let definition = read_one("acme.toml", &model::definition(&api, 4), &Default::default()).unwrap();
        let api = Arc::new(Mutex::new(api));
        let answering = Arc::clone(&api);
        let acme = serve(move |request| answering.lock().unwrap().answer(request));
        let mut fronts = EntryPoints::of(quick(definition, |_| {}), &[("base_url", acme.url())]).await;
        for _ in 0..2 {
            let rows: Vec<String> = api.lock().unwrap().rows.iter().map(u64::to_string).collect();
            let tables = fronts.round().await;
            let mut stored: Vec<String> = tables["things"].keys().cloned().collect();
            stored.sort_by_key(|id| id.parse::<u64>().unwrap());
            assert_eq!(stored, rows, "{}", acme.dump());
            let mut api = api.lock().unwrap();
            api.rows.remove(5);
            api.rows.push(1_000);
        }
    }
}

/// The sizes that a service accepts are saved wherever the state is.
#[tokio::test]
async fn page_sizes_grow_and_are_remembered_everywhere() {
    const ROWS: u64 = 400;
    let acme = serve(|request| {
        let number = |name: &str| request.param(name).unwrap().parse::<u64>().unwrap();
        let (skip, limit) = (number("skip"), number("limit"));
        let rows = (skip.min(ROWS)..(skip + limit).min(ROWS)).map(|id| json!({ "id": id }));
        Reply::json(&json!({ "data": rows.collect::<Vec<_>>() }))
    });
    let page = "{ kind = \"offset\", at_param = \"skip\", size_param = \"limit\", size = 10, size_max = 80 }";
    let toml = format!(
        "format = 1\n[connector]\nname = \"acme\"\nbase_url = \"https://acme.test\"\n[[table]]\nname = \"things\"\npath = \"/things\"\nrecords = [\"data\"]\nkey = [\"id\"]\npage = {page}\n"
    );
    let definition = quick(read_one("acme.toml", &toml, &Default::default()).unwrap(), |_| {});
    let mut entry_points = EntryPoints::of(definition, &[("base_url", acme.url())]).await;
    let mut before = 0;
    for sizes in [["20", "40", "80"], ["80", "80", "80"]] {
        assert_eq!(count(&entry_points.round().await, "things"), ROWS as usize);
        let requests = acme.requests().split_off(before);
        before += requests.len();
        let limits: Vec<&str> = requests.iter().map(|request| request.param("limit").unwrap()).collect();
        let runs = limits.windows(6).filter(|six| six[..3] == ["10"; 3] && six[3..] == sizes).count();
        assert_eq!(runs, 3, "SQLite, stdin and gRPC: {limits:?}");
    }
}

const ODD_ROWS: &str = r#"
format = 1
[connector]
name = "acme"
base_url = "https://acme.test"
[config]
user = { type = "string" }
api_key = { type = "secret" }
[auth]
kind = "basic"
user = "${config.user}"
password = "${config.api_key}"
[http]
concurrency = 1
[[table]]
name = "wide"
path = "/wide"
records = ["rows"]
key = ["id"]
page = { kind = "page", at_param = "page" }
columns = { renamed = { name = "other name" }, gone = "drop", "deep.er" = { name = "kept" }, stamp = { type = "epoch_ms" } }
[[table]]
name = "kept"
path = "/kept"
records = ["rows"]
key = ["id", "part"]
[[table]]
name = "notes"
path = "/kept/{of}/notes"
parent = { table = "kept", as = { of = "id" } }
records = ["rows"]
key = ["of", "n"]
nested = "json"
[[table]]
name = "whole"
path = "/whole"
records = ["rows"]
key = ["id"]
write = "replace"
[[table]]
name = "graves"
path = "/graves"
records = ["rows"]
key = ["part", "id"]
deleted_if = "state.Gone"
deletes = "snapshot"
page = { kind = "page", at_param = "page" }
[[table]]
name = "log"
path = "/log"
records = ["."]
write = "append"
cursor = { field = "n", param = "above", format = "plain", order = "asc" }
page = { kind = "keyset", at_param = "above", field = "n" }
"#;

/// Rows as no API should send them: types that widen from page to page, missing keys, names that must be
/// changed, digits that a double cannot hold, texts with everything in them.
fn odd_row_service(path: &str, page: u64, above: i64, round: u64) -> Value {
    let rows = match (path, page) {
        ("/wide", 1) => json!([
            { "id": 1, "n": true, "mixed": 1, "renamed": "a", "gone": 1, "deep": { "er": 1, "est": [] }, "stamp": 0 },
            { "id": 2, "n": false, "mixed": 9_007_199_254_740_993_i64, "_fivetran_id": "x", "day": "2026-01-01" },
            { "n": 3 }, { "id": null }, 7, "text",
            { "id": 3, "text": "tab\t line\n quote\" back\\ nul\u{0} é 🙂", "empty": "", "list": [1, "a", null] },
        ]),
        ("/wide", 2) => json!([
            { "id": 4, "n": 12, "mixed": 0.5, "deep": null, "stamp": 1_767_225_600_123_i64, "null": null },
            { "id": 5, "n": -1, "mixed": 1e300, "deep": { "er": "now text", "est": { "x": 1 } } },
            { "id": 1, "n": 99, "renamed": "the later one wins" },
        ]),
        ("/wide", 3) => json!([
            { "id": "six", "n": "text after all", "mixed": round, "Größe": 1, "userData": [{ "a": 1.50 }] },
            { "id": 7, "n": 1.5, "list": "not a list" },
        ]),
        ("/kept", _) => json!([
            { "id": "a/b", "part": null, "v": round }, { "id": "c", "part": "x", "v": 2 }, { "id": "..", "part": "y" },
        ]),
        ("/whole", _) => json!((round..4).map(|id| json!({ "id": id })).collect::<Vec<_>>()),
        ("/graves", 1) => json!([
            { "part": "a", "id": 1, "state": { "Gone": false } }, { "part": "a", "id": 1, "state": { "Gone": true } },
            { "part": "a", "id": 2, "state": { "Gone": true } }, { "part": "a", "id": 2, "state": { "Gone": "false" } },
            { "part": "a", "id": 3, "state": { "Gone": 1 } }, { "part": "a", "id": 4 }, { "part": "a", "id": 5 },
            { "part": "a", "id": 6, "state": { "Gone": round == 3 } },
            { "part": "a", "id": 7, "state": { "Gone": round == 1 } }, { "part": "b", "id": "x" },
        ]),
        ("/graves", 2) if round == 1 => json!([
            { "part": "a", "id": 2, "v": "later", "state": { "Gone": "perhaps" } }, { "part": "a", "id": 8 },
            { "part": "a", "id": 5, "state": { "Gone": "true" } },
        ]),
        ("/log", _) => {
            let from = (above + 1).max(1);
            let to = (from + 2).min(5 + i64::try_from(round).unwrap());
            return json!(
                (from..=to).map(|n| json!({ "n": n, "what": format!("entry {n}") })).collect::<Vec<_>>()
            );
        }
        (path, _) if path.ends_with("/notes") => {
            json!([{ "n": 1, "deep": { "b": 1, "a": [2.10] } }, { "n": 2 }])
        }
        _ => json!([]),
    };
    json!({ "rows": rows })
}

/// Widening, rejected rows, renamed columns, child tables, replaced and appended tables, a resumed state.
#[tokio::test]
async fn odd_rows_are_the_same_everywhere() {
    let round = Arc::new(AtomicU64::new(1));
    let now = Arc::clone(&round);
    let acme = serve(move |request| {
        assert_eq!(request.header("authorization"), Some("Basic bWU6aHVzaA=="));
        let number = |name: &str| request.param(name).and_then(|text| text.parse::<i64>().ok());
        let page = number("page").unwrap_or(1).unsigned_abs();
        Reply::json(&odd_row_service(
            &request.path,
            page,
            number("above").unwrap_or(0),
            now.load(Ordering::Relaxed),
        ))
    });
    let config = [("user", "me".to_owned()), ("api_key", "hush".to_owned()), ("base_url", acme.url())];
    let definition = quick(read_one("acme.toml", ODD_ROWS, &Default::default()).unwrap(), |_| {});
    let mut fronts = EntryPoints::of(definition, &config).await;
    let first = fronts.round().await;
    let counts = ["wide", "kept", "notes", "whole", "log", "graves"].map(|table| count(&first, table));
    assert_eq!(counts, [7, 3, 4, 3, 6, 5], "{first:#?}");
    assert_eq!(first["graves"]["a|2"]["v"], "later");
    assert_eq!(first["wide"]["2"]["mixed"], "9007199254740993");
    assert_eq!(first["wide"]["1"]["other_name"], "the later one wins");
    round.store(3, Ordering::Relaxed);
    let second = fronts.round().await;
    let counts = ["wide", "kept", "notes", "whole", "log", "graves"].map(|table| count(&second, table));
    assert_eq!(counts, [7, 3, 4, 1, 8, 5], "{second:#?}");
    assert_eq!(second["wide"]["six"]["mixed"], "3");
    // A replaced table without rows has no shape either.
    round.store(4, Ordering::Relaxed);
    let third = fronts.round().await;
    assert_eq!((count(&third, "whole"), count(&third, "log")), (0, 9), "{third:#?}");
    // The booleans of a column that became text are `true` and `false`, whenever they came.
    let flags = ["1", "2", "4", "5"].map(|id| third["wide"][id]["n"].as_str());
    assert_eq!(flags, ["99", "false", "12", "-1"]);
}

const ODD: &str = r#"
format = 1
[connector]
name = "acme"
base_url = "https://acme.test"
[auth]
kind = "none"
[http]
rules = [{ status = 400, equals = { reason = "behind the last page" }, then = "end" }]
[[table]]
name = "odd"
path = "/odd"
method = "POST"
body = { open = true, min = 1.5 }
records = ["rows"]
key = ["id"]
page = { kind = "link", next = "next" }
columns = { at = { type = "timestamp" }, day = { type = "date" }, n = { type = "bigint" }, made = { type = "timestamp" } }
[[table]]
name = "parts"
path = "/odd/{made}/parts"
records = ["rows"]
key = ["made", "id"]
parent = { table = "odd", as = { made = "made" } }
page = { kind = "page", at_param = "page" }
"#;

/// A response as no service should send it: in Latin-1, with `NaN`, half a surrogate pair, empty texts in typed columns and
/// days at the ends of the calendar.
fn odd(page: u32) -> Reply {
    let body = match page {
        1 => {
            r#"{"next":"/odd?page=2","rows":[
            {"id":1,"text":"CAFE","at":"","day":"9999-12-31","n":"","made":"2026-05-02T01:00:00+02:00"},
            {"id":2,"text":NaN},
            {"id":3,"text":"\ud83d","at":"0000-00-00 00:00:00","day":"0001-01-01","n":"7","votes":{"+1":2,"-1":3}}]}"#
        }
        _ => r#"{"rows":[{"id":4,"at":"9999-12-31T00:00:00Z"},{"id":5,"at":"2026-05-02T24:00:00Z"}]}"#,
    };
    let latin = body.replace("CAFE", "café").chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
    Reply::bytes("application/json; charset=iso-8859-1", latin)
}

/// The service that answers so.
fn odd_service() -> StandIn<MadeUp> {
    serve(|request| match (request.path.as_str(), request.param("page")) {
        ("/odd", page) => {
            assert_eq!(request.json(), Some(json!({ "open": true, "min": 1.5 })));
            odd(if page.is_some() { 2 } else { 1 })
        }
        ("/odd/2026-05-02T01%3A00%3A00%2B02%3A00/parts", Some("1")) => {
            Reply::json(&json!({ "rows": [{ "id": 1 }] }))
        }
        (_, Some("2")) => Reply::json(&json!({ "reason": "behind the last page" })).with_status(400),
        (path, _) => panic!("nobody should ask for {path}"),
    })
}

/// What goes back to the source and what its responses mean; no value becomes null on the way.
#[tokio::test]
async fn odd_responses_are_the_same_everywhere() {
    let acme = odd_service();
    let definition = quick(read_one("acme.toml", ODD, &Default::default()).unwrap(), |_| {});
    let mut fronts = EntryPoints::of(definition, &[("base_url", acme.url())]).await;
    for _ in 0..2 {
        let tables = fronts.round().await;
        assert_eq!((count(&tables, "odd"), count(&tables, "parts")), (4, 1), "{tables:#?}");
        let odd = &tables["odd"];
        let cell = |id: &str, column: &str| odd[id].get(column).map(String::as_str);
        assert_eq!((cell("1", "text"), cell("3", "text")), (Some("café"), Some("\u{fffd}")));
        assert_eq!((cell("1", "day"), cell("3", "day")), (Some("9999-12-31"), Some("0001-01-01")));
        let at = (cell("4", "at"), cell("5", "at"));
        assert_eq!(at, (Some("9999-12-31T00:00:00Z"), Some("2026-05-03T00:00:00Z")));
        assert_eq!((cell("1", "n"), cell("1", "at"), cell("3", "n")), (None, None, Some("7")));
        assert_eq!((cell("3", "votes_plus_1"), cell("3", "votes_minus_1")), (Some("2"), Some("3")));
    }
}

#[tokio::test]
async fn odd_responses_are_the_same_in_postgresql() {
    let Some(cluster) = cluster::shared() else { return };
    let (acme, folder) = (odd_service(), tempfile::tempdir().unwrap());
    let name = cluster.database().await;
    let user = cluster.user("some-pa55word").await;
    let session = cluster.session(&name).await;
    session.batch_execute(&format!("GRANT CREATE ON DATABASE {name} TO {user}")).await.unwrap();
    std::fs::create_dir(folder.path().join("connectors")).unwrap();
    std::fs::write(folder.path().join("connectors/acme.toml"), ODD).unwrap();
    let (base, database) = (acme.url(), cluster.url(&user, &name));
    let vars = [
        ("ACME_BASE_URL", base.as_str()),
        ("DATABASE_URL", database.as_str()),
        ("DATABASE_PASSWORD", "some-pa55word"),
    ];
    let (_, out, err) = output(folder.path(), &["sync", "acme"], &vars);
    assert!(out.contains("1 row rejected"), "{out}{err}");
    session.batch_execute("SET search_path TO acme; SET timezone TO 'UTC'").await.unwrap();
    let odd = "SELECT id, text, at, day, n, votes_plus_1, votes_minus_1 FROM odd ORDER BY id";
    insta::assert_snapshot!(server_rows(&session, odd).await.join("\n"), @"
    1|café|NULL|9999-12-31|NULL|NULL|NULL
    3|�|NULL|0001-01-01|7|2|3
    4|NULL|9999-12-31 00:00:00|NULL|NULL|NULL|NULL
    5|NULL|2026-05-03 00:00:00|NULL|NULL|NULL|NULL
    ");
    assert_eq!(server_rows(&session, "SELECT made, id FROM parts").await, ["2026-05-01 23:00:00|1"]);
}
