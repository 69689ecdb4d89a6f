//! How fast rows become tables of PostgreSQL, beside a bare loop of binary COPY and merge in the same run.
//!
//! `cargo bench --bench postgres -- [ROWS] [bare|postgres|again|pooled …]`: 1,000,000 rows and every case by default,
//! into a throwaway server of the machine's own binaries. Each case runs in a process of its own, so that its peak memory
//! is its own. Nothing is synced to disk, in either case.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code, unreachable_pub)]
#![allow(clippy::disallowed_methods, reason = "a measurement takes real time")]

#[path = "../tests/it/postgres/cluster.rs"]
mod cluster;
#[path = "rows/copy.rs"]
mod copy;
mod rows;

use std::process::Command;

use data_sources_monitor::testing::database::Database;
use data_sources_monitor::testing::destinations::postgres;
use data_sources_monitor::testing::domain::syncing::op::Op;

use copy::Floor;
use rows::{PAGE, feed, page, peak_mib, reader};

/// `again` writes the rows of `postgres` once more.
const CASES: [&str; 4] = ["bare", "postgres", "again", "pooled"];

/// Rows are decoded so many at a time, and the time for that isn't counted.
const DECODED: u64 = 10_000;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let rows = args.iter().find_map(|arg| arg.parse().ok()).unwrap_or(1_000_000);
    let asked: Vec<&str> = CASES.into_iter().filter(|case| args.iter().any(|arg| arg == case)).collect();
    if let Ok(url) = std::env::var("BENCH_CASE_URL") {
        return case(asked.first().unwrap(), rows, &url);
    }
    let Some(cluster) = cluster::own() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let admin = runtime.block_on(cluster.session("postgres"));
    let version: String = runtime.block_on(admin.query_one("SHOW server_version", &[])).unwrap().get(0);
    println!("PostgreSQL {version}");
    println!("{:<10} {:>10} {:>9} {:>12} {:>9}", "case", "rows", "seconds", "rows/s", "peak MiB");
    for case in if asked.is_empty() { CASES.to_vec() } else { asked } {
        let name = format!("bench_{}", if case == "again" { "postgres" } else { case });
        if case != "again" {
            runtime.block_on(admin.batch_execute(&format!("CREATE DATABASE {name}"))).unwrap();
        }
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.arg(rows.to_string()).arg(case).env("BENCH_CASE_URL", cluster.url("postgres", &name));
        assert!(child.status().unwrap().success(), "{case} failed");
        runtime.block_on(admin.batch_execute("CHECKPOINT")).unwrap();
    }
}

fn case(name: &str, rows: u64, url: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let seconds = match name {
        "bare" => runtime.block_on(bare(rows, url)),
        "pooled" => runtime.block_on(destination(rows, &format!("{url}&pooler=transaction"))),
        _ => runtime.block_on(destination(rows, url)),
    };
    println!("{name:<10} {rows:>10} {seconds:>9.2} {:>12.0} {:>9}", rows as f64 / seconds, peak_mib());
}

async fn destination(rows: u64, url: &str) -> f64 {
    let database = Database::new(&url.into(), None, None).unwrap();
    let postgres = postgres::open(&database, "bench").await.unwrap();
    feed(&postgres, rows, DECODED).await
}

/// The bare loop over the same rows; the time to decode them isn't counted.
async fn bare(rows: u64, url: &str) -> f64 {
    let mut floor = Floor::connect(url).await;
    let (mut reader, mut waiting) = (reader(), Vec::new());
    for i in 0..rows / PAGE {
        reader
            .read(page(i * PAGE, PAGE).as_bytes(), &[], &mut |op| {
                if let Op::Rows(rows) = op {
                    waiting.push(rows);
                }
            })
            .unwrap();
        let done = (i + 1) * PAGE;
        if done.is_multiple_of(DECODED) || done == rows {
            floor.copy(&waiting).await;
            waiting.clear();
        }
    }
    floor.finish().await;
    floor.took.as_secs_f64()
}
