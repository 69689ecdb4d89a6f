//! What must not be taken for health, and documents that are made to cost time.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::explain::judge_sample;
use super::page::Status;
use super::poll_page::{judge_body, judge_documents, sampled};
use super::reading::without_summary;
use super::tests::{pages_of_all_engines, whole_page};
use crate::definitions::engine::read_one;
use crate::domain::monitoring::monitor::{Pattern, Remap, StatusPage};
use crate::domain::monitoring::observation::{Reading, Unknown};
use crate::domain::monitoring::severity::Severity;

fn page_of(engine: &str) -> StatusPage {
    pages_of_all_engines().into_iter().find(|page| page.engine.name == engine).unwrap()
}

fn component(name: &str, page: StatusPage) -> StatusPage {
    StatusPage { components: vec![Pattern::new(name)], ..page }
}

fn read(page: &StatusPage, body: &Value) -> Result<Reading, Unknown> {
    judge_body(page, &Remap::default(), body.to_string().as_bytes(), Timestamp::UNIX_EPOCH)
}

fn severity(page: &StatusPage, body: &Value) -> Option<Severity> {
    read(page, body).ok().and_then(|reading| reading.verdict().ok().map(|reading| reading.severity))
}

/// A component works if it is not among the affected ones, but only if these can be read.
#[test]
fn an_affected_component_without_a_state_is_unknown() {
    let body = |affected: Value| {
        let all = json!([{ "id": "a", "name": "API" }, { "id": "b", "name": "Website" }]);
        json!({ "summary": { "components": all, "affected_components": affected } })
    };
    for (affected, api, website) in [
        (json!([]), Some(Severity::None), Some(Severity::None)),
        (
            json!([{ "component_id": "a", "status": "full_outage" }]),
            Some(Severity::Critical),
            Some(Severity::None),
        ),
        (json!([{ "component_id": "a", "status": null }]), None, Some(Severity::None)),
        (json!([{ "component_id": "a" }]), None, Some(Severity::None)),
        (json!({ "a": "full_outage" }), None, None),
        (json!("none"), None, None),
    ] {
        let body = body(affected);
        let of = |name| severity(&component(name, page_of("incidentio-proxy")), &body);
        assert_eq!((of("API"), of("Website")), (api, website), "{body}");
    }
}

/// The overall state is the second witness, and known to leave out incidents.
#[test]
fn an_overall_state_does_not_outweigh_an_incident_of_unknown_impact() {
    for (impact, expected) in [("full_outage", Some(Severity::Critical)), ("on_fire", None)] {
        let incident = json!({ "name": "Trouble", "status": "identified", "current_worst_impact": impact });
        let body = json!({ "page_url": "x", "ongoing_incidents": [incident],
            "status": { "indicator": "none", "description": "All good" } });
        assert_eq!(severity(&page_of("incidentio"), &body), expected, "{impact}");
    }
    for (impact, expected) in [("MAJOROUTAGE", Some(Severity::Critical)), ("ONFIRE", None)] {
        let incident = json!({ "name": "Trouble", "status": "IDENTIFIED", "impact": impact });
        let body = json!({ "page": { "status": "UP" }, "activeIncidents": [incident] });
        assert_eq!(severity(&page_of("instatus"), &body), expected, "{impact}");
    }
}

#[test]
fn maintenance_that_counts_as_health_needs_readable_incidents() {
    let status = Status { indicator: Ok(Severity::Maintenance), description: String::new() };
    let remap = Remap(vec![(Severity::Maintenance, Severity::None)]);
    let reading = without_summary(&status, Unknown::HttpStatus(404), &whole_page(true), &remap).unwrap();
    assert_eq!(reading.verdict(), Err(&Unknown::HttpStatus(404)));
    let reading = without_summary(&status, Unknown::HttpStatus(404), &whole_page(true), &Remap::default());
    assert_eq!(reading.unwrap().verdict().map(|reading| reading.severity), Ok(Severity::Maintenance));
}

