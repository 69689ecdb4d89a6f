//! Independent readers: pyarrow and DuckDB read every value as the database has it. The test installs both into
//! `target/export-readers` unless they are there.

use std::process::Command;

use serde_json::{Value, json};

use super::*;
use crate::syncing::contract::{every_type, send, shape, text};
use data_sources_monitor::testing::domain::syncing::cell::{Cell, ColumnType};
use data_sources_monitor::testing::domain::syncing::op::Write;

fn python() -> PathBuf {
    let home = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/export-readers");
    let python = home.join("bin/python");
    if !home.join("ready").exists() {
        let run = |command: &mut Command| assert!(command.status().unwrap().success());
        run(Command::new("python3").args(["-m", "venv"]).arg(&home));
        run(Command::new(&python).args(["-m", "pip", "install", "-q", "pyarrow==26.0.1", "duckdb==2.0.1"]));
        std::fs::write(home.join("ready"), "").unwrap();
    }
    python
}

/// What the readers say of a file; each value was compared.
fn report(dest: &TestDestination, exporter: &Exporter) -> Value {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/export_readers.py");
    let run = Command::new(python())
        .arg(script)
        .arg(dest.path())
        .arg("thing")
        .arg(exporter.file())
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    serde_json::from_slice(&run.stdout).unwrap()
}

#[tokio::test]
#[ignore = "installs pyarrow and DuckDB from PyPI"]
async fn pyarrow_and_duckdb_read_every_value() {
    let (dest, exporter) = (TestDestination::new(), Exporter::new(FileFormat::Parquet));
    let (columns, row) = every_type();
    let shape = shape(&columns, &["id"], Write::Upsert);
    let varied = |n: i64| {
        let mut cells = row.clone();
        cells[0] = text(&format!("{:05}", (n * 7_919) % 30_000));
        cells[1] = if n % 3 == 0 { Cell::Null } else { Cell::Bool(n % 2 == 0) };
        cells[2] = Cell::Int(if n % 2 == 0 { i64::MAX - n } else { i64::MIN + n });
        cells[3] = Cell::Double([0.1, -0.0, 1e300, f64::MIN_POSITIVE][(n % 4) as usize] * (n + 1) as f64);
        cells[4] = Cell::Decimal(format!("-{n}.{:02}", n % 100).into());
        cells[5] = Cell::Date(jiff::civil::date(1970, 1, 1) + jiff::ToSpan::days(n * 3 - 40_000));
        cells[6] = Cell::Timestamp(jiff::Timestamp::from_microsecond((n - 15_000) * 1_234_567_891).unwrap());
        cells[7] = Cell::Json(format!("{{\"n\": {n}, \"a\": [\"ä\\n\", null, 1.5e2]}}").into());
        cells[9] = if n % 5 == 0 {
            text("")
        } else {
            text(&"quoted \"text\", ünïcode\r\n".repeat(n as usize % 30))
        };
        cells
    };
    let numbers: Vec<i64> = (0..30_000).collect();
    let ops = numbers.chunks(1_000).flat_map(|ids| send(&shape, ids.iter().map(|n| varied(*n)).collect()));
    dest.run(0, ops.collect()).await.unwrap();
    exporter.due(&dest).await;
    assert!(open(&exporter.file()).num_row_groups() > 1);
    let report = report(&dest, &exporter);
    assert_eq!(report["rows"], 30_000);
    assert_eq!(
        report["types"],
        json!({"id": "string", "flag": "bool", "count": "int64", "ratio": "double", "amount": "decimal128(38, 2)",
            "day": "date32[day]", "moment": "timestamp[us, tz=UTC]", "doc": "string", "order": "string",
            "_synced_at": "timestamp[us, tz=UTC]"})
    );
    assert_eq!(report["metadata"]["dsm.run"], "1");
    // Without rows there are still the columns.
    let (empty, exporter) = (TestDestination::new(), Exporter::new(FileFormat::Parquet));
    let things = crate::syncing::contract::shape(&[("id", ColumnType::Bigint)], &["id"], Write::Upsert);
    empty.run(0, send(&things, vec![vec![Cell::Int(1)]])).await.unwrap();
    empty.execute("UPDATE thing SET _deleted_at = _synced_at").await;
    exporter.due(&empty).await;
    let report = self::report(&empty, &exporter);
    assert_eq!((&report["rows"], &report["types"]["id"]), (&json!(0), &json!("int64")));
}
