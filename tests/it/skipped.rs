//! Tests that cannot run on this machine: said where it is seen, and counted for `just test`.

use std::io::Write;
use std::path::Path;

/// Says what was not tested and why, or fails where `require` (an environment variable) forbids to skip.
pub(crate) fn skipped(require: &str, why: &str) {
    assert!(std::env::var_os(require).is_none(), "{require} is set, but {why}");
    // Not by `eprintln`, which a test that passes keeps to itself.
    writeln!(std::io::stderr(), "SKIPPED: {why}").unwrap();
    let list = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("skipped-tests");
    let mut list = std::fs::File::options().create(true).append(true).open(list).unwrap();
    writeln!(list, "{why}").unwrap();
}
