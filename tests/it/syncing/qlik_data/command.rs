//! `upload` with the real program.

use std::fs::File;
use std::path::Path;

use stand_ins::Clock;
use stand_ins::statuscake::{self, Sizes, StatusCake};
use stand_ins::tenant::{API_KEY, Tenant};

use super::{APP, SPACE};
use crate::processes::binary::output;

/// A tenant with a space and an app, and a folder with tables of StatusCake.
fn synced(folder: &Path) -> (Tenant, StatusCake, Vec<(&'static str, String)>) {
    let tenant = Tenant::start();
    tenant.change(|state| {
        state.data.add_space(SPACE);
        state.data.add_app(APP);
    });
    let sizes = Sizes { tests: 3, history: 12, periods: 2, alerts: 1 };
    let cake = StatusCake::start(7, sizes, &Clock::system());
    let vars = vec![
        ("STATUSCAKE_API_KEY", statuscake::API_KEY.to_owned()),
        ("STATUSCAKE_BASE_URL", cake.base_url()),
        ("QLIK_TENANT_URL", tenant.url()),
        ("QLIK_API_KEY", API_KEY.to_owned()),
        ("EXPORT_DIR", folder.join("lake").display().to_string()),
    ];
    let (code, out, err) = run(folder, &["sync", "statuscake"], &vars);
    assert_eq!(code, 0, "{out}{err}");
    (tenant, cake, vars)
}

fn run(folder: &Path, args: &[&str], vars: &[(&str, String)]) -> (i32, String, String) {
    let vars: Vec<(&str, &str)> = vars.iter().map(|(name, value)| (*name, value.as_str())).collect();
    output(folder, args, &vars)
}

#[test]
fn the_files_are_in_the_space_before_the_app_reloads() {
    let folder = tempfile::tempdir().unwrap();
    let (tenant, _cake, vars) = synced(folder.path());
    let args = ["upload", "statuscake", "--space", SPACE, "--reload", APP];
    let (code, out, err) = run(folder.path(), &args, &vars);
    assert!(code == 0 && out.contains(&format!("app {APP}: succeeded")), "{out}{err}");
    let contents = tenant.read(|state| state.data.contents());
    let reloads = tenant.reloads();
    assert_eq!(reloads.len(), 1);
    assert_eq!(contents.len(), 4, "{out}");
    for (name, content) in &contents {
        let table = name.strip_prefix("statuscake-").unwrap();
        // Byte-identical to the export of the sync.
        let file = std::fs::read(folder.path().join("lake/statuscake").join(table)).unwrap();
        assert!(file == *content, "{name}");
    }
    for read in &reloads[0].read {
        let read: Vec<&[u8]> = read.values().map(|content| &content[..]).collect();
        let stored: Vec<&[u8]> = contents.values().map(|content| &content[..]).collect();
        assert!(read == stored, "the app read what is in the space");
    }
}

#[test]
fn upload_says_what_is_wrong_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let (tenant, _cake, vars) = synced(folder.path());
    let (code, _, said) = run(folder.path(), &["upload", "statuscake", "--space", "No such space"], &vars);
    assert!(code == 1 && said.contains("no space named No such space"), "{said}");
    let without: Vec<_> = vars.iter().filter(|(name, _)| *name != "EXPORT_DIR").cloned().collect();
    let lock = File::create(folder.path().join("lake/.upload/statuscake.lock")).unwrap();
    lock.lock().unwrap();
    let (code, _, said) = run(folder.path(), &["upload", "statuscake", "--space", SPACE], &vars);
    assert!(code == 1 && said.contains("another upload of statuscake is running"), "{said}");
    drop(lock);
    let (code, _, said) = run(folder.path(), &["upload", "statuscake"], &vars);
    assert!(code == 2 && said.contains("--space"), "{said}");
    let (code, out, _) = run(folder.path(), &["upload", "statuscake", "--reload", APP], &without);
    assert!(code == 0 && out.contains("succeeded"), "{out}");
    assert!(tenant.read(|state| state.data.contents()).is_empty());
}

/// Programs read the exported files at any time, in the format that is configured.
#[test]
fn an_upload_leaves_exported_files_alone_and_refuses_a_run_with_rows_missing() {
    let folder = tempfile::tempdir().unwrap();
    let (tenant, cake, mut vars) = synced(folder.path());
    vars.push(("STATUSCAKE_EXPORT", "csv".to_owned()));
    assert_eq!(run(folder.path(), &["export", "statuscake"], &vars).0, 0);
    let files = || {
        let entries = std::fs::read_dir(folder.path().join("lake/statuscake")).unwrap();
        let entries = entries
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.file_name().to_string_lossy().ends_with(".csv"));
        let mut found: Vec<_> =
            entries.map(|entry| (entry.file_name(), std::fs::read(entry.path()).unwrap())).collect();
        found.sort();
        found
    };
    let before = files();
    let args = ["upload", "statuscake", "--space", SPACE];
    assert_eq!(run(folder.path(), &args, &vars).0, 0);
    cake.always_on("", stand_ins::Reply::status(403));
    assert_ne!(run(folder.path(), &["sync", "statuscake"], &vars).0, 0);
    let writes = tenant.read(|state| state.data.writes());
    let (code, out, said) = run(folder.path(), &args, &vars);
    assert!(code == 1 && said.contains("rows may be missing, so nothing is uploaded"), "{out}{said}");
    assert_eq!(tenant.read(|state| state.data.writes()), writes);
    assert!(before.len() == 4 && before == files());
}
