//! The pages of the large clouds.
//!
//! Quirks of Google: `end_is_null`, `end_is_empty`, `blank_names`, `many_products`, `no_location`, `no_archive`; of AWS: `little_endian`, `utf8`,
//! `numbers`, `lingering`, `global`, `through_impacted`; of Microsoft: `frozen`, `unknown_leaf`, `shell`, `with_blanks`.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Component, Document, Incident, Level, Model, word};

pub(super) fn google(model: &Model, path: &str) -> Option<Document> {
    if path != "/incidents.json" {
        return None;
    }
    let known = model.components.len().max(300);
    let archive = if model.has("no_archive") { 0 } else { known };
    let mut all: Vec<Value> = model.incidents.iter().map(|one| google_incident(model, one)).collect();
    all.extend((0..archive).map(|nth| {
        let old = Incident {
            id: u32::try_from(1_000 + nth).unwrap_or(u32::MAX),
            title: "Long over".into(),
            level: Level::Outage,
            is_open: false,
            // Each component was in an incident once.
            touches: model.components.iter().cycle().nth(nth % known).map(|one| one.id).into_iter().collect(),
            began: model.ago(60 * 24 * i64::try_from(nth + 2).unwrap_or(i64::MAX)),
        };
        google_incident(model, &old)
    }));
    Document::json(&json!(all))
}

fn google_incident(model: &Model, one: &Incident) -> Value {
    let impact = word(
        one.level,
        [
            "SERVICE_INFORMATION",
            "SERVICE_INFORMATION",
            "SERVICE_DISRUPTION",
            "SERVICE_DISRUPTION",
            "SERVICE_OUTAGE",
        ],
    );
    let blank = if model.has("blank_names") { " " } else { "" };
    let product =
        |one: &Component| json!({ "title": format!("{blank}{}", one.name), "id": format!("p{}", one.id) });
    let located = !model.has("no_location");
    let places = model.named(&one.touches).filter(|_| located);
    let place = |one: &Component| json!({ "title": one.region, "id": one.region });
    let first = model.named(&one.touches).next().map(|one| one.name.clone()).unwrap_or_default();
    let name =
        if model.has("many_products") { "Multiple Products".into() } else { format!("{blank}{first}") };
    let update = json!({ "created": one.began.to_string(), "when": one.began.to_string(), "text": "**Summary** We look into it.",
        "status": impact, "affected_locations": [] });
    let mut value = json!({ "id": format!("g{}", one.id), "number": one.id.to_string(), "begin": one.began.to_string(),
        "created": one.began.to_string(), "modified": one.began.to_string(), "external_desc": one.title,
        "updates": [update], "most_recent_update": update, "status_impact": impact, "severity": "low",
        "service_key": "k1", "service_name": name, "uri": format!("incidents/g{}", one.id),
        "affected_products": model.named(&one.touches).map(product).collect::<Value>(),
        "currently_affected_locations": places.map(place).collect::<Value>(), "previously_affected_locations": [] });
    match one.is_open {
        false => value["end"] = json!(model.ago(5).to_string()),
        true if model.has("end_is_null") => value["end"] = Value::Null,
        true if model.has("end_is_empty") => value["end"] = json!(""),
        true => {}
    }
    value
}

pub(super) fn aws(model: &Model, path: &str) -> Option<Document> {
    if path != "/public/currentevents" {
        return None;
    }
    let shown = model.incidents.iter().filter(|one| one.is_open || model.has("lingering"));
    let text = shown.map(|one| aws_event(model, one)).collect::<Value>().to_string();
    let units = |mark: [u8; 2], bytes: fn(u16) -> [u8; 2]| {
        mark.into_iter().chain(text.encode_utf16().flat_map(bytes)).collect::<Vec<u8>>()
    };
    let body = if model.has("utf8") {
        text.clone().into_bytes()
    } else if model.has("little_endian") {
        units([0xff, 0xfe], u16::to_le_bytes)
    } else {
        units([0xfe, 0xff], u16::to_be_bytes)
    };
    let kind = if model.has("utf8") { "application/json" } else { "application/json;charset=utf-16" };
    Some(Document { kind, body })
}

