//! The stdin protocol, by its documents.

use std::collections::BTreeSet;
use std::sync::Arc;

use data_sources_monitor::testing::definitions::connector::read_one;
use data_sources_monitor::testing::domain::syncing::cell::{Cell, ColumnType};
use data_sources_monitor::testing::domain::syncing::op::{
    Checkpoint, End, Op, Rejected, Rows, Sweep, TableShape, Write,
};
use data_sources_monitor::testing::http::Network;
use data_sources_monitor::testing::protocol::source::ConnectorSource;
use data_sources_monitor::testing::protocol::stdin::answer;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::syncing::engine::built_in;
use stand_ins::made_up::serve;
use stand_ins::statuscake::{API_KEY, Sizes, StatusCake};
use stand_ins::{Clock, Reply};

use super::{Scripted, checkpoint, ended, finish, rows, shape, with_deletion_column};

async fn ask(source: Scripted, document: &Value) -> (bool, Value) {
    let text = document.to_string();
    let answer = answer(&source, text.as_bytes(), &CancellationToken::new()).await;
    (answer.ok, serde_json::from_slice(&answer.document).unwrap())
}

async fn sync(source: Scripted, state: Value) -> Value {
    let (ok, answer) = ask(source, &json!({ "secrets": { "api_key": "right" }, "state": state })).await;
    assert!(ok, "{answer}");
    answer
}

fn ids(answer: &Value, table: &str) -> Vec<i64> {
    answer["insert"][table].as_array().into_iter().flatten().map(|row| row["id"].as_i64().unwrap()).collect()
}

/// A schema needs no credentials; a failed test is a response with its reason.
#[tokio::test]
async fn schema_and_test_are_answered_without_a_sync() {
    let (ok, schema) = ask(Scripted::new(Vec::new()), &json!({ "selection": { "action": "schema" } })).await;
    assert!(ok);
    let contacts = json!({ "primary_key": ["id"], "columns": { "id": "LONG", "amount": "DECIMAL", "at": "UTC_DATETIME" } });
    assert_eq!(
        schema,
        json!({ "schema": { "accounts": { "primary_key": ["id"], "columns": { "id": "LONG" } }, "contacts": contacts } })
    );
    for (secrets, want) in [
        (json!({ "api_key": "right", "base_url": "https://acme.test" }), json!({ "success": true })),
        (json!({ "api_key": "wrong" }), json!({ "success": false, "message": "the key is refused (401)" })),
        (json!({}), json!({ "success": false, "message": "api_key is missing: give it in `secrets`" })),
    ] {
        let document = json!({ "secrets": secrets, "setup_test": true });
        assert_eq!(ask(Scripted::new(Vec::new()), &document).await, (true, want));
    }
}

/// The next call gets that state and the learned types.
#[tokio::test]
async fn a_sync_returns_rows_keys_and_state() {
    let of = shape("contacts", &[("n", ColumnType::Double)]);
    let ops = || {
        vec![
            Op::Shape(Arc::clone(&of)),
            rows(&of, 1..3, &[Cell::Double(0.5)]),
            checkpoint("contacts", 2),
            finish("contacts"),
        ]
    };
    let answer = sync(Scripted::new(ops()), Value::Null).await;
    let want = json!({
        "state": { "format": 1, "connector": "acme", "tables": { "contacts": { "": 2 } }, "shapes": { "contacts": [["id", "bigint"], ["n", "double"]] } },
        "insert": { "contacts": [{ "id": 1, "n": 0.5 }, { "id": 2, "n": 0.5 }] },
        "delete": {},
        "schema": { "contacts": { "primary_key": ["id"] } },
        "hasMore": false,
    });
    assert_eq!(answer, want);
    let source = Scripted::new(ops());
    let heard = Arc::clone(&source.heard);
    assert_eq!(sync(source, answer["state"].clone()).await, want, "the same state, the same rows");
    let wanted = heard.wanted.lock().unwrap();
    assert_eq!(
        (wanted[0].state.cursor("contacts", "").unwrap().into_owned(), wanted[0].shapes.len()),
        (json!(2), 1)
    );
}

