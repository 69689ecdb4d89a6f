//! An export that is killed (SIGKILL) at many moments: at no moment is there a half file, and nothing is forgotten.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::*;
use crate::syncing::contract::{send, shape, text};
use data_sources_monitor::testing::domain::syncing::cell::{Cell, ColumnType};
use data_sources_monitor::testing::domain::syncing::op::Write;

/// Where the process that is killed exports from and to.
const FOLDERS: &str = "EXPORT_KILLED_FOLDERS";
/// How often the test checks whether it is time to kill.
const CHECK_INTERVAL: Duration = Duration::from_micros(200);
const ROWS: i64 = 30_000;

/// Not a test of its own: the process that [`a_killed_export_is_made_up_for`] kills.
#[tokio::test]
async fn exporting_process() {
    let Ok(folders) = std::env::var(FOLDERS) else { return };
    let (data, out) = folders.split_once(':').unwrap();
    let place = DestinationKind::Sqlite(data.into());
    let options =
        ExportOptions { dir: out.into(), format: FileFormat::Parquet, partial: false, deleted: false };
    let (progress, stop) = (ExportProgress::default(), CancellationToken::new());
    export(&place, "acme", &options, &ExportScope::Due, &progress, &stop).await.unwrap();
}

fn start(dest: &TestDestination, exporter: &Exporter) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["syncing::exporting::crashing::exporting_process", "--exact"])
        .env(FOLDERS, format!("{}:{}", dest.folder().display(), exporter.folder.path().display()))
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Each run writes all rows anew, with its own number in each.
#[tokio::test]
async fn a_killed_export_is_made_up_for() {
    let (dest, exporter) = (TestDestination::new(), Exporter::new(FileFormat::Parquet));
    let columns = [("id", ColumnType::Bigint), ("run", ColumnType::Bigint), ("v", ColumnType::Text)];
    let shape = shape(&columns, &["id"], Write::Upsert);
    let folder = exporter.folder.path().join("acme");
    let draft = folder.join(".thing.parquet.part");
    let mut exported = 0;
    for run in 1..=10_i64 {
        let value = |id: i64| text(&format!("{:x}", (id * run + 1).wrapping_mul(0x1e37_79b9_7f4a_7c15)));
        let row = |id: i64| vec![Cell::Int(id), Cell::Int(run), value(id)];
        dest.run(run, send(&shape, (0..ROWS).map(row).collect())).await.unwrap();
        let mut child = start(&dest, &exporter);
        // At another moment each time: from before the first byte until after the last one.
        let bytes = [0, 1, 50_000, 200_000, 400_000, u64::MAX][usize::try_from(run).unwrap() % 6];
        let list = std::fs::read(folder.join("_files.json")).unwrap_or_default();
        let is_time = || {
            let size = std::fs::metadata(&draft).map(|about| about.len());
            let is_put = std::fs::read(folder.join("_files.json")).unwrap_or_default() != list;
            bytes == 0 || size.is_ok_and(|size| size >= bytes) || is_put
        };
        while !is_time() && child.try_wait().unwrap().is_none() {
            std::thread::sleep(CHECK_INTERVAL);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        if exporter.file().exists() {
            let rows = exporter.rows();
            let number: i64 = rows[0].split('|').nth(1).unwrap().parse().unwrap();
            assert!((exported..=run).contains(&number), "run {number} after {exported}");
            assert_eq!(rows.len(), ROWS as usize);
            let of_run = |row: &&String| row.split('|').nth(1) == Some(&*number.to_string());
            assert_eq!(rows.iter().filter(of_run).count(), rows.len());
            exported = number;
        }
    }
    exporter.due(&dest).await;
    assert!(exporter.rows().iter().all(|row| row.split('|').nth(1) == Some("10")));
    assert_eq!(listed(exporter.folder.path()), [".lock", "_files.json", "thing.parquet"]);
    assert_eq!(exporter.due(&dest).await.files, []);
}
