//! One word for one idea: a type's name is declared once in the crate.

use std::collections::BTreeMap;

use super::{product, shown, text};

const KINDS: [&str; 5] = ["struct", "enum", "trait", "type", "union"];

/// The types that a source declares, without those that belong to a trait or an `impl`.
fn declared(source: &str) -> Vec<String> {
    let code = text::code(&text::without_tests(source));
    let mut found = Vec::new();
    for line in code.lines() {
        let mut words = line.split_whitespace().skip_while(|word| word.starts_with("pub"));
        let Some(kind) = words.next().filter(|word| KINDS.contains(word)) else { continue };
        if kind == "type" && line.starts_with(' ') {
            continue;
        }
        let name = words.next().unwrap_or_default();
        found.push(name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
    }
    found
}

#[test]
fn each_type_name_is_declared_once() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for path in product() {
        for name in declared(&std::fs::read_to_string(&path).unwrap()) {
            places.entry(name).or_default().push(shown(&path));
        }
    }
    places.retain(|_, places| places.len() > 1);
    assert!(places.is_empty(), "declared more than once: {places:#?}");
}

#[test]
fn declarations_are_found() {
    let source =
        "pub(crate) struct A<'a>(&'a str);\nenum B {}\nimpl C for A {\n    type D = B;\n}\n// struct E\n";
    assert_eq!(declared(source), ["A", "B"]);
}