/// Of one component, on a page that has no other overall state.
#[test]
fn maintenance_that_counts_as_health_hides_no_incident() {
    let body = |impact: &str| {
        let components = json!([{ "id": "a", "name": "API" }, { "id": "b", "name": "Website" }]);
        json!({ "summary": { "components": components,
            "affected_components": [{ "component_id": "a", "status": "under_maintenance" }],
            "ongoing_incidents": [{ "name": "Trouble", "status": "identified", "current_worst_impact": impact }] } })
    };
    let remap = Remap(vec![(Severity::Maintenance, Severity::None)]);
    for (impact, expected) in [("full_outage", Severity::Critical), ("operational", Severity::None)] {
        let body = body(impact).to_string();
        let page = page_of("incidentio-proxy");
        let reading = judge_body(&page, &remap, body.as_bytes(), Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(reading.severity, expected, "{impact}");
        let filtered = judge_body(&component("API", page), &remap, body.as_bytes(), Timestamp::UNIX_EPOCH);
        assert_eq!(filtered.unwrap().severity, Severity::None, "{impact}");
    }
}

fn engine_with_plans() -> StatusPage {
    let text = r#"
        format = 1
        engine = { name = "acme" }
        read = [{ id = "page", path = "page.json" }, { id = "plans", path = "plans.json" }]
        overall = { state = "page: state", map = { none = "ok", major = "down" } }
        components = { list = "page: parts[]", id = "id", name = "name", state = "state", map = { none = "ok" } }
        incidents = { list = "plans: incidents[]", title = "name", touches = "on[]", impact = { otherwise = "minor" } }
        maintenances = { upcoming = "plans: plans[]", title = "name", begins = "from", touches = "on[]" }
    "#;
    let engine = read_one("acme.toml", text).unwrap();
    StatusPage { engine: Arc::new(engine), announce: Some(Duration::from_secs(86400)), ..whole_page(false) }
}

/// So that a plan that was announced is held as unread, instead of taken for withdrawn.
#[test]
fn plans_that_cannot_be_read_are_not_withdrawn() {
    let page = engine_with_plans();
    let mut fetched = sampled(&page, 0, br#"{"state":"down"}"#);
    fetched[1] = Some(Err(Unknown::Timeout));
    let reading = judge_documents(&page, &fetched, Timestamp::UNIX_EPOCH).unwrap();
    assert_eq!(reading.severity, Severity::Major);
    let outcome = |name: &str| {
        let part = reading.parts.iter().find(|part| part.name == name);
        part.map(|part| part.outcome.as_ref().map(|part| part.severity).map_err(Unknown::clone))
    };
    assert_eq!(outcome("planned maintenance"), Some(Err(Unknown::Timeout)));
    assert_eq!(outcome("overall status"), Some(Ok(Severity::Major)));
}

/// Comparing each plan with each component would take minutes.
#[test]
fn many_plans_for_many_components_are_judged() {
    let parts: Vec<Value> =
        (0..3000).map(|n| json!({ "id": n, "name": format!("Part {n}"), "state": "ok" })).collect();
    let plans: Vec<Value> = (0..3000)
        .map(|n| json!({ "name": format!("Plan {n}"), "from": "1970-01-01T06:00:00Z", "on": ["another"] }))
        .collect();
    let body = json!({ "state": "ok", "parts": parts, "incidents": [], "plans": plans });
    let page = component("Part*", engine_with_plans());
    assert_eq!(severity(&page, &body), Some(Severity::None));
}

/// Each is a line of the log.
#[test]
fn the_notes_of_a_page_are_few() {
    let part = |n: usize| json!({ "name": format!("Part {n}"), "state": if n == 0 { "ok" } else { "odd" } });
    let body = json!({ "parts": (0..1001).map(part).collect::<Vec<_>>() });
    let reading = read(&component("Part*", engine_with_plans()), &body).unwrap();
    assert_eq!(reading.notes.len(), 21);
    assert_eq!(reading.notes[20], "980 more components or patterns are unknown");
}

#[test]
fn an_explanation_has_no_control_characters() {
    let page = engine_with_plans();
    let body = r#"{"incidents":[{"name":"Trouble","on":["\u001b[2J","a\nb"]}]}"#;
    let explanation = judge_sample(&page, 1, body.as_bytes(), Timestamp::UNIX_EPOCH);
    let lines = explanation.events.unwrap().unwrap();
    assert!(!lines.concat().contains(char::is_control), "{lines:?}");
}

/// Run with `--ignored --nocapture` in a release build: at most 40 ms.
#[test]
#[ignore = "a measurement"]
fn four_megabytes_of_closed_incidents() {
    let update = json!({ "when": "2026-05-01T00:00:00Z", "text": "We have no further news. ".repeat(6) });
    let incident = |nth: usize| {
        let mut incident = json!({ "id": nth, "begin": "2026-05-01T00:00:00Z", "end": "2026-05-02T00:00:00Z",
            "external_desc": "Trouble", "updates": vec![&update; 20], "status_impact": "SERVICE_OUTAGE",
            "service_name": "Google BigQuery", "affected_products": [{ "title": "Google BigQuery" }] });
        if nth == 3 {
            incident["end"] = Value::Null;
        }
        incident
    };
    let body = Value::from((0..940).map(incident).collect::<Vec<_>>()).to_string();
    for page in [page_of("google"), component("Google BigQuery*", page_of("google"))] {
        let started = Instant::now();
        let reading = judge_body(&page, &Remap::default(), body.as_bytes(), Timestamp::UNIX_EPOCH);
        println!("{} bytes: {:?}", body.len(), started.elapsed());
        assert_eq!(reading.unwrap().severity, Severity::Critical);
    }
}
