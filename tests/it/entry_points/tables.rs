//! The tables that each entry point leaves, made comparable: texts, by the types of the destination. Start at
//! [`EntryPoints`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use data_sources_monitor::testing::destinations::Destination;
use data_sources_monitor::testing::destinations::sqlite;
use data_sources_monitor::testing::domain::syncing::cell::ColumnType;
use data_sources_monitor::testing::domain::syncing::definition::config::{ConfigStatus, ConfigValues};
use data_sources_monitor::testing::domain::syncing::definition::connector::Definition;
use data_sources_monitor::testing::domain::syncing::op::{End, TableShape};
use data_sources_monitor::testing::http::Network;
use data_sources_monitor::testing::protocol::fivetran::serve;
use data_sources_monitor::testing::protocol::source::ConnectorSource;
use data_sources_monitor::testing::protocol::stdin::answer;
use data_sources_monitor::testing::runtime::clock::Clock;
use data_sources_monitor::testing::runtime::jobs::sync::{SyncOptions, execute};
use data_sources_monitor::testing::source::{Account, RunProgress};
use jiff::Timestamp;
use jiff::civil::DateTime;
use rusqlite::types::ValueRef;
use secrecy::SecretString;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::grpc::Client;
use super::proto::{Fields, field, map};

/// A row by column, without nulls.
pub(super) type Row = BTreeMap<String, String>;
/// Table → key → row.
pub(super) type Tables = BTreeMap<String, BTreeMap<String, Row>>;

/// What an entry point sends for a table.
enum Event {
    Upsert(Row),
    Delete(Row),
    Empty,
}

/// One connector behind all entry points, each resuming from its own last state.
pub(super) struct EntryPoints {
    definition: Definition,
    config: Vec<(String, String)>,
    folder: TempDir,
    stdin: (Value, Vec<(String, Event)>),
    grpc: (String, Vec<(String, Event)>),
    address: SocketAddr,
    stop: CancellationToken,
}

impl Drop for EntryPoints {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl EntryPoints {
    pub(super) async fn of(definition: Definition, config: &[(&str, String)]) -> EntryPoints {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let engine = ConnectorSource::new(definition.clone(), Network::default());
        tokio::spawn(serve(listener, Arc::new(engine), stop.clone()));
        EntryPoints {
            definition,
            config: config.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect(),
            folder: tempfile::tempdir().unwrap(),
            stdin: (json!({}), Vec::new()),
            grpc: (String::new(), Vec::new()),
            address,
            stop,
        }
    }

    /// Runs every entry point once and returns the tables that all of them agree on.
    pub(super) async fn round(&mut self) -> Tables {
        let (tables, shapes) = self.sync().await;
        self.ask_stdin().await;
        assert_same("stdin", &tables, &fold(&self.stdin.1, &shapes));
        self.ask_grpc().await;
        assert_same("gRPC", &tables, &fold(&self.grpc.1, &shapes));
        tables
    }

    async fn sync(&self) -> (Tables, BTreeMap<String, TableShape>) {
        let given = self
            .config
            .iter()
            .map(|(k, v)| (k.clone(), SecretString::from(v.clone())))
            .collect::<BTreeMap<_, _>>();
        let config = match ConfigValues::resolve(&self.definition, &given) {
            ConfigStatus::On(config) => config,
            other => panic!("not configured: {other:?}"),
        };
        let account = Account::new(Arc::new(self.definition.clone()), config, Network::default()).unwrap();
        let path: PathBuf = self.folder.path().join("rows.db");
        let sqlite = sqlite::open(&path, &self.definition.name).unwrap();
        let progress = RunProgress::new(&self.definition);
        let cancel = CancellationToken::new();
        let done = execute(&account, &sqlite, SyncOptions::default(), Clock::system(), progress, cancel)
            .await
            .unwrap();
        assert!(matches!(done.run.end, End::Complete | End::Partial), "{done:?}");
        let shapes = sqlite.shapes().await.unwrap();
        sqlite.close().await.unwrap();
        (stored(&path, &shapes), shapes)
    }