/// Each ends where reading can resume; none is empty.
#[tokio::test]
async fn a_large_sync_spans_several_responses() {
    let of = shape("contacts", &[("s", ColumnType::Text)]);
    let other = shape("accounts", &[]);
    // By rows: the fourth page would be too many.
    let page = |n: i64, text: &str| {
        [rows(&of, n * 3000..(n + 1) * 3000, &[Cell::Text(text.into())]), checkpoint("contacts", n)]
    };
    let paged = |text: &str| {
        let mut ops = vec![
            Op::Shape(Arc::clone(&other)),
            rows(&other, 0..1, &[]),
            finish("accounts"),
            Op::Shape(Arc::clone(&of)),
        ];
        ops.extend((0..5).flat_map(|n| page(n, text)));
        ops
    };
    let answer = sync(Scripted::new(paged("x")), json!({})).await;
    assert_eq!((answer["hasMore"].as_bool(), ids(&answer, "contacts").len()), (Some(true), 9000));
    assert_eq!(answer["state"]["tables"]["contacts"][""], 2);
    // A table that was read to its end is not read again by the next call of this sync.
    let source = Scripted::new(paged("x")[10..].to_vec());
    let heard = Arc::clone(&source.heard);
    let answer = sync(source, answer["state"].clone()).await;
    {
        let wanted = heard.wanted.lock().unwrap();
        assert_eq!(wanted[0].tables, Some(vec!["contacts".to_owned()]));
        assert_eq!(wanted[0].since.map(|at| at.to_string()), Some("2026-05-02T09:00:00Z".to_owned()));
    }
    assert_eq!((answer["hasMore"].as_bool(), ids(&answer, "contacts").len()), (Some(false), 6000));
    assert!(answer["state"].get("done").is_none() && answer["state"].get("since").is_none());
    // By bytes: 3,000 rows of 1 KB are 3 MB.
    let answer = sync(Scripted::new(paged(&"x".repeat(1000))), json!({})).await;
    assert_eq!((answer["hasMore"].as_bool(), ids(&answer, "contacts").len()), (Some(true), 3000));
}

/// Rows of the overlap behind a cursor are no place to stop at, however many: the next call would stop there, too.
#[tokio::test]
async fn a_sync_with_a_large_overlap_ends() {
    let of = shape("contacts", &[]);
    // Each call starts twelve pages behind the cursor, as a cursor of whole days does.
    let call = |at: i64| {
        let page = |n: i64| [rows(&of, n * 1000..(n + 1) * 1000, &[]), checkpoint("contacts", n.max(at))];
        let mut ops = vec![Op::Shape(Arc::clone(&of))];
        ops.extend((0.max(at - 11)..20).flat_map(page));
        ops.push(finish("contacts"));
        ops
    };
    let (mut state, mut came, mut calls) = (json!({}), BTreeSet::new(), 0);
    loop {
        let at = state["tables"]["contacts"][""].as_i64().unwrap_or(-1);
        let answer = sync(Scripted::new(call(at)), state.clone()).await;
        came.extend(ids(&answer, "contacts"));
        assert_ne!(answer["state"], state, "the same state again");
        state = answer["state"].clone();
        calls += 1;
        if answer["hasMore"] == false {
            break;
        }
    }
    assert!(came.len() == 20_000 && calls < 15, "{} rows in {calls} calls", came.len());
}

/// Days that are read again do not move the progress back.
#[tokio::test]
async fn a_sync_of_full_days_ends() {
    const DAYS: &str = r#"
format = 1
[connector]
name = "days"
base_url = "https://days.test"
[auth]
kind = "none"
[[table]]
name = "visits"
path = "/visits"
records = ["."]
key = ["day", "n"]
window = { from = "from", to = "to", start = "-5d", step = "1d", lookback = "2d" }
"#;
    // A day is more than a response holds.
    let visits = serve(|request| {
        let day = request.param("from").unwrap().to_owned();
        let visit = |n| json!({ "day": day, "n": n, "text": "x".repeat(1 << 20) });
        Reply::json(&(0..6).map(visit).collect())
    });
    let definition = read_one("days.toml", DAYS, &Default::default()).unwrap();
    let engine = ConnectorSource::new(definition, Network::default());
    // The first sync starts without state, the second is on the same day.
    let mut state = json!({});
    for days in [6, 3] {
        let mut came = BTreeSet::new();
        for call in 0.. {
            let document = json!({ "secrets": { "base_url": visits.url() }, "state": state });
            let answer = answer(&engine, document.to_string().as_bytes(), &CancellationToken::new()).await;
            let answered: Value = serde_json::from_slice(&answer.document).unwrap();
            assert!(answer.ok && call < 8, "{}", answered["state"]);
            let rows = answered["insert"]["visits"].as_array();
            came.extend(rows.into_iter().flatten().map(|row| row["day"].to_string()));
            state = answered["state"].clone();
            if answered["hasMore"] == false {
                break;
            }
        }
        assert_eq!(came.len(), days);
    }
}

