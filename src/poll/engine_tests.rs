//! Arbitrary documents for every built-in engine: no panic, and no health that the document does not state in a word.

use std::sync::Arc;

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::poll_page::judge_body;
use super::tests::pages_of_all_engines;
use crate::domain::monitoring::engine::{ComponentState, Engine, Path, Source, Step, WordMap};
use crate::domain::monitoring::monitor::{Pattern, Remap, StatusPage};
use crate::domain::monitoring::severity::Severity;
use crate::domain::text::folded;

/// Whether the engine only says `none` because of a word: not because of an empty list, or of what is not in a list.
fn judges_by_words(engine: &Engine) -> bool {
    let assumes =
        |state: &ComponentState| matches!(state, ComponentState::Join(join) if join.absent.is_some());
    !engine.judges_by_incidents() && !engine.components.as_ref().is_some_and(|rules| assumes(&rules.state))
}

fn healthy_words(engine: &Engine) -> Vec<&str> {
    let components = engine.components.iter().map(|rules| &rules.map);
    let maps = std::iter::once(&engine.overall.map).chain(components);
    maps.flat_map(|map| map.words_of(Severity::None)).collect()
}

fn is_healthy(page: &StatusPage, body: &[u8]) -> bool {
    let outcome = judge_body(page, &Remap::default(), body, Timestamp::UNIX_EPOCH);
    outcome.is_ok_and(|reading| reading.verdict().is_ok_and(|reading| reading.severity == Severity::None))
}

/// Both ways of reading a body.
fn check(body: &[u8]) {
    // Texts are compared without case, blanks and hyphens.
    let text = folded(&String::from_utf8_lossy(body));
    for page in pages_of_all_engines() {
        let filtered = StatusPage { components: vec![Pattern::new("*")], incidents: true, ..page.clone() };
        for page in [page, filtered] {
            let healthy = is_healthy(&page, body);
            if healthy && judges_by_words(&page.engine) {
                let stated = healthy_words(&page.engine).iter().any(|word| text.contains(word));
                assert!(stated, "{}: {text}", page.engine.name);
            }
        }
    }
}

/// Puts a value where a path leads, with everything on the way.
fn plant(here: &mut Value, steps: &[Step], value: Value) {
    let Some((step, rest)) = steps.split_first() else {
        // What is planted later goes into what is there already.
        if !here.is_object() && !here.is_array() {
            *here = value;
        }
        return;
    };
    let key = match step {
        Step::Field(name) => Some(name.as_str()),
        Step::Values => Some("k"),
        Step::Attribute(_) => return,
        Step::Each | Step::Index(_) | Step::Filter(..) => None,
    };
    if let Some(key) = key {
        if !here.is_object() {
            *here = Value::Object(Map::new());
        }
        plant(&mut here[key], rest, value);
        return;
    }
    if !here.is_array() {
        *here = json!([]);
    }
    let Some(list) = here.as_array_mut() else { return };
    let filter = match step {
        Step::Filter(field, word) => Some((Path::parse(field).unwrap(), word)),
        _ => None,
    };
    let fits =
        |one: &Value| filter.as_ref().is_none_or(|(path, word)| one.get(path.as_str()) == Some(&json!(word)));
    let at = list.iter().position(fits).unwrap_or_else(|| {
        list.push(Value::Null);
        list.len() - 1
    });
    if let Some((path, word)) = filter {
        plant(&mut list[at], path.steps(), json!(word));
    }
    plant(&mut list[at], rest, value);
}

