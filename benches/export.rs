//! How fast a table in SQLite becomes a Parquet file, beside a bare `parquet` writer over decoded rows in the same run.
//!
//! `cargo bench --bench export -- [ROWS] [bare|parquet|csv …]`: 1,000,000 rows and every case by default. Each case runs in a
//! process of its own, so that its peak memory is its own. Rows are the People.ai activities of the other benches. The bare
//! writer counts only the time in the library; the exports count everything from opening the database to the synced file.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::disallowed_methods, reason = "a measurement takes real time")]

mod rows;

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use data_sources_monitor::testing::destinations::{DestinationKind, sqlite};
use data_sources_monitor::testing::domain::file_format::FileFormat;
use data_sources_monitor::testing::domain::syncing::cell::{Cell, ColumnType};
use data_sources_monitor::testing::domain::syncing::op::{Op, Rows};
use data_sources_monitor::testing::export::{
    ExportOptions, ExportOutcome, ExportProgress, ExportScope, export,
};
use parquet::basic::{Compression, Repetition, Type as PhysicalType};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;
use tokio_util::sync::CancellationToken;

use rows::{PAGE, feed, page, peak_mib, reader};

const CASES: [&str; 3] = ["bare", "parquet", "csv"];

/// Rows of a row group of the bare writer: about as many as an export has.
const GROUP: u64 = 10_000;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let rows = args.iter().find_map(|arg| arg.parse().ok()).unwrap_or(1_000_000);
    let asked: Vec<&str> =
        CASES.into_iter().chain(["fill"]).filter(|case| args.iter().any(|arg| arg == case)).collect();
    if let Some(folder) = std::env::var_os("BENCH_CASE_FOLDER") {
        return case(asked.first().unwrap(), rows, Path::new(&folder));
    }
    if !std::env::args().any(|argument| argument == "--bench") {
        return println!("nothing is measured without --bench: use `cargo bench --bench export`");
    }
    println!(
        "{:<8} {:>10} {:>9} {:>12} {:>9} {:>9}",
        "case", "rows", "seconds", "rows/s", "peak MiB", "file MiB"
    );
    let folder = tempfile::tempdir_in(std::env::var("BENCH_FOLDER").unwrap_or(".".into())).unwrap();
    let cases = if asked.is_empty() { CASES.to_vec() } else { asked };
    for case in std::iter::once("fill").chain(cases) {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.arg(rows.to_string()).arg(case).env("BENCH_CASE_FOLDER", folder.path());
        assert!(child.status().unwrap().success(), "{case} failed");
    }
}

fn case(name: &str, rows: u64, folder: &Path) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (seconds, size) = match name {
        "fill" => {
            let path = folder.join("bench.db");
            let seconds =
                runtime.block_on(async { feed(&sqlite::open(&path, "bench").unwrap(), rows, 5_000).await });
            (seconds, std::fs::metadata(path).unwrap().len())
        }
        "bare" => bare(rows, &folder.join("bare.parquet")),
        name => runtime.block_on(exported(rows, folder, FileFormat::parse(name).unwrap())),
    };
    let rate = rows as f64 / seconds;
    println!("{name:<8} {rows:>10} {seconds:>9.2} {rate:>12.0} {:>9} {:>9}", peak_mib(), size >> 20);
}

async fn exported(rows: u64, folder: &Path, format: FileFormat) -> (f64, u64) {
    let options = ExportOptions { dir: folder.join("out"), format, partial: false, deleted: false };
    let place = DestinationKind::Sqlite(folder.to_owned());
    let begun = Instant::now();
    let (progress, stop) = (ExportProgress::default(), CancellationToken::new());
    let done = export(&place, "bench", &options, &ExportScope::Due, &progress, &stop).await.unwrap();
    let seconds = begun.elapsed().as_secs_f64();
    let ExportOutcome::Done(report) = done else { panic!("{done:?}") };
    assert_eq!((report.files[0].rows, report.failures.len()), (rows, 0), "{report:?}");
    (seconds, report.files[0].bytes)
}

/// One column of a row group, ready for the library.
enum Ready {
    Bools(Vec<bool>),
    Ints(Vec<i64>),
    Doubles(Vec<f64>),
    Texts(Vec<ByteArray>),
}

