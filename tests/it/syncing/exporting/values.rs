//! Values, types and the order of rows.

use super::*;
use crate::syncing::contract::{Kind, against_each, every_type, finish, send, shape, text};
use data_sources_monitor::testing::domain::syncing::cell::{Cell, ColumnType};
use data_sources_monitor::testing::domain::syncing::op::{Op, Write};

against_each!(
    every_type_is_exported_exactly,
    decimals_are_exact_or_text,
    instants_finer_than_a_microsecond_become_text,
    a_table_without_live_rows_has_a_schema_and_no_rows,
    csv_tells_null_from_empty_text,
);

async fn every_type_is_exported_exactly(kind: Kind) {
    let (dest, exporter) = (kind.dest().await, Exporter::new(FileFormat::Parquet));
    let (columns, row) = every_type();
    let mut empty = vec![Cell::Null; row.len()];
    empty[0] = text("b");
    dest.run(0, send(&shape(&columns, &["id"], Write::Upsert), vec![row, empty])).await.unwrap();
    let report = exporter.due(&dest).await;
    assert_eq!((report.run, report.files.len(), report.files[0].rows), (1, 1, 2));
    assert_eq!(report.files[0].path, exporter.file());
    assert_eq!(report.files[0].bytes, exporter.bytes().len() as u64);
    let want = [
        "BYTE_ARRAY id (STRING)",
        "BOOLEAN flag",
        "INT64 count",
        "DOUBLE ratio",
        "FIXED_LEN_BYTE_ARRAY (16) amount (DECIMAL(38,1))",
        "INT32 day (DATE)",
        "INT64 moment (TIMESTAMP(MICROS,true))",
        "BYTE_ARRAY doc (STRING)",
        "BYTE_ARRAY order (STRING)",
        "INT64 _synced_at (TIMESTAMP(MICROS,true))",
    ];
    assert_eq!(exporter.schema(), want);
    let synced = "2026-05-02 09:15:00.000000 +00:00";
    assert_eq!(
        exporter.rows(),
        [
            format!(
                "\"a\"|true|9007199254740993|0.1|123456789012345678901234567890.1|2024-02-29|\
                 2026-05-02 09:15:00.500000 +00:00|\"[1000]\"|\"1e3\"|{synced}"
            ),
            format!("\"b\"|null|null|null|null|null|null|null|null|{synced}"),
        ]
    );
    let file = open(&exporter.file());
    let about = file.metadata().file_metadata().key_value_metadata().unwrap();
    let about: Vec<String> = about
        .iter()
        .map(|pair| format!("{}={}", pair.key, pair.value.as_deref().unwrap_or_default()))
        .collect();
    let version = format!("dsm.version={}", env!("CARGO_PKG_VERSION"));
    let want = [
        "dsm.connector=acme",
        "dsm.table=thing",
        "dsm.run=1",
        "dsm.checkpoint=2026-05-02T09:15:05Z",
        &version,
    ];
    assert_eq!(about, want);
}

/// A column is text as soon as 38 digits do not hold all of its numbers, and when the source sends a text.
async fn decimals_are_exact_or_text(kind: Kind) {
    let (dest, exporter) = (kind.dest().await, Exporter::new(FileFormat::Parquet));
    let decimal = |number: &str| Cell::Decimal(number.into());
    let numbers = shape(&[("id", ColumnType::Bigint), ("n", ColumnType::Decimal)], &["id"], Write::Upsert);
    let steps = [
        (
            vec![decimal("12345678901234567890.50"), decimal("-0.001")],
            "DECIMAL(38,3)",
            ["12345678901234567890.500", "-0.001"],
        ),
        (
            vec![decimal("1234567890123456789012345678901234567890"), decimal("-0.0010")],
            "STRING",
            ["\"1234567890123456789012345678901234567890\"", "\"-0.001\""],
        ),
    ];
    for (minute, (values, kind, want)) in (0..).zip(steps) {
        let rows = (1..).zip(values).map(|(id, value)| vec![Cell::Int(id), value]).collect();
        dest.run(minute, send(&numbers, rows)).await.unwrap();
        exporter.due(&dest).await;
        assert!(exporter.schema()[1].ends_with(&format!("n ({kind})")), "{:?}", exporter.schema());
        let rows = exporter.rows();
        let got: Vec<&str> = rows.iter().map(|row| row.split('|').nth(1).unwrap()).collect();
        assert_eq!(got, want);
    }
    let words = shape(&[("id", ColumnType::Bigint), ("n", ColumnType::Text)], &["id"], Write::Upsert);
    dest.run(2, send(&words, vec![vec![Cell::Int(1), text("n/a")]])).await.unwrap();
    exporter.due(&dest).await;
    assert!(exporter.rows()[0].starts_with("1|\"n/a\"|"), "{:?}", exporter.rows());
}

