//! Pages of single vendors.
//!
//! Quirks of Slack: `ok_beside_incident`, `active_without_list`; of Zendesk: `no_outage_field`.

use serde_json::{Map, Value, json};

use super::{Component, Document, Incident, Level, Model, word};

pub(super) fn slack(model: &Model, path: &str) -> Option<Document> {
    if path != "/api/v2.0.0/current" {
        return None;
    }
    let incident = |one: &Incident| {
        json!({ "id": one.id, "date_created": one.began.to_string(), "date_updated": one.began.to_string(),
            "title": one.title, "type": word(one.level, ["notice", "notice", "incident", "outage", "outage"]),
            "status": if one.is_open { "active" } else { "resolved" }, "url": format!("{}/{}", model.root, one.id),
            "services": model.named(&one.touches).map(|one| one.name.clone()).collect::<Vec<_>>(),
            "notes": [{ "date_created": one.began.to_string(), "body": "We look into it." }] })
    };
    let ok =
        model.open().next().is_none() && !model.has("active_without_list") || model.has("ok_beside_incident");
    Document::json(
        &json!({ "status": if ok { "ok" } else { "active" }, "date_created": model.now().to_string(),
        "date_updated": model.now().to_string(),
        "active_incidents": model.incidents.iter().map(incident).collect::<Value>() }),
    )
}

pub(super) fn stripe(model: &Model, path: &str) -> Option<Document> {
    let state = |level| word(level, ["up", "paused", "degraded", "down", "down"]);
    let statuses: Map<String, Value> =
        model.components.iter().map(|one| (one.slug(), json!(state(one.level)))).collect();
    let body = json!({ "largestatus": state(model.overall()), "message": "In words", "statuses": statuses });
    (path == "/current").then(|| Document::json(&body)).flatten()
}

pub(super) fn salesforce(model: &Model, path: &str) -> Option<Document> {
    if path != "/v1/instances/EU45/status" {
        return None;
    }
    let words =
        ["OK", "MAINTENANCE_CORE", "MINOR_INCIDENT_CORE", "MAJOR_INCIDENT_NONCORE", "MAJOR_INCIDENT_CORE"];
    let incident = |one: &Incident| {
        json!({ "id": one.id, "message": {}, "IncidentEvents": [{ "message": one.title }],
            "IncidentImpacts": [{ "severity": "major", "startTime": one.began.to_string(),
                "endTime": if one.is_open { Value::Null } else { json!(model.ago(1).to_string()) } }] })
    };
    Document::json(&json!({ "key": "EU45", "location": "EMEA", "status": word(model.overall(), words),
        "Incidents": model.incidents.iter().map(incident).collect::<Value>(), "Maintenances": [] }))
}

pub(super) fn zendesk(model: &Model, path: &str) -> Option<Document> {
    match path {
        "/api/ssp/services.json" => {
            let one = |one: &Component| json!({ "id": one.id.to_string(), "type": "service", "attributes": { "name": one.name, "slug": one.slug() } });
            Document::json(&json!({ "data": model.components.iter().map(one).collect::<Value>() }))
        }
        "/api/ssp/incidents.json" => {
            let resolved =
                |one: &Incident| if one.is_open { Value::Null } else { json!(model.ago(1).to_string()) };
            let outage = |one: &Incident| one.level >= Level::Partial;
            let incident = |one: &Incident| {
                let mut value = json!({ "id": one.id.to_string(), "type": "incident", "attributes": { "name": one.title,
                    "outage": outage(one), "impact": "some", "resolvedAt": resolved(one) } });
                if model.has("no_outage_field") {
                    value["attributes"]["outage"] = Value::Null;
                }
                value
            };
            let links = model.incidents.iter().flat_map(|one| one.touches.iter().map(move |id| (one, id)));
            let link = |(one, id): (&Incident, &u32)| {
                json!({ "id": format!("l{id}"), "type": "incidentService", "attributes": { "serviceId": id,
                    "resolvedAt": resolved(one), "outage": outage(one), "degradation": !outage(one) } })
            };
            Document::json(&json!({ "data": model.incidents.iter().map(incident).collect::<Value>(),
                "included": links.map(link).collect::<Value>() }))
        }
        _ => None,
    }
}

pub(super) fn heroku(model: &Model, path: &str) -> Option<Document> {
    let state = |level| word(level, ["green", "blue", "yellow", "red", "red"]);
    let system = |one: &Component| json!({ "system": one.name, "status": state(one.level) });
    let body = json!({ "status": model.components.iter().map(system).collect::<Value>(),
        "incidents": model.open().map(|one| json!({ "id": one.id, "title": one.title })).collect::<Value>(),
        "scheduled": model.upcoming().map(|one| json!({ "id": one.id, "title": one.title })).collect::<Value>() });
    (path == "/api/v4/current-status").then(|| Document::json(&body)).flatten()
}