/// That waits for the source.
#[tokio::test]
async fn a_stop_ends_a_test() {
    let silent = serve(|_| Reply::hang());
    let engine = ConnectorSource::new(built_in("statuscake", |_| {}), Network::default());
    let document = json!({ "secrets": { "api_key": "k", "base_url": silent.url() }, "setup_test": true });
    let (document, stop) = (document.to_string(), CancellationToken::new());
    let (answer, ()) = tokio::join!(answer(&engine, document.as_bytes(), &stop), async {
        silent.wait_for_requests(1).await;
        stop.cancel();
    });
    assert!(!answer.ok, "{}", String::from_utf8_lossy(&answer.document));
}

/// Credentials go to `base_url`'s origin only.
#[tokio::test]
async fn a_check_at_another_host_gets_no_credentials() {
    let (here, elsewhere) = (serve(|_| Reply::json(&json!([]))), serve(|_| Reply::json(&json!([]))));
    let leading_away = [format!("{}/me", elsewhere.url()), elsewhere.url().replace("http:/", r"\\") + "/me"];
    for check in leading_away {
        let check = format!("check = '{check}'\n[config]");
        let text = super::ACME.replace("[config]", &check);
        let engine = ConnectorSource::new(
            read_one("acme.toml", &text, &Default::default()).unwrap(),
            Network::default(),
        );
        let secrets = json!({ "api_key": "hush", "base_url": here.url() });
        let document = json!({ "secrets": secrets, "setup_test": true }).to_string();
        let answer = answer(&engine, document.as_bytes(), &CancellationToken::new()).await;
        let told = String::from_utf8(answer.document).unwrap();
        assert!(told.contains("leads away from base_url"), "{told}");
    }
    assert!(elsewhere.requests().is_empty());
}

/// It is redacted before a text is cut, so that the start of a key is not shown either.
#[tokio::test]
async fn no_part_of_an_echoed_secret_is_shown() {
    const KEY: &str = "sk-0123456789-0123456789";
    let said = format!("{}{KEY}", "x".repeat(190));
    let api = serve(move |_| Reply::json(&json!({ "message": said })).with_status(400));
    let engine = ConnectorSource::new(built_in("statuscake", |_| {}), Network::default());
    let document = json!({ "secrets": { "api_key": KEY, "base_url": api.url() }, "setup_test": true });
    let answer = answer(&engine, document.to_string().as_bytes(), &CancellationToken::new()).await;
    let told = String::from_utf8(answer.document).unwrap();
    assert!(told.contains("answered 400") && !told.contains("sk-"), "{told}");
}

/// The next call continues with the next table.
#[tokio::test]
async fn a_table_without_checkpoints_is_one_response() {
    let (of, other) = (shape("accounts", &[]), shape("contacts", &[]));
    let ops = vec![
        Op::Shape(Arc::clone(&of)),
        rows(&of, 0..8000, &[]),
        rows(&of, 8000..16_000, &[]),
        finish("accounts"),
        Op::Shape(other),
    ];
    let answer = sync(Scripted::new(ops), json!({})).await;
    assert_eq!((answer["hasMore"].as_bool(), ids(&answer, "accounts").len()), (Some(true), 16_000));
    assert_eq!(answer["state"]["done"], json!(["accounts"]));
    // After a sync whose tables are all done the state has no sync in progress.
    let mut state = answer["state"].clone();
    state["done"] = json!(["accounts", "contacts"]);
    let answer = sync(Scripted::new(vec![finish("contacts")]), state).await;
    assert_eq!((answer["hasMore"].as_bool(), &answer["insert"]), (Some(false), &json!({})));
}

