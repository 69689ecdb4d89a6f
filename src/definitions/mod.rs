//! Definitions: folders of TOML files that say what is watched and what is synced.
//!
//! Every mistake of every file is told at once, with file, line and column. Nothing here looks at the network.
//! Start at [`monitor::load`] and [`connector::load`].

pub mod connector;
pub mod keys;
pub mod monitor;
pub mod starter;

use std::fmt;
use std::path::{Path, PathBuf};

/// One mistake in a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The file, as the person named it.
    pub file: String,
    /// Line and column, from 1; `None` where the file as a whole is meant.
    pub at: Option<(usize, usize)>,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Mistake {
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

/// The `.toml` files of a folder, by name. Hidden files and what editors leave behind do not count.
///
/// # Errors
/// When the folder cannot be listed.
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

/// Files of a folder that were meant as definitions but are not read: `.yaml`, `.toml.txt`, `.TOML`.
pub fn misnamed(folder: &Path) -> Vec<Mistake> {
    const ENDINGS: [&str; 5] = [".yaml", ".yml", ".json", ".toml.txt", ".tml"];
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    found.sort();
    let misnamed = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let lower = name.to_ascii_lowercase();
        let other = ENDINGS.iter().any(|ending| lower.ends_with(ending));
        let capital = lower.ends_with(".toml") && !name.ends_with(".toml");
        !name.starts_with('.') && (other || capital) && path.is_file()
    };
    let mistake = |path: PathBuf| Mistake {
        file: path.display().to_string(),
        at: None,
        message: "is not read: a definition is a file NAME.toml; rename it, or remove it".into(),
    };
    found.into_iter().filter(misnamed).map(mistake).collect()
}

/// What tells whether a folder changed: each file's name, size and time of change.
pub type Stamp = Vec<(PathBuf, u64, Option<std::time::SystemTime>)>;

/// The stamp of a folder; `None` where it cannot be listed.
pub fn stamp(folder: &Path) -> Option<Stamp> {
    let files = toml_files(folder).ok()?;
    let of = |path: PathBuf| {
        let meta = std::fs::metadata(&path).ok();
        (path, meta.as_ref().map_or(0, std::fs::Metadata::len), meta.and_then(|m| m.modified().ok()))
    };
    Some(files.into_iter().map(of).collect())
}
