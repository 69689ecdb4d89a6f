//! Full disks, folders that cannot be used, values changed by hand: a clear error, and the former file stays whole.

use std::process::Command;

use super::*;
use crate::syncing::contract::{send, shape, text};
use data_sources_monitor::testing::domain::syncing::cell::{Cell, ColumnType};
use data_sources_monitor::testing::domain::syncing::op::{Op, Rows, TableShape, Write};

/// A table `thing` of texts, and a table `other`.
async fn filled(rows: i64) -> TestDestination {
    let dest = TestDestination::new();
    let things = shape(&[("id", ColumnType::Bigint), ("v", ColumnType::Text)], &["id"], Write::Upsert);
    let row =
        |id: i64| vec![Cell::Int(id), text(&format!("{:x}", (id + 1).wrapping_mul(0x1e37_79b9_7f4a_7c15)))];
    let mut ops = send(&things, (0..rows).map(row).collect());
    let other = std::sync::Arc::new(TableShape { table: "other".into(), ..(*things).clone() });
    ops.push(Op::Shape(other.clone()));
    ops.push(Op::Rows(Rows { shape: other, rows: vec![vec![Cell::Int(1), text("one")].into()] }));
    dest.run(0, ops).await.unwrap();
    dest
}

async fn error_of(dest: &TestDestination, options: &ExportOptions) -> String {
    let (progress, stop) = (ExportProgress::default(), CancellationToken::new());
    match export(&dest.place(), "acme", options, &ExportScope::Due, &progress, &stop).await {
        Ok(ExportOutcome::Done(report)) => report.failure().unwrap(),
        Ok(outcome) => panic!("{outcome:?}"),
        Err(error) => error.to_string(),
    }
}

/// The other table is exported, and the broken one is due until it is repaired.
#[tokio::test]
async fn a_table_that_cannot_be_read_does_not_keep_the_others() {
    for (value, want) in [
        ("x'ff41'", " contains a value of another type, which was changed by hand"),
        ("CAST(x'ff41' AS TEXT)", "column v contains text that is not UTF-8, which was changed by hand"),
    ] {
        let (dest, exporter) = (filled(5).await, Exporter::new(FileFormat::Parquet));
        dest.execute(&format!("UPDATE thing SET v = {value} WHERE id = 2")).await;
        let ExportOutcome::Done(report) = exporter.run(&dest, ExportScope::Due).await else { panic!() };
        let failure = report.failure().unwrap();
        assert!(failure.starts_with("table thing: ") && failure.contains(want), "{failure}");
        assert_eq!(report.files.len(), 1);
        assert_eq!(listed(exporter.folder.path()), [".lock", "_files.json", "other.parquet"]);
        dest.execute("UPDATE thing SET v = 'two' WHERE id = 2").await;
        assert_eq!(exporter.due(&dest).await.files[0].table, "thing");
        assert_eq!(exporter.rows().len(), 5);
    }
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_is_named() {
    let (dest, exporter) = (filled(1).await, Exporter::new(FileFormat::Parquet));
    std::fs::write(exporter.folder.path().join("acme"), "no folder").unwrap();
    let error = error_of(&dest, &exporter.options).await;
    assert!(error.starts_with("cannot create ") && error.contains("/acme: "), "{error}");
    let options = ExportOptions { dir: "/proc/exports".into(), ..exporter.options.clone() };
    let error = error_of(&dest, &options).await;
    assert!(error.starts_with("cannot create /proc/exports/acme: "), "{error}");
}

/// Two daemons with one folder: the second one waits for its next run.
#[tokio::test]
async fn one_process_at_a_time_writes_to_a_folder() {
    let (dest, exporter) = (filled(1).await, Exporter::new(FileFormat::Parquet));
    exporter.due(&dest).await;
    let lock = File::options().write(true).open(exporter.folder.path().join("acme/.lock")).unwrap();
    lock.lock().unwrap();
    let error = error_of(&dest, &exporter.options).await;
    assert!(error.starts_with("another export writes to "), "{error}");
    drop(lock);
    exporter.due(&dest).await;
}

/// It is due at the next start.
#[tokio::test]
async fn a_stopped_export_leaves_nothing_half_written() {
    let (dest, exporter) = (filled(20_000).await, Exporter::new(FileFormat::Parquet));
    let (progress, stop) = (ExportProgress::default(), CancellationToken::new());
    stop.cancel();
    let done = export(&dest.place(), "acme", &exporter.options, &ExportScope::Due, &progress, &stop).await;
    assert_eq!(done, Ok(ExportOutcome::Stopped));
    assert!(listed(exporter.folder.path()).iter().all(|name| !name.contains("thing")));
    assert_eq!(exporter.due(&dest).await.files.last().unwrap().rows, 20_000);
}

/// The program where no file may grow large.
#[tokio::test]
async fn a_full_disk_leaves_the_former_file() {
    let (dest, folder) = (filled(20_000).await, tempfile::tempdir().unwrap());
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::copy(dest.path(), data.join("people_ai.db")).unwrap();
    let files = folder.path().join("out/people_ai");
    std::fs::create_dir_all(&files).unwrap();
    std::fs::write(files.join("thing.parquet"), "the former file").unwrap();
    let export = |limit: &str| {
        let run = Command::new("sh")
            .args(["-c", &format!("trap '' XFSZ; ulimit -f {limit}; exec \"$0\" \"$@\"")])
            .arg(env!("CARGO_BIN_EXE_data-sources-monitor"))
            .args(["export", "people_ai", "--to", "out"])
            .current_dir(folder.path())
            .env_clear()
            .output()
            .unwrap();
        (run.status.code(), String::from_utf8(run.stdout).unwrap() + &String::from_utf8(run.stderr).unwrap())
    };
    let (code, said) = export("300");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("export of thing failed: cannot write out/people_ai/thing.parquet: "), "{said}");
    assert!(said.contains("exported 1 row of other to out/people_ai/other.parquet"), "{said}");
    assert_eq!(std::fs::read(files.join("thing.parquet")).unwrap(), b"the former file");
    let (code, said) = export("unlimited");
    assert!(code == Some(0) && said.contains("rows of thing to out/people_ai/thing.parquet"), "{said}");
    assert!(
        !std::fs::read_dir(&files)
            .unwrap()
            .any(|entry| { entry.unwrap().file_name().to_string_lossy().ends_with(".part") })
    );
}
