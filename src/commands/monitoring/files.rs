//! The files in MONITORS_DIR.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::commands::CommandError;
use crate::definitions::monitor::{name_in, read_one};
use crate::definitions::{engine, toml_files};
use crate::settings::Settings;

/// The file of the monitor with this name, ignoring case.
///
/// # Errors
/// If there is none.
pub(super) fn of_monitor(settings: &Settings, name: &str) -> Result<(PathBuf, String), CommandError> {
    let folder = &settings.monitors_dir;
    let files = match toml_files(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let folder = folder.display();
            return Err(CommandError::configuration([format!(
                "there is no folder {folder}, and the built-in monitors have no files; `monitor add SLUG` writes one"
            )]));
        }
        files => files.with_context(|| format!("cannot read {}", folder.display()))?,
    };
    let mut names = Vec::new();
    for file in files {
        let text =
            std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let Some(found) = name_in(&text) else { continue };
        if found.to_lowercase() == name.to_lowercase() {
            return Ok((file, text));
        }
        names.push(found);
    }
    let known = if names.is_empty() {
        "it has no definitions".to_owned()
    } else {
        format!("known: {}", names.join(", "))
    };
    let message = format!("no monitor {name:?} in {}; {known}", folder.display());
    Err(CommandError::configuration([message]))
}

/// Checks the text of a definition.
///
/// # Errors
/// Every configuration error in it.
pub(super) fn check(settings: &Settings, file: &Path, text: &str) -> Result<(), CommandError> {
    let engines = engine::load(&settings.engines_dir).map_err(CommandError::configuration)?;
    let read = read_one(&file.display().to_string(), text, &engines);
    read.map(drop).map_err(CommandError::configuration)
}

/// A text as a value of a definition. The escapes of Rust's `{:?}` are not those of TOML.
pub(super) fn quoted(text: &str) -> String {
    toml_edit::Value::from(text).to_string()
}

/// Creates a file in one step, so that the daemon never reads half of it.
///
/// # Errors
/// If it exists, even if it was created meanwhile, or cannot be written.
pub(super) fn create(file: &Path, text: &str) -> Result<(), CommandError> {
    let written = beside(file, text, |beside| {
        std::fs::hard_link(beside, file)?;
        std::fs::remove_file(beside)
    });
    match written {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(exists(file)),
        written => Ok(written.with_context(|| format!("cannot write {}", file.display()))?),
    }
}

pub(super) fn exists(file: &Path) -> CommandError {
    let file = file.display();
    CommandError::configuration([format!(
        "{file} already exists; --name gives another name, or edit the file"
    )])
}

/// Replaces a file in one step. A link stays a link.
///
/// # Errors
/// If it cannot be written.
pub(super) fn replace(file: &Path, text: &str) -> Result<(), CommandError> {
    let write = || -> std::io::Result<()> {
        let target = std::fs::canonicalize(file)?;
        beside(&target, text, |beside| {
            std::fs::set_permissions(beside, std::fs::metadata(&target)?.permissions())?;
            std::fs::rename(beside, &target)
        })
    };
    Ok(write().with_context(|| format!("cannot write {}", file.display()))?)
}

/// Writes a text into a hidden file in the same folder, which `place` puts into its place. It never stays behind.
fn beside(file: &Path, text: &str, place: impl FnOnce(&Path) -> std::io::Result<()>) -> std::io::Result<()> {
    let folder = file.parent().unwrap_or_else(|| Path::new("."));
    let mut name = std::ffi::OsString::from(".");
    name.push(file.file_name().unwrap_or_default());
    name.push(format!(".{}.new", std::process::id()));
    let hidden = folder.join(name);
    let write = || {
        let mut out = std::fs::File::create(&hidden)?;
        out.write_all(text.as_bytes())?;
        out.sync_all()?;
        place(&hidden)
    };
    write().inspect_err(|_| drop(std::fs::remove_file(&hidden)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_that_was_created_meanwhile_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.toml");
        create(&file, "ours").unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "ours");
        assert!(create(&file, "other").is_err());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "ours");
        assert!(create(&folder.path().join("missing/a.toml"), "x").is_err());
        assert_eq!(names(folder.path()), ["a.toml"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_replaced_file_keeps_its_mode_and_its_link() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("a.toml"), folder.path().join("b.toml"));
        std::fs::write(&file, "before").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        symlink(&file, &link).unwrap();
        replace(&link, "after").unwrap();
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "after");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(names(folder.path()), ["a.toml", "b.toml"]);
    }
}