    async fn ask_stdin(&mut self) {
        let engine = ConnectorSource::new(self.definition.clone(), Network::default());
        let secrets: serde_json::Map<String, Value> =
            self.config.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
        for _ in 0..200 {
            let document = json!({ "secrets": secrets, "state": self.stdin.0 }).to_string();
            let answer = answer(&engine, document.as_bytes(), &CancellationToken::new()).await;
            let text = String::from_utf8(answer.document).unwrap();
            assert!(answer.ok, "{text}");
            let document: BTreeMap<String, Box<RawValue>> = serde_json::from_str(&text).unwrap();
            let (inserted, deleted) = (rows_of(&document["insert"]), rows_of(&document["delete"]));
            // A caller may apply the two in any order.
            for (table, gone) in &deleted {
                let same =
                    |row: &Row, key: &Row| key.iter().all(|(column, value)| row.get(column) == Some(value));
                let both = gone.iter().find(|key| {
                    inserted.get(table).is_some_and(|rows| rows.iter().any(|row| same(row, key)))
                });
                assert!(both.is_none(), "{table}: {both:?} is inserted and deleted: {text}");
            }
            for (rows, event) in [(inserted, Event::Upsert as fn(Row) -> Event), (deleted, Event::Delete)] {
                for (table, rows) in rows {
                    self.stdin.1.extend(rows.into_iter().map(|row| (table.clone(), event(row))));
                }
            }
            self.stdin.0 = serde_json::from_str(document["state"].get()).unwrap();
            if document["hasMore"].get() == "false" {
                return;
            }
        }
        panic!("stdin never comes to an end");
    }

    async fn ask_grpc(&mut self) {
        let client = Client::connect(self.address).await;
        let config: Vec<(&str, &str)> = self.config.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let request = [map(1, &config), field(3, self.grpc.0.as_bytes())].concat();
        let (messages, status) = client.all("Update", &request).await;
        assert_eq!(status.0, 0, "{status:?}");
        for message in messages.iter().map(|message| Fields::read(message)) {
            let records = message.message(6).map(|records| records.all(1)).unwrap_or_default();
            for record in records.into_iter().chain(message.message(1)) {
                let row: Row = record.all(4).iter().filter_map(value).collect();
                let event = match record.number(3) {
                    0 => Event::Upsert(row),
                    2 => Event::Delete(row),
                    3 => Event::Empty,
                    other => panic!("a record of type {other}"),
                };
                self.grpc.1.push((record.text(2).unwrap(), event));
            }
            assert!(message.message(5).is_none(), "a task: {message:?}");
            if let Some(checkpoint) = message.message(3) {
                self.grpc.0 = checkpoint.text(1).unwrap();
            }
        }
    }
}

/// The rows of an answer's member by table.
fn rows_of(member: &RawValue) -> BTreeMap<String, Vec<Row>> {
    let tables: BTreeMap<String, Vec<BTreeMap<String, Box<RawValue>>>> =
        serde_json::from_str(member.get()).unwrap();
    let row = |row: &BTreeMap<String, Box<RawValue>>| {
        row.iter().filter_map(|(column, value)| Some((column.clone(), plain(value.get())?))).collect()
    };
    tables.iter().map(|(table, rows)| (table.clone(), rows.iter().map(row).collect())).collect()
}

/// A value of JSON as plain text; `None` for null.
fn plain(raw: &str) -> Option<String> {
    match raw {
        "null" => None,
        text if text.starts_with('"') => Some(serde_json::from_str(text).unwrap()),
        other => Some(other.to_owned()),
    }
}

/// An entry of a record's map as column and plain text; `None` for null.
fn value(entry: &Fields) -> Option<(String, String)> {
    let of = entry.message(2).unwrap();
    let instant = |n| {
        let at = of.message(n).unwrap();
        // Civil time, because the last day of the calendar is beyond the library's last instant.
        let passed = jiff::SignedDuration::new(at.number(1) as i64, at.number(2) as i32);
        jiff::civil::datetime(1970, 1, 1, 0, 0, 0, 0).checked_add(passed).unwrap()
    };
    let text = match of.0[0].0 {
        1 => return None,
        2 => (of.number(2) == 1).to_string(),
        5 => (of.number(5) as i64).to_string(),
        7 => f64::from_bits(of.number(7)).to_string(),
        8 => instant(8).date().to_string(),
        10 => format!("{}Z", instant(10)),
        n @ (11 | 13 | 14) => of.text(n).unwrap(),
        other => panic!("a value of type {other}"),
    };
    Some((entry.text(1).unwrap_or_default(), text))
}

/// The rows of a file that are not soft-deleted.
fn stored(path: &std::path::Path, shapes: &BTreeMap<String, TableShape>) -> Tables {
    let db = rusqlite::Connection::open(path).unwrap();
    let mut tables = Tables::new();
    for (table, shape) in shapes {
        let mut query = db.prepare(&format!("SELECT * FROM \"{table}\" WHERE _deleted_at IS NULL")).unwrap();
        let names: Vec<String> = query.column_names().map(str::to_owned).collect();
        let mut rows = query.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let text = |at| match row.get_ref(at).unwrap() {
                ValueRef::Null => None,
                ValueRef::Integer(number) => Some(number.to_string()),
                ValueRef::Real(number) => Some(number.to_string()),
                ValueRef::Text(text) => Some(String::from_utf8(text.to_vec()).unwrap()),
                ValueRef::Blob(_) => panic!("a blob in {table}"),
            };
            let ours = |name: &&String| *name != "_synced_at" && *name != "_deleted_at";
            let cells = names.iter().enumerate().filter(|(_, name)| ours(name));
            let row: Row = cells.filter_map(|(at, name)| Some((name.clone(), text(at)?))).collect();
            let row = normalised(shape, &row);
            tables.entry(table.clone()).or_default().insert(key(shape, &row), row);
        }
    }
    tables
}

