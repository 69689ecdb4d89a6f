//! The texts that people read are in plain technical English.

use std::path::{Path, PathBuf};

use super::text::{self, Piece};
use super::{files, product, root, shown};

/// Words of an earlier dialect, and what to say instead.
const BANNED: &[(&str, &str)] = &[
    ("ado", "leave out"),
    ("anew", "again"),
    ("begun", "started"),
    ("far end", "server, service"),
    ("far ends", "servers, services"),
    ("for ever", "forever"),
    ("for good", "permanently"),
    ("hand back", "restore"),
    ("heard of", "heartbeat"),
    ("hence", "so"),
    ("in vain", "without success"),
    ("lest", "so that … not"),
    ("let go", "evict, release"),
    ("mend", "fix, correct"),
    ("mended", "fixed, corrected"),
    ("nobody", "no one, or the passive"),
    ("owed", "pending"),
    ("patience", "timeout"),
    ("seam", "overlap"),
    ("somebody", "someone"),
    ("sweep", "cleanup"),
    ("sweeps", "cleanups"),
    ("swept", "deleted, cleaned up"),
    ("tenure", "lease"),
    ("told", "reported, announced, set"),
    ("tried again", "retried"),
    ("tries again", "retries"),
    ("unheard", "unrecorded"),
    ("whoever", "who, or the passive"),
];

/// Folders and files that people read as they are.
const TEXTS: &[&str] = &["docs", "deploy", "monitors", "connectors", ".github"];

/// The banned words in a text, whole and in any case, each with what stands around it.
fn banned(text: &str) -> Vec<(&'static str, String)> {
    let lower = text.to_lowercase().replace(|c: char| !c.is_alphanumeric() && c != '_', " ");
    let words = format!(" {} ", lower.split_whitespace().collect::<Vec<_>>().join(" "));
    let around = |at: usize| {
        words[words.floor_char_boundary(at.saturating_sub(40))..words.ceil_char_boundary(at + 40)]
            .trim()
            .to_owned()
    };
    let found = BANNED.iter().filter_map(|(word, _)| Some((*word, words.find(&format!(" {word} "))?)));
    found.map(|(word, at)| (word, around(at))).collect()
}

/// A literal without what is filled in.
fn without_arguments(literal: &str) -> String {
    let mut kept = String::new();
    let mut rest = literal;
    while let Some((before, after)) = rest.split_once('{') {
        kept.push_str(before);
        rest = after.split_once('}').map_or("", |(_, after)| after);
    }
    kept + rest
}

/// The doc comments that the command line prints as help.
fn help(source: &str) -> Vec<&str> {
    let derives = ["Parser", "Subcommand", "Args", "ValueEnum"];
    let mut found = Vec::new();
    let mut lines: Vec<&str> = Vec::new();
    let mut printed = false;
    for line in source.lines() {
        lines.push(line);
        printed |= line.starts_with("#[derive(") && derives.iter().any(|derive| line.contains(derive));
        if line.starts_with('}') || line.is_empty() && !printed {
            if printed {
                found.extend(lines.iter().filter(|line| line.trim_start().starts_with("///")));
            }
            lines.clear();
            printed = false;
        }
    }
    found
}

/// Everything of a source that may appear on a terminal, in a log or on a page.
fn spoken(source: &str) -> Vec<String> {
    let source = text::without_tests(source);
    let literals = text::pieces(&source).into_iter().filter_map(|piece| match piece {
        Piece::Literal(literal) => Some(without_arguments(literal)),
        Piece::Comment(_) | Piece::Code(_) => None,
    });
    // A single word is a name.
    let sentences = literals.filter(|literal| literal.contains(' '));
    sentences.chain(help(&source).into_iter().map(str::to_owned)).collect()
}

fn texts() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = TEXTS.iter().flat_map(|folder| files(&root().join(folder), "")).collect();
    let of_root = std::fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path());
    found.extend(of_root.filter(|path| path.extension().is_some_and(|ending| ending == "md")));
    found.push(root().join(".env.example"));
    found.retain(|path| path.extension().is_none_or(|ending| ending != "png"));
    found
}

fn complain(path: &Path, text: &str, wrong: &mut Vec<String>) {
    for (word, around) in banned(text) {
        wrong.push(format!("{}: \"{word}\" in \"… {around} …\"", shown(path)));
    }
}

#[test]
fn no_text_has_a_banned_word() {
    let mut wrong = Vec::new();
    for path in product() {
        for text in spoken(&std::fs::read_to_string(&path).unwrap()) {
            complain(&path, &text, &mut wrong);
        }
    }
    for path in texts() {
        let text = std::fs::read_to_string(&path).unwrap();
        // Every other part is code.
        let prose: Vec<&str> = text.split('`').step_by(2).collect();
        complain(&path, &prose.join(" "), &mut wrong);
    }
    let instead: Vec<String> = BANNED.iter().map(|(word, other)| format!("{word}: {other}")).collect();
    assert!(wrong.is_empty(), "{}\n\nSay instead:\n{}", wrong.join("\n"), instead.join("\n"));
}

#[test]
fn banned_words_are_found() {
    let source = "/// Nobody.\n#[derive(Parser)]\nstruct A {\n    /// Whoever asks\n    a: u8,\n}\n\n/// Anew.\nfn f() {\n    \
                  info!(\"{told} was told\"); // lest\n}\n";
    let words = |text: &str| banned(text).into_iter().map(|(word, _)| word).collect::<Vec<_>>();
    let found: Vec<_> = spoken(source).iter().flat_map(|text| words(text)).collect();
    assert_eq!(found, ["told", "nobody", "whoever"]);
    assert_eq!(words("retried for\n# ever, untold"), ["for ever"]);
}
