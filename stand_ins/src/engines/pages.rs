//! Hosted pages.
//!
//! Quirks of Better Stack: `not_monitored`; of Instatus: `other_dates`, `newer`; of Status.io: `renamed`, `numbers`, `no_containers`;
//! of Sorry: `wrapped`; of Freshstatus: `ignored_outage`.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Component, Document, Incident, Level, Model, Work, word};

pub(super) fn betterstack(model: &Model, path: &str) -> Option<Document> {
    if path != "/index.json" {
        return None;
    }
    let state = |level| word(level, ["operational", "maintenance", "degraded", "downtime", "downtime"]);
    let mut included: Vec<Value> = Vec::new();
    for (id, name, members) in model.groups() {
        included.push(
            json!({ "id": id.to_string(), "type": "status_page_section", "attributes": { "name": name } }),
        );
        for one in members {
            let status = if model.has("not_monitored") { "not_monitored".into() } else { state(one.level) };
            included.push(json!({ "id": one.id.to_string(), "type": "status_page_resource", "attributes": {
                "public_name": one.name, "explanation": "", "status": status, "availability": 0.999,
                "status_page_section_id": id, "status_history": [{ "day": "2026-01-01", "status": "downtime", "downtime_duration": 9 }] } }));
        }
    }
    let report = |id: u32,
                  title: &str,
                  kind: &str,
                  state: String,
                  touches: &[u32],
                  from: Timestamp,
                  to: Option<Timestamp>| {
        let affected = |id: &u32| json!({ "status_page_resource_id": id.to_string(), "status": state });
        json!({ "id": id.to_string(), "type": "status_report", "attributes": { "title": title, "report_type": kind,
            "starts_at": from.to_string(), "ends_at": to.map(|to| to.to_string()), "aggregate_state": state,
            "affected_resources": touches.iter().map(affected).collect::<Value>() } })
    };
    included.extend(model.incidents.iter().map(|one| {
        let state = if one.is_open { state(one.level) } else { "resolved".into() };
        report(one.id, &one.title, "manual", state, &one.touches, one.began, None)
    }));
    included.extend(model.works.iter().map(|one| {
        report(
            one.id,
            &one.title,
            "maintenance",
            "maintenance".into(),
            &one.touches,
            one.begins,
            Some(one.ends),
        )
    }));
    Document::json(
        &json!({ "data": { "id": "1", "type": "status_page", "attributes": { "company_name": "Examplify",
        "aggregate_state": state(model.overall()), "updated_at": "2020-01-01T00:00:00Z" } }, "included": included }),
    )
}

const INSTATUS: [&str; 5] =
    ["OPERATIONAL", "UNDERMAINTENANCE", "DEGRADEDPERFORMANCE", "PARTIALOUTAGE", "MAJOROUTAGE"];

pub(super) fn instatus(model: &Model, path: &str) -> Option<Document> {
    match path {
        "/summary.json" => {
            let time = |at: Timestamp| {
                if model.has("other_dates") {
                    at.strftime("%a %b %d %Y %H:%M:%S GMT+0000 (Coordinated Universal Time)").to_string()
                } else {
                    at.to_string()
                }
            };
            let status =
                word(model.overall(), ["UP", "UNDERMAINTENANCE", "HASISSUES", "HASISSUES", "HASISSUES"]);
            let mut body = json!({ "page": { "name": "Examplify", "url": model.root, "status": status } });
            // Both lists are absent when empty.
            let incident = |one: &Incident| {
                json!({ "id": one.id.to_string(), "name": one.title, "started": time(one.began), "status": "IDENTIFIED",
                    "impact": word(one.level, INSTATUS), "url": format!("{}/{}", model.root, one.id) })
            };
            if model.open().next().is_some() {
                body["activeIncidents"] = model.open().map(incident).collect();
            }
            let work = |one: &Work| {
                json!({ "id": one.id.to_string(), "name": one.title, "start": time(one.begins), "duration": "120",
                    "status": if one.is_running(model.now()) { "INPROGRESS" } else { "NOTSTARTEDYET" },
                    "url": format!("{}/{}", model.root, one.id) })
            };
            if !model.works.is_empty() {
                body["activeMaintenances"] = model.works.iter().map(work).collect();
            }
            Document::json(&body)
        }
        "/v2/components.json" if model.has("newer") => None,
        "/v2/components.json" | "/v3/components.json" => {
            let one = |one: &Component| {
                json!({ "id": one.id.to_string(), "name": one.name, "status": word(one.level, INSTATUS),
                    "group": if one.id == 13 { Value::Null } else { json!({ "id": one.group, "name": one.group }) } })
            };
            Document::json(&json!({ "components": model.components.iter().map(one).collect::<Value>() }))
        }
        _ => None,
    }
}