/// Although each call could fill its response with the first ones again.
#[tokio::test]
async fn children_are_read_once_per_sync() {
    // A page of 100 rows for each child: more than one response, and all of it would come again in each call.
    let sizes = Sizes { tests: 130, history: 100, periods: 1, alerts: 1 };
    let cake = StatusCake::start(7, sizes, &Clock::system());
    let engine = ConnectorSource::new(built_in("statuscake", |_| {}), Network::default());
    let secrets = json!({ "api_key": API_KEY, "base_url": cake.base_url() });
    let (mut state, mut came, mut calls) = (json!({}), BTreeSet::new(), 0);
    loop {
        let document = json!({ "secrets": secrets, "state": state }).to_string();
        let answer = answer(&engine, document.as_bytes(), &CancellationToken::new()).await;
        let answered: Value = serde_json::from_slice(&answer.document).unwrap();
        assert!(answer.ok, "{answered}");
        let rows = answered["insert"]["uptime_test_history"].as_array();
        came.extend(
            rows.into_iter()
                .flatten()
                .map(|row| format!("{}{}{}", row["test_id"], row["created_at"], row["location"])),
        );
        state = answered["state"].clone();
        calls += 1;
        assert!(calls < 10, "it never ends");
        if answered["hasMore"] == false {
            break;
        }
    }
    assert_eq!(came.len(), cake.source_rows("uptime_test_history").len());
    assert!(calls > 1, "one answer held it all");
}

/// By their keys.
#[tokio::test]
async fn missing_rows_are_deletions_after_a_complete_pass() {
    let of = shape("accounts", &[("s", ColumnType::Text)]);
    let pass = |ids, sweep| {
        let finish = Op::Finish { table: "accounts".into(), sweep };
        Scripted::new(vec![Op::Shape(Arc::clone(&of)), rows(&of, ids, &[Cell::Null]), finish])
    };
    let sweep = Some(Sweep { max_share: 0.5 });
    let first = sync(pass(0..4, sweep), json!({})).await;
    assert_eq!(first["delete"], json!({}));
    let unsure = sync(pass(2..4, None), first["state"].clone()).await;
    assert_eq!(unsure["delete"], json!({}));
    let second = sync(pass(2..4, sweep), unsure["state"].clone()).await;
    assert_eq!(second["delete"], json!({ "accounts": [{ "id": 0 }, { "id": 1 }] }));
    assert_eq!(second["softDelete"], json!(["accounts"]));
    let all = sync(pass(0..0, sweep), second["state"].clone()).await;
    assert_eq!(all["delete"], json!({}));
    assert!(all["warnings"][0].as_str().unwrap().contains("2 of 2 rows were not read"), "{all}");
}

/// This protocol cannot empty it.
#[tokio::test]
async fn replacing_a_table_without_a_key_is_reported() {
    let keyed = TableShape { write: Write::Replace, ..(*shape("contacts", &[])).clone() };
    for (key, told) in [(Vec::new(), 1), (keyed.key.clone(), 0)] {
        let of = Arc::new(TableShape { key, ..keyed.clone() });
        let ops = vec![Op::Shape(Arc::clone(&of)), rows(&of, 0..2, &[]), finish("contacts")];
        let answer = sync(Scripted::new(ops), json!({})).await;
        assert_eq!(answer["warnings"].as_array().map_or(0, Vec::len), told, "{answer}");
    }
}

/// A failure is an error alone; a rate limit returns what was read, and then an error; a doubt is reported beside the
/// rows.
#[tokio::test]
async fn each_outcome_has_its_own_response() {
    let of = shape("contacts", &[]);
    let read = || {
        vec![
            Op::Shape(Arc::clone(&of)),
            rows(&of, 0..2, &[]),
            checkpoint("contacts", 1),
            rows(&of, 2..4, &[]),
        ]
    };
    let document = json!({ "secrets": { "api_key": "right" }, "state": {} });
    let (ok, answer) =
        ask(Scripted::new(read()).ending(ended(End::Failed, "the service answers 500")), &document).await;
    assert_eq!((ok, answer), (false, json!({ "error": "the service answers 500" })));
    let limited = || ended(End::Deferred, "the quota is used up");
    let answer = sync(Scripted::new(read()).ending(limited()), json!({})).await;
    assert_eq!((answer["hasMore"].as_bool(), ids(&answer, "contacts")), (Some(true), vec![0, 1]));
    let again = json!({ "secrets": { "api_key": "right" }, "state": answer["state"] });
    for nothing_new in [Vec::new(), read()] {
        let (ok, answer) = ask(Scripted::new(nothing_new).ending(limited()), &again).await;
        assert!(
            !ok && answer["error"].as_str().unwrap().contains("the quota is used up; call again later"),
            "{answer}"
        );
    }
    let rejected = Rejected { table: "contacts".into(), raw: "{}".into(), reason: "it has no id".into() };
    let mut ops = read();
    ops.push(Op::Rejected(vec![rejected.clone(), rejected]));
    let answer = sync(Scripted::new(ops).ending(ended(End::Partial, "rows moved")), json!({})).await;
    assert_eq!(answer["hasMore"], false);
    assert_eq!(
        answer["warnings"],
        json!(["rows moved", "contacts: 2 rows could not be taken; the first: it has no id"])
    );
}

