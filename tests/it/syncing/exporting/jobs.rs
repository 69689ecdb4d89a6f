//! Exports of the real program: after a sync by hand, by the command, and by the daemon.

use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use super::open;
use crate::processes::binary::{Running, output};
use parquet::file::reader::FileReader as _;
use stand_ins::Clock;
use stand_ins::statuscake::{self, Sizes, StatusCake};

const SIZES: Sizes = Sizes { tests: 3, history: 120, periods: 3, alerts: 4 };
const TABLES: [&str; 4] = ["uptime_test", "uptime_test_alert", "uptime_test_history", "uptime_test_period"];

struct Desk {
    cake: StatusCake,
    folder: TempDir,
    vars: Vec<(&'static str, String)>,
}

impl Desk {
    fn with(more: &[(&'static str, &str)]) -> Desk {
        let cake = StatusCake::start(7, SIZES, &Clock::system());
        let mut vars = vec![
            ("STATUSCAKE_API_KEY", statuscake::API_KEY.to_owned()),
            ("STATUSCAKE_BASE_URL", cake.base_url()),
        ];
        vars.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        Desk { cake, folder: tempfile::tempdir().unwrap(), vars }
    }

    fn run(&self, args: &[&str]) -> (i32, String) {
        let vars: Vec<(&str, &str)> = self.vars.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let (code, out, err) = output(self.folder.path(), args, &vars);
        (code, out + &err)
    }

    fn daemon(&self) -> Running {
        let vars: Vec<(&str, &str)> = self.vars.iter().map(|(name, value)| (*name, value.as_str())).collect();
        std::fs::create_dir_all(self.folder.path().join("monitors")).unwrap();
        Running::start(self.folder.path(), &vars)
    }

    fn path(&self, place: &str) -> std::path::PathBuf {
        self.folder.path().join(place)
    }

    /// Each table has a file with all of its rows.
    fn assert_exported(&self, folder: &Path) {
        for table in TABLES {
            let rows = open(&folder.join(format!("statuscake/{table}.parquet")))
                .metadata()
                .file_metadata()
                .num_rows();
            assert_eq!(rows, self.cake.source_rows(table).len() as i64, "{table}");
        }
    }
}

#[test]
fn a_sync_by_hand_exports_what_changed() {
    let desk = Desk::with(&[("EXPORT_DIR", "lake")]);
    let (code, said) = desk.run(&["sync", "statuscake"]);
    assert!(code == 0 && said.contains("statuscake: exported 3 rows of uptime_test to lake/"), "{said}");
    desk.assert_exported(&desk.path("lake"));
    let (code, said) = desk.run(&["sync", "statuscake"]);
    assert!(code == 0 && said.contains("statuscake: 4 files unchanged"), "{said}");
    let (_, runs) = desk.run(&["runs", "--json"]);
    let runs: Value = serde_json::from_str(&runs).unwrap();
    let export = &runs["runs"][1]["follow_ups"]["export"];
    let rows: usize = TABLES.iter().map(|table| desk.cake.source_rows(table).len()).sum();
    assert_eq!((&export["end"], export["rows"]["seen"].as_u64()), (&"complete".into(), Some(rows as u64)));
    assert_eq!(runs["runs"][0]["follow_ups"]["export"], Value::Null);
    let (_, said) = desk.run(&["runs", "--tables"]);
    assert!(said.contains("(export)"), "{said}");
    assert!(!said.contains("_export"), "{said}");
}

/// The sync is complete, and the run history says why there is no file.
#[test]
fn a_failed_export_does_not_fail_the_sync() {
    let desk = Desk::with(&[("EXPORT_DIR", "lake")]);
    std::fs::write(desk.path("lake"), "no folder").unwrap();
    let (code, said) = desk.run(&["sync", "statuscake"]);
    assert!(code == 0 && said.contains("export failed: cannot create lake/statuscake: "), "{said}");
    let (_, said) = desk.run(&["runs"]);
    assert!(said.contains("export failed: cannot create lake/statuscake: "), "{said}");
    std::fs::remove_file(desk.path("lake")).unwrap();
    std::fs::create_dir_all(desk.path("lake/statuscake/.uptime_test.parquet.part")).unwrap();
    let (code, said) = desk.run(&["sync", "statuscake"]);
    assert!(code == 0 && said.contains("export of uptime_test failed: cannot create "), "{said}");
    let (_, said) = desk.run(&["runs"]);
    assert!(said.contains("export failed: table uptime_test: cannot create "), "{said}");
    std::fs::remove_dir(desk.path("lake/statuscake/.uptime_test.parquet.part")).unwrap();
    let (_, said) = desk.run(&["sync", "statuscake"]);
    assert!(
        said.contains("exported 3 rows of uptime_test to ") && said.contains("3 files unchanged"),
        "{said}"
    );
    desk.assert_exported(&desk.path("lake"));
}

#[test]
fn the_command_exports_any_table_to_any_folder() {
    let desk = Desk::with(&[]);
    let (code, said) = desk.run(&["export", "statuscake", "--to", "out"]);
    assert!(code == 1 && said.contains("nothing to export: statuscake has never synced"), "{said}");
    assert!(!desk.path("data/statuscake.db").exists());
    assert_eq!(desk.run(&["sync", "statuscake"]).0, 0);
    let (code, said) = desk.run(&["export", "statuscake", "--to", "out"]);
    assert_eq!(code, 0, "{said}");
    desk.assert_exported(&desk.path("out"));
    let args = ["export", "statuscake", "--to", "csv", "--format", "csv", "--table", "uptime_test"];
    let (code, said) = desk.run(&args);
    assert_eq!(code, 0, "{said}");
    let lines = std::fs::read_to_string(desk.path("csv/statuscake/uptime_test.csv")).unwrap();
    assert!(lines.starts_with("id,") && lines.matches("\r\n").count() == 4, "{lines}");
    assert!(!desk.path("csv/statuscake/uptime_test_alert.csv").exists());
    for (args, code, want) in [
        (&["export", "statuscake"][..], 78, "no folder for the files: set EXPORT_DIR, or use --to DIR"),
        (&["export", "statuscak", "--to", "out"], 78, "unknown connector \"statuscak\""),
        (
            &["export", "statuscake", "--to", "out", "--table", "uptime"],
            1,
            "statuscake has no table uptime; its tables: uptime_test,",
        ),
        (&["export", "statuscake", "--to", "out", "--format", "xml"], 2, "parquet, csv"),
    ] {
        let (got, said) = desk.run(args);
        assert!(got == code && said.contains(want), "{args:?}: {got} {said}");
    }
}

#[test]
fn settings_of_exports_are_checked() {
    for (vars, want) in [
        (&[("EXPORT_PARTIAL", "true")][..], "EXPORT_PARTIAL: has no effect without EXPORT_DIR"),
        (&[("STATUSCAKE_EXPORT", "csv")], "STATUSCAKE_EXPORT: has no effect without EXPORT_DIR"),
        (
            &[("EXPORT_DIR", "lake"), ("STATUSCAKE_EXPORT", "xls")],
            "statuscake: export: \"xls\" is not parquet, csv, or off",
        ),
        (&[("EXPORT_DIR", "lake"), ("EXPORT_DELETED", "yes")], "EXPORT_DELETED: `yes`"),
    ] {
        let (code, said) = Desk::with(vars).run(&["validate"]);
        assert!(code == 78 && said.contains(want), "{vars:?}: {said}");
    }
    let desk = Desk::with(&[("EXPORT_DIR", "lake"), ("STATUSCAKE_EXPORT", "off")]);
    assert_eq!(desk.run(&["validate"]).0, 0);
    let (code, said) = desk.run(&["sync", "statuscake"]);
    assert!(code == 0 && !said.contains("export") && !desk.path("lake").exists(), "{said}");
}

/// What is due is exported at the next start, although the source is down by then.
#[test]
fn the_daemon_exports_after_runs_and_makes_up_for_what_is_due() {
    let mut desk =
        Desk::with(&[("EXPORT_DIR", "lake"), ("STATUSCAKE_EXPORT", "parquet"), ("STATUSCAKE_EVERY", "1s")]);
    let mut daemon = desk.daemon();
    daemon.until("exported 3 rows of uptime_test to ");
    daemon.until("statuscake: complete");
    daemon.signal("-TERM");
    assert_eq!(daemon.ended(), 0);
    desk.assert_exported(&desk.path("lake"));
    std::fs::remove_dir_all(desk.path("lake")).unwrap();
    desk.vars.retain(|(name, _)| *name != "STATUSCAKE_BASE_URL");
    desk.vars.push(("STATUSCAKE_BASE_URL", "http://127.0.0.1:1/v1/".into()));
    let mut daemon = desk.daemon();
    daemon.until("exported 3 rows of uptime_test to ");
    daemon.until("uptime_test_period");
    daemon.signal("-TERM");
    assert_eq!(daemon.ended(), 0);
    desk.assert_exported(&desk.path("lake"));
}
