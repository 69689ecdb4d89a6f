//! What a machine can keep of ARCHITECTURE.md: who may import whom, sizes, names, words, and that what is written twice
//! says the same.

mod cycles;
mod imports;
mod names;
mod settings;
mod sizes;
mod text;
mod words;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All files below a folder whose names end so.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Our own Rust files below a folder: without those that a generator writes.
fn sources(folder: &str) -> Vec<PathBuf> {
    let mut found = files(&root().join(folder), ".rs");
    found.retain(|path| !path.ends_with("generated.rs"));
    found
}

/// The Rust files of the crate that are part of the program: without those of test modules.
fn product() -> Vec<PathBuf> {
    let mut found = sources("src");
    let of_tests: Vec<PathBuf> = found.iter().flat_map(|path| test_modules(path)).collect();
    found.retain(|path| {
        !of_tests.iter().any(|module| path.starts_with(module) || path.with_extension("") == *module)
    });
    found
}

/// The files, without their ending, and folders of the test modules that a file declares.
fn test_modules(path: &Path) -> Vec<PathBuf> {
    let is_folder = ["mod.rs", "lib.rs", "main.rs"].iter().any(|name| path.ends_with(name));
    let folder = if is_folder { path.parent().unwrap().to_owned() } else { path.with_extension("") };
    let source = std::fs::read_to_string(path).unwrap();
    let declared = source.split("#[cfg(test)]\nmod ").skip(1);
    declared.map(|rest| folder.join(rest.split([';', ' ']).next().unwrap_or_default())).collect()
}

/// A path as it stands in the repository.
fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().to_string_lossy().into_owned()
}

/// Compares what a rule finds with the exceptions it still has: neither may a new one come, nor an old one stay listed.
fn only_listed(found: &BTreeSet<String>, listed: &[&str], rule: &str) {
    let listed: BTreeSet<String> = listed.iter().map(|&name| name.to_owned()).collect();
    let new: Vec<&String> = found.difference(&listed).collect();
    let gone: Vec<&String> = listed.difference(found).collect();
    assert!(new.is_empty(), "{rule}: {new:#?}");
    assert!(gone.is_empty(), "{rule}: no exception any more, remove from the list: {gone:#?}");
}