/// The floor: one thread, the same types and compression, values already in the library's own form.
fn bare(rows: u64, path: &Path) -> (f64, u64) {
    let mut reader = reader();
    let mut waiting: Vec<Rows> = Vec::new();
    let mut writer: Option<SerializedFileWriter<File>> = None;
    let mut seconds = 0.0;
    for i in 0..rows / PAGE {
        let body = page(i * PAGE, PAGE);
        let mut take = |op| {
            if let Op::Rows(rows) = op {
                waiting.push(rows)
            }
        };
        reader.read(body.as_bytes(), &[], &mut take).unwrap();
        let done = (i + 1) * PAGE;
        if !done.is_multiple_of(GROUP) && done != rows {
            continue;
        }
        let shape = waiting.last().unwrap().shape.clone();
        let known: Vec<usize> =
            (0..shape.columns.len()).filter(|at| shape.columns[*at].kind != ColumnType::Unknown).collect();
        let columns: Vec<(Ready, Vec<i16>)> =
            known.iter().map(|at| ready(&waiting, *at, shape.columns[*at].kind)).collect();
        let begun = Instant::now();
        let writer = writer.get_or_insert_with(|| {
            let field = |at: &usize| {
                let column = &shape.columns[*at];
                let kind = match column.kind {
                    ColumnType::Boolean => PhysicalType::BOOLEAN,
                    ColumnType::Bigint | ColumnType::Timestamp => PhysicalType::INT64,
                    ColumnType::Double => PhysicalType::DOUBLE,
                    _ => PhysicalType::BYTE_ARRAY,
                };
                let field = Type::primitive_type_builder(&column.name, kind);
                Arc::new(field.with_repetition(Repetition::OPTIONAL).build().unwrap())
            };
            let schema = Type::group_type_builder("schema").with_fields(known.iter().map(field).collect());
            let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
            let file = File::create(path).unwrap();
            SerializedFileWriter::new(file, Arc::new(schema.build().unwrap()), Arc::new(properties)).unwrap()
        });
        let mut group = writer.next_row_group().unwrap();
        for (values, levels) in &columns {
            let mut column = group.next_column().unwrap().unwrap();
            let levels = Some(levels.as_slice());
            match values {
                Ready::Bools(values) => column.typed::<BoolType>().write_batch(values, levels, None),
                Ready::Ints(values) => column.typed::<Int64Type>().write_batch(values, levels, None),
                Ready::Doubles(values) => column.typed::<DoubleType>().write_batch(values, levels, None),
                Ready::Texts(values) => column.typed::<ByteArrayType>().write_batch(values, levels, None),
            }
            .unwrap();
            column.close().unwrap();
        }
        group.close().unwrap();
        seconds += begun.elapsed().as_secs_f64();
        waiting.clear();
    }
    let begun = Instant::now();
    writer.unwrap().into_inner().unwrap().sync_all().unwrap();
    (seconds + begun.elapsed().as_secs_f64(), std::fs::metadata(path).unwrap().len())
}

fn ready(waiting: &[Rows], at: usize, kind: ColumnType) -> (Ready, Vec<i16>) {
    let cells =
        || waiting.iter().flat_map(|rows| &rows.rows).map(move |row| row.get(at).unwrap_or(&Cell::Null));
    let levels = cells().map(|cell| i16::from(*cell != Cell::Null)).collect();
    let present = || cells().filter(|cell| **cell != Cell::Null);
    let values = match kind {
        ColumnType::Boolean => Ready::Bools(present().map(|cell| *cell == Cell::Bool(true)).collect()),
        ColumnType::Bigint | ColumnType::Timestamp => Ready::Ints(
            present()
                .map(|cell| match cell {
                    Cell::Int(value) => *value,
                    Cell::Timestamp(at) => at.as_microsecond(),
                    cell => panic!("{cell:?}"),
                })
                .collect(),
        ),
        ColumnType::Double => Ready::Doubles(
            present()
                .map(|cell| match cell {
                    Cell::Double(value) => *value,
                    Cell::Int(value) => *value as f64,
                    cell => panic!("{cell:?}"),
                })
                .collect(),
        ),
        _ => Ready::Texts(present().map(|cell| ByteArray::from(&*cell.to_text().unwrap())).collect()),
    };
    (values, levels)
}
