//! Sets the commit and its date that `--version` prints.
//!
//! `SOURCE_COMMIT` and `SOURCE_DATE_EPOCH` take precedence, for builds without a checkout (source archive, container). If neither
//! is set and this folder is not a checkout, the version contains `unknown`. The clock is never read, so builds are reproducible.

use std::path::Path;
use std::process::Command;

fn main() {
    for name in ["SOURCE_COMMIT", "SOURCE_DATE_EPOCH"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    println!("cargo::rerun-if-changed=build.rs");
    let checkout = is_checkout();
    if checkout {
        watch_commits();
    }
    let from_git = |args: &[&str]| checkout.then(|| git(args)).flatten();
    let commit = variable("SOURCE_COMMIT").or_else(|| from_git(&["rev-parse", "HEAD"]));
    let seconds = variable("SOURCE_DATE_EPOCH").or_else(|| from_git(&["log", "-1", "--format=%ct"]));
    let commit = commit.map(|commit| commit.chars().take(9).collect::<String>());
    let date = seconds.and_then(|seconds| seconds.parse().ok()).map(date);
    let source = match (commit, date) {
        (Some(commit), Some(date)) => format!("{commit} {date}"),
        (Some(commit), None) => commit,
        (None, Some(date)) => format!("unknown commit, {date}"),
        (None, None) => "unknown commit".to_owned(),
    };
    let version = variable("CARGO_PKG_VERSION").unwrap_or_default();
    println!("cargo::rustc-env=VERSION_LINE={version} ({source})");
}

#[expect(clippy::disallowed_methods, reason = "a build script is configured by its environment")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    Some(text).filter(|text| !text.is_empty())
}

/// Whether this folder is the root of a checkout. A source archive unpacked inside another repository is not.
fn is_checkout() -> bool {
    let root = git(&["rev-parse", "--show-toplevel"]).and_then(|root| Path::new(&root).canonicalize().ok());
    let here = std::env::current_dir().and_then(|here| here.canonicalize()).ok();
    root.is_some() && root == here
}

/// Triggers a rebuild after a commit or a checkout. Cargo treats a missing file as changed, so only existing files are listed.
fn watch_commits() {
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]);
    let names = ["HEAD", "logs/HEAD", "packed-refs"].into_iter().map(str::to_owned).chain(branch);
    for path in names.filter_map(|name| git(&["rev-parse", "--git-path", &name])) {
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
}

/// Formats a Unix time as a UTC date, `2026-01-31`. The arithmetic uses 400-year eras that start in March.
fn date(seconds: i64) -> String {
    let days = seconds.div_euclid(86_400) + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}