/// The ids of the page that tests name, and of Databricks on Azure.
const STATUSIO_PAGES: [&str; 2] = ["5b36dc6502d06804c08349f7", "5d49ec10226b9e13cb6a422e"];

pub(super) fn statusio(model: &Model, path: &str) -> Option<Document> {
    if !STATUSIO_PAGES.iter().any(|id| path.strip_prefix("/1.0/status/") == Some(id)) {
        // What api.status.io answers to an unknown id.
        return Some(Document {
            kind: "text/html",
            body: b"<!doctype html><title>Not found</title>".to_vec(),
        });
    }
    let code = |level| {
        let code = word(level, ["100", "200", "300", "400", "500"]);
        code.parse::<u32>().map_or(json!(700), |code| json!(code))
    };
    let text = |level| {
        if model.has("renamed") {
            "Alles gut".into()
        } else {
            word(
                level,
                [
                    "Operational",
                    "Planned Maintenance",
                    "Degraded Performance",
                    "Partial Service Disruption",
                    "Service Disruption",
                ],
            )
        }
    };
    let state = |value: u32| if model.has("numbers") { json!(value) } else { json!(value.to_string()) };
    let component = |one: &Component| {
        let mut value = json!({ "id": format!("c{}", one.id), "name": one.name, "status": text(one.level),
            "status_code": code(one.level), "containers": [] });
        if !model.has("no_containers") {
            value["containers"] = json!([
                { "id": "e1", "name": "Europe", "status": text(one.level), "status_code": code(one.level) },
                { "id": "u1", "name": "America", "status": text(Level::Fine), "status_code": 100 },
            ]);
        }
        value
    };
    let named = |ids: &[u32]| {
        model
            .named(ids)
            .map(|one| json!({ "_id": format!("c{}", one.id), "name": one.name }))
            .collect::<Value>()
    };
    let incident = |one: &Incident| {
        let last = if one.is_open { 200 } else { 400 };
        json!({ "_id": format!("i{}", one.id), "name": one.title, "datetime_open": one.began.to_string(),
            "messages": [{ "details": "<p>Found.</p>", "state": state(100), "status": code(one.level), "datetime": one.began.to_string() },
                { "details": "Better.", "state": state(last), "status": 100, "datetime": one.began.to_string() }],
            "components_affected": named(&one.touches), "containers_affected": [{ "_id": "e1", "name": "Europe" }] })
    };
    let work = |one: &Work| {
        json!({ "_id": format!("m{}", one.id), "name": one.title, "datetime_open": one.begins.to_string(),
            "datetime_planned_start": one.begins.to_string(), "datetime_planned_end": one.ends.to_string(),
            "messages": [{ "details": "Soon.", "state": state(if one.is_running(model.now()) { 200 } else { 100 }), "status": 200 }],
            "components_affected": named(&one.touches), "containers_affected": [{ "_id": "e1", "name": "Europe" }] })
    };
    let overall = model.overall();
    Document::json(&json!({ "result": {
        "status_overall": { "updated": model.now().to_string(), "status": text(overall), "status_code": code(overall) },
        "status": model.components.iter().map(component).collect::<Value>(),
        "incidents": model.incidents.iter().map(incident).collect::<Value>(),
        "maintenance": { "active": model.running().map(work).collect::<Value>(), "upcoming": model.upcoming().map(work).collect::<Value>() } } }))
}

