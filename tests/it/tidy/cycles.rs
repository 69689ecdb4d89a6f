//! Files of one folder do not import each other in a circle: each can be read after those that it needs.

use std::collections::{BTreeMap, BTreeSet};

use super::{only_listed, product, root, text};

/// Circles that are still there, by folder. The list only shrinks.
const STILL_CIRCLES: &[&str] = &[];

type Module = Vec<String>;

/// Which neighbours each file or subfolder of a folder imports.
type Graph = BTreeMap<String, BTreeSet<String>>;

/// The modules of the crate with their code.
fn modules() -> BTreeMap<Module, String> {
    let mut found = BTreeMap::new();
    for path in product() {
        let below = path.strip_prefix(root().join("src")).unwrap().with_extension("");
        let mut module: Module = below.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        module.pop_if(|last| last == "mod");
        if module != ["lib"] && module != ["main"] {
            let source = std::fs::read_to_string(&path).unwrap();
            found.insert(module, text::code(&text::without_tests(&source)));
        }
    }
    found
}

/// The paths in a code that begin with `crate` or `super`, with groups in braces spread out.
fn paths(code: &str) -> Vec<Module> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(at) = ["crate::", "super::"].iter().filter_map(|start| rest.find(start)).min() {
        rest = &rest[at..];
        let read = tree(rest, &Module::new(), &mut found);
        rest = &rest[read..];
    }
    found
}

/// Reads one path, which may end in a group of others; returns how much it read.
fn tree(code: &str, before: &Module, found: &mut Vec<Module>) -> usize {
    let mut path = before.clone();
    let mut at = 0;
    loop {
        let name: String = code[at..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        at += name.len();
        path.push(name);
        let Some(next) = code[at..].strip_prefix("::") else { break };
        at += 2;
        if next.starts_with('{') {
            at += 1;
            loop {
                at += code[at..].find(|c: char| !c.is_whitespace() && c != ',').unwrap_or(0);
                if code[at..].starts_with('}') {
                    return at + 1;
                }
                let read = tree(&code[at..], &path, found);
                at += read;
                // What follows a name: ` as other`, or nothing.
                at += code[at..].find([',', '}']).unwrap_or(code.len() - at);
                if at >= code.len() {
                    return code.len();
                }
            }
        }
    }
    found.push(path);
    at.max(1)
}

/// The module that a path leads to, as far as it names modules.
fn target(from: &Module, path: &Module, known: &BTreeMap<Module, String>) -> Module {
    let up = path.iter().take_while(|part| *part == "super").count();
    let mut module = if up == 0 { Module::new() } else { from[..from.len().saturating_sub(up)].to_vec() };
    for part in &path[up.max(1)..] {
        module.push(part.clone());
        if !known.contains_key(&module) {
            module.pop();
            break;
        }
    }
    module
}

fn graphs(modules: &BTreeMap<Module, String>) -> BTreeMap<Module, Graph> {
    let mut found: BTreeMap<Module, Graph> = BTreeMap::new();
    for (from, code) in modules {
        for path in paths(code) {
            let to = target(from, &path, modules);
            let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
            if let (Some(importer), Some(imported)) = (from.get(common), to.get(common)) {
                let graph = found.entry(from[..common].to_vec()).or_default();
                graph.entry(importer.clone()).or_default().insert(imported.clone());
            }
        }
    }
    found
}

fn reachable(graph: &Graph, from: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![from];
    while let Some(name) = open.pop() {
        for next in graph.get(name).into_iter().flatten() {
            if found.insert(next.clone()) {
                open.push(next);
            }
        }
    }
    found
}

/// The groups of files that import each other, directly or not.
fn circles(graph: &Graph) -> BTreeSet<Vec<String>> {
    let reach: BTreeMap<&String, BTreeSet<String>> =
        graph.keys().map(|name| (name, reachable(graph, name))).collect();
    let mut found = BTreeSet::new();
    for (name, targets) in &reach {
        if targets.contains(*name) {
            let back = |other: &&String| reach.get(other).is_some_and(|reached| reached.contains(*name));
            found.insert(targets.iter().filter(back).cloned().collect());
        }
    }
    found
}

#[test]
fn files_of_a_folder_import_in_one_direction() {
    let mut found = BTreeSet::new();
    for (folder, graph) in graphs(&modules()) {
        for circle in circles(&graph) {
            let place: Vec<&str> = std::iter::once("src").chain(folder.iter().map(String::as_str)).collect();
            found.insert(format!("{}: {}", place.join("/"), circle.join(", ")));
        }
    }
    only_listed(&found, STILL_CIRCLES, "imports in a circle");
}

#[test]
fn circles_are_found() {
    let module = |path: &str| path.split('/').map(str::to_owned).collect::<Module>();
    let modules = BTreeMap::from([
        (module("a"), "use crate::b::Type;".to_owned()),
        (module("b"), String::new()),
        (module("b/x"), "use super::{Type, y::{self as z, Other}};".to_owned()),
        (module("b/y"), "fn f() { super::w::g() }".to_owned()),
        (module("b/w"), "use crate::{a::A, b::x};".to_owned()),
    ]);
    let graphs = graphs(&modules);
    assert_eq!(circles(&graphs[&module("b")]), BTreeSet::from([module("w/x/y")]));
    assert_eq!(circles(&graphs[&Module::new()]), BTreeSet::from([module("a/b")]));
}