/// It says what to do.
#[tokio::test]
async fn an_invalid_document_is_one_error_without_secrets() {
    let good = json!({ "api_key": "right" });
    for (document, want) in [
        (json!([]), "must be a JSON object"),
        (json!({ "selection": { "action": "erase" } }), "known are schema, test and sync"),
        (json!({ "secrets": { "api_key": { "hush": 1 } } }), "`secrets.api_key` must be a text"),
        (json!({ "secrets": "hush" }), "`secrets` must be"),
        (json!({ "state": {} }), "api_key is missing: give it in `secrets`"),
        (json!({ "secrets": { "api_key": "hush", "start": "soon" } }), "start in `secrets`"),
        (json!({ "secrets": good, "state": { "format": 9, "connector": "acme" } }), "update the program"),
        (
            json!({ "secrets": good, "state": { "format": 1, "connector": "beta" } }),
            "belongs to the connector \"beta\"",
        ),
        (json!({ "secrets": good, "state": "x" }), "not a JSON object"),
    ] {
        let (ok, answer) = ask(Scripted::new(Vec::new()), &document).await;
        let said = answer["error"].as_str().unwrap();
        assert!(!ok && said.contains(want) && !said.contains("hush"), "{want} not in {answer}");
    }
}

/// It says what to do.
#[tokio::test]
async fn a_state_that_no_call_could_return_is_an_error() {
    let of = shape("contacts", &[]);
    let entry = ("contacts".to_owned(), "1".to_owned(), Some("x".repeat(33 << 20).into()));
    let ops = vec![
        Op::Shape(Arc::clone(&of)),
        rows(&of, 0..1, &[]),
        Op::Checkpoint(Checkpoint { entries: vec![entry] }),
        finish("contacts"),
    ];
    let document = json!({ "secrets": { "api_key": "right" }, "state": {} });
    let (ok, answer) = ask(Scripted::new(ops), &document).await;
    assert!(!ok && answer["error"].as_str().unwrap().contains("this protocol allows 32"), "{answer}");
}

/// Of a key that comes several times the last row counts, so that no key is both inserted and deleted; rows behind
/// the last checkpoint are not sent.
#[tokio::test]
async fn rows_called_deleted_are_deletions_by_key() {
    let of = with_deletion_column("contacts");
    let row = |id, gone: Option<bool>| [Cell::Int(id), gone.map_or(Cell::Null, Cell::Bool)].into();
    let page = |rows: Vec<Box<[Cell]>>| Op::Rows(Rows { shape: Arc::clone(&of), rows });
    let ops = vec![
        Op::Shape(Arc::clone(&of)),
        page(vec![row(1, None), row(2, Some(true)), row(3, Some(false)), row(4, Some(true))]),
        page(vec![row(3, Some(true)), row(4, Some(false)), row(1, Some(false))]),
        checkpoint("contacts", 1),
        page(vec![row(1, Some(true)), row(5, Some(true))]),
    ];
    let limited = ended(End::Deferred, "the quota is used up");
    let answer = sync(Scripted::new(ops.clone()).ending(limited), json!({})).await;
    assert_eq!(
        answer["insert"],
        json!({ "contacts": [{ "id": 4, "gone": false }, { "id": 1, "gone": false }] })
    );
    assert_eq!(answer["delete"], json!({ "contacts": [{ "id": 2 }, { "id": 3 }] }));
    assert_eq!(answer["schema"], json!({ "contacts": { "primary_key": ["id"] } }));
    assert_eq!((&answer["softDelete"], &answer["hasMore"]), (&json!(["contacts"]), &json!(true)));
    let answer = sync(Scripted::new(ops), json!({})).await;
    assert_eq!(ids(&answer, "contacts"), [4]);
    assert_eq!(answer["delete"], json!({ "contacts": [{ "id": 2 }, { "id": 3 }, { "id": 1 }, { "id": 5 }] }));
}