/// The tables after all events of an entry point.
fn fold(events: &[(String, Event)], shapes: &BTreeMap<String, TableShape>) -> Tables {
    let mut tables = Tables::new();
    for (table, event) in events {
        let shape = shapes.get(table).unwrap_or_else(|| panic!("{table} is not in the file"));
        let rows = tables.entry(table.clone()).or_default();
        match event {
            Event::Upsert(row) => {
                let row = normalised(shape, row);
                rows.insert(key(shape, &row), row);
            }
            // A row that the source calls deleted may never have been there.
            Event::Delete(row) => {
                let was_there = rows.remove(&key(shape, &normalised(shape, row))).is_some();
                assert!(was_there || shape.deleted_if.is_some(), "{table}: {row:?} was not there");
            }
            Event::Empty => rows.clear(),
        }
    }
    tables.retain(|_, rows| !rows.is_empty());
    tables
}

fn key(shape: &TableShape, row: &Row) -> String {
    let part = |name: &String| row.get(name).cloned().unwrap_or_default();
    match shape.key.as_slice() {
        [] => format!("{row:?}"),
        key => key.iter().map(part).collect::<Vec<_>>().join("|"),
    }
}

/// A row whose texts depend neither on the writer nor on whether its column was widened before or after it.
fn normalised(shape: &TableShape, row: &Row) -> Row {
    let one = |(name, text): (&String, &String)| {
        let column = shape.columns.iter().find(|column| column.name == *name);
        let kind = column.unwrap_or_else(|| panic!("{}.{name} is not in the file", shape.table)).kind;
        let text = match (kind, text.as_str()) {
            (ColumnType::Boolean, text) => matches!(text, "1" | "true").to_string(),
            (ColumnType::Double, text) => text.parse::<f64>().map_or(text.to_owned(), |n| n.to_string()),
            (ColumnType::Json, text) => serde_json::from_str::<Value>(text).unwrap().to_string(),
            (ColumnType::Decimal, text) if text.contains('e') => text.parse::<f64>().unwrap().to_string(),
            (ColumnType::Decimal, text) if text.contains('.') => {
                text.trim_end_matches('0').trim_end_matches('.').to_owned()
            }
            (_, text) => instant(text).unwrap_or_else(|| text.to_owned()),
        };
        (name.clone(), text)
    };
    row.iter().map(one).collect()
}

/// An instant in one spelling; the last days of the calendar have midnights beyond the library's last instant.
fn instant(text: &str) -> Option<String> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at.to_string());
    }
    let civil = text.trim_end_matches('Z').parse::<DateTime>().ok().filter(|_| text.len() > 10)?;
    Some(format!("{civil}Z"))
}

fn assert_same(front: &str, want: &Tables, have: &Tables) {
    let names = |tables: &Tables| tables.iter().map(|(t, rows)| (t.clone(), rows.len())).collect::<Vec<_>>();
    assert_eq!(names(have), names(want), "{front} and SQLite have other tables or numbers of rows");
    for (table, rows) in want {
        for (key, row) in rows {
            assert_eq!(have[table].get(key), Some(row), "{front}: {table} {key}");
        }
    }
}
