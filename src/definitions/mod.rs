//! Definitions: folders of TOML files that define monitors and connectors.
//!
//! All errors of all files are reported together, with file, line and column. Nothing here uses the network.
//! Start at [`monitor::load`] and [`connector::load`].

mod audience;
pub mod catalogue;
pub mod channel;
pub mod connector;
mod data_rule;
pub mod engine;
pub mod keys;
pub mod monitor;
pub mod starter;
pub mod tenant;

use std::fmt;
use std::path::{Path, PathBuf};

/// One configuration error in a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefinitionError {
    /// The file as the user named it.
    pub file: String,
    /// Line and column, from 1; `None` if the error is about the whole file.
    pub at: Option<(usize, usize)>,
    /// What is wrong, and what to do.
    pub message: String,
}

impl fmt::Display for DefinitionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some((line, column)) => write!(f, "{}:{line}:{column}: {}", self.file, self.message),
            None => write!(f, "{}: {}", self.file, self.message),
        }
    }
}

/// Line and column (from 1, in characters) of a byte offset.
pub fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(offset.min(text.len()))];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
    (line, column)
}

/// The `.toml` files of a folder, sorted by name, without hidden files and editors' backup files.
///
/// # Errors
/// If the folder cannot be listed.
pub fn toml_files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        if !hidden && path.extension().is_some_and(|ending| ending == "toml") && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Files that look like definitions but are ignored: `.yaml`, `.toml.txt`, `.TOML`, and a `.toml` that is not
/// a file, such as a dangling link.
pub fn misnamed(folder: &Path) -> Vec<DefinitionError> {
    const ENDINGS: [&str; 5] = [".yaml", ".yml", ".json", ".toml.txt", ".tml"];
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    found.sort();
    let misnamed = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let lower = name.to_ascii_lowercase();
        let other = ENDINGS.iter().any(|ending| lower.ends_with(ending));
        let capital = lower.ends_with(".toml") && !name.ends_with(".toml");
        let is_file = path.is_file();
        !name.starts_with('.') && ((other || capital) && is_file || name.ends_with(".toml") && !is_file)
    };
    let error = |path: PathBuf| {
        let what = if path.is_file() {
            "definitions are files named NAME.toml"
        } else {
            "it is not a file, or a link to a missing one"
        };
        let message = format!("is ignored: {what}; rename or remove it");
        DefinitionError { file: path.display().to_string(), at: None, message }
    };
    found.into_iter().filter(misnamed).map(error).collect()
}

/// Each file's name, size and modification time, to detect changes.
pub type Stamp = Vec<(PathBuf, u64, Option<std::time::SystemTime>)>;

/// The stamp of a folder; `None` if it cannot be listed.
pub fn stamp(folder: &Path) -> Option<Stamp> {
    let files = toml_files(folder).ok()?;
    let of = |path: PathBuf| {
        let meta = std::fs::metadata(&path).ok();
        (path, meta.as_ref().map_or(0, std::fs::Metadata::len), meta.and_then(|m| m.modified().ok()))
    };
    Some(files.into_iter().map(of).collect())
}
