//! The house is in order: who imports whom, how long files are, and that what is written twice says the same.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use data_sources_monitor::settings::VARIABLES;

/// Files longer than this hide things; split by noun.
const MAX_LINES: usize = 500;

/// Which top-level module may import which others; `*` is any.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("secrets", &["domain"]),
    ("settings", &["domain"]),
    ("resolver", &[]),
    ("database", &["domain", "resolver"]),
    ("http", &["domain", "resolver", "secrets"]),
    ("log_file", &["domain"]),
    ("telemetry", &["domain", "log_file", "secrets", "settings"]),
    ("definitions", &["domain"]),
    ("store", &["domain", "database"]),
    ("poll", &["domain", "http"]),
    ("publish", &["domain", "http", "secrets"]),
    ("connectors", &["domain", "http", "secrets"]),
    ("destinations", &["domain", "database"]),
    ("migrate", &["domain", "database", "destinations", "store"]),
    (
        "runtime",
        &[
            "domain",
            "settings",
            "http",
            "telemetry",
            "database",
            "definitions",
            "store",
            "poll",
            "publish",
            "connectors",
            "destinations",
        ],
    ),
    ("web", &["domain", "runtime"]),
    ("demo", &["domain"]),
    ("protocol", &["domain", "http", "connectors"]),
    ("cli", &["commands"]),
    ("commands", &["*"]),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    found
}

/// The module of a file below `src`.
fn module(path: &Path) -> String {
    let below = path.strip_prefix(root().join("src")).unwrap();
    let first = below.components().next().unwrap().as_os_str().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

/// The top-level modules that a source names by `crate::`.
fn imports(text: &str) -> BTreeSet<String> {
    let code =
        text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let group = group.split('}').next().unwrap_or_default();
            found.extend(group.split(',').map(|item| item.trim().split("::").next().unwrap().to_owned()));
        } else {
            found.insert(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

/// Data flows one way: no module imports what the table does not allow it.
#[test]
fn imports_follow_the_table() {
    let table: BTreeMap<&str, &[&str]> = MAY_IMPORT.iter().copied().collect();
    let mut wrong = Vec::new();
    for path in sources(&root().join("src")) {
        let from = module(&path);
        if from == "lib" || from == "main" {
            continue;
        }
        let Some(allowed) = table.get(from.as_str()) else {
            wrong.push(format!("{from} is not in the table"));
            continue;
        };
        for to in imports(&std::fs::read_to_string(&path).unwrap()) {
            if to != from && !allowed.contains(&"*") && !allowed.contains(&to.as_str()) {
                wrong.push(format!("{} imports {to}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `domain` is pure: it names no runtime, no client, no database, no clock.
#[test]
fn domain_is_pure() {
    let banned = [
        "tokio",
        "reqwest",
        "rusqlite",
        "postgres",
        "axum",
        "std::fs",
        "std::env",
        "::now()",
        "SystemTime",
        "async fn",
    ];
    let mut wrong = Vec::new();
    for path in sources(&root().join("src/domain")) {
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
            if let Some(word) = banned.iter().find(|word| line.contains(*word)) {
                wrong.push(format!("{}: {word}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// No file grows beyond what one reads in a sitting.
#[test]
fn files_are_short() {
    let mut long = Vec::new();
    for folder in ["src", "stand_ins", "tests", "benches"] {
        // What a generator wrote nobody reads.
        for path in sources(&root().join(folder)).into_iter().filter(|path| !path.ends_with("generated.rs")) {
            let lines = std::fs::read_to_string(&path).unwrap().lines().count();
            // Nobody reads or edits what a generator wrote.
            if lines > MAX_LINES && !path.ends_with("generated.rs") {
                long.push(format!("{}: {lines}", path.display()));
            }
        }
    }
    assert!(long.is_empty(), "longer than {MAX_LINES} lines:\n{}", long.join("\n"));
}

/// `.env.example` lists every variable with its default and its meaning, and nothing else.
#[test]
fn env_example_follows_the_settings() {
    let text = std::fs::read_to_string(root().join(".env.example")).unwrap();
    let want: Vec<String> = VARIABLES
        .iter()
        .flat_map(|v| {
            // A comment, so that a copy overrides nothing of an image or a unit.
            [format!("# {}", v.meaning), format!("#{}={}", v.name, v.default)]
        })
        .collect();
    let head = text.lines().position(str::is_empty).unwrap() + 1;
    let have: Vec<&str> = text.lines().skip(head).take_while(|line| !line.is_empty()).collect();
    assert_eq!(have, want);
}