pub(super) fn sorry(model: &Model, path: &str) -> Option<Document> {
    let state =
        |level| word(level, ["operational", "under_maintenance", "partially-degraded", "degraded", "outage"]);
    match path {
        "/api/v1/status" => {
            Document::json(&json!({ "page": { "state": state(model.overall()), "state_text": "In words" } }))
        }
        "/api/v1/components" => {
            let one = |one: &Component| json!({ "id": one.id, "name": one.name, "state": state(one.level), "parent_id": null });
            let all: Value = model.components.iter().map(one).collect();
            Document::json(&if model.has("wrapped") { json!({ "components": all }) } else { all })
        }
        "/api/v1/notices" => {
            let one = |one: &Incident| {
                json!({ "id": one.id, "subject": one.title, "url": format!("{}/{}", model.root, one.id),
                    "ended_at": if one.is_open { Value::Null } else { json!(model.ago(1).to_string()) } })
            };
            Document::json(&json!({ "notices": model.incidents.iter().map(one).collect::<Value>() }))
        }
        _ => None,
    }
}

pub(super) fn rootly(model: &Model, path: &str) -> Option<Document> {
    let indicator = word(model.overall(), ["none", "maintenance", "minor", "major", "critical"]);
    let incidents: Value =
        model.open().map(|one| json!({ "id": one.id, "title": one.title, "status": "identified" })).collect();
    let body = json!({ "page": { "name": "Examplify", "url": model.root, "time_zone": "Etc/UTC", "updated_at": model.now().to_string() },
        "status": { "indicator": indicator, "description": "In words" }, "incidents": incidents });
    (path == "/api/v1/status.json").then(|| Document::json(&body)).flatten()
}

pub(super) fn statuscast(model: &Model, path: &str) -> Option<Document> {
    let state = |level| word(level, ["Available", "Maintenance", "Degraded", "PartialOutage", "Unavailable"]);
    match path {
        "/status.json" => {
            Document::json(&json!({ "InEffectSince": "2026-01-01T00:00:00", "InEffectSinceText": "long",
            "StatusText": "In words", "Status": state(model.overall()) }))
        }
        "/components.json" => {
            let one = |one: &Component| json!({ "id": one.id, "text": one.name, "Level": 1, "CurrentStatus": state(one.level) });
            Document::json(&model.components.iter().map(one).collect())
        }
        "/incidents.json" => {
            let one = |one: &Incident| {
                json!({ "Id": one.id, "Title": one.title, "Status": if one.is_open { "InProgress" } else { "Resolved" },
                    "ShortUrl": format!("{}/{}", model.root, one.id), "IncidentType": "Incident" })
            };
            Document::json(&model.incidents.iter().map(one).collect())
        }
        _ => None,
    }
}

pub(super) fn freshstatus(model: &Model, path: &str) -> Option<Document> {
    let state = |level| word(level, ["OP", "UM", "PD", "PO", "MO"]);
    let leaf = |id: u32, name: &str, level: Level, ignored: bool| {
        json!({ "id": id, "name": name, "status": state(level), "components": [],
            "display_options": { "ignore_overall_status": ignored.to_string() } })
    };
    let group = |(id, name, members): (u32, &str, Vec<&Component>)| {
        let mut leaves: Vec<Value> =
            members.iter().map(|one| leaf(one.id, &one.name, one.level, false)).collect();
        if model.has("ignored_outage") {
            leaves.push(leaf(id + 50, "Forgotten", Level::Outage, true));
        }
        json!({ "id": id, "name": name, "components": [{ "id": id + 1, "name": "Services", "components": leaves }] })
    };
    let body = json!({ "components": model.groups().into_iter().map(group).collect::<Value>() });
    (path == "/v1/public-components/").then(|| Document::json(&body)).flatten()
}

pub(super) fn hyperping(model: &Model, path: &str) -> Option<Document> {
    let indicator = word(model.overall(), ["up", "maintenance", "incident", "outage", "outage"]);
    let body = json!({ "indicator": indicator, "uptime": "99.98%" });
    (path == "/status.json").then(|| Document::json(&body)).flatten()
}
