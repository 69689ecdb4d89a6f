//! Arbitrary responses cause no panic, and no reading that the response does not state.

use proptest::prelude::*;
use serde_json::{Value, json};

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::page::MAX_TEXT;
use super::poll_page::judge_body;
use crate::definitions::engine::built_in;
use crate::domain::monitoring::engine::Engine;
use crate::domain::monitoring::monitor::{Pattern, Remap, StatusPage};
use crate::domain::monitoring::observation::{Reading, Unknown};
use crate::domain::monitoring::severity::Severity;
use crate::domain::text::folded;

/// A page without filters.
pub(super) fn whole_page(incidents: bool) -> StatusPage {
    StatusPage {
        root: "https://status.acme.test/".parse().unwrap(),
        engine: built_in()["statuspage"].clone(),
        options: BTreeMap::new(),
        components: vec![],
        ignore: vec![],
        incidents,
        announce: None,
    }
}

/// A page of each built-in engine, without filters.
pub(super) fn pages_of_all_engines() -> Vec<StatusPage> {
    let page = |engine: &Arc<Engine>| StatusPage { engine: engine.clone(), ..whole_page(false) };
    built_in().values().map(page).collect()
}

fn page() -> StatusPage {
    StatusPage {
        components: vec![Pattern::new("*")],
        ignore: vec![Pattern::new("Website")],
        ..whole_page(true)
    }
}

/// All endpoints of a status page in one document, so that each reader finds its fields.
fn whole() -> Value {
    json!({
        "page": {"id": "q7w2e9r4t1y6", "name": "Examplify", "updated_at": "2026-05-02T09:14:33.482Z"},
        "status": {"indicator": "minor", "description": "Partially Degraded Service"},
        "components": [
            {"id": "a1", "name": "Query engine", "status": "degraded_performance", "group_id": "g1", "group": false},
            {"id": "g1", "name": "EU region", "status": "operational", "group": true, "components": ["a1"]},
            {"id": "b2", "name": "Website", "status": "operational", "group_id": null, "group": false},
        ],
        "incidents": [{"id": "i1", "name": "Slow queries", "status": "identified", "impact": "minor",
            "shortlink": "https://stspg.test/abc", "started_at": "2026-05-02T08:58:10.290Z", "resolved_at": null,
            "components": [{"id": "a1", "name": "Query engine"}]}],
        "scheduled_maintenances": [{"id": "m1", "name": "Upgrade", "status": "in_progress", "impact": "maintenance"}],
    })
}

/// All three ways of reading a body.
fn readings(body: &[u8]) -> [Result<Reading, Unknown>; 3] {
    let read = |page: StatusPage| judge_body(&page, &Remap::default(), body, Timestamp::UNIX_EPOCH);
    [read(whole_page(false)), read(whole_page(true)), read(page())]
}

/// Checks the invariants of every response with an independent parser.
fn check(body: &[u8]) {
    let text = String::from_utf8_lossy(body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)).into_owned();
    let json: Option<Value> = serde_json::from_str(&text).ok();
    let outcomes = readings(body);
    let [status, summary, components] = &outcomes;
    let healthy = |outcome: &Result<Reading, Unknown>| {
        outcome.as_ref().is_ok_and(|r| r.verdict().is_ok_and(|r| r.severity == Severity::None))
    };
    if let (Some(json), true) = (&json, healthy(status) || healthy(summary)) {
        let indicator = json.get("status").and_then(|status| status.get("indicator")?.as_str());
        assert_eq!(indicator.map(folded).as_deref(), Some("none"));
    }
    if let (Some(json), true) = (&json, healthy(components)) {
        let all = json.get("components").and_then(Value::as_array).unwrap();
        let fine = |one: &Value| one["status"].as_str().map(folded).as_deref() == Some("operational");
        assert!(all.iter().any(fine), "{components:?}");
    }
    for outcome in outcomes {
        let texts = match outcome {
            Ok(reading) => [vec![reading.description], reading.notes].concat(),
            Err(unknown) => vec![unknown.to_string()],
        };
        for line in texts {
            assert!(!line.is_empty() && !line.chars().any(char::is_control), "{line:?}");
            assert!(line.chars().count() <= MAX_TEXT + 100, "{line:?}");
        }
    }
}

