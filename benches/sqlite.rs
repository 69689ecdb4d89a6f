//! How fast pages become rows and rows become a table, beside a bare loop of prepared upserts in the same run.
//!
//! `cargo bench --bench sqlite -- [ROWS] [decode|normal|bare|sqlite|again|whole …]`: 1,000,000 rows and every case by default.
//! Each case runs in a process of its own, so that its peak memory is its own. Rows are People.ai activities of 25
//! fields and about 750 bytes, with a random text key, made from a fixed seed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::disallowed_methods, reason = "a measurement takes real time")]

mod rows;

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use data_sources_monitor::testing::destinations::Destination;
use data_sources_monitor::testing::destinations::sqlite;
use data_sources_monitor::testing::domain::syncing::cell::Cell;
use data_sources_monitor::testing::domain::syncing::op::Op;
use data_sources_monitor::testing::source::decode::RowReader;

use rows::{PAGE, begin, checkpoint, feed, outcome, page, peak_mib, reader};

const CASES: [&str; 6] = ["decode", "normal", "bare", "sqlite", "again", "whole"];

/// The bare loop sorts and commits as many rows at once as the destination does.
const BARE_SORTED: u64 = 5_000;
const BARE_COMMIT: u64 = 50_000;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let rows = args.iter().find_map(|arg| arg.parse().ok()).unwrap_or(1_000_000);
    let asked: Vec<&str> = CASES.into_iter().filter(|case| args.iter().any(|arg| arg == case)).collect();
    if let Some(folder) = std::env::var_os("BENCH_CASE_FOLDER") {
        return case(asked.first().unwrap(), rows, Path::new(&folder));
    }
    println!(
        "{:<8} {:>10} {:>9} {:>12} {:>9} {:>9}",
        "case", "rows", "seconds", "rows/s", "peak MiB", "file MiB"
    );
    let folder = tempfile::tempdir_in(std::env::var("BENCH_FOLDER").unwrap_or(".".into())).unwrap();
    for case in if asked.is_empty() { CASES.to_vec() } else { asked } {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.arg(rows.to_string()).arg(case).env("BENCH_CASE_FOLDER", folder.path());
        assert!(child.status().unwrap().success(), "{case} failed");
    }
}

fn case(name: &str, rows: u64, folder: &Path) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (seconds, file) = match name {
        "decode" => (decode(rows), None),
        "bare" | "normal" => {
            let path = folder.join(name).with_extension("db");
            (bare(rows, &path, if name == "bare" { "FULL" } else { "NORMAL" }), Some(path))
        }
        "whole" => {
            let path = folder.join("whole.db");
            (runtime.block_on(whole(rows, &path)), Some(path))
        }
        // The second time every row is known and unchanged.
        _ => {
            let path = folder.join("sqlite.db");
            (runtime.block_on(destination(rows, &path)), Some(path))
        }
    };
    let rate = rows as f64 / seconds;
    let size = file.map_or(0, |path| std::fs::metadata(path).unwrap().len() >> 20);
    println!("{name:<8} {rows:>10} {seconds:>9.2} {rate:>12.0} {:>9} {size:>9}", peak_mib());
}

/// Every page as it comes: checked as a whole, then decoded.
fn decode(rows: u64) -> f64 {
    let pages: Vec<String> = (0..8).map(|i| page(i * PAGE, PAGE)).collect();
    let mut reader = reader();
    let begun = Instant::now();
    let mut count = 0;
    for i in 0..rows / PAGE {
        let body = pages[i as usize % pages.len()].as_bytes();
        RowReader::facts(body, &["meta.total", "error"]).unwrap();
        reader
            .read(body, &[], &mut |op| {
                if let Op::Rows(rows) = op {
                    count += rows.rows.len() as u64
                }
            })
            .unwrap();
    }
    assert_eq!(count, rows);
    begun.elapsed().as_secs_f64()
}

