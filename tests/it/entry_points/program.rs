//! The real program as a pipeline starts it: the seed's three commands, verbatim except for the program's name, and
//! errors around them.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use stand_ins::people_ai::{self, PeopleAi};
use stand_ins::sensource::{self, SenSource};
use stand_ins::statuscake::{self, Sizes, StatusCake};
use stand_ins::{Clock, Reply};

/// The program, with nothing of the test's environment.
pub(super) fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_data-sources-monitor"));
    command.current_dir(folder).env_clear();
    if let Ok(bundle) = std::env::var("SSL_CERT_FILE") {
        command.env("SSL_CERT_FILE", bundle);
    }
    command
}

/// What a shell's pipe of `echo` into the program says.
fn echo(folder: &Path, document: &str, args: &str) -> (i32, Value, String) {
    let script =
        format!("echo '{document}' | \"{}\" serve stdin {args}", env!("CARGO_BIN_EXE_data-sources-monitor"));
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &script]).current_dir(folder).env_clear();
    if let Ok(bundle) = std::env::var("SSL_CERT_FILE") {
        command.env("SSL_CERT_FILE", bundle);
    }
    let Output { status, stdout, stderr } = command.output().unwrap();
    let document = serde_json::from_slice(&stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&stdout)));
    (status.code().unwrap_or(-1), document, String::from_utf8(stderr).unwrap())
}

/// Calls until nothing is left, and gathers every table's rows by key.
fn sync_all(folder: &Path, name: &str, secrets: &Value) -> std::collections::BTreeMap<String, usize> {
    let mut rows: std::collections::BTreeMap<String, std::collections::BTreeSet<String>> = Default::default();
    let mut state = json!({});
    for _ in 0..50 {
        let document = json!({ "secrets": secrets, "state": state });
        let (code, answer, said) = echo(folder, &document.to_string(), name);
        assert_eq!(code, 0, "{answer} {said}");
        let mut came = 0;
        for (table, inserted) in answer["insert"].as_object().unwrap() {
            let key: Vec<&str> = answer["schema"][table]["primary_key"]
                .as_array()
                .unwrap()
                .iter()
                .map(|k| k.as_str().unwrap())
                .collect();
            for row in inserted.as_array().unwrap() {
                came += 1;
                rows.entry(table.clone())
                    .or_default()
                    .insert(key.iter().map(|k| row[k].to_string()).collect());
            }
        }
        state = answer["state"].clone();
        if answer["hasMore"] == false {
            return rows.into_iter().map(|(table, rows)| (table, rows.len())).collect();
        }
        assert!(came > 0, "an empty answer that says there is more");
    }
    panic!("never done");
}