/// Replaces the value with index `at` of a document, in document order, if there is one.
fn replace(document: &mut Value, at: usize, value: Value) {
    fn descend(here: &mut Value, left: &mut usize, value: &mut Option<Value>) {
        if *left == 0 {
            if let Some(value) = value.take() {
                *here = value;
            }
            return;
        }
        *left -= 1;
        match here {
            Value::Array(items) => items.iter_mut().for_each(|item| descend(item, left, value)),
            Value::Object(fields) => fields.values_mut().for_each(|item| descend(item, left, value)),
            _ => {}
        }
    }
    descend(document, &mut at.clone(), &mut Some(value));
}

fn odd_value() -> impl Strategy<Value = Value> {
    let words = prop::sample::select(vec![
        "none",
        "major",
        "maintenance",
        "MAJOR",
        "",
        "operational",
        "partial_outage",
        "on_fire",
        "resolved",
        "a1",
        "in_progress",
        "\u{202e}x\n",
        "2026-05-02T08:58:10Z",
        "javascript:alert(1)",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        words.prop_map(Value::from),
        ".{0,400}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            (prop::sample::select(vec!["status", "indicator", "name", "id", "components"]), inner)
                .prop_map(|(key, value)| json!({key: value})),
        ]
    })
}

#[test]
fn a_valid_document_is_read_in_all_three_ways() {
    let body = whole().to_string();
    let descriptions = readings(body.as_bytes()).map(|reading| reading.unwrap().description);
    assert_eq!(descriptions, ["Partially Degraded Service", "Slow queries", "Slow queries"]);
    let region = StatusPage { components: vec![Pattern::new("EU region")], ..whole_page(false) };
    let reading = judge_body(&region, &Remap::default(), body.as_bytes(), Timestamp::UNIX_EPOCH).unwrap();
    assert_eq!(reading.description, "Query engine: degraded performance");
}

proptest! {
    #[test]
    fn any_bytes_are_accepted(body in prop::collection::vec(any::<u8>(), 0..400)) {
        check(&body);
    }

    /// Text of JSON tokens gets deeper into the parser than arbitrary bytes.
    #[test]
    fn any_json_like_text_is_accepted(body in "(\\{|\\}|\\[|\\]|:|,|\"status\"|\"indicator\"|\"none\"|\"components\"|1|null| ){0,40}") {
        check(body.as_bytes());
    }

    /// A valid document with bytes removed, inserted or changed.
    #[test]
    fn damaged_documents_are_accepted(cuts in prop::collection::vec((any::<prop::sample::Index>(), 0usize..8, prop::collection::vec(any::<u8>(), 0..4)), 1..4)) {
        let mut body = whole().to_string().into_bytes();
        for (at, length, instead) in cuts {
            let from = at.index(body.len() + 1);
            let to = (from + length).min(body.len());
            body.splice(from..to, instead);
        }
        check(&body);
    }

    /// A valid document with values replaced.
    #[test]
    fn odd_values_are_accepted(changes in prop::collection::vec((0usize..60, odd_value()), 1..5)) {
        let mut document = whole();
        for (at, value) in changes {
            replace(&mut document, at, value);
        }
        check(document.to_string().as_bytes());
    }
}

/// 55 groups of 4,096 children each and 4,000 components (1.4 kB in gzip) are rejected before all children are read. As many
/// children as a status page may have components are accepted.
#[test]
fn a_page_made_to_be_slow_is_rejected() {
    let children = vec!["c"; 4096].join("\",\"");
    let group = format!("{{\"id\":\"g\",\"group\":true,\"components\":[\"{children}\"]}}");
    let odd = "{\"id\":\"x\"},".repeat(4_000);
    let ill = "{\"id\":\"y\",\"status\":\"partial_outage\"}";
    let page_of = |groups: usize| {
        let body = format!("{{\"components\":[{odd}{},{ill}]}}", vec![group.as_str(); groups].join(","));
        assert!(body.len() < 1 << 20);
        judge_body(
            &StatusPage { incidents: false, ..page() },
            &Remap::default(),
            body.as_bytes(),
            Timestamp::UNIX_EPOCH,
        )
    };
    assert_eq!(page_of(1).unwrap().severity, Severity::Major);
    let refused = page_of(55).unwrap_err().to_string();
    assert!(refused.contains("more than 20000 entries"), "{refused}");
}
