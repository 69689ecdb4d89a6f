//! Data flows one way, and decisions are pure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{product, root, sources, text};

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
    ("qlik", &["domain", "http", "secrets"]),
    ("publish", &["domain", "http", "qlik"]),
    ("upload", &["domain", "qlik", "export"]),
    ("channels", &["domain", "http", "secrets"]),
    ("source", &["domain", "http", "secrets"]),
    ("destinations", &["domain", "database"]),
    ("export", &["domain", "database", "destinations"]),
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
            "channels",
            "source",
            "destinations",
            "export",
            "upload",
        ],
    ),
    ("web", &["domain", "runtime"]),
    ("demo", &["domain"]),
    ("protocol", &["domain", "http", "source"]),
    ("cli", &["commands"]),
    ("testing", &["*"]),
    ("commands", &["*"]),
];

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
    for path in product() {
        let from = module(&path);
        if from == "lib" || from == "main" {
            continue;
        }
        let Some(allowed) = table.get(from.as_str()) else {
            wrong.push(format!("{from} is not in the table"));
            continue;
        };
        for to in imports(&text::without_tests(&std::fs::read_to_string(&path).unwrap())) {
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
    for path in sources("src/domain") {
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

/// The board is one-way: only the web reads it; the composition roots and the module for tests pass the reader on.
#[test]
fn only_the_web_reads_the_board() {
    let pass_on = ["src/commands/service/daemon.rs", "src/commands/service/demo.rs", "src/testing.rs"]
        .map(|path| root().join(path));
    let board = root().join("src/runtime/board.rs");
    let mut wrong = Vec::new();
    for path in sources("src") {
        if path == board || module(&path) == "web" {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let reads = ["board.read(", "board.subscribe(", "board().read(", "board().subscribe("];
        let reader = code.contains("BoardReader") && !pass_on.contains(&path);
        if reader || reads.iter().any(|read| code.contains(read)) {
            wrong.push(path.display().to_string());
        }
    }
    assert!(wrong.is_empty(), "these read the board:\n{}", wrong.join("\n"));
}