/// The floor: one prepared upsert, the destination's settings, rows that are already decoded and, for each
/// transaction, sorted by their key.
fn bare(rows: u64, path: &Path, synchronous: &str) -> f64 {
    let db = rusqlite::Connection::open(path).unwrap();
    db.execute_batch(&format!(
        "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous};
         PRAGMA wal_autocheckpoint = 16384; PRAGMA cache_size = -16384;"
    ))
    .unwrap();
    let mut reader = reader();
    let mut seconds = 0.0;
    let mut upsert = String::new();
    let mut waiting = Vec::new();
    for i in 0..rows / PAGE {
        reader
            .read(page(i * PAGE, PAGE).as_bytes(), &[], &mut |op| {
                if let Op::Rows(rows) = op {
                    waiting.push(rows);
                }
            })
            .unwrap();
        let done = (i + 1) * PAGE;
        if !done.is_multiple_of(BARE_SORTED) && done != rows {
            continue;
        }
        let mut sorted: Vec<_> = waiting.iter().flat_map(|rows| &rows.rows).collect();
        sorted.sort_by_key(|row| row[0].to_text());
        let begun = Instant::now();
        if upsert.is_empty() {
            let names: Vec<_> = waiting[0].shape.columns.iter().map(|c| format!("\"{}\"", c.name)).collect();
            let sets: Vec<_> = names.iter().map(|name| format!("{name} = excluded.{name}")).collect();
            let places = vec!["?"; names.len()].join(", ");
            db.execute_batch(&format!(
                "CREATE TABLE activity ({}, _synced_at TEXT, _deleted_at TEXT, PRIMARY KEY (\"uid\"))",
                names.join(", ")
            ))
            .unwrap();
            upsert = format!(
                "INSERT INTO activity ({}, _synced_at) VALUES ({places}, ?) ON CONFLICT (uid) DO UPDATE SET {}",
                names.join(", "),
                sets.join(", ")
            );
        }
        if db.is_autocommit() {
            db.execute_batch("BEGIN").unwrap();
        }
        let mut statement = db.prepare_cached(&upsert).unwrap();
        for row in &sorted {
            for (at, cell) in row.iter().enumerate() {
                match cell {
                    Cell::Null => statement.raw_bind_parameter(at + 1, rusqlite::types::Null),
                    Cell::Int(value) => statement.raw_bind_parameter(at + 1, value),
                    Cell::Bool(value) => statement.raw_bind_parameter(at + 1, value),
                    Cell::Double(value) => statement.raw_bind_parameter(at + 1, value),
                    cell => statement.raw_bind_parameter(at + 1, cell.to_text().unwrap().as_ref()),
                }
                .unwrap();
            }
            statement.raw_bind_parameter(row.len() + 1, "2026-05-02 09:15:00").unwrap();
            statement.raw_execute().unwrap();
        }
        drop(statement);
        if done.is_multiple_of(BARE_COMMIT) || done == rows {
            db.execute_batch("COMMIT").unwrap();
        }
        seconds += begun.elapsed().as_secs_f64();
        waiting.clear();
    }
    // The destination leaves a file without a WAL behind, too.
    let begun = Instant::now();
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    seconds + begun.elapsed().as_secs_f64()
}

async fn destination(rows: u64, path: &Path) -> f64 {
    feed(&sqlite::open(path, "bench").unwrap(), rows, BARE_SORTED).await
}

/// Decoding and writing as the engine does both: on two threads, pages ready in memory.
async fn whole(rows: u64, path: &Path) -> f64 {
    let sqlite = sqlite::open(path, "bench").unwrap();
    sqlite.begin(begin()).await.unwrap();
    let (send, mut ops) = tokio::sync::mpsc::channel(4);
    let begun = Instant::now();
    let decoding = std::thread::spawn(move || {
        let mut reader = reader();
        let mut making = 0.0;
        for i in 0..rows / PAGE {
            let made = Instant::now();
            let body = page(i * PAGE, PAGE);
            making += made.elapsed().as_secs_f64();
            RowReader::facts(body.as_bytes(), &["meta.total"]).unwrap();
            reader.read(body.as_bytes(), &[], &mut |op| send.blocking_send(op).unwrap()).unwrap();
            send.blocking_send(checkpoint(i)).unwrap();
        }
        making
    });
    while let Some(op) = ops.recv().await {
        sqlite.write(op).await.unwrap();
    }
    sqlite.end(outcome()).await.unwrap();
    println!(
        "         (of the next, {:.1} s on the decoder's core went into making pages)",
        decoding.join().unwrap()
    );
    begun.elapsed().as_secs_f64()
}