/// Page after page returns every row.
#[test]
fn the_seeds_three_commands_work_for_statuscake() {
    let folder = tempfile::tempdir().unwrap();
    let cake =
        StatusCake::start(7, Sizes { tests: 12, history: 260, periods: 12, alerts: 30 }, &Clock::system());
    let (code, schema, _) = echo(folder.path(), r#"{"selection":{"action":"schema"}}"#, "statuscake");
    assert_eq!((code, &schema["schema"]["uptime_test"]["primary_key"]), (0, &json!(["id"])));
    let secrets = json!({ "api_key": statuscake::API_KEY, "base_url": cake.base_url() });
    let test = format!(r#"{{"secrets":{secrets},"selection":{{"action":"test"}}}}"#);
    let (code, tested, said) = echo(folder.path(), &test, "statuscake");
    assert_eq!((code, tested), (0, json!({ "success": true })), "{said}");
    let counts = sync_all(folder.path(), "statuscake", &secrets);
    for table in ["uptime_test", "uptime_test_history", "uptime_test_period", "uptime_test_alert"] {
        assert_eq!(counts[table], cake.source_rows(table).len(), "{table}");
    }
    let wrong = json!({ "api_key": "stand-in-wrong-key", "base_url": cake.base_url() });
    let (code, tested, said) = echo(
        folder.path(),
        &format!(r#"{{"secrets":{wrong},"selection":{{"action":"test"}}}}"#),
        "statuscake",
    );
    assert_eq!((code, &tested["success"]), (0, &json!(false)));
    assert!(
        !tested.to_string().contains("stand-in-wrong-key") && !said.contains("stand-in-wrong-key"),
        "{tested} {said}"
    );
    let (code, answer, said) =
        echo(folder.path(), &format!(r#"{{"secrets":{wrong},"state":{{}}}}"#), "statuscake");
    assert!(code == 1 && answer["error"].is_string() && !said.contains("stand-in-wrong-key"), "{answer}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn the_seeds_three_commands_work_for_sensource_and_people_ai() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::system();
    let today = clock.now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let opened = today.saturating_sub(jiff::ToSpan::days(40));
    let vea = SenSource::start(7, 3, opened, &clock);
    let secrets = json!({ "client_id": sensource::CLIENT_ID, "client_secret": sensource::CLIENT_SECRET,
        "base_url": vea.base_url(), "token_url": vea.token_url(), "start_date": opened.to_string() });
    let (code, tested, said) = echo(
        folder.path(),
        &json!({ "secrets": secrets, "selection": { "action": "test" } }).to_string(),
        "sensource",
    );
    assert_eq!((code, tested), (0, json!({ "success": true })), "{said}");
    let counts = sync_all(folder.path(), "sensource", &secrets);
    assert_eq!(counts["zone"], vea.source_rows("zone").len());
    assert!(counts["traffic"] > 500, "{counts:?}");
    let people = PeopleAi::start(7, 150, 60, &clock);
    let secrets = json!({ "api_key": people_ai::API_KEY, "api_secret": people_ai::API_SECRET,
        "base_url": people.base_url(), "token_url": people.token_url() });
    let (code, tested, said) = echo(
        folder.path(),
        &json!({ "secrets": secrets, "selection": { "action": "test" } }).to_string(),
        "people_ai",
    );
    assert_eq!((code, tested), (0, json!({ "success": true })), "{said}");
    let counts = sync_all(folder.path(), "people_ai", &secrets);
    assert_eq!(counts["activity"], people.source_rows("activity").len());
    assert_eq!(counts["participants"], people.source_rows("participants").len());
}

/// Outside any folder; its errors are one document.
#[test]
fn a_single_file_is_a_connector() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("acme.toml"), super::ACME).unwrap();
    let (code, schema, _) = echo(folder.path(), r#"{"selection":{"action":"schema"}}"#, "--file acme.toml");
    assert_eq!((code, &schema["schema"]["contacts"]["columns"]["amount"]), (0, &json!("DECIMAL")));
    std::fs::write(
        folder.path().join("broken.toml"),
        "format = 1\n[connector]\nname = 5\nspeed = \"fast\"\n",
    )
    .unwrap();
    let (code, answer, _) = echo(folder.path(), "{}", "--file broken.toml");
    let said = answer["error"].as_str().unwrap();
    assert!(code == 78 && said.contains("broken.toml:3:") && said.contains("broken.toml:4:"), "{said}");
    let (code, answer, _) = echo(folder.path(), "{}", "--file none.toml");
    assert!(
        code == 78 && answer["error"].as_str().unwrap().contains("none.toml: cannot be read"),
        "{answer}"
    );
    let (code, answer, _) = echo(folder.path(), "{}", "nobody");
    assert!(
        code == 78
            && answer["error"].as_str().unwrap().contains("unknown connector \"nobody\"; known connectors:"),
        "{answer}"
    );
    let (code, answer, said) = echo(folder.path(), "{\"secrets\":", "statuscake");
    assert!(
        code == 1 && answer["error"].as_str().unwrap().contains("it ends too early at line"),
        "{answer} {said}"
    );
}

#[test]
fn a_failed_sync_is_an_error_and_the_given_state_stays_valid() {
    let folder = tempfile::tempdir().unwrap();
    let cake = StatusCake::start(7, Sizes { tests: 3, history: 5, periods: 2, alerts: 2 }, &Clock::system());
    let secrets = json!({ "api_key": statuscake::API_KEY, "base_url": cake.base_url() });
    cake.always_on("history", Reply::html());
    let (code, answer, _) =
        echo(folder.path(), &json!({ "secrets": secrets, "state": {} }).to_string(), "statuscake");
    assert!(code == 1 && answer["error"].is_string() && answer.as_object().unwrap().len() == 1, "{answer}");
}

/// With what to do.
#[test]
fn a_port_in_use_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let mut command = program(folder.path());
    let Output { status, stderr, .. } = command
        .args(["serve", "fivetran", "statuscake", "--listen", "127.0.0.1", "--port", &port])
        .output()
        .unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert!(
        status.code() == Some(1)
            && said.contains(&format!("port {port} is in use"))
            && said.contains("--port"),
        "{said}"
    );
}

/// A variable names the connector.
#[test]
fn the_name_that_fivetran_starts_serves_a_source() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("fivetran_source");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_data-sources-monitor"), &link).unwrap();
    let source = |name: Option<&str>| {
        let mut command = Command::new(&link);
        command.args(["--port", "0", "--listen", "127.0.0.1"]).current_dir(folder.path()).env_clear();
        command.envs(name.map(|name| ("FIVETRAN_SOURCE", name)));
        command
    };
    let mut running = source(Some("sensource")).stdout(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(running.stdout.take().unwrap()).read_line(&mut first).unwrap();
    running.kill().unwrap();
    running.wait().unwrap();
    assert!(first.contains("serving sensource on 127.0.0.1:") && first.contains("sdk_connector"), "{first}");
    for (name, want) in [(None, "set FIVETRAN_SOURCE"), (Some("nobody"), "unknown connector \"nobody\"")] {
        let Output { status, stderr, .. } = source(name).output().unwrap();
        let said = String::from_utf8(stderr).unwrap();
        assert!(status.code() == Some(78) && said.contains(want), "{said}");
    }
}
