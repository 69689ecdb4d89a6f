//! Which tables are exported, and when.

use std::os::unix::fs::MetadataExt as _;

use super::*;
use crate::syncing::contract::{Kind, against_each, begin, finish, outcome, send, shape};
use data_sources_monitor::testing::destinations::Destination as _;
use data_sources_monitor::testing::domain::syncing::cell::{Cell, ColumnType};
use data_sources_monitor::testing::domain::syncing::op::{End, Op, Write};

against_each!(
    an_unchanged_table_keeps_its_file,
    what_incomplete_runs_changed_is_exported_after_the_next_complete_one,
    a_file_that_is_missing_or_changed_is_written_again,
    another_database_of_the_same_runs_is_exported,
    what_a_run_changes_after_an_export_by_hand_is_exported,
    the_snapshot_does_not_change_while_the_next_sync_writes,
);

fn things(ids: std::ops::Range<i64>, value: i64) -> Vec<Op> {
    let shape = shape(&[("id", ColumnType::Bigint), ("v", ColumnType::Bigint)], &["id"], Write::Upsert);
    send(&shape, ids.map(|id| vec![Cell::Int(id), Cell::Int(value)]).collect())
}

async fn ended(dest: &TestDestination, minute: i64, ops: Vec<Op>, end: End) {
    let tables = dest.open().await;
    tables.begin(begin(minute)).await.unwrap();
    for op in ops {
        tables.write(op).await.unwrap();
    }
    tables.end(outcome(minute, end)).await.unwrap();
    tables.close().await.unwrap();
}

async fn an_unchanged_table_keeps_its_file(kind: Kind) {
    let (dest, exporter) = (kind.dest().await, Exporter::new(FileFormat::Parquet));
    let inode = || std::fs::metadata(exporter.file()).unwrap().ino();
    dest.run(0, things(0..3, 1)).await.unwrap();
    exporter.due(&dest).await;
    let first = inode();
    dest.run(1, things(0..3, 1)).await.unwrap();
    let report = exporter.due(&dest).await;
    assert_eq!((report.files.len(), report.unchanged.len(), inode()), (0, 1, first));
    dest.run(2, things(2..4, 2)).await.unwrap();
    assert_eq!(exporter.due(&dest).await.files[0].rows, 4);
    assert_eq!(exporter.rows().len(), 4);
    // By hand, whatever changed.
    let outcome = exporter.run(&dest, ExportScope::All).await;
    assert!(matches!(&outcome, ExportOutcome::Done(report) if report.files.len() == 1), "{outcome:?}");
    assert_eq!(listed(exporter.folder.path()), [".lock", "_files.json", "thing.parquet"]);
}

async fn what_incomplete_runs_changed_is_exported_after_the_next_complete_one(kind: Kind) {
    let (dest, mut exporter) = (kind.dest().await, Exporter::new(FileFormat::Parquet));
    assert!(matches!(exporter.run(&dest, ExportScope::Due).await, ExportOutcome::Skipped(_)));
    dest.run(0, things(0..2, 1)).await.unwrap();
    exporter.due(&dest).await;
    for (minute, end) in [(1, End::Partial), (2, End::Failed), (3, End::Deferred)] {
        ended(&dest, minute, things(minute * 10..minute * 10 + 1, 1), end).await;
        let skipped = exporter.run(&dest, ExportScope::Due).await;
        let want = format!("the last run (#{}) ended {}", minute + 1, end.as_str());
        assert_eq!(skipped, ExportOutcome::Skipped(want));
        assert_eq!(exporter.rows().len(), 2);
    }
    // This run itself changes nothing.
    dest.run(4, things(0..1, 1)).await.unwrap();
    assert_eq!(exporter.due(&dest).await.files[0].rows, 5);
    ended(&dest, 5, things(90..91, 1), End::Partial).await;
    exporter.options.partial = true;
    assert_eq!(exporter.due(&dest).await.files[0].rows, 6);
}

