//! incident.io: the document of its widget, its imitation of Statuspage, and the document that the page itself loads.
//!
//! Quirks: `widget_off`, `compat_healthy` (beside an open incident), `resolved_lingers`, `no_components`.

use serde_json::{Value, json};

use super::{Document, Incident, Level, Model, Work, word};

const STATES: [&str; 5] =
    ["operational", "under_maintenance", "degraded_performance", "partial_outage", "full_outage"];
const INDICATORS: [&str; 5] = ["none", "maintenance", "minor", "major", "critical"];

pub(super) fn documents(model: &Model, path: &str) -> Option<Document> {
    match path {
        "/api/v1/summary" if !model.has("widget_off") => Document::json(&widget(model)),
        "/api/v2/status.json" => Document::json(&json!({ "page": page(model), "status": status(model) })),
        "/api/v2/summary.json" => Document::json(
            &json!({ "page": page(model), "status": status(model), "components": components(model) }),
        ),
        "/api/v2/components.json" => {
            Document::json(&json!({ "page": page(model), "components": components(model) }))
        }
        _ if path.starts_with("/proxy/") => Document::json(&json!({ "summary": proxy(model) })),
        _ => None,
    }
}

fn page(model: &Model) -> Value {
    json!({ "id": "01J9ZK5T7Q8W9E0R1T2Y3V4X5W", "name": "Examplify", "url": model.root, "updated_at": model.now().to_string() })
}

fn status(model: &Model) -> Value {
    let level = if model.has("compat_healthy") { Level::Fine } else { model.overall() };
    json!({ "indicator": word(level, INDICATORS), "description": "In words" })
}

fn components(model: &Model) -> Value {
    if model.has("no_components") {
        return json!([]);
    }
    let state = |level| if model.has("compat_healthy") { Level::Fine } else { level };
    let one = |one: &super::Component| {
        json!({ "id": format!("compat-{}", one.id), "name": one.name, "status": word(state(one.level), STATES),
            "group_id": null, "group": false, "only_show_if_degraded": false })
    };
    model.components.iter().map(one).collect()
}

fn affected(model: &Model, touches: &[u32], level: Level) -> Value {
    let one = |one: &super::Component| {
        json!({ "id": native(one.id), "component_id": native(one.id), "name": one.name, "group_name": one.group,
            "current_status": word(level, STATES), "status": word(level, STATES) })
    };
    model.named(touches).map(one).collect()
}

fn native(id: u32) -> String {
    format!("01J{id}")
}

fn incident(model: &Model, one: &Incident) -> Value {
    json!({ "id": format!("i{}", one.id), "name": one.title, "url": format!("{}/incidents/{}", model.root, one.id),
        "status": if one.is_open { "identified" } else { "resolved" }, "last_update_at": one.began.to_string(),
        "last_update_message": "We are looking into it.", "current_worst_impact": word(one.level, STATES),
        "affected_components": affected(model, &one.touches, one.level) })
}

fn work(model: &Model, one: &Work) -> Value {
    let mut value = json!({ "id": format!("m{}", one.id), "name": one.title, "last_update_at": one.begins.to_string(),
        "url": format!("{}/maintenance/{}", model.root, one.id), "last_update_message": "As announced.",
        "affected_components": affected(model, &one.touches, Level::Maintenance) });
    let (state, from, to) = if one.is_running(model.now()) {
        ("maintenance_in_progress", "started_at", "scheduled_end_at")
    } else {
        ("maintenance_scheduled", "starts_at", "ends_at")
    };
    value["status"] = json!(state);
    (value[from], value[to]) = (json!(one.begins.to_string()), json!(one.ends.to_string()));
    value
}

fn ongoing(model: &Model) -> Value {
    let shown = model.incidents.iter().filter(|one| one.is_open || model.has("resolved_lingers"));
    shown.map(|one| incident(model, one)).collect()
}

fn widget(model: &Model) -> Value {
    json!({ "page_title": "Examplify", "page_url": model.root, "ongoing_incidents": ongoing(model),
        "in_progress_maintenances": model.running().map(|one| work(model, one)).collect::<Value>(),
        "scheduled_maintenances": model.upcoming().map(|one| work(model, one)).collect::<Value>() })
}

fn proxy(model: &Model) -> Value {
    let all = model.components.iter().map(|one| json!({ "id": native(one.id), "name": one.name }));
    let bad = model.components.iter().filter(|one| one.level != Level::Fine);
    let bad = bad.map(|one| json!({ "component_id": native(one.id), "status": word(one.level, STATES) }));
    let group = |(id, name, members): (u32, &str, Vec<&super::Component>)| {
        let members =
            members.into_iter().map(|one| json!({ "component_id": native(one.id), "name": one.name }));
        json!({ "group": { "id": native(id), "name": name, "components": members.collect::<Value>() } })
    };
    json!({ "components": all.collect::<Value>(), "affected_components": bad.collect::<Value>(),
        "ongoing_incidents": ongoing(model),
        "in_progress_maintenances": model.running().map(|one| work(model, one)).collect::<Value>(),
        "scheduled_maintenances": model.upcoming().map(|one| work(model, one)).collect::<Value>(),
        "structure": { "items": model.groups().into_iter().map(group).collect::<Value>() } })
}