/// A document of the engine's shape, with these words where words decide.
fn document(engine: &Engine, words: &[Value]) -> Value {
    let mut words = words.iter().cycle().cloned();
    let mut word = || words.next().unwrap_or_default();
    let mut root = Value::Null;
    for read in &engine.reads {
        read.require.iter().for_each(|path| plant(&mut root, path.steps(), word()));
    }
    for Source { path, .. } in &engine.overall.state {
        plant(&mut root, path.steps(), word());
    }
    if let Some(rules) = &engine.components
        && let Some(Source { path: list, .. }) = rules.list.first()
    {
        let mut below = |path: &Path, value: Value| {
            let steps: Vec<Step> = list.steps().iter().chain(path.steps()).cloned().collect();
            plant(&mut root, &steps, value);
        };
        rules.id.iter().chain(&rules.name).for_each(|path| below(path, json!("1")));
        if let ComponentState::Own(paths) = &rules.state {
            paths.iter().for_each(|path| below(path, word()));
        }
        if let Some(parts) = &rules.parts {
            let of = |path: &Path| Path::of(parts.list.steps().iter().chain(path.steps()).cloned().collect());
            parts.state.iter().for_each(|path| below(&of(path), word()));
        }
    }
    root
}

fn word() -> impl Strategy<Value = Value> {
    let engines = pages_of_all_engines();
    let of = |map: &WordMap| {
        Severity::ALL.iter().flat_map(|s| map.words_of(*s)).map(str::to_owned).collect::<Vec<_>>()
    };
    let known = |engine: &Arc<Engine>| {
        [of(&engine.overall.map), healthy_words(engine).into_iter().map(str::to_owned).collect()]
    };
    let known: Vec<String> = engines.iter().flat_map(|page| known(&page.engine)).flatten().collect();
    prop_oneof![
        4 => prop::sample::select(known).prop_map(Value::from),
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        1 => (0u16..700).prop_map(Value::from),
        1 => Just(json!([])),
        1 => Just(json!({})),
        1 => "[a-z_ ]{0,12}".prop_map(Value::from),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn any_bytes_are_accepted(body in prop::collection::vec(any::<u8>(), 0..300)) {
        check(&body);
    }

    /// Text of tokens gets deeper into the parsers than arbitrary bytes.
    #[test]
    fn any_json_or_xml_like_text_is_accepted(
        body in "(\\{|\\}|\\[|\\]|:|,|\"status\"|\"data\"|\"up\"|\"components\"|1|null|<rss>|<channel>|<item>|</item>|</channel>|</rss>|<title>|&amp;|<!\\[CDATA\\[| ){0,40}"
    ) {
        check(body.as_bytes());
    }

    /// Documents that have everything the engine asks for, with words of all engines.
    #[test]
    fn only_a_word_of_the_engine_is_health(words in prop::collection::vec(word(), 1..6)) {
        for page in pages_of_all_engines() {
            let body = document(&page.engine, &words).to_string();
            let healthy = healthy_words(&page.engine);
            let is_word = |value: &Value| match value {
                Value::String(text) => healthy.contains(&folded(text).as_str()),
                value => healthy.contains(&value.to_string().as_str()),
            };
            if is_healthy(&page, body.as_bytes()) && judges_by_words(&page.engine) {
                prop_assert!(words.iter().any(is_word), "{}: {body}", page.engine.name);
            }
        }
    }

    /// The same documents with bytes removed or changed.
    #[test]
    fn damaged_documents_are_accepted(
        words in prop::collection::vec(word(), 1..4),
        at in any::<prop::sample::Index>(),
        instead in prop::collection::vec(any::<u8>(), 0..4),
    ) {
        for page in pages_of_all_engines() {
            let mut body = document(&page.engine, &words).to_string().into_bytes();
            let from = at.index(body.len() + 1);
            let to = (from + 3).min(body.len());
            body.splice(from..to, instead.clone());
            let _ = is_healthy(&page, &body);
        }
    }
}

/// The documents reach the verdict: with healthy words only, most engines say `none`.
#[test]
fn documents_of_healthy_words_are_healthy() {
    let mut healthy = 0;
    for page in pages_of_all_engines().into_iter().filter(|page| judges_by_words(&page.engine)) {
        let words: Vec<Value> = healthy_words(&page.engine).into_iter().map(Value::from).collect();
        let body = document(&page.engine, &words);
        healthy += u32::from(is_healthy(&page, body.to_string().as_bytes()));
    }
    assert!(healthy >= 12, "{healthy}");
}
