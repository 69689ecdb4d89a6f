//! `--env-file`, `--data-dir` and `--log-level`: the same for every command; they win over variables.

use std::fs;

use crate::processes::binary::{output, program, watching};
use stand_ins::status_page::StatusPage;

#[test]
fn a_flag_wins_over_variable_file_and_env_file() {
    let folder = watching(&[]);
    fs::write(folder.path().join(".env"), "DATA_DIR=from-env-file\n").unwrap();
    fs::write(folder.path().join("level"), "loud").unwrap();
    let vars = [("DATA_DIR", "from-environment"), ("LOG_LEVEL_FILE", "level")];
    let (code, _, said) = output(folder.path(), &["validate"], &vars);
    assert!(code == 78 && said.contains("LOG_LEVEL"), "{said}");
    let args = ["--data-dir", "from-flag", "validate", "--log-level", "warn"];
    let (code, out, said) = output(folder.path(), &args, &vars);
    assert!(code == 0 && out.contains("tables: SQLite in from-flag"), "{out}{said}");
    let (code, _, said) = output(folder.path(), &["validate", "--log-level", "loud"], &[]);
    assert!(code == 78 && said.contains("\"loud\""), "{said}");
    let (code, _, said) = output(folder.path(), &["runs", "--data-dir", ""], &[]);
    assert!(code == 78 && said.contains("--data-dir: is empty"), "{said}");
}

#[test]
fn env_file_replaces_the_default_env_file() {
    let folder = watching(&[]);
    fs::write(folder.path().join(".env"), "DATA_DIR=usual\n").unwrap();
    fs::write(folder.path().join("other"), "DATA_DIR=other\nPOLL_INTERVALL=5s\n").unwrap();
    let (code, _, said) = output(folder.path(), &["validate", "--env-file", "other"], &[]);
    assert!(code == 78 && said.starts_with("other:2: POLL_INTERVALL is not a setting"), "{said}");
    fs::write(folder.path().join("other"), "DATA_DIR=other\n").unwrap();
    let (_, out, _) = output(folder.path(), &["validate", "--env-file", "other"], &[]);
    assert!(out.contains("SQLite in other"), "{out}");
    for command in [&["validate"][..], &["run"], &["runs"], &["connector", "list"]] {
        let args = [command, &["--env-file", "missing"]].concat();
        let (code, _, said) = output(folder.path(), &args, &[]);
        assert_eq!((code, said.trim_end()), (78, "missing: file not found (--env-file)"), "{args:?}");
    }
}

/// Commands run beside it find the same folder.
#[test]
fn the_daemon_keeps_its_state_where_the_flag_says() {
    let page = StatusPage::start();
    let folder = watching(&[("Alpha", &page)]);
    let vars = [("LISTEN", "off"), ("POLL_INTERVAL", "1s"), ("LOG_FILE", "off")];
    let args = ["run", "--data-dir", "state", "--log-level", "debug"];
    let mut daemon =
        program(folder.path(), &args, &vars).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let console = std::io::BufReader::new(daemon.stderr.take().unwrap());
    let mut lines = std::io::BufRead::lines(console).map(Result::unwrap);
    assert!(lines.any(|line| line.contains("All services operational.")));
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    assert!(folder.path().join("state/monitor.db").exists() && !folder.path().join("data").exists());
}