async fn instants_finer_than_a_microsecond_become_text(kind: Kind) {
    let (dest, exporter) = (kind.dest().await, Exporter::new(FileFormat::Parquet));
    let times = shape(&[("id", ColumnType::Bigint), ("at", ColumnType::Timestamp)], &["id"], Write::Upsert);
    let at = |text: &str| Cell::Timestamp(text.parse().unwrap());
    let rows = vec![
        vec![Cell::Int(1), at("2026-05-02T09:15:00.000001Z")],
        vec![Cell::Int(2), at("2026-05-02T09:15:00.123456789Z")],
    ];
    dest.run(0, send(&times, rows)).await.unwrap();
    exporter.due(&dest).await;
    assert_eq!(exporter.schema()[1], "BYTE_ARRAY at (STRING)");
    let rows = exporter.rows();
    assert!(rows[0].starts_with("1|\"2026-05-02 09:15:00.000001\"|"), "{rows:?}");
    assert!(rows[1].starts_with("2|\"2026-05-02 09:15:00.123456789\"|"), "{rows:?}");
}

/// With the setting the deleted row is there, with the time of its deletion.
async fn a_table_without_live_rows_has_a_schema_and_no_rows(kind: Kind) {
    let (dest, mut exporter) = (kind.dest().await, Exporter::new(FileFormat::Parquet));
    let things = shape(&[("id", ColumnType::Bigint)], &["id"], Write::Upsert);
    dest.run(0, send(&things, vec![vec![Cell::Int(1)]])).await.unwrap();
    exporter.due(&dest).await;
    assert_eq!(exporter.rows().len(), 1);
    dest.run(1, vec![Op::Shape(things), finish(Some(1.0))]).await.unwrap();
    let report = exporter.due(&dest).await;
    assert_eq!((report.files[0].rows, exporter.rows().len()), (0, 0));
    assert_eq!(exporter.schema().len(), 2);
    exporter.options.deleted = true;
    exporter.due(&dest).await;
    assert_eq!(exporter.rows(), ["1|2026-05-02 09:16:00.000000 +00:00|2026-05-02 09:16:00.000000 +00:00"]);
}

async fn csv_tells_null_from_empty_text(kind: Kind) {
    let (dest, exporter) = (kind.dest().await, Exporter::new(FileFormat::Csv));
    let (columns, mut row) = every_type();
    let mut empty = vec![Cell::Null; row.len()];
    empty[0] = text("b");
    (row[0], row[9]) = (text("a,\"é\""), text(""));
    dest.run(0, send(&shape(&columns, &["id"], Write::Upsert), vec![empty, row])).await.unwrap();
    exporter.due(&dest).await;
    let synced = "2026-05-02T09:15:00Z";
    assert_eq!(
        String::from_utf8(exporter.bytes()).unwrap(),
        format!(
            "id,flag,count,ratio,amount,day,moment,doc,order,_synced_at\r\n\
             \"a,\"\"é\"\"\",true,9007199254740993,0.1,123456789012345678901234567890.1,2024-02-29,\
             2026-05-02T09:15:00.5Z,[1000],\"\",{synced}\r\n\
             b,,,,,,,,,{synced}\r\n"
        )
    );
}

/// Rows that come in another order, in several row groups, with documents and numbers in the spelling of their source.
#[tokio::test]
async fn both_kinds_of_destinations_give_the_same_bytes() {
    if crate::postgres::cluster::programs().is_none() {
        return;
    }
    let columns = [
        ("name", ColumnType::Text),
        ("nth", ColumnType::Bigint),
        ("doc", ColumnType::Json),
        ("amount", ColumnType::Decimal),
        ("ratio", ColumnType::Double),
        ("at", ColumnType::Timestamp),
        ("note", ColumnType::Text),
    ];
    let shape = shape(&columns, &["name", "nth"], Write::Upsert);
    let row = |n: i64| {
        let mixed = n.wrapping_mul(7_919) % 40_000;
        let letter = ["a", "B", "é", "_", "Z", "ä", "-"][(mixed % 7) as usize];
        vec![
            text(&format!("{letter}{}", mixed / 7)),
            Cell::Int(mixed),
            Cell::Json(
                format!("{{\"z\": [{mixed}, 1.50], \"a\":\"caf\\u00e9 {mixed}\", \"z\": {{}} }}").into(),
            ),
            Cell::Decimal(format!("{mixed}.{:03}0", mixed % 1_000).into()),
            if mixed % 5 == 0 { Cell::Null } else { Cell::Double(mixed as f64 / 3.0) },
            Cell::Timestamp(
                jiff::Timestamp::from_microsecond(1_777_713_300_000_000 + mixed * 1_001).unwrap(),
            ),
            text(&"a sentence that fills the row group ".repeat(8)),
        ]
    };
    let mut files = Vec::new();
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let (dest, exporter) = (kind.dest().await, Exporter::new(FileFormat::Parquet));
        for (minute, part) in (0..).zip([0..30_000, 20_000..40_000]) {
            let rows: Vec<i64> = part.collect();
            let ops = rows.chunks(1_000).flat_map(|ids| send(&shape, ids.iter().map(|n| row(*n)).collect()));
            dest.run(minute, ops.collect()).await.unwrap();
        }
        assert_eq!(exporter.due(&dest).await.files[0].rows, 40_000);
        assert!(open(&exporter.file()).num_row_groups() > 1);
        files.push(exporter.bytes());
    }
    assert!(files[0] == files[1], "{} and {} bytes differ", files[0].len(), files[1].len());
}
