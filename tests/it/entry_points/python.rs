//! Fivetran's own stubs and Python's gRPC against the real program. Needs the package
//! `fivetran_connector_sdk==2.4.2`, which the test installs into `target/fivetran-client` unless it is there.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use data_sources_monitor::testing::domain::syncing::cell::ColumnType;
use serde_json::{Value, json};

use super::program::program;
use crate::syncing::engine::built_in;
use stand_ins::Clock;
use stand_ins::people_ai::{self, PeopleAi};
use stand_ins::sensource::{self, SenSource};
use stand_ins::statuscake::{self, Sizes, StatusCake};

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn python() -> PathBuf {
    let home = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/fivetran-client");
    let python = home.join("bin/python");
    if !home.join("ready").exists() {
        let run = |command: &mut Command| assert!(command.status().unwrap().success());
        run(Command::new("python3").args(["-m", "venv"]).arg(&home));
        run(Command::new(&python).args(["-m", "pip", "install", "-q", "fivetran_connector_sdk==2.4.2"]));
        std::fs::write(home.join("ready"), "").unwrap();
    }
    python
}

/// What Fivetran's stubs decode from a connector behind the real program.
fn report(name: &str, configuration: &Value, secret: &str) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let mut command = program(folder.path());
    command.args(["serve", "fivetran", name, "--listen", "127.0.0.1", "--port", "0"]).stdout(Stdio::piped());
    let mut server = Running(command.spawn().unwrap());
    let mut log = BufReader::new(server.0.stdout.take().unwrap());
    let mut first = String::new();
    log.read_line(&mut first).unwrap();
    // A full pipe of an unread log would block the program.
    let rest = std::thread::spawn(move || log.lines().map_while(Result::ok).collect::<Vec<_>>());
    let said: Value = serde_json::from_str(&first).unwrap();
    assert_eq!((&said["level"], &said["message-origin"]), (&json!("INFO"), &json!("sdk_connector")));
    let address = said["message"].as_str().unwrap().rsplit(' ').next().unwrap();
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fivetran_client.py");
    let output = Command::new(python())
        .arg(script)
        .args([address, &configuration.to_string(), secret])
        .output()
        .unwrap();
    drop(server);
    for line in rest.join().unwrap() {
        let line: Value = serde_json::from_str(&line).unwrap();
        assert!(["INFO", "WARNING", "SEVERE"].contains(&line["level"].as_str().unwrap()), "{line}");
    }
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    check(name, &report);
    report
}

/// What holds for every connector.
fn check(name: &str, report: &Value) {
    assert_eq!(report["test"], "success", "{report:#}");
    assert!(report["wrong_key"].as_str().unwrap().contains("401"), "{report:#}");
    assert!(report["task"].as_str().unwrap().contains("401"), "{report:#}");
    let definition = built_in(name, |_| {});
    let declared = report["declared"].as_object().unwrap();
    for (table, columns) in declared {
        let shape = definition.table(table).unwrap().declared_shape();
        let columns: Vec<(&str, &str, bool)> = columns
            .as_array()
            .unwrap()
            .iter()
            .map(|c| (c[0].as_str().unwrap(), c[1].as_str().unwrap(), c[2].as_bool().unwrap()))
            .collect();
        let want: Vec<(&str, &str, bool)> = shape
            .columns
            .iter()
            .map(|column| (column.name.as_str(), type_name(column.kind), shape.key.contains(&column.name)))
            .collect();
        assert_eq!(columns, want, "{table}");
        let mut key = shape.key.clone();
        key.sort();
        let mut found: Vec<String> =
            serde_json::from_value(report["tables"][table]["key"].clone()).unwrap_or_else(|_| key.clone());
        found.sort();
        assert_eq!(found, key, "{table}");
    }
    assert!(report["first"]["largest_batch"].as_u64().unwrap() <= 100);
    assert_eq!(report["first"]["warnings"], json!([]), "{name}");
    assert_eq!(report["second"]["truncated"], json!([]), "{name}");
    assert!(report["second"]["rows"].as_u64() <= report["first"]["rows"].as_u64(), "{report:#}");
    assert_eq!(report["selected"][1], json!([report["selected"][0]]));
}

fn type_name(kind: ColumnType) -> &'static str {
    match kind {
        ColumnType::Unknown => "UNSPECIFIED",
        ColumnType::Boolean => "BOOLEAN",
        ColumnType::Bigint => "LONG",
        ColumnType::Double => "DOUBLE",
        ColumnType::Decimal => "DECIMAL",
        ColumnType::Date => "NAIVE_DATE",
        ColumnType::Timestamp => "UTC_DATETIME",
        ColumnType::Json => "JSON",
        ColumnType::Text => "STRING",
    }
}

fn rows(report: &Value, table: &str) -> usize {
    report["tables"][table]["rows"].as_u64().unwrap_or(0) as usize
}

/// The four calls as Fivetran makes them, of all three built-in connectors: form, test, schema, an initial sync, an
/// incremental one, a selection, rejected credentials. Every value is of its column's type, every row is there, and
/// the log has the SDK's format.
#[test]
#[ignore = "installs a package from PyPI"]
fn fivetrans_stubs_understand_every_message() {
    let clock = Clock::system();
    let sizes = Sizes { tests: 12, history: 260, periods: 12, alerts: 30 };
    let cake = StatusCake::start(7, sizes, &clock);
    let configuration = json!({ "api_key": statuscake::API_KEY, "base_url": cake.base_url() });
    let said = report("statuscake", &configuration, "api_key");
    assert_eq!(said["fields"][0], json!(["api_key", "Password", true]));
    let tables = ["uptime_test", "uptime_test_history", "uptime_test_period", "uptime_test_alert"];
    for table in tables {
        assert_eq!(rows(&said, table), cake.source_rows(table).len(), "{table}");
    }
    assert_eq!(said["first"]["truncated"], json!(tables));

    let today = clock.now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let opened = today.saturating_sub(jiff::ToSpan::days(40));
    let vea = SenSource::start(7, 3, opened, &clock);
    let configuration = json!({ "client_id": sensource::CLIENT_ID, "client_secret": sensource::CLIENT_SECRET,
        "base_url": vea.base_url(), "token_url": vea.token_url(), "start_date": opened.to_string() });
    let said = report("sensource", &configuration, "client_secret");
    for table in ["location", "site", "zone", "space"] {
        assert_eq!(rows(&said, table), vea.source_rows(table).len(), "{table}");
    }
    assert!(rows(&said, "traffic") > 500 && rows(&said, "occupancy") > 500, "{said:#}");

    let people = PeopleAi::start(7, 150, 60, &clock);
    let configuration = json!({ "api_key": people_ai::API_KEY, "api_secret": people_ai::API_SECRET,
        "base_url": people.base_url(), "token_url": people.token_url() });
    let said = report("people_ai", &configuration, "api_secret");
    for table in ["activity", "participants"] {
        assert_eq!(rows(&said, table), people.source_rows(table).len(), "{table}");
    }
}