fn aws_event(model: &Model, one: &Incident) -> Value {
    let level = word(one.level, ["0", "0", "1", "2", "3"]);
    let code = if one.is_open { level } else { "0".into() };
    let code = match code.parse::<u8>() {
        Ok(code) if model.has("numbers") => json!(code),
        _ => json!(code),
    };
    let id = |one: &Component| format!("{}-{}", one.slug(), one.region);
    let touched: Vec<&Component> = model.named(&one.touches).collect();
    let impacted: Map<String, Value> = touched
        .iter()
        .map(|one| (id(one), json!({ "service_name": one.name, "current": code, "max": code })))
        .collect();
    let first = touched.first().map(|one| id(one)).unwrap_or_default();
    let region = touched.first().map(|one| one.region.clone()).unwrap_or_default();
    let (service, region) = match (model.has("through_impacted"), model.has("global")) {
        (true, _) => ("internetconnectivity-us-west-2".to_owned(), region),
        (_, true) => ("management-console".to_owned(), String::new()),
        _ => (first, region),
    };
    let summary = if one.is_open { one.title.clone() } else { format!("[RESOLVED] {}", one.title) };
    json!({ "arn": format!("arn:aws:health:{region}::event/{}", one.id), "date": one.began.as_second().to_string(),
        "region_name": region, "status": code, "service": service, "service_name": service, "summary": summary,
        "event_log": [{ "summary": summary, "message": "We are investigating.", "status": code, "timestamp": one.began.as_second() }],
        "impacted_services": if model.has("global") { Map::new() } else { impacted } })
}

pub(super) fn microsoft(model: &Model, path: &str) -> Option<Document> {
    let words = match model.has("with_blanks") {
        true => {
            ["Available", "sunspots", "Service Degradation", "Service Degradation", "Service Degradation"]
        }
        false => ["Available", "sunspots", "ServiceDegradation", "ServiceDegradation", "ServiceDegradation"],
    };
    let at = if model.has("frozen") { model.ago(600) } else { model.now() };
    let post = |level: Level, title: &str, at: Timestamp| {
        json!({ "Id": "x1", "AuthoredDateTime": at.to_string(), "InternalDateTime": at.to_string(),
            "LastUpdatedTime": at.to_string(), "Title": title, "Message": "<p>There are currently no active events.</p>",
            "Status": word(level, words) })
    };
    if model.has("shell") {
        return Some(Document { kind: "text/html", body: b"<!doctype html><title>Status</title>".to_vec() });
    }
    match path {
        "/api/posts/azure" | "/api/posts/mac" | "/api/posts/ppac" => {
            Document::json(&post(model.overall(), "All of it", at))
        }
        "/api/posts/m365Consumer" => {
            let one = |one: &Component| {
                let mut value = post(one.level, "News", at);
                value["ServiceDisplayName"] = json!(one.name);
                value["ServiceWorkloadName"] = json!(one.slug());
                value
            };
            Document::json(&model.components.iter().map(one).collect())
        }
        _ => None,
    }
}

pub(super) fn azure_devops(model: &Model, path: &str) -> Option<Document> {
    if path != "/_apis/status/health" {
        return None;
    }
    let state = |level| word(level, ["healthy", "sunspots", "advisory", "degraded", "unhealthy"]);
    let service = |one: &Component| {
        json!({ "id": one.name, "geographies": [
            { "id": "EU", "name": "Europe", "health": state(one.level) },
            { "id": "US", "name": "United States", "health": "healthy" },
        ] })
    };
    Document::json(&json!({ "lastUpdated": model.now().to_string(),
        "status": { "health": state(model.overall()), "message": "In words" },
        "services": model.components.iter().map(service).collect::<Value>() }))
}

pub(super) fn oci(model: &Model, path: &str) -> Option<Document> {
    match path {
        "/api/v2/status.json" => Document::json(&json!({
            "page": { "name": "Oracle Cloud Infrastructure", "updated_at": model.now().to_string() },
            "status": { "indicator": word(model.overall(), ["none", "maintenance", "minor", "major", "critical"]),
                "description": "Normal Performance" } })),
        "/api/v2/components.json" => {
            let service = |one: &&Component| {
                json!({ "serviceId": one.id.to_string(), "serviceName": one.name,
                    "serviceStatus": word(one.level, ["NormalPerformance", "sunspots", "sunspots", "sunspots", "sunspots"]) })
            };
            let region = |(id, name, members): (u32, &str, Vec<&Component>)| {
                json!({ "regionId": id.to_string(), "regionName": name,
                    "serviceHealthReports": members.iter().map(service).collect::<Value>() })
            };
            let regions: Value = model.groups().into_iter().map(region).collect();
            Document::json(&json!({ "regionHealthReports": regions }))
        }
        _ => None,
    }
}
