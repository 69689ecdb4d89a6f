//! Whatever a page sends: no panic, and no reading that the page does not state.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::body::Form;
use super::document::{Components, Document, MAX_TEXT, Status, Summary, read};
use super::reading;
use crate::domain::monitor::{Page, Pattern, Remap};
use crate::domain::observation::{Reading, Unknown};
use crate::domain::severity::Severity;
use crate::domain::text::folded;

fn page() -> Page {
    Page {
        root: "https://status.acme.test/".parse().unwrap(),
        components: vec![Pattern::new("*")],
        ignore: vec![Pattern::new("Website")],
        incidents: true,
    }
}

/// A whole page in one document, so that each reader finds what it looks for.
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
    let (page, remap, form) = (page(), Remap::default(), Form::default());
    let summary = read::<Summary>(body, &form);
    let by_components = read::<Components>(body, &form).and_then(|components| {
        let summary = summary.as_ref().map_err(Unknown::clone);
        reading::of_components(&components, Some(summary), &page, &remap)
    });
    [
        read::<Status>(body, &form).and_then(|status| reading::of_status(&status, &page, &remap)),
        summary.and_then(|summary| reading::of_summary(&summary, &page, &remap)),
        by_components,
    ]
}

/// The invariants of every answer, judged with another parser than ours.
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
        let told = match outcome {
            Ok(reading) => [vec![reading.description], reading.notes].concat(),
            Err(unknown) => vec![unknown.to_string()],
        };
        for line in told {
            assert!(!line.is_empty() && !line.chars().any(char::is_control), "{line:?}");
            assert!(line.chars().count() <= MAX_TEXT + 100, "{line:?}");
        }
    }
}

/// Puts a value in the place of the `at`th of a document, counted in the order of writing, if there are so many.
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

/// The sound document itself is read in all three ways.
#[test]
fn reads_the_sound_document() {
    let body = whole().to_string();
    let told = readings(body.as_bytes()).map(|reading| reading.unwrap().description);
    assert_eq!(told, ["Partially Degraded Service", "Slow queries", "Slow queries"]);
    let components = Components::parse(&body).unwrap();
    assert_eq!(components.all.len(), 2);
    assert_eq!(components.all[0].group.as_deref(), Some("EU region"));
}

proptest! {
    /// Arbitrary bytes.
    #[test]
    fn bears_any_bytes(body in prop::collection::vec(any::<u8>(), 0..400)) {
        check(&body);
    }

    /// Arbitrary text of the right alphabet, which gets deeper into the parser.
    #[test]
    fn bears_any_json_like_text(body in "(\\{|\\}|\\[|\\]|:|,|\"status\"|\"indicator\"|\"none\"|\"components\"|1|null| ){0,40}") {
        check(body.as_bytes());
    }

    /// A sound document with bytes cut out, put in or changed.
    #[test]
    fn bears_damaged_documents(cuts in prop::collection::vec((any::<prop::sample::Index>(), 0usize..8, prop::collection::vec(any::<u8>(), 0..4)), 1..4)) {
        let mut body = whole().to_string().into_bytes();
        for (at, length, instead) in cuts {
            let from = at.index(body.len() + 1);
            let to = (from + length).min(body.len());
            body.splice(from..to, instead);
        }
        check(&body);
    }

    /// A sound document with whole values replaced.
    #[test]
    fn bears_odd_values(changes in prop::collection::vec((0usize..60, odd_value()), 1..5)) {
        let mut document = whole();
        for (at, value) in changes {
            replace(&mut document, at, value);
        }
        check(document.to_string().as_bytes());
    }
}

/// 1.4 kB as it was sent in gzip: 55 groups of 4,096 children each and 4,000 components. It is no status page, and is refused
/// before its children are read; as many children as a page may have components are read.
#[test]
fn a_page_made_to_be_slow_is_refused() {
    let children = vec!["c"; 4096].join("\",\"");
    let group = format!("{{\"id\":\"g\",\"group\":true,\"components\":[\"{children}\"]}}");
    let odd = "{\"id\":\"x\"},".repeat(4_000);
    let ill = "{\"id\":\"y\",\"status\":\"partial_outage\"}";
    let page_of = |groups: usize| {
        let body = format!("{{\"components\":[{odd}{},{ill}]}}", vec![group.as_str(); groups].join(","));
        assert!(body.len() < super::MAX_BODY);
        let components = read::<Components>(body.as_bytes(), &Form::default())?;
        reading::of_components(&components, None, &page(), &Remap::default())
    };
    assert_eq!(page_of(1).unwrap().severity, Severity::Major);
    let refused = page_of(55).unwrap_err().to_string();
    assert!(refused.contains("more than 4096 components in all"), "{refused}");
}
