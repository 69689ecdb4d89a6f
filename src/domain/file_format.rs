//! The formats of exported files.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileFormat {
    #[default]
    Parquet,
    Csv,
}

impl FileFormat {
    /// The word in settings and definitions, and the ending of file names.
    pub fn as_str(self) -> &'static str {
        match self {
            FileFormat::Parquet => "parquet",
            FileFormat::Csv => "csv",
        }
    }

    pub fn parse(word: &str) -> Option<FileFormat> {
        [FileFormat::Parquet, FileFormat::Csv].into_iter().find(|format| format.as_str() == word)
    }
}
