//! The gRPC service, byte by byte.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use data_sources_monitor::testing::domain::syncing::cell::{Cell, ColumnType};
use data_sources_monitor::testing::domain::syncing::op::{
    Checkpoint, End, Op, Rejected, Sweep, TableShape, Write,
};
use data_sources_monitor::testing::protocol::fivetran::serve;
use data_sources_monitor::testing::protocol::source::SourceEnd;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::grpc::{Client, Status};
use super::proto::{Fields, Value, field, map, small};
use super::{CallRecord, Scripted, checkpoint, ended, finish, rows, shape, with_deletion_column};

/// A service on a free port; it stops when this is dropped.
pub(super) struct TestServer {
    pub(super) address: SocketAddr,
    pub(super) client: Client,
    pub(super) heard: Arc<CallRecord>,
    pub(super) stop: CancellationToken,
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub(super) async fn served(source: Scripted) -> TestServer {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (heard, stop) = (Arc::clone(&source.heard), CancellationToken::new());
    tokio::spawn(serve(listener, Arc::new(source), stop.clone()));
    TestServer { address, client: Client::connect(address).await, heard, stop }
}

const CONFIG: [(&str, &str); 1] = [("api_key", "right")];

pub(super) fn update(state: &str) -> Vec<u8> {
    [map(1, &CONFIG), field(3, state.as_bytes())].concat()
}

async fn updates(source: Scripted, request: &[u8]) -> (Vec<Fields>, Status) {
    let (messages, status) = served(source).await.client.all("Update", request).await;
    (messages.iter().map(|message| Fields::read(message)).collect(), status)
}

/// The kind of an update's message: `records 100`, `checkpoint`, `warning …`.
fn word(message: &Fields) -> String {
    let (number, _) = message.0[0];
    let inner = message.message(number).unwrap();
    match number {
        1 => format!("record {} {}", inner.number(3), inner.text(2).unwrap()),
        2 => "schema_change".into(),
        3 => "checkpoint".into(),
        4 => format!("warning {}", inner.text(1).unwrap()),
        5 => format!("task {}", inner.text(1).unwrap()),
        6 => format!("records {}", inner.all(1).len()),
        other => panic!("operation {other}"),
    }
}

fn words(messages: &[Fields]) -> Vec<String> {
    messages.iter().map(word).collect()
}

/// By its field numbers.
#[tokio::test]
async fn messages_have_the_exact_bytes_of_the_sdk() {
    let day: jiff::civil::Date = "1970-01-02".parse().unwrap();
    let instant = jiff::Timestamp::new(1, 500_000_000).unwrap();
    let of = shape(
        "contacts",
        &[
            ("b", ColumnType::Boolean),
            ("d", ColumnType::Double),
            ("e", ColumnType::Decimal),
            ("j", ColumnType::Json),
            ("n", ColumnType::Text),
            ("s", ColumnType::Text),
            ("t", ColumnType::Timestamp),
            ("y", ColumnType::Date),
        ],
    );
    let others = [
        Cell::Bool(false),
        Cell::Double(1.5),
        Cell::Decimal("1.10".into()),
        Cell::Json("{}".into()),
        Cell::Null,
        Cell::Text("x".into()),
        Cell::Timestamp(instant),
        Cell::Date(day),
    ];
    let only_id = shape("accounts", &[]);
    let ops = vec![
        Op::Shape(Arc::clone(&only_id)),
        Op::Shape(Arc::clone(&of)),
        rows(&of, -1..0, &others),
        checkpoint("contacts", 7),
    ];
    let (messages, status) = served(Scripted::new(ops)).await.client.all("Update", &map(1, &CONFIG)).await;
    assert_eq!(status, (0, String::new()));
    // schema_change 2 { without_schema 2 { tables 1 { name 1, columns 2 { name 1, type 2 LONG, primary_key 3 } } } }
    let mut want = b"\x12\x18\x12\x16\x0a\x14\x0a\x08accounts\x12\x08\x0a\x02id\x10\x04\x18\x01".to_vec();
    assert_eq!(messages[0], want);
    let columns: Vec<(u64, u64)> = Fields::read(&messages[1])
        .message(2)
        .unwrap()
        .message(2)
        .unwrap()
        .message(1)
        .unwrap()
        .all(2)
        .iter()
        .map(|column| (column.number(2), column.number(3)))
        .collect();
    assert_eq!(columns, [(4, 1), (1, 0), (7, 0), (5, 0), (14, 0), (13, 0), (13, 0), (10, 0), (8, 0)]);
    // record 1 { table_name 2, type 3 TRUNCATE }
    assert_eq!(messages[2], b"\x0a\x0c\x12\x08contacts\x18\x03");
    want = b"\x12\x08contacts".to_vec();
    for (name, value) in [
        ("b", &b"\x10\x00"[..]),                                 // bool 2
        ("d", b"\x39\x00\x00\x00\x00\x00\x00\xf8\x3f"),          // double 7
        ("e", b"\x5a\x041.10"),                                  // decimal 11
        ("id", b"\x28\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), // long 5
        ("j", b"\x72\x02{}"),                                    // json 14
        ("n", b"\x08\x01"),                                      // null 1
        ("s", b"\x6a\x01x"),                                     // string 13
        ("t", b"\x52\x08\x08\x01\x10\x80\xca\xb5\xee\x01"),      // utc_datetime 10 { seconds 1, nanos 2 }
        ("y", b"\x42\x04\x08\x80\xa3\x05"),                      // naive_date 8 { seconds 1 }
    ] {
        want.extend(field(4, &[field(1, name.as_bytes()), field(2, value)].concat()));
    }
    // records 6 { records 1 { table_name 2, data 4 } }
    assert_eq!(messages[3], field(6, &field(1, &want)));
    let state = r#"{"format":1,"connector":"acme","tables":{"contacts":{"":7}},"shapes":{"accounts":[["id","bigint"]],"contacts":[["id","bigint"],["b","boolean"],["d","double"],["e","decimal"],["j","json"],["n","text"],["s","text"],["t","timestamp"],["y","date"]]},"met":["contacts"]}"#;
    // checkpoint 3 { state_json 1 }
    assert_eq!(messages[4], field(3, &field(1, state.as_bytes())));
    assert_eq!(messages.len(), 5);
}

/// Required fields first, secrets hidden, and the test by its name.
#[tokio::test]
async fn the_form_comes_from_the_definition() {
    let served = served(Scripted::new(Vec::new())).await;
    let form = Fields::read(&served.client.one("ConfigurationForm", b"").await);
    assert_eq!((form.number(1), form.number(2)), (0, 1));
    let line = |field: &Fields| {
        let kind = match field.0.iter().find(|(n, _)| (5..=7).contains(n)) {
            Some((5, Value::Number(1))) => "password",
            Some((5, Value::Number(0))) => "text",
            Some((7, _)) => "toggle",
            other => panic!("{other:?}"),
        };
        let text = |n| field.text(n).unwrap_or_default();
        format!(
            "{} | {} | {} | {kind} | {} | {} | {}",
            text(1),
            text(2),
            field.number(3),
            text(4),
            text(8),
            text(9)
        )
    };
    let mut lines: Vec<String> = form.all(3).iter().map(line).collect();
    lines.extend(
        form.all(4).iter().map(|test| format!("{} | {}", test.text(1).unwrap(), test.text(2).unwrap())),
    );
    insta::assert_snapshot!(lines.join("\n"), @"
    api_key | API key | 1 | password | Made under Settings, API |  | 
    deep | Deep | 0 | toggle |  | false | 
    lists | Lists | 0 | text |  | contacts,accounts | comma-separated
    start | Start | 0 | text |  | 2026-01-01 | YYYY-MM-DD, or -730d for so many days ago
    base_url | Base URL | 0 | text | URL of the service, if not the usual one |  | https://acme.test/v1
    connection | Address and credentials
    ");
}

/// Rejected credentials, missing fields, an unknown test.
#[tokio::test]
async fn a_failed_test_says_what_is_wrong() {
    let served = served(Scripted::new(Vec::new())).await;
    let test = async |name: &str, config: &[(&str, &str)]| {
        served.client.one("Test", &[field(1, name.as_bytes()), map(2, config)].concat()).await
    };
    assert_eq!(test("connection", &CONFIG).await, small(1, 1));
    let failure =
        async |name: &str, config: &[(&str, &str)]| Fields::read(&test(name, config).await).text(2).unwrap();
    assert_eq!(failure("connection", &[("api_key", "wrong")]).await, "the key is refused (401)");
    assert_eq!(failure("connection", &[]).await, "api_key is missing: give it in `configuration`");
    assert!(
        failure("connection", &[("api_key", "right"), ("start", "soon")])
            .await
            .contains("start in `configuration`")
    );
    assert!(failure("speed", &CONFIG).await.contains("there is no test \"speed\"; there is \"connection\""));
}

#[tokio::test]
async fn the_schema_has_the_selected_tables_and_declared_types() {
    let served = served(Scripted::new(Vec::new())).await;
    let config = map(1, &[("api_key", "right"), ("lists", "contacts")]);
    let schema = Fields::read(&served.client.one("Schema", &config).await);
    let tables = schema.message(3).unwrap().all(1);
    let column = |column: Fields| (column.text(1).unwrap(), column.number(2), column.number(3));
    let tables: Vec<_> = tables
        .into_iter()
        .map(|table| (table.text(1).unwrap(), table.all(2).into_iter().map(column).collect::<Vec<_>>()))
        .collect();
    let want = [("id", 4, 1), ("amount", 5, 0), ("at", 10, 0), ("api_subject", 0, 0)]
        .map(|(name, kind, key)| (name.to_owned(), kind, key));
    assert_eq!(tables, [("contacts".to_owned(), want.to_vec())]);
    let (_, status) = served.client.all("Schema", b"").await;
    assert!(status.0 == 3 && status.1.contains("api_key is missing"), "{status:?}");
}

/// A larger row goes alone; one that no message can hold is reported.
#[tokio::test]
async fn batches_hold_at_most_100_records_and_100_kib() {
    let of = shape("contacts", &[("s", ColumnType::Text)]);
    let text = |length| [Cell::Text("x".repeat(length).into())];
    let ops = vec![
        Op::Shape(Arc::clone(&of)),
        rows(&of, 0..250, &text(10)),
        finish("contacts"),
        rows(&of, 0..10, &text(30_000)),
        rows(&of, 0..2, &text(200_000)),
        rows(&of, 0..1, &text(5_000_000)),
        rows(&of, 0..1, &text(10)),
    ];
    let (messages, status) = updates(Scripted::new(ops), &update("{}")).await;
    assert_eq!(status.0, 0);
    let mut told = words(&messages);
    told.retain(|word| word != "schema_change");
    let want = [
        "record 3 contacts",
        "records 100",
        "records 100",
        "records 50",
        "checkpoint",
        "records 3",
        "records 3",
        "records 3",
        "records 1",
        "records 1",
    ];
    assert_eq!(told[..9], want[..9]);
    assert!(
        told.iter().any(|word| word.starts_with("warning contacts: a row could not be taken: a row of 5000")),
        "{told:?}"
    );
    assert_eq!(told.iter().filter(|word| *word == "records 1").count(), 4);
}

/// A checkpoint comes after exactly the rows it covers; a changed schema is announced.
#[tokio::test]
async fn messages_keep_the_order_of_the_ops() {
    let (narrow, wide) = (shape("contacts", &[]), shape("contacts", &[("s", ColumnType::Text)]));
    let rejected =
        |reason: &str| Rejected { table: "contacts".into(), raw: "{}".into(), reason: reason.into() };
    let ops = vec![
        Op::Shape(Arc::clone(&narrow)),
        rows(&narrow, 0..2, &[]),
        checkpoint("contacts", 1),
        Op::Rejected(vec![rejected("it has no id"), rejected("it has no id")]),
        rows(&narrow, 2..3, &[]),
        Op::Shape(Arc::clone(&wide)),
        rows(&wide, 3..4, &[Cell::Null]),
        checkpoint("contacts", 2),
        finish("contacts"),
    ];
    let (messages, status) = updates(Scripted::new(ops), &update("")).await;
    assert_eq!(status.0, 0);
    let want = [
        "schema_change",
        "record 3 contacts",
        "records 2",
        "checkpoint",
        "warning contacts: a row could not be taken: it has no id",
        "records 1",
        "schema_change",
        "records 1",
        "checkpoint",
        "warning contacts: 2 rows could not be taken in all",
    ];
    assert_eq!(words(&messages), want);
}

/// Tables are not emptied again, types do not narrow, and missing rows are deleted.
#[tokio::test]
async fn the_next_sync_resumes_from_the_last_checkpoint() {
    let of = shape("accounts", &[("n", ColumnType::Double)]);
    let sweep = Op::Finish { table: "accounts".into(), sweep: Some(Sweep { max_share: 0.5 }) };
    let first = vec![Op::Shape(Arc::clone(&of)), rows(&of, 0..4, &[Cell::Double(0.5)]), sweep.clone()];
    let (messages, _) = updates(Scripted::new(first), &update("{}")).await;
    let state = messages.last().unwrap().message(3).unwrap().text(1).unwrap();
    let second = vec![Op::Shape(Arc::clone(&of)), rows(&of, 2..4, &[Cell::Int(1)]), sweep];
    let source = Scripted::new(second);
    let heard = Arc::clone(&source.heard);
    let (messages, status) = updates(source, &update(&state)).await;
    assert_eq!(status.0, 0);
    assert_eq!(words(&messages), ["records 4", "checkpoint"]);
    let records = messages[0].message(6).unwrap().all(1);
    let told: Vec<(u64, usize)> =
        records.iter().map(|record| (record.number(3), record.all(4).len())).collect();
    assert_eq!(told, [(0, 2), (0, 2), (2, 1), (2, 1)], "two upserts of all columns, two deletes by key");
    let wanted = heard.wanted.lock().unwrap();
    assert_eq!(wanted[0].shapes[0].columns[1].kind, ColumnType::Double);
}

/// By key, in order among the other records.
#[tokio::test]
async fn rows_called_deleted_are_deletions() {
    let of = with_deletion_column("contacts");
    let gone = |ids, gone: bool| rows(&of, ids, &[Cell::Bool(gone)]);
    let ops = vec![
        Op::Shape(Arc::clone(&of)),
        gone(1..2, false),
        gone(1..3, true),
        gone(2..3, false),
        finish("contacts"),
    ];
    let (messages, status) = updates(Scripted::new(ops), &update("")).await;
    assert_eq!(status.0, 0);
    assert_eq!(words(&messages), ["schema_change", "record 3 contacts", "records 4", "checkpoint"]);
    let records = messages[2].message(6).unwrap().all(1);
    let told = |record: &Fields| {
        let row = record.all(4);
        let id = row.iter().find(|cell| cell.text(1).as_deref() == Some("id")).unwrap();
        (record.number(3), id.message(2).unwrap().number(5), row.len())
    };
    assert_eq!(records.iter().map(told).collect::<Vec<_>>(), [(0, 1, 2), (2, 1, 1), (2, 2, 1), (0, 2, 2)]);
}

/// Also without any rows.
#[tokio::test]
async fn a_replaced_table_is_emptied_in_each_run() {
    let of = Arc::new(TableShape { write: Write::Replace, ..(*shape("contacts", &[])).clone() });
    for ids in [0..2, 0..0] {
        let ops = vec![Op::Shape(Arc::clone(&of)), rows(&of, ids, &[]), finish("contacts")];
        let state = r#"{"format":1,"connector":"acme","met":["contacts"]}"#;
        let (messages, _) = updates(Scripted::new(ops), &update(state)).await;
        assert!(words(&messages).contains(&"record 3 contacts".to_owned()), "{messages:?}");
    }
}

/// What the user must fix is a task and the stream ends normally; a transient failure is a status; a doubt is a
/// warning. Checkpoints are sent in any case.
#[tokio::test]
async fn each_outcome_has_its_own_message() {
    let of = shape("contacts", &[]);
    let ops = || vec![Op::Shape(Arc::clone(&of)), rows(&of, 0..1, &[]), checkpoint("contacts", 1)];
    let mend = SourceEnd { mend: true, ..ended(End::Failed, "401: the key was revoked") };
    let cases = [
        (mend, 0, Some("task 401: the key was revoked")),
        (ended(End::Failed, "the service answers 500"), 13, None),
        (ended(End::Deferred, "the quota is used up"), 14, None),
        (ended(End::Partial, "rows moved"), 0, Some("warning rows moved")),
        (ended(End::Complete, ""), 0, None),
    ];
    for (how, code, last) in cases {
        let reason = how.reason.clone().unwrap_or_default();
        let (messages, status) = updates(Scripted::new(ops()).ending(how), &update("{}")).await;
        assert_eq!(status.0, code, "{reason}");
        assert!(code == 0 || status.1 == reason, "{status:?}");
        let told = words(&messages);
        assert!(told.contains(&"checkpoint".to_owned()));
        assert_eq!(told.last().map(String::as_str), last.or(Some("checkpoint")));
    }
    let long = ended(End::Failed, &format!("it broke (at https://acme.test/{})", "é".repeat(100_000)));
    let (_, status) = updates(Scripted::new(ops()).ending(long), &update("{}")).await;
    assert!(status.0 == 13 && status.1.starts_with("it broke") && status.1.len() < 6_000, "{status:?}");
}

/// A state of a later version or of another connector, or an incomplete configuration; the task says what to do.
#[tokio::test]
async fn an_unusable_state_or_configuration_is_a_task() {
    for (request, want) in [
        (update(r#"{"format":2,"connector":"acme"}"#), "update the program"),
        (update(r#"{"format":1,"connector":"beta"}"#), "belongs to the connector \"beta\""),
        (update("[]"), "re-sync the connection"),
        (field(3, b"{}"), "api_key is missing: give it in `configuration`"),
    ] {
        let (messages, status) = updates(Scripted::new(Vec::new()), &request).await;
        let told = words(&messages);
        assert!(
            status.0 == 0 && told.len() == 1 && told[0].starts_with("task ") && told[0].contains(want),
            "{told:?}"
        );
    }
    let schemas = [map(1, &CONFIG), field(2, &field(2, b""))].concat();
    let (_, status) = updates(Scripted::new(Vec::new()), &schemas).await;
    assert_eq!(status.0, 3, "{status:?}");
}

/// Keys always are; unknown names are reported.
#[tokio::test]
async fn only_selected_tables_and_columns_are_requested_and_sent() {
    let of = shape("contacts", &[("a", ColumnType::Text), ("b", ColumnType::Text), ("c", ColumnType::Text)]);
    let text = Cell::Text("x".into());
    let ops = vec![Op::Shape(Arc::clone(&of)), rows(&of, 0..1, &[text.clone(), text.clone(), text])];
    let column = |name: &str, on| field(3, &[field(1, name.as_bytes()), small(2, on)].concat());
    let contacts =
        [small(1, 1), field(2, b"contacts"), column("a", 1), column("b", 0), column("id", 0)].concat();
    let stranger = [small(1, 1), field(2, b"invoices")].concat();
    let selection = field(2, &field(1, &[field(1, &contacts), field(1, &stranger)].concat()));
    let source = Scripted::new(ops);
    let heard = Arc::clone(&source.heard);
    let (messages, status) = updates(source, &[map(1, &CONFIG), selection].concat()).await;
    assert_eq!(status.0, 0);
    assert_eq!(heard.wanted.lock().unwrap()[0].tables, Some(vec!["contacts".to_owned()]));
    assert!(
        word(&messages[0])
            .contains("invoices is selected, but acme has no such table (it has accounts, contacts)")
    );
    let record = messages.iter().find_map(|message| message.message(6)).unwrap().message(1).unwrap();
    let sent: Vec<String> = record.all(4).iter().map(|entry| entry.text(1).unwrap()).collect();
    assert_eq!(sent, ["a", "id"]);
    // No existing table is selected: nothing is read.
    let nothing = field(2, &field(1, &field(1, &[small(1, 0), field(2, b"contacts")].concat())));
    let source = Scripted::new(vec![rows(&of, 0..1, &[])]);
    let heard = Arc::clone(&source.heard);
    let (messages, status) = updates(source, &[map(1, &CONFIG), nothing].concat()).await;
    assert!(status.0 == 0 && messages.is_empty() && heard.wanted.lock().unwrap().is_empty());
}

/// Before the client fails on it.
#[tokio::test]
async fn a_state_larger_than_a_message_is_a_task() {
    let of = shape("contacts", &[]);
    let long = |n: usize| {
        let entry = ("contacts".to_owned(), format!("{n}"), Some("x".repeat(1 << 20).into()));
        Op::Checkpoint(Checkpoint { entries: vec![entry] })
    };
    let mut ops = vec![Op::Shape(Arc::clone(&of)), rows(&of, 0..1, &[])];
    ops.extend((0..5).flat_map(|n| [long(n), finish("contacts")]));
    let source = Scripted::new(ops).rounds(1000);
    let heard = Arc::clone(&source.heard);
    let (messages, status) = updates(source, &update("{}")).await;
    let last = word(messages.last().unwrap());
    assert!(status.0 == 0 && last.contains("a checkpoint can hold"), "{status:?} {last}");
    assert!(heard.sent.load(Ordering::Relaxed) < 20, "it went on reading");
    let states = messages.iter().filter_map(|message| message.message(3)?.text(1));
    assert!(states.map(|state| state.len()).max().unwrap() < 4 << 20);
}