async fn a_file_that_is_missing_or_changed_is_written_again(kind: Kind) {
    let (dest, mut exporter) = (kind.dest().await, Exporter::new(FileFormat::Parquet));
    dest.run(0, things(0..2, 1)).await.unwrap();
    exporter.due(&dest).await;
    let bytes = exporter.bytes();
    let list = exporter.folder.path().join("acme/_files.json");
    let damages: [&dyn Fn(); 4] = [
        &|| std::fs::remove_file(exporter.file()).unwrap(),
        &|| std::fs::write(exporter.file(), "half").unwrap(),
        &|| std::fs::remove_file(&list).unwrap(),
        &|| std::fs::write(&list, "{").unwrap(),
    ];
    for damage in damages {
        damage();
        assert_eq!(exporter.due(&dest).await.files.len(), 1);
        assert_eq!((exporter.bytes(), exporter.due(&dest).await.files.len()), (bytes.clone(), 0));
    }
    // The file of the former format goes.
    exporter.options.format = FileFormat::Csv;
    exporter.due(&dest).await;
    assert_eq!(listed(exporter.folder.path()), [".lock", "_files.json", "thing.csv"]);
}

/// Its first run has the number of the other one's.
async fn another_database_of_the_same_runs_is_exported(kind: Kind) {
    let (one, other, exporter) = (kind.dest().await, kind.dest().await, Exporter::new(FileFormat::Parquet));
    one.run(0, things(0..2, 1)).await.unwrap();
    other.run(1, things(5..6, 1)).await.unwrap();
    exporter.due(&one).await;
    assert_eq!(exporter.due(&other).await.files[0].rows, 1);
}

/// The export by hand sees the first rows of the run, which then has more.
async fn what_a_run_changes_after_an_export_by_hand_is_exported(kind: Kind) {
    let (dest, exporter) = (kind.dest().await, Exporter::new(FileFormat::Parquet));
    let tables = dest.open().await;
    tables.begin(begin(0)).await.unwrap();
    for op in things(0..2, 1).into_iter().chain([finish(None)]) {
        tables.write(op).await.unwrap();
    }
    // Answered when everything before it is stored.
    tables.runs(1).await.unwrap();
    let by_hand = exporter.run(&dest, ExportScope::All).await;
    assert!(matches!(&by_hand, ExportOutcome::Done(report) if report.rows() == 2), "{by_hand:?}");
    for op in things(5..6, 1) {
        tables.write(op).await.unwrap();
    }
    tables.end(outcome(0, End::Complete)).await.unwrap();
    tables.close().await.unwrap();
    assert_eq!(exporter.due(&dest).await.files[0].rows, 3);
    assert_eq!(exporter.due(&dest).await.files, []);
}

/// A run in progress: its rows are in no file before it is over.
async fn the_snapshot_does_not_change_while_the_next_sync_writes(kind: Kind) {
    let (dest, exporter) = (kind.dest().await, Exporter::new(FileFormat::Parquet));
    dest.run(0, things(0..50_000, 1)).await.unwrap();
    let tables = dest.open().await;
    tables.begin(begin(1)).await.unwrap();
    let skipped = exporter.run(&dest, ExportScope::Due).await;
    assert_eq!(skipped, ExportOutcome::Skipped("the last run (#2) is not finished".into()));
    let writing = async {
        for op in things(0..60_000, 2) {
            tables.write(op).await.unwrap();
        }
        tables.end(outcome(1, End::Complete)).await.unwrap();
    };
    let (outcome, ()) = tokio::join!(exporter.run(&dest, ExportScope::All), writing);
    assert!(matches!(outcome, ExportOutcome::Done(_)), "{outcome:?}");
    let rows = exporter.rows();
    let values: std::collections::BTreeSet<&str> =
        rows.iter().map(|row| row.split('|').nth(1).unwrap()).collect();
    assert!(values.len() == 1 && [50_000, 60_000].contains(&rows.len()), "{values:?} {}", rows.len());
    tables.close().await.unwrap();
    exporter.due(&dest).await;
    assert_eq!(exporter.rows().len(), 60_000);
}
