//! A file is read in a sitting; a folder is seen at once.

use std::collections::{BTreeMap, BTreeSet};

use super::{only_listed, product, shown, sources};

/// Longer files hide things; split by noun.
const MAX_LINES: usize = 500;

const MAX_FILES: usize = 12;

#[test]
fn files_are_short() {
    let mut long = Vec::new();
    for path in ["src", "stand_ins", "fivetran_source", "tests", "benches"].into_iter().flat_map(sources) {
        let lines = std::fs::read_to_string(&path).unwrap().lines().count();
        if lines > MAX_LINES {
            long.push(format!("{}: {lines}", shown(&path)));
        }
    }
    assert!(long.is_empty(), "longer than {MAX_LINES} lines:\n{}", long.join("\n"));
}

#[test]
fn folders_hold_few_files() {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let others = ["stand_ins", "tests", "benches"].into_iter().flat_map(sources);
    for path in product().into_iter().chain(others) {
        *counts.entry(shown(path.parent().unwrap())).or_default() += 1;
    }
    let full: BTreeSet<String> =
        counts.into_iter().filter(|(_, count)| *count > MAX_FILES).map(|(folder, _)| folder).collect();
    only_listed(&full, &[], "more than 12 files in a folder");
}
