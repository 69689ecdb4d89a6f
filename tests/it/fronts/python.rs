//! Fivetran's own stubs and Python's gRPC against the real program. Needs the package
//! `fivetran_connector_sdk==2.4.2`, which the test installs into `target/fivetran-client` unless it is there.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::program::program;
use crate::fakes::Clock;
use crate::fakes::statuscake::{API_KEY, Sizes, StatusCake};

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

/// The four calls as Fivetran makes them: form, test, schema, an initial sync, and one that goes on; the log is its.
#[test]
#[ignore = "installs a package from PyPI"]
fn fivetrans_stubs_understand_every_word() {
    let folder = tempfile::tempdir().unwrap();
    let cake =
        StatusCake::start(7, Sizes { tests: 12, history: 260, periods: 12, alerts: 30 }, &Clock::system());
    let mut command = program(folder.path());
    command
        .args(["serve", "fivetran", "statuscake", "--listen", "127.0.0.1", "--port", "0"])
        .stdout(Stdio::piped());
    let mut server = Running(command.spawn().unwrap());
    let mut log = BufReader::new(server.0.stdout.take().unwrap()).lines().map(|line| line.unwrap());
    let first: Value = serde_json::from_str(&log.next().unwrap()).unwrap();
    let said = first["message"].as_str().unwrap();
    assert_eq!((&first["level"], &first["message-origin"]), (&json!("INFO"), &json!("sdk_connector")));
    let address = said.rsplit(' ').next().unwrap();
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fivetran_client.py");
    let configuration = json!({ "api_key": API_KEY, "base_url": cake.base_url() });
    let output =
        Command::new(python()).arg(script).args([address, &configuration.to_string()]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["fields"][0], json!(["api_key", "Password", true]));
    assert_eq!(report["test"], "success");
    assert!(
        report["wrong_key"]
            .as_str()
            .unwrap()
            .contains("401: \"Unauthorised\"; the credentials were refused: check api_key"),
        "{report:#}"
    );
    for table in ["uptime_test", "uptime_test_history", "uptime_test_period", "uptime_test_alert"] {
        assert_eq!(report["tables"][table]["rows"], cake.source_rows(table).len(), "{report:#}");
    }
    assert_eq!(report["tables"]["uptime_test"]["key"], json!(["id"]));
    assert_eq!(
        report["first"]["truncated"],
        json!(["uptime_test", "uptime_test_history", "uptime_test_period", "uptime_test_alert"])
    );
    assert!(report["first"]["largest_batch"].as_u64().unwrap() <= 100);
    assert_eq!(report["second"]["truncated"], json!([]));
    assert!(report["second"]["rows"].as_u64() < report["first"]["rows"].as_u64(), "{report:#}");
    assert_eq!(report["selected"]["tables"], json!(["uptime_test"]));
    assert!(report["task"].as_str().unwrap().contains("401"), "{report:#}");
}
