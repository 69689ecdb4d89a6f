//! Pages that teams run themselves.
//!
//! Quirks of Gatus: `no_results`; of Uptime Kuma: `first_version`, `bare_numbers`.

use serde_json::{Map, Value, json};

use super::{Component, Document, Incident, Level, Model, Work, word};

pub(super) fn gatus(model: &Model, path: &str) -> Option<Document> {
    let result = |ok: Value| json!({ "status": 200, "duration": 9, "conditionResults": [], "success": ok, "timestamp": model.now().to_string() });
    let one = |one: &Component| {
        let last = match one.level {
            Level::Fine => json!(true),
            Level::Odd => json!("sunspots"),
            _ => json!(false),
        };
        let results =
            if model.has("no_results") { json!([]) } else { json!([result(json!(false)), result(last)]) };
        json!({ "name": one.name, "group": one.group, "key": one.slug(), "results": results })
    };
    let body: Value = model.components.iter().map(one).collect();
    (path == "/api/v1/endpoints/statuses").then(|| Document::json(&body)).flatten()
}

pub(super) fn upptime(model: &Model, path: &str) -> Option<Document> {
    let one = |one: &Component| {
        json!({ "name": one.name, "url": "https://example.com", "slug": one.slug(), "uptime": "99.9%", "time": 120,
            "status": word(one.level, ["up", "sunspots", "degraded", "down", "down"]), "dailyMinutesDown": { "2026-01-01": 9 } })
    };
    let body: Value = model.components.iter().map(one).collect();
    (path == "/examplify/upptime/HEAD/history/summary.json").then(|| Document::json(&body)).flatten()
}

pub(super) fn uptime_kuma(model: &Model, path: &str) -> Option<Document> {
    let naive = |at: jiff::Timestamp| at.strftime("%Y-%m-%d %H:%M:%S.000").to_string();
    match path {
        "/api/status-page/default" => {
            let monitor = |one: &&Component| json!({ "id": one.id, "name": one.name, "sendUrl": 0 });
            let group = |(id, name, members): (u32, &str, Vec<&Component>)| json!({ "id": id, "name": name, "weight": 1, "monitorList": members.iter().map(monitor).collect::<Value>() });
            let incident = |one: &Incident| {
                json!({ "id": one.id, "title": one.title, "content": "We look into it.", "style": "danger",
                    "createdDate": naive(one.began), "lastUpdatedDate": null })
            };
            let work = |one: &Work| {
                json!({ "id": one.id, "title": one.title, "status": "scheduled", "timezoneOffset": "+00:00",
                    "timeslotList": [{ "startDate": naive(one.begins), "endDate": naive(one.ends) }] })
            };
            let mut body = json!({ "config": { "slug": "default", "title": "Examplify", "published": true },
                "publicGroupList": model.groups().into_iter().map(group).collect::<Value>(),
                "maintenanceList": model.works.iter().map(work).collect::<Value>() });
            if model.has("first_version") {
                body["incident"] = model.open().next().map_or(Value::Null, incident);
            } else {
                body["incidents"] = model.open().map(incident).collect();
            }
            Document::json(&body)
        }
        "/api/status-page/heartbeat/default" => {
            let beat = |status: Value| json!({ "status": status, "time": naive(model.now()), "msg": "", "ping": 20 });
            let beats: Map<String, Value> = model
                .components
                .iter()
                .map(|one| {
                    let code = word(one.level, ["1", "3", "2", "0", "0"]);
                    let code = code.parse::<u8>().map_or(json!(7), |code| json!(code));
                    let last = if model.has("bare_numbers") { json!(0) } else { beat(code) };
                    (one.id.to_string(), json!([0, beat(json!(0)), last]))
                })
                .collect();
            Document::json(&json!({ "heartbeatList": beats, "uptimeList": {} }))
        }
        _ => None,
    }
}

pub(super) fn cachet(model: &Model, path: &str) -> Option<Document> {
    let meta = json!({ "pagination": { "total": 3, "total_pages": 1 } });
    match path {
        "/api/v1/components" => {
            let one = |one: &Component| {
                let status = word(one.level, ["1", "5", "2", "3", "4"]);
                let status = status.parse::<u8>().map_or(json!(9), |status| json!(status));
                json!({ "id": one.id, "name": one.name, "status": status, "enabled": true,
                    "group_id": if one.group == "EU region" { 911 } else { 912 } })
            };
            let mut all: Vec<Value> = model.components.iter().map(one).collect();
            all.push(json!({ "id": 99, "name": "Hidden", "status": 4, "enabled": false, "group_id": 0 }));
            Document::json(&json!({ "meta": meta, "data": all }))
        }
        "/api/v1/components/groups" => {
            let group = |(id, name, _): (u32, &str, Vec<&Component>)| json!({ "id": id, "name": name });
            Document::json(
                &json!({ "meta": meta, "data": model.groups().into_iter().map(group).collect::<Value>() }),
            )
        }
        "/api/v1/incidents" => {
            let one = |one: &Incident| {
                json!({ "id": one.id, "name": one.title, "message": "We look into it.", "is_resolved": !one.is_open,
                    "latest_status": if one.is_open { 2 } else { 4 }, "status": 1, "component_id": one.touches.first(),
                    "created_at": one.began.strftime("%Y-%m-%d %H:%M:%S").to_string() })
            };
            Document::json(
                &json!({ "meta": meta, "data": model.incidents.iter().map(one).collect::<Value>() }),
            )
        }
        _ => None,
    }
}

pub(super) fn openstatus(model: &Model, path: &str) -> Option<Document> {
    let words =
        ["operational", "under_maintenance", "degraded_performance", "partial_outage", "major_outage"];
    let status = word(model.overall(), words);
    match path {
        "/public/status/examplify" => Document::json(&json!({ "status": status })),
        "/feed/json" => {
            let report = |one: &Incident| json!({ "id": one.id, "title": one.title, "status": if one.is_open { "identified" } else { "resolved" }, "statusReportUpdates": [] });
            let work = |one: &Work| json!({ "id": one.id, "title": one.title, "from": one.begins.to_string(), "to": one.ends.to_string() });
            Document::json(
                &json!({ "title": "Examplify", "status": status, "updatedAt": model.now().to_string(), "monitors": [],
                "pageComponents": [], "pageComponentGroups": [], "maintenances": model.works.iter().map(work).collect::<Value>(),
                "statusReports": model.incidents.iter().map(report).collect::<Value>() }),
            )
        }
        _ => None,
    }
}
