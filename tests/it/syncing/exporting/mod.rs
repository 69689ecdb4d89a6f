//! Exported files: the same from each kind of destination, complete, and never half written.

mod changes;
mod crashing;
mod failures;
mod jobs;
mod readers;
mod values;

use std::fs::File;
use std::path::{Path, PathBuf};

use data_sources_monitor::testing::database::Database;
use data_sources_monitor::testing::destinations::DestinationKind;
use data_sources_monitor::testing::domain::file_format::FileFormat;
use data_sources_monitor::testing::export::{
    ExportOptions, ExportOutcome, ExportProgress, ExportReport, ExportScope, export,
};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::printer::print_schema;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::syncing::contract::TestDestination;

impl TestDestination {
    fn place(&self) -> DestinationKind {
        match self {
            TestDestination::Sqlite(folder) => DestinationKind::Sqlite(folder.path().to_owned()),
            TestDestination::Postgres { .. } => {
                DestinationKind::Postgres(Database::new(&self.url().into(), None, None).unwrap())
            }
        }
    }
}

/// Exports of the connector `acme` into a folder of its own.
struct Exporter {
    folder: TempDir,
    options: ExportOptions,
}

impl Exporter {
    fn new(format: FileFormat) -> Exporter {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().to_owned();
        Exporter { folder, options: ExportOptions { dir, format, partial: false, deleted: false } }
    }

    async fn run(&self, of: &TestDestination, scope: ExportScope) -> ExportOutcome {
        let (progress, stop) = (ExportProgress::default(), CancellationToken::new());
        export(&of.place(), "acme", &self.options, &scope, &progress, &stop).await.unwrap()
    }

    /// What is due; it must not fail.
    async fn due(&self, of: &TestDestination) -> ExportReport {
        let ExportOutcome::Done(report) = self.run(of, ExportScope::Due).await else { panic!("skipped") };
        assert_eq!(report.failures, []);
        report
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("acme").join(format!("thing.{}", self.options.format.as_str()))
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.file()).unwrap()
    }

    /// The columns and their types.
    fn schema(&self) -> Vec<String> {
        let mut text = Vec::new();
        print_schema(&mut text, open(&self.file()).metadata().file_metadata().schema());
        let text = String::from_utf8(text).unwrap();
        let lines = text.lines().filter_map(|line| line.trim().strip_prefix("OPTIONAL "));
        lines.map(|line| line.trim_end_matches(';').to_owned()).collect()
    }

    /// The values of each row, separated by `|`.
    fn rows(&self) -> Vec<String> {
        let rows = open(&self.file()).into_iter().map(Result::unwrap);
        rows.map(|row| {
            let values = row.get_column_iter().map(|(_, value)| value.to_string());
            values.collect::<Vec<_>>().join("|")
        })
        .collect()
    }
}

fn open(file: &Path) -> SerializedFileReader<File> {
    SerializedFileReader::new(File::open(file).unwrap()).unwrap()
}

/// The names in the connector's folder.
fn listed(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder.join("acme"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
